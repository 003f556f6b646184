//! Frames for the MAC of a virtual router: served on its master, the kernel's everywhere else.

use lb_common::conn::State;
use lb_common::net::MacAddress;
use lb_common::verdict::Reason::{self, OtherMac};

use crate::harness::case::{Before, Case, answers, follows, opens, passes};
use crate::harness::frame::{ACK, C_TAG, Frame, SYN};
use crate::harness::world::{NAT1, Server, WEB1, WEB1_6, client, client6, nat_vip, vip, vip6};

/// Virtual router 51, IPv4.
const ROUTER: MacAddress = [0, 0, 0x5e, 0, 1, 51];
/// Virtual router 51, IPv6.
const ROUTER_6: MacAddress = [0, 0, 0x5e, 0, 2, 51];
/// The last one of each.
const LAST: MacAddress = [0, 0, 0x5e, 0, 1, 255];
const LAST_6: MacAddress = [0, 0, 0x5e, 0, 2, 255];

const MASTER: Before = Before::VirtualMacs(&[ROUTER]);
const MASTER_6: Before = Before::VirtualMacs(&[ROUTER_6, LAST_6]);

fn tcp(flags: u8) -> Frame {
    Frame::tcp(client(1000), vip(80), flags)
}

fn tcp6(flags: u8) -> Frame {
    Frame::tcp(client6(1000), vip6(80), flags)
}

/// The answer of a real server behind NAT whose gateway is the virtual router.
fn from_server(server: &Server) -> Frame {
    Frame::tcp((server.address, 8080).into(), client(1000), SYN | ACK)
}

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    const SR: State = State::SYN_RECEIVED;
    vec![
        opens("master: for the virtual MAC, a SYN goes to the real server", tcp(SYN).to(ROUTER), WEB1, SR)
            .before(MASTER),
        opens("master: for the interface's own MAC it does, too", tcp(SYN), WEB1, SR).before(MASTER),
        opens("master, IPv6: for the virtual MAC, a SYN goes to the real server", tcp6(SYN).to(ROUTER_6), WEB1_6, SR)
            .before(MASTER_6),
        opens("master: the last of 255 virtual routers", tcp(SYN).to(LAST), WEB1, SR)
            .before(Before::VirtualMacs(&[ROUTER, LAST])),
        opens("master, IPv6: the last of 255 virtual routers", tcp6(SYN).to(LAST_6), WEB1_6, SR).before(MASTER_6),
        opens("master: for the virtual MAC, with a VLAN tag", tcp(SYN).to(ROUTER).tag(C_TAG, 9), WEB1, SR)
            .before(MASTER).out(tcp(SYN).to(ROUTER).forwarded(&WEB1).untagged()),
        follows("a connection goes on when its frames are for the virtual MAC", tcp(ACK).to(ROUTER), WEB1, State::ESTABLISHED)
            .before(MASTER).after([tcp(SYN)]),
        answers("master: an answer by NAT for the virtual MAC goes to the client", from_server(&NAT1).to(ROUTER), NAT1,
            Frame::tcp(nat_vip(80), client(1000), SYN | ACK).answered())
            .before(MASTER),
        // Another director is master, or there is no such instance.
        passes("backup: for the virtual MAC", tcp(SYN).to(ROUTER), OtherMac).records_nothing(),
        passes("backup, IPv6: for the virtual MAC", tcp6(SYN).to(ROUTER_6), OtherMac).records_nothing(),
        passes("master of another virtual router", tcp(SYN).to([0, 0, 0x5e, 0, 1, 50]), OtherMac).before(MASTER),
        passes("master of the virtual router of the other family", tcp(SYN).to(ROUTER_6), OtherMac).before(MASTER),
        passes("IPv6: master of the virtual router of the other family", tcp6(SYN).to(ROUTER), OtherMac).before(MASTER_6),
        passes("no longer master", tcp(ACK).to(ROUTER), OtherMac)
            .before(MASTER).after([tcp(SYN).to(ROUTER)]).before(Before::VirtualMacs(&[])).keeps(SR, WEB1),
        // MACs that are like virtual ones.
        passes("of a third family of virtual routers", tcp(SYN).to([0, 0, 0x5e, 0, 3, 51]), OtherMac)
            .before(Before::VirtualMacs(&[[0, 0, 0x5e, 0, 3, 51]])),
        passes("another prefix before the number", tcp(SYN).to([0, 0, 0x5e, 1, 1, 51]), OtherMac).before(MASTER),
        passes("of IPv4 multicast", tcp(SYN).to([1, 0, 0x5e, 0, 1, 51]), OtherMac).before(MASTER),
        passes("TTL 1, for the virtual MAC", tcp(SYN).to(ROUTER).ttl(1), Reason::TtlExceeded).before(MASTER),
    ]
}

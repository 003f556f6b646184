//! ICMP errors about a balanced flow go to the real server that sent the packet they quote; all else to a
//! virtual address is for the kernel.

use Reason::{Malformed, NoVirtualServer, OtherMac, TtlExceeded};
use lb_common::verdict::Reason;

use crate::harness::case::{Before, Case, drops, forwards, passes};
use crate::harness::frame::{ACK, C_TAG, FIN, Frame, RST, SYN, TCP};
use crate::harness::world::{
    LOCAL, ROUTER, ROUTER_6, TAGGED, WEB1, WEB1_6, WEB2, WEB2_6, client, client6, name, second_vip, vip, vip6,
};

/// RFC 792.
const UNREACHABLE: u8 = 3;
const SOURCE_QUENCH: u8 = 4;
const REDIRECT: u8 = 5;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;
/// Eight bytes of the quoted payload: what every router sends (RFC 792).
const HEADER_AND_8: usize = 28;
const HEADER6_AND_8: usize = 48;

/// What the real server answered the client: from the virtual address.
fn answer() -> Frame {
    Frame::tcp(vip(8081), client(1000), ACK)
}

fn answer6() -> Frame {
    Frame::tcp(vip6(8081), client6(1000), ACK)
}

fn syn() -> Frame {
    Frame::tcp(client(1000), vip(8081), SYN)
}

fn syn6() -> Frame {
    Frame::tcp(client6(1000), vip6(8081), SYN)
}

fn error(kind: u8) -> Frame {
    Frame::icmp_error(ROUTER, kind, &answer(), HEADER_AND_8)
}

fn error6(kind: u8) -> Frame {
    Frame::icmp_error(ROUTER_6, kind, &answer6(), HEADER6_AND_8)
}

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    let rr = name(TCP, vip(8081));
    vec![
        forwards("fragmentation needed follows the connection", error(UNREACHABLE), WEB2).after([syn()]),
        forwards("source quench follows the connection", error(SOURCE_QUENCH), WEB2).after([syn()]),
        forwards("time exceeded follows the connection", error(TIME_EXCEEDED), WEB2).after([syn()]),
        forwards("a parameter problem follows the connection", error(PARAMETER_PROBLEM), WEB2).after([syn()]),
        forwards("ICMPv6 destination unreachable follows", error6(1), WEB2_6).after([syn6()]),
        forwards("ICMPv6 packet too big follows", error6(2), WEB2_6).after([syn6()]),
        forwards("ICMPv6 time exceeded follows", error6(3), WEB2_6).after([syn6()]),
        forwards("ICMPv6 parameter problem follows", error6(4), WEB2_6).after([syn6()]),
        forwards("an error that quotes all of the packet follows", Frame::icmp_error(ROUTER, UNREACHABLE, &answer(), 1500), WEB2).after([syn()]),
        forwards("an error that quotes IP options follows", Frame::icmp_error(ROUTER, UNREACHABLE, &answer().options(&[1; 8]), 36), WEB2).after([syn()]),
        forwards("an error about the first fragment follows", Frame::icmp_error(ROUTER, UNREACHABLE, &answer().first_fragment(24), HEADER_AND_8), WEB2).after([syn()]),
        forwards("an error about a UDP flow follows", Frame::icmp_error(ROUTER, UNREACHABLE, &Frame::udp(vip(5353), client(1000), b"answer"), HEADER_AND_8), WEB2)
            .after([Frame::udp(client(1000), vip(5353), b"query")]),
        forwards("an error about an any-port service's flow follows", Frame::icmp_error(ROUTER, UNREACHABLE, &Frame::tcp(second_vip(443), client(1000), ACK), HEADER_AND_8), WEB2)
            .after([Frame::tcp(client(1000), second_vip(443), SYN)]),
        forwards("an error to a real server on a VLAN gets its tag", about(82), TAGGED)
            .after([Frame::tcp(client(1000), vip(82), SYN)]).out(about(82).forwarded(&TAGGED).tag(C_TAG, 8)),
        forwards("an error about a connection in FIN_WAIT follows", error(UNREACHABLE), WEB2)
            .after([syn(), Frame::tcp(client(1000), vip(8081), ACK), Frame::tcp(client(1000), vip(8081), FIN)]),
        forwards("an error about a quiesced real server's connection follows", error(UNREACHABLE), WEB2)
            .after([syn()]).before(Before::Weight(rr, WEB2, 0)),
        // Without an entry the flow's hash says where its packets went (connections.rs: web1).
        forwards("an error about an unknown flow goes where its hash says", error(UNREACHABLE), WEB1),
        forwards("IPv6: an error about an unknown flow goes where its hash says", error6(2), WEB1_6),
        forwards("an error about a freed real server's flow goes where its hash says", error(UNREACHABLE), WEB1)
            .after([syn()]).before(Before::Remove(rr, WEB2)).before(Before::Free),
        passes("an error about a flow without a real server", Frame::icmp_error(ROUTER, UNREACHABLE, &Frame::tcp(vip(85), client(1000), RST), HEADER_AND_8), Reason::NoRealServer),
        passes("an error about the director's own real server", about(83), Reason::LocalRealServer)
            .after([Frame::tcp(client(1000), vip(83), SYN)]).traffic(LOCAL, 0),
        drops("an error to an unresolved real server", about(84), Reason::NeighbourUnresolved),
        // Not an error about a flow of ours.
        passes("an echo request is the kernel's", Frame::icmp(client(1).ip(), vip(80).ip(), 8, &[0; 56]), NoVirtualServer),
        passes("an ICMPv6 echo request is the kernel's", Frame::icmp(client6(1).ip(), vip6(80).ip(), 128, &[0; 56]), NoVirtualServer),
        passes("an echo reply is the kernel's", Frame::icmp(client(1).ip(), vip(80).ip(), 0, &[0; 56]), NoVirtualServer),
        passes("a timestamp request is the kernel's", Frame::icmp(client(1).ip(), vip(80).ip(), 13, &[0; 12]), NoVirtualServer),
        passes("a redirect is the kernel's", error(REDIRECT), NoVirtualServer).after([syn()]),
        passes("a router advertisement is the kernel's", Frame::icmp(ROUTER_6, vip6(80).ip(), 134, &[0; 8]), NoVirtualServer),
        passes("ICMPv6 type 0 is none", error6(0), NoVirtualServer).after([syn6()]),
        passes("ICMPv6 type 5 is none", error6(5), NoVirtualServer).after([syn6()]),
        passes("an error about another address's packet", Frame::icmp_error(ROUTER, UNREACHABLE, &Frame::tcp("192.168.4.77:80".parse().unwrap(), client(1000), ACK), HEADER_AND_8), NoVirtualServer),
        passes("an error that quotes a packet that its receiver did not send", misdirected(), NoVirtualServer).after([syn()]),
        passes("an error about a later fragment", Frame::icmp_error(ROUTER, UNREACHABLE, &answer().later_fragment(24, false), HEADER_AND_8), NoVirtualServer).after([syn()]),
        passes("an error about an ICMP packet", Frame::icmp_error(ROUTER, UNREACHABLE, &Frame::icmp(vip(8081).ip(), client(1).ip(), 0, &[0; 8]), HEADER_AND_8), NoVirtualServer),
        passes("an error for another machine's MAC", error(UNREACHABLE).to([2, 0, 0, 0, 0, 2]), OtherMac).after([syn()]),
        passes("an error with TTL 1", error(UNREACHABLE).ttl(1), TtlExceeded).after([syn()]),
        passes("IPv6: an error with hop limit 1", error6(1).ttl(1), TtlExceeded).after([syn6()]),
        passes("an error that is a fragment", error(UNREACHABLE).first_fragment(32), NoVirtualServer).after([syn()]),
        // Cut off.
        passes("an ICMP message of no bytes", Frame::ip(ROUTER, vip(80).ip(), 1, vec![]), Malformed),
        passes("an ICMPv6 message of no bytes", Frame::ip(ROUTER_6, vip6(80).ip(), 58, vec![]), Malformed),
        passes("an error that quotes nothing", error(UNREACHABLE).payload(8), Malformed),
        passes("an error that quotes half an IP header", error(UNREACHABLE).payload(18), Malformed),
        passes("an error that quotes an IP header only", error(UNREACHABLE).payload(28), Malformed),
        passes("an error that quotes three of four bytes of ports", error(UNREACHABLE).payload(31), Malformed),
        passes("an ICMPv6 error that quotes an IP header only", error6(1).payload(48), Malformed),
        passes("an error that quotes an IPv6 packet", error(UNREACHABLE).patch(14 + 20 + 8, &[0x60]), Malformed),
    ]
}

/// An error about what the real server of this port answered.
fn about(port: u16) -> Frame {
    Frame::icmp_error(ROUTER, UNREACHABLE, &Frame::tcp(vip(port), client(1000), ACK), HEADER_AND_8)
}

/// Sent to one virtual address, quotes a packet of the other one.
fn misdirected() -> Frame {
    let mut bytes = [UNREACHABLE, 0, 0, 0, 0, 0, 0, 0].to_vec();
    bytes.extend(&answer().bytes()[14..14 + HEADER_AND_8]);
    Frame::ip(ROUTER, second_vip(80).ip(), 1, bytes)
}

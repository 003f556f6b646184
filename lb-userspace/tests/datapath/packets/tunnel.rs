//! Tunnels: packets inside others, and those that are too long for that.

use lb_common::conn::State;
use lb_common::verdict::{Reason, Verdict};

use crate::harness::case::{Case, drops, follows, forwards, opens, passes};
use crate::harness::frame::{ACK, C_TAG, Frame, SYN};
use crate::harness::world::{
    ROUTER, TUN, TUN_6, TUN_SOURCE, TUN_SOURCE_6, TUN_TAGGED, client, client6, tun_vip, tun_vip6,
};

const SR: State = State::SYN_RECEIVED;
const FD: State = State::FIRST_DATAGRAM;

fn syn(port: u16) -> Frame {
    Frame::tcp(client(1000), tun_vip(port), SYN)
}

fn syn6(port: u16) -> Frame {
    Frame::tcp(client6(1000), tun_vip6(port), SYN)
}

fn datagram(length: usize) -> Frame {
    Frame::udp(client(1000), tun_vip(80), &vec![7; length])
}

/// The director refuses the packet, and says how long it may be.
fn refuses(sentence: &'static str, packet: Frame, mtu: u16) -> Case {
    let out = packet.clone().refused(mtu);
    passes(sentence, packet, Reason::TooBig).verdict(Verdict::Transmit).out(out)
}

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    let error = Frame::icmp_error(ROUTER, 3, &Frame::tcp(tun_vip(80), client(1000), ACK), 28);
    vec![
        opens("tunnel: a SYN goes inside another packet", syn(80), TUN, SR).out(syn(80).tunnelled(&TUN, TUN_SOURCE)),
        follows("tunnel: the next packet too", Frame::tcp(client(1000), tun_vip(80), ACK), TUN, State::ESTABLISHED).after([syn(80)])
            .out(Frame::tcp(client(1000), tun_vip(80), ACK).tunnelled(&TUN, TUN_SOURCE)),
        opens("tunnel: IPv4 in IPv6", syn(81), TUN_6, SR).out(syn(81).tunnelled(&TUN_6, TUN_SOURCE_6)),
        opens("tunnel: IPv6 in IPv6", syn6(81), TUN_6, SR).out(syn6(81).tunnelled(&TUN_6, TUN_SOURCE_6)),
        opens("tunnel: IPv6 in IPv4", syn6(80), TUN, SR).out(syn6(80).tunnelled(&TUN, TUN_SOURCE)),
        opens("tunnel: on a VLAN", syn(82), TUN_TAGGED, SR).out(syn(82).tunnelled(&TUN_TAGGED, TUN_SOURCE).tag(C_TAG, 8)),
        opens("tunnel: from one VLAN to another", syn(82).tag(C_TAG, 7), TUN_TAGGED, SR)
            .out(syn(82).tunnelled(&TUN_TAGGED, TUN_SOURCE).tag(C_TAG, 8)),
        opens("tunnel: from two tags to none", syn(80).tag(C_TAG, 7).tag(0x88a8, 9), TUN, SR).out(syn(80).tunnelled(&TUN, TUN_SOURCE)),
        opens("tunnel: with IP options", syn(80).options(&[1; 8]), TUN, SR).out(syn(80).options(&[1; 8]).tunnelled(&TUN, TUN_SOURCE)),
        opens("tunnel: an unfinished checksum is finished", syn(80).unfinished(), TUN, SR).out(syn(80).tunnelled(&TUN, TUN_SOURCE)),
        opens("tunnel: IPv6, an unfinished checksum is finished", syn6(81).unfinished(), TUN_6, SR).out(syn6(81).tunnelled(&TUN_6, TUN_SOURCE_6)),
        opens("tunnel: the longest packet", datagram(1352), TUN, FD).out(datagram(1352).tunnelled(&TUN, TUN_SOURCE)),
        forwards("tunnel: a later fragment", datagram(64).later_fragment(32, false), TUN).after([datagram(64).first_fragment(32)])
            .out(datagram(64).later_fragment(32, false).tunnelled(&TUN, TUN_SOURCE)),
        forwards("tunnel: an ICMP error about the server's packet goes whole", error.clone(), TUN).after([syn(80)])
            .out(error.tunnelled(&TUN, TUN_SOURCE)),
        drops("tunnel: the director's own address is not known", syn(83), Reason::NeighbourUnresolved),
        passes("tunnel: TTL 1 is for the kernel", syn(80).ttl(1), Reason::TtlExceeded),
        refuses("tunnel: one byte too long", datagram(1353), 1380),
        refuses("tunnel: much too long", datagram(1472), 1380),
        refuses("tunnel: too long, on a VLAN", datagram(1400).tag(C_TAG, 7), 1380),
        refuses("tunnel: too long, on two", datagram(1400).tag(C_TAG, 7).tag(0x88a8, 9), 1380),
        refuses("tunnel: too long, IPv6", long6(), 1360).counts(Reason::MidStream),
    ]
}

/// A segment that is too long for the tunnel.
fn long6() -> Frame {
    Frame::ip(client6(1000).ip(), tun_vip6(81).ip(), 6, {
        let mut segment = vec![3, 232, 0, 81, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0];
        segment.resize(1400, 5);
        segment
    })
}

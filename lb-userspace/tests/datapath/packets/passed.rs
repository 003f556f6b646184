//! What is not ours, and what is not whole: all of it goes to the kernel byte by byte as it came.

use Reason::{Malformed, NoVirtualServer, NotIp, OtherMac, TtlExceeded};
use lb_common::conn::State;
use lb_common::verdict::Reason;

use crate::harness::case::{Case, opens, passes};
use crate::harness::frame::{ACK, Frame, SYN};
use crate::harness::world::{WEB1, WEB1_6, client, client6, vip, vip6};

/// Where the IP header starts.
const IP: usize = 14;
/// Where the transport header starts behind an IPv4 header without options.
const L4: usize = IP + 20;
const L4_6: usize = IP + 40;

fn syn() -> Frame {
    Frame::tcp(client(1000), vip(80), SYN)
}

fn syn6() -> Frame {
    Frame::tcp(client6(1000), vip6(80), SYN)
}

fn query() -> Frame {
    Frame::udp(client(1000), vip(53), b"query")
}

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    vec![
        // Not IP.
        passes("ARP", syn().ethertype(0x0806), NotIp),
        passes("LLDP", syn().to([1, 0x80, 0xc2, 0, 0, 0x0e]).ethertype(0x88cc), NotIp),
        passes("spanning tree: a length in place of an EtherType", syn().to([1, 0x80, 0xc2, 0, 0, 0]).ethertype(0x0026), NotIp),
        passes("an unknown EtherType", syn().ethertype(0xbeef), NotIp),
        passes("an Ethernet header and nothing behind it", syn().ethertype(0x0806).cut(14), NotIp),
        // Not ours.
        passes("TCP to another address", Frame::tcp(client(1000), "192.168.4.77:80".parse().unwrap(), SYN), NoVirtualServer),
        passes("IPv6 TCP to another address", Frame::tcp(client6(1000), "[2001:db8::77]:80".parse().unwrap(), SYN), NoVirtualServer),
        passes("a VRRP advertisement", Frame::ip("192.168.4.1".parse().unwrap(), "224.0.0.18".parse().unwrap(), 112, vec![0; 20]).to([1, 0, 0x5e, 0, 0, 0x12]), NoVirtualServer),
        passes("SCTP to a virtual address", Frame::ip(client(1).ip(), vip(80).ip(), 132, syn().bytes()[L4..].to_vec()), lb_common::verdict::Reason::Sctp),
        passes("a protocol without ports and without payload", Frame::ip(client(1).ip(), vip(80).ip(), 89, vec![]), NoVirtualServer),
        passes("a neighbour solicitation", Frame::icmp(client6(1).ip(), vip6(80).ip(), 135, &[0; 16]), NoVirtualServer),
        passes("for another machine's MAC", syn().to([2, 0, 0, 0, 0, 2]), OtherMac),
        passes("IPv6, for another machine's MAC", syn6().to([2, 0, 0, 0, 0, 2]), OtherMac),
        passes("to the broadcast MAC", syn().to([0xff; 6]), OtherMac),
        passes("to a multicast MAC", syn().to([1, 0, 0x5e, 0x28, 4, 15]), OtherMac),
        passes("of a known connection, for another machine's MAC", Frame::tcp(client(1000), vip(80), ACK).to([2, 0, 0, 0, 0, 2]), OtherMac)
            .after([syn()]),
        // The last hop.
        passes("TTL 1: the kernel answers time exceeded", syn().ttl(1), TtlExceeded).records_nothing(),
        passes("TTL 0", syn().ttl(0), TtlExceeded).records_nothing(),
        passes("hop limit 1", syn6().ttl(1), TtlExceeded).records_nothing(),
        passes("hop limit 0", syn6().ttl(0), TtlExceeded).records_nothing(),
        passes("TTL 1 of a known connection", Frame::tcp(client(1000), vip(80), ACK).ttl(1), TtlExceeded)
            .after([syn()]),
        // Ethernet and IPv4 that is not whole.
        passes("IPv4 cut off behind the Ethernet header", syn().cut(IP), Malformed),
        passes("IPv4 cut off in its header", syn().cut(IP + 19), Malformed),
        passes("IPv4 cut off behind its header", syn().cut(L4), Malformed),
        passes("IPv4 longer than the frame", syn().cut(L4 + 20), Malformed),
        passes("IPv4 of version 5", syn().patch(IP, &[0x55]), Malformed),
        passes("IPv4 of version 6", syn().patch(IP, &[0x65]), Malformed),
        passes("an IPv4 header of 16 bytes", syn().patch(IP, &[0x44]), Malformed),
        passes("an IPv4 header of no bytes", syn().patch(IP, &[0x40]), Malformed),
        passes("an IPv4 header longer than the packet", syn().patch(IP, &[0x4f]), Malformed),
        passes("a total length below the header's", syn().patch(IP + 2, &[0, 19]), Malformed),
        passes("a total length of 0", syn().patch(IP + 2, &[0, 0]), Malformed),
        passes("a total length beyond the frame", syn().patch(IP + 2, &[0, 45]), Malformed),
        passes("a total length of 65535", syn().patch(IP + 2, &[0xff, 0xff]), Malformed),
        // IPv6 that is not whole.
        passes("IPv6 cut off behind the Ethernet header", syn6().cut(IP), Malformed),
        passes("IPv6 cut off in its header", syn6().cut(IP + 39), Malformed),
        passes("IPv6 longer than the frame", syn6().cut(L4_6 + 20), Malformed),
        passes("IPv6 of version 4", syn6().patch(IP, &[0x40]), Malformed),
        passes("an IPv6 payload length beyond the frame", syn6().patch(IP + 4, &[0, 25]), Malformed),
        passes("an IPv6 payload length of 0 (a jumbogram)", syn6().patch(IP + 4, &[0, 0]), Malformed),
        // TCP and UDP that are not whole.
        passes("TCP of 19 bytes", syn().patch(IP + 2, &[0, 39]), Malformed),
        passes("TCP of 4 bytes", syn().patch(IP + 2, &[0, 24]), Malformed),
        passes("IPv6 TCP of 19 bytes", syn6().patch(IP + 4, &[0, 19]), Malformed),
        passes("UDP of 7 bytes", query().patch(IP + 2, &[0, 27]), Malformed),
        passes("IPv6 UDP of 7 bytes", Frame::udp(client6(1000), vip6(53), b"query").patch(IP + 4, &[0, 7]), Malformed),
        opens("TCP of 20 bytes is whole", syn().payload(20), WEB1, State::SYN_RECEIVED),
        opens("IPv6 TCP of 20 bytes is whole", syn6().payload(20), WEB1_6, State::SYN_RECEIVED),
        opens("UDP of 8 bytes is whole", query().payload(8), WEB1, State::FIRST_DATAGRAM),
        // Malformed, but not for us: still only passed.
        passes("malformed and for another machine", syn().to([2, 0, 0, 0, 0, 2]).patch(IP, &[0x44]), Malformed),
    ]
}

//! NAT: clients' packets to real servers, and what comes back.

use std::net::SocketAddr;

use lb_common::conn::State;
use lb_common::verdict::Reason;

use crate::harness::case::{Before, Case, answers, drops, follows, forwards, opens, passes};
use crate::harness::frame::{ACK, C_TAG, FIN, Frame, PSH, SYN, TCP};
use crate::harness::world::{
    NAT_FAR, NAT1, NAT1_6, NAT2, NAT2_6, NEAR_MAC, Server, any_nat_vip, any_nat_vip6, client, client6, name,
    nat_vip, nat_vip6, near, near6,
};

const SR: State = State::SYN_RECEIVED;
const ES: State = State::ESTABLISHED;
const FD: State = State::FIRST_DATAGRAM;

/// A real server's socket.
fn at(server: &Server, port: u16) -> SocketAddr {
    SocketAddr::new(server.address, port)
}

/// The client's segment to the virtual server.
fn to_vip(port: u16, flags: u8) -> Frame {
    Frame::tcp(client(1000), nat_vip(port), flags)
}

/// The same as the real server gets it.
fn to_server(server: &Server, port: u16, flags: u8) -> Frame {
    Frame::tcp(client(1000), at(server, port), flags).forwarded(server)
}

/// A segment of the real server.
fn from_server(server: &Server, port: u16, flags: u8) -> Frame {
    Frame::tcp(at(server, port), client(1000), flags)
}

/// The same as the client gets it.
fn from_vip(port: u16, flags: u8) -> Frame {
    Frame::tcp(nat_vip(port), client(1000), flags).answered()
}

fn query(port: u16) -> Frame {
    Frame::udp(client(1000), nat_vip(port), b"query")
}

fn answer(port: u16) -> Frame {
    Frame::udp(at(&NAT1, port), client(1000), b"an answer")
}

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    let any6 = |flags| Frame::tcp(client6(1000), any_nat_vip6(443), flags);
    let web6 = |flags| Frame::tcp(client6(1000), nat_vip6(80), flags);
    vec![
        // To the real server: its address and port, TTL decremented, checksums right.
        opens("NAT: a SYN goes to the real server's address and port", to_vip(80, SYN), NAT1, SR).out(to_server(&NAT1, 8080, SYN)),
        follows("NAT: the next packet too", to_vip(80, ACK), NAT1, ES).after([to_vip(80, SYN)]).out(to_server(&NAT1, 8080, ACK)),
        opens("NAT: rr goes round", to_vip(8081, SYN), NAT2, SR).out(to_server(&NAT2, 8081, SYN)),
        opens("NAT: a datagram goes to the real server", query(53), NAT1, FD)
            .out(Frame::udp(client(1000), at(&NAT1, 53), b"query").forwarded(&NAT1)),
        opens("NAT: a datagram without a checksum keeps none", query(53).patch_payload(6, &[0, 0]), NAT1, FD)
            .out(Frame::udp(client(1000), at(&NAT1, 53), b"query").patch_payload(6, &[0, 0]).forwarded(&NAT1)),
        opens("NAT: an unfinished TCP checksum is finished", to_vip(80, SYN).unfinished(), NAT1, SR).out(to_server(&NAT1, 8080, SYN)),
        opens("NAT: an unfinished UDP checksum is finished", query(53).unfinished(), NAT1, FD)
            .out(Frame::udp(client(1000), at(&NAT1, 53), b"query").forwarded(&NAT1)),
        opens("NAT: a long one too", Frame::udp(client(1000), nat_vip(53), &[0xa5; 1471]).unfinished(), NAT1, FD)
            .out(Frame::udp(client(1000), at(&NAT1, 53), &[0xa5; 1471]).forwarded(&NAT1)),
        opens("NAT: behind IP options", to_vip(80, SYN).options(&[1; 8]), NAT1, SR).out(to_server(&NAT1, 8080, SYN).options(&[1; 8])),
        opens("NAT: behind IP options, unfinished", to_vip(80, SYN).options(&[1; 8]).unfinished(), NAT1, SR)
            .out(to_server(&NAT1, 8080, SYN).options(&[1; 8])),
        opens("NAT: with padding", to_vip(80, SYN).padding(6), NAT1, SR).out(to_server(&NAT1, 8080, SYN).padding(6)),
        opens("NAT: tagged in, untagged out", to_vip(80, SYN).tag(C_TAG, 9), NAT1, SR).out(to_server(&NAT1, 8080, SYN)),
        opens("NAT: to another interface and VLAN", to_vip(81, SYN), NAT_FAR, SR).out(to_server(&NAT_FAR, 80, SYN).tag(C_TAG, 8)),
        opens("NAT: any port keeps the client's", Frame::tcp(client(1000), any_nat_vip(443), SYN), NAT2, SR)
            .out(Frame::tcp(client(1000), at(&NAT2, 443), SYN).forwarded(&NAT2)),
        opens("NAT, IPv6: a SYN goes to the real server's address and port", web6(SYN), NAT1_6, SR)
            .out(Frame::tcp(client6(1000), at(&NAT1_6, 8080), SYN).forwarded(&NAT1_6)),
        opens("NAT, IPv6: an unfinished checksum is finished", web6(SYN).unfinished(), NAT1_6, SR)
            .out(Frame::tcp(client6(1000), at(&NAT1_6, 8080), SYN).forwarded(&NAT1_6)),
        opens("NAT, IPv6: a datagram goes to the real server", Frame::udp(client6(1000), nat_vip6(53), b"query"), NAT1_6, FD)
            .out(Frame::udp(client6(1000), at(&NAT1_6, 53), b"query").forwarded(&NAT1_6)),
        opens("NAT, IPv6: any port keeps the client's", any6(SYN), NAT2_6, SR)
            .out(Frame::tcp(client6(1000), at(&NAT2_6, 443), SYN).forwarded(&NAT2_6)),
        passes("NAT: TTL 1 is for the kernel", to_vip(80, SYN).ttl(1), Reason::TtlExceeded),
        drops("NAT: a real server that is not resolved", to_vip(80, SYN), Reason::NeighbourUnresolved).before(Before::Link(NAT1, None)),
        // Answers, without an entry of their flow.
        answers("an answer comes from the virtual server", from_server(&NAT1, 8080, SYN | ACK), NAT1, from_vip(80, SYN | ACK)),
        answers("every segment of a server's port is one", from_server(&NAT1, 8080, PSH | ACK), NAT1, from_vip(80, PSH | ACK)),
        answers("an unfinished answer is finished", from_server(&NAT1, 8080, ACK).unfinished(), NAT1, from_vip(80, ACK)),
        answers("an answer after the connection's end", from_server(&NAT1, 8080, FIN | ACK), NAT1, from_vip(80, FIN | ACK))
            .after([to_vip(80, SYN)]).idle(900),
        answers("an answer of a real server that was taken out", from_server(&NAT2, 8081, ACK), NAT2, from_vip(8081, ACK))
            .before(Before::Remove(name(TCP, nat_vip(8081)), NAT2)),
        answers("an answer with TTL 2", from_server(&NAT1, 8080, ACK).ttl(2), NAT1, from_vip(80, ACK).ttl(1)),
        answers("an answer from any port", Frame::tcp(at(&NAT2, 443), client(1000), ACK), NAT2, Frame::tcp(any_nat_vip(443), client(1000), ACK).answered()),
        answers("IPv6: an answer comes from the virtual server", Frame::tcp(at(&NAT1_6, 8080), client6(1000), ACK), NAT1_6,
            Frame::tcp(nat_vip6(80), client6(1000), ACK).answered()),
        answers("IPv6: an unfinished answer is finished", Frame::tcp(at(&NAT1_6, 8080), client6(1000), ACK).unfinished(), NAT1_6,
            Frame::tcp(nat_vip6(80), client6(1000), ACK).answered()),
        answers("IPv6: an answer from any port", Frame::tcp(at(&NAT2_6, 443), client6(1000), ACK), NAT2_6,
            Frame::tcp(any_nat_vip6(443), client6(1000), ACK).answered()),
        passes("a real server opens a connection of its own from that port", from_server(&NAT1, 8080, SYN), Reason::NoVirtualServer),
        passes("what it sends from another port is its own", from_server(&NAT1, 8079, ACK), Reason::NoVirtualServer),
        passes("what a stranger sends is no answer", Frame::tcp("172.16.0.7:8080".parse().unwrap(), client(1000), ACK), Reason::NoVirtualServer),
        passes("an answer with TTL 1 is for the kernel", from_server(&NAT1, 8080, ACK).ttl(1), Reason::TtlExceeded),
        passes("an answer for another machine's MAC", from_server(&NAT1, 8080, ACK).to([2, 0, 0, 0, 0, 2]), Reason::OtherMac),
        passes("no answers without virtual servers", from_server(&NAT1, 8082, ACK), Reason::NoVirtualServer)
            .before(Before::RemoveService(name(TCP, nat_vip(82)))).before(Before::RemoveService(name(TCP, nat_vip(83)))),
        // Datagrams are answers only to those who asked.
        answers("a datagram to who asked is an answer", answer(53), NAT1, Frame::udp(nat_vip(53), client(1000), b"an answer").answered())
            .after([query(53)]),
        answers("IPv6: a datagram to who asked is an answer", Frame::udp(at(&NAT1_6, 53), client6(1000), b"an answer"), NAT1_6,
            Frame::udp(nat_vip6(53), client6(1000), b"an answer").answered()).after([Frame::udp(client6(1000), nat_vip6(53), b"query")]),
        answers("an answer without a checksum keeps none", answer(53).patch_payload(6, &[0, 0]), NAT1,
            Frame::udp(nat_vip(53), client(1000), b"an answer").patch_payload(6, &[0, 0]).answered()).after([query(53)]),
        passes("a datagram to who did not ask is the server's own", answer(53), Reason::NoVirtualServer),
        passes("a datagram to another port of who asked", Frame::udp(at(&NAT1, 53), client(1001), b""), Reason::NoVirtualServer).after([query(53)]),
        passes("a datagram to who asked long ago", answer(53), Reason::NoVirtualServer).after([query(53)]).idle(300),
        // Two virtual servers on one port of a real server.
        answers("the flow's entry says whose answer it is", from_server(&NAT1, 8082, ACK), NAT1, from_vip(82, ACK)).after([to_vip(82, SYN)]),
        answers("and the other virtual server's", from_server(&NAT1, 8082, ACK), NAT1, from_vip(83, ACK)).after([to_vip(83, SYN)]),
        answers("one client of both", Frame::tcp(at(&NAT1, 8082), client(1001), ACK), NAT1, Frame::tcp(nat_vip(83), client(1001), ACK).answered())
            .after([to_vip(82, SYN), Frame::tcp(client(1001), nat_vip(83), SYN)]),
        answers("datagrams of both", answer(54), NAT1, Frame::udp(nat_vip(55), client(1000), b"an answer").answered()).after([query(55)]),
        answers("IPv6: the flow's entry says whose answer it is", Frame::tcp(at(&NAT1_6, 8082), client6(1000), ACK), NAT1_6,
            Frame::tcp(nat_vip6(83), client6(1000), ACK).answered()).after([Frame::tcp(client6(1000), nat_vip6(83), SYN)]),
        passes("without an entry it is nobody's", from_server(&NAT1, 8082, ACK), Reason::NoVirtualServer),
        answers("one of them removed, the other needs no entry", from_server(&NAT1, 8082, ACK), NAT1, from_vip(83, ACK))
            .before(Before::RemoveService(name(TCP, nat_vip(82)))),
        // Where answers go.
        answers("a client on the segment gets it where it sent from", Frame::tcp(at(&NAT1, 8080), near(1000), ACK), NAT1,
            Frame::tcp(nat_vip(80), near(1000), ACK).answered().to(NEAR_MAC)).after([Frame::tcp(near(1000), nat_vip(80), SYN).from(NEAR_MAC)]),
        answers("with its VLAN tag", Frame::tcp(at(&NAT1, 8080), near(1000), ACK), NAT1,
            Frame::tcp(nat_vip(80), near(1000), ACK).answered().to(NEAR_MAC).tag(C_TAG, 7))
            .after([Frame::tcp(near(1000), nat_vip(80), SYN).from(NEAR_MAC).tag(C_TAG, 0x6007)]),
        answers("IPv6: a client on the segment", Frame::tcp(at(&NAT1_6, 8080), near6(1000), ACK), NAT1_6,
            Frame::tcp(nat_vip6(80), near6(1000), ACK).answered().to(NEAR_MAC)).after([Frame::tcp(near6(1000), nat_vip6(80), SYN).from(NEAR_MAC)]),
        answers("the MAC of its latest connection", Frame::tcp(at(&NAT1, 8080), near(1000), ACK), NAT1,
            Frame::tcp(nat_vip(80), near(1000), ACK).answered().to(NEAR_MAC))
            .after([Frame::tcp(near(999), nat_vip(80), SYN), Frame::tcp(near(1000), nat_vip(80), SYN).from(NEAR_MAC)]),
        drops("a client on the segment that was never seen", Frame::tcp(at(&NAT1, 8080), near(1000), ACK), Reason::ClientUnresolved),
        drops("a router that is not resolved", Frame::tcp(at(&NAT1, 8080), "10.66.0.1:1000".parse().unwrap(), ACK), Reason::ClientUnresolved),
        drops("a route that refuses", Frame::tcp(at(&NAT1, 8080), "10.77.0.1:1000".parse().unwrap(), ACK), Reason::ClientUnresolved),
        drops("no route", Frame::tcp(at(&NAT1, 8080), "10.88.0.1:1000".parse().unwrap(), ACK), Reason::NoRoute),
        drops("IPv6: no route", Frame::tcp(at(&NAT1_6, 8080), "[2001:db8:aaaa::1]:1000".parse().unwrap(), ACK), Reason::NoRoute),
        // Damage is not hidden.
        forwards("a wrong checksum stays wrong", to_vip(80, ACK).patch_payload(16, &[0, 0]), NAT1).counts(Reason::MidStream)
            .out(to_server(&NAT1, 8080, ACK).patch_payload(16, &wrong(to_vip(80, ACK), to_server(&NAT1, 8080, ACK))))
            .traffic(NAT1, 1),
    ]
}

/// What becomes of a TCP checksum of 0 where `before` becomes `after`: as much off as 0 was.
fn wrong(before: Frame, after: Frame) -> [u8; 2] {
    let checksum = |frame: Frame| {
        let bytes = frame.bytes();
        u32::from(u16::from_be_bytes([bytes[14 + 20 + 16], bytes[14 + 20 + 17]]))
    };
    let difference = checksum(after) + 0xffff - checksum(before);
    let folded = (difference & 0xffff) + (difference >> 16);
    u16::try_from(folded).unwrap().to_be_bytes()
}

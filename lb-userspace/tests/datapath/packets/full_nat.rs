//! Full NAT: clients' packets to real servers from an address of the director's, and what comes back to it.

use std::net::{IpAddr, SocketAddr};

use lb_common::conn::State;
use lb_common::verdict::{Reason, Verdict};

use crate::harness::case::{Before, Case, answers, drops, follows, forwards, opens, passes};
use crate::harness::frame::{ACK, C_TAG, FIN, Frame, PSH, RST, SYN, TCP};
use crate::harness::world::{
    FULL, FULL_6, FULL_FAR, FULL_UNKNOWN, NEAR_MAC, ROUTER, ROUTER_6, SOURCE_PORT, SOURCES, Server,
    TUN_SOURCE, TUN_SOURCE_6, any_full_vip, client, client6, full_vip, full_vip6, name, near, near6,
};

const SR: State = State::SYN_RECEIVED;
const ES: State = State::ESTABLISHED;
const FW: State = State::FIN_WAIT;
const FD: State = State::FIRST_DATAGRAM;
const MS: State = State::MID_STREAM;
const UD: State = State::UDP;
const UNREACHABLE: u8 = 3;

/// A real server's socket.
fn at(server: &Server, port: u16) -> SocketAddr {
    SocketAddr::new(server.address, port)
}

/// The director's side of a flow.
fn from(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, SOURCE_PORT)
}

fn to_vip(port: u16, flags: u8) -> Frame {
    Frame::tcp(client(1000), full_vip(port), flags)
}

fn to_server(server: &Server, port: u16, flags: u8) -> Frame {
    Frame::tcp(from(TUN_SOURCE), at(server, port), flags).forwarded(server)
}

fn from_server(port: u16, flags: u8) -> Frame {
    Frame::tcp(at(&FULL, port), from(TUN_SOURCE), flags)
}

fn from_vip(port: u16, flags: u8) -> Frame {
    Frame::tcp(full_vip(port), client(1000), flags).answered()
}

fn query() -> Frame {
    Frame::udp(client(1000), full_vip(53), &[7; 57])
}

fn query_inside() -> Frame {
    Frame::udp(from(TUN_SOURCE), at(&FULL, 53), &[7; 57])
}

fn answer() -> Frame {
    Frame::udp(at(&FULL, 53), from(TUN_SOURCE), &[9; 57])
}

fn answer_outside() -> Frame {
    Frame::udp(full_vip(53), client(1000), &[9; 57])
}

fn query6() -> Frame {
    Frame::udp(client6(1000), full_vip6(53), &[7; 57])
}

fn query6_inside() -> Frame {
    Frame::udp(from(TUN_SOURCE_6), at(&FULL_6, 53), &[7; 57])
}

fn answer6() -> Frame {
    Frame::udp(at(&FULL_6, 53), from(TUN_SOURCE_6), &[9; 57])
}

fn answer6_outside() -> Frame {
    Frame::udp(full_vip6(53), client6(1000), &[9; 57])
}

pub(super) fn cases() -> Vec<Case> {
    [to_servers(), answered(), ports(), fragments(), errors()].concat()
}

#[rustfmt::skip]
fn to_servers() -> Vec<Case> {
    let web6 = |flags| Frame::tcp(client6(1000), full_vip6(80), flags);
    let inside6 = |flags| Frame::tcp(from(TUN_SOURCE_6), at(&FULL_6, 8080), flags).forwarded(&FULL_6);
    vec![
        opens("full NAT: a SYN comes from the director", to_vip(80, SYN), FULL, SR).out(to_server(&FULL, 8080, SYN)),
        follows("full NAT: the next packet from the same port", to_vip(80, ACK), FULL, ES).after([to_vip(80, SYN)]).out(to_server(&FULL, 8080, ACK)),
        follows("full NAT: a SYN sent again too", to_vip(80, SYN), FULL, SR).after([to_vip(80, SYN)]).out(to_server(&FULL, 8080, SYN)),
        follows("full NAT: the last packet too", to_vip(80, FIN | ACK), FULL, FW).after([to_vip(80, SYN), to_vip(80, ACK)])
            .out(to_server(&FULL, 8080, FIN | ACK)),
        opens("full NAT: a datagram", query(), FULL, FD).out(query_inside().forwarded(&FULL)),
        follows("full NAT: the next datagram", query(), FULL, UD).after([query()]).out(query_inside().forwarded(&FULL)),
        opens("full NAT: a datagram without a checksum keeps none", query().patch_payload(6, &[0, 0]), FULL, FD)
            .out(query_inside().patch_payload(6, &[0, 0]).forwarded(&FULL)),
        opens("full NAT: an unfinished TCP checksum is finished", to_vip(80, SYN).unfinished(), FULL, SR).out(to_server(&FULL, 8080, SYN)),
        opens("full NAT: an unfinished UDP checksum is finished", query().unfinished(), FULL, FD).out(query_inside().forwarded(&FULL)),
        opens("full NAT: behind IP options, tagged", to_vip(80, SYN).options(&[1; 8]).tag(C_TAG, 9), FULL, SR).out(to_server(&FULL, 8080, SYN).options(&[1; 8])),
        opens("full NAT: to another interface and VLAN", to_vip(81, SYN), FULL_FAR, SR).out(to_server(&FULL_FAR, 80, SYN).tag(C_TAG, 8)),
        opens("full NAT: any port keeps the client's destination port", Frame::tcp(client(1000), any_full_vip(443), SYN), FULL, SR)
            .out(to_server(&FULL, 443, SYN)),
        opens("full NAT, IPv6: a SYN comes from the director", web6(SYN), FULL_6, SR).out(inside6(SYN)),
        follows("full NAT, IPv6: the next packet from the same port", web6(ACK), FULL_6, ES).after([web6(SYN)]).out(inside6(ACK)),
        opens("full NAT, IPv6: an unfinished checksum is finished", web6(SYN).unfinished(), FULL_6, SR).out(inside6(SYN)),
        opens("full NAT, IPv6: a datagram", query6(), FULL_6, FD).out(query6_inside().forwarded(&FULL_6)),
        forwards("full NAT: in mid-stream without an entry, the real server is asked from a port all the same", to_vip(80, ACK), FULL)
            .keeps(MS, FULL).counts(Reason::MidStream).out(to_server(&FULL, 8080, ACK)).traffic(FULL, 1),
        follows("full NAT: without the connection's entry the port is the same", to_vip(80, ACK), FULL, MS).counts(Reason::MidStream)
            .after([to_vip(80, SYN), to_vip(80, ACK)]).before(Before::ForgetConnections).out(to_server(&FULL, 8080, ACK)).traffic(FULL, 1),
        drops("full NAT: a reset of an unknown connection takes no port", to_vip(80, RST), Reason::NoLease).records_nothing(),
        drops("full NAT: a real server to which the director has no address", to_vip(82, SYN), Reason::NeighbourUnresolved).keeps(SR, FULL_UNKNOWN),
        drops("full NAT: a real server that is not resolved", to_vip(80, SYN), Reason::NeighbourUnresolved).before(Before::Link(FULL, None)),
        passes("full NAT: TTL 1 is for the kernel", to_vip(80, SYN).ttl(1), Reason::TtlExceeded),
    ]
}

#[rustfmt::skip]
fn answered() -> Vec<Case> {
    let web6 = Frame::tcp(client6(1000), full_vip6(80), SYN);
    let from6 = Frame::tcp(at(&FULL_6, 8080), from(TUN_SOURCE_6), SYN | ACK);
    let any = |flags| Frame::tcp(client(1000), any_full_vip(443), flags);
    let near_syn = Frame::tcp(near(1000), full_vip(80), SYN).from(NEAR_MAC);
    vec![
        answers("full NAT: an answer to the director's port goes to the client", from_server(8080, SYN | ACK), FULL, from_vip(80, SYN | ACK)).after([to_vip(80, SYN)]),
        answers("full NAT: and the next ones", from_server(8080, PSH | ACK), FULL, from_vip(80, PSH | ACK)).after([to_vip(80, SYN), to_vip(80, ACK)]),
        answers("full NAT: an unfinished answer is finished", from_server(8080, ACK).unfinished(), FULL, from_vip(80, ACK)).after([to_vip(80, SYN)]),
        answers("full NAT: an answer with TTL 2", from_server(8080, ACK).ttl(2), FULL, from_vip(80, ACK).ttl(1)).after([to_vip(80, SYN)]),
        answers("full NAT: a datagram's", answer(), FULL, answer_outside().answered()).after([query()]),
        answers("full NAT: without a checksum", answer().patch_payload(6, &[0, 0]), FULL, answer_outside().patch_payload(6, &[0, 0]).answered()).after([query()]),
        answers("full NAT: one that keeps the flow's port", answer(), FULL, answer_outside().answered())
            .after([query()]).idle(200).after([answer()]).idle(200),
        answers("full NAT: from any port", Frame::tcp(at(&FULL, 443), from(TUN_SOURCE), ACK), FULL, Frame::tcp(any_full_vip(443), client(1000), ACK).answered())
            .after([any(SYN)]),
        answers("full NAT, IPv6: an answer to the director's port goes to the client", from6.clone(), FULL_6,
            Frame::tcp(full_vip6(80), client6(1000), SYN | ACK).answered()).after([web6.clone()]),
        answers("full NAT, IPv6: unfinished", from6.unfinished(), FULL_6, Frame::tcp(full_vip6(80), client6(1000), SYN | ACK).answered()).after([web6]),
        answers("full NAT, IPv6: a datagram's", answer6(), FULL_6, answer6_outside().answered()).after([query6()]),
        answers("full NAT: of a real server that was taken out", from_server(8080, ACK), FULL, from_vip(80, ACK))
            .after([to_vip(80, SYN)]).before(Before::Change(|desired| desired.services.get_mut(&name(TCP, full_vip(80))).unwrap().servers.clear())),
        answers("full NAT: a client on the segment gets it where it sent from", from_server(8080, ACK), FULL,
            Frame::tcp(full_vip(80), near(1000), ACK).answered().to(NEAR_MAC)).after([near_syn.clone()]),
        answers("full NAT, IPv6: a client on the segment", Frame::tcp(at(&FULL_6, 8080), from(TUN_SOURCE_6), ACK), FULL_6,
            Frame::tcp(full_vip6(80), near6(1000), ACK).answered().to(NEAR_MAC)).after([Frame::tcp(near6(1000), full_vip6(80), SYN).from(NEAR_MAC)]),
        passes("full NAT: what nobody asked for is the director's own", from_server(8080, ACK), Reason::NoVirtualServer),
        passes("full NAT: from another port of the real server", from_server(8079, ACK), Reason::NoVirtualServer).after([to_vip(80, SYN)]),
        passes("full NAT: to another port of the director", Frame::tcp(at(&FULL, 8080), SocketAddr::new(TUN_SOURCE, 5001), ACK), Reason::NoVirtualServer).after([to_vip(80, SYN)]),
        passes("full NAT: by another protocol", Frame::udp(at(&FULL, 8080), from(TUN_SOURCE), b""), Reason::NoVirtualServer).after([to_vip(80, SYN)]),
        passes("full NAT: straight to the client it is no answer", Frame::tcp(at(&FULL, 8080), client(1000), ACK), Reason::NoVirtualServer).after([to_vip(80, SYN)]),
        passes("full NAT: after the connection's time", from_server(8080, ACK), Reason::NoVirtualServer).after([to_vip(80, SYN)]).idle(60),
        passes("full NAT: an answer with TTL 1 is for the kernel", from_server(8080, ACK).ttl(1), Reason::TtlExceeded).after([to_vip(80, SYN)]),
        passes("full NAT: an answer for another machine's MAC", from_server(8080, ACK).to([2, 0, 0, 0, 0, 2]), Reason::OtherMac).after([to_vip(80, SYN)]),
    ]
}

/// Who gets which port.
#[rustfmt::skip]
fn ports() -> Vec<Case> {
    let other = |flags| Frame::tcp(client(1001), full_vip(80), flags);
    let other_inside = |flags| Frame::tcp(from(TUN_SOURCE), at(&FULL, 8080), flags).forwarded(&FULL);
    let two = |port: u16| Frame::tcp(client(port), full_vip(83), SYN);
    // Whom the hash gives the first address, and whom the second, is the same in every run.
    let [first, second] = SOURCES.map(|address| Frame::tcp(from(address), at(&FULL, 8083), SYN).forwarded(&FULL));
    vec![
        drops("full NAT: no port is left for a second client", other(SYN), Reason::NoSourcePort).after([to_vip(80, SYN), to_vip(80, ACK)]).keeps(SR, FULL),
        drops("full NAT: nor while a handshake is on its way", other(SYN), Reason::NoSourcePort).after([to_vip(80, SYN)]).keeps(SR, FULL),
        opens("full NAT: a handshake that does not go on gives its port", other(SYN), FULL, SR).after([to_vip(80, SYN)]).idle(5)
            .counts(Reason::Evicted).out(other_inside(SYN)),
        drops("full NAT: an established connection does not", other(SYN), Reason::NoSourcePort).after([to_vip(80, SYN), to_vip(80, ACK)]).idle(800).keeps(SR, FULL),
        opens("full NAT: one whose time is over does", other(SYN), FULL, SR).after([to_vip(80, SYN), to_vip(80, ACK)]).idle(900).out(other_inside(SYN)),
        opens("full NAT: one that was reset, soon", other(SYN), FULL, SR).after([to_vip(80, SYN), to_vip(80, ACK), to_vip(80, RST)]).idle(10).out(other_inside(SYN)),
        drops("full NAT: who lost its port to another", to_vip(80, ACK), Reason::NoSourcePort)
            .after([to_vip(80, SYN)]).idle(5).after([other(SYN), other(ACK)]).keeps(ES, FULL),
        opens("full NAT: another port of the real server is another matter", Frame::tcp(client(1000), any_full_vip(443), SYN), FULL, SR).after([to_vip(80, SYN)])
            .out(to_server(&FULL, 443, SYN)),
        opens("full NAT: another protocol too", query(), FULL, FD).after([Frame::tcp(client(1000), any_full_vip(53), SYN)]).out(query_inside().forwarded(&FULL)),
        opens("full NAT: the first of two addresses", two(1001), FULL, SR).out(first.clone()),
        opens("full NAT: the second client gets the other one", two(1002), FULL, SR).after([two(1001)]).out(second),
        drops("full NAT: the third none", two(1003), Reason::NoSourcePort).after([two(1001), two(1002)]).keeps(SR, FULL),
        drops("full NAT: nor through another virtual server on the same port of the real server", Frame::tcp(client(1003), full_vip(84), SYN), Reason::NoSourcePort)
            .after([two(1001), two(1002)]).keeps(SR, FULL),
        answers("full NAT: each answer to its own client", Frame::tcp(at(&FULL, 8083), from(SOURCES[1]), ACK), FULL,
            Frame::tcp(full_vip(83), client(1002), ACK).answered()).after([two(1001), two(1002)]),
        answers("full NAT: and through its own virtual server", Frame::tcp(at(&FULL, 8083), from(SOURCES[1]), ACK), FULL,
            Frame::tcp(full_vip(84), client(1002), ACK).answered()).after([two(1001), Frame::tcp(client(1002), full_vip(84), SYN)]),
        opens("full NAT: after a change of addresses new connections have the new ones", two(1001), FULL, SR)
            .before(Before::Change(|desired| desired.services.get_mut(&name(TCP, full_vip(83))).unwrap().sources.addresses = vec![SOURCES[1]]))
            .out(Frame::tcp(from(SOURCES[1]), at(&FULL, 8083), SYN).forwarded(&FULL)),
    ]
}

#[rustfmt::skip]
fn fragments() -> Vec<Case> {
    vec![
        opens("full NAT: a first fragment", query().first_fragment(32), FULL, FD).out(query_inside().first_fragment(32).forwarded(&FULL)),
        forwards("full NAT: a later fragment follows, both addresses replaced", query().later_fragment(32, false), FULL).after([query().first_fragment(32)])
            .out(query_inside().later_fragment(32, false).forwarded(&FULL)),
        forwards("full NAT, IPv6: a later fragment", query6().later_fragment(32, false), FULL_6).after([query6().first_fragment(32)])
            .out(query6_inside().later_fragment(32, false).forwarded(&FULL_6)),
        answers("full NAT: an answer's first fragment", answer().first_fragment(32), FULL, answer_outside().first_fragment(32).answered()).after([query()]),
        answers("full NAT: an answer's later fragment", answer().later_fragment(32, false), FULL, answer_outside().later_fragment(32, false).answered())
            .after([query(), answer().first_fragment(32)]),
        drops("full NAT: a later fragment of a datagram that got no port", Frame::udp(client(1001), full_vip(53), &[7; 57]).later_fragment(32, false), Reason::NoLease)
            .after([query(), query(), Frame::udp(client(1001), full_vip(53), &[7; 57]).first_fragment(32)]),
        answers("full NAT, IPv6: an answer's later fragment", answer6().later_fragment(32, true), FULL_6, answer6_outside().later_fragment(32, true).answered())
            .after([query6(), answer6().first_fragment(32)]),
        passes("full NAT: a later fragment of nobody's answer", answer().later_fragment(32, false), Reason::UnknownFragment).after([answer().first_fragment(32)]),
    ]
}

#[rustfmt::skip]
fn errors() -> Vec<Case> {
    let syn = to_vip(80, SYN);
    let syn6 = Frame::tcp(client6(1000), full_vip6(80), SYN);
    let (outside, inside) = (Frame::tcp(full_vip(80), client(1000), ACK), from_server(8080, ACK));
    let (outside6, inside6) = (Frame::tcp(full_vip6(80), client6(1000), ACK), Frame::tcp(at(&FULL_6, 8080), from(TUN_SOURCE_6), ACK));
    let (up, up_inside) = (to_vip(80, ACK), Frame::tcp(from(TUN_SOURCE), at(&FULL, 8080), ACK));
    let (up6, up6_inside) = (Frame::tcp(client6(1000), full_vip6(80), ACK), Frame::tcp(from(TUN_SOURCE_6), at(&FULL_6, 8080), ACK));
    let error = |about: &Frame, length| Frame::icmp_error(ROUTER, UNREACHABLE, about, length);
    vec![
        forwards("full NAT: an error about an answer goes to the real server as about its own packet", error(&outside, 28), FULL).after([syn.clone()])
            .out(error(&inside, 28).forwarded(&FULL)),
        forwards("full NAT: one that quotes the checksum", error(&outside, 60), FULL).after([syn.clone()]).out(error(&inside, 60).forwarded(&FULL)),
        forwards("full NAT: one about a datagram", error(&answer_outside(), 40), FULL).after([query()]).out(error(&answer(), 40).forwarded(&FULL)),
        forwards("full NAT, IPv6: an error about an answer", Frame::icmp_error(ROUTER_6, 2, &outside6, 1000), FULL_6).after([syn6.clone()])
            .out(Frame::icmp_error(ROUTER_6, 2, &inside6, 1000).forwarded(&FULL_6)),
        drops("full NAT: an error about a flow that has no port", error(&outside, 28), Reason::NoLease),
        answers("full NAT: an error of the real server goes to the client, from the virtual server", Frame::icmp_error(FULL.address, UNREACHABLE, &up_inside, 28), FULL,
            Frame::icmp_error(full_vip(80).ip(), UNREACHABLE, &up, 28).answered()).after([syn.clone()]),
        answers("full NAT: one that quotes the checksum, of a router", error(&up_inside, 500), FULL,
            Frame::icmp_error(full_vip(80).ip(), UNREACHABLE, &up, 500).answered()).after([syn.clone()]),
        answers("full NAT: an error about a datagram", Frame::icmp_error(FULL.address, UNREACHABLE, &query_inside(), 85), FULL,
            Frame::icmp_error(full_vip(53).ip(), UNREACHABLE, &query(), 85).answered()).after([query()]),
        answers("full NAT, IPv6: an error of the real server", Frame::icmp_error(FULL_6.address, 1, &up6_inside, 1000), FULL_6,
            Frame::icmp_error(full_vip6(80).ip(), 1, &up6, 1000).answered()).after([syn6]),
        passes("full NAT: an error about the director's own packet", error(&up_inside, 28), Reason::NoVirtualServer),
        passes("full NAT: an error with TTL 1", error(&up_inside, 28).ttl(1), Reason::TtlExceeded).after([syn]).verdict(Verdict::Pass(Reason::TtlExceeded)),
    ]
}

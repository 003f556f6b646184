//! NAT of fragments and of ICMP errors.

use std::net::SocketAddr;

use lb_common::conn::State;
use lb_common::verdict::Reason;

use crate::harness::case::{Case, answers, forwards, opens, passes};
use crate::harness::frame::{ACK, Frame, SYN};
use crate::harness::world::{
    NAT1, NAT1_6, NAT2, ROUTER, ROUTER_6, Server, any_nat_vip, client, client6, nat_vip, nat_vip6,
};

const FD: State = State::FIRST_DATAGRAM;
const UNREACHABLE: u8 = 3;

fn at(server: &Server, port: u16) -> SocketAddr {
    SocketAddr::new(server.address, port)
}

fn query() -> Frame {
    Frame::udp(client(1000), nat_vip(53), &[7; 57])
}

fn query_inside() -> Frame {
    Frame::udp(client(1000), at(&NAT1, 53), &[7; 57])
}

fn answer() -> Frame {
    Frame::udp(at(&NAT1, 53), client(1000), &[9; 57])
}

fn answer_outside() -> Frame {
    Frame::udp(nat_vip(53), client(1000), &[9; 57])
}

fn query6() -> Frame {
    Frame::udp(client6(1000), nat_vip6(53), &[7; 57])
}

fn answer6() -> Frame {
    Frame::udp(at(&NAT1_6, 53), client6(1000), &[9; 57])
}

fn syn() -> Frame {
    Frame::tcp(client(1000), nat_vip(80), SYN)
}

fn syn6() -> Frame {
    Frame::tcp(client6(1000), nat_vip6(80), SYN)
}

/// A segment that the client gets, and the same as the real server sent it.
fn downwards() -> [Frame; 2] {
    [Frame::tcp(nat_vip(80), client(1000), ACK), Frame::tcp(at(&NAT1, 8080), client(1000), ACK)]
}

fn downwards6() -> [Frame; 2] {
    [Frame::tcp(nat_vip6(80), client6(1000), ACK), Frame::tcp(at(&NAT1_6, 8080), client6(1000), ACK)]
}

/// A router's error about a frame.
fn error(about: &Frame, length: usize) -> Frame {
    Frame::icmp_error(ROUTER, UNREACHABLE, about, length)
}

fn error6(about: &Frame, length: usize) -> Frame {
    Frame::icmp_error(ROUTER_6, 2, about, length)
}

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    let [outside, inside] = downwards();
    let [outside6, inside6] = downwards6();
    let upwards = Frame::tcp(client(1000), at(&NAT1, 8080), ACK);
    let upwards_outside = Frame::tcp(client(1000), nat_vip(80), ACK);
    let upwards6 = Frame::tcp(client6(1000), at(&NAT1_6, 8080), ACK);
    let upwards_outside6 = Frame::tcp(client6(1000), nat_vip6(80), ACK);
    let any = Frame::tcp(client(1000), at(&NAT2, 443), ACK);
    let datagram = Frame::udp(client(1000), at(&NAT1, 53), b"query");
    vec![
        // Fragments.
        opens("NAT: a first fragment goes to the real server", query().first_fragment(32), NAT1, FD).out(query_inside().first_fragment(32).forwarded(&NAT1)),
        forwards("NAT: a later fragment follows, its address replaced", query().later_fragment(32, false), NAT1).after([query().first_fragment(32)])
            .out(query_inside().later_fragment(32, false).forwarded(&NAT1)),
        forwards("NAT, IPv6: a later fragment follows", query6().later_fragment(32, false), NAT1_6).after([query6().first_fragment(32)])
            .out(Frame::udp(client6(1000), at(&NAT1_6, 53), &[7; 57]).later_fragment(32, false).forwarded(&NAT1_6)),
        answers("an answer's first fragment comes from the virtual server", answer().first_fragment(32), NAT1, answer_outside().first_fragment(32).answered())
            .after([query()]),
        answers("an answer's later fragment too", answer().later_fragment(32, false), NAT1, answer_outside().later_fragment(32, false).answered())
            .after([query(), answer().first_fragment(32)]),
        answers("IPv6: an answer's later fragment", answer6().later_fragment(32, true), NAT1_6,
            Frame::udp(nat_vip6(53), client6(1000), &[9; 57]).later_fragment(32, true).answered()).after([query6(), answer6().first_fragment(32)]),
        passes("a later fragment of the server's own datagram", answer().later_fragment(32, false), Reason::UnknownFragment).after([answer().first_fragment(32)]),
        // Errors about answers, from the clients' side.
        forwards("NAT: an error about an answer goes to the real server as about its own packet", error(&outside, 28), NAT1).after([syn()])
            .out(error(&inside, 28).forwarded(&NAT1)),
        forwards("NAT: one that quotes the checksum", error(&outside, 60), NAT1).after([syn()]).out(error(&inside, 60).forwarded(&NAT1)),
        forwards("NAT: one about a datagram", error(&answer_outside(), 40), NAT1).after([query()]).out(error(&answer(), 40).forwarded(&NAT1)),
        forwards("NAT: one that quotes IP options", error(&outside.clone().options(&[1; 8]), 36), NAT1).after([syn()])
            .out(error(&inside.options(&[1; 8]), 36).forwarded(&NAT1)),
        forwards("NAT, IPv6: an error about an answer", error6(&outside6, 48), NAT1_6).after([syn6()]).out(error6(&inside6, 48).forwarded(&NAT1_6)),
        forwards("NAT, IPv6: one that quotes the checksum", error6(&outside6, 1000), NAT1_6).after([syn6()])
            .out(error6(&inside6, 1000).forwarded(&NAT1_6)),
        // Errors about clients' packets, from the real servers' side.
        answers("an error of the real server comes from the virtual server", Frame::icmp_error(NAT1.address, UNREACHABLE, &upwards, 28), NAT1,
            Frame::icmp_error(nat_vip(80).ip(), UNREACHABLE, &upwards_outside, 28).answered()).after([syn()]),
        answers("one that quotes the checksum", Frame::icmp_error(NAT1.address, UNREACHABLE, &upwards, 500), NAT1,
            Frame::icmp_error(nat_vip(80).ip(), UNREACHABLE, &upwards_outside, 500).answered()).after([syn()]),
        answers("an error of a router before it", Frame::icmp_error(ROUTER, UNREACHABLE, &upwards, 28), NAT1,
            Frame::icmp_error(nat_vip(80).ip(), UNREACHABLE, &upwards_outside, 28).answered()).after([syn()]),
        answers("an error about a datagram", Frame::icmp_error(NAT1.address, UNREACHABLE, &datagram, 33), NAT1,
            Frame::icmp_error(nat_vip(53).ip(), UNREACHABLE, &Frame::udp(client(1000), nat_vip(53), b"query"), 33).answered())
            .after([Frame::udp(client(1000), nat_vip(53), b"query")]),
        answers("an error about any port", Frame::icmp_error(NAT2.address, UNREACHABLE, &any, 28), NAT2,
            Frame::icmp_error(any_nat_vip(443).ip(), UNREACHABLE, &Frame::tcp(client(1000), any_nat_vip(443), ACK), 28).answered())
            .after([Frame::tcp(client(1000), any_nat_vip(443), SYN)]),
        answers("IPv6: an error of the real server", Frame::icmp_error(NAT1_6.address, 1, &upwards6, 1000), NAT1_6,
            Frame::icmp_error(nat_vip6(80).ip(), 1, &upwards_outside6, 1000).answered()).after([syn6()]),
        passes("an error about a flow without an entry", Frame::icmp_error(NAT1.address, UNREACHABLE, &upwards, 28), Reason::NoVirtualServer),
        passes("an error with TTL 1", Frame::icmp_error(NAT1.address, UNREACHABLE, &upwards, 28).ttl(1), Reason::TtlExceeded).after([syn()]),
        passes("an error for another machine's MAC", Frame::icmp_error(NAT1.address, UNREACHABLE, &upwards, 28).to([2, 0, 0, 0, 0, 2]), Reason::OtherMac)
            .after([syn()]),
        passes("an error that quotes what its receiver did not send", Frame::icmp(NAT1.address, client(1).ip(), UNREACHABLE,
            &Frame::tcp("198.51.100.11:1000".parse().unwrap(), at(&NAT1, 8080), ACK).bytes()[14..14 + 28]), Reason::NoVirtualServer).after([syn()]),
    ]
}

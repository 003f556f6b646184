//! The order of real servers that IPVS 1.2.1 of Linux 6.1 gave to one connection after the other, each
//! captured on a client with curl, from configuration to packet: plan, apply, forward.
//!
//! Real server 1 was added first, then 2, then 3; `ipvsadm -e` and `-d` made the changes.

use lb_common::hash::{self, MAGLEV_SLOTS};
use lb_common::layout::SchedulerCode::{self, Dh, Fo, Lc, Mh, Nq, Ovf, Rr, Sed, Sh, Wlc, Wrr};
use lb_common::layout::{DestinationRef, UNAVAILABLE};
use lb_userspace::config::{SchedulerFlags, Thresholds};
use lb_userspace::plane::applied::Applied;
use lb_userspace::plane::desired::Desired;
use lb_userspace::plane::janitor;
use std::net::{IpAddr, SocketAddr};

use crate::harness::frame::{ACK, FIN, Frame, SYN, TCP, UDP};
use crate::harness::sides::{Action, Host, Kernel, Side};
use crate::harness::world::{Server, WEB1, WEB2, WEB3, client, hops, name, service, vip};

/// What an operator did.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The weights of real servers 1, 2, 3 from now on; `None`: not there.
    Weights(&'static [Option<u32>]),
    /// Connections that are kept open, and the real servers that answered; `-`: nobody did.
    Connections(&'static str),
    /// Connections that are closed before the next one, likewise.
    Closed(&'static str),
}
use Step::{Closed, Connections, Weights};

/// A capture: its name, the scheduler, and what happened.
type Capture = (&'static str, SchedulerCode, &'static [Step]);

#[rustfmt::skip]
const CAPTURES: &[Capture] = &[
    ("rr, 2 servers", Rr, &[
        Weights(&[Some(1), Some(1)]), Connections("2 1 2 1 2 1 2 1 2 1 2 1 2 1 2 1 2 1 2 1 2 1 2 1"),
    ]),
    ("rr, 3 servers", Rr, &[
        Weights(&[Some(1), Some(1), Some(1)]), Connections("3 2 1 3 2 1 3 2 1 3 2 1 3 2 1 3 2 1 3 2 1 3 2 1"),
    ]),
    ("rr ignores the weights 1 2", Rr, &[
        Weights(&[Some(1), Some(2)]), Connections("2 1 2 1 2 1 2 1 2 1 2 1 2 1 2 1 2 1 2 1 2 1 2 1"),
    ]),
    ("rr, connections held", Rr, &[
        Weights(&[Some(1), Some(1), Some(1)]), Connections("3 2 1 3 2 1 3 2 1 3 2 1 3 2 1 3 2 1 3 2 1 3 2 1"),
    ]),
    ("rr, server 1 quiesced", Rr, &[
        Weights(&[Some(1), Some(1)]), Connections("2 1"), Weights(&[Some(0), Some(1)]), Connections("2 2 2 2 2 2 2 2"),
    ]),
    ("wrr 0 1 2", Wrr, &[
        Weights(&[Some(0), Some(1), Some(2)]), Connections("3 2 3 3 2 3 3 2 3 3 2 3 3 2 3 3 2 3 3 2 3 3 2 3"),
    ]),
    ("wrr 1 2", Wrr, &[
        Weights(&[Some(1), Some(2)]), Connections("2 1 2 2 1 2 2 1 2 2 1 2 2 1 2 2 1 2 2 1 2 2 1 2"),
    ]),
    ("wrr 1 3 5", Wrr, &[
        Weights(&[Some(1), Some(3), Some(5)]), Connections("3 2 1 3 3 3 2 3 2 3 2 1 3 3 3 2 3 2 3 2 1 3 3 3"),
    ]),
    ("wrr 2 1", Wrr, &[
        Weights(&[Some(2), Some(1)]), Connections("2 1 1 2 1 1 2 1 1 2 1 1 2 1 1 2 1 1 2 1 1 2 1 1"),
    ]),
    ("wrr 2 4", Wrr, &[
        Weights(&[Some(2), Some(4)]), Connections("2 1 2 2 1 2 2 1 2 2 1 2 2 1 2 2 1 2 2 1 2 2 1 2"),
    ]),
    ("wrr 5 3 1", Wrr, &[
        Weights(&[Some(5), Some(3), Some(1)]), Connections("3 2 1 1 1 2 1 2 1 3 2 1 1 1 2 1 2 1 3 2 1 1 1 2"),
    ]),
    ("wrr 5 3 1, connections held", Wrr, &[
        Weights(&[Some(5), Some(3), Some(1)]), Connections("3 2 1 1 1 2 1 2 1 3 2 1 1 1 2 1 2 1 3 2 1 1 1 2"),
    ]),
    ("wrr, weights changed in mid-sequence", Wrr, &[
        Weights(&[Some(1), Some(2)]), Connections("2 1 2 2 1 2 2 1 2 2"),
        Weights(&[Some(3), Some(2)]), Connections("2 1 1 2 1 2 1 1 2 1 2 1 1 2 1"),
        Weights(&[Some(3), Some(2), Some(2)]), Connections("3 2 1 3 2 1 1 3 2 1 3 2 1 1 3"),
        Weights(&[Some(3), None, Some(2)]), Connections("3 1 3 1 1 3 1 3 1 1 3 1 3 1 1"),
    ]),
    ("lc, connections held", Lc, &[
        Weights(&[Some(1), Some(1), Some(1)]), Connections("3 2 1 3 2 1 3 2 1 3 2 1 3 2 1 3 2 1 3 2 1 3 2 1"),
    ]),
    ("lc, connections closed", Lc, &[
        Weights(&[Some(1), Some(1), Some(1)]), Closed("3 2 1 3 2 1 3 2 1 3 2 1 3 2 1 3 2 1 3 2 1 3 2 1"),
    ]),
    ("wlc 1 2, connections held", Wlc, &[
        Weights(&[Some(1), Some(2)]), Connections("2 1 2 2 1 2 2 1 2 2 1 2 2 1 2 2 1 2 2 1 2 2 1 2"),
    ]),
    ("wlc 5 3 1, connections held", Wlc, &[
        Weights(&[Some(5), Some(3), Some(1)]), Connections("3 2 1 1 2 1 1 2 1 3 2 1 1 2 1 1 2 1 3 2 1 1 2 1"),
    ]),
    ("wlc 5 3 1, connections closed", Wlc, &[
        Weights(&[Some(5), Some(3), Some(1)]), Closed("3 2 1 1 2 1 1 2 1 3 2 1 1 2 1 1 2 1 3 2 1 1 2 1"),
    ]),
    ("sed 5 3 1, connections held", Sed, &[
        Weights(&[Some(5), Some(3), Some(1)]), Connections("1 2 1 1 2 1 3 2 1 1 2 1 1 2 1 3 2 1 1 2 1 1 2 1"),
    ]),
    ("nq 5 3 1, connections held", Nq, &[
        Weights(&[Some(5), Some(3), Some(1)]), Connections("3 2 1 1 1 2 1 2 1 1 2 1 1 2 1 3 2 1 1 2 1 1 2 1"),
    ]),
    ("nq 5 3 1, connections closed", Nq, &[
        Weights(&[Some(5), Some(3), Some(1)]), Closed("3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3"),
    ]),
    ("fo 1 3 2, connections closed", Fo, &[
        Weights(&[Some(1), Some(3), Some(2)]), Closed("2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2"),
    ]),
    ("ovf 1 3 2, connections closed", Ovf, &[
        Weights(&[Some(1), Some(3), Some(2)]), Closed("2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2"),
    ]),
    ("ovf 3 2 1, connections held", Ovf, &[
        Weights(&[Some(3), Some(2), Some(1)]), Connections("1 1 1 1 2 2 2 3 3 - -"),
    ]),
];

const SERVERS: [Server; 3] = [WEB1, WEB2, WEB3];

fn desired(scheduler: SchedulerCode, weights: &[Option<u32>]) -> Desired {
    let servers: Vec<(Server, u32)> =
        SERVERS.into_iter().zip(weights).filter_map(|(server, weight)| Some((server, (*weight)?))).collect();
    let service = service(scheduler, 80, &servers);
    Desired {
        services: [TCP, UDP].map(|protocol| (name(protocol, vip(80)), service.clone())).into(),
        ..Desired::default()
    }
}

/// Which real server a frame went to.
fn served(side: &mut impl Side, frame: &Frame) -> char {
    let (action, out) = side.run(&frame.bytes());
    if action == Action::Pass {
        return '-';
    }
    assert_eq!(action, Action::Transmit);
    let number = SERVERS.iter().position(|server| server.mac == out[..6]).unwrap();
    ['1', '2', '3'][number]
}

/// Connections one after the other, each from another port, and who served them.
fn connect(side: &mut impl Side, protocol: u8, ports: std::ops::Range<u16>, closes: bool) -> String {
    let connections = ports.map(|port| {
        let tcp = |flags| Frame::tcp(client(port), vip(80), flags);
        if protocol == UDP {
            return served(side, &Frame::udp(client(port), vip(80), b"query")).to_string();
        }
        let server = served(side, &tcp(SYN));
        if closes {
            for flags in [ACK, FIN | ACK] {
                assert_eq!(served(side, &tcp(flags)), server);
            }
        }
        server.to_string()
    });
    connections.collect::<Vec<_>>().join(" ")
}

fn check(side: &mut impl Side) {
    let mut wrong = Vec::new();
    for (capture, scheduler, steps) in CAPTURES {
        for protocol in [TCP, UDP] {
            // UDP is never active, which is all that these go by.
            if protocol == UDP && matches!(scheduler, Sed | Nq | Ovf) {
                continue;
            }
            side.clear(BUCKETS);
            let mut port = 1000;
            for step in *steps {
                let (expected, closes) = match step {
                    Weights(weights) => {
                        side.configure(&desired(*scheduler, weights), &hops());
                        continue;
                    }
                    Connections(expected) => (expected, false),
                    Closed(expected) => (expected, true),
                };
                let ports = port..port + u16::try_from(expected.split(' ').count()).unwrap();
                port = ports.end;
                let served = connect(side, protocol, ports, closes);
                if served != *expected {
                    wrong.push(format!("{capture}:\n     IPVS {expected}\n     ours {served}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An upper threshold of 3 and a lower one of 2 on real server 1, as captured.
fn check_thresholds(side: &mut impl Side) {
    side.clear(BUCKETS);
    let limited = |limits: [Thresholds; 2]| {
        let mut desired = desired(Rr, &[Some(1), Some(1)]);
        for service in desired.services.values_mut() {
            for (server, limits) in service.servers.iter_mut().zip(limits) {
                server.thresholds = limits;
            }
        }
        desired
    };
    let three = Thresholds { upper: 3, lower: 2 };
    side.configure(&limited([three, Thresholds::default()]), &hops());
    assert_eq!(connect(side, TCP, 1000..1008, false), "2 1 2 1 2 1 2 2");
    side.configure(&limited([three, Thresholds { upper: 3, lower: 0 }]), &hops());
    assert_eq!(
        connect(side, TCP, 1008..1009, false),
        "-",
        "real server 2 has more than its threshold already"
    );
    // Closed connections count until they expire.
    let close = |side: &mut _, port| {
        for flags in [ACK, FIN | ACK] {
            served(side, &Frame::tcp(client(port), vip(80), flags));
        }
    };
    close(side, 1001);
    assert_eq!(connect(side, TCP, 1009..1010, false), "-");
    // Those of real server 1 go one by one; it is back when fewer than two are left.
    let idle = |side: &mut _, port| {
        close(side, port);
        Side::idle(side, 113);
        janitor::sweep(Side::store(side), Side::now(side));
    };
    for port in [1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007] {
        served(side, &Frame::tcp(client(port), vip(80), ACK));
    }
    idle(side, 1001);
    assert_eq!(connect(side, TCP, 1010..1011, false), "-", "two are left");
    idle(side, 1003);
    assert_eq!(connect(side, TCP, 1011..1014, false), "1 1 -", "one was left");
}

/// The hashing schedulers give clients the servers that their tables say, which are tested against the kernel's.
fn check_hashing(side: &mut impl Side) {
    for scheduler in [Sh, Dh, Mh] {
        for (flags, weights) in
            [(0, [Some(1), Some(2), Some(3)]), (1, [Some(1), Some(0), Some(3)]), (2, [Some(1); 3])]
        {
            side.clear(BUCKETS);
            let mut desired = desired(scheduler, &[Some(1), Some(2), Some(3)]);
            let set = |desired: &mut Desired, weights: [Option<u32>; 3]| {
                for service in desired.services.values_mut() {
                    service.flags = SchedulerFlags { fallback: flags == 1, port: flags == 2 };
                    for (server, weight) in service.servers.iter_mut().zip(weights) {
                        server.weight = weight.unwrap();
                    }
                }
            };
            side.configure(&desired, &hops());
            set(&mut desired, weights);
            side.configure(&desired, &hops());
            let applied = Applied::read(side.store());
            let service = &applied.services[&name(TCP, vip(80))];
            let slots = service.slots.clone();
            let address = |word: u64| {
                let reference = DestinationRef::from_word(word);
                let server = service.servers.iter().find(|server| server.reference == reference).unwrap();
                let number = SERVERS.iter().position(|known| known.address == server.key.address).unwrap();
                ['1', '2', '3'][number]
            };
            for port in 1000u16..1100 {
                let from = SocketAddr::new(IpAddr::from([10, 9, 8, port.to_be_bytes()[1]]), port);
                let fold = |ip: IpAddr| match ip {
                    IpAddr::V4(ip) => ip.to_bits(),
                    IpAddr::V6(address) => panic!("{address} is no IPv4 address"),
                };
                let number = if scheduler == Dh {
                    fold(vip(80).ip())
                } else if flags == 2 {
                    fold(from.ip()).wrapping_add(port.into())
                } else {
                    fold(from.ip())
                };
                let slot = |number: u32| {
                    if scheduler == Mh { hash::maglev(number) % MAGLEV_SLOTS } else { hash::bucket(number) }
                };
                let first = slot(number);
                let falls_back = flags == 1 && scheduler != Dh;
                let other = |offset: u32| {
                    if scheduler == Mh {
                        slot(number.wrapping_add((offset + first) % MAGLEV_SLOTS))
                    } else {
                        (offset + 2 * first) % 256
                    }
                };
                let tries = std::iter::once(first).chain((0..256).filter(|_| falls_back).map(other));
                let word = tries.map(|slot| slots[slot as usize]).find(|word| word & UNAVAILABLE == 0);
                let expected = word.map_or('-', address);
                let found = served(side, &Frame::tcp(from, vip(80), SYN));
                assert_eq!(found, expected, "{scheduler:?} {flags} {from}");
                assert_eq!(served(side, &Frame::tcp(from, vip(80), SYN)), expected, "again");
            }
        }
    }
}

#[test]
fn thresholds_and_hashes_on_the_host() {
    check_thresholds(&mut Host::new(BUCKETS));
    check_hashing(&mut Host::new(BUCKETS));
}

#[test]
fn thresholds_and_hashes_in_the_kernel() {
    let Some(mut kernel) = Kernel::new(BUCKETS) else { return };
    check_thresholds(&mut kernel);
    check_hashing(&mut kernel);
}

const BUCKETS: u32 = 64;

#[test]
fn captures_of_ipvs_on_the_host() {
    check(&mut Host::new(BUCKETS));
}

#[test]
fn captures_of_ipvs_in_the_kernel() {
    let Some(mut kernel) = Kernel::new(BUCKETS) else { return };
    check(&mut kernel);
}

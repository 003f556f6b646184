//! The order of real servers that IPVS 1.2.1 of Linux 6.1 gave to one connection after the other, each
//! captured on a client with curl, from configuration to packet: plan, apply, forward.
//!
//! Real server 1 was added first, then 2, then 3; `ipvsadm -e` and `-d` made the changes.

use lb_common::layout::SchedulerCode::{self, Rr, Wrr};
use lb_userspace::plane::desired::Desired;

use crate::harness::frame::{Frame, SYN, TCP, UDP};
use crate::harness::sides::{Action, Host, Kernel, Side};
use crate::harness::world::{Server, WEB1, WEB2, WEB3, client, hops, name, service, vip};

/// What an operator did.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The weights of real servers 1, 2, 3 from now on; `None`: not there.
    Weights(&'static [Option<u32>]),
    /// Connections, and the real servers that answered.
    Connections(&'static str),
}
use Step::{Connections, Weights};

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
    assert_eq!(action, Action::Transmit);
    let number = SERVERS.iter().position(|server| server.mac == out[..6]).unwrap();
    ['1', '2', '3'][number]
}

fn check(side: &mut impl Side) {
    let mut wrong = Vec::new();
    for (capture, scheduler, steps) in CAPTURES {
        for protocol in [TCP, UDP] {
            side.clear(BUCKETS);
            let mut port = 1000;
            for step in *steps {
                match step {
                    Weights(weights) => side.configure(&desired(*scheduler, weights), &hops()),
                    Connections(expected) => {
                        let served: Vec<String> = (0..expected.split(' ').count())
                            .map(|_| {
                                port += 1;
                                let frame = match protocol {
                                    TCP => Frame::tcp(client(port), vip(80), SYN),
                                    _ => Frame::udp(client(port), vip(80), b"query"),
                                };
                                served(side, &frame).to_string()
                            })
                            .collect();
                        if served.join(" ") != *expected {
                            wrong.push(format!(
                                "{capture}:\n     IPVS {expected}\n     ours {}",
                                served.join(" ")
                            ));
                        }
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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

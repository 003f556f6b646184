//! Leases of full NAT under many CPUs: no two flows have the same one, and every answer finds its own client.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use lb_common::forward::forward;
use lb_common::memory::MemoryTables;
use lb_common::packet::MemoryPacket;
use lb_common::verdict::{Reason, Verdict};
use lb_userspace::plane::desired::Desired;
use lb_userspace::plane::janitor;

use crate::harness::frame::{ACK, Frame, RST, SYN, TCP};
use crate::harness::sides::{Host, Side};
use crate::harness::world::{FULL, INGRESS, client, full_service, full_vip, hops, name};

const THREADS: u16 = 4;
/// Of each thread.
const CLIENTS: u16 = 60;
const FIRST_PORT: u16 = 2000;
/// Fewer than there are clients, so that they compete for each.
const PORTS: u16 = 150;
const ROUNDS: usize = 400;
const BUCKETS: u32 = 4096;

/// Two virtual servers on one port of a real server, with few ports for both.
fn tables() -> MemoryTables {
    let mut host = Host::new(BUCKETS);
    let service = || {
        let mut service = full_service(8080, FULL);
        service.sources.ports = (FIRST_PORT, FIRST_PORT + PORTS - 1);
        service
    };
    let services = [80, 81].map(|port| (name(TCP, full_vip(port)), service()));
    host.configure(&Desired { services: services.into(), ..Desired::default() }, &hops());
    host.tables
}

/// Sends a segment; source and destination as it came out, if it did.
fn sent(tables: &MemoryTables, frame: &Frame) -> Option<(SocketAddr, SocketAddr)> {
    let mut packet = MemoryPacket::new(frame.bytes(), INGRESS);
    match forward(&mut packet, tables) {
        Verdict::Transmit => {
            let bytes = packet.bytes();
            let socket = |address: usize, port: usize| {
                let [a, b, c, d] = bytes[address..address + 4].try_into().unwrap();
                SocketAddr::new([a, b, c, d].into(), u16::from_be_bytes([bytes[port], bytes[port + 1]]))
            };
            Some((socket(26, 34), socket(30, 36)))
        }
        Verdict::Drop(Reason::NoSourcePort | Reason::NoLease) => None,
        other @ (Verdict::Pass(_) | Verdict::Drop(_) | Verdict::Redirect(_) | Verdict::Next(_)) => {
            panic!("{other:?}")
        }
    }
}

/// The client of a number: each has its own port, and every other one uses the other virtual server.
fn flow(number: u16) -> (SocketAddr, SocketAddr) {
    (client(1000 + number), full_vip(80 + number % 2))
}

#[test]
fn no_two_live_flows_have_the_same_port() {
    let tables = tables();
    // Who has a port now, by the port's number; 0 is nobody.
    let holders: Vec<AtomicUsize> = (0..PORTS).map(|_| AtomicUsize::new(0)).collect();
    let (served, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let live = |thread: u16| {
        let mut had: HashMap<u16, SocketAddr> = HashMap::new();
        for round in 0..ROUNDS {
            for number in thread * CLIENTS..(thread + 1) * CLIENTS {
                let (from, to) = flow(number);
                let holder = usize::from(number) + 1;
                if let Some(source) = had.remove(&number) {
                    // Its next segment comes from the same port, and the answer finds it.
                    let again = sent(&tables, &Frame::tcp(from, to, ACK)).unwrap();
                    assert_eq!(again.0, source, "client {number}");
                    let answer = Frame::tcp(SocketAddr::new(FULL.address, 8080), source, ACK);
                    assert_eq!(sent(&tables, &answer), Some((to, from)));
                    if (round + usize::from(number)).is_multiple_of(3) {
                        had.insert(number, source);
                        continue;
                    }
                    let slot = &holders[usize::from(source.port() - FIRST_PORT)];
                    // Nobody else may have it before the reset: from then on it is anybody's.
                    assert_eq!(slot.swap(0, Relaxed), holder);
                    // It may even be another's before the reset itself is out.
                    sent(&tables, &Frame::tcp(from, to, RST));
                } else if let Some((source, server)) = sent(&tables, &Frame::tcp(from, to, SYN)) {
                    sent(&tables, &Frame::tcp(from, to, ACK)).unwrap();
                    assert_eq!(server, SocketAddr::new(FULL.address, 8080));
                    let slot = &holders[usize::from(source.port() - FIRST_PORT)];
                    assert_eq!(slot.swap(holder, Relaxed), 0, "client {number} got a port that is taken");
                    had.insert(number, source);
                    served.fetch_add(1, Relaxed);
                } else {
                    refused.fetch_add(1, Relaxed);
                }
            }
        }
    };
    tables.settings.timeouts[7].store(0);
    thread::scope(|scope| (0..THREADS).for_each(|thread| drop(scope.spawn(move || live(thread)))));
    let (served, refused) = (served.into_inner(), refused.into_inner());
    assert!(served > 1000 && refused > 1000, "{served} served, {refused} refused");
    assert_eq!(tables.reason(Reason::NoSourcePort), refused as u64);
}

#[test]
fn nine_of_ten_ports_are_found() {
    let mut host = Host::new(BUCKETS);
    let mut service = full_service(8080, FULL);
    // 400 ports in a table of 1,024 slots, of which each port has one that others have, too.
    service.sources.ports = (2000, 2399);
    let services = [(name(TCP, full_vip(80)), service)];
    host.configure(&Desired { services: services.into(), ..Desired::default() }, &hops());
    let found =
        (0..500).filter(|port| sent(&host.tables, &Frame::tcp(client(*port), full_vip(80), SYN)).is_some());
    let found = found.count();
    assert!((300..=400).contains(&found), "{found} of 400");
}

#[test]
fn the_janitor_ends_leases() {
    let tables = tables();
    sent(&tables, &Frame::tcp(client(1), full_vip(80), SYN)).unwrap();
    let taken = |tables: &MemoryTables| tables.leases.iter().filter(|lease| lease.value.load() != 0).count();
    tables.advance(59 - 4);
    let used = janitor::sweep(&tables, tables.ticks());
    assert_eq!((taken(&tables), used.len()), (1, 1));
    tables.advance(10);
    assert!(janitor::sweep(&tables, tables.ticks()).is_empty());
    assert_eq!(taken(&tables), 0);
}

//! A million SYNs with forged sources against a small connection table, and clients that go on working.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use lb_common::layout::SchedulerCode;
use lb_common::verdict::Reason;
use lb_userspace::plane::applied::Applied;
use lb_userspace::plane::desired::Desired;

use crate::harness::case::find;
use crate::harness::frame::{ACK, FIN, Frame, SYN, TCP};
use crate::harness::random::Random;
use crate::harness::sides::{Action, Host, Kernel, Side};
use crate::harness::world::{WEB1, WEB1_6, WEB2, WEB2_6, client, client6, hops, name, service, vip, vip6};

/// `max_connections = 10_000`.
const BUCKETS: u32 = lb_common::conn::buckets_for(10_000);
const SYNS: usize = 1_000_000;
/// The flood lasts this long: 10,000 SYNs in each 1.07 s.
const TICKS: usize = 100;
/// Clients that begin in each tick, and connections that are there before.
const CLIENTS: u16 = 40;
const BEFORE: u16 = 2000;

/// A client's packets by ticks since its first one: a handshake within one tick, and one whose answer is lost
/// twice, so that the SYN comes again after 1 and 3 s.
const LIVES: [[(usize, u8); 8]; 2] = [
    [(0, SYN), (1, ACK), (1, ACK), (2, ACK), (6, ACK), (13, ACK), (35, ACK), (60, ACK | FIN)],
    [(0, SYN), (1, SYN), (3, SYN), (4, ACK), (4, ACK), (13, ACK), (35, ACK), (60, ACK | FIN)],
];

#[derive(Debug)]
struct Client {
    address: SocketAddr,
    server: [u8; 6],
    started: usize,
    confirmed: bool,
}

/// The MAC that a client's packet goes to.
fn sent(side: &mut impl Side, address: SocketAddr, flags: u8) -> [u8; 6] {
    let to = if address.is_ipv4() { vip(80) } else { vip6(80) };
    let (action, out) = side.run(&Frame::tcp(address, to, flags).bytes());
    assert_eq!(action, Action::Transmit, "{address}");
    out[..6].try_into().unwrap()
}

fn begin(side: &mut impl Side, address: SocketAddr, started: usize) -> Client {
    Client { address, server: sent(side, address, SYN), started, confirmed: false }
}

fn send(side: &mut impl Side, client: &Client, flags: u8) {
    let server = sent(side, client.address, flags);
    assert_eq!(server, client.server, "{}: broken by the flood", client.address);
}

fn has_entry(side: &impl Side, applied: &Applied, client: &Client) -> Option<bool> {
    let to = if client.address.is_ipv4() { vip(80) } else { vip6(80) };
    find(side.store(), applied, client.address, to, TCP).map(|value| !value.state().unconfirmed())
}

/// `side` with virtual servers of both families.
fn prepare(side: &mut impl Side) {
    side.clear(BUCKETS);
    let servers = [(WEB1, 1), (WEB2, 2)];
    let servers6 = [(WEB1_6, 1), (WEB2_6, 2)];
    let services = [
        (name(TCP, vip(80)), service(SchedulerCode::Wrr, 80, &servers)),
        (name(TCP, vip6(80)), service(SchedulerCode::Wrr, 80, &servers6)),
    ];
    side.configure(&Desired { services: services.into(), ..Desired::default() }, &hops());
}

/// Forged SYNs of one family: everything but the source is the same.
fn forge(template: &[u8], random: &mut Random) -> Vec<u8> {
    let mut frame = template.to_vec();
    let source = if frame[12..14] == [8, 0] { 14 + 12 } else { 14 + 8 };
    frame[source..source + 4].copy_from_slice(&random.next().to_le_bytes()[..4]);
    let ports = if frame[12..14] == [8, 0] { 14 + 20 } else { 14 + 40 };
    frame[ports..ports + 2].copy_from_slice(&random.port().to_be_bytes());
    frame
}

fn address(number: u16, six: bool) -> SocketAddr {
    let port = 1024 + number;
    if six { client6(port) } else { client(port) }
}

/// Sends `syns` forged SYNs in `TICKS` ticks around working clients.
fn flood(side: &mut impl Side, syns: usize) {
    prepare(side);
    let mut random = Random::new(1);
    let mut clients: Vec<Client> = Vec::new();
    for number in 0..BEFORE {
        let client = begin(side, address(number, number % 2 == 1), 0);
        (0..2).for_each(|_| send(side, &client, ACK));
        clients.push(Client { confirmed: true, ..client });
    }
    let established = clients.len();
    let templates =
        [(client(1), vip(80)), (client6(1), vip6(80))].map(|(from, to)| Frame::tcp(from, to, SYN).bytes());
    let before: HashMap<Reason, u64> = Reason::ALL.iter().map(|r| (*r, side.reason(*r))).collect();
    let mut next = BEFORE;
    for tick in 0..TICKS {
        side.idle(1);
        for burst in 0..usize::from(CLIENTS) {
            for number in 0..syns / TICKS / usize::from(CLIENTS) {
                side.run(&forge(&templates[number % 2], &mut random));
            }
            let client = begin(side, address(next, burst % 2 == 1), tick);
            next += 1;
            clients.push(client);
        }
        // In the middle of the flood, packets of every age.
        for client in clients[established..].iter_mut() {
            let age = tick - client.started;
            let life = LIVES[usize::from(client.address.port() / 2 % 2)];
            for (_, flags) in life.iter().filter(|(when, _)| *when == age && age != 0) {
                send(side, client, *flags);
            }
        }
        let applied = Applied::read(side.store());
        for client in &mut clients {
            let entry = has_entry(side, &applied, client);
            assert!(!client.confirmed || entry == Some(true), "{}: evicted", client.address);
            client.confirmed |= entry == Some(true);
        }
    }
    for client in &clients[..established] {
        send(side, client, ACK);
    }
    let moved = |reason| side.reason(reason) - before[&reason];
    assert!(moved(Reason::Evicted) > 1000, "evicted {}", moved(Reason::Evicted));
    assert!(moved(Reason::Unrecorded) > 100_000, "unrecorded {}", moved(Reason::Unrecorded));
    for reason in Reason::ALL {
        let note = matches!(reason, Reason::Evicted | Reason::Unrecorded | Reason::MidStream);
        assert!(note || moved(*reason) == 0, "{}", reason.as_str());
    }
    let confirmed = clients[established..].iter().filter(|client| client.confirmed).count();
    eprintln!(
        "{syns} SYNs: evicted {}, unrecorded {}, mid-stream {}; {confirmed} of {} new connections confirmed",
        moved(Reason::Evicted),
        moved(Reason::Unrecorded),
        moved(Reason::MidStream),
        clients.len() - established,
    );
    assert!(matches!(clients[0].address.ip(), IpAddr::V4(_)) && clients[1].address.is_ipv6());
}

#[test]
fn a_million_forged_syns_break_no_connection_on_the_host() {
    flood(&mut Host::new(BUCKETS), SYNS);
}

#[test]
fn a_million_forged_syns_break_no_connection_in_the_kernel() {
    let Some(mut kernel) = Kernel::new(BUCKETS) else { return };
    flood(&mut kernel, SYNS);
}

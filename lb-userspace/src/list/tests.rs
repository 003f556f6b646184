//! Listings of tables in memory, compared with what `ipvsadm` printed in the same situation (`golden/`).

mod captures;
mod counting;
mod edits;
mod golden;
mod json;
mod marks;
mod options;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lb_common::conn::{BUCKET_ENTRIES, Key, Key4, Key6, State, Value};
use lb_common::layout::{DestinationRef, SchedulerCode};
use lb_common::memory::{MemoryTables, Sizes};
use lb_common::net::{Be16, Be32, Be128, protocol};
use lb_common::tables::Tables as _;

use super::rates::Rates;
use super::{Beside, ListArgs, run};
use crate::plane::applied::Applied;
use crate::plane::apply::{Hop, Hops, apply};
use crate::plane::desired::{Desired, DesiredServer, DesiredService, ServerKey, ServiceKey};
use crate::plane::plan::{Limits, plan};

const TCP: u8 = protocol::TCP;
const UDP: u8 = protocol::UDP;

/// A director whose tables the daemon's own plans have filled.
struct Director {
    tables: MemoryTables,
    desired: Desired,
    hops: Hops,
    next_slot: usize,
    beside: Beside,
}

impl Director {
    fn new() -> Self {
        let sizes =
            Sizes { services: 16, destinations: 64, ring_words: 2048, buckets: 64, ..Sizes::default() };
        let tables = MemoryTables::new(sizes, 1);
        // Well past the longest timeout, so that any idle time can be told.
        tables.advance(10_000);
        Self {
            tables,
            desired: Desired::default(),
            hops: Hops::new(),
            next_slot: 0,
            beside: Beside::default(),
        }
    }

    /// Adds a `wrr` virtual server, or changes its real servers; all are reachable through a link.
    fn serve(&mut self, protocol: u8, virtual_server: &str, servers: &[(&str, u32)]) -> &mut Self {
        let servers: Vec<_> =
            servers.iter().map(|(name, weight)| DesiredServer::new(server(name), *weight)).collect();
        for DesiredServer { key, .. } in &servers {
            let link = Hop::Link { to: [2; 6], from: [4; 6], interface: 2, vlan: 0 };
            self.hops.entry(key.address).or_insert(link);
        }
        let service = DesiredService::new(SchedulerCode::Wrr, servers);
        self.desired.services.insert(service_key(protocol, virtual_server), service);
        self.reach()
    }

    fn reach(&mut self) -> &mut Self {
        let limits = Limits { servers: 64, services: 16, ring_words: 2048 };
        let steps = plan(&Applied::read(&self.tables), &self.desired, limits, 0).unwrap();
        apply(&mut self.tables, &steps, &self.hops).unwrap();
        self
    }

    fn find(&self, protocol: u8, virtual_server: &str, real_server: &str) -> (u16, DestinationRef) {
        let applied = Applied::read(&self.tables);
        let service = &applied.services[&service_key(protocol, virtual_server)];
        let found = service.servers.iter().find(|one| one.key == server(real_server)).unwrap();
        (service.id, found.reference)
    }

    /// Counts connections, packets and bytes for a real server.
    fn count(&mut self, names: (u8, &str, &str), connections: u64, packets: u64, bytes: u64) -> &mut Self {
        let (_, reference) = self.find(names.0, names.1, names.2);
        assert!(connections <= packets);
        for packet in 0..packets {
            let bytes = if packet == 0 { bytes } else { 0 };
            self.tables.count_traffic(reference.id(), packet < connections, bytes);
        }
        self
    }

    /// Writes the entry of a connection that was seen `idle` ticks ago, where the table has room.
    fn connect(&mut self, names: (u8, &str, &str), client: &str, state: State, idle: u32) -> &mut Self {
        let (service, reference) = self.find(names.0, names.1, names.2);
        let port = names.1.parse::<SocketAddr>().unwrap().port();
        self.enter(service, reference, client, state, idle, port)
    }

    fn enter(
        &mut self,
        service: u16,
        reference: DestinationRef,
        client: &str,
        state: State,
        idle: u32,
        port: u16,
    ) -> &mut Self {
        // Times wrap: so much earlier is nearly a whole round later.
        let seen = self.tables.ticks().later((1 << 18) - idle);
        let value = Value::new(reference, state, seen, Be16::new(port));
        let (bucket, slot) = (self.next_slot / BUCKET_ENTRIES, self.next_slot % BUCKET_ENTRIES);
        self.next_slot += 1;
        match client.parse().unwrap() {
            SocketAddr::V4(client) => {
                let address = Be32::from_wire(client.ip().octets());
                let key = Key4::new(address, Be16::new(client.port()), service);
                key.publish(&self.tables.connections4[bucket], slot, value);
            }
            SocketAddr::V6(client) => {
                let address = Be128::from_wire(client.ip().octets());
                let key = Key6::new(address, Be16::new(client.port()), service);
                key.publish(&self.tables.connections6[bucket], slot, value);
            }
        }
        self
    }

    /// Enters so many connections of a state, each from a client of its own.
    fn connect_many(&mut self, names: (u8, &str, &str), state: State, count: u16) -> &mut Self {
        for _ in 0..count {
            let port = 30_000 + self.next_slot;
            let client = match names.1.parse().unwrap() {
                SocketAddr::V4(_) => format!("192.168.4.10:{port}"),
                SocketAddr::V6(_) => format!("[fd00:4::10]:{port}"),
            };
            self.connect(names, &client, state, 3);
        }
        self
    }

    fn list(&self, arguments: &[&str]) -> String {
        let (out, notes) = self.list_with(arguments, None);
        assert_eq!(notes, "");
        out
    }

    /// What goes to standard output, and what to standard error.
    fn list_with(&self, arguments: &[&str], rates: Option<&Rates>) -> (String, String) {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let beside = Beside { rates: rates.cloned(), ..self.beside.clone() };
        run(&args(arguments), &self.tables, &beside, &mut out, &mut notes).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap())
    }
}

#[derive(Debug, clap::Parser)]
struct Command {
    #[command(flatten)]
    list: ListArgs,
}

fn args(arguments: &[&str]) -> ListArgs {
    let command: Command = clap::Parser::try_parse_from([&["list"], arguments].concat()).unwrap();
    command.list
}

fn server(name: &str) -> ServerKey {
    let endpoint: SocketAddr = name.parse().unwrap();
    ServerKey { address: endpoint.ip(), port: endpoint.port() }
}

fn service_key(protocol: u8, name: &str) -> ServiceKey {
    let endpoint: SocketAddr = name.parse().unwrap();
    ServiceKey { protocol, address: endpoint.ip(), port: endpoint.port() }
}

/// The lab's two real servers on a port, with the weights of all captures.
fn lab(director: &mut Director, ports: &[u16]) {
    for port in ports {
        let servers = [format!("192.168.4.100:{port}"), format!("192.168.4.200:{port}")];
        director.serve(TCP, &format!("192.168.4.15:{port}"), &[(&servers[0], 1), (&servers[1], 2)]);
    }
}

const HTTP: [(u8, &str, &str); 2] =
    [(TCP, "192.168.4.15:80", "192.168.4.100:80"), (TCP, "192.168.4.15:80", "192.168.4.200:80")];
const ECHO: [(u8, &str, &str); 2] =
    [(TCP, "192.168.4.15:7", "192.168.4.100:7"), (TCP, "192.168.4.15:7", "192.168.4.200:7")];
const DISCARD: [(u8, &str, &str); 2] =
    [(TCP, "192.168.4.15:9", "192.168.4.100:9"), (TCP, "192.168.4.15:9", "192.168.4.200:9")];
const HTTP6: [(u8, &str, &str); 2] =
    [(TCP, "[fd00:4::15]:80", "[fd00:4::100]:80"), (TCP, "[fd00:4::15]:80", "[fd00:4::200]:80")];

/// The lines of a table by who they are about.
fn rows(listing: &str) -> BTreeMap<&str, Vec<&str>> {
    listing
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            Some((words.next()?, words.collect()))
        })
        .collect()
}

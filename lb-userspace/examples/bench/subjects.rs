//! The programs that are measured, loaded with the same virtual servers and real servers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::layout::{
    Addresses, Answers, DestinationRef, Identity, Method, NextHop, Owner, RING_HEADER, RingPlace,
    RoutePlaces, SchedulerCode, Service, Settings, mac_word,
};
use lb_common::maps::ROUTES_HALF;
use lb_common::memory::place_interface;
use lb_common::net::{Be16, Be32, Be128, protocol};
use lb_common::services::{self, Name4, Name6};
use lb_userspace::dataplane::loader::{self, Capacity, Loaded};
use lb_userspace::dataplane::tables::Tables;

use lb_common::word::Word;

use crate::frames::{
    DIRECTOR, NAT_PORT, PORT, REAL_SERVERS, SERVER_PORT, TUNNEL_PORT, VIP4, VIP6, server4, server6,
};

/// Connections that either table must hold.
pub(crate) const CONNECTIONS: u32 = 1_000_000;

/// The interface that the kernel says test frames come from: `lo` of this network namespace.
const LOOPBACK: u32 = 1;

/// The MAC of the gateway that leads to the clients.
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 4, 1];

/// The MAC of a real server.
fn real_server(number: u8) -> [u8; 6] {
    [2, 0, 0, 1, 0, number]
}

/// Runs a program once on a frame; what it returned and how long it took by the kernel's clock, the reading of
/// the clock included.
pub(crate) fn run(program: &Xdp, frame: &[u8]) -> Result<(u32, Duration)> {
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    let result = program.test_run(options).context("BPF_PROG_TEST_RUN")?;
    Ok((result.return_value, result.duration))
}

fn xdp<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// A loaded program that is not the director's.
#[derive(Debug)]
pub(crate) struct Other {
    ebpf: Ebpf,
    name: &'static str,
}

impl Other {
    /// The program that does nothing.
    pub(crate) fn empty() -> Result<Self> {
        Self::load(loader::PASS, "pass", &mut EbpfLoader::new())
    }

    /// The plain design, with its tables filled.
    pub(crate) fn baseline() -> Result<Self> {
        let mut options = EbpfLoader::new();
        options.map_max_entries("CONNECTIONS4", CONNECTIONS).map_max_entries("CONNECTIONS6", CONNECTIONS);
        let mut baseline = Self::load(loader::BASELINE, "baseline", &mut options)?;
        baseline.fill()?;
        Ok(baseline)
    }

    fn load(object: &[u8], name: &'static str, options: &mut EbpfLoader<'_>) -> Result<Self> {
        let mut ebpf = options.load(object).with_context(|| format!("loading the object of {name}"))?;
        xdp(&mut ebpf, name)?.load().with_context(|| format!("loading {name}"))?;
        Ok(Self { ebpf, name })
    }

    pub(crate) fn program(&mut self) -> Result<&Xdp> {
        Ok(xdp(&mut self.ebpf, self.name)?)
    }

    /// The layouts are those in `lb-ebpf/src/bin/baseline.rs`.
    fn fill(&mut self) -> Result<()> {
        // The range of real servers: the first, how many.
        let range = [1u32, u32::from(REAL_SERVERS)];
        let protocol = u16::from(protocol::TCP).to_ne_bytes();
        let mut services: HashMap<_, [u8; 8], [u32; 2]> = self.map("SERVICES4")?.try_into()?;
        services.insert(join(&[&VIP4, &PORT.to_be_bytes(), &protocol])?, range, 0)?;
        let mut services: HashMap<_, [u8; 20], [u32; 2]> = self.map("SERVICES6")?.try_into()?;
        services.insert(join(&[&VIP6, &PORT.to_be_bytes(), &protocol])?, range, 0)?;
        let mut servers: Array<_, [u8; 16]> = self.map("REAL_SERVERS")?.try_into()?;
        for number in 1..=REAL_SERVERS {
            servers.set(u32::from(number), join(&[&real_server(number), &DIRECTOR, &[0; 4]])?, 0)?;
        }
        Ok(())
    }

    fn map(&mut self, name: &str) -> Result<&mut aya::maps::Map> {
        self.ebpf.map_mut(name).with_context(|| format!("the baseline has no map {name}"))
    }
}

fn join<const N: usize>(parts: &[&[u8]]) -> Result<[u8; N]> {
    let bytes: Vec<u8> = parts.concat();
    <[u8; N]>::try_from(bytes.as_slice()).with_context(|| format!("{} bytes are not {N}", bytes.len()))
}

/// The director's program with a virtual server of each family and method: direct routing, NAT, tunnel.
pub(crate) fn director() -> Result<Loaded> {
    let mut loaded =
        loader::load(None, Capacity { ipv4: CONNECTIONS, ipv6: CONNECTIONS, full_nat: CONNECTIONS })?;
    let tables = &mut loaded.tables;
    ensure!(place_interface(&tables.settings().interfaces, LOOPBACK, DIRECTOR), "no slot for the interface");
    let methods = [(PORT, Method::DirectRouting), (NAT_PORT, Method::Nat), (TUNNEL_PORT, Method::Tunnel)];
    for (number, (port, method)) in (0..).zip(methods) {
        let ids = [1 + 2 * number, 2 + 2 * number];
        for (id, is_ipv6) in ids.into_iter().zip([false, true]) {
            add_service(tables, id, port, method, is_ipv6)?;
        }
        let [ipv4, ipv6] = ids.map(Service::alone);
        let name = Name4::new(Be32::from_wire(VIP4), Be16::new(port), protocol::TCP);
        tables.settings().addresses.add(Addresses::bit4(name.parts().0));
        ensure!(services::insert(&tables.services4, name, ipv4), "no room for the service");
        let name = Name6::new(Be128::from_wire(VIP6), Be16::new(port), protocol::TCP);
        tables.settings().addresses.add(Addresses::bit6(name.parts().0));
        ensure!(services::insert(&tables.services6, name, ipv6), "no room for the service");
    }
    // To everybody by the gateway.
    let family = u16::try_from(ROUTES_HALF / 2)?;
    for index in [0, family] {
        let route = at(&tables.routes, u32::from(index))?;
        route.next_hop.store(NextHop { mac: GATEWAY, flags: NextHop::RESOLVED, generation: 0 }.to_word());
        route.source.store(mac_word(DIRECTOR, 0));
        route.interface.store(u64::from(LOOPBACK));
        route.last.store(1);
    }
    let places = RoutePlaces { ipv4: (0, 1), ipv6: (family, 1) };
    tables.settings().routes.store(places.to_word());
    Ok(loaded)
}

/// Says that answers are to be translated, or that there is no NAT.
pub(crate) fn use_nat(tables: &Tables, is_used: bool) {
    tables.settings().flags.store(if is_used { Settings::NAT } else { 0 });
}

/// Gives a service its real servers, whose destination ids begin with the service's thousand, and a round-robin ring.
fn add_service(tables: &Tables, service: u16, port: u16, method: Method, is_ipv6: bool) -> Result<()> {
    let ring = RingPlace { offset: u32::from(service) * 1024, slots: u32::from(REAL_SERVERS) };
    for number in 1..=REAL_SERVERS {
        let id = u32::from(service) * 1000 + u32::from(number);
        let reference = DestinationRef::new(id, 0);
        let destination = at(&tables.destinations, id)?;
        let server_port = Be16::new(if method == Method::DirectRouting { port } else { SERVER_PORT });
        let identity = Identity { service, port: server_port, weight: 1 };
        destination.identity.store(identity.to_word());
        store(&destination.address, if is_ipv6 { server6(number) } else { wide(server4(number)) });
        destination.source.store(mac_word(DIRECTOR, 0));
        destination.interface.store(u64::from(LOOPBACK));
        let flags = NextHop::IN_USE | NextHop::RESOLVED | method as u8;
        destination.next_hop.store(NextHop { mac: real_server(number), flags, generation: 0 }.to_word());
        at(&tables.rings, ring.offset + RING_HEADER + u32::from(number) - 1)?.store(reference.to_word());
        if method == Method::Tunnel {
            let detail = at(&tables.details, id)?;
            store(&detail.source, if is_ipv6 { server6(200) } else { wide(server4(200)) });
            detail.mtu.store(1500);
        }
        if method == Method::Nat {
            let owner = Service::from_word(Answers::One(Owner { service, destination: reference }).to_word());
            let protocol = protocol::TCP | Answers::PROTOCOL;
            let has_room = if is_ipv6 {
                let name = Name6::new(Be128::from_wire(server6(number)), server_port, protocol);
                services::insert(&tables.services6, name, owner)
            } else {
                let name = Name4::new(Be32::from_wire(server4(number)), server_port, protocol);
                services::insert(&tables.services4, name, owner)
            };
            ensure!(has_room, "no room for a real server's answers");
        }
    }
    let server = at(&tables.virtuals, u32::from(service))?;
    store(&server.address, if is_ipv6 { VIP6 } else { wide(VIP4) });
    server.port.store(u64::from(Be16::new(port).bits()) | u64::from(protocol::TCP) << 16);
    let schedule = at(&tables.schedules, u32::from(service))?;
    schedule.scheduler.store(SchedulerCode::Rr as u64);
    schedule.ring.store(ring.to_word());
    Ok(())
}

/// An IPv4 address as it lies in the tables.
fn wide([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn store(words: &[Word; 2], address: [u8; 16]) {
    for (word, value) in words.iter().zip(Be128::from_wire(address).words()) {
        word.store(value);
    }
}

fn at<T>(table: &[T], index: u32) -> Result<&T> {
    table.get(index as usize).with_context(|| format!("a table has no element {index}"))
}

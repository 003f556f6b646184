//! The programs that are measured, loaded with the same virtual servers and real servers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::layout::{
    Destination, DestinationRef, NextHop, RING_HEADER, RingPlace, SchedulerCode, Service, mac_word,
};
use lb_common::memory::place_interface;
use lb_common::net::{Be16, Be32, Be128, protocol};
use lb_common::services::{self, Name4, Name6};
use lb_userspace::dataplane::loader::{self, Capacity, Loaded};
use lb_userspace::dataplane::tables::Tables;

use crate::frames::{DIRECTOR, PORT, VIP4, VIP6};

/// Connections that either table must hold.
pub(crate) const CONNECTIONS: u32 = 1_000_000;

/// The interface that the kernel says test frames come from: `lo` of this network namespace.
const LOOPBACK: u32 = 1;

const REAL_SERVERS: u8 = 16;

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

/// The director's program with one virtual server of each family.
pub(crate) fn director() -> Result<Loaded> {
    let mut loaded = loader::load(None, Capacity { ipv4: CONNECTIONS, ipv6: CONNECTIONS })?;
    let tables = &mut loaded.tables;
    ensure!(place_interface(&tables.settings().interfaces, LOOPBACK, DIRECTOR), "no slot for the interface");
    add_service(tables, 1, 1)?;
    add_service(tables, 2, 1 + u32::from(REAL_SERVERS))?;
    let port = Be16::new(PORT);
    let name = Name4::new(Be32::from_wire(VIP4), port, protocol::TCP);
    ensure!(services::insert(&tables.services4, name, Service::alone(1)), "no room for the service");
    let name = Name6::new(Be128::from_wire(VIP6), port, protocol::TCP);
    ensure!(services::insert(&tables.services6, name, Service::alone(2)), "no room for the service");
    Ok(loaded)
}

/// Gives a service its real servers, with destination ids from `first` on, and a round-robin ring.
fn add_service(tables: &Tables, service: u16, first: u32) -> Result<()> {
    let ring = RingPlace { offset: u32::from(service) * 1024, slots: u32::from(REAL_SERVERS) };
    for number in 1..=REAL_SERVERS {
        let id = first + u32::from(number) - 1;
        let destination = at(&tables.destinations, id)?;
        write(destination, number);
        let slot = ring.offset + RING_HEADER + u32::from(number) - 1;
        at(&tables.rings, slot)?.store(DestinationRef::new(id, 0).to_word());
    }
    let schedule = at(&tables.schedules, u32::from(service))?;
    schedule.scheduler.store(SchedulerCode::Rr as u64);
    schedule.ring.store(ring.to_word());
    Ok(())
}

fn write(destination: &Destination, number: u8) {
    let hop = NextHop { mac: real_server(number), flags: NextHop::IN_USE | NextHop::RESOLVED, generation: 0 };
    destination.source.store(mac_word(DIRECTOR, 0));
    destination.interface.store(u64::from(LOOPBACK));
    destination.next_hop.store(hop.to_word());
}

fn at<T>(table: &[T], index: u32) -> Result<&T> {
    table.get(index as usize).with_context(|| format!("a table has no element {index}"))
}

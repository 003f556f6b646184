//! All maps of one instance, opened.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use ipnet::IpNet;
use lb_common::admission::{Listing, Sources};
use lb_common::conn::{Bucket4, Bucket6};
use lb_common::layout::{
    Destination, Detail, LAYOUT_VERSION, Load, Neighbour, Route, Schedule, Settings, Traffic, Virtual,
};
use lb_common::lease::Lease;
use lb_common::net::{Be32, Be128};
use lb_common::verdict::Reason;
use lb_common::word::Word;
use lb_common::{maps, services};

use super::mapped::{Mapped, Shared};
use super::networks::NetworkTables;
use crate::plane::admission::Networks;

/// Why the tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// A map cannot be opened.
    #[error("table {name} cannot be opened")]
    Open {
        /// Its name.
        name: &'static str,
        /// The kernel's answer.
        #[source]
        source: MapError,
    },
    /// A map cannot be mapped.
    #[error("table {name} cannot be mapped into memory")]
    Map {
        /// Its name.
        name: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The object has no such map.
    #[error("table {name} is missing from the program")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// The pins are of another version of this program.
    #[error(
        "the tables in {path} have layout {found}, this lbctl has layout {LAYOUT_VERSION}; \
         run `lbctl down`, then `lbctl up`"
    )]
    Layout {
        /// Where they are.
        path: PathBuf,
        /// Their version; 0 if they have none.
        found: u64,
    },
}

/// The tables, mapped where they can be.
pub struct Tables {
    settings: Mapped<Settings>,
    /// By schedule id.
    pub schedules: Mapped<Schedule>,
    /// Words.
    pub rings: Mapped<Word>,
    /// By destination id.
    pub destinations: Mapped<Destination>,
    /// By destination id.
    pub loads: Mapped<Load>,
    /// Buckets.
    pub connections4: Mapped<Bucket4>,
    /// Buckets.
    pub connections6: Mapped<Bucket6>,
    /// IPv4 virtual servers.
    pub services4: Mapped<services::Bucket4>,
    /// IPv6 virtual servers.
    pub services6: Mapped<services::Bucket6>,
    /// By destination id.
    pub details: Mapped<Detail>,
    /// By service id.
    pub virtuals: Mapped<Virtual>,
    /// In two halves.
    pub routes: Mapped<Route>,
    /// Clients on the director's own segments, by address as in [`Self::neighbour`].
    pub neighbours: HashMap<MapData, [u64; 2], Neighbour>,
    /// Slots of leases.
    pub leases: Mapped<Lease>,
    /// Lines by the hash of a source.
    pub sources: Mapped<Sources>,
    networks: NetworkTables,
    traffic: PerCpuArray<MapData, Traffic>,
    reasons: PerCpuArray<MapData, u64>,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("settings", self.settings()).finish_non_exhaustive()
    }
}

impl Tables {
    /// Opens the tables pinned in `directory`.
    ///
    /// # Errors
    ///
    /// [`TablesError::Layout`] if another version pinned them; the others if a pin is missing or not ours.
    pub fn open(directory: &Path) -> Result<Self, TablesError> {
        let open = |name: &'static str| {
            MapData::from_pin(directory.join(name)).map_err(|source| TablesError::Open { name, source })
        };
        let settings = open(maps::SETTINGS)?;
        let size = settings.info().map(|info| info.value_size()).unwrap_or(0);
        let found = if size as usize == size_of::<Settings>() {
            mapped::<Settings>(maps::SETTINGS, &settings)?
                .first()
                .map_or(0, |settings| settings.layout.load())
        } else {
            0
        };
        if found != u64::from(LAYOUT_VERSION) {
            return Err(TablesError::Layout { path: directory.to_owned(), found });
        }
        Self::build(open)
    }

    /// Opens tables that were pinned just now and have no layout version yet.
    pub(super) fn open_new(directory: &Path) -> Result<Self, TablesError> {
        Self::build(|name| {
            MapData::from_pin(directory.join(name)).map_err(|source| TablesError::Open { name, source })
        })
    }

    /// Takes the tables of a program that is not pinned.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, TablesError> {
        Self::build(|name| {
            let map = ebpf.take_map(name).ok_or(TablesError::Missing { name })?;
            if let Map::Array(data)
            | Map::HashMap(data)
            | Map::PerCpuArray(data)
            | Map::LruHashMap(data)
            | Map::LpmTrie(data) = map
            {
                Ok(data)
            } else {
                Err(TablesError::Missing { name })
            }
        })
    }

    fn build(
        mut open: impl FnMut(&'static str) -> Result<MapData, TablesError>,
    ) -> Result<Self, TablesError> {
        Ok(Self {
            settings: mapped(maps::SETTINGS, &open(maps::SETTINGS)?)?,
            schedules: mapped(maps::SCHEDULES, &open(maps::SCHEDULES)?)?,
            rings: mapped(maps::RINGS, &open(maps::RINGS)?)?,
            destinations: mapped(maps::DESTINATIONS, &open(maps::DESTINATIONS)?)?,
            loads: mapped(maps::LOADS, &open(maps::LOADS)?)?,
            connections4: mapped(maps::CONNECTIONS4, &open(maps::CONNECTIONS4)?)?,
            connections6: mapped(maps::CONNECTIONS6, &open(maps::CONNECTIONS6)?)?,
            services4: mapped(maps::SERVICES4, &open(maps::SERVICES4)?)?,
            services6: mapped(maps::SERVICES6, &open(maps::SERVICES6)?)?,
            details: mapped(maps::DETAILS, &open(maps::DETAILS)?)?,
            virtuals: mapped(maps::VIRTUALS, &open(maps::VIRTUALS)?)?,
            routes: mapped(maps::ROUTES, &open(maps::ROUTES)?)?,
            neighbours: typed(maps::NEIGHBOURS, Map::LruHashMap(open(maps::NEIGHBOURS)?))?,
            leases: mapped(maps::LEASES, &open(maps::LEASES)?)?,
            sources: mapped(maps::SOURCES, &open(maps::SOURCES)?)?,
            networks: NetworkTables {
                four: typed(maps::NETWORKS4, Map::LpmTrie(open(maps::NETWORKS4)?))?,
                six: typed(maps::NETWORKS6, Map::LpmTrie(open(maps::NETWORKS6)?))?,
                known: Networks::new(),
            },
            traffic: typed(maps::TRAFFIC, Map::PerCpuArray(open(maps::TRAFFIC)?))?,
            reasons: typed(maps::REASONS, Map::PerCpuArray(open(maps::REASONS)?))?,
        })
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        // The map has one element.
        &self.settings[0]
    }

    /// Where a client on a segment of the director's is, if that is known.
    pub fn neighbour(&self, address: &[u64; 2]) -> Option<Neighbour> {
        self.neighbours.get(address, 0).ok()
    }

    /// Reads which networks are let in or kept out. Only who writes the tables needs to know.
    pub(super) fn learn_networks(&mut self) -> Result<(), TablesError> {
        self.networks.learn().map_err(|source| TablesError::Open { name: maps::NETWORKS4, source })
    }

    /// The networks that are let in or kept out, in the daemon.
    pub fn networks(&self) -> &Networks {
        &self.networks.known
    }

    /// Lets a network in, keeps it out, or removes it.
    pub fn set_network(
        &mut self,
        schedule: u16,
        network: IpNet,
        listing: Option<Listing>,
    ) -> Result<(), MapError> {
        self.networks.set(schedule, network, listing)
    }

    /// The value of the longest network of a schedule that has an IPv4 source.
    pub fn network4(&self, schedule: u16, source: Be32) -> Option<u32> {
        self.networks.find4(schedule, source.wire().into())
    }

    /// The same for IPv6.
    pub fn network6(&self, schedule: u16, source: Be128) -> Option<u32> {
        self.networks.find6(schedule, source)
    }

    /// The counters of a destination, summed over the CPUs.
    pub fn traffic(&self, destination: u32) -> Result<Traffic, MapError> {
        let per_cpu = self.traffic.get(&destination, 0)?;
        Ok(per_cpu.iter().fold(Traffic::default(), |sum, cpu| Traffic {
            connections: sum.connections.wrapping_add(cpu.connections),
            packets: sum.packets.wrapping_add(cpu.packets),
            bytes: sum.bytes.wrapping_add(cpu.bytes),
            out_packets: sum.out_packets.wrapping_add(cpu.out_packets),
            out_bytes: sum.out_bytes.wrapping_add(cpu.out_bytes),
        }))
    }

    /// Sets the counters of a destination to zero on every CPU.
    pub fn clear_traffic(&mut self, destination: u32) -> Result<(), MapError> {
        let cpus = self.traffic.get(&destination, 0)?.len();
        let zero = PerCpuValues::try_from(vec![Traffic::default(); cpus])
            .map_err(|source| aya::sys::SyscallError { call: "per-CPU value", io_error: source })?;
        self.traffic.set(destination, zero, 0)
    }

    /// The counter of a reason, summed over the CPUs.
    pub fn reason(&self, reason: Reason) -> Result<u64, MapError> {
        Ok(self.reasons.get(&(reason as u32), 0)?.iter().fold(0, |sum: u64, cpu| sum.wrapping_add(*cpu)))
    }
}

fn mapped<T: Shared>(name: &'static str, map: &MapData) -> Result<Mapped<T>, TablesError> {
    let count = map.info().map_err(|source| TablesError::Open { name, source })?.max_entries();
    Mapped::new(map.fd().as_fd(), count).map_err(|source| TablesError::Map { name, source })
}

fn typed<M: TryFrom<Map, Error = MapError>>(name: &'static str, map: Map) -> Result<M, TablesError> {
    M::try_from(map).map_err(|source| TablesError::Open { name, source })
}

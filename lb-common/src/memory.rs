//! The tables in plain memory: the host instance of the datapath, for tests, simulations and benchmarks.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::collections::HashMap;
use std::sync::Mutex;

use crate::admission::Sources;
use crate::conn::{Bucket4, Bucket6, Entry4, Entry6, Key, Key4, Key6, Part, TIMEOUT_SECONDS, Ticks};
use crate::forward::forward;
use crate::layout::{
    Destination, Detail, FragmentKey, FragmentOwner, INTERFACE_PROBES, INTERFACE_SLOTS, Interface,
    LAYOUT_VERSION, Load, Neighbour, Route, Schedule, Settings, Traffic, Virtual, VirtualMacs, mac_word,
};
use crate::lease::Lease;
use crate::maps::{ROUTES_HALF, SOURCES_LINES};
use crate::net::{Be32, Be128, MacAddress};
use crate::packet::MemoryPacket;
use crate::services;
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};
use crate::word::Word;

/// The sizes of a [`MemoryTables`].
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Virtual servers.
    pub services: usize,
    /// Destinations.
    pub destinations: usize,
    /// Words for rings.
    pub ring_words: usize,
    /// Buckets of the main part of each connection table.
    pub buckets: u32,
    /// Leases; a multiple of [`crate::lease::GROUP`].
    pub leases: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { services: 64, destinations: 256, ring_words: 4096, buckets: 1024, leases: 1024 }
    }
}

/// All tables of a director.
#[derive(Debug)]
pub struct MemoryTables {
    /// The clock's reading; tests move it.
    pub clock: AtomicU32,
    /// Nanoseconds beyond that; below [`Ticks::NANOSECONDS`].
    pub nanoseconds: AtomicU64,
    /// See [`Tables::settings`].
    pub settings: Settings,
    /// See [`Tables::services4`].
    pub services4: Vec<services::Bucket4>,
    /// See [`Tables::services6`].
    pub services6: Vec<services::Bucket6>,
    /// See [`Tables::schedule`].
    pub schedules: Vec<Schedule>,
    /// See [`Tables::ring`].
    pub rings: Vec<Word>,
    /// See [`Tables::destination`].
    pub destinations: Vec<Destination>,
    /// See [`Tables::load`].
    pub loads: Vec<Load>,
    /// See [`Tables::bucket4`].
    pub connections4: Vec<Bucket4>,
    /// See [`Tables::bucket6`].
    pub connections6: Vec<Bucket6>,
    /// See [`Tables::fragment`].
    pub fragments: Mutex<HashMap<FragmentKey, FragmentOwner>>,
    /// See [`Tables::detail`].
    pub details: Vec<Detail>,
    /// See [`Tables::virtual_server`].
    pub virtuals: Vec<Virtual>,
    /// See [`Tables::route`].
    pub routes: Vec<Route>,
    /// See [`Tables::lease`].
    pub leases: Vec<Lease>,
    /// See [`Tables::neighbour`].
    pub neighbours: Mutex<HashMap<[u64; 2], Neighbour>>,
    /// Values by schedule, prefix length and the address's first so many bits: see [`Tables::network4`].
    pub networks4: HashMap<(u16, u8, u32), u32>,
    /// See [`Tables::network6`].
    pub networks6: HashMap<(u16, u8, u128), u32>,
    /// See [`Tables::sources`].
    pub sources: Vec<Sources>,
    traffic: Vec<[AtomicU64; 5]>,
    reasons: Vec<AtomicU64>,
}

impl MemoryTables {
    /// Empty tables with IPVS's timeouts.
    pub fn new(sizes: Sizes, seed: u64) -> Self {
        let settings = Settings::default();
        initialise(&settings, seed, [sizes.buckets; 2], sizes.leases);
        Self {
            clock: AtomicU32::new(0),
            nanoseconds: AtomicU64::new(0),
            settings,
            services4: fill(services::BUCKETS as usize),
            services6: fill(services::BUCKETS as usize),
            schedules: fill(sizes.services),
            rings: fill(sizes.ring_words),
            destinations: fill(sizes.destinations),
            loads: fill(sizes.destinations),
            connections4: fill(Part::table(sizes.buckets, Key4::NEAR) as usize),
            connections6: fill(Part::table(sizes.buckets, Key6::NEAR) as usize),
            fragments: Mutex::default(),
            details: fill(sizes.destinations),
            virtuals: fill(sizes.services),
            routes: fill(2 * ROUTES_HALF as usize),
            leases: fill(sizes.leases as usize),
            neighbours: Mutex::default(),
            networks4: HashMap::new(),
            networks6: HashMap::new(),
            sources: fill(SOURCES_LINES as usize),
            traffic: fill(sizes.destinations),
            reasons: fill(Reason::ALL.len()),
        }
    }

    /// Decides about one frame: see [`forward`].
    ///
    /// A function of this crate, so that what is compiled without optimisation calls it with.
    pub fn forward(&self, packet: &mut MemoryPacket) -> Verdict {
        forward(packet, self)
    }

    /// Makes `index` an interface with this MAC; `false` if its slots are taken.
    pub fn add_interface(&self, index: u32, mac: MacAddress) -> bool {
        place_interface(&self.settings.interfaces, index, mac)
    }

    /// The clock's reading.
    pub fn ticks(&self) -> Ticks {
        Ticks::default().later(self.clock.load(Relaxed))
    }

    /// Moves the clock.
    pub fn advance(&self, ticks: u32) {
        self.clock.store(self.ticks().later(ticks).bits(), Relaxed);
    }

    /// The counters of a destination.
    pub fn traffic(&self, destination: u32) -> Traffic {
        self.traffic.get(destination as usize).map_or_else(
            Traffic::default,
            |[connections, packets, bytes, out_packets, out_bytes]| Traffic {
                connections: connections.load(Relaxed),
                packets: packets.load(Relaxed),
                bytes: bytes.load(Relaxed),
                out_packets: out_packets.load(Relaxed),
                out_bytes: out_bytes.load(Relaxed),
            },
        )
    }

    /// Sets the counters of a destination to zero.
    pub fn clear_traffic(&self, destination: u32) {
        for counter in self.traffic.get(destination as usize).into_iter().flatten() {
            counter.store(0, Relaxed);
        }
    }

    /// The counter of a reason.
    pub fn reason(&self, reason: Reason) -> u64 {
        self.reasons.get(reason as usize).map_or(0, |count| count.load(Relaxed))
    }
}

/// Writes the settings of new tables. The numbers of buckets are those of the main parts.
pub fn initialise(settings: &Settings, seed: u64, [buckets4, buckets6]: [u32; 2], leases: u32) {
    settings.seed.store(seed);
    settings.buckets.store(u64::from(buckets4) | u64::from(buckets6) << 32);
    settings.parts[0].store(Part::first(buckets4, Key4::NEAR).to_word());
    settings.parts[1].store(Part::first(buckets6, Key6::NEAR).to_word());
    settings.leases.store(leases.into());
    for (timeout, seconds) in settings.timeouts.iter().zip(TIMEOUT_SECONDS) {
        timeout.store(Ticks::of_seconds(seconds));
    }
    settings.layout.store(u64::from(LAYOUT_VERSION));
}

/// Are these connection tables the same, word for word?
pub fn same4(some: &[Bucket4], others: &[Bucket4]) -> bool {
    let words = |Entry4 { key, value }: &Entry4| [key.load(), value.load()];
    let same = |(a, b): (&Bucket4, &Bucket4)| a.0.iter().map(words).eq(b.0.iter().map(words));
    some.len() == others.len() && some.iter().zip(others).all(same)
}

/// As [`same4`].
pub fn same6(some: &[Bucket6], others: &[Bucket6]) -> bool {
    let words = |Entry6 { address: [a, b], tag, value }: &Entry6| [a, b, tag, value].map(Word::load);
    let same = |(a, b): (&Bucket6, &Bucket6)| a.0.iter().map(words).eq(b.0.iter().map(words));
    some.len() == others.len() && some.iter().zip(others).all(same)
}

/// Writes an interface into its own slot, else the first free one; `false` if there is none.
pub fn place_interface(slots: &[Interface], index: u32, mac: MacAddress) -> bool {
    let start = (index % INTERFACE_SLOTS) as usize;
    let probes = || slots.iter().skip(start).take(INTERFACE_PROBES as usize);
    let own = probes().find(|slot| slot.is(index)).or_else(|| probes().find(|slot| slot.is(0)));
    let Some(slot) = own else { return false };
    slot.mac.store(mac_word(mac, 0));
    slot.index.store(u64::from(index));
    true
}

/// Makes `macs` the virtual MACs that the program answers for: each with the index of the interface that its frames
/// arrive on. Other MACs, and interfaces that are not placed, are left out.
pub fn place_virtual_macs(settings: &Settings, macs: &[(u32, MacAddress)]) {
    for (interface, virtual_macs) in settings.interfaces.iter().zip(&settings.virtual_macs) {
        let mut families = [[0u64; 4]; 2];
        for (index, mac) in macs {
            if *index != 0
                && interface.is(*index)
                && let Some((family, word, bit)) = VirtualMacs::place(*mac)
                && let Some(word) = families.get_mut(family).and_then(|words| words.get_mut(word))
            {
                *word |= 1 << bit;
            }
        }
        for (word, new) in virtual_macs.0.iter().flatten().zip(families.iter().flatten()) {
            word.store(*new);
        }
    }
}

fn fill<E: Default>(count: usize) -> Vec<E> {
    core::iter::repeat_with(E::default).take(count).collect()
}

impl Tables for MemoryTables {
    fn nanoseconds(&self, _settings: &Settings) -> u64 {
        u64::from(self.clock.load(Relaxed)) * Ticks::NANOSECONDS + self.nanoseconds.load(Relaxed)
    }

    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn services4(&self, index: u32) -> Option<&services::Bucket4> {
        self.services4.get(index as usize)
    }

    fn services6(&self, index: u32) -> Option<&services::Bucket6> {
        self.services6.get(index as usize)
    }

    fn schedule(&self, id: u16) -> Option<&Schedule> {
        self.schedules.get(usize::from(id))
    }

    fn ring(&self, index: u32) -> Option<&Word> {
        self.rings.get(index as usize)
    }

    fn destination(&self, id: u32) -> Option<&Destination> {
        self.destinations.get(id as usize)
    }

    fn load(&self, id: u32) -> Option<&Load> {
        self.loads.get(id as usize)
    }

    fn bucket4(&self, index: u32) -> Option<&Bucket4> {
        self.connections4.get(index as usize)
    }

    fn bucket6(&self, index: u32) -> Option<&Bucket6> {
        self.connections6.get(index as usize)
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentOwner> {
        self.fragments.lock().ok()?.get(key).copied()
    }

    fn remember_fragment(&self, key: &FragmentKey, owner: &FragmentOwner) {
        if let Ok(mut fragments) = self.fragments.lock() {
            fragments.insert(*key, *owner);
        }
    }

    fn detail(&self, id: u32) -> Option<&Detail> {
        self.details.get(id as usize)
    }

    fn virtual_server(&self, service: u16) -> Option<&Virtual> {
        self.virtuals.get(usize::from(service))
    }

    fn route(&self, index: u32) -> Option<&Route> {
        self.routes.get(index as usize)
    }

    fn lease(&self, index: u32) -> Option<&Lease> {
        self.leases.get(index as usize)
    }

    fn neighbour(&self, address: &[u64; 2]) -> Option<Neighbour> {
        self.neighbours.lock().ok()?.get(address).copied()
    }

    fn learn(&self, address: &[u64; 2], neighbour: &Neighbour) {
        if let Ok(mut neighbours) = self.neighbours.lock() {
            neighbours.insert(*address, *neighbour);
        }
    }

    fn network4(&self, schedule: u16, source: Be32) -> Option<u32> {
        let bits = u32::from_be_bytes(source.wire());
        let masked = |length: u8| bits & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        (0..=32).rev().find_map(|length| self.networks4.get(&(schedule, length, masked(length))).copied())
    }

    fn network6(&self, schedule: u16, source: Be128) -> Option<u32> {
        let bits = u128::from_be_bytes(source.wire());
        let masked = |length: u8| bits & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        (0..=128).rev().find_map(|length| self.networks6.get(&(schedule, length, masked(length))).copied())
    }

    fn sources(&self, index: u32) -> Option<&Sources> {
        self.sources.get(index as usize)
    }

    fn count_answer(&self, destination: u32, bytes: u64) {
        if let Some([.., out_packets, out_bytes]) = self.traffic.get(destination as usize) {
            out_packets.fetch_add(1, Relaxed);
            out_bytes.fetch_add(bytes, Relaxed);
        }
    }

    fn count_traffic(&self, destination: u32, new: bool, bytes: u64) {
        if let Some([connections, packets, total, ..]) = self.traffic.get(destination as usize) {
            connections.fetch_add(u64::from(new), Relaxed);
            packets.fetch_add(1, Relaxed);
            total.fetch_add(bytes, Relaxed);
        }
    }

    fn count(&self, reason: Reason) {
        if let Some(count) = self.reasons.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }
}

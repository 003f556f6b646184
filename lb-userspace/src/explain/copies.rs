//! The tables for one packet: read from the running director's, written to copies that nobody else sees.

use std::cell::RefCell;
use std::collections::HashMap;

use lb_common::admission::Sources;
use lb_common::conn::{Bucket4, Bucket6, Entry4, Entry6};
use lb_common::layout::{
    Destination, Detail, FragmentKey, FragmentOwner, Load, Neighbour, Route, Schedule, Settings, Virtual,
};
use lb_common::lease::Lease;
use lb_common::net::{Be32, Be128};
use lb_common::services;
use lb_common::tables::Tables;
use lb_common::verdict::Reason;
use lb_common::word::Word;
use typed_arena::Arena;

use crate::list::Source;
use crate::plane::store::Store;

/// Where the copies live.
#[derive(Default)]
pub(super) struct Arenas {
    words: Arena<Word>,
    schedules: Arena<Schedule>,
    destinations: Arena<Destination>,
    loads: Arena<Load>,
    buckets4: Arena<Bucket4>,
    buckets6: Arena<Bucket6>,
    leases: Arena<Lease>,
    sources: Arena<Sources>,
}

/// Tables of which whatever can be written is copied when it is first read.
pub(super) struct Copies<'a, S> {
    source: &'a S,
    arenas: &'a Arenas,
    words: RefCell<HashMap<u32, &'a Word>>,
    schedules: RefCell<HashMap<u16, &'a Schedule>>,
    destinations: RefCell<HashMap<u32, &'a Destination>>,
    loads: RefCell<HashMap<u32, &'a Load>>,
    buckets4: RefCell<HashMap<u32, &'a Bucket4>>,
    buckets6: RefCell<HashMap<u32, &'a Bucket6>>,
    leases: RefCell<HashMap<u32, &'a Lease>>,
    sources: RefCell<HashMap<u32, &'a Sources>>,
    seen: RefCell<Seen>,
}

/// What the packet did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Indexes of ring words, in the order in which they were read.
    pub(super) ring: Vec<u32>,
    /// Ids of destinations, likewise.
    pub(super) destinations: Vec<u32>,
    /// The destination that was counted for, and whether as a new connection.
    pub(super) counted: Option<(u32, bool)>,
    /// The destination whose answer it was counted as.
    pub(super) answered: Option<u32>,
    /// Reasons counted.
    pub(super) reasons: Vec<Reason>,
}

impl<'a, S: Source> Copies<'a, S> {
    pub(super) fn new(source: &'a S, arenas: &'a Arenas) -> Self {
        Self {
            source,
            arenas,
            words: RefCell::default(),
            schedules: RefCell::default(),
            destinations: RefCell::default(),
            loads: RefCell::default(),
            buckets4: RefCell::default(),
            buckets6: RefCell::default(),
            leases: RefCell::default(),
            sources: RefCell::default(),
            seen: RefCell::default(),
        }
    }

    pub(super) fn seen(self) -> Seen {
        self.seen.into_inner()
    }
}

fn word(word: &Word) -> Word {
    Word::new(word.load())
}

// Every field by name: one that is added must be copied too.

fn schedule(Schedule { ring, scheduler, list, rate, reserved }: &Schedule) -> Schedule {
    let reserved = reserved.each_ref().map(word);
    Schedule { ring: word(ring), scheduler: word(scheduler), list: word(list), rate: word(rate), reserved }
}

fn load(Load { active, inactive, state, reserved }: &Load) -> Load {
    Load { active: word(active), inactive: word(inactive), state: word(state), reserved: word(reserved) }
}

fn destination(
    Destination { next_hop, source, interface, identity, order, address, limits }: &Destination,
) -> Destination {
    Destination {
        next_hop: word(next_hop),
        source: word(source),
        interface: word(interface),
        identity: word(identity),
        order: word(order),
        address: address.each_ref().map(word),
        limits: word(limits),
    }
}

fn bucket4(Bucket4(entries): &Bucket4) -> Bucket4 {
    Bucket4(entries.each_ref().map(|Entry4 { key, value }| Entry4 { key: word(key), value: word(value) }))
}

fn bucket6(Bucket6(entries): &Bucket6) -> Bucket6 {
    Bucket6(entries.each_ref().map(|Entry6 { address, tag, value }| Entry6 {
        address: address.each_ref().map(word),
        tag: word(tag),
        value: word(value),
    }))
}

fn lease(Lease { value, tag, client, source, server }: &Lease) -> Lease {
    Lease {
        value: word(value),
        tag: word(tag),
        client: client.each_ref().map(word),
        source: source.each_ref().map(word),
        server: server.each_ref().map(word),
    }
}

fn sources(Sources(entries): &Sources) -> Sources {
    Sources(entries.each_ref().map(word))
}

/// The copy of an element, made now if there is none yet.
fn copy_of<'a, K: std::hash::Hash + Eq, T>(
    copies: &RefCell<HashMap<K, &'a T>>,
    arena: &'a Arena<T>,
    key: K,
    original: Option<&T>,
    copy: fn(&T) -> T,
) -> Option<&'a T> {
    let original = original?;
    Some(copies.borrow_mut().entry(key).or_insert_with(|| arena.alloc(copy(original))))
}

impl<S: Source> Tables for Copies<'_, S> {
    fn nanoseconds(&self, _settings: &Settings) -> u64 {
        self.source.nanoseconds()
    }

    fn settings(&self) -> Option<&Settings> {
        Some(self.source.settings())
    }

    fn services4(&self, index: u32) -> Option<&services::Bucket4> {
        self.source.services4().get(index as usize)
    }

    fn services6(&self, index: u32) -> Option<&services::Bucket6> {
        self.source.services6().get(index as usize)
    }

    fn schedule(&self, id: u16) -> Option<&Schedule> {
        let original = self.source.schedules().get(usize::from(id));
        copy_of(&self.schedules, &self.arenas.schedules, id, original, schedule)
    }

    fn ring(&self, index: u32) -> Option<&Word> {
        self.seen.borrow_mut().ring.push(index);
        copy_of(&self.words, &self.arenas.words, index, self.source.rings().get(index as usize), word)
    }

    fn destination(&self, id: u32) -> Option<&Destination> {
        self.seen.borrow_mut().destinations.push(id);
        let original = self.source.destinations().get(id as usize);
        copy_of(&self.destinations, &self.arenas.destinations, id, original, destination)
    }

    fn load(&self, id: u32) -> Option<&Load> {
        copy_of(&self.loads, &self.arenas.loads, id, self.source.loads().get(id as usize), load)
    }

    fn bucket4(&self, index: u32) -> Option<&Bucket4> {
        let original = self.source.connections4().get(index as usize);
        copy_of(&self.buckets4, &self.arenas.buckets4, index, original, bucket4)
    }

    fn bucket6(&self, index: u32) -> Option<&Bucket6> {
        let original = self.source.connections6().get(index as usize);
        copy_of(&self.buckets6, &self.arenas.buckets6, index, original, bucket6)
    }

    fn fragment(&self, _key: &FragmentKey) -> Option<FragmentOwner> {
        // The packet is none.
        None
    }

    fn remember_fragment(&self, _key: &FragmentKey, _owner: &FragmentOwner) {}

    fn detail(&self, id: u32) -> Option<&Detail> {
        self.source.details().get(id as usize)
    }

    fn virtual_server(&self, service: u16) -> Option<&Virtual> {
        self.source.virtuals().get(usize::from(service))
    }

    fn route(&self, index: u32) -> Option<&Route> {
        self.source.routes().get(index as usize)
    }

    fn lease(&self, index: u32) -> Option<&Lease> {
        copy_of(&self.leases, &self.arenas.leases, index, self.source.leases().get(index as usize), lease)
    }

    fn neighbour(&self, address: &[u64; 2]) -> Option<Neighbour> {
        self.source.neighbour(address)
    }

    fn learn(&self, _address: &[u64; 2], _neighbour: &Neighbour) {}

    fn network4(&self, schedule: u16, source: Be32) -> Option<u32> {
        self.source.network4(schedule, source)
    }

    fn network6(&self, schedule: u16, source: Be128) -> Option<u32> {
        self.source.network6(schedule, source)
    }

    fn sources(&self, index: u32) -> Option<&Sources> {
        let original = Store::sources(self.source).get(index as usize);
        copy_of(&self.sources, &self.arenas.sources, index, original, sources)
    }

    fn count_answer(&self, destination: u32, _bytes: u64) {
        self.seen.borrow_mut().answered = Some(destination);
    }

    fn count_traffic(&self, destination: u32, new: bool, _bytes: u64) {
        self.seen.borrow_mut().counted = Some((destination, new));
    }

    fn count(&self, reason: Reason) {
        self.seen.borrow_mut().reasons.push(reason);
    }
}

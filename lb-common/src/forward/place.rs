//! Which real server a packet goes to: that of its connection's entry, else the scheduler's choice.

use core::hint;

use crate::conn::{self, Candidate, Event, Key, Key4, Key6, State, Ticks, Value};
use crate::layout::{
    Destination, DestinationRef, Method, NextHop, RING_HEADER, RingPlace, Service, Settings,
};
use crate::net::{Be16, Be32, Be128};
use crate::parse::Ports;
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};
use crate::word::Blur;

use super::{BROKEN, Stage};

/// The hash that places a flow where there is no entry. It depends on the flow alone, so that it gives the
/// same real server for every packet and on every director with the same ring.
#[inline(always)]
pub(super) fn placement4(client: Be32, client_port: Be16, port: Be16) -> u64 {
    conn::mix(client.bits() as u64 | (client_port.bits() as u64) << 32 | (port.bits() as u64) << 48)
}

/// As [`placement4`].
#[inline(always)]
pub(super) fn placement6(client: Be128, client_port: Be16, port: Be16) -> u64 {
    let [first, second] = client.words();
    conn::mix(
        conn::mix(conn::mix(first) ^ second) ^ (client_port.bits() as u64) << 32 ^ (port.bits() as u64) << 48,
    )
}

/// A key whose buckets the tables hold.
pub(super) trait Family: Key {
    /// The number of this family's buckets.
    fn buckets(settings: &Settings) -> u32;
    /// A bucket.
    fn bucket<T: Tables>(tables: &T, index: u32) -> Option<&Self::Bucket>;
}

impl Family for Key4 {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    fn buckets(settings: &Settings) -> u32 {
        settings.buckets.load() as u32
    }

    #[inline(always)]
    fn bucket<T: Tables>(tables: &T, index: u32) -> Option<&Self::Bucket> {
        tables.bucket4(index)
    }
}

impl Family for Key6 {
    #[inline(always)]
    fn buckets(settings: &Settings) -> u32 {
        (settings.buckets.load() >> 32) as u32
    }

    #[inline(always)]
    fn bucket<T: Tables>(tables: &T, index: u32) -> Option<&Self::Bucket> {
        tables.bucket6(index)
    }
}

/// The real server a packet goes to.
pub(super) struct Chosen<'t> {
    pub(super) reference: DestinationRef,
    pub(super) destination: &'t Destination,
    /// [`Destination::next_hop`] as it was read.
    pub(super) hop: u64,
    pub(super) new: bool,
}

impl Chosen<'_> {
    /// Is it reached through a tunnel?
    #[inline(always)]
    pub(super) fn is_tunnelled(&self) -> bool {
        self.flags() & NextHop::METHOD == Method::Tunnel as u8
    }

    /// The stage that sends packets to it, unless by direct routing.
    #[inline(always)]
    pub(super) fn stage(&self) -> Stage {
        if self.is_tunnelled() {
            Stage::Encapsulate(self.reference, self.new)
        } else {
            Stage::Translate(self.reference, self.new)
        }
    }

    /// Those of [`NextHop`].
    #[inline(always)]
    pub(super) fn flags(&self) -> u8 {
        NextHop::from_word(self.hop).flags
    }
}

/// The destination, unless it has been freed or given out again.
#[inline(always)]
pub(super) fn live<T: Tables>(tables: &T, reference: DestinationRef, new: bool) -> Option<Chosen<'_>> {
    let destination = tables.destination(reference.id())?;
    let hop = destination.next_hop.load();
    let NextHop { flags, generation, .. } = NextHop::from_word(hop);
    if flags & NextHop::IN_USE == 0 || generation != reference.generation() {
        return None;
    }
    Some(Chosen { reference, destination, hop, new })
}

/// The timeout of a state in ticks.
#[inline(always)]
fn timeout(settings: &Settings, state: State) -> u64 {
    settings.timeouts[state.number() & 15].load()
}

/// Finds the real server of a TCP or UDP packet: by its connection's entry, else by the scheduler.
/// `placement` gives the flow's [`placement4`] or [`placement6`].
#[inline(always)]
pub(super) fn place<'t, K: Family, T: Tables>(
    tables: &'t T,
    settings: &Settings,
    flow: K,
    service: Service,
    ports: &Ports,
    blur: Blur,
    placement: impl Fn() -> u64,
) -> Result<Chosen<'t>, Verdict> {
    let hash = flow.hash(settings.seed.load());
    let count = K::buckets(settings);
    let (first, second) = conn::buckets_of(hash, count, K::NEAR);
    let first = K::bucket(tables, first).ok_or(BROKEN)?;
    let now = tables.now(settings);
    let mut bucket = first;
    let mut found = flow.find(first, ports.destination, blur);
    if found.is_none() {
        hint::cold_path();
        bucket = K::bucket(tables, second).ok_or(BROKEN)?;
        found = flow.find(bucket, ports.destination, blur);
    }
    let candidate = match found {
        Some((slot, value)) => {
            if let Some(chosen) = follow::<K, T>(tables, settings, bucket, slot, value, ports.event, now) {
                return Ok(chosen);
            }
            Candidate::<K>::own(bucket, slot)
        }
        None => {
            hint::cold_path();
            let timeout = |state| timeout(settings, state);
            Candidate::<K>::none(first)
                .or_better(first, now, blur, timeout)
                .or_better(bucket, now, blur, timeout)
        }
    };
    schedule(tables, flow, service, ports, now, candidate, placement)
}

/// Goes on with a connection that has an entry: its real server, and the entry brought up to date. `None` if
/// the entry has expired, the real server is gone, or the packet starts the connection anew.
#[inline(always)]
fn follow<'t, K: Family, T: Tables>(
    tables: &'t T,
    settings: &Settings,
    bucket: &K::Bucket,
    slot: usize,
    value: Value,
    event: Event,
    now: Ticks,
) -> Option<Chosen<'t>> {
    let age = u64::from(now.since(value.seen()));
    let state = value.state();
    let timeout = timeout(settings, state);
    if age >= timeout {
        return None;
    }
    let chosen = live(tables, value.destination(), false)?;
    if event == Event::SYN {
        hint::cold_path();
        if conn::reschedules(state, chosen.flags() & NextHop::RETIRED != 0) {
            return None;
        }
    }
    let next = conn::next_state(state, event);
    // Written only in steps of 1/256 of the timeout: established traffic must not dirty the cache line.
    if next != state || age > timeout >> 8 {
        hint::cold_path();
        K::update(bucket, slot, value, value.with(next, now));
    }
    Some(chosen)
}

/// Chooses a real server for a flow that has none, and records it if there is a slot for it.
#[inline(always)]
fn schedule<'t, K: Family, T: Tables>(
    tables: &'t T,
    flow: K,
    service: Service,
    ports: &Ports,
    now: Ticks,
    candidate: Candidate<'_, K>,
    placement: impl Fn() -> u64,
) -> Result<Chosen<'t>, Verdict> {
    let ring = RingPlace::from_word(tables.schedule(service.schedule).ok_or(BROKEN)?.ring.load());
    if ring.slots == 0 {
        return Err(Reason::NoRealServer.into());
    }
    let opens = ports.event.opens();
    let claimed = opens != State::NONE && candidate.claim();
    let starts = ports.event.starts();
    // Where entries are evicted the hash places newcomers too: this one's entry may be gone when its next
    // packet comes, which then finds the same place.
    let slot = if claimed && starts && !candidate.crowded() {
        by_turn(tables, ring)
    } else {
        Some(by_hash(ring, placement()))
    };
    // A claimed slot must be given back whatever is wrong: nothing is returned before that.
    let new = claimed || ports.event == Event::SYN;
    let Some(chosen) = slot.and_then(|slot| ring_slot(tables, ring, slot, new)) else {
        hint::cold_path();
        if claimed {
            K::release(candidate.bucket, candidate.slot);
        }
        return Err(BROKEN);
    };
    if claimed {
        flow.publish(
            candidate.bucket,
            candidate.slot,
            Value::new(chosen.reference, opens, now, ports.destination),
        );
        if candidate.crowded() {
            tables.count(Reason::Evicted);
        }
        if !starts {
            tables.count(Reason::MidStream);
        }
    } else if opens != State::NONE {
        // A reset of a connection that nobody knows is worth forwarding, not worth recording.
        tables.count(Reason::Unrecorded);
    }
    Ok(chosen)
}

/// The next place in the scheduler's order.
#[inline(always)]
fn by_turn<T: Tables>(tables: &T, ring: RingPlace) -> Option<u32> {
    let turn = tables.ring(ring.offset)?.fetch_add(1);
    // Dividing 32 bits takes a fraction of the time that 64 take.
    Some(match u32::try_from(turn) {
        Ok(turn) => turn % ring.slots,
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of a 32-bit number")]
        Err(_) => (turn % u64::from(ring.slots)) as u32,
    })
}

/// The place of the flow's hash in the scheduler's ring, so that each real server gets its weight's share.
#[inline(always)]
fn by_hash(ring: RingPlace, placement: u64) -> u32 {
    conn::scale((placement >> 32) as u32, ring.slots)
}

#[inline(always)]
fn ring_slot<T: Tables>(tables: &T, ring: RingPlace, slot: u32, new: bool) -> Option<Chosen<'_>> {
    let word = tables.ring(ring.offset.wrapping_add(RING_HEADER).wrapping_add(slot))?.load();
    live(tables, DestinationRef::from_word(word), new)
}

/// The entry of a flow, which may have expired.
#[inline(always)]
pub(super) fn entry<K: Family, T: Tables>(
    tables: &T,
    settings: &Settings,
    flow: K,
    port: Be16,
    blur: Blur,
) -> Option<Value> {
    let (first, second) = conn::buckets_of(flow.hash(settings.seed.load()), K::buckets(settings), K::NEAR);
    if let Some((_, value)) = flow.find(K::bucket(tables, first)?, port, blur) {
        return Some(value);
    }
    flow.find(K::bucket(tables, second)?, port, blur).map(|(_, value)| value)
}

/// The real server of a flow without changing anything: by its entry, else by its hash.
#[inline(always)]
pub(super) fn existing<'t, K: Family, T: Tables>(
    tables: &'t T,
    settings: &Settings,
    flow: K,
    placement: u64,
    service: Service,
    port: Be16,
    blur: Blur,
) -> Result<Chosen<'t>, Verdict> {
    if let Some(value) = entry(tables, settings, flow, port, blur)
        && let Some(chosen) = live(tables, value.destination(), false)
    {
        return Ok(chosen);
    }
    let ring = RingPlace::from_word(tables.schedule(service.schedule).ok_or(BROKEN)?.ring.load());
    if ring.slots == 0 {
        return Err(Reason::NoRealServer.into());
    }
    ring_slot(tables, ring, by_hash(ring, placement), false).ok_or(BROKEN)
}

//! Which real server a packet goes to: that of its connection's entry, else the scheduler's choice.

use core::hint;

use crate::conn::{self, Candidate, Event, Key, Key4, Key6, Part, State, Ticks, Value};
use crate::hash;
use crate::layout::{
    Destination, DestinationRef, Identity, Method, NextHop, RingPlace, Rules, Schedule, Service, Settings,
};
use crate::net::{Be16, Be32, Be128};
use crate::parse::Ports;
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};
use crate::word::Blur;

use super::admission::{listed_in, may_connect};
use super::pick::{self, Asked, NOBODY, Turn};
use super::sticky::{Sticky, rest};
use super::{BROKEN, Stage};

/// What a scheduler goes by for an IPv4 flow. The placement depends on the flow alone, so that it gives the same
/// real server for every packet and on every director with the same ring.
#[inline(always)]
pub(super) fn asked4(client: Be32, client_port: Be16, address: Be32, port: Be16) -> Asked {
    let flow = client.bits() as u64 | (client_port.bits() as u64) << 32 | (port.bits() as u64) << 48;
    Asked {
        placement: conn::mix(flow),
        client: hash::fold(client.bits() as u64, 0),
        address: hash::fold(address.bits() as u64, 0),
        port: client_port.host(),
        turn: Turn::HAS,
    }
}

/// As [`asked4`].
#[inline(always)]
pub(super) fn asked6(client: Be128, client_port: Be16, address: Be128, port: Be16) -> Asked {
    let [first, second] = client.words();
    let ports = (client_port.bits() as u64) << 32 ^ (port.bits() as u64) << 48;
    let [high, low] = address.words();
    Asked {
        placement: conn::mix(conn::mix(conn::mix(first) ^ second) ^ ports),
        client: hash::fold(first, second),
        address: hash::fold(high, low),
        port: client_port.host(),
        turn: Turn::HAS,
    }
}

/// A key whose buckets the tables hold.
pub(super) trait Family: Key {
    /// A bucket.
    fn bucket<T: Tables>(tables: &T, index: u32) -> Option<&Self::Bucket>;
}

impl Family for Key4 {
    #[inline(always)]
    fn bucket<T: Tables>(tables: &T, index: u32) -> Option<&Self::Bucket> {
        tables.bucket4(index)
    }
}

impl Family for Key6 {
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
        if self.flags() & NextHop::FAILED != 0 {
            Stage::Failed(self.flags())
        } else if self.is_tunnelled() {
            Stage::Encapsulate(self.reference, self.new)
        } else if self.flags() & NextHop::METHOD == Method::FullNat as u8 {
            Stage::FullNat(self.reference, self.new)
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

/// Finds the real server of a TCP or UDP packet: by its connection's entry, else by the scheduler.
/// `asked` gives the flow's [`asked4`] or [`asked6`].
#[inline(always)]
pub(super) fn place<'t, K: Sticky, T: Tables>(
    tables: &'t T,
    settings: &Settings,
    flow: K,
    service: Service,
    ports: &Ports,
    blur: Blur,
    asked: impl Fn() -> Asked,
) -> Result<Chosen<'t>, Verdict> {
    if service.flags & Service::ASIDE != 0 {
        hint::cold_path();
        if service.flags & Service::STANDBY != 0 {
            return Err(Reason::Standby.into());
        }
        listed_in(tables, service, flow)?;
        if service.flags & Service::ONE_PACKET != 0 {
            return once(tables, service, flow, asked);
        }
    }
    let hash = flow.hash(settings.seed.load());
    let (first, second) = conn::buckets_of(hash, settings.part(K::FAMILY), K::NEAR);
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
            let timeout = |state| settings.timeout(state);
            Candidate::<K>::none(first)
                .or_better(first, now, blur, timeout)
                .or_better(bucket, now, blur, timeout)
        }
    };
    schedule(tables, settings, flow, service, ports, now, candidate, asked)
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
    let timeout = settings.timeout(state);
    if age >= timeout {
        return None;
    }
    let chosen = live(tables, value.destination(), false)?;
    if event == Event::SYN {
        hint::cold_path();
        let quiesced = Identity::from_word(chosen.destination.identity.load()).weight == 0;
        if conn::reschedules(state, chosen.flags() & (NextHop::RETIRED | NextHop::FAILED) != 0, quiesced)
            || quiesced && settings.flags.load() & Settings::EXPIRE_NODEST != 0
        {
            return None;
        }
    }
    let next = conn::next_state(state, event);
    // Written only in steps of 1/256 of the timeout: established traffic must not dirty the cache line.
    if next != state || age > timeout >> 8 {
        hint::cold_path();
        let new = value.with(next, now);
        let updated = K::update(bucket, slot, value, new);
        if updated && state.active() != next.active() && settings.flags.load() & Settings::COUNTED != 0 {
            tables.weigh(value.to_word(), -1);
            tables.weigh(new.to_word(), 1);
        }
    }
    Some(chosen)
}

/// Chooses a real server for a flow that has none, and records it if there is a slot for it.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "inlined")]
fn schedule<'t, K: Sticky, T: Tables>(
    tables: &'t T,
    settings: &Settings,
    flow: K,
    service: Service,
    ports: &Ports,
    now: Ticks,
    candidate: Candidate<'_, K>,
    asked: impl Fn() -> Asked,
) -> Result<Chosen<'t>, Verdict> {
    let schedule = tables.schedule(service.schedule).ok_or(BROKEN)?;
    if RingPlace::from_word(schedule.ring.load()).slots == 0 {
        return Err(Reason::NoRealServer.into());
    }
    let opens = ports.event.opens();
    let starts = ports.event.starts();
    if service.flags & Service::RATED != 0 && starts {
        hint::cold_path();
        may_connect(tables, service, flow)?;
    }
    let claimed = opens != State::NONE && candidate.claim();
    let flags = settings.flags.load();
    let counted = flags & Settings::COUNTED != 0;
    if claimed
        && counted
        && let Some(old) = candidate.overwritten()
    {
        hint::cold_path();
        tables.weigh(old.to_word(), -1);
    }
    // Where entries are evicted the hash places newcomers too: this one's entry may be gone when its next
    // packet comes, which then finds the same place. So will another director.
    let turn = if !starts {
        Turn::HAS
    } else if claimed && !candidate.crowded() && flags & Settings::BY_HASH == 0 {
        Turn::NEXT
    } else {
        Turn::WOULD
    };
    // A claimed slot must be given back whatever is wrong: nothing is returned before that.
    let new = claimed || ports.event == Event::SYN;
    let chosen =
        match picked(tables, choose(tables, schedule, service, flow, &Asked { turn, ..asked() }), new) {
            Ok(chosen) => chosen,
            Err(verdict) => {
                hint::cold_path();
                if claimed {
                    K::release(candidate.bucket, candidate.slot);
                }
                return Err(verdict);
            }
        };
    if claimed {
        let value = Value::new(chosen.reference, opens, now, ports.destination);
        if counted {
            hint::cold_path();
            tables.weigh(value.to_word(), 1);
        }
        flow.publish(candidate.bucket, candidate.slot, value);
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

/// The real server of a pick.
#[inline(always)]
fn picked<T: Tables>(tables: &T, word: u64, new: bool) -> Result<Chosen<'_>, Verdict> {
    if word == NOBODY {
        return Err(Reason::NoRealServer.into());
    }
    live(tables, DestinationRef::from_word(word), new).ok_or(BROKEN)
}

/// Adds `change` to the connections of an entry's real server. `value` is a [`Value`] as a word.
#[inline(always)]
pub fn weigh<T: Tables>(tables: &T, value: u64, change: i64) {
    let value = Value::from_word(value);
    if value.state().template() {
        return;
    }
    let reference = value.destination();
    let (Some(destination), Some(load)) = (tables.destination(reference.id()), tables.load(reference.id()))
    else {
        return;
    };
    // The id may have been given out again; the entry was not counted for who has it now.
    if NextHop::from_word(destination.next_hop.load()).generation == reference.generation() {
        load.add(value.state().active(), change);
        load.judge(destination.limits.load());
    }
}

/// Schedules a datagram of a virtual server that leaves no entries (`ip_vs_schedule`, IP_VS_CONN_F_ONE_PACKET).
#[inline(always)]
fn once<'t, K: Sticky, T: Tables>(
    tables: &'t T,
    service: Service,
    flow: K,
    asked: impl Fn() -> Asked,
) -> Result<Chosen<'t>, Verdict> {
    let schedule = tables.schedule(service.schedule).ok_or(BROKEN)?;
    if service.flags & Service::RATED != 0 {
        may_connect(tables, service, flow)?;
    }
    let asked = Asked { turn: Turn::NEXT, ..asked() };
    picked(tables, choose(tables, schedule, service, flow, &asked), true)
}

/// The scheduler's choice, or persistence's.
#[inline(always)]
fn choose<K: Sticky, T: Tables>(
    tables: &T,
    schedule: &Schedule,
    service: Service,
    flow: K,
    asked: &Asked,
) -> u64 {
    let rules = Rules::from_word(schedule.scheduler.load());
    if rules.persistence == 0 {
        // Most virtual servers are of this kind, and it costs less than a call.
        if asked.turn == Turn::NEXT && rules.goes_by_turns() {
            return pick::turn(tables, RingPlace::from_word(schedule.ring.load()));
        }
        return tables.pick(service, asked);
    }
    hint::cold_path();
    let starts = asked.turn != Turn::HAS;
    let (client, rest) = (flow.client(), rest(service.schedule, starts, K::IS_IPV6));
    let word = tables.bound(client, rest);
    if word != NOBODY {
        return word;
    }
    // Where there is no template, all of a client's flows find the same place.
    let asked = Asked { placement: flow.template(rules.prefix, 0).hash(0), ..*asked };
    let word = tables.pick(service, &asked);
    if starts && word != NOBODY {
        tables.bind(client, rest, word);
    }
    word
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
    let part = settings.part(K::FAMILY);
    let found = entry_in(tables, settings, flow, port, blur, part);
    if found.is_some() || settings.flags.load() & Settings::MOVING == 0 {
        return found;
    }
    // It may have been entered in the part that was left when it had been copied already.
    hint::cold_path();
    entry_in(tables, settings, flow, port, blur, part.other(settings.main_buckets(K::FAMILY), K::NEAR))
}

#[inline(always)]
fn entry_in<K: Family, T: Tables>(
    tables: &T,
    settings: &Settings,
    flow: K,
    port: Be16,
    blur: Blur,
    part: Part,
) -> Option<Value> {
    let (first, second) = conn::buckets_of(flow.hash(settings.seed.load()), part, K::NEAR);
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
    asked: Asked,
    service: Service,
    port: Be16,
    blur: Blur,
) -> Result<Chosen<'t>, Verdict> {
    if let Some(value) = entry(tables, settings, flow, port, blur)
        && let Some(chosen) = live(tables, value.destination(), false)
    {
        return Ok(chosen);
    }
    picked(tables, tables.pick(service, &asked), false)
}

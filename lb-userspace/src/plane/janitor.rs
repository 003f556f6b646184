//! Takes away what nobody uses any more: expired connections and templates, and retired real servers without
//! connections. Keeps the counts of connections right.

use std::collections::{BTreeSet, HashMap};

use lb_common::admission;
use lb_common::conn::{BUCKET_ENTRIES, CLAIMED, Key, Key4, Key6, State, Ticks, Value};
use lb_common::layout::{DestinationRef, NextHop, Rules, Settings};
use lb_common::lease::Lease;
use lb_common::net::Be128;

use super::applied::Applied;
use super::store::{Store, StoreError, virtual_servers};

/// How long a template whose time is over lives on while a connection of its client's does
/// (`ip_vs_conn_expire`: it is looked at again after so long).
const PROLONGED_SECONDS: u32 = 60;

/// Has a connection expired?
pub fn expired(settings: &Settings, value: Value, now: Ticks) -> bool {
    u64::from(now.since(value.seen())) >= settings.timeout(value.state())
}

/// Empties the slots of expired connections and templates, and of sources that have their whole allowance; returns who has connections still.
///
/// The datapath takes expired slots by itself. This is for times that count as the future after 39 hours, to know which
/// destinations are in use, and for the counts of connections.
pub fn sweep<S: Store>(store: &S, now: Ticks) -> BTreeSet<DestinationRef> {
    let before: Vec<(u64, u64)> =
        store.loads().iter().map(|load| (load.active.load(), load.inactive.load())).collect();
    let mut sweep = Sweep {
        store,
        now,
        used: vec![false; store.destinations().len() << DestinationRef::GENERATION_BITS.min(6)],
        seen: BTreeSet::new(),
        counts: vec![(0, 0); before.len()],
        persistent: Persistent::of(store),
        clients: HashMap::new(),
    };
    for bucket in store.connections4() {
        sweep.bucket::<Key4>(bucket);
    }
    for bucket in store.connections6() {
        sweep.bucket::<Key6>(bucket);
    }
    for lease in store.leases() {
        sweep.lease(lease);
    }
    let time = admission::units(u64::from(now.bits()) * Ticks::NANOSECONDS);
    for sources in store.sources() {
        admission::sweep(sources, time);
    }
    super::locality::sweep(store, now);
    if !sweep.persistent.by_schedule.is_empty() {
        for bucket in store.connections4() {
            sweep.templates::<Key4>(bucket);
        }
        for bucket in store.connections6() {
            sweep.templates::<Key6>(bucket);
        }
    }
    if store.settings().flags.load() & Settings::COUNTED != 0 {
        sweep.correct(&before);
    }
    sweep.seen
}

/// Do numbers of connections or templates decide about new connections, so that expired ones must not stay?
pub fn is_urgent<S: Store>(store: &S) -> bool {
    let settings = store.settings();
    settings.flags.load() & Settings::COUNTED != 0 || settings.timeout(State::TEMPLATE) > 0
}

/// A client as a schedule's persistence knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Client {
    address: [u64; 2],
    schedule: u16,
}

/// A key whose parts can be told.
trait Told: Key {
    /// The client's address and the id.
    fn told(self) -> ([u64; 2], u16);
    /// The address in so many bits.
    fn masked(address: [u64; 2], prefix: u8) -> [u64; 2];
}

impl Told for Key4 {
    fn told(self) -> ([u64; 2], u16) {
        let (address, _, id) = self.parts();
        ([u64::from(address.bits()), 0], id)
    }

    fn masked([address, _]: [u64; 2], prefix: u8) -> [u64; 2] {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0).to_be();
        [address & u64::from(mask), 0]
    }
}

impl Told for Key6 {
    fn told(self) -> ([u64; 2], u16) {
        let (address, _, id) = self.parts();
        (address.words(), id)
    }

    fn masked(address: [u64; 2], prefix: u8) -> [u64; 2] {
        let bits = u128::from_be_bytes(Be128::from_words(address).wire());
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
        Be128::from_wire((bits & mask).to_be_bytes()).words()
    }
}

/// Who has persistence.
struct Persistent {
    /// The schedule of a service's id.
    schedules: HashMap<u16, u16>,
    /// A schedule's rules.
    by_schedule: HashMap<u16, Rules>,
}

impl Persistent {
    fn of<S: Store>(store: &S) -> Self {
        let mut by_schedule = HashMap::new();
        let mut schedules = HashMap::new();
        for (_, service) in virtual_servers(store) {
            let Some(schedule) = store.schedules().get(usize::from(service.schedule)) else { continue };
            let rules = Rules::from_word(schedule.scheduler.load());
            if rules.persistence > 0 {
                by_schedule.insert(service.schedule, rules);
                schedules.insert(service.id, service.schedule);
            }
        }
        Self { schedules, by_schedule }
    }
}

struct Sweep<'s, S> {
    store: &'s S,
    now: Ticks,
    used: Vec<bool>,
    seen: BTreeSet<DestinationRef>,
    /// Active and inactive connections by destination id.
    counts: Vec<(u64, u64)>,
    persistent: Persistent,
    /// Clients of persistent virtual servers that have a connection; `true`: one that is confirmed.
    clients: HashMap<Client, bool>,
}

impl<S: Store> Sweep<'_, S> {
    /// The connections of a bucket.
    fn bucket<K: Told>(&mut self, bucket: &K::Bucket) {
        for slot in 0..BUCKET_ENTRIES {
            let Some((expected, Some(value))) = K::inspect(bucket, slot) else { continue };
            if value.state().template() {
                continue;
            }
            if expired(self.store.settings(), value, self.now) {
                if K::claim(bucket, slot, expected) {
                    forget_one(self.store, value);
                    K::release(bucket, slot);
                }
                continue;
            }
            self.count(value);
            self.uses(value.destination());
            if self.persistent.by_schedule.is_empty() {
                continue;
            }
            let Some((key, _)) = K::read(bucket, slot) else { continue };
            let (address, id) = key.told();
            let schedule = self.persistent.schedules.get(&id);
            let Some((schedule, rules)) =
                schedule.and_then(|id| Some((*id, self.persistent.by_schedule.get(id)?)))
            else {
                continue;
            };
            let client = Client { address: K::masked(address, rules.prefix), schedule };
            *self.clients.entry(client).or_default() |= !value.state().unconfirmed();
        }
    }

    /// A lease ends by itself; as long as it lives, its real server has a connection.
    fn lease(&mut self, lease: &Lease) {
        let word = lease.value.load();
        if word == 0 || word == CLAIMED {
            return;
        }
        let value = Value::from_word(word);
        if expired(self.store.settings(), value, self.now) {
            lease.value.replace(word, 0);
        } else {
            self.uses(value.destination());
        }
    }

    /// The templates of a bucket: those whose time is over go, but for those of clients that have a connection.
    fn templates<K: Told>(&self, bucket: &K::Bucket) {
        for slot in 0..BUCKET_ENTRIES {
            let Some((expected, Some(value))) = K::inspect(bucket, slot) else { continue };
            let Some((key, _)) = K::read(bucket, slot) else { continue };
            let (address, schedule) = key.told();
            if !value.state().template() {
                continue;
            }
            let timeout = self.persistent.by_schedule.get(&schedule).map_or(0, |rules| rules.persistence);
            let confirmed = self.clients.get(&Client { address, schedule });
            if self.now.since(value.seen()) < timeout {
                if confirmed == Some(&true) && value.state() == State::NEW_TEMPLATE {
                    K::update(bucket, slot, value, value.with(State::TEMPLATE, value.seen()));
                }
            } else if confirmed.is_some() && timeout > 0 {
                // Also if that is more than its timeout: what was seen in the future has no age yet.
                let prolonged = u32::try_from(Ticks::of_seconds(PROLONGED_SECONDS)).unwrap_or(0);
                let seen = self.now.later(prolonged).earlier(timeout);
                K::update(bucket, slot, value, value.with(value.state(), seen));
            } else if K::claim(bucket, slot, expected) {
                K::release(bucket, slot);
            }
        }
    }

    /// A destination has an entry.
    fn uses(&mut self, reference: DestinationRef) {
        // A set look-up for each of a million connections would be most of the work.
        let index = (reference.id() as usize) << 6 | usize::from(reference.generation());
        if let Some(known) = self.used.get_mut(index).filter(|known| !**known) {
            *known = true;
            self.seen.insert(reference);
        }
    }

    fn count(&mut self, value: Value) {
        if is_current(self.store, value.destination())
            && let Some((active, inactive)) = self.counts.get_mut(value.destination().id() as usize)
        {
            *(if value.state().active() { active } else { inactive }) += 1;
        }
    }

    /// Sets counts right that are wrong: those from before counting began, and what a crash left. Where the number
    /// moved while it was counted, it is left for the next time, unless it has never been right.
    fn correct(&self, before: &[(u64, u64)]) {
        let expired = |counted: u64, before: u64, now: u64| {
            let moved = now != before;
            let never = before == 0 && now < counted;
            (now != counted && (!moved || never)).then(|| counted.wrapping_sub(now))
        };
        let all = self.store.loads().iter().zip(self.store.destinations()).zip(&self.counts).zip(before);
        for (((load, destination), counted), before) in all {
            let active = expired(counted.0, before.0, load.active.load());
            let inactive = expired(counted.1, before.1, load.inactive.load());
            if let Some(change) = active {
                load.active.fetch_add(change);
            }
            if let Some(change) = inactive {
                load.inactive.fetch_add(change);
            }
            if active.or(inactive).is_some() {
                load.judge(destination.limits.load());
            }
        }
    }
}

/// Is the reference to the real server that has the id now?
fn is_current<S: Store>(store: &S, reference: DestinationRef) -> bool {
    let destination = store.destinations().get(reference.id() as usize);
    destination
        .is_some_and(|found| NextHop::from_word(found.next_hop.load()).generation == reference.generation())
}

/// A connection is gone: its real server has one fewer, where they are counted.
pub(super) fn forget_one<S: Store>(store: &S, value: Value) {
    if store.settings().flags.load() & Settings::COUNTED == 0
        || value.state().template()
        || !is_current(store, value.destination())
    {
        return;
    }
    let id = value.destination().id() as usize;
    if let (Some(load), Some(destination)) = (store.loads().get(id), store.destinations().get(id)) {
        load.add(value.state().active(), -1);
        load.judge(destination.limits.load());
    }
}

/// Empties the slots of all connections and leases of a service's id, which is about to be free for another.
pub fn forget<S: Store>(store: &S, service: u16) {
    end_leases(store, service);
    for bucket in store.connections4() {
        for slot in 0..BUCKET_ENTRIES {
            let Some((expected, Some(_))) = Key4::inspect(bucket, slot) else { continue };
            let is_its = Key4::from_word(expected).is_some_and(|key| key.parts().2 == service);
            if is_its && Key4::claim(bucket, slot, expected) {
                Key4::release(bucket, slot);
            }
        }
    }
    for bucket in store.connections6() {
        for (slot, entry) in bucket.0.iter().enumerate() {
            let Some((expected, Some(_))) = Key6::inspect(bucket, slot) else { continue };
            let tag = entry.tag.load();
            if Key6::from_words([0; 2], tag).parts().2 == service && Key6::claim(bucket, slot, expected) {
                Key6::release(bucket, slot);
            }
        }
    }
}

/// Ends the leases of a service's id.
fn end_leases<S: Store>(store: &S, service: u16) {
    for lease in store.leases() {
        let word = lease.value.load();
        if word != 0 && word != CLAIMED && lease.service() == service {
            lease.value.replace(word, 0);
        }
    }
}

/// Frees the retired destinations, and those of services that are no more, that have no connections.
/// Returns how many.
pub fn free_retired<S: Store>(store: &S, used: &BTreeSet<DestinationRef>) -> Result<usize, StoreError> {
    let applied = Applied::read(store);
    let retired =
        applied.services.values().flat_map(|service| &service.servers).filter(|server| server.retired);
    let mut freed = 0;
    for server in retired.chain(&applied.orphans).filter(|server| !used.contains(&server.reference)) {
        if let Some(destination) = store.destinations().get(server.reference.id() as usize) {
            let generation = server.reference.generation();
            destination.next_hop.store(NextHop { generation, ..NextHop::default() }.to_word());
            freed += 1;
        }
    }
    Ok(freed)
}

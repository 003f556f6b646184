//! Carries the entries of a connection table over to its other part when they have become too many for the compact
//! one, or few again ([`Part`]).
//!
//! The datapath looks in one part only, and goes on while this happens. So that no connection loses its real server:
//! 1. New connections are placed by their hash ([`Settings::MOVING`]).
//! 2. Some time later, when no packet is under way that knew nothing of that, all entries are copied, the other part comes
//!    into use, and what has changed meanwhile is copied again. A packet in between that misses its entry is one of a
//!    connection that has just begun, and finds its real server by its hash, like its first packet; an answer by NAT
//!    finds the entry in the part that was left.
//! 3. Some time later the same is done for writers that were late, the part that was left is emptied, and new connections
//!    are placed by turns again.
//!
//! A connection counts once, wherever its entries are: see [`Load`](lb_common::layout::Load).

use std::collections::HashMap;

use lb_common::conn::{BUCKET_ENTRIES, Candidate, Key, Key4, Key6, Part, Ticks, Value, buckets_of};
use lb_common::layout::Settings;
use lb_common::word::Blur;

use super::janitor::{expired, forget_one};
use super::store::Store;
use crate::dataplane::connections::entries;

/// How many buckets of the compact part are looked at to see how many entries there are.
const SAMPLE: usize = 512;
/// The same for the main part, at every so many looks.
const MAIN_SAMPLE: (usize, u32) = (4096, 10);
/// More than one entry for so many buckets of the compact part is too many: an eighth of its slots. So next to no flow
/// finds both of its buckets full, and there is room for those that come before the next look.
const MANY: usize = 2;
/// Less than one for so many is few.
const FEW: usize = 8;
/// So long they must have been few before they go to the compact part.
const QUIET_SECONDS: u32 = 60;

/// A family whose table has parts.
trait Family: Key<Bucket: 'static> + Eq + std::hash::Hash {
    /// Its table, with both parts.
    fn table<S: Store>(store: &S) -> &[Self::Bucket];
}

impl Family for Key4 {
    fn table<S: Store>(store: &S) -> &[Self::Bucket] {
        store.connections4()
    }
}

impl Family for Key6 {
    fn table<S: Store>(store: &S) -> &[Self::Bucket] {
        store.connections6()
    }
}

/// What is done with both tables.
#[derive(Debug, Default)]
pub struct Parts {
    four: Mover<Key4>,
    six: Mover<Key6>,
}

impl Parts {
    /// Takes a step where one is due. Who calls it every tenth of a second leaves packets time enough in between.
    pub fn look<S: Store>(&mut self, store: &S, now: Ticks) {
        self.four.look(store, now);
        self.six.look(store, now);
        let flags = &store.settings().flags;
        let (before, moving) = (flags.load(), if self.is_moving() { Settings::MOVING } else { 0 });
        if before & Settings::MOVING != moving {
            flags.store(before & !Settings::MOVING | moving);
        }
    }

    /// Are entries in both parts of a table, so that counting them would count some twice?
    pub fn is_moving(&self) -> bool {
        self.four.step.is_some() || self.six.step.is_some()
    }

    /// Ends what a process has left half done that died over it.
    pub fn recover<S: Store>(store: &S, now: Ticks) {
        let flags = &store.settings().flags;
        // It is set before the first entry is copied and until the last one is cleared.
        if flags.load() & Settings::MOVING == 0 {
            return;
        }
        recover::<Key4, S>(store, now);
        recover::<Key6, S>(store, now);
        flags.store(flags.load() & !Settings::MOVING);
    }
}

/// Values that were copied, by key and port.
type Copies<K> = HashMap<(K, u16), Value>;

/// What has been done, where something has been begun.
#[derive(Debug)]
enum Step<K> {
    Announced { to: Part },
    InUse { from: Part, copies: Copies<K> },
}

#[derive(Debug)]
struct Mover<K> {
    step: Option<Step<K>>,
    /// Since when there have been few entries in the main part.
    few_since: Option<Ticks>,
    /// Looks at the main part.
    looks: u32,
}

impl<K> Default for Mover<K> {
    fn default() -> Self {
        Self { step: None, few_since: None, looks: 0 }
    }
}

impl<K: Family> Mover<K> {
    fn look<S: Store>(&mut self, store: &S, now: Ticks) {
        let count = store.settings().main_buckets(K::FAMILY);
        let Some(compact) = Part::compact(count, K::NEAR) else { return };
        let main = Part::main(count);
        self.step = match self.step.take() {
            None => self.target(store, compact, main, now).map(|to| Step::Announced { to }),
            Some(Step::Announced { to }) => go_over::<K, S>(store, to, now),
            Some(Step::InUse { from, mut copies }) => {
                let to = store.settings().part(K::FAMILY);
                let lost = carry(store, from, to, now, &mut copies);
                clear::<K, S>(store, from, Some(&copies));
                tracing::info!(
                    table = K::FAMILY * 2 + 4,
                    part = if to == main { "main" } else { "compact" },
                    connections = copies.len(),
                    lost,
                    "connections are in the other part of their table"
                );
                None
            }
        };
    }

    /// The part that the entries should be in, if they are in the other one.
    fn target<S: Store>(&mut self, store: &S, compact: Part, main: Part, now: Ticks) -> Option<Part> {
        let part = store.settings().part(K::FAMILY);
        let table = part.of(K::table(store));
        let estimate = |sample: usize| {
            let stride = (table.len() / sample).max(1);
            let sampled = table.chunks(stride).filter_map(|chunk| chunk.get(..1));
            sampled.map(|bucket| alive::<K, S>(store, bucket, now)).sum::<usize>() * stride
        };
        if part == compact {
            self.few_since = None;
            return (estimate(SAMPLE) > compact.count as usize / MANY).then_some(main);
        }
        let (sample, every) = MAIN_SAMPLE;
        self.looks = (self.looks + 1) % every;
        if self.looks != 0 {
            return None;
        }
        // One entry may stand for thousands in a very large table: only clearly too many are.
        if estimate(sample) > compact.count as usize / MANY {
            self.few_since = None;
            return None;
        }
        let since = *self.few_since.get_or_insert(now);
        if u64::from(now.since(since)) < Ticks::of_seconds(QUIET_SECONDS) {
            return None;
        }
        self.few_since = None;
        // Sampling may err, this must not: what finds no room would be lost.
        (alive::<K, S>(store, table, now) < compact.count as usize / FEW).then_some(compact)
    }
}

/// How many entries have not expired.
fn alive<K: Family, S: Store>(store: &S, buckets: &[K::Bucket], now: Ticks) -> usize {
    entries::<K>(buckets).filter(|(_, value)| !expired(store.settings(), *value, now)).count()
}

fn go_over<K: Family, S: Store>(store: &S, to: Part, now: Ticks) -> Option<Step<K>> {
    let from = store.settings().part(K::FAMILY);
    let mut copies = HashMap::new();
    clear::<K, S>(store, to, None);
    carry(store, from, to, now, &mut copies);
    // The first time takes long. What has changed meanwhile is soon copied, and so is what changes until the end.
    carry(store, from, to, now, &mut copies);
    store.settings().parts.get(K::FAMILY)?.store(to.to_word());
    carry(store, from, to, now, &mut copies);
    Some(Step::InUse { from, copies })
}

/// Copies the entries that are not there, and those that have changed since they were copied if the copy has not.
/// Returns how many found no room.
fn carry<K: Family, S: Store>(store: &S, from: Part, to: Part, now: Ticks, copies: &mut Copies<K>) -> usize {
    copy(store, from, to, now, copies, true)
}

/// As [`carry`]; whether what comes of it `counts` for the numbers of connections.
fn copy<'s, K: Family, S: Store>(
    store: &'s S,
    from: Part,
    to: Part,
    now: Ticks,
    copies: &mut Copies<K>,
    counts: bool,
) -> usize {
    let (settings, table, blur) = (store.settings(), K::table(store), Blur::new(0));
    let (seed, timeout) = (settings.seed.load(), |state| settings.timeout(state));
    let mut lost = 0;
    for (key, value) in entries::<K>(from.of(table)) {
        if expired(settings, value, now) {
            continue;
        }
        let name = (key, value.port().bits());
        if copies.get(&name) == Some(&value) {
            continue;
        }
        let [own, [first, second]] = [from, to].map(|part| {
            let (first, second) = buckets_of(key.hash(seed), part, K::NEAR);
            [table.get(first as usize), table.get(second as usize)]
        });
        let find = |buckets: [Option<&'s K::Bucket>; 2]| {
            buckets.into_iter().flatten().find_map(|bucket| {
                key.find(bucket, value.port(), blur).map(|(slot, there)| (bucket, slot, there))
            })
        };
        let (Some(first), Some(second)) = (first, second) else { continue };
        // Two CPUs may have entered a flow twice: the one that packets find is it.
        if find(own).is_none_or(|(_, _, entry)| entry.destination() != value.destination()) {
            continue;
        }
        let copied = copies.insert(name, value);
        if let Some((bucket, slot, there)) = find([Some(first), Some(second)]) {
            match copied {
                // A packet entered it there too.
                None if counts => forget_one(store, value),
                None => {}
                // If it is not the copy any more, packets went on there; but with the old real server if it has another now.
                Some(copied)
                    if there == copied
                        || there.destination() == copied.destination()
                            && value.destination() != copied.destination() =>
                {
                    // If a packet changes it in this moment, it is up to date.
                    K::update(bucket, slot, there, value);
                }
                Some(_) => {}
            }
            continue;
        }
        let candidate = Candidate::<K>::none(first)
            .or_better(first, now, blur, timeout)
            .or_better(second, now, blur, timeout);
        if !candidate.claim() {
            copies.remove(&name);
            lost += 1;
            continue;
        }
        if let Some(old) = candidate.overwritten()
            && counts
        {
            forget_one(store, old);
        }
        key.publish(candidate.bucket, candidate.slot, value);
    }
    lost
}

/// Empties a part. Who has no copy, where there are `copies`, counts no more.
fn clear<K: Family, S: Store>(store: &S, part: Part, copies: Option<&Copies<K>>) {
    for bucket in part.of(K::table(store)) {
        for slot in 0..BUCKET_ENTRIES {
            let entry = K::read(bucket, slot);
            if let Some((expected, Some(_))) = K::inspect(bucket, slot)
                && K::claim(bucket, slot, expected)
            {
                K::release(bucket, slot);
                if let (Some((key, value)), Some(copies)) = (entry, copies)
                    && !copies.contains_key(&(key, value.port().bits()))
                {
                    forget_one(store, value);
                }
            }
        }
    }
}

fn recover<K: Family, S: Store>(store: &S, now: Ticks) {
    let count = store.settings().main_buckets(K::FAMILY);
    if Part::compact(count, K::NEAR).is_none() {
        return;
    }
    let to = store.settings().part(K::FAMILY);
    let from = to.other(count, K::NEAR);
    // What was counted of them nobody knows: the sweep counts anew.
    copy::<K, S>(store, from, to, now, &mut HashMap::new(), false);
    clear::<K, S>(store, from, None);
}

#[cfg(test)]
mod tests;

//! Many threads at one bucket, as CPUs are: whoever finds an entry gets a value that was written for its key.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use super::super::*;
use crate::layout::DestinationRef;
use crate::net::{Be16, Be32, Be128};
use crate::word::Blur;

const WRITERS: u64 = 2;
const READERS: usize = 2;
const KEYS: u64 = 200_000;
/// After so many keys the writers give up waiting for the readers, which other threads may keep from running.
const MOST_KEYS: u64 = 100 * KEYS;
const PORT: Be16 = Be16::new(80);
const NO_BLUR: Blur = Blur::new(0);

/// A key that is used once, so that nothing is hidden by its coming again.
trait Numbered: Key {
    fn numbered(number: u64) -> Self;
    fn bucket() -> Self::Bucket;
}

impl Numbered for Key4 {
    fn numbered(number: u64) -> Self {
        let bytes = u32::try_from(number).unwrap().to_be_bytes();
        Self::new(Be32::from_wire(bytes), Be16::new(1), 1)
    }

    fn bucket() -> Bucket4 {
        Bucket4::default()
    }
}

impl Numbered for Key6 {
    /// All of the key's words differ from those of its neighbours.
    fn numbered(number: u64) -> Self {
        let low = u16::try_from(number & 0xffff).unwrap();
        Self::new(Be128::from_words([mix(number), mix(!number)]), Be16::new(low), low)
    }

    fn bucket() -> Bucket6 {
        Bucket6::default()
    }
}

/// The real server that a key's value names: another one for each key of the last 2^26.
fn reference(number: u64) -> DestinationRef {
    DestinationRef::from_word(number)
}

fn value(number: u64, state: State) -> Value {
    Value::new(reference(number), state, Ticks(0), PORT)
}

/// Takes whichever slot is best while all entries count as expired or, every other time, as they are.
fn insert<K: Numbered>(bucket: &K::Bucket, number: u64) -> bool {
    let timeout = if number.is_multiple_of(2) { 0 } else { 1000 };
    let now = Ticks(PROTECTED_TICKS);
    let candidate = Candidate::<K>::none(bucket).or_better(bucket, now, NO_BLUR, |_| timeout);
    if !candidate.claim() {
        return false;
    }
    K::numbered(number).publish(candidate.bucket, candidate.slot, value(number, State::SYN_RECEIVED));
    true
}

fn hammer<K: Numbered>() -> [u64; 3]
where
    K::Bucket: Sync,
{
    let bucket = K::bucket();
    let next = AtomicU64::new(1);
    let counts = [const { AtomicU64::new(0) }; 3];
    let [inserted, found, updated] = &counts;
    let ends = |number| number > KEYS && updated.load(SeqCst) > 0 || number > MOST_KEYS;
    let ends = &ends;
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, SeqCst);
                    if ends(number) {
                        break;
                    }
                    inserted.fetch_add(u64::from(insert::<K>(&bucket, number)), SeqCst);
                }
            });
        }
        for _ in 0..READERS {
            scope.spawn(|| {
                loop {
                    let latest = next.load(SeqCst);
                    if ends(latest) {
                        break;
                    }
                    for number in latest.saturating_sub(8).max(1)..=latest {
                        let Some((slot, old)) = K::numbered(number).find(&bucket, PORT, NO_BLUR) else {
                            continue;
                        };
                        found.fetch_add(1, SeqCst);
                        assert_eq!(old.destination(), reference(number), "a value that another key wrote");
                        assert!(matches!(old.state(), State::SYN_RECEIVED | State::ESTABLISHED));
                        let new = value(number, State::ESTABLISHED);
                        let changed = K::update(&bucket, slot, old, new);
                        updated.fetch_add(u64::from(changed && old != new), SeqCst);
                    }
                }
            });
        }
    });
    counts.map(AtomicU64::into_inner)
}

fn check<K: Numbered>()
where
    K::Bucket: Sync,
{
    let [inserted, found, updated] = hammer::<K>();
    // No proof without contact: inserts succeed, and readers meet entries and change them.
    assert!(inserted > KEYS / 100, "{inserted} inserted");
    assert!(found > 0 && updated > 0, "{found} found, {updated} changed");
}

#[test]
fn no_value_is_torn_from_its_ipv4_key() {
    check::<Key4>();
}

#[test]
fn no_value_is_torn_from_its_ipv6_key() {
    check::<Key6>();
}

/// Of many CPUs that see the same empty slot, one takes it.
#[test]
fn a_slot_is_claimed_once() {
    for _ in 0..200 {
        let bucket = Bucket4::default();
        let wins = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| wins.fetch_add(u64::from(Key4::claim(&bucket, 0, 0)), SeqCst));
            }
        });
        assert_eq!(wins.into_inner(), 1);
        assert_eq!(Key4::inspect(&bucket, 0), None, "a claimed slot is nobody's");
    }
}

use std::collections::HashMap;

use super::*;
use proptest::prelude::*;

/// A token bucket as textbooks have it: tokens in parts of one connection, refilled with time, up to the burst.
struct Bucket {
    tokens: u64,
    seen: u64,
}

#[derive(Default)]
struct Model(HashMap<u64, Bucket>);

impl Model {
    fn take(&mut self, hash: u64, rate: Rate, now: u64) -> bool {
        let (one, full) = (u64::from(rate.interval), u64::from(rate.interval) * u64::from(rate.burst));
        let bucket = self.0.entry(hash).or_insert(Bucket { tokens: full, seen: now });
        bucket.tokens = full.min(bucket.tokens + (now - bucket.seen));
        bucket.seen = now;
        if bucket.tokens >= one {
            bucket.tokens -= one;
            true
        } else {
            false
        }
    }

    fn left(&self, hash: u64, rate: Rate, now: u64) -> u64 {
        let full = u64::from(rate.interval) * u64::from(rate.burst);
        self.0.get(&hash).map_or(full, |bucket| full.min(bucket.tokens + (now - bucket.seen)))
            / u64::from(rate.interval)
    }
}

/// A source whose entries have this tag.
fn source(number: u64) -> u64 {
    (number + 1) << TIME_BITS | 5
}

fn rates() -> impl Strategy<Value = Rate> {
    (1..=2000u32, 1..=50u32).prop_map(|(rate, burst)| Rate::per_second(rate, burst, 32))
}

/// Somewhere in the time that can be told, its end included, and steps from there.
fn times() -> impl Strategy<Value = (u64, Vec<(u64, u64)>)> {
    let start = prop_oneof![Just(0), Just(TIME - 1_000_000), Just(TIME / 2 - 5), 0..TIME];
    let step = prop_oneof![Just(0), 0..4000u64, 0..4_000_000u64, Just(600 * UNITS_PER_SECOND)];
    (start, proptest::collection::vec((0..12u64, step), 1..200))
}

proptest! {
    #[test]
    fn up_to_eight_sources_of_a_line_have_what_a_bucket_gives_each((start, steps) in times(), rate in rates()) {
        let (sources, mut model) = (Sources::default(), Model::default());
        let mut time = start;
        for (number, step) in steps {
            time += step;
            let hash = source(number % SOURCES as u64);
            let given = take(&sources, hash, rate, time & TIME) != Allowance::Used;
            prop_assert_eq!(given, model.take(hash, rate, time));
            prop_assert_eq!(u64::from(left(&sources, hash, rate, time & TIME)), model.left(hash, rate, time));
            if step > 3_000_000 {
                sweep(&sources, time & TIME);
            }
        }
    }

    #[test]
    fn others_never_block_a_source((start, steps) in times(), rate in rates()) {
        let (sources, mut model) = (Sources::default(), Model::default());
        let mut time = start;
        for (number, step) in steps {
            time += step;
            let given = take(&sources, source(number), rate, time & TIME) != Allowance::Used;
            if model.take(source(number), rate, time) {
                prop_assert!(given, "source {} at {}", number, time);
            } else if given {
                // What it had used was forgotten; a full allowance is the most that this gives it.
                model.0.remove(&source(number));
                model.take(source(number), rate, time);
            }
        }
    }

    #[test]
    fn a_rate_is_near_what_was_asked_for(rate in 1..=Rate::MOST, burst in 1..=Rate::MOST, prefix: u8) {
        let word = Rate::per_second(rate, burst, prefix);
        prop_assert_eq!(Rate::from_word(word.to_word()), word);
        // The interval is exact to half a unit.
        let off = (u64::from(rate) * u64::from(word.interval)).abs_diff(UNITS_PER_SECOND);
        prop_assert!(2 * off <= u64::from(rate), "an interval of {}", word.interval);
    }

    #[test]
    fn values_of_networks_keep_what_they_are_given(length: u8) {
        for listing in [Listing::Allow, Listing::Deny] {
            prop_assert_eq!(Listing::from_value(listing.to_value(length)), Some((listing, length)));
        }
        prop_assert_eq!(Listing::from_value(u32::from(length) << 8), None);
    }
}

#[test]
fn who_is_at_his_limit_is_forgotten_last() {
    let (sources, rate) = (Sources::default(), Rate::per_second(1, 10, 32));
    for _ in 0..10 {
        assert_eq!(take(&sources, source(0), rate, 77), Allowance::Given);
    }
    assert_eq!(take(&sources, source(0), rate, 77), Allowance::Used);
    for number in 1..SOURCES as u64 {
        assert_eq!(take(&sources, source(number), rate, 78), Allowance::Given);
    }
    // The line is full. A flood of others pushes itself out.
    for number in 100..10_000 {
        assert_eq!(take(&sources, source(number), rate, 79), Allowance::Forgetting);
        assert_eq!(take(&sources, source(0), rate, 79), Allowance::Used);
    }
}

#[test]
fn a_lower_burst_counts_at_once_and_a_debt_never_for_longer_than_it() {
    let sources = Sources::default();
    let before = Rate::per_second(1, 1000, 32);
    for _ in 0..1000 {
        assert_eq!(take(&sources, source(3), before, 9), Allowance::Given);
    }
    let after = Rate::per_second(10, 5, 32);
    assert_eq!(take(&sources, source(3), after, 9), Allowance::Used);
}

#[test]
fn cpus_at_once_give_a_source_no_more_than_one_each_too_much() {
    let (sources, rate) = (Sources::default(), Rate::per_second(1, 500, 32));
    let given = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    if take(&sources, source(1), rate, 5) != Allowance::Used {
                        given.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    // A CPU that lost every try lets one pass: others won each of them.
    let given = given.into_inner();
    assert!((500..=500 + 500 / TRIES).contains(&given), "{given}");
    assert_eq!(left(&sources, source(1), rate, 5), 0);
}

//! Who becomes master when, and that it stays so.

use super::*;

const VERSIONS: [(Version, u16); 4] =
    [(Version::V2, 100), (Version::V3, 100), (Version::V3, 10), (Version::V3, 1)];

/// Delays of up to half an interval, a tenth of the adverts doubled.
fn lively(interval: u16) -> Network {
    Network { lost: 0, doubled: 100, delay: Interval::from_centiseconds(interval).duration() / 2 }
}

#[test]
fn the_highest_priority_becomes_master_and_nothing_oscillates() {
    for seed in 0..40 {
        for (version, interval) in VERSIONS {
            let mut random = Random(seed);
            let count = 1 + random.below(5);
            let priorities: Vec<_> =
                (0..count).map(|_| u8::try_from(1 + random.below(254)).expect("a byte")).collect();
            let mut sim = Sim::of(seed, version, interval, &priorities);
            sim.network = lively(interval);
            sim.start_all();
            sim.run(sim.settles_within());
            let settled = sim.now;
            // A preempting director with another's advert under way may have changed its mind once.
            let highest = priorities.iter().max().copied();
            let master = sim.masters(0)[0];
            assert_eq!(Some(priorities[master]), highest, "seed {seed}");
            let interval = Interval::from_centiseconds(interval).duration();
            sim.run_until(settled + interval * 200, Sim::assert_one_master_each);
            assert_eq!(sim.happened_since(settled), [], "seed {seed}");
        }
    }
}

#[test]
fn a_killed_master_is_replaced_within_three_intervals_and_the_skew_time() {
    for seed in 0..40 {
        for (version, interval) in VERSIONS {
            let mut sim = Sim::of(seed, version, interval, &[150, 100, 100, 30]);
            sim.network = Network { delay: millis(2), ..lively(interval) };
            sim.start_all();
            sim.run(sim.settles_within() * 2);
            // At any moment between two adverts.
            let more = sim.random.between(Duration::ZERO, secs(1));
            sim.run(more);
            assert_eq!(sim.masters(0), [0]);
            sim.kill(0);
            let killed = sim.now;
            let next = sim.directors[1].settings[0];
            let limit = next.interval.duration() * 3 + skew(&next) + sim.network.delay;
            sim.run_until(killed + limit, |_| {});
            assert!(!sim.masters(0).is_empty(), "seed {seed}, {version:?}: {limit:?}");
            // Two of the same priority may have become master at the same time, for as long as an advert takes.
            sim.run(sim.network.delay);
            let masters = sim.masters(0);
            assert!(matches!(*masters, [1 | 2]), "seed {seed}: {masters:?}");
        }
    }
}

#[test]
fn a_stopped_master_is_replaced_within_the_skew_time() {
    for seed in 0..20 {
        for (version, interval) in VERSIONS {
            let mut sim = Sim::of(seed, version, interval, &[150, 100]);
            sim.network.delay = millis(2);
            sim.start_all();
            sim.run(sim.settles_within() * 2);
            sim.tell(0, 0, Event::Shutdown);
            let limit = skew(&sim.directors[1].settings[0]) + sim.network.delay;
            sim.run(limit);
            assert_eq!(sim.masters(0), [1]);
        }
    }
}

#[test]
fn one_that_returns_takes_back_unless_it_must_not() {
    for nopreempt in [false, true] {
        for (version, interval) in VERSIONS {
            let mut sim = Sim::of(7, version, interval, &[150, 100]);
            sim.change(|settings| settings.nopreempt = nopreempt);
            sim.network = lively(interval);
            sim.start_all();
            sim.run(sim.settles_within());
            sim.kill(0);
            sim.run(sim.settles_within());
            assert_eq!(sim.masters(0), [1]);
            sim.start(0);
            assert!(!sim.directors[0].has_addresses[0], "what the crash left is removed");
            let before = sim.now;
            sim.run_until(before + sim.settles_within() * 20, |_| {});
            assert_eq!(sim.masters(0), [usize::from(nopreempt)]);
            let changes = if nopreempt { 0 } else { 2 };
            assert_eq!(
                sim.happened_since(before + millis(1)).len(),
                changes,
                "to master, to backup, once each"
            );
        }
    }
}

#[test]
fn preempt_delay_is_kept() {
    let mut sim = Sim::of(7, Version::V3, 100, &[150, 100]);
    sim.change(|settings| settings.preempt_delay = secs(30));
    sim.start_all();
    sim.run(secs(5));
    sim.kill(0);
    sim.run(secs(10));
    sim.start(0);
    let back = sim.now;
    sim.run_until(back + secs(30), |sim| assert_eq!(sim.masters(0), [1]));
    sim.run(secs(5));
    assert_eq!(sim.masters(0), [0]);
}

#[test]
fn one_that_is_not_ready_does_not_take_back() {
    let mut sim = Sim::of(7, Version::V2, 100, &[150, 100]);
    sim.start_all();
    sim.run(secs(5));
    sim.kill(0);
    sim.run(secs(10));
    sim.directors[0].is_ready = false;
    sim.start(0);
    sim.run_until(sim.now + secs(60), |sim| assert_eq!(sim.masters(0), [1]));
    sim.tell(0, 0, Event::Ready(true));
    sim.run(secs(5));
    assert_eq!(sim.masters(0), [0]);

    // If the other dies it serves nevertheless.
    sim.kill(0);
    sim.run(secs(5));
    sim.start(0);
    sim.run(secs(2));
    sim.kill(1);
    sim.run(secs(5));
    assert_eq!(sim.masters(0), [0]);
}

#[test]
fn sides_of_a_partition_have_a_master_each_and_one_after_it() {
    for seed in 0..40 {
        for (version, interval) in VERSIONS {
            let mut sim = Sim::of(seed, version, interval, &[150, 100, 80, 60]);
            sim.network = lively(interval);
            sim.start_all();
            sim.run(sim.settles_within());
            sim.assert_one_master_each();
            sim.side = (0..4).map(|_| sim.random.below(2)).collect();
            sim.run(sim.settles_within());
            sim.assert_one_master_each();
            sim.side.fill(0);
            // Each master hears the others' next advert.
            let interval = Interval::from_centiseconds(interval).duration();
            sim.run(interval + sim.network.delay);
            assert_eq!(sim.masters(0), [0], "seed {seed}");
            let healed = sim.now;
            sim.run(interval * 100);
            assert_eq!(sim.happened_since(healed + millis(1)), []);
        }
    }
}

#[test]
fn different_intervals_do_not_make_two_masters() {
    for version in [Version::V2, Version::V3] {
        for (one, two) in [(100, 500), (500, 100), (100, 4000), (4000, 100)] {
            let mut sim = Sim::of(3, version, 100, &[150, 100]);
            sim.directors[0].settings[0].interval = Interval::from_centiseconds(one);
            sim.directors[1].settings[0].interval = Interval::from_centiseconds(two);
            sim.start_all();
            sim.run(sim.settles_within() * 2);
            sim.run_until(sim.now + secs(1000), |sim| assert_eq!(sim.masters(0), [0]));
            sim.kill(0);
            sim.run(sim.settles_within());
            assert_eq!(sim.masters(0), [1]);
            sim.start(0);
            sim.run(sim.settles_within() * 2);
            sim.run_until(sim.now + secs(1000), |sim| assert_eq!(sim.masters(0), [0]));
        }
    }
}

#[test]
fn orders_by_hand_leave_no_moment_without_the_addresses() {
    for seed in 0..20 {
        for (version, interval) in VERSIONS {
            let mut sim = Sim::of(seed, version, interval, &[150, 100]);
            // Shorter than the skew times: an advert from before the release does not come after the take-over.
            sim.network.delay = Interval::from_centiseconds(interval).duration() / 4;
            sim.start_all();
            sim.run(sim.settles_within());
            let have_addresses =
                |sim: &Sim| sim.directors.iter().filter(|director| director.has_addresses[0]).count();
            let served = |sim: &Sim| assert!(have_addresses(sim) >= 1, "at {:?}", sim.now);

            sim.tell(0, 0, Event::Release);
            sim.run_until(sim.now + sim.settles_within(), served);
            assert_eq!((sim.masters(0), have_addresses(&sim)), (vec![1], 1));
            // It stays there, whatever the priorities.
            let released = sim.now;
            sim.run_until(released + sim.settles_within() * 10, served);
            assert_eq!(sim.happened_since(released + millis(1)), []);

            sim.tell(0, 0, Event::Take);
            sim.run_until(sim.now + sim.settles_within(), served);
            assert_eq!((sim.masters(0), have_addresses(&sim)), (vec![0], 1));

            // Against the priorities, and it stays there too.
            sim.tell(1, 0, Event::Take);
            sim.run_until(sim.now + sim.settles_within() * 10, served);
            assert_eq!((sim.masters(0), have_addresses(&sim)), (vec![1], 1));

            // And back by releasing what was taken.
            sim.tell(1, 0, Event::Release);
            sim.run_until(sim.now + sim.settles_within(), served);
            assert_eq!((sim.masters(0), have_addresses(&sim)), (vec![0], 1));
        }
    }
}

/// A release is repeated until somebody takes over: one lost advert delays it by an interval.
#[test]
fn a_release_survives_loss() {
    for seed in 0..100 {
        let mut sim = Sim::of(seed, Version::V3, 100, &[150, 100]);
        sim.start_all();
        sim.run(secs(5));
        sim.network.lost = 500;
        sim.tell(0, 0, Event::Release);
        sim.run(millis(100));
        sim.run(secs(30));
        sim.network.lost = 0;
        sim.run(sim.settles_within());
        sim.assert_one_master_each();
    }
}

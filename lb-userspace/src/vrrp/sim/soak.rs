//! Ten minutes of random kills, stops, restarts, partitions, loss, and orders by hand.

use super::*;

const MINUTES: Duration = secs(600);

fn disturb(sim: &mut Sim) {
    let index = sim.random.index(sim.directors.len());
    match sim.random.below(10) {
        0..=2 => sim.kill(index),
        3 => {
            sim.tell_all(index, Event::Shutdown);
            sim.kill(index);
        }
        4..=6 => {
            if !sim.is_alive(index) {
                sim.start(index);
            }
        }
        7 => {
            let order = if sim.random.below(2) == 0 { Event::Release } else { Event::Take };
            sim.tell(index, 0, order);
        }
        8 => {
            let is_ready = sim.random.below(2) == 0;
            sim.tell_all(index, Event::Ready(is_ready));
        }
        _ => {
            let is_split = sim.side.iter().any(|side| *side != 0);
            let random = &mut sim.random;
            sim.side.iter_mut().for_each(|side| *side = if is_split { 0 } else { random.below(2) });
        }
    }
}

/// After each disturbance, once the network is calm, there is one master on each side, and it is the only change.
fn soak(seed: u64, version: Version, interval: u16, priorities: &[u8], lost: u64) -> usize {
    let mut sim = Sim::of(seed, version, interval, priorities);
    let delay = Interval::from_centiseconds(interval).duration() / 4;
    let calm = Network { lost: 0, doubled: 50, delay };
    sim.network = calm;
    sim.change(|settings| settings.nopreempt = seed.is_multiple_of(3));
    sim.start_all();
    let mut disturbances = 0;
    while sim.now < MINUTES {
        sim.run(sim.settles_within());
        sim.assert_one_master_each();
        let settled = sim.now;
        let rest = sim.random.between(Duration::ZERO, secs(10));
        sim.run(rest);
        sim.assert_one_master_each();
        assert_eq!(sim.happened_since(settled + Duration::from_nanos(1)), [], "seed {seed}: no oscillation");
        // Several at once, under loss.
        sim.network.lost = lost;
        for _ in 0..=sim.random.below(3) {
            disturb(&mut sim);
            disturbances += 1;
            let soon = sim.random.between(Duration::ZERO, secs(2));
            sim.run(soon);
        }
        sim.network = calm;
    }
    disturbances
}

#[test]
fn two_directors_for_ten_minutes() {
    let mut disturbances = 0;
    for seed in 0..40_u64 {
        let (version, interval) =
            if seed.is_multiple_of(2) { (Version::V2, 100) } else { (Version::V3, 100) };
        disturbances += soak(seed, version, interval, &[150, 100], 0);
        disturbances += soak(seed, version, interval, &[100, 100], 100);
    }
    assert!(disturbances > 3000, "{disturbances}");
}

#[test]
fn two_directors_with_fast_adverts_for_ten_minutes() {
    for seed in 0..4 {
        soak(seed, Version::V3, 10, &[150, 100], 50);
    }
}

#[test]
fn five_directors_for_ten_minutes() {
    for seed in 0..10 {
        soak(seed, Version::V3, 100, &[150, 100, 100, 255, 1], 100);
    }
}

/// How long nobody has the addresses, in all, when only kills happen: for each at most as long as a master is waited
/// for.
#[test]
fn what_kills_cost() {
    for seed in 0..50 {
        let mut sim = Sim::of(seed, Version::V3, 100, &[150, 100]);
        sim.network.delay = millis(2);
        sim.start_all();
        sim.run(sim.settles_within());
        let (mut kills, mut unserved, mut last) = (0, Duration::ZERO, sim.now);
        while sim.now < MINUTES {
            let victim = sim.masters(0)[0];
            sim.kill(victim);
            kills += 1;
            let limit = secs(3) + skew(&sim.directors[1 - victim].settings[0]) + millis(2);
            let killed = sim.now;
            sim.run_until(killed + limit, |sim| {
                if sim.masters(0).is_empty() {
                    last = sim.now;
                }
            });
            assert_eq!(sim.masters(0), [1 - victim]);
            let (at, ..) = *sim.happened_since(killed).last().expect("a failover");
            unserved += at - killed;
            sim.start(victim);
            let rest = sim.settles_within() + sim.random.between(Duration::ZERO, secs(2));
            sim.run(rest);
            sim.assert_one_master_each();
        }
        assert!(unserved <= millis(4000) * kills, "{unserved:?} for {kills} kills");
        assert!(last < sim.now);
    }
}

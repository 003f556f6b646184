//! Random frames through both instances of the datapath, with random tables: the same action, bytes, entries,
//! rings, fragments and counters after each.
//!
//! `LBCTL_TEST_SEED` gives the seed, which is printed, and `LBCTL_TEST_FRAMES` how many frames.

mod generate;

use std::sync::atomic::Ordering::Relaxed;

use lb_common::lease::Lease;
use lb_common::verdict::{Reason, Verdict};
use lb_common::word::Word;
use lb_common::{memory, word};
use lb_userspace::plane::store::Store;

use crate::harness::random::Random;
use crate::harness::sides::{Host, Kernel, LIMITS, Side};
use generate::{Op, batch};

/// Buckets of each connection table. Few, so that flows meet in them.
const BUCKETS: u32 = 8;
/// Frames with one set of tables.
const BATCH: usize = 500;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// What a batch did, for the proof that the frames reach every part of the datapath.
#[derive(Debug, Default)]
struct Tally {
    reasons: Vec<u64>,
    transmitted: u64,
    redirected: u64,
}

#[test]
fn random_frames_host_against_kernel() {
    let Some(mut kernel) = Kernel::new(BUCKETS) else { return };
    let mut host = Host::new(BUCKETS);
    let seed = setting("LBCTL_TEST_SEED", 20_261_121);
    let frames = usize::try_from(setting("LBCTL_TEST_FRAMES", 250_000)).unwrap();
    eprintln!("LBCTL_TEST_SEED={seed} LBCTL_TEST_FRAMES={frames}");
    let mut tally = Tally { reasons: vec![0; Reason::ALL.len()], ..Tally::default() };
    for number in 0..frames.div_ceil(BATCH) {
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(number as u64);
        host.tables.clock.store(kernel.now().bits(), Relaxed);
        let part = run(&mut host, &mut kernel, seed)
            .unwrap_or_else(|error| panic!("batch {number} (LBCTL_TEST_SEED={seed}): {error}"));
        tally.reasons.iter_mut().zip(part.reasons).for_each(|(sum, part)| *sum += part);
        tally.transmitted += part.transmitted;
        tally.redirected += part.redirected;
    }
    eprintln!("{tally:?}");
    for (reason, count) in Reason::ALL.iter().zip(&tally.reasons) {
        // No frame is without headroom here, nor too long to be summed up, no real server is removed, and there are not
        // many sources.
        let never = matches!(
            reason,
            Reason::NoHeadroom | Reason::Unfinished | Reason::RemovedRealServer | Reason::SourceForgotten
        );
        assert!(*count > 0 || never, "no frame reached {}", reason.as_str());
    }
    let sent = tally.transmitted + tally.redirected;
    assert!(sent > frames as u64 / 5 && tally.redirected > 100, "{tally:?}");
}

fn run(host: &mut Host, kernel: &mut Kernel, seed: u64) -> Result<Tally, String> {
    let mut random = Random::new(seed);
    host.clear(BUCKETS);
    kernel.clear(BUCKETS);
    let before = [reasons(host), reasons(kernel)];
    let mut tally = Tally::default();
    for op in batch(&mut random, BATCH) {
        let frame = match op {
            Op::Frame(frame) => frame,
            Op::Tables(change) => {
                change.make(host);
                change.make(kernel);
                continue;
            }
        };
        let (action, bytes) = host.run(&frame);
        let found = kernel.run(&frame);
        let verdict = host.verdict();
        match verdict {
            Some(Verdict::Transmit) => tally.transmitted += 1,
            Some(Verdict::Redirect(_)) => tally.redirected += 1,
            _ if bytes != frame => return Err(format!("{verdict:?} but changed: {frame:02x?}")),
            _ => {}
        }
        let same = found == (action, bytes) && tables_equal(host, kernel);
        if !same {
            let host = host.run(&frame);
            return Err(format!(
                "host {verdict:?}, kernel {:?}\n  in     {frame:02x?}\n  kernel {:02x?}\n  host (again) {host:02x?}",
                found.0, found.1
            ));
        }
    }
    let delta = |now: Vec<u64>, before: &[u64]| -> Vec<u64> {
        now.iter().zip(before).map(|(now, before)| now - before).collect()
    };
    tally.reasons = delta(reasons(host), &before[0]);
    let in_kernel = delta(reasons(kernel), &before[1]);
    let counted = [traffic(host), traffic(kernel)];
    if tally.reasons != in_kernel || counted[0] != counted[1] {
        return Err(format!("counters\n  host   {:?}\n  kernel {in_kernel:?}\n{counted:?}", tally.reasons));
    }
    let sorted = |side: &dyn Fn() -> Vec<_>| {
        let mut all: Vec<String> = side().into_iter().map(|item| format!("{item:?}")).collect();
        all.sort();
        all
    };
    let neighbours = |all: Vec<_>| {
        let mut all: Vec<String> = all.into_iter().map(|item| format!("{item:?}")).collect();
        all.sort();
        all
    };
    if neighbours(host.neighbours()) != neighbours(kernel.neighbours()) {
        return Err("neighbours".to_owned());
    }
    if !word::same(host.store().rings(), kernel.store().rings()) {
        return Err("rings".to_owned());
    }
    if leases(host.store()) != leases(kernel.store()) {
        return Err("leases".to_owned());
    }
    if sorted(&|| host.fragments()) != sorted(&|| kernel.fragments()) {
        return Err("fragments".to_owned());
    }
    Ok(tally)
}

fn reasons(side: &impl Side) -> Vec<u64> {
    Reason::ALL.iter().map(|reason| side.reason(*reason)).collect()
}

/// All leases, word for word.
fn leases(store: &impl Store) -> Vec<[u64; 8]> {
    let words = |lease: &Lease| {
        let Lease { value, tag, client: [a, b], source: [c, d], server: [e, f] } = lease;
        [value, tag, a, b, c, d, e, f].map(Word::load)
    };
    store.leases().iter().map(words).collect()
}

fn traffic(side: &impl Side) -> Vec<u64> {
    (0..)
        .take(LIMITS.servers)
        .flat_map(|id| {
            let traffic = side.store().traffic(id).unwrap();
            [traffic.connections, traffic.packets, traffic.bytes, traffic.out_packets, traffic.out_bytes]
        })
        .collect()
}

/// Connection tables and rings word for word.
fn tables_equal(host: &Host, kernel: &Kernel) -> bool {
    let (host, kernel) = (host.store(), kernel.store());
    memory::same4(host.connections4(), kernel.connections4())
        && memory::same6(host.connections6(), kernel.connections6())
        && word::same(&host.rings()[..256], &kernel.rings()[..256])
}

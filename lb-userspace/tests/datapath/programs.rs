//! The BPF programs themselves: what the verifier makes of them, and their clock.

use std::io::{self, Write as _};

use aya::EbpfLoader;
use aya::programs::Xdp;
use lb_common::conn::Ticks;
use lb_common::maps;
use lb_userspace::dataplane::loader::{BASELINE, DIRECTOR, PASS};
use lb_userspace::plane::applied::Applied;
use nix::time::{ClockId, clock_getres, clock_gettime};

use crate::harness::case::{BUCKETS, find};
use crate::harness::frame::{Frame, SYN, TCP};
use crate::harness::sides::{Kernel, Side, may_load};
use crate::harness::world::{client, hops, vip, world};

/// The kernel's limit is a million processed instructions for each program. Another compiler makes other code, so some
/// must be left.
const MOST: u32 = 900_000;

/// The figures are those of docs/kernel-support.md.
#[test]
fn all_are_verified_with_room_left_under_every_kernel() {
    if !may_load() {
        return;
    }
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    let mut counts = Vec::new();
    for object in [DIRECTOR, PASS, BASELINE] {
        let mut loader = EbpfLoader::new();
        for name in [maps::CONNECTIONS4, maps::CONNECTIONS6, maps::LEASES] {
            if object == DIRECTOR {
                loader.map_max_entries(name, 64);
            }
        }
        let mut ebpf = loader.load(object).unwrap();
        for (name, program) in ebpf.programs_mut() {
            let program: &mut Xdp = program.try_into().unwrap();
            program.load().unwrap();
            counts.push((name.to_owned(), program.info().unwrap().verified_instruction_count().unwrap()));
        }
    }
    counts.sort();
    let names: Vec<&str> = counts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["baseline", maps::CLOCK_PROGRAM, maps::PROGRAM, "pass"]);
    for (name, count) in &counts {
        // Past the harness, which keeps what a test that passes prints.
        writeln!(io::stderr(), "Linux {release}: {name}: {count} processed instructions").unwrap();
    }
    let wrong: Vec<_> = counts.iter().filter(|(_, count)| *count > MOST || *count == 0).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// What the coarse monotonic clock shows, `jiffies` later.
fn monotonic(jiffies: i64) -> Ticks {
    let nanoseconds = |clock: nix::sys::time::TimeSpec| clock.tv_sec() * 1_000_000_000 + clock.tv_nsec();
    let clock = ClockId::CLOCK_MONOTONIC_COARSE;
    let jiffy = nanoseconds(clock_getres(clock).unwrap());
    let now = nanoseconds(clock_gettime(clock).unwrap());
    Ticks::from_nanoseconds(u64::try_from(now + jiffies * jiffy).unwrap())
}

#[test]
fn the_clock_is_the_monotonic_one_under_every_kernel() {
    let Some(mut kernel) = Kernel::running(BUCKETS) else { return };
    kernel.configure(&world(), &hops());
    let before = monotonic(-2);
    kernel.run(&Frame::tcp(client(1000), vip(80), SYN).bytes());
    let after = monotonic(2);
    let applied = Applied::read(kernel.store());
    let entry = find(kernel.store(), &applied, client(1000), vip(80), TCP).unwrap();
    let (age, most) = (entry.seen().since(before), after.since(before));
    assert!(age <= most, "{entry:?} from {before:?} to {after:?}");
}

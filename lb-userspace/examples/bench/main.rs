//! What a packet costs, ours against a plain design's, as JSON on standard output; `cargo xtask bench` runs
//! this and judges it. Needs root: it loads programs and runs them with `BPF_PROG_TEST_RUN`.

mod checks;
mod control;
mod frames;
mod measure;
mod subjects;

use std::fs;
use std::io::{self, Write};

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::{Value, json};

use frames::{ACK, Family, Frame, SYN};
use measure::{Programs, Series, Times, XDP_PASS, XDP_TX};
use subjects::{CONNECTIONS, Other, run};

/// Runs in a batch: each flow of 10,000 once, and over before the machine is another.
const BATCH: u32 = 10_000;

/// Rounds of a series but that of new connections, which takes as many as its flows last.
const ROUNDS: u32 = 25;

fn main() -> Result<()> {
    // One flow and IPv4 only, for work on the datapath.
    let quick = std::env::args().any(|argument| argument == "--quick");
    // The health checks only, which takes two minutes.
    if std::env::args().any(|argument| argument == "--checks") {
        let report = json!({ "checks": checks::run()? });
        writeln!(io::stdout().lock(), "{report:#}")?;
        return Ok(());
    }
    // Before this process is confined to one processor.
    let checks = if quick { Vec::new() } else { checks::run()? };
    pin_to_one_cpu()?;
    let mut director = subjects::director()?;
    let mut empty = Other::empty()?;
    let mut baseline = Other::baseline()?;
    let bytes = size_of_val(&*director.tables.connections4);
    let info = director.program()?.info()?;

    let programs =
        Programs { empty: empty.program()?, ours: director.program()?, baseline: baseline.program()? };
    let mut rows = packets(&programs, Family::V4, quick)?;
    if !quick {
        rows.extend(packets(&programs, Family::V6, quick)?);
    }
    let control: Vec<_> = control::control_plane()?
        .iter()
        .map(|time| json!({ "name": time.name, "seconds": time.seconds }))
        .collect();
    let report = json!({
        "machine": { "kernel": kernel()?, "cpu": cpu()? },
        "program": {
            "verified_instructions": info.verified_instruction_count(),
            "translated_bytes": info.size_translated(),
            "jited_bytes": info.size_jitted(),
        },
        "packets": rows,
        "memory": { "connections": CONNECTIONS, "bytes": bytes },
        "control": control,
        "checks": checks,
    });
    writeln!(io::stdout().lock(), "{report:#}")?;
    Ok(())
}

/// All phases of one family. The connections of one phase are those that the next one finds.
fn packets(programs: &Programs<'_>, family: Family, quick: bool) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    let mut add = |phase: &str, flows: u32, times: Times| {
        rows.push(json!({
            "phase": phase, "family": family.number(), "flows": flows,
            "ours_ns": times.ours, "baseline_ns": times.baseline, "empty_ns": times.empty,
        }));
    };
    let passed = Series { rounds: ROUNDS, batch: BATCH, verdict: XDP_PASS };
    let sent = Series { verdict: XDP_TX, ..passed };
    if family == Family::V4 {
        add("not IP", 1, measure::series(programs, passed, &mut Frame::arp(), |_| 0)?);
    }
    add("not ours", 1, measure::series(programs, passed, &mut Frame::not_ours(family), |_| 0)?);

    let (mut syn, mut ack) = (Frame::new(family, SYN), Frame::new(family, ACK));
    open(programs, &mut syn, 0..BATCH)?;
    open(programs, &mut ack, 0..BATCH)?;
    add("established", 1, measure::series(programs, sent, &mut ack, |_| 0)?);
    add("established", BATCH, measure::series(programs, sent, &mut ack, |n| shuffled(n % BATCH, BATCH))?);

    if quick {
        return Ok(rows);
    }
    let filling = Series { rounds: CONNECTIONS / BATCH - 1, ..sent };
    add("new", CONNECTIONS, measure::series(programs, filling, &mut syn, |n| BATCH + n)?);
    open(programs, &mut ack, BATCH..CONNECTIONS)?;
    add("established", CONNECTIONS, measure::series(programs, sent, &mut ack, |n| shuffled(n, CONNECTIONS))?);
    // An LRU hash frees nothing by itself: once it is full, and on a director in service it is, it evicts.
    let beside = Series { rounds: CONNECTIONS / BATCH / 4, ..sent };
    add("new, table in use", CONNECTIONS, measure::series(programs, beside, &mut syn, |n| CONNECTIONS + n)?);
    Ok(rows)
}

/// Sends a frame of each flow through our program and the baseline.
fn open(programs: &Programs<'_>, frame: &mut Frame, flows: std::ops::Range<u32>) -> Result<()> {
    for flow in flows {
        run(programs.ours, frame.of_flow(flow))?;
        run(programs.baseline, frame.of_flow(flow))?;
    }
    Ok(())
}

/// The `n`-th of `flows` flows in an order that no cache foresees: the multiplier is a prime, so that each
/// comes once in `flows` runs.
fn shuffled(n: u32, flows: u32) -> u32 {
    u32::try_from(u64::from(n) * 2_654_435_761 % u64::from(flows)).unwrap_or_default()
}

/// Moving between CPUs would change what is in the caches.
fn pin_to_one_cpu() -> Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("reading this process's CPUs")?;
    let last = (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(last.context("this process may run on no CPU")?)?;
    sched_setaffinity(Pid::from_raw(0), &one).context("keeping this process on one CPU")
}

fn kernel() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/osrelease")
        .context("reading the kernel's version")?
        .trim()
        .into())
}

fn cpu() -> Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    Ok(model.unwrap_or("unknown").to_owned())
}

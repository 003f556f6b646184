//! What a packet costs, ours against a plain design's, as JSON on standard output; `cargo xtask bench` runs
//! this and judges it. Needs root: it loads programs and runs them with `BPF_PROG_TEST_RUN`.
//!
//! With the name of a part as its argument (`program`, `packets`, `methods`, `control`, `checks`), it measures that part.

mod checks;
mod control;
mod frames;
mod measure;
mod segment;
mod subjects;

use std::fs;
use std::io::{self, Write};
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::{Value, json};

use aya::programs::Xdp;
use frames::{ACK, Family, Frame, NAT_PORT, PORT, SYN, TUNNEL_PORT};
use lb_userspace::dataplane::loader::{self, Loaded};
use lb_userspace::list::Source as _;
use lb_userspace::plane::parts::Parts;
use measure::{Series, Subject, XDP_PASS, XDP_TX, series};
use subjects::{CONNECTIONS, Other, run};

/// Runs in a batch: each flow of 10,000 once, and over before the machine is another.
const BATCH: u32 = 10_000;

/// Rounds of a series but that of new connections, which takes as many as its flows last.
const ROUNDS: u32 = 25;

const PARTS: [&str; 5] = ["program", "packets", "methods", "control", "checks"];

fn main() -> Result<()> {
    let asked = std::env::args().nth(1);
    if let Some(part) = &asked {
        ensure!(PARTS.contains(&part.as_str()), "`{part}` is no part of the benchmarks; one of {PARTS:?} is");
    }
    let is_asked = |part| asked.as_deref().is_none_or(|asked| asked == part);
    let mut report = json!({ "machine": { "kernel": kernel()?, "cpu": cpu()? } });
    // Before this process is confined to one processor.
    if is_asked("checks") {
        report["checks"] = json!(checks::run()?);
    }
    pin_to_one_cpu()?;
    if is_asked("program") {
        program(&mut report)?;
    }
    if is_asked("packets") {
        packets(&mut report)?;
    }
    if is_asked("methods") {
        report["methods"] = json!(methods()?);
    }
    if is_asked("control") {
        let times = control::control_plane()?;
        let times: Vec<_> =
            times.iter().map(|time| json!({ "name": time.name, "seconds": time.seconds })).collect();
        report["control"] = json!(times);
    }
    writeln!(io::stdout().lock(), "{report:#}")?;
    Ok(())
}

/// What the verifier and the compiler make of the director's program.
fn program(report: &mut Value) -> Result<()> {
    let mut director = subjects::director()?;
    let info = director.program()?.info()?;
    report["program"] = json!({
        "verified_instructions": info.verified_instruction_count(),
        "translated_bytes": info.size_translated(),
        "jited_bytes": info.size_jitted(),
    });
    Ok(())
}

/// Direct routing against the baseline.
fn packets(report: &mut Value) -> Result<()> {
    let Loaded { mut ebpf, tables } = subjects::director()?;
    let mut empty = Other::empty()?;
    let mut baseline = Other::baseline()?;
    let bytes = size_of_val(&*tables.connections4);
    report["memory"] = json!({ "connections": CONNECTIONS, "bytes": bytes });
    let ours = loader::director(&mut ebpf)?;
    let programs = Programs { empty: empty.program()?, ours, baseline: baseline.program()? };
    let mut parts = Parts::default();
    let mut look = || parts.look(&tables, tables.now());
    let mut rows = against_baseline(&programs, Family::V4, &mut look)?;
    rows.extend(against_baseline(&programs, Family::V6, &mut look)?);
    report["packets"] = json!(rows);
    Ok(())
}

#[derive(Debug)]
struct Programs<'p> {
    empty: &'p Xdp,
    ours: &'p Xdp,
    baseline: &'p Xdp,
}

/// All phases of one family. The connections of one phase are those that the next one finds. `look` is the daemon's
/// regular look at the connection tables.
fn against_baseline(programs: &Programs<'_>, family: Family, look: &mut impl FnMut()) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    let usual = Series { rounds: ROUNDS, batch: BATCH };
    let mut measure = |phase: &str, flows: u32, frame: &Frame, verdict, how, flow: &dyn Fn(u32) -> u32| {
        let subject = |program| Subject { program, frame: frame.clone(), verdict };
        let mut both = [subject(programs.ours), subject(programs.baseline)];
        let times = series(programs.empty, &mut both, how, flow, &mut *look)?;
        rows.push(json!({
            "phase": phase, "family": family.number(), "flows": flows,
            "ours_ns": times.net[0], "baseline_ns": times.net[1], "empty_ns": times.empty,
        }));
        anyhow::Ok(())
    };
    if family == Family::V4 {
        measure("not IP", 1, &Frame::arp(), XDP_PASS, usual, &|_| 0)?;
    }
    measure("not ours", 1, &Frame::not_ours(family), XDP_PASS, usual, &|_| 0)?;

    let (syn, ack) = (Frame::new(family, PORT, SYN), Frame::new(family, PORT, ACK));
    let open = |frame: &Frame, flows: Range<u32>| {
        open(programs.ours, frame, flows.clone())?;
        open(programs.baseline, frame, flows)
    };
    measure("new", BATCH, &syn, XDP_TX, Series { rounds: 1, ..usual }, &|n| n)?;
    open(&ack, 0..BATCH)?;
    measure("established", 1, &ack, XDP_TX, usual, &|_| 0)?;
    measure("established", BATCH, &ack, XDP_TX, usual, &|n| shuffled(n % BATCH, BATCH))?;

    let filling = Series { rounds: CONNECTIONS / BATCH - 1, ..usual };
    measure("new", CONNECTIONS, &syn, XDP_TX, filling, &|n| BATCH + n)?;
    open(&ack, BATCH..CONNECTIONS)?;
    measure("established", CONNECTIONS, &ack, XDP_TX, usual, &|n| shuffled(n, CONNECTIONS))?;
    // An LRU hash frees nothing by itself: once it is full, and on a director in service it is, it evicts.
    let beside = Series { rounds: CONNECTIONS / BATCH / 4, ..usual };
    measure("new, table in use", CONNECTIONS, &syn, XDP_TX, beside, &|n| CONNECTIONS + n)?;
    Ok(rows)
}

/// The forwarding methods beside each other, established connections.
fn methods() -> Result<Vec<Value>> {
    let mut director = subjects::director()?;
    subjects::use_nat(&director.tables, true);
    let mut empty = Other::empty()?;
    let (empty, ours) = (empty.program()?, director.program()?);
    let mut rows = Vec::new();
    for family in [Family::V4, Family::V6] {
        let mut subjects = Vec::new();
        for port in [PORT, NAT_PORT, TUNNEL_PORT] {
            for flags in [SYN, ACK] {
                open(ours, &Frame::new(family, port, flags), 0..BATCH)?;
            }
            subjects.push(Subject { program: ours, frame: Frame::new(family, port, ACK), verdict: XDP_TX });
        }
        subjects.insert(2, Subject { program: ours, frame: Frame::answer(family), verdict: XDP_TX });
        for flows in [1, BATCH] {
            let how = Series { rounds: ROUNDS, batch: BATCH };
            let times = series(empty, &mut subjects, how, |n| shuffled(n % flows, flows), || ())?;
            rows.push(json!({
                "family": family.number(), "flows": flows, "direct_routing_ns": times.net[0], "nat_ns": times.net[1],
                "nat_answer_ns": times.net[2], "tunnel_ns": times.net[3],
            }));
        }
    }
    Ok(rows)
}

/// Sends a frame of each flow through a program.
fn open(program: &Xdp, frame: &Frame, flows: Range<u32>) -> Result<()> {
    let mut frame = frame.clone();
    for flow in flows {
        run(program, frame.of_flow(flow))?;
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

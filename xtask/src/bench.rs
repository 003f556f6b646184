//! `cargo xtask bench`: what a packet costs, against a plain design's program in the same run, and the budgets.
//!
//! `lb-userspace/examples/bench` measures; this builds it, judges what it reports and writes it down. A missed
//! budget is shown and fails nothing: machines differ, and a test must not depend on the time of day.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// `cargo xtask bench`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write the figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Replace the table in docs/performance.md
    #[arg(long)]
    write_docs: bool,
}

const DOCUMENT: &str = "docs/performance.md";
const BEGIN: &str = "<!-- cargo xtask bench --write-docs: begin -->";
const END: &str = "<!-- cargo xtask bench --write-docs: end -->";

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let program = crate::cargo::executables(&[
        "build",
        "--release",
        "--package",
        "lb-userspace",
        "--example",
        "bench",
    ])?
    .pop()
    .context("cargo built no example `bench`; has it been renamed?")?
    .path;
    crate::progress("measuring; this takes about three minutes");
    let output = Command::new(&program)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{} cannot be run", program.display()))?;
    if !output.status.success() {
        bail!("{} failed: {}; it must run as root", program.display(), output.status);
    }
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{} printed no JSON", program.display()))?;
    if let Some(path) = &arguments.json {
        fs::write(path, &output.stdout).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let table = table(&report)?;
    crate::say(&table)?;
    if arguments.write_docs {
        let path = crate::cargo::workspace().join(DOCUMENT);
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let text = replaced(&text, &table)?;
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

/// What a phase of IPv4 may cost.
enum Budget {
    /// This part of the baseline's time.
    Share(f64),
    /// Nanoseconds.
    Time(f64),
}

fn budget(phase: &str, family: u64, flows: u64) -> Option<Budget> {
    match (phase, family, flows) {
        ("established", 4, 1) => Some(Budget::Share(0.65)),
        ("established", 4, 10_000) => Some(Budget::Share(0.75)),
        ("established", 4, 1_000_000) => Some(Budget::Share(0.85)),
        ("new" | "new, table in use", 4, _) => Some(Budget::Share(0.5)),
        ("not ours", 4, _) => Some(Budget::Time(25.0)),
        _ => None,
    }
}

/// Seconds that a task of the control plane may take.
const CONTROL: [(&str, f64); 2] = [("list 1,000,000 connections", 1.0), ("apply 10,000 real servers", 1.0)];

/// Bytes that a million IPv4 connections may take.
const MEMORY: u64 = 40_000_000;

/// The report as Markdown.
fn table(report: &Value) -> anyhow::Result<String> {
    let mut table = String::new();
    let text = |pointer: &str| report.pointer(pointer).and_then(Value::as_str).unwrap_or("unknown");
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64);
    writeln!(table, "{}, kernel {}.", text("/machine/cpu"), text("/machine/kernel"))?;
    if let (Some(verified), Some(jited)) =
        (number("/program/verified_instructions"), number("/program/jited_bytes"))
    {
        writeln!(
            table,
            "The verifier processes {verified} instructions; the machine code has {jited} bytes."
        )?;
    }
    writeln!(table, "\n| packet | IP | flows | lbctl, ns | baseline, ns | ratio | budget | met |")?;
    writeln!(table, "|---|---|---:|---:|---:|---:|---|---|")?;
    let packets = report.get("packets").and_then(Value::as_array).context("the report has no packets")?;
    for row in packets {
        writeln!(table, "{}", packet_row(row).context("a row of the report lacks a field")?)?;
    }
    writeln!(table, "\n| established, TCP | IP | flows | ns | budget | met |\n|---|---|---:|---:|---|---|")?;
    for row in report.get("methods").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice) {
        writeln!(table, "{}", method_rows(row).context("a row of the methods lacks a field")?)?;
    }
    writeln!(table, "\n| what | figure | budget | met |\n|---|---:|---|---|")?;
    if let (Some(count), Some(bytes)) = (number("/memory/connections"), number("/memory/bytes")) {
        let met = met(bytes <= MEMORY);
        let (bytes, budget) = (bytes as f64 / 1e6, MEMORY / 1_000_000);
        writeln!(table, "| memory of {count} IPv4 connections | {bytes:.1} MB | ≤ {budget} MB | {met} |")?;
    }
    let times = report.get("control").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
    for (name, most) in CONTROL {
        let time = times.iter().find(|time| time.get("name").and_then(Value::as_str) == Some(name));
        match time.and_then(|time| time.get("seconds")?.as_f64()) {
            Some(seconds) => {
                let met = met(seconds <= most);
                writeln!(table, "| {name} | {seconds:.2} s | ≤ {most} s | {met} |")?;
            }
            None => writeln!(table, "| {name} | not measured | ≤ {most} s | — |")?,
        }
    }
    for row in report.get("checks").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice) {
        writeln!(table, "{}", check_rows(row).context("a row of the checks lacks a field")?)?;
    }
    Ok(table)
}

/// Part of one core that 10,000 checks every 6 seconds may take.
const CHECKS_CORE: f64 = 0.25;
/// Part of its interval that a check may be late.
const CHECKS_DELAY: f64 = 0.1;

/// What checks cost, and the latest start.
fn check_rows(row: &Value) -> Option<String> {
    let (kind, count) = (row.get("kind")?.as_str()?, row.get("checks")?.as_u64()?);
    let (interval, core) = (row.get("interval_seconds")?.as_f64()?, row.get("core")?.as_f64()?);
    let delay = row.get("max_delay_seconds")?.as_f64()?;
    let name = format!("{count} {kind} checks every {interval} s");
    let most = CHECKS_DELAY * interval;
    let (percent, budget) = (core * 100.0, CHECKS_CORE * 100.0);
    Some(format!(
        "| {name} | {percent:.0} % of a core | ≤ {budget} % | {} |\n| {name}: the latest start | {:.0} ms late | \
         ≤ {:.0} ms | {} |",
        met(core <= CHECKS_CORE),
        delay * 1000.0,
        most * 1000.0,
        met(delay <= most)
    ))
}

/// NAT may cost this much more than direct routing.
const NAT: f64 = 1.6;

/// What the forwarding methods cost beside each other.
fn method_rows(row: &Value) -> Option<String> {
    let (family, flows) = (row.get("family")?.as_u64()?, row.get("flows")?.as_u64()?);
    let time = |name| row.get(name)?.as_f64();
    let (direct, nat) = (time("direct_routing_ns")?, time("nat_ns")?);
    let (answer, tunnel) = (time("nat_answer_ns")?, time("tunnel_ns")?);
    let line = |name: &str, ns: f64, budget: &str, met: &str| {
        format!("| {name} | {family} | {flows} | {ns:.0} | {budget} | {met} |")
    };
    Some(
        [
            line("direct routing", direct, "", ""),
            line("NAT, to the real server", nat, "≤ 1.6 × direct routing", met(nat <= NAT * direct)),
            line("NAT, the answer", answer, "≤ to the real server", met(answer <= nat)),
            line("tunnel", tunnel, "", ""),
        ]
        .join("\n"),
    )
}

fn packet_row(row: &Value) -> Option<String> {
    let (phase, family) = (row.get("phase")?.as_str()?, row.get("family")?.as_u64()?);
    let flows = row.get("flows")?.as_u64()?;
    let (ours, baseline) = (row.get("ours_ns")?.as_f64()?, row.get("baseline_ns")?.as_f64()?);
    let ratio = ours / baseline;
    let (budget, met) = match budget(phase, family, flows) {
        Some(Budget::Share(most)) => (format!("≤ {most} × baseline"), met(ratio <= most)),
        Some(Budget::Time(most)) => (format!("≤ {most} ns"), met(ours <= most)),
        None => (String::new(), ""),
    };
    // A frame that is not IP costs the baseline nothing that can be measured.
    let ratio = if baseline >= 5.0 { format!("{ratio:.2}") } else { String::new() };
    Some(format!("| {phase} | {family} | {flows} | {ours:.0} | {baseline:.0} | {ratio} | {budget} | {met} |"))
}

fn met(is: bool) -> &'static str {
    if is { "yes" } else { "**no**" }
}

/// `text` with `table` between the markers.
fn replaced(text: &str, table: &str) -> anyhow::Result<String> {
    let (before, rest) =
        text.split_once(BEGIN).with_context(|| format!("{DOCUMENT} has lost its marker {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{DOCUMENT} has lost its marker {END}"))?;
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_is_judged_row_by_row() {
        let row = |phase, flows, ours, baseline| json!({ "phase": phase, "family": 4, "flows": flows, "ours_ns": ours, "baseline_ns": baseline });
        let report = json!({
            "packets": [row("established", 1, 65.0, 100.0), row("established", 1, 66.0, 100.0),
                row("not ours", 1, 26.0, 20.0)],
            "memory": { "connections": 1_000_000, "bytes": 32_000_000 },
            "methods": [{ "family": 4, "flows": 1, "direct_routing_ns": 40.0, "nat_ns": 64.0,
                "nat_answer_ns": 65.0, "tunnel_ns": 80.0 }],
            "control": [{ "name": CONTROL[0].0, "seconds": 0.5 }],
        });
        let table = table(&report).unwrap();
        assert!(
            table.contains("| established | 4 | 1 | 65 | 100 | 0.65 | ≤ 0.65 × baseline | yes |"),
            "{table}"
        );
        assert!(table.contains("| 66 | 100 | 0.66 | ≤ 0.65 × baseline | **no** |"), "{table}");
        assert!(table.contains("| 26 | 20 | 1.30 | ≤ 25 ns | **no** |"), "{table}");
        assert!(table.contains("| 64 | ≤ 1.6 × direct routing | yes |"), "{table}");
        assert!(table.contains("| 65 | ≤ to the real server | **no** |"), "{table}");
        assert!(table.contains("| 32.0 MB | ≤ 40 MB | yes |"), "{table}");
        assert!(
            table.contains("| 0.50 s | ≤ 1 s | yes |\n| apply 10,000 real servers | not measured |"),
            "{table}"
        );
    }

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(replaced(&text, "new\n").unwrap(), format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert!(replaced("a", "new").is_err());
    }
}

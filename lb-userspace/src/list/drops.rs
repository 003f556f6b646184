//! `--drops`: why packets were not forwarded, or what was remarkable about those that were.

use std::io::Write;

use lb_common::verdict::Reason;

use super::{ListArgs, ListError, Source, json};

/// One reason's counter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counter {
    pub(super) reason: Reason,
    pub(super) packets: u64,
}

/// Writes the counters: JSON lists all, the table those above zero, or all with `--all`.
pub(super) fn write<S: Source>(args: &ListArgs, source: &S, out: &mut impl Write) -> Result<(), ListError> {
    let counters: Vec<Counter> = Reason::ALL
        .iter()
        .map(|reason| Ok(Counter { reason: *reason, packets: source.reason(*reason)? }))
        .collect::<Result<_, _>>()
        .map_err(ListError::Reasons)?;
    if args.json {
        return json::drops(&counters, out);
    }
    writeln!(out, "{:<24} {:<6} {:>20}", "Reason", "Effect", "Packets")?;
    for Counter { reason, packets } in counters.iter().filter(|counter| args.all || counter.packets > 0) {
        writeln!(out, "{:<24} {:<6} {packets:>20}", reason.as_str(), reason.kind().as_str())?;
    }
    Ok(())
}

//! Sections become TOML that our own parser accepts: what it refuses is taken out and reported.

use super::document::{Section, Value, Written, remove};
use super::report::{Fate, Report};
use crate::config::{Config, ConfigError, Diagnostic, Severity};

/// Rounds of taking out what the parser refuses.
const MAX_ROUNDS: usize = 100;

/// A file that was imported.
#[derive(Debug)]
pub struct Imported {
    /// Our configuration, which our parser accepts.
    pub toml: Written,
    /// What became of each statement.
    pub report: Report,
    /// What the configuration means, or why it cannot be used though everything doubtful was taken out. Diagnostics have
    /// places in `toml`.
    pub config: Result<Config, ConfigError>,
}

/// Makes TOML of `sections`, of which the first is `[director]`. `by` names the command that was used.
pub(super) fn accept(mut sections: Vec<Section>, mut report: Report, by: &str) -> Imported {
    for _ in 0..MAX_ROUNDS {
        let mut written = Written::default();
        written.sections(&sections, &report);
        match Config::parse("", &written.text) {
            Err(error) if take_out(&error, &written, &mut sections, &mut report) => {}
            _ => break,
        }
    }
    report.sort();
    let name = report.sources.first().map_or("", |source| source.name.as_str());
    let mut toml = Written::default();
    toml.comment(&format!("Made from {name} by `{by}`. Check it with `lbctl check`."));
    for (title, fate) in [("Changed in meaning", Fate::Changed), ("Not supported", Fate::NotSupported)] {
        if report.count(fate) > 0 {
            toml.comment(&format!("\n{title}:"));
            for finding in report.findings.iter().filter(|finding| finding.fate == fate) {
                toml.comment(&format!("  {}", report.sentence(finding).replace('\n', " ")));
            }
        }
    }
    toml.sections(&sections, &report);
    let config = Config::parse(name, &toml.text);
    Imported { toml, report, config }
}

/// Takes out what the parser refuses, from the end so that places stay right. Returns whether that was anything.
fn take_out(
    error: &ConfigError,
    written: &Written,
    sections: &mut Vec<Section>,
    report: &mut Report,
) -> bool {
    let mut refused: Vec<(usize, &Diagnostic)> = error
        .diagnostics()
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .filter_map(|diagnostic| Some((diagnostic.line?.checked_sub(1)?, diagnostic)))
        .collect();
    refused.sort_by_key(|(line, _)| std::cmp::Reverse(*line));
    refused.dedup_by_key(|(line, _)| *line);
    let mut is_changed = false;
    for (line, diagnostic) in refused {
        let Some(Some(origin)) = written.origins.get(line) else { continue };
        // Without its director there is no configuration, and without a VRRP instance it needs an interface.
        if origin.entry.is_none() && origin.section == [0] {
            if let (Some(director), "director.interfaces") = (sections.first_mut(), diagnostic.key.as_str()) {
                let remark = "a guess: nothing says where packets arrive";
                director.assume("interfaces", Value::texts(["eth0"]), origin.place, remark);
                is_changed = true;
            }
            continue;
        }
        let Some(what) = remove(sections, origin, &diagnostic.key) else { continue };
        let message = format!("left out of the configuration: {}; {}", diagnostic.message, diagnostic.help);
        report.add(Fate::NotSupported, origin.place, what, message);
        is_changed = true;
    }
    is_changed
}

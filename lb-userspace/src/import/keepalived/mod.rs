//! `keepalived.conf`, read as keepalived reads it, and made into our configuration.
//!
//! Text becomes a configuration in these steps, each of which reports what it finds and goes on:
//! - `reader`: files, includes, conditions, definitions and repetitions; `line` has comments, quotations and characters
//!   that were mangled on the way.
//! - `tree`: statements and blocks, with the braces that are missing or too many; `keywords` has every keyword.
//! - `translate`: sections of our configuration, and the fate of every statement.
//! - `accept`: TOML with comments, which our own parser reads: what that refuses is taken out and reported.

mod definitions;
mod include;
mod keywords;
mod line;
mod reader;
mod repeat;
#[cfg(test)]
mod tests;
mod translate;
mod tree;

use std::path::{Path, PathBuf};

use super::accept::{Imported, accept};
use super::marks::{self, Marks, UnreadableMarks};
use super::report::{Fate, Place, Report, Source};
use crate::config::{Config, ConfigError, Diagnostic, Severity};

pub use reader::Unreadable;

/// How a file is to be understood.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The name of this machine for lines with `@name`; else the host name up to its first dot.
    pub config_id: Option<String>,
    /// Interfaces that packets for the virtual servers arrive on; else those of VRRP.
    pub interfaces: Vec<String>,
    /// Files of the firewall's rules that set marks.
    pub marks: Vec<PathBuf>,
}

/// What there was to import cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The configuration.
    #[error(transparent)]
    Configuration(#[from] Unreadable),
    /// The firewall's rules.
    #[error(transparent)]
    Marks(#[from] UnreadableMarks),
}

/// Imports the file at `path`.
///
/// # Errors
///
/// It cannot be read. Whatever is wrong in it is in the report instead.
pub fn import(path: &Path, options: &Options) -> Result<Imported, ImportError> {
    let mut report = Report::default();
    let marks = marks::read(&options.marks)?;
    let config_id = options.config_id.clone().unwrap_or_else(host_name);
    let lines = reader::read(path, &config_id, &mut report)?;
    Ok(finish(&lines, options, &marks, report))
}

/// Imports `text`, which is in no file, with these rules of the firewall's instead of those that `options` name; `name`
/// is for messages.
pub fn import_text(name: &str, text: &str, options: &Options, marks: &[Source]) -> Imported {
    let mut report = Report::default();
    let config_id = options.config_id.clone().unwrap_or_else(host_name);
    let lines = reader::read_text(name, text.as_bytes(), &config_id, &mut report);
    finish(&lines, options, marks, report)
}

fn finish(lines: &[line::Line], options: &Options, marks: &[Source], mut report: Report) -> Imported {
    let tree = tree::parse(lines, &mut report);
    let marks = Marks::of(marks, &mut report);
    let sections = translate::translate(&tree, &options.interfaces, marks, &mut report);
    accept(sections, report, "lbctl import keepalived")
}

/// The host name up to its first dot, as keepalived's config-id.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().split('.').next().unwrap_or("").to_owned()
}

/// Reads a `keepalived.conf` as the configuration of a director. Diagnostics have their places in that file: what
/// changed in meaning is a warning, what is not supported an error, or a warning too with `is_partial`.
///
/// # Errors
///
/// The file cannot be read, has something that is not supported, or makes no configuration.
pub fn load(path: &Path, options: &Options, is_partial: bool) -> Result<Config, ConfigError> {
    let name = path.display().to_string();
    let imported = import(path, options)
        .map_err(|error| ConfigError::unreadable(&name, &error.to_string(), "name a keepalived.conf"))?;
    let Imported { toml, report, config } = imported;
    let sources = report.sources.iter().map(|source| (source.name.as_str(), source.text.as_str())).collect();
    let sources = crate::config::Sources::new(sources);
    let at = |place: Place| (place.file as usize, place.line as usize, place.column as usize);
    let mut diagnostics = Vec::new();
    for finding in &report.findings {
        let (severity, help) = match finding.fate {
            Fate::Taken => continue,
            Fate::Changed => (Severity::Warning, "`lbctl import keepalived` shows what it becomes"),
            Fate::NotSupported if is_partial => (Severity::Warning, "it is left out"),
            Fate::NotSupported => (Severity::Error, "remove it, or go on without it by --partial"),
        };
        diagnostics.extend(sources.diagnostic(
            severity,
            at(finding.place),
            &finding.subject,
            &finding.message,
            help,
        ));
    }
    let of_toml = match &config {
        Ok(config) => &config.warnings,
        Err(error) => error.diagnostics(),
    };
    for diagnostic in of_toml {
        let origin = diagnostic.line.and_then(|line| toml.origins.get(line - 1)?.as_ref());
        let place = origin.map_or(Place { file: 0, line: 1, column: 1 }, |origin| origin.place);
        let Diagnostic { severity, key, message, help, .. } = diagnostic;
        diagnostics.extend(sources.diagnostic(*severity, at(place), key, message, help));
    }
    let is_wrong = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    match config {
        Ok(mut config) if !is_wrong => {
            config.warnings = diagnostics;
            Ok(config)
        }
        _ => Err(ConfigError::of(diagnostics)),
    }
}

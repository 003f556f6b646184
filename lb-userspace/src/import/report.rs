//! What became of each statement of an imported file.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

/// Where something stands in an imported file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Index into the imported files, in the order in which they were opened.
    pub file: u32,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

/// What became of a statement, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It means the same here.
    Taken,
    /// It means something else here, or nothing because nothing here needs it, or was a mistake that could be mended.
    Changed,
    /// It has no equivalent, or what was meant is not clear: what it asked for does not happen.
    NotSupported,
}

/// One statement, or one mistake, and what became of it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What became of it.
    pub fate: Fate,
    /// Where it stands.
    pub place: Place,
    /// The statement in few words.
    pub subject: String,
    /// For [`Fate::Taken`] the key it became, else why it is different and what to do.
    pub message: String,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// As it was named.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Everything that is known about one import.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The files, the first being the one that was named.
    pub sources: Vec<Source>,
    /// In the order of the files after [`Report::sort`].
    pub findings: Vec<Finding>,
}

/// A finding as `--json` prints it.
#[derive(Serialize)]
struct Shown<'a> {
    fate: Fate,
    file: &'a str,
    line: u32,
    column: u32,
    subject: &'a str,
    message: &'a str,
}

impl Report {
    /// Adds a finding.
    pub fn add(&mut self, fate: Fate, place: Place, subject: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding { fate, place, subject: subject.into(), message: message.into() });
    }

    /// Brings the findings into the order of the files.
    pub fn sort(&mut self) {
        self.findings.sort_by_key(|finding| finding.place);
        self.findings.dedup_by(|a, b| {
            (a.fate, a.place, &a.subject, &a.message) == (b.fate, b.place, &b.subject, &b.message)
        });
    }

    /// The worst that happened.
    pub fn worst(&self) -> Fate {
        self.findings.iter().map(|finding| finding.fate).max().unwrap_or(Fate::Taken)
    }

    /// How many findings have this fate.
    pub fn count(&self, fate: Fate) -> usize {
        self.findings.iter().filter(|finding| finding.fate == fate).count()
    }

    /// `FILE:LINE`.
    pub fn line(&self, place: Place) -> String {
        let name = self.source(place).map_or("", |source| source.name.as_str());
        format!("{name}:{}", place.line)
    }

    /// The file of a place.
    pub fn source(&self, place: Place) -> Option<&Source> {
        self.sources.get(place.file as usize)
    }

    /// One finding in one line: `FILE:LINE:COLUMN: SUBJECT: MESSAGE`.
    pub fn sentence(&self, finding: &Finding) -> String {
        let Finding { place, subject, message, .. } = finding;
        let link = if finding.fate == Fate::Taken { " -> " } else { ": " };
        format!("{}:{}: {subject}{link}{message}", self.line(*place), place.column)
    }

    /// Writes the report for people. `all` lists what was taken over too.
    ///
    /// # Errors
    ///
    /// `out` takes no more.
    pub fn write(&self, out: &mut impl Write, all: bool) -> io::Result<()> {
        let list = |out: &mut dyn Write, title: &str, fate: Fate| -> io::Result<()> {
            if self.count(fate) == 0 {
                return Ok(());
            }
            writeln!(out, "{title}:")?;
            for finding in self.findings.iter().filter(|finding| finding.fate == fate) {
                writeln!(out, "  {}", self.sentence(finding))?;
            }
            Ok(())
        };
        if all {
            list(out, "taken over", Fate::Taken)?;
        }
        list(out, "changed in meaning", Fate::Changed)?;
        list(out, "not supported", Fate::NotSupported)?;
        writeln!(out, "{self}")
    }

    /// Writes the report as JSON, schema `lbctl/import/v1`: `findings` of `{fate, file, line, column, subject, message}`,
    /// where `fate` is `taken`, `changed` or `not_supported`.
    ///
    /// # Errors
    ///
    /// `out` takes no more.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let shown: Vec<_> = self
            .findings
            .iter()
            .map(|finding| Shown {
                fate: finding.fate,
                file: self.source(finding.place).map_or("", |source| source.name.as_str()),
                line: finding.place.line,
                column: finding.place.column,
                subject: &finding.subject,
                message: &finding.message,
            })
            .collect();
        let report = serde_json::json!({ "schema": "lbctl/import/v1", "findings": shown });
        serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from)?;
        writeln!(out)
    }
}

/// The summary: `keepalived.conf: 24 taken over, 2 changed in meaning, 0 not supported`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.sources.first().map_or("", |source| source.name.as_str());
        write!(
            f,
            "{name}: {} taken over, {} changed in meaning, {} not supported",
            self.count(Fate::Taken),
            self.count(Fate::Changed),
            self.count(Fate::NotSupported)
        )
    }
}

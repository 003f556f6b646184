//! `lbctl doctor`: what on this host would keep a director or a real server from working well, and what to do.
//!
//! [`facts`] has what is found, as plain data; `gather` finds it, and changes nothing (it sends ARP probes, if it
//! may). [`director`] and [`realserver`] are functions from facts to [`Finding`]s, so each of them is tested
//! without the host that shows it.

mod arp;
mod director;
pub mod facts;
mod firewall;
mod gather;
mod realserver;
#[cfg(test)]
mod tests;
mod virtual_mac;

use std::io::{self, Write};

use serde::Serialize;

pub use director::director;
pub use gather::{Asked, gather};
pub use realserver::realserver;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing, or cannot be found out.
    Note,
    /// Works, but worse than it could, or not in every case.
    Warning,
    /// Does not work.
    Error,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `kernel`, `jit`, `xdp-mode`, …
    pub check: &'static str,
    /// The interface, address or file; empty for the whole host.
    pub subject: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What to do about it; `None` if nothing.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(check: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check, subject: subject.into(), severity: Severity::Ok, found: found.into(), remedy: None }
    }

    fn worse(mut self, severity: Severity, remedy: impl Into<String>) -> Self {
        self.severity = severity;
        self.remedy = Some(remedy.into());
        self
    }
}

/// All findings. JSON schema `lbctl/doctor/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// "lbctl/doctor/v1".
    pub schema: &'static str,
    /// "director" or "realserver".
    pub role: &'static str,
    /// The worst of the findings.
    pub worst: Severity,
    /// In the order in which a packet would meet them.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Of a role's findings.
    pub fn new(role: &'static str, findings: Vec<Finding>) -> Self {
        let worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok);
        Self { schema: "lbctl/doctor/v1", role, worst, findings }
    }

    /// 0: nothing worse than a note; 3: a warning; 1: an error.
    pub fn exit_code(&self) -> u8 {
        match self.worst {
            Severity::Ok | Severity::Note => 0,
            Severity::Warning => 3,
            Severity::Error => 1,
        }
    }

    /// Writes one line for each finding, and its remedy below it.
    ///
    /// # Errors
    ///
    /// `out` cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let width = self.findings.iter().map(|finding| finding.subject.len()).max().unwrap_or(0);
        for Finding { check, subject, severity, found, remedy } in &self.findings {
            writeln!(out, "{:<8} {check:<12} {subject:<width$}  {found}", severity.word())?;
            if let Some(remedy) = remedy {
                writeln!(out, "{:<8} {:<12} {:<width$}  remedy: {remedy}", "", "", "")?;
            }
        }
        Ok(())
    }
}

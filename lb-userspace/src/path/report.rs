//! What `lbctl list --checks` shows of the ways of direct routing.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::advice::Advice;
use super::claims::ClaimRow;
use crate::plane::desired::ServiceKey;

pub(super) const SCHEMA: &str = "lbctl/paths/v1";

/// JSON schema `lbctl/paths/v1`; docs/path-check.md describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// "lbctl/paths/v1".
    pub schema: String,
    /// Sorted by virtual server and real server.
    pub paths: Vec<Advice>,
    /// Who answers for a VIP that is not his.
    pub claims: Vec<ClaimRow>,
}

impl Report {
    /// Leaves one virtual server.
    pub fn keep(&mut self, address: std::net::SocketAddr, protocol: u8) {
        let key = ServiceKey { protocol, address: address.ip(), port: address.port() };
        self.paths.retain(|path| path.virtual_server == key.into());
        self.claims.retain(|claim| claim.address == key.address);
    }
}

/// Writes it for people: a line for each way that is not as it should be, or one that all are.
///
/// # Errors
///
/// `out` cannot be written.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for claim in &report.claims {
        writeln!(out, "{}\n     {}", claim.finding, claim.remedy)?;
    }
    if report.paths.is_empty() {
        return Ok(());
    }
    let bad: Vec<_> = report.paths.iter().filter(|path| path.good == Some(false)).collect();
    let unknown = report.paths.iter().filter(|path| path.good.is_none()).count();
    let good = report.paths.len() - bad.len() - unknown;
    write!(out, "Direct routing: {good} of {} real servers answer as their VIP", report.paths.len())?;
    match unknown {
        0 => writeln!(out)?,
        _ => writeln!(out, ", {unknown} not known yet")?,
    }
    for path in bad {
        writeln!(out, "  -> {} of {}: {}", path.real_server, path.virtual_server, path.finding)?;
        if let Some(remedy) = &path.remedy {
            writeln!(out, "     {remedy}")?;
        }
    }
    Ok(())
}

//! Run-time edits upon the running director.

use std::time::Duration;

use super::Director;
use crate::config::{Config, RealServer};
use crate::edits::{Edited, Edits, Operation, OperationError, ServiceName, named};

/// How long an edit waits for the MACs of new real servers: a script of many must not be slow.
const RESOLVE_FOR: Duration = Duration::from_millis(300);

/// The configuration in force; what does not fit the file is logged.
pub(super) fn edited(edits: &Edits, file: &Config) -> Config {
    let mut notes = Vec::new();
    let config = edited_with_notes(edits, file, &mut notes);
    for note in notes {
        tracing::warn!("{note}");
    }
    config
}

/// The configuration in force, and notes about the edits.
pub(super) fn edited_with_notes(edits: &Edits, file: &Config, notes: &mut Vec<String>) -> Config {
    let Edited { config, left_out } = edits.apply(file.clone());
    if !edits.is_empty() {
        notes.push(
            "the configuration is changed by run-time edits; `lbctl list` marks them, `lbctl clear --edits` \
             lifts them"
                .to_owned(),
        );
    }
    let unfit = |problem: String| format!("{problem} (a run-time edit that does not fit the file, left out)");
    notes.extend(left_out.into_iter().map(unfit));
    config
}

/// Says that a new real server is not checked as others beside it are.
fn unchecked(operation: &Operation, config: &Config) -> Option<String> {
    let Operation::AddServer { service, server, .. } = operation else { return None };
    let owner = config.virtual_servers.iter().find(|owner| ServiceName::of(owner) == *service)?;
    let is_checked = |real: &&RealServer| !real.health.checks.is_empty();
    let server = named(owner, *server);
    let added =
        owner.real_servers.iter().find(|real| (real.address, real.port) == (server.ip(), server.port()))?;
    (!is_checked(&added) && owner.real_servers.iter().any(|real| is_checked(&real))).then(|| {
        format!(
            "virtual server {service}: real server {server}: has no health checks, for those in the file are of \
             single real servers; put it into the file with checks of its own, or give the virtual server checks"
        )
    })
}

impl Director {
    /// Performs operations one after the other, each refused or not, and goes over to what comes of them at once.
    ///
    /// # Errors
    ///
    /// The record cannot be written, or the result is refused as a reload would be; then nothing has changed.
    pub async fn edit(
        &mut self,
        operations: &[Operation],
    ) -> anyhow::Result<(Vec<Result<(), OperationError>>, Vec<String>)> {
        let mut edits = self.edits.clone();
        let mut config = self.config.clone();
        let results: Vec<_> =
            operations.iter().map(|operation| edits.perform(operation, &self.file, &mut config)).collect();
        if !results.iter().any(Result::is_ok) {
            return Ok((results, Vec::new()));
        }
        let path = self.instance.edits_file();
        // The intention first: a daemon that dies now goes on with the edit when it is started again.
        edits.write(&path)?;
        match self.change_to(config, RESOLVE_FOR).await {
            Ok(mut notes) => {
                self.edits = edits;
                notes.extend(operations.iter().filter_map(|operation| unchecked(operation, &self.config)));
                Ok((results, notes))
            }
            Err(error) => {
                self.edits.write(&path)?;
                Err(error)
            }
        }
    }

    /// Leaves for listings and `lbctl save` what the tables do not say. A listing that lacks it shows defaults.
    pub(super) fn record_saved(&self) {
        let path = self.instance.saved_file();
        if let Err(error) = self.saved().write(&path) {
            tracing::error!("{}: {error}", path.display());
        }
    }

    /// Forgets all edits, for a director that is about to end for good.
    pub fn drop_edits(&self) {
        if let Err(error) = Edits::default().write(&self.instance.edits_file()) {
            tracing::error!("{error}");
        }
    }
}

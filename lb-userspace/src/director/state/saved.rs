//! What the director says of its configuration.

use super::Director;
use crate::diff::{self, Change};
use crate::save::Saved;

impl Director {
    /// What is served: the file with the changes made at run time, whatever checks and orders say just now.
    pub fn saved(&self) -> Saved {
        Saved::of(&self.config, &self.file)
    }

    /// What the file said when it was read last, for comparisons.
    ///
    /// # Errors
    ///
    /// It cannot be shown as JSON.
    pub fn picture(&self) -> anyhow::Result<serde_json::Value> {
        Ok(diff::picture(&self.file)?)
    }

    /// What a reload would change.
    ///
    /// # Errors
    ///
    /// Whatever would keep it from being loaded.
    pub fn differences(&self) -> anyhow::Result<Vec<Change>> {
        let file = self.source.load()?;
        Ok(diff::compare(&self.picture()?, &diff::picture(&file)?))
    }
}

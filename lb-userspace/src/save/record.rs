//! The record in the runtime directory: what is served is known after the daemon's death, as its traffic goes on.

use std::fs;
use std::io;
use std::path::Path;

use super::{SCHEMA, Saved};

impl Saved {
    /// Reads the record; `None` if there is none, or one of another version.
    pub fn read(path: &Path) -> Option<Self> {
        let saved: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        (saved.schema == SCHEMA).then_some(saved)
    }

    /// Replaces the record at once.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, path)
    }
}

//! The record in the runtime directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Edits;

const SCHEMA: &str = "lbctl/edits/v1";

#[derive(Serialize, Deserialize)]
struct Contents {
    schema: String,
    #[serde(flatten)]
    edits: Edits,
}

/// A record that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file.
    #[error("{}: the run-time edits cannot be read or written", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is in it.
    #[error(
        "{}: not a record of run-time edits of this version; remove it to go back to the file alone",
        path.display()
    )]
    NotARecord {
        /// Its path.
        path: PathBuf,
    },
}

impl Edits {
    /// Reads the record; an absent file means no edits.
    ///
    /// # Errors
    ///
    /// Unreadable, or not a record.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(RecordError::File { path: path.to_owned(), source }),
        };
        match serde_json::from_slice::<Contents>(&text) {
            Ok(contents) if contents.schema == SCHEMA => Ok(contents.edits),
            Ok(_) | Err(_) => Err(RecordError::NotARecord { path: path.to_owned() }),
        }
    }

    /// Replaces the record at once; without edits there is no file.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        let failed = |source| RecordError::File { path: path.to_owned(), source };
        if self.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let contents = Contents { schema: SCHEMA.to_owned(), edits: self.clone() };
        let text = serde_json::to_vec_pretty(&contents).map_err(|error| failed(error.into()))?;
        let new = path.with_extension("new");
        fs::write(&new, text).map_err(failed)?;
        fs::rename(&new, path).map_err(failed)
    }
}

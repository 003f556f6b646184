//! Where a director's configuration is read from, again at each reload.

use std::path::{Path, PathBuf};

use super::keepalived;
use crate::config::{Config, ConfigError};

/// A file, and how it is read.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    path: PathBuf,
    /// It is a `keepalived.conf`; whether it is used without what is not supported.
    keepalived: Option<(keepalived::Options, bool)>,
}

impl ConfigSource {
    /// Our own configuration.
    pub fn toml(path: &Path) -> Self {
        Self { path: path.to_owned(), keepalived: None }
    }

    /// A `keepalived.conf`. With `is_partial` what is not supported is left out, else it is an error.
    pub fn keepalived(path: &Path, options: keepalived::Options, is_partial: bool) -> Self {
        Self { path: path.to_owned(), keepalived: Some((options, is_partial)) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same file, wherever the process goes.
    ///
    /// # Errors
    ///
    /// There is no working directory.
    pub fn absolute(self) -> std::io::Result<Self> {
        let mut keepalived = self.keepalived;
        for path in keepalived.iter_mut().flat_map(|(options, _)| &mut options.marks) {
            *path = std::path::absolute(&path)?;
        }
        Ok(Self { path: std::path::absolute(&self.path)?, keepalived })
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<Config, ConfigError> {
        match &self.keepalived {
            None => Config::load(&self.path),
            Some((options, is_partial)) => keepalived::load(&self.path, options, *is_partial),
        }
    }
}

//! Where an instance keeps its things.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Runtime files of all instances.
pub const RUN_DIR: &str = "/run/lbctl";
/// Where a BPF file system is, or is mounted by `lbctl up`.
pub const BPF_FS: &str = "/sys/fs/bpf";

/// The name of a director on this host. Two of them may run at once, in two network namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    name: String,
}

/// A name that cannot be a directory's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "instance name {0:?}: use 1 to 64 letters, digits, '-', '_' or '.', and begin with a letter or digit"
)]
pub struct BadName(String);

impl FromStr for Instance {
    type Err = BadName;

    fn from_str(name: &str) -> Result<Self, BadName> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if begins && name.len() <= 64 && name.chars().all(fits) {
            Ok(Self { name: name.to_owned() })
        } else {
            Err(BadName(name.to_owned()))
        }
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Instance {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runtime files.
    pub fn run_dir(&self) -> PathBuf {
        Path::new(RUN_DIR).join(&self.name)
    }

    /// The daemon's API: HTTP on a Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("api.sock")
    }

    /// Held locked by the daemon while it runs; contains its process id.
    pub fn lock_file(&self) -> PathBuf {
        self.run_dir().join("lock")
    }

    /// What the daemon did to the host, see [`super::record::Record`].
    pub fn record_file(&self) -> PathBuf {
        self.run_dir().join("director.json")
    }

    /// What an operator has ordered, see [`crate::orders`]. Stays when the director goes down.
    pub fn orders_file(&self) -> PathBuf {
        self.run_dir().join("orders.json")
    }

    /// What was changed at run time, see [`crate::edits::Edits`].
    pub fn edits_file(&self) -> PathBuf {
        self.run_dir().join("edits.json")
    }

    /// What `lbctl zero` set to zero, see [`crate::list::zero::Baseline`].
    pub fn baseline_file(&self) -> PathBuf {
        self.run_dir().join("zero.json")
    }

    /// What listings show of the configuration in force, see [`crate::list::attributes::Attributes`].
    pub fn saved_file(&self) -> PathBuf {
        self.run_dir().join("saved.json")
    }

    /// What a detached daemon logs.
    pub fn log_file(&self) -> PathBuf {
        self.run_dir().join("log")
    }

    /// The pinned tables and links.
    pub fn pin_dir(&self) -> PathBuf {
        Path::new(BPF_FS).join("lbctl").join(&self.name)
    }

    /// The pin of the program's link to an interface.
    pub fn link_pin(&self, interface: u32) -> PathBuf {
        self.pin_dir().join(format!("{LINK_PREFIX}{interface}"))
    }

    /// The interfaces that have a pinned link.
    pub fn pinned_links(&self) -> Vec<u32> {
        let Ok(entries) = std::fs::read_dir(self.pin_dir()) else { return Vec::new() };
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        names.filter_map(|name| link_index(&name)).collect()
    }
}

const LINK_PREFIX: &str = "link-";

fn link_index(name: &OsStr) -> Option<u32> {
    name.to_str()?.strip_prefix(LINK_PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_directory() {
        for good in ["default", "lvs1", "a.b-c_d", "0"] {
            assert_eq!(good.parse::<Instance>().unwrap().name(), good);
        }
        for bad in ["", "..", ".", "a/b", "-x", "a b", &"x".repeat(65)] {
            assert!(bad.parse::<Instance>().is_err(), "{bad:?}");
        }
    }
}

//! What the director did to the host besides the tables, so that `lbctl down` undoes that and nothing else.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A VIP that `up` put on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnAddress {
    /// The interface's index.
    pub interface: u32,
    /// The VIP.
    pub address: IpAddr,
    /// Its prefix length.
    pub prefix_len: u8,
}

/// The contents of `director.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The configuration in force.
    pub config: PathBuf,
    /// The daemon's process id.
    pub pid: u32,
    /// VIPs that were not there before.
    pub addresses: Vec<OwnAddress>,
    /// Interfaces in generic mode whose GRO was on, and was switched off.
    #[serde(default)]
    pub gro_off: Vec<String>,
}

impl Record {
    /// Reads the record; an absent file is an empty record.
    ///
    /// # Errors
    ///
    /// Unreadable, or not a record.
    pub fn read(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the record at once: a crash leaves the old one or the new one.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        let new = path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(new, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_is_empty_and_written_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("director.json");
        assert_eq!(Record::read(&path).unwrap(), Record::default());
        let record = Record {
            config: "/etc/lbctl/lbctl.toml".into(),
            pid: 7,
            addresses: vec![OwnAddress { interface: 2, address: [192, 168, 4, 15].into(), prefix_len: 32 }],
            gro_off: vec!["eth0".into()],
        };
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), record);
        fs::write(&path, "{").unwrap();
        assert!(Record::read(&path).is_err());
    }
}

//! What the addresses' keeper put on the host, written down before it does, so that whatever is left of a killed daemon
//! can be removed.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::vrrp::{VirtualRoute, VirtualRule};

/// An address that was put on an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct HeldAddress {
    /// The interface's name: an index may be another's later.
    pub(crate) interface: String,
    pub(crate) address: IpAddr,
    pub(crate) prefix_len: u8,
}

/// A macvlan that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldDevice {
    pub(crate) name: String,
    /// It is none of ours if it has another.
    pub(crate) mac: [u8; 6],
}

/// A setting of the kernel that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldSetting {
    /// Below `/proc/sys`.
    pub(crate) path: String,
    pub(crate) before: String,
    /// It stays as it is where somebody has changed it since.
    pub(crate) now: String,
}

/// The contents of `vrrp.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(skip)]
    path: PathBuf,
    pub(crate) addresses: Vec<HeldAddress>,
    /// As they are configured, with the interface that the instance has.
    pub(crate) routes: Vec<(String, String)>,
    pub(crate) rules: Vec<String>,
    /// Whether there is a table of the packet filter.
    #[serde(default)]
    pub(crate) has_filter: bool,
    #[serde(default)]
    pub(crate) devices: Vec<HeldDevice>,
    #[serde(default)]
    pub(crate) settings: Vec<HeldSetting>,
}

impl Record {
    /// Reads the record; an absent file is an empty one.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut record: Self = match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error),
        };
        record.path = path.to_owned();
        Ok(record)
    }

    /// Where it is written.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Says whether there is a table of the packet filter, or is about to be.
    pub(crate) fn set_filter(&mut self, is_there: bool) -> io::Result<()> {
        if self.has_filter == is_there {
            return Ok(());
        }
        self.has_filter = is_there;
        self.write()
    }

    /// Says which macvlans there are, or are about to be.
    pub(crate) fn set_devices(&mut self, devices: Vec<HeldDevice>) -> io::Result<()> {
        if self.devices == devices {
            return Ok(());
        }
        self.devices = devices;
        self.write()
    }

    /// Says which settings are changed, or are about to be.
    pub(crate) fn set_settings(&mut self, settings: Vec<HeldSetting>) -> io::Result<()> {
        if self.settings == settings {
            return Ok(());
        }
        self.settings = settings;
        self.write()
    }

    /// Adds what is about to be done. Nothing is written if it is there already.
    pub(crate) fn add(
        &mut self,
        addresses: impl IntoIterator<Item = HeldAddress>,
        routes: &[(&VirtualRoute, &str)],
        rules: &[&VirtualRule],
    ) -> io::Result<()> {
        let before = (self.addresses.len(), self.routes.len(), self.rules.len());
        for address in addresses {
            if !self.addresses.contains(&address) {
                self.addresses.push(address);
            }
        }
        for (route, interface) in routes {
            let line = (route.text.clone(), (*interface).to_owned());
            if !self.routes.contains(&line) {
                self.routes.push(line);
            }
        }
        for rule in rules {
            if !self.rules.contains(&rule.text) {
                self.rules.push(rule.text.clone());
            }
        }
        if before == (self.addresses.len(), self.routes.len(), self.rules.len()) {
            Ok(())
        } else {
            self.write()
        }
    }

    /// Takes out what has been undone.
    pub(crate) fn remove(
        &mut self,
        addresses: &[HeldAddress],
        routes: &[(&VirtualRoute, &str)],
        rules: &[&VirtualRule],
    ) -> io::Result<()> {
        self.addresses.retain(|held| !addresses.contains(held));
        self.routes.retain(|(text, _)| routes.iter().all(|(route, _)| route.text != *text));
        self.rules.retain(|text| rules.iter().all(|rule| rule.text != *text));
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let new = self.path.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, &self.path)
    }
}

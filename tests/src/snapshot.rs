//! What `lbctl` could leave on a node, as text that can be compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use anyhow::Context;

use crate::lab::Lab;
use crate::topology::Node;

/// Addresses, routes, rules, links with their XDP programs and features, kernel settings, pins and runtime files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, String>);

impl Snapshot {
    /// Looks at `node`. Pins and runtime files are those of all nodes.
    ///
    /// # Errors
    /// A tool fails, or /proc cannot be read.
    pub fn take(lab: &Lab, node: Node) -> anyhow::Result<Self> {
        let mut seen = BTreeMap::new();
        let mut devices = vec!["lo"];
        let topology = lab.topology();
        let interfaces = topology.interfaces(node);
        devices.extend(interfaces.iter().map(|interface| interface.name));
        let ip = "ip addr|ip -4 route show table all|ip -6 route show table all|ip rule|ip -6 rule|ip -details link";
        for command in
            ip.split('|').map(str::to_owned).chain(devices.iter().map(|d| format!("ethtool -k {d}")))
        {
            let text = lab.exec(node, command.split(' '))?;
            seen.insert(command, text);
        }
        lab.enter(node, || settings(Path::new("/proc/sys/net"), &mut seen))?.context("/proc/sys/net")?;
        for root in ["/sys/fs/bpf", "/run/lbctl"] {
            files(Path::new(root), &mut seen)?;
        }
        Ok(Self(seen))
    }

    /// What differs in `later`, one line each; empty if nothing does.
    #[must_use]
    pub fn changes(&self, later: &Self) -> String {
        let mut changes = String::new();
        let keys = self.0.keys().chain(later.0.keys().filter(|key| !self.0.contains_key(*key)));
        for key in keys {
            let [before, after] = [&self.0, &later.0].map(|seen| seen.get(key).map(String::as_str));
            if before != after {
                changes += &format!("{key}:\n  before: {}\n  after: {}\n", brief(before), brief(after));
            }
        }
        changes
    }
}

fn brief(text: Option<&str>) -> String {
    text.map_or_else(|| "not there".to_owned(), |text| text.trim_end().replace('\n', "\n          "))
}

/// All readable settings below `dir` but counts, which change by themselves.
fn settings(dir: &Path, seen: &mut BTreeMap<String, String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            settings(&path, seen)?;
        } else if let Ok(text) = fs::read_to_string(&path)
            && !path.to_string_lossy().ends_with("_count")
        {
            seen.insert(path.display().to_string(), text);
        }
    }
    Ok(())
}

/// The names of all files and directories at and below `path`.
fn files(path: &Path, seen: &mut BTreeMap<String, String>) -> io::Result<()> {
    let Ok(data) = fs::symlink_metadata(path) else { return Ok(()) };
    seen.insert(path.display().to_string(), "there".to_owned());
    if data.is_dir() {
        for entry in fs::read_dir(path)? {
            files(&entry?.path(), seen)?;
        }
    }
    Ok(())
}

//! What is known of everything that is tracked.

use std::collections::BTreeMap;

use super::holder::Interfaces;
use crate::config::vrrp::{GroupTracking, SyncGroup, Tracked as Entry, Vrrp, VrrpInstance};
use crate::vrrp::priority::{Health, Tracked};
use crate::vrrp::status::TrackedStatus;

/// Something was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Observation {
    /// A `[[vrrp_script]]`.
    Script(String, Health),
    /// A `[[vrrp_track_process]]`.
    Process(String, Health),
    /// A `[[vrrp_track_file]]`, and the number in it.
    File(String, i64),
    /// All virtual servers, by their shown names, and whether they have a real server that could get a connection.
    VirtualServers(BTreeMap<String, Health>),
}

/// The last observations. Nothing is known of what was not observed yet.
#[derive(Debug, Default)]
pub(super) struct Tracking {
    scripts: BTreeMap<String, Health>,
    processes: BTreeMap<String, Health>,
    files: BTreeMap<String, i64>,
    virtual_servers: BTreeMap<String, Health>,
}

impl Tracking {
    /// Forgets what is not tracked any more.
    pub(super) fn configure(&mut self, config: &Vrrp) {
        self.scripts.retain(|name, _| config.scripts.iter().any(|script| script.name == *name));
        self.processes.retain(|name, _| config.processes.iter().any(|process| process.name == *name));
        self.files.retain(|name, _| config.files.iter().any(|file| file.name == *name));
    }

    /// Returns whether it is news.
    pub(super) fn observe(&mut self, observation: Observation) -> bool {
        match observation {
            Observation::Script(name, health) => self.scripts.insert(name, health) != Some(health),
            Observation::Process(name, health) => self.processes.insert(name, health) != Some(health),
            Observation::File(name, value) => self.files.insert(name, value) != Some(value),
            Observation::VirtualServers(all) => {
                std::mem::replace(&mut self.virtual_servers, all.clone()) != all
            }
        }
    }

    fn interface(interfaces: &Interfaces, name: &str) -> Health {
        match interfaces.get(name) {
            Some(interface) if interface.is_running => Health::Up,
            Some(_) | None => Health::Down,
        }
    }

    pub(super) fn of_instance(&self, instance: &VrrpInstance, interfaces: &Interfaces) -> Vec<Tracked> {
        self.of(
            [
                &instance.track_interfaces,
                &instance.track_scripts,
                &instance.track_processes,
                &instance.track_files,
                &instance.track_virtual_servers,
            ],
            interfaces,
        )
    }

    pub(super) fn of_group(&self, group: &GroupTracking, interfaces: &Interfaces) -> Vec<Tracked> {
        self.of(
            [&group.interfaces, &group.scripts, &group.processes, &group.files, &group.virtual_servers],
            interfaces,
        )
    }

    fn of(
        &self,
        [links, scripts, processes, files, servers]: [&Vec<Entry>; 5],
        interfaces: &Interfaces,
    ) -> Vec<Tracked> {
        let condition = |entry: &Entry, health| Tracked::Condition {
            weight: entry.weight.weight,
            is_reversed: entry.weight.reverse,
            health,
        };
        let known =
            |of: &BTreeMap<String, Health>, name: &str| of.get(name).copied().unwrap_or(Health::Unknown);
        let links = links.iter().map(|entry| condition(entry, Self::interface(interfaces, &entry.name)));
        let scripts = scripts.iter().map(|entry| condition(entry, known(&self.scripts, &entry.name)));
        let processes = processes.iter().map(|entry| condition(entry, known(&self.processes, &entry.name)));
        // Until health is known, a virtual server is no reason to hand over.
        let server = |name: &str| self.virtual_servers.get(name).copied().unwrap_or(Health::Up);
        let servers = servers.iter().map(|entry| condition(entry, server(&entry.name)));
        let files = files.iter().map(|entry| Tracked::Value {
            weight: if entry.weight.reverse { -entry.weight.weight } else { entry.weight.weight },
            value: self.files.get(&entry.name).copied().unwrap_or(0),
        });
        links.chain(scripts).chain(processes).chain(servers).chain(files).collect()
    }

    pub(super) fn status(
        &self,
        instance: &VrrpInstance,
        group: Option<&SyncGroup>,
        interfaces: &Interfaces,
    ) -> Vec<TrackedStatus> {
        let mut all = Vec::new();
        let mut add = |kind: &str, entries: &[Entry], state: &dyn Fn(&str) -> String| {
            for entry in entries {
                all.push(TrackedStatus {
                    kind: kind.to_owned(),
                    name: entry.name.clone(),
                    state: state(&entry.name),
                    weight: entry.weight.weight,
                    reverse: entry.weight.reverse,
                });
            }
        };
        let word = |health: Option<Health>| {
            match health.unwrap_or(Health::Unknown) {
                Health::Up => "up",
                Health::Down => "down",
                Health::Unknown => "unknown",
            }
            .to_owned()
        };
        let empty = GroupTracking::default();
        let group = group.map_or(&empty, |group| &group.tracking);
        for links in [&instance.track_interfaces, &group.interfaces] {
            add("interface", links, &|name| word(Some(Self::interface(interfaces, name))));
        }
        for scripts in [&instance.track_scripts, &group.scripts] {
            add("script", scripts, &|name| word(self.scripts.get(name).copied()));
        }
        for processes in [&instance.track_processes, &group.processes] {
            add("process", processes, &|name| word(self.processes.get(name).copied()));
        }
        for files in [&instance.track_files, &group.files] {
            add("file", files, &|name| self.files.get(name).copied().unwrap_or(0).to_string());
        }
        for servers in [&instance.track_virtual_servers, &group.virtual_servers] {
            add("virtual server", servers, &|name| word(self.virtual_servers.get(name).copied()));
        }
        all
    }
}

//! `vrrp_instance`.

mod wire;

use std::net::IpAddr;
use std::time::Duration;

use super::globals::garp;
use super::{Translation, lasting};
use crate::import::document::{Section, Value};
use crate::import::keepalived::tree::Statement;

/// What an instance's keys depend on.
#[derive(Debug, Default)]
struct Instance<'s> {
    name: String,
    is_master: bool,
    priority: Option<i64>,
    interval: Option<(Duration, &'s Statement)>,
    version: Option<(i64, &'s Statement)>,
    authentication: Option<&'s Statement>,
    is_ipv6: Option<bool>,
    is_strict: bool,
    has_peers: bool,
    virtual_mac: Option<&'s Statement>,
}

impl Translation<'_> {
    pub(super) fn instance(&mut self, block: &Statement) {
        for (keyword, why) in [
            (
                "virtual_router_id",
                "it has no virtual_router_id, without which keepalived does not start; left out",
            ),
            ("virtual_ipaddress", "it carries no virtual address; left out: name at least one"),
        ] {
            if !block.block.iter().any(|statement| statement.keyword.name == keyword) {
                self.refused(block, why);
                return self.left_out(block);
            }
        }
        let mut section = Section::new("[[vrrp_instance]]", block.place());
        let mut instance = Instance {
            name: block.word(0).unwrap_or("").to_owned(),
            is_strict: self.globals.is_strict,
            ..Instance::default()
        };
        section.set("name", Value::text(&instance.name), block.place());
        let statements = self.statements(block);
        let interface = statements.iter().find(|statement| statement.keyword.name == "interface");
        let interface = match interface {
            Some(statement) => statement.word(0).unwrap_or("").to_owned(),
            None => self.assumed_interface(&mut section, block),
        };
        self.uses(&interface, block.place());
        for statement in statements {
            self.instance_key(&mut section, &mut instance, statement, &interface);
        }
        if section.get("virtual_router_id").is_none() {
            return self.refused(
                block,
                "it has no virtual_router_id, without which keepalived does not start; left out",
            );
        }
        if instance.is_master && instance.priority.is_none() {
            section.assume(
                "priority",
                Value::Number(255),
                block.place(),
                "keepalived's default with state MASTER",
            );
            let message = "keepalived takes an instance with state MASTER and no priority for the owner of its \
                           addresses: priority 255";
            self.changed(block, message);
        } else if instance.priority.is_none() {
            section.assume("priority", Value::Number(100), block.place(), "keepalived's default");
        }
        if let Some(statement) = instance.virtual_mac.filter(|_| instance.has_peers)
            && section.get("vmac_xmit_base").is_none()
        {
            section.set("vmac_xmit_base", Value::Flag(true), statement.place());
            self.changed(statement, "adverts to unicast_peer need vmac_xmit_base, which is written besides");
        }
        self.version(&mut section, &instance, block);
        self.authentication(&mut section, &instance);
        self.by_table(block);
        self.instances.push(section);
    }

    fn assumed_interface(&mut self, section: &mut Section, block: &Statement) -> String {
        let name = self.globals.default_interface.clone().unwrap_or_else(|| "eth0".to_owned());
        section.assume("interface", Value::text(&name), block.place(), "keepalived's default_interface");
        self.changed(
            block,
            format!("it names no interface; {name} is taken, keepalived's default_interface"),
        );
        name
    }

    fn instance_key<'s>(
        &mut self,
        section: &mut Section,
        instance: &mut Instance<'s>,
        statement: &'s Statement,
        interface: &str,
    ) {
        let text = statement.word(0).unwrap_or("");
        match statement.keyword.name {
            "state" => {
                let word = text.to_ascii_lowercase();
                if !matches!(word.as_str(), "master" | "backup") {
                    return self.changed(
                        statement,
                        "it is neither MASTER nor BACKUP; BACKUP, as keepalived takes it",
                    );
                }
                instance.is_master = word == "master";
                section.set("state", Value::text(word), statement.place());
                if text.chars().any(|c| c.is_ascii_lowercase()) {
                    let message =
                        "keepalived knows the word in capital letters only and takes BACKUP; taken as meant";
                    return self.changed(statement, message);
                }
                self.by_table(statement);
            }
            "interface" => self.set(section, "interface", Value::text(text), statement),
            "virtual_router_id" | "priority" => {
                let Some(number) = self.integer(statement, (1, 255)) else { return };
                let key = if statement.keyword.name == "priority" { "priority" } else { "virtual_router_id" };
                if key == "priority" {
                    instance.priority = Some(number);
                }
                self.set(section, key, Value::Number(number), statement);
            }
            "advert_int" => {
                let Some(seconds) = self.seconds(statement, (0.01, 255.0)) else { return };
                instance.interval = Some((seconds, statement));
            }
            "version" => {
                if let Some(version) = self.integer(statement, (2, 3)) {
                    instance.version = Some((version, statement));
                }
            }
            "authentication" => instance.authentication = Some(statement),
            "virtual_ipaddress" => self.virtual_addresses(section, instance, statement),
            "virtual_ipaddress_excluded" => {
                let mut values = taken_values(section, "excluded_addresses");
                for entry in &statement.block {
                    if let Some(address) = self.virtual_address(entry, "vrrp_instance.excluded_addresses") {
                        self.uses_of(&address.interface, entry);
                        values.push(address.value);
                    }
                }
                self.set(section, "excluded_addresses", Value::List(values), statement);
            }
            "virtual_routes" | "virtual_rules" => {
                let key = if statement.keyword.name == "virtual_routes" {
                    "virtual_routes"
                } else {
                    "virtual_rules"
                };
                self.lines(section, key, statement);
            }
            "unicast_src_ip" => match text.parse::<IpAddr>() {
                Ok(address) => {
                    self.set(section, "source_address", Value::text(address.to_string()), statement)
                }
                Err(_) => self
                    .refused(statement, format!("{text:?} is not an address; left out as keepalived does")),
            },
            "unicast_peer" => {
                let mut peers = Vec::new();
                for entry in &statement.block {
                    peers.extend(self.peer(entry));
                }
                instance.has_peers = !peers.is_empty();
                if peers.is_empty() {
                    return self
                        .changed(statement, "it names no peer: adverts are multicast, as keepalived's");
                }
                self.set(section, "unicast_peers", Value::texts(peers), statement);
            }
            "unicast_ttl" => {
                let Some(number) = self.integer(statement, (1, 255)) else { return };
                self.set(section, "unicast_ttl", Value::Number(number), statement);
            }
            "use_vmac" => {
                instance.virtual_mac = Some(statement);
                self.virtual_mac(section, statement);
            }
            "vmac_xmit_base" => self.set(section, "vmac_xmit_base", Value::Flag(true), statement),
            "nopreempt" => self.set(section, "nopreempt", Value::Flag(true), statement),
            "preempt_delay" => {
                let Some(seconds) = self.seconds(statement, (0.0, 1000.0)) else { return };
                self.set(section, "preempt_delay", lasting(seconds), statement);
            }
            "accept" => self.set(section, "accept", Value::Flag(true), statement),
            "no_accept" => self.set(section, "accept", Value::Flag(false), statement),
            "strict_mode" => {
                let Some(flag) = self.flag(statement) else { return };
                instance.is_strict = flag;
                let message = match flag {
                    true => {
                        "keepalived drops packets to the virtual addresses, so that virtual servers on them do not \
                         answer; nothing is dropped here. Adverts have no authentication, as in keepalived"
                    }
                    false => "left out: there is no strict mode",
                };
                self.changed(statement, message);
            }
            "smtp_alert" => {
                if let Some(flag) = self.flag(statement) {
                    self.set(section, "email_alert", Value::Flag(flag), statement);
                }
            }
            name if name.starts_with("track_") && statement.keyword.block.is_some() => {
                self.track(section, statement, Some(interface));
            }
            name => {
                if let Some((key, is_time)) = garp(name) {
                    if let Some(value) = self.garp_value(statement, key, is_time) {
                        self.set(section, key, value, statement);
                    }
                } else if !self.notify(section, statement) {
                    self.by_table(statement);
                }
            }
        }
    }

    /// `use_vmac [NAME] [MAC]`.
    fn virtual_mac(&mut self, section: &mut Section, statement: &Statement) {
        section.set("use_vmac", Value::Flag(true), statement.place());
        let words = [statement.word(0), statement.word(1)];
        let is_mac = |word: &&str| word.contains(':');
        if let Some(name) = words.into_iter().flatten().find(|word| !is_mac(word)) {
            section.set("vmac_name", Value::text(name), statement.place());
        }
        if words.into_iter().flatten().any(|word| is_mac(&word)) {
            self.refused(
                statement,
                "another MAC than the virtual router's is not supported: that of RFC 9568 is taken",
            );
        } else {
            self.by_table(statement);
        }
    }

    fn uses_of(&mut self, interface: &Option<String>, entry: &Statement) {
        if let Some(interface) = interface {
            self.uses(interface, entry.place());
        }
    }

    /// Adverts carry addresses of one family; keepalived moves the others to the excluded ones.
    fn virtual_addresses(&mut self, section: &mut Section, instance: &mut Instance<'_>, block: &Statement) {
        let mut values = taken_values(section, "virtual_addresses");
        let mut excluded = taken_values(section, "excluded_addresses");
        for entry in &block.block {
            let Some(address) = self.virtual_address(entry, "vrrp_instance.virtual_addresses") else {
                continue;
            };
            self.uses_of(&address.interface, entry);
            if *instance.is_ipv6.get_or_insert(address.is_ipv6) == address.is_ipv6 {
                values.push(address.value);
            } else {
                let message = "an advert carries addresses of one family: moved to excluded_addresses, as keepalived does";
                self.changed(entry, message);
                excluded.push(address.value);
            }
        }
        self.set(section, "virtual_addresses", Value::List(values), block);
        if !excluded.is_empty() {
            section.set("excluded_addresses", Value::List(excluded), block.place());
        }
    }

    /// Routes or rules, each a line.
    fn lines(&mut self, section: &mut Section, key: &'static str, block: &Statement) {
        let mut lines = Vec::new();
        for entry in &block.block {
            let mut words: Vec<&str> = entry.words.iter().map(|word| word.text.as_str()).collect();
            if words.contains(&"or") || words.contains(&"nexthop") {
                self.refused(entry, "a route over several gateways is not supported; left out");
                continue;
            }
            let has_no_track = words.contains(&"no_track");
            words.retain(|word| *word != "no_track");
            // keepalived took `src` before the destination for the preferred source.
            if words.first() == Some(&"src") && key == "virtual_routes" {
                let rest = if words.get(2) == Some(&"to") { 3 } else { 2 };
                let source: Vec<&str> = words.drain(..rest).take(2).collect();
                words.extend(source);
            }
            let line = words.join(" ").replace(" gw ", " via ");
            if has_no_track {
                self.changed(entry, "one that someone else removes is put back; no_track is left out");
            } else {
                self.taken(entry, key);
            }
            lines.push(line);
        }
        self.set(section, key, Value::texts(lines), block);
    }

    fn peer(&mut self, entry: &Statement) -> Option<String> {
        let text = entry.word(0).unwrap_or("");
        let Ok(address) = text.parse::<IpAddr>() else {
            self.refused(entry, format!("{text:?} is not an address; left out as keepalived does"));
            return None;
        };
        if entry.words.len() > 1 {
            self.refused(entry, "is now vrrp_instance.unicast_peers, without the check of its TTL");
        } else {
            self.taken(entry, "vrrp_instance.unicast_peers");
        }
        Some(address.to_string())
    }
}

/// What a key of the section has so far.
fn taken_values(section: &Section, key: &str) -> Vec<Value> {
    match section.get(key) {
        Some(Value::List(values)) => values.clone(),
        _ => Vec::new(),
    }
}

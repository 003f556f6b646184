//! `virtual_server`, `virtual_server_group` and `real_server`.

mod real_servers;
mod scheduling;

use std::net::IpAddr;
use std::time::Duration;

use super::addresses::with_port;
use super::checks::Defaults;
use super::{Translation, lasting};
use crate::import::document::{Section, Value};
use crate::import::keepalived::tree::Statement;
use crate::import::marks::{Marked, group_name};
use crate::import::ranges::ranges;
use crate::ipvsadm::Transport;

/// keepalived's and IPVS's persistence, in seconds (`IPVS_SVC_PERSISTENT_TIMEOUT`).
const PERSISTENCE: Duration = Duration::from_secs(360);
/// keepalived's `KEEPALIVED_DEFAULT_DELAY`.
const DELAY_LOOP: Duration = Duration::from_secs(60);
const SCHEDULERS: &[&str] =
    &["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "fo", "ovf", "sed", "nq", "twos"];
/// The most that persistence lasts here.
const DAY: u64 = 86_400;

/// What a virtual server's parts need to know of it.
#[derive(Debug, Default)]
struct Service<'s> {
    /// `None` for a group, of which there may be several.
    address: Option<IpAddr>,
    is_ipv6: bool,
    port: u16,
    forwarding: &'static str,
    weight: Option<(i64, &'s Statement)>,
    virtual_host: Option<&'s Statement>,
    defaults: Defaults,
    /// Sum of the real servers' weights.
    weights: i64,
}

/// What is written after `virtual_server`.
enum Form {
    Address(IpAddr, Option<u16>),
    Group(String),
    Mark(u32),
}

/// A group in the making.
#[derive(Debug, Clone)]
pub(super) struct Grouped {
    pub(super) name: String,
    pub(super) is_ipv6: bool,
    /// What the firewall marks with its mark.
    pub(super) transport: Option<Transport>,
}

impl Translation<'_> {
    pub(super) fn group(&mut self, block: &Statement) {
        let mut section = Section::new("[[virtual_server_group]]", block.place());
        let name = block.word(0).unwrap_or("").to_owned();
        section.set("name", Value::text(&name), block.place());
        let mut addresses = Vec::new();
        let mut is_ipv6 = None;
        let mut transport = None;
        let marks = block.block.iter().filter(|entry| entry.word(0) == Some("fwmark")).count();
        for entry in &block.block {
            let text = entry.word(0).unwrap_or("");
            if text == "fwmark" {
                let Some(mark) = self.mark_of(entry, 1) else { continue };
                // The family is that of the group's addresses, else the one that has this mark.
                let family = is_ipv6.unwrap_or_else(|| self.marks.is_ipv6_alone(mark));
                let Some(marked) = self.marked(entry, mark, family) else { continue };
                is_ipv6 = Some(family);
                transport = Some(marked.transport);
                addresses.extend(marked.addresses);
                if marks == 1 && block.block.len() == 1 {
                    self.taken(entry, "virtual_server_group.fwmark");
                    section.set("fwmark", Value::Number(mark.into()), entry.place());
                } else {
                    let message = "what has this mark joins the group's addresses, and the group has no mark of its own: \
                                   it is one virtual server";
                    self.changed(entry, message);
                }
                continue;
            }
            let port = match entry.word(1).map_or(Ok(0), str::parse::<u16>) {
                Ok(port) => port,
                Err(_) => {
                    self.refused(entry, format!("{:?} is not a port", entry.word(1).unwrap_or("")));
                    continue;
                }
            };
            let family = text.contains(':');
            if *is_ipv6.get_or_insert(family) != family {
                self.refused(
                    entry,
                    "a group has one address family; make two groups and two virtual servers",
                );
                continue;
            }
            match ranges(text, port) {
                Ok(found) => {
                    self.taken(entry, "virtual_server_group.addresses");
                    addresses.extend(found);
                }
                Err(problem) => self.refused(entry, format!("{problem}; left out")),
            }
        }
        if addresses.is_empty() {
            return self.refused(block, "it has no address that could be taken over");
        }
        self.grouped.push(Grouped { name, is_ipv6: is_ipv6 == Some(true), transport });
        section.set("addresses", Value::texts(addresses), block.place());
        self.by_table(block);
        self.groups.push(section);
    }

    /// The mark in word `index`.
    fn mark_of(&mut self, statement: &Statement, index: usize) -> Option<u32> {
        let text = statement.word(index).unwrap_or("");
        let mark = text.parse::<u32>().ok().filter(|mark| *mark > 0);
        if mark.is_none() {
            self.refused(statement, format!("{text:?} is not a mark: a number from 1; left out"));
        }
        mark
    }

    /// What the firewall marks so; a mark that nothing is known of is reported.
    fn marked(&mut self, statement: &Statement, mark: u32, is_ipv6: bool) -> Option<Marked> {
        match self.marks.find(mark, is_ipv6, self.report) {
            Ok(marked) => Some(marked),
            Err(why) => {
                self.refused(statement, why);
                None
            }
        }
    }

    /// The group of `virtual_server fwmark N`, which is of its real servers' family.
    fn group_of_mark(&mut self, block: &Statement, mark: u32) -> Option<Grouped> {
        let family = block.block.iter().find_map(|inner| match (inner.keyword.name, inner.word(0)) {
            ("ip_family", Some(word)) => Some(word.eq_ignore_ascii_case("inet6")),
            ("real_server", Some(address)) => Some(address.contains(':')),
            _ => None,
        });
        let is_ipv6 = family.unwrap_or(false);
        let marked = self.marked(block, mark, is_ipv6)?;
        let mut name = group_name(mark, is_ipv6);
        while self.grouped.iter().any(|group| group.name == name) {
            name.push('+');
        }
        let transport = Some(marked.transport);
        self.groups.push(marked.group(mark, &name, block.place()));
        let group = Grouped { name, is_ipv6, transport };
        self.grouped.push(group.clone());
        Some(group)
    }

    fn form(&mut self, block: &Statement) -> Option<Form> {
        let first = block.word(0).unwrap_or("");
        match (first, block.word(1)) {
            ("fwmark", _) => self.mark_of(block, 1).map(Form::Mark),
            ("group", Some(name)) => Some(Form::Group(name.to_owned())),
            (text, port) => {
                let Ok(address) = text.parse::<IpAddr>() else {
                    self.refused(block, format!("{text:?} is not an address; its whole block is left out"));
                    return None;
                };
                match port.map(str::parse::<u16>) {
                    None => Some(Form::Address(address, None)),
                    Some(Ok(port)) => Some(Form::Address(address, Some(port))),
                    Some(Err(_)) => {
                        let message =
                            format!("{:?} is not a port; its whole block is left out", port.unwrap_or(""));
                        self.refused(block, message);
                        None
                    }
                }
            }
        }
    }

    pub(super) fn virtual_server(&mut self, block: &Statement) {
        let Some(form) = self.form(block) else { return self.left_out(block) };
        let mut group = None;
        let mut section = Section::new("[[virtual_server]]", block.place());
        let mut service = Service { forwarding: "nat", ..Service::default() };
        match &form {
            Form::Address(address, port) => {
                service.address = Some(*address);
                service.is_ipv6 = address.is_ipv6();
                service.port = port.unwrap_or(0);
                section.set("address", Value::text(with_port(*address, service.port)), block.place());
            }
            Form::Group(name) => {
                let Some(found) = self.grouped.iter().find(|group| group.name == *name).cloned() else {
                    self.refused(
                        block,
                        format!("there is no virtual_server_group {name:?}; its whole block is left out"),
                    );
                    return self.left_out(block);
                };
                group = Some(found);
            }
            Form::Mark(mark) => {
                let Some(found) = self.group_of_mark(block, *mark) else { return self.left_out(block) };
                group = Some(found);
            }
        }
        if let Some(group) = &group {
            service.is_ipv6 = group.is_ipv6;
            section.set("group", Value::text(&group.name), block.place());
        }
        let statements = self.statements(block);
        if !statements.iter().any(|statement| statement.keyword.name == "real_server") {
            self.changed(block, "it has no real_server: keepalived leaves it out, and so does this");
            return self.left_out(block);
        }
        let marked = group.and_then(|group| group.transport);
        let Some(protocol) = self.protocol(&mut section, block, (&statements, marked)) else {
            return self.left_out(block);
        };
        let identity = format!("{form}/{protocol}");
        if !self.served.insert(identity.clone()) {
            self.refused(
                block,
                format!("there is a virtual server {identity} already; put all real servers under one"),
            );
            return self.left_out(block);
        }
        self.served_addresses.extend(service.address);
        self.scheduler(&mut section, block, &statements);
        self.kind(&mut section, &mut service, block, &statements);
        self.persistence(&mut section, &service, block, &statements);
        let mut timed = None;
        for statement in &statements {
            match statement.keyword.name {
                "protocol"
                | "lb_algo"
                | "lb_kind"
                | "sh-port"
                | "sh-fallback"
                | "mh-port"
                | "mh-fallback"
                | "flag-1"
                | "flag-2"
                | "persistence_timeout"
                | "persistence_granularity"
                | "real_server"
                | "quorum"
                | "hysteresis"
                | "sorry_server" => {}
                "delay_loop" => {
                    let Some(seconds) = self.seconds(statement, (0.000_001, 86_400.0)) else { continue };
                    timed = Some(seconds);
                    self.set(&mut section, "check_interval", lasting(seconds), statement);
                }
                "ops" => match protocol {
                    "udp" => self.set(&mut section, "one_packet", Value::Flag(true), statement),
                    _ => self.changed(statement, "left out: it is for UDP only, in keepalived too"),
                },
                "weight" => {
                    let Some(weight) = self.integer(statement, (0, i64::MAX)) else { continue };
                    service.weight = Some((weight, statement));
                    self.by_table(statement);
                }
                "virtualhost" => {
                    service.virtual_host = Some(statement);
                    self.by_table(statement);
                }
                _ => self.service_key(&mut section, statement),
            }
        }
        let interval = timed.unwrap_or_else(|| {
            section.assume("check_interval", lasting(DELAY_LOOP), block.place(), "keepalived's default");
            DELAY_LOOP
        });
        if section.get("check_warmup").is_none() {
            section.assume(
                "check_warmup",
                lasting(interval),
                block.place(),
                "keepalived's default: delay_loop",
            );
        }
        service.defaults = Defaults { interval };
        let mut seen = Vec::new();
        for statement in &statements {
            if statement.keyword.name == "real_server" {
                self.real_server(&mut section, &mut service, statement, &mut seen);
            }
        }
        self.quorum(&mut section, &service, &statements);
        self.sorry_server(&mut section, &service, &statements);
        self.by_table(block);
        self.virtual_servers.push(section);
    }

    /// Says of everything in a block that it is left out with it.
    pub(super) fn left_out(&mut self, block: &Statement) {
        for statement in &block.block {
            self.refused(statement, "left out with its block");
            self.left_out(statement);
        }
    }

    fn protocol(
        &mut self,
        section: &mut Section,
        block: &Statement,
        (statements, marked): (&[&Statement], Option<Transport>),
    ) -> Option<&'static str> {
        // IPVS goes by the mark, whatever the file says.
        if let Some(transport) = marked {
            let protocol = transport.name();
            section.assume(
                "protocol",
                Value::text(protocol),
                block.place(),
                "of the packets that have its mark",
            );
            if let Some(statement) = statements.iter().find(|statement| statement.keyword.name == "protocol")
            {
                match statement.word(0).is_some_and(|word| word.eq_ignore_ascii_case(protocol)) {
                    true => self.by_table(statement),
                    false => {
                        self.changed(statement, format!("packets of {protocol} have its mark: taken as that"))
                    }
                }
            }
            return Some(protocol);
        }
        let Some(statement) = statements.iter().find(|statement| statement.keyword.name == "protocol") else {
            let uses_tcp = statements.iter().flat_map(|statement| &statement.block).any(|check| {
                matches!(check.keyword.name, "TCP_CHECK" | "HTTP_GET" | "SSL_GET" | "SMTP_CHECK")
            });
            let protocol = if uses_tcp { "tcp" } else { "udp" };
            section.assume("protocol", Value::text(protocol), block.place(), "the file does not say");
            let message = match uses_tcp {
                true => {
                    "it has no protocol: keepalived 2.4 reports that and takes UDP, older ones TCP; taken as tcp, which \
                     its checks speak"
                }
                false => {
                    "it has no protocol: keepalived 2.4 reports that and takes UDP, older ones TCP; taken as udp"
                }
            };
            self.changed(block, message);
            return Some(protocol);
        };
        let word = statement.word(0).unwrap_or("").to_ascii_lowercase();
        let protocol = match word.as_str() {
            "tcp" => "tcp",
            "udp" => "udp",
            "sctp" => {
                self.refused(
                    statement,
                    "SCTP is passed to the kernel and not balanced; its whole block is left out",
                );
                return None;
            }
            _ => {
                self.refused(
                    statement,
                    format!("{word:?} is neither TCP nor UDP; its whole block is left out"),
                );
                return None;
            }
        };
        self.set(section, "protocol", Value::text(protocol), statement);
        Some(protocol)
    }

    /// Keys of a virtual server that depend on nothing else.
    fn service_key(&mut self, section: &mut Section, statement: &Statement) {
        match statement.keyword.name {
            "retry" => {
                let Some(count) = self.integer(statement, (1, 10_000)) else { return };
                self.set(section, "check_retries", Value::Number(count), statement);
            }
            "delay_before_retry" | "warmup" | "connect_timeout" => {
                let Some(seconds) = self.seconds(statement, (0.0, 86_400.0)) else { return };
                let key = match statement.keyword.name {
                    "delay_before_retry" => "check_retry_delay",
                    "warmup" => "check_warmup",
                    _ => "check_timeout",
                };
                self.set(section, key, lasting(seconds), statement);
            }
            "alpha" => self.set(section, "alpha", Value::Flag(true), statement),
            "omega" => self.set(section, "omega", Value::Flag(true), statement),
            "ha_suspend" => self.set(section, "ha_suspend", Value::Flag(true), statement),
            "sorry_server_inhibit" => self.set(section, "sorry_server_inhibit", Value::Flag(true), statement),
            "inhibit_on_failure" => {
                if let Some(flag) = self.flag(statement) {
                    self.set(section, "inhibit_on_failure", Value::Flag(flag), statement);
                }
            }
            "smtp_alert" => self.checker_alert(statement),
            _ => {
                if !self.notify(section, statement) {
                    self.by_table(statement);
                }
            }
        }
    }

    fn checker_alert(&mut self, statement: &Statement) {
        match self.flag(statement) {
            Some(true) => self.by_table(statement),
            Some(false) => {
                let message = "mail about one server cannot be switched off: leave out notifications.email to send none";
                self.refused(statement, message);
            }
            None => {}
        }
    }
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Form::Address(address, port) => f.write_str(&with_port(*address, port.unwrap_or(0))),
            Form::Group(name) => write!(f, "group {name}"),
            Form::Mark(mark) => write!(f, "fwmark {mark}"),
        }
    }
}

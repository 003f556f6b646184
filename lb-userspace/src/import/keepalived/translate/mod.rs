//! From statements to sections. Every statement gets its fate here.

mod addresses;
mod checks;
mod globals;
mod scripts;
mod servers;
mod sync_groups;
mod tracks;
mod urls;
mod vrrp;

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::keywords::{Becomes, ENTRY};
use super::tree::Statement;
use crate::import::document::{Section, Value};
use crate::import::marks::Marks;
use crate::import::report::{Fate, Place, Report};

/// What one statement's block or line becomes, while everything is gone through.
#[derive(Debug)]
pub(super) struct Translation<'a> {
    pub(super) report: &'a mut Report,
    marks: Marks,
    director: Section,
    notifications: Section,
    vrrp: Section,
    scripts: Vec<Section>,
    processes: Vec<Section>,
    files: Vec<Section>,
    instances: Vec<Section>,
    sync_groups: Vec<Section>,
    groups: Vec<Section>,
    virtual_servers: Vec<Section>,
    globals: globals::Globals,
    /// Interfaces that VRRP uses, each with the place of its first use.
    interfaces: Vec<(String, Place)>,
    /// What can be tracked.
    names: tracks::Names,
    /// Files by the name of their `track_file`.
    file_paths: Vec<(String, String)>,
    /// Address, port and protocol of the virtual servers so far.
    served: BTreeSet<String>,
    /// The addresses of virtual servers.
    served_addresses: BTreeSet<std::net::IpAddr>,
    /// The groups so far.
    grouped: Vec<servers::Grouped>,
}

/// Translates a file, `[director]` first. `interfaces` are those that packets arrive on, if the operator named any, and
/// `marks` what the firewall marks.
pub(super) fn translate(
    root: &[Statement],
    interfaces: &[String],
    marks: Marks,
    report: &mut Report,
) -> Vec<Section> {
    let start = Place { file: 0, line: 1, column: 1 };
    let mut translation = Translation {
        report,
        marks,
        director: Section::new("[director]", start),
        notifications: Section::new("[notifications]", start),
        vrrp: Section::new("[vrrp]", start),
        scripts: Vec::new(),
        processes: Vec::new(),
        files: Vec::new(),
        instances: Vec::new(),
        sync_groups: Vec::new(),
        groups: Vec::new(),
        virtual_servers: Vec::new(),
        globals: globals::Globals::default(),
        interfaces: Vec::new(),
        names: tracks::Names::default(),
        file_paths: Vec::new(),
        served: BTreeSet::new(),
        served_addresses: BTreeSet::new(),
        grouped: Vec::new(),
    };
    translation.root(root);
    translation.choose_interfaces(interfaces);
    translation.complete(root);
    translation.sections()
}

impl Translation<'_> {
    fn root(&mut self, root: &[Statement]) {
        let named = |name: &'static str| root.iter().filter(move |statement| statement.keyword.name == name);
        for statement in named("global_defs") {
            self.by_table(statement);
            self.global_defs(statement);
        }
        self.globals_done();
        self.collect_names(root);
        for statement in root {
            match statement.keyword.name {
                "global_defs" => {}
                "vrrp_script" => self.vrrp_script(statement),
                "vrrp_track_process" => self.track_process(statement),
                "track_file" => self.track_file(statement),
                "vrrp_instance" => self.instance(statement),
                "vrrp_sync_group" => self.sync_group(statement),
                "virtual_server_group" => self.group(statement),
                _ => {}
            }
        }
        for statement in root {
            match statement.keyword.name {
                "virtual_server" => self.virtual_server(statement),
                _ if matches!(statement.keyword.becomes, Becomes::Key(_)) => {}
                _ => self.by_table(statement),
            }
        }
        self.email_alerts();
    }

    /// Which interfaces packets for the virtual servers arrive on, which keepalived need not know.
    fn choose_interfaces(&mut self, named: &[String]) {
        let Some(place) = self.virtual_servers.first().map(|section| section.place) else { return };
        if !named.is_empty() {
            self.director.assume("interfaces", Value::texts(named), place, "named on the command line");
        } else if let Some((_, place)) = self.interfaces.first() {
            let names: Vec<_> = self.interfaces.iter().map(|(name, _)| name.clone()).collect();
            let place = *place;
            let shown = names.join(", ");
            self.director.set("interfaces", Value::texts(names), place);
            // Answers come back on the side of the real servers, which VRRP need not be on.
            if self.virtual_servers.iter().any(translates) {
                let message = format!(
                    "with NAT the interface towards the real servers is needed too, which keepalived need not know; \
                     taken are those of VRRP: {shown}; with --interface others are"
                );
                self.report.add(Fate::Changed, place, "interface", message);
            } else {
                let message = format!("director.interfaces, where packets arrive: {shown}");
                self.report.add(Fate::Taken, place, "interface", message);
            }
        } else {
            let name = self.globals.default_interface.clone().unwrap_or_else(|| "eth0".to_owned());
            let message = format!(
                "the file does not say where packets for virtual servers arrive; taken is {name}; name the \
                 interfaces with --interface"
            );
            self.director.assume("interfaces", Value::texts([name]), place, "a guess: the file does not say");
            self.report.add(Fate::Changed, place, "virtual_server", message);
        }
        self.director.assume(
            "manage_addresses",
            Value::Flag(false),
            place,
            "keepalived puts the addresses of vrrp_instances on the host and no others",
        );
    }

    /// Nothing may be dropped silently: a statement nobody spoke of is reported now.
    fn complete(&mut self, root: &[Statement]) {
        let spoken: HashSet<Place> = self.report.findings.iter().map(|finding| finding.place).collect();
        // Each with the block around it, if that is left out as a whole.
        let mut left: Vec<(&Statement, Option<&Statement>)> =
            root.iter().map(|statement| (statement, None)).collect();
        while let Some((statement, around)) = left.pop() {
            if !spoken.contains(&statement.place()) {
                let (fate, message) = match around {
                    None => (Fate::NotSupported, "it could not be taken over".to_owned()),
                    Some(block) => {
                        let is_unneeded = matches!(block.keyword.becomes, Becomes::Unneeded(_));
                        let fate = if is_unneeded { Fate::Changed } else { Fate::NotSupported };
                        (fate, format!("left out with `{}` around it", block.shown()))
                    }
                };
                self.report.add(fate, statement.place(), statement.shown(), message);
            }
            let is_taken = matches!(statement.keyword.becomes, Becomes::Key(_) | Becomes::Otherwise(..));
            let around = around.or((!is_taken).then_some(statement));
            left.extend(statement.block.iter().map(|inner| (inner, around)));
        }
    }

    fn sections(self) -> Vec<Section> {
        let mut all = Vec::new();
        all.push(self.director);
        for section in [self.notifications, self.vrrp] {
            if !section.entries.is_empty() {
                all.push(section);
            }
        }
        all.extend(self.scripts);
        all.extend(self.processes);
        all.extend(self.files);
        all.extend(self.instances);
        all.extend(self.sync_groups);
        all.extend(self.groups);
        all.extend(self.virtual_servers);
        all
    }

    // What is said of a statement.

    fn taken(&mut self, statement: &Statement, key: &str) {
        self.report.add(Fate::Taken, statement.place(), statement.shown(), key);
    }

    fn changed(&mut self, statement: &Statement, why: impl Into<String>) {
        self.report.add(Fate::Changed, statement.place(), statement.shown(), why);
    }

    fn refused(&mut self, statement: &Statement, why: impl Into<String>) {
        self.report.add(Fate::NotSupported, statement.place(), statement.shown(), why);
    }

    /// What the table says of the keyword.
    fn by_table(&mut self, statement: &Statement) {
        match statement.keyword.becomes {
            Becomes::Key(key) => self.taken(statement, key),
            Becomes::Otherwise(key, why) => {
                let link = if key.is_empty() { String::new() } else { format!("is now {key}: ") };
                self.changed(statement, format!("{link}{why}"));
            }
            Becomes::Unneeded(why) => self.changed(statement, format!("left out: {why}")),
            Becomes::NotSupported(why) => self.refused(statement, why),
        }
    }

    /// Sets a key of `section` to the value of a statement, as the table says.
    fn set(&mut self, section: &mut Section, key: &'static str, value: Value, statement: &Statement) {
        section.set(key, value, statement.place());
        self.by_table(statement);
    }

    /// The statements of a block. Of those that may stand once and stand more often, the last counts.
    fn statements<'s>(&mut self, block: &'s Statement) -> Vec<&'s Statement> {
        let mut statements = Vec::with_capacity(block.block.len());
        for (index, statement) in block.block.iter().enumerate() {
            let again = block
                .block
                .iter()
                .skip(index + 1)
                .rev()
                .find(|later| std::ptr::eq(later.keyword, statement.keyword));
            match again {
                Some(again) if !statement.keyword.is_many && statement.keyword.block.is_none() => {
                    let message =
                        format!("left out: it is given again in line {}, which counts", again.place().line);
                    self.changed(statement, message);
                }
                _ => statements.push(statement),
            }
        }
        statements
    }

    // Values.

    /// The integer after the keyword, if it is in the range. keepalived leaves out what is not.
    fn integer(&mut self, statement: &Statement, (least, most): (i64, i64)) -> Option<i64> {
        let word = statement.word(0)?;
        match word.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => return Some(number),
            Ok(_) => {
                let most = if most == i64::MAX { String::new() } else { format!(" to {most}") };
                let message = format!("left out as keepalived does: the number must be from {least}{most}");
                self.refused(statement, message);
            }
            Err(_) => {
                let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
                let hint = match digits.is_empty() {
                    true => String::new(),
                    false => format!("; write {digits}"),
                };
                self.refused(
                    statement,
                    format!("left out as keepalived does: {word:?} is not a number{hint}"),
                );
            }
        }
        None
    }

    /// The seconds after the keyword, which may have decimals.
    fn seconds(&mut self, statement: &Statement, (least, most): (f64, f64)) -> Option<Duration> {
        let word = statement.word(0)?;
        let is_decimal = word.chars().all(|c| c.is_ascii_digit() || c == '.');
        match word.parse::<f64>() {
            Ok(seconds) if is_decimal && (least..=most).contains(&seconds) => {
                // keepalived counts microseconds (lib/timer.h).
                Duration::try_from_secs_f64((seconds * 1e6).round() / 1e6).ok()
            }
            Ok(_) if is_decimal => {
                let message =
                    format!("left out as keepalived does: it must be from {least} to {most} seconds");
                self.refused(statement, message);
                None
            }
            _ => {
                let message = format!("left out as keepalived does: {word:?} is not a number of seconds");
                self.refused(statement, message);
                None
            }
        }
    }

    /// `true`, `on`, `yes` or nothing; `false`, `off`, `no`.
    fn flag(&mut self, statement: &Statement) -> Option<bool> {
        let Some(word) = statement.word(0) else { return Some(true) };
        let value = match word.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" => true,
            "false" | "off" | "no" => false,
            _ => {
                self.refused(
                    statement,
                    format!("left out as keepalived does: {word:?} is not true or false"),
                );
                return None;
            }
        };
        if word.chars().any(|c| c.is_ascii_uppercase()) {
            self.changed(statement, "keepalived knows the word in small letters only; taken as meant");
        }
        Some(value)
    }
}

/// Whether a virtual server or one of its real servers is forwarded to by NAT.
fn translates(server: &Section) -> bool {
    let is_nat = |section: &Section| section.get("forwarding") == Some(&Value::text("nat"));
    is_nat(server) || server.inner.iter().any(is_nat)
}

/// A duration as the configuration file has it.
pub(super) fn lasting(duration: Duration) -> Value {
    if duration.is_zero() {
        Value::text("0s")
    } else {
        Value::text(humantime::format_duration(duration).to_string())
    }
}

/// Whether it is an entry of a list.
pub(super) fn is_entry(statement: &Statement) -> bool {
    std::ptr::eq(statement.keyword, &raw const ENTRY)
}

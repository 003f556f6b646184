//! `global_defs`: the director, mail and FIFOs, and defaults of instances.

use super::{Translation, lasting};
use crate::import::document::{Entry, Value};
use crate::import::keepalived::tree::Statement;
use crate::import::report::{Fate, Place};

/// What other blocks need to know.
#[derive(Debug, Default)]
pub(super) struct Globals {
    pub(super) default_interface: Option<String>,
    /// `smtp_alert` and `smtp_alert_vrrp`.
    pub(super) alerts_vrrp: Option<(bool, Place)>,
    /// `script_user`.
    pub(super) script_user: Option<String>,
    /// `vrrp_strict`.
    pub(super) is_strict: bool,
    /// `vrrp_version 3`.
    pub(super) is_version_3: bool,
}

impl Translation<'_> {
    pub(super) fn global_defs(&mut self, block: &Statement) {
        if self.director.entries.is_empty() {
            self.director.place = block.place();
            self.notifications.place = block.place();
            self.vrrp.place = block.place();
        }
        for statement in self.statements(block) {
            self.global(statement);
        }
    }

    fn global(&mut self, statement: &Statement) {
        let text = statement.word(0).unwrap_or("").to_owned();
        let place = statement.place();
        match statement.keyword.name {
            "router_id" => self.director.set("router_id", Value::text(text), place),
            "notification_email" => return self.recipients(statement),
            "notification_email_from" => {
                let Some(address) = self.mail_address(statement, &text) else { return };
                self.notifications.set("email_from", Value::text(address), place);
            }
            "smtp_server" => {
                let port = statement.word(1).unwrap_or("25");
                let server = match text.parse::<std::net::Ipv6Addr>() {
                    Ok(address) => format!("[{address}]:{port}"),
                    Err(_) => format!("{text}:{port}"),
                };
                self.notifications.set("smtp_server", Value::text(server), place);
            }
            "smtp_helo_name" => self.notifications.set("smtp_helo", Value::text(text), place),
            "smtp_connect_timeout" => {
                let Some(seconds) = self.seconds(statement, (0.0, 600.0)) else { return };
                let seconds = seconds.max(std::time::Duration::from_secs(1));
                self.notifications.set("smtp_timeout", lasting(seconds), place);
            }
            "smtp_alert" | "smtp_alert_vrrp" => {
                let Some(flag) = self.flag(statement) else { return };
                self.globals.alerts_vrrp = Some((flag, place));
            }
            "smtp_alert_checker" => match self.flag(statement) {
                Some(true) => {}
                Some(false) => {
                    let message = "mail about real servers cannot be switched off while there is a \
                                   notifications.email";
                    return self.refused(statement, message);
                }
                None => return,
            },
            "script_user" => {
                if let Some(group) = statement.word(1) {
                    let message = format!("scripts run with the groups of {text}, not with group {group}");
                    self.changed(statement, message);
                }
                self.globals.script_user = Some(text.clone());
                self.notifications.set("script_user", Value::text(text), place);
            }
            "default_interface" => self.globals.default_interface = Some(text),
            "lvs_timeouts" => return self.timeouts(statement),
            "vrrp_version" => match text.as_str() {
                "2" | "3" => {
                    self.globals.is_version_3 = text == "3";
                    self.vrrp.set("version", Value::Number(if text == "3" { 3 } else { 2 }), place);
                }
                _ => return self.refused(statement, "left out as keepalived does: the version is 2 or 3"),
            },
            "vrrp_strict" => match self.flag(statement) {
                Some(true) => {
                    self.globals.is_strict = true;
                    let message = "keepalived drops packets to the virtual addresses, so that virtual servers on \
                                   them do not answer; nothing is dropped here. Adverts have no authentication, as in \
                                   keepalived";
                    return self.changed(statement, message);
                }
                Some(false) => return self.changed(statement, "left out: there is no strict mode"),
                None => return,
            },
            "vrrp_min_garp" => match self.flag(statement) {
                Some(true) => self.vrrp.set("garp_repeat", Value::Number(1), place),
                Some(false) => {}
                None => return,
            },
            "notify_fifo" => self.notifications.set("fifo", Value::text(text), place),
            "vrrp_notify_fifo" => self.notifications.set("vrrp_fifo", Value::text(text), place),
            "lvs_notify_fifo" => self.notifications.set("lvs_fifo", Value::text(text), place),
            "notify_fifo_script" => self.notifications.set("fifo_script", Value::text(text), place),
            "vrrp_notify_fifo_script" => self.notifications.set("vrrp_fifo_script", Value::text(text), place),
            "lvs_notify_fifo_script" => self.notifications.set("lvs_fifo_script", Value::text(text), place),
            "vrrp_garp_interval" | "vrrp_gna_interval" => return self.garp_interval(statement),
            "vrrp_startup_delay" => {
                let Some(seconds) = self.seconds(statement, (0.0, 86_400.0)) else { return };
                self.vrrp.set("startup_delay", lasting(seconds), place);
            }
            name => {
                let Some((key, is_time)) = garp(name.strip_prefix("vrrp_").unwrap_or(name)) else {
                    return self.by_table(statement);
                };
                let Some(value) = self.garp_value(statement, key, is_time) else { return };
                self.vrrp.set(key, value, place);
            }
        }
        self.by_table(statement);
    }

    /// keepalived takes 0 for out of range, though its distributed examples have it.
    fn garp_interval(&mut self, statement: &Statement) {
        if statement.word(0).and_then(|word| word.parse::<f64>().ok()) == Some(0.0) {
            return self
                .changed(statement, "keepalived calls 0 out of range; left out, which means the same");
        }
        let Some(seconds) = self.seconds(statement, (0.000_001, 1.0)) else { return };
        self.vrrp.set("garp_interval", lasting(seconds), statement.place());
        self.by_table(statement);
    }

    /// A delay in whole seconds or a count of gratuitous ARPs, of which 0 means 1.
    pub(super) fn garp_value(&mut self, statement: &Statement, key: &str, is_time: bool) -> Option<Value> {
        if is_time {
            let most = if key == "garp_refresh" { 86_400.0 } else { 1000.0 };
            return self.seconds(statement, (0.0, most)).map(lasting);
        }
        let count = self.integer(statement, (0, 100))?;
        let least = i64::from(key != "garp_lower_priority_repeat");
        Some(Value::Number(count.max(least)))
    }

    fn recipients(&mut self, statement: &Statement) {
        let mut addresses = Vec::new();
        for entry in &statement.block {
            let text = entry.name.text.clone();
            if let Some(address) = self.mail_address(entry, &text) {
                self.taken(entry, "notifications.email");
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            let message = "there is no address in it: nobody is written to";
            return self.changed(statement, message);
        }
        self.by_table(statement);
        self.notifications.set("email", Value::texts(addresses), statement.place());
    }

    fn mail_address(&mut self, statement: &Statement, text: &str) -> Option<String> {
        if text.parse::<lettre::Address>().is_ok() {
            return Some(text.to_owned());
        }
        let local = format!("{text}@localhost");
        if !text.contains('@') && local.parse::<lettre::Address>().is_ok() {
            self.changed(statement, format!("a mail address has a domain here: {local}"));
            return Some(local);
        }
        self.refused(statement, format!("{text:?} is not a mail address; write NAME@HOST"));
        None
    }

    /// What holds between global keywords.
    pub(super) fn globals_done(&mut self) {
        let place = self.notifications.place;
        let entries = &mut self.notifications.entries;
        let has = |entries: &[Entry], key: &str| entries.iter().any(|entry| entry.key == key);
        if has(entries, "email") && !has(entries, "smtp_server") {
            entries.retain(|entry| entry.key != "email");
            let message = "there is no smtp_server: keepalived sends no mail, and nor is any sent here";
            self.report.add(Fate::Changed, place, "notification_email", message);
        }
        for (fifo, script) in
            [("fifo", "fifo_script"), ("vrrp_fifo", "vrrp_fifo_script"), ("lvs_fifo", "lvs_fifo_script")]
        {
            if has(entries, script) && !has(entries, fifo) {
                entries.retain(|entry| entry.key != script);
                let message = format!("there is no {fifo} that it could read; left out");
                self.report.add(Fate::NotSupported, place, script, message);
            }
        }
    }

    /// `lvs_timeouts [tcp N] [tcpfin N] [udp N]`
    fn timeouts(&mut self, statement: &Statement) {
        let mut words = statement.words.iter().map(|word| word.text.as_str());
        while let Some(word) = words.next() {
            let key = match word {
                "tcp" => "tcp_timeout",
                "tcpfin" => "tcp_fin_timeout",
                "udp" => "udp_timeout",
                _ => return self.refused(statement, format!("{word:?} is none of tcp, tcpfin and udp")),
            };
            match words.next().and_then(|number| number.parse::<u64>().ok()) {
                Some(0) => {}
                Some(seconds @ 1..=86_400) => {
                    let value = lasting(std::time::Duration::from_secs(seconds));
                    self.director.set(key, value, statement.place());
                }
                Some(_) => {
                    let value = lasting(std::time::Duration::from_secs(86_400));
                    self.director.set(key, value, statement.place());
                    self.changed(statement, format!("{key} is a day at most"));
                }
                None => return self.refused(statement, format!("no number of seconds follows {word:?}")),
            }
        }
        self.by_table(statement);
    }
}

/// Our key for a keyword about gratuitous ARP, and whether its value is a time.
pub(super) fn garp(name: &str) -> Option<(&'static str, bool)> {
    Some(match name {
        "garp_master_delay" => ("garp_delay", true),
        "garp_master_repeat" => ("garp_repeat", false),
        "garp_master_refresh" => ("garp_refresh", true),
        "garp_master_refresh_repeat" => ("garp_refresh_repeat", false),
        "garp_lower_prio_delay" => ("garp_lower_priority_delay", true),
        "garp_lower_prio_repeat" => ("garp_lower_priority_repeat", false),
        _ => return None,
    })
}

//! A virtual server's scheduler, forwarding method and persistence.

use std::time::Duration;

use super::{DAY, PERSISTENCE, SCHEDULERS, Service};
use crate::import::document::{Section, Value};
use crate::import::keepalived::translate::{Translation, lasting};
use crate::import::keepalived::tree::Statement;

impl Translation<'_> {
    pub(super) fn scheduler(&mut self, section: &mut Section, block: &Statement, statements: &[&Statement]) {
        let scheduler = match statements.iter().find(|statement| statement.keyword.name == "lb_algo") {
            None => {
                section.assume("scheduler", Value::text("wlc"), block.place(), "keepalived's default");
                self.changed(
                    block,
                    "it has no lb_algo: keepalived reports that and takes wlc, and so does this",
                );
                "wlc".to_owned()
            }
            Some(statement) => {
                let word = statement.word(0).unwrap_or("").to_owned();
                let lower = word.to_ascii_lowercase();
                if !SCHEDULERS.contains(&lower.as_str()) {
                    section.assume(
                        "scheduler",
                        Value::text("wlc"),
                        statement.place(),
                        "keepalived's default",
                    );
                    return self.refused(statement, format!("there is no scheduler {word:?}; wlc is taken"));
                }
                section.set("scheduler", Value::text(&lower), statement.place());
                if lower == word {
                    self.by_table(statement);
                } else {
                    self.changed(
                        statement,
                        "schedulers are written in small letters; keepalived does not find this one",
                    );
                }
                lower
            }
        };
        let mut flags: Vec<String> = Vec::new();
        for statement in statements {
            // include/net/ip_vs.h: the first flag is the fallback, the second the port.
            let flag = match (statement.keyword.name, scheduler.as_str()) {
                (name @ ("sh-port" | "sh-fallback"), "sh") | (name @ ("mh-port" | "mh-fallback"), "mh") => {
                    name.to_owned()
                }
                ("flag-1", "sh" | "mh") => format!("{scheduler}-fallback"),
                ("flag-2", "sh" | "mh") => format!("{scheduler}-port"),
                ("sh-port" | "sh-fallback" | "mh-port" | "mh-fallback" | "flag-1" | "flag-2", _) => {
                    self.refused(
                        statement,
                        format!("it is no flag of {scheduler}; left out, as keepalived does"),
                    );
                    continue;
                }
                _ => continue,
            };
            self.by_table(statement);
            if !flags.contains(&flag) {
                flags.push(flag);
            }
            section.set("scheduler_flags", Value::texts(flags.clone()), statement.place());
        }
    }

    /// The forwarding method of the virtual server.
    pub(super) fn kind<'s>(
        &mut self,
        section: &mut Section,
        service: &mut Service<'s>,
        block: &Statement,
        statements: &[&'s Statement],
    ) {
        match statements.iter().find(|statement| statement.keyword.name == "lb_kind") {
            None => {
                section.assume("forwarding", Value::text("nat"), block.place(), "keepalived's default");
                self.changed(
                    block,
                    "it has no lb_kind: keepalived reports that and takes NAT, and so does this",
                );
            }
            Some(statement) => {
                let Some(method) = self.method(statement) else { return };
                service.forwarding = method;
                section.set("forwarding", Value::text(method), statement.place());
            }
        }
    }

    /// `NAT`, `DR` or `TUN [type ipip|gre|gue port N] [csum]`, reported.
    pub(super) fn method(&mut self, statement: &Statement) -> Option<&'static str> {
        let word = statement.word(0).unwrap_or("");
        let upper = word.to_ascii_uppercase();
        let method = match upper.as_str() {
            "NAT" => "nat",
            "DR" => "dr",
            "TUN" => "tun",
            _ => {
                self.refused(
                    statement,
                    format!("{word:?} is none of NAT, DR and TUN; left out, as keepalived does"),
                );
                return None;
            }
        };
        let options: Vec<_> = statement.words.iter().skip(1).map(|word| word.text.as_str()).collect();
        if upper != word {
            let message = format!(
                "keepalived knows {upper} in capital letters only, and with this forwards by NAT; taken as {upper}, which \
                 is probably meant"
            );
            self.changed(statement, message);
        } else if !options.is_empty()
            && !matches!(options.as_slice(), ["type", "ipip"] | ["type", "ipip", "nocsum"])
        {
            let message = format!(
                "is now forwarding = {method:?}: tunnels are IP in IP, without {}",
                options.join(" ")
            );
            self.refused(statement, message);
        } else {
            self.by_table(statement);
        }
        Some(method)
    }

    pub(super) fn persistence(
        &mut self,
        section: &mut Section,
        service: &Service<'_>,
        block: &Statement,
        statements: &[&Statement],
    ) {
        let find = |name: &str| statements.iter().find(|statement| statement.keyword.name == name).copied();
        let (timeout, granularity) = (find("persistence_timeout"), find("persistence_granularity"));
        match timeout.map(|statement| (statement, statement.word(0))) {
            None => {}
            Some((statement, None)) => {
                section.set("persistence_timeout", lasting(PERSISTENCE), statement.place());
                self.by_table(statement);
            }
            Some((statement, Some("0"))) => {
                self.changed(
                    statement,
                    "0 is no timeout: keepalived reports that, and there is no persistence; left out",
                );
            }
            Some((statement, Some(_))) => {
                let Some(seconds) = self.integer(statement, (1, 2_678_400)) else { return };
                let seconds = u64::try_from(seconds).unwrap_or(DAY);
                let value = lasting(Duration::from_secs(seconds.min(DAY)));
                section.set("persistence_timeout", value, statement.place());
                if seconds > DAY {
                    self.changed(statement, "is now virtual_server.persistence_timeout: a day at most");
                } else {
                    self.by_table(statement);
                }
            }
        }
        let has_timeout = section.get("persistence_timeout").is_some();
        if let Some(statement) = granularity {
            let text = statement.word(0).unwrap_or("");
            section.set("persistence_granularity", Value::text(text), statement.place());
            self.by_table(statement);
        }
        if !has_timeout && (granularity.is_some() || (service.address.is_some() && service.port == 0)) {
            let place = granularity.map_or(block.place(), Statement::place);
            section.assume("persistence_timeout", lasting(PERSISTENCE), place, "keepalived's default");
            let message = match granularity {
                Some(_) => "persistence_granularity without persistence_timeout: keepalived takes 360 s",
                None => "a virtual server without a port is persistent: keepalived takes 360 s",
            };
            self.report.add(crate::import::report::Fate::Changed, place, "persistence_timeout", message);
        }
    }
}

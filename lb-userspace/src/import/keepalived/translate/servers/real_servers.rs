//! `real_server`, `sorry_server`, and the quorum that real servers make.

use std::net::IpAddr;

use super::Service;
use crate::import::document::{Section, Value};
use crate::import::keepalived::translate::Translation;
use crate::import::keepalived::translate::addresses::with_port;
use crate::import::keepalived::tree::Statement;

impl Translation<'_> {
    pub(super) fn real_server<'s>(
        &mut self,
        outer: &mut Section,
        service: &mut Service<'s>,
        block: &'s Statement,
        seen: &mut Vec<(IpAddr, u16)>,
    ) {
        let text = block.word(0).unwrap_or("");
        let Ok(address) = text.parse::<IpAddr>() else {
            self.refused(block, format!("{text:?} is not an address; its whole block is left out"));
            return self.left_out(block);
        };
        let Ok(port) = block.word(1).map_or(Ok(service.port), str::parse::<u16>) else {
            self.refused(block, "its port is not a number; its whole block is left out");
            return self.left_out(block);
        };
        let mut section = Section::new("[[virtual_server.real_server]]", block.place());
        let statements = self.statements(block);
        let kind = statements.iter().find(|statement| statement.keyword.name == "lvs_method").copied();
        let method = kind.and_then(|statement| Some((self.method(statement)?, statement)));
        let before = service.forwarding;
        if let Some((method, _)) = method {
            service.forwarding = method;
        }
        if address.is_ipv6() != service.is_ipv6 && service.forwarding != "tun" {
            service.forwarding = before;
            self.refused(
                block,
                "it is not of the virtual server's address family; its whole block is left out",
            );
            return self.left_out(block);
        }
        let own = self.own_port(service, block, port);
        let port = own.unwrap_or(port);
        if seen.contains(&(address, port)) {
            service.forwarding = before;
            self.changed(block, "it is there already: keepalived removes the second, and so does this");
            return self.left_out(block);
        }
        seen.push((address, port));
        section.set("address", self.shown(service, address, port), block.place());
        service.forwarding = before;
        if let Some((method, statement)) = method {
            section.set("forwarding", Value::text(method), statement.place());
        }
        self.weight_of(&mut section, service, &statements);
        let virtual_host =
            statements.iter().find(|statement| statement.keyword.name == "virtualhost").copied();
        let mut timing = Vec::new();
        for statement in &statements {
            match statement.keyword.name {
                "weight" | "lvs_method" => {}
                "uthreshold" | "lthreshold" => {
                    let Some(number) = self.integer(statement, (0, i64::from(i32::MAX))) else { continue };
                    let key = if statement.keyword.name == "uthreshold" {
                        "upper_threshold"
                    } else {
                        "lower_threshold"
                    };
                    self.set(&mut section, key, Value::Number(number), statement);
                }
                "inhibit_on_failure" | "alpha" => {
                    let Some(flag) = self.flag(statement) else { continue };
                    let key = if statement.keyword.name == "alpha" { "alpha" } else { "inhibit_on_failure" };
                    self.set(&mut section, key, Value::Flag(flag), statement);
                }
                "retry" | "delay_before_retry" | "warmup" | "connect_timeout" | "delay_loop" => {
                    timing.push(*statement);
                    self.by_table(statement);
                }
                "virtualhost" => self.by_table(statement),
                "smtp_alert" => self.checker_alert(statement),
                _ if statement.keyword.block.is_some() => {}
                _ => {
                    if !self.notify(&mut section, statement) {
                        self.by_table(statement);
                    }
                }
            }
        }
        let host = virtual_host.or(service.virtual_host);
        for statement in &statements {
            if statement.keyword.block.is_some() {
                self.checker(&mut section, statement, &timing, host, service.defaults);
            }
        }
        if own.is_none() {
            self.by_table(block);
        }
        outer.inner.push(section);
    }

    fn weight_of(&mut self, section: &mut Section, service: &mut Service<'_>, statements: &[&Statement]) {
        const MOST: i64 = 65_535;
        let own = statements.iter().find(|statement| statement.keyword.name == "weight").copied();
        if let Some(statement) = own
            && let Some(number) = self.integer(statement, (0, i64::MAX))
        {
            self.by_table(statement);
            section.set("weight", Value::Number(number.min(MOST)), statement.place());
            service.weights += number.min(MOST);
            if number > MOST {
                self.changed(statement, format!("a weight is at most {MOST}"));
            }
            return;
        }
        match service.weight {
            Some((number, statement)) => {
                section.set("weight", Value::Number(number.min(MOST)), statement.place());
                service.weights += number.min(MOST);
            }
            None => {
                section.assume("weight", Value::Number(1), section.place, "keepalived's default");
                service.weights += 1;
            }
        }
    }

    /// Only NAT changes the port: keepalived takes the virtual server's instead of another, and so does IPVS.
    fn own_port(&mut self, service: &Service<'_>, statement: &Statement, port: u16) -> Option<u16> {
        if service.forwarding == "nat" || service.address.is_none() || port == service.port {
            return None;
        }
        let message = format!(
            "forwarding by {} cannot change the port: {}, as keepalived takes it",
            service.forwarding, service.port
        );
        self.changed(statement, message);
        Some(service.port)
    }

    /// With a group a real server has the port that the client used, unless it is translated.
    fn shown(&self, service: &Service<'_>, address: IpAddr, port: u16) -> Value {
        if port == 0 || (service.address.is_none() && service.forwarding != "nat") {
            return Value::text(if address.is_ipv6() { format!("[{address}]") } else { address.to_string() });
        }
        Value::text(with_port(address, port))
    }

    pub(super) fn sorry_server(
        &mut self,
        section: &mut Section,
        service: &Service<'_>,
        statements: &[&Statement],
    ) {
        let Some(statement) = statements.iter().find(|statement| statement.keyword.name == "sorry_server")
        else {
            return;
        };
        let Ok(address) = statement.word(0).unwrap_or("").parse::<IpAddr>() else {
            return self.refused(statement, "it is not an address; left out, as keepalived does");
        };
        let port = statement.word(1).map_or(Ok(service.port), str::parse::<u16>);
        let Ok(port) = port else { return self.refused(statement, "its port is not a number; left out") };
        let own = self.own_port(service, statement, port);
        section.set("sorry_server", self.shown(service, address, own.unwrap_or(port)), statement.place());
        if own.is_none() {
            self.by_table(statement);
        }
    }

    /// keepalived lowers a quorum that can never be reached (`validate_check_config`).
    pub(super) fn quorum(&mut self, section: &mut Section, service: &Service<'_>, statements: &[&Statement]) {
        let find = |name: &str| statements.iter().find(|statement| statement.keyword.name == name).copied();
        let mut quorum = 1;
        if let Some(statement) = find("quorum")
            && let Some(number) = self.integer(statement, (1, i64::from(u32::MAX)))
        {
            quorum = number;
            if number > service.weights && service.weights > 0 {
                quorum = service.weights;
                let message = format!("the weights sum up to {quorum}: taken as that, as keepalived does");
                self.changed(statement, message);
                section.set("quorum", Value::Number(quorum), statement.place());
            } else {
                self.set(section, "quorum", Value::Number(quorum), statement);
            }
        }
        if let Some(statement) = find("hysteresis")
            && let Some(number) = self.integer(statement, (0, i64::from(u32::MAX)))
        {
            if number >= quorum {
                let message =
                    format!("it must be less than the quorum: {}, as keepalived takes it", quorum - 1);
                self.changed(statement, message);
                section.set("hysteresis", Value::Number(quorum - 1), statement.place());
            } else {
                self.set(section, "hysteresis", Value::Number(number), statement);
            }
        }
    }
}

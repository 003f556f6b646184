//! `virtual_server`, `virtual_server_group` and `real_server`.

use std::net::IpAddr;
use std::time::Duration;

use super::addresses::{ranges, with_port};
use super::checks::Defaults;
use super::{Translation, lasting};
use crate::import::document::{Section, Value};
use crate::import::keepalived::tree::Statement;

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
}

impl Translation<'_> {
    pub(super) fn group(&mut self, block: &Statement) {
        let mut section = Section::new("[[virtual_server_group]]", block.place());
        let name = block.word(0).unwrap_or("").to_owned();
        section.set("name", Value::text(&name), block.place());
        let mut addresses = Vec::new();
        let mut is_ipv6 = None;
        for entry in &block.block {
            let text = entry.word(0).unwrap_or("");
            if text == "fwmark" {
                self.refused(
                    entry,
                    "firewall marks are not supported: name the addresses and ports that are marked",
                );
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
        self.group_families.push((name, is_ipv6 == Some(true)));
        section.set("addresses", Value::texts(addresses), block.place());
        self.by_table(block);
        self.groups.push(section);
    }

    fn form(&mut self, block: &Statement) -> Option<Form> {
        let first = block.word(0).unwrap_or("");
        match (first, block.word(1)) {
            ("fwmark", _) => {
                let message = "firewall marks are not supported: name the marked addresses and ports in a \
                               virtual_server_group and write `virtual_server group NAME`; its whole block is left out";
                self.refused(block, message);
                None
            }
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
                let Some((_, is_ipv6)) = self.group_families.iter().find(|(group, _)| group == name) else {
                    self.refused(
                        block,
                        format!("there is no virtual_server_group {name:?}; its whole block is left out"),
                    );
                    return self.left_out(block);
                };
                service.is_ipv6 = *is_ipv6;
                section.set("group", Value::text(name), block.place());
            }
        }
        let statements = self.statements(block);
        if !statements.iter().any(|statement| statement.keyword.name == "real_server") {
            self.changed(block, "it has no real_server: keepalived leaves it out, and so does this");
            return self.left_out(block);
        }
        let Some(protocol) = self.protocol(&mut section, block, &statements) else {
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
        statements: &[&Statement],
    ) -> Option<&'static str> {
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

    fn scheduler(&mut self, section: &mut Section, block: &Statement, statements: &[&Statement]) {
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
    fn kind<'s>(
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
    fn method(&mut self, statement: &Statement) -> Option<&'static str> {
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

    fn persistence(
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

    /// keepalived lowers a quorum that can never be reached (`validate_check_config`).
    fn quorum(&mut self, section: &mut Section, service: &Service<'_>, statements: &[&Statement]) {
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

    fn sorry_server(&mut self, section: &mut Section, service: &Service<'_>, statements: &[&Statement]) {
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

    /// With a group a real server has the port that the client used, unless it is translated.
    fn shown(&self, service: &Service<'_>, address: IpAddr, port: u16) -> Value {
        if port == 0 || (service.address.is_none() && service.forwarding != "nat") {
            return Value::text(if address.is_ipv6() { format!("[{address}]") } else { address.to_string() });
        }
        Value::text(with_port(address, port))
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

    fn real_server<'s>(
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
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Form::Address(address, port) => f.write_str(&with_port(*address, port.unwrap_or(0))),
            Form::Group(name) => write!(f, "group {name}"),
        }
    }
}

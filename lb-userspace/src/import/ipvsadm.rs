//! Rules as `ipvsadm -S` prints them, made into our configuration.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::accept::{Imported, accept};
use super::document::{Section, Value};
use super::marks::{Marks, group_name};
use super::report::{Fate, Place, Report, Source};
use crate::ipvsadm::{
    self, Command, Forwarding, Granularity, Names, Server, Service, ServiceKey, Transport, Tunnel, UsageError,
};

/// The most that persistence lasts here, in seconds.
const DAY: u32 = 86_400;
const MAX_WEIGHT: u32 = 65_535;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `-A`.
    Service(Service),
    /// `-a`.
    Server(ServiceKey, Server),
    /// `--set`, as `lbctl save` prints it: seconds of TCP, of TCP after a FIN, of UDP; 0 for the default.
    Timeouts([u32; 3]),
}

/// Why a line is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRule {
    /// ipvsadm would not take it either.
    #[error("{0}")]
    Usage(#[from] UsageError),
    /// It is another command.
    #[error("it is neither -A, -a nor --set; a saved table has no others")]
    Other,
}

/// Reads one line of `ipvsadm -S`. `None` for a line with nothing but a comment.
///
/// # Errors
///
/// It is no command that adds something.
pub fn parse_rule(line: &str, names: &dyn Names) -> Result<Option<Rule>, NoRule> {
    // As ipvsadm-restore, which leaves out lines that begin with #.
    if line.trim_start().starts_with('#') {
        return Ok(None);
    }
    let words = ipvsadm::words(line);
    if words.is_empty() {
        return Ok(None);
    }
    match ipvsadm::parse(&words, names)? {
        Command::AddService(service) => Ok(Some(Rule::Service(service))),
        Command::AddServer(key, server) => Ok(Some(Rule::Server(key, server))),
        Command::SetTimeouts { tcp, tcp_fin, udp } => Ok(Some(Rule::Timeouts([tcp, tcp_fin, udp]))),
        Command::EditService(_)
        | Command::DeleteService(_)
        | Command::Clear
        | Command::EditServer(..)
        | Command::DeleteServer(..)
        | Command::List(_)
        | Command::Zero(_)
        | Command::StartDaemon(_)
        | Command::StopDaemon(_)
        | Command::Restore
        | Command::Save { .. }
        | Command::Help
        | Command::Version => Err(NoRule::Other),
    }
}

/// Imports the rules in the file at `path`; `-` is standard input. `marks` are the firewall's rules that set marks.
///
/// # Errors
///
/// It cannot be read.
pub fn import(
    path: &Path,
    interfaces: &[String],
    marks: &[Source],
    names: &dyn Names,
) -> std::io::Result<Imported> {
    let (name, text) = if path.as_os_str() == "-" {
        ("standard input".to_owned(), std::io::read_to_string(std::io::stdin())?)
    } else {
        (path.display().to_string(), std::fs::read_to_string(path)?)
    };
    Ok(import_text(&name, &text, interfaces, marks, names))
}

/// Imports rules; `name` is for messages.
pub fn import_text(
    name: &str,
    text: &str,
    interfaces: &[String],
    marks: &[Source],
    names: &dyn Names,
) -> Imported {
    let mut report = Report::default();
    report.sources.push(Source { name: name.to_owned(), text: text.to_owned() });
    let marks = Marks::of(marks, &mut report);
    let mut import = Import { report, marks, groups: Vec::new(), services: Vec::new(), timeouts: Vec::new() };
    for (number, line) in (1..).zip(text.lines()) {
        let place = Place { file: 0, line: number, column: 1 };
        match parse_rule(line, names) {
            Ok(None) => {}
            Ok(Some(Rule::Service(service))) => import.service(&service, line, place),
            Ok(Some(Rule::Server(key, server))) => import.server(key, &server, line, place),
            Ok(Some(Rule::Timeouts(seconds))) => import.timeouts(seconds, line, place),
            Err(problem) => import.report.add(Fate::NotSupported, place, line.trim(), problem.to_string()),
        }
    }
    import.finish(interfaces)
}

/// A virtual server in the making.
#[derive(Debug)]
struct Found {
    key: ServiceKey,
    section: Section,
    /// It was reported; its real servers go with it.
    is_refused: bool,
    has_server: bool,
}

#[derive(Debug)]
struct Import {
    report: Report,
    marks: Marks,
    groups: Vec<Section>,
    services: Vec<Found>,
    timeouts: Vec<(&'static str, Value, Place)>,
}

impl Import {
    fn service(&mut self, service: &Service, line: &str, place: Place) {
        let mut section = Section::new("[[virtual_server]]", place);
        let named =
            self.why_not(service).map_or(Ok(()), Err).and_then(|()| self.named(service, &mut section));
        let is_refused = named.is_err();
        if let Err(why) = named {
            self.report.add(Fate::NotSupported, place, line.trim(), why);
        } else {
            section.set("scheduler", Value::text(&service.scheduler), place);
            let flags = service.flags.names(&service.scheduler);
            if !flags.is_empty() {
                section.set("scheduler_flags", Value::texts(flags), place);
            }
            let mut changes = Vec::new();
            if let Some(seconds) = service.persistent {
                if seconds > DAY {
                    changes.push("persistence lasts a day at most");
                }
                let timeout = Duration::from_secs(seconds.min(DAY).into());
                let text = humantime::format_duration(timeout).to_string();
                section.set("persistence_timeout", Value::text(text), place);
                match service.granularity {
                    Some(Granularity::Mask(mask)) if mask != std::net::Ipv4Addr::BROADCAST => {
                        section.set("persistence_granularity", Value::text(mask.to_string()), place);
                    }
                    Some(Granularity::Prefix(length)) if length != 128 => {
                        section.set("persistence_granularity", Value::Number(length.into()), place);
                    }
                    Some(Granularity::Mask(_) | Granularity::Prefix(_)) | None => {}
                }
            }
            if service.one_packet {
                section.set("one_packet", Value::Flag(true), place);
            }
            if changes.is_empty() {
                self.report.add(Fate::Taken, place, line.trim(), "[[virtual_server]]");
            }
            for change in changes {
                self.report.add(Fate::Changed, place, line.trim(), change);
            }
        }
        self.services.push(Found { key: service.key, section, is_refused, has_server: false });
    }

    /// What keeps a virtual server from being served.
    fn why_not(&self, service: &Service) -> Option<String> {
        let why = if self.services.iter().any(|found| found.key == service.key) {
            "there is a virtual server of this address already"
        } else if let ServiceKey::Address(Transport::Sctp, _) = service.key {
            "SCTP is passed to the kernel and not balanced"
        } else if service.persistence_engine.is_some() {
            "persistence is by the client's address; SIP calls are not recognised"
        } else {
            return None;
        };
        Some(why.to_owned())
    }

    /// Gives a virtual server its address or its group.
    fn named(&mut self, service: &Service, section: &mut Section) -> Result<(), String> {
        let place = section.place;
        let transport = match service.key {
            ServiceKey::Address(transport, address) => {
                section.set("address", Value::text(address.to_string()), place);
                transport
            }
            ServiceKey::Fwmark { mark, ipv6 } => {
                let marked = self.marks.find(mark, ipv6, &mut self.report)?;
                let name = group_name(mark, ipv6);
                section.set("group", Value::text(&name), place);
                let transport = marked.transport;
                self.groups.push(marked.group(mark, &name, place));
                transport
            }
        };
        section.set("protocol", Value::text(transport.name()), place);
        Ok(())
    }

    fn server(&mut self, key: ServiceKey, server: &Server, line: &str, place: Place) {
        let Some(found) = self.services.iter_mut().find(|found| found.key == key) else {
            let message = "there is no -A for its virtual server before it";
            return self.report.add(Fate::NotSupported, place, line.trim(), message);
        };
        if found.is_refused {
            let message = "its virtual server is not supported";
            return self.report.add(Fate::NotSupported, place, line.trim(), message);
        }
        let (forwarding, why_not) = match server.forwarding {
            Forwarding::DirectRouting => ("dr", None),
            Forwarding::Masquerading => ("nat", None),
            Forwarding::Tunnel(Tunnel::Ipip) => ("tun", None),
            Forwarding::Tunnel(Tunnel::Gue { .. } | Tunnel::Gre { .. }) => {
                ("tun", Some("tunnels are IP in IP here: the real server must take that instead"))
            }
        };
        let mut section = Section::new("[[virtual_server.real_server]]", place);
        let mut address = server.address;
        // IPVS keeps such a port and never uses it.
        let is_idle = matches!(key, ServiceKey::Fwmark { .. }) && forwarding != "nat" && address.port() != 0;
        if is_idle {
            address.set_port(0);
        }
        section.set("address", Value::text(shown(&address)), place);
        section.set("weight", Value::Number(server.weight.min(MAX_WEIGHT).into()), place);
        if found.has_server {
            if found.section.get("forwarding") != Some(&Value::text(forwarding)) {
                section.set("forwarding", Value::text(forwarding), place);
            }
        } else {
            found.section.set("forwarding", Value::text(forwarding), place);
        }
        found.has_server = true;
        if server.upper_threshold > 0 {
            section.set("upper_threshold", Value::Number(server.upper_threshold.into()), place);
        }
        if server.lower_threshold > 0 {
            section.set("lower_threshold", Value::Number(server.lower_threshold.into()), place);
        }
        found.section.inner.push(section);
        match why_not {
            Some(why) => self.report.add(Fate::NotSupported, place, line.trim(), why),
            None if server.weight > MAX_WEIGHT => {
                self.report.add(
                    Fate::Changed,
                    place,
                    line.trim(),
                    format!("a weight is at most {MAX_WEIGHT}"),
                );
            }
            None if is_idle => {
                let message =
                    "its port says nothing with a mark and without -m: it gets the port that the client used";
                self.report.add(Fate::Changed, place, line.trim(), message);
            }
            None => self.report.add(Fate::Taken, place, line.trim(), "[[virtual_server.real_server]]"),
        }
    }

    fn timeouts(&mut self, seconds: [u32; 3], line: &str, place: Place) {
        let mut is_changed = false;
        for (key, seconds) in ["tcp_timeout", "tcp_fin_timeout", "udp_timeout"].into_iter().zip(seconds) {
            if seconds > 0 {
                is_changed |= seconds > DAY;
                let timeout = Duration::from_secs(seconds.min(DAY).into());
                let text = humantime::format_duration(timeout).to_string();
                self.timeouts.push((key, Value::text(text), place));
            }
        }
        match is_changed {
            true => self.report.add(Fate::Changed, place, line.trim(), "a timeout is a day at most"),
            false => self.report.add(Fate::Taken, place, line.trim(), "[director]"),
        }
    }

    fn finish(mut self, interfaces: &[String]) -> Imported {
        let start = Place { file: 0, line: 1, column: 1 };
        let mut director = Section::new("[director]", start);
        if interfaces.is_empty() {
            let message =
                "rules do not say where packets arrive; taken is eth0: name the interfaces with --interface";
            self.report.add(Fate::Changed, start, "interfaces", message);
            director.assume("interfaces", Value::texts(["eth0"]), start, "a guess: rules do not say");
        } else {
            director.assume("interfaces", Value::texts(interfaces), start, "named on the command line");
        }
        let remark = "ipvsadm puts no addresses on the host";
        director.assume("manage_addresses", Value::Flag(false), start, remark);
        for (key, value, place) in self.timeouts {
            director.set(key, value, place);
        }
        let mut sections = vec![director];
        sections.append(&mut self.groups);
        sections
            .extend(self.services.into_iter().filter(|found| !found.is_refused).map(|found| found.section));
        accept(sections, self.report, "lbctl import ipvsadm")
    }
}

/// An address without port 0, which is that of its virtual server.
fn shown(address: &SocketAddr) -> String {
    match (address.port(), address) {
        (0, SocketAddr::V4(v4)) => v4.ip().to_string(),
        (0, SocketAddr::V6(v6)) => format!("[{}]", v6.ip()),
        _ => address.to_string(),
    }
}

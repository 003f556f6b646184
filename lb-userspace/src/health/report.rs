//! What `lbctl list --checks` shows: every check of every real server, as text and as JSON.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::check::{Now, Standing};
use super::core::{CheckEntry, Core, ServerEntry, ServiceEntry};
use super::service;
use super::view::ServerView;
use super::view::census;

#[cfg(test)]
mod tests;

/// JSON schema `lbctl/checks/v1`; docs/checks.md describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// "lbctl/checks/v1".
    pub schema: String,
    /// Whether every check has run at least once.
    pub ready: bool,
    /// The most that a check started late, in seconds, since the director started.
    pub max_delay: f64,
    /// Sorted by address.
    pub virtual_servers: Vec<ServiceRow>,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// "tcp" or "udp".
    pub protocol: String,
    /// VIP; of a group: the first.
    pub address: String,
    /// Port, 0 for any.
    pub port: u16,
    /// "up": it has its quorum; "down": it has not.
    pub state: String,
    /// RFC 3339, UTC.
    pub since: String,
    /// The configured quorum.
    pub quorum: u32,
    /// The sum of the weights of real servers that are up.
    pub weight: u64,
    /// Fewer real servers are up than `min_up` wants, and all are kept in rotation.
    pub panic: bool,
    /// The sorry server, if it serves.
    pub sorry_server: Option<String>,
    /// In the configuration's order.
    pub real_servers: Vec<ServerRow>,
}

/// A real server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerRow {
    /// RIP.
    pub address: String,
    /// Port.
    pub port: u16,
    /// "up" or "down".
    pub state: String,
    /// RFC 3339, UTC.
    pub since: String,
    /// The weight that health allows it: 0 if it is down.
    pub weight: u32,
    /// The configured weight.
    pub configured_weight: u32,
    /// The virtual server's first, then its own.
    pub checks: Vec<CheckRow>,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckRow {
    /// "tcp", "http", …
    #[serde(rename = "type")]
    pub kind: String,
    /// What is asked of whom: "http 192.168.4.100:80/".
    pub check: String,
    /// "up", "down", "unknown" before the first result, or "suspended".
    pub state: String,
    /// Of a change under way: runs that spoke for it, such as 1 of 3.
    pub progress: Option<(u32, u32)>,
    /// RFC 3339, UTC.
    pub since: String,
    /// What was found last: "HTTP 503 in 2 ms".
    pub result: Option<String>,
    /// How long that took, in seconds.
    pub latency: Option<f64>,
    /// When that was, in seconds before the report.
    pub age: Option<f64>,
}

/// Everything at this moment.
pub(super) fn of(core: &Core, now: Now) -> Report {
    let clock = SystemTime::now();
    let rows = core.services.values().map(|service| service_row(core, service, now, clock));
    Report {
        schema: "lbctl/checks/v1".to_owned(),
        ready: core.is_ready(),
        max_delay: core.max_delay().as_secs_f64(),
        virtual_servers: rows.collect(),
    }
}

fn at(since: Now, now: Now, clock: SystemTime) -> String {
    let then = clock.checked_sub(now.saturating_sub(since)).unwrap_or(SystemTime::UNIX_EPOCH);
    humantime::format_rfc3339_seconds(then).to_string()
}

fn up_down(up: bool) -> String {
    if up { "up" } else { "down" }.to_owned()
}

fn service_row(core: &Core, service: &ServiceEntry, now: Now, clock: SystemTime) -> ServiceRow {
    let config = &service.config;
    let views: Vec<ServerView> = service.views().collect();
    let census = census(config, views.iter().copied());
    let panic = service::panics(&config.health, census);
    let sorry = config.health.sorry_server.as_ref().filter(|_| !service.has_quorum);
    let rows = config.real_servers.iter().filter_map(|real| {
        let entry = service.servers.get(&super::view::server_key(real))?;
        let is_kept = panic && entry.state.was_up();
        let in_rotation = sorry.is_none() && (entry.state.is_up() || is_kept);
        Some(server_row(core, entry, in_rotation, now, clock))
    });
    ServiceRow {
        protocol: config.protocol.to_string(),
        address: config.address.to_string(),
        port: config.port,
        state: up_down(service.has_quorum),
        since: at(service.since, now, clock),
        quorum: config.health.quorum,
        weight: census.weight,
        panic: panic && sorry.is_none(),
        sorry_server: sorry.map(ToString::to_string),
        real_servers: rows.collect(),
    }
}

fn server_row(core: &Core, entry: &ServerEntry, in_rotation: bool, now: Now, clock: SystemTime) -> ServerRow {
    let checks = entry.checks.iter().filter_map(|id| core.check(*id));
    ServerRow {
        address: entry.config.address.to_string(),
        port: entry.config.port,
        state: up_down(entry.state.is_up()),
        since: at(entry.since, now, clock),
        weight: if in_rotation { entry.state.share().of(entry.config.weight) } else { 0 },
        configured_weight: entry.config.weight,
        checks: checks.map(|check| check_row(check, now, clock)).collect(),
    }
}

fn check_row(entry: &CheckEntry, now: Now, clock: SystemTime) -> CheckRow {
    let state = match entry.state.standing() {
        _ if entry.state.is_suspended() => "suspended",
        Standing::Unknown => "unknown",
        Standing::Up => "up",
        Standing::Down => "down",
    };
    let last = entry.last.as_ref();
    CheckRow {
        kind: entry.target.check.probe.kind.as_str().to_owned(),
        check: entry.target.check.probe.to_string(),
        state: state.to_owned(),
        progress: entry.state.progress(),
        since: at(entry.since, now, clock),
        result: last.map(|(outcome, _)| outcome.text.clone()),
        latency: last.map(|(outcome, _)| outcome.latency.as_secs_f64()),
        age: last.map(|(_, at)| now.saturating_sub(*at).as_secs_f64()),
    }
}

impl Report {
    /// Keeps one virtual server only.
    pub fn keep(&mut self, endpoint: SocketAddr, protocol: &str) {
        self.virtual_servers.retain(|row| {
            row.address.parse() == Ok(endpoint.ip())
                && row.port == endpoint.port()
                && row.protocol == protocol
        });
    }

    /// Lines for people: a virtual server, its real servers, their checks.
    pub fn text(&self, clock: SystemTime) -> String {
        let mut text = String::new();
        for service in &self.virtual_servers {
            write_service(&mut text, service, clock).unwrap_or_default();
        }
        if text.is_empty() {
            text.push_str("no virtual servers\n");
        }
        text
    }
}

/// "4s", "5m 10s": since when, in the two greatest units.
fn ago(since: &str, clock: SystemTime) -> String {
    let then = humantime::parse_rfc3339(since).unwrap_or(clock);
    let seconds = clock.duration_since(then).unwrap_or(Duration::ZERO).as_secs();
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn write_service(text: &mut String, row: &ServiceRow, clock: SystemTime) -> std::fmt::Result {
    let endpoint = match row.address.contains(':') {
        true => format!("[{}]:{}", row.address, row.port),
        false => format!("{}:{}", row.address, row.port),
    };
    let protocol = row.protocol.to_uppercase();
    let state = row.state.to_uppercase();
    write!(
        text,
        "{protocol}  {endpoint} {state} for {}, weight {} of {}",
        ago(&row.since, clock),
        row.weight,
        row.quorum
    )?;
    if let Some(sorry) = &row.sorry_server {
        write!(text, ", sorry server {sorry} serves")?;
    }
    if row.panic {
        write!(text, ", too few are up: all are kept in rotation")?;
    }
    writeln!(text)?;
    for server in &row.real_servers {
        write_server(text, server, clock)?;
    }
    Ok(())
}

fn write_server(text: &mut String, row: &ServerRow, clock: SystemTime) -> std::fmt::Result {
    let endpoint = match row.address.contains(':') {
        true => format!("[{}]:{}", row.address, row.port),
        false => format!("{}:{}", row.address, row.port),
    };
    let weight = match row.weight == row.configured_weight {
        true => format!("{}", row.weight),
        false => format!("{} of {}", row.weight, row.configured_weight),
    };
    let state = row.state.to_uppercase();
    writeln!(text, "  -> {endpoint:<28} {state:<4} for {:<12} weight {weight}", ago(&row.since, clock))?;
    for check in &row.checks {
        let state = match check.progress {
            Some((done, needed)) => format!("{} {done}/{needed}", check.state.to_uppercase()),
            None => check.state.to_uppercase(),
        };
        let result = check.result.as_deref().unwrap_or("no result yet");
        writeln!(text, "       {state:<9} {:<34} {result}", check.check)?;
    }
    if row.checks.is_empty() {
        writeln!(text, "       no checks: taken as healthy")?;
    }
    Ok(())
}

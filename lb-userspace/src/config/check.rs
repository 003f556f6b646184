//! From what was typed to what is meant: the file as a whole and the director. `check_servers` has the rest.
//!
//! Each function reports all it finds and returns `None` if its part cannot be made.

use std::collections::HashMap;

use super::check_servers::virtual_server;
use super::diagnostics::{Report, Span, quoted};
use super::model::{Director, VirtualServer};
use super::raw::{Field, RawConfig, RawDirector, RawVirtualServer};
use super::scheduling::{Places, connection_rules, fit, groups, marks_name_one};
use super::values::flag;
use super::vrrp::{self, Vrrp};
use super::words::word;

const DEFAULT_MAX_CONNECTIONS: u32 = 1_000_000;
const MIN_MAX_CONNECTIONS: u32 = 1024;
/// A quarter of the other minimum, because a quarter is the default.
const MIN_MAX_CONNECTIONS_IPV6: u32 = MIN_MAX_CONNECTIONS / 4;
const MAX_MAX_CONNECTIONS: u32 = 64_000_000;
const DEFAULT_MAX_FULL_NAT: u32 = 65_536;
/// A lease's place is a number of 26 bits, and there are two places for each.
const MAX_MAX_FULL_NAT: u32 = 1 << 25;
const MAX_INTERFACES: usize = 16;
/// `IFNAMSIZ` without the final zero.
const MAX_INTERFACE_NAME: usize = 15;
const MAX_ROUTER_ID: usize = 64;
const MAX_VIRTUAL_SERVERS: usize = 65_535;
const MAX_REAL_SERVERS: usize = 65_536;

/// Checks a file. `host_name` is asked only if the file does not set `router_id`.
pub(super) fn check(
    raw: RawConfig,
    host_name: fn() -> Option<String>,
    report: &mut Report,
) -> Option<(Director, Vec<VirtualServer>, Vrrp)> {
    let vrrp_alone = raw.vrrp.has_instances && !raw.has_virtual_servers;
    let director = director(raw.director, vrrp_alone, host_name, report);
    if !raw.has_virtual_servers && !vrrp_alone {
        report.warning(
            &(0..0),
            "virtual_server",
            "there is none: nothing will be forwarded",
            "add a [[virtual_server]]",
        );
    }
    totals(&raw.virtual_servers, report);
    let groups = groups(raw.groups, report);
    marks_name_one(&raw.virtual_servers, &groups, report);
    let mut seen = HashMap::new();
    let place = |raw: &RawVirtualServer| Places::new(&raw.scheduling.sources, &raw.path);
    let places: Vec<_> = raw.virtual_servers.iter().map(place).collect();
    let virtual_servers: Vec<_> =
        raw.virtual_servers.into_iter().map(|raw| virtual_server(raw, &groups, &mut seen, report)).collect();
    fit(&virtual_servers, &places, report);
    let readable: Vec<VirtualServer> = virtual_servers.iter().flatten().cloned().collect();
    let vrrp = vrrp::check(raw.vrrp, director.as_ref(), &readable, report);
    Some((director?, virtual_servers.into_iter().collect::<Option<_>>()?, vrrp))
}

fn director(
    raw: RawDirector,
    vrrp_alone: bool,
    host_name: fn() -> Option<String>,
    report: &mut Report,
) -> Option<Director> {
    let router_id = router_id(raw.router_id, &raw.span, host_name, report);
    let interfaces = match raw.interfaces {
        // Nothing is balanced, so nothing is attached.
        Field::Absent if vrrp_alone => Some(Vec::new()),
        field @ (Field::Absent | Field::Refused | Field::Given(..)) => interfaces(field, &raw.span, report),
    };
    let xdp_mode = word(&raw.xdp_mode, "director.xdp_mode", report);
    let range = (MIN_MAX_CONNECTIONS, MAX_MAX_CONNECTIONS);
    let max_connections =
        number(&raw.max_connections, "director.max_connections", range, DEFAULT_MAX_CONNECTIONS, report);
    let range = (MIN_MAX_CONNECTIONS_IPV6, MAX_MAX_CONNECTIONS);
    let default = max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS) / 4;
    let max_connections_ipv6 =
        number(&raw.max_connections_ipv6, "director.max_connections_ipv6", range, default, report);
    let max_full_nat_connections = number(
        &raw.max_full_nat_connections,
        "director.max_full_nat_connections",
        (MIN_MAX_CONNECTIONS_IPV6, MAX_MAX_FULL_NAT),
        DEFAULT_MAX_FULL_NAT,
        report,
    );
    let manage_addresses = flag(&raw.manage_addresses, true);
    let connection_rules = connection_rules(&raw.connection_rules, report);
    Some(Director {
        router_id: router_id?,
        interfaces: interfaces?,
        xdp_mode: xdp_mode?,
        max_connections: max_connections?,
        max_connections_ipv6: max_connections_ipv6?,
        max_full_nat_connections: max_full_nat_connections?,
        manage_addresses: manage_addresses?,
        connection_rules: connection_rules?,
    })
}

fn router_id(
    field: Field<String>,
    section: &Span,
    host_name: fn() -> Option<String>,
    report: &mut Report,
) -> Option<String> {
    const KEY: &str = "director.router_id";
    match field {
        Field::Refused => None,
        Field::Absent => {
            let name = host_name();
            if name.is_none() {
                let message = "is not set, and the host name cannot be read";
                report.error(section, KEY, message, "write router_id = \"lvs1\" under [director]");
            }
            name
        }
        Field::Given(name, span) => {
            let message = if name.is_empty() {
                "is empty".to_owned()
            } else if name.len() > MAX_ROUTER_ID {
                format!("{} has {} bytes", quoted(&name), name.len())
            } else if name.chars().any(char::is_control) {
                format!("{} has control characters", quoted(&name))
            } else {
                return Some(name);
            };
            report.error(
                &span,
                KEY,
                message,
                "write a printable name of 1 to 64 bytes, or remove it to use the host name",
            );
            None
        }
    }
}

fn interfaces(field: Field<Vec<Field<String>>>, section: &Span, report: &mut Report) -> Option<Vec<String>> {
    const KEY: &str = "director.interfaces";
    let (fields, span) = match field {
        Field::Refused => return None,
        Field::Absent => {
            let help = "write interfaces = [\"eth0\"] under [director]; `ip -br link` lists the interfaces";
            report.error(section, KEY, "is missing", help);
            return None;
        }
        Field::Given(fields, span) => (fields, span),
    };
    if fields.is_empty() {
        let help =
            "name the interfaces that packets for the virtual servers arrive on; `ip -br link` lists them";
        report.error(&span, KEY, "is empty", help);
    }
    if fields.len() > MAX_INTERFACES {
        let message = format!("has {} interfaces", fields.len());
        report.error(&span, KEY, message, format!("name at most {MAX_INTERFACES}"));
    }
    let mut names: Vec<String> = Vec::with_capacity(fields.len());
    let mut places: HashMap<String, Span> = HashMap::new();
    for (index, field) in fields.into_iter().enumerate() {
        let Field::Given(name, span) = field else { continue };
        let key = format!("{KEY}[{index}]");
        if let Some(problem) = interface_name_problem(&name) {
            let message = format!("{} is not an interface name: {problem}", quoted(&name));
            report.error(&span, key, message, "correct it; `ip -br link` lists the interfaces");
        } else if let Some(first) = places.get(&name) {
            report
                .error(&span, key, format!("{} is listed twice", quoted(&name)), "remove one of the two")
                .label("again here")
                .related(first, "first listed here");
        } else {
            places.insert(name.clone(), span);
            names.push(name);
        }
    }
    Some(names)
}

/// The rules of the kernel's `dev_valid_name` (net/core/dev.c).
pub(super) fn interface_name_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > MAX_INTERFACE_NAME {
        Some("it has more than 15 bytes")
    } else if name == "." || name == ".." {
        Some("it is a directory")
    } else if name.contains(['/', ':']) {
        Some("it has a slash or a colon")
    } else if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Some("it has a space or a control character")
    } else {
        None
    }
}

/// An integer in a range, or its default if the key is absent.
pub(super) fn number(
    field: &Field<i128>,
    key: &str,
    (min, max): (u32, u32),
    default: u32,
    report: &mut Report,
) -> Option<u32> {
    let (value, span) = match field {
        Field::Absent => return Some(default),
        Field::Refused => return None,
        Field::Given(value, span) => (value, span),
    };
    if let Some(number) = u32::try_from(*value).ok().filter(|number| (min..=max).contains(number)) {
        return Some(number);
    }
    let text = report.text(span);
    let shown = if text.len() <= 40 { text } else { "the number" };
    report.error(
        span,
        key,
        format!("{shown} is out of range"),
        format!("write a number from {min} to {max}"),
    );
    None
}

/// Reports a file that has more servers than the datapath's tables hold.
fn totals(virtual_servers: &[RawVirtualServer], report: &mut Report) {
    if let Some(first) = virtual_servers.get(MAX_VIRTUAL_SERVERS) {
        let message = format!("there are {} virtual servers", virtual_servers.len());
        report.error(
            &first.span,
            &first.path,
            message,
            format!("remove all after the first {MAX_VIRTUAL_SERVERS}"),
        );
    }
    let mut all = virtual_servers.iter().flat_map(|server| &server.real_servers);
    if let Some(first) = all.nth(MAX_REAL_SERVERS) {
        let message = format!("there are {} real servers", MAX_REAL_SERVERS + 1 + all.count());
        let help =
            format!("remove all after the first {MAX_REAL_SERVERS}; each counts once per virtual server");
        report.error(&first.span, &first.path, message, help);
    }
}

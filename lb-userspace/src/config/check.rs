//! From what was typed to what is meant: ranges, addresses, and what must hold between them.
//!
//! Each function reports all it finds and returns `None` if its part cannot be made.

use std::collections::HashMap;
use std::net::IpAddr;

use super::address::{self, Problem, Written};
use super::diagnostics::{Report, Span, quoted};
use super::model::{Director, Forwarding, Protocol, RealServer, Scheduler, VirtualServer};
use super::raw::{Field, RawConfig, RawDirector, RawRealServer, RawVirtualServer};
use super::schema::{REAL_SERVER, Section, VIRTUAL_SERVER};
use super::words::word;

const DEFAULT_MAX_CONNECTIONS: u32 = 1_000_000;
const MIN_MAX_CONNECTIONS: u32 = 1024;
/// A quarter of the other minimum, because a quarter is the default.
const MIN_MAX_CONNECTIONS_IPV6: u32 = MIN_MAX_CONNECTIONS / 4;
const MAX_MAX_CONNECTIONS: u32 = 64_000_000;
const MAX_INTERFACES: usize = 16;
/// `IFNAMSIZ` without the final zero.
const MAX_INTERFACE_NAME: usize = 15;
const MAX_ROUTER_ID: usize = 64;
const MAX_VIRTUAL_SERVERS: usize = 65_535;
const MAX_REAL_SERVERS: usize = 65_536;
const MAX_WEIGHT: u32 = 65_535;
/// Steps of the wrr sequence that the datapath holds for one virtual server.
const MAX_WRR_STEPS: u64 = 65_536;

/// Checks a file. `host_name` is asked only if the file does not set `router_id`.
pub(super) fn check(
    raw: RawConfig,
    host_name: fn() -> Option<String>,
    report: &mut Report,
) -> Option<(Director, Vec<VirtualServer>)> {
    let director = director(raw.director, host_name, report);
    if !raw.has_virtual_servers {
        report.warning(
            &(0..0),
            "virtual_server",
            "there is none: nothing will be forwarded",
            "add a [[virtual_server]]",
        );
    }
    totals(&raw.virtual_servers, report);
    let mut seen = HashMap::new();
    let virtual_servers: Vec<_> =
        raw.virtual_servers.into_iter().map(|raw| virtual_server(raw, &mut seen, report)).collect();
    Some((director?, virtual_servers.into_iter().collect::<Option<_>>()?))
}

fn director(raw: RawDirector, host_name: fn() -> Option<String>, report: &mut Report) -> Option<Director> {
    let router_id = router_id(raw.router_id, &raw.span, host_name, report);
    let interfaces = interfaces(raw.interfaces, &raw.span, report);
    let xdp_mode = word(&raw.xdp_mode, "director.xdp_mode", report);
    let range = (MIN_MAX_CONNECTIONS, MAX_MAX_CONNECTIONS);
    let max_connections =
        number(&raw.max_connections, "director.max_connections", range, DEFAULT_MAX_CONNECTIONS, report);
    let range = (MIN_MAX_CONNECTIONS_IPV6, MAX_MAX_CONNECTIONS);
    let default = max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS) / 4;
    let max_connections_ipv6 =
        number(&raw.max_connections_ipv6, "director.max_connections_ipv6", range, default, report);
    let manage_addresses = match raw.manage_addresses {
        Field::Absent => Some(true),
        Field::Refused => None,
        Field::Given(value, _) => Some(value),
    };
    Some(Director {
        router_id: router_id?,
        interfaces: interfaces?,
        xdp_mode: xdp_mode?,
        max_connections: max_connections?,
        max_connections_ipv6: max_connections_ipv6?,
        manage_addresses: manage_addresses?,
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
fn interface_name_problem(name: &str) -> Option<&'static str> {
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

fn number(
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

/// What a virtual server is known by.
type Identity = (IpAddr, u16, Protocol);

fn virtual_server(
    raw: RawVirtualServer,
    seen: &mut HashMap<Identity, Span>,
    report: &mut Report,
) -> Option<VirtualServer> {
    let key = |name: &str| format!("{}.{name}", raw.path);
    let protocol: Option<Protocol> = word(&raw.protocol, &key("protocol"), report);
    let scheduler: Option<Scheduler> = word(&raw.scheduler, &key("scheduler"), report);
    let forwarding: Option<Forwarding> = word(&raw.forwarding, &key("forwarding"), report);
    let endpoint = written(&raw.address, &raw.path, &raw.span, &VIRTUAL_SERVER, report);
    let endpoint = endpoint.and_then(|(written, span)| match written.port {
        Some(port) => Some((written.address, port, span)),
        None => {
            let message = format!("{} has no port", written.address);
            let (one, any) =
                (address::with_port(written.address, 80), address::with_port(written.address, 0));
            let help = format!("write \"{one}\" for one port or \"{any}\" for every port");
            report.error(&span, key("address"), message, help);
            None
        }
    });
    if let (Some((ip, port, span)), Some(protocol)) = (&endpoint, protocol) {
        if let Some(first) = seen.get(&(*ip, *port, protocol)) {
            let message =
                format!("virtual server {}/{protocol} is listed twice", address::with_port(*ip, *port));
            let help = "remove one of the two, or put all real servers under one";
            report
                .error(span, key("address"), message, help)
                .label("again here")
                .related(first, "first listed here");
        } else {
            seen.insert((*ip, *port, protocol), span.clone());
        }
    }
    let vip = endpoint.as_ref().map(|(ip, port, _)| (*ip, *port));
    let mut places = HashMap::new();
    let mut real_servers = Vec::with_capacity(raw.real_servers.len());
    for server in &raw.real_servers {
        real_servers.push(real_server(server, vip, &mut places, report));
    }
    warn(&raw, scheduler, &real_servers, report);
    let (address, port) = vip?;
    Some(VirtualServer {
        address,
        port,
        protocol: protocol?,
        scheduler: scheduler?,
        forwarding: forwarding?,
        real_servers: real_servers.into_iter().collect::<Option<_>>()?,
    })
}

/// The address of a server: there, readable and unicast.
fn written<'f>(
    field: &'f Field<String>,
    path: &str,
    header: &Span,
    section: &Section,
    report: &mut Report,
) -> Option<(Written, Span)> {
    let key = format!("{path}.address");
    let (text, span): (&'f str, _) = match field {
        Field::Refused => return None,
        Field::Absent => {
            let example = section.find("address").map_or("", |key| key.example);
            report.error(header, key, "is missing", format!("write {example} under {}", section.header));
            return None;
        }
        Field::Given(text, span) => (text, span.clone()),
    };
    match address::parse(text).and_then(|written| address::unicast(written.address).map(|()| written)) {
        Ok(written) => Some((written, span)),
        Err(Problem { message, help }) => {
            report.error(&span, key, message, help);
            None
        }
    }
}

fn real_server(
    raw: &RawRealServer,
    vip: Option<(IpAddr, u16)>,
    places: &mut HashMap<IpAddr, Span>,
    report: &mut Report,
) -> Option<RealServer> {
    let key = format!("{}.address", raw.path);
    let weight = number(&raw.weight, &format!("{}.weight", raw.path), (0, MAX_WEIGHT), 1, report);
    let (written, span) = written(&raw.address, &raw.path, &raw.span, &REAL_SERVER, report)?;
    let ip = written.address;
    let mut is_right = true;
    if let Some(first) = places.get(&ip) {
        report
            .error(&span, &key, format!("real server {ip} is listed twice"), "remove one of the two")
            .label("again here")
            .related(first, "first listed here");
        is_right = false;
    } else {
        places.insert(ip, span.clone());
    }
    let (vip, port) = vip?;
    for Problem { message, help } in against_vip(&written, report.text(&span), vip, port) {
        report.error(&span, &key, message, help);
        is_right = false;
    }
    is_right.then_some(RealServer { address: ip, port, weight: weight? })
}

/// What direct routing does not allow between a real server, `written` as `text` in its quotes, and its virtual
/// server.
fn against_vip(written: &Written, text: &str, vip: IpAddr, port: u16) -> Vec<Problem> {
    let mut problems = Vec::new();
    let ip = written.address;
    let mut add = |message: String, help: String| problems.push(Problem { message, help });
    if ip.is_ipv4() != vip.is_ipv4() {
        let family = |ip: IpAddr| if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        add(
            format!("{ip} is {}, but virtual server {vip} is {}", family(ip), family(vip)),
            format!("write an {} address: direct routing does not translate packets", family(vip)),
        );
    } else if ip == vip {
        add(
            format!("{ip} is the address of the virtual server"),
            "write the server's own address; the virtual server's goes on its `lo` with `lbctl realserver start`"
                .to_owned(),
        );
    }
    if let Some(other) = written.port.filter(|other| *other != port) {
        let own = address::with_port(ip, port);
        let (wanted, help) = if port == 0 {
            ("any port".to_owned(), format!("write \"{ip}\": the server is sent the client's port"))
        } else {
            (format!("port {port}"), format!("write \"{own}\", or let the server listen on port {port}"))
        };
        add(
            format!("port {other} is not the virtual server's {wanted}, and direct routing cannot change it"),
            help,
        );
    }
    if written.bare_ipv6
        && let Some(host) = address::without_port_group(text.trim_matches(['"', '\'']), port)
    {
        add(
            format!("{ip} ends in the virtual server's port, but is an address without a port"),
            format!(
                "write \"{}\", or \"[{ip}]\" if it is the address",
                address::with_port(IpAddr::V6(host), port)
            ),
        );
    }
    problems
}

/// Warns of what is legal but probably not meant. Says nothing about real servers some of which are wrong.
fn warn(
    raw: &RawVirtualServer,
    scheduler: Option<Scheduler>,
    real_servers: &[Option<RealServer>],
    report: &mut Report,
) {
    let key = format!("{}.real_server", raw.path);
    if !raw.has_real_servers {
        let message = "there is none: new connections have nowhere to go";
        report.warning(&raw.span, key, message, "add a [[virtual_server.real_server]]");
        return;
    }
    let Some(weights) = real_servers.iter().map(|s| s.as_ref().map(|s| s.weight)).collect::<Option<Vec<_>>>()
    else {
        return;
    };
    if weights.is_empty() {
        return;
    }
    if weights.iter().all(|weight| *weight == 0) {
        let message = "every weight is 0: new connections have nowhere to go";
        report.warning(&raw.span, key, message, "give at least one real server a weight of 1 or more");
    } else if scheduler == Some(Scheduler::Wrr) {
        let divisor = weights.iter().fold(0, |a, b| gcd(a, *b));
        let steps = weights.iter().map(|weight| u64::from(*weight)).sum::<u64>() / u64::from(divisor.max(1));
        if steps > MAX_WRR_STEPS {
            let message = format!(
                "a round of wrr takes {steps} steps, more than {MAX_WRR_STEPS}: weights will be rounded"
            );
            report.warning(&raw.span, key, message, "use smaller weights of the same proportions");
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

//! From what was typed to what is meant: virtual servers, their real servers, and what must hold between them.

use std::collections::HashMap;
use std::net::IpAddr;

use super::Thresholds;
use super::address::{self, Problem, Written};
use super::check::number;
use super::checks::{ProbeKind, ServerHealth, ServiceHealth};
use super::checks_check::{self, Inherited};
use super::command::command;
use super::diagnostics::{Report, Span};
use super::model::{Forwarding, Protocol, RealServer, Scheduler, UpDown, VirtualServer};
use super::raw::{Field, RawRealServer, RawVirtualServer};
use super::scheduling::{Group, Groups, members, scheduling, thresholds};
use super::schema::{REAL_SERVER, Section, VIRTUAL_SERVER};
use super::words::word;

const MAX_WEIGHT: u32 = 65_535;
/// Steps of the wrr sequence that the datapath holds for one virtual server.
const MAX_WRR_STEPS: u64 = 65_536;

/// What a virtual server is known by.
pub(super) type Identity = (IpAddr, u16, Protocol);

/// Checks one virtual server. `seen` has the places of those before it.
pub(super) fn virtual_server(
    mut raw: RawVirtualServer,
    groups: &Groups,
    seen: &mut HashMap<Identity, Span>,
    report: &mut Report,
) -> Option<VirtualServer> {
    let path = raw.path.clone();
    let key = |name: &str| format!("{path}.{name}");
    let protocol: Option<Protocol> = word(&raw.protocol, &key("protocol"), report);
    let scheduler: Option<Scheduler> = word(&raw.scheduler, &key("scheduler"), report);
    let forwarding: Option<Forwarding> = word(&raw.forwarding, &key("forwarding"), report);
    let quorum_commands = {
        let (up, down) = (std::mem::take(&mut raw.quorum_up), std::mem::take(&mut raw.quorum_down));
        (command(up, &key("quorum_up"), report), command(down, &key("quorum_down"), report))
    };
    let endpoints = endpoints(&raw, groups, report);
    if let (Some(endpoints), Some(protocol)) = (&endpoints, protocol) {
        once(endpoints, protocol, &raw.path, seen, report);
    }
    let vip = endpoints.as_ref().and_then(Endpoints::common);
    let keeps_port = endpoints.as_ref().is_some_and(Endpoints::is_marked);
    let (health, inherited) = checks_check::service(&raw.health, report);
    let sorry_server = sorry_server(&raw, vip, (forwarding, keeps_port), report);
    let mut places = HashMap::new();
    let mut real_servers = Vec::with_capacity(raw.real_servers.len());
    for (index, server) in raw.real_servers.iter_mut().enumerate() {
        let inherited = (forwarding, &inherited, index == 0);
        real_servers.push(real_server(server, (vip, keeps_port), inherited, &mut places, report));
    }
    let family = vip.map(|(address, _)| address.is_ipv4());
    let group = endpoints.as_ref().and_then(|endpoints| endpoints.group.clone());
    let scheduling = scheduling(&raw.scheduling, &raw.path, group, (scheduler, protocol, family), report);
    warn(&raw, scheduler, &real_servers, report);
    let (address, port) = *endpoints?.addresses.first()?;
    let real_servers: Vec<_> = real_servers.into_iter().collect::<Option<_>>()?;
    let health = ServiceHealth { sorry_server: sorry_server?, ..health? };
    checks_check::warn(&raw.health, &health, &real_servers, report);
    Some(VirtualServer {
        address,
        port,
        protocol: protocol?,
        scheduler: scheduler?,
        forwarding: forwarding?,
        scheduling: scheduling?,
        quorum_commands: UpDown { up: quorum_commands.0?, down: quorum_commands.1? },
        real_servers,
        health,
    })
}

/// What a virtual server answers on, and the place that says so.
struct Endpoints {
    /// Sorted; at least one.
    addresses: Vec<(IpAddr, u16)>,
    group: Option<Group>,
    span: Span,
    key: &'static str,
}

impl Endpoints {
    /// The first address, and the port that all have; 0 if they have several.
    fn common(&self) -> Option<(IpAddr, u16)> {
        let (address, port) = *self.addresses.first()?;
        let is_one = self.addresses.iter().all(|(_, other)| *other == port);
        Some((address, if is_one { port } else { 0 }))
    }

    /// Does a firewall mark name it? Its real servers then have the port that the client used, as in IPVS.
    fn is_marked(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.fwmark.is_some())
    }
}

/// `address` or `group`, one of which there must be.
fn endpoints(raw: &RawVirtualServer, groups: &Groups, report: &mut Report) -> Option<Endpoints> {
    let key = |name: &str| format!("{}.{name}", raw.path);
    if let Some((group, span)) = members(&raw.scheduling, &raw.path, groups, report)? {
        if let Field::Given(_, address) = &raw.address {
            let help = "remove it, or add it to the group's `addresses`";
            report.error(address, key("address"), "stands beside a group", help);
            return None;
        }
        return Some(Endpoints {
            addresses: group.addresses.clone(),
            group: Some(group),
            span,
            key: "group",
        });
    }
    let (written, span) = written(&raw.address, &raw.path, &raw.span, &VIRTUAL_SERVER, report)?;
    let Some(port) = written.port else {
        let message = format!("{} has no port", written.address);
        let (one, any) = (address::with_port(written.address, 80), address::with_port(written.address, 0));
        let help = format!("write \"{one}\" for one port or \"{any}\" for every port");
        report.error(&span, key("address"), message, help);
        return None;
    };
    Some(Endpoints { addresses: vec![(written.address, port)], group: None, span, key: "address" })
}

/// Reports an address that another virtual server of the protocol has. `seen` has the places of those before.
fn once(
    endpoints: &Endpoints,
    protocol: Protocol,
    path: &str,
    seen: &mut HashMap<Identity, Span>,
    report: &mut Report,
) {
    for (ip, port) in &endpoints.addresses {
        if let Some(first) = seen.get(&(*ip, *port, protocol)) {
            let message =
                format!("virtual server {}/{protocol} is listed twice", address::with_port(*ip, *port));
            let help = "remove one of the two, or put all real servers under one";
            report
                .error(&endpoints.span, format!("{path}.{}", endpoints.key), message, help)
                .label("again here")
                .related(first, "first listed here");
            return;
        }
        seen.insert((*ip, *port, protocol), endpoints.span.clone());
    }
}

/// The sorry server: as a real server, and reached as the virtual server's `forwarding` says.
fn sorry_server(
    raw: &RawVirtualServer,
    vip: Option<(IpAddr, u16)>,
    (forwarding, keeps_port): (Option<Forwarding>, bool),
    report: &mut Report,
) -> Option<Option<Box<RealServer>>> {
    let (text, span) = match &raw.health.sorry_server {
        Field::Absent => return Some(None),
        Field::Refused => return None,
        Field::Given(text, span) => (text, span),
    };
    let key = format!("{}.sorry_server", raw.path);
    let written = address::parse(text).and_then(|it| address::unicast(it.address).map(|()| it));
    let problems = match (&written, vip, forwarding) {
        (Ok(written), Some((vip, port)), Some(forwarding)) => {
            against_vip(written, report.text(span), vip, port, forwarding)
        }
        (Ok(_), ..) => return None,
        (Err(_), ..) => Vec::new(),
    };
    let is_right = problems.is_empty();
    for Problem { message, help } in problems.into_iter().chain(written.as_ref().err().cloned()) {
        report.error(span, &key, message, help);
    }
    let (written, (_, port), forwarding) = (written.ok()?, vip?, forwarding?);
    let server = RealServer {
        address: written.address,
        port: port_of(&written, port, forwarding, keeps_port),
        weight: 1,
        forwarding,
        commands: UpDown::default(),
        thresholds: Thresholds::default(),
        health: ServerHealth::default(),
    };
    is_right.then(|| Some(Box::new(server)))
}

/// Only in direct routing does the way to a real server lead through its VIP.
fn path_fits(
    health: &ServerHealth,
    forwarding: Forwarding,
    path: &str,
    span: &Span,
    report: &mut Report,
) -> bool {
    let asks = health.checks.iter().any(|check| check.probe.kind == ProbeKind::Path);
    if asks && forwarding != Forwarding::Dr {
        let message = format!("has a path check, but packets get to it by {forwarding}");
        let help = "use another type of check, or direct routing (forwarding = \"dr\")";
        report.error(span, path, message, help);
        return false;
    }
    true
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
    raw: &mut RawRealServer,
    (vip, keeps_port): (Option<(IpAddr, u16)>, bool),
    (inherited, health, is_first): (Option<Forwarding>, &Inherited<'_>, bool),
    places: &mut HashMap<(IpAddr, u16), Span>,
    report: &mut Report,
) -> Option<RealServer> {
    let key = format!("{}.address", raw.path);
    let forwarding = match raw.forwarding {
        Field::Absent => inherited,
        Field::Refused | Field::Given(..) => {
            word(&raw.forwarding, &format!("{}.forwarding", raw.path), report)
        }
    };
    let weight = number(&raw.weight, &format!("{}.weight", raw.path), (0, MAX_WEIGHT), 1, report);
    let commands = {
        let (up, down) = (std::mem::take(&mut raw.notify_up), std::mem::take(&mut raw.notify_down));
        let up = command(up, &format!("{}.notify_up", raw.path), report);
        (up, command(down, &format!("{}.notify_down", raw.path), report))
    };
    let thresholds = thresholds(&raw.thresholds, &raw.path, report);
    let written = written(&raw.address, &raw.path, &raw.span, &REAL_SERVER, report);
    let target =
        written.as_ref().map(|(it, _)| (it.address, it.port.or(vip.map(|(_, port)| port)).unwrap_or(0)));
    let health = checks_check::server(&raw.health, health, target, is_first, &raw.path, report);
    let (written, span) = written?;
    let ip = written.address;
    let mut is_right = true;
    // Where ports are not translated, the address alone tells real servers apart.
    let place = match forwarding {
        Some(forwarding) if forwarding.translates() => {
            (ip, written.port.or(vip.map(|(_, port)| port)).unwrap_or(0))
        }
        _ => (ip, vip.map_or(0, |(_, port)| port)),
    };
    if let Some(first) = places.get(&place) {
        report
            .error(&span, &key, format!("real server {ip} is listed twice"), "remove one of the two")
            .label("again here")
            .related(first, "first listed here");
        is_right = false;
    } else {
        places.insert(place, span.clone());
    }
    let (vip, port) = vip?;
    let forwarding = forwarding?;
    for Problem { message, help } in against_vip(&written, report.text(&span), vip, port, forwarding) {
        report.error(&span, &key, message, help);
        is_right = false;
    }
    let port = port_of(&written, port, forwarding, keeps_port);
    let commands = UpDown { up: commands.0?, down: commands.1? };
    is_right.then_some(RealServer {
        address: ip,
        port,
        weight: weight?,
        forwarding,
        commands,
        thresholds: thresholds?,
        health: health.filter(|health| path_fits(health, forwarding, &raw.path, &raw.span, report))?,
    })
}

/// The port of a server below a virtual server of `port`: one of its own only where ports are translated. With
/// `keeps_port` a server without one has the client's, 0.
fn port_of(written: &Written, port: u16, forwarding: Forwarding, keeps_port: bool) -> u16 {
    let otherwise = if keeps_port { 0 } else { port };
    if forwarding.translates() { written.port.unwrap_or(otherwise) } else { otherwise }
}

/// What a forwarding method does not allow between a real server, `written` as `text` in its quotes, and its virtual
/// server.
fn against_vip(
    written: &Written,
    text: &str,
    vip: IpAddr,
    port: u16,
    forwarding: Forwarding,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let ip = written.address;
    let mut add = |message: String, help: String| problems.push(Problem { message, help });
    let method = match forwarding {
        Forwarding::Dr => "direct routing",
        Forwarding::Nat | Forwarding::FullNat => "address translation",
        Forwarding::Tun => "a tunnel",
    };
    if ip.is_ipv4() != vip.is_ipv4() && forwarding != Forwarding::Tun {
        let family = |ip: IpAddr| if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        let why = match forwarding {
            Forwarding::Dr => "direct routing does not translate packets",
            Forwarding::Nat | Forwarding::Tun | Forwarding::FullNat => "address translation keeps the family",
        };
        add(
            format!("{ip} is {}, but virtual server {vip} is {}", family(ip), family(vip)),
            format!("write an {} address: {why}", family(vip)),
        );
    } else if ip == vip {
        let help = if forwarding.translates() {
            "write the server's own address".to_owned()
        } else {
            "write the server's own address; the virtual server's goes on its `lo` with `lbctl realserver start`"
                .to_owned()
        };
        add(format!("{ip} is the address of the virtual server"), help);
    }
    let other = written.port.filter(|other| *other != port);
    if let Some(other) = other.filter(|_| port == 0) {
        add(
            format!(
                "port {other} under a virtual server of any port, and {method} cannot change ports there"
            ),
            format!("write \"{ip}\": the server is sent the port that the client used"),
        );
    } else if let Some(other) = other.filter(|_| !forwarding.translates()) {
        let own = address::with_port(ip, port);
        add(
            format!("port {other} is not the virtual server's port {port}, and {method} cannot change it"),
            format!("write \"{own}\", and let the server listen on port {port}"),
        );
    } else if other == Some(0) {
        add(
            format!("port 0 is not a port that {ip} can listen on"),
            format!("write \"{}\"", address::with_port(ip, port)),
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

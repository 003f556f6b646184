//! Where packets to real servers by full NAT come from: `source_addresses` and `source_ports`.

use std::collections::HashMap;
use std::net::IpAddr;

use super::model::LeaseRange;
use super::raw::RawSources;
use crate::config::address::{self, Problem};
use crate::config::diagnostics::{Report, Span, quoted};
use crate::config::model::{Forwarding, VirtualServer};
use crate::config::raw::Field;

/// Of more addresses than this a flow would not try all.
const MAX_ADDRESSES: usize = 64;

/// Where a virtual server has these keys.
#[derive(Debug)]
pub(in crate::config) struct Places {
    /// `virtual_server[0]`
    path: String,
    addresses: Option<Span>,
    ports: Option<Span>,
}

impl Places {
    pub(in crate::config) fn new(raw: &RawSources, path: &str) -> Self {
        Self { path: path.to_owned(), addresses: span(&raw.addresses), ports: span(&raw.ports) }
    }
}

fn span<T>(field: &Field<T>) -> Option<Span> {
    match field {
        Field::Given(_, span) => Some(span.clone()),
        Field::Absent | Field::Refused => None,
    }
}

/// Checks both keys. `is_v4` is the virtual server's family.
pub(super) fn sources(
    raw: &RawSources,
    path: &str,
    is_v4: Option<bool>,
    report: &mut Report,
) -> Option<LeaseRange> {
    let addresses = addresses(&raw.addresses, &format!("{path}.source_addresses"), is_v4, report);
    let ports = ports(&raw.ports, &format!("{path}.source_ports"), report);
    Some(LeaseRange { addresses: addresses?, ports: ports? })
}

fn addresses(
    field: &Field<Vec<Field<String>>>,
    key: &str,
    is_v4: Option<bool>,
    report: &mut Report,
) -> Option<Vec<IpAddr>> {
    let (fields, span) = match field {
        Field::Absent => return Some(Vec::new()),
        Field::Refused => return None,
        Field::Given(fields, span) => (fields, span),
    };
    if fields.is_empty() || fields.len() > MAX_ADDRESSES {
        let message = format!("has {} addresses", fields.len());
        let help = format!(
            "name 1 to {MAX_ADDRESSES} addresses of the director, or remove it: then packets come from the address \
             that the director itself has towards a real server"
        );
        report.error(span, key, message, help);
        return None;
    }
    let mut places: HashMap<IpAddr, Span> = HashMap::new();
    let mut addresses = Vec::with_capacity(fields.len());
    let mut is_right = true;
    for (index, field) in fields.iter().enumerate() {
        let Field::Given(text, span) = field else {
            is_right = false;
            continue;
        };
        let key = format!("{key}[{index}]");
        let parsed = match text.parse::<IpAddr>() {
            Ok(found) => address::unicast(found).map(|()| found),
            Err(_) => Err(Problem {
                message: format!("{} is not an address", quoted(text)),
                help: "write one such as \"192.168.4.2\", without port and prefix".to_owned(),
            }),
        };
        let found = match parsed {
            Ok(found) => found,
            Err(Problem { message, help }) => {
                report.error(span, key, message, help);
                is_right = false;
                continue;
            }
        };
        if is_v4.is_some_and(|is_v4| found.is_ipv4() != is_v4) {
            let message = format!("{found} is not of the virtual server's family");
            report.error(span, key, message, "address translation keeps the family: write another address");
            is_right = false;
        } else if let Some(first) = places.insert(found, span.clone()) {
            report
                .error(span, key, format!("{found} is listed twice"), "remove one of the two")
                .label("again here")
                .related(&first, "first listed here");
            is_right = false;
        }
        addresses.push(found);
    }
    is_right.then_some(addresses)
}

fn ports(field: &Field<String>, key: &str, report: &mut Report) -> Option<(u16, u16)> {
    let (text, span) = match field {
        Field::Absent => return Some(LeaseRange::default().ports),
        Field::Refused => return None,
        Field::Given(text, span) => (text, span),
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    if let (Ok(first), Ok(last)) = (first.trim().parse::<u16>(), last.trim().parse::<u16>())
        && first > 0
        && first <= last
    {
        return Some((first, last));
    }
    let message = format!("{} is no range of ports", quoted(text));
    report.error(span, key, message, "write the first and the last port: \"1024-32767\"");
    None
}

/// Reports keys that no real server makes use of, and addresses whose answers another virtual server would take.
/// What could not be read is left out.
pub(in crate::config) fn fit(all: &[Option<VirtualServer>], places: &[Places], report: &mut Report) {
    let known: Vec<&VirtualServer> = all.iter().flatten().collect();
    for (server, places) in all.iter().zip(places) {
        let Some(server) = server else { continue };
        let key = |name: &str| format!("{}.{name}", places.path);
        let sources = &server.scheduling.sources;
        if !uses_full_nat(server) {
            for (name, span) in [("source_addresses", &places.addresses), ("source_ports", &places.ports)] {
                if let Some(span) = span {
                    let message = "is of no use: no real server is reached by full_nat";
                    report.error(span, key(name), message, "remove it, or write forwarding = \"full_nat\"");
                }
            }
            continue;
        }
        let (Some(span), (first, last)) = (&places.addresses, sources.ports) else { continue };
        let taken = known.iter().filter(|other| other.protocol == server.protocol).find_map(|other| {
            let is_taken = |(address, port): &(IpAddr, u16)| {
                sources.addresses.contains(address) && (*port == 0 || (first..=last).contains(port))
            };
            other.endpoints().into_iter().find(is_taken)
        });
        if let Some((address, port)) = taken {
            let on = if port == 0 { "every port".to_owned() } else { format!("port {port}") };
            let message = format!(
                "{address} has a virtual server on {on}, which would take answers of real servers for requests"
            );
            let help = "write another address, or source_ports that leave its port out";
            report.error(span, key("source_addresses"), message, help);
        }
    }
}

/// Is some real server of it reached by full NAT, or may one be that is added at run time?
fn uses_full_nat(server: &VirtualServer) -> bool {
    let sorry = server.health.sorry_server.as_deref();
    let mut methods = server.real_servers.iter().chain(sorry).map(|real| real.forwarding);
    server.forwarding == Forwarding::FullNat || methods.any(|method| method == Forwarding::FullNat)
}

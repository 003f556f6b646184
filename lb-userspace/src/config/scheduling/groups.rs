//! Groups of addresses: from what was typed to what is meant.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use super::model::Group;
use super::raw::{RawGroup, RawScheduling};
use crate::config::address::{self, Problem};
use crate::config::check::number;
use crate::config::diagnostics::{Report, Span, quoted};
use crate::config::raw::{Field, RawVirtualServer};
use crate::config::schema::closest;

/// Addresses and ports of one group.
const MAX_MEMBERS: usize = 4096;

/// The groups of a file by name, and where each stands. A group that is wrong is there without addresses.
pub(in crate::config) type Groups = HashMap<String, (Option<Group>, Span)>;

/// Checks all groups.
pub(in crate::config) fn groups(raw: Vec<RawGroup>, report: &mut Report) -> Groups {
    let mut known = Groups::new();
    let mut marks = HashMap::new();
    for group in raw {
        let addresses = addresses(&group, report);
        let mark = mark(&group, addresses.as_deref(), &mut marks, report);
        let key = format!("{}.name", group.path);
        match group.name {
            Field::Refused => {}
            Field::Absent => {
                report.error(&group.span, key, "is missing", "write name = \"web\" under it");
            }
            Field::Given(name, span) if name.is_empty() || name.len() > 64 => {
                let message = format!("{} has {} bytes", quoted(&name), name.len());
                report.error(&span, key, message, "write a name of 1 to 64 bytes");
            }
            Field::Given(name, span) => {
                if let Some((_, first)) = known.get(&name) {
                    report
                        .error(
                            &span,
                            key,
                            format!("group {} is listed twice", quoted(&name)),
                            "rename one of the two",
                        )
                        .label("again here")
                        .related(first, "first listed here");
                    continue;
                }
                let group = addresses.zip(mark).map(|(addresses, fwmark)| Group {
                    name: name.clone(),
                    fwmark,
                    addresses,
                });
                known.insert(name, (group, span));
            }
        }
    }
    known
}

/// A group's mark, which no other group of its family has. `marks` has the places of those before it.
fn mark(
    raw: &RawGroup,
    addresses: Option<&[(IpAddr, u16)]>,
    marks: &mut HashMap<(NonZeroU32, bool), Span>,
    report: &mut Report,
) -> Option<Option<NonZeroU32>> {
    let key = format!("{}.fwmark", raw.path);
    let Some(mark) = NonZeroU32::new(number(&raw.fwmark, &key, (1, u32::MAX), 0, report)?) else {
        return Some(None);
    };
    let is_v4 = addresses?.first()?.0.is_ipv4();
    if let Field::Given(_, span) = &raw.fwmark {
        if let Some(first) = marks.get(&(mark, is_v4)) {
            let message = format!("mark {mark} is of another group of this address family");
            let help = "put all its addresses into one group, or give this one another mark";
            report.error(span, key, message, help).label("again here").related(first, "first listed here");
            return None;
        }
        marks.insert((mark, is_v4), span.clone());
    }
    Some(Some(mark))
}

/// Reports a group with a mark that has more than one virtual server: a mark names one.
pub(in crate::config) fn marks_name_one(servers: &[RawVirtualServer], groups: &Groups, report: &mut Report) {
    let mut used: HashMap<&str, &Span> = HashMap::new();
    for server in servers {
        let Field::Given(name, span) = &server.scheduling.group else { continue };
        let Some((Some(Group { fwmark: Some(mark), .. }), _)) = groups.get(name) else { continue };
        if let Some(first) = used.insert(name, span) {
            let key = format!("{}.group", server.path);
            let message = format!(
                "group {} has mark {mark}, which names one virtual server, and this is its second",
                quoted(name)
            );
            let help = "make a group of its own for this one, with another `fwmark` or none";
            report.error(span, key, message, help).related(first, "the first one");
        }
    }
}

fn addresses(raw: &RawGroup, report: &mut Report) -> Option<Vec<(IpAddr, u16)>> {
    let key = format!("{}.addresses", raw.path);
    let (fields, span) = match &raw.addresses {
        Field::Refused => return None,
        Field::Absent => {
            let help = "write addresses = [\"192.168.4.15:80\", \"192.168.4.15:443\"] under it";
            report.error(&raw.span, key, "is missing", help);
            return None;
        }
        Field::Given(fields, span) => (fields, span),
    };
    if fields.is_empty() {
        report.error(span, key, "is empty", "name at least one address");
        return None;
    }
    let mut places: HashMap<(IpAddr, u16), Span> = HashMap::new();
    let mut is_right = true;
    let mut is_v4 = None;
    for (index, field) in fields.iter().enumerate() {
        let Field::Given(text, span) = field else {
            is_right = false;
            continue;
        };
        let key = format!("{key}[{index}]");
        let members = match range(text) {
            Ok(members) => members,
            Err(Problem { message, help }) => {
                report.error(span, key, message, help);
                is_right = false;
                continue;
            }
        };
        for member in members {
            if *is_v4.get_or_insert(member.0.is_ipv4()) != member.0.is_ipv4() {
                let message = format!("{} is not of the first address's family", quoted(text));
                report.error(span, &key, message, "make two groups, one for IPv4 and one for IPv6");
                is_right = false;
                break;
            }
            if let Some(first) = places.insert(member, span.clone()) {
                let name = address::with_port(member.0, member.1);
                report
                    .error(span, &key, format!("{name} is listed twice"), "remove one of the two")
                    .label("again here")
                    .related(&first, "first listed here");
                is_right = false;
                break;
            }
        }
        if places.len() > MAX_MEMBERS {
            let message = format!("there are more than {MAX_MEMBERS} addresses");
            report.error(span, &key, message, "write a virtual server of port 0 for all ports of an address");
            return None;
        }
    }
    let mut members: Vec<_> = places.into_keys().collect();
    members.sort_unstable();
    is_right.then_some(members)
}

/// `192.168.4.15:80`, `192.168.4.20-30:80` (addresses of one /24 or /112), `192.168.4.15:8000-8010`, and both.
fn range(text: &str) -> Result<Vec<(IpAddr, u16)>, Problem> {
    let problem = |message: String, help: &str| Err(Problem { message, help: help.to_owned() });
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
        _ => return problem(format!("{} has no port", quoted(text)), "write a port after the address"),
    };
    let (first_port, last_port) = port.split_once('-').unwrap_or((port, port));
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let (first, last) = match bare.split_once('-') {
        Some((first, last)) => (first, Some(last)),
        None => (bare, None),
    };
    let written = if host.starts_with('[') {
        format!("[{first}]:{first_port}")
    } else {
        format!("{first}:{first_port}")
    };
    let start = address::parse(&written)?;
    address::unicast(start.address)?;
    let Some(first_port) = start.port else {
        return problem(format!("{} has no port", quoted(text)), "write a port after the address");
    };
    let help = "write the last number of a range after its first: \"192.168.4.20-30:80\" or \"192.168.4.15:8000-8010\"";
    let Ok(last_port) = last_port.parse::<u16>() else {
        return problem(format!("{} in {} is not a port", quoted(last_port), quoted(text)), help);
    };
    let is_reversed = last_port < first_port || (first_port == 0 && last_port != 0);
    let addresses = match (start.address, last) {
        (address, None) => vec![address],
        (IpAddr::V4(first), Some(last)) => {
            let [a, b, c, low] = first.octets();
            match last.parse::<u8>() {
                Ok(high) if high >= low => (low..=high).map(|d| IpAddr::from([a, b, c, d])).collect(),
                Ok(_) | Err(_) => return problem(format!("{} is no range", quoted(text)), help),
            }
        }
        (IpAddr::V6(first), Some(last)) => {
            let mut groups = first.segments();
            let [.., low] = groups;
            match u16::from_str_radix(last, 16) {
                Ok(high) if high >= low && usize::from(high - low) < MAX_MEMBERS => (low..=high)
                    .map(|group| {
                        groups[7] = group;
                        IpAddr::from(groups)
                    })
                    .collect(),
                Ok(_) | Err(_) => return problem(format!("{} is no range", quoted(text)), help),
            }
        }
    };
    let ports = usize::from(last_port.saturating_sub(first_port)) + 1;
    if is_reversed || addresses.len() * ports > MAX_MEMBERS {
        return problem(format!("{} is no range of at most {MAX_MEMBERS}", quoted(text)), help);
    }
    Ok(addresses.into_iter().flat_map(|ip| (first_port..=last_port).map(move |port| (ip, port))).collect())
}

/// The group that a virtual server names, and the place of the name: `Some(None)` if it names none, `None` if there
/// is no such group or it is wrong.
pub(in crate::config) fn members(
    raw: &RawScheduling,
    path: &str,
    groups: &Groups,
    report: &mut Report,
) -> Option<Option<(Group, Span)>> {
    let (name, span) = match &raw.group {
        Field::Absent => return Some(None),
        Field::Refused => return None,
        Field::Given(name, span) => (name, span),
    };
    if let Some((group, _)) = groups.get(name) {
        return group.clone().map(|group| Some((group, span.clone())));
    }
    let help = match closest(name, groups.keys().map(String::as_str)) {
        Some(meant) => format!("did you mean {}?", quoted(meant)),
        None => "add a [[virtual_server_group]] of this name".to_owned(),
    };
    report.error(span, format!("{path}.group"), format!("there is no group {}", quoted(name)), help);
    None
}

//! What to do, decided from what is found and what is recorded. Nothing here touches the host.
//!
//! `start` records first, then sets the ARP settings, then adds the addresses: a VIP is never on the host
//! without the settings that keep it from answering ARP. `stop` goes the other way and forgets last.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use super::{
    Options,
    host::{Host, SETTINGS, sysctl_name},
    record::Record,
};
use crate::net::netlink::{Address, NewAddress, Scope, full_prefix};

/// Something that keeps a real server from being set up, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The capability is missing.
    #[error("not permitted to change addresses and settings: run as root (sudo), or grant CAP_NET_ADMIN")]
    NotPrivileged,
    /// Nothing to do.
    #[error("no VIP given: name each with --vip ADDR, or a configuration with -c FILE")]
    NoVip,
    /// Not an address that can be a VIP.
    #[error("{vip}: is {what}, which cannot be a VIP; give the unicast address that clients connect to")]
    BadVip {
        /// The address.
        vip: IpAddr,
        /// What it is.
        what: &'static str,
    },
    /// The instance's name cannot be a directory's.
    #[error("instance {name:?}: use letters, digits, '-', '_' and '.', not beginning with '.'")]
    BadInstance {
        /// The name.
        name: String,
    },
    /// The host would answer ARP for the VIP.
    #[error(
        "{vip}: is on {interface} already, where this host answers ARP for it and takes it from the director: ip address del {vip}/{prefix_len} dev {interface}"
    )]
    OnOtherInterface {
        /// The VIP.
        vip: IpAddr,
        /// Where it is.
        interface: String,
        /// Its prefix there.
        prefix_len: u8,
    },
    /// On `lo` a prefix makes every address in it local.
    #[error(
        "{vip}: is on lo with prefix /{prefix_len}, which makes the whole network local to this host: ip address del {vip}/{prefix_len} dev lo"
    )]
    WidePrefix {
        /// The VIP.
        vip: IpAddr,
        /// Its prefix there.
        prefix_len: u8,
    },
    /// Addresses of a device that is down are not used.
    #[error("lo: is down, so its addresses are not used: ip link set lo up")]
    LoopbackDown,
    /// An IPv6 VIP cannot be added.
    #[error("{vip}: IPv6 is switched off on lo: sysctl -w net.ipv6.conf.lo.disable_ipv6=0")]
    Ipv6Disabled {
        /// The VIP.
        vip: IpAddr,
    },
    /// Another network namespace uses the same record.
    #[error(
        "{}: belongs to a real server in another network namespace: give each its own name with --instance NAME",
        path.display()
    )]
    OtherNamespace {
        /// The record.
        path: PathBuf,
    },
}

pub(super) fn bullets(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  - {problem}")).collect()
}

/// One step. After each the host is in a state from which `start` and `stop` both finish correctly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write this instance's record.
    Record(Record),
    /// Write another instance's record: it takes over what this one would have undone.
    RecordOther {
        /// The other instance.
        instance: String,
        /// Its record.
        record: Record,
    },
    /// Set a kernel setting; its path below /proc/sys.
    Set {
        /// The path.
        name: String,
        /// The value.
        value: String,
    },
    /// Add an address to `lo`.
    Add(NewAddress),
    /// Remove an address from `lo`.
    Remove {
        /// The address.
        address: IpAddr,
        /// Its prefix.
        prefix_len: u8,
    },
    /// Remove this instance's record.
    Forget,
}

/// Steps in order, and what the administrator should know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What the administrator should know.
    pub notes: Vec<String>,
}

/// What a step does, for the report; `None` for the book-keeping.
pub(super) fn sentence(step: &Step, host: &Host) -> Option<String> {
    match step {
        Step::Set { name, value } => {
            let found = host.settings.get(name).map_or("?", String::as_str);
            Some(format!("{}: {found} -> {value}", sysctl_name(name)))
        }
        Step::Add(new) => {
            let label = new.label.as_ref().map(|label| format!(" as {label}")).unwrap_or_default();
            Some(format!("{}/{}: added to lo{label}", new.address, new.prefix_len))
        }
        Step::Remove { address, prefix_len } => Some(format!("{address}/{prefix_len}: removed from lo")),
        Step::Record(_) | Step::RecordOther { .. } | Step::Forget => None,
    }
}

pub(super) fn problems_of_arguments(options: &Options) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !is_instance_name(&options.instance) {
        problems.push(Problem::BadInstance { name: options.instance.clone() });
    }
    let bad = |&vip: &IpAddr| Some(Problem::BadVip { vip, what: unfit(vip)? });
    problems.extend(options.vips.iter().filter_map(bad));
    problems
}

fn is_instance_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.len() <= 64 && !name.starts_with('.') && name.chars().all(is_allowed)
}

fn unfit(vip: IpAddr) -> Option<&'static str> {
    let is_link_local = match vip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if vip.is_unspecified() {
        Some("the unspecified address")
    } else if vip.is_loopback() {
        Some("a loopback address")
    } else if vip.is_multicast() {
        Some("a multicast address")
    } else if is_link_local {
        Some("a link-local address")
    } else if matches!(vip, IpAddr::V4(v4) if v4.is_broadcast()) {
        Some("the broadcast address")
    } else if matches!(vip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        Some("an IPv4 address in IPv6 notation")
    } else {
        None
    }
}

/// How to make the host a real server for `vips` and those recorded. What was found first stays recorded;
/// `blank` is the record to begin with if there is none.
///
/// # Errors
/// Everything that is in the way.
pub fn start(
    host: &Host,
    recorded: Option<&Record>,
    blank: &Record,
    vips: &BTreeSet<IpAddr>,
) -> Result<Plan, Vec<Problem>> {
    let mut record = recorded.unwrap_or(blank).clone();
    record.vips.extend(vips);
    let mut problems = Vec::new();
    if record.vips.is_empty() {
        problems.push(Problem::NoVip);
    }
    if !host.loopback.up {
        problems.push(Problem::LoopbackDown);
    }
    problems.extend(record.vips.iter().flat_map(|&vip| problems_of(host, vip)));
    if !problems.is_empty() {
        return Err(problems);
    }

    let mut changes = Vec::new();
    if record.needs_settings() {
        for (name, value) in SETTINGS {
            let found = host.settings.get(name).map_or("", String::as_str);
            record.before.entry(name.to_owned()).or_insert_with(|| found.to_owned());
            if found != value {
                changes.push(Step::Set { name: name.to_owned(), value: value.to_owned() });
            }
        }
    }
    let mut labels = free_labels(&host.addresses);
    for &vip in &record.vips {
        if host.places(vip).next().is_none() {
            record.added.insert(vip);
            changes.push(Step::Add(address_on_lo(host.loopback.index, vip, &mut labels)));
        }
    }
    let mut plan = Plan::default();
    if record.needs_settings() {
        plan.notes.extend(arp_conflicts(host).into_iter().map(|(_, conflict)| conflict));
    }
    if recorded != Some(&record) {
        plan.steps.push(Step::Record(record));
    }
    plan.steps.extend(changes);
    Ok(plan)
}

/// What keeps this VIP from being on `lo` only, as a host address.
pub(super) fn problems_of(host: &Host, vip: IpAddr) -> Vec<Problem> {
    let mut problems = Vec::new();
    for &Address { ifindex, prefix_len, .. } in host.places(vip) {
        if ifindex != host.loopback.index {
            let interface = host.name(ifindex).to_owned();
            problems.push(Problem::OnOtherInterface { vip, interface, prefix_len });
        } else if prefix_len != full_prefix(vip) {
            problems.push(Problem::WidePrefix { vip, prefix_len });
        }
    }
    if vip.is_ipv6() && host.ipv6_disabled {
        problems.push(Problem::Ipv6Disabled { vip });
    }
    problems
}

/// Interfaces whose own `arp_ignore` overrules ours (the kernel takes the greater of `all` and the
/// interface's, `IN_DEV_MAXCONF`; meanings in `arp_ignore()`, `net/ipv4/arp.c`), with cause and remedy.
pub(super) fn arp_conflicts(host: &Host) -> Vec<(String, String)> {
    let mut conflicts = Vec::new();
    for (interface, &value) in &host.arp_ignore {
        let consequence = match value {
            // 2 answers only for the interface's own addresses, too, and only to its own network.
            0..=2 => continue,
            8 => "this host answers no ARP there, so the director cannot find it",
            _ => "this host may answer ARP for the VIPs there",
        };
        let name = sysctl_name(&format!("net/ipv4/conf/{interface}/arp_ignore"));
        conflicts.push((name.clone(), format!("{name} is {value}: {consequence}; sysctl -w {name}=1")));
    }
    conflicts
}

/// Labels `lo:vip0`, `lo:vip1`, … that no address has: `ifconfig` shows one address per label.
fn free_labels(addresses: &[Address]) -> impl Iterator<Item = String> + use<> {
    let taken: BTreeSet<String> = addresses.iter().filter_map(|a| a.label.clone()).collect();
    (0_u32..).map(|n| format!("lo:vip{n}")).filter(move |label| !taken.contains(label))
}

/// Host scope (IPv4) and deprecation (IPv6) keep the host from choosing the VIP as the source address of its
/// own connections, whose replies would go to the director.
fn address_on_lo(ifindex: u32, vip: IpAddr, labels: &mut impl Iterator<Item = String>) -> NewAddress {
    let label = if vip.is_ipv4() { labels.next() } else { None };
    NewAddress { label, scope: Scope::Host, deprecated: true, ..NewAddress::host(ifindex, vip) }
}

/// How to undo what is recorded, for `vips` only unless that is empty. What other instances of this host
/// still need is not undone but handed over to them.
#[must_use]
pub fn stop(
    host: &Host,
    record: &Record,
    vips: &BTreeSet<IpAddr>,
    others: &BTreeMap<String, Record>,
) -> Plan {
    let mut left = record.clone();
    left.vips.retain(|vip| !vips.is_empty() && !vips.contains(vip));
    let mut others_after = others.clone();
    let mut changes = Vec::new();
    let mut notes: Vec<String> = vips
        .difference(&record.vips)
        .map(|vip| format!("{vip}: was not started, so nothing is undone"))
        .collect();

    for &vip in record.added.iter().filter(|vip| !left.vips.contains(vip)) {
        left.added.remove(&vip);
        if let Some((name, heir)) = others_after.iter_mut().find(|(_, other)| other.vips.contains(&vip)) {
            heir.added.insert(vip);
            notes.push(format!("{vip}: stays on lo for instance {name}"));
        } else if host
            .places(vip)
            .any(|a| a.ifindex == host.loopback.index && a.prefix_len == full_prefix(vip))
        {
            changes.push(Step::Remove { address: vip, prefix_len: full_prefix(vip) });
        }
    }
    if !left.needs_settings() {
        left.before.clear();
        for (name, ours) in SETTINGS {
            let Some(before) = record.before.get(name) else { continue };
            let found = host.settings.get(name).map_or("", String::as_str);
            if found == before {
                continue;
            }
            if found != ours {
                let name = sysctl_name(name);
                notes.push(format!(
                    "{name}: is {found}, which is not ours; left so (it was {before} before start)"
                ));
            } else if let Some((instance, heir)) =
                others_after.iter_mut().find(|(_, other)| other.needs_settings())
            {
                // The other found our value; the value to return to is the one we found.
                if heir.before.get(name).is_none_or(|theirs| theirs == ours) {
                    heir.before.insert(name.to_owned(), before.clone());
                }
                notes.push(format!("{}: stays {ours} for instance {instance}", sysctl_name(name)));
            } else {
                changes.push(Step::Set { name: name.to_owned(), value: before.clone() });
            }
        }
    }
    let mut steps: Vec<Step> = others_after
        .into_iter()
        .filter(|(instance, after)| others.get(instance) != Some(after))
        .map(|(instance, record)| Step::RecordOther { instance, record })
        .collect();
    steps.extend(changes);
    steps.push(if left.vips.is_empty() { Step::Forget } else { Step::Record(left) });
    Plan { steps, notes }
}

//! What to do, decided from what is found and what is recorded. Nothing here touches the host.
//!
//! `start` records first, then sets the ARP settings, then adds the addresses: a VIP is never on the host
//! without the settings that keep it from answering ARP. `stop` goes the other way and forgets last.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    Options,
    host::{Host, SETTINGS, sysctl_name},
    problem::Problem,
    record::Record,
    tunnel::{self, Device, Outer, Tunnel},
};
use crate::net::netlink::{Address, NewAddress, Scope, full_prefix};

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
    /// Make a device that unpacks, down.
    AddTunnel(Device),
    /// Set it up.
    Up(Device),
    /// Remove it.
    RemoveTunnel {
        /// The device.
        device: Device,
        /// Its index.
        ifindex: u32,
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
            let name_shown = sysctl_name(name);
            // A device that has just been made had none.
            Some(match host.settings.get(name) {
                Some(found) => format!("{name_shown}: {found} -> {value}"),
                None => format!("{name_shown}: {value}"),
            })
        }
        Step::Add(new) => {
            let label = new.label.as_ref().map(|label| format!(" as {label}")).unwrap_or_default();
            Some(format!("{}/{}: added to lo{label}", new.address, new.prefix_len))
        }
        Step::AddTunnel(device) => Some(format!("{}: added, of kind {}", device.name(), device.kind())),
        Step::Up(device) => Some(format!("{}: up", device.name())),
        Step::RemoveTunnel { device, .. } => Some(format!("{}: removed", device.name())),
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
    outer: Option<Outer>,
) -> Result<Plan, Vec<Problem>> {
    let mut record = recorded.unwrap_or(blank).clone();
    record.vips.extend(vips);
    if let Some(outer) = outer {
        record.tunnel.get_or_insert_with(Tunnel::default).outer = outer;
    }
    let mut problems = Vec::new();
    if record.vips.is_empty() {
        problems.push(Problem::NoVip);
    }
    if !host.loopback.up {
        problems.push(Problem::LoopbackDown);
    }
    problems.extend(record.vips.iter().flat_map(|&vip| problems_of(host, vip)));
    problems.extend(tunnel::problems(host, &record));
    if !problems.is_empty() {
        return Err(problems);
    }

    // First, because it is what the kernel may not be able to do.
    let mut changes = tunnel::new_devices(host, &mut record);
    if record.needs_settings() {
        for (name, value) in SETTINGS {
            let found = host.settings.get(name).map_or("", String::as_str);
            record.before.entry(name.to_owned()).or_insert_with(|| found.to_owned());
            if found != value {
                changes.push(Step::Set { name: name.to_owned(), value: value.to_owned() });
            }
        }
    }
    changes.extend(tunnel::settings(host, &mut record));
    changes.extend(tunnel::bring_up(host, &record));
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
    changes.extend(tunnel::removals(host, record, &mut left, &mut others_after, &mut notes));
    if !left.needs_settings() {
        left.before.clear();
        changes.extend(restore(host, record, &mut others_after, &mut notes));
        left.tunnel.iter_mut().for_each(|tunnel| tunnel.set.clear());
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

/// Gives the settings back the values that they had, but for what others have changed or still need.
fn restore(
    host: &Host,
    record: &Record,
    others: &mut BTreeMap<String, Record>,
    notes: &mut Vec<String>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let of_tunnels = record.tunnel.iter().flat_map(|tunnel| &tunnel.set);
    let ours = SETTINGS
        .into_iter()
        .map(|(name, ours)| (name, ours, false))
        .chain(of_tunnels.map(|(name, ours)| (name.as_str(), ours.as_str(), true)));
    for (name, ours, is_of_tunnels) in ours {
        let Some(before) = record.before.get(name) else { continue };
        // An interface may be gone, and its settings with it.
        let Some(found) = host.settings.get(name).filter(|found| *found != before) else { continue };
        let needs = |other: &Record| other.needs_settings() && (!is_of_tunnels || other.tunnel.is_some());
        if found != ours {
            let name = sysctl_name(name);
            notes.push(format!(
                "{name}: is {found}, which is not ours; left so (it was {before} before start)"
            ));
        } else if let Some((instance, heir)) = others.iter_mut().find(|(_, other)| needs(other)) {
            // The other found our value; the value to return to is the one we found.
            if heir.before.get(name).is_none_or(|theirs| theirs == ours) {
                heir.before.insert(name.to_owned(), before.clone());
            }
            if is_of_tunnels {
                heir.tunnel.iter_mut().for_each(|tunnel| {
                    tunnel.set.insert(name.to_owned(), ours.to_owned());
                });
            }
            notes.push(format!("{}: stays {ours} for instance {instance}", sysctl_name(name)));
        } else {
            steps.push(Step::Set { name: name.to_owned(), value: before.clone() });
        }
    }
    steps
}

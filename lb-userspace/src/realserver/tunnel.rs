//! The receiving end of tunnels: which devices unpack, and what they need. Decisions only.
//!
//! A device of its own, `external`, takes what is sent to any address of the host, from anybody: no director has to
//! be named. It comes before `tunl0` and `ip6tnl0` (`ip_tunnel_lookup` in `net/ipv4/ip_tunnel.c`, `ip6_tnl_lookup` in
//! `net/ipv6/ip6_tunnel.c`) and goes without a trace. What it unpacks is from clients, whom the host does not reach by
//! it, so `rp_filter` must be 0; and the kernel takes the larger of `all` and the device's (`IN_DEV_RPFILTER`). Where
//! `all` says otherwise, its value is given to the other interfaces, so that for them nothing changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::host::{Host, sysctl_name};
use super::plan::Step;
use super::problem::Problem;
use super::record::Record;
use super::status::Item;

/// What directors pack clients' packets into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Outer {
    /// IPv4 into IPv4 and IPv6 into IPv6.
    #[default]
    Same,
    /// Either into IPv6.
    Ipv6,
}

/// A device that unpacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// IPv4 in IPv4.
    Ipip,
    /// Either in IPv6.
    Ip6tnl,
}

impl Device {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Ipip, Self::Ip6tnl];

    /// Its name on the host.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipip => "lbctl-ipip",
            Self::Ip6tnl => "lbctl-ip6tnl",
        }
    }

    /// Its kind, as `ip link` has it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Ip6tnl => "ip6tnl",
        }
    }

    /// The kernel's module.
    #[must_use]
    pub const fn module(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Ip6tnl => "ip6_tunnel",
        }
    }

    /// Its own settings and the values they need.
    fn settings(self) -> [(String, &'static str); 2] {
        [
            (format!("net/ipv4/conf/{}/rp_filter", self.name()), "0"),
            // Where IPv6 is off on a device, IPv6 packets that come by it are dropped.
            (format!("net/ipv6/conf/{}/disable_ipv6", self.name()), "0"),
        ]
    }
}

/// What is recorded of tunnels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tunnel {
    /// As `start` was told.
    pub outer: Outer,
    /// The devices that are there because of this instance.
    pub devices: BTreeSet<Device>,
    /// The values of `rp_filter` that are because of this instance; paths below /proc/sys.
    pub set: BTreeMap<String, String>,
}

/// The setting that overrules the devices' own.
pub const RP_FILTER: &str = "net/ipv4/conf/all/rp_filter";

/// The devices that these VIPs need.
#[must_use]
pub fn needed(outer: Outer, vips: &BTreeSet<IpAddr>) -> BTreeSet<Device> {
    let device = |vip: &IpAddr| match (vip, outer) {
        (IpAddr::V4(_), Outer::Same) => Device::Ipip,
        (IpAddr::V4(_), Outer::Ipv6) | (IpAddr::V6(_), _) => Device::Ip6tnl,
    };
    vips.iter().map(device).collect()
}

/// The devices that a record's VIPs need; none without tunnels.
pub(super) fn needed_by(record: &Record) -> BTreeSet<Device> {
    record.tunnel.as_ref().map(|tunnel| needed(tunnel.outer, &record.vips)).unwrap_or_default()
}

/// Devices of our names that are something else.
pub(super) fn problems(host: &Host, record: &Record) -> Vec<Problem> {
    let foreign = |device: &Device| {
        let link = host.tunnels.get(device)?;
        let kind = link.kind.clone().unwrap_or_else(|| "hardware".to_owned());
        (kind != device.kind()).then_some(Problem::OtherDevice { device: *device, kind })
    };
    needed_by(record).iter().filter_map(foreign).collect()
}

/// The devices to be made; recorded as ours.
pub(super) fn new_devices(host: &Host, record: &mut Record) -> Vec<Step> {
    let missing: Vec<Device> =
        needed_by(record).into_iter().filter(|device| !host.tunnels.contains_key(device)).collect();
    record.tunnel.iter_mut().for_each(|tunnel| tunnel.devices.extend(&missing));
    missing.into_iter().map(Step::AddTunnel).collect()
}

/// What is to be set for all interfaces; recorded.
pub(super) fn settings(host: &Host, record: &mut Record) -> Vec<Step> {
    let is_needed = record.needs_settings();
    let Some(tunnel) = record.tunnel.as_mut().filter(|_| is_needed) else { return Vec::new() };
    let of_all = host.number(RP_FILTER);
    let mut wanted = tunnel.set.clone();
    if of_all != 0 {
        let weaker = |name: &&String| name.ends_with("/rp_filter") && host.number(name) < of_all;
        let others = host.settings.keys().filter(|name| !is_shared(name)).filter(weaker);
        wanted.extend(others.map(|name| (name.clone(), of_all.to_string())));
        // Last, so that no interface is without its filter meanwhile.
        wanted.insert(RP_FILTER.to_owned(), "0".to_owned());
    }
    let mut steps = Vec::new();
    for (name, value) in &wanted {
        let Some(found) = host.settings.get(name) else { continue };
        record.before.entry(name.clone()).or_insert_with(|| found.clone());
        if found != value {
            steps.push(Step::Set { name: name.clone(), value: value.clone() });
        }
    }
    steps.sort_by_key(|step| matches!(step, Step::Set { name, .. } if name == RP_FILTER));
    tunnel.set = wanted;
    steps
}

/// `all`, `default` and our own devices: they pass nothing on.
fn is_shared(name: &str) -> bool {
    let interface = name.split('/').nth(3).unwrap_or_default();
    matches!(interface, "all" | "default") || Device::ALL.iter().any(|device| device.name() == interface)
}

/// What makes the devices work.
pub(super) fn bring_up(host: &Host, record: &Record) -> Vec<Step> {
    let mut steps = Vec::new();
    for device in needed_by(record) {
        let link = host.tunnels.get(&device);
        for (name, value) in device.settings() {
            let is_right = link.is_some() && host.settings.get(&name).is_some_and(|found| found == value);
            if !is_right && (link.is_none() || host.settings.contains_key(&name)) {
                steps.push(Step::Set { name, value: value.to_owned() });
            }
        }
        if !link.is_some_and(|link| link.up) {
            steps.push(Step::Up(device));
        }
    }
    steps
}

/// The devices to be removed when `left` is what stays of `record`; what another instance needs is handed over.
pub(super) fn removals(
    host: &Host,
    record: &Record,
    left: &mut Record,
    others: &mut BTreeMap<String, Record>,
    notes: &mut Vec<String>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let stay = needed_by(left);
    for &device in record.tunnel.iter().flat_map(|tunnel| &tunnel.devices) {
        if stay.contains(&device) {
            continue;
        }
        left.tunnel.iter_mut().for_each(|tunnel| tunnel.devices.retain(|one| *one != device));
        let heir = others.iter_mut().find(|(_, other)| needed_by(other).contains(&device));
        if let Some((instance, heir)) = heir {
            heir.tunnel.iter_mut().for_each(|tunnel| tunnel.devices.extend([device]));
            notes.push(format!("{}: stays for instance {instance}", device.name()));
        } else if let Some(link) = host.tunnels.get(&device) {
            steps.push(Step::RemoveTunnel { device, ifindex: link.index });
        }
    }
    steps
}

/// What is right and what is wrong with the devices that these VIPs need.
pub(super) fn items(host: &Host, outer: Outer, vips: &BTreeSet<IpAddr>) -> Vec<Item> {
    let remedy = "lbctl realserver start";
    let mut items = Vec::new();
    for device in needed(outer, vips) {
        let name = device.name();
        items.push(match host.tunnels.get(&device) {
            None => Item::wrong(name, "not there: tunnelled packets are not unpacked", remedy),
            Some(link) if link.kind.as_deref() != Some(device.kind()) => Item::wrong(
                name,
                format!("not of kind {}", device.kind()),
                format!("ip link delete {name}, then {remedy}"),
            ),
            Some(link) if !link.up => Item::wrong(name, "down", remedy),
            Some(_) => Item::right(name, format!("{}, up", device.kind())),
        });
        for (name, wanted) in device.settings() {
            let Some(found) = host.settings.get(&name) else { continue };
            items.push(item(&name, found, wanted));
        }
    }
    if vips.iter().any(IpAddr::is_ipv4)
        && let Some(found) = host.settings.get(RP_FILTER)
    {
        items.push(item(RP_FILTER, found, "0"));
    }
    items
}

fn item(name: &str, found: &str, wanted: &str) -> Item {
    let name = sysctl_name(name);
    if found == wanted {
        Item::right(name, found)
    } else {
        Item::wrong(name, format!("{found}, not {wanted}"), "lbctl realserver start")
    }
}

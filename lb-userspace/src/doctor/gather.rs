//! Finds the facts. Reads /proc, /sys and netlink, runs the packet filters' own listings, and sends ARP probes.

mod virtual_macs;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::arp;
use super::facts::{ArpFacts, Facts, Filter, InterfaceFacts, NextHopFacts, VirtualMac, Way};
use crate::director::preflight::missing_capabilities;
use crate::net::ethtool;
use crate::net::neighbours::{Neighbours, Resolution};
use crate::net::netlink::{Address, Link, Netlink, PeerXdp};

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Interfaces of a director; of a real server none, which is all.
    pub interfaces: Vec<String>,
    /// VIPs.
    pub vips: Vec<IpAddr>,
    /// Addresses of real servers.
    pub real_servers: BTreeSet<IpAddr>,
    /// Ports that clients connect to.
    pub ports: Vec<u16>,
    /// Whether VRRP runs.
    pub has_vrrp: bool,
    /// Instances with a virtual MAC.
    pub virtual_macs: Vec<VirtualMac>,
    /// Instances that this director is master of; `None` if that is not known.
    pub mastered: Option<BTreeSet<String>>,
    /// Whether the director is up.
    pub is_up: bool,
    /// Send nothing.
    pub is_silent: bool,
}

/// How long real servers may take to answer.
const ANSWERS: Duration = Duration::from_secs(4);
/// How long a listing of rules may take.
const LISTING: Duration = Duration::from_secs(5);

/// Looks.
///
/// # Errors
///
/// Netlink cannot be asked.
pub async fn gather(asked: &Asked) -> anyhow::Result<Facts> {
    let netlink = Netlink::open()?;
    let links = netlink.links().await?;
    let addresses = netlink.addresses().await?;
    let all: Vec<&Link> = links.iter().filter(|link| !link.loopback).collect();
    let wanted: Vec<&Link> = match asked.interfaces.is_empty() {
        true => all.clone(),
        false => all.iter().copied().filter(|link| asked.interfaces.contains(&link.name)).collect(),
    };
    let missing = asked.interfaces.iter().filter(|name| !wanted.iter().any(|link| link.name == **name));
    let mut interfaces = Vec::new();
    for link in &wanted {
        interfaces.push(interface(&netlink, link, &links).await);
    }
    Ok(Facts {
        kernel: read("/proc/sys/kernel/osrelease").context("/proc/sys/kernel/osrelease")?,
        jit: number("/proc/sys/net/core/bpf_jit_enable"),
        missing_capabilities: missing_capabilities(&read("/proc/self/status").unwrap_or_default()),
        has_bpf_fs: read("/proc/self/mounts")
            .is_some_and(|mounts| mounts.lines().any(|line| line.contains(" /sys/fs/bpf bpf "))),
        cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        is_up: asked.is_up,
        missing_interfaces: missing.cloned().collect(),
        next_hops: next_hops(&asked.real_servers, &links).await?,
        arp: match asked.is_silent {
            true => Vec::new(),
            false => who_answers(&netlink, asked, (&wanted, &links), &addresses).await?,
        },
        virtual_macs: virtual_macs::find(asked, &netlink, &links).await,
        interfaces,
        filters: filters().await,
        is_clock_synchronised: clock().await,
        has_vrrp: asked.has_vrrp,
        ports: asked.ports.clone(),
        items: Vec::new(),
    })
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: impl AsRef<Path>) -> Option<u32> {
    read(path)?.parse().ok()
}

async fn interface(netlink: &Netlink, link: &Link, links: &[Link]) -> InterfaceFacts {
    let name = &link.name;
    let class = Path::new("/sys/class/net").join(name);
    let driver = fs::read_link(class.join("device/driver")).ok();
    let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let queues = fs::read_dir(class.join("queues")).map_or(0, |entries| {
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-")).count()
    });
    let filter = |name: &str| number(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"));
    let on_it = |other: &&Link| other.vlan.is_some() && other.lower == Some(link.index);
    InterfaceFacts {
        name: name.clone(),
        driver: driver.or_else(|| link.kind.clone()).unwrap_or_default(),
        is_running: link.is_running(),
        xdp: link.xdp.map(|xdp| xdp.mode.to_string()),
        mtu: link.mtu,
        lro: ethtool::lro(name).ok(),
        gro: ethtool::gro(name).ok(),
        rx_vlan: ethtool::rx_vlan(name).ok(),
        vlans: links.iter().filter(on_it).map(|other| other.name.clone()).collect(),
        rx_queues: queues,
        rp_filter: filter(name).into_iter().chain(filter("all")).max(),
        is_blind_veth: netlink.veth_peer_accepts_xdp(link).await == PeerXdp::No,
    }
}

/// The ways to the real servers, as the director itself finds them.
async fn next_hops(wanted: &BTreeSet<IpAddr>, links: &[Link]) -> anyhow::Result<Vec<NextHopFacts>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let neighbours = Neighbours::start()?;
    let mut resolutions = neighbours.resolutions();
    neighbours.set_wanted(wanted.clone());
    let known = |found: &crate::net::neighbours::Resolutions| {
        wanted.iter().all(|address| {
            found.get(address).is_some_and(|found| !matches!(found, Resolution::Unresolved { .. }))
        })
    };
    // What is known by then is what counts.
    drop(timeout(ANSWERS, resolutions.wait_for(known)).await);
    let found = resolutions.borrow().clone();
    let way = |address: &IpAddr| match found.get(address) {
        Some(Resolution::Local) => Way::Local,
        Some(Resolution::Resolved { ifindex, .. }) => {
            let link = links.iter().find(|link| link.index == *ifindex);
            Way::Known {
                interface: link.map_or_else(|| format!("interface {ifindex}"), |link| link.name.clone()),
                mtu: link.map_or(u32::MAX, |link| link.mtu),
            }
        }
        Some(Resolution::Unresolved { reason }) => Way::None(reason.to_string()),
        None => Way::None("cannot be found out".to_owned()),
    };
    Ok(wanted.iter().map(|address| NextHopFacts { address: *address, way: way(address) }).collect())
}

/// Asks for each IPv4 VIP on the interfaces that may carry it: those with an address of its network, else the
/// first of the director's.
async fn who_answers(
    netlink: &Netlink,
    asked: &Asked,
    (interfaces, links): (&[&Link], &[Link]),
    addresses: &[Address],
) -> anyhow::Result<Vec<ArpFacts>> {
    let mut by_interface: BTreeMap<u32, Vec<Ipv4Addr>> = BTreeMap::new();
    for vip in &asked.vips {
        let IpAddr::V4(v4) = vip else { continue };
        let near = addresses.iter().find(|address| {
            address.subnet().is_some_and(|net| net.prefix_len() < 32 && net.contains(vip))
                && interfaces.iter().any(|link| link.index == address.ifindex)
        });
        let index = match near {
            Some(address) => Some(address.ifindex),
            None => netlink.route_to(*vip).await.ok().filter(|route| !route.local).map(|route| route.ifindex),
        };
        let usable = |index: &u32| interfaces.iter().any(|link| link.index == *index);
        let index = index.filter(usable).or_else(|| interfaces.first().map(|link| link.index));
        if let Some(index) = index {
            by_interface.entry(index).or_default().push(*v4);
        }
    }
    let mut facts = Vec::new();
    for (index, vips) in by_interface {
        let Some(link) = interfaces.iter().find(|link| link.index == index) else { continue };
        let Some(mac) = link.mac else { continue };
        let answers = match arp::ask(index, mac, &vips).await {
            Ok(answers) => answers,
            // Without the privilege nobody is asked; the director's findings say so.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => continue,
            Err(error) => return Err(error).with_context(|| format!("ARP on {}", link.name)),
        };
        facts.extend(answers.into_iter().map(|(address, answers)| {
            ArpFacts {
                is_here: addresses
                    .iter()
                    .any(|own| own.address == IpAddr::V4(address) && is_answered(own, interfaces, links)),
                address: address.into(),
                interface: link.name.clone(),
                answers,
            }
        }));
    }
    Ok(facts)
}

/// Is this address on an interface or on a macvlan upon it, and not hidden on `lo` by `arp_ignore`?
fn is_answered(own: &Address, interfaces: &[&Link], links: &[Link]) -> bool {
    let is_asked = |index: u32| interfaces.iter().any(|link| link.index == index);
    let is_macvlan = |link: &Link| link.kind.as_deref() == Some("macvlan") && link.up;
    let upon = links.iter().find(|link| link.index == own.ifindex && is_macvlan(link));
    if is_asked(own.ifindex) || upon.and_then(|link| link.lower).is_some_and(is_asked) {
        return true;
    }
    let ignore = |name: &str| number(format!("/proc/sys/net/ipv4/conf/{name}/arp_ignore")).unwrap_or(0);
    interfaces.iter().any(|link| ignore(&link.name).max(ignore("all")) == 0)
}

/// The listings of the packet filters that there are.
async fn filters() -> Option<Vec<Filter>> {
    let mut found = Vec::new();
    for (tool, program, arguments) in [
        ("nft", "nft", &["list", "ruleset"][..]),
        ("iptables", "iptables-save", &[]),
        ("ip6tables", "ip6tables-save", &[]),
    ] {
        if let Some(text) = run(program, arguments).await {
            found.push(Filter { tool, text });
        }
    }
    (!found.is_empty()).then_some(found)
}

async fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true).stdin(std::process::Stdio::null());
    let output = timeout(LISTING, command.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn clock() -> Option<bool> {
    let answer = run("timedatectl", &["show", "--property=NTPSynchronized", "--value"]).await?;
    match answer.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

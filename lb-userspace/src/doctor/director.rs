//! A director's findings.

use std::net::IpAddr;

use super::facts::{ArpFacts, Facts, InterfaceFacts, NextHopFacts, Way};
use super::{Finding, Severity, firewall, virtual_mac};
use crate::director::preflight::{OLDEST_KERNEL, kernel_is_new_enough};
use crate::net::colons;

/// What there is to say about a director, in the order in which a packet would meet it. `vips` are the virtual
/// servers' addresses.
pub fn director(facts: &Facts, vips: &[IpAddr]) -> Vec<Finding> {
    let mut findings = vec![kernel(facts), jit(facts), capabilities(facts), bpf_fs(facts)];
    findings.extend(facts.missing_interfaces.iter().map(|name| {
        Finding::new("interface", name, "there is none of this name").worse(
            Severity::Error,
            "set `interfaces` to those that packets arrive on; `ip -br link` lists them",
        )
    }));
    for interface in &facts.interfaces {
        findings.push(running(interface));
        findings.push(xdp_mode(facts, interface));
        findings.extend(veth(interface));
        findings.extend(lro(interface));
        findings.extend(gro(interface));
        findings.extend(vlan(interface));
        findings.extend(queues(facts, interface));
    }
    findings.extend(virtual_mac::all(facts));
    findings.extend(mtu(facts));
    findings.extend(facts.next_hops.iter().map(next_hop));
    findings.extend(facts.arp.iter().map(arp));
    findings.extend(filters(facts, vips));
    findings.push(clock(facts));
    findings
}

pub(super) fn kernel(facts: &Facts) -> Finding {
    let (major, minor) = OLDEST_KERNEL;
    let finding = Finding::new("kernel", "", &facts.kernel);
    if kernel_is_new_enough(&facts.kernel) {
        return finding;
    }
    finding.worse(Severity::Error, format!("boot a kernel of version {major}.{minor} or later"))
}

fn jit(facts: &Facts) -> Finding {
    match facts.jit {
        Some(0) => Finding::new("jit", "", "BPF programs are interpreted")
            .worse(Severity::Warning, "sysctl -w net.core.bpf_jit_enable=1"),
        Some(_) | None => Finding::new("jit", "", "BPF programs are compiled"),
    }
}

fn capabilities(facts: &Facts) -> Finding {
    if facts.missing_capabilities.is_empty() {
        return Finding::new("privileges", "", "all that a director needs");
    }
    let names = facts.missing_capabilities.join(", ");
    Finding::new("privileges", "", format!("this process lacks {names}"))
        .worse(Severity::Error, "run as root; in a container, add these capabilities")
}

fn bpf_fs(facts: &Facts) -> Finding {
    if facts.has_bpf_fs {
        return Finding::new("bpffs", "/sys/fs/bpf", "mounted");
    }
    Finding::new("bpffs", "/sys/fs/bpf", "not mounted")
        .worse(Severity::Note, "`lbctl up` mounts it; where it may not: mount -t bpf bpf /sys/fs/bpf")
}

fn running(interface: &InterfaceFacts) -> Finding {
    let InterfaceFacts { name, driver, mtu, is_running, .. } = interface;
    let finding = Finding::new("interface", name, format!("{driver}, MTU {mtu}"));
    if *is_running {
        return finding;
    }
    let finding = Finding::new("interface", name, "down, or without a carrier");
    finding.worse(Severity::Error, format!("ip link set dev {name} up; look at the cable"))
}

fn xdp_mode(facts: &Facts, interface: &InterfaceFacts) -> Finding {
    let InterfaceFacts { name, driver, .. } = interface;
    match interface.xdp.as_deref() {
        Some("generic") => Finding::new("xdp-mode", name, "generic: packets are copied before they are seen")
            .worse(
                Severity::Warning,
                format!("use a card whose driver has native XDP, or a newer kernel; this is {driver}"),
            ),
        Some(mode) => Finding::new("xdp-mode", name, mode),
        None if facts.is_up => Finding::new("xdp-mode", name, "no program, although the director is up")
            .worse(Severity::Error, "lbctl reload; if that does not help, the log says why"),
        None => Finding::new("xdp-mode", name, "no program; the director is not up"),
    }
}

fn veth(interface: &InterfaceFacts) -> Option<Finding> {
    let InterfaceFacts { name, .. } = interface;
    (interface.is_blind_veth && interface.xdp.as_deref() == Some("native")).then(|| {
        Finding::new("veth", name, "the other end takes no frames from XDP: all that is sent is lost")
            .worse(Severity::Error, "attach any XDP program to the other end, or set xdp_mode = \"generic\"")
    })
}

fn lro(interface: &InterfaceFacts) -> Option<Finding> {
    let InterfaceFacts { name, .. } = interface;
    interface.lro?.then(|| {
        Finding::new("lro", name, "on: merged packets cannot be forwarded")
            .worse(Severity::Error, format!("ethtool -K {name} lro off"))
    })
}

fn gro(interface: &InterfaceFacts) -> Option<Finding> {
    let InterfaceFacts { name, .. } = interface;
    (interface.gro? && interface.xdp.as_deref() == Some("generic")).then(|| {
        Finding::new(
            "gro",
            name,
            "on: in generic mode, merged packets are longer than the MTU and are dropped",
        )
        .worse(Severity::Error, format!("ethtool -K {name} gro off"))
    })
}

fn vlan(interface: &InterfaceFacts) -> Option<Finding> {
    let InterfaceFacts { name, vlans, .. } = interface;
    (interface.rx_vlan? && !vlans.is_empty()).then(|| {
        let found = format!("tags of {} are taken off before the program sees them", vlans.join(", "));
        Finding::new("vlan", name, found).worse(Severity::Warning, format!("ethtool -K {name} rxvlan off"))
    })
}

fn queues(facts: &Facts, interface: &InterfaceFacts) -> Option<Finding> {
    let InterfaceFacts { name, rx_queues, driver, .. } = interface;
    if *rx_queues == 0 {
        return None;
    }
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let finding = Finding::new(
        "queues",
        name,
        format!(
            "{rx_queues} receive queue{} for {} CPU{}",
            plural(*rx_queues),
            facts.cpus,
            plural(facts.cpus)
        ),
    );
    let is_hardware = !matches!(driver.as_str(), "veth" | "bridge" | "tun" | "dummy" | "");
    if *rx_queues >= facts.cpus || !is_hardware {
        return Some(finding);
    }
    Some(finding.worse(
        Severity::Warning,
        format!(
            "ethtool -L {name} combined {}; if the card has no more, ethtool -l {name} says so",
            facts.cpus
        ),
    ))
}

/// A packet that fits in must fit out.
fn mtu(facts: &Facts) -> Option<Finding> {
    let largest = facts.interfaces.iter().max_by_key(|interface| interface.mtu)?;
    let smallest = facts
        .next_hops
        .iter()
        .filter_map(|hop| match &hop.way {
            Way::Known { interface, mtu } => Some((interface, *mtu)),
            Way::Local | Way::None(_) => None,
        })
        .min_by_key(|(_, mtu)| *mtu)?;
    (smallest.1 < largest.mtu).then(|| {
        let found = format!(
            "packets of {} bytes come in on {}, but only {} get out of {}",
            largest.mtu, largest.name, smallest.1, smallest.0
        );
        Finding::new("mtu", smallest.0, found)
            .worse(Severity::Warning, format!("ip link set dev {} mtu {}", smallest.0, largest.mtu))
    })
}

fn next_hop(hop: &NextHopFacts) -> Finding {
    let subject = hop.address.to_string();
    match &hop.way {
        Way::Local => Finding::new("real-server", subject, "is this host"),
        Way::Known { interface, .. } => {
            Finding::new("real-server", subject, format!("its MAC address is known on {interface}"))
        }
        Way::None(reason) => Finding::new("real-server", subject, reason)
            .worse(Severity::Error, "bring it up, or take it out of the configuration"),
    }
}

fn arp(facts: &ArpFacts) -> Finding {
    let ArpFacts { address, interface, is_here, answers } = facts;
    let macs = answers.iter().map(|mac| colons(*mac)).collect::<Vec<_>>().join(", ");
    let finding = |found: String| Finding::new("arp", address.to_string(), found);
    match (is_here, answers.len()) {
        (true, 0) => finding(format!("only this host answers for it on {interface}")),
        (false, 1) => finding(format!("{macs} answers for it on {interface}, another director")),
        (false, 0) => finding(format!("nobody answers for it on {interface}")).worse(
            Severity::Error,
            "start the director that has it; `ip address` shows where an address is",
        ),
        (true, _) => finding(format!("besides this host, {macs} answers for it on {interface}")).worse(
            Severity::Error,
            "on a real server with this MAC address: lbctl realserver start; on another director: `lbctl list` \
             and its VRRP state",
        ),
        (false, _) => finding(format!("{macs} answer for it on {interface}")).worse(
            Severity::Error,
            "only one may. On real servers among them: lbctl realserver start; of directors, one must be the master",
        ),
    }
}

fn filters(facts: &Facts, vips: &[IpAddr]) -> Vec<Finding> {
    let Some(filters) = &facts.filters else {
        return vec![
            Finding::new("firewall", "", "cannot be listed")
                .worse(Severity::Note, "install nftables or iptables where rules are made by one of them"),
        ];
    };
    let mut findings = Vec::new();
    for filter in filters {
        if facts.has_vrrp {
            findings.extend(firewall::blocks_vrrp(filter).into_iter().map(|chain| {
                Finding::new("firewall", chain, "drops the other director's VRRP adverts").worse(
                    Severity::Error,
                    "accept IP protocol 112: nft add rule inet filter input ip protocol vrrp accept",
                )
            }));
        }
        // Balanced packets are gone before; what is for the director itself is not.
        findings.extend(firewall::drops_vips(filter, vips).into_iter().map(|rule| {
            Finding::new("firewall", rule, "sees what the director passes up, not what it balances").worse(
                Severity::Note,
                "reach the virtual servers by other means if this rule is to limit them",
            )
        }));
    }
    if findings.is_empty() {
        findings.push(Finding::new("firewall", "", "nothing that a director needs is dropped"));
    }
    findings
}

pub(super) fn clock(facts: &Facts) -> Finding {
    match facts.is_clock_synchronised {
        Some(true) => Finding::new("clock", "", "synchronised"),
        Some(false) => Finding::new("clock", "", "not synchronised: logs of two hosts cannot be compared")
            .worse(Severity::Note, "timedatectl set-ntp true, or install chrony"),
        None => Finding::new("clock", "", "whether it is synchronised cannot be found out"),
    }
}

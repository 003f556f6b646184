//! A real server's findings.

use std::net::IpAddr;

use super::director::{clock, kernel};
use super::facts::{ArpFacts, Facts};
use super::{Finding, Severity, firewall};
use crate::net::colons;

/// What there is to say about a real server, in the order in which a packet would meet it. `vips` are those that
/// it has.
pub fn realserver(facts: &Facts, vips: &[IpAddr]) -> Vec<Finding> {
    let mut findings = vec![kernel(facts)];
    for interface in &facts.interfaces {
        findings.extend(rp_filter(interface));
    }
    findings.extend(filters(facts, vips));
    findings.extend(facts.items.iter().map(|item| {
        let finding = Finding::new("realserver", &item.item, &item.found);
        match &item.remedy {
            Some(remedy) => finding.worse(Severity::Error, remedy),
            None => finding,
        }
    }));
    findings.extend(facts.arp.iter().map(arp));
    findings.push(clock(facts));
    findings
}

/// Packets out of a tunnel have a source that the routing table has elsewhere.
fn rp_filter(interface: &super::facts::InterfaceFacts) -> Option<Finding> {
    let is_tunnel = matches!(interface.driver.as_str(), "ipip" | "gre" | "sit" | "ip6tnl");
    let name = &interface.name;
    match interface.rp_filter {
        Some(filter) if filter > 0 && is_tunnel => Some(
            Finding::new("rp_filter", name, format!("{filter}: packets out of the tunnel are dropped"))
                .worse(
                    Severity::Error,
                    format!("sysctl -w net.ipv4.conf.{name}.rp_filter=0 net.ipv4.conf.all.rp_filter=0"),
                ),
        ),
        Some(_) | None => None,
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
        findings.extend(firewall::drops_vips(filter, vips).into_iter().map(|rule| {
            Finding::new("firewall", rule, "drops packets to a VIP")
                .worse(Severity::Error, "remove it, or let it match other packets only")
        }));
        findings.extend(firewall::blocked_ports(filter, &facts.ports).into_iter().map(|(chain, port)| {
            Finding::new("firewall", chain, format!("no rule lets port {port} in")).worse(
                Severity::Warning,
                format!("accept it: nft add rule inet filter input tcp dport {port} accept"),
            )
        }));
    }
    if findings.is_empty() {
        findings.push(Finding::new("firewall", "", "nothing that a real server needs is dropped"));
    }
    findings
}

fn arp(facts: &ArpFacts) -> Finding {
    let ArpFacts { address, interface, answers, .. } = facts;
    let macs = answers.iter().map(|mac| colons(*mac)).collect::<Vec<_>>().join(", ");
    let finding = |found: String| Finding::new("arp", address.to_string(), found);
    match answers.len() {
        1 => finding(format!("{macs} answers for it on {interface}, the director")),
        0 => finding(format!("nobody answers for it on {interface}"))
            .worse(Severity::Warning, "start the director: lbctl up"),
        _ => finding(format!("{macs} answer for it on {interface}")).worse(
            Severity::Error,
            "only the director may. On each real server among them: lbctl realserver start",
        ),
    }
}

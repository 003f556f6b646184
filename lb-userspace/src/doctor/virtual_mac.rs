//! Findings about instances with a virtual MAC.

use super::facts::{DeviceFacts, Facts, SettingFacts, VirtualMacFacts};
use super::{Finding, Severity};
use crate::net::colons;

/// All of them; a setting of an interface below two macvlans once.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for instance in &facts.virtual_macs {
        findings.push(device(facts, instance));
        findings.extend(without_program(instance));
        for setting in &instance.settings {
            if let Some(finding) = wrong(setting, &instance.wanted.base)
                && !findings.contains(&finding)
            {
                findings.push(finding);
            }
        }
    }
    findings
}

fn device(facts: &Facts, instance: &VirtualMacFacts) -> Finding {
    let wanted = &instance.wanted;
    let (name, base, owner) = (&wanted.interface, &wanted.base, &wanted.instance);
    let finding = |found: String| Finding::new("vmac", name, found);
    let Some(device) = &instance.device else {
        return match (instance.has_base, instance.can_be_made) {
            (false, _) => finding(format!("there is no interface {base} for it"))
                .worse(Severity::Error, format!("make {base}, or set `interface` of {owner}")),
            (true, Some(false)) => finding("the kernel has no macvlan".to_owned()).worse(
                Severity::Error,
                format!("modprobe macvlan; where there is no such module, use_vmac = false on all directors of {owner}"),
            ),
            (true, _) if facts.is_up => finding("is not there, although the director is up".to_owned())
                .worse(Severity::Error, "lbctl reload; if that does not help, the log says why"),
            (true, _) => finding(format!("`lbctl up` makes it on {base}")),
        };
    };
    if let Some(found) = is_another(instance, device) {
        let remedy = format!(
            "if nobody needs it, remove it; else set `vmac_name` of {owner}: ip link delete dev {name}"
        );
        return finding(found).worse(Severity::Error, remedy);
    }
    match (instance.is_master, device.is_up) {
        (Some(true), false) => finding(format!("is down, although this director is master of {owner}"))
            .worse(Severity::Error, format!("ip link set dev {name} up")),
        (Some(false), true) => finding(format!(
            "is up, although this director is not master of {owner}: it may draw the master's packets"
        ))
        .worse(Severity::Error, format!("ip link set dev {name} down")),
        (_, true) => finding(format!("{} on {base}, up", colons(wanted.mac))),
        (_, false) => finding(format!("{} on {base}, down", colons(wanted.mac))),
    }
}

/// Why it is not the macvlan that it should be.
fn is_another(instance: &VirtualMacFacts, device: &DeviceFacts) -> Option<String> {
    let wanted = &instance.wanted;
    let base = device.base.as_deref().unwrap_or("another interface");
    if device.kind != "macvlan" {
        Some(format!("is {}, not a macvlan on {}", device.kind, wanted.base))
    } else if base != wanted.base {
        Some(format!("is on {base}, not on {}", wanted.base))
    } else if device.mac != Some(wanted.mac) {
        let found = device.mac.map_or_else(|| "none".to_owned(), colons);
        Some(format!("its MAC is {found}, not {}", colons(wanted.mac)))
    } else {
        None
    }
}

fn without_program(instance: &VirtualMacFacts) -> Option<Finding> {
    let arrival = instance.without_program.as_ref()?;
    let found = format!("packets for it arrive on {arrival}, where no program serves them");
    let remedy = format!("write {arrival} into `interfaces` of the director");
    Some(Finding::new("vmac", arrival, found).worse(Severity::Error, remedy))
}

/// What is wrong with a setting of the macvlan or of the interface below it, if anything is.
fn wrong(setting: &SettingFacts, base: &str) -> Option<Finding> {
    let SettingFacts { directory, interface, key, wanted, found, found_of_all } = setting;
    let (own, of_all) = ((*found)?, found_of_all.unwrap_or(0));
    // `all` takes part in these (`include/linux/inetdevice.h`, IN_DEV_MAXCONF and IN_DEV_ORCONF).
    let is_shared = matches!(*key, "arp_ignore" | "arp_announce" | "rp_filter" | "arp_filter");
    let value = if is_shared { own.max(of_all) } else { own };
    let (severity, consequence) = consequence(setting, value, base)?;
    // With slashes, because an interface's name may have dots in it.
    let writes: String = [("all", is_shared && of_all > *wanted), (interface, own != *wanted)]
        .into_iter()
        .filter(|(_, is_wrong)| *is_wrong)
        .map(|(name, _)| format!(" {directory}/{name}/{key}={wanted}"))
        .collect();
    let finding = Finding::new(key, interface, format!("{value}: {consequence}"));
    Some(finding.worse(severity, format!("sysctl -w{writes}")))
}

/// What a value in force leads to; `None` if it is right.
fn consequence(setting: &SettingFacts, value: u32, base: &str) -> Option<(Severity, String)> {
    let is_base = setting.interface == base;
    let (is_right, severity, consequence) = match (setting.key, value) {
        ("arp_ignore", 3..) => {
            (false, Severity::Error, "who asks for a virtual address gets no right answer".into())
        }
        ("arp_ignore", _) if is_base => {
            (value > 0, Severity::Warning, "it answers for virtual addresses, with its own MAC".into())
        }
        ("arp_ignore", _) => {
            (value > 0, Severity::Warning, "it answers for other addresses, with the virtual MAC".into())
        }
        ("arp_announce", _) => (
            value == 2,
            Severity::Warning,
            "it asks in the name of virtual addresses, with its own MAC".into(),
        ),
        ("rp_filter", _) => {
            let lost = format!("packets for this host itself are dropped: their answers go out of {base}");
            (value != 1, Severity::Warning, lost)
        }
        ("arp_filter", _) => {
            let silent = format!("nobody is told the virtual MAC: the way to who asks is by {base}");
            (value == 0, Severity::Error, silent)
        }
        ("disable_ipv6", 1) if setting.wanted == 0 => {
            (false, Severity::Error, "it has no IPv6 address".into())
        }
        _ => {
            (value == setting.wanted, Severity::Warning, format!("`lbctl up` has made it {}", setting.wanted))
        }
    };
    (!is_right).then_some((severity, consequence))
}

//! What is found of virtual MACs.

use super::super::facts::{DeviceFacts, SettingFacts, VirtualMac, VirtualMacFacts};
use super::{Asked, number};
use crate::net::netlink::{Link, Netlink};
use crate::vrrp::shell::settle::{self, Setting};

pub(super) async fn find(asked: &Asked, netlink: &Netlink, links: &[Link]) -> Vec<VirtualMacFacts> {
    let mut found = Vec::new();
    for wanted in &asked.virtual_macs {
        let named = |name: &str| links.iter().find(|link| link.name == name);
        let base = named(&wanted.base);
        let device = named(&wanted.interface).map(|link| device(link, links));
        found.push(VirtualMacFacts {
            is_master: asked.mastered.as_ref().map(|mastered| mastered.contains(&wanted.instance)),
            has_base: base.is_some(),
            without_program: base
                .filter(|_| wanted.is_balanced && asked.is_up)
                .map(|base| arrival(base, links))
                .filter(|arrival| arrival.xdp.is_none())
                .map(|arrival| arrival.name.clone()),
            can_be_made: match device {
                Some(_) => None,
                None => netlink.knows_macvlan().await,
            },
            settings: match (&device, asked.is_up) {
                (Some(_), true) => settings(wanted),
                _ => Vec::new(),
            },
            device,
            wanted: wanted.clone(),
        });
    }
    found
}

/// Where the frames of an interface arrive: if it is a VLAN, on what is below.
fn arrival<'l>(link: &'l Link, links: &'l [Link]) -> &'l Link {
    let lower = link.vlan.and_then(|_| links.iter().find(|lower| Some(lower.index) == link.lower));
    lower.unwrap_or(link)
}

fn device(link: &Link, links: &[Link]) -> DeviceFacts {
    let base = links.iter().find(|lower| Some(lower.index) == link.lower);
    DeviceFacts {
        kind: link.kind.clone().unwrap_or_else(|| "a card".to_owned()),
        base: base.map(|base| base.name.clone()),
        mac: link.mac,
        is_up: link.up,
    }
}

fn settings(wanted: &VirtualMac) -> Vec<SettingFacts> {
    let one = |interface: &str, setting: &Setting| SettingFacts {
        directory: setting.directory,
        interface: interface.to_owned(),
        key: setting.key,
        wanted: setting.value,
        found: number(format!("/proc/sys/{}", setting.path(interface))),
        found_of_all: number(format!("/proc/sys/{}", setting.path("all"))),
    };
    let of_base: &[Setting] = if wanted.is_ipv6 { &[] } else { &settle::OF_BASE };
    let own = settle::of_device(wanted.is_ipv6).iter().map(|setting| one(&wanted.interface, setting));
    own.chain(of_base.iter().map(|setting| one(&wanted.base, setting))).collect()
}

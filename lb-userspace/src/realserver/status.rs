//! What is right and what is wrong with a real server, from what is found.

use std::{collections::BTreeSet, net::IpAddr};

use serde::Serialize;

use super::{
    host::{Host, SETTINGS, sysctl_name},
    plan::{arp_conflicts, problems_of},
    record::Record,
    tunnel::{self, Outer},
};
use crate::net::netlink::full_prefix;

/// The state of a real server, item by item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// "lbctl/realserver/v1".
    pub schema: &'static str,
    /// Is every item right?
    pub ok: bool,
    /// The items.
    pub items: Vec<Item>,
}

/// One thing a real server needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The VIP, setting or device.
    pub item: String,
    /// Is it right?
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do, if it is wrong.
    pub remedy: Option<String>,
}

impl Item {
    pub(super) fn right(item: impl Into<String>, found: impl Into<String>) -> Self {
        Self { item: item.into(), ok: true, found: found.into(), remedy: None }
    }

    pub(super) fn wrong(
        item: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { item: item.into(), ok: false, found: found.into(), remedy: Some(remedy.into()) }
    }
}

pub(super) fn status(
    host: &Host,
    record: Option<&Record>,
    asked: &BTreeSet<IpAddr>,
    outer: Option<Outer>,
) -> Status {
    let none = BTreeSet::new();
    let vips = if asked.is_empty() { record.map_or(&none, |record| &record.vips) } else { asked };
    let mut items = Vec::new();
    if vips.is_empty() {
        items.push(Item::wrong("real server", "not started", "lbctl realserver start --vip ADDR"));
    }
    items.push(if host.loopback.up {
        Item::right("lo", "up")
    } else {
        Item::wrong("lo", "down", "ip link set lo up")
    });
    items.extend(vips.iter().flat_map(|&vip| of_vip(host, vip)));
    if vips.iter().any(IpAddr::is_ipv4) {
        for (name, wanted) in SETTINGS {
            let found = host.settings.get(name).map_or("", String::as_str);
            let name = sysctl_name(name);
            items.push(if found == wanted {
                Item::right(name, found)
            } else {
                Item::wrong(name, format!("{found}, not {wanted}"), "lbctl realserver start")
            });
        }
        for (name, conflict) in arp_conflicts(host) {
            let (found, remedy) = conflict.split_once("; ").unwrap_or((&conflict, ""));
            items.push(Item::wrong(name, found, remedy));
        }
    }
    let recorded = record.and_then(|record| record.tunnel.as_ref()).map(|tunnel| tunnel.outer);
    if let Some(outer) = outer.or(recorded) {
        items.extend(tunnel::items(host, outer, vips));
    }
    Status { schema: "lbctl/realserver/v1", ok: items.iter().all(|item| item.ok), items }
}

fn of_vip(host: &Host, vip: IpAddr) -> Vec<Item> {
    let name = format!("{vip}/{}", full_prefix(vip));
    let problems = problems_of(host, vip);
    if !problems.is_empty() {
        let item = |problem: &super::Problem| {
            let text = problem.to_string();
            // Each problem reads "object: cause: command".
            let (cause, remedy) = text.rsplit_once(": ").unwrap_or((&text, ""));
            let cause = cause.split_once(": ").map_or(cause, |(_, cause)| cause);
            Item::wrong(name.clone(), cause, remedy)
        };
        return problems.iter().map(item).collect();
    }
    let Some(address) = host.places(vip).next() else {
        return vec![Item::wrong(name, "not on lo", format!("lbctl realserver start --vip {vip}"))];
    };
    if address.tentative || address.dad_failed {
        let remedy = format!("ip address replace {name} dev lo nodad");
        return vec![Item::wrong(name, "held back by duplicate address detection", remedy)];
    }
    vec![Item::right(name, "on lo")]
}

//! Removes what is left of a daemon that was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::filter;
use super::holder::put::{new_route, new_rule};
use super::record::Record;
use super::settle;
use crate::config::vrrp::{parse_route, parse_rule};
use crate::net::netlink::Netlink;

/// Removes the recorded addresses, routes and rules. Returns what could not be removed.
pub(crate) async fn undo(record: &Path, netlink: &Netlink) -> Vec<String> {
    let path = record;
    let record = match Record::read(path) {
        Ok(record) => record,
        Err(error) => return vec![format!("{}: {error}", path.display())],
    };
    let links = match netlink.links().await {
        Ok(links) => links,
        Err(error) => return vec![error.to_string()],
    };
    let index: BTreeMap<_, _> = links.iter().map(|link| (link.name.as_str(), link.index)).collect();
    let mut problems = Vec::new();
    if record.has_filter
        && let Err(problem) = filter::apply(path, &BTreeSet::new()).await
    {
        problems.push(problem);
    }
    for text in &record.rules {
        if let Some(rule) = parse_rule(text)
            && let Err(error) = netlink.remove_rule(&new_rule(&rule)).await
        {
            problems.push(format!("virtual rule {text}: {error}"));
        }
    }
    for (text, interface) in &record.routes {
        let route = parse_route(text).and_then(|route| {
            let name = route.interface.as_deref().unwrap_or(interface);
            new_route(&route, index.get(name).copied())
        });
        if let Some(route) = route
            && let Err(error) = netlink.remove_route(&route).await
        {
            problems.push(format!("virtual route {text}: {error}"));
        }
    }
    for own in &record.addresses {
        // Without its interface an address is gone too.
        if let Some(ifindex) = index.get(own.interface.as_str())
            && let Err(error) = netlink.remove_address(*ifindex, own.address, own.prefix_len).await
        {
            problems.push(format!("virtual address {}: {error}", own.address));
        }
    }
    for device in &record.devices {
        if let Some(link) = links.iter().find(|link| settle::is_ours(link, device))
            && let Err(error) = netlink.remove_link(link.index).await
        {
            problems.push(format!("interface {}: {error}", device.name));
        }
    }
    for setting in &record.settings {
        problems.extend(settle::put_back(setting).err());
    }
    problems
}

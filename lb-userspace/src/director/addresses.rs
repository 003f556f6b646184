//! VIPs that no VRRP instance carries: put on an interface by `up`, removed by `down`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::record::OwnAddress;
use crate::config::Config;
use crate::net::netlink::{Link, Netlink, NetlinkError, NewAddress, covering};

/// The addresses that the configuration wants on this host.
pub fn wanted(config: &Config) -> BTreeSet<IpAddr> {
    if !config.director.manage_addresses {
        return BTreeSet::new();
    }
    let carried = super::failover::carried_addresses(config);
    config.vips().into_iter().filter(|address| !carried.contains(address)).collect()
}

/// Which of `wanted` must be added, and where: on the interface whose subnet has it, else on the first one.
/// An address that the host has already, whoever put it there, stays as it is.
pub async fn missing(
    netlink: &Netlink,
    wanted: &BTreeSet<IpAddr>,
    interfaces: &[Link],
) -> Result<Vec<OwnAddress>, NetlinkError> {
    let present = netlink.addresses().await?;
    let is_present = |address: &IpAddr| present.iter().any(|known| known.address == *address);
    let here = |ifindex: u32| interfaces.iter().any(|link| link.index == ifindex);
    Ok(wanted
        .iter()
        .filter(|address| !is_present(address))
        .filter_map(|address| {
            let subnet = covering(&present, *address).map(|known| known.ifindex).filter(|index| here(*index));
            let interface = subnet.or(interfaces.first().map(|link| link.index))?;
            Some(OwnAddress {
                interface,
                address: *address,
                prefix_len: if address.is_ipv4() { 32 } else { 128 },
            })
        })
        .collect())
}

/// Adds one; an address that appeared meanwhile is none of ours, but there.
pub async fn add(netlink: &Netlink, own: &OwnAddress) -> Result<(), NetlinkError> {
    netlink.add_address(&NewAddress::host(own.interface, own.address)).await.map(|_added| ())
}

/// Removes one; an address that is gone is what was wanted.
pub async fn remove(netlink: &Netlink, own: &OwnAddress) -> Result<(), NetlinkError> {
    netlink.remove_address(own.interface, own.address, own.prefix_len).await.map(|_removed| ())
}

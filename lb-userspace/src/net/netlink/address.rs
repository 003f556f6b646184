//! Addresses on devices (RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR).

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo},
};

use super::{Netlink, NetlinkError, family_of};

/// An address on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Index of the device.
    pub ifindex: u32,
    /// The host's own address.
    pub address: IpAddr,
    /// Any address of the connected network: the same as `address`, except on point-to-point links, where it
    /// is the other end's.
    pub network: IpAddr,
    /// Length of the connected network's prefix, in bits.
    pub prefix_len: u8,
    /// Label (`eth0:1`) of an IPv4 address, at most 15 bytes; the kernel sets the device's name if none is given.
    pub label: Option<String>,
    /// How far the address is valid.
    pub scope: Scope,
    /// IPv6: duplicate address detection has not finished, so the address is not usable yet.
    pub tentative: bool,
    /// IPv6: duplicate address detection found the address on another host.
    pub dad_failed: bool,
}

impl Address {
    /// The connected network.
    #[must_use]
    pub fn subnet(&self) -> Option<IpNet> {
        IpNet::new(self.network, self.prefix_len).ok().map(|net| net.trunc())
    }
}

/// How far an address is valid (`RT_SCOPE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    Global,
    /// On its link.
    Link,
    /// Only inside this host: never chosen as the source of a connection to another one.
    Host,
    /// Any other value.
    Other(u8),
}

impl From<AddressScope> for Scope {
    fn from(scope: AddressScope) -> Self {
        match u8::from(scope) {
            0 => Self::Global,
            253 => Self::Link,
            254 => Self::Host,
            other => Self::Other(other),
        }
    }
}

impl From<Scope> for AddressScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Global => Self::Universe,
            Scope::Link => Self::Link,
            Scope::Host => Self::Host,
            Scope::Other(other) => Self::from(other),
        }
    }
}

/// An address to put on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAddress {
    /// Index of the device.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of the prefix, in bits.
    pub prefix_len: u8,
    /// Label, IPv4 only: the device's name, a colon, anything; at most 15 bytes.
    pub label: Option<String>,
    /// IPv4 only: the kernel derives an IPv6 address's scope from the address.
    pub scope: Scope,
    /// IPv6 only: never choose this address as a source by itself (a preferred lifetime of 0, shown as
    /// `deprecated`).
    pub deprecated: bool,
    /// No route to the connected network comes with it (`noprefixroute`): another device leads there.
    pub without_route: bool,
}

impl NewAddress {
    /// A host address: /32 or /128, global scope, no label.
    #[must_use]
    pub fn host(ifindex: u32, address: IpAddr) -> Self {
        let prefix_len = super::full_prefix(address);
        Self {
            ifindex,
            address,
            prefix_len,
            label: None,
            scope: Scope::Global,
            deprecated: false,
            without_route: false,
        }
    }
}

impl Netlink {
    /// All addresses of the namespace, IPv4 and IPv6.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn addresses(&self) -> Result<Vec<Address>, NetlinkError> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.dump(request, "list addresses").await?;
        Ok(answers.iter().filter_map(from_answer).collect())
    }

    /// Puts an address on a device; without duplicate address detection if it is IPv6, so it is usable at
    /// once. `Ok(false)` if the device has it already.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn add_address(&self, new: &NewAddress) -> Result<bool, NetlinkError> {
        let mut message = message_for(new.ifindex, new.address, new.prefix_len);
        let mut flags = AddressFlags::empty();
        if new.without_route {
            flags |= AddressFlags::Noprefixroute;
        }
        match new.address {
            IpAddr::V4(_) => {
                message.header.scope = new.scope.into();
                message.attributes.extend(new.label.clone().map(AddressAttribute::Label));
            }
            IpAddr::V6(_) => {
                message.header.flags = AddressHeaderFlags::Nodad;
                flags |= AddressFlags::Nodad;
                if new.deprecated {
                    let mut lifetimes = CacheInfo::default();
                    lifetimes.ifa_preferred = 0;
                    lifetimes.ifa_valid = u32::MAX; // INFINITY_LIFE_TIME
                    message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
                }
            }
        }
        if !flags.is_empty() {
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        let operation = format!("add {}/{} to device {}", new.address, new.prefix_len, new.ifindex);
        let request = RouteNetlinkMessage::NewAddress(message);
        match self.change(request, NLM_F_CREATE | NLM_F_EXCL, &operation).await {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(libc::EEXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes an address off a device. `Ok(false)` if the device does not have it.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn remove_address(
        &self,
        ifindex: u32,
        address: IpAddr,
        prefix_len: u8,
    ) -> Result<bool, NetlinkError> {
        let operation = format!("remove {address}/{prefix_len} from device {ifindex}");
        let request = RouteNetlinkMessage::DelAddress(message_for(ifindex, address, prefix_len));
        match self.change(request, 0, &operation).await {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The address whose connected network contains `target`; the longest prefix wins, then the first listed.
/// Addresses on the loopback device do not count if the caller leaves them out.
#[must_use]
pub fn covering(addresses: &[Address], target: IpAddr) -> Option<&Address> {
    let contains = |a: &&Address| a.subnet().is_some_and(|net| net.contains(&target));
    // max_by_key returns the last maximum; reversed, that is the first listed.
    addresses.iter().filter(contains).rev().max_by_key(|a| a.prefix_len)
}

fn message_for(ifindex: u32, address: IpAddr, prefix_len: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family_of(address);
    message.header.prefix_len = prefix_len;
    message.header.index = ifindex;
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    message
}

fn from_answer(answer: &RouteNetlinkMessage) -> Option<Address> {
    if let RouteNetlinkMessage::NewAddress(message) = answer { from_message(message) } else { None }
}

pub(super) fn from_message(message: &AddressMessage) -> Option<Address> {
    let mut local = None;
    let mut network = None;
    let mut label = None;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        if let AddressAttribute::Local(address) = attribute {
            local = Some(*address);
        } else if let AddressAttribute::Address(address) = attribute {
            network = Some(*address);
        } else if let AddressAttribute::Label(text) = attribute {
            label = Some(text.clone());
        } else if let AddressAttribute::Flags(all) = attribute {
            flags = *all;
        }
    }
    Some(Address {
        ifindex: message.header.index,
        // IPv6 has IFA_LOCAL only on point-to-point links.
        address: local.or(network)?,
        network: network.or(local)?,
        prefix_len: message.header.prefix_len,
        label,
        scope: message.header.scope.into(),
        tentative: flags.contains(AddressFlags::Tentative),
        dad_failed: flags.contains(AddressFlags::Dadfailed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str, ifindex: u32) -> Address {
        let net: IpNet = text.parse().unwrap();
        Address {
            ifindex,
            address: net.addr(),
            network: net.addr(),
            prefix_len: net.prefix_len(),
            label: None,
            scope: Scope::Global,
            tentative: false,
            dad_failed: false,
        }
    }

    #[test]
    fn the_longest_connected_network_covers() {
        let all = [
            address("10.0.0.1/8", 2),
            address("10.1.0.1/16", 3),
            address("10.1.0.2/16", 4),
            address("2001:db8::1/64", 5),
        ];
        let on = |target: &str| covering(&all, target.parse().unwrap()).map(|a| a.ifindex);
        assert_eq!(on("10.1.2.3"), Some(3), "the first of two equally long ones");
        assert_eq!(on("10.2.0.1"), Some(2));
        assert_eq!(on("192.0.2.1"), None);
        assert_eq!(on("2001:db8::99"), Some(5));
        assert_eq!(on("2001:db8:1::99"), None);
    }

    #[test]
    fn the_far_end_of_a_point_to_point_link_is_covered() {
        let mut link = address("192.0.2.1/32", 7);
        link.network = "192.0.2.2".parse().unwrap();
        assert_eq!(covering(std::slice::from_ref(&link), link.network).map(|a| a.ifindex), Some(7));
        assert_eq!(covering(std::slice::from_ref(&link), link.address), None);
    }
}

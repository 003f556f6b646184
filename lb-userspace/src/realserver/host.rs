//! What the helper looks at on the host, and the single changes it makes beside netlink.

use std::{collections::BTreeMap, fs, net::IpAddr};

use super::{RealserverError, tunnel::Device};
use crate::net::netlink::{Address, Link, Netlink};
use crate::net::sysctl;

/// The settings a real server with an IPv4 VIP needs, as paths below /proc/sys.
pub const SETTINGS: [(&str, &str); 4] = [
    ("net/ipv4/conf/all/arp_ignore", "1"),
    ("net/ipv4/conf/lo/arp_ignore", "1"),
    ("net/ipv4/conf/all/arp_announce", "2"),
    ("net/ipv4/conf/lo/arp_announce", "2"),
];

const INTERFACES: &str = "/proc/sys/net/ipv4/conf";

/// What was found on the host.
#[derive(Debug, Clone)]
pub struct Host {
    /// The loopback device.
    pub loopback: Link,
    /// Names of all devices, by index.
    pub names: BTreeMap<u32, String>,
    /// The devices that unpack tunnelled packets, or whatever has their names.
    pub tunnels: BTreeMap<Device, Link>,
    /// All addresses.
    pub addresses: Vec<Address>,
    /// The values of [`SETTINGS`], of every `rp_filter` and of the tunnels' devices' own settings, by name.
    pub settings: BTreeMap<String, String>,
    /// `arp_ignore` of each interface but `lo`.
    pub arp_ignore: BTreeMap<String, u32>,
    /// Is IPv6 switched off on `lo`?
    pub ipv6_disabled: bool,
}

impl Host {
    /// Looks at the calling thread's network namespace.
    ///
    /// # Errors
    /// See [`RealserverError`].
    pub async fn observe(netlink: &Netlink) -> Result<Self, RealserverError> {
        let links = netlink.links().await?;
        let names = links.iter().map(|link| (link.index, link.name.clone())).collect();
        let named =
            |device: Device| Some((device, links.iter().find(|link| link.name == device.name())?.clone()));
        let tunnels: BTreeMap<Device, Link> = Device::ALL.into_iter().filter_map(named).collect();
        let loopback = links.into_iter().find(|link| link.loopback).ok_or(RealserverError::NoLoopback)?;
        let mut settings = BTreeMap::new();
        for (name, _) in SETTINGS {
            settings.insert(name.to_owned(), read_sysctl(name)?);
        }
        for interface in interfaces()?.iter().map(String::as_str).chain(["all"]) {
            let name = format!("net/ipv4/conf/{interface}/rp_filter");
            // An interface may vanish in between.
            settings.extend(read_sysctl(&name).ok().map(|value| (name, value)));
        }
        for device in tunnels.keys() {
            // Absent where the kernel has no IPv6.
            let name = format!("net/ipv6/conf/{}/disable_ipv6", device.name());
            settings.extend(read_sysctl(&name).ok().map(|value| (name, value)));
        }
        // Absent where the kernel has no IPv6.
        let ipv6_disabled = read_sysctl("net/ipv6/conf/lo/disable_ipv6").map_or(true, |value| value != "0");
        let addresses = netlink.addresses().await?;
        Ok(Self { loopback, names, tunnels, addresses, settings, arp_ignore: arp_ignore()?, ipv6_disabled })
    }

    /// The name of a device.
    #[must_use]
    pub fn name(&self, ifindex: u32) -> &str {
        self.names.get(&ifindex).map_or("(unknown device)", String::as_str)
    }

    /// A setting that is a number; 0 if it is not there.
    #[must_use]
    pub fn number(&self, setting: &str) -> u32 {
        self.settings.get(setting).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Every place where the host has this address.
    pub fn places(&self, address: IpAddr) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(move |a| a.address == address)
    }
}

/// The names of the interfaces, `lo` among them.
fn interfaces() -> Result<Vec<String>, RealserverError> {
    let failed = |source| RealserverError::Sysctl {
        name: "net.ipv4.conf".into(),
        action: "list the interfaces",
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(INTERFACES).map_err(failed)? {
        let Ok(interface) = entry.map_err(failed)?.file_name().into_string() else { continue };
        if !matches!(interface.as_str(), "all" | "default") {
            found.push(interface);
        }
    }
    Ok(found)
}

fn arp_ignore() -> Result<BTreeMap<String, u32>, RealserverError> {
    let mut found = BTreeMap::new();
    for interface in interfaces()?.into_iter().filter(|interface| interface != "lo") {
        // An interface may vanish in between.
        if let Ok(value) = read_sysctl(&format!("net/ipv4/conf/{interface}/arp_ignore")) {
            found.insert(interface, value.parse().unwrap_or(0));
        }
    }
    Ok(found)
}

/// A setting's name as `sysctl` takes it: the dots of an interface's name become slashes.
#[must_use]
pub fn sysctl_name(path: &str) -> String {
    path.chars()
        .map(|c| {
            if c == '/' {
                '.'
            } else if c == '.' {
                '/'
            } else {
                c
            }
        })
        .collect()
}

fn read_sysctl(path: &str) -> Result<String, RealserverError> {
    sysctl::read(path).map_err(|source| RealserverError::Sysctl {
        name: sysctl_name(path),
        action: "read it",
        source,
    })
}

pub(super) fn write_sysctl(path: &str, value: &str) -> Result<(), RealserverError> {
    sysctl::write(path, value).map_err(|source| RealserverError::Sysctl {
        name: sysctl_name(path),
        action: "write it",
        source,
    })
}

/// Does this thread have `CAP_NET_ADMIN` in effect?
pub(super) fn has_net_admin() -> bool {
    const CAP_NET_ADMIN: u32 = 12;
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|bits| bits >> CAP_NET_ADMIN & 1 == 1)
}

//! What keeps a host from being made a real server, in words that name the remedy.

use std::{net::IpAddr, path::PathBuf};

use super::tunnel::Device;

/// Something that keeps a real server from being set up, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The capability is missing.
    #[error("not permitted to change addresses and settings: run as root (sudo), or grant CAP_NET_ADMIN")]
    NotPrivileged,
    /// Nothing to do.
    #[error("no VIP given: name each with --vip ADDR, or a configuration with -c FILE")]
    NoVip,
    /// Not an address that can be a VIP.
    #[error("{vip}: is {what}, which cannot be a VIP; give the unicast address that clients connect to")]
    BadVip {
        /// The address.
        vip: IpAddr,
        /// What it is.
        what: &'static str,
    },
    /// The instance's name cannot be a directory's.
    #[error("instance {name:?}: use letters, digits, '-', '_' and '.', not beginning with '.'")]
    BadInstance {
        /// The name.
        name: String,
    },
    /// The host would answer ARP for the VIP.
    #[error(
        "{vip}: is on {interface} already, where this host answers ARP for it and takes it from the director: ip address del {vip}/{prefix_len} dev {interface}"
    )]
    OnOtherInterface {
        /// The VIP.
        vip: IpAddr,
        /// Where it is.
        interface: String,
        /// Its prefix there.
        prefix_len: u8,
    },
    /// On `lo` a prefix makes every address in it local.
    #[error(
        "{vip}: is on lo with prefix /{prefix_len}, which makes the whole network local to this host: ip address del {vip}/{prefix_len} dev lo"
    )]
    WidePrefix {
        /// The VIP.
        vip: IpAddr,
        /// Its prefix there.
        prefix_len: u8,
    },
    /// Addresses of a device that is down are not used.
    #[error("lo: is down, so its addresses are not used: ip link set lo up")]
    LoopbackDown,
    /// An IPv6 VIP cannot be added.
    #[error("{vip}: IPv6 is switched off on lo: sysctl -w net.ipv6.conf.lo.disable_ipv6=0")]
    Ipv6Disabled {
        /// The VIP.
        vip: IpAddr,
    },
    /// The kernel cannot make a device that unpacks.
    #[error(
        "{}: this kernel makes no device of kind {}: modprobe {}, or install the kernel package that has this module", device.name(), device.kind(), device.module()
    )]
    NoTunnel {
        /// The device.
        device: Device,
    },
    /// Only one device of a kind can take every tunnel.
    #[error(
        "{}: another device of kind {} is `external` already and unpacks all that comes: ip -d link show type {} names it; remove it, or use it without --tunnel", device.name(), device.kind(), device.kind()
    )]
    TunnelTaken {
        /// The device.
        device: Device,
    },
    /// Our name is taken by something else.
    #[error("{0}: is a device of kind {kind}, not {1}: ip link delete {0}", device.name(), device.kind())]
    OtherDevice {
        /// The device.
        device: Device,
        /// What it is.
        kind: String,
    },
    /// Another network namespace uses the same record.
    #[error(
        "{}: belongs to a real server in another network namespace: give each its own name with --instance NAME",
        path.display()
    )]
    OtherNamespace {
        /// The record.
        path: PathBuf,
    },
}

pub(super) fn bullets(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  - {problem}")).collect()
}

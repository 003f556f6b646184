//! Receive offloads of a device: `ETHTOOL_GGRO`, `ETHTOOL_SGRO` and `ETHTOOL_GFLAGS`
//! (`include/uapi/linux/ethtool.h`).
//!
//! Generic XDP runs after GRO and sees packets merged to up to 64 KiB. A redirect refuses them as longer than
//! the MTU (`__xdp_generic_ok_fwd_dev`), so a director in generic mode receives without GRO.
#![expect(unsafe_code, reason = "an ioctl that takes a pointer in a structure")]

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

const GET_GRO: u32 = 0x2b;
const SET_GRO: u32 = 0x2c;
const GET_FLAGS: u32 = 0x25;
/// `ETH_FLAG_RXVLAN` and `ETH_FLAG_LRO`.
const RX_VLAN: u32 = 1 << 8;
const LRO: u32 = 1 << 15;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    value: u32,
}

nix::ioctl_readwrite_bad!(ethtool, libc::SIOCETHTOOL, libc::ifreq);

fn ask(device: &str, command: u32, value: u32) -> io::Result<u32> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut value = Value { command, value };
    let mut name = [0; libc::IFNAMSIZ];
    // One byte stays zero: names are at most 15 bytes.
    for (to, from) in name.iter_mut().take(libc::IFNAMSIZ - 1).zip(device.bytes()) {
        *to = from.cast_signed();
    }
    let data = libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut value).cast() };
    let mut request = libc::ifreq { ifr_name: name, ifr_ifru: data };
    // SAFETY: `request` is a whole ifreq with a terminated name, and its pointer leads to a whole `Value`, which
    // lives until after the call; the kernel reads and writes no more than that for these two commands.
    unsafe { ethtool(socket.as_raw_fd(), &raw mut request) }?;
    Ok(value.value)
}

/// Is GRO on?
///
/// # Errors
///
/// There is no such device.
pub fn gro(device: &str) -> io::Result<bool> {
    ask(device, GET_GRO, 0).map(|value| value != 0)
}

/// Is large receive offload on?
///
/// # Errors
///
/// There is no such device.
pub fn lro(device: &str) -> io::Result<bool> {
    ask(device, GET_FLAGS, 0).map(|flags| flags & LRO != 0)
}

/// Does the device take VLAN tags off?
///
/// # Errors
///
/// There is no such device.
pub fn rx_vlan(device: &str) -> io::Result<bool> {
    ask(device, GET_FLAGS, 0).map(|flags| flags & RX_VLAN != 0)
}

/// Switches GRO.
///
/// # Errors
///
/// There is no such device, or CAP_NET_ADMIN is missing.
pub fn set_gro(device: &str, on: bool) -> io::Result<()> {
    ask(device, SET_GRO, u32::from(on)).map(|_value| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_can_be_asked() {
        assert!(gro("lo").is_ok());
        assert!(gro("no-such-device").is_err());
    }
}

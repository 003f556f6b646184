//! What the director and the real-server helper know of and do to the kernel's network configuration.
//!
//! [`netlink`] is a thin asynchronous layer on rtnetlink: it asks, changes and listens, and decides nothing.
//! [`neighbours`] keeps the Ethernet addresses of the real servers known, because the datapath writes frames
//! past the kernel's own neighbour table and so never makes the kernel resolve or refresh anything.

pub mod ethtool;
pub mod frames;
pub mod neighbours;
pub mod netlink;
pub mod routes;
pub mod sysctl;
#[cfg(test)]
pub(crate) mod testing;

use lb_common::net::MacAddress;

/// As `02:00:00:00:00:01`.
pub(crate) fn colons(mac: MacAddress) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

//! The kernel's neighbour table (ARP and neighbour discovery; `net/core/neighbour.c`).

use std::net::IpAddr;

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::{
    RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage},
};

use super::{Netlink, NetlinkError, family_of};

/// An entry of the neighbour table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the device.
    pub ifindex: u32,
    /// The neighbour's IP address.
    pub address: IpAddr,
    /// Its Ethernet address, once known.
    pub mac: Option<[u8; 6]>,
    /// What the kernel knows about its reachability.
    pub state: NeighbourState,
}

/// What the kernel knows about a neighbour (`NUD_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NeighbourState {
    /// Never asked for.
    None,
    /// Asked, no answer yet.
    Incomplete,
    /// Known and confirmed lately.
    Reachable,
    /// Known, not confirmed lately.
    Stale,
    /// Known; will be asked again unless confirmed within `delay_first_probe_time` (5 s).
    Delay,
    /// Known; being asked again.
    Probe,
    /// Did not answer.
    Failed,
    /// The device needs no resolution.
    NoArp,
    /// Set by the administrator.
    Permanent,
}

impl NeighbourState {
    /// All states, for tables and tests.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Incomplete,
        Self::Reachable,
        Self::Stale,
        Self::Delay,
        Self::Probe,
        Self::Failed,
        Self::NoArp,
        Self::Permanent,
    ];

    /// Is the Ethernet address of such an entry good for sending (`NUD_VALID`)?
    #[must_use]
    pub fn is_valid(self) -> bool {
        match self {
            Self::Reachable | Self::Stale | Self::Delay | Self::Probe | Self::NoArp | Self::Permanent => true,
            Self::None | Self::Incomplete | Self::Failed => false,
        }
    }
}

impl Netlink {
    /// The whole neighbour table, IPv4 and IPv6.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn neighbours(&self) -> Result<Vec<Neighbour>, NetlinkError> {
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let answers = self.dump(request, "list neighbours").await?;
        Ok(answers.iter().filter_map(from_answer).collect())
    }

    /// Makes the kernel resolve or refresh a neighbour, as if it had a packet for it (`NTF_USE`): an unknown
    /// or failed one is asked for at once, a stale one after `delay_first_probe_time`. Returns when the kernel
    /// has begun; the result arrives as an [`Event`](super::Event).
    ///
    /// # Errors
    /// [`NetlinkError::NeighbourTableFull`]; see [`NetlinkError`].
    pub async fn probe(&self, ifindex: u32, address: IpAddr) -> Result<(), NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = family_of(address);
        message.header.ifindex = ifindex;
        message.header.flags = NeighbourFlags::Use;
        message.attributes.push(NeighbourAttribute::Destination(match address {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        }));
        let operation = format!("resolve {address} on device {ifindex}");
        match self.change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE, &operation).await {
            Err(error) if error.errno() == Some(libc::ENOBUFS) => {
                Err(NetlinkError::NeighbourTableFull { address })
            }
            other => other,
        }
    }
}

fn from_answer(answer: &RouteNetlinkMessage) -> Option<Neighbour> {
    if let RouteNetlinkMessage::NewNeighbour(message) = answer { from_message(message) } else { None }
}

/// `None` for entries that are not of an IP address, such as a bridge's forwarding table.
pub(super) fn from_message(message: &NeighbourMessage) -> Option<Neighbour> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) = attribute {
            address = Some(IpAddr::V4(*v4));
        } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) = attribute {
            address = Some(IpAddr::V6(*v6));
        } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = <[u8; 6]>::try_from(bytes.as_slice()).ok();
        }
    }
    let state = match u16::from(message.header.state) {
        0x01 => NeighbourState::Incomplete,
        0x02 => NeighbourState::Reachable,
        0x04 => NeighbourState::Stale,
        0x08 => NeighbourState::Delay,
        0x10 => NeighbourState::Probe,
        0x20 => NeighbourState::Failed,
        0x40 => NeighbourState::NoArp,
        0x80 => NeighbourState::Permanent,
        _ => NeighbourState::None,
    };
    Some(Neighbour { ifindex: message.header.ifindex, address: address?, mac, state })
}

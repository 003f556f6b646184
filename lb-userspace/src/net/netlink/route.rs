//! Which way a packet goes (RTM_GETROUTE with one destination, as `ip route get`).

use std::net::IpAddr;

use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType, RouteVia},
};

use super::{Netlink, NetlinkError, family_of, full_prefix};

/// The kernel's choice for one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The device that packets leave through; for a local address the one that delivers it, usually `lo`.
    pub ifindex: u32,
    /// The router on the way; `None` if the destination is on the device's own segment.
    pub gateway: Option<IpAddr>,
    /// Is the destination an address of this host?
    pub local: bool,
    /// The source address the kernel would choose.
    pub source: Option<IpAddr>,
}

impl Netlink {
    /// The route to an address, by the kernel's own look-up: policy rules, metrics and all.
    ///
    /// # Errors
    /// [`NetlinkError::Unreachable`] if there is none, or one that refuses; see [`NetlinkError`].
    pub async fn route_to(&self, address: IpAddr) -> Result<Route, NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(address);
        message.header.destination_prefix_length = full_prefix(address);
        message.header.flags = RouteFlags::LookupTable;
        message.attributes.push(RouteAttribute::Destination(address.into()));
        let operation = format!("route to {address}");
        let answer = match self.get(RouteNetlinkMessage::GetRoute(message), &operation).await {
            Ok(answer) => answer,
            Err(error) if error.errno().is_some_and(is_unreachable) => {
                return Err(NetlinkError::Unreachable { address });
            }
            Err(error) => return Err(error),
        };
        let Some(RouteNetlinkMessage::NewRoute(message)) = answer else {
            return Err(NetlinkError::NoAnswer { operation });
        };
        from_message(&message).ok_or(NetlinkError::Unreachable { address })
    }
}

/// What the FIB look-up returns for no route, and for `unreachable`, `prohibit` and `blackhole` ones
/// (`fib_props` in `net/ipv4/fib_semantics.c`).
fn is_unreachable(errno: i32) -> bool {
    matches!(errno, libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)
}

fn from_message(message: &RouteMessage) -> Option<Route> {
    let kind = message.header.kind;
    // IPv6 answers with the refusing route itself where IPv4 answers with an error.
    if matches!(kind, RouteType::Unreachable | RouteType::Prohibit | RouteType::BlackHole | RouteType::Throw)
    {
        return None;
    }
    let mut ifindex = None;
    let mut gateway = None;
    let mut source = None;
    for attribute in &message.attributes {
        if let RouteAttribute::Oif(index) = attribute {
            ifindex = Some(*index);
        } else if let RouteAttribute::Gateway(address) = attribute {
            gateway = ip(address);
        } else if let RouteAttribute::Via(via) = attribute {
            // An IPv4 route over an IPv6 router.
            gateway = if let RouteVia::Inet6(address) = via {
                Some(IpAddr::V6(*address))
            } else if let RouteVia::Inet(address) = via {
                Some(IpAddr::V4(*address))
            } else {
                None
            };
        } else if let RouteAttribute::PrefSource(address) = attribute {
            source = ip(address);
        }
    }
    Some(Route { ifindex: ifindex?, gateway, local: kind == RouteType::Local, source })
}

/// The network a route is for, from a change event; `None` if it is not an IP route.
pub(super) fn destination(message: &RouteMessage) -> Option<ipnet::IpNet> {
    let length = message.header.destination_prefix_length;
    let address = message.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Destination(address) = attribute { ip(address) } else { None }
    });
    let any = if message.header.address_family == netlink_packet_route::AddressFamily::Inet6 {
        IpAddr::from([0_u16; 8])
    } else if message.header.address_family == netlink_packet_route::AddressFamily::Inet {
        IpAddr::from([0_u8; 4])
    } else {
        return None;
    };
    // A default route carries no destination.
    ipnet::IpNet::new(address.unwrap_or(any), length).ok()
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(v4) = address {
        Some(IpAddr::V4(*v4))
    } else if let RouteAddress::Inet6(v6) = address {
        Some(IpAddr::V6(*v6))
    } else {
        None
    }
}

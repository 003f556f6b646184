//! Which way a packet goes (RTM_GETROUTE with one destination, as `ip route get`), and the main table's routes
//! (RTM_GETROUTE as a dump, as `ip route show`).

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteType, RouteVia},
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

/// A route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableRoute {
    /// Where it leads.
    pub destination: IpNet,
    /// Of several to one destination the lowest counts.
    pub metric: u32,
    /// Who the packets go to; `None` if the route refuses them.
    pub hop: Option<TableHop>,
}

/// Where a route's packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableHop {
    /// The device.
    pub ifindex: u32,
    /// The router; `None` if the destination is on the device's own segment.
    pub gateway: Option<IpAddr>,
}

impl Netlink {
    /// The main table's routes of both families. Of a route with several next hops the first one.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn main_routes(&self) -> Result<Vec<TableRoute>, NetlinkError> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let answers = self.dump(RouteNetlinkMessage::GetRoute(message), "list routes").await?;
            routes.extend(answers.iter().filter_map(|answer| {
                let RouteNetlinkMessage::NewRoute(message) = answer else { return None };
                table_route(message)
            }));
        }
        Ok(routes)
    }

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

/// A route of the main table; `None` for those of others, and for what packets to elsewhere do not use.
fn table_route(message: &RouteMessage) -> Option<TableRoute> {
    let mut table = u32::from(message.header.table);
    let mut metric = 0;
    for attribute in &message.attributes {
        if let RouteAttribute::Table(number) = attribute {
            table = *number;
        } else if let RouteAttribute::Priority(number) = attribute {
            metric = *number;
        }
    }
    // Copies that an IPv6 look-up leaves in the table (RTM_F_CLONED) are not routes of their own.
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) || message.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let kind = message.header.kind;
    let hop = if kind == RouteType::Unicast {
        Some(table_hop(message)?)
    } else if refuses(kind) {
        None
    } else {
        return None;
    };
    Some(TableRoute { destination: destination(message)?, metric, hop })
}

/// The first next hop of a route.
fn table_hop(message: &RouteMessage) -> Option<TableHop> {
    if let Some(Route { ifindex, gateway, .. }) = from_message(message) {
        return Some(TableHop { ifindex, gateway });
    }
    let hop = message.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::MultiPath(hops) = attribute { hops.first() } else { None }
    })?;
    Some(TableHop { ifindex: hop.interface_index, gateway: hop.attributes.iter().find_map(gateway) })
}

fn refuses(kind: RouteType) -> bool {
    matches!(kind, RouteType::Unreachable | RouteType::Prohibit | RouteType::BlackHole | RouteType::Throw)
}

/// The router that an attribute names.
fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    if let RouteAttribute::Gateway(address) = attribute {
        ip(address)
    } else if let RouteAttribute::Via(RouteVia::Inet6(address)) = attribute {
        // An IPv4 route over an IPv6 router.
        Some(IpAddr::V6(*address))
    } else if let RouteAttribute::Via(RouteVia::Inet(address)) = attribute {
        Some(IpAddr::V4(*address))
    } else {
        None
    }
}

fn from_message(message: &RouteMessage) -> Option<Route> {
    let kind = message.header.kind;
    // IPv6 answers with the refusing route itself where IPv4 answers with an error.
    if refuses(kind) {
        return None;
    }
    let mut ifindex = None;
    let mut source = None;
    for attribute in &message.attributes {
        if let RouteAttribute::Oif(index) = attribute {
            ifindex = Some(*index);
        } else if let RouteAttribute::PrefSource(address) = attribute {
            source = ip(address);
        }
    }
    let gateway = message.attributes.iter().find_map(gateway);
    Some(Route { ifindex: ifindex?, gateway, local: kind == RouteType::Local, source })
}

/// The network a route is for, from a change event; `None` if it is not an IP route.
pub(super) fn destination(message: &RouteMessage) -> Option<IpNet> {
    let length = message.header.destination_prefix_length;
    let address = message.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Destination(address) = attribute { ip(address) } else { None }
    });
    let any = if message.header.address_family == AddressFamily::Inet6 {
        IpAddr::from([0_u16; 8])
    } else if message.header.address_family == AddressFamily::Inet {
        IpAddr::from([0_u8; 4])
    } else {
        return None;
    };
    // A default route carries no destination.
    IpNet::new(address.unwrap_or(any), length).ok()
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

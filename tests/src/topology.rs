//! Who is in the lab, on which network, with which addresses. Pure data: nothing here touches the system.
//!
//! ```text
//! one-armed: 192.168.4.0/24, 2001:db8:4::/64      two-armed: clients 10.0.0.0/24, 2001:db8:10::/64
//!
//!   client .10   lvs1 .2   lvs2 .3                  client .10    lvs1 .1   lvs2 .2    router .254
//!      |           |         |                        |             | eth0    | eth0     | eth0
//!   ===+===========+=========+=== br0                ==+=============+=========+==========+=== br1
//!      |           |         |                                       | eth1    | eth1     | eth1
//!   web1 .100   web2 .200  (web3 .150)               ===+============+=========+==========+=== br0
//!                                                       |          lvs1 .2   lvs2 .3    router .254
//!   VIP 192.168.4.15, 2001:db8:4::15                 web1 .100 ... on 192.168.4.0/24, 2001:db8:4::/64
//!                                                    VIP 10.0.0.15, 2001:db8:10::15
//! ```
//!
//! The IPv6 interface identifier has the same digits as the last IPv4 number (`.100` is `::100`), the MAC address is
//! `02:00:00:00:NET:HOST` with both numbers in hexadecimal (`192.168.4.100` is `02:00:00:00:04:64`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The namespace that holds the bridges.
pub const HUB: &str = "lbhub";

/// A namespace of the lab with a host in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Node {
    /// Sends the requests.
    Client,
    /// The first director.
    Lvs1,
    /// The second director.
    Lvs2,
    /// Real server `.100`.
    Web1,
    /// Real server `.200`.
    Web2,
    /// Real server `.150`, only where the lab was asked for it.
    Web3,
    /// Carries the real servers' replies to the clients' network; two-armed only.
    Router,
}

impl Node {
    /// Every node there can be.
    pub const ALL: [Self; 7] =
        [Self::Client, Self::Lvs1, Self::Lvs2, Self::Web1, Self::Web2, Self::Web3, Self::Router];

    /// The name of its namespace.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Lvs1 => "lvs1",
            Self::Lvs2 => "lvs2",
            Self::Web1 => "web1",
            Self::Web2 => "web2",
            Self::Web3 => "web3",
            Self::Router => "router",
        }
    }

    /// Whether `lbctl up` is meant to run here.
    #[must_use]
    pub const fn is_director(self) -> bool {
        matches!(self, Self::Lvs1 | Self::Lvs2)
    }

    /// Whether nginx runs here.
    #[must_use]
    pub const fn is_web(self) -> bool {
        matches!(self, Self::Web1 | Self::Web2 | Self::Web3)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no node.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownNode(String);

impl fmt::Display for UnknownNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Node::ALL.map(Node::name).join(", ");
        write!(f, "no lab node is called \"{}\"; the nodes are {names}", self.0)
    }
}

impl std::error::Error for UnknownNode {}

impl FromStr for Node {
    type Err = UnknownNode;

    fn from_str(name: &str) -> Result<Self, UnknownNode> {
        Self::ALL.into_iter().find(|node| node.name() == name).ok_or_else(|| UnknownNode(name.to_owned()))
    }
}

/// Which version of the Internet Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// One of the two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// 192.168.4.0/24 and 2001:db8:4::/64, on bridge `br0`.
    Server,
    /// 10.0.0.0/24 and 2001:db8:10::/64, on bridge `br1`; two-armed only.
    Client,
}

impl Net {
    /// The bridge in the hub that is this network.
    #[must_use]
    pub const fn bridge(self) -> &'static str {
        match self {
            Self::Server => "br0",
            Self::Client => "br1",
        }
    }

    /// The address of host number `host`.
    #[must_use]
    pub fn address(self, family: Family, host: u8) -> IpAddr {
        match (family, self) {
            (Family::V4, Self::Server) => Ipv4Addr::new(192, 168, 4, host).into(),
            (Family::V4, Self::Client) => Ipv4Addr::new(10, 0, 0, host).into(),
            (Family::V6, Self::Server) => {
                Ipv6Addr::new(0x2001, 0xdb8, 4, 0, 0, 0, 0, digits_as_hex(host)).into()
            }
            (Family::V6, Self::Client) => {
                Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, digits_as_hex(host)).into()
            }
        }
    }

    /// The network in CIDR notation.
    #[must_use]
    pub const fn prefix(self, family: Family) -> &'static str {
        match (family, self) {
            (Family::V4, Self::Server) => "192.168.4.0/24",
            (Family::V4, Self::Client) => "10.0.0.0/24",
            (Family::V6, Self::Server) => "2001:db8:4::/64",
            (Family::V6, Self::Client) => "2001:db8:10::/64",
        }
    }

    const fn mac_byte(self) -> u8 {
        match self {
            Self::Server => 4,
            Self::Client => 10,
        }
    }
}

/// 100 → 0x100: the number's decimal digits read as hexadecimal ones.
fn digits_as_hex(host: u8) -> u16 {
    let host = u16::from(host);
    ((host / 100) << 8) | ((host / 10 % 10) << 4) | (host % 10)
}

/// An interface of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `eth0` or `eth1`.
    pub name: &'static str,
    /// The network it is on.
    pub net: Net,
    /// Its host number there.
    pub host: u8,
}

impl Interface {
    /// Its MAC address, locally administered.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        [2, 0, 0, 0, self.net.mac_byte(), self.host]
    }

    /// Its address.
    #[must_use]
    pub fn address(&self, family: Family) -> IpAddr {
        self.net.address(family, self.host)
    }
}

/// How the directors stand between clients and real servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Everyone on one network; directors forward out of the interface the packet came in by.
    #[default]
    OneArmed,
    /// Clients and real servers on two networks; directors are on both, and a plain router carries the replies.
    TwoArmed,
}

impl Topology {
    /// `one-armed` or `two-armed`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneArmed => "one-armed",
            Self::TwoArmed => "two-armed",
        }
    }

    /// The network that clients, and so the VIP, are on.
    #[must_use]
    pub const fn client_net(self) -> Net {
        match self {
            Self::OneArmed => Net::Server,
            Self::TwoArmed => Net::Client,
        }
    }

    /// The networks there are.
    #[must_use]
    pub const fn nets(self) -> &'static [Net] {
        match self {
            Self::OneArmed => &[Net::Server],
            Self::TwoArmed => &[Net::Server, Net::Client],
        }
    }

    /// The virtual server's address. The lab gives it to nobody: that is `lbctl`'s work.
    #[must_use]
    pub fn vip(self, family: Family) -> IpAddr {
        self.client_net().address(family, 15)
    }

    /// The nodes of this topology, web3 if asked for.
    #[must_use]
    pub fn nodes(self, has_web3: bool) -> Vec<Node> {
        Node::ALL
            .into_iter()
            .filter(|node| match node {
                Node::Web3 => has_web3,
                Node::Router => self == Self::TwoArmed,
                Node::Client | Node::Lvs1 | Node::Lvs2 | Node::Web1 | Node::Web2 => true,
            })
            .collect()
    }

    /// The interfaces of `node`; the first is `eth0`. Empty for a node that this topology does not have.
    #[must_use]
    pub fn interfaces(self, node: Node) -> Vec<Interface> {
        let on = |name, net, host| Interface { name, net, host };
        match (self, node) {
            (_, Node::Client) => vec![on("eth0", self.client_net(), 10)],
            (Self::OneArmed, Node::Lvs1) => vec![on("eth0", Net::Server, 2)],
            (Self::OneArmed, Node::Lvs2) => vec![on("eth0", Net::Server, 3)],
            (Self::TwoArmed, Node::Lvs1) => vec![on("eth0", Net::Client, 1), on("eth1", Net::Server, 2)],
            (Self::TwoArmed, Node::Lvs2) => vec![on("eth0", Net::Client, 2), on("eth1", Net::Server, 3)],
            (_, Node::Web1) => vec![on("eth0", Net::Server, 100)],
            (_, Node::Web2) => vec![on("eth0", Net::Server, 200)],
            (_, Node::Web3) => vec![on("eth0", Net::Server, 150)],
            (Self::OneArmed, Node::Router) => vec![],
            (Self::TwoArmed, Node::Router) => {
                vec![on("eth0", Net::Client, 254), on("eth1", Net::Server, 254)]
            }
        }
    }

    /// Routes of `node` beyond its own networks: destination prefix and gateway.
    #[must_use]
    pub fn routes(self, node: Node) -> Vec<(&'static str, IpAddr)> {
        let via_router = |to: Net, from: Net| {
            [Family::V4, Family::V6].map(|family| (to.prefix(family), from.address(family, 254))).to_vec()
        };
        match (self, node) {
            (Self::TwoArmed, Node::Web1 | Node::Web2 | Node::Web3) => via_router(Net::Client, Net::Server),
            (Self::TwoArmed, Node::Client) => via_router(Net::Server, Net::Client),
            (Self::OneArmed, _) | (Self::TwoArmed, Node::Lvs1 | Node::Lvs2 | Node::Router) => vec![],
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no topology.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownTopology(String);

impl fmt::Display for UnknownTopology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no topology is called \"{}\"; there are one-armed and two-armed", self.0)
    }
}

impl std::error::Error for UnknownTopology {}

impl FromStr for Topology {
    type Err = UnknownTopology;

    fn from_str(name: &str) -> Result<Self, UnknownTopology> {
        [Self::OneArmed, Self::TwoArmed]
            .into_iter()
            .find(|topology| topology.name() == name)
            .ok_or_else(|| UnknownTopology(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_the_plan() {
        let eth0 = |topology: Topology, node| topology.interfaces(node)[0];
        let web1 = eth0(Topology::OneArmed, Node::Web1);
        assert_eq!(web1.address(Family::V4).to_string(), "192.168.4.100");
        assert_eq!(web1.address(Family::V6).to_string(), "2001:db8:4::100");
        assert_eq!(web1.mac(), [2, 0, 0, 0, 4, 100]);
        assert_eq!(eth0(Topology::TwoArmed, Node::Lvs1).address(Family::V4).to_string(), "10.0.0.1");
        assert_eq!(Topology::OneArmed.vip(Family::V6).to_string(), "2001:db8:4::15");
        assert_eq!(Topology::TwoArmed.vip(Family::V4).to_string(), "10.0.0.15");
    }

    #[test]
    fn no_two_interfaces_share_an_address() {
        for topology in [Topology::OneArmed, Topology::TwoArmed] {
            let mut macs: Vec<_> = topology
                .nodes(true)
                .into_iter()
                .flat_map(|node| topology.interfaces(node))
                .map(|interface| interface.mac())
                .collect();
            let all = macs.len();
            macs.sort_unstable();
            macs.dedup();
            assert_eq!(macs.len(), all, "{topology}");
        }
    }

    #[test]
    fn names_parse_back() {
        for node in Node::ALL {
            assert_eq!(node.name().parse(), Ok(node));
        }
        assert_eq!("two-armed".parse(), Ok(Topology::TwoArmed));
        let error = "web9".parse::<Node>().unwrap_err().to_string();
        assert!(error.contains("web9") && error.contains("web1"), "{error}");
    }
}

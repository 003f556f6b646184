//! The configuration as it is meant: every value is in range and every cross-reference holds.
//!
//! Only [`Config::parse`](super::Config::parse) and [`Config::load`](super::Config::load) make one from text.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::checks::{ServerHealth, ServiceHealth};
use super::diagnostics::Diagnostic;
use super::notifications::Notifications;
use super::scheduling::{ConnectionRules, Scheduling, Thresholds};
use super::vrrp::Vrrp;
use crate::process::Script;

/// Everything one configuration file says.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    /// What concerns the director itself.
    pub director: Director,
    /// Who is told of what happens.
    pub notifications: Notifications,
    /// In the order of the file, at most 65,535; address, port and protocol differ pairwise.
    pub virtual_servers: Vec<VirtualServer>,
    /// Virtual routers that this director takes part in.
    pub vrrp: Vrrp,
    /// What is legal but probably not meant, in the order of the file.
    #[serde(skip)]
    pub warnings: Vec<Diagnostic>,
}

/// The `[director]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Director {
    /// The director's name in logs and lists; 1 to 64 bytes without control characters.
    pub router_id: String,
    /// Interfaces that XDP is attached to: at most 16 distinct, valid Linux names; none only without virtual servers.
    pub interfaces: Vec<String>,
    /// How XDP is attached.
    pub xdp_mode: XdpMode,
    /// Entries of the IPv4 connection table, 1,024 to 64,000,000.
    pub max_connections: u32,
    /// Entries of the IPv6 connection table, 256 to 64,000,000.
    pub max_connections_ipv6: u32,
    /// Connections of both families by full NAT, 256 to 33,554,432.
    pub max_full_nat_connections: u32,
    /// Whether `up` puts the virtual servers' addresses on an interface and `down` removes them.
    pub manage_addresses: bool,
    /// Timeouts of connections, and what ends them early.
    #[serde(flatten)]
    pub connection_rules: ConnectionRules,
}

/// How XDP is attached to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// Native where it works, else generic.
    #[default]
    Auto,
    /// In the driver; an interface that cannot is an error.
    Native,
    /// In the network stack, after the socket buffer is allocated; works everywhere, slower.
    Generic,
}

/// One `[[virtual_server]]`: the address clients connect to, and who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VirtualServer {
    /// The VIP: unicast, neither unspecified nor loopback nor IPv6 link-local. The first one of a group.
    pub address: IpAddr,
    /// Host byte order; 0 means every port that no other virtual server of this address names. Of a group, the
    /// first address's.
    pub port: u16,
    /// The transport that is balanced.
    pub protocol: Protocol,
    /// How a new connection's real server is chosen.
    pub scheduler: Scheduler,
    /// How a packet gets to a real server that does not say so itself.
    pub forwarding: Forwarding,
    /// What else decides about new connections.
    #[serde(flatten)]
    pub scheduling: Scheduling,
    /// In the order of the file, which is the order `rr` and `wrr` go round; pairs of address and port differ. May be
    /// empty.
    pub real_servers: Vec<RealServer>,
    /// Run when there is a quorum again, and when there is none any more.
    pub quorum_commands: UpDown,
    /// What is done about the health of its real servers.
    pub health: ServiceHealth,
}

/// Commands that are run when something goes up and when it goes down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UpDown {
    /// Run when it has come up.
    pub up: Option<Script>,
    /// Run when it has gone down.
    pub down: Option<Script>,
}

/// The transport protocol of a virtual server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// IP protocol 6.
    #[default]
    Tcp,
    /// IP protocol 17.
    Udp,
}

/// How a new connection's real server is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Round robin: each real server in turn, whatever its weight (but 0).
    Rr,
    /// Weighted round robin, in the sequence of IPVS (`ip_vs_wrr.c`).
    #[default]
    Wrr,
    /// Least connections.
    Lc,
    /// Least connections for its weight.
    Wlc,
    /// Shortest expected delay: as `wlc` after the new connection.
    Sed,
    /// Never queue: an idle real server, else as `sed`.
    Nq,
    /// By a hash of the client's address.
    Sh,
    /// By a hash of the virtual address.
    Dh,
    /// By Maglev's consistent hash of the client's address.
    Mh,
    /// The highest weight alone.
    Fo,
    /// The highest weight that has no more active connections than its weight.
    Ovf,
    /// By the virtual address, by `wlc` where that real server is overloaded.
    Lblc,
    /// As `lblc`, with a set of real servers for each virtual address.
    Lblcr,
    /// The better one by `wlc` of two chosen at random by weight.
    Twos,
}

/// How a packet gets to its real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Forwarding {
    /// Direct routing: only the MAC addresses change, replies go straight to the client.
    #[default]
    Dr,
    /// Network address translation: the destination becomes the real server's address and port; replies come back
    /// through the director, which is the real server's gateway.
    Nat,
    /// Tunnel: the packet goes whole inside another one to the real server's address, replies go straight to the
    /// client.
    Tun,
    /// As [`Forwarding::Nat`], and the source becomes an address of the director, so that replies come back to it
    /// whatever the real server's gateway is.
    #[serde(rename = "full_nat")]
    FullNat,
}

/// One `[[virtual_server.real_server]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RealServer {
    /// The RIP: unicast, not the VIP, and but in a tunnel of the virtual server's address family. May be the
    /// director's own.
    pub address: IpAddr,
    /// Equal to the virtual server's port where that is 0 or `forwarding` does not translate. 0, the one that the client
    /// used, below a group of several ports or with a firewall mark.
    pub port: u16,
    /// 0 to 65,535. 0 quiesces: old connections stay, no new ones come.
    pub weight: u32,
    /// How packets get to it: its own word, else the virtual server's.
    pub forwarding: Forwarding,
    /// Run when its checks succeed again, and when they fail.
    pub commands: UpDown,
    /// How many connections it takes.
    #[serde(flatten)]
    pub thresholds: Thresholds,
    /// How its health is found out, and what is done about it.
    pub health: ServerHealth,
}

impl XdpMode {
    /// The word of the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            XdpMode::Auto => "auto",
            XdpMode::Native => "native",
            XdpMode::Generic => "generic",
        }
    }
}

impl Protocol {
    /// The word of the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

impl Scheduler {
    /// The word of the configuration file, which is IPVS's.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheduler::Rr => "rr",
            Scheduler::Wrr => "wrr",
            Scheduler::Lc => "lc",
            Scheduler::Wlc => "wlc",
            Scheduler::Sed => "sed",
            Scheduler::Nq => "nq",
            Scheduler::Sh => "sh",
            Scheduler::Dh => "dh",
            Scheduler::Mh => "mh",
            Scheduler::Fo => "fo",
            Scheduler::Ovf => "ovf",
            Scheduler::Lblc => "lblc",
            Scheduler::Lblcr => "lblcr",
            Scheduler::Twos => "twos",
        }
    }
}

impl Forwarding {
    /// The word of the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Forwarding::Dr => "dr",
            Forwarding::Nat => "nat",
            Forwarding::Tun => "tun",
            Forwarding::FullNat => "full_nat",
        }
    }

    /// Does it replace the destination of packets, so that the real server may listen on another port?
    pub fn translates(self) -> bool {
        matches!(self, Forwarding::Nat | Forwarding::FullNat)
    }
}

macro_rules! display_as_str {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    )*};
}
display_as_str!(XdpMode, Protocol, Scheduler, Forwarding, super::scheduling::OnFailure);

impl Config {
    /// The addresses of all virtual servers, those of groups too.
    pub fn vips(&self) -> BTreeSet<IpAddr> {
        let endpoints = self.virtual_servers.iter().flat_map(VirtualServer::endpoints);
        endpoints.map(|(address, _)| address).collect()
    }
}

impl VirtualServer {
    /// The addresses and ports that it answers on, sorted; its own one, or those of its group.
    pub fn endpoints(&self) -> Vec<(IpAddr, u16)> {
        match &self.scheduling.group {
            Some(group) => group.addresses.clone(),
            None => vec![(self.address, self.port)],
        }
    }
}

/// `192.168.4.15:80/tcp`, `[2001:db8::15]:0/udp`.
impl fmt::Display for VirtualServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port), self.protocol)
    }
}

/// `192.168.4.100:80`, `[2001:db8::100]:80`.
impl fmt::Display for RealServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

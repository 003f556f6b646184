//! What an explanation says, as `lbctl explain --json` writes it.

use std::net::SocketAddr;

use ipnet::IpNet;
use lb_common::net::MacAddress;
use serde::{Serialize, Serializer};

use crate::net::colons;

/// What would become of the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// "lbctl/explain/v1".
    pub schema: &'static str,
    /// Address and port.
    pub client: SocketAddr,
    /// As asked for.
    pub address: SocketAddr,
    /// "TCP SYN", "TCP ACK" or "UDP".
    pub packet: &'static str,
    /// Index of the interface it comes in on.
    pub interface: u32,
    /// The virtual server that it is for, if any.
    pub virtual_server: Option<VirtualServer>,
    /// What the virtual server says of its source.
    pub source: Source,
    /// How its real server was found.
    pub choice: Option<Choice>,
    /// The real servers that a scheduler compared to choose one; none if it does not compare.
    pub compared: Vec<Compared>,
    /// Its real server, if one was found.
    pub real_server: Option<RealServer>,
    /// How it goes out, if it does.
    pub out: Option<Out>,
    /// "transmit", "redirect", "pass" or "drop".
    pub verdict: &'static str,
    /// Names of what is counted.
    pub reasons: Vec<&'static str>,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VirtualServer {
    /// "tcp" or "udp".
    pub protocol: &'static str,
    /// Address and port; port 0 for any.
    pub address: SocketAddr,
    /// As in the configuration; null: another version's.
    pub scheduler: Option<&'static str>,
}

/// What a virtual server's lists and rate say of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Of the networks in `allow` and `deny`, the longest that has it.
    pub network: Option<IpNet>,
    /// Is it kept out?
    pub denied: bool,
    /// How many connections it may open now, before this packet.
    pub rate_left: Option<u32>,
    /// How many at most, at once.
    pub rate_burst: Option<u32>,
}

/// How a real server was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// By its connection's entry.
    Connection {
        /// The entry's state.
        state: &'static str,
        /// Until it ends, if no packet comes.
        expires_in_seconds: u64,
    },
    /// By the scheduler's ring.
    Ring {
        /// From 0.
        slot: u32,
        /// Of so many.
        slots: u32,
        /// What leads to the slot.
        by: By,
    },
    /// By the scheduler, in another way: the best of those [compared](Explanation::compared).
    Scheduler,
    /// By the scheduler, as connections to the address have gone there before.
    Locality,
    /// By persistence: an earlier connection of the client's went there.
    Persistence,
    /// It is an answer of a real server to its client.
    Answer,
}

/// What leads to a slot of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The next in the scheduler's round.
    Round,
    /// A hash of the client's address, and of its port if the scheduler's flag says so.
    Client,
    /// A hash of the virtual server's address.
    Address,
    /// A hash of the whole flow: it has no entry, nor begins a connection.
    Flow,
}

/// A real server among those that a scheduler compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Address and port.
    pub address: SocketAddr,
    /// In the tables.
    pub weight: u32,
    /// Connections that IPVS calls active.
    pub active: u64,
    /// Its others.
    pub inactive: u64,
    /// It has reached its upper threshold.
    pub overloaded: bool,
}

/// A real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RealServer {
    /// Address and port; port 0: the client's.
    pub address: SocketAddr,
    /// As configured.
    pub weight: u32,
    /// Taken out of the configuration.
    pub retired: bool,
}

/// A frame on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Out {
    /// Index of the interface.
    pub interface: u32,
    /// As `02:00:00:00:00:01`.
    #[serde(serialize_with = "mac")]
    pub destination_mac: MacAddress,
    /// As `02:00:00:00:00:01`.
    #[serde(serialize_with = "mac")]
    pub source_mac: MacAddress,
    /// The tag's id.
    pub vlan: Option<u16>,
    /// Of the IP header; hop limit in IPv6.
    pub ttl: Option<u8>,
    /// Source and destination, where they are not those that it came with: port 0 if a tunnel's.
    pub translated: Option<(SocketAddr, SocketAddr)>,
}

fn mac<S: Serializer>(mac: &MacAddress, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&colons(*mac))
}

//! What these keys mean.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

/// How one virtual server treats new connections, beyond its scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Scheduling {
    /// The group whose addresses it answers on; `None` if it has one address of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// Flags of the scheduler.
    pub scheduler_flags: SchedulerFlags,
    /// Whether a client's connections stay with one real server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// UDP: each datagram is scheduled on its own, and leaves no connection entry.
    pub one_packet: bool,
    /// New connections of one source; `None` for any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<SourceRate>,
    /// Sources that may connect; if empty, all that `deny` does not name. If not, nobody else.
    #[serde(serialize_with = "networks")]
    pub allow: Vec<IpNet>,
    /// Sources that may not connect. Of networks in both lists that have an address, the longer one counts.
    #[serde(serialize_with = "networks")]
    pub deny: Vec<IpNet>,
    /// What becomes of the connections of a real server that has failed.
    pub on_failure: OnFailure,
    /// Where packets to real servers by full NAT come from.
    #[serde(flatten)]
    pub sources: LeaseRange,
}

/// Where packets to real servers by full NAT come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeaseRange {
    /// Addresses of the director, all of the virtual server's family, without duplicates. If empty, the one that the
    /// director itself has towards a real server.
    #[serde(rename = "source_addresses", skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// The first and the last port; host order.
    #[serde(rename = "source_ports", skip_serializing_if = "is_default")]
    pub ports: (u16, u16),
}

impl Default for LeaseRange {
    /// Below the ports that Linux gives to its own connections.
    fn default() -> Self {
        Self { addresses: Vec::new(), ports: (1024, 32_767) }
    }
}

fn is_default(ports: &(u16, u16)) -> bool {
    *ports == LeaseRange::default().ports
}

fn networks<S: Serializer>(networks: &[IpNet], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(networks.iter().map(ToString::to_string))
}

/// Addresses and ports that are scheduled as one virtual server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its name in the file.
    pub name: String,
    /// What ipvsadm calls it: the firewall mark of packets to these addresses. No other group of the family has it,
    /// and one virtual server at most names a group that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fwmark: Option<NonZeroU32>,
    /// All of one family, sorted, without duplicates; at least one. Ports in host order.
    pub addresses: Vec<(IpAddr, u16)>,
}

/// Flags of `sh` and `mh` (IPVS: `sh-fallback`, `sh-port`, `mh-fallback`, `mh-port`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SchedulerFlags {
    /// A client whose real server takes no new connections gets another one instead of a refusal.
    pub fallback: bool,
    /// The client's port is hashed too.
    pub port: bool,
}

/// A client's connections stay with one real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Persistence {
    /// For how long after its latest new connection; whole seconds, 1 s to 1 day.
    #[serde(serialize_with = "seconds")]
    pub timeout: Duration,
    /// Clients that agree in so many leading bits of their address count as one.
    pub prefix: u8,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

/// How many connections a source may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SourceRate {
    /// Per second; 1 to 1,000,000.
    pub rate: u32,
    /// At once, from a source that has opened none lately; 1 to 1,000,000.
    pub burst: u32,
    /// Addresses that agree in so many leading bits are one source.
    pub prefix: u8,
}

/// What becomes of the connections of a real server that has failed its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// They stay with it: it may come back before they end.
    #[default]
    Keep,
    /// Their packets are dropped.
    Drop,
    /// TCP: the client's next packet is answered with a reset. UDP: dropped.
    Reset,
}

impl OnFailure {
    /// The word of the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            OnFailure::Keep => "keep",
            OnFailure::Drop => "drop",
            OnFailure::Reset => "reset",
        }
    }
}

/// How many connections a real server takes (ipvsadm's `-x` and `-y`). 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Thresholds {
    /// With so many connections, active and inactive, it gets no new ones.
    pub upper: u32,
    /// With fewer than this it gets new ones again; 0: with fewer than three quarters of `upper`.
    pub lower: u32,
}

/// Timeouts of all connections, and what becomes of those of quiesced and removed real servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionRules {
    /// Idle time after which an established TCP connection is forgotten (`ipvsadm --set`, first).
    #[serde(serialize_with = "seconds")]
    pub tcp_timeout: Duration,
    /// The same after the client's FIN (`ipvsadm --set`, second).
    #[serde(serialize_with = "seconds")]
    pub tcp_fin_timeout: Duration,
    /// The same for UDP (`ipvsadm --set`, third).
    #[serde(serialize_with = "seconds")]
    pub udp_timeout: Duration,
    /// Persistence does not bind new connections to a real server of weight 0.
    pub expire_quiescent_template: bool,
    /// Connections of a removed real server end with their next packet.
    pub expire_nodest_conn: bool,
}

impl Default for ConnectionRules {
    /// Those of IPVS.
    fn default() -> Self {
        Self {
            tcp_timeout: Duration::from_secs(900),
            tcp_fin_timeout: Duration::from_secs(120),
            udp_timeout: Duration::from_secs(300),
            expire_quiescent_template: false,
            expire_nodest_conn: false,
        }
    }
}

//! What the tables should say.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use lb_common::conn::Ticks;
use lb_common::layout::{Method, NextHop, Rules, SchedulerCode, Service};
use lb_common::net::protocol;

use ipnet::IpNet;

use crate::config::{
    Config, ConnectionRules, Forwarding, LeaseRange, OnFailure, Persistence, Protocol, RealServer, Scheduler,
    SchedulerFlags, SourceRate, Thresholds,
};
use crate::edits::ServiceName;

/// A virtual server's name: protocol, address and port. Sorted as `ipvsadm -L` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct ServiceKey {
    /// IP protocol number.
    pub protocol: u8,
    /// VIP.
    pub address: IpAddr,
    /// Port; 0 for any.
    pub port: u16,
}

impl ServiceKey {
    /// The name of a configured virtual server, or of one of its addresses.
    pub fn new(protocol: Protocol, address: IpAddr, port: u16) -> Self {
        let protocol = match protocol {
            Protocol::Tcp => protocol::TCP,
            Protocol::Udp => protocol::UDP,
        };
        Self { protocol, address, port }
    }

    /// "TCP" or "UDP".
    pub fn protocol_name(&self) -> &'static str {
        if self.protocol == protocol::UDP { "UDP" } else { "TCP" }
    }

    /// The same as operators name it.
    pub fn name(&self) -> ServiceName {
        let protocol = if self.protocol == protocol::UDP { Protocol::Udp } else { Protocol::Tcp };
        ServiceName { protocol, address: SocketAddr::new(self.address, self.port) }
    }
}

impl From<ServiceName> for ServiceKey {
    fn from(ServiceName { protocol, address }: ServiceName) -> Self {
        let protocol = match protocol {
            Protocol::Tcp => protocol::TCP,
            Protocol::Udp => protocol::UDP,
        };
        Self { protocol, address: address.ip(), port: address.port() }
    }
}

impl PartialOrd for ServiceKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ServiceKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let family = |key: &Self| key.address.is_ipv6();
        (family(self), self.protocol, self.address, self.port).cmp(&(
            family(other),
            other.protocol,
            other.address,
            other.port,
        ))
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.protocol == protocol::UDP { "udp" } else { "tcp" };
        write!(f, "{}/{protocol}", SocketAddr::new(self.address, self.port))
    }
}

/// A real server's name within its virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct ServerKey {
    /// RIP.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
}

impl ServerKey {
    /// Address and port.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.socket())
    }
}

/// A real server of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredServer {
    /// Its name.
    pub key: ServerKey,
    /// Its weight; 0 takes no new connections.
    pub weight: u32,
    /// How packets get to it.
    pub forwarding: Forwarding,
    /// How many connections it takes.
    pub thresholds: Thresholds,
    /// It has failed its checks: [`DesiredService::on_failure`] says what becomes of its connections. That is so
    /// while its weight is 0; with a weight it is served all the same.
    pub failed: bool,
}

impl DesiredServer {
    /// By direct routing, without limits, in good health.
    pub fn new(key: ServerKey, weight: u32) -> Self {
        Self {
            key,
            weight,
            forwarding: Forwarding::default(),
            thresholds: Thresholds::default(),
            failed: false,
        }
    }
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    /// Its other names, sorted: those of a group but for the first, which is its key in [`Desired::services`].
    pub also: Vec<ServiceKey>,
    /// Who chooses the real server.
    pub scheduler: SchedulerCode,
    /// Flags of `sh` and `mh`.
    pub flags: SchedulerFlags,
    /// The real servers, in the configuration's order.
    pub servers: Vec<DesiredServer>,
    /// Whether clients stay with a real server.
    pub persistence: Option<Persistence>,
    /// Each datagram is scheduled on its own.
    pub one_packet: bool,
    /// Who may connect.
    pub admission: Admission,
    /// What becomes of connections of a real server that has failed.
    pub on_failure: OnFailure,
    /// Where packets to real servers by full NAT come from.
    pub sources: LeaseRange,
}

/// Who may connect to a virtual server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// New connections of one source.
    pub rate_limit: Option<SourceRate>,
    /// See [`crate::config::Scheduling::allow`]; sorted.
    pub allow: Vec<IpNet>,
    /// See [`crate::config::Scheduling::deny`]; sorted.
    pub deny: Vec<IpNet>,
}

impl DesiredService {
    /// With one name and nothing but these.
    pub fn new(scheduler: SchedulerCode, servers: Vec<DesiredServer>) -> Self {
        Self {
            also: Vec::new(),
            scheduler,
            flags: SchedulerFlags::default(),
            servers,
            persistence: None,
            one_packet: false,
            admission: Admission::default(),
            on_failure: OnFailure::default(),
            sources: LeaseRange::default(),
        }
    }

    /// The flags of [`Service`], but for [`Service::STANDBY`].
    pub(super) fn service_flags(&self) -> u16 {
        let flag = |flag, is_set| if is_set { flag } else { 0 };
        let Admission { rate_limit, allow, deny } = &self.admission;
        flag(Service::ONE_PACKET, self.one_packet)
            | flag(Service::LISTED, !allow.is_empty() || !deny.is_empty())
            | flag(Service::RATED, rate_limit.is_some())
    }

    /// How long persistence lasts.
    pub(crate) fn persistence_ticks(&self) -> Option<u32> {
        let seconds = u32::try_from(self.persistence?.timeout.as_secs()).unwrap_or(u32::MAX);
        Some(u32::try_from(Ticks::of_seconds(seconds)).unwrap_or(u32::MAX))
    }

    /// How new connections are scheduled.
    pub(super) fn rules(&self) -> Rules {
        let flag = |flag, is_set| if is_set { flag } else { 0 };
        Rules {
            code: self.scheduler as u8,
            flags: flag(Rules::FALLBACK, self.flags.fallback)
                | flag(Rules::PORT, self.flags.port)
                | flag(Rules::LIMITED, self.servers.iter().any(|server| server.thresholds.upper > 0)),
            prefix: self.persistence.map_or(0, |persistence| persistence.prefix),
            persistence: self.persistence_ticks().unwrap_or(0),
        }
    }

    /// What a real server's next hop says about its failure.
    pub(super) fn failure_flags(&self, server: &DesiredServer) -> u8 {
        let failed = server.failed && server.weight == 0;
        match self.on_failure {
            OnFailure::Drop if failed => NextHop::FAILED_DROP,
            OnFailure::Reset if failed => NextHop::FAILED_RESET,
            OnFailure::Keep | OnFailure::Drop | OnFailure::Reset => 0,
        }
    }
}

/// All virtual servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// By name; those of a group by the lowest of its names.
    pub services: BTreeMap<ServiceKey, DesiredService>,
    /// Timeouts of all connections, and what ends them early.
    pub rules: ConnectionRules,
}

/// The datapath's word for a scheduler.
fn code(scheduler: Scheduler) -> SchedulerCode {
    match scheduler {
        Scheduler::Rr => SchedulerCode::Rr,
        Scheduler::Wrr => SchedulerCode::Wrr,
        Scheduler::Lc => SchedulerCode::Lc,
        Scheduler::Wlc => SchedulerCode::Wlc,
        Scheduler::Sed => SchedulerCode::Sed,
        Scheduler::Nq => SchedulerCode::Nq,
        Scheduler::Sh => SchedulerCode::Sh,
        Scheduler::Dh => SchedulerCode::Dh,
        Scheduler::Mh => SchedulerCode::Mh,
        Scheduler::Fo => SchedulerCode::Fo,
        Scheduler::Ovf => SchedulerCode::Ovf,
        Scheduler::Lblc => SchedulerCode::Lblc,
        Scheduler::Lblcr => SchedulerCode::Lblcr,
        Scheduler::Twos => SchedulerCode::Twos,
    }
}

/// The datapath's word for a forwarding method.
pub fn method(forwarding: Forwarding) -> Method {
    match forwarding {
        Forwarding::Dr => Method::DirectRouting,
        Forwarding::Nat => Method::Nat,
        Forwarding::Tun => Method::Tunnel,
        Forwarding::FullNat => Method::FullNat,
    }
}

impl Desired {
    /// What the configuration asks for.
    pub fn from_config(config: &Config) -> Self {
        let services = config.virtual_servers.iter().filter_map(|server| {
            let protocol = match server.protocol {
                Protocol::Tcp => protocol::TCP,
                Protocol::Udp => protocol::UDP,
            };
            let name = |(address, port)| ServiceKey { protocol, address, port };
            let mut names: Vec<ServiceKey> = server.endpoints().into_iter().map(name).collect();
            names.sort_unstable();
            let mut names = names.into_iter();
            let first = names.next()?;
            let scheduling = &server.scheduling;
            let real_server = |real: &RealServer| DesiredServer {
                key: ServerKey { address: real.address, port: real.port },
                weight: real.weight,
                forwarding: real.forwarding,
                thresholds: real.thresholds,
                failed: false,
            };
            let service = DesiredService {
                also: names.collect(),
                scheduler: code(server.scheduler),
                flags: scheduling.scheduler_flags,
                servers: server.real_servers.iter().map(real_server).collect(),
                persistence: scheduling.persistence,
                one_packet: scheduling.one_packet,
                admission: Admission {
                    rate_limit: scheduling.rate_limit,
                    allow: scheduling.allow.clone(),
                    deny: scheduling.deny.clone(),
                },
                on_failure: scheduling.on_failure,
                sources: scheduling.sources.clone(),
            };
            Some((first, service))
        });
        Self { services: services.collect(), rules: config.director.connection_rules.clone() }
    }

    /// The addresses of all real servers.
    pub fn real_addresses(&self) -> std::collections::BTreeSet<IpAddr> {
        self.services.values().flat_map(|service| &service.servers).map(|server| server.key.address).collect()
    }
}

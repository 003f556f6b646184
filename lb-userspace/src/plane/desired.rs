//! What the tables should say.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use lb_common::layout::SchedulerCode;
use lb_common::net::protocol;

use crate::config::{Config, Protocol, Scheduler};

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
    /// "TCP" or "UDP".
    pub fn protocol_name(&self) -> &'static str {
        if self.protocol == protocol::UDP { "UDP" } else { "TCP" }
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
        write!(f, "{}/{protocol}", std::net::SocketAddr::new(self.address, self.port))
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

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::net::SocketAddr::new(self.address, self.port))
    }
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    /// Who chooses the real server.
    pub scheduler: SchedulerCode,
    /// The real servers and their weights, in the configuration's order.
    pub servers: Vec<(ServerKey, u32)>,
}

/// All virtual servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// By name.
    pub services: BTreeMap<ServiceKey, DesiredService>,
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

impl Desired {
    /// What the configuration asks for.
    pub fn from_config(config: &Config) -> Self {
        let services = config.virtual_servers.iter().map(|server| {
            let key = ServiceKey {
                protocol: match server.protocol {
                    Protocol::Tcp => protocol::TCP,
                    Protocol::Udp => protocol::UDP,
                },
                address: server.address,
                port: server.port,
            };
            let service = DesiredService {
                scheduler: code(server.scheduler),
                servers: server
                    .real_servers
                    .iter()
                    .map(|real| (ServerKey { address: real.address, port: real.port }, real.weight))
                    .collect(),
            };
            (key, service)
        });
        Self { services: services.collect() }
    }

    /// The addresses of all real servers.
    pub fn real_addresses(&self) -> std::collections::BTreeSet<IpAddr> {
        self.services
            .values()
            .flat_map(|service| &service.servers)
            .map(|(server, _)| server.address)
            .collect()
    }
}

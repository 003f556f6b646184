//! What a listing shows of the configuration in force that the tables do not say: flags, persistence,
//! limits. The daemon keeps it in the runtime directory, so a listing works when it is down.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use lb_common::net::protocol;

use crate::config::{Config, Protocol};
use crate::plane::desired::ServiceKey;
use crate::save::{Saved, SavedService, SavedTimeouts};

/// Of all virtual servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    services: BTreeMap<ServiceKey, OfService>,
    /// The tables have these in ticks of more than a second.
    timeouts: Option<SavedTimeouts>,
}

/// Of one virtual server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfService {
    /// The firewall mark that names it; 0: none does.
    pub mark: u32,
    /// The scheduler's `fallback` flag.
    pub fallback: bool,
    /// The scheduler's `port` flag.
    pub port: bool,
    /// Seconds.
    pub persistent: Option<u32>,
    /// Leading bits of a client's address that count.
    pub prefix: u8,
    /// Each datagram on its own.
    pub one_packet: bool,
    /// By real server.
    pub servers: Vec<OfServer>,
}

/// Of one real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfServer {
    /// Address and port.
    pub address: SocketAddr,
    /// 0: no limit.
    pub upper_threshold: u32,
    /// 0: three quarters of the upper one.
    pub lower_threshold: u32,
}

impl Attributes {
    /// Of a configuration; each address of a group is a virtual server of its own.
    pub fn of(config: &Config) -> Self {
        Self::from(&Saved::of(config, config))
    }

    /// Of a virtual server; defaults if it is not known.
    pub fn service(&self, key: &ServiceKey) -> OfService {
        self.services.get(key).cloned().unwrap_or_default()
    }

    /// Timeouts of connections, to the second; `None` if they are not known.
    pub fn timeouts(&self) -> Option<SavedTimeouts> {
        self.timeouts
    }

    /// Reads them from the record of what is served; without one there are none.
    pub fn read(path: &Path) -> Self {
        Saved::read(path).as_ref().map(Self::from).unwrap_or_default()
    }
}

impl From<&Saved> for Attributes {
    fn from(saved: &Saved) -> Self {
        let services = saved.virtual_servers.iter().map(|service| (key(service), OfService::from(service)));
        Self { services: services.collect(), timeouts: Some(saved.timeouts) }
    }
}

fn key(service: &SavedService) -> ServiceKey {
    let is_udp = service.protocol == Protocol::Udp.as_str();
    ServiceKey {
        protocol: if is_udp { protocol::UDP } else { protocol::TCP },
        address: service.address.ip(),
        port: service.address.port(),
    }
}

impl From<&SavedService> for OfService {
    fn from(service: &SavedService) -> Self {
        let has = |end: &str| service.scheduler_flags.iter().any(|flag| flag.ends_with(end));
        let persistent = service.persistence_timeout;
        let whole = if service.address.is_ipv4() { 32 } else { 128 };
        Self {
            mark: service.mark(),
            fallback: has("-fallback"),
            port: has("-port"),
            persistent: persistent.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
            prefix: persistent.map_or(0, |_| service.persistence_granularity.unwrap_or(whole)),
            one_packet: service.one_packet,
            servers: service
                .real_servers
                .iter()
                .map(|real| OfServer {
                    address: real.address,
                    upper_threshold: real.upper_threshold,
                    lower_threshold: real.lower_threshold,
                })
                .collect(),
        }
    }
}

impl OfService {
    /// Of a real server; defaults if it is not known.
    pub fn server(&self, address: SocketAddr) -> OfServer {
        let found = self.servers.iter().find(|server| server.address == address).copied();
        found.unwrap_or(OfServer { address, upper_threshold: 0, lower_threshold: 0 })
    }
}

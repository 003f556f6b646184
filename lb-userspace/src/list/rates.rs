//! Rates per second, as IPVS estimates them (kernel `net/netfilter/ipvs/ip_vs_est.c`).
//!
//! Every [`PERIOD`] each average moves a quarter of the way to the rate of the period that ended: a window of
//! about 8 seconds. The daemon calls [`Estimators::tick`]; there is no clock here.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use lb_common::layout::Traffic;
use serde::{Deserialize, Serialize};

use super::snapshot::VirtualServer;
use crate::plane::desired::{ServerKey, ServiceKey};

/// The time from one tick to the next.
pub const PERIOD: Duration = Duration::from_secs(2);

/// Rates per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// New connections.
    pub connections: u64,
    /// Packets forwarded.
    pub packets: u64,
    /// Their bytes from the IP header on.
    pub bytes: u64,
    /// Answers translated.
    #[serde(default)]
    pub out_packets: u64,
    /// Their bytes.
    #[serde(default)]
    pub out_bytes: u64,
}

/// One estimator: averages scaled by 2^10 (connections, packets) and 2^5 (bytes), as in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimator {
    connections: u64,
    packets: u64,
    bytes: u64,
    out_packets: u64,
    out_bytes: u64,
}

impl Estimator {
    /// Ends a period in which this much more was counted.
    pub fn tick(&mut self, more: Traffic) {
        // The scale, divided by the period's two seconds.
        let step = |average: &mut u64, more: u64, shift: u32| {
            let rate = i128::from(more) << (shift - 1);
            let next = i128::from(*average) + ((rate - i128::from(*average)) >> 2);
            *average = u64::try_from(next).unwrap_or(u64::MAX);
        };
        step(&mut self.connections, more.connections, 10);
        step(&mut self.packets, more.packets, 10);
        step(&mut self.bytes, more.bytes, 5);
        step(&mut self.out_packets, more.out_packets, 10);
        step(&mut self.out_bytes, more.out_bytes, 5);
    }

    /// The rates now, rounded as the kernel does (`ip_vs_read_estimator`).
    pub fn rate(&self) -> Rate {
        Rate {
            connections: self.connections.saturating_add(0x1ff) >> 10,
            packets: self.packets.saturating_add(0x1ff) >> 10,
            bytes: self.bytes.saturating_add(0xf) >> 5,
            out_packets: self.out_packets.saturating_add(0x1ff) >> 10,
            out_bytes: self.out_bytes.saturating_add(0xf) >> 5,
        }
    }
}

/// The estimators of all virtual servers and real servers.
#[derive(Clone, Debug, Default)]
pub struct Estimators {
    services: HashMap<ServiceKey, Estimator>,
    servers: HashMap<(ServiceKey, ServerKey), (Estimator, Traffic)>,
}

impl Estimators {
    /// Ends a period for all, with the counters as they are now.
    ///
    /// Who is seen for the first time starts with rates of 0, whatever its counters say: it may have been
    /// counting since before this process. A counter that went back was cleared, and starts anew.
    pub fn tick(&mut self, virtual_servers: &[VirtualServer]) {
        let mut services = HashMap::new();
        let mut servers = HashMap::new();
        for service in virtual_servers {
            let mut sum = Traffic::default();
            for server in &service.real_servers {
                let (mut estimator, last) = self
                    .servers
                    .get(&(service.key, server.key))
                    .copied()
                    .unwrap_or((Estimator::default(), server.traffic));
                let more = Traffic {
                    connections: server.traffic.connections.saturating_sub(last.connections),
                    packets: server.traffic.packets.saturating_sub(last.packets),
                    bytes: server.traffic.bytes.saturating_sub(last.bytes),
                    out_packets: server.traffic.out_packets.saturating_sub(last.out_packets),
                    out_bytes: server.traffic.out_bytes.saturating_sub(last.out_bytes),
                };
                estimator.tick(more);
                servers.insert((service.key, server.key), (estimator, server.traffic));
                sum.connections = sum.connections.saturating_add(more.connections);
                sum.packets = sum.packets.saturating_add(more.packets);
                sum.bytes = sum.bytes.saturating_add(more.bytes);
                sum.out_packets = sum.out_packets.saturating_add(more.out_packets);
                sum.out_bytes = sum.out_bytes.saturating_add(more.out_bytes);
            }
            let mut estimator = self.services.get(&service.key).copied().unwrap_or_default();
            estimator.tick(sum);
            services.insert(service.key, estimator);
        }
        *self = Self { services, servers };
    }

    /// Begins at 0 with one virtual server and its real servers, or with all.
    pub fn reset(&mut self, only: Option<ServiceKey>) {
        let is_meant = |key: &ServiceKey| only.is_none_or(|only| only == *key);
        self.services.retain(|key, _| !is_meant(key));
        for ((key, _), (estimator, _)) in &mut self.servers {
            if is_meant(key) {
                *estimator = Estimator::default();
            }
        }
    }

    /// The rates now.
    pub fn rates(&self) -> Rates {
        Rates {
            services: self.services.iter().map(|(key, estimator)| (*key, estimator.rate())).collect(),
            servers: self.servers.iter().map(|(key, (estimator, _))| (*key, estimator.rate())).collect(),
        }
    }
}

/// What the estimators say, as the daemon hands it to a command: in JSON a list of [`Record`]s.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<Record>", from = "Vec<Record>")]
pub struct Rates {
    services: BTreeMap<ServiceKey, Rate>,
    servers: BTreeMap<(ServiceKey, ServerKey), Rate>,
}

impl Rates {
    /// A virtual server's; 0 if the daemon has not measured it yet.
    pub fn of_service(&self, service: &ServiceKey) -> Rate {
        self.services.get(service).copied().unwrap_or_default()
    }

    /// A real server's; 0 if the daemon has not measured it yet.
    pub fn of_server(&self, service: &ServiceKey, server: &ServerKey) -> Rate {
        self.servers.get(&(*service, *server)).copied().unwrap_or_default()
    }
}

/// One line of [`Rates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// IP protocol number.
    pub protocol: u8,
    /// VIP and port.
    pub virtual_server: SocketAddr,
    /// RIP and port; none in the virtual server's own record.
    pub real_server: Option<SocketAddr>,
    /// Its rates.
    #[serde(flatten)]
    pub rate: Rate,
}

impl From<Rates> for Vec<Record> {
    fn from(rates: Rates) -> Self {
        let record = |service: ServiceKey, server: Option<ServerKey>, rate| Record {
            protocol: service.protocol,
            virtual_server: SocketAddr::new(service.address, service.port),
            real_server: server.map(|server| SocketAddr::new(server.address, server.port)),
            rate,
        };
        let Rates { services, servers } = rates;
        let services = services.into_iter().map(|(service, rate)| record(service, None, rate));
        let servers =
            servers.into_iter().map(|((service, server), rate)| record(service, Some(server), rate));
        services.chain(servers).collect()
    }
}

impl From<Vec<Record>> for Rates {
    fn from(records: Vec<Record>) -> Self {
        let mut rates = Self::default();
        for Record { protocol, virtual_server, real_server, rate } in records {
            let service = ServiceKey { protocol, address: virtual_server.ip(), port: virtual_server.port() };
            match real_server {
                None => rates.services.insert(service, rate),
                Some(server) => {
                    let server = ServerKey { address: server.ip(), port: server.port() };
                    rates.servers.insert((service, server), rate)
                }
            };
        }
        rates
    }
}

//! What a listing shows of the configuration in force that the tables do not say: flags, persistence,
//! limits. The daemon keeps it in the runtime directory, so a listing works when it is down.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::edits::ServiceName;
use crate::plane::desired::ServiceKey;

const SCHEMA: &str = "lbctl/services/v1";

/// Of all virtual servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(BTreeMap<ServiceKey, OfService>);

/// Of one virtual server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfService {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfServer {
    /// Address and port.
    pub address: std::net::SocketAddr,
    /// 0: no limit.
    pub upper_threshold: u32,
    /// 0: three quarters of the upper one.
    pub lower_threshold: u32,
}

#[derive(Serialize, Deserialize)]
struct File {
    schema: String,
    services: Vec<(ServiceName, OfService)>,
}

impl Attributes {
    /// Of a configuration; each address of a group is a virtual server of its own.
    pub fn of(config: &Config) -> Self {
        let mut all = BTreeMap::new();
        for server in &config.virtual_servers {
            let keys = &server.scheduling;
            let of_service = OfService {
                fallback: keys.scheduler_flags.fallback,
                port: keys.scheduler_flags.port,
                persistent: keys
                    .persistence
                    .map(|found| u32::try_from(found.timeout.as_secs()).unwrap_or(u32::MAX)),
                prefix: keys.persistence.map_or(0, |found| found.prefix),
                one_packet: keys.one_packet,
                servers: server
                    .real_servers
                    .iter()
                    .map(|real| OfServer {
                        address: std::net::SocketAddr::new(real.address, real.port),
                        upper_threshold: real.thresholds.upper,
                        lower_threshold: real.thresholds.lower,
                    })
                    .collect(),
            };
            let key = ServiceKey::from(ServiceName::of(server));
            let also = keys.group.iter().flat_map(|group| &group.addresses);
            for (address, port) in also {
                let key = ServiceKey { address: *address, port: *port, ..key };
                all.insert(key, of_service.clone());
            }
            all.insert(key, of_service);
        }
        Self(all)
    }

    /// Of a virtual server; defaults if it is not known.
    pub fn service(&self, key: &ServiceKey) -> OfService {
        self.0.get(key).cloned().unwrap_or_default()
    }

    /// Reads them; an absent file, or one of another version, means none.
    pub fn read(path: &Path) -> Self {
        let file: Option<File> = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let services = file.filter(|file| file.schema == SCHEMA).map(|file| file.services);
        Self(services.into_iter().flatten().map(|(name, found)| (ServiceKey::from(name), found)).collect())
    }

    /// Replaces the file at once.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let services = self.0.iter().map(|(key, found)| (key.name(), found.clone())).collect();
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(&File { schema: SCHEMA.to_owned(), services })?)?;
        fs::rename(new, path)
    }
}

impl OfService {
    /// Of a real server; defaults if it is not known.
    pub fn server(&self, address: std::net::SocketAddr) -> OfServer {
        let found = self.servers.iter().find(|server| server.address == address).copied();
        found.unwrap_or(OfServer { address, upper_threshold: 0, lower_threshold: 0 })
    }
}

//! Where the tables are: in the kernel, or in plain memory for tests and simulations.

use std::net::IpAddr;

use aya::maps::MapError;
use lb_common::conn::{Bucket4, Bucket6};
use lb_common::layout::{Destination, Schedule, Service, ServiceKey4, ServiceKey6, Settings, Traffic};
use lb_common::memory::MemoryTables;
use lb_common::word::Word;

use super::desired::ServiceKey;
use crate::dataplane::tables::Tables;

/// A table that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The services.
    #[error("the table of virtual servers cannot be {action}")]
    Services {
        /// "read" or "changed".
        action: &'static str,
        /// The kernel's answer.
        #[source]
        source: MapError,
    },
    /// The counters.
    #[error("the counters of a real server cannot be {action}")]
    Traffic {
        /// "read" or "changed".
        action: &'static str,
        /// The kernel's answer.
        #[source]
        source: MapError,
    },
}

/// The tables that a plan is made for.
pub trait Store {
    /// The settings.
    fn settings(&self) -> &Settings;
    /// Schedules by service id.
    fn schedules(&self) -> &[Schedule];
    /// Words of the rings.
    fn rings(&self) -> &[Word];
    /// Destinations by id.
    fn destinations(&self) -> &[Destination];
    /// IPv4 connections.
    fn connections4(&self) -> &[Bucket4];
    /// IPv6 connections.
    fn connections6(&self) -> &[Bucket6];
    /// All virtual servers and their ids.
    fn services(&self) -> Result<Vec<(ServiceKey, u16)>, StoreError>;
    /// Adds a virtual server.
    fn insert_service(&mut self, key: &ServiceKey, id: u16) -> Result<(), StoreError>;
    /// Removes a virtual server, if it is there.
    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), StoreError>;
    /// A destination's counters.
    fn traffic(&self, destination: u32) -> Result<Traffic, StoreError>;
    /// Sets a destination's counters to zero.
    fn clear_traffic(&mut self, destination: u32) -> Result<(), StoreError>;
}

enum Family {
    Four(ServiceKey4),
    Six(ServiceKey6),
}

fn to_family(key: &ServiceKey) -> Family {
    let (port, protocol) = (key.port.to_be_bytes(), key.protocol);
    match key.address {
        IpAddr::V4(address) => {
            Family::Four(ServiceKey4 { address: address.octets(), port, protocol, zero: 0 })
        }
        IpAddr::V6(address) => {
            Family::Six(ServiceKey6 { address: address.octets(), port, protocol, zero: 0 })
        }
    }
}

fn from_key4(key: &ServiceKey4) -> ServiceKey {
    ServiceKey {
        protocol: key.protocol,
        address: IpAddr::from(key.address),
        port: u16::from_be_bytes(key.port),
    }
}

fn from_key6(key: &ServiceKey6) -> ServiceKey {
    ServiceKey {
        protocol: key.protocol,
        address: IpAddr::from(key.address),
        port: u16::from_be_bytes(key.port),
    }
}

impl Store for Tables {
    fn settings(&self) -> &Settings {
        self.settings()
    }

    fn schedules(&self) -> &[Schedule] {
        &self.schedules
    }

    fn rings(&self) -> &[Word] {
        &self.rings
    }

    fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    fn connections4(&self) -> &[Bucket4] {
        &self.connections4
    }

    fn connections6(&self) -> &[Bucket6] {
        &self.connections6
    }

    fn services(&self) -> Result<Vec<(ServiceKey, u16)>, StoreError> {
        let read = |source| StoreError::Services { action: "read", source };
        let four = self.services4.iter().map(|item| item.map(|(key, service)| (from_key4(&key), service.id)));
        let six = self.services6.iter().map(|item| item.map(|(key, service)| (from_key6(&key), service.id)));
        four.chain(six).collect::<Result<_, _>>().map_err(read)
    }

    fn insert_service(&mut self, key: &ServiceKey, id: u16) -> Result<(), StoreError> {
        let service = Service { id, zero: [0; 6] };
        match to_family(key) {
            Family::Four(key) => self.services4.insert(key, service, 0),
            Family::Six(key) => self.services6.insert(key, service, 0),
        }
        .map_err(|source| StoreError::Services { action: "changed", source })
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), StoreError> {
        let removed = match to_family(key) {
            Family::Four(key) => self.services4.remove(&key),
            Family::Six(key) => self.services6.remove(&key),
        };
        match removed {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(source) => Err(StoreError::Services { action: "changed", source }),
        }
    }

    fn traffic(&self, destination: u32) -> Result<Traffic, StoreError> {
        Tables::traffic(self, destination).map_err(|source| StoreError::Traffic { action: "read", source })
    }

    fn clear_traffic(&mut self, destination: u32) -> Result<(), StoreError> {
        Tables::clear_traffic(self, destination)
            .map_err(|source| StoreError::Traffic { action: "changed", source })
    }
}

impl Store for MemoryTables {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn schedules(&self) -> &[Schedule] {
        &self.schedules
    }

    fn rings(&self) -> &[Word] {
        &self.rings
    }

    fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    fn connections4(&self) -> &[Bucket4] {
        &self.connections4
    }

    fn connections6(&self) -> &[Bucket6] {
        &self.connections6
    }

    fn services(&self) -> Result<Vec<(ServiceKey, u16)>, StoreError> {
        let four = self.services4.iter().map(|(key, service)| (from_key4(key), service.id));
        let six = self.services6.iter().map(|(key, service)| (from_key6(key), service.id));
        Ok(four.chain(six).collect())
    }

    fn insert_service(&mut self, key: &ServiceKey, id: u16) -> Result<(), StoreError> {
        let service = Service { id, zero: [0; 6] };
        match to_family(key) {
            Family::Four(key) => self.services4.insert(key, service),
            Family::Six(key) => self.services6.insert(key, service),
        };
        Ok(())
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), StoreError> {
        match to_family(key) {
            Family::Four(key) => self.services4.remove(&key),
            Family::Six(key) => self.services6.remove(&key),
        };
        Ok(())
    }

    fn traffic(&self, destination: u32) -> Result<Traffic, StoreError> {
        Ok(MemoryTables::traffic(self, destination))
    }

    fn clear_traffic(&mut self, destination: u32) -> Result<(), StoreError> {
        MemoryTables::clear_traffic(self, destination);
        Ok(())
    }
}

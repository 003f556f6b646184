//! Where the tables are: in the kernel, or in plain memory for tests and simulations.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::maps::MapError;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lb_common::admission::{Listing, Sources};
use lb_common::conn::{Bucket4, Bucket6};
use lb_common::layout::{
    Addresses, Answers, Destination, Detail, Load, Route, Schedule, Service, Settings, Traffic, Virtual,
};
use lb_common::lease::Lease;
use lb_common::memory::MemoryTables;
use lb_common::net::{Be16, Be32, Be128};
use lb_common::services::{self, Name4, Name6};
use lb_common::word::Word;

use super::admission::Networks;
use super::desired::ServiceKey;
use crate::dataplane::tables::Tables;

/// A table that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Too many virtual servers fall into the same part of their table.
    #[error("virtual server {key}: its part of the table is full; remove some virtual servers")]
    NoRoom {
        /// Its name.
        key: ServiceKey,
    },
    /// Networks.
    #[error("network {network} of a virtual server's `allow` or `deny` cannot be {action}")]
    Network {
        /// Which.
        network: IpNet,
        /// "written" or "removed".
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
    /// Connections of the destinations by id.
    fn loads(&self) -> &[Load];
    /// IPv4 connections.
    fn connections4(&self) -> &[Bucket4];
    /// IPv6 connections.
    fn connections6(&self) -> &[Bucket6];
    /// Buckets of the IPv4 virtual servers.
    fn services4(&self) -> &[services::Bucket4];
    /// Buckets of the IPv6 virtual servers.
    fn services6(&self) -> &[services::Bucket6];
    /// What tunnels need to know of destinations, by their ids.
    fn details(&self) -> &[Detail];
    /// Virtual servers' own addresses by service id.
    fn virtuals(&self) -> &[Virtual];
    /// Routes of answers.
    fn routes(&self) -> &[Route];
    /// Leases of flows by full NAT.
    fn leases(&self) -> &[Lease];
    /// Networks that are let in or kept out, as far as they are known: a writer knows all.
    fn networks(&self) -> Networks;
    /// Lets a network in, keeps it out, or removes it; `schedule` is the id of its virtual server's schedule.
    fn set_network(
        &mut self,
        schedule: u16,
        network: IpNet,
        listing: Option<Listing>,
    ) -> Result<(), StoreError>;
    /// Sources that have connected lately.
    fn sources(&self) -> &[Sources];
    /// A destination's counters.
    fn traffic(&self, destination: u32) -> Result<Traffic, StoreError>;
    /// Sets a destination's counters to zero.
    fn clear_traffic(&mut self, destination: u32) -> Result<(), StoreError>;
}

enum Name {
    Four(Name4),
    Six(Name6),
}

fn name(key: &ServiceKey) -> Name {
    name_of(key, key.protocol)
}

/// The name of the answers from a real server.
fn answers_name(key: &ServiceKey) -> Name {
    name_of(key, key.protocol | Answers::PROTOCOL)
}

fn name_of(key: &ServiceKey, protocol: u8) -> Name {
    let port = Be16::new(key.port);
    match key.address {
        IpAddr::V4(address) => Name::Four(Name4::new(Be32::from_wire(address.octets()), port, protocol)),
        IpAddr::V6(address) => Name::Six(Name6::new(Be128::from_wire(address.octets()), port, protocol)),
    }
}

/// All virtual servers.
pub fn virtual_servers<S: Store>(store: &S) -> impl Iterator<Item = (ServiceKey, Service)> {
    entries(store).filter(|(key, _)| key.protocol & Answers::PROTOCOL == 0)
}

/// Whose the answers of real servers are, by protocol, address and port of these.
pub fn answers<S: Store>(store: &S) -> impl Iterator<Item = (ServiceKey, Answers)> {
    entries(store).filter(|(key, _)| key.protocol & Answers::PROTOCOL != 0).map(|(key, service)| {
        let key = ServiceKey { protocol: key.protocol & !Answers::PROTOCOL, ..key };
        (key, Answers::from_word(service.to_word()))
    })
}

fn entries<S: Store>(store: &S) -> impl Iterator<Item = (ServiceKey, Service)> {
    let four = services::entries::<Name4>(store.services4()).map(|(name, service)| {
        let (address, port, protocol) = name.parts();
        (ServiceKey { protocol, address: IpAddr::from(address.wire()), port: port.host() }, service)
    });
    let six = services::entries::<Name6>(store.services6()).map(|(name, service)| {
        let (address, port, protocol) = name.parts();
        (ServiceKey { protocol, address: IpAddr::from(address.wire()), port: port.host() }, service)
    });
    four.chain(six)
}

/// Adds a virtual server or changes the one there is.
///
/// # Errors
///
/// [`StoreError::NoRoom`].
pub fn insert_service<S: Store>(store: &S, key: &ServiceKey, service: Service) -> Result<(), StoreError> {
    store.settings().addresses.add(address_bit(key.address));
    let inserted = match name(key) {
        Name::Four(name) => services::insert(store.services4(), name, service),
        Name::Six(name) => services::insert(store.services6(), name, service),
    };
    if inserted { Ok(()) } else { Err(StoreError::NoRoom { key: *key }) }
}

/// What [`Addresses`] know an address by.
pub(super) fn address_bit(address: IpAddr) -> (usize, u64) {
    match address {
        IpAddr::V4(address) => Addresses::bit4(Be32::from_wire(address.octets())),
        IpAddr::V6(address) => Addresses::bit6(Be128::from_wire(address.octets())),
    }
}

/// Forgets the addresses of virtual servers that were removed.
pub fn forget_addresses<S: Store>(store: &S) {
    let left = Addresses::default();
    virtual_servers(store).for_each(|(key, _)| left.add(address_bit(key.address)));
    for (word, left) in store.settings().addresses.0.iter().zip(&left.0) {
        word.store(left.load());
    }
}

/// Says whose the answers from a real server are.
///
/// # Errors
///
/// [`StoreError::NoRoom`].
pub fn set_answers<S: Store>(store: &S, key: &ServiceKey, answers: Answers) -> Result<(), StoreError> {
    let service = Service::from_word(answers.to_word());
    let inserted = match answers_name(key) {
        Name::Four(name) => services::insert(store.services4(), name, service),
        Name::Six(name) => services::insert(store.services6(), name, service),
    };
    if inserted { Ok(()) } else { Err(StoreError::NoRoom { key: *key }) }
}

/// Says that packets from a real server are nobody's answers.
pub fn remove_answers<S: Store>(store: &S, key: &ServiceKey) {
    match answers_name(key) {
        Name::Four(name) => services::remove(store.services4(), name),
        Name::Six(name) => services::remove(store.services6(), name),
    }
}

/// Removes a virtual server, if it is there.
pub fn remove_service<S: Store>(store: &S, key: &ServiceKey) {
    match name(key) {
        Name::Four(name) => services::remove(store.services4(), name),
        Name::Six(name) => services::remove(store.services6(), name),
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

    fn loads(&self) -> &[Load] {
        &self.loads
    }

    fn connections4(&self) -> &[Bucket4] {
        &self.connections4
    }

    fn connections6(&self) -> &[Bucket6] {
        &self.connections6
    }

    fn services4(&self) -> &[services::Bucket4] {
        &self.services4
    }

    fn services6(&self) -> &[services::Bucket6] {
        &self.services6
    }

    fn details(&self) -> &[Detail] {
        &self.details
    }

    fn virtuals(&self) -> &[Virtual] {
        &self.virtuals
    }

    fn routes(&self) -> &[Route] {
        &self.routes
    }

    fn leases(&self) -> &[Lease] {
        &self.leases
    }

    fn networks(&self) -> Networks {
        Tables::networks(self).clone()
    }

    fn set_network(
        &mut self,
        schedule: u16,
        network: IpNet,
        listing: Option<Listing>,
    ) -> Result<(), StoreError> {
        let action = if listing.is_some() { "written" } else { "removed" };
        Tables::set_network(self, schedule, network, listing).map_err(|source| StoreError::Network {
            network,
            action,
            source,
        })
    }

    fn sources(&self) -> &[Sources] {
        &self.sources
    }

    fn traffic(&self, destination: u32) -> Result<Traffic, StoreError> {
        Tables::traffic(self, destination).map_err(|source| StoreError::Traffic { action: "read", source })
    }

    fn clear_traffic(&mut self, destination: u32) -> Result<(), StoreError> {
        Tables::clear_traffic(self, destination)
            .map_err(|source| StoreError::Traffic { action: "changed", source })
    }
}

fn put<K: std::hash::Hash + Eq>(map: &mut HashMap<K, u32>, key: K, value: Option<u32>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
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

    fn loads(&self) -> &[Load] {
        &self.loads
    }

    fn connections4(&self) -> &[Bucket4] {
        &self.connections4
    }

    fn connections6(&self) -> &[Bucket6] {
        &self.connections6
    }

    fn services4(&self) -> &[services::Bucket4] {
        &self.services4
    }

    fn services6(&self) -> &[services::Bucket6] {
        &self.services6
    }

    fn details(&self) -> &[Detail] {
        &self.details
    }

    fn virtuals(&self) -> &[Virtual] {
        &self.virtuals
    }

    fn routes(&self) -> &[Route] {
        &self.routes
    }

    fn leases(&self) -> &[Lease] {
        &self.leases
    }

    fn networks(&self) -> Networks {
        let four = self.networks4.iter().filter_map(|((schedule, length, address), value)| {
            let network = Ipv4Net::new(Ipv4Addr::from(*address), *length).ok()?;
            Some((*schedule, IpNet::V4(network), Listing::from_value(*value)?.0))
        });
        let six = self.networks6.iter().filter_map(|((schedule, length, address), value)| {
            let network = Ipv6Net::new(Ipv6Addr::from(*address), *length).ok()?;
            Some((*schedule, IpNet::V6(network), Listing::from_value(*value)?.0))
        });
        let mut networks = Networks::new();
        for (schedule, network, listing) in four.chain(six) {
            networks.entry(schedule).or_default().insert(network, listing);
        }
        networks
    }

    fn set_network(
        &mut self,
        schedule: u16,
        network: IpNet,
        listing: Option<Listing>,
    ) -> Result<(), StoreError> {
        let length = network.prefix_len();
        let value = listing.map(|listing| listing.to_value(length));
        match network {
            IpNet::V4(network) => {
                put(&mut self.networks4, (schedule, length, network.network().to_bits()), value);
            }
            IpNet::V6(network) => {
                put(&mut self.networks6, (schedule, length, network.network().to_bits()), value);
            }
        }
        Ok(())
    }

    fn sources(&self) -> &[Sources] {
        &self.sources
    }

    fn traffic(&self, destination: u32) -> Result<Traffic, StoreError> {
        Ok(MemoryTables::traffic(self, destination))
    }

    fn clear_traffic(&mut self, destination: u32) -> Result<(), StoreError> {
        MemoryTables::clear_traffic(self, destination);
        Ok(())
    }
}

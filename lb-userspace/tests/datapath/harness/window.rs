//! The kernel's tables as far as tests use them. Their full sizes are for tens of thousands of real servers, and who
//! reads the tables looks at every element, which without optimisation, on an emulated processor, takes seconds.

use ipnet::IpNet;
use lb_common::admission::{Listing, Sources};
use lb_common::conn::{Bucket4, Bucket6};
use lb_common::layout::{Destination, Detail, Load, Route, Schedule, Settings, Traffic, Virtual};
use lb_common::lease::Lease;
use lb_common::services;
use lb_common::word::Word;
use lb_userspace::dataplane::tables::Tables;
use lb_userspace::plane::admission::Networks;
use lb_userspace::plane::store::{Store, StoreError};

use super::sides::LIMITS;

const SERVERS: usize = LIMITS.servers;
const SERVICES: usize = LIMITS.services;

/// The first elements of the tables that the daemon gives ids and places of; plans are limited to them. The other
/// tables are whole.
#[derive(Debug)]
pub(crate) struct Window(pub(crate) Tables);

impl Store for Window {
    fn destinations(&self) -> &[Destination] {
        &self.0.destinations[..SERVERS]
    }

    fn loads(&self) -> &[Load] {
        &self.0.loads[..SERVERS]
    }

    fn details(&self) -> &[Detail] {
        &self.0.details[..SERVERS]
    }

    fn schedules(&self) -> &[Schedule] {
        &self.0.schedules[..SERVICES]
    }

    fn virtuals(&self) -> &[Virtual] {
        &self.0.virtuals[..SERVICES]
    }

    fn rings(&self) -> &[Word] {
        &self.0.rings[..LIMITS.ring_words as usize]
    }

    fn settings(&self) -> &Settings {
        self.0.settings()
    }

    fn connections4(&self) -> &[Bucket4] {
        &self.0.connections4
    }

    fn connections6(&self) -> &[Bucket6] {
        &self.0.connections6
    }

    fn services4(&self) -> &[services::Bucket4] {
        &self.0.services4
    }

    fn services6(&self) -> &[services::Bucket6] {
        &self.0.services6
    }

    fn routes(&self) -> &[Route] {
        &self.0.routes
    }

    fn leases(&self) -> &[Lease] {
        &self.0.leases
    }

    fn networks(&self) -> Networks {
        Store::networks(&self.0)
    }

    fn set_network(
        &mut self,
        schedule: u16,
        network: IpNet,
        listing: Option<Listing>,
    ) -> Result<(), StoreError> {
        Store::set_network(&mut self.0, schedule, network, listing)
    }

    fn sources(&self) -> &[Sources] {
        &self.0.sources
    }

    fn traffic(&self, destination: u32) -> Result<Traffic, StoreError> {
        Store::traffic(&self.0, destination)
    }

    fn clear_traffic(&mut self, destination: u32) -> Result<(), StoreError> {
        Store::clear_traffic(&mut self.0, destination)
    }
}

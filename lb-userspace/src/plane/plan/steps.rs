//! What a plan consists of, and why there may be none.

use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::admission::{Listing, Rate};
use lb_common::layout::{
    Answers, DestinationRef, MOST_LISTED, Method, Owner, RingPlace, Rules, Service, Sources,
};

use crate::config::Thresholds;
use crate::plane::desired::{ServerKey, ServiceKey};

/// One change of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A destination that was free becomes a real server.
    AddServer {
        /// Its id and new generation.
        reference: DestinationRef,
        /// The schedule's id.
        schedule: u16,
        /// Its name.
        key: ServerKey,
        /// Its weight.
        weight: u32,
        /// Its place in the list.
        order: u32,
        /// How packets get to it.
        method: Method,
        /// How many connections it takes.
        limits: Thresholds,
    },
    /// A real server takes another number of connections.
    Limits {
        /// Its id and generation.
        reference: DestinationRef,
        /// How many.
        limits: Thresholds,
    },
    /// What becomes of the connections of a real server, which has failed or is well again.
    Fail {
        /// Its id and generation.
        reference: DestinationRef,
        /// [`NextHop::FAILED_DROP`](lb_common::layout::NextHop::FAILED_DROP), `FAILED_RESET`, or 0.
        flags: u8,
    },
    /// Packets get to a real server in another way.
    Method {
        /// Its id and generation.
        reference: DestinationRef,
        /// How.
        method: Method,
    },
    /// Writes addresses of the director where none are in use.
    WriteSources {
        /// Where among the rings.
        offset: u32,
        /// Which.
        addresses: Vec<IpAddr>,
    },
    /// Says where packets to a real server by full NAT come from.
    Sources {
        /// Its id and generation.
        reference: DestinationRef,
        /// Ports, and where the addresses are.
        place: Sources,
    },
    /// Writes a list of whom answers may belong to, where none is in use.
    WriteOwners {
        /// Where among the rings.
        offset: u32,
        /// Whom.
        owners: Vec<Owner>,
    },
    /// Says whose the answers from a real server's address and port are.
    SetAnswers {
        /// Protocol, address and port.
        key: ServiceKey,
        /// Whose.
        answers: Answers,
    },
    /// Says that they are nobody's.
    RemoveAnswers {
        /// Protocol, address and port.
        key: ServiceKey,
    },
    /// A real server that was retired comes back, at the head of the list.
    Revive {
        /// Its id and generation.
        reference: DestinationRef,
        /// Its weight.
        weight: u32,
        /// Its new place in the list.
        order: u32,
    },
    /// Another weight, for the listing; the ring says what it means.
    Reweight {
        /// Its id and generation.
        reference: DestinationRef,
        /// The new weight.
        weight: u32,
    },
    /// Writes a ring where none is in use.
    WriteRing {
        /// Where.
        place: RingPlace,
        /// The cursor's first value.
        start: u64,
        /// The slots.
        slots: Vec<u64>,
    },
    /// Writes what a virtual address remembers where none is in use.
    WriteLocality {
        /// Where.
        place: RingPlace,
        /// Where it was before; without slots if it is new.
        from: RingPlace,
    },
    /// Says where it is.
    Locality {
        /// The id of the virtual server.
        service: u16,
        /// Where.
        place: RingPlace,
    },
    /// Says how connections are scheduled.
    Schedule {
        /// Its id.
        id: u16,
        /// How.
        words: ScheduleWords,
    },
    /// From now on packets to it are balanced, or in another way.
    SetService {
        /// Its name.
        key: ServiceKey,
        /// Its id, its schedule and its flags.
        service: Service,
    },
    /// Removes all connections of a service's id, so that the id can be given out again.
    Forget {
        /// The id.
        service: u16,
    },
    /// From now on packets to it go to the kernel.
    RemoveService {
        /// Its name.
        key: ServiceKey,
    },
    /// A real server left the configuration.
    Retire {
        /// Its id and generation.
        reference: DestinationRef,
    },
    /// A network is let in, kept out, or neither any more.
    Network {
        /// The id of the virtual server's schedule.
        schedule: u16,
        /// Which.
        network: IpNet,
        /// `None` removes it.
        listing: Option<Listing>,
    },
    /// Sets the flags of the settings.
    Flags(u64),
    /// Sets the timeout of a state.
    Timeout {
        /// The state's number.
        state: usize,
        /// In ticks.
        ticks: u64,
    },
}

/// A schedule, but for its rings' contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScheduleWords {
    /// Where the ring is.
    pub ring: RingPlace,
    /// How it chooses.
    pub rules: Rules,
    /// Where the list is.
    pub list: RingPlace,
    /// How often a source may connect.
    pub rate: Rate,
}

/// Why there is no plan. Nothing has been changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// All destination ids are taken.
    #[error(
        "{wanted} more real servers than the {capacity} that fit (those taken out of the configuration count \
         until their last connection ends); remove some"
    )]
    TooManyServers {
        /// How many find no place.
        wanted: usize,
        /// How many there may be.
        capacity: usize,
    },
    /// All service ids are taken.
    #[error("more virtual servers than the {capacity} that fit; remove some")]
    TooManyServices {
        /// How many there may be.
        capacity: usize,
    },
    /// The tables of networks are full.
    #[error(
        "{wanted} networks in lists of `allow` and `deny` (old and new ones count until a change is done) are more than \
         the {capacity} of a family that fit; join some, or change the lists in two steps"
    )]
    TooManyNetworks {
        /// How many there would be.
        wanted: usize,
        /// How many there may be.
        capacity: usize,
    },
    /// A scheduler that compares real servers has too many.
    #[error(
        "virtual server {service}: {scheduler} compares at most {MOST_LISTED} real servers, and there are {servers}; \
         use wrr or mh"
    )]
    TooManyCompared {
        /// Whose.
        service: ServiceKey,
        /// The scheduler.
        scheduler: &'static str,
        /// How many have a weight.
        servers: usize,
    },
    /// The rings' table is full.
    #[error("real server {server}: no room to list the virtual servers it is in; use smaller weights")]
    NoOwnerSpace {
        /// Protocol, address and port.
        server: ServiceKey,
    },
    /// The rings' table is full.
    #[error("real server {server}: no room for its virtual server's source_addresses; use fewer")]
    NoSourceSpace {
        /// Address and port.
        server: ServerKey,
    },
    /// The rings' table is full.
    #[error(
        "virtual server {service}: no room to remember the real servers of all addresses; use lblc or fewer addresses"
    )]
    NoLocalitySpace {
        /// Whose.
        service: ServiceKey,
    },
    /// The rings' table is full.
    #[error(
        "virtual server {service}: no room for a scheduler's round of {slots} steps; use smaller weights"
    )]
    NoRingSpace {
        /// Whose.
        service: ServiceKey,
        /// How long its ring is.
        slots: usize,
    },
}

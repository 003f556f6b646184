//! Takes the steps of a plan, and follows the real servers' MACs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::layout::{
    Destination, DestinationRef, Identity, Method, NextHop, Owner, RING_HEADER, Settings, Virtual, mac_word,
};
use lb_common::net::{Be16, Be128, MacAddress};

use super::desired::ServiceKey;
use super::plan::Step;
use super::store::{
    Store, StoreError, forget_addresses, insert_service, remove_answers, remove_service, set_answers,
};
use crate::config::Thresholds;

/// How frames get to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// The real server is this director.
    Local,
    /// Through an interface.
    Link {
        /// The real server's MAC.
        to: MacAddress,
        /// The interface's own MAC.
        from: MacAddress,
        /// The interface's index.
        interface: u32,
        /// VLAN id, 0 for untagged.
        vlan: u16,
    },
    /// Through a router on a segment of the director's. Direct routing does not get there.
    Router {
        /// The router's MAC.
        to: MacAddress,
        /// The interface's own MAC.
        from: MacAddress,
        /// The interface's index.
        interface: u32,
        /// VLAN id, 0 for untagged.
        vlan: u16,
    },
}

/// What is known of the real servers' links; an address that is not in it is unresolved.
pub type Hops = BTreeMap<IpAddr, Hop>;

/// Takes the steps in their order.
///
/// # Errors
///
/// The first step that fails ends it. What was done stays; planning again from there gives the rest.
pub fn apply<S: Store>(store: &mut S, steps: &[Step], hops: &Hops) -> Result<(), StoreError> {
    for step in steps {
        take(store, step, hops)?;
    }
    if steps.iter().any(|step| matches!(step, Step::RemoveService { .. })) {
        forget_addresses(store);
    }
    Ok(())
}

fn take<S: Store>(store: &mut S, step: &Step, hops: &Hops) -> Result<(), StoreError> {
    match step {
        Step::AddServer { reference, schedule, key, weight, order, method, limits } => {
            store.clear_traffic(reference.id())?;
            if let Some(detail) = store.details().get(reference.id() as usize) {
                detail.source[0].store(0);
                detail.sources.store(0);
            }
            if let Some(load) = store.loads().get(reference.id() as usize) {
                load.active.store(0);
                load.inactive.store(0);
                load.state.store(0);
            }
            let Some(destination) = store.destinations().get(reference.id() as usize) else { return Ok(()) };
            let identity = Identity { service: *schedule, port: Be16::new(key.port), weight: *weight };
            destination.identity.store(identity.to_word());
            write_address(destination, key.address, *order);
            write_lasting(destination, *weight);
            destination.limits.store(limits_word(*limits));
            let generation = reference.generation();
            let hop = NextHop { generation, flags: *method as u8, ..NextHop::default() };
            write_hop(destination, hop, hops.get(&key.address));
        }
        Step::Revive { reference, weight, order } => {
            if let Some(destination) = own(store, *reference) {
                reweight(destination, *weight);
                let above = destination.order.load() >> 32;
                destination.order.store(above << 32 | u64::from(*order));
                set_retired(destination, false);
            }
        }
        Step::Reweight { reference, weight } => {
            if let Some(destination) = own(store, *reference) {
                reweight(destination, *weight);
            }
        }
        Step::WriteRing { place, start, slots } => {
            let words = store.rings();
            let header = [*start, *start];
            let contents = header.into_iter().chain(slots.iter().copied());
            let offset = place.offset as usize;
            debug_assert_eq!(RING_HEADER as usize, header.len());
            for (word, value) in words.iter().skip(offset).zip(contents) {
                word.store(value);
            }
        }
        Step::Schedule { id, words } => {
            if let Some(schedule) = store.schedules().get(usize::from(*id)) {
                // Whatever of it a packet meets, it meets a real server.
                schedule.rate.publish(words.rate.to_word());
                schedule.list.publish(words.list.to_word());
                schedule.ring.publish(words.ring.to_word());
                schedule.scheduler.publish(words.rules.to_word());
            }
        }
        Step::Limits { reference, limits } => {
            if let Some(destination) = own(store, *reference) {
                destination.limits.store(limits_word(*limits));
                if let Some(load) = store.loads().get(reference.id() as usize) {
                    load.judge(limits_word(*limits));
                }
            }
        }
        Step::Fail { reference, flags } => {
            if let Some(destination) = own(store, *reference) {
                let hop = NextHop::from_word(destination.next_hop.load());
                let kept = hop.flags & !(NextHop::FAILED_DROP | NextHop::FAILED_RESET);
                let address = super::applied::address_of(destination);
                write_hop(destination, NextHop { flags: kept | *flags, ..hop }, hops.get(&address));
            }
        }
        Step::Forget { service } => super::janitor::forget(store, *service),
        Step::Timeout { state, ticks } => {
            if let Some(timeout) = store.settings().timeouts.get(*state) {
                timeout.store(*ticks);
            }
        }
        Step::Method { reference, method } => {
            if let Some(destination) = own(store, *reference) {
                let hop = NextHop::from_word(destination.next_hop.load());
                let flags = hop.flags & !NextHop::METHOD | *method as u8;
                let address = super::applied::address_of(destination);
                write_hop(destination, NextHop { flags, ..hop }, hops.get(&address));
            }
        }
        Step::WriteSources { offset, addresses } => {
            super::sources::write_addresses(store.rings(), *offset, addresses);
        }
        Step::Sources { reference, place } => {
            if own(store, *reference).is_some()
                && let Some(detail) = store.details().get(reference.id() as usize)
            {
                super::sources::write(detail, *place);
            }
        }
        Step::WriteLocality { place, from } => super::locality::write(store.rings(), *place, *from),
        Step::Locality { service, place } => {
            if let Some(own) = store.virtuals().get(usize::from(*service)) {
                own.locality.publish(place.to_word());
            }
        }
        Step::WriteOwners { offset, owners } => {
            let words = store.rings().iter().skip(*offset as usize);
            for (number, (word, owner)) in (1..).zip(words.zip(owners)) {
                let last = if number == owners.len() { Owner::LAST } else { 0 };
                word.store(owner.to_word() | last);
            }
        }
        Step::SetAnswers { key, answers } => set_answers(store, key, *answers)?,
        Step::RemoveAnswers { key } => remove_answers(store, key),
        Step::SetService { key, service } => {
            if let Some(own) = store.virtuals().get(usize::from(service.id)) {
                write_virtual(own, key);
            }
            insert_service(store, key, *service)?;
        }
        Step::RemoveService { key } => remove_service(store, key),
        Step::Retire { reference } => {
            if let Some(destination) = own(store, *reference) {
                set_retired(destination, true);
            }
        }
        Step::Network { schedule, network, listing } => {
            store.set_network(*schedule, *network, *listing)?;
        }
        Step::Flags(flags) => {
            let kept = store.settings().flags.load() & Settings::BY_HASH;
            store.settings().flags.store(*flags | kept);
        }
    }
    Ok(())
}

/// The destination, if it still has this generation.
fn own<S: Store>(store: &S, reference: DestinationRef) -> Option<&Destination> {
    let destination = store.destinations().get(reference.id() as usize)?;
    let generation = NextHop::from_word(destination.next_hop.load()).generation;
    (generation == reference.generation()).then_some(destination)
}

/// Both limits as the destination has them.
fn limits_word(limits: Thresholds) -> u64 {
    u64::from(limits.upper) | u64::from(limits.lower) << 32
}

/// Writes the latest weight, if it is above 0.
fn write_lasting(destination: &Destination, weight: u32) {
    if weight > 0 {
        let kept = destination.order.load() & 0xffff_ffff_ffff;
        destination.order.store(kept | u64::from(weight.min(0xffff)) << 48);
    }
}

fn reweight(destination: &Destination, weight: u32) {
    write_lasting(destination, weight);
    let identity = Identity { weight, ..Identity::from_word(destination.identity.load()) };
    destination.identity.store(identity.to_word());
}

fn set_retired(destination: &Destination, retired: bool) {
    let hop = NextHop::from_word(destination.next_hop.load());
    let flags = if retired { hop.flags | NextHop::RETIRED } else { hop.flags & !NextHop::RETIRED };
    destination.next_hop.store(NextHop { flags, ..hop }.to_word());
}

/// An address as two words; IPv4 in the first four bytes.
pub(super) fn words_of(address: IpAddr) -> [u64; 2] {
    let bytes = match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(address) => address.octets(),
    };
    Be128::from_wire(bytes).words()
}

fn write_virtual(own: &Virtual, key: &ServiceKey) {
    let [first, second] = words_of(key.address);
    own.address[0].store(first);
    own.address[1].store(second);
    own.port.store(u64::from(Be16::new(key.port).bits()) | u64::from(key.protocol) << 16);
}

fn write_address(destination: &Destination, address: IpAddr, order: u32) {
    let family: u64 = if address.is_ipv4() { 4 } else { 6 };
    let [first, second] = words_of(address);
    destination.address[0].store(first);
    destination.address[1].store(second);
    destination.order.store(family << 32 | u64::from(order));
}

/// The real server has failed, and its connections with it.
const FAILED: u8 = NextHop::FAILED_DROP | NextHop::FAILED_RESET;

/// Writes the link, the word that makes it valid last.
fn write_hop(destination: &Destination, old: NextHop, hop: Option<&Hop>) {
    let kept = (old.flags & (NextHop::RETIRED | NextHop::METHOD | FAILED)) | NextHop::IN_USE;
    // Direct routing gets to a router only, not past it.
    let hop = hop.filter(|hop| {
        !matches!(hop, Hop::Router { .. }) || NextHop { flags: kept, ..old }.method() != Method::DirectRouting
    });
    let new = match hop {
        // Its packets go the way of those whose link is not known, where they are dropped or answered.
        _ if kept & FAILED != 0 => NextHop { mac: [0; 6], flags: kept, ..old },
        None => NextHop { mac: [0; 6], flags: kept, ..old },
        Some(Hop::Local) => NextHop { mac: [0; 6], flags: kept | NextHop::LOCAL, ..old },
        Some(Hop::Link { to, from, interface, vlan } | Hop::Router { to, from, interface, vlan }) => {
            destination.source.store(mac_word(*from, *vlan));
            destination.interface.store(u64::from(*interface));
            NextHop { mac: *to, flags: kept | NextHop::RESOLVED, ..old }
        }
    };
    if new.to_word() != destination.next_hop.load() {
        destination.next_hop.publish(new.to_word());
    }
}

/// Writes what is known of every real server's link. Those in `unreachable` become unresolved; of whom nothing is
/// known (yet), what was known before stays.
pub fn follow_hops<S: Store>(store: &S, hops: &Hops, unreachable: &BTreeSet<IpAddr>) {
    for destination in store.destinations() {
        let old = NextHop::from_word(destination.next_hop.load());
        if old.flags & NextHop::IN_USE == 0 {
            continue;
        }
        let address = super::applied::address_of(destination);
        let hop = hops.get(&address);
        if hop.is_some() || unreachable.contains(&address) {
            write_hop(destination, old, hop);
        }
    }
}

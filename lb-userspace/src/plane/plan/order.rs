//! What a service's rings and list are made of: who is picked in which order.

use lb_common::hash;
use lb_common::layout::{DestinationRef, MOST_LISTED, SchedulerCode, UNAVAILABLE};
use lb_common::net::{Be32, Be128};
use lb_common::sched::{self, Candidate, Hashed, Ring, WrrBounds, WrrState};
use std::net::IpAddr;

use super::steps::PlanError;
use crate::plane::desired::{DesiredService, ServerKey, ServiceKey};

/// A real server of a service's list. The list's order is IPVS's: the one added last comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Who.
    pub(super) server: DestinationRef,
    /// Its name.
    pub(super) key: ServerKey,
    /// Its weight.
    pub(super) weight: u32,
    /// Its latest weight above 0.
    pub(super) lasting: u32,
}

/// The list as `rr` and `wrr` see it.
pub(super) type List = Vec<Candidate<DestinationRef>>;

/// Of a whole list.
pub(super) fn candidates(entries: &[Entry]) -> List {
    entries.iter().map(|entry| Candidate { server: entry.server, weight: entry.weight }).collect()
}

/// What a service's schedule points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// The ring, of words.
    pub(super) ring: Ring<u64>,
    /// The words of the list; empty if there is no need for one.
    pub(super) list: Vec<u64>,
}

/// Does the scheduler go by numbers of connections?
pub(super) fn compares(code: SchedulerCode) -> bool {
    match code {
        SchedulerCode::Rr
        | SchedulerCode::Wrr
        | SchedulerCode::Sh
        | SchedulerCode::Dh
        | SchedulerCode::Mh => false,
        SchedulerCode::Lc
        | SchedulerCode::Wlc
        | SchedulerCode::Sed
        | SchedulerCode::Nq
        | SchedulerCode::Fo
        | SchedulerCode::Ovf
        | SchedulerCode::Lblc
        | SchedulerCode::Lblcr
        | SchedulerCode::Twos => true,
    }
}

/// Has some real server an upper limit of connections?
pub(super) fn limited(service: &DesiredService) -> bool {
    service.servers.iter().any(|server| server.thresholds.upper > 0)
}

/// Works out ring and list. `turns` gives the rounds of `rr` and `wrr`, which go on from where they are.
pub(super) fn make(
    key: &ServiceKey,
    service: &DesiredService,
    entries: &[Entry],
    turns: impl FnOnce(&List) -> Ring<DestinationRef>,
) -> Result<Made, PlanError> {
    let list = candidates(entries);
    let still = |slots: Vec<u64>| Ring { slots, start: 0 };
    let plain = |slots: Vec<DestinationRef>| slots.into_iter().map(DestinationRef::to_word).collect();
    let marked = |slots: Vec<(DestinationRef, u32)>| -> Vec<u64> {
        let mark = |weight| if weight == 0 { UNAVAILABLE } else { 0 };
        slots.into_iter().map(|(server, weight)| server.to_word() | mark(weight)).collect()
    };
    let weighted: Vec<_> = entries
        .iter()
        .map(|entry| Candidate { server: (entry.server, entry.weight), weight: entry.weight })
        .collect();
    let ring = match service.scheduler {
        SchedulerCode::Rr | SchedulerCode::Wrr => {
            let ring = turns(&list);
            Ring { slots: plain(ring.slots), start: ring.start }
        }
        SchedulerCode::Sh => still(marked(sched::sh(&weighted))),
        SchedulerCode::Dh => still(marked(sched::dh(&weighted))),
        SchedulerCode::Mh => still(marked(sched::mh(&hashed(entries)))),
        SchedulerCode::Lc => still(plain(sched::rr_slots(&list))),
        SchedulerCode::Fo => still(plain(heaviest(entries).into_iter().collect())),
        SchedulerCode::Wlc
        | SchedulerCode::Sed
        | SchedulerCode::Nq
        | SchedulerCode::Ovf
        | SchedulerCode::Lblc
        | SchedulerCode::Lblcr
        | SchedulerCode::Twos => still(plain(wrr(&list, None).slots)),
    };
    let compared = compares(service.scheduler);
    let listed = entries.iter().filter(|entry| entry.weight > 0);
    let most = MOST_LISTED as usize;
    if compared && listed.clone().count() > most {
        return Err(PlanError::TooManyCompared {
            service: *key,
            scheduler: service.scheduler.as_str(),
            servers: listed.count(),
        });
    }
    let wanted = if compared || limited(service) || service.flags.fallback { most } else { 0 };
    let word = |entry: &Entry| entry.server.to_word() | u64::from(entry.weight) << 32;
    Ok(Made { ring, list: listed.take(wanted).map(word).collect() })
}

/// The first of the highest weight.
fn heaviest(entries: &[Entry]) -> Option<DestinationRef> {
    let weight = entries.iter().map(|entry| entry.weight).filter(|weight| *weight > 0).max()?;
    entries.iter().find(|entry| entry.weight == weight).map(|entry| entry.server)
}

/// The servers as `mh` sees them. From the highest address and port to the lowest, whatever the order they were
/// added in, so that directors agree; that is the order of IPVS's list if they were added from the lowest on.
fn hashed(entries: &[Entry]) -> Vec<Hashed<(DestinationRef, u32)>> {
    let mut entries = entries.to_vec();
    entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.key));
    let hashed = |entry: Entry| Hashed {
        server: (entry.server, entry.weight),
        address: folded(entry.key.address),
        port: entry.key.port,
        weight: entry.lasting,
    };
    entries.into_iter().map(hashed).collect()
}

fn folded(address: IpAddr) -> u32 {
    let [first, second] = match address {
        IpAddr::V4(address) => [u64::from(Be32::from_wire(address.octets()).bits()), 0],
        IpAddr::V6(address) => Be128::from_wire(address.octets()).words(),
    };
    hash::fold(first, second)
}

/// Adds servers to the head of the list one by one, and what that makes of the state of `wrr`.
pub(super) fn put_at_head(list: Vec<Entry>, state: WrrState, added: &[Entry]) -> (Vec<Entry>, WrrState) {
    let mut state = state;
    let mut bounds = WrrBounds::of(&candidates(&list));
    for entry in added {
        bounds = bounds.with(entry.weight);
        state = state.changed(bounds);
    }
    (added.iter().rev().copied().chain(list).collect(), state)
}

/// The list with weights such that its round fits.
pub(super) fn fitting(list: &List) -> List {
    let weights: Vec<u32> = list.iter().map(|candidate| candidate.weight).collect();
    let weights = sched::scaled(&weights);
    list.iter()
        .zip(weights)
        .map(|(candidate, weight)| Candidate { server: candidate.server, weight })
        .collect()
}

/// The round of `wrr`, from its beginning or from where a state is. One that had to be fitted starts at its
/// beginning: IPVS's state is of other weights.
pub(super) fn wrr(list: &List, state: Option<WrrState>) -> Ring<DestinationRef> {
    let fitted = fitting(list);
    match state {
        Some(state) if fitted == *list => sched::wrr(list, state),
        Some(_) | None => {
            let bounds = WrrBounds::of(&fitted);
            sched::wrr(&fitted, WrrState::default().changed(bounds))
        }
    }
}

//! From what the tables say to what they should say: steps, worked out without touching anything.
//!
//! The order is such that at every moment, and so after every crash, a packet meets a whole service: first
//! destinations, then the rings that name them, then the schedules that name the rings, then services; and
//! what goes is taken away in reverse. A real server that is taken out of the configuration is retired, not
//! removed: it gets no new connections and keeps those it has until [`super::janitor`] finds none.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::layout::{
    Answers, DestinationRef, Method, Owner, RING_HEADER, RingPlace, SchedulerCode, Settings,
};
use lb_common::sched::{self, Candidate, WrrBounds, WrrState};

use super::answers;
use super::applied::{Applied, AppliedServer, AppliedService};
use super::desired::{Desired, DesiredServer, DesiredService, ServerKey, ServiceKey, method};

/// One change of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A destination that was free becomes a real server.
    AddServer {
        /// Its id and new generation.
        reference: DestinationRef,
        /// The service's id.
        service: u16,
        /// Its name.
        key: ServerKey,
        /// Its weight.
        weight: u32,
        /// Its place in the list.
        order: u32,
        /// How packets get to it.
        method: Method,
    },
    /// Packets get to a real server in another way.
    Method {
        /// Its id and generation.
        reference: DestinationRef,
        /// How.
        method: Method,
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
        slots: Vec<DestinationRef>,
    },
    /// Points a service to its ring.
    Schedule {
        /// The service's id.
        service: u16,
        /// Where the ring is.
        place: RingPlace,
        /// The scheduler that it is of.
        scheduler: SchedulerCode,
    },
    /// From now on packets to it are balanced.
    AddService {
        /// Its name.
        key: ServiceKey,
        /// Its id.
        id: u16,
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
    /// Sets the flags of [`Settings`].
    Flags(u64),
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
    /// The rings' table is full.
    #[error("real server {server}: no room to list the virtual servers it is in; use smaller weights")]
    NoOwnerSpace {
        /// Protocol, address and port.
        server: ServiceKey,
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

/// How much there is room for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Destinations.
    pub servers: usize,
    /// Virtual servers.
    pub services: usize,
    /// Words for rings.
    pub ring_words: u32,
}

/// Works out the steps. `after` is where the search for ring space starts: rings go round the table, so that a
/// place is not written again while a packet may still be reading the ring that was there.
///
/// # Errors
///
/// Something does not fit.
pub fn plan(
    applied: &Applied,
    desired: &Desired,
    limits: Limits,
    after: u32,
) -> Result<Vec<Step>, PlanError> {
    let mut planner = Planner {
        ids: Ids::new(applied, limits.servers),
        space: RingSpace::new(applied, limits.ring_words, after),
        missing: 0,
        build: Vec::new(),
        publish: Vec::new(),
        retire: Vec::new(),
    };
    let mut free_services =
        (0..=u16::MAX).take(limits.services).filter(|id| !applied.service_ids.contains(id));
    for (key, service) in &desired.services {
        match applied.services.get(key) {
            Some(old) => planner.change(key, old, service)?,
            None => {
                let id =
                    free_services.next().ok_or(PlanError::TooManyServices { capacity: limits.services })?;
                planner.add(key, id, service)?;
            }
        }
    }
    let mut removals = Vec::new();
    for (key, old) in applied.services.iter().filter(|(key, _)| !desired.services.contains_key(key)) {
        removals.push(Step::RemoveService { key: *key });
        planner.retire.extend(old.listed().map(|server| Step::Retire { reference: server.reference }));
    }
    if planner.missing > 0 {
        return Err(PlanError::TooManyServers { wanted: planner.missing, capacity: limits.servers });
    }
    let ahead: Vec<Step> =
        [&planner.build, &planner.publish, &removals].into_iter().flatten().cloned().collect();
    let owners = answers::owners_after(applied, &ahead);
    let (mut answers_before, mut answers_after) =
        answers::steps(applied, &owners, |words| planner.space.take_words(words))
            .map_err(|server| PlanError::NoOwnerSpace { server })?;
    let mut flags = 0;
    if desired.services.keys().any(|key| key.port == 0) {
        flags |= Settings::ANY_PORT;
    }
    if !owners.is_empty() {
        flags |= Settings::NAT;
    }
    let both = applied.flags | flags;
    let mut steps = planner.build;
    steps.append(&mut answers_before);
    steps.extend((both != applied.flags).then_some(Step::Flags(both)));
    steps.append(&mut planner.publish);
    steps.append(&mut removals);
    steps.append(&mut answers_after);
    steps.extend((both != flags).then_some(Step::Flags(flags)));
    steps.append(&mut planner.retire);
    Ok(steps)
}

struct Planner {
    ids: Ids,
    space: RingSpace,
    missing: usize,
    build: Vec<Step>,
    publish: Vec<Step>,
    retire: Vec<Step>,
}

type List = Vec<Candidate<DestinationRef>>;

impl Planner {
    fn add(&mut self, key: &ServiceKey, id: u16, service: &DesiredService) -> Result<(), PlanError> {
        let mut added = List::new();
        for (order, server) in (1..).zip(&service.servers) {
            let Some(reference) = self.ids.take() else {
                self.missing += 1;
                continue;
            };
            let DesiredServer { key, weight, forwarding, .. } = *server;
            let method = method(forwarding);
            self.build.push(Step::AddServer { reference, service: id, key, weight, order, method });
            added.push(Candidate { server: reference, weight });
        }
        let (list, state) = put_at_head(List::new(), WrrState::default(), &added);
        let ring = if service.scheduler == SchedulerCode::Rr {
            sched::rr(&[], &[], None, &list)
        } else {
            wrr(&list, state)
        };
        self.schedule(key, id, service.scheduler, ring)?;
        self.publish.push(Step::AddService { key: *key, id });
        Ok(())
    }

    fn change(
        &mut self,
        key: &ServiceKey,
        old: &AppliedService,
        new: &DesiredService,
    ) -> Result<(), PlanError> {
        let before: List =
            old.listed().map(|s| Candidate { server: s.reference, weight: s.weight }).collect();
        let mut list = before.clone();
        let mut state = WrrState::advanced(&fitting(&before), old.progress);
        let wanted: BTreeMap<ServerKey, u32> =
            new.servers.iter().map(|server| (server.key, server.weight)).collect();
        // As an operator at ipvsadm would: deletions, then weights, then additions, each one a change.
        for gone in old.listed().filter(|server| !wanted.contains_key(&server.key)) {
            self.retire.push(Step::Retire { reference: gone.reference });
            list.retain(|candidate| candidate.server != gone.reference);
            state = state.changed(WrrBounds::of(&list));
        }
        let places: BTreeMap<DestinationRef, usize> =
            list.iter().enumerate().map(|(index, candidate)| (candidate.server, index)).collect();
        for server in old.listed() {
            let Some(weight) = wanted.get(&server.key).filter(|weight| **weight != server.weight) else {
                continue;
            };
            self.build.push(Step::Reweight { reference: server.reference, weight: *weight });
            if let Some(candidate) = places.get(&server.reference).and_then(|index| list.get_mut(*index)) {
                candidate.weight = *weight;
            }
            state = state.changed(WrrBounds::of(&list));
        }
        let known: BTreeMap<ServerKey, &AppliedServer> =
            old.servers.iter().map(|server| (server.key, server)).collect();
        let mut order = old.servers.iter().map(|server| server.order).max().unwrap_or(0);
        let mut added = List::new();
        for DesiredServer { key: server, weight, forwarding, .. } in &new.servers {
            let (weight, method) = (*weight, method(*forwarding));
            order = order.saturating_add(1);
            if let Some(old) = known.get(server).filter(|old| old.method != method) {
                self.build.push(Step::Method { reference: old.reference, method });
            }
            let reference = match known.get(server) {
                Some(listed) if !listed.retired => continue,
                Some(retired) => {
                    self.build.push(Step::Revive { reference: retired.reference, weight, order });
                    retired.reference
                }
                None => {
                    let Some(reference) = self.ids.take() else {
                        self.missing += 1;
                        continue;
                    };
                    self.build.push(Step::AddServer {
                        reference,
                        service: old.id,
                        key: *server,
                        weight,
                        order,
                        method,
                    });
                    reference
                }
            };
            added.push(Candidate { server: reference, weight });
        }
        let (list, state) = put_at_head(list, state, &added);
        let same_scheduler = old.scheduler == Some(new.scheduler);
        let ring = match (new.scheduler == SchedulerCode::Rr, same_scheduler) {
            (true, true) => sched::rr(&before, &old.slots, Some(old.progress), &list),
            (true, false) => sched::rr(&[], &[], None, &list),
            (false, true) => wrr(&list, state),
            (false, false) => wrr(&list, WrrState::default().changed(WrrBounds::of(&list))),
        };
        if same_scheduler && list == before && ring.slots == old.slots {
            return Ok(());
        }
        self.schedule(key, old.id, new.scheduler, ring)
    }

    fn schedule(
        &mut self,
        key: &ServiceKey,
        service: u16,
        scheduler: SchedulerCode,
        ring: sched::Ring<DestinationRef>,
    ) -> Result<(), PlanError> {
        let mut place = RingPlace::default();
        if !ring.slots.is_empty() {
            let error = PlanError::NoRingSpace { service: *key, slots: ring.slots.len() };
            let slots = u32::try_from(ring.slots.len()).map_err(|_too_long| error.clone())?;
            place = RingPlace { offset: self.space.take(slots).ok_or(error)?, slots };
            self.build.push(Step::WriteRing { place, start: ring.start, slots: ring.slots });
        }
        self.publish.push(Step::Schedule { service, place, scheduler });
        Ok(())
    }
}

/// Adds servers to the head of the list one by one, and what that makes of the state.
fn put_at_head(list: List, state: WrrState, added: &List) -> (List, WrrState) {
    let mut state = state;
    let mut bounds = WrrBounds::of(&list);
    for candidate in added {
        bounds = bounds.with(candidate.weight);
        state = state.changed(bounds);
    }
    (added.iter().rev().copied().chain(list).collect(), state)
}

/// The list with weights such that its round fits.
fn fitting(list: &List) -> List {
    let weights: Vec<u32> = list.iter().map(|candidate| candidate.weight).collect();
    let weights = sched::scaled(&weights);
    list.iter()
        .zip(weights)
        .map(|(candidate, weight)| Candidate { server: candidate.server, weight })
        .collect()
}

/// The round of `wrr`. One that had to be fitted starts at its beginning: IPVS's state is of other weights.
fn wrr(list: &List, state: WrrState) -> sched::Ring<DestinationRef> {
    let fitted = fitting(list);
    if fitted == *list {
        return sched::wrr(list, state);
    }
    let bounds = WrrBounds::of(&fitted);
    sched::wrr(&fitted, WrrState::default().changed(bounds))
}

/// Destination ids to give out: those never used first, then the freed ones.
struct Ids {
    fresh: std::vec::IntoIter<u32>,
    freed: std::collections::btree_map::IntoIter<u32, u8>,
}

impl Ids {
    fn new(applied: &Applied, capacity: usize) -> Self {
        let mut taken: BTreeSet<u32> = applied.free.keys().copied().collect();
        let listed = applied.services.values().flat_map(|service| &service.servers);
        taken.extend(listed.chain(&applied.orphans).map(|server| server.reference.id()));
        let all = (0..u32::try_from(capacity).unwrap_or(u32::MAX)).filter(|id| !taken.contains(id));
        Self { fresh: all.collect::<Vec<_>>().into_iter(), freed: applied.free.clone().into_iter() }
    }

    fn take(&mut self) -> Option<DestinationRef> {
        if let Some(id) = self.fresh.next() {
            return Some(DestinationRef::new(id, 1));
        }
        let (id, generation) = self.freed.next()?;
        Some(DestinationRef::new(id, generation.wrapping_add(1)))
    }
}

/// The free stretches of the rings' table.
struct RingSpace {
    /// Start and end of each stretch in use, sorted.
    used: BTreeMap<u32, u32>,
    words: u32,
    after: u32,
}

impl RingSpace {
    fn new(applied: &Applied, words: u32, after: u32) -> Self {
        let used = applied.services.values().filter(|service| service.place.slots > 0).map(|service| {
            let place = service.place;
            (place.offset, place.offset.saturating_add(place.slots).saturating_add(RING_HEADER))
        });
        let lists = applied.answers.values().filter_map(|found| match found.answers {
            Answers::One(_) => None,
            Answers::Several { offset, count } => Some((offset, offset.saturating_add(count.into()))),
        });
        Self { used: used.chain(lists).collect(), words, after: if after < words { after } else { 0 } }
    }

    /// The offset of a free stretch for a ring of `slots`, the first at or behind the last one, else from the start.
    fn take(&mut self, slots: u32) -> Option<u32> {
        self.take_words(slots.checked_add(RING_HEADER)?)
    }

    /// As [`RingSpace::take`], for so many words in all.
    fn take_words(&mut self, length: u32) -> Option<u32> {
        let offset = self.gap(self.after, length).or_else(|| self.gap(0, length))?;
        self.used.insert(offset, offset + length);
        self.after = offset + length;
        Some(offset)
    }

    fn gap(&self, from: u32, length: u32) -> Option<u32> {
        let before = self.used.range(..=from).next_back().map_or(0, |(_, end)| *end);
        let mut start = from.max(before);
        for (next, end) in self.used.range(start..) {
            if next.checked_sub(start)? >= length {
                return Some(start);
            }
            start = *end;
        }
        (self.words.checked_sub(start)? >= length).then_some(start)
    }
}

/// Where the next search for ring space should start: behind the last ring that these steps write.
pub fn ring_space_after(steps: &[Step]) -> Option<u32> {
    steps.iter().rev().find_map(|step| {
        if let Step::WriteRing { place, .. } = step {
            Some(place.offset + place.slots + RING_HEADER)
        } else if let Step::WriteOwners { offset, owners } = step {
            Some(offset + u32::try_from(owners.len()).unwrap_or_default())
        } else {
            None
        }
    })
}

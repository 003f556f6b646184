//! From what the tables say to what they should say: steps, worked out without touching anything.
//!
//! The order is such that at every moment, and so after every crash, a packet meets a whole service: first
//! destinations, then the rings that name them, then the schedules that name the rings, then services; and
//! what goes is taken away in reverse. A real server that is taken out of the configuration is retired, not
//! removed: it gets no new connections and keeps those it has until [`super::janitor`] finds none.

mod order;
mod space;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use lb_common::conn::{State, TEMPLATE_GRACE, TIMEOUT_SECONDS, Ticks};
use lb_common::layout::{
    DestinationRef, NextHop, RING_HEADER, RingPlace, Rules, SchedulerCode, Service, Settings,
};
use lb_common::sched::{self, WrrBounds, WrrState};

use super::applied::{Applied, AppliedServer, AppliedService};
use super::desired::{Desired, DesiredServer, DesiredService, ServerKey, ServiceKey, method};
use super::{admission, answers, locality, sources};
use order::{Entry, candidates, fitting, put_at_head, wrr};
use space::{Ids, RingSpace};

pub use steps::{PlanError, ScheduleWords, Step};

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
        ends_removed: desired.rules.expire_nodest_conn,
        build: Vec::new(),
        publish: Vec::new(),
        retire: Vec::new(),
    };
    let mut free_ids = (0..=u16::MAX).take(limits.services).filter(|id| !applied.service_ids.contains(id));
    let mut free_id = || free_ids.next().ok_or(PlanError::TooManyServices { capacity: limits.services });
    // By schedule: its first name, by which the services are kept.
    let owners: BTreeMap<u16, &ServiceKey> =
        applied.services.iter().map(|(key, service)| (service.schedule, key)).collect();
    let mut kept = BTreeSet::new();
    let mut lists = BTreeMap::new();
    let mut named = BTreeSet::new();
    let mut wanted_sources = BTreeMap::new();
    let mut remembered = Vec::new();
    for (key, service) in &desired.services {
        let names = || std::iter::once(key).chain(&service.also);
        // A service goes on with the schedule that one of its names has now.
        let old = names()
            .filter_map(|name| applied.names.get(name))
            .map(|old| old.schedule)
            .find(|schedule| !kept.contains(schedule))
            .and_then(|schedule| applied.services.get(*owners.get(&schedule)?));
        let schedule = match old {
            Some(old) => {
                planner.change(key, old, service)?;
                old.schedule
            }
            None => {
                let id = free_id()?;
                planner.add(key, id, service)?;
                id
            }
        };
        kept.insert(schedule);
        wanted_sources.insert(schedule, &service.sources);
        lists.insert(schedule, service.admission.lists());
        let is_same = old.is_some_and(|old| old.scheduler == Some(service.scheduler));
        let mut own = old.is_none().then_some(schedule);
        for name in names() {
            named.insert(*name);
            let now = applied.names.get(name);
            let id = match (now, own.take()) {
                (Some(now), _) => now.id,
                (None, Some(id)) => id,
                (None, None) => free_id()?,
            };
            if locality::remembers(service.scheduler) {
                let own = now.filter(|now| is_same && now.schedule == schedule);
                let now = own.and_then(|now| applied.locality.get(&now.id)).copied();
                let slots = locality::slots(service);
                remembered.push(locality::Wanted { key: *name, id, schedule, slots, now });
            }
            // Who is on standby is not a question of configuration.
            let standby = now.map_or(0, |now| now.flags & Service::STANDBY);
            let wanted = Service { id, schedule, flags: service.service_flags() | standby };
            if now != Some(&wanted) {
                planner.publish.push(Step::SetService { key: *name, service: wanted });
            }
        }
    }
    let mut removals = Vec::new();
    for (key, service) in applied.names.iter().filter(|(key, _)| !named.contains(key)) {
        removals.push(Step::RemoveService { key: *key });
        // The id of a service that is gone for good is kept by its retired real servers.
        if service.id != service.schedule || kept.contains(&service.schedule) {
            planner.retire.push(Step::Forget { service: service.id });
        }
    }
    for old in applied.services.values().filter(|old| !kept.contains(&old.schedule)) {
        old.listed().for_each(|server| planner.remove(server));
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
    let (sources, has_full_nat) =
        sources::steps(applied, &wanted_sources, &ahead, |words| planner.space.take_words(words))
            .map_err(|server| PlanError::NoSourceSpace { server })?;
    let [mut remembered, mut forgotten] =
        locality::steps(applied, remembered, |slots| planner.space.take(slots))
            .map_err(|service| PlanError::NoLocalitySpace { service })?;
    let mut flags = flags(desired);
    if has_full_nat {
        flags |= Settings::FULL_NAT;
    }
    if !owners.is_empty() {
        flags |= Settings::NAT;
    }
    let (mut lists_before, mut lists_after) = admission::steps(applied, &lists)?;
    let both = applied.flags | flags;
    let mut steps: Vec<Step> = (both != applied.flags).then_some(Step::Flags(both)).into_iter().collect();
    steps.extend(timeouts(applied, desired));
    steps.append(&mut planner.build);
    steps.extend(sources);
    steps.append(&mut remembered);
    steps.append(&mut lists_before);
    steps.append(&mut answers_before);
    steps.append(&mut planner.publish);
    steps.append(&mut removals);
    steps.append(&mut forgotten);
    steps.append(&mut lists_after);
    steps.append(&mut answers_after);
    steps.extend((both != flags).then_some(Step::Flags(flags)));
    steps.append(&mut planner.retire);
    Ok(steps)
}

/// Does a schedule go by numbers of connections?
pub(super) fn needs_counts(rules: Rules) -> bool {
    let compares = SchedulerCode::from_number(rules.code).is_some_and(order::compares);
    compares || rules.flags & Rules::LIMITED != 0
}

/// The flags of the settings, but for those of NAT and full NAT.
fn flags(desired: &Desired) -> u64 {
    let any = |flag: u64, is_set: bool| if is_set { flag } else { 0 };
    let any_port = |(key, service): (&ServiceKey, &DesiredService)| {
        key.port == 0 || service.also.iter().any(|name| name.port == 0)
    };
    let counted = |service: &DesiredService| needs_counts(service.rules());
    any(Settings::ANY_PORT, desired.services.iter().any(any_port))
        | any(Settings::COUNTED, desired.services.values().any(counted))
        | any(Settings::EXPIRE_NODEST, desired.rules.expire_nodest_conn)
        | any(Settings::EXPIRE_QUIESCENT, desired.rules.expire_quiescent_template)
}

/// Timeouts that are other than now.
fn timeouts<'d>(applied: &'d Applied, desired: &'d Desired) -> impl Iterator<Item = Step> + 'd {
    let longest = desired.services.values().filter_map(DesiredService::persistence_ticks).max();
    let of = move |(state, seconds): (usize, u32)| {
        let rules = &desired.rules;
        let given = if state == State::ESTABLISHED.number() {
            Some(rules.tcp_timeout)
        } else if state == State::FIN_WAIT.number() {
            Some(rules.tcp_fin_timeout)
        } else if state == State::UDP.number() || state == State::FIRST_DATAGRAM.number() {
            Some(rules.udp_timeout)
        } else {
            None
        };
        let seconds = given.map_or(seconds, |given| u32::try_from(given.as_secs()).unwrap_or(u32::MAX));
        let ticks = if state == State::TEMPLATE.number() || state == State::NEW_TEMPLATE.number() {
            longest.map_or(0, |ticks| u64::from(ticks) + TEMPLATE_GRACE)
        } else {
            Ticks::of_seconds(seconds)
        };
        (state, ticks)
    };
    let wanted = TIMEOUT_SECONDS.into_iter().enumerate().map(of);
    let changed = wanted.zip(&applied.timeouts).filter(|((_, ticks), now)| ticks != *now);
    changed.map(|((state, ticks), _)| Step::Timeout { state, ticks })
}

struct Planner {
    ids: Ids,
    space: RingSpace,
    missing: usize,
    /// Connections of removed real servers end at once.
    ends_removed: bool,
    build: Vec<Step>,
    publish: Vec<Step>,
    retire: Vec<Step>,
}

impl Planner {
    fn add(&mut self, key: &ServiceKey, id: u16, service: &DesiredService) -> Result<(), PlanError> {
        let mut added = Vec::new();
        for (order, server) in (1..).zip(&service.servers) {
            added.extend(self.add_server(id, server, order, service.failure_flags(server)));
        }
        let (list, state) = put_at_head(Vec::new(), WrrState::default(), &added);
        let is_rr = service.scheduler == SchedulerCode::Rr;
        let made = order::make(key, service, &list, |list| {
            if is_rr { sched::rr(&[], &[], None, list) } else { wrr(list, Some(state)) }
        })?;
        let words = self.write(key, service, &made, ScheduleWords::default())?;
        self.publish.push(Step::Schedule { id, words });
        Ok(())
    }

    fn remove(&mut self, server: &AppliedServer) {
        let reference = server.reference;
        self.retire.push(Step::Retire { reference });
        if self.ends_removed {
            self.retire.push(Step::Fail { reference, flags: NextHop::FAILED });
        }
    }

    /// `flags` say what becomes of its connections if it has failed.
    fn add_server(&mut self, schedule: u16, server: &DesiredServer, order: u32, flags: u8) -> Option<Entry> {
        let DesiredServer { key, weight, forwarding, thresholds: limits, .. } = *server;
        let Some(reference) = self.ids.take() else {
            self.missing += 1;
            return None;
        };
        let method = method(forwarding);
        self.build.push(Step::AddServer { reference, schedule, key, weight, order, method, limits });
        self.build.extend((flags != 0).then_some(Step::Fail { reference, flags }));
        Some(Entry { server: reference, key, weight, lasting: weight })
    }

    fn change(
        &mut self,
        key: &ServiceKey,
        old: &AppliedService,
        new: &DesiredService,
    ) -> Result<(), PlanError> {
        let entry = |s: &AppliedServer| Entry {
            server: s.reference,
            key: s.key,
            weight: s.weight,
            lasting: s.lasting,
        };
        let before: Vec<Entry> = old.listed().map(entry).collect();
        let mut list = before.clone();
        let mut state = WrrState::advanced(&fitting(&candidates(&before)), old.progress);
        let wanted: BTreeMap<ServerKey, u32> =
            new.servers.iter().map(|server| (server.key, server.weight)).collect();
        // As an operator at ipvsadm would: deletions, then weights, then additions, each one a change.
        for gone in old.listed().filter(|server| !wanted.contains_key(&server.key)) {
            self.remove(gone);
            list.retain(|entry| entry.server != gone.reference);
            state = state.changed(WrrBounds::of(&candidates(&list)));
        }
        let places: BTreeMap<DestinationRef, usize> =
            list.iter().enumerate().map(|(index, entry)| (entry.server, index)).collect();
        for server in old.listed() {
            let Some(weight) = wanted.get(&server.key).filter(|weight| **weight != server.weight) else {
                continue;
            };
            self.build.push(Step::Reweight { reference: server.reference, weight: *weight });
            if let Some(entry) = places.get(&server.reference).and_then(|index| list.get_mut(*index)) {
                entry.weight = *weight;
                entry.lasting = if *weight == 0 { entry.lasting } else { *weight };
            }
            state = state.changed(WrrBounds::of(&candidates(&list)));
        }
        let added = self.additions(old, new);
        let (list, state) = put_at_head(list, state, &added);
        let same_scheduler = old.scheduler == Some(new.scheduler);
        let is_rr = new.scheduler == SchedulerCode::Rr;
        let made = order::make(key, new, &list, |list| match (is_rr, same_scheduler) {
            (true, true) => {
                let slots: Vec<_> = old.slots.iter().copied().map(DestinationRef::from_word).collect();
                sched::rr(&candidates(&before), &slots, Some(old.progress), list)
            }
            (true, false) => sched::rr(&[], &[], None, list),
            (false, true) => wrr(list, Some(state)),
            (false, false) => wrr(list, None),
        })?;
        let mut words = old.words;
        let is_same_ring = same_scheduler && list == before && made.ring.slots == old.slots;
        if !is_same_ring {
            words.ring = RingPlace::default();
        }
        if made.list != old.list {
            words.list = RingPlace::default();
        }
        let words = self.write(key, new, &made, words)?;
        if words != old.words {
            self.publish.push(Step::Schedule { id: old.schedule, words });
        }
        Ok(())
    }

    /// The real servers that are added to a service, or come back. Those that stay are brought up to date.
    fn additions(&mut self, old: &AppliedService, new: &DesiredService) -> Vec<Entry> {
        let known: BTreeMap<ServerKey, &AppliedServer> =
            old.servers.iter().map(|server| (server.key, server)).collect();
        let mut order = old.servers.iter().map(|server| server.order).max().unwrap_or(0);
        let mut added = Vec::new();
        for server in &new.servers {
            let Some(old_server) = known.get(&server.key) else {
                order = order.saturating_add(1);
                added.extend(self.add_server(old.schedule, server, order, new.failure_flags(server)));
                continue;
            };
            let (reference, method) = (old_server.reference, method(server.forwarding));
            if old_server.method != method {
                self.publish.push(Step::Method { reference, method });
            }
            if old_server.limits != server.thresholds {
                self.build.push(Step::Limits { reference, limits: server.thresholds });
            }
            let flags = new.failure_flags(server);
            if old_server.failed != flags {
                let steps = if flags == 0 { &mut self.build } else { &mut self.retire };
                steps.push(Step::Fail { reference, flags });
            }
            if old_server.retired {
                order = order.saturating_add(1);
                let weight = server.weight;
                self.build.push(Step::Revive { reference, weight, order });
                let lasting = if weight == 0 { old_server.lasting } else { weight };
                added.push(Entry { server: reference, key: server.key, weight, lasting });
            }
        }
        added
    }

    /// Writes the rings of a schedule where `words` names no place for them.
    fn write(
        &mut self,
        key: &ServiceKey,
        service: &DesiredService,
        made: &order::Made,
        words: ScheduleWords,
    ) -> Result<ScheduleWords, PlanError> {
        let mut place = |place: RingPlace, slots: &[u64], start: u64| {
            if slots.is_empty() || place.slots > 0 {
                return Ok(if slots.is_empty() { RingPlace::default() } else { place });
            }
            let error = PlanError::NoRingSpace { service: *key, slots: slots.len() };
            let count = u32::try_from(slots.len()).map_err(|_too_long| error.clone())?;
            let place = RingPlace { offset: self.space.take(count).ok_or(error)?, slots: count };
            self.build.push(Step::WriteRing { place, start, slots: slots.to_vec() });
            Ok(place)
        };
        Ok(ScheduleWords {
            ring: place(words.ring, &made.ring.slots, made.ring.start)?,
            list: place(words.list, &made.list, 0)?,
            rules: service.rules(),
            rate: service.admission.rate(),
        })
    }
}

/// Where the next search for ring space should start: behind the last ring that these steps write.
pub fn ring_space_after(steps: &[Step]) -> Option<u32> {
    steps.iter().rev().find_map(|step| {
        if let Step::WriteRing { place, .. } | Step::WriteLocality { place, .. } = step {
            Some(place.offset + place.slots + RING_HEADER)
        } else if let Step::WriteOwners { offset, owners } = step {
            Some(offset + u32::try_from(owners.len()).unwrap_or_default())
        } else if let Step::WriteSources { offset, addresses } = step {
            Some(offset + u32::try_from(2 * addresses.len()).unwrap_or_default())
        } else {
            None
        }
    })
}

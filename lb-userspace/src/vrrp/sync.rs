//! All virtual routers of a director, and the sync groups in which they go together.
//!
//! Members of a group become master when all of them would be, at once. One that is backup makes all backup, one that
//! has a fault puts all into FAULT until none has (keepalived's rules). The operator's orders are for all members.

use std::{collections::BTreeMap, time::Duration};

use super::machine::{
    Action, Event, FaultCause, Instance, Order, Report, Settings, State, TakeRefusal, Transition,
};

/// A virtual router of this director.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(u32);

/// A sync group of this director: its index in what [`Routers::set_groups`] was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub usize);

/// What to do, and who.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A virtual router. Never [`Action::Want`].
    Instance(InstanceId, Action),
    /// A sync group as a whole has changed its state; its members have already.
    Group {
        /// Which.
        group: GroupId,
        /// Before.
        from: State,
        /// After.
        to: State,
    },
}

#[derive(Debug, Clone)]
struct Group {
    members: Vec<InstanceId>,
    state: State,
}

/// All virtual routers of a director.
#[derive(Debug, Clone, Default)]
pub struct Routers {
    instances: BTreeMap<InstanceId, Instance>,
    groups: Vec<Group>,
    next: u32,
}

impl Routers {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, in no group and not started.
    pub fn add(&mut self, settings: Settings) -> InstanceId {
        let id = InstanceId(self.next);
        self.next += 1;
        self.instances.insert(id, Instance::new(settings));
        id
    }

    /// Forgets one, from its group too. It should have been shut down before.
    pub fn remove(&mut self, id: InstanceId) {
        self.instances.remove(&id);
        for group in &mut self.groups {
            group.members.retain(|member| *member != id);
        }
    }

    /// Replaces all groups. A virtual router that is not there, or is in a group before, is left out.
    pub fn set_groups(&mut self, groups: impl IntoIterator<Item = Vec<InstanceId>>) {
        self.groups.clear();
        self.instances.values_mut().for_each(|instance| instance.set_grouped(false));
        for mut members in groups {
            members.retain(|member| self.instances.contains_key(member) && self.group_of(*member).is_none());
            for member in &members {
                if let Some(instance) = self.instances.get_mut(member) {
                    instance.set_grouped(true);
                }
            }
            let state = self.common_state(&members);
            self.groups.push(Group { members, state });
        }
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: InstanceId) -> Option<&Instance> {
        self.instances.get(&id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (InstanceId, &Instance)> {
        self.instances.iter().map(|(id, instance)| (*id, instance))
    }

    /// The state of a group: FAULT of any member, MASTER of all, else BACKUP.
    #[must_use]
    pub fn group_state(&self, group: GroupId) -> Option<State> {
        self.groups.get(group.0).map(|group| group.state)
    }

    /// When [`Routers::timer`] is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.instances.values().filter_map(Instance::next_deadline).min()
    }

    /// Lets everything that is due happen.
    #[must_use]
    pub fn timer(&mut self, now: Duration) -> Vec<Output> {
        let is_due = |instance: &Instance| instance.next_deadline().is_some_and(|at| at <= now);
        let due: Vec<_> = self.iter().filter(|(_, instance)| is_due(instance)).map(|(id, _)| id).collect();
        due.into_iter().flat_map(|id| self.step(id, Event::Timer, now)).collect()
    }

    /// Takes one event of one virtual router. None happens if there is no such one.
    #[must_use]
    pub fn step(&mut self, id: InstanceId, event: Event, now: Duration) -> Vec<Output> {
        let mut outputs = Vec::new();
        let Some(group) = self.group_of(id) else {
            self.step_one(id, event, now, &mut outputs);
            return outputs;
        };
        let members = self.groups.get(group.0).map(|group| group.members.clone()).unwrap_or_default();
        match event {
            Event::Release => self.step_all(&members, event, now, &mut outputs),
            Event::Take => self.take(id, &members, now, &mut outputs),
            Event::Start
            | Event::Advert(_)
            | Event::Timer
            | Event::Fault(_)
            | Event::FaultCleared(_)
            | Event::Priority(_)
            | Event::Ready(_)
            | Event::Reconfigured(..)
            | Event::Group(_)
            | Event::Shutdown => self.step_member(id, event, &members, now, &mut outputs),
        }
        self.note_state(group, &members, &mut outputs);
        outputs
    }

    fn step_one(
        &mut self,
        id: InstanceId,
        event: Event,
        now: Duration,
        outputs: &mut Vec<Output>,
    ) -> Consequence {
        let Some(instance) = self.instances.get_mut(&id) else { return Consequence::None };
        let mut consequence = Consequence::None;
        for action in instance.step(event, now) {
            match action {
                Action::Want => consequence = Consequence::Want,
                Action::Transition(Transition { from: State::Master, to: State::Backup, .. }) => {
                    consequence = Consequence::Backup;
                }
                Action::Report(_)
                | Action::SendAdvert { .. }
                | Action::AddAddresses
                | Action::RemoveAddresses
                | Action::Transition(_) => {}
                Action::SendGarp { .. } => {
                    if matches!(event, Event::Advert(_)) {
                        consequence = Consequence::Assert;
                    }
                }
            }
            if action != Action::Want {
                outputs.push(Output::Instance(id, action));
            }
        }
        consequence
    }

    fn step_member(
        &mut self,
        id: InstanceId,
        event: Event,
        members: &[InstanceId],
        now: Duration,
        outputs: &mut Vec<Output>,
    ) {
        let others: Vec<_> = members.iter().copied().filter(|member| *member != id).collect();
        match self.step_one(id, event, now, outputs) {
            Consequence::None => {}
            Consequence::Want => {
                if self.agree(members) {
                    self.step_all(members, Event::Group(Order::Master), now, outputs);
                }
            }
            Consequence::Backup => self.step_all(&others, Event::Group(Order::Backup), now, outputs),
            Consequence::Assert => self.step_all(&others, Event::Group(Order::Assert), now, outputs),
        }
        if matches!(event, Event::Fault(_) | Event::FaultCleared(_) | Event::Start) {
            self.spread_faults(members, now, outputs);
        }
    }

    fn step_all(&mut self, members: &[InstanceId], event: Event, now: Duration, outputs: &mut Vec<Output>) {
        for member in members {
            self.step_one(*member, event, now, outputs);
        }
    }

    /// Whether all members that take part would be master.
    fn agree(&self, members: &[InstanceId]) -> bool {
        self.instances_of(members)
            .filter(|instance| instance.state() != State::Stopped)
            .all(Instance::wants_master)
    }

    /// Each member has the group's fault exactly as long as another member has one of its own.
    fn spread_faults(&mut self, members: &[InstanceId], now: Duration, outputs: &mut Vec<Output>) {
        let has_own = |instance: &Instance| instance.faults().any(|cause| cause != FaultCause::Group);
        let faulty: Vec<_> =
            members.iter().copied().filter(|member| self.get(*member).is_some_and(has_own)).collect();
        for member in members {
            let event = match faulty.iter().any(|other| other != member) {
                true => Event::Fault(FaultCause::Group),
                false => Event::FaultCleared(FaultCause::Group),
            };
            self.step_one(*member, event, now, outputs);
        }
    }

    fn take(&mut self, id: InstanceId, members: &[InstanceId], now: Duration, outputs: &mut Vec<Output>) {
        let own = self.get(id).and_then(Instance::refuses_take);
        let of_others =
            self.instances_of(members).find_map(Instance::refuses_take).map(|_| TakeRefusal::Group);
        match own.or(of_others) {
            Some(refusal) => {
                let report = Action::Report(Report::TakeRefused(refusal));
                outputs.push(Output::Instance(id, report));
            }
            None => self.step_all(members, Event::Take, now, outputs),
        }
    }

    fn note_state(&mut self, id: GroupId, members: &[InstanceId], outputs: &mut Vec<Output>) {
        let to = self.common_state(members);
        if let Some(group) = self.groups.get_mut(id.0) {
            let from = std::mem::replace(&mut group.state, to);
            if from != to {
                outputs.push(Output::Group { group: id, from, to });
            }
        }
    }

    fn common_state(&self, members: &[InstanceId]) -> State {
        let states = || self.instances_of(members).map(Instance::state);
        let all = |wanted| states().all(|state| state == wanted);
        if states().any(|state| state == State::Fault) {
            State::Fault
        } else if all(State::Stopped) {
            State::Stopped
        } else if states().any(|state| state == State::Initialize) {
            State::Initialize
        } else if all(State::Master) {
            State::Master
        } else {
            State::Backup
        }
    }

    fn group_of(&self, id: InstanceId) -> Option<GroupId> {
        self.groups.iter().position(|group| group.members.contains(&id)).map(GroupId)
    }

    fn instances_of(&self, members: &[InstanceId]) -> impl Iterator<Item = &Instance> {
        members.iter().filter_map(|member| self.instances.get(member))
    }
}

/// What one member's step means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consequence {
    None,
    Want,
    Backup,
    Assert,
}

//! The transitions.

mod backup;
mod master;
mod orders;

use std::{net::IpAddr, time::Duration};

use super::{
    super::packet::{Interval, PRIORITY_LEAVING, PRIORITY_OWNER, Version},
    Action, Event, FaultCause, Hand, Master, Report, Settings, State, Status, Transition, Why,
};

/// Senders for which reports were told; more are not told of until the state or the master changes.
const MAX_TOLD: usize = 16;

/// What is told once for each sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    NewMaster,
    LowerPriority,
    NotReady,
    Yields,
    TwoMasters,
    IntervalDiffers,
    StrangerLeft,
}

/// Causes of FAULT that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Faults(u8);

impl Faults {
    const fn bit(cause: FaultCause) -> u8 {
        1 << cause as u8
    }

    fn iter(self) -> impl Iterator<Item = FaultCause> {
        FaultCause::ALL.into_iter().filter(move |cause| self.0 & Self::bit(*cause) != 0)
    }
}

/// The state of a virtual router, its timers, and what it knows of others.
#[derive(Debug, Clone)]
pub struct Instance {
    settings: Settings,
    is_grouped: bool,
    state: State,
    effective: u8,
    is_ready: bool,
    faults: Faults,
    hand: Option<Hand>,
    /// The other director that is master.
    master: Option<Master>,
    /// A master's next advert; when a backup stops waiting for the master's.
    due: Option<Duration>,
    /// Since when a backup has been waiting for a first advert.
    waits_since: Duration,
    /// What the backup's timer will mean if not silence.
    then: Option<Why>,
    /// From when on masters of lower priority are not left alone.
    preempts_at: Option<Duration>,
    /// The backup's timer ran out, but its sync group was not of one mind.
    wants: bool,
    garp_at: Option<Duration>,
    lower_priority_garp_at: Option<Duration>,
    refresh_at: Option<Duration>,
    /// When an advert of another was last answered at once.
    answered: Option<Duration>,
    /// A backup that woke late has been given time to hear the master.
    was_late: bool,
    told: Vec<(Topic, IpAddr)>,
}

impl Instance {
    /// Not started, not ready, without faults.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            is_grouped: false,
            state: State::Initialize,
            effective: settings.priority,
            is_ready: false,
            faults: Faults::default(),
            hand: None,
            master: None,
            due: None,
            waits_since: Duration::ZERO,
            then: None,
            preempts_at: None,
            wants: false,
            garp_at: None,
            lower_priority_garp_at: None,
            refresh_at: None,
            answered: None,
            was_late: false,
            told: Vec::new(),
        }
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The settings in effect.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What its adverts say now.
    #[must_use]
    pub fn advertised(&self) -> u8 {
        match self.hand {
            Some(Hand::Taken { raised }) => self.effective.max(raised),
            Some(Hand::Releasing { .. }) => PRIORITY_LEAVING,
            Some(Hand::Released) | None => self.effective,
        }
    }

    /// A member of a sync group does not become master by itself, but emits [`Action::Want`].
    pub(in crate::vrrp) fn set_grouped(&mut self, is_grouped: bool) {
        self.is_grouped = is_grouped;
    }

    /// Whether it would be master, or is, as far as its sync group asks.
    #[must_use]
    pub fn wants_master(&self) -> bool {
        self.wants || self.state == State::Master
    }

    /// What keeps it from having the addresses.
    pub fn faults(&self) -> impl Iterator<Item = FaultCause> {
        self.faults.iter()
    }

    /// When the next step is due at the latest; `None`: only when something happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        [self.due, self.garp_at, self.lower_priority_garp_at, self.refresh_at].into_iter().flatten().min()
    }

    /// What an operator sees.
    #[must_use]
    pub fn status(&self, now: Duration) -> Status {
        Status {
            state: self.state,
            priority: self.settings.priority,
            effective: self.effective,
            advertised: self.advertised(),
            is_ready: self.is_ready,
            hand: self.hand,
            master: self.master,
            due_in: self.due.map(|due| due.saturating_sub(now)),
            master_down_interval: self.master_down_interval(),
            skew: self.skew(),
            preempts_in: self.preempts_at.map(|at| at.saturating_sub(now)),
            preempts: self.state == State::Backup && matches!(self.then, Some(Why::Preempts { .. })),
        }
    }

    /// Takes one event.
    #[must_use]
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Start => self.start(now, &mut actions),
            Event::Advert(sighting) => match self.state {
                State::Backup => self.backup_hears(sighting, now, &mut actions),
                State::Master => self.master_hears(sighting, now, &mut actions),
                State::Initialize | State::Fault | State::Stopped => {}
            },
            Event::Timer => match self.state {
                State::Backup => self.backup_timer(now, &mut actions),
                State::Master => self.master_timer(now, &mut actions),
                State::Initialize | State::Fault | State::Stopped => {}
            },
            Event::Fault(cause) => self.fault(cause, &mut actions),
            Event::FaultCleared(cause) => self.fault_cleared(cause, now, &mut actions),
            Event::Priority(priority) => self.set_priority(priority, now, &mut actions),
            Event::Ready(is_ready) => self.set_ready(is_ready, now),
            Event::Release => self.release(now, &mut actions),
            Event::Take => self.take(now, &mut actions),
            Event::Reconfigured(settings, priority) => {
                self.reconfigure(settings, priority, now, &mut actions);
            }
            Event::Group(order) => self.obey(order, now, &mut actions),
            Event::Shutdown => self.shut_down(&mut actions),
        }
        actions
    }

    fn is_owner(&self) -> bool {
        self.settings.priority == PRIORITY_OWNER
    }

    /// RFC 9568 section 6.1: (256 − priority) / 256 of the master's interval; of version 2 (RFC 3768 section 6.1), of a
    /// second.
    fn skew(&self) -> Duration {
        self.skew_unit() * (256 - u32::from(self.effective)) / 256
    }

    fn skew_unit(&self) -> Duration {
        match self.settings.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => self.master_interval().duration(),
        }
    }

    /// By which the master is waited for: its own, once it was heard.
    fn master_interval(&self) -> Interval {
        self.master.map_or(self.settings.interval, |master| master.last.interval)
    }

    fn master_down_interval(&self) -> Duration {
        self.master_interval().duration() * u32::from(self.settings.down_adverts) + self.last_moment()
    }

    /// The skew time, and as much again as the longest one while this director is not ready: all that are go first.
    fn last_moment(&self) -> Duration {
        if self.is_ready { self.skew() } else { self.skew() + self.skew_unit() }
    }

    fn start(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.state != State::Initialize {
            return;
        }
        actions.push(Action::RemoveAddresses);
        if let Some(cause) = self.faults.iter().next() {
            self.change(State::Fault, Why::Fault(cause), actions);
        } else if self.is_owner() && self.settings.starts_as_master && self.is_ready {
            if self.is_grouped {
                self.wait_for_master(now, actions, Why::Started);
                self.then = Some(Why::Owner);
                self.due = Some(now);
            } else {
                self.become_master(now, Why::Owner, actions);
            }
        } else {
            self.wait_for_master(now, actions, Why::Started);
        }
    }

    /// Stops being what it was, for a state without timers.
    fn leave(&mut self, to: State, why: Why, actions: &mut Vec<Action>) {
        if self.state == State::Master {
            actions.push(Action::SendAdvert { priority: PRIORITY_LEAVING });
        }
        // A backup may still have what a crash left.
        actions.push(Action::RemoveAddresses);
        self.hand = match self.hand {
            Some(Hand::Releasing { .. } | Hand::Released) => Some(Hand::Released),
            Some(Hand::Taken { .. }) | None => None,
        };
        self.master = None;
        self.due = None;
        self.then = None;
        self.wants = false;
        self.preempts_at = None;
        self.no_garp();
        self.change(to, why, actions);
    }

    fn fault(&mut self, cause: FaultCause, actions: &mut Vec<Action>) {
        self.faults.0 |= Faults::bit(cause);
        match self.state {
            State::Backup | State::Master => self.leave(State::Fault, Why::Fault(cause), actions),
            State::Initialize | State::Fault | State::Stopped => {}
        }
    }

    fn fault_cleared(&mut self, cause: FaultCause, now: Duration, actions: &mut Vec<Action>) {
        self.faults.0 &= !Faults::bit(cause);
        if self.state == State::Fault && self.faults == Faults::default() {
            self.wait_for_master(now, actions, Why::FaultsOver);
            if self.is_owner() && self.settings.starts_as_master {
                self.due = Some(now + self.settings.interval.duration() + self.last_moment());
            }
        }
    }

    fn shut_down(&mut self, actions: &mut Vec<Action>) {
        if self.state != State::Stopped {
            self.leave(State::Stopped, Why::Stopped, actions);
        }
    }

    fn change(&mut self, to: State, why: Why, actions: &mut Vec<Action>) {
        let from = std::mem::replace(&mut self.state, to);
        self.told.clear();
        actions.push(Action::Transition(Transition { from, to, why }));
    }

    fn tell(&mut self, topic: Topic, from: IpAddr, report: Report, actions: &mut Vec<Action>) {
        if !self.told.contains(&(topic, from)) && self.told.len() < MAX_TOLD {
            self.told.push((topic, from));
            actions.push(Action::Report(report));
        }
    }
}

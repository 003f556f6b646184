//! The transitions.

use std::{net::IpAddr, time::Duration};

use super::{
    super::{
        packet::{Interval, PRIORITY_LEAVING, PRIORITY_OWNER, Version},
        priority,
    },
    Action, Event, FaultCause, Hand, Master, Order, Report, Settings, Sighting, State, Status, TakeRefusal,
    Transition, Why,
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

    /// Becomes backup, without a master known yet.
    fn wait_for_master(&mut self, now: Duration, actions: &mut Vec<Action>, why: Why) {
        self.master = None;
        self.await_advert(now);
        self.waits_since = now;
        self.change(State::Backup, why, actions);
    }

    /// Waits for the master's next advert, anew.
    fn await_advert(&mut self, now: Duration) {
        self.due = Some(now + self.master_down_interval());
        self.then = None;
        self.wants = false;
        self.was_late = false;
    }

    fn backup_hears(&mut self, sighting: Sighting, now: Duration, actions: &mut Vec<Action>) {
        if sighting.priority == PRIORITY_LEAVING {
            self.backup_hears_leaving(sighting.from, now, actions);
            return;
        }
        self.note_master(sighting, now);
        if self.leaves_alone(sighting, now, actions) {
            self.tell(Topic::NewMaster, sighting.from, Report::NewMaster(sighting), actions);
            let ours = self.settings.interval;
            if sighting.interval != ours {
                let report = Report::IntervalDiffers { master: sighting, ours };
                self.tell(Topic::IntervalDiffers, sighting.from, report, actions);
            }
            self.await_advert(now);
        } else {
            // Not waited for any longer: when the timer runs out, this director is master (keepalived, RFC 9568
            // section 6.4.2).
            self.then = Some(Why::Preempts { master: sighting.from, priority: sighting.priority });
            self.tell(Topic::LowerPriority, sighting.from, Report::LowerPriority(sighting), actions);
        }
    }

    fn note_master(&mut self, sighting: Sighting, now: Duration) {
        match self.master.replace(Master { last: sighting, heard: now }) {
            Some(Master { last, .. }) if last.from == sighting.from => {}
            // Both live: told once, not at each advert.
            Some(Master { last, heard }) if now < heard + last.interval.duration() * 2 => {}
            Some(_) | None => self.told.clear(),
        }
    }

    fn backup_hears_leaving(&mut self, from: IpAddr, now: Duration, actions: &mut Vec<Action>) {
        if self.master.is_some_and(|master| master.last.from != from) {
            // Taken at its word, it would make this one a second master.
            return self.tell(Topic::StrangerLeft, from, Report::StrangerLeft(from), actions);
        }
        let due = now + self.last_moment();
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
        self.then = Some(Why::MasterLeft { master: from });
        self.preempts_at = None;
    }

    /// Whether a master is followed. An equal priority is good enough: only masters break ties.
    fn leaves_alone(&mut self, sighting: Sighting, now: Duration, actions: &mut Vec<Action>) -> bool {
        if sighting.priority >= self.effective {
            self.preempts_at = None;
            return true;
        }
        let delay = self.settings.preempt_delay;
        if self.hand == Some(Hand::Released) {
            self.tell(Topic::Yields, sighting.from, Report::Yields(sighting), actions);
            true
        } else if self.settings.nopreempt && !self.is_owner() {
            true
        } else if !self.is_ready {
            self.tell(Topic::NotReady, sighting.from, Report::NotReady(sighting), actions);
            true
        } else if delay.is_zero() || self.is_owner() {
            false
        } else if let Some(at) = self.preempts_at {
            now < at
        } else {
            self.preempts_at = Some(now + delay);
            actions.push(Action::Report(Report::PreemptDelayed { master: sighting, delay }));
            true
        }
    }

    fn backup_timer(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Some(due) = self.due.filter(|due| *due <= now) else { return };
        let late = now - due;
        let interval = self.master_interval().duration();
        if late > interval && !self.was_late {
            // The master's adverts may have been lost while this director stood still.
            self.was_late = true;
            self.due = Some(now + interval);
            actions.push(Action::Report(Report::Late(late)));
        } else if self.is_grouped {
            self.wants = true;
            self.due = Some(now + interval);
            actions.push(Action::Want);
        } else {
            let why = self.why_master(now);
            self.become_master(now, why, actions);
        }
    }

    /// Why it is master when it is.
    fn why_master(&self, now: Duration) -> Why {
        self.then.unwrap_or(match self.master {
            Some(Master { last, heard }) => {
                Why::Silence { master: Some(last.from), silent: now.saturating_sub(heard) }
            }
            None => Why::Silence { master: None, silent: now.saturating_sub(self.waits_since) },
        })
    }

    /// The advert first, then the addresses, then ARP: keepalived's order.
    fn become_master(&mut self, now: Duration, why: Why, actions: &mut Vec<Action>) {
        let garp = self.settings.garp;
        if !matches!(self.hand, Some(Hand::Taken { .. })) {
            self.hand = None;
        }
        self.master = None;
        self.then = None;
        self.wants = false;
        self.was_late = false;
        self.preempts_at = None;
        self.answered = None;
        self.due = Some(now + self.settings.interval.duration());
        self.garp_at = (!garp.delay.is_zero()).then_some(now + garp.delay);
        self.refresh_at = self.next_refresh(now);
        actions.push(Action::SendAdvert { priority: self.advertised() });
        actions.push(Action::AddAddresses);
        actions.push(Action::SendGarp { repeat: garp.repeat.max(1) });
        self.change(State::Master, why, actions);
    }

    fn next_refresh(&self, now: Duration) -> Option<Duration> {
        self.settings.garp.refresh.filter(|refresh| !refresh.is_zero()).map(|refresh| now + refresh)
    }

    fn master_hears(&mut self, sighting: Sighting, now: Duration, actions: &mut Vec<Action>) {
        let Sighting { from, priority: theirs, .. } = sighting;
        let ours = self.advertised();
        if let Some(Hand::Releasing { .. }) = self.hand {
            if theirs != PRIORITY_LEAVING {
                self.become_backup(Some(sighting), now, Why::HandedOver { to: from }, actions);
            }
        } else if theirs == PRIORITY_LEAVING {
            if self.may_answer(now) {
                actions.push(Action::SendAdvert { priority: ours });
                self.due = Some(now + self.settings.interval.duration());
            }
        } else if theirs > ours {
            self.become_backup(Some(sighting), now, Why::Outranked { by: from, theirs, ours }, actions);
        } else if theirs == ours && from > self.settings.address {
            self.become_backup(Some(sighting), now, Why::TieLost { to: from }, actions);
        } else if self.may_answer(now) {
            // At once: the other hears it sooner (RFC 9568 section 6.4.3), and hosts learn who it is.
            actions.push(Action::SendAdvert { priority: ours });
            self.assert_addresses(now, actions);
            self.tell(Topic::TwoMasters, from, Report::TwoMasters(sighting), actions);
        }
    }

    /// Not oftener than twice an interval: two masters who each see the other's address as the lower one, behind address
    /// translation, would answer each other without end.
    fn may_answer(&mut self, now: Duration) -> bool {
        let rest = self.settings.interval.duration() / 2;
        let may = self.answered.is_none_or(|at| now >= at + rest);
        if may {
            self.answered = Some(now);
        }
        may
    }

    /// Hosts may have learnt another master's Ethernet address.
    fn assert_addresses(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let garp = self.settings.garp;
        if garp.lower_priority_repeat > 0 {
            actions.push(Action::SendGarp { repeat: garp.lower_priority_repeat });
            if !garp.lower_priority_delay.is_zero() {
                self.lower_priority_garp_at = Some(now + garp.lower_priority_delay);
            }
        }
    }

    fn master_timer(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let interval = self.settings.interval.duration();
        if let Some(due) = self.due.filter(|due| *due <= now) {
            let late = now - due;
            if late > interval {
                actions.push(Action::Report(Report::Late(late)));
            }
            if let Some(Hand::Releasing { until }) = self.hand
                && until <= now
            {
                self.hand = None;
                actions.push(Action::Report(Report::ReleaseUntaken));
            }
            actions.push(Action::SendAdvert { priority: self.advertised() });
            // In step with the first one, unless that would send two at once.
            self.due = Some(if late < interval { due + interval } else { now + interval });
        }
        let garp = self.settings.garp;
        if take_due(&mut self.garp_at, now) {
            actions.push(Action::SendGarp { repeat: garp.repeat.max(1) });
        }
        if take_due(&mut self.lower_priority_garp_at, now) {
            actions.push(Action::SendGarp { repeat: garp.lower_priority_repeat });
        }
        if take_due(&mut self.refresh_at, now) {
            actions.push(Action::SendGarp { repeat: garp.refresh_repeat.max(1) });
            self.refresh_at = self.next_refresh(now);
        }
    }

    /// From master. Without an advert of priority 0: whoever made it backup is master already.
    fn become_backup(&mut self, to: Option<Sighting>, now: Duration, why: Why, actions: &mut Vec<Action>) {
        self.hand = match self.hand {
            Some(Hand::Releasing { .. } | Hand::Released) => Some(Hand::Released),
            Some(Hand::Taken { .. }) | None => None,
        };
        self.master = to.map(|last| Master { last, heard: now });
        self.waits_since = now;
        self.await_advert(now);
        self.no_garp();
        actions.push(Action::RemoveAddresses);
        self.change(State::Backup, why, actions);
    }

    fn no_garp(&mut self) {
        self.garp_at = None;
        self.lower_priority_garp_at = None;
        self.refresh_at = None;
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

    fn set_priority(&mut self, wanted: u8, now: Duration, actions: &mut Vec<Action>) {
        let before = self.effective;
        self.effective =
            if self.is_owner() { PRIORITY_OWNER } else { wanted.clamp(priority::MIN, priority::MAX) };
        let is_releasing = matches!(self.hand, Some(Hand::Releasing { .. }));
        if self.state == State::Master && self.effective != before && !is_releasing {
            actions.push(Action::SendAdvert { priority: self.advertised() });
            self.due = Some(now + self.settings.interval.duration());
        }
    }

    fn set_ready(&mut self, is_ready: bool, now: Duration) {
        if is_ready == self.is_ready {
            return;
        }
        let unit = self.skew_unit();
        self.is_ready = is_ready;
        if self.state == State::Backup {
            self.due = match (is_ready, self.due) {
                (true, Some(due)) => Some(due.saturating_sub(unit).max(now)),
                (false, Some(due)) => Some(due + unit),
                (_, None) => None,
            };
        }
    }

    fn release(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match (self.state, self.hand) {
            (State::Initialize | State::Stopped, _) | (State::Master, Some(Hand::Releasing { .. })) => {}
            (State::Master, _) => {
                self.hand = Some(Hand::Releasing { until: now + self.master_down_interval() });
                // Repeated at each interval, so that a lost one does no harm.
                self.due = Some(now + self.settings.interval.duration());
                actions.push(Action::SendAdvert { priority: PRIORITY_LEAVING });
                actions.push(Action::Report(Report::Releasing));
            }
            (State::Backup | State::Fault, _) => self.hand = Some(Hand::Released),
        }
    }

    /// Why an order to take would be refused.
    #[must_use]
    pub fn refuses_take(&self) -> Option<TakeRefusal> {
        match (self.state, self.master) {
            (State::Initialize | State::Fault | State::Stopped, _) => Some(TakeRefusal::Unable),
            (State::Master, _) | (State::Backup, None) => None,
            (State::Backup, Some(_)) if !self.is_ready => Some(TakeRefusal::NotReady),
            (State::Backup, Some(Master { last, .. })) => {
                let Sighting { from: master, priority, .. } = last;
                let wins = self.effective > priority
                    || priority < priority::MAX
                    || (priority == priority::MAX && self.settings.address > master);
                (!wins).then_some(TakeRefusal::CannotOutbid { master, priority })
            }
        }
    }

    fn take(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if let Some(refusal) = self.refuses_take() {
            actions.push(Action::Report(Report::TakeRefused(refusal)));
        } else if self.state == State::Master {
            if let Some(Hand::Releasing { .. }) = self.hand {
                self.hand = None;
                self.due = Some(now + self.settings.interval.duration());
                actions.push(Action::SendAdvert { priority: self.advertised() });
            }
        } else {
            let raised = match self.master {
                Some(Master { last, .. }) if last.priority >= self.effective => {
                    last.priority.saturating_add(1).min(priority::MAX)
                }
                Some(_) | None => 0,
            };
            self.hand = Some(Hand::Taken { raised });
            self.become_master(now, Why::Taken, actions);
        }
    }

    fn reconfigure(&mut self, settings: Settings, effective: u8, now: Duration, actions: &mut Vec<Action>) {
        if settings == self.settings {
            return self.set_priority(effective, now, actions);
        }
        let preempting = |settings: &Settings| (settings.nopreempt, settings.preempt_delay);
        if preempting(&settings) != preempting(&self.settings) {
            self.preempts_at = None;
        }
        self.settings = settings;
        self.effective = settings.priority;
        if !self.is_owner() {
            self.effective = effective.clamp(priority::MIN, priority::MAX);
        }
        self.told.clear();
        match self.state {
            State::Master => {
                actions.push(Action::SendAdvert { priority: self.advertised() });
                self.due = Some(now + settings.interval.duration());
                self.refresh_at = self.next_refresh(now);
            }
            State::Backup => self.keep_waiting(now),
            State::Initialize | State::Fault | State::Stopped => {}
        }
    }

    /// Waits as long as the new settings say, from when the master was heard: a reload gives a dead one no more time.
    fn keep_waiting(&mut self, now: Duration) {
        let goes_on = match self.then {
            Some(Why::Preempts { priority, .. }) => priority < self.effective && !self.settings.nopreempt,
            Some(_) => true,
            None => false,
        };
        if !goes_on {
            let heard = self.master.map_or(self.waits_since, |master| master.heard);
            self.await_advert(heard);
            self.due = self.due.map(|due| due.max(now));
        }
    }

    fn obey(&mut self, order: Order, now: Duration, actions: &mut Vec<Action>) {
        match (order, self.state) {
            (Order::Master, State::Backup) => {
                let why = if self.wants { self.why_master(now) } else { Why::Group };
                self.become_master(now, why, actions);
            }
            (Order::Backup, State::Master) => self.become_backup(None, now, Why::Group, actions),
            (Order::Backup, State::Backup) if self.wants => self.await_advert(now),
            (Order::Assert, State::Master) => self.assert_addresses(now, actions),
            (Order::Master | Order::Backup | Order::Assert, _) => {}
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

/// Whether a timer is due; it is not any more.
fn take_due(timer: &mut Option<Duration>, now: Duration) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}

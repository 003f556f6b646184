//! What comes from this side: priorities, readiness, orders by hand, another configuration, the sync group.

use std::time::Duration;

use super::super::{Action, Hand, Master, Order, Report, Settings, Sighting, State, TakeRefusal, Why};
use super::Instance;
use crate::vrrp::packet::{PRIORITY_LEAVING, PRIORITY_OWNER};
use crate::vrrp::priority;

impl Instance {
    pub(super) fn set_priority(&mut self, wanted: u8, now: Duration, actions: &mut Vec<Action>) {
        let before = self.effective;
        self.effective =
            if self.is_owner() { PRIORITY_OWNER } else { wanted.clamp(priority::MIN, priority::MAX) };
        let is_releasing = matches!(self.hand, Some(Hand::Releasing { .. }));
        if self.state == State::Master && self.effective != before && !is_releasing {
            actions.push(Action::SendAdvert { priority: self.advertised() });
            self.due = Some(now + self.settings.interval.duration());
        }
    }

    pub(super) fn set_ready(&mut self, is_ready: bool, now: Duration) {
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

    pub(super) fn release(&mut self, now: Duration, actions: &mut Vec<Action>) {
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

    pub(super) fn take(&mut self, now: Duration, actions: &mut Vec<Action>) {
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

    pub(super) fn reconfigure(
        &mut self,
        settings: Settings,
        effective: u8,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
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
    pub(super) fn keep_waiting(&mut self, now: Duration) {
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

    pub(super) fn obey(&mut self, order: Order, now: Duration, actions: &mut Vec<Action>) {
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
}

//! A master: how it becomes one, what it sends, and to whom it gives way.

use std::time::Duration;

use super::super::{Action, Hand, Master, Report, Sighting, State, Why};
use super::{Instance, Topic};
use crate::vrrp::packet::PRIORITY_LEAVING;

impl Instance {
    /// The advert first, then the addresses, then ARP: keepalived's order.
    pub(super) fn become_master(&mut self, now: Duration, why: Why, actions: &mut Vec<Action>) {
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

    pub(super) fn next_refresh(&self, now: Duration) -> Option<Duration> {
        self.settings.garp.refresh.filter(|refresh| !refresh.is_zero()).map(|refresh| now + refresh)
    }

    pub(super) fn master_hears(&mut self, sighting: Sighting, now: Duration, actions: &mut Vec<Action>) {
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
    pub(super) fn may_answer(&mut self, now: Duration) -> bool {
        let rest = self.settings.interval.duration() / 2;
        let may = self.answered.is_none_or(|at| now >= at + rest);
        if may {
            self.answered = Some(now);
        }
        may
    }

    /// Hosts may have learnt another master's Ethernet address.
    pub(super) fn assert_addresses(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let garp = self.settings.garp;
        if garp.lower_priority_repeat > 0 {
            actions.push(Action::SendGarp { repeat: garp.lower_priority_repeat });
            if !garp.lower_priority_delay.is_zero() {
                self.lower_priority_garp_at = Some(now + garp.lower_priority_delay);
            }
        }
    }

    pub(super) fn master_timer(&mut self, now: Duration, actions: &mut Vec<Action>) {
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
    pub(super) fn become_backup(
        &mut self,
        to: Option<Sighting>,
        now: Duration,
        why: Why,
        actions: &mut Vec<Action>,
    ) {
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

    pub(super) fn no_garp(&mut self) {
        self.garp_at = None;
        self.lower_priority_garp_at = None;
        self.refresh_at = None;
    }
}

/// Whether a timer is due; it is not any more.
fn take_due(timer: &mut Option<Duration>, now: Duration) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}

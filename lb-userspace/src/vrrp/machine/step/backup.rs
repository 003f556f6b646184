//! A backup: what it makes of adverts, and of their absence.

use std::net::IpAddr;
use std::time::Duration;

use super::super::{Action, Master, Report, Sighting, State, Why};
use super::{Hand, Instance, Topic};
use crate::vrrp::packet::PRIORITY_LEAVING;

impl Instance {
    /// Becomes backup, without a master known yet.
    pub(super) fn wait_for_master(&mut self, now: Duration, actions: &mut Vec<Action>, why: Why) {
        self.master = None;
        self.await_advert(now);
        self.waits_since = now;
        self.change(State::Backup, why, actions);
    }

    /// Waits for the master's next advert, anew.
    pub(super) fn await_advert(&mut self, now: Duration) {
        self.due = Some(now + self.master_down_interval());
        self.then = None;
        self.wants = false;
        self.was_late = false;
    }

    pub(super) fn backup_hears(&mut self, sighting: Sighting, now: Duration, actions: &mut Vec<Action>) {
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
            // section 6.4.2); and not for as long as one that was followed before, whose adverts came less often.
            let due = now + self.master_down_interval();
            self.due = self.due.map(|earlier| earlier.min(due));
            self.then = Some(Why::Preempts { master: sighting.from, priority: sighting.priority });
            self.tell(Topic::LowerPriority, sighting.from, Report::LowerPriority(sighting), actions);
        }
    }

    pub(super) fn note_master(&mut self, sighting: Sighting, now: Duration) {
        match self.master.replace(Master { last: sighting, heard: now }) {
            Some(Master { last, .. }) if last.from == sighting.from => {}
            // Both live: told once, not at each advert.
            Some(Master { last, heard }) if now < heard + last.interval.duration() * 2 => {}
            Some(_) | None => self.told.clear(),
        }
    }

    pub(super) fn backup_hears_leaving(&mut self, from: IpAddr, now: Duration, actions: &mut Vec<Action>) {
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
    pub(super) fn leaves_alone(
        &mut self,
        sighting: Sighting,
        now: Duration,
        actions: &mut Vec<Action>,
    ) -> bool {
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

    pub(super) fn backup_timer(&mut self, now: Duration, actions: &mut Vec<Action>) {
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
    pub(super) fn why_master(&self, now: Duration) -> Why {
        self.then.unwrap_or(match self.master {
            Some(Master { last, heard }) => {
                Why::Silence { master: Some(last.from), silent: now.saturating_sub(heard) }
            }
            None => Why::Silence { master: None, silent: now.saturating_sub(self.waits_since) },
        })
    }
}

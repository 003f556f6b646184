//! What operators order by hand, and what other directors are about to do: a switch that is known beforehand costs no
//! new connection, because both directors place those that begin now by their hash.

use std::time::Duration;

use tokio::time::Instant;

use super::super::compare::Intent;
use super::super::member::{Member, ms};
use super::{AGREEMENT, Answer, LATE, Runner, SOON, Taking};
use crate::vrrp::machine::{Action, Event, Hand, Report, State};
use crate::vrrp::sync::{InstanceId, Output};

impl Runner {
    /// What an operator orders for an instance or a group.
    pub(super) fn order(&mut self, name: &str, event: Event, answer: Answer) {
        let by_group =
            self.groups.iter().find(|group| group.name == name).and_then(|group| group.members.first());
        let wanted = by_group.map_or(name, String::as_str).to_owned();
        let Some(member) = self.members.iter().find(|member| member.config.name == wanted) else {
            let names: Vec<_> = self.members.iter().map(|member| member.config.name.as_str()).collect();
            let error = format!("there is no VRRP instance {name:?}; there are: {}", names.join(", "));
            return drop(answer.send(Err(error)));
        };
        let id = member.id;
        if event == Event::Take {
            return self.take_soon(id, wanted, answer);
        }
        self.forget_takes(id, "it was released meanwhile");
        let before = self.state(id);
        let said = if before == State::Master {
            self.release_soon(id);
            format!("{wanted} hands over; the addresses stay until another director is heard")
        } else {
            // Remembered all the same: it leaves every master alone.
            self.step(id, event);
            format!("{wanted} is {before}; it leaves every other master alone from now on")
        };
        drop(answer.send(Ok(said)));
    }

    /// Hands over, but first lets new connections be placed by what the next director knows too.
    pub(super) fn release_soon(&mut self, id: InstanceId) {
        if !self.releases.iter().any(|(_, known)| *known == id) {
            self.releases.push((Instant::now() + AGREEMENT, id));
            self.publish();
        }
    }

    /// Takes an instance; from a master that lives, when it has had time to know.
    fn take_soon(&mut self, id: InstanceId, name: String, answer: Answer) {
        self.releases.retain(|(_, other)| *other != id);
        self.forget_takes(id, "it was ordered once more");
        let core = self.routers.get(id);
        let lives = core.is_some_and(|core| {
            core.state() == State::Backup
                && core.refuses_take().is_none()
                && core.status(self.now()).master.is_some()
        });
        let at =
            if lives && self.intend(id, AGREEMENT) { Instant::now() + AGREEMENT } else { Instant::now() };
        self.takes.push(Taking { at, id, name, answer });
        self.carry_out_orders();
    }

    fn forget_takes(&mut self, id: InstanceId, why: &str) {
        let (gone, kept): (Vec<_>, Vec<_>) = self.takes.drain(..).partition(|taking| taking.id == id);
        self.takes = kept;
        for Taking { name, answer, .. } in gone {
            drop(answer.send(Err(format!("{name}: {why}"))));
        }
    }

    /// Tells the master of an instance that this director will be. Returns whether it is told to anybody.
    pub(super) fn intend(&self, id: InstanceId, within: Duration) -> bool {
        self.member(id).is_some_and(|member| {
            let intent = Intent {
                virtual_router_id: member.router.number(),
                is_ipv6: member.is_ipv6(),
                within_ms: ms(within),
            };
            self.outlets.intents.send(intent).is_ok()
        })
    }

    /// Lets a master of lower priority know that it will be preempted.
    pub(super) fn announce_preemption(&self, id: InstanceId) {
        let status = self.routers.get(id).map(|core| core.status(self.now()));
        if let Some(status) = status.filter(|status| status.preempts) {
            self.intend(id, status.due_in.unwrap_or_default());
        }
    }

    /// Another director will be master.
    pub(super) fn expect_successor(&mut self, interface: &str, intent: Intent) {
        let Intent { virtual_router_id, is_ipv6, within_ms } = intent;
        let named = |member: &&Member| {
            member.config.interface == interface
                && member.router.number() == virtual_router_id
                && member.is_ipv6() == is_ipv6
        };
        let Some(id) = self.members.iter().find(named).map(|member| member.id) else { return };
        let until = Instant::now() + Duration::from_millis(within_ms).min(SOON) + LATE;
        self.successors.retain(|(_, other)| *other != id);
        self.successors.push((until, id));
        self.publish();
    }

    /// Orders that are due, and intents that are over.
    pub(super) fn carry_out_orders(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = self.releases.iter().copied().partition(|(at, _)| *at <= now);
        self.releases = later;
        let (takes, later): (Vec<_>, Vec<_>) = self.takes.drain(..).partition(|taking| taking.at <= now);
        self.takes = later;
        let known = self.successors.len();
        self.successors.retain(|(until, _)| *until > now);
        if due.is_empty() && takes.is_empty() && self.successors.len() == known {
            return;
        }
        for (_, id) in due {
            self.step(id, Event::Release);
        }
        for Taking { id, name, answer, .. } in takes {
            drop(answer.send(self.take_now(id, &name)));
        }
        self.publish();
    }

    fn take_now(&mut self, id: InstanceId, name: &str) -> Result<String, String> {
        let outputs = self.routers.step(id, Event::Take, self.now());
        let refusal = outputs.iter().find_map(|output| {
            if let Output::Instance(_, Action::Report(Report::TakeRefused(why))) = output {
                Some(why.to_string())
            } else {
                None
            }
        });
        self.perform(outputs);
        match refusal {
            Some(why) => Err(format!("{name}: {why}")),
            None => Ok(format!("{name} is {}", self.state(id))),
        }
    }

    /// Whether a master is about to hand over, or does, or will be taken from.
    pub(super) fn hands_over(&self) -> bool {
        let now = self.now();
        let releases = |member: &Member| {
            let hand = self.routers.get(member.id).and_then(|core| core.status(now).hand);
            matches!(hand, Some(Hand::Releasing { .. }))
        };
        !self.releases.is_empty()
            || self.members.iter().any(releases)
            || self.successors.iter().any(|(_, id)| self.state(*id) == State::Master)
    }
}

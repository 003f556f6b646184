//! All checks, real servers and virtual servers, and when each of them wants something.
//!
//! [`Core::step`] takes what happened and the time, and returns what is to be done. Changes of the tables are
//! gathered: the first goes out at once, and the next not before [`GATHER`] later, with all that came meanwhile.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::check::{self, Now, Verdict};
use super::server::{self, Input};
use super::service;
use super::view::{self, ServerView, ServiceView, View, server_key};
use crate::config::checks::Check;
use crate::config::{Config, RealServer, VirtualServer};
use crate::notify::Event as Told;
use crate::plane::desired::{ServerKey, ServiceKey};

mod configure;
#[cfg(test)]
mod tests;
mod told;

pub use configure::Tables;
use told::{quorum_event, server_event};

/// The tables are not changed more often than this.
pub const GATHER: Duration = Duration::from_millis(100);

/// Which check. Not used again when the check is gone, so that a late result meets nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(pub u32);

/// What a probe came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it says.
    pub verdict: Verdict,
    /// In an operator's words: "HTTP 503 in 2 ms", "connection refused".
    pub text: String,
    /// From its start to its end.
    pub latency: Duration,
    /// What a file says, or the weight that a script asks for.
    pub number: Option<i64>,
}

/// What a probe is to find out, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The virtual server; of a group: its first address.
    pub service: ServiceKey,
    /// The real server.
    pub server: ServerKey,
    /// The check.
    pub check: Check,
}

/// What happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// This configuration is in force. What it does not change goes on. `tables` are what an earlier daemon left.
    Configure {
        /// The configuration, with the edits made at run time.
        config: &'a Config,
        /// Only at the start.
        tables: Option<&'a Tables>,
    },
    /// These are this host's addresses.
    Addresses(&'a BTreeSet<IpAddr>),
    /// A probe has ended.
    Finished {
        /// Whose.
        check: CheckId,
        /// Its number.
        probe: u32,
        /// How.
        outcome: Outcome,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Make a probe. The same check's last one has ended, or is to be given up.
    Probe {
        /// Whose.
        check: CheckId,
        /// Its number.
        probe: u32,
        /// What and of whom.
        target: Arc<Target>,
    },
    /// Give up the probe that is being made.
    Cancel {
        /// Whose.
        check: CheckId,
    },
    /// The tables are to follow this.
    Publish(Arc<View>),
    /// Something is to be told.
    Tell(Told),
}

/// A check and the last that was heard of it.
#[derive(Debug)]
pub(super) struct CheckEntry {
    pub(super) target: Arc<Target>,
    pub(super) state: check::State,
    pub(super) last: Option<(Outcome, Now)>,
    pub(super) since: Now,
    /// Its place among its real server's checks.
    index: usize,
}

/// A real server.
#[derive(Debug)]
pub(super) struct ServerEntry {
    pub(super) config: RealServer,
    pub(super) checks: Vec<CheckId>,
    pub(super) state: server::State,
    pub(super) since: Now,
}

/// A virtual server.
#[derive(Debug)]
pub(super) struct ServiceEntry {
    pub(super) config: VirtualServer,
    pub(super) servers: BTreeMap<ServerKey, ServerEntry>,
    pub(super) has_quorum: bool,
    pub(super) since: Now,
    pub(super) suspended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Check(CheckId),
    Server(ServiceKey, ServerKey),
}

/// Everything; see the module.
#[derive(Debug)]
pub struct Core {
    pub(super) services: BTreeMap<ServiceKey, ServiceEntry>,
    checks: HashMap<CheckId, CheckEntry>,
    next: CheckId,
    /// Deadlines, some of which may be out of date: what is due is asked again.
    alarms: BinaryHeap<Reverse<(Now, Alarm)>>,
    /// Checks whose first result is to come.
    awaited: BTreeSet<CheckId>,
    addresses: Option<BTreeSet<IpAddr>>,
    /// Changed since the last view that was published.
    is_dirty: bool,
    published: Option<Now>,
    max_delay: Duration,
    seed: u64,
}

impl Core {
    /// Nothing to check yet. `seed` makes this director's times differ from another's.
    pub fn new(seed: u64) -> Self {
        Self {
            services: BTreeMap::new(),
            checks: HashMap::new(),
            next: CheckId(0),
            alarms: BinaryHeap::new(),
            awaited: BTreeSet::new(),
            addresses: None,
            is_dirty: false,
            published: None,
            max_delay: Duration::ZERO,
            seed,
        }
    }

    /// When it wants the next [`Event::Tick`] at the latest.
    pub fn deadline(&self) -> Option<Now> {
        let alarm = self.alarms.peek().map(|Reverse((due, _))| *due);
        let publish =
            self.is_dirty.then(|| self.published.map_or(Now::ZERO, |last| last.saturating_add(GATHER)));
        alarm.into_iter().chain(publish).min()
    }

    /// A check by its id.
    pub(super) fn check(&self, id: CheckId) -> Option<&CheckEntry> {
        self.checks.get(&id)
    }

    /// How many checks there are.
    pub fn checks(&self) -> usize {
        self.checks.len()
    }

    /// Whether every check has run at least once.
    pub fn is_ready(&self) -> bool {
        self.awaited.is_empty()
    }

    /// The most that a probe started after its time.
    pub fn max_delay(&self) -> Duration {
        self.max_delay
    }

    /// What follows from `event`.
    pub fn step(&mut self, event: Event<'_>, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Configure { config, tables } => self.configure(config, tables, now, &mut actions),
            Event::Addresses(addresses) => {
                self.addresses = Some(addresses.clone());
                self.suspend(now, &mut actions);
            }
            Event::Finished { check, probe, outcome } => {
                self.finished(check, probe, outcome, now, &mut actions)
            }
            Event::Tick => {}
        }
        self.ring(now, &mut actions);
        self.publish(now, &mut actions);
        actions
    }

    /// Serves all that is due.
    fn ring(&mut self, now: Now, actions: &mut Vec<Action>) {
        while let Some(Reverse((due, alarm))) = self.alarms.peek().copied() {
            if due > now {
                break;
            }
            self.alarms.pop();
            match alarm {
                Alarm::Check(id) => {
                    let due = self.check(id).and_then(|entry| entry.state.deadline());
                    if let Some(due) = due.filter(|due| *due <= now) {
                        self.max_delay = self.max_delay.max(now.saturating_sub(due));
                        self.step_check(id, check::Event::Tick, now, actions);
                    }
                }
                Alarm::Server(service, server) => {
                    self.step_server(service, server, server::Event::Tick, now, actions)
                }
            }
        }
    }

    fn finished(&mut self, id: CheckId, probe: u32, outcome: Outcome, now: Now, actions: &mut Vec<Action>) {
        let Some(entry) = self.checks.get_mut(&id) else { return };
        let verdict = outcome.verdict;
        if !entry.state.is_probing(probe) {
            return;
        }
        let (service, server) = (entry.target.service, entry.target.server);
        let before = entry.last.as_ref().and_then(|(last, _)| last.number);
        let number = if verdict == Verdict::Passed { outcome.number } else { before };
        entry.last = Some((Outcome { number, ..outcome }, now));
        let changed = self.step_check(id, check::Event::Finished { probe, verdict }, now, actions);
        if self.awaited.remove(&id) && self.awaited.is_empty() {
            self.is_dirty = true;
        }
        if changed || number != before {
            let Some(entry) = self.check(id) else { return };
            let input = Input { standing: entry.state.standing(), number };
            let event = server::Event::Check(entry.index, input);
            self.step_server(service, server, event, now, actions);
        }
    }

    /// Returns whether the standing changed.
    fn step_check(&mut self, id: CheckId, event: check::Event, now: Now, actions: &mut Vec<Action>) -> bool {
        let Some(entry) = self.checks.get_mut(&id) else { return false };
        let (state, asked) = entry.state.clone().step(event, now);
        entry.state = state;
        if asked.changed {
            entry.since = now;
        }
        if let Some(due) = entry.state.deadline() {
            self.alarms.push(Reverse((due, Alarm::Check(id))));
        }
        if let Some(probe) = asked.probe {
            actions.push(Action::Probe { check: id, probe, target: Arc::clone(&entry.target) });
        }
        asked.changed
    }

    fn step_server(
        &mut self,
        service: ServiceKey,
        name: ServerKey,
        event: server::Event,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let reason = self.reason(service, name);
        let Some(entry) = self.services.get_mut(&service) else { return };
        let Some(server) = entry.servers.get_mut(&name) else { return };
        let state = server.state.clone();
        let (state, done) = state.step(event, &server.config.health, server.config.weight, now);
        server.state = state;
        if let Some(due) = server.state.deadline(&server.config.health) {
            self.alarms.push(Reverse((due, Alarm::Server(service, name))));
        }
        if let Some(up) = done.turned {
            server.since = now;
            actions.push(Action::Tell(server_event(service, name, server, up, reason)));
        }
        if done.turned.is_some() || done.reweighted {
            self.is_dirty = true;
            self.count(service, false, now, actions);
        }
    }

    /// Counts a virtual server's real servers, and says so if the quorum is won or lost.
    fn count(&mut self, key: ServiceKey, initial: bool, now: Now, actions: &mut Vec<Action>) {
        let Some(service) = self.services.get_mut(&key) else { return };
        let census = view::census(&service.config, service.views());
        let held = service::quorum(service.has_quorum, &service.config.health, census);
        if held != service.has_quorum || initial {
            service.has_quorum = held;
            service.since = now;
            self.is_dirty = true;
            actions.push(Action::Tell(quorum_event(key, service, held, initial, census.weight)));
        }
    }

    fn publish(&mut self, now: Now, actions: &mut Vec<Action>) {
        let is_time = self.published.is_none_or(|last| now >= last.saturating_add(GATHER));
        if self.is_dirty && is_time {
            self.is_dirty = false;
            self.published = Some(now);
            actions.push(Action::Publish(Arc::new(self.view())));
        }
    }

    /// This moment.
    pub fn view(&self) -> View {
        let services = self.services.iter().map(|(key, service)| {
            let names = service.config.real_servers.iter().map(server_key);
            let view =
                ServiceView { has_quorum: service.has_quorum, servers: names.zip(service.views()).collect() };
            (*key, view)
        });
        View { services: services.collect(), is_ready: self.awaited.is_empty() }
    }
}

impl ServiceEntry {
    /// In the order of the configuration.
    pub(super) fn views(&self) -> impl Iterator<Item = ServerView> {
        self.config.real_servers.iter().map(|real| match self.servers.get(&server_key(real)) {
            Some(entry) => ServerView {
                is_up: entry.state.is_up(),
                was_up: entry.state.was_up(),
                share: entry.state.share(),
            },
            None => ServerView { is_up: true, was_up: true, share: server::Share::default() },
        })
    }
}

/// The standing that a real server's check had, where another configuration still has it.
fn kept(entry: &CheckEntry) -> Input {
    let number = entry.last.as_ref().and_then(|(outcome, _)| outcome.number);
    Input { standing: entry.state.standing(), number }
}

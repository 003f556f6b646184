//! Going over to a configuration: what it does not change goes on as it was.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Action, Alarm, CheckEntry, CheckId, Core, ServerEntry, ServiceEntry, Target, kept};
use crate::config::checks::{Check, Probe};
use crate::config::{Config, RealServer, VirtualServer};
use crate::health::check::{self, Now};
use crate::health::server::{self, Event, Input};
use crate::health::view::{server_key, service_key};
use crate::orders::Orders;
use crate::plane::applied::Applied;
use crate::plane::desired::{ServerKey, ServiceKey};

/// The virtual servers and weights of real servers that an earlier daemon left in the tables. Who is not among them,
/// or has a weight of 0 that is not configured, was down, and is until its checks pass; who is, was up, also if it
/// has `alpha`. So a restart lets nobody in who was out, and takes nobody out who was in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// By virtual server.
    pub services: BTreeMap<ServiceKey, BTreeMap<ServerKey, u32>>,
}

impl Tables {
    /// What the tables say.
    pub fn of(applied: &Applied) -> Self {
        let services = applied.services.iter().map(|(key, service)| {
            (*key, service.listed().map(|server| (server.key, server.weight)).collect())
        });
        Self { services: services.collect() }
    }

    /// The same, but whoever an order keeps out counts as in: then the tables do not say whether he had failed.
    #[must_use]
    pub fn but_for(mut self, orders: &Orders) -> Self {
        for (service, server, order) in orders.iter() {
            if let Some(servers) = self.services.get_mut(service)
                && (order.held.is_some() || order.weight == Some(0))
            {
                servers.insert(*server, 1);
            }
        }
        self
    }

    /// Whether a real server was in; `None`: nothing is known of the virtual server, it begins.
    fn had(&self, service: &ServiceKey, real: &RealServer) -> Option<bool> {
        let servers = self.services.get(service)?;
        Some(servers.get(&server_key(real)).is_some_and(|weight| *weight > 0 || real.weight == 0))
    }
}

impl Core {
    pub(super) fn configure(
        &mut self,
        config: &Config,
        tables: Option<&Tables>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let mut old = std::mem::take(&mut self.services);
        let mut all_touched = Vec::with_capacity(config.virtual_servers.len());
        for server in &config.virtual_servers {
            let key = service_key(server);
            let before = old.remove(&key);
            let is_new = before.is_none();
            let entry = self.service(key, server, before, tables, now, actions);
            self.services.insert(key, entry);
            all_touched.push((key, is_new));
        }
        for service in old.into_values() {
            for server in service.servers.into_values() {
                self.forget(&server.checks, actions);
            }
        }
        self.is_dirty = true;
        self.suspend(now, actions);
        for (key, is_new) in all_touched {
            let names: Vec<ServerKey> = self
                .services
                .get(&key)
                .map(|service| service.servers.keys().copied().collect())
                .unwrap_or_default();
            for name in names {
                self.step_server(key, name, Event::Tick, now, actions);
            }
            self.count(key, is_new, now, actions);
        }
    }

    fn service(
        &mut self,
        key: ServiceKey,
        config: &VirtualServer,
        before: Option<ServiceEntry>,
        tables: Option<&Tables>,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> ServiceEntry {
        let (mut old, has_quorum, since) = match before {
            Some(before) => (before.servers, before.has_quorum, before.since),
            None => {
                // One with a quorum had real servers in the tables; whether they are enough is counted.
                let had = tables.is_some_and(|tables| {
                    config.real_servers.iter().any(|real| tables.had(&key, real) == Some(true))
                });
                (BTreeMap::new(), had || !config.health.alpha, now)
            }
        };
        let mut servers = BTreeMap::new();
        for real in &config.real_servers {
            let name = server_key(real);
            let entry = match old.remove(&name) {
                Some(before) => self.changed(key, real, before, now, actions),
                None => {
                    let had = tables.and_then(|tables| tables.had(&key, real));
                    let assumed = had.unwrap_or(!real.health.alpha);
                    let checks = real.health.checks.iter().enumerate();
                    let checks: Vec<CheckId> =
                        checks.map(|(index, check)| self.begin(key, name, index, check, now)).collect();
                    let state = server::State::new(checks.len(), assumed);
                    ServerEntry { config: real.clone(), checks, state, since: now }
                }
            };
            servers.insert(name, entry);
        }
        for gone in old.into_values() {
            self.forget(&gone.checks, actions);
        }
        ServiceEntry { config: config.clone(), servers, has_quorum, since, suspended: false }
    }

    /// A real server that goes on: so do those of its checks that ask the same as before.
    fn changed(
        &mut self,
        service: ServiceKey,
        real: &RealServer,
        before: ServerEntry,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> ServerEntry {
        let mut old: HashMap<Probe, Vec<CheckId>> = HashMap::new();
        for id in before.checks.into_iter().rev() {
            if let Some(entry) = self.check(id) {
                old.entry(entry.target.check.probe.clone()).or_default().push(id);
            }
        }
        let name = server_key(real);
        let mut checks = Vec::with_capacity(real.health.checks.len());
        let mut inputs = Vec::with_capacity(real.health.checks.len());
        for (index, check) in real.health.checks.iter().enumerate() {
            let id = match old.get_mut(&check.probe).and_then(Vec::pop) {
                Some(id) => {
                    self.go_on(id, index, check, now);
                    id
                }
                None => self.begin(service, name, index, check, now),
            };
            inputs.push(self.check(id).map_or_else(Input::default, kept));
            checks.push(id);
        }
        let gone: Vec<CheckId> = old.into_values().flatten().collect();
        self.forget(&gone, actions);
        let state = before.state.with_inputs(inputs);
        ServerEntry { config: real.clone(), checks, state, since: before.since }
    }

    /// A new check.
    fn begin(
        &mut self,
        service: ServiceKey,
        server: ServerKey,
        index: usize,
        check: &Check,
        now: Now,
    ) -> CheckId {
        let id = self.next;
        self.next = CheckId(id.0.wrapping_add(1));
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let state = check::State::new(check.timing, self.seed, now);
        let target = Arc::new(Target { service, server, check: check.clone() });
        self.alarms.extend(state.deadline().map(|due| std::cmp::Reverse((due, Alarm::Check(id)))));
        self.checks.insert(id, CheckEntry { target, state, last: None, since: now, index });
        self.awaited.insert(id);
        id
    }

    fn go_on(&mut self, id: CheckId, index: usize, check: &Check, now: Now) {
        let Some(entry) = self.checks.get_mut(&id) else { return };
        entry.index = index;
        if entry.target.check != *check {
            entry.state.retime(check.timing, now);
            entry.target = Arc::new(Target { check: check.clone(), ..Target::clone(&entry.target) });
            self.alarms.extend(entry.state.deadline().map(|due| std::cmp::Reverse((due, Alarm::Check(id)))));
        }
    }

    fn forget(&mut self, checks: &[CheckId], actions: &mut Vec<Action>) {
        for id in checks {
            self.checks.remove(id);
            self.awaited.remove(id);
            actions.push(Action::Cancel { check: *id });
        }
    }

    /// Checks of virtual servers that ask for it rest while none of their addresses is on this host.
    pub(super) fn suspend(&mut self, now: Now, actions: &mut Vec<Action>) {
        let mut turned = Vec::new();
        for service in self.services.values_mut() {
            let is_here = || {
                let here = |addresses: &std::collections::BTreeSet<_>| {
                    service.config.endpoints().iter().any(|(address, _)| addresses.contains(address))
                };
                self.addresses.as_ref().is_none_or(here)
            };
            let suspended = service.config.health.ha_suspend && !is_here();
            service.suspended = suspended;
            turned.extend(
                service.servers.values().flat_map(|server| &server.checks).map(|id| (*id, suspended)),
            );
        }
        for (id, suspended) in turned {
            let Some(entry) = self.check(id) else { continue };
            if entry.state.is_suspended() == suspended {
                continue;
            }
            let event = if suspended { check::Event::Suspend } else { check::Event::Resume };
            self.step_check(id, event, now, actions);
            if suspended {
                actions.push(Action::Cancel { check: id });
                self.is_dirty |= self.awaited.remove(&id) && self.awaited.is_empty();
            } else if self.check(id).is_some_and(|entry| entry.state.is_awaited()) {
                self.awaited.insert(id);
            }
        }
    }
}

//! What is known of the health of all real servers at one moment, and what it makes of the tables.

use std::collections::{BTreeMap, BTreeSet};

use super::server::Share;
use super::service::{self, Census};
use crate::config::{Config, OnFailure, RealServer, VirtualServer};
use crate::plane::desired::{Desired, DesiredServer, DesiredService, ServerKey, ServiceKey};

/// A moment of all health. It is a value: applying it twice, or to another configuration, is as good as once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// By the virtual server's name; of a group: its first address.
    pub services: BTreeMap<ServiceKey, ServiceView>,
    /// Whether every check has run at least once.
    pub is_ready: bool,
}

/// A virtual server at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// Whether there is a quorum.
    pub has_quorum: bool,
    /// Its real servers.
    pub servers: BTreeMap<ServerKey, ServerView>,
}

/// A real server at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerView {
    /// Whether it is up.
    pub is_up: bool,
    /// Whether it has ever been: in panic, who has `alpha` and was not seen yet stays out.
    pub was_up: bool,
    /// How much of its weight it has.
    pub share: Share,
}

/// The name of a virtual server; of a group: of its first address.
pub fn service_key(server: &VirtualServer) -> ServiceKey {
    ServiceKey::new(server.protocol, server.address, server.port)
}

/// The name of a real server.
pub fn server_key(real: &RealServer) -> ServerKey {
    ServerKey { address: real.address, port: real.port }
}

impl View {
    /// Whether a virtual server has its quorum; `None` if it is not known.
    pub fn has_quorum(&self, service: &ServiceKey) -> Option<bool> {
        Some(self.services.get(service)?.has_quorum)
    }

    /// The same, but as if some real servers were down, too: an operator has ordered so. A quorum that is lost by that
    /// is lost.
    #[must_use]
    pub fn without(&self, config: &Config, disabled: &BTreeSet<(ServiceKey, ServerKey)>) -> View {
        let mut view = self.clone();
        for server in &config.virtual_servers {
            let key = service_key(server);
            let Some(service) = view.services.get_mut(&key) else { continue };
            let mut is_changed = false;
            for (name, known) in &mut service.servers {
                if known.is_up && disabled.contains(&(key, *name)) {
                    known.is_up = false;
                    is_changed = true;
                }
            }
            if is_changed {
                let views = server.real_servers.iter().map(|real| {
                    let known = service.servers.get(&server_key(real)).copied();
                    known.unwrap_or(ServerView { is_up: true, was_up: true, share: Share::default() })
                });
                let census = census(server, views);
                service.has_quorum &= service::quorum(true, &server.health, census);
            }
        }
        view
    }

    /// Changes what `config` asks for to what health allows. What is not known yet of a virtual or real server of
    /// `config` is as it begins: up, or with `alpha` down.
    pub fn apply(&self, config: &Config, desired: &mut Desired) {
        for server in &config.virtual_servers {
            let known = self.services.get(&service_key(server));
            let rotation = Rotation::of(server, known);
            for (address, port) in server.endpoints() {
                let key = ServiceKey::new(server.protocol, address, port);
                if let Some(service) = desired.services.get_mut(&key) {
                    rotation.apply(server, service);
                }
            }
        }
    }
}

/// What becomes of the real servers of one virtual server.
struct Rotation {
    views: Vec<ServerView>,
    has_quorum: bool,
    panics: bool,
}

impl Rotation {
    fn of(server: &VirtualServer, known: Option<&ServiceView>) -> Self {
        let view = |real: &RealServer| {
            let view = known.and_then(|known| known.servers.get(&server_key(real)).copied());
            let initial = !real.health.alpha || real.health.checks.is_empty();
            view.unwrap_or(ServerView { is_up: initial, was_up: initial, share: Share::default() })
        };
        let views: Vec<ServerView> = server.real_servers.iter().map(view).collect();
        let census = census(server, views.iter().copied());
        // A quorum is never less than nothing: without one known, what is up decides.
        let has_quorum = known.map_or_else(
            || service::quorum(!server.health.alpha, &server.health, census),
            |known| known.has_quorum,
        );
        Self { views, has_quorum, panics: service::panics(&server.health, census) }
    }

    fn apply(&self, server: &VirtualServer, service: &mut DesiredService) {
        let sorry = server.health.sorry_server.as_deref();
        let has_sorry = sorry.is_some() && !self.has_quorum;
        let known: BTreeMap<ServerKey, (&RealServer, &ServerView)> = server
            .real_servers
            .iter()
            .zip(&self.views)
            .map(|(real, view)| (server_key(real), (real, view)))
            .collect();
        let keeps = service.on_failure == OnFailure::Keep;
        service.servers.retain_mut(|entry| {
            let Some((real, view)) = known.get(&entry.key) else { return true };
            // Who is kept in although it failed keeps its connections, too.
            entry.failed = !view.is_up && (has_sorry || !self.panics || !view.was_up);
            if has_sorry || entry.failed {
                entry.weight = 0;
                // Only what is in the tables can have its connections ended there.
                return real.health.inhibit_on_failure || (entry.failed && !keeps);
            }
            entry.weight = view.share.of(entry.weight);
            true
        });
        let Some(sorry) = sorry.filter(|_| has_sorry || server.health.sorry_server_inhibit) else { return };
        let weight = if has_sorry { sorry.weight } else { 0 };
        match service.servers.iter_mut().find(|entry| entry.key == server_key(sorry)) {
            Some(entry) if has_sorry => (entry.weight, entry.failed) = (weight, false),
            Some(_) => {}
            None => service.servers.push(DesiredServer {
                forwarding: sorry.forwarding,
                thresholds: sorry.thresholds,
                ..DesiredServer::new(server_key(sorry), weight)
            }),
        }
    }
}

/// Counts the real servers of a virtual server.
pub(super) fn census(server: &VirtualServer, views: impl Iterator<Item = ServerView>) -> Census {
    let mut census = Census::default();
    for (real, view) in server.real_servers.iter().zip(views) {
        census.servers = census.servers.saturating_add(1);
        census.configured = census.configured.saturating_add(u64::from(real.weight));
        if view.is_up {
            census.up = census.up.saturating_add(1);
            census.weight = census.weight.saturating_add(u64::from(view.share.whole(real.weight)));
        }
    }
    census
}

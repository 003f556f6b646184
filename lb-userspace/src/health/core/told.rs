//! What is told of real servers and quorums, and why.

use super::{Core, ServerEntry, ServiceEntry, Told};
use crate::health::check::Standing;
use crate::notify::{QuorumEvent, RealServerEvent};
use crate::plane::desired::{ServerKey, ServiceKey};

impl Core {
    /// What must be told when the director stops: `omega`.
    pub fn farewell(&self) -> Vec<Told> {
        let mut told = Vec::new();
        for (key, service) in self.services.iter().filter(|(_, service)| service.config.health.omega) {
            for (name, server) in service.servers.iter().filter(|(_, server)| server.state.is_up()) {
                told.push(server_event(*key, *name, server, false, "the director stops".to_owned()));
            }
            if service.has_quorum {
                told.push(quorum_event(*key, service, false, false, 0));
            }
        }
        told
    }

    /// Why a real server is as it is: the check that failed, or the latest one.
    pub(super) fn reason(&self, service: ServiceKey, server: ServerKey) -> String {
        let checks = self.services.get(&service).and_then(|service| service.servers.get(&server));
        let entries =
            || checks.into_iter().flat_map(|server| &server.checks).filter_map(|id| self.check(*id));
        let failed = entries().find(|entry| entry.state.standing() == Standing::Down);
        let latest = || {
            entries()
                .filter(|entry| entry.last.is_some())
                .max_by_key(|entry| entry.last.as_ref().map(|(_, at)| *at))
        };
        failed.or_else(latest).map_or_else(String::new, |entry| {
            let said = entry.last.as_ref().map_or("", |(outcome, _)| outcome.text.as_str());
            format!("{}: {said}", entry.target.check.probe)
        })
    }
}

pub(super) fn server_event(
    service: ServiceKey,
    name: ServerKey,
    server: &ServerEntry,
    up: bool,
    reason: String,
) -> Told {
    Told::RealServer(RealServerEvent {
        virtual_server: service,
        real_server: name,
        up,
        reason,
        commands: server.config.commands.clone(),
    })
}

pub(super) fn quorum_event(
    key: ServiceKey,
    service: &ServiceEntry,
    up: bool,
    initial: bool,
    weight: u64,
) -> Told {
    Told::VirtualServer(QuorumEvent {
        virtual_server: key,
        up,
        initial,
        quorum: u64::from(service.config.health.quorum),
        hysteresis: u64::from(service.config.health.hysteresis),
        weight,
        commands: service.config.quorum_commands.clone(),
    })
}

//! Whose answers come from which real server's address and port: worked out from what a plan leads to, so that it
//! holds for real servers that are being added and for those that are retired and still have connections.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::layout::{Answers, DestinationRef, Method, Owner, Service};

use super::applied::Applied;
use super::desired::{ServerKey, ServiceKey};
use super::plan::Step;

/// The owners of the answers from a real server: its protocol, address and port.
pub type Owners = BTreeMap<ServiceKey, BTreeSet<Owner>>;

/// What the tables say of one real server's answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedAnswers {
    /// Its word.
    pub answers: Answers,
    /// Whom it names.
    pub owners: BTreeSet<Owner>,
}

/// The real servers after these steps: the schedule, name and method of each.
pub(super) fn servers_after(
    applied: &Applied,
    steps: &[Step],
) -> BTreeMap<DestinationRef, (u16, ServerKey, Method)> {
    let mut servers: BTreeMap<DestinationRef, (u16, ServerKey, Method)> = BTreeMap::new();
    for service in applied.services.values() {
        let named =
            service.servers.iter().map(|one| (one.reference, (service.schedule, one.key, one.method)));
        servers.extend(named);
    }
    for step in steps {
        if let Step::AddServer { reference, schedule, key, method, .. } = step {
            servers.insert(*reference, (*schedule, *key, *method));
        } else if let Step::Method { reference, method } = step
            && let Some((_, _, old)) = servers.get_mut(reference)
        {
            *old = *method;
        }
    }
    servers
}

/// The owners after these steps. What answers the director's own address says itself whose it is: full NAT has none.
pub fn owners_after(applied: &Applied, steps: &[Step]) -> Owners {
    let mut names: BTreeMap<ServiceKey, Service> = applied.names.clone();
    for step in steps {
        if let Step::SetService { key, service } = step {
            names.insert(*key, *service);
        } else if let Step::RemoveService { key } = step {
            names.remove(key);
        }
    }
    let mut by_schedule: BTreeMap<u16, Vec<(ServiceKey, u16)>> = BTreeMap::new();
    for (key, service) in names {
        by_schedule.entry(service.schedule).or_default().push((key, service.id));
    }
    let mut owners = Owners::new();
    for (destination, (schedule, key, method)) in servers_after(applied, steps) {
        let names = by_schedule.get(&schedule).filter(|_| method == Method::Nat);
        for (virtual_server, service) in names.into_iter().flatten() {
            let port = if key.port == 0 { virtual_server.port } else { key.port };
            let name = ServiceKey { protocol: virtual_server.protocol, address: key.address, port };
            owners.entry(name).or_default().insert(Owner { service: *service, destination });
        }
    }
    owners
}

/// The steps to these owners: what must be done before the virtual servers are there, and what after those that go
/// are gone. `space` gives the places of lists among the rings.
pub fn steps(
    applied: &Applied,
    owners: &Owners,
    mut space: impl FnMut(u32) -> Option<u32>,
) -> Result<(Vec<Step>, Vec<Step>), ServiceKey> {
    let mut before = Vec::new();
    for (key, owners) in owners {
        if applied.answers.get(key).is_some_and(|old| old.owners == *owners) {
            continue;
        }
        let answers = match owners.iter().next().filter(|_| owners.len() == 1) {
            Some(one) => Answers::One(*one),
            None => {
                let owners: Vec<Owner> = owners.iter().copied().take(Answers::MOST.into()).collect();
                let count = u16::try_from(owners.len()).unwrap_or(Answers::MOST);
                let offset = space(count.into()).ok_or(*key)?;
                before.push(Step::WriteOwners { offset, owners });
                Answers::Several { offset, count }
            }
        };
        before.push(Step::SetAnswers { key: *key, answers });
    }
    let gone = applied.answers.keys().filter(|key| !owners.contains_key(key));
    Ok((before, gone.map(|key| Step::RemoveAnswers { key: *key }).collect()))
}

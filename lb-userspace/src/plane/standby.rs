//! Virtual servers that another director serves: their packets go to the kernel.
//!
//! Not a part of the plan: it changes with every fail-over, one word for each virtual server and nothing else.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::layout::{Service, Settings};

use super::store::{Store, StoreError, insert_service, virtual_servers};

/// Makes the virtual servers of these addresses stand by, and all others serve. Returns how many changed.
///
/// # Errors
///
/// The table does not take the change.
pub fn mark<S: Store>(store: &S, elsewhere: &BTreeSet<IpAddr>) -> Result<usize, StoreError> {
    let change = |(key, service): (super::desired::ServiceKey, Service)| {
        let flags = if elsewhere.contains(&key.address) {
            service.flags | Service::STANDBY
        } else {
            service.flags & !Service::STANDBY
        };
        (flags != service.flags).then_some((key, Service { flags, ..service }))
    };
    let changes: Vec<_> = virtual_servers(store).filter_map(change).collect();
    for (key, service) in &changes {
        insert_service(store, key, *service)?;
    }
    Ok(changes.len())
}

/// New connections are placed as the next director will place their packets, or by turns again.
pub fn agree<S: Store>(store: &S, hands_over: bool) {
    let flags = store.settings().flags.load();
    let new = if hands_over { flags | Settings::HANDING_OVER } else { flags & !Settings::HANDING_OVER };
    if new != flags {
        store.settings().flags.store(new);
    }
}

#[cfg(test)]
mod tests {
    use lb_common::memory::{MemoryTables, Sizes};

    use super::*;
    use crate::plane::desired::ServiceKey;

    #[test]
    fn only_virtual_servers_of_other_directors_stand_by() {
        let tables = MemoryTables::new(Sizes::default(), 1);
        let key = |last: u8, port: u16| ServiceKey { protocol: 6, address: [192, 168, 4, last].into(), port };
        for (id, key) in [(1, key(15, 80)), (2, key(15, 443)), (3, key(16, 80))] {
            insert_service(&tables, &key, Service::alone(id)).unwrap();
        }
        let flags = || -> Vec<(u16, u16)> {
            let mut flags: Vec<_> =
                virtual_servers(&tables).map(|(_, service)| (service.id, service.flags)).collect();
            flags.sort_unstable();
            flags
        };
        let elsewhere = BTreeSet::from([IpAddr::from([192, 168, 4, 15])]);
        assert_eq!(mark(&tables, &elsewhere).unwrap(), 2);
        assert_eq!(flags(), [(1, Service::STANDBY), (2, Service::STANDBY), (3, 0)]);
        assert_eq!(mark(&tables, &elsewhere).unwrap(), 0);
        assert_eq!(mark(&tables, &BTreeSet::new()).unwrap(), 2);
        assert_eq!(flags(), [(1, 0), (2, 0), (3, 0)]);
    }
}

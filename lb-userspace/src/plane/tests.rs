use super::applied::Applied;
use super::apply::{Hop, Hops, apply};
use super::desired::{Desired, DesiredServer, DesiredService, ServerKey, ServiceKey};
use super::janitor;
use super::plan::{Limits, Step, plan};
use super::store::Store;
use lb_common::layout::{NextHop, SchedulerCode};
use lb_common::memory::{MemoryTables, Sizes};
use proptest::prelude::*;
use std::net::IpAddr;

const LIMITS: Limits = Limits { servers: 64, services: 16, ring_words: 2048 };

fn tables() -> MemoryTables {
    MemoryTables::new(Sizes { services: 16, destinations: 64, ring_words: 2048, buckets: 16 }, 1)
}

fn service_key(number: u8) -> ServiceKey {
    let address = if number.is_multiple_of(2) {
        IpAddr::from([10, 0, 0, number])
    } else {
        IpAddr::from([u16::from(number); 8])
    };
    ServiceKey { protocol: 6, address, port: if number == 3 { 0 } else { 80 } }
}

fn server_key(number: u8) -> ServerKey {
    ServerKey { address: IpAddr::from([192, 168, 4, number]), port: 80 }
}

fn hops() -> Hops {
    (0..=255)
        .map(|n| {
            (server_key(n).address, Hop::Link { to: [2, 0, 0, 0, 0, n], from: [2; 6], interface: 7, vlan: 0 })
        })
        .collect()
}

fn desired() -> impl Strategy<Value = Desired> {
    let servers = prop::collection::btree_map(0u8..8, 0u32..6, 0..6);
    let service = (servers.prop_shuffle_values(), any::<bool>());
    prop::collection::btree_map(0u8..5, service, 0..5).prop_map(|services| Desired {
        rules: Default::default(),
        services: services
            .into_iter()
            .map(|(number, (servers, wrr))| {
                let scheduler = if wrr { SchedulerCode::Wrr } else { SchedulerCode::Rr };
                let servers = servers
                    .into_iter()
                    .map(|(n, weight)| DesiredServer::new(server_key(n), weight))
                    .collect();
                (service_key(number), DesiredService::new(scheduler, servers))
            })
            .collect(),
    })
}

/// Configurations list servers in any order.
trait Shuffled {
    fn prop_shuffle_values(self) -> BoxedStrategy<Vec<(u8, u32)>>;
}

impl<S: Strategy<Value = std::collections::BTreeMap<u8, u32>> + 'static> Shuffled for S {
    fn prop_shuffle_values(self) -> BoxedStrategy<Vec<(u8, u32)>> {
        self.prop_map(|map| map.into_iter().collect::<Vec<_>>()).prop_shuffle().boxed()
    }
}

fn reached(tables: &MemoryTables) -> Desired {
    let applied = Applied::read(tables);
    let services = applied.services.iter().map(|(key, service)| {
        let mut servers: Vec<_> =
            service.listed().map(|server| DesiredServer::new(server.key, server.weight)).collect();
        servers.sort_by_key(|server| server.key);
        (*key, DesiredService::new(service.scheduler.unwrap(), servers))
    });
    Desired { services: services.collect(), rules: Default::default() }
}

fn sorted(desired: &Desired) -> Desired {
    let mut desired = desired.clone();
    for service in desired.services.values_mut() {
        service.servers.sort_by_key(|server| server.key);
    }
    desired
}

/// What a packet may rely on at any moment.
fn whole(tables: &MemoryTables) -> Result<(), TestCaseError> {
    let applied = Applied::read(tables);
    let mut stretches = Vec::new();
    for (key, service) in &applied.services {
        for slot in &service.slots {
            let server = service.servers.iter().find(|server| server.reference == *slot);
            prop_assert!(server.is_some(), "{key}: a slot names no server of this service");
            let hop = NextHop::from_word(tables.destinations()[slot.id() as usize].next_hop.load());
            prop_assert!(hop.flags & NextHop::RESOLVED != 0, "{key}: a slot without a MAC that is known");
        }
        if service.place.slots > 0 {
            stretches.push((service.place.offset, service.place.offset + service.place.slots + 2));
        }
        if key.port == 0 {
            prop_assert_eq!(tables.settings.flags.load(), 1, "any-port services are looked up");
        }
    }
    stretches.sort_unstable();
    for pair in stretches.windows(2) {
        prop_assert!(pair[0].1 <= pair[1].0, "rings overlap: {:?}", pair);
    }
    Ok(())
}

proptest! {
    /// From any state to any other, interrupted after any step: nothing half done on the way, and the next plan
    /// gets there.
    #[test]
    fn plans_arrive_from_every_crash_point(states in prop::collection::vec(desired(), 1..5), crash in 0usize..40) {
        let mut tables = tables();
        let mut after = 0;
        for (index, state) in states.iter().enumerate() {
            let steps = plan(&Applied::read(&tables), state, LIMITS, after).unwrap();
            let stop = if index + 1 == states.len() { crash.min(steps.len()) } else { steps.len() };
            for step in &steps[..stop] {
                apply(&mut tables, std::slice::from_ref(step), &hops()).unwrap();
                whole(&tables)?;
            }
            after = super::plan::ring_space_after(&steps).unwrap_or(after);
        }
        let last = states.last().unwrap();
        let steps = plan(&Applied::read(&tables), last, LIMITS, after).unwrap();
        apply(&mut tables, &steps, &hops()).unwrap();
        whole(&tables)?;
        prop_assert_eq!(reached(&tables), sorted(last));
        prop_assert_eq!(plan(&Applied::read(&tables), last, LIMITS, after).unwrap(), vec![]);
        // Nobody has connections: all that is not configured can be freed, and then nothing is left to free.
        janitor::free_retired(&tables, &Default::default()).unwrap();
        let applied = Applied::read(&tables);
        prop_assert!(applied.orphans.is_empty());
        prop_assert!(applied.services.values().all(|service| service.servers.iter().all(|server| !server.retired)));
        whole(&tables)?;
    }
}

fn one_service(servers: &[(u8, u32)]) -> Desired {
    let servers = servers.iter().map(|(n, weight)| DesiredServer::new(server_key(*n), *weight)).collect();
    let service = DesiredService::new(SchedulerCode::Wrr, servers);
    Desired { services: [(service_key(0), service)].into(), rules: Default::default() }
}

fn reach(tables: &mut MemoryTables, desired: &Desired) -> Vec<Step> {
    let steps = plan(&Applied::read(tables), desired, LIMITS, 0).unwrap();
    apply(tables, &steps, &hops()).unwrap();
    steps
}

#[test]
fn a_server_taken_out_and_put_back_keeps_its_id_and_counters() {
    let mut tables = tables();
    reach(&mut tables, &one_service(&[(1, 1), (2, 2)]));
    let before = Applied::read(&tables).services[&service_key(0)].servers.clone();
    reach(&mut tables, &one_service(&[(2, 2)]));
    let steps = reach(&mut tables, &one_service(&[(1, 1), (2, 2)]));
    assert!(steps.iter().any(|step| matches!(step, Step::Revive { .. })), "{steps:?}");
    let after = &Applied::read(&tables).services[&service_key(0)].servers;
    let id = |servers: &[super::applied::AppliedServer]| {
        servers.iter().find(|server| server.key == server_key(1)).unwrap().reference
    };
    assert_eq!(id(&before), id(after));
    assert_eq!(after[0].key, server_key(1), "it comes back at the head of the list");
}

#[test]
fn a_freed_id_comes_again_with_another_generation() {
    let mut tables = MemoryTables::new(Sizes { destinations: 1, ..Sizes::default() }, 1);
    let limits = Limits { servers: 1, ..LIMITS };
    let mut reference = None;
    for n in [1, 2] {
        let steps = plan(&Applied::read(&tables), &one_service(&[(n, 1)]), limits, 0);
        if n == 2 {
            assert!(steps.is_err(), "the retired server holds the only id");
            janitor::free_retired(&tables, &Default::default()).unwrap();
        }
        let steps = plan(&Applied::read(&tables), &one_service(&[(n, 1)]), limits, 0).unwrap();
        apply(&mut tables, &steps, &hops()).unwrap();
        let Step::AddServer { reference: new, .. } = steps[0] else { panic!("{steps:?}") };
        assert_ne!(reference.replace(new), Some(new));
        let nothing = plan(&Applied::read(&tables), &one_service(&[]), limits, 0).unwrap();
        apply(&mut tables, &nothing, &hops()).unwrap();
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_changes() {
    let mut tables = tables();
    reach(&mut tables, &one_service(&[(1, 1)]));
    let before = Applied::read(&tables);
    let many: Vec<_> = (0..65).map(|n| (n, 1)).collect();
    let error = plan(&before, &one_service(&many), LIMITS, 0).unwrap_err();
    assert!(error.to_string().starts_with("1 more real servers than the 64 that fit"), "{error}");
    let error = plan(&before, &one_service(&[(1, 4001), (2, 4000)]), LIMITS, 0).unwrap_err();
    assert!(error.to_string().contains("no room for a scheduler's round of 8001 steps"), "{error}");
}

use super::applied::{Applied, AppliedServer};
use super::apply::{Hop, Hops, apply};
use super::desired::{Desired, DesiredServer, DesiredService, ServerKey, ServiceKey, method};
use super::janitor;
use super::plan::{Limits, Step, plan};
use super::store::{Store, address_bit, virtual_servers};
use crate::config::{ConnectionRules, Forwarding, OnFailure, Persistence, SchedulerFlags, Thresholds};
use lb_common::layout::{
    Addresses, Answers, DestinationRef, Method, NextHop, Owner, Rules, SchedulerCode, Settings,
};
use lb_common::memory::{MemoryTables, Sizes};
use lb_common::word;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;

const LIMITS: Limits = Limits { servers: 64, services: 16, ring_words: 1 << 16 };

fn tables() -> MemoryTables {
    MemoryTables::new(
        Sizes { services: 16, destinations: 64, ring_words: 1 << 16, buckets: 16, ..Sizes::default() },
        1,
    )
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

/// A virtual server of one name.
fn service() -> impl Strategy<Value = DesiredService> {
    let servers = prop::collection::btree_map(0u8..8, 0u32..6, 0..6);
    let masks = any::<[u8; 3]>();
    let options = (any::<[bool; 3]>(), 0u64..4, 0usize..3, any::<bool>());
    let strategy = (servers.prop_shuffle_values(), 0usize..SchedulerCode::ALL.len(), masks, options);
    strategy.prop_map(|(servers, scheduler, [nat, limited, failed], (bools, timeout, on_failure, groups))| {
        let [fallback, port, one_packet] = bools;
        let servers = servers.into_iter().map(|(n, weight)| {
            let upper = if groups && limited >> n & 1 != 0 { 4 } else { 0 };
            DesiredServer {
                thresholds: Thresholds { upper, lower: upper / 2 },
                failed: failed >> n & 1 != 0,
                ..with(server_key(n), weight, nat >> n & 1 != 0)
            }
        });
        DesiredService {
            flags: SchedulerFlags { fallback, port },
            persistence: (timeout > 0)
                .then(|| Persistence { timeout: std::time::Duration::from_secs(timeout * 100), prefix: 24 }),
            one_packet,
            on_failure: [OnFailure::Keep, OnFailure::Drop, OnFailure::Reset][on_failure],
            ..DesiredService::new(SchedulerCode::ALL[scheduler], servers.collect())
        }
    })
}

/// Some virtual servers, and names that are theirs or each on its own: groups change in every way.
fn desired() -> impl Strategy<Value = Desired> {
    let services = prop::collection::btree_map(0u8..5, service(), 0..5);
    let names = prop::collection::vec(prop::option::of(0usize..3), 5);
    (services, names, any::<[bool; 2]>()).prop_map(|(services, names, [nodest, quiescent])| {
        let mut grouped: Vec<(Vec<ServiceKey>, DesiredService)> =
            services.into_iter().map(|(number, service)| (vec![service_key(number)], service)).collect();
        for (port, group) in (8000..).zip(names) {
            if let Some((own, _)) = group.and_then(|group| grouped.get_mut(group)) {
                own.push(ServiceKey { port, ..service_key(10) });
            }
        }
        let first = |(mut names, service): (Vec<ServiceKey>, DesiredService)| {
            names.sort_unstable();
            (names[0], DesiredService { also: names[1..].to_vec(), ..service })
        };
        let rules = ConnectionRules {
            expire_nodest_conn: nodest,
            expire_quiescent_template: quiescent,
            ..ConnectionRules::default()
        };
        Desired { rules, services: grouped.into_iter().map(first).collect() }
    })
}

fn with(key: ServerKey, weight: u32, nat: bool) -> DesiredServer {
    let forwarding = if nat { Forwarding::Nat } else { Forwarding::Dr };
    DesiredServer { forwarding, ..DesiredServer::new(key, weight) }
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

/// What of a virtual server the tables keep.
#[derive(Debug, PartialEq)]
struct Essence {
    also: Vec<ServiceKey>,
    rules: Rules,
    flags: u16,
    servers: BTreeMap<ServerKey, (u32, Method, Thresholds, u8)>,
}

fn reached(tables: &MemoryTables) -> BTreeMap<ServiceKey, Essence> {
    let applied = Applied::read(tables);
    let services = applied.services.iter().map(|(key, service)| {
        let servers = service
            .listed()
            .map(|server| (server.key, (server.weight, server.method, server.limits, server.failed)));
        let essence = Essence {
            also: service.also.iter().map(|(name, _)| *name).collect(),
            rules: service.words.rules,
            flags: service.flags,
            servers: servers.collect(),
        };
        (*key, essence)
    });
    services.collect()
}

fn essence(desired: &Desired) -> BTreeMap<ServiceKey, Essence> {
    let services = desired.services.iter().map(|(key, service)| {
        let servers = service.servers.iter().map(|server| {
            let flags = service.failure_flags(server);
            (server.key, (server.weight, method(server.forwarding), server.thresholds, flags))
        });
        let essence = Essence {
            also: service.also.clone(),
            rules: service.rules(),
            flags: service.service_flags(),
            servers: servers.collect(),
        };
        (*key, essence)
    });
    services.collect()
}

/// What a packet may rely on at any moment. While names move between groups, come or go, answers may be
/// nobody's.
fn whole(tables: &MemoryTables, grouped: bool) -> Result<(), TestCaseError> {
    let applied = Applied::read(tables);
    let mut stretches = Vec::new();
    for (key, service) in &applied.services {
        for word in service.slots.iter().chain(&service.list) {
            let slot = DestinationRef::from_word(*word);
            let server = service.servers.iter().find(|server| server.reference == slot);
            prop_assert!(server.is_some(), "{key}: a slot names no server of this service");
            let hop = NextHop::from_word(tables.destinations()[slot.id() as usize].next_hop.load());
            let failed = NextHop::FAILED_DROP | NextHop::FAILED_RESET;
            prop_assert!(hop.flags & (NextHop::RESOLVED | failed) != 0, "{key}: a slot without a known MAC");
        }
        for place in [service.words.ring, service.words.list] {
            if place.slots > 0 {
                stretches.push((place.offset, place.offset + place.slots + 2));
            }
        }
        let remembers = service.scheduler.is_some_and(super::locality::remembers);
        for id in service.also.iter().map(|(_, id)| *id).chain([service.id]).filter(|_| remembers) {
            let place = applied.locality.get(&id);
            stretches.extend(place.map(|place| (place.offset, place.offset + place.slots + 2)));
        }
        let flags = tables.settings.flags.load();
        if super::plan::needs_counts(service.words.rules) {
            prop_assert!(flags & Settings::COUNTED != 0, "{key}: connections are counted");
        }
        if key.port == 0 {
            prop_assert!(
                tables.settings.flags.load() & Settings::ANY_PORT != 0,
                "any-port services are looked up"
            );
        }
        let picked = |server: &&AppliedServer| {
            let names = |word: &u64| DestinationRef::from_word(*word) == server.reference;
            !grouped && server.method == Method::Nat && service.slots.iter().any(names)
        };
        for server in service.servers.iter().filter(picked) {
            prop_assert!(tables.settings.flags.load() & Settings::NAT != 0, "answers are looked up");
            for (virtual_server, id) in std::iter::once(&(*key, service.id)).chain(&service.also) {
                let name =
                    ServiceKey { protocol: key.protocol, address: server.key.address, port: server.key.port };
                let owner = Owner { service: *id, destination: server.reference };
                let answers = applied.answers.get(&name);
                prop_assert!(
                    answers.is_some_and(|found| found.owners.contains(&owner)),
                    "{virtual_server}: {name} has no answers"
                );
                let own = &tables.virtuals[usize::from(*id)];
                prop_assert_eq!(own.port.load() & 0xffff, u64::from(virtual_server.port.to_be()));
            }
        }
    }
    for (key, _) in virtual_servers(tables) {
        prop_assert!(tables.settings.addresses.may_have(address_bit(key.address)), "{key} is looked up");
    }
    for (name, found) in &applied.answers {
        if let Answers::Several { offset, count } = found.answers {
            stretches.push((offset, offset + u32::from(count)));
        }
        for owner in &found.owners {
            let servers = applied.services.values().flat_map(|service| &service.servers);
            let server = servers.chain(&applied.orphans).find(|s| s.reference == owner.destination);
            prop_assert!(server.is_some_and(|s| s.key.address == name.address), "{name} names {owner:?}");
        }
    }
    stretches.sort_unstable();
    // Those of one address are the same.
    stretches.dedup();
    for pair in stretches.windows(2) {
        prop_assert!(pair[0].1 <= pair[1].0, "rings overlap: {:?}", pair);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// From any state to any other, interrupted after any step: nothing half done on the way, and the next plan
    /// gets there.
    #[test]
    fn plans_arrive_from_every_crash_point(states in prop::collection::vec(desired(), 1..5), crash in 0usize..40) {
        let mut tables = tables();
        let names = |state: &Desired| state.services.keys().copied().collect::<Vec<_>>();
        let grouped = states.iter().flat_map(|s| s.services.values()).any(|service| !service.also.is_empty())
            || states.iter().any(|state| names(state) != names(&states[0]));
        let mut after = 0;
        for (index, state) in states.iter().enumerate() {
            let steps = plan(&Applied::read(&tables), state, LIMITS, after).unwrap();
            let stop = if index + 1 == states.len() { crash.min(steps.len()) } else { steps.len() };
            for step in &steps[..stop] {
                apply(&mut tables, std::slice::from_ref(step), &hops()).unwrap();
                whole(&tables, grouped)?;
            }
            after = super::plan::ring_space_after(&steps).unwrap_or(after);
        }
        let last = states.last().unwrap();
        let steps = plan(&Applied::read(&tables), last, LIMITS, after).unwrap();
        apply(&mut tables, &steps, &hops()).unwrap();
        whole(&tables, grouped)?;
        prop_assert_eq!(reached(&tables), essence(last));
        prop_assert_eq!(plan(&Applied::read(&tables), last, LIMITS, after).unwrap(), vec![]);
        let applied = Applied::read(&tables);
        prop_assert!(applied.locality_left.is_empty());
        for service in applied.services.values() {
            let remembers = service.scheduler.is_some_and(super::locality::remembers);
            for id in service.also.iter().map(|(_, id)| *id).chain([service.id]) {
                prop_assert_eq!(applied.locality.contains_key(&id), remembers);
            }
        }
        // Nobody has connections: all that is not configured can be freed, and then nothing is left to free.
        janitor::free_retired(&tables, &Default::default()).unwrap();
        let applied = Applied::read(&tables);
        prop_assert!(applied.orphans.is_empty());
        prop_assert!(applied.services.values().all(|service| service.servers.iter().all(|server| !server.retired)));
        let steps = plan(&Applied::read(&tables), last, LIMITS, after).unwrap();
        apply(&mut tables, &steps, &hops()).unwrap();
        whole(&tables, grouped)?;
        let mut servers = last.services.values().flat_map(|service| &service.servers);
        let translated = servers.any(|server| server.forwarding == Forwarding::Nat);
        prop_assert_eq!(tables.settings.flags.load() & Settings::NAT != 0, translated);
        let addresses = Addresses::default();
        let names = last.services.iter().flat_map(|(key, service)| std::iter::once(key).chain(&service.also));
        names.for_each(|key| addresses.add(address_bit(key.address)));
        prop_assert!(word::same(&tables.settings.addresses.0, &addresses.0), "addresses of removed ones");
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
    let small = Limits { ring_words: 2048, ..LIMITS };
    let error = plan(&before, &one_service(&[(1, 4001), (2, 4000)]), small, 0).unwrap_err();
    assert!(error.to_string().contains("no room for a scheduler's round of 8001 steps"), "{error}");
}

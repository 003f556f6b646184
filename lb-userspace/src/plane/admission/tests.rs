use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::layout::{SchedulerCode, Service};
use lb_common::memory::{MemoryTables, Sizes};
use lb_common::net::{Be16, Be32};
use lb_common::services::{self, Name4};
use lb_common::tables::Tables;
use proptest::prelude::*;

use super::*;
use crate::plane::apply::{Hops, apply};
use crate::plane::desired::{Desired, DesiredServer, DesiredService, ServerKey, ServiceKey};
use crate::plane::plan::{Limits, plan};

const LIMITS: Limits = Limits { servers: 8, services: 4, ring_words: 1 << 10 };

fn key() -> ServiceKey {
    ServiceKey { protocol: 6, address: IpAddr::from([10, 0, 0, 1]), port: 80 }
}

/// One virtual server, or none.
fn desired(admission: Option<&Admission>) -> Desired {
    let server = DesiredServer::new(ServerKey { address: IpAddr::from([10, 0, 0, 2]), port: 80 }, 1);
    let service = |admission: &Admission| DesiredService {
        admission: admission.clone(),
        ..DesiredService::new(SchedulerCode::Rr, vec![server])
    };
    Desired {
        services: admission.map(|admission| (key(), service(admission))).into_iter().collect(),
        ..Desired::default()
    }
}

/// What the lists say of a source, by the words of the reference.
fn lets_in(admission: &Admission, source: IpAddr) -> bool {
    let longest =
        |list: &[IpNet]| list.iter().filter(|net| net.contains(&source)).map(|net| net.prefix_len()).max();
    match (longest(&admission.allow), longest(&admission.deny)) {
        (Some(allow), Some(deny)) => allow > deny,
        (Some(_), None) => true,
        (None, Some(_)) => false,
        (None, None) => admission.allow.is_empty(),
    }
}

/// What the datapath says; `None` if it does not know the virtual server.
fn met(tables: &MemoryTables, source: [u8; 4]) -> Option<bool> {
    let name = Name4::new(Be32::from_wire([10, 0, 0, 1]), Be16::new(80), 6);
    let service = services::find(name, |index| tables.services4.get(index as usize))?;
    if service.flags & Service::LISTED == 0 {
        return Some(true);
    }
    let value = tables.network4(service.schedule, Be32::from_wire(source));
    Some(value.and_then(Listing::from_value).is_none_or(|(listing, _)| listing == Listing::Allow))
}

/// Networks within 10.0.0.0/28 and around it, so that they are in each other.
fn networks() -> impl Strategy<Value = BTreeSet<IpNet>> {
    let network = (0u8..16, prop_oneof![Just(0u8), Just(8), 26u8..=32])
        .prop_map(|(last, length)| IpNet::new(IpAddr::from([10, 0, 0, last]), length).unwrap().trunc());
    prop::collection::btree_set(network, 0..6)
}

fn admission() -> impl Strategy<Value = Option<Admission>> {
    let lists = (networks(), networks()).prop_map(|(allow, deny)| Admission {
        rate_limit: None,
        deny: deny.difference(&allow).copied().collect(),
        allow: allow.into_iter().collect(),
    });
    prop::option::weighted(0.85, lists)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// After each step a source meets what the old lists or the new ones say of it. A crash anywhere is made good.
    #[test]
    fn a_source_meets_the_old_lists_or_the_new_ones(
        states in prop::collection::vec(admission(), 2..5), crash in 0usize..20,
    ) {
        let sizes = Sizes { services: 4, destinations: 8, ring_words: 1 << 10, buckets: 16, leases: 16 };
        let mut tables = MemoryTables::new(sizes, 1);
        let sources: Vec<[u8; 4]> = (0..20).map(|last| [10, 0, 0, last]).chain([[10, 9, 9, 9], [11, 0, 0, 1]]).collect();
        let mut before: Option<Admission> = None;
        for (index, state) in states.iter().enumerate() {
            let steps = plan(&Applied::read(&tables), &desired(state.as_ref()), LIMITS, 0).unwrap();
            let last = index + 1 == states.len();
            for step in steps.iter().take(if last { crash } else { usize::MAX }) {
                apply(&mut tables, std::slice::from_ref(step), &Hops::new()).unwrap();
                for source in &sources {
                    let may = [&before, state].map(|lists| lists.as_ref().map(|lists| lets_in(lists, (*source).into())));
                    let met = met(&tables, *source);
                    prop_assert!(may.contains(&met), "{:?}: {:?}, not one of {:?} after {:?}", source, met, may, step);
                }
            }
            before.clone_from(state);
        }
        let wanted = desired(states.last().unwrap().as_ref());
        let steps = plan(&Applied::read(&tables), &wanted, LIMITS, 0).unwrap();
        apply(&mut tables, &steps, &Hops::new()).unwrap();
        let applied = Applied::read(&tables);
        prop_assert_eq!(plan(&applied, &wanted, LIMITS, 0).unwrap(), vec![]);
        let lists: Vec<Lists> = applied.networks.into_values().collect();
        let wanted: Vec<Lists> = wanted.services.values().map(|service| service.admission.lists()).collect();
        prop_assert_eq!(lists, wanted.into_iter().filter(|lists| !lists.is_empty()).collect::<Vec<_>>());
    }
}

#[test]
fn ten_thousand_networks_are_changed_by_their_difference() {
    let sizes = Sizes { services: 4, destinations: 8, ring_words: 1 << 10, buckets: 16, leases: 16 };
    let mut tables = MemoryTables::new(sizes, 1);
    let network = |number: u32| IpNet::new(IpAddr::from((number << 8).to_be_bytes()), 24).unwrap();
    let many = |range: std::ops::Range<u32>| Admission {
        deny: range.map(network).collect(),
        ..Admission::default()
    };
    let steps = plan(&Applied::read(&tables), &desired(Some(&many(0..10_000))), LIMITS, 0).unwrap();
    apply(&mut tables, &steps, &Hops::new()).unwrap();
    let steps = plan(&Applied::read(&tables), &desired(Some(&many(5..10_010))), LIMITS, 0).unwrap();
    assert_eq!(steps.len(), 15, "{:?}", &steps[..20]);
}

#[test]
fn more_networks_than_fit_are_refused_before_anything_is_changed() {
    let sizes = Sizes { services: 4, destinations: 8, ring_words: 1 << 10, buckets: 16, leases: 16 };
    let tables = MemoryTables::new(sizes, 1);
    let network = |number: u32| IpNet::new(IpAddr::from((number << 8).to_be_bytes()), 24).unwrap();
    let deny = (0..=NETWORKS_MAX).map(network).collect();
    let wanted = desired(Some(&Admission { deny, ..Admission::default() }));
    let error = plan(&Applied::read(&tables), &wanted, LIMITS, 0).unwrap_err();
    assert!(error.to_string().contains("262145 networks"), "{error}");
}

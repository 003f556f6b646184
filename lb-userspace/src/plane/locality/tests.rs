use lb_common::layout::DestinationRef;
use lb_common::locality::Member;
use lb_common::memory::{MemoryTables, Sizes};
use lb_common::net::protocol;

use super::*;
use crate::plane::applied::Applied;
use crate::plane::apply::{Hops, apply};
use crate::plane::desired::{Desired, DesiredServer, ServerKey};
use crate::plane::plan::{Limits, PlanError, plan};

const LIMITS: Limits = Limits { servers: 64, services: 16, ring_words: 256 };

fn tables() -> MemoryTables {
    let sizes = Sizes { services: 16, destinations: 64, ring_words: 256, ..Sizes::default() };
    MemoryTables::new(sizes, 1)
}

fn key(last: u8, port: u16) -> ServiceKey {
    ServiceKey { protocol: protocol::TCP, address: IpAddr::from([10, 0, 0, last]), port }
}

/// A group of these names with so many real servers.
fn desired(scheduler: SchedulerCode, names: &[ServiceKey], servers: u8) -> Desired {
    let server = |n| ServerKey { address: IpAddr::from([192, 168, 4, n]), port: 80 };
    let servers = (0..servers).map(|n| DesiredServer::new(server(n), 1)).collect();
    let service = DesiredService { also: names[1..].to_vec(), ..DesiredService::new(scheduler, servers) };
    Desired { services: [(names[0], service)].into(), ..Desired::default() }
}

fn reach(tables: &mut MemoryTables, desired: &Desired) -> Vec<Step> {
    let steps = plan(&Applied::read(tables), desired, LIMITS, 0).unwrap();
    apply(tables, &steps, &Hops::new()).unwrap();
    steps
}

/// The stretch of a name.
fn place(tables: &MemoryTables, key: ServiceKey) -> RingPlace {
    let applied = Applied::read(tables);
    applied.locality[&applied.names[&key].id]
}

fn words(tables: &MemoryTables, place: RingPlace) -> Vec<u64> {
    let words = tables.rings.iter().skip(place.offset as usize);
    words.take((place.slots + RING_HEADER) as usize).map(Word::load).collect()
}

/// Remembers a real server of this id.
fn remember(tables: &MemoryTables, place: RingPlace, slot: u32, id: u32) {
    let member = Member { server: DestinationRef::new(id, 1), number: u64::from(slot) + 1 };
    tables.rings[(place.offset + RING_HEADER + slot) as usize].store(member.to_word());
}

#[test]
fn each_address_of_a_group_has_a_stretch() {
    let mut tables = tables();
    let names = [key(1, 80), key(1, 81), key(2, 80)];
    reach(&mut tables, &desired(SchedulerCode::Lblcr, &names, 3));
    let [first, same, second] = names.map(|name| place(&tables, name));
    assert_eq!((first, first.slots), (same, 3));
    assert!(first.offset + 5 <= second.offset || second.offset + 5 <= first.offset, "{first:?} {second:?}");
    reach(&mut tables, &desired(SchedulerCode::Lblc, &names, 3));
    assert_eq!(names.map(|name| place(&tables, name).slots), [1; 3]);
}

#[test]
fn what_is_remembered_outlives_a_reload() {
    let mut tables = tables();
    let names = [key(1, 80), key(2, 80)];
    reach(&mut tables, &desired(SchedulerCode::Lblcr, &names, 2));
    let before = place(&tables, names[1]);
    remember(&tables, before, 1, 1);
    tables.rings[before.offset as usize].store(77);
    let known = words(&tables, before);
    // With fewer real servers and another name it stays where it is.
    reach(&mut tables, &desired(SchedulerCode::Lblcr, &[key(1, 80), key(2, 80), key(3, 80)], 1));
    assert_eq!((place(&tables, names[1]), words(&tables, before)), (before, known.clone()));
    // With more it moves.
    reach(&mut tables, &desired(SchedulerCode::Lblcr, &names, 9));
    let after = place(&tables, names[1]);
    assert_eq!((after.slots, &words(&tables, after)[..4]), (9, &known[..]));
    assert_eq!(words(&tables, after)[4..], [0; 7]);
    // Another scheduler does not know it, as in IPVS.
    reach(&mut tables, &desired(SchedulerCode::Lblc, &names, 9));
    assert_eq!(words(&tables, place(&tables, names[1])), [0; 3]);
}

#[test]
fn a_name_does_not_take_it_to_another_group() {
    let mut tables = tables();
    reach(&mut tables, &desired(SchedulerCode::Lblc, &[key(1, 80), key(2, 80)], 2));
    let old = place(&tables, key(2, 80));
    remember(&tables, old, 0, 1);
    let mut two = desired(SchedulerCode::Lblc, &[key(1, 80)], 2);
    two.services.extend(desired(SchedulerCode::Lblc, &[key(2, 80)], 2).services);
    reach(&mut tables, &two);
    let new = place(&tables, key(2, 80));
    assert_ne!(new, old);
    assert_eq!(words(&tables, new), [0; 3]);
}

#[test]
fn too_many_are_refused() {
    let tables = tables();
    let names: Vec<ServiceKey> = (0..15).map(|n| key(n, 80)).collect();
    let wanted = desired(SchedulerCode::Lblcr, &names, 20);
    let error = plan(&Applied::read(&tables), &wanted, LIMITS, 0).unwrap_err();
    assert!(matches!(error, PlanError::NoLocalitySpace { .. }), "{error}");
    assert!(error.to_string().contains("use lblc or fewer addresses"), "{error}");
}

//! Where packets to real servers by full NAT come from: a word of each, and the addresses that it names among the rings.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::layout::{Destination, DestinationRef, Detail, Method, NextHop, Sources};
use lb_common::net::Be128;
use lb_common::word::Word;

use super::answers::servers_after;
use super::applied::Applied;
use super::desired::ServerKey;
use super::plan::Step;
use super::store::Store;
use crate::config::LeaseRange;

/// Words of an address.
const WORDS: u32 = 2;

/// What the tables say of one real server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedSources {
    /// Its word.
    pub place: Sources,
    /// What it means.
    pub range: LeaseRange,
}

impl AppliedSources {
    /// The stretch of the rings' table that the addresses take.
    pub fn stretch(&self) -> Option<(u32, u32)> {
        let Sources { offset, count, .. } = self.place;
        (count > 0).then(|| (offset, offset.saturating_add(u32::from(count) * WORDS)))
    }
}

/// Reads what the tables say.
pub(super) fn read<S: Store>(store: &S) -> BTreeMap<DestinationRef, AppliedSources> {
    let all = (0u32..).zip(store.destinations().iter().zip(store.details()));
    all.filter_map(|(id, (destination, detail))| {
        let hop = NextHop::from_word(destination.next_hop.load());
        let place = Sources::from_word(detail.sources.load());
        if hop.flags & NextHop::IN_USE == 0 || place == Sources::default() {
            return None;
        }
        let range = read_one(store, destination, place);
        Some((DestinationRef::new(id, hop.generation), AppliedSources { place, range }))
    })
    .collect()
}

fn read_one<S: Store>(store: &S, destination: &Destination, place: Sources) -> LeaseRange {
    let is_ipv4 = (destination.order.load() >> 32) & 0xff == 4;
    let word = |index: u32| store.rings().get(index as usize).map_or(0, Word::load);
    let addresses = (0..u32::from(place.count)).map(|number| {
        let at = place.offset.saturating_add(number * WORDS);
        let bytes = Be128::from_words([word(at), word(at.saturating_add(1))]).wire();
        let [a, b, c, d, ..] = bytes;
        if is_ipv4 { IpAddr::from([a, b, c, d]) } else { IpAddr::from(bytes) }
    });
    LeaseRange { addresses: addresses.collect(), ports: place.ports }
}

/// The steps to what is wanted, by schedule, for the real servers as they are after `steps`; and whether some real
/// server is reached by full NAT then. `space` gives the places of addresses among the rings.
///
/// # Errors
///
/// The real server for whose addresses there is no room.
pub fn steps(
    applied: &Applied,
    wanted: &BTreeMap<u16, &LeaseRange>,
    steps: &[Step],
    mut space: impl FnMut(u32) -> Option<u32>,
) -> Result<(Vec<Step>, bool), ServerKey> {
    let mut lists: BTreeMap<Vec<IpAddr>, u32> = applied
        .sources
        .values()
        .filter(|known| known.place.count > 0)
        .map(|known| (known.range.addresses.clone(), known.place.offset))
        .collect();
    let mut made = Vec::new();
    let mut any = false;
    for (reference, (schedule, key, method)) in servers_after(applied, steps) {
        if method != Method::FullNat {
            continue;
        }
        any = true;
        // A real server that is taken out with its virtual server keeps what it has.
        let Some(wanted) = wanted.get(&schedule) else { continue };
        if applied.sources.get(&reference).is_some_and(|known| known.range == **wanted) {
            continue;
        }
        let count = u8::try_from(wanted.addresses.len()).unwrap_or(u8::MAX);
        let offset = match lists.get(&wanted.addresses) {
            _ if count == 0 => 0,
            Some(offset) => *offset,
            None => {
                let offset = space(u32::from(count) * WORDS).ok_or(key)?;
                made.push(Step::WriteSources { offset, addresses: wanted.addresses.clone() });
                lists.insert(wanted.addresses.clone(), offset);
                offset
            }
        };
        made.push(Step::Sources { reference, place: Sources { ports: wanted.ports, offset, count } });
    }
    Ok((made, any))
}

/// Writes addresses among the rings.
pub(super) fn write_addresses(rings: &[Word], offset: u32, addresses: &[IpAddr]) {
    let words = addresses.iter().flat_map(|address| super::apply::words_of(*address));
    for (word, value) in rings.iter().skip(offset as usize).zip(words) {
        word.store(value);
    }
}

/// Writes a real server's word.
pub(super) fn write(detail: &Detail, place: Sources) {
    detail.sources.publish(place.to_word());
}

#[cfg(test)]
mod tests {
    use lb_common::layout::{SchedulerCode, Settings};
    use lb_common::memory::{MemoryTables, Sizes};
    use lb_common::net::protocol;

    use super::*;
    use crate::config::Forwarding;
    use crate::plane::apply::{Hops, apply};
    use crate::plane::desired::{Desired, DesiredServer, DesiredService, ServiceKey};
    use crate::plane::plan::{Limits, plan};

    const LIMITS: Limits = Limits { servers: 16, services: 16, ring_words: 512 };

    fn tables() -> MemoryTables {
        MemoryTables::new(Sizes { services: 17, destinations: 16, ring_words: 512, ..Sizes::default() }, 1)
    }

    fn range(addresses: &[&str]) -> LeaseRange {
        LeaseRange {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ports: (2000, 2999),
        }
    }

    /// A virtual server for each of these, with a real server by full NAT.
    fn desired(ranges: &[LeaseRange]) -> Desired {
        let services = (1u16..).zip(ranges).map(|(number, range)| {
            let is_v6 = range.addresses.iter().any(IpAddr::is_ipv6);
            let address = |v6: &str, v4: &str| (if is_v6 { v6 } else { v4 }).parse().unwrap();
            let name = ServiceKey {
                protocol: protocol::TCP,
                address: address("2001:db8::15", "192.168.4.15"),
                port: number,
            };
            let key = ServerKey { address: address("2001:db8::100", "192.168.9.1"), port: number };
            let server = DesiredServer { forwarding: Forwarding::FullNat, ..DesiredServer::new(key, 1) };
            let mut service = DesiredService::new(SchedulerCode::Rr, vec![server]);
            service.sources = range.clone();
            (name, service)
        });
        Desired { services: services.collect(), ..Desired::default() }
    }

    /// The steps that this took.
    fn reach(tables: &mut MemoryTables, desired: &Desired) -> Vec<Step> {
        let made = plan(&Applied::read(tables), desired, LIMITS, 0).unwrap();
        apply(tables, &made, &Hops::new()).unwrap();
        made
    }

    fn ranges(tables: &MemoryTables) -> Vec<LeaseRange> {
        read(tables).into_values().map(|applied| applied.range).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut tables = tables();
        let wanted = [
            range(&["192.168.4.2", "192.168.4.3"]),
            range(&["2001:db8::2"]),
            range(&[]),
            range(&["192.168.4.2", "192.168.4.3"]),
        ];
        let made = reach(&mut tables, &desired(&wanted));
        let lists = made.iter().filter(|step| matches!(step, Step::WriteSources { .. })).count();
        assert_eq!(lists, 2, "the same addresses are written once: {made:?}");
        let mut found = ranges(&tables);
        found.sort_by_key(|range| range.addresses.clone());
        let mut sorted = wanted.to_vec();
        sorted.sort_by_key(|range| range.addresses.clone());
        assert_eq!(found, sorted);
        assert_ne!(tables.settings.flags.load() & Settings::FULL_NAT, 0);
        assert_eq!(reach(&mut tables, &desired(&wanted)), []);
    }

    #[test]
    fn a_change_leaves_the_addresses_in_use_alone() {
        let mut tables = tables();
        let old = range(&["192.168.4.2", "192.168.4.3"]);
        reach(&mut tables, &desired(&[old.clone(), old.clone()]));
        let new = range(&["192.168.4.4"]);
        let made = plan(&Applied::read(&tables), &desired(&[old.clone(), new.clone()]), LIMITS, 0).unwrap();
        // Whatever step a crash comes after, each real server has one range or the other whole.
        for step in &made {
            apply(&mut tables, std::slice::from_ref(step), &Hops::new()).unwrap();
            assert!(ranges(&tables).iter().all(|range| *range == old || *range == new), "after {step:?}");
        }
        assert_eq!(ranges(&tables), [old, new]);
    }

    #[test]
    fn without_full_nat_nothing_is_left_of_it() {
        let mut tables = tables();
        reach(&mut tables, &desired(&[range(&["192.168.4.2"])]));
        reach(&mut tables, &Desired::default());
        // A retired real server may still have connections.
        assert_ne!(tables.settings.flags.load() & Settings::FULL_NAT, 0);
        crate::plane::janitor::free_retired(&tables, &[].into()).unwrap();
        reach(&mut tables, &Desired::default());
        assert_eq!(tables.settings.flags.load() & Settings::FULL_NAT, 0);
        assert_eq!(ranges(&tables), []);
    }
}

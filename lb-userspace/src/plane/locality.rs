//! What `lblc` and `lblcr` remember of each virtual address: where it is among the rings, moved when it has to grow, and
//! forgotten after a day without connections. [`lb_common::locality`] has its layout.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::conn::Ticks;
use lb_common::layout::{MOST_LISTED, RING_HEADER, RingPlace, Rules, SchedulerCode, Service};
use lb_common::locality::{Changed, EXPIRATION};
use lb_common::word::Word;

use super::applied::Applied;
use super::desired::{DesiredService, ServiceKey};
use super::plan::Step;
use super::store::Store;

/// Does the scheduler remember real servers?
pub(super) fn remembers(code: SchedulerCode) -> bool {
    matches!(code, SchedulerCode::Lblc | SchedulerCode::Lblcr)
}

/// How many real servers each address of a virtual server may remember, whose scheduler does.
pub(super) fn slots(service: &DesiredService) -> u32 {
    let all = u32::try_from(service.servers.len()).unwrap_or(MOST_LISTED).clamp(1, MOST_LISTED);
    if service.scheduler == SchedulerCode::Lblc { 1 } else { all }
}

/// The stretches by the virtual servers' ids, as the tables have them: those in use, and those left over, of ids that
/// have another scheduler or no name.
pub(super) fn read<S: Store>(
    store: &S,
    names: &BTreeMap<ServiceKey, Service>,
) -> [BTreeMap<u16, RingPlace>; 2] {
    let remembers = |service: &&Service| {
        let schedule = store.schedules().get(usize::from(service.schedule));
        let code = schedule.map(|schedule| Rules::from_word(schedule.scheduler.load()).code);
        code.and_then(SchedulerCode::from_number).is_some_and(remembers)
    };
    let own: BTreeSet<u16> = names.values().filter(remembers).map(|service| service.id).collect();
    let places = (0..=u16::MAX).zip(store.virtuals());
    let places = places.map(|(id, own)| (id, RingPlace::from_word(own.locality.load())));
    let (used, left) =
        places.filter(|(_, place)| place.slots > 0).partition(|(id, _): &(u16, RingPlace)| own.contains(id));
    [used, left]
}

/// A name of a virtual server whose scheduler remembers.
pub(super) struct Wanted {
    /// Its name.
    pub(super) key: ServiceKey,
    /// Its id.
    pub(super) id: u16,
    /// The id of its schedule.
    pub(super) schedule: u16,
    /// How many real servers its address may remember.
    pub(super) slots: u32,
    /// Where they are now, if it had this scheduler before.
    pub(super) now: Option<RingPlace>,
}

/// What has to be written before the schedules are, and what after that; `space` gives stretches of the rings of so
/// many slots.
///
/// # Errors
///
/// The virtual server for which there is no room.
pub(super) fn steps(
    applied: &Applied,
    wanted: Vec<Wanted>,
    mut space: impl FnMut(u32) -> Option<u32>,
) -> Result<[Vec<Step>; 2], ServiceKey> {
    let ids: BTreeSet<u16> = wanted.iter().map(|name| name.id).collect();
    let none = RingPlace::default();
    let clear = |id: &u16| (!ids.contains(id)).then_some(Step::Locality { service: *id, place: none });
    let after = applied.locality.keys().filter_map(clear).collect();
    let mut addresses: BTreeMap<(u16, IpAddr), Vec<Wanted>> = BTreeMap::new();
    for name in wanted {
        addresses.entry((name.schedule, name.key.address)).or_default().push(name);
    }
    let mut before: Vec<Step> = applied.locality_left.keys().filter_map(clear).collect();
    for names in addresses.into_values() {
        let Some(first) = names.first() else { continue };
        let now = names.iter().find_map(|name| name.now);
        let place = match now.filter(|place| place.slots >= first.slots) {
            Some(place) => place,
            None => {
                let place = RingPlace { offset: space(first.slots).ok_or(first.key)?, slots: first.slots };
                before.push(Step::WriteLocality { place, from: now.unwrap_or_default() });
                place
            }
        };
        let moved = names.iter().filter(|name| name.now != Some(place));
        before.extend(moved.map(|name| Step::Locality { service: name.id, place }));
    }
    Ok([before, after])
}

/// Writes a stretch: what another one has, else nothing.
pub(super) fn write(rings: &[Word], place: RingPlace, from: RingPlace) {
    let length = |place: RingPlace| if place.slots == 0 { 0 } else { (place.slots + RING_HEADER) as usize };
    let old = rings.iter().skip(from.offset as usize).take(length(from)).map(Word::load);
    let new = rings.iter().skip(place.offset as usize).take(length(place));
    for (word, value) in new.zip(old.chain(std::iter::repeat(0))) {
        word.store(value);
    }
}

/// Forgets the real servers of addresses to which no connection came for a day.
pub(super) fn sweep<S: Store>(store: &S, now: Ticks) {
    let names = super::store::virtual_servers(store).collect();
    let [used, _] = read(store, &names);
    for place in used.into_values() {
        let words =
            store.rings().iter().skip(place.offset as usize).take((place.slots + RING_HEADER) as usize);
        let words: Vec<&Word> = words.collect();
        let [used, changed, members @ ..] = &words[..] else { continue };
        let bits =
            |word: u64| Ticks::from_bits(u32::try_from(word & u64::from(u32::MAX)).unwrap_or_default());
        if members.iter().any(|member| member.load() != 0) && now.since(bits(used.load())) >= EXPIRATION {
            members.iter().for_each(|member| member.store(0));
        }
        // A time counts as the future after 39 hours.
        let before = changed.load();
        let Changed { at, count } = Changed::from_word(before);
        if now.since(at) > EXPIRATION + 1 {
            changed.replace(before, Changed { at: now.earlier(EXPIRATION + 1), count }.to_word());
        }
    }
}

#[cfg(test)]
mod tests;

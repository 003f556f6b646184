//! Takes away what nobody uses any more: expired connections, and retired real servers without connections.

use std::collections::BTreeSet;

use lb_common::conn::{BUCKET_ENTRIES, Key, Key4, Key6, Ticks, Value};
use lb_common::layout::{DestinationRef, NextHop, Settings};

use super::applied::Applied;
use super::store::{Store, StoreError};

/// Has a connection expired?
pub fn expired(settings: &Settings, value: Value, now: Ticks) -> bool {
    u64::from(now.since(value.seen())) >= settings.timeouts[value.state().number() & 15].load()
}

/// Empties the slots of expired connections; returns who has connections still.
///
/// The datapath takes expired slots by itself. This is for times that count as the future after 39 hours, and to know which
/// destinations are in use.
pub fn sweep<S: Store>(store: &S, now: Ticks) -> BTreeSet<DestinationRef> {
    let mut used = vec![false; store.destinations().len() << DestinationRef::GENERATION_BITS.min(6)];
    let mut seen = BTreeSet::new();
    for bucket in store.connections4() {
        sweep_bucket::<Key4>(bucket, store.settings(), now, &mut used, &mut seen);
    }
    for bucket in store.connections6() {
        sweep_bucket::<Key6>(bucket, store.settings(), now, &mut used, &mut seen);
    }
    seen
}

fn sweep_bucket<K: Key>(
    bucket: &K::Bucket,
    settings: &Settings,
    now: Ticks,
    used: &mut [bool],
    seen: &mut BTreeSet<DestinationRef>,
) {
    for slot in 0..BUCKET_ENTRIES {
        let Some((expected, Some(value))) = K::inspect(bucket, slot) else { continue };
        if expired(settings, value, now) {
            if K::claim(bucket, slot, expected) {
                K::release(bucket, slot);
            }
            continue;
        }
        let reference = value.destination();
        // A set look-up for each of a million connections would be most of the work.
        let index = (reference.id() as usize) << 6 | usize::from(reference.generation());
        match used.get_mut(index) {
            Some(known) if *known => {}
            Some(known) => {
                *known = true;
                seen.insert(reference);
            }
            None => {}
        }
    }
}

/// Frees the retired destinations, and those of services that are no more, that have no connections.
/// Returns how many.
pub fn free_retired<S: Store>(store: &S, used: &BTreeSet<DestinationRef>) -> Result<usize, StoreError> {
    let applied = Applied::read(store);
    let retired =
        applied.services.values().flat_map(|service| &service.servers).filter(|server| server.retired);
    let mut freed = 0;
    for server in retired.chain(&applied.orphans).filter(|server| !used.contains(&server.reference)) {
        if let Some(destination) = store.destinations().get(server.reference.id() as usize) {
            let generation = server.reference.generation();
            destination.next_hop.store(NextHop { generation, ..NextHop::default() }.to_word());
            freed += 1;
        }
    }
    Ok(freed)
}

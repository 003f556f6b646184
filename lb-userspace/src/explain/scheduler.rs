//! How a scheduler came to its choice, by what it read.

use std::net::SocketAddr;

use lb_common::layout::{DestinationRef, Load, RING_HEADER, RingPlace, Rules, SchedulerCode, Service};
use lb_common::locality::Member;
use lb_common::verdict::Reason;
use lb_common::word::Word;

use super::copies::Seen;
use super::{By, Choice, Compared};
use crate::list::Source;
use crate::plane::applied::Applied;
use crate::plane::desired::ServiceKey;

/// Who chose for a packet that no entry chose for.
pub(super) fn choice<S: Source>(source: &S, service: Service, destination: u32, seen: &Seen) -> Choice {
    // A template was found, for nothing else was looked at.
    if seen.ring.is_empty() {
        return Choice::Persistence;
    }
    let Some(schedule) = source.schedules().get(usize::from(service.schedule)) else {
        return Choice::Scheduler;
    };
    let by = if seen.reasons.iter().any(|reason| [Reason::MidStream, Reason::Unrecorded].contains(reason)) {
        By::Flow
    } else {
        match SchedulerCode::from_number(Rules::from_word(schedule.scheduler.load()).code) {
            Some(SchedulerCode::Sh | SchedulerCode::Mh) => By::Client,
            Some(SchedulerCode::Dh) => By::Address,
            Some(SchedulerCode::Rr | SchedulerCode::Wrr) => By::Round,
            Some(SchedulerCode::Lblc | SchedulerCode::Lblcr)
                if remembered(source, service).any(|server| server.id() == destination) =>
            {
                return Choice::Locality;
            }
            _ => return Choice::Scheduler,
        }
    };
    let place = RingPlace::from_word(schedule.ring.load());
    let first = place.offset.saturating_add(RING_HEADER);
    let slot = seen.ring.iter().rev().find_map(|index| index.checked_sub(first));
    match slot.filter(|slot| *slot < place.slots) {
        Some(slot) => Choice::Ring { slot, slots: place.slots, by },
        None => Choice::Scheduler,
    }
}

/// The real servers that the virtual server's address remembers.
fn remembered<S: Source>(source: &S, service: Service) -> impl Iterator<Item = DestinationRef> {
    let own = source.virtuals().get(usize::from(service.id));
    let place = RingPlace::from_word(own.map_or(0, |own| own.locality.load()));
    let first = place.offset.saturating_add(RING_HEADER) as usize;
    let words = source.rings().iter().skip(first).take(place.slots as usize).map(Word::load);
    words.filter(|word| *word != 0).map(|word| Member::from_word(word).server)
}

/// The real servers of a virtual server, by address, with the numbers that schedulers compare.
pub(super) fn compared<S: Source>(source: &S, key: &ServiceKey) -> Vec<Compared> {
    let applied = Applied::read(source);
    let Some(service) = applied.services.get(key) else { return Vec::new() };
    let mut all: Vec<_> = service
        .servers
        .iter()
        .filter(|server| !server.retired)
        .map(|server| {
            let load = source.loads().get(server.reference.id() as usize);
            let number = |word: fn(&Load) -> u64| load.map_or(0, word);
            Compared {
                address: SocketAddr::new(server.key.address, server.key.port),
                weight: server.weight,
                active: number(|load| load.active.load()),
                inactive: number(|load| load.inactive.load()),
                overloaded: number(|load| load.state.load()) & Load::OVERLOADED != 0,
            }
        })
        .collect();
    all.sort_by_key(|server| server.address);
    all
}

//! Room in the tables: ids of destinations, stretches of rings.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::layout::{Answers, DestinationRef, RING_HEADER, RingPlace};

use crate::plane::applied::Applied;
use crate::plane::sources::AppliedSources;

/// Destination ids to give out: those never used first, then the freed ones.
pub(super) struct Ids {
    fresh: std::vec::IntoIter<u32>,
    freed: std::collections::btree_map::IntoIter<u32, u8>,
}

impl Ids {
    pub(super) fn new(applied: &Applied, capacity: usize) -> Self {
        let mut taken: BTreeSet<u32> = applied.free.keys().copied().collect();
        let listed = applied.services.values().flat_map(|service| &service.servers);
        taken.extend(listed.chain(&applied.orphans).map(|server| server.reference.id()));
        let all = (0..u32::try_from(capacity).unwrap_or(u32::MAX)).filter(|id| !taken.contains(id));
        Self { fresh: all.collect::<Vec<_>>().into_iter(), freed: applied.free.clone().into_iter() }
    }

    pub(super) fn take(&mut self) -> Option<DestinationRef> {
        if let Some(id) = self.fresh.next() {
            return Some(DestinationRef::new(id, 1));
        }
        let (id, generation) = self.freed.next()?;
        Some(DestinationRef::new(id, generation.wrapping_add(1)))
    }
}

/// The free stretches of the rings' table.
pub(super) struct RingSpace {
    /// Start and end of each stretch in use, sorted.
    used: BTreeMap<u32, u32>,
    words: u32,
    after: u32,
}

impl RingSpace {
    pub(super) fn new(applied: &Applied, words: u32, after: u32) -> Self {
        let places = applied.services.values().flat_map(|service| [service.words.ring, service.words.list]);
        let used = places.filter(|place| place.slots > 0).map(|place| {
            (place.offset, place.offset.saturating_add(place.slots).saturating_add(RING_HEADER))
        });
        let lists = applied.answers.values().filter_map(|found| match found.answers {
            Answers::One(_) => None,
            Answers::Several { offset, count } => Some((offset, offset.saturating_add(count.into()))),
        });
        let sources = applied.sources.values().filter_map(AppliedSources::stretch);
        let length = |place: &RingPlace| place.slots.saturating_add(RING_HEADER);
        let known = applied.locality.values();
        let remembered = known.map(|place| (place.offset, place.offset.saturating_add(length(place))));
        Self {
            used: used.chain(lists).chain(sources).chain(remembered).collect(),
            words,
            after: if after < words { after } else { 0 },
        }
    }

    /// The offset of a free stretch for a ring of `slots`, the first at or behind the last one, else from the start.
    pub(super) fn take(&mut self, slots: u32) -> Option<u32> {
        self.take_words(slots.checked_add(RING_HEADER)?)
    }

    /// As [`RingSpace::take`], for so many words in all.
    pub(super) fn take_words(&mut self, length: u32) -> Option<u32> {
        let offset = self.gap(self.after, length).or_else(|| self.gap(0, length))?;
        self.used.insert(offset, offset + length);
        self.after = offset + length;
        Some(offset)
    }

    fn gap(&self, from: u32, length: u32) -> Option<u32> {
        let before = self.used.range(..=from).next_back().map_or(0, |(_, end)| *end);
        let mut start = from.max(before);
        for (next, end) in self.used.range(start..) {
            if next.checked_sub(start)? >= length {
                return Some(start);
            }
            start = *end;
        }
        (self.words.checked_sub(start)? >= length).then_some(start)
    }
}

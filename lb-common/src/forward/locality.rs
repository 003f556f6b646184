//! `lblc` and `lblcr`: new connections to a virtual address go where its earlier ones went, unless that is overloaded
//! (`ip_vs_lblc.c`, `ip_vs_lblcr.c`). What is remembered, and how: [`crate::locality`].
//!
//! `lblc` remembers one real server. `lblcr` remembers several, of which the one with the fewest connections for its
//! weight is taken; another one is added when that is overloaded, and the one with the most goes when none came or
//! went for a day.

use crate::layout::{
    DestinationRef, Identity, Load, MOST_LISTED, NextHop, RING_HEADER, RingPlace, Rules, SchedulerCode,
    Service,
};
use crate::locality::{Changed, EXPIRATION, Member};
use crate::tables::Tables;
use crate::word::Word;

use super::pick::{CHUNK, NOBODY, cost, overloaded, slot};
use super::place::live;

/// The real server for a new connection to a virtual address. `service` is a [`Service`] as a word.
#[inline(always)]
pub fn local<T: Tables>(tables: &T, service: u64) -> u64 {
    let Some(schedule) = tables.schedule(Service::from_word(service).schedule) else { return NOBODY };
    let code = Rules::from_word(schedule.scheduler.load()).code;
    // What the others are to know: the virtual server's id, its schedule's, and the scheduler.
    let about = service & 0xffff_ffff | (code as u64) << 32;
    let word = tables.near(about);
    if !is_single(about) {
        tables.near_shrink(about);
    }
    if word != NOBODY {
        return word;
    }
    let word = tables.pick_best(schedule.list.load(), code);
    if word != NOBODY {
        tables.settle(about, word);
    }
    word
}

/// In `about` of [`among`]: the one with the most connections is looked for.
const MOST: u64 = 1 << 40;

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
const fn schedule_of(about: u64) -> u16 {
    (about >> 16) as u16
}

/// Does the address remember one real server only?
#[inline(always)]
const fn is_single(about: u64) -> bool {
    about >> 32 & 0xff == SchedulerCode::Lblc as u64
}

/// The stretch of the address; it has no slots if there is none.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
fn place_of<T: Tables>(tables: &T, about: u64) -> RingPlace {
    let Some(own) = tables.virtual_server(about as u16) else { return RingPlace::default() };
    let place = RingPlace::from_word(own.locality.load());
    // Between two schedules the stretch may be that of `lblcr`.
    if is_single(about) && place.slots > 1 { RingPlace { slots: 1, ..place } } else { place }
}

/// The real server that has served the address and can take one more connection.
#[inline(always)]
pub fn near<T: Tables>(tables: &T, about: u64) -> u64 {
    let place = place_of(tables, about);
    let (Some(settings), Some(used)) = (tables.settings(), tables.ring(place.offset)) else { return NOBODY };
    if place.slots == 0 {
        return NOBODY;
    }
    let now = tables.now(settings);
    if used.load() != now.bits() as u64 {
        used.store(now.bits() as u64);
    }
    let best = extreme(tables, place, about);
    if best == 0 || is_full(tables, best, schedule_of(about)) {
        return NOBODY;
    }
    Member::from_word(best).server.to_word()
}

/// What [`among`] finds in all of the stretch.
#[inline(always)]
fn extreme<T: Tables>(tables: &T, place: RingPlace, about: u64) -> u64 {
    let mut best = 0;
    let mut start = 0;
    while start < MOST_LISTED {
        if start >= place.slots {
            break;
        }
        best = tables.near_among(place.to_word(), about, start, best);
        start += CHUNK;
    }
    best
}

/// Forgets the real server with the most connections, if there are several and none came or went for a day.
#[inline(always)]
pub fn shrink<T: Tables>(tables: &T, about: u64) {
    let place = place_of(tables, about);
    let (Some(settings), Some(changed)) = (tables.settings(), tables.ring(place.offset.wrapping_add(1)))
    else {
        return;
    };
    let before = changed.load();
    if tables.now(settings).since(Changed::from_word(before).at) <= EXPIRATION {
        return;
    }
    // Each of the loops reads the stretch for itself: one that knows from the loop before how many passes it has is
    // followed through every number of them. Nor is anything else kept that can be had again: it would take stack.
    if all(tables, place_of(tables, about), about) < 2 {
        return;
    }
    let most = extreme(tables, place_of(tables, about), about | MOST);
    if most == 0 {
        return;
    }
    let found = room_of(tables, place_of(tables, about), about, Member::from_word(most).server.to_word());
    if found & OWN == 0 {
        return;
    }
    let first = place_of(tables, about).offset.wrapping_add(1);
    let (Some(settings), Some(changed), Some(word)) =
        (tables.settings(), tables.ring(first), tables.ring(first.wrapping_add(found & !OWN)))
    else {
        return;
    };
    let after = Changed { at: tables.now(settings), count: Changed::from_word(before).count };
    // Of several CPUs one does it.
    if changed.replace(before, after.to_word()) {
        word.replace(most, 0);
    }
}

/// What [`count`] finds in all of the stretch.
#[inline(always)]
fn all<T: Tables>(tables: &T, place: RingPlace, about: u64) -> u32 {
    let mut count = 0;
    let mut start = 0;
    while start < MOST_LISTED {
        if start >= place.slots {
            break;
        }
        count += tables.near_count(place.to_word(), about, start);
        start += CHUNK;
    }
    count
}

/// Remembers that the address is served by this real server.
#[inline(always)]
pub fn settle<T: Tables>(tables: &T, about: u64, word: u64) {
    let place = place_of(tables, about);
    let found = room_of(tables, place, about, word);
    if found == 0 || found & OWN != 0 {
        return;
    }
    let (Some(settings), Some(changed), Some(own)) = (
        tables.settings(),
        tables.ring(place.offset.wrapping_add(1)),
        tables.ring(place.offset.wrapping_add(1).wrapping_add(found)),
    ) else {
        return;
    };
    let before = changed.load();
    let count = Changed::from_word(before).count;
    let member = Member { server: DestinationRef::from_word(word), number: count as u64 + 1 };
    let old = own.load();
    let after = Changed { at: tables.now(settings), count: count.wrapping_add(1) };
    if changed.replace(before, after.to_word()) {
        own.replace(old, member.to_word());
    }
}

/// What [`room`] finds in all of the stretch.
#[inline(always)]
fn room_of<T: Tables>(tables: &T, place: RingPlace, about: u64, word: u64) -> u32 {
    let mut found = 0;
    let mut start = 0;
    while start < MOST_LISTED {
        if start >= place.slots {
            break;
        }
        let room = tables.near_room(place.to_word(), about, start, word);
        if room & OWN != 0 {
            return room;
        }
        if found == 0 {
            found = room;
        }
        start += CHUNK;
    }
    found
}

/// A real server that an address remembers.
struct Known<'t> {
    load: Option<&'t Load>,
    weight: u64,
}

/// The real server of a slot's word, if it still is one of this schedule.
#[inline(always)]
fn known<T: Tables>(tables: &T, word: u64, schedule: u16) -> Option<Known<'_>> {
    if word == 0 || word == NOBODY {
        return None;
    }
    let server = Member::from_word(word).server;
    let found = live(tables, server, false)?;
    let identity = Identity::from_word(found.destination.identity.load());
    if found.flags() & NextHop::RETIRED != 0 || identity.service != schedule {
        return None;
    }
    Some(Known { load: tables.load(server.id()), weight: identity.weight as u64 })
}

/// The real server with the fewest connections for its weight, or with the most, among [`CHUNK`] of the stretch from
/// `start` on and the one that was found before them: its slot's word, or 0. Of equal ones the newest, which is the
/// first in the list of IPVS.
#[inline(always)]
pub fn among<T: Tables>(tables: &T, place: u64, about: u64, start: u32, best: u64) -> u64 {
    let place = RingPlace::from_word(place);
    let mut best = best;
    let (mut extreme, mut per) = match known(tables, best, schedule_of(about)) {
        Some(before) => cost(SchedulerCode::Wlc as u8, before.weight, before.load),
        None => {
            best = 0;
            (0, 1)
        }
    };
    // Few numbers at a time: what does not fit into registers takes stack.
    let first = place.offset.wrapping_add(RING_HEADER);
    let (start, end) = (first.wrapping_add(start), first.wrapping_add(place.slots));
    let mut passes = 0;
    while passes < CHUNK {
        let index = start.wrapping_add(passes);
        if index >= end {
            break;
        }
        passes += 1;
        let word = tables.ring(index).map_or(0, Word::load);
        let Some(known) = known(tables, word, schedule_of(about)) else { continue };
        // As in IPVS, the one that `lblc` remembers may have reached its threshold, and so may the one that goes.
        let counts = about & MOST != 0 || is_single(about) || !overloaded(tables, word);
        if known.weight == 0 || !counts {
            continue;
        }
        let (its, weight) = cost(SchedulerCode::Wlc as u8, known.weight, known.load);
        let (old, new) = (extreme.wrapping_mul(weight), its.wrapping_mul(per));
        let is_newer = Member::from_word(word).number > Member::from_word(best).number;
        let is_better = if about & MOST != 0 { old < new } else { old > new };
        if best == 0 || is_better || old == new && is_newer {
            (best, extreme, per) = (word, its, weight);
        }
    }
    best
}

/// How many real servers of the schedule are among [`CHUNK`] of the stretch from `start` on.
#[inline(always)]
pub fn count<T: Tables>(tables: &T, place: u64, about: u64, start: u32) -> u32 {
    let place = RingPlace::from_word(place);
    let mut count = 0;
    let mut passes = 0;
    while passes < CHUNK {
        let index = start.wrapping_add(passes);
        if index >= place.slots {
            break;
        }
        passes += 1;
        count += known(tables, slot(tables, place, index), schedule_of(about)).is_some() as u32;
    }
    count
}

/// In what [`room`] gives: the real server is there already.
const OWN: u32 = 1 << 31;

/// Where the real server `word` has its place among [`CHUNK`] of the stretch from `start` on: its slot's number and one
/// and [`OWN`], else the first that is free, else 0. `lblc` gives it the one that it has.
#[inline(always)]
pub fn room<T: Tables>(tables: &T, place: u64, about: u64, start: u32, word: u64) -> u32 {
    let place = RingPlace::from_word(place);
    let mut free = 0;
    let mut passes = 0;
    while passes < CHUNK {
        let index = start.wrapping_add(passes);
        if index >= place.slots {
            break;
        }
        passes += 1;
        let found = slot(tables, place, index);
        if found != 0 && Member::from_word(found).server == DestinationRef::from_word(word) {
            return index.wrapping_add(1) | OWN;
        }
        if free == 0 && (is_single(about) || known(tables, found, schedule_of(about)).is_none()) {
            free = index.wrapping_add(1);
        }
    }
    free
}

/// Does it have more active connections than its weight, while another has fewer than half its own?
#[inline(always)]
fn is_full<T: Tables>(tables: &T, word: u64, schedule: u16) -> bool {
    let Some(known) = known(tables, word, schedule) else { return true };
    if known.load.map_or(0, |load| load.counts().0) <= known.weight {
        return false;
    }
    let Some(schedule) = tables.schedule(schedule) else { return false };
    let list = schedule.list.load();
    let slots = RingPlace::from_word(list).slots;
    let mut start = 0;
    while start < MOST_LISTED {
        if start >= slots {
            break;
        }
        if tables.near_idle(list, start) != 0 {
            return true;
        }
        start += CHUNK;
    }
    false
}

/// Has any of [`CHUNK`] real servers of the list from `start` on fewer active connections than half its weight?
#[inline(always)]
pub fn idle<T: Tables>(tables: &T, list: u64, start: u32) -> u32 {
    let list = RingPlace::from_word(list);
    let mut passes = 0;
    while passes < CHUNK {
        let index = start.wrapping_add(passes);
        if index >= list.slots {
            break;
        }
        passes += 1;
        let word = slot(tables, list, index);
        if word == NOBODY {
            continue;
        }
        let active = tables.load(DestinationRef::from_word(word).id()).map_or(0, |load| load.counts().0);
        if active.wrapping_mul(2) < word >> 32 {
            return 1;
        }
    }
    0
}

//! The schedulers: who gets a new connection. One function for each kind; the rings and lists that they read were
//! made by user space ([`crate::sched`]).
//!
//! A pick is a slot of a ring or a list as a word, of which the low bits are a [`DestinationRef`].

use crate::conn;
use crate::hash::{self, HASH_SLOTS, MAGLEV_SLOTS};
use crate::layout::{
    DestinationRef, Load, MOST_LISTED, RING_HEADER, RingPlace, Rules, Schedule, SchedulerCode, Service,
    UNAVAILABLE,
};
use crate::tables::Tables;

/// A pick of nobody: no real server takes the connection.
pub const NOBODY: u64 = u64::MAX;

/// No pick yet: it is [`super::locality::local`] that picks. Not called from here, where there is no room on the stack.
pub const LOCAL: u64 = u64::MAX - 1;

/// What a pick goes by.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// A hash of the whole flow, or of the client where persistence goes by it.
    pub(super) placement: u64,
    /// The client's address, folded.
    pub(super) client: u32,
    /// The virtual address, folded.
    pub(super) address: u32,
    /// The client's port, host order.
    pub(super) port: u16,
    /// What is to be picked.
    pub(super) turn: Turn,
}

impl Asked {
    /// As numbers: the placement, both addresses, port and turn.
    #[inline(always)]
    pub const fn to_words(&self) -> (u64, u64, u32) {
        let addresses = self.client as u64 | (self.address as u64) << 32;
        (self.placement, addresses, self.port as u32 | (self.turn.0 as u32) << 16)
    }

    /// The inverse of [`Asked::to_words`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes words apart")]
    pub const fn from_words(placement: u64, addresses: u64, rest: u32) -> Self {
        Self {
            placement,
            client: addresses as u32,
            address: (addresses >> 32) as u32,
            port: rest as u16,
            turn: Turn((rest >> 16) as u8),
        }
    }
}

/// What is to be picked: a number, so that it costs the verifier no branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn(u8);

impl Turn {
    /// Who has the connection, of which there is no entry.
    pub(super) const HAS: Self = Self(0);
    /// Who would have a new connection of which there may be no entry: the next packet must meet the same one.
    pub(super) const WOULD: Self = Self(1);
    /// The next one in the scheduler's order.
    pub(super) const NEXT: Self = Self(2);
}

/// Turns that pass over overloaded real servers before the list is searched.
const MOST_TURNS: u32 = 8;
/// Slots in which `sh` and `mh` look for somebody else; all of them, for `sh`.
const MOST_FALLBACKS: u32 = HASH_SLOTS;

/// A real server for a new connection, or for one without an entry.
#[inline(always)]
pub fn pick<T: Tables>(tables: &T, service: Service, asked: &Asked) -> u64 {
    let Some(schedule) = tables.schedule(service.schedule) else { return NOBODY };
    let rules = Rules::from_word(schedule.scheduler.load());
    let ring = RingPlace::from_word(schedule.ring.load());
    if ring.slots == 0 {
        return NOBODY;
    }
    if rules.code == SchedulerCode::Sh as u8
        || rules.code == SchedulerCode::Mh as u8
        || rules.code == SchedulerCode::Dh as u8
    {
        return hashed(tables, schedule, rules, ring, asked);
    }
    if asked.turn != Turn::NEXT {
        return by_hash(tables, ring, asked.placement);
    }
    let list = schedule.list.load();
    let by_order = rules.code == SchedulerCode::Rr as u8 || rules.code == SchedulerCode::Wrr as u8;
    if by_order || RingPlace::from_word(list).slots == 0 {
        let word = turn(tables, ring);
        if rules.flags & Rules::LIMITED == 0 || !overloaded(tables, word) {
            return word;
        }
        let word = tables.pick_relieved(ring.to_word());
        return if word == NOBODY { tables.pick_best(list, SchedulerCode::Fo as u8) } else { word };
    }
    if rules.code == SchedulerCode::Twos as u8 {
        return twos(tables, ring, list);
    }
    if rules.code == SchedulerCode::Lblc as u8 || rules.code == SchedulerCode::Lblcr as u8 {
        return LOCAL;
    }
    tables.pick_best(list, rules.code)
}

/// The word of a slot.
#[inline(always)]
pub(super) fn slot<T: Tables>(tables: &T, ring: RingPlace, slot: u32) -> u64 {
    match tables.ring(ring.offset.wrapping_add(RING_HEADER).wrapping_add(slot)) {
        Some(word) => word.load(),
        None => NOBODY,
    }
}

/// Is it overloaded?
#[inline(always)]
pub(super) fn overloaded<T: Tables>(tables: &T, word: u64) -> bool {
    match tables.load(DestinationRef::from_word(word).id()) {
        Some(load) => load.state.load() & Load::OVERLOADED != 0,
        None => false,
    }
}

/// The place of the flow's hash in the ring, so that each real server gets its weight's share.
#[inline(always)]
fn by_hash<T: Tables>(tables: &T, ring: RingPlace, placement: u64) -> u64 {
    slot(tables, ring, conn::scale((placement >> 32) as u32, ring.slots))
}

/// The next place in the scheduler's order.
#[inline(always)]
pub(super) fn turn<T: Tables>(tables: &T, ring: RingPlace) -> u64 {
    let Some(cursor) = tables.ring(ring.offset) else { return NOBODY };
    if ring.slots == 0 {
        return NOBODY;
    }
    let turn = cursor.fetch_add(1);
    // Dividing 32 bits takes a fraction of the time that 64 take.
    let turn = match u32::try_from(turn) {
        Ok(turn) => turn % ring.slots,
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of a 32-bit number")]
        Err(_) => (turn % u64::from(ring.slots)) as u32,
    };
    slot(tables, ring, turn)
}

/// The next place in the scheduler's order that is not overloaded (`ip_vs_rr.c`, `ip_vs_wrr.c`).
#[inline(always)]
pub fn relieved<T: Tables>(tables: &T, ring: u64) -> u64 {
    let mut tries = 0;
    while tries < MOST_TURNS {
        let word = turn(tables, RingPlace::from_word(ring));
        if word == NOBODY || !overloaded(tables, word) {
            return word;
        }
        tries += 1;
    }
    NOBODY
}

/// `sh`, `dh`, `mh`: a slot by the hash of an address (`ip_vs_sh.c`, `ip_vs_dh.c`, `ip_vs_mh.c`).
#[inline(always)]
fn hashed<T: Tables>(tables: &T, schedule: &Schedule, rules: Rules, ring: RingPlace, asked: &Asked) -> u64 {
    let is_maglev = rules.code == SchedulerCode::Mh as u8;
    let size = if is_maglev { MAGLEV_SLOTS } else { HASH_SLOTS };
    if ring.slots != size {
        // Between two schedules.
        return by_hash(tables, ring, asked.placement);
    }
    let number = if rules.code == SchedulerCode::Dh as u8 {
        asked.address
    } else if rules.flags & Rules::PORT != 0 {
        asked.client.wrapping_add(asked.port as u32)
    } else {
        asked.client
    };
    let limited = rules.flags & Rules::LIMITED != 0;
    let available = |word: u64| word & UNAVAILABLE == 0 && !(limited && overloaded(tables, word));
    let first = if is_maglev { hash::maglev(number) % MAGLEV_SLOTS } else { hash::bucket(number) };
    let word = slot(tables, ring, first);
    if word == NOBODY || available(word) {
        return word;
    }
    if rules.flags & Rules::FALLBACK == 0 {
        // What has no entry, but goes on, was connected while the real server took connections.
        return if asked.turn == Turn::HAS { word } else { NOBODY };
    }
    let flags = if is_maglev { MAGLEV } else { 0 } | if limited { LIMITED } else { 0 };
    let mut start = 0;
    while start < MOST_FALLBACKS {
        let word = tables.pick_other(ring.to_word(), number, first | start << 16, flags);
        if word != NOBODY {
            return word;
        }
        start += CHUNK;
    }
    tables.pick_best(schedule.list.load(), SchedulerCode::Fo as u8)
}

/// Who takes the connections of slot `first`, to which the hash of `number` led, where the real server does not:
/// the first of [`CHUNK`] tries from `start` on.
#[inline(always)]
pub fn other<T: Tables>(tables: &T, ring: u64, number: u32, place: u32, flags: u32) -> u64 {
    let ring = RingPlace::from_word(ring);
    let (first, start) = (place & 0xffff, place >> 16);
    let mut passes = 0;
    while passes < CHUNK {
        let offset = start.wrapping_add(passes);
        passes += 1;
        let next = if flags & MAGLEV != 0 {
            hash::maglev(number.wrapping_add(offset.wrapping_add(first) % MAGLEV_SLOTS)) % MAGLEV_SLOTS
        } else {
            offset.wrapping_add(first).wrapping_add(first) % HASH_SLOTS
        };
        let word = slot(tables, ring, next);
        if word != NOBODY && word & UNAVAILABLE == 0 && !(flags & LIMITED != 0 && overloaded(tables, word)) {
            return word;
        }
    }
    NOBODY
}

/// Flags of [`other`].
const MAGLEV: u32 = 1;
const LIMITED: u32 = 2;

/// A real server's cost by a scheduler: a fraction. The least one is chosen; of equal ones, the first in the list.
#[inline(always)]
pub(super) fn cost(code: u8, weight: u64, load: Option<&Load>) -> (u64, u64) {
    let (active, inactive) = match load {
        Some(load) => load.counts(),
        None => (0, 0),
    };
    // `ip_vs_dest_conn_overhead`
    let overhead = (active << 8).wrapping_add(inactive);
    if code == SchedulerCode::Lc as u8 {
        (overhead, 1)
    } else if code == SchedulerCode::Sed as u8 {
        (active + 1, weight)
    } else if code == SchedulerCode::Nq as u8 {
        // An idle one comes first, whatever its weight.
        (if active == 0 { 0 } else { active + 1 }, weight)
    } else if code == SchedulerCode::Fo as u8 {
        (1, weight)
    } else if code == SchedulerCode::Ovf as u8 {
        // 0: not to be chosen.
        (1, if active > weight { 0 } else { weight })
    } else {
        (overhead, weight)
    }
}

/// Real servers that are compared in one go. The verifier looks at a loop's every pass, and compares what it knows in
/// each with all others; so loops are short, and one goes round another.
pub(super) const CHUNK: u32 = 8;

/// The real server of the list that costs least (`ip_vs_lc.c`, `ip_vs_wlc.c`, `ip_vs_sed.c`, `ip_vs_nq.c`,
/// `ip_vs_fo.c`, `ip_vs_ovf.c`).
#[inline(always)]
pub fn best<T: Tables>(tables: &T, list: u64, code: u8) -> u64 {
    let slots = RingPlace::from_word(list).slots;
    let mut found = NOBODY;
    let mut start = 0;
    while start < MOST_LISTED {
        if start >= slots {
            break;
        }
        let word = tables.pick_among(list, start, code);
        if word != NOBODY && (found == NOBODY || is_better(tables, word, found, code)) {
            found = word;
        }
        start += CHUNK;
    }
    found
}

/// Does the first cost less than the second?
#[inline(always)]
fn is_better<T: Tables>(tables: &T, first: u64, second: u64, code: u8) -> bool {
    let price = |word: u64| cost(code, word >> 32, tables.load(DestinationRef::from_word(word).id()));
    let ((one, one_weight), (two, two_weight)) = (price(first), price(second));
    two.wrapping_mul(one_weight) > one.wrapping_mul(two_weight)
}

/// As [`best`], among [`CHUNK`] real servers from `start` on.
#[inline(always)]
pub fn among<T: Tables>(tables: &T, list: u64, start: u32, code: u8) -> u64 {
    let list = RingPlace::from_word(list);
    let mut found = NOBODY;
    let (mut least, mut per) = (0u64, 1u64);
    let mut passes = 0;
    while passes < CHUNK {
        let index = start.wrapping_add(passes);
        if index >= list.slots {
            break;
        }
        passes += 1;
        let word = slot(tables, list, index);
        let load = tables.load(DestinationRef::from_word(word).id());
        let weight = word >> 32;
        let is_overloaded = load.is_some_and(|load| load.state.load() & Load::OVERLOADED != 0);
        if word == NOBODY || weight == 0 || is_overloaded {
            continue;
        }
        let (cost, weight) = cost(code, weight, load);
        if weight != 0 && (found == NOBODY || least.wrapping_mul(weight) > cost.wrapping_mul(per)) {
            found = word;
            least = cost;
            per = weight;
        }
    }
    found
}

/// `twos`: the better by `wlc` of two that are drawn by weight (`ip_vs_twos.c`). What is drawn follows from the
/// ring's cursor, so that it can be repeated.
#[inline(always)]
fn twos<T: Tables>(tables: &T, ring: RingPlace, list: u64) -> u64 {
    let total = tables.pick_drawn(list, u64::MAX);
    if total == 0 {
        return NOBODY;
    }
    let turn = tables.ring(ring.offset).map_or(0, |cursor| cursor.fetch_add(2));
    // Weights drawn are from 0 to the sum, both included.
    let drawn = |turn: u64| ((conn::mix(turn) >> 32).wrapping_mul(total + 1)) >> 32;
    let first = tables.pick_drawn(list, drawn(turn.wrapping_add(1)));
    let second = tables.pick_drawn(list, drawn(turn.wrapping_add(2)));
    let price = |word: u64| {
        cost(SchedulerCode::Wlc as u8, word >> 32, tables.load(DestinationRef::from_word(word).id()))
    };
    let ((one, one_weight), (two, two_weight)) = (price(first), price(second));
    if one.wrapping_mul(two_weight) > two.wrapping_mul(one_weight) { second } else { first }
}

/// The real server of the list with which the weights, added up, reach `drawn`; their sum if that is the greatest
/// number.
#[inline(always)]
pub fn drawn<T: Tables>(tables: &T, list: u64, drawn: u64) -> u64 {
    let slots = RingPlace::from_word(list).slots;
    let mut sum = 0;
    let mut start = 0;
    while start < MOST_LISTED {
        if start >= slots {
            break;
        }
        let reached = tables.pick_up_to(list, start, drawn, sum);
        if reached & REACHED != 0 {
            return reached & !REACHED;
        }
        sum = reached;
        start += CHUNK;
    }
    if drawn == u64::MAX { sum } else { NOBODY }
}

/// In what [`up_to`] gives: a real server, not a sum. Weights have 16 bits.
const REACHED: u64 = 1 << 62;

/// As [`drawn`], for [`CHUNK`] real servers from `start` on, before which the sum is `sum`: the real server with
/// [`REACHED`], or the sum behind them.
#[inline(always)]
pub fn up_to<T: Tables>(tables: &T, list: u64, start: u32, drawn: u64, sum: u64) -> u64 {
    let list = RingPlace::from_word(list);
    let mut sum = sum;
    let mut passes = 0;
    while passes < CHUNK {
        let index = start.wrapping_add(passes);
        if index >= list.slots {
            break;
        }
        passes += 1;
        let word = slot(tables, list, index);
        if word == NOBODY || word >> 32 == 0 || overloaded(tables, word) {
            continue;
        }
        sum += word >> 32;
        if sum >= drawn {
            return word | REACHED;
        }
    }
    sum & !REACHED
}

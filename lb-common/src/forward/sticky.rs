//! Persistence: a client's new connections go where its earlier ones went (`ip_vs_sched_persist` in
//! `net/netfilter/ipvs/ip_vs_core.c`).
//!
//! What remembers it is a template: an entry of the connection table with the client's masked address, client port
//! 0, the schedule's id and destination port 0. No packet has such a key: port 0 is nobody's.

use crate::conn::{self, Candidate, Key4, Key6, State, TEMPLATE_GRACE, Value};
use crate::layout::{DestinationRef, Identity, NextHop, Rules, Settings};
use crate::net::{Be16, Be32, Be128};
use crate::tables::Tables;
use crate::word::Blur;

use super::pick::NOBODY;
use super::place::{Family, live};

/// A flow's key that has a template.
pub(super) trait Sticky: Family {
    /// Which of the two families it is.
    const IS_IPV6: bool;
    /// The client's address.
    fn client(self) -> [u64; 2];
    /// A flow of a client.
    fn of(client: [u64; 2]) -> Self;
    /// The template's key for clients that agree in `prefix` bits.
    fn template(self, prefix: u8, schedule: u16) -> Self;
}

impl Sticky for Key4 {
    const IS_IPV6: bool = false;

    #[inline(always)]
    fn client(self) -> [u64; 2] {
        [self.parts().0.bits() as u64, 0]
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    fn of([client, _]: [u64; 2]) -> Self {
        Key4::new(Be32::from_bits(client as u32), Be16::default(), 0)
    }

    #[inline(always)]
    fn template(self, prefix: u8, schedule: u16) -> Self {
        let (client, _, _) = self.parts();
        let mask = (u32::MAX << (32u32.wrapping_sub(prefix as u32) & 31)).to_be();
        Key4::new(Be32::from_bits(client.bits() & mask), Be16::default(), schedule)
    }
}

impl Sticky for Key6 {
    const IS_IPV6: bool = true;

    #[inline(always)]
    fn client(self) -> [u64; 2] {
        self.parts().0.words()
    }

    #[inline(always)]
    fn of(client: [u64; 2]) -> Self {
        Key6::new(Be128::from_words(client), Be16::default(), 0)
    }

    #[inline(always)]
    fn template(self, prefix: u8, schedule: u16) -> Self {
        let (client, _, _) = self.parts();
        let [first, second] = client.words();
        // Of each half as many bits as the prefix has there.
        let mask = |bits: u32| if bits == 0 { 0 } else { u64::MAX << (64u32.wrapping_sub(bits) & 63) };
        let prefix = prefix as u32;
        let (high, low) = if prefix < 64 { (prefix, 0) } else { (64, (prefix - 64).min(64)) };
        let masked = [first & mask(high).to_be(), second & mask(low).to_be()];
        Key6::new(Be128::from_words(masked), Be16::default(), schedule)
    }
}

/// What [`bound`] and [`bind`] are to know beside the client's address: the schedule, whether a connection starts, and
/// whether it is IPv6.
#[inline(always)]
pub const fn rest(schedule: u16, starts: bool, is_ipv6: bool) -> u64 {
    schedule as u64 | if starts { STARTS } else { 0 } | if is_ipv6 { IPV6 } else { 0 }
}

const STARTS: u64 = 1 << 16;
pub(super) const IPV6: u64 = 1 << 17;

/// The real server of a client's template. `client` is its address, `rest` what [`rest`] gave.
#[inline(always)]
pub fn bound<T: Tables>(tables: &T, client: [u64; 2], rest: u64, blur: Blur) -> u64 {
    if rest & IPV6 == 0 {
        bound_as::<Key4, T>(tables, Key4::of(client), rest, blur)
    } else {
        bound_as::<Key6, T>(tables, Key6::of(client), rest, blur)
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
fn bound_as<K: Sticky, T: Tables>(tables: &T, flow: K, rest: u64, blur: Blur) -> u64 {
    let id = rest as u16;
    let (Some(settings), Some(schedule)) = (tables.settings(), tables.schedule(id)) else { return NOBODY };
    let rules = Rules::from_word(schedule.scheduler.load());
    let key = flow.template(rules.prefix, id);
    let now = tables.now(settings);
    let (first, second) = conn::buckets_of(key.hash(settings.seed.load()), settings.part(K::FAMILY), K::NEAR);
    let Some(first) = K::bucket(tables, first) else { return NOBODY };
    let mut bucket = first;
    let mut found = key.find(first, Be16::default(), blur);
    if found.is_none() {
        let Some(second) = K::bucket(tables, second) else { return NOBODY };
        bucket = second;
        found = key.find(second, Be16::default(), blur);
    }
    let Some((slot, value)) = found else { return NOBODY };
    let age = u64::from(now.since(value.seen()));
    if age >= u64::from(rules.persistence) + TEMPLATE_GRACE || !binds(tables, settings, value) {
        return NOBODY;
    }
    // Its time starts anew with every new connection.
    if rest & STARTS != 0 && age > 0 {
        K::update(bucket, slot, value, value.with(value.state(), now));
    }
    value.destination().to_word()
}

/// Gives a client a template for the real server `word`, in the place of the one it had; none if there is no room.
#[inline(always)]
pub fn bind<T: Tables>(tables: &T, client: [u64; 2], rest: u64, word: u64, blur: Blur) {
    if rest & IPV6 == 0 {
        bind_as::<Key4, T>(tables, Key4::of(client), rest, word, blur);
    } else {
        bind_as::<Key6, T>(tables, Key6::of(client), rest, word, blur);
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
fn bind_as<K: Sticky, T: Tables>(tables: &T, flow: K, rest: u64, word: u64, blur: Blur) {
    let id = rest as u16;
    let (Some(settings), Some(schedule)) = (tables.settings(), tables.schedule(id)) else { return };
    let rules = Rules::from_word(schedule.scheduler.load());
    let key = flow.template(rules.prefix, id);
    let now = tables.now(settings);
    let (first, second) = conn::buckets_of(key.hash(settings.seed.load()), settings.part(K::FAMILY), K::NEAR);
    let (Some(first), Some(second)) = (K::bucket(tables, first), K::bucket(tables, second)) else { return };
    let candidate = match (key.find(first, Be16::default(), blur), key.find(second, Be16::default(), blur)) {
        (Some((slot, _)), _) => Candidate::<K>::own(first, slot),
        (None, Some((slot, _))) => Candidate::<K>::own(second, slot),
        (None, None) => {
            let timeout = |state| settings.timeout(state);
            Candidate::<K>::none(first)
                .or_better(first, now, blur, timeout)
                .or_better(second, now, blur, timeout)
        }
    };
    if !candidate.claim() {
        return;
    }
    if settings.flags.load() & Settings::COUNTED != 0
        && let Some(old) = candidate.overwritten()
    {
        tables.weigh(old.to_word(), -1);
    }
    let value = Value::new(DestinationRef::from_word(word), State::NEW_TEMPLATE, now, Be16::default());
    key.publish(candidate.bucket, candidate.slot, value);
}

/// Does a template still bind its client? Not to a real server that was taken out or has failed, and to one of
/// weight 0 only if the director is told so (`ip_vs_check_template`, `net.ipv4.vs.expire_quiescent_template`).
#[inline(always)]
fn binds<T: Tables>(tables: &T, settings: &Settings, template: Value) -> bool {
    let Some(chosen) = live(tables, template.destination(), false) else { return false };
    if chosen.flags() & (NextHop::RETIRED | NextHop::FAILED) != 0 {
        return false;
    }
    settings.flags.load() & Settings::EXPIRE_QUIESCENT == 0
        || Identity::from_word(chosen.destination.identity.load()).weight != 0
}

//! Who may connect to a virtual server: networks that are let in or kept out, and how often a source may connect.
//!
//! A source's allowance is a token bucket kept as one time: when it would be full again ("theoretical arrival time"
//! of the generic cell rate algorithm, ITU-T I.371). So an entry is one word, changed by compare-and-swap, and an entry
//! whose time is over says no more than no entry at all.

use crate::word::Word;

/// What a network's entry says, the low byte of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Listing {
    /// Its addresses may connect.
    Allow = 1,
    /// They may not, and what they have open is cut.
    Deny = 2,
}

impl Listing {
    /// The value of the entry of a network with a prefix of `length` bits.
    pub const fn to_value(self, length: u8) -> u32 {
        self as u32 | (length as u32) << 8
    }

    /// The inverse of [`Listing::to_value`]; `None` for a value of another version.
    pub const fn from_value(value: u32) -> Option<(Self, u8)> {
        #[expect(clippy::cast_possible_truncation, reason = "takes a value apart")]
        let length = (value >> 8) as u8;
        match value & 0xff {
            1 => Some((Self::Allow, length)),
            2 => Some((Self::Deny, length)),
            _ => None,
        }
    }
}

/// Bits of a network's key before its address: the schedule's id in 32 bits.
pub const LISTED_BITS: u32 = 32;

/// How many connections a source may open: a word of a [`crate::layout::Schedule`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// [`UNITS_PER_SECOND`] by connections per second: how long one of them counts. 0: any number.
    pub interval: u32,
    /// Connections at once.
    pub burst: u32,
    /// Sources that agree in so many leading bits count as one.
    pub prefix: u8,
}

/// Time here is counted in units of 256 ns, in 40 bits: 78 hours, of which half are the past.
pub const UNITS_PER_SECOND: u64 = 1_000_000_000 >> UNIT_BITS;
const UNIT_BITS: u32 = 8;
const TIME_BITS: u32 = 40;
const TIME: u64 = (1 << TIME_BITS) - 1;

impl Rate {
    /// The highest rate per second, and the highest burst.
    pub const MOST: u32 = 1_000_000;
    /// A burst is at most what comes together in so many seconds, well below half of the time that can be told.
    pub const LONGEST_SECONDS: u32 = 3600;

    /// `rate` connections per second, of [`Rate::MOST`] at most. The nearest interval is at most an eighth off, and
    /// less than a hundredth for 40,000 per second and below.
    pub const fn per_second(rate: u32, burst: u32, prefix: u8) -> Self {
        if rate == 0 {
            return Self { interval: 0, burst, prefix };
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most UNITS_PER_SECOND")]
        let interval = ((UNITS_PER_SECOND + rate as u64 / 2) / rate as u64) as u32;
        Self { interval: if interval == 0 { 1 } else { interval }, burst, prefix }
    }

    /// As one word.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        let Self { interval, burst, prefix } = self;
        (interval as u64 & 0xff_ffff) | (burst as u64 & 0xff_ffff) << 24 | (prefix as u64) << 48
    }

    /// The inverse of [`Rate::to_word`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn from_word(word: u64) -> Self {
        Self {
            interval: word as u32 & 0xff_ffff,
            burst: (word >> 24) as u32 & 0xff_ffff,
            prefix: (word >> 48) as u8,
        }
    }

    /// How long a full burst counts.
    #[inline(always)]
    const fn longest(self) -> u64 {
        self.interval as u64 * self.burst as u64
    }
}

/// Sources that have connected lately, and whose allowance is not full: one cache line of entries, each a tag of 24 bits
/// above the time when its allowance is full again; 0: none.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Sources(pub [Word; SOURCES]);

/// Entries of [`Sources`].
pub const SOURCES: usize = 8;

const _: () = assert!(size_of::<Sources>() == 64);

/// How often an entry is read again that others change at the same time.
const TRIES: u32 = 4;

/// The units of a clock's nanoseconds.
#[inline(always)]
pub const fn units(nanoseconds: u64) -> u64 {
    (nanoseconds >> UNIT_BITS) & TIME
}

/// How far an entry's time is ahead; 0 if it is over.
#[inline(always)]
const fn ahead(entry: u64, now: u64) -> u64 {
    let ahead = entry.wrapping_sub(now) & TIME;
    if entry == 0 || ahead > TIME / 2 { 0 } else { ahead }
}

/// What became of a source that wants to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Allowance {
    /// It may.
    Given = 0,
    /// It may, and what another source had used is forgotten: the one of the line that would have been forgiven first.
    Forgetting = 1,
    /// It has used its allowance up.
    Used = 2,
}

/// Takes one connection from the allowance of the source whose hash is `hash`.
///
/// An entry that is over is free. Where all of a line count, the one that would be over first makes room: so many new
/// sources at once loosen limits, but never block anybody, and who is at his limit is forgotten last. Entries that others
/// change all the time let the connection pass: that is once too often for each CPU that is at it.
#[inline(always)]
pub fn take(sources: &Sources, hash: u64, rate: Rate, now: u64) -> Allowance {
    let tag = hash >> TIME_BITS;
    let (interval, longest) = (rate.interval as u64, rate.longest());
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        let mut slot = 0;
        let mut place = 0;
        let mut found = 0;
        let mut least = u64::MAX;
        while slot < SOURCES {
            let entry = sources.0[slot & (SOURCES - 1)].load();
            // Its own entry comes before all others.
            let counts = if entry != 0 && entry >> TIME_BITS == tag { 0 } else { 1 + ahead(entry, now) };
            if counts < least {
                least = counts;
                found = entry;
                place = slot;
            }
            slot += 1;
        }
        let used = if least == 0 {
            let used = ahead(found, now);
            if used > longest { longest } else { used }
        } else {
            0
        };
        if used + interval > longest {
            return Allowance::Used;
        }
        let entry = tag << TIME_BITS | (now + used + interval) & TIME;
        if sources.0[place & (SOURCES - 1)].replace(found, entry) {
            return if least > 1 { Allowance::Forgetting } else { Allowance::Given };
        }
    }
    Allowance::Given
}

/// How many connections the source of `hash` may open now.
pub fn left(sources: &Sources, hash: u64, rate: Rate, now: u64) -> u32 {
    let own =
        sources.0.iter().map(Word::load).find(|entry| *entry != 0 && entry >> TIME_BITS == hash >> TIME_BITS);
    let used = own.map_or(0, |entry| ahead(entry, now));
    let used = used.div_ceil(u64::from(rate.interval.max(1)));
    rate.burst.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
}

/// Empties entries that are over: their time would count as the future after 39 hours. `now` may be late.
pub fn sweep(sources: &Sources, now: u64) {
    for word in &sources.0 {
        let entry = word.load();
        if entry != 0 && ahead(entry, now) == 0 {
            // Who has changed it meanwhile has made it count.
            let _changed = word.replace(entry, 0);
        }
    }
}

/// The line of a hash, of `count`, which is a power of two.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half")]
pub const fn line(hash: u64, count: u32) -> u32 {
    hash as u32 & count.wrapping_sub(1)
}

#[cfg(test)]
mod tests;

//! In which part of a connection table its entries are.

/// Buckets of a compact part: 2 MB of IPv4 and 4 MB of IPv6, whose pages a processor's address translation holds.
pub const COMPACT_BUCKETS: u32 = 1 << 15;

/// The buckets of a connection table in which entries are looked for.
///
/// Few connections spread over a large table cost a page walk for nearly each packet. So a large table has two parts:
/// the *main* one, with room for all, and behind it the *compact* one, in which the entries are as long as they are few.
/// Only one of them is in use; user space carries the entries over, see `plane::parts` there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its first bucket; begins a page.
    pub base: u32,
    /// How many buckets.
    pub count: u32,
}

impl Part {
    /// The main part of a table whose main part has `count` buckets.
    pub const fn main(count: u32) -> Self {
        Self { base: 0, count }
    }

    /// The compact part of that table, if it has one: it has not if it is not much larger than that itself. `near` is how
    /// many buckets a page has.
    pub const fn compact(count: u32, near: u32) -> Option<Self> {
        if count / 3 < COMPACT_BUCKETS { None } else { Some(Self::main(count).other(count, near)) }
    }

    /// The buckets of that table, with both parts.
    pub const fn table(count: u32, near: u32) -> u32 {
        match Self::compact(count, near) {
            Some(Self { base, count }) => base + count,
            None => count,
        }
    }

    /// The part in which a table begins: the smallest that it has.
    pub const fn first(count: u32, near: u32) -> Self {
        match Self::compact(count, near) {
            Some(compact) => compact,
            None => Self::main(count),
        }
    }

    /// The other part of that table, which must have two.
    #[inline(always)]
    pub const fn other(self, count: u32, near: u32) -> Self {
        if self.base != 0 {
            return Self::main(count);
        }
        // At the next page; no table has so many buckets that this would wrap.
        Self { base: count.wrapping_add(near - 1) & !(near - 1), count: COMPACT_BUCKETS }
    }

    /// As a word.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        (self.base as u64) << 32 | self.count as u64
    }

    /// From the word.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn from_word(word: u64) -> Self {
        Self { base: (word >> 32) as u32, count: word as u32 }
    }

    /// Its elements of a table.
    pub fn of<B>(self, table: &[B]) -> &[B] {
        let (base, count) = (self.base as usize, self.count as usize);
        table.get(base..base + count).unwrap_or_default()
    }
}

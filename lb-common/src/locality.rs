//! What `lblc` and `lblcr` remember of a virtual address: a stretch of [`crate::maps::RINGS`], which
//! [`crate::layout::Virtual::locality`] names.
//!
//! ```text
//! word 0       when a connection to the address was scheduled last, as Ticks
//! word 1       when a real server came or went, as Ticks; from bit 32 on how many have come
//! word 2 ..    real servers: bits 0 to 25 a DestinationRef, from bit 26 on its number among those that have come
//! ```
//! A word of zero is a free place. `lblc` has one place, `lblcr` as many as its virtual server has real servers.
//!
//! The virtual servers of one address in a group share a stretch. All writes are single words by compare-and-swap, but
//! for word 0; one that is lost means that the next connection does it. A real server that was removed, or whose id was
//! given out again, is told by its generation, and one of another virtual server by its schedule.

use crate::conn::Ticks;
use crate::layout::DestinationRef;

/// Ticks after which a real server that did not come or go for so long is one too many, and an address to which no
/// connection came is forgotten (`net.ipv4.vs.lblc_expiration` and `lblcr_expiration`: a day).
#[expect(clippy::cast_possible_truncation, reason = "80,467")]
pub const EXPIRATION: u32 = Ticks::of_seconds(24 * 60 * 60) as u32;

/// Word 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// When a real server came or went.
    pub at: Ticks,
    /// How many have come.
    pub count: u32,
}

impl Changed {
    /// As one word.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.at.bits() as u64 | (self.count as u64) << 32
    }

    /// The inverse of [`Changed::to_word`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn from_word(word: u64) -> Self {
        Self { at: Ticks::from_bits(word as u32), count: (word >> 32) as u32 }
    }
}

/// A real server among those of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub server: DestinationRef,
    /// Its number among those that have come, above 0: IPVS puts each at the head of its list.
    pub number: u64,
}

impl Member {
    const SHIFT: u32 = DestinationRef::ID_BITS + DestinationRef::GENERATION_BITS;

    /// As one word, which is not zero.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.server.to_word() | self.number << Self::SHIFT
    }

    /// The inverse of [`Member::to_word`].
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self { server: DestinationRef::from_word(word), number: word >> Self::SHIFT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_keep_what_they_are_given(
            at in 0u32..1 << 18, count: u32, id in 0u32..1 << 20, generation in 0u8..64, number in 1u64..=1 << 32,
        ) {
            let changed = Changed { at: Ticks::from_bits(at), count };
            prop_assert_eq!(Changed::from_word(changed.to_word()), changed);
            let member = Member { server: DestinationRef::new(id, generation), number };
            prop_assert_eq!(Member::from_word(member.to_word()), member);
            prop_assert_ne!(member.to_word(), 0);
        }
    }

    #[test]
    fn a_day_is_told_from_the_future() {
        let then = Ticks::default();
        assert!(then.later(EXPIRATION + 1).since(then) > EXPIRATION);
    }
}

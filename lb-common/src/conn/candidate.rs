//! The slot that a new entry may have.

use super::{BUCKET_ENTRIES, Key, PROTECTED_TICKS, State, Ticks, Value};
use crate::word::Blur;

/// A slot that a newcomer may take, if there is one.
#[derive(Debug)]
pub struct Candidate<'b, K: Key> {
    /// The bucket it is in.
    pub bucket: &'b K::Bucket,
    /// Which of its entries.
    pub slot: usize,
    /// What [`Key::claim`] must find there.
    pub expected: u64,
    // Not an `Option` around all of it: LLVM reads what is not there before it asks, which the verifier refuses.
    rank: u32,
}

impl<'b, K: Key> Candidate<'b, K> {
    /// None so far.
    #[inline(always)]
    pub const fn none(bucket: &'b K::Bucket) -> Self {
        Self { bucket, slot: 0, expected: 0, rank: WORST }
    }

    /// The flow's own slot, whose entry is of no use any more; none while it is being written.
    #[inline(always)]
    pub fn own(bucket: &'b K::Bucket, slot: usize) -> Self {
        match K::inspect(bucket, slot) {
            Some((expected, _)) => Self { bucket, slot, expected, rank: EMPTY },
            None => Self::none(bucket),
        }
    }

    /// The better of this one and the slots of `bucket`, by the order in the module's text.
    /// `timeout` gives a state's idle timeout in ticks.
    #[inline(always)]
    pub fn or_better(
        self,
        bucket: &'b K::Bucket,
        now: Ticks,
        blur: Blur,
        timeout: impl Fn(State) -> u64,
    ) -> Self {
        let mut best = self;
        let mut slot = 0;
        while slot < BUCKET_ENTRIES && best.rank < EMPTY {
            if let Some((expected, value)) = K::inspect(bucket, slot) {
                let rank = value.map_or(EMPTY, |value| rank(value, now, timeout(value.state())));
                if rank > best.rank {
                    best = Self { bucket, slot: blur.index::<3>(slot), expected, rank };
                }
            }
            slot += 1;
        }
        best
    }

    /// Takes the slot, if there is one and it still is as it was.
    #[inline(always)]
    pub fn claim(&self) -> bool {
        self.rank > WORST && K::claim(self.bucket, self.slot, self.expected)
    }

    /// The value of the entry that was in the slot when it was claimed.
    #[inline(always)]
    pub fn overwritten(&self) -> Option<Value> {
        K::overwritten(self.bucket, self.slot, self.expected)
    }

    /// Is there none, or would taking it evict an unconfirmed connection that has not expired?
    #[inline(always)]
    pub const fn crowded(&self) -> bool {
        self.rank < EXPIRED
    }
}

/// Rank of a slot that must not be taken.
pub(crate) const WORST: u32 = 0;
/// Rank of an expired entry; unconfirmed ones rank below by their age.
pub(crate) const EXPIRED: u32 = Ticks::MASK + 1;
/// Rank of an empty slot.
pub(crate) const EMPTY: u32 = EXPIRED + 1;

/// How readily the slot of an entry is taken.
#[inline(always)]
pub(crate) fn rank(value: Value, now: Ticks, timeout: u64) -> u32 {
    let age = now.since(value.seen());
    if u64::from(age) >= timeout {
        EXPIRED
    } else if value.state().unconfirmed() && age >= PROTECTED_TICKS {
        age
    } else {
        WORST
    }
}

//! The connection table's clock.

/// A time of 2^30 ns (1.07 s), from the monotonic clock; 18 bits are kept, of which half tell the past from the future: 39 hours.
/// An entry that was not seen for longer must have been removed by user space, which looks every minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ticks(pub(super) u32);

impl Ticks {
    const BITS: u32 = 18;
    pub(super) const MASK: u32 = (1 << Self::BITS) - 1;
    /// Nanoseconds of one tick.
    pub const NANOSECONDS: u64 = 1 << 30;

    /// The tick of a monotonic clock's reading.
    #[inline(always)]
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the mask cuts first")]
        Self(((nanoseconds >> 30) & Self::MASK as u64) as u32)
    }

    /// Ticks since `earlier`; 0 if that is later, as for an entry written after this clock was read.
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> u32 {
        let ticks = self.0.wrapping_sub(earlier.0) & Self::MASK;
        if ticks > Self::MASK / 2 { 0 } else { ticks }
    }

    /// This many ticks later.
    pub const fn later(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks) & Self::MASK)
    }

    /// This many ticks earlier.
    pub const fn earlier(self, ticks: u32) -> Self {
        Self(self.0.wrapping_sub(ticks) & Self::MASK)
    }

    /// The number, 18 bits.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From the number, of which 18 bits count.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::MASK)
    }

    /// The ticks that last at least `seconds`.
    pub const fn of_seconds(seconds: u32) -> u64 {
        (seconds as u64 * 1_000_000_000).div_ceil(Self::NANOSECONDS)
    }
}

/// An unconfirmed entry that was seen within so many ticks (5.4 s) is not evicted: its handshake may be on
/// its way, and a retransmitted SYN (after 1, 2 and 4 s) counts as seen.
pub const PROTECTED_TICKS: u32 = 5;

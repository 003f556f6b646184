//! Internet checksums (RFC 1071), changed by what changes (RFC 1624).
//!
//! A sum of 16-bit words in one's complement is the same whichever byte order the words are read in, so all sums
//! here are of words as they lie in the packet, read in the machine's order, and 32-bit words stand for two.

use crate::net::{Be32, Be128};
use crate::packet::Packet;

/// The checksum of an IPv4 header whose TTL was decremented by one.
///
/// TTL is the high byte of its 16-bit word, so the word lost 0x0100 and the complemented sum gains it, with
/// the end-around carry folded. `checksum` and the result are host order.
#[inline(always)]
pub const fn after_ttl_decrement(checksum: u16) -> u16 {
    let sum = checksum as u32 + 0x0100;
    #[expect(clippy::cast_possible_truncation, reason = "the carry was folded in: the sum fits")]
    {
        (sum + (sum >> 16)) as u16
    }
}

/// A one's complement sum that is not folded yet: of at most 2^31 words of 16 or 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Adds 32 bits as they lie in the packet.
    #[inline(always)]
    pub const fn add32(self, bits: u32) -> Self {
        Self(self.0 + bits as u64)
    }

    /// Adds 16 bits as they lie in the packet.
    #[inline(always)]
    pub const fn add16(self, bits: u16) -> Self {
        Self(self.0 + bits as u64)
    }

    /// Adds another sum.
    #[inline(always)]
    pub const fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Adds an IPv4 address.
    #[inline(always)]
    pub const fn add_v4(self, address: Be32) -> Self {
        self.add32(address.bits())
    }

    /// Adds an IPv6 address.
    #[inline(always)]
    pub const fn add_v6(self, address: Be128) -> Self {
        let [first, second] = address.words();
        self.add64(first).add64(second)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    const fn add64(self, bits: u64) -> Self {
        self.add32(bits as u32).add32((bits >> 32) as u32)
    }

    /// Adds what taking `old` out of a sum and putting `new` in its place adds (RFC 1624, equation 3).
    #[inline(always)]
    pub const fn change16(self, old: u16, new: u16) -> Self {
        self.add16(!old).add16(new)
    }

    /// As [`Sum::change16`].
    #[inline(always)]
    pub const fn change32(self, old: u32, new: u32) -> Self {
        self.add32(!old).add32(new)
    }

    /// As [`Sum::change16`].
    #[inline(always)]
    pub const fn change_v6(self, old: Be128, new: Be128) -> Self {
        let ([a, b], [c, d]) = (old.words(), new.words());
        self.add64(!a).add64(!b).add64(c).add64(d)
    }

    /// As a number, to be given back by [`Sum::from_bits`].
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`Sum::bits`].
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The sum as 16 bits; 0 only of nothing but zeros.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "folded until it fits")]
    pub const fn fold(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        (sum + (sum >> 16)) as u16
    }

    /// The checksum of what was summed up.
    #[inline(always)]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }

    /// `checksum` after these changes.
    #[inline(always)]
    pub const fn applied_to(self, checksum: u16) -> u16 {
        self.add16(!checksum).checksum()
    }
}

/// Bytes summed up in one step.
const STEP: usize = 32;

/// The longest stretch that [`sum`] sums up: more than the largest frames, but those that were merged.
pub const LONGEST_SUM: usize = 512 * STEP;

/// The sum of `length` bytes of the frame at `at`; `None` if the frame ends before, or `length` is more than
/// [`LONGEST_SUM`].
#[inline(always)]
pub fn sum<P: Packet>(packet: &P, at: usize, length: usize) -> Option<Sum> {
    if length > LONGEST_SUM {
        return None;
    }
    let mut total = 0;
    let mut done = 0;
    let mut steps = 0;
    while steps < LONGEST_SUM / STEP && done + STEP <= length {
        let bytes = packet.load::<STEP>(at + done)?;
        let (words, _) = bytes.as_chunks::<4>();
        let mut step = 0u64;
        let mut index = 0;
        while index < STEP / 4 {
            step += u64::from(u32::from_ne_bytes(words[index]));
            index += 1;
        }
        total += step;
        done += STEP;
        steps += 1;
    }
    let mut pairs = 0;
    while pairs < STEP / 2 && done + 2 <= length {
        total += u64::from(u16::from_ne_bytes(packet.load::<2>(at + done)?));
        done += 2;
        pairs += 1;
    }
    if done < length {
        let [last] = packet.load::<1>(at + done)?;
        total += u64::from(u16::from_ne_bytes([last, 0]));
    }
    Some(Sum(total))
}

/// The Internet checksum of `bytes` from scratch (RFC 1071), host order; for building packets and as the
/// oracle of the incremental one.
pub fn full(bytes: &[u8]) -> u16 {
    let mut sum: u64 = 0;
    for pair in bytes.chunks(2) {
        let word = match *pair {
            [high, low] => u16::from_be_bytes([high, low]),
            [high] => u16::from_be_bytes([high, 0]),
            _ => 0,
        };
        sum += u64::from(word);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits above")]
    {
        !(sum as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::MemoryPacket;
    use proptest::prelude::*;

    #[test]
    fn ttl_decrement_equals_recomputation_for_every_header_sum() {
        for fill in 0..=u16::MAX {
            let mut header = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            header[4..6].copy_from_slice(&fill.to_be_bytes());
            let before = full(&header);
            header[8] -= 1;
            let expected = full(&header);
            let got = after_ttl_decrement(before);
            // Both zeroes of one's complement verify alike.
            assert!(got == expected || (got == 0xffff && expected == 0), "{fill}: {got:04x} {expected:04x}");
            header[10..12].copy_from_slice(&got.to_be_bytes());
            assert_eq!(full(&header), 0, "{fill}");
        }
    }

    #[test]
    fn a_sum_of_the_longest_stretch_folds() {
        let frame = MemoryPacket::new(vec![0xff; LONGEST_SUM + 1], 1);
        assert_eq!(sum(&frame, 0, LONGEST_SUM).unwrap().fold(), 0xffff);
        assert_eq!(sum(&frame, 0, LONGEST_SUM + 1), None);
        assert_eq!(sum(&frame, 2, LONGEST_SUM), None);
        assert_eq!(Sum(u64::MAX).fold(), 0xffff);
        assert_eq!(Sum(u64::MAX - 0xfffe).fold(), 1);
    }

    proptest! {
        #[test]
        fn sums_of_frames_are_those_of_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000), at in 0usize..40) {
            let length = bytes.len().saturating_sub(at);
            let frame = MemoryPacket::new(bytes.clone(), 1);
            if let Some(part) = bytes.get(at..) {
                prop_assert_eq!(sum(&frame, at, length).unwrap().checksum().to_be(), full(part));
            }
            prop_assert_eq!(sum(&frame, at, length + at + 1), None);
        }

        #[test]
        fn a_changed_word_changes_the_sum(
            bytes in prop::collection::vec(any::<u8>(), 8..64), new: u32, half: u16, at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(bytes.len() / 4 - 1) * 4;
            let mut changed = bytes.clone();
            changed[at..at + 4].copy_from_slice(&new.to_ne_bytes());
            changed[at + 4..at + 6].copy_from_slice(&half.to_ne_bytes());
            let old = u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
            let old_half = u16::from_ne_bytes(bytes[at + 4..at + 6].try_into().unwrap());
            let sum = Sum::default().change32(old, new).change16(old_half, half);
            let (got, expected) = (sum.applied_to(full(&bytes).to_be()).to_be(), full(&changed));
            // Bytes that are all zero have no other sum than zero; packets are never that.
            if changed.iter().any(|byte| *byte != 0) {
                prop_assert_eq!(got, expected);
            }
        }
    }
}

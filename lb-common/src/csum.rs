//! Incremental Internet checksums (RFC 1624).

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
}

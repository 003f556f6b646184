//! The hash functions of IPVS's hashing schedulers, bit for bit, so that a client meets the server that IPVS
//! would have given it.

/// Buckets of `sh` and `dh`: `IP_VS_SH_TAB_SIZE`, `IP_VS_DH_TAB_SIZE`.
pub const HASH_SLOTS: u32 = 256;

/// Slots of `mh`: the prime for the kernel's default `CONFIG_IP_VS_MH_TAB_INDEX` of 12.
pub const MAGLEV_SLOTS: u32 = 4093;

/// The bucket of a number among [`HASH_SLOTS`] (`hash_32`, `include/linux/hash.h`).
#[inline(always)]
pub const fn bucket(number: u32) -> u32 {
    number.wrapping_mul(0x61C8_8647) >> 24
}

/// An address as the schedulers hash it: the exclusive or of its 32-bit words, each in host order.
#[inline(always)]
pub const fn fold(first: u64, second: u64) -> u32 {
    let word = first ^ second;
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    u32::from_be((word ^ word >> 32) as u32)
}

/// The first of `mh`'s two hashes (`ip_vs_mh.c`: `hash1`).
#[inline(always)]
pub const fn maglev(number: u32) -> u32 {
    siphash13(number, 2_654_435_761)
}

/// The second (`hash2`); only tables need it.
pub const fn maglev_skip(number: u32) -> u32 {
    siphash13(number, 2_654_446_892)
}

/// `hsiphash_1u32` of 64-bit kernels: SipHash-1-3 of four bytes, its low half (`lib/siphash.c`). `key` is both
/// halves of the key.
#[inline(always)]
const fn siphash13(number: u32, key: u64) -> u32 {
    let message = 4 << 56 | number as u64;
    let mut v = [
        0x736f_6d65_7073_6575 ^ key,
        0x646f_7261_6e64_6f6d ^ key,
        0x6c79_6765_6e65_7261 ^ key,
        0x7465_6462_7974_6573 ^ key ^ message,
    ];
    v = round(v);
    v[0] ^= message;
    v[2] ^= 0xff;
    v = round(round(round(v)));
    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    {
        (v[0] ^ v[1] ^ v[2] ^ v[3]) as u32
    }
}

/// A SipRound.
#[inline(always)]
const fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Be32, Be128};

    #[test]
    fn both_families_fold_as_in_the_kernel() {
        let four = Be32::from_wire([192, 168, 4, 10]);
        assert_eq!(fold(u64::from(four.bits()), 0), 0xc0a8_040a);
        let six = Be128::from_wire([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10]);
        let [first, second] = six.words();
        assert_eq!(fold(first, second), 0x2001_0db8 ^ 0x10);
    }
}

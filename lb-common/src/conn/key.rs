//! Flows as keys, and where a key's entry may be.

use super::{BUCKET_ENTRIES, Bucket4, Bucket6, CLAIMED, Part, Value};
use crate::net::{Be16, Be32, Be128};
use crate::word::{Blur, Word};

/// Who an IPv4 flow is: its client and its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key4(pub(super) u64);

impl Key4 {
    /// From the client's address and port and the service's id.
    #[inline(always)]
    pub const fn new(client: Be32, port: Be16, service: u16) -> Self {
        Self(client.bits() as u64 | (port.bits() as u64) << 32 | (service as u64) << 48)
    }

    /// From a slot's word; `None` for an empty or claimed slot.
    pub const fn from_word(word: u64) -> Option<Self> {
        if word == 0 || word == CLAIMED { None } else { Some(Self(word)) }
    }

    /// The client's address, the client's port and the service's id.
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn parts(self) -> (Be32, Be16, u16) {
        (Be32::from_bits(self.0 as u32), Be16::from_bits((self.0 >> 32) as u16), (self.0 >> 48) as u16)
    }
}

/// Who an IPv6 flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key6 {
    address: [u64; 2],
    tag: u64,
}

impl Key6 {
    /// From the client's address and port and the service's id.
    #[inline(always)]
    pub const fn new(client: Be128, port: Be16, service: u16) -> Self {
        Self { address: client.words(), tag: port.bits() as u64 | (service as u64) << 16 }
    }

    /// From a slot's words.
    pub const fn from_words(address: [u64; 2], tag: u64) -> Self {
        Self { address, tag }
    }

    /// The client's address, the client's port and the service's id.
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn parts(self) -> (Be128, Be16, u16) {
        (Be128::from_words(self.address), Be16::from_bits(self.tag as u16), (self.tag >> 16) as u16)
    }
}

/// Mixes a word so that every input bit reaches every output bit (the finaliser of `MurmurHash3`).
#[inline(always)]
pub const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let word = (word ^ (word >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}

/// `hash` scaled to `0..n`.
#[inline(always)]
pub const fn scale(hash: u32, n: u32) -> u32 {
    ((hash as u64 * n as u64) >> 32) as u32
}

/// The two buckets, of those in use, that an entry with this hash may be in. Both are in the same page of memory (but at
/// the main part's end): a new connection looks at both, and the second then costs a cache line but no page walk.
/// `near` is how many buckets a page has.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "each half of the hash chooses one bucket")]
pub const fn buckets_of(hash: u64, Part { base, count }: Part, near: u32) -> (u32, u32) {
    let first = base.wrapping_add(scale(hash as u32, count));
    let second = first ^ (1 + scale((hash >> 32) as u32, near - 1));
    let is_there = second < base.wrapping_add(count);
    (first, if is_there { second } else { base.wrapping_add(scale((hash >> 32) as u32, count)) })
}

/// A key of either family, the hash of which says where its entry may be.
pub trait Key: Copy {
    /// Its bucket.
    type Bucket;

    /// 0 of IPv4, 1 of IPv6.
    const FAMILY: usize;

    /// Buckets in a page of 4,096 bytes of memory.
    const NEAR: u32;

    /// A hash that who does not know `seed` cannot aim.
    fn hash(self, seed: u64) -> u64;

    /// The entry `slot` of `bucket`, if it is this key's and its value names `port`.
    fn find(self, bucket: &Self::Bucket, port: Be16, blur: Blur) -> Option<(usize, Value)>;

    /// The key and the value of slot `slot`, which belonged together; `None` if it is empty or changes hands.
    fn read(bucket: &Self::Bucket, slot: usize) -> Option<(Self, Value)>;

    /// What slot `slot` holds now: the word to claim it by, and its value; `None` while it is being written.
    fn inspect(bucket: &Self::Bucket, slot: usize) -> Option<(u64, Option<Value>)>;

    /// Takes the slot if it still holds the word that [`Key::inspect`] gave.
    fn claim(bucket: &Self::Bucket, slot: usize, expected: u64) -> bool;

    /// The value of the entry that was in a slot when it was claimed by `expected`.
    fn overwritten(bucket: &Self::Bucket, slot: usize, expected: u64) -> Option<Value>;

    /// Makes a claimed slot this key's.
    fn publish(self, bucket: &Self::Bucket, slot: usize, value: Value);

    /// Gives a claimed slot back, empty.
    fn release(bucket: &Self::Bucket, slot: usize);

    /// Changes the value of an entry if it still is `old`.
    fn update(bucket: &Self::Bucket, slot: usize, old: Value, new: Value) -> bool;
}

impl Key for Key4 {
    type Bucket = Bucket4;

    const FAMILY: usize = 0;

    const NEAR: u32 = 64;

    #[inline(always)]
    fn hash(self, seed: u64) -> u64 {
        mix(self.0 ^ seed)
    }

    #[inline(always)]
    fn find(self, bucket: &Bucket4, port: Be16, blur: Blur) -> Option<(usize, Value)> {
        let mut slot = 0;
        while slot < BUCKET_ENTRIES {
            let entry = &bucket.0[slot & 3];
            if entry.key.load() == self.0 {
                let value = Value::from_word(entry.value.load());
                if value.port() == port && entry.key.load() == self.0 {
                    return Some((blur.index::<3>(slot), value));
                }
            }
            slot += 1;
        }
        None
    }

    #[inline(always)]
    fn read(bucket: &Bucket4, slot: usize) -> Option<(Self, Value)> {
        let entry = &bucket.0[slot & 3];
        let word = entry.key.load();
        let key = Self::from_word(word)?;
        let value = Value::from_word(entry.value.load());
        (entry.key.load() == word).then_some((key, value))
    }

    #[inline(always)]
    fn inspect(bucket: &Bucket4, slot: usize) -> Option<(u64, Option<Value>)> {
        let entry = &bucket.0[slot & 3];
        match entry.key.load() {
            CLAIMED => None,
            0 => Some((0, None)),
            key => Some((key, Some(Value::from_word(entry.value.load())))),
        }
    }

    #[inline(always)]
    fn claim(bucket: &Bucket4, slot: usize, expected: u64) -> bool {
        bucket.0[slot & 3].key.replace(expected, CLAIMED)
    }

    #[inline(always)]
    fn overwritten(bucket: &Bucket4, slot: usize, expected: u64) -> Option<Value> {
        if expected == 0 { None } else { Some(Value::from_word(bucket.0[slot & 3].value.load())) }
    }

    #[inline(always)]
    fn publish(self, bucket: &Bucket4, slot: usize, value: Value) {
        let entry = &bucket.0[slot & 3];
        entry.value.store(value.to_word());
        // The value is there before the key.
        entry.key.publish(self.0);
    }

    #[inline(always)]
    fn release(bucket: &Bucket4, slot: usize) {
        bucket.0[slot & 3].key.store(0);
    }

    #[inline(always)]
    fn update(bucket: &Bucket4, slot: usize, old: Value, new: Value) -> bool {
        bucket.0[slot & 3].value.replace(old.to_word(), new.to_word())
    }
}

impl Key for Key6 {
    type Bucket = Bucket6;

    const FAMILY: usize = 1;

    const NEAR: u32 = 32;

    #[inline(always)]
    fn hash(self, seed: u64) -> u64 {
        mix(mix(mix(self.address[0] ^ seed) ^ self.address[1]) ^ self.tag)
    }

    #[inline(always)]
    fn find(self, bucket: &Bucket6, port: Be16, blur: Blur) -> Option<(usize, Value)> {
        let mut slot = 0;
        while slot < BUCKET_ENTRIES {
            let entry = &bucket.0[slot & 3];
            let before = entry.value.load();
            if entry.tag.load() == self.tag
                && entry.address[1].load() == self.address[1]
                && entry.address[0].load() == self.address[0]
                && before != 0
                && before != CLAIMED
            {
                let value = Value::from_word(entry.value.load());
                if value.port() == port && value.destination() == Value::from_word(before).destination() {
                    return Some((blur.index::<3>(slot), value));
                }
            }
            slot += 1;
        }
        None
    }

    #[inline(always)]
    fn read(bucket: &Bucket6, slot: usize) -> Option<(Self, Value)> {
        let entry = &bucket.0[slot & 3];
        let before = entry.value.load();
        if before == 0 || before == CLAIMED {
            return None;
        }
        let key = Self::from_words(entry.address.each_ref().map(Word::load), entry.tag.load());
        // The state and the time may have changed; who took the slot over has claimed it in between.
        let value = Value::from_word(entry.value.load());
        let same = |value: Value| (value.destination(), value.port());
        let is_entry = value.to_word() != 0 && value.to_word() != CLAIMED;
        (is_entry && same(value) == same(Value::from_word(before))).then_some((key, value))
    }

    #[inline(always)]
    fn inspect(bucket: &Bucket6, slot: usize) -> Option<(u64, Option<Value>)> {
        match bucket.0[slot & 3].value.load() {
            CLAIMED => None,
            0 => Some((0, None)),
            value => Some((value, Some(Value::from_word(value)))),
        }
    }

    #[inline(always)]
    fn claim(bucket: &Bucket6, slot: usize, expected: u64) -> bool {
        bucket.0[slot & 3].value.replace(expected, CLAIMED)
    }

    #[inline(always)]
    fn overwritten(_bucket: &Bucket6, _slot: usize, expected: u64) -> Option<Value> {
        if expected == 0 { None } else { Some(Value::from_word(expected)) }
    }

    #[inline(always)]
    fn publish(self, bucket: &Bucket6, slot: usize, value: Value) {
        let entry = &bucket.0[slot & 3];
        entry.address[0].store(self.address[0]);
        entry.address[1].store(self.address[1]);
        entry.tag.store(self.tag);
        entry.value.publish(value.to_word());
    }

    #[inline(always)]
    fn release(bucket: &Bucket6, slot: usize) {
        bucket.0[slot & 3].value.store(0);
    }

    #[inline(always)]
    fn update(bucket: &Bucket6, slot: usize, old: Value, new: Value) -> bool {
        bucket.0[slot & 3].value.replace(old.to_word(), new.to_word())
    }
}

//! The table of virtual servers: which of them a packet's address, port and protocol name.
//!
//! An array of cache lines of four entries (IPv6: two lines), so that a look-up costs one of them; addresses that are no
//! virtual server's are not even looked up ([`Addresses`](crate::layout::Addresses)). An entry lies in its home bucket or, if that is full,
//! in the first of the next [`PROBES`] that is not. A bucket whose last slot was never needed ends the search.
//!
//! Readers and one writer run at once. An entry never moves, so there is no moment in which it cannot be found.
//! Whoever reads an entry reads its key again behind the value.

use crate::layout::Service;
use crate::net::{Be16, Be32, Be128};
use crate::word::Word;

/// Buckets of each family's table: room for [`crate::maps::SERVICES`] and as much again.
pub const BUCKETS: u32 = 1 << 15;

/// Entries of a bucket.
pub const SLOTS: usize = 4;

/// Buckets that an entry may lie in.
pub const PROBES: u32 = 8;

/// No entry has this key: its slot is being written, or is free but others may lie beyond.
const NOBODY: u64 = u64::MAX;

/// Makes every key differ from that of an empty slot.
const USED: u64 = 1 << 56;

/// An IPv4 virtual server.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Slot4 {
    /// [`Name4`] as a word; 0: empty.
    pub key: Word,
    /// [`Service`] as a word.
    pub value: Word,
}

/// An IPv6 virtual server.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Slot6 {
    /// VIP, network order.
    pub address: [Word; 2],
    /// Port, protocol and a bit that is always set; 0: empty.
    pub key: Word,
    /// [`Service`] as a word.
    pub value: Word,
}

/// One cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Bucket4(pub [Slot4; SLOTS]);

/// Two cache lines.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Bucket6(pub [Slot6; SLOTS]);

const _: () = assert!(size_of::<Bucket4>() == 64 && size_of::<Bucket6>() == 128);

/// An IPv4 virtual server as a packet names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name4(u64);

impl Name4 {
    /// From VIP, port (0: any) and IP protocol number.
    #[inline(always)]
    pub const fn new(address: Be32, port: Be16, protocol: u8) -> Self {
        Self(USED | address.bits() as u64 | (port.bits() as u64) << 32 | (protocol as u64) << 48)
    }

    /// VIP, port and protocol.
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn parts(self) -> (Be32, Be16, u8) {
        (Be32::from_bits(self.0 as u32), Be16::from_bits((self.0 >> 32) as u16), (self.0 >> 48) as u8)
    }
}

/// An IPv6 virtual server as a packet names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name6 {
    address: [u64; 2],
    key: u64,
}

impl Name6 {
    /// As [`Name4::new`].
    #[inline(always)]
    pub const fn new(address: Be128, port: Be16, protocol: u8) -> Self {
        Self { address: address.words(), key: USED | (port.bits() as u64) << 32 | (protocol as u64) << 48 }
    }

    /// VIP, port and protocol.
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn parts(self) -> (Be128, Be16, u8) {
        (Be128::from_words(self.address), Be16::from_bits((self.key >> 32) as u16), (self.key >> 48) as u8)
    }
}

/// What a bucket says about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It is here.
    Found(Service),
    /// It is nowhere.
    Nowhere,
    /// The bucket is full without it: it may be in the next.
    Further,
}

/// A virtual server's name in either family.
pub trait Name: Copy + Eq {
    /// Its bucket.
    type Bucket;

    /// The bucket to look in first, of [`BUCKETS`].
    fn home(self) -> u32;
    /// Looks for the name in one bucket.
    fn look(self, bucket: &Self::Bucket) -> Look;
    /// The first bucket from `from` on that has an entry in a slot.
    fn used(buckets: &[Self::Bucket], from: usize) -> Option<usize>;
    /// The entry in a slot.
    fn read(bucket: &Self::Bucket, slot: usize) -> Option<(Self, Service)>;
    /// Writes an entry into a slot, whatever was there.
    fn write(self, bucket: &Self::Bucket, slot: usize, service: Service);
    /// Replaces the value of an entry.
    fn replace(bucket: &Self::Bucket, slot: usize, service: Service);
    /// Empties a slot; `passed` if others may lie beyond it.
    fn clear(bucket: &Self::Bucket, slot: usize, passed: bool);
}

/// The upper bits of a product depend on all bits of its factors.
#[inline(always)]
const fn home(word: u64) -> u32 {
    ((word ^ word >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 49) as u32
}

impl Name for Name4 {
    type Bucket = Bucket4;

    #[inline(always)]
    fn home(self) -> u32 {
        home(self.0)
    }

    #[inline(always)]
    fn look(self, bucket: &Bucket4) -> Look {
        let mut slot = 0;
        while slot < SLOTS {
            let entry = &bucket.0[slot];
            if entry.key.load() == self.0 {
                let service = Service::from_word(entry.value.load());
                if entry.key.load() == self.0 {
                    return Look::Found(service);
                }
            }
            slot += 1;
        }
        if bucket.0[SLOTS - 1].key.load() == 0 { Look::Nowhere } else { Look::Further }
    }

    fn used(buckets: &[Bucket4], from: usize) -> Option<usize> {
        let is_used = |bucket: &Bucket4| {
            let [a, b, c, d] = &bucket.0;
            a.key.load() | b.key.load() | c.key.load() | d.key.load() != 0
        };
        buckets.iter().skip(from).position(is_used).map(|at| from + at)
    }

    fn read(bucket: &Bucket4, slot: usize) -> Option<(Self, Service)> {
        let entry = bucket.0.get(slot)?;
        let key = entry.key.load();
        let value = entry.value.load();
        (key != 0 && key != NOBODY && entry.key.load() == key).then(|| (Self(key), Service::from_word(value)))
    }

    fn write(self, bucket: &Bucket4, slot: usize, service: Service) {
        let entry = &bucket.0[slot];
        entry.key.publish(NOBODY);
        entry.value.store(service.to_word());
        entry.key.publish(self.0);
    }

    fn replace(bucket: &Bucket4, slot: usize, service: Service) {
        bucket.0[slot].value.publish(service.to_word());
    }

    fn clear(bucket: &Bucket4, slot: usize, passed: bool) {
        bucket.0[slot].key.publish(if passed { NOBODY } else { 0 });
    }
}

impl Name for Name6 {
    type Bucket = Bucket6;

    #[inline(always)]
    fn home(self) -> u32 {
        home(self.address[0] ^ self.address[1].rotate_left(17) ^ self.key)
    }

    #[inline(always)]
    fn look(self, bucket: &Bucket6) -> Look {
        let mut slot = 0;
        while slot < SLOTS {
            let entry = &bucket.0[slot];
            if entry.key.load() == self.key
                && entry.address[1].load() == self.address[1]
                && entry.address[0].load() == self.address[0]
            {
                let service = Service::from_word(entry.value.load());
                if entry.key.load() == self.key {
                    return Look::Found(service);
                }
            }
            slot += 1;
        }
        if bucket.0[SLOTS - 1].key.load() == 0 { Look::Nowhere } else { Look::Further }
    }

    fn used(buckets: &[Bucket6], from: usize) -> Option<usize> {
        let is_used = |bucket: &Bucket6| {
            let [a, b, c, d] = &bucket.0;
            a.key.load() | b.key.load() | c.key.load() | d.key.load() != 0
        };
        buckets.iter().skip(from).position(is_used).map(|at| from + at)
    }

    fn read(bucket: &Bucket6, slot: usize) -> Option<(Self, Service)> {
        let entry = bucket.0.get(slot)?;
        let key = entry.key.load();
        let address = [entry.address[0].load(), entry.address[1].load()];
        let value = entry.value.load();
        (key != 0 && key != NOBODY && entry.key.load() == key)
            .then(|| (Self { address, key }, Service::from_word(value)))
    }

    fn write(self, bucket: &Bucket6, slot: usize, service: Service) {
        let entry = &bucket.0[slot];
        entry.key.publish(NOBODY);
        entry.address[0].store(self.address[0]);
        entry.address[1].store(self.address[1]);
        entry.value.store(service.to_word());
        entry.key.publish(self.key);
    }

    fn replace(bucket: &Bucket6, slot: usize, service: Service) {
        bucket.0[slot].value.publish(service.to_word());
    }

    fn clear(bucket: &Bucket6, slot: usize, passed: bool) {
        bucket.0[slot].key.publish(if passed { NOBODY } else { 0 });
    }
}

/// Looks a name up; `bucket` gives the buckets by number.
#[inline(always)]
pub fn find<'t, N: Name>(name: N, bucket: impl Fn(u32) -> Option<&'t N::Bucket>) -> Option<Service>
where
    N::Bucket: 't,
{
    let home = name.home();
    let mut probe = 0;
    while probe < PROBES {
        match name.look(bucket((home + probe) % BUCKETS)?) {
            Look::Found(service) => return Some(service),
            Look::Nowhere => return None,
            Look::Further => core::hint::cold_path(),
        }
        probe += 1;
    }
    None
}

#[cfg(any(test, feature = "user"))]
pub use writer::{entries, insert, remove};

/// The one writer's side.
#[cfg(any(test, feature = "user"))]
mod writer {
    use super::{Name, PROBES, SLOTS, Service};

    /// All entries.
    pub fn entries<N: Name>(buckets: &[N::Bucket]) -> impl Iterator<Item = (N, Service)> {
        let used = core::iter::successors(N::used(buckets, 0), |at| N::used(buckets, at + 1));
        used.filter_map(|at| buckets.get(at))
            .flat_map(|bucket| (0..SLOTS).filter_map(|slot| N::read(bucket, slot)))
    }

    /// The places that a name may be in, in the order of the search.
    fn places<N: Name>(buckets: &[N::Bucket], name: N) -> impl Iterator<Item = (usize, usize)> {
        let (home, count) = (name.home() as usize, buckets.len());
        (0..PROBES as usize).flat_map(move |probe| (0..SLOTS).map(move |slot| ((home + probe) % count, slot)))
    }

    fn place<N: Name>(buckets: &[N::Bucket], name: N) -> Option<(usize, usize)> {
        places(buckets, name)
            .find(|&(bucket, slot)| N::read(&buckets[bucket], slot).is_some_and(|(found, _)| found == name))
    }

    /// Adds an entry, or gives the one there is another value; `false` if there is no room near its home.
    #[must_use]
    pub fn insert<N: Name>(buckets: &[N::Bucket], name: N, service: Service) -> bool {
        if let Some((bucket, slot)) = place(buckets, name) {
            N::replace(&buckets[bucket], slot, service);
            return true;
        }
        let free = places(buckets, name).find(|&(bucket, slot)| N::read(&buckets[bucket], slot).is_none());
        if let Some((bucket, slot)) = free {
            name.write(&buckets[bucket], slot, service);
        }
        free.is_some()
    }

    /// Removes an entry, if it is there. Others stay where they are: a reader between their old and their new
    /// place would not find them.
    pub fn remove<N: Name>(buckets: &[N::Bucket], name: N) {
        let Some((bucket, slot)) = place(buckets, name) else { return };
        N::clear(&buckets[bucket], slot, slot == SLOTS - 1 && passed::<N>(buckets, bucket));
    }

    /// Does the search for an entry beyond go through `bucket`, which is full?
    fn passed<N: Name>(buckets: &[N::Bucket], bucket: usize) -> bool {
        let count = buckets.len();
        let from_home = |name: N, at: usize| (at + count - name.home() as usize) % count;
        (1..PROBES as usize)
            .map(|step| (bucket + step) % count)
            .flat_map(|at| (0..SLOTS).map(move |slot| (at, slot)))
            .filter_map(|(at, slot)| N::read(&buckets[at], slot).map(|(name, _)| (at, name)))
            .any(|(at, name)| from_home(name, bucket) < from_home(name, at))
    }
}

#[cfg(test)]
mod tests;

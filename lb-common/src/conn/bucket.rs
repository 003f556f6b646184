//! The entries as they lie in memory.

use crate::word::Word;

/// Marks a slot whose new owner is being written: no flow has this key.
pub const CLAIMED: u64 = u64::MAX;

/// An IPv4 entry. A zero key is an empty slot.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Entry4 {
    /// [`Key4`](super::Key4) as a word.
    pub key: Word,
    /// [`Value`](super::Value) as a word.
    pub value: Word,
}

/// An IPv6 entry. A zero value is an empty slot, a value of [`CLAIMED`] one that is being written.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Entry6 {
    /// The client's address, network order.
    pub address: [Word; 2],
    /// Client port in the low 16 bits, then the service id.
    pub tag: Word,
    /// [`Value`](super::Value) as a word.
    pub value: Word,
}

/// Entries in a bucket.
pub const BUCKET_ENTRIES: usize = 4;

/// One cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Bucket4(pub [Entry4; BUCKET_ENTRIES]);

/// Two cache lines.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Bucket6(pub [Entry6; BUCKET_ENTRIES]);

const _: () = assert!(size_of::<Bucket4>() == 64 && size_of::<Bucket6>() == 128);

/// The buckets of a main part for `max_connections`: two slots for each, so that its full number finds room.
pub const fn buckets_for(max_connections: u32) -> u32 {
    max_connections.div_ceil(2)
}

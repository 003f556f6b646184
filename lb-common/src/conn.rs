//! The connection table: which real server a flow goes to.
//!
//! One 64-byte bucket holds four IPv4 entries of a key and a value (IPv6: 128 bytes), so an established
//! packet costs one cache line. A flow may lie in either of two
//! buckets, which are in the same page of the part of the table that is in use ([`Part`]). All writes are single words:
//! - a slot is taken by compare-and-swap of its key to [`CLAIMED`], then gets its value, then its key;
//! - an entry is changed by compare-and-swap of its value, and a change that loses the race is dropped.
//!
//! A reader reads key, value and key again (IPv6: value, key, value), so what it returns belonged together.
//!
//! ```text
//! value   63       48 47               30 29  26 25      20 19            0
//!        +-----------+------------------+------+----------+---------------+
//!        | port      | last seen, ticks |state |generation| destination id|
//!        +-----------+------------------+------+----------+---------------+
//! ```
//! `port` is the packet's destination port: it tells flows of an any-port service apart.
//!
//! Who may take which slot ([`Candidate`]): an empty one, else an expired one, else the longest idle
//! *unconfirmed* one (one packet seen) that has been idle for [`PROTECTED_TICKS`]. A confirmed connection is
//! never evicted, and a handshake in progress is not either, so a flood of SYNs leaves both alone. The flow
//! that finds no slot, or one only by eviction, is placed by its hash, and every packet of it finds the same
//! place, recorded or not.

mod bucket;
mod candidate;
mod key;
mod part;
mod state;
#[cfg(test)]
mod tests;
mod ticks;

pub use bucket::{BUCKET_ENTRIES, Bucket4, Bucket6, CLAIMED, Entry4, Entry6, buckets_for};
pub use candidate::Candidate;
pub(crate) use candidate::{EMPTY, EXPIRED, WORST, rank};
pub use key::{Key, Key4, Key6, buckets_of, mix, scale};
pub use part::{COMPACT_BUCKETS, Part};
pub use state::{Event, State, TEMPLATE_GRACE, TIMEOUT_SECONDS, Value, next_state, reschedules};
pub use ticks::{PROTECTED_TICKS, Ticks};

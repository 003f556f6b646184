//! Access to the tables that decide where packets go.

use crate::word::Word;

use crate::conn::{Bucket4, Bucket6, Ticks};
use crate::layout::{Destination, FragmentKey, FragmentOwner, Schedule, Settings};
use crate::services;
use crate::verdict::Reason;

/// The tables, the clock and the counters. A look-up that finds nothing says `None`; an array look-up does so
/// only beyond the array's end.
pub trait Tables {
    /// The coarse monotonic clock.
    fn now(&self, settings: &Settings) -> Ticks;
    /// The settings.
    fn settings(&self) -> Option<&Settings>;
    /// A bucket of the IPv4 virtual servers.
    fn services4(&self, index: u32) -> Option<&services::Bucket4>;
    /// A bucket of the IPv6 virtual servers.
    fn services6(&self, index: u32) -> Option<&services::Bucket6>;
    /// A schedule by its id.
    fn schedule(&self, id: u16) -> Option<&Schedule>;
    /// A word of the rings.
    fn ring(&self, index: u32) -> Option<&Word>;
    /// A destination by its id.
    fn destination(&self, id: u32) -> Option<&Destination>;
    /// A bucket of the IPv4 connection table.
    fn bucket4(&self, index: u32) -> Option<&Bucket4>;
    /// A bucket of the IPv6 connection table.
    fn bucket6(&self, index: u32) -> Option<&Bucket6>;
    /// Where a datagram's first fragment went.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentOwner>;
    /// Keeps where a datagram's first fragment went; may forget others, may fail silently when overloaded.
    fn remember_fragment(&self, key: &FragmentKey, owner: &FragmentOwner);
    /// Counts a packet of `bytes` for a destination, and a connection if it is a `new` one.
    fn count_traffic(&self, destination: u32, new: bool, bytes: u64);
    /// Counts a reason.
    fn count(&self, reason: Reason);
}

//! The connection tables, read entry by entry without system calls.

use std::net::{IpAddr, SocketAddr};

use lb_common::conn::{Bucket4, Bucket6, CLAIMED, Key4, Key6, Value};

/// An entry of either table. Whether it has expired, and whether its destination is still the one that it
/// names, is for the reader to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The client's address and port.
    pub client: SocketAddr,
    /// The virtual server's id.
    pub service: u16,
    /// Real server, state, last-seen time and destination port.
    pub value: Value,
}

/// The entries of the IPv4 table, in the table's order. An entry that changes hands while it is read is left out.
pub fn ipv4(buckets: &[Bucket4]) -> impl Iterator<Item = Connection> {
    buckets.iter().flat_map(|bucket| &bucket.0).filter_map(|entry| {
        let word = entry.key.load();
        let key = Key4::from_word(word)?;
        let value = Value::from_word(entry.value.load());
        if entry.key.load() != word {
            return None;
        }
        let (address, port, service) = key.parts();
        let client = SocketAddr::new(IpAddr::from(address.wire()), port.host());
        Some(Connection { client, service, value })
    })
}

/// The entries of the IPv6 table, likewise.
pub fn ipv6(buckets: &[Bucket6]) -> impl Iterator<Item = Connection> {
    buckets.iter().flat_map(|bucket| &bucket.0).filter_map(|entry| {
        let before = entry.value.load();
        if before == 0 || before == CLAIMED {
            return None;
        }
        let address = [entry.address[0].load(), entry.address[1].load()];
        let (address, port, service) = Key6::from_words(address, entry.tag.load()).parts();
        // The state and the time may have changed; who took the slot over has claimed it in between.
        let value = Value::from_word(entry.value.load());
        let same = |value: Value| (value.destination(), value.port());
        if value.to_word() == 0 || value.to_word() == CLAIMED || same(value) != same(Value::from_word(before))
        {
            return None;
        }
        let client = SocketAddr::new(IpAddr::from(address.wire()), port.host());
        Some(Connection { client, service, value })
    })
}

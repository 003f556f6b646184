//! The connection tables, read entry by entry without system calls.

use std::net::{IpAddr, SocketAddr};

use lb_common::conn::{BUCKET_ENTRIES, Bucket4, Bucket6, Key, Key4, Key6, Value};

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
    entries::<Key4>(buckets).map(|(key, value)| {
        let (address, port, service) = key.parts();
        let client = SocketAddr::new(IpAddr::from(address.wire()), port.host());
        Connection { client, service, value }
    })
}

/// The entries of the IPv6 table, likewise.
pub fn ipv6(buckets: &[Bucket6]) -> impl Iterator<Item = Connection> {
    entries::<Key6>(buckets).map(|(key, value)| {
        let (address, port, service) = key.parts();
        let client = SocketAddr::new(IpAddr::from(address.wire()), port.host());
        Connection { client, service, value }
    })
}

/// The entries of either table as they lie there.
pub fn entries<K: Key>(buckets: &[K::Bucket]) -> impl Iterator<Item = (K, Value)> {
    buckets.iter().flat_map(|bucket| (0..BUCKET_ENTRIES).filter_map(move |slot| K::read(bucket, slot)))
}

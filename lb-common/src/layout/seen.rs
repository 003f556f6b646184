//! What packets showed: clients on a segment, fragmented datagrams.

/// A client on a segment of the director's, as its packets showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Neighbour {
    /// Its MAC in the low six bytes.
    pub to: u64,
    /// The director's MAC, then the VLAN id, as in [`Destination::source`](super::Destination::source).
    pub from: u64,
    /// The interface's index.
    pub interface: u64,
}

/// Names a fragmented datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragmentKey {
    /// Source, network order; IPv4 in the first four bytes.
    pub source: [u64; 2],
    /// Destination, likewise.
    pub destination: [u64; 2],
    /// Identification, as on the wire.
    pub identification: u32,
    /// IP protocol number (IPv4; 0 for IPv6, where the first fragment alone knows it).
    pub protocol: u8,
    /// 4 or 6.
    pub version: u8,
    /// Zero.
    pub zero: [u8; 2],
}

/// Where the datagram's first fragment went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FragmentOwner {
    /// [`DestinationRef`](super::DestinationRef) as a word; of an answer also [`FragmentOwner::ANSWER`], and the virtual server's id from
    /// bit 32 on. By full NAT the index of the flow's lease and [`FragmentOwner::LEASE`].
    pub destination: u64,
    /// When, as [`crate::conn::Ticks`].
    pub seen: u64,
}

impl FragmentOwner {
    /// The datagram came from the destination.
    pub const ANSWER: u64 = 1 << 31;
    /// The flow has a lease.
    pub const LEASE: u64 = 1 << 30;
}

//! What answers of real servers (NAT) belong to, and where they go.

use super::DestinationRef;
use crate::word::Word;

/// What the answers of a real server's address and port belong to: the value of its entry among the virtual servers,
/// under [`Answers::PROTOCOL`]. One word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// To one virtual server.
    One(Owner),
    /// To one of several. Who, says the entry of the flow.
    Several {
        /// Index of the first [`Owner`] among [`crate::maps::RINGS`].
        offset: u32,
        /// How many there are.
        count: u16,
    },
}

/// A virtual server and one of its destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The virtual server's id.
    pub service: u16,
    /// The real server.
    pub destination: DestinationRef,
}

impl Owner {
    /// The bit that the last word of a list has.
    pub const LAST: u64 = 1 << 63;

    /// As one word, of which the top 16 bits are zero.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.service as u64 | self.destination.to_word() << 16
    }

    /// The inverse of [`Owner::to_word`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn from_word(word: u64) -> Self {
        Self { service: word as u16, destination: DestinationRef::from_word(word >> 16) }
    }
}

impl Answers {
    /// Added to the protocol's number in the name of such an entry: no protocol has such a number.
    pub const PROTOCOL: u8 = 0x80;
    /// Of more virtual servers than this that share a real server's address and port, the first ones count.
    pub const MOST: u16 = 32;

    const SEVERAL: u64 = 1 << 47;

    /// As one word, of which the top 16 bits are zero.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        match self {
            Self::One(owner) => owner.to_word(),
            Self::Several { offset, count } => Self::SEVERAL | (offset as u64) << 16 | count as u64,
        }
    }

    /// The inverse of [`Answers::to_word`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn from_word(word: u64) -> Self {
        if word & Self::SEVERAL == 0 {
            Self::One(Owner::from_word(word))
        } else {
            Self::Several { offset: (word >> 16) as u32 & 0x7fff_ffff, count: word as u16 }
        }
    }
}

/// A virtual server as its clients know it: what answers are made to come from.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Virtual {
    /// VIP, network order; IPv4 in the first four bytes.
    pub address: [Word; 2],
    /// Port in the low 16 bits, network order; 0: any. Then the protocol's number.
    pub port: Word,
    /// [`RingPlace`](super::RingPlace) of what [`crate::locality`] remembers for its address, as one word.
    pub locality: Word,
}

/// Where answers to a network's clients go.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Route {
    /// The network's address, network order; IPv4 in the first four bytes.
    pub network: [Word; 2],
    /// Ones where an address must agree with it.
    pub mask: [Word; 2],
    /// A [`NextHop`](super::NextHop) as one word, of which [`NextHop::RESOLVED`](super::NextHop::RESOLVED) and [`Route::SEGMENT`] count.
    pub next_hop: Word,
    /// As in [`Destination`](super::Destination).
    pub source: Word,
    /// As in [`Destination`](super::Destination).
    pub interface: Word,
    /// Not zero for the last one.
    pub last: Word,
}

impl Route {
    /// The clients are on the director's segment: see [`Neighbour`](super::Neighbour).
    pub const SEGMENT: u8 = 0x40;
    /// The longest table of a family.
    pub const MOST: u32 = 64;
}

/// The stretches of [`crate::maps::ROUTES`] that are in use, as one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoutePlaces {
    /// Index of the first IPv4 route, and their number.
    pub ipv4: (u16, u16),
    /// The same of IPv6.
    pub ipv6: (u16, u16),
}

impl RoutePlaces {
    /// As one word.
    pub const fn to_word(self) -> u64 {
        self.ipv4.0 as u64
            | (self.ipv4.1 as u64) << 16
            | (self.ipv6.0 as u64) << 32
            | (self.ipv6.1 as u64) << 48
    }

    /// The inverse of [`RoutePlaces::to_word`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn from_word(word: u64) -> Self {
        Self { ipv4: (word as u16, (word >> 16) as u16), ipv6: ((word >> 32) as u16, (word >> 48) as u16) }
    }
}

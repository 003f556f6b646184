//! Real servers: how packets get to them, what they have, what went there.

use crate::net::{Be16, MacAddress};
use crate::word::Word;

/// A destination's id and the generation it was given out with: 26 bits.
///
/// A destination whose own generation differs has been freed and given out again since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationRef(u32);

impl DestinationRef {
    /// Bits of an id.
    pub const ID_BITS: u32 = 20;
    /// Bits of a generation.
    pub const GENERATION_BITS: u32 = 6;
    /// Bits of both.
    pub const MASK: u32 = (1 << (Self::ID_BITS + Self::GENERATION_BITS)) - 1;

    /// From an id and a generation; bits beyond their widths are cut off.
    #[inline(always)]
    pub const fn new(id: u32, generation: u8) -> Self {
        Self((id & ((1 << Self::ID_BITS) - 1)) | ((generation as u32) << Self::ID_BITS & Self::MASK))
    }

    /// From the low bits of a word.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the mask cuts first")]
    pub const fn from_word(word: u64) -> Self {
        Self((word & Self::MASK as u64) as u32)
    }

    /// As the low bits of a word.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.0 as u64
    }

    /// Index into [`crate::maps::DESTINATIONS`] and [`crate::maps::TRAFFIC`].
    #[inline(always)]
    pub const fn id(self) -> u32 {
        self.0 & ((1 << Self::ID_BITS) - 1)
    }

    /// The generation.
    #[inline(always)]
    pub const fn generation(self) -> u8 {
        #[expect(clippy::cast_possible_truncation, reason = "6 bits")]
        {
            (self.0 >> Self::ID_BITS) as u8
        }
    }
}

/// A real server of one virtual server. One cache line; the first three words are what a packet needs.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Destination {
    /// [`NextHop`] as one word. All zero: not in use.
    pub next_hop: Word,
    /// Source MAC in the low six bytes, then the VLAN id of frames to it (0: untagged).
    pub source: Word,
    /// The interface's index in the low half.
    pub interface: Word,
    /// Service id in the low 16 bits, then 16 bits of port (network order), then 32 bits of weight.
    pub identity: Word,
    /// Order of addition in the low half: IPVS's list runs from the highest to the lowest.
    /// Address family (4 or 6) in bits 32 to 39. The latest weight above 0 in the top 16 bits, for `mh`.
    pub order: Word,
    /// The real server's address, network order; IPv4 in the first four bytes.
    pub address: [Word; 2],
    /// Limits of the number of connections: the upper in the low half, the lower in the high half; 0: none.
    pub limits: Word,
}

/// What the first word of a [`Destination`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHop {
    /// MAC of the real server, as on the wire.
    pub mac: MacAddress,
    /// [`NextHop::IN_USE`] and the other flags.
    pub flags: u8,
    /// See [`DestinationRef`].
    pub generation: u8,
}

impl NextHop {
    /// The destination exists. Without it nothing else counts.
    pub const IN_USE: u8 = 1;
    /// The MAC and the interface are known.
    pub const RESOLVED: u8 = 2;
    /// The real server is this director: packets go up to the kernel.
    pub const LOCAL: u8 = 4;
    /// Taken out of the configuration; serves the connections it has until they end.
    pub const RETIRED: u8 = 8;
    /// It has failed, and packets of its connections are dropped.
    pub const FAILED_DROP: u8 = 0x40;
    /// It has failed, and packets of its TCP connections are answered with a reset; of others, dropped.
    pub const FAILED_RESET: u8 = 0x80;
    /// Both: it was taken out of the configuration, and packets of its connections go to the kernel, which refuses them.
    pub const FAILED: u8 = Self::FAILED_DROP | Self::FAILED_RESET;
    /// The bits of the [`Method`].
    pub const METHOD: u8 = 0x30;

    /// How packets get to it.
    #[inline(always)]
    pub const fn method(self) -> Method {
        match self.flags & Self::METHOD {
            0x10 => Method::Nat,
            0x20 => Method::Tunnel,
            0x30 => Method::FullNat,
            _ => Method::DirectRouting,
        }
    }

    /// As one word.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        let [a, b, c, d, e, f] = self.mac;
        u64::from_le_bytes([a, b, c, d, e, f, self.flags, self.generation])
    }

    /// The inverse of [`NextHop::to_word`].
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        let [a, b, c, d, e, f, flags, generation] = word.to_le_bytes();
        Self { mac: [a, b, c, d, e, f], flags, generation }
    }
}

/// How packets get to a real server, as bits of [`NextHop::flags`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Method {
    /// Only Ethernet addresses are changed.
    #[default]
    DirectRouting = 0,
    /// The destination is replaced, and the source of answers.
    Nat = 0x10,
    /// Inside another packet.
    Tunnel = 0x20,
    /// Source and destination are replaced.
    FullNat = 0x30,
}

impl Method {
    /// Do answers come back through the director, to be translated?
    #[inline(always)]
    pub const fn translates(self) -> bool {
        matches!(self, Self::Nat | Self::FullNat)
    }
}

/// What tunnels and full NAT need to know of a destination beside the [`Destination`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct Detail {
    /// The director's address towards it, network order; IPv4 in the first four bytes. All zero: not known.
    pub source: [Word; 2],
    /// The longest packet of the link towards it; 0: not known.
    pub mtu: Word,
    /// [`Sources`] as one word; of other methods than full NAT 0.
    pub sources: Word,
}

/// The addresses and ports of the director that packets to a real server by full NAT come from, as one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The first and the last port; host order. 0: there are none.
    pub ports: (u16, u16),
    /// Index of the first address among [`crate::maps::RINGS`], where each takes two words as in
    /// [`Detail::source`]. 24 bits.
    pub offset: u32,
    /// How many addresses there are; 0: [`Detail::source`] is the one.
    pub count: u8,
}

impl Sources {
    /// As one word.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        let (first, last) = self.ports;
        first as u64
            | (last as u64) << 16
            | (self.offset as u64 & 0xff_ffff) << 32
            | (self.count as u64) << 56
    }

    /// The inverse of [`Sources::to_word`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn from_word(word: u64) -> Self {
        Self {
            ports: (word as u16, (word >> 16) as u16),
            offset: (word >> 32) as u32 & 0xff_ffff,
            count: (word >> 56) as u8,
        }
    }
}

/// The second word of a [`Destination`]: a MAC and 16 bits beside it.
#[inline(always)]
pub const fn mac_word(mac: MacAddress, beside: u16) -> u64 {
    let [a, b, c, d, e, f] = mac;
    let [low, high] = beside.to_le_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, low, high])
}

/// The inverse of [`mac_word`].
#[inline(always)]
pub const fn from_mac_word(word: u64) -> (MacAddress, u16) {
    let [a, b, c, d, e, f, low, high] = word.to_le_bytes();
    ([a, b, c, d, e, f], u16::from_le_bytes([low, high]))
}

/// What [`Destination::identity`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The virtual server.
    pub service: u16,
    /// The real server's port.
    pub port: Be16,
    /// Its configured weight.
    pub weight: u32,
}

impl Identity {
    /// As one word.
    pub const fn to_word(self) -> u64 {
        self.service as u64 | (self.port.bits() as u64) << 16 | (self.weight as u64) << 32
    }

    /// The inverse of [`Identity::to_word`].
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn from_word(word: u64) -> Self {
        Self { service: word as u16, port: Be16::from_bits((word >> 16) as u16), weight: (word >> 32) as u32 }
    }
}

/// The connections of a destination, kept while [`Settings::COUNTED`](super::Settings::COUNTED) is set: as IPVS counts them, without
/// templates. Whoever makes, changes or removes an entry adds and subtracts.
#[derive(Debug, Default)]
#[repr(C, align(32))]
pub struct Load {
    /// In an active state.
    pub active: Word,
    /// In another.
    pub inactive: Word,
    /// [`Load::OVERLOADED`].
    pub state: Word,
    /// Zero.
    pub reserved: Word,
}

impl Load {
    /// It has reached its upper limit, and not yet fallen below the lower one.
    pub const OVERLOADED: u64 = 1;

    /// The active and the inactive connections. While counts are being put right they may be below 0 for a moment.
    #[inline(always)]
    pub fn counts(&self) -> (u64, u64) {
        let count = |word: &Word| {
            let count = word.load();
            if count >> 63 == 0 { count } else { 0 }
        };
        (count(&self.active), count(&self.inactive))
    }

    /// Adds to the active or the inactive connections.
    #[inline(always)]
    pub fn add(&self, active: bool, change: i64) {
        #[expect(clippy::cast_sign_loss, reason = "wraps")]
        let change = change as u64;
        if active {
            self.active.fetch_add(change)
        } else {
            self.inactive.fetch_add(change)
        };
    }

    /// Brings the state up to date with the counts and the limits (`ip_vs_bind_dest`, `ip_vs_unbind_dest`).
    #[inline(always)]
    pub fn judge(&self, limits: u64) {
        let (upper, lower) = (limits & 0xffff_ffff, limits >> 32);
        let (active, inactive) = self.counts();
        let total = active.wrapping_add(inactive);
        let overloaded = self.state.load() & Self::OVERLOADED != 0;
        let state = if upper == 0 {
            0
        } else if total >= upper {
            Self::OVERLOADED
        } else if overloaded {
            let relieved = if lower == 0 { total.wrapping_mul(4) < upper * 3 } else { total < lower };
            if relieved { 0 } else { Self::OVERLOADED }
        } else {
            0
        };
        if state != u64::from(overloaded) {
            self.state.store(state);
        }
    }
}

/// One CPU's counters of one destination. `bytes` counts IP packets' lengths, as IPVS does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Traffic {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets forwarded to it.
    pub packets: u64,
    /// Their bytes from the IP header on.
    pub bytes: u64,
    /// Answers of it translated.
    pub out_packets: u64,
    /// Their bytes.
    pub out_bytes: u64,
}

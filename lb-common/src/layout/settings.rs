//! What holds for the whole program, and for its interfaces.

use crate::conn::{Part, State};
use crate::net::{Be32, Be128, MacAddress};
use crate::word::Word;

/// What the program must know at once. All of it may change while packets run.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Settings {
    /// [`LAYOUT_VERSION`](super::LAYOUT_VERSION) in the low half.
    pub layout: Word,
    /// [`Settings::ANY_PORT`] and the others.
    pub flags: Word,
    /// Seed of the connection tables' hash; as long as the tables live.
    pub seed: Word,
    /// The part in use of the IPv4 table and of the IPv6 table: [`Part`](crate::conn::Part) as a word.
    pub parts: [Word; 2],
    /// Nanoseconds of one jiffy.
    pub jiffy: Word,
    /// The monotonic clock's nanoseconds when the count of jiffies was 0; wraps.
    pub epoch: Word,
    /// [`RoutePlaces`](super::RoutePlaces) as one word.
    pub routes: Word,
    /// Idle timeouts by [`crate::conn::State`], in ticks.
    pub timeouts: [Word; 16],
    /// Slots for leases: a multiple of [`crate::lease::GROUP`].
    pub leases: Word,
    /// Buckets of the main part of the IPv4 table in the low half, of the IPv6 table in the high half.
    pub buckets: Word,
    /// The interfaces the program is attached to. Each is in one of [`INTERFACE_PROBES`] slots from its index
    /// modulo [`INTERFACE_SLOTS`] on.
    pub interfaces: [Interface; (INTERFACE_SLOTS + INTERFACE_PROBES) as usize],
    /// The MACs beside its own that this director answers for on the interface in the same slot.
    pub virtual_macs: [VirtualMacs; (INTERFACE_SLOTS + INTERFACE_PROBES) as usize],
    /// The virtual servers' addresses, and some others.
    pub addresses: Addresses,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            layout: Word::default(),
            flags: Word::default(),
            seed: Word::default(),
            parts: Default::default(),
            jiffy: Word::default(),
            epoch: Word::default(),
            routes: Word::default(),
            timeouts: Default::default(),
            leases: Word::default(),
            buckets: Word::default(),
            interfaces: [const { Interface { index: Word::new(0), mac: Word::new(0) } };
                (INTERFACE_SLOTS + INTERFACE_PROBES) as usize],
            virtual_macs: [const { VirtualMacs([const { [const { Word::new(0) }; 4] }; 2]) };
                (INTERFACE_SLOTS + INTERFACE_PROBES) as usize],
            addresses: Addresses::default(),
        }
    }
}

impl Settings {
    /// Some virtual server takes any port, so a miss is looked up again with port 0.
    pub const ANY_PORT: u64 = 1;
    /// Some real server's answers are translated, so what is for no virtual server may be one of them.
    pub const NAT: u64 = 2;
    /// Some scheduler or limit goes by numbers of connections: [`Load`](super::Load) is kept.
    pub const COUNTED: u64 = 4;
    /// Connections of a real server taken out of the configuration end with their next packet.
    pub const EXPIRE_NODEST: u64 = 8;
    /// A template of a real server of weight 0 does not count.
    pub const EXPIRE_QUIESCENT: u64 = 16;
    /// Some real server is reached by full NAT, so what is for no virtual server may be for a lease.
    pub const FULL_NAT: u64 = 32;
    /// Another director will soon have the packets of what begins now, and no entry: it is placed by its hash, on which
    /// all agree.
    pub const HANDING_OVER: u64 = 64;
    /// Entries are being carried over to the other part of a connection table. Until that is done, who finds its entry
    /// in neither finds its real server by its hash: so it is placed by that.
    pub const MOVING: u64 = 128;
    /// New connections are placed by their hash, not by turns.
    pub const BY_HASH: u64 = Self::HANDING_OVER | Self::MOVING;

    /// The part in use of a family's connection table; `family` is [`Key::FAMILY`](crate::conn::Key::FAMILY).
    #[inline(always)]
    pub fn part(&self, family: usize) -> Part {
        Part::from_word(self.parts[family & 1].load())
    }

    /// How many buckets the main part of a family's table has.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub fn main_buckets(&self, family: usize) -> u32 {
        (self.buckets.load() >> (32 * (family & 1))) as u32
    }

    /// The idle timeout of a state in ticks.
    #[inline(always)]
    pub fn timeout(&self, state: State) -> u64 {
        self.timeouts[state.number() & 15].load()
    }
}

/// An interface the program is attached to. An all-zero element is an empty slot.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Interface {
    /// Index.
    pub index: Word,
    /// [`mac_word`](super::mac_word) of its own MAC.
    pub mac: Word,
}

/// Slots for interfaces that the index alone can reach.
pub const INTERFACE_SLOTS: u32 = 64;

/// The slots that an interface may be in.
pub const INTERFACE_PROBES: u32 = 4;

impl Interface {
    /// Is this the slot of the interface `index`, and `mac` its own?
    #[inline(always)]
    pub fn is(&self, index: u32) -> bool {
        self.index.load() == index as u64
    }
}

/// The virtual MACs (RFC 9568 section 7.3) of the virtual routers whose master this director is on an interface: a bit
/// for each of 256 of IPv4, then of IPv6.
#[derive(Debug, Default)]
#[repr(C)]
pub struct VirtualMacs(pub [[Word; 4]; 2]);

impl VirtualMacs {
    /// The family, the word and the bit of a virtual MAC; `None` for any other MAC.
    #[inline(always)]
    pub const fn place(mac: MacAddress) -> Option<(usize, usize, u32)> {
        let [0, 0, 0x5e, 0, family @ (1 | 2), router] = mac else { return None };
        Some((family as usize - 1, (router >> 6) as usize, (router & 63) as u32))
    }

    /// Is it a MAC of one of these virtual routers?
    #[inline(always)]
    pub fn has(&self, mac: MacAddress) -> bool {
        match Self::place(mac) {
            // Two small numbers, not one made of both: Linux 6.1 forgets the bounds of a disjunction.
            Some((family, word, bit)) => self.0[family & 1][word & 3].load() >> bit & 1 != 0,
            None => false,
        }
    }
}

/// A set of addresses that may have more than were added: a bit for all that have the same hash.
///
/// Most of what is not for a virtual server (what the director itself sends and receives, and with NAT every answer) has
/// another address each time. Looking that up in the table of virtual servers would be a cache miss; this is not.
#[derive(Debug)]
#[repr(C)]
pub struct Addresses(pub [Word; ADDRESS_WORDS]);

/// Words of an [`Addresses`]: 4,096 bits.
pub const ADDRESS_WORDS: usize = 64;

impl Default for Addresses {
    fn default() -> Self {
        Self([const { Word::new(0) }; ADDRESS_WORDS])
    }
}

impl Addresses {
    /// The word and the bit of an IPv4 address.
    #[inline(always)]
    pub const fn bit4(address: Be32) -> (usize, u64) {
        Self::bit(address.bits())
    }

    /// The word and the bit of an IPv6 address.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "folds the words")]
    pub const fn bit6(address: Be128) -> (usize, u64) {
        let [a, b] = address.words();
        let folded = a ^ b;
        Self::bit((folded ^ folded >> 32) as u32)
    }

    /// 32 bits of an address multiplied by 2^32 through the golden ratio: the highest are of all of them.
    #[inline(always)]
    const fn bit(bits: u32) -> (usize, u64) {
        let hash = bits.wrapping_mul(0x9e37_79b1);
        ((hash >> 26) as usize, 1 << (hash >> 20 & 63))
    }

    /// May an address with this word and bit have been added?
    #[inline(always)]
    pub fn may_have(&self, (word, bit): (usize, u64)) -> bool {
        self.0[word & (ADDRESS_WORDS - 1)].load() & bit != 0
    }

    /// Adds an address.
    pub fn add(&self, (word, bit): (usize, u64)) {
        let word = &self.0[word & (ADDRESS_WORDS - 1)];
        word.store(word.load() | bit);
    }
}

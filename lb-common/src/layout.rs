//! Every map's key and value but the connection table's (see [`crate::conn`]).
//!
//! Only integers and byte arrays, explicit zero padding, sizes asserted. What user space changes under a
//! running program are whole 64-bit words, each meaningful by itself, so a reader never sees half a change.
//! A change of anything here raises [`LAYOUT_VERSION`]; a daemon refuses pinned maps of another version.

use crate::word::Word;

use crate::net::{Be16, MacAddress};

/// The version of all layouts together, kept in [`Settings`].
pub const LAYOUT_VERSION: u32 = 3;

macro_rules! assert_size {
    ($($type:ty = $size:literal),* $(,)?) => { $(const _: () = assert!(core::mem::size_of::<$type>() == $size);)* };
}

assert_size!(
    Schedule = 64,
    Load = 32,
    Destination = 64,
    Traffic = 40,
    Virtual = 32,
    Route = 64,
    Neighbour = 24,
    Detail = 32,
    FragmentKey = 40,
    FragmentOwner = 16,
    Settings = 5632,
    VirtualMacs = 64,
    Interface = 16,
);

/// A virtual server: the value of an entry of [`crate::services`], one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The service's part of a connection's key.
    pub id: u16,
    /// Index into [`crate::maps::SCHEDULES`]. The virtual servers of a group share one.
    pub schedule: u16,
    /// [`Service::STANDBY`] and the other flags.
    pub flags: u16,
}

impl Service {
    /// Another director serves it now: packets go to the kernel.
    pub const STANDBY: u16 = 1;
    /// Each datagram is scheduled on its own, and leaves no entry.
    pub const ONE_PACKET: u16 = 2;
    /// Some networks are let in or kept out: see [`crate::admission::Listing`].
    pub const LISTED: u16 = 4;
    /// New connections are limited by [`Schedule::rate`].
    pub const RATED: u16 = 8;
    /// Any of these takes a packet off the straight way.
    pub const ASIDE: u16 = Self::STANDBY | Self::ONE_PACKET | Self::LISTED;

    /// A virtual server that has its schedule for itself.
    pub const fn alone(id: u16) -> Self {
        Self { id, schedule: id, flags: 0 }
    }

    /// As one word.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.id as u64 | (self.schedule as u64) << 16 | (self.flags as u64) << 32
    }

    /// The inverse of [`Service::to_word`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn from_word(word: u64) -> Self {
        Self { id: word as u16, schedule: (word >> 16) as u16, flags: (word >> 32) as u16 }
    }
}

/// How a virtual server's real servers are chosen. One cache line, read for new connections only.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Schedule {
    /// [`RingPlace`] as one word.
    pub ring: Word,
    /// [`Rules`] as one word.
    pub scheduler: Word,
    /// [`RingPlace`] of the list of real servers for the schedulers that compare them, as one word. Its slots have
    /// a [`DestinationRef`] in the low half and the weight in the high half; the header is not used.
    pub list: Word,
    /// [`crate::admission::Rate`] as one word.
    pub rate: Word,
    /// Zero.
    pub reserved: [Word; 4],
}

/// How a [`Schedule`] chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// A [`SchedulerCode`].
    pub code: u8,
    /// [`Rules::FALLBACK`] and the other flags.
    pub flags: u8,
    /// Leading bits of a client's address that persistence goes by.
    pub prefix: u8,
    /// How long persistence lasts, in ticks; 0: there is none.
    pub persistence: u32,
}

impl Rules {
    /// `sh`, `mh`: who would meet a real server that takes no new connections meets another.
    pub const FALLBACK: u8 = 1;
    /// `sh`, `mh`: the client's port is hashed too.
    pub const PORT: u8 = 2;
    /// Some real server has an upper limit of connections.
    pub const LIMITED: u8 = 4;

    /// As one word.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        let Self { code, flags, prefix, persistence } = self;
        code as u64 | (flags as u64) << 8 | (prefix as u64) << 16 | (persistence as u64) << 32
    }

    /// The inverse of [`Rules::to_word`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn from_word(word: u64) -> Self {
        Self {
            code: word as u8,
            flags: (word >> 8) as u8,
            prefix: (word >> 16) as u8,
            persistence: (word >> 32) as u32,
        }
    }

    /// Does everyone have his turn, whatever connections he has?
    #[inline(always)]
    pub(crate) const fn goes_by_turns(self) -> bool {
        (self.code == SchedulerCode::Rr as u8 || self.code == SchedulerCode::Wrr as u8)
            && self.flags & Self::LIMITED == 0
    }
}

/// Numbers of the schedulers in [`Rules::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum SchedulerCode {
    /// Round robin.
    Rr = 1,
    /// Weighted round robin.
    Wrr = 2,
    /// Least connections.
    Lc = 3,
    /// Weighted least connections.
    Wlc = 4,
    /// Shortest expected delay.
    Sed = 5,
    /// Never queue.
    Nq = 6,
    /// Source hashing.
    Sh = 7,
    /// Destination hashing.
    Dh = 8,
    /// Maglev hashing.
    Mh = 9,
    /// Weighted failover.
    Fo = 10,
    /// Weighted overflow.
    Ovf = 11,
    /// Locality-based least connections.
    Lblc = 12,
    /// Locality-based least connections with replication.
    Lblcr = 13,
    /// Power of two choices.
    Twos = 14,
}

impl SchedulerCode {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Rr,
        Self::Wrr,
        Self::Lc,
        Self::Wlc,
        Self::Sed,
        Self::Nq,
        Self::Sh,
        Self::Dh,
        Self::Mh,
        Self::Fo,
        Self::Ovf,
        Self::Lblc,
        Self::Lblcr,
        Self::Twos,
    ];

    /// The scheduler of a number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u8 == number)
    }

    /// The name in IPVS and in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Sh => "sh",
            Self::Dh => "dh",
            Self::Mh => "mh",
            Self::Fo => "fo",
            Self::Ovf => "ovf",
            Self::Lblc => "lblc",
            Self::Lblcr => "lblcr",
            Self::Twos => "twos",
        }
    }
}

/// Words at the start of a ring, before its slots: the cursor (the count of picks, started where the
/// scheduler's sequence stands) and the cursor's first value.
pub const RING_HEADER: u32 = 2;

/// In a slot of a ring: this real server takes no new connections, as its weight is 0.
pub const UNAVAILABLE: u64 = 1 << 63;

/// The longest list that a scheduler compares. The program walks it for each new connection.
pub const MOST_LISTED: u32 = 256;

/// Where a ring lies in [`crate::maps::RINGS`]: its header is at `offset`, its slots follow.
/// Each slot is a [`DestinationRef`] in a word of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RingPlace {
    /// Index of the header's first word.
    pub offset: u32,
    /// Number of slots; 0: no real server takes new connections.
    pub slots: u32,
}

impl RingPlace {
    /// As one word.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        (self.offset as u64) << 32 | self.slots as u64
    }

    /// The inverse of [`RingPlace::to_word`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn from_word(word: u64) -> Self {
        Self { offset: (word >> 32) as u32, slots: word as u32 }
    }
}

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
    /// [`RingPlace`] of what [`crate::locality`] remembers for its address, as one word.
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
    /// A [`NextHop`] as one word, of which [`NextHop::RESOLVED`] and [`Route::SEGMENT`] count.
    pub next_hop: Word,
    /// As in [`Destination`].
    pub source: Word,
    /// As in [`Destination`].
    pub interface: Word,
    /// Not zero for the last one.
    pub last: Word,
}

impl Route {
    /// The clients are on the director's segment: see [`Neighbour`].
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

/// A client on a segment of the director's, as its packets showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Neighbour {
    /// Its MAC in the low six bytes.
    pub to: u64,
    /// The director's MAC, then the VLAN id, as in [`Destination::source`].
    pub from: u64,
    /// The interface's index.
    pub interface: u64,
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

/// The connections of a destination, kept while [`Settings::COUNTED`] is set: as IPVS counts them, without
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
    /// [`DestinationRef`] as a word; of an answer also [`FragmentOwner::ANSWER`], and the virtual server's id from
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

/// What the program must know at once. All of it may change while packets run.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Settings {
    /// [`LAYOUT_VERSION`] in the low half.
    pub layout: Word,
    /// [`Settings::ANY_PORT`] and the others.
    pub flags: Word,
    /// Seed of the connection tables' hash; as long as the tables live.
    pub seed: Word,
    /// Buckets of the IPv4 table in the low half, of the IPv6 table in the high half.
    pub buckets: Word,
    /// Nanoseconds of one jiffy.
    pub jiffy: Word,
    /// The monotonic clock's nanoseconds when the count of jiffies was 0; wraps.
    pub epoch: Word,
    /// [`RoutePlaces`] as one word.
    pub routes: Word,
    /// Slots for leases: a multiple of [`crate::lease::GROUP`].
    pub leases: Word,
    /// Idle timeouts by [`crate::conn::State`], in ticks.
    pub timeouts: [Word; 16],
    /// The interfaces the program is attached to. Each is in one of [`INTERFACE_PROBES`] slots from its index
    /// modulo [`INTERFACE_SLOTS`] on.
    pub interfaces: [Interface; (INTERFACE_SLOTS + INTERFACE_PROBES) as usize],
    /// The MACs beside its own that this director answers for on the interface in the same slot.
    pub virtual_macs: [VirtualMacs; (INTERFACE_SLOTS + INTERFACE_PROBES) as usize],
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            layout: Word::default(),
            flags: Word::default(),
            seed: Word::default(),
            buckets: Word::default(),
            jiffy: Word::default(),
            epoch: Word::default(),
            routes: Word::default(),
            leases: Word::default(),
            timeouts: Default::default(),
            interfaces: [const { Interface { index: Word::new(0), mac: Word::new(0) } };
                (INTERFACE_SLOTS + INTERFACE_PROBES) as usize],
            virtual_macs: [const { VirtualMacs([const { [const { Word::new(0) }; 4] }; 2]) };
                (INTERFACE_SLOTS + INTERFACE_PROBES) as usize],
        }
    }
}

impl Settings {
    /// Some virtual server takes any port, so a miss is looked up again with port 0.
    pub const ANY_PORT: u64 = 1;
    /// Some real server's answers are translated, so what is for no virtual server may be one of them.
    pub const NAT: u64 = 2;
    /// Some scheduler or limit goes by numbers of connections: [`Load`] is kept.
    pub const COUNTED: u64 = 4;
    /// Connections of a real server taken out of the configuration end with their next packet.
    pub const EXPIRE_NODEST: u64 = 8;
    /// A template of a real server of weight 0 does not count.
    pub const EXPIRE_QUIESCENT: u64 = 16;
    /// Some real server is reached by full NAT, so what is for no virtual server may be for a lease.
    pub const FULL_NAT: u64 = 32;
}

/// An interface the program is attached to. An all-zero element is an empty slot.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Interface {
    /// Index.
    pub index: Word,
    /// [`mac_word`] of its own MAC.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_keep_what_they_are_given(
            id in 0u32..1 << 20, generation in 0u8..64, mac: [u8; 6], flags: u8, vlan: u16,
            offset: u32, slots: u32, service: u16, port: u16, weight: u32,
        ) {
            let reference = DestinationRef::new(id, generation);
            prop_assert_eq!((reference.id(), reference.generation()), (id, generation));
            prop_assert_eq!(DestinationRef::from_word(reference.to_word() | 0xffff << 26), reference);
            let hop = NextHop { mac, flags, generation };
            prop_assert_eq!(NextHop::from_word(hop.to_word()), hop);
            prop_assert_eq!(from_mac_word(mac_word(mac, vlan)), (mac, vlan));
            let place = RingPlace { offset, slots };
            prop_assert_eq!(RingPlace::from_word(place.to_word()), place);
            let sources = Sources { ports: (port, vlan), offset: offset & 0xff_ffff, count: flags };
            prop_assert_eq!(Sources::from_word(sources.to_word()), sources);
            let identity = Identity { service, port: Be16::new(port), weight };
            prop_assert_eq!(Identity::from_word(identity.to_word()), identity);
        }
    }
}

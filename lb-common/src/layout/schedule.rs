//! Virtual servers and how their real servers are chosen.

use crate::word::Word;

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
    /// a [`DestinationRef`](super::DestinationRef) in the low half and the weight in the high half; the header is not used.
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
/// Each slot is a [`DestinationRef`](super::DestinationRef) in a word of its own.
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

//! Leases: the address and port of the director's that a flow by full NAT has towards its real server.
//!
//! ```text
//! client ── client's port, virtual server's ──▶ director ── lease's source and port, real server's ──▶ real server
//! ```
//!
//! What a real server sees of a flow, its [`ServerSide`], has exactly one slot in the table where it may be, so two
//! flows cannot have the same one: whoever takes the slot by compare-and-swap has it. The slot also is where an
//! answer finds its client. A slot holds one of the many sides that fall to it; another side then tries its next port,
//! as it does for a port that is taken.
//!
//! The eight ports that differ in their last three bits lie beside each other, for they are tried one after another.

use crate::conn::{CLAIMED, Value, mix, scale};
use crate::net::Be16;
use crate::word::Word;

/// Slots beside each other.
pub const GROUP: u32 = 8;

/// One cache line. Written as an entry of the connection table: [`Lease::value`] is [`CLAIMED`] while the others are.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Lease {
    /// [`Value`] as a word, with the client's port as its port; 0: free.
    pub value: Word,
    /// [`ServerSide::ports`], and in the low 16 bits the virtual server's id.
    pub tag: Word,
    /// The client's address, network order; IPv4 in the first four bytes.
    pub client: [Word; 2],
    /// The director's address, likewise.
    pub source: [Word; 2],
    /// The real server's address, likewise.
    pub server: [Word; 2],
}

const _: () = assert!(size_of::<Lease>() == 64);

/// The slots for so many connections by full NAT: two for each, so that one in two tries finds one that is free.
pub const fn slots_for(connections: u32) -> u32 {
    connections.saturating_mul(2).next_multiple_of(GROUP)
}

/// What a real server sees of a flow. Addresses as in [`Lease`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerSide {
    /// The director's address.
    pub source: [u64; 2],
    /// The real server's address.
    pub server: [u64; 2],
    /// See [`ports`].
    pub ports: u64,
}

const SERVICE: u64 = 0xffff;
const IPV6: u64 = 1 << 56;

/// The director's and the real server's port, the protocol and the family in one word, of which the low 16 bits are 0.
#[inline(always)]
pub const fn ports(source: Be16, server: Be16, protocol: u8, is_ipv6: bool) -> u64 {
    (source.bits() as u64) << 16
        | (server.bits() as u64) << 32
        | (protocol as u64) << 48
        | if is_ipv6 { IPV6 } else { 0 }
}

impl ServerSide {
    /// The director's port.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn source_port(self) -> Be16 {
        Be16::from_bits((self.ports >> 16) as u16)
    }

    /// The slot of the first of the eight sides that this one lies beside, of a table of `slots`.
    #[inline(always)]
    pub const fn group(self, seed: u64, slots: u32) -> u32 {
        let port = (self.source_port().host() >> 3) as u64;
        let rest = self.ports & !(SERVICE << 16) | port << 16;
        let addresses = mix(self.source[0] ^ self.server[0].rotate_left(32) ^ seed);
        let addresses = mix(addresses ^ self.source[1] ^ self.server[1].rotate_left(32));
        #[expect(clippy::cast_possible_truncation, reason = "the low half of a hash")]
        let hash = mix(addresses ^ rest) as u32;
        scale(hash, slots / GROUP) * GROUP
    }

    /// The slot of this side, of a table of `slots`.
    #[inline(always)]
    pub const fn slot(self, seed: u64, slots: u32) -> u32 {
        self.group(seed, slots) + (self.source_port().host() & 7) as u32
    }

    /// Is the lease of this side, whoever has it?
    #[inline(always)]
    fn is(self, lease: &Lease) -> bool {
        lease.tag.load() & !SERVICE == self.ports
            && lease.source[0].load() == self.source[0]
            && lease.server[0].load() == self.server[0]
            && lease.source[1].load() == self.source[1]
            && lease.server[1].load() == self.server[1]
    }
}

impl Lease {
    /// The value, if a flow with this side has the lease.
    #[inline(always)]
    pub fn of(&self, side: ServerSide) -> Option<Value> {
        let before = self.value.load();
        if before == 0 || before == CLAIMED || !side.is(self) {
            return None;
        }
        let after = self.value.load();
        let value = Value::from_word(after);
        let same = value.destination() == Value::from_word(before).destination()
            && value.port() == Value::from_word(before).port();
        if after == CLAIMED || !same { None } else { Some(value) }
    }

    /// Is it this client's of this virtual server? Its port is in the value.
    #[inline(always)]
    pub fn is_of(&self, client: [u64; 2], service: u16) -> bool {
        self.tag.load() & SERVICE == service as u64
            && self.client[0].load() == client[0]
            && self.client[1].load() == client[1]
    }

    /// The virtual server's id.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the low 16 bits")]
    pub fn service(&self) -> u16 {
        self.tag.load() as u16
    }

    /// The director's and the real server's port.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub fn ports(&self) -> (Be16, Be16) {
        let tag = self.tag.load();
        (Be16::from_bits((tag >> 16) as u16), Be16::from_bits((tag >> 32) as u16))
    }

    /// Makes a claimed slot a flow's.
    #[inline(always)]
    pub fn publish(&self, side: ServerSide, client: [u64; 2], service: u16, value: Value) {
        self.tag.store(side.ports | service as u64);
        self.client[0].store(client[0]);
        self.client[1].store(client[1]);
        self.source[0].store(side.source[0]);
        self.source[1].store(side.source[1]);
        self.server[0].store(side.server[0]);
        self.server[1].store(side.server[1]);
        self.value.publish(value.to_word());
    }
}

//! What translating needs of IPv4 and of IPv6, under one name.

use crate::conn::{Key4, Key6};
use crate::csum;
use crate::layout::{Answers, FragmentKey, RoutePlaces, Service, Settings};
use crate::net::{Be16, Be32, Be128, protocol};
use crate::packet::Packet;
use crate::parse::{self, Ipv4, Ipv6, Link, Part};
use crate::services::{self, Name4, Name6};
use crate::tables::{Tables, neighbour_key4};
use crate::verdict::{Reason, Verdict};
use crate::word::{Blur, Word};

use super::fragment::{fragment_key4, fragment_key6};
use super::nat::{self, Address, Ends, Quote, Segment};
use super::pick::Asked;
use super::place::{asked4, asked6};
use super::refuse::{write4, write6};
use super::sticky::Sticky;
use super::tunnel::{Inherited, inherit4, inherit6};
use super::{service4, service6};

/// A packet's IP header and where its parts are. All numbers are blurred: the ways through the parser are one again.
#[derive(Clone, Copy)]
pub(super) struct Arrived<A> {
    pub(super) source: A,
    pub(super) destination: A,
    /// Where the IP header is.
    pub(super) at: usize,
    pub(super) segment: Segment,
    /// The packet's length, header included.
    pub(super) length: usize,
    pub(super) ttl: u8,
    /// Is it the first of several fragments?
    pub(super) is_first: bool,
    /// The datagram's identification, as on the wire; of a whole one 0.
    identification: u32,
}

/// Masks of what is blurred: no frame is longer.
const OFFSET: u64 = 0x7fff;
const LENGTH: u64 = 0xffff;

impl<A> Arrived<A> {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "masked, or 32 bits went in")]
    fn new(
        blur: Blur,
        link: &Link,
        (source, destination): (A, A),
        (payload, payload_length, length): (usize, usize, usize),
        protocol: u8,
        ttl: u8,
        part: Part,
    ) -> Self {
        let (part, identification) = match part {
            Part::Whole => (0, 0),
            Part::First(identification) => (1, identification),
            Part::Later(identification) => (2, identification),
        };
        let part = blur.index::<3>(part);
        Self {
            source,
            destination,
            at: link.payload,
            segment: Segment {
                at: blur.index::<OFFSET>(payload),
                length: blur.index::<LENGTH>(payload_length),
                protocol: blur.index::<0xff>(usize::from(protocol)) as u8,
                whole: part == 0,
            },
            length: blur.index::<LENGTH>(length),
            ttl,
            is_first: part == 1,
            identification: blur.number(u64::from(identification)) as u32,
        }
    }

    /// Is it all of its datagram?
    #[inline(always)]
    pub(super) fn is_whole(&self) -> bool {
        self.segment.whole
    }
}

impl Arrived<Be32> {
    #[inline(always)]
    pub(super) fn new4(blur: Blur, link: &Link, ip: &Ipv4) -> Self {
        let lengths = (ip.payload, ip.payload_length, ip.length);
        Self::new(blur, link, (ip.source, ip.destination), lengths, ip.protocol, ip.ttl, ip.part)
    }
}

impl Arrived<Be128> {
    #[inline(always)]
    pub(super) fn new6(blur: Blur, link: &Link, ip: &Ipv6) -> Self {
        let lengths = (ip.payload, ip.payload_length, ip.length);
        Self::new(blur, link, (ip.source, ip.destination), lengths, ip.protocol, ip.hop_limit, ip.part)
    }
}

impl Arrived<Be32> {
    /// From [`parse::plain4`].
    #[inline(always)]
    pub(super) fn plain4(ip: &Ipv4) -> Self {
        let &Ipv4 { source, destination, protocol, ttl, payload, payload_length, length, .. } = ip;
        let segment = Segment { at: payload, length: payload_length, protocol, whole: true };
        Self {
            source,
            destination,
            at: Link::PLAIN,
            segment,
            length,
            ttl,
            is_first: false,
            identification: 0,
        }
    }
}

impl Arrived<Be128> {
    /// From [`parse::plain6`].
    #[inline(always)]
    pub(super) fn plain6(ip: &Ipv6) -> Self {
        let &Ipv6 { source, destination, protocol, hop_limit: ttl, payload, payload_length, length, .. } = ip;
        let segment = Segment { at: payload, length: payload_length, protocol, whole: true };
        Self {
            source,
            destination,
            at: Link::PLAIN,
            segment,
            length,
            ttl,
            is_first: false,
            identification: 0,
        }
    }
}

/// What the header of a quoted packet says.
pub(super) struct Quoted<A> {
    pub(super) source: A,
    pub(super) destination: A,
    pub(super) protocol: u8,
    pub(super) payload: usize,
}

/// An address of a version of IP.
pub(super) trait Version: Address {
    /// Names a flow in the connection table.
    type Key: Sticky;
    /// Which of the two versions it is.
    const IS_IPV6: bool;
    /// The number of ICMP.
    const ICMP: u8;

    /// A flow of this client.
    fn flow(self, port: Be16, service: u16) -> Self::Key;
    /// From a table's words.
    fn from_table(words: &[Word; 2]) -> Self;
    /// As a route's words.
    fn words(self) -> [u64; 2];
    /// The key among the clients on the director's segments.
    fn neighbour(self) -> [u64; 2];
    /// Names the datagram that a fragment is of.
    fn fragment_key(ip: &Arrived<Self>) -> FragmentKey;
    /// The first route of this version, and their number.
    fn routes(places: RoutePlaces) -> (u16, u16);
    /// The entry among the virtual servers for the answers from this address.
    fn answers<T: Tables>(self, tables: &T, port: Be16, protocol: u8) -> Option<u64>;
    /// From the words of [`Version::words`].
    fn from_words(words: [u64; 2]) -> Self;
    /// Bytes of an ICMP error's headers.
    const ERROR: usize;
    /// Bytes of a packet that an ICMP error quotes at most: 576 (RFC 1812 section 4.3.2.3) or 1,280 (RFC 4443 section
    /// 2.4) in all.
    const QUOTED: usize;

    /// Decrements the TTL of a header at `at`, and says what an outer header takes from it.
    fn hop_on<P: Packet>(packet: &mut P, at: usize) -> Option<Inherited>;
    /// Writes the headers of an ICMP error that a packet is too big, in front of what it quotes of it.
    fn write_error<P: Packet>(
        packet: &mut P,
        at: usize,
        ip: &Arrived<Self>,
        quoted: usize,
        mtu: u16,
    ) -> Option<()>;
    /// What a scheduler goes by for a flow of this client: see [`asked4`].
    fn asked(self, client_port: Be16, address: Self, port: Be16) -> Asked;
    /// The virtual server of an address, port and protocol.
    fn service<T: Tables>(
        tables: &T,
        settings: &Settings,
        address: Self,
        port: Be16,
        protocol: u8,
    ) -> Option<Service>;
    /// Is it the same address?
    fn is(self, other: Self) -> bool;
    /// Is this type of ICMP message an error? RFC 792: destination unreachable, source quench, time exceeded,
    /// parameter problem; RFC 4443: types 1 to 4.
    fn is_error(kind: u8) -> bool;
    /// Reads the header of a packet that an ICMP error quotes at `at`.
    fn quoted<P: Packet>(packet: &P, at: usize) -> Result<(Quoted<Self>, Part), Verdict>;
    /// Makes the packet a TCP segment without options or data on its way back: a new header. `None`, without a change,
    /// if there is more between the headers of IP and TCP than the one of 20 or 40 bytes.
    fn turn_round<P: Packet>(packet: &mut P, ip: &Arrived<Self>) -> Option<()>;
    /// See [`nat::translate_header4`].
    fn translate_header<P: Packet>(packet: &mut P, at: usize, source: Self, destination: Self) -> Option<()>;
    /// Translates the packet that an ICMP error at `icmp` quotes, and the error's own header at `at`.
    fn translate_error<P: Packet>(
        packet: &mut P,
        ip: &Arrived<Self>,
        quote: Quote,
        outer: Ends<Self>,
        quoted: [Ends<Self>; 2],
    ) -> Option<()>;
}

impl Version for Be32 {
    type Key = Key4;
    const ERROR: usize = 28;
    const QUOTED: usize = 548;
    const IS_IPV6: bool = false;
    const ICMP: u8 = protocol::ICMP;

    #[inline(always)]
    fn flow(self, port: Be16, service: u16) -> Key4 {
        Key4::new(self, port, service)
    }

    #[inline(always)]
    fn from_table(words: &[Word; 2]) -> Self {
        let [a, b, c, d, ..] = words[0].load().to_ne_bytes();
        Self::from_wire([a, b, c, d])
    }

    #[inline(always)]
    fn words(self) -> [u64; 2] {
        [u64::from(self.bits()), 0]
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "an IPv4 address")]
    fn from_words([word, _]: [u64; 2]) -> Self {
        Self::from_bits(word as u32)
    }

    #[inline(always)]
    fn neighbour(self) -> [u64; 2] {
        neighbour_key4(self)
    }

    #[inline(always)]
    fn fragment_key(ip: &Arrived<Self>) -> FragmentKey {
        fragment_key4(ip.source, ip.destination, ip.segment.protocol, ip.identification)
    }

    #[inline(always)]
    fn routes(places: RoutePlaces) -> (u16, u16) {
        places.ipv4
    }

    #[inline(always)]
    fn answers<T: Tables>(self, tables: &T, port: Be16, protocol: u8) -> Option<u64> {
        let name = Name4::new(self, port, protocol | Answers::PROTOCOL);
        Some(services::find(name, |index| tables.services4(index))?.to_word())
    }

    #[inline(always)]
    fn hop_on<P: Packet>(packet: &mut P, at: usize) -> Option<Inherited> {
        inherit4(packet, at)
    }

    #[inline(always)]
    fn write_error<P: Packet>(
        packet: &mut P,
        at: usize,
        ip: &Arrived<Self>,
        quoted: usize,
        mtu: u16,
    ) -> Option<()> {
        write4(packet, at, ip.destination, ip.source, quoted, mtu)
    }

    #[inline(always)]
    fn turn_round<P: Packet>(packet: &mut P, ip: &Arrived<Self>) -> Option<()> {
        if ip.segment.at != ip.at + 20 {
            return None;
        }
        let ([a, b, c, d], [e, f, g, h]) = (ip.destination.wire(), ip.source.wire());
        // 40 bytes, not to be fragmented, 64 hops.
        packet
            .store(ip.at, [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, protocol::TCP, 0, 0, a, b, c, d, e, f, g, h])?;
        let sum = csum::sum(packet, ip.at, 20)?;
        packet.store(ip.at + 10, sum.checksum().to_ne_bytes())
    }

    #[inline(always)]
    fn asked(self, client_port: Be16, address: Self, port: Be16) -> Asked {
        asked4(self, client_port, address, port)
    }

    #[inline(always)]
    fn service<T: Tables>(
        tables: &T,
        settings: &Settings,
        address: Self,
        port: Be16,
        protocol: u8,
    ) -> Option<Service> {
        service4(tables, settings, address, port, protocol)
    }

    #[inline(always)]
    fn is(self, other: Self) -> bool {
        self == other
    }

    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 4 | 11 | 12)
    }

    #[inline(always)]
    fn quoted<P: Packet>(packet: &P, at: usize) -> Result<(Quoted<Self>, Part), Verdict> {
        let ip = parse::ipv4(packet, at, false).ok_or(Reason::Malformed)?;
        let Ipv4 { source, destination, protocol, payload, part, .. } = ip;
        Ok((Quoted { source, destination, protocol, payload }, part))
    }

    #[inline(always)]
    fn translate_header<P: Packet>(packet: &mut P, at: usize, source: Self, destination: Self) -> Option<()> {
        nat::translate_header4(packet, at, source, destination)
    }

    #[inline(always)]
    fn translate_error<P: Packet>(
        packet: &mut P,
        ip: &Arrived<Self>,
        quote: Quote,
        outer: Ends<Self>,
        [old, new]: [Ends<Self>; 2],
    ) -> Option<()> {
        nat::translate_quote4(packet, ip.segment.at, quote, old, new)?;
        nat::translate_header4(packet, ip.at, outer.source, outer.destination)
    }
}

impl Version for Be128 {
    type Key = Key6;
    const ERROR: usize = 48;
    const QUOTED: usize = 1232;
    const IS_IPV6: bool = true;
    const ICMP: u8 = protocol::ICMPV6;

    #[inline(always)]
    fn flow(self, port: Be16, service: u16) -> Key6 {
        Key6::new(self, port, service)
    }

    #[inline(always)]
    fn from_table(words: &[Word; 2]) -> Self {
        Self::from_words([words[0].load(), words[1].load()])
    }

    #[inline(always)]
    fn words(self) -> [u64; 2] {
        self.words()
    }

    #[inline(always)]
    fn from_words(words: [u64; 2]) -> Self {
        Self::from_words(words)
    }

    #[inline(always)]
    fn neighbour(self) -> [u64; 2] {
        self.words()
    }

    #[inline(always)]
    fn fragment_key(ip: &Arrived<Self>) -> FragmentKey {
        fragment_key6(ip.source, ip.destination, ip.identification)
    }

    #[inline(always)]
    fn routes(places: RoutePlaces) -> (u16, u16) {
        places.ipv6
    }

    #[inline(always)]
    fn answers<T: Tables>(self, tables: &T, port: Be16, protocol: u8) -> Option<u64> {
        let name = Name6::new(self, port, protocol | Answers::PROTOCOL);
        Some(services::find(name, |index| tables.services6(index))?.to_word())
    }

    #[inline(always)]
    fn hop_on<P: Packet>(packet: &mut P, at: usize) -> Option<Inherited> {
        inherit6(packet, at)
    }

    #[inline(always)]
    fn write_error<P: Packet>(
        packet: &mut P,
        at: usize,
        ip: &Arrived<Self>,
        quoted: usize,
        mtu: u16,
    ) -> Option<()> {
        write6(packet, at, ip.destination, ip.source, quoted, mtu)
    }

    #[inline(always)]
    fn turn_round<P: Packet>(packet: &mut P, ip: &Arrived<Self>) -> Option<()> {
        if ip.segment.at != ip.at + 40 {
            return None;
        }
        packet.store(ip.at, [0x60, 0, 0, 0, 0, 20, protocol::TCP, 64])?;
        packet.store(ip.at + 8, ip.destination.wire())?;
        packet.store(ip.at + 24, ip.source.wire())
    }

    #[inline(always)]
    fn asked(self, client_port: Be16, address: Self, port: Be16) -> Asked {
        asked6(self, client_port, address, port)
    }

    #[inline(always)]
    fn service<T: Tables>(
        tables: &T,
        settings: &Settings,
        address: Self,
        port: Be16,
        protocol: u8,
    ) -> Option<Service> {
        service6(tables, settings, address, port, protocol)
    }

    #[inline(always)]
    fn is(self, other: Self) -> bool {
        self == other
    }

    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }

    #[inline(always)]
    fn quoted<P: Packet>(packet: &P, at: usize) -> Result<(Quoted<Self>, Part), Verdict> {
        let ip = parse::ipv6(packet, at, false)?;
        let Ipv6 { source, destination, protocol, payload, part, .. } = ip;
        Ok((Quoted { source, destination, protocol, payload }, part))
    }

    #[inline(always)]
    fn translate_header<P: Packet>(packet: &mut P, at: usize, source: Self, destination: Self) -> Option<()> {
        nat::translate_header6(packet, at, source, destination)
    }

    #[inline(always)]
    fn translate_error<P: Packet>(
        packet: &mut P,
        ip: &Arrived<Self>,
        quote: Quote,
        outer: Ends<Self>,
        [old, new]: [Ends<Self>; 2],
    ) -> Option<()> {
        let before = Ends { source: ip.source, destination: ip.destination, ..outer };
        let change = before.addresses(outer);
        nat::translate_quote6(packet, ip.segment.at, quote, old, new, change)?;
        nat::translate_header6(packet, ip.at, outer.source, outer.destination)
    }
}

/// Is some virtual server for any port?
#[inline(always)]
pub(super) fn has_any_port(settings: &Settings) -> bool {
    settings.flags.load() & Settings::ANY_PORT != 0
}

//! Addresses and ports replaced, and the checksums that cover them kept right.
//!
//! A checksum is changed by what changes (RFC 1624), so a packet that was damaged stays so. But a local sender may
//! leave it to its network card to sum the segment up, and a card that is virtual (veth, virtio) does not: then the
//! field holds the sum of the pseudo-header alone (Linux: `CHECKSUM_PARTIAL`), and whoever sends the frame on from
//! XDP must finish it, for nobody does so afterwards. Such a field is known by its value. A whole checksum has that
//! value by chance too, in one packet of 65,536; finishing that one too gives what it has, unless it was damaged.

use crate::csum::{self, Sum};
use crate::net::{Be16, Be32, Be128, protocol};
use crate::packet::Packet;

/// Who a packet is from and for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Source port.
    pub source_port: Be16,
    /// Destination port.
    pub destination_port: Be16,
}

/// An address of either family.
pub trait Address: Copy {
    /// Adds it to a sum.
    fn add_to(self, sum: Sum) -> Sum;
    /// Adds what another address in its place adds.
    fn change(self, new: Self, sum: Sum) -> Sum;
}

impl Address for Be32 {
    #[inline(always)]
    fn add_to(self, sum: Sum) -> Sum {
        sum.add_v4(self)
    }

    #[inline(always)]
    fn change(self, new: Self, sum: Sum) -> Sum {
        sum.change32(self.bits(), new.bits())
    }
}

impl Address for Be128 {
    #[inline(always)]
    fn add_to(self, sum: Sum) -> Sum {
        sum.add_v6(self)
    }

    #[inline(always)]
    fn change(self, new: Self, sum: Sum) -> Sum {
        sum.change_v6(self, new)
    }
}

impl<A: Address> Ends<A> {
    /// What the addresses in the place of others add to a sum.
    #[inline(always)]
    pub(super) fn addresses(self, new: Self) -> Sum {
        self.destination.change(new.destination, self.source.change(new.source, Sum::default()))
    }

    /// What the ports in the place of others add to a sum.
    #[inline(always)]
    fn ports(self, new: Self) -> Sum {
        Sum::default()
            .change16(self.source_port.bits(), new.source_port.bits())
            .change16(self.destination_port.bits(), new.destination_port.bits())
    }

    /// The sum of the pseudo-header.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a packet's length is 16 bits")]
    pub(super) fn pseudo(self, segment: Segment) -> Sum {
        self.destination
            .add_to(self.source.add_to(Sum::default()))
            .add16(u16::from_ne_bytes([0, segment.protocol]))
            .add16((segment.length as u16).to_be())
    }
}

/// A TCP segment or UDP datagram in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Where it starts.
    pub at: usize,
    /// Header and data.
    pub length: usize,
    /// TCP or UDP.
    pub protocol: u8,
    /// Is all of it in this packet? Only then can its checksum be unfinished: Linux finishes it before it fragments.
    pub whole: bool,
}

/// The offset of the checksum in a TCP or UDP header.
#[inline(always)]
const fn checksum_offset(protocol: u8) -> usize {
    if protocol == protocol::UDP { 6 } else { 16 }
}

/// A checksum as it is sent: UDP has another word for 0, which means none (RFC 768).
#[inline(always)]
const fn as_sent(protocol: u8, checksum: u16) -> u16 {
    if protocol == protocol::UDP && checksum == 0 { 0xffff } else { checksum }
}

/// Replaces the ports and sets the checksum right for the new ports and addresses. `None` if the frame ends before.
#[inline(always)]
pub fn translate_segment<P: Packet, A: Address>(
    packet: &mut P,
    segment: Segment,
    old: Ends<A>,
    new: Ends<A>,
) -> Option<()> {
    let at = segment.at + checksum_offset(segment.protocol);
    let checksum = u16::from_ne_bytes(packet.load(at)?);
    let [a, b] = new.source_port.wire();
    let [c, d] = new.destination_port.wire();
    packet.store(segment.at, [a, b, c, d])?;
    if segment.protocol == protocol::UDP && checksum == 0 {
        return Some(());
    }
    if segment.whole && checksum == old.pseudo(segment).fold() {
        core::hint::cold_path();
        return finish(packet, segment, new.pseudo(segment));
    }
    let changed = old.addresses(new).add(old.ports(new)).applied_to(checksum);
    packet.store(at, as_sent(segment.protocol, changed).to_ne_bytes())
}

/// Is the segment's checksum unfinished?
#[inline(always)]
pub fn is_partial<P: Packet, A: Address>(packet: &P, segment: Segment, ends: Ends<A>) -> Option<bool> {
    let at = segment.at + checksum_offset(segment.protocol);
    Some(segment.whole && u16::from_ne_bytes(packet.load(at)?) == ends.pseudo(segment).fold())
}

/// Can [`translate_segment`] do all that it has to? Not if an unfinished checksum is of too long a segment.
#[inline(always)]
pub fn can_finish<P: Packet, A: Address>(packet: &P, segment: Segment, ends: Ends<A>) -> Option<bool> {
    if segment.length <= csum::LONGEST_SUM {
        return Some(true);
    }
    core::hint::cold_path();
    Some(!is_partial(packet, segment, ends)?)
}

/// Writes the checksum of a segment from scratch. `pseudo` is the sum of its pseudo-header. `None` if the segment is
/// longer than [`csum::LONGEST_SUM`].
#[inline(always)]
pub fn finish<P: Packet>(packet: &mut P, segment: Segment, pseudo: Sum) -> Option<()> {
    let at = segment.at + checksum_offset(segment.protocol);
    packet.store(at, [0; 2])?;
    let sum = Sum::from_bits(packet.sum(segment.at, segment.length)?);
    packet.store(at, as_sent(segment.protocol, pseudo.add(sum).checksum()).to_ne_bytes())
}

/// Replaces the addresses of an IPv4 header at `ip` and takes one off its TTL.
#[inline(always)]
pub fn translate_header4<P: Packet>(
    packet: &mut P,
    ip: usize,
    source: Be32,
    destination: Be32,
) -> Option<()> {
    let [ttl, protocol, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3] = packet.load::<12>(ip + 8)?;
    let sum = Sum::default()
        .change16(u16::from_ne_bytes([ttl, protocol]), u16::from_ne_bytes([ttl.wrapping_sub(1), protocol]))
        .change32(u32::from_ne_bytes([s0, s1, s2, s3]), source.bits())
        .change32(u32::from_ne_bytes([d0, d1, d2, d3]), destination.bits());
    let [c0, c1] = sum.applied_to(u16::from_ne_bytes([c0, c1])).to_ne_bytes();
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (source.wire(), destination.wire());
    packet.store(ip + 8, [ttl.wrapping_sub(1), protocol, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3])
}

/// Replaces the addresses of an IPv6 header at `ip` and takes one off its hop limit.
#[inline(always)]
pub fn translate_header6<P: Packet>(
    packet: &mut P,
    ip: usize,
    source: Be128,
    destination: Be128,
) -> Option<()> {
    let [hop_limit] = packet.load::<1>(ip + 7)?;
    packet.store(ip + 7, [hop_limit.wrapping_sub(1)])?;
    let ([a, b], [c, d]) = (source.words(), destination.words());
    packet.store(ip + 8, a.to_ne_bytes())?;
    packet.store(ip + 16, b.to_ne_bytes())?;
    packet.store(ip + 24, c.to_ne_bytes())?;
    packet.store(ip + 32, d.to_ne_bytes())
}

/// A packet that an ICMP error quotes: where its IP header and its segment start, and what of the segment is there.
#[derive(Clone, Copy, Debug)]
pub struct Quote {
    /// The IP header.
    pub ip: usize,
    /// The TCP or UDP header.
    pub segment: usize,
    /// TCP or UDP.
    pub protocol: u8,
    /// Where the ICMP message ends.
    pub end: usize,
}

/// Replaces addresses and ports in a packet that an ICMP error quotes, with the checksum of the quoted segment if
/// that is quoted too; returns what all this adds to the sum of the ICMP message (RFC 5508 section 4.2).
/// The quoted IPv4 header's own checksum changes with its addresses, so that both together add nothing.
#[inline(always)]
fn translate_quoted_segment<P: Packet, A: Address>(
    packet: &mut P,
    quote: Quote,
    old: Ends<A>,
    new: Ends<A>,
) -> Option<Sum> {
    let [a, b] = new.source_port.wire();
    let [c, d] = new.destination_port.wire();
    packet.store(quote.segment, [a, b, c, d])?;
    let ports = old.ports(new);
    let at = quote.segment + checksum_offset(quote.protocol);
    if at + 2 > quote.end {
        return Some(ports);
    }
    let checksum = u16::from_ne_bytes(packet.load(at)?);
    if quote.protocol == protocol::UDP && checksum == 0 {
        return Some(ports);
    }
    let changed = as_sent(quote.protocol, old.addresses(new).add(ports).applied_to(checksum));
    packet.store(at, changed.to_ne_bytes())?;
    Some(ports.change16(checksum, changed))
}

/// Translates the packet that an ICMP error quotes, and sets the message's checksum, at `icmp` + 2, right.
#[inline(always)]
pub fn translate_quote4<P: Packet>(
    packet: &mut P,
    icmp: usize,
    quote: Quote,
    old: Ends<Be32>,
    new: Ends<Be32>,
) -> Option<()> {
    let header = u16::from_ne_bytes(packet.load(quote.ip + 10)?);
    let addresses = old.addresses(new);
    packet.store(quote.ip + 10, addresses.applied_to(header).to_ne_bytes())?;
    packet.store(quote.ip + 12, new.source.wire())?;
    packet.store(quote.ip + 16, new.destination.wire())?;
    let sum = translate_quoted_segment(packet, quote, old, new)?
        .add(addresses)
        .change16(header, addresses.applied_to(header));
    let checksum = u16::from_ne_bytes(packet.load(icmp + 2)?);
    packet.store(icmp + 2, sum.applied_to(checksum).to_ne_bytes())
}

/// As [`translate_quote4`]. `outer` is what the change of the outer addresses, which are in the sum of ICMPv6, adds.
#[inline(always)]
pub fn translate_quote6<P: Packet>(
    packet: &mut P,
    icmp: usize,
    quote: Quote,
    old: Ends<Be128>,
    new: Ends<Be128>,
    outer: Sum,
) -> Option<()> {
    let ([a, b], [c, d]) = (new.source.words(), new.destination.words());
    packet.store(quote.ip + 8, a.to_ne_bytes())?;
    packet.store(quote.ip + 16, b.to_ne_bytes())?;
    packet.store(quote.ip + 24, c.to_ne_bytes())?;
    packet.store(quote.ip + 32, d.to_ne_bytes())?;
    let sum = translate_quoted_segment(packet, quote, old, new)?.add(old.addresses(new)).add(outer);
    let checksum = u16::from_ne_bytes(packet.load(icmp + 2)?);
    packet.store(icmp + 2, sum.applied_to(checksum).to_ne_bytes())
}

#[cfg(test)]
mod tests;

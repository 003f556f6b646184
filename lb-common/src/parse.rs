//! From a frame's bytes to what decides about it. Nothing here looks anything up.

use core::hint;

use crate::conn::Event;
use crate::net::{Be16, Be32, Be128, MacAddress, ethertype, protocol};
use crate::packet::Packet;
use crate::verdict::Reason;

/// The link header.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Destination MAC.
    pub destination: MacAddress,
    /// EtherType of what follows the tags, host order.
    pub ethertype: u16,
    /// Where that starts.
    pub payload: usize,
    /// The outer VLAN tag: [`Link::TAGGED`] and its 16 bits (priority and id); 0 without a tag.
    pub tag: u32,
}

impl Link {
    /// The bit of `tag` that says that there is one.
    pub const TAGGED: u32 = 1 << 16;
    /// Where the payload starts without a tag.
    pub const PLAIN: usize = 14;

    /// Has the frame no tag? Nearly all have none, and what is at a place that is known costs less to read.
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        self.tag & Self::TAGGED == 0
    }
}

/// Follows at most this many VLAN tags (802.1ad: an outer and an inner one).
const MAX_TAGS: usize = 2;

/// The frame's first type; `None` if it is cut off.
#[inline(always)]
pub fn kind<P: Packet>(packet: &P) -> Option<u16> {
    Some(u16::from_be_bytes(packet.load::<2>(12)?))
}

/// Reads the link header; `None` if it is cut off.
#[inline(always)]
pub fn link<P: Packet>(packet: &P) -> Option<Link> {
    let header = packet.load::<14>(0)?;
    let destination = part::<0, 6, 14>(&header);
    let mut kind = u16::from_be_bytes(part::<12, 2, 14>(&header));
    let mut payload = 14;
    let mut tag = 0;
    let mut tags = 0;
    while tags < MAX_TAGS && ethertype::is_vlan(kind) {
        hint::cold_path();
        let control = u16::from_be_bytes(packet.load::<2>(payload)?);
        if tags == 0 {
            tag = Link::TAGGED | u32::from(control);
        }
        kind = u16::from_be_bytes(packet.load::<2>(payload + 2)?);
        payload += 4;
        tags += 1;
    }
    let blur = packet.blur();
    #[expect(clippy::cast_possible_truncation, reason = "17 bits went in")]
    let tag = blur.number(u64::from(tag)) as u32;
    Some(Link { destination, ethertype: kind, payload: blur.index::<31>(payload), tag })
}

/// Reads a link header and an IPv4 header as nearly all are: no VLAN tag, no options, no fragment. `None` for any
/// other, and for one that is malformed. All places are constants, so reading on costs little.
#[inline(always)]
pub fn plain4<P: Packet>(packet: &P) -> Option<(Link, Ipv4)> {
    const LENGTH: usize = 20;
    let kind = kind(packet)?;
    if kind != ethertype::IPV4 {
        return None;
    }
    let header = packet.load::<LENGTH>(Link::PLAIN)?;
    let [version_and_length] = part::<0, 1, LENGTH>(&header);
    let fragment = u16::from_be_bytes(part::<6, 2, LENGTH>(&header));
    let length = usize::from(u16::from_be_bytes(part::<2, 2, LENGTH>(&header)));
    if version_and_length != 0x45 || fragment & 0x3fff != 0 || length < LENGTH {
        return None;
    }
    if Link::PLAIN + length > packet.length() {
        return None;
    }
    let [ttl, protocol] = part::<8, 2, LENGTH>(&header);
    let ip = Ipv4 {
        source: Be32::from_wire(part::<12, 4, LENGTH>(&header)),
        destination: Be32::from_wire(part::<16, 4, LENGTH>(&header)),
        protocol,
        ttl,
        payload: Link::PLAIN + LENGTH,
        payload_length: length - LENGTH,
        length,
        part: Part::Whole,
    };
    Some((Link { destination: packet.load::<6>(0)?, ethertype: kind, payload: Link::PLAIN, tag: 0 }, ip))
}

/// As [`plain4`]; of IPv6, TCP, UDP and ICMPv6 without extension headers.
#[inline(always)]
pub fn plain6<P: Packet>(packet: &P) -> Option<(Link, Ipv6)> {
    let kind = kind(packet)?;
    if kind != ethertype::IPV6 {
        return None;
    }
    let ip = ipv6_fixed(packet, Link::PLAIN, true)?;
    if !matches!(ip.protocol, protocol::TCP | protocol::UDP | protocol::ICMPV6) {
        return None;
    }
    Some((Link { destination: packet.load::<6>(0)?, ethertype: kind, payload: Link::PLAIN, tag: 0 }, ip))
}

/// `N` bytes from `AT` on of a header of `M`.
#[inline(always)]
fn part<const AT: usize, const N: usize, const M: usize>(header: &[u8; M]) -> [u8; N] {
    const { assert!(AT + N <= M) }
    let mut part = [0; N];
    part.copy_from_slice(&header[AT..AT + N]);
    part
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment: it has the ports. The identification, as on the wire.
    First(u32),
    /// A later fragment.
    Later(u32),
}

/// What an IPv4 header says.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4 {
    /// Source.
    pub source: Be32,
    /// Destination.
    pub destination: Be32,
    /// Protocol number of the payload.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Where the payload starts in the frame.
    pub payload: usize,
    /// The payload's length in bytes.
    pub payload_length: usize,
    /// The packet's length in bytes, header included.
    pub length: usize,
    /// Fragment or whole.
    pub part: Part,
}

/// Reads an IPv4 header at `at` (RFC 791). Options are skipped. The lengths are checked against each other
/// and, if `complete`, against the frame: a packet quoted by an ICMP error is cut off.
#[inline(always)]
pub fn ipv4<P: Packet>(packet: &P, at: usize, complete: bool) -> Option<Ipv4> {
    let header = packet.load::<20>(at)?;
    let [version_and_length] = part::<0, 1, 20>(&header);
    let header_length = usize::from(version_and_length & 15) * 4;
    let length = usize::from(u16::from_be_bytes(part::<2, 2, 20>(&header)));
    let fragment = part::<4, 4, 20>(&header);
    let [ttl, protocol] = part::<8, 2, 20>(&header);
    let source = Be32::from_wire(part::<12, 4, 20>(&header));
    let destination = Be32::from_wire(part::<16, 4, 20>(&header));
    if version_and_length >> 4 != 4 || header_length < 20 || length < header_length {
        return None;
    }
    if complete && at + length > packet.length() {
        return None;
    }
    let [identification_high, identification_low, flags, offset] = fragment;
    let identification = u32::from(u16::from_ne_bytes([identification_high, identification_low]));
    let part = if (flags & 0x1f) | offset != 0 {
        Part::Later(identification)
    } else if flags & 0x20 != 0 {
        Part::First(identification)
    } else {
        Part::Whole
    };
    Some(Ipv4 {
        source,
        destination,
        protocol,
        ttl,
        payload: at + header_length,
        payload_length: length - header_length,
        length,
        part,
    })
}

/// What an IPv6 header and its extension headers say.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6 {
    /// Source.
    pub source: Be128,
    /// Destination.
    pub destination: Be128,
    /// Protocol number of the payload. For a later fragment meaningless.
    pub protocol: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Where the payload starts in the frame.
    pub payload: usize,
    /// The payload's length in bytes, extension headers not included.
    pub payload_length: usize,
    /// The packet's length in bytes, header included.
    pub length: usize,
    /// Fragment or whole.
    pub part: Part,
}

/// Follows at most this many extension headers.
const MAX_EXTENSIONS: usize = 4;

/// Reads an IPv6 header at `at` and the extension headers before the payload (RFC 8200); `complete` as for
/// [`ipv4`].
#[inline(always)]
pub fn ipv6<P: Packet>(packet: &P, at: usize, complete: bool) -> Result<Ipv6, Reason> {
    ipv6_fixed(packet, at, complete).ok_or(Reason::Malformed).and_then(|header| extensions(packet, header))
}

#[inline(always)]
fn ipv6_fixed<P: Packet>(packet: &P, at: usize, complete: bool) -> Option<Ipv6> {
    let header = packet.load::<40>(at)?;
    let [version] = part::<0, 1, 40>(&header);
    let payload_length = usize::from(u16::from_be_bytes(part::<4, 2, 40>(&header)));
    let [protocol, hop_limit] = part::<6, 2, 40>(&header);
    let source = Be128::from_halves(part::<8, 8, 40>(&header), part::<16, 8, 40>(&header));
    let destination = Be128::from_halves(part::<24, 8, 40>(&header), part::<32, 8, 40>(&header));
    let length = payload_length + 40;
    if version >> 4 != 6 || (complete && at + length > packet.length()) {
        return None;
    }
    Some(Ipv6 {
        source,
        destination,
        protocol,
        hop_limit,
        payload: at + 40,
        payload_length,
        length,
        part: Part::Whole,
    })
}

#[inline(always)]
fn extensions<P: Packet>(packet: &P, header: Ipv6) -> Result<Ipv6, Reason> {
    let mut header = header;
    let mut seen = 0;
    while seen < MAX_EXTENSIONS {
        let size = match header.protocol {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                let [next, units] = packet.load::<2>(header.payload).ok_or(Reason::Malformed)?;
                header.protocol = next;
                8 + usize::from(units) * 8
            }
            protocol::FRAGMENT => {
                let [next, _, offset_high, offset_low] =
                    packet.load(header.payload).ok_or(Reason::Malformed)?;
                let identification =
                    u32::from_ne_bytes(packet.load(header.payload + 4).ok_or(Reason::Malformed)?);
                header.protocol = next;
                let offset_and_more = u16::from_be_bytes([offset_high, offset_low]);
                if offset_and_more & 0xfff8 != 0 {
                    header.part = Part::Later(identification);
                    return Ok(header);
                }
                if offset_and_more & 1 != 0 {
                    header.part = Part::First(identification);
                }
                8
            }
            _ => return Ok(header),
        };
        if header.payload_length < size {
            return Err(Reason::Malformed);
        }
        header.payload += size;
        header.payload_length -= size;
        seen += 1;
    }
    match header.protocol {
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS | protocol::FRAGMENT => {
            Err(Reason::ExtensionHeader)
        }
        _ => Ok(header),
    }
}

/// The ports of a TCP segment or UDP datagram.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Source port.
    pub source: Be16,
    /// Destination port.
    pub destination: Be16,
    /// What the packet says about its connection.
    pub event: Event,
}

/// Reads the ports at `at`, the start of a payload of `length` bytes.
#[inline(always)]
pub fn ports<P: Packet>(packet: &P, protocol: u8, at: usize, length: usize) -> Result<Ports, Reason> {
    let event = match protocol {
        protocol::TCP => {
            if length < 20 {
                return Err(Reason::Malformed);
            }
            let header = packet.load::<14>(at).ok_or(Reason::Malformed)?;
            let [flags] = part::<13, 1, 14>(&header);
            Event::from_tcp_flags(flags)
        }
        protocol::UDP => {
            if length < 8 {
                return Err(Reason::Malformed);
            }
            Event::DATAGRAM
        }
        protocol::SCTP => return Err(Reason::Sctp),
        _ => return Err(Reason::NoVirtualServer),
    };
    let event = event.blurred(packet.blur());
    let (source, destination) = port_pair(packet, at).ok_or(Reason::Malformed)?;
    Ok(Ports { source, destination, event })
}

/// The source and destination port at `at`.
#[inline(always)]
pub fn port_pair<P: Packet>(packet: &P, at: usize) -> Option<(Be16, Be16)> {
    let [a, b, c, d] = packet.load::<4>(at)?;
    Some((Be16::from_wire([a, b]), Be16::from_wire([c, d])))
}

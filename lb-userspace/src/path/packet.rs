//! Packets of the path check: what is sent, and what comes back. Bytes in, values out.

use std::net::IpAddr;

use lb_common::csum;
use lb_common::net::{MacAddress, ethertype, protocol};

/// Our packets may not be forwarded once more: who does not have the VIP says so (ICMP time exceeded) instead of passing
/// them on.
const TTL: u8 = 1;
const ETHERNET: usize = 14;
const IPV6: usize = 40;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Classic BPF: of IPv4, TCP segments with SYN or RST, and ICMP; not later fragments.
pub(super) const FILTER4: &[(u16, u8, u8, u32)] = &[
    (0x28, 0, 0, 20),     // ldh [20]: flags and fragment offset
    (0x45, 7, 0, 0x1fff), // jset #0x1fff: a later fragment → drop
    (0x30, 0, 0, 23),     // ldb [23]: protocol
    (0x15, 4, 0, 1),      // jeq #ICMP → take
    (0x15, 0, 4, 6),      // jeq #TCP, else drop
    (0xb1, 0, 0, 14),     // ldxb 4*([14]&0xf): length of the IPv4 header
    (0x50, 0, 0, 27),     // ldb [x + 27]: the segment's flags
    (0x45, 0, 1, 0x06),   // jset SYN|RST, else drop
    (0x06, 0, 0, 2048),   // take
    (0x06, 0, 0, 0),      // drop
];

/// The same of IPv6 without extension headers.
pub(super) const FILTER6: &[(u16, u8, u8, u32)] = &[
    (0x30, 0, 0, 20),   // ldb [20]: next header
    (0x15, 3, 0, 58),   // jeq #ICMPV6 → take
    (0x15, 0, 3, 6),    // jeq #TCP, else drop
    (0x30, 0, 0, 67),   // ldb [67]: the segment's flags
    (0x45, 0, 1, 0x06), // jset SYN|RST, else drop
    (0x06, 0, 0, 2048), // take
    (0x06, 0, 0, 0),    // drop
];

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) to_mac: MacAddress,
    pub(super) from_mac: MacAddress,
    /// 0 for none.
    pub(super) vlan: u16,
    /// The VIP.
    pub(super) to: IpAddr,
    /// The director's own address.
    pub(super) from: IpAddr,
}

/// What a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    /// Opens a connection.
    Syn { from_port: u16, to_port: u16, sequence: u32 },
    /// Ends one.
    Reset { from_port: u16, to_port: u16, sequence: u32 },
    /// An empty datagram.
    Datagram { from_port: u16, to_port: u16 },
    /// An ICMP echo request.
    Echo { identifier: u16, sequence: u16 },
}

/// The frame.
pub(super) fn frame(way: &Way, say: Say) -> Vec<u8> {
    let (number, mut payload, checksum_at) = match say {
        Say::Syn { from_port, to_port, sequence } => {
            (protocol::TCP, tcp(from_port, to_port, sequence, SYN), Some(16))
        }
        Say::Reset { from_port, to_port, sequence } => {
            (protocol::TCP, tcp(from_port, to_port, sequence, RST), Some(16))
        }
        Say::Datagram { from_port, to_port } => {
            let [from, to] = [from_port.to_be_bytes(), to_port.to_be_bytes()];
            (protocol::UDP, [from, to, [0, 8], [0, 0]].concat(), Some(6))
        }
        Say::Echo { identifier, sequence } => {
            let rest = [[0, 0], identifier.to_be_bytes(), sequence.to_be_bytes()].concat();
            match way.to {
                IpAddr::V4(_) => (protocol::ICMP, [[8, 0].as_slice(), &rest].concat(), None),
                IpAddr::V6(_) => (protocol::ICMPV6, [[128, 0].as_slice(), &rest].concat(), Some(2)),
            }
        }
    };
    let (at, sum) = match checksum_at {
        Some(at) => (at, csum::full(&[pseudo_header(way, number, payload.len()), payload.clone()].concat())),
        None => (2, csum::full(&payload)),
    };
    if let Some(field) = payload.get_mut(at..at + 2) {
        // 0 means "no checksum" in UDP (RFC 768); its other form is as good for all of them.
        field.copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
    }
    [ethernet(way), network(way, number, payload.len()), payload].concat()
}

fn tcp(from_port: u16, to_port: u16, sequence: u32, flags: u8) -> Vec<u8> {
    let [from, to] = [from_port.to_be_bytes(), to_port.to_be_bytes()];
    // Five words of header, a window of 1024, no options.
    let rest = [0x50, flags, 4, 0, 0, 0, 0, 0];
    [from.as_slice(), &to, &sequence.to_be_bytes(), &[0; 4], &rest].concat()
}

fn pseudo_header(way: &Way, number: u8, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(0).to_be_bytes();
    [octets(way.from), octets(way.to), length.to_vec(), vec![0, 0, 0, number]].concat()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn ethernet(way: &Way) -> Vec<u8> {
    let kind = if way.to.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 };
    let tag = match way.vlan {
        0 => Vec::new(),
        vlan => [ethertype::VLAN.to_be_bytes(), vlan.to_be_bytes()].concat(),
    };
    [way.to_mac.as_slice(), &way.from_mac, &tag, &kind.to_be_bytes()].concat()
}

fn network(way: &Way, number: u8, length: usize) -> Vec<u8> {
    let length = u16::try_from(length).unwrap_or(0);
    match way.to {
        IpAddr::V4(_) => {
            let total = (length + 20).to_be_bytes();
            let mut header = [
                [0x45, 0].as_slice(),
                &total,
                &[0, 0, 0x40, 0, TTL, number, 0, 0],
                &octets(way.from),
                &octets(way.to),
            ]
            .concat();
            let sum = csum::full(&header).to_be_bytes();
            if let Some(field) = header.get_mut(10..12) {
                field.copy_from_slice(&sum);
            }
            header
        }
        IpAddr::V6(_) => {
            let start = [0x60, 0, 0, 0];
            [start.as_slice(), &length.to_be_bytes(), &[number, TTL], &octets(way.from), &octets(way.to)]
                .concat()
        }
    }
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) from_mac: MacAddress,
    pub(super) from: IpAddr,
    /// The director's own address.
    pub(super) to: IpAddr,
    /// The port or identifier that our packet had.
    pub(super) token: u16,
    pub(super) answer: Answer,
}

/// An answer to one of our packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The connection is being accepted. What a reset must have as its sequence number.
    SynAck { port: u16, reset_with: u32 },
    /// It is refused.
    Reset { port: u16 },
    /// The echo.
    Echo,
    /// ICMP: the port is closed; about a packet to this address.
    PortUnreachable { about: IpAddr },
    /// ICMP: it cannot be delivered for another reason, or may not be.
    Unreachable { about: IpAddr },
    /// ICMP: it would have been forwarded.
    TimeExceeded { about: IpAddr },
}

/// Reads a frame; `None` if it is no answer to anything of ours.
pub(super) fn read(frame: &[u8]) -> Option<Heard> {
    let from_mac = *frame.get(6..)?.first_chunk()?;
    let packet = frame.get(ETHERNET..)?;
    match half(frame, 12)? {
        ethertype::IPV4 => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            let total = usize::from(half(packet, 2)?);
            let (from, to) = (v4(packet, 12)?, v4(packet, 16)?);
            let payload = packet.get(header..total.min(packet.len()))?;
            let (token, answer) = match *packet.get(9)? {
                protocol::TCP => segment(payload)?,
                protocol::ICMP => icmp4(payload)?,
                _ => return None,
            };
            Some(Heard { from_mac, from, to, token, answer })
        }
        ethertype::IPV6 => {
            let length = usize::from(half(packet, 4)?);
            let (from, to) = (v6(packet, 8)?, v6(packet, 24)?);
            let payload = packet.get(IPV6..(IPV6 + length).min(packet.len()))?;
            let (token, answer) = match *packet.get(6)? {
                protocol::TCP => segment(payload)?,
                protocol::ICMPV6 => icmp6(payload)?,
                _ => return None,
            };
            Some(Heard { from_mac, from, to, token, answer })
        }
        _ => None,
    }
}

fn segment(bytes: &[u8]) -> Option<(u16, Answer)> {
    let (port, token) = (half(bytes, 0)?, half(bytes, 2)?);
    let flags = *bytes.get(13)?;
    let acknowledged = u32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    let answer = if flags & RST != 0 {
        Answer::Reset { port }
    } else if flags & (SYN | ACK) == SYN | ACK {
        Answer::SynAck { port, reset_with: acknowledged }
    } else {
        return None;
    };
    Some((token, answer))
}

fn icmp4(bytes: &[u8]) -> Option<(u16, Answer)> {
    let kind = *bytes.first()?;
    if kind == 0 {
        return Some((half(bytes, 4)?, Answer::Echo));
    }
    let inner = bytes.get(8..)?;
    let header = usize::from(inner.first()? & 0x0f) * 4;
    let about = v4(inner, 16)?;
    let token = token(*inner.get(9)?, inner.get(header..)?)?;
    let answer = match (kind, *bytes.get(1)?) {
        (3, 3) => Answer::PortUnreachable { about },
        (3, _) => Answer::Unreachable { about },
        (11, _) => Answer::TimeExceeded { about },
        _ => return None,
    };
    Some((token, answer))
}

fn icmp6(bytes: &[u8]) -> Option<(u16, Answer)> {
    let kind = *bytes.first()?;
    if kind == 129 {
        return Some((half(bytes, 4)?, Answer::Echo));
    }
    let inner = bytes.get(8..)?;
    let about = v6(inner, 24)?;
    let token = token(*inner.get(6)?, inner.get(IPV6..)?)?;
    let answer = match (kind, *bytes.get(1)?) {
        (1, 4) => Answer::PortUnreachable { about },
        (1, _) => Answer::Unreachable { about },
        (3, _) => Answer::TimeExceeded { about },
        _ => return None,
    };
    Some((token, answer))
}

/// What a packet of ours that an ICMP error quotes is known by.
fn token(number: u8, payload: &[u8]) -> Option<u16> {
    match number {
        protocol::TCP | protocol::UDP => half(payload, 0),
        protocol::ICMP | protocol::ICMPV6 => half(payload, 4),
        _ => None,
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn v4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = *bytes.get(at..)?.first_chunk()?;
    Some(IpAddr::from(octets))
}

fn v6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = *bytes.get(at..)?.first_chunk()?;
    Some(IpAddr::from(octets))
}

#[cfg(test)]
mod tests;

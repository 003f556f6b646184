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
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    use super::*;

    fn way(family: u8) -> Way {
        let address = |last: u8| match family {
            4 => IpAddr::from([192, 168, 4, last]),
            _ => IpAddr::from([0x2001, 0xdb8, 4, 0, 0, 0, 0, u16::from(last)]),
        };
        Way {
            to_mac: [2, 0, 0, 0, 4, 100],
            from_mac: [2, 0, 0, 0, 4, 2],
            vlan: 0,
            to: address(15),
            from: address(2),
        }
    }

    const ALL: [Say; 4] = [
        Say::Syn { from_port: 40_000, to_port: 80, sequence: 7 },
        Say::Reset { from_port: 40_000, to_port: 80, sequence: 8 },
        Say::Datagram { from_port: 40_000, to_port: 53 },
        Say::Echo { identifier: 40_000, sequence: 1 },
    ];

    /// Another implementation reads what this one writes, and finds the checksums right.
    #[test]
    fn what_is_sent_is_well_formed() {
        for (family, vlan) in [(4, 0), (6, 0), (4, 7), (6, 7)] {
            let way = Way { vlan, ..way(family) };
            for say in ALL {
                let bytes = frame(&way, say);
                let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
                assert_eq!(!packet.link_exts.is_empty(), vlan != 0);
                let (ttl, from, to) = match packet.net.as_ref().unwrap() {
                    NetSlice::Ipv4(ip) => {
                        let header = ip.header().to_header();
                        assert_eq!(header.calc_header_checksum(), header.header_checksum);
                        (header.time_to_live, IpAddr::from(header.source), IpAddr::from(header.destination))
                    }
                    NetSlice::Ipv6(ip) => {
                        let header = ip.header().to_header();
                        (header.hop_limit, IpAddr::from(header.source), IpAddr::from(header.destination))
                    }
                    other => panic!("{other:?}"),
                };
                assert_eq!((ttl, from, to), (1, way.from, way.to));
                let transport = packet.transport.unwrap();
                let (found, expected) = match (&transport, way.from, way.to) {
                    (TransportSlice::Tcp(tcp), IpAddr::V4(from), IpAddr::V4(to)) => {
                        (tcp.checksum(), tcp.calc_checksum_ipv4(from.octets(), to.octets()).unwrap())
                    }
                    (TransportSlice::Tcp(tcp), IpAddr::V6(from), IpAddr::V6(to)) => {
                        (tcp.checksum(), tcp.calc_checksum_ipv6(from.octets(), to.octets()).unwrap())
                    }
                    (TransportSlice::Udp(udp), IpAddr::V4(from), IpAddr::V4(to)) => (
                        udp.checksum(),
                        udp.to_header().calc_checksum_ipv4_raw(from.octets(), to.octets(), &[]).unwrap(),
                    ),
                    (TransportSlice::Udp(udp), IpAddr::V6(from), IpAddr::V6(to)) => (
                        udp.checksum(),
                        udp.to_header().calc_checksum_ipv6_raw(from.octets(), to.octets(), &[]).unwrap(),
                    ),
                    (TransportSlice::Icmpv4(icmp), ..) => {
                        (icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()))
                    }
                    (TransportSlice::Icmpv6(icmp), IpAddr::V6(from), IpAddr::V6(to)) => (
                        icmp.checksum(),
                        icmp.icmp_type().calc_checksum(from.octets(), to.octets(), icmp.payload()).unwrap(),
                    ),
                    other => panic!("{other:?}"),
                };
                assert_eq!(found, expected, "{say:?} over IPv{family}");
            }
        }
    }

    /// A packet of ours as the other side sees it: swapped, with other flags.
    fn swapped(family: u8, say: Say, patch: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let own = way(family);
        let way = Way { to_mac: own.from_mac, from_mac: own.to_mac, to: own.from, from: own.to, ..own };
        let mut bytes = frame(&way, say);
        patch(&mut bytes[if family == 4 { 34 } else { 54 }..]);
        bytes
    }

    #[test]
    fn answers_are_known() {
        for family in [4, 6] {
            let heard = |bytes: &[u8]| {
                read(bytes).map(|heard| {
                    assert_eq!(
                        (heard.from_mac, heard.from, heard.to),
                        ([2, 0, 0, 0, 4, 100], way(family).to, way(family).from)
                    );
                    (heard.token, heard.answer)
                })
            };
            let syn = Say::Syn { from_port: 80, to_port: 40_000, sequence: 0 };
            let accepted = swapped(family, syn, |tcp| {
                tcp[13] = SYN | ACK;
                tcp[8..12].copy_from_slice(&8u32.to_be_bytes());
            });
            assert_eq!(heard(&accepted), Some((40_000, Answer::SynAck { port: 80, reset_with: 8 })));
            let refused = swapped(family, syn, |tcp| tcp[13] = RST | ACK);
            assert_eq!(heard(&refused), Some((40_000, Answer::Reset { port: 80 })));
            assert_eq!(heard(&swapped(family, syn, |tcp| tcp[13] = ACK)), None);
            assert_eq!(heard(&swapped(family, syn, |_| ())), None, "somebody else's SYN");
            let echo = Say::Echo { identifier: 40_000, sequence: 1 };
            let echoed = swapped(family, echo, |icmp| icmp[0] = if family == 4 { 0 } else { 129 });
            assert_eq!(heard(&echoed), Some((40_000, Answer::Echo)));
            assert_eq!(heard(&swapped(family, echo, |_| ())), None, "somebody else's request");
            let about = way(family).to;
            let codes: [([u8; 2], [u8; 2], Answer); 3] = [
                ([3, 3], [1, 4], Answer::PortUnreachable { about }),
                ([3, 1], [1, 3], Answer::Unreachable { about }),
                ([11, 0], [3, 0], Answer::TimeExceeded { about }),
            ];
            for (four, six, answer) in codes {
                for say in ALL {
                    let mut bytes = swapped(family, echo, |icmp| {
                        icmp[..2].copy_from_slice(if family == 4 { &four } else { &six });
                    });
                    bytes.extend_from_slice(&frame(&way(family), say)[ETHERNET..]);
                    let length = bytes.len() - ETHERNET;
                    match family {
                        4 => bytes[16..18].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes()),
                        _ => {
                            bytes[18..20].copy_from_slice(&u16::try_from(length - 40).unwrap().to_be_bytes())
                        }
                    }
                    assert_eq!(heard(&bytes), Some((40_000, answer)), "{say:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_beyond_it(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in prop::sample::select(vec![0x0800u16, 0x86dd])) {
            let mut bytes = bytes;
            if bytes.len() > 14 {
                bytes[12..14].copy_from_slice(&kind.to_be_bytes());
            }
            let _heard = read(&bytes);
        }

        #[test]
        fn cut_off_answers_are_no_answers(family in prop::sample::select(vec![4u8, 6]), length in 0usize..50) {
            let bytes = swapped(family, ALL[0], |tcp| tcp[13] = SYN | ACK);
            prop_assume!(length < bytes.len() - 6);
            prop_assert_eq!(read(&bytes[..length]), None);
        }
    }
}

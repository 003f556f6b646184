//! Bytes both ways.

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
                    _ => bytes[18..20].copy_from_slice(&u16::try_from(length - 40).unwrap().to_be_bytes()),
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

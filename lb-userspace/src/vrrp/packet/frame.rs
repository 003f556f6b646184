//! Adverts as whole Ethernet frames, for virtual routers whose adverts come from their own MAC.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::csum;

use super::{GROUP_V4, GROUP_V6, PROTOCOL, TRAFFIC_CLASS, TTL};

/// An Ethernet header.
const LINK: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// An advert to the group, from this address and this MAC. `None` for one that is longer than an IP packet can be.
#[must_use]
pub fn to_group(payload: &[u8], source: IpAddr, mac: [u8; 6]) -> Option<Vec<u8>> {
    let header = match source {
        IpAddr::V4(source) => ipv4(source, payload.len())?.to_vec(),
        IpAddr::V6(source) => ipv6(source, payload.len())?,
    };
    let mut frame = Vec::with_capacity(LINK + header.len() + payload.len());
    frame.extend(group_mac(source.is_ipv6()));
    frame.extend(mac);
    frame.extend(if source.is_ipv6() { IPV6 } else { IPV4 });
    frame.extend(header);
    frame.extend(payload);
    Some(frame)
}

/// The groups' Ethernet addresses (RFC 1112 section 6.4, RFC 2464 section 7).
fn group_mac(is_ipv6: bool) -> [u8; 6] {
    if is_ipv6 {
        let [.., a, b, c, d] = GROUP_V6.octets();
        [0x33, 0x33, a, b, c, d]
    } else {
        let [_, a, b, c] = GROUP_V4.octets();
        [0x01, 0, 0x5e, a & 0x7f, b, c]
    }
}

/// RFC 791 section 3.1. Never in fragments.
fn ipv4(source: Ipv4Addr, length: usize) -> Option<[u8; 20]> {
    let [high, low] = u16::try_from(length + 20).ok()?.to_be_bytes();
    let [a, b, c, d] = source.octets();
    let [e, f, g, h] = GROUP_V4.octets();
    let mut header =
        [0x45, TRAFFIC_CLASS, high, low, 0, 0, 0x40, 0, TTL, PROTOCOL, 0, 0, a, b, c, d, e, f, g, h];
    let [high, low] = csum::full(&header).to_be_bytes();
    (header[10], header[11]) = (high, low);
    Some(header)
}

/// RFC 8200 section 3.
fn ipv6(source: Ipv6Addr, length: usize) -> Option<Vec<u8>> {
    let mut header = vec![0x60 | TRAFFIC_CLASS >> 4, TRAFFIC_CLASS << 4, 0, 0];
    header.extend(u16::try_from(length).ok()?.to_be_bytes());
    header.extend([PROTOCOL, TTL]);
    header.extend(source.octets());
    header.extend(GROUP_V6.octets());
    Some(header)
}

/// What is behind the Ethernet header of a frame without VLAN tag.
#[must_use]
pub fn packet(frame: &[u8]) -> &[u8] {
    frame.get(LINK..).unwrap_or_default()
}

/// The IPv6 header of a packet without extension headers: source, destination, hop limit, payload.
#[must_use]
pub fn from_ipv6_packet(packet: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr, u8, &[u8])> {
    let (header, rest) = packet.split_first_chunk::<40>()?;
    let [first, _, _, _, high, low, PROTOCOL, hop_limit, addresses @ ..] = header else { return None };
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    let destination: [u8; 16] = destination.try_into().ok()?;
    let payload = rest.get(..usize::from(u16::from_be_bytes([*high, *low])))?;
    (first >> 4 == 6).then(|| (Ipv6Addr::from(*source), Ipv6Addr::from(destination), *hop_limit, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vrrp::packet::Datagram;

    const MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];

    #[test]
    fn an_ipv4_advert_is_whole_and_read_back() {
        let frame = to_group(&[7; 20], [192, 168, 4, 2].into(), MAC).unwrap();
        assert_eq!((&frame[..6], &frame[6..12]), (&[1, 0, 0x5e, 0, 0, 0x12][..], &MAC[..]));
        let parsed = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(etherparse::NetSlice::Ipv4(ip)) = &parsed.net else { panic!("{parsed:?}") };
        let header = ip.header();
        assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
        assert_eq!((header.ttl(), header.dont_fragment(), header.total_len()), (255, true, 40));
        // Short frames are filled up on the wire.
        let padded = [frame.as_slice(), &[0; 6]].concat();
        let datagram = Datagram::from_ipv4_packet(packet(&padded)).unwrap();
        assert_eq!((datagram.from, datagram.to), ([192, 168, 4, 2].into(), GROUP_V4.into()));
        assert_eq!((datagram.ttl, datagram.payload), (255, &[7; 20][..]));
    }

    #[test]
    fn an_ipv6_advert_is_whole_and_read_back() {
        let source: Ipv6Addr = "fe80::2".parse().unwrap();
        let frame = to_group(&[7; 24], source.into(), MAC).unwrap();
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 0x12]);
        let parsed = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(etherparse::NetSlice::Ipv6(ip)) = &parsed.net else { panic!("{parsed:?}") };
        assert_eq!((ip.header().traffic_class(), ip.header().hop_limit()), (TRAFFIC_CLASS, 255));
        let padded = [frame.as_slice(), &[0; 6]].concat();
        assert_eq!(from_ipv6_packet(packet(&padded)), Some((source, GROUP_V6, 255, &[7; 24][..])));
        assert_eq!(from_ipv6_packet(packet(&frame[..frame.len() - 1])), None);
        assert_eq!(from_ipv6_packet(&[]), None);
    }
}

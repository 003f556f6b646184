//! ARP (RFC 826) and neighbour discovery (RFC 4861): who has a VIP? Bytes in, values out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::csum;
use lb_common::net::{MacAddress, ethertype, protocol};

pub(super) const ARP: u16 = 0x0806;
/// The shortest Ethernet frame without its checksum.
const SHORTEST: usize = 60;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// IANA's number of VRRP.
const VRRP: u8 = 112;

/// Classic BPF over IPv6: neighbour advertisements, and adverts of VRRP.
pub(super) const IPV6: &[(u16, u8, u8, u32)] = &[
    (0x30, 0, 0, 20),                   // ldb [20]: next header
    (0x15, 3, 0, VRRP as u32),          // jeq #112: take
    (0x15, 0, 3, 58),                   // jeq #ICMPV6, else drop
    (0x30, 0, 0, 54),                   // ldb [54]: type
    (0x15, 0, 1, ADVERTISEMENT as u32), // jeq #136, else drop
    (0x06, 0, 0, 2048),                 // take
    (0x06, 0, 0, 0),                    // drop
];

/// Classic BPF over IPv4: adverts of VRRP.
pub(super) const IPV4: &[(u16, u8, u8, u32)] = &[
    (0x30, 0, 0, 23),          // ldb [23]: protocol
    (0x15, 0, 1, VRRP as u32), // jeq #112, else drop
    (0x06, 0, 0, 2048),        // take
    (0x06, 0, 0, 0),           // drop
];

/// Somebody says that an address is his.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) address: IpAddr,
    pub(super) mac: MacAddress,
}

/// An ARP probe (RFC 5227): it asks who has `address` and says of nobody where he is, so no cache changes.
pub(super) fn arp_probe(from: MacAddress, address: Ipv4Addr) -> Vec<u8> {
    let header = [[0xff; 6].as_slice(), &from, &ARP.to_be_bytes()].concat();
    // Ethernet, IPv4, request.
    let kind = [0, 1, 8, 0, 6, 4, 0, 1];
    let mut frame = [header.as_slice(), &kind, &from, &[0; 4], &[0; 6], &address.octets()].concat();
    frame.resize(SHORTEST, 0);
    frame
}

/// A neighbour solicitation from an own address. (Without one it would be duplicate address detection, and a director
/// that is just taking the address over would give it up.)
pub(super) fn solicitation(from_mac: MacAddress, from: Ipv6Addr, address: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = address.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let mut message =
        [[SOLICITATION, 0, 0, 0, 0, 0, 0, 0].as_slice(), &address.octets(), &[1, 1], &from_mac].concat();
    let length = u16::try_from(message.len()).unwrap_or(0).to_be_bytes();
    let pseudo =
        [from.octets().as_slice(), &group.octets(), &[0, 0], &length, &[0, 0, 0, protocol::ICMPV6]].concat();
    let sum = csum::full(&[pseudo, message.clone()].concat()).to_be_bytes();
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&sum);
    }
    let ethernet =
        [[0x33, 0x33, 0xff, a, b, c].as_slice(), &from_mac, &ethertype::IPV6.to_be_bytes()].concat();
    let ip = [[0x60, 0, 0, 0].as_slice(), &length, &[protocol::ICMPV6, 255], &from.octets(), &group.octets()]
        .concat();
    [ethernet, ip, message].concat()
}

/// What a frame claims, if anything.
pub(super) fn read(frame: &[u8]) -> Option<Claim> {
    let payload = frame.get(14..)?;
    match u16::from_be_bytes(*frame.get(12..)?.first_chunk()?) {
        ARP => arp(payload),
        ethertype::IPV6 => advertisement(frame, payload),
        _ => None,
    }
}

/// Who sent an advert of VRRP over this network: its address, and its Ethernet address. Of others: nothing.
pub(super) fn advert(frame: &[u8]) -> Option<Claim> {
    let mac: MacAddress = *frame.get(6..)?.first_chunk()?;
    let packet = frame.get(14..)?;
    // A TTL of 255 was not sent from afar (RFC 9568, section 5.1.1.3).
    let (protocol, ttl, address) = match u16::from_be_bytes(*frame.get(12..)?.first_chunk()?) {
        ethertype::IPV4 => {
            (*packet.get(9)?, *packet.get(8)?, IpAddr::from(*packet.get(12..)?.first_chunk::<4>()?))
        }
        ethertype::IPV6 => {
            (*packet.get(6)?, *packet.get(7)?, IpAddr::from(*packet.get(8..)?.first_chunk::<16>()?))
        }
        _ => return None,
    };
    (protocol == VRRP && ttl == 255).then_some(Claim { address, mac })
}

/// Every ARP packet says of its sender that he has his address: answers, announcements, and requests (RFC 826).
fn arp(payload: &[u8]) -> Option<Claim> {
    let is_known = payload.starts_with(&[0, 1, 8, 0, 6, 4, 0]) && matches!(payload.get(7)?, 1 | 2);
    let mac = *payload.get(8..)?.first_chunk()?;
    let address: [u8; 4] = *payload.get(14..)?.first_chunk()?;
    (is_known && address != [0; 4]).then_some(Claim { address: IpAddr::from(address), mac })
}

fn advertisement(frame: &[u8], packet: &[u8]) -> Option<Claim> {
    // A hop limit of 255 was not sent from afar (RFC 4861, section 7.1.2).
    let is_near = *packet.get(6)? == protocol::ICMPV6 && *packet.get(7)? == 255;
    let message = packet.get(40..)?;
    if !is_near || *message.first()? != ADVERTISEMENT {
        return None;
    }
    let address: [u8; 16] = *message.get(8..)?.first_chunk()?;
    let own: MacAddress = *frame.get(6..)?.first_chunk()?;
    let mut options = message.get(24..).unwrap_or_default();
    let mut mac = own;
    while let [kind, length, ..] = options {
        // Target link-layer address, in units of 8 bytes.
        if (*kind, *length) == (2, 1)
            && let Some(target) = options.get(2..).and_then(<[u8]>::first_chunk)
        {
            mac = *target;
        }
        options = match options.get(usize::from(*length) * 8..) {
            Some(rest) if *length > 0 => rest,
            _ => break,
        };
    }
    Some(Claim { address: IpAddr::from(address), mac })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: MacAddress = [2, 0, 0, 0, 4, 2];
    const OTHER: MacAddress = [2, 0, 0, 0, 4, 100];

    #[test]
    fn a_probe_claims_nothing() {
        let vip = Ipv4Addr::new(192, 168, 4, 15);
        let probe = arp_probe(OWN, vip);
        assert_eq!((probe.len(), &probe[..6], &probe[6..12]), (60, [0xff; 6].as_slice(), OWN.as_slice()));
        assert_eq!(
            probe[14..42],
            [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 4, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 168, 4, 15]
        );
        assert_eq!(read(&probe), None);
    }

    #[test]
    fn answers_announcements_and_requests_claim() {
        let vip = Ipv4Addr::new(192, 168, 4, 15);
        for operation in [1, 2] {
            let mut frame = arp_probe(OTHER, Ipv4Addr::new(192, 168, 4, 1));
            frame[21] = operation;
            frame[28..32].copy_from_slice(&vip.octets());
            assert_eq!(read(&frame), Some(Claim { address: vip.into(), mac: OTHER }));
        }
        let mut reverse = arp_probe(OTHER, vip);
        reverse[21] = 3;
        reverse[28] = 1;
        assert_eq!(read(&reverse), None);
    }

    #[test]
    fn a_solicitation_is_well_formed() {
        let from: Ipv6Addr = "2001:db8:4::2".parse().unwrap();
        let vip: Ipv6Addr = "2001:db8:4::15".parse().unwrap();
        let frame = solicitation(OWN, from, vip);
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0, 0, 0x15]);
        let packet = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(etherparse::NetSlice::Ipv6(ip)) = packet.net else { panic!("no IPv6") };
        assert_eq!(ip.header().destination_addr(), "ff02::1:ff00:15".parse::<Ipv6Addr>().unwrap());
        assert_eq!((ip.header().hop_limit(), ip.header().source_addr()), (255, from));
        let Some(etherparse::TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!("no ICMPv6") };
        assert_eq!((icmp.type_u8(), icmp.payload()[..16].to_vec()), (135, vip.octets().to_vec()));
        let sum = icmp.icmp_type().calc_checksum(from.octets(), ip.header().destination(), icmp.payload());
        assert_eq!(icmp.checksum(), sum.unwrap());
        assert_eq!(read(&frame), None);
    }

    #[test]
    fn an_advertisement_claims_its_target() {
        let vip: Ipv6Addr = "2001:db8:4::15".parse().unwrap();
        let mut frame = solicitation(OTHER, vip, vip);
        frame[54] = ADVERTISEMENT;
        assert_eq!(read(&frame), Some(Claim { address: vip.into(), mac: OTHER }), "from the frame's header");
        frame[78] = 2;
        frame[80..86].copy_from_slice(&[2, 0, 0, 0, 4, 200]);
        assert_eq!(read(&frame).unwrap().mac, [2, 0, 0, 0, 4, 200], "from its option");
        frame[21] = 64;
        assert_eq!(read(&frame), None, "from afar");
    }

    /// An advert as keepalived sends it: from this address, with this TTL.
    fn advert_of(from: [u8; 4], ttl: u8) -> Vec<u8> {
        let ethernet = [[1, 0, 0x5e, 0, 0, 18].as_slice(), &OTHER, &ethertype::IPV4.to_be_bytes()].concat();
        let header = [0x45, 0xc0, 0, 40, 0, 1, 0, 0, ttl, VRRP, 0, 0];
        [ethernet.as_slice(), &header, &from, &[224, 0, 0, 18], &[0; 20]].concat()
    }

    #[test]
    fn an_advert_says_where_a_director_is() {
        let from = [192, 168, 4, 3];
        let said = Claim { address: from.into(), mac: OTHER };
        assert_eq!(advert(&advert_of(from, 255)), Some(said));
        assert_eq!(advert(&advert_of(from, 254)), None, "from afar");
        assert_eq!(read(&advert_of(from, 255)), None, "it claims nothing");
        let mut udp = advert_of(from, 255);
        udp[23] = protocol::UDP;
        assert_eq!(advert(&udp), None);
        let from: Ipv6Addr = "fe80::3".parse().unwrap();
        let ethernet =
            [[0x33, 0x33, 0, 0, 0, 18].as_slice(), &OTHER, &ethertype::IPV6.to_be_bytes()].concat();
        let header = [0x60, 0, 0, 0, 0, 12, VRRP, 255];
        let group: Ipv6Addr = "ff02::12".parse().unwrap();
        let frame = [ethernet.as_slice(), &header, &from.octets(), &group.octets(), &[0; 12]].concat();
        assert_eq!(advert(&frame), Some(Claim { address: from.into(), mac: OTHER }));
    }

    proptest! {
        #[test]
        fn nothing_is_beyond_it(mut bytes in prop::collection::vec(any::<u8>(), 0..120), six in any::<bool>()) {
            if let Some(kind) = bytes.get_mut(12..14) {
                kind.copy_from_slice(&if six { ethertype::IPV6 } else { ARP }.to_be_bytes());
            }
            if six && bytes.len() > 60 {
                (bytes[20], bytes[21], bytes[54]) = (58, 255, 136);
            }
            let _claims = (read(&bytes), advert(&bytes));
        }
    }
}

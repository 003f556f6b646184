//! Frames that tell a network who has an address: gratuitous ARP requests and unsolicited neighbour advertisements.
//!
//! They are keepalived's, byte for byte in what matters: an ARP *request* whose sender and target are the address
//! (`vrrp_arp.c`), and an advertisement to all nodes with the Override flag (`vrrp_ndisc.c`; RFC 4861 section 7.2.6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::csum;

/// An Ethernet address.
pub type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
/// Ethernet address of ff02::1 (RFC 2464 section 7).
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const ICMPV6: u8 = 58;
/// An advertisement without options and with a target link-layer address.
const ADVERTISEMENT_LENGTH: u16 = 24 + 8;

/// The frame that says that `address` is at `mac`. `is_router`: whether this host forwards IPv6.
#[must_use]
pub fn frame(address: IpAddr, mac: Mac, is_router: bool) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp(address, mac),
        IpAddr::V6(address) => advertisement(address, mac, is_router),
    }
}

/// RFC 826 and RFC 5227 section 3.
fn arp(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend(BROADCAST);
    frame.extend(mac);
    frame.extend([0x08, 0x06]);
    // Ethernet, IPv4, lengths, request.
    frame.extend([0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend(BROADCAST);
    frame.extend(address.octets());
    frame
}

/// RFC 4861 section 4.4.
fn advertisement(address: Ipv6Addr, mac: Mac, is_router: bool) -> Vec<u8> {
    let mut message = Vec::with_capacity(usize::from(ADVERTISEMENT_LENGTH));
    message.extend([NEIGHBOUR_ADVERTISEMENT, 0, 0, 0]);
    message.extend([if is_router { 0xa0 } else { 0x20 }, 0, 0, 0]);
    message.extend(address.octets());
    // Target link-layer address, one unit of eight bytes.
    message.extend([2, 1]);
    message.extend(mac);
    let [high, low] = checksum(address, &message).to_be_bytes();
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&[high, low]);
    }
    let mut frame = Vec::with_capacity(14 + 40 + message.len());
    frame.extend(ALL_NODES_MAC);
    frame.extend(mac);
    frame.extend([0x86, 0xdd]);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(ADVERTISEMENT_LENGTH.to_be_bytes());
    frame.extend([ICMPV6, 255]);
    frame.extend(address.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

/// RFC 4443 section 2.3: over a pseudo-header and the message.
fn checksum(from: Ipv6Addr, message: &[u8]) -> u16 {
    let pseudo = [u32::from(ADVERTISEMENT_LENGTH).to_be_bytes(), [0, 0, 0, ICMPV6]].concat();
    let from = from.octets();
    let all_nodes = ALL_NODES.octets();
    csum::full(&[&from[..], &all_nodes[..], &pseudo[..], message].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [0x02, 0, 0, 0, 0x04, 0x02];

    /// As captured from keepalived on the wire.
    #[test]
    fn a_gratuitous_arp_is_a_request_of_the_address_for_itself() {
        let frame = frame([192, 168, 4, 15].into(), MAC, false);
        let parsed = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(etherparse::NetSlice::Arp(arp)) = &parsed.net else { panic!("{parsed:?}") };
        assert_eq!(arp.operation(), etherparse::ArpOperation::REQUEST);
        assert_eq!((arp.sender_hw_addr(), arp.target_hw_addr()), (&MAC[..], &[0xff; 6][..]));
        assert_eq!(
            (arp.sender_protocol_addr(), arp.target_protocol_addr()),
            (&[192, 168, 4, 15][..], &[192, 168, 4, 15][..])
        );
        assert_eq!((frame.len(), &frame[..6], &frame[6..12]), (42, &[0xff; 6][..], &MAC[..]));
    }

    #[test]
    fn an_advertisement_overrides_and_has_a_right_checksum() {
        let address: Ipv6Addr = "2001:db8:4::15".parse().unwrap();
        let frame = frame(address.into(), MAC, true);
        let parsed = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(etherparse::NetSlice::Ipv6(ip)) = &parsed.net else { panic!("{parsed:?}") };
        assert_eq!((ip.header().hop_limit(), ip.header().destination_addr()), (255, ALL_NODES));
        let Some(etherparse::TransportSlice::Icmpv6(icmp)) = &parsed.transport else { panic!("{parsed:?}") };
        assert!(icmp.is_checksum_valid(address.octets(), ALL_NODES.octets()));
        assert_eq!((icmp.type_u8(), frame[14 + 40 + 4]), (136, 0xa0));
        assert_eq!(frame[14 + 40 + 8..14 + 40 + 24], address.octets());
        assert_eq!(frame[14 + 40 + 24..], [2, 1, 2, 0, 0, 0, 4, 2]);
    }
}

//! The Internet checksum (RFC 1071) over an advert.

use std::net::IpAddr;

use super::{Ipv4Checksum, PROTOCOL, Version};

/// Folded one's complement sum, in the host's order; of a received advert with a good checksum it is `0xffff`.
pub(super) fn sum(version: Version, style: Ipv4Checksum, from: IpAddr, to: IpAddr, payload: &[u8]) -> u16 {
    let pseudo_header = match (version, style, from, to) {
        (Version::V2, ..) | (Version::V3, Ipv4Checksum::WithoutPseudoHeader, IpAddr::V4(_), _) => 0,
        (Version::V3, _, from, to) => ends(from) + ends(to) + u64::from(PROTOCOL) + payload.len() as u64,
    };
    fold(pseudo_header + words(payload))
}

fn ends(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => words(&address.octets()),
        IpAddr::V6(address) => words(&address.octets()),
    }
}

/// The last byte of an odd number counts as the high one.
fn words(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => u64::from(u16::from_be_bytes([high, low])),
            [high] => u64::from(u16::from_be_bytes([high, 0])),
            _ => 0,
        })
        .sum()
}

fn fold(sum: u64) -> u16 {
    let mut sum = sum;
    loop {
        match u16::try_from(sum) {
            Ok(folded) => return folded,
            Err(_) => sum = (sum & 0xffff) + (sum >> 16),
        }
    }
}

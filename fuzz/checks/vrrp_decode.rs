//! What holds for every received VRRP advert: used by the fuzz target, and by a test that mutates captured adverts.
//!
//! An input is two bytes and a packet. The bits of the first byte:
//!
//! | bit | 0 | 1 |
//! |---|---|---|
//! | 0 | version 2 is expected | version 3 |
//! | 1 | IPv4 | IPv6 |
//! | 2 | no authentication is expected | the password `lvs1234` |
//! | 3 | multicast is expected | unicast |
//! | 4 | the checksum of version 3 covers the pseudo-header | it does not |
//! | 5 | the packet's checksum is left as it is | it is made right |
//! | 6 | the packet begins after the IP header | with an IPv4 header |
//!
//! The second byte is the TTL, unless the packet has its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_userspace::vrrp::packet::{
    Addresses, Authentication, Cast, Check, Datagram, Expected, GROUP_V4, GROUP_V6, Interval, Ipv4Checksum,
    Password, Received, Refusal, Version, VirtualRouterId, peek, receive,
};

const PEER: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 168, 4, 2), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0x402));
const OURS: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 168, 4, 3), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0x403));

/// Receives it; returns what became of it. `None` for an input without the two bytes.
///
/// # Panics
/// Something that must hold does not.
pub(crate) fn check(input: &[u8]) -> Option<Result<Received, Refusal>> {
    let (&[options, ttl], packet) = input.split_first_chunk::<2>()?;
    let has = |bit: u8| options & 1 << bit != 0;
    let (is_v6, is_unicast) = (has(1), has(3));
    let (version, style) = (
        if has(0) { Version::V3 } else { Version::V2 },
        if has(4) { Ipv4Checksum::WithoutPseudoHeader } else { Ipv4Checksum::PseudoHeader },
    );
    let (from, own, group): (IpAddr, IpAddr, IpAddr) = match is_v6 {
        false => (PEER.0.into(), OURS.0.into(), GROUP_V4.into()),
        true => (PEER.1.into(), OURS.1.into(), GROUP_V6.into()),
    };
    let mut packet = packet.to_vec();
    let plain = Datagram { from, to: if is_unicast { own } else { group }, ttl, payload: &packet };
    let datagram = match has(6) {
        false => plain,
        true => match Datagram::from_ipv4_packet(&packet) {
            Ok(datagram) => datagram,
            Err(refusal) => return Some(Err(note(refusal))),
        },
    };
    let (from, to, ttl) = (datagram.from, datagram.to, datagram.ttl);
    let start = if has(6) { usize::from(packet[0] & 0x0f) * 4 } else { 0 };
    let end = start + datagram.payload.len();
    if has(5) {
        make_right(&mut packet[start..end], from, to, style);
    }
    let datagram = Datagram { from, to, ttl, payload: &packet[start..end] };

    let peers = [PEER.0.into(), PEER.1.into()];
    let addresses = match is_v6 {
        false => Addresses::V4(vec![Ipv4Addr::new(192, 168, 4, 15)]),
        true => Addresses::V6(vec![Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x54)]),
    };
    let number = peek(datagram.payload).unwrap_or(0) | 1;
    let expected = Expected {
        version,
        router: VirtualRouterId::new(number).expect("odd, so not 0"),
        authentication: match Password::new("lvs1234").filter(|_| has(2)) {
            Some(password) => Authentication::Password(password),
            None => Authentication::None,
        },
        interval: Interval::DEFAULT,
        addresses: &addresses,
        cast: if is_unicast { Cast::Unicast(&peers) } else { Cast::Multicast },
        own,
        checksum: style,
    };
    match receive(&datagram, &expected) {
        Err(refusal) => Some(Err(note(refusal))),
        Ok(received) => {
            accepted(&datagram, &expected, &received);
            Some(Ok(received))
        }
    }
}

/// It has a counter and words.
fn note(refusal: Refusal) -> Refusal {
    let check = refusal.check();
    assert!(!check.is_accepted() && Check::ALL[check.index()] == check);
    assert!(!refusal.to_string().is_empty());
    refusal
}

/// What was read is what is there, and would be sent like that.
fn accepted(datagram: &Datagram<'_>, expected: &Expected<'_>, received: &Received) {
    let (advert, payload) = (&received.advert, datagram.payload);
    assert_eq!(
        (advert.version, advert.router, advert.priority, advert.addresses.len()),
        (expected.version, expected.router, payload[2], usize::from(payload[3]))
    );
    let authentication = match expected.version {
        Version::V2 => expected.authentication,
        Version::V3 => Authentication::None,
    };
    assert_eq!(advert.authentication, authentication);
    assert!(expected.cast != Cast::Multicast || datagram.ttl == 255);
    assert_ne!(datagram.from, expected.own);
    for remark in &received.remarks {
        assert!(remark.check().is_accepted());
    }
    if !advert.interval.fits(advert.version) {
        // 0 seconds of version 2: never learnt from keepalived, and never sent.
        assert_eq!((advert.version, advert.interval.centiseconds()), (Version::V2, 0));
        return;
    }
    let sent = advert.encode(datagram.from, datagram.to, expected.checksum).expect("it was received");
    let again = receive(&Datagram { payload: &sent, ..*datagram }, expected).expect("it was sent");
    assert_eq!(again, *received);
    // Only what nobody reads may differ: the reserved bits of version 3, the unused data of version 2.
    let is_unused = match (advert.version, advert.authentication) {
        (Version::V3, _) => payload[4] & 0xf0 != 0,
        (Version::V2, Authentication::None) => payload[payload.len() - 8..] != [0; 8],
        (Version::V2, Authentication::Password(_)) => false,
    };
    assert!(is_unused || sent == payload || same_but_for_a_zero_sum(&sent, payload));
}

/// In one's complement 0 and ffff are both zero.
fn same_but_for_a_zero_sum(one: &[u8], two: &[u8]) -> bool {
    let is_zero = |sum: &[u8]| sum == [0, 0] || sum == [0xff, 0xff];
    one.len() == two.len()
        && one[..6] == two[..6]
        && one[8..] == two[8..]
        && is_zero(&one[6..8])
        && is_zero(&two[6..8])
}

/// Puts the right checksum in; of a payload without a header, nothing.
fn make_right(payload: &mut [u8], from: IpAddr, to: IpAddr, style: Ipv4Checksum) {
    let Some(&first) = payload.first().filter(|_| payload.len() >= 8) else { return };
    payload[6..8].fill(0);
    let mut covered = Vec::new();
    match (from, to) {
        (IpAddr::V6(from), IpAddr::V6(to)) => covered.extend([from.octets(), to.octets()].concat()),
        (IpAddr::V4(from), IpAddr::V4(to)) if first >> 4 == 3 && style == Ipv4Checksum::PseudoHeader => {
            covered.extend([from.octets(), to.octets()].concat());
        }
        _ => {}
    }
    if !covered.is_empty() {
        let length = u32::try_from(payload.len()).expect("an IP packet");
        covered.extend([length.to_be_bytes(), [0, 0, 0, 112]].concat());
    }
    covered.extend_from_slice(payload);
    covered.resize(covered.len().next_multiple_of(2), 0);
    let mut sum: u32 = 0;
    for pair in covered.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair[1]);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).expect("folded at each step");
    payload[6..8].copy_from_slice(&sum.to_be_bytes());
}

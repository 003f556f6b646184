//! keepalived's adverts as captured (2.2.7, from 192.168.4.2 and fe80::ff:fe00:402), every check, and both directions.

use proptest::prelude::*;

use super::*;

const OURS: Ipv4Addr = Ipv4Addr::new(192, 168, 4, 3);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 168, 4, 2);

/// IPv4 header and payload of `auth_type PASS`, `auth_pass lvs1234`, `advert_int 1`.
const V2_PASSWORD: &str =
    "45c0002800010000ff7015e8c0a80402e0000012 2133ff010101d436 c0a8040f 6c76733132333400";
/// The same as it stops.
const V2_LEAVING: &str =
    "45c0002800060000ff7015e3c0a80402e0000012 213300010101d337 c0a8040f 6c76733132333400";
/// Two addresses, `advert_int 3`, no authentication.
const V2_PLAIN: &str =
    "45c0002c00010000ff7015e4c0a80402e0000012 2134ff0200035653 c0a80410 c0a80411 0000000000000000";
/// `version 3`, `advert_int 0.25`.
const V3: &str = "45c0002000010000ff7015f0c0a80402e0000012 3135ff01001965bb c0a80412";
/// Payload of `version 3` over IPv6.
const V3_IPV6: &str = "3136ff020064a18b fe800000000000000000000000000054 20010db8000400000000000000000015";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter(|digit| !digit.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hexadecimal"))
        .collect()
}

fn router(number: u8) -> VirtualRouterId {
    VirtualRouterId::new(number).expect("not 0")
}

fn password(text: &str) -> Authentication {
    Authentication::Password(Password::new(text).expect("eight bytes"))
}

fn v4(addresses: &[&str]) -> Addresses {
    Addresses::V4(addresses.iter().map(|address| address.parse().expect("IPv4")).collect())
}

fn expected<'a>(version: Version, number: u8, addresses: &'a Addresses) -> Expected<'a> {
    Expected {
        version,
        router: router(number),
        authentication: Authentication::None,
        interval: Interval::DEFAULT,
        addresses,
        cast: Cast::Multicast,
        own: OURS.into(),
        checksum: Ipv4Checksum::PseudoHeader,
    }
}

/// What it was sent as comes out, and the other way round.
fn both_ways(datagram: &Datagram<'_>, expected: &Expected<'_>, advert: &Advert) {
    let received = receive(datagram, expected).expect("good");
    assert_eq!(received, Received { advert: advert.clone(), remarks: Vec::new() });
    let encoded = advert.encode(datagram.from, datagram.to, expected.checksum).expect("encodes");
    assert_eq!(encoded, datagram.payload);
    assert_eq!(peek(datagram.payload), Some(advert.router.number()));
}

#[test]
fn keepalived_version_2_with_password() {
    let addresses = v4(&["192.168.4.15"]);
    for (packet, priority) in [(V2_PASSWORD, 255), (V2_LEAVING, 0)] {
        let packet = bytes(packet);
        let datagram = Datagram::from_ipv4_packet(&packet).expect("IPv4");
        let expected =
            Expected { authentication: password("lvs1234"), ..expected(Version::V2, 51, &addresses) };
        let advert = Advert {
            version: Version::V2,
            router: router(51),
            priority,
            interval: Interval::from_centiseconds(100),
            authentication: password("lvs1234"),
            addresses: addresses.clone(),
        };
        both_ways(&datagram, &expected, &advert);
    }
}

#[test]
fn keepalived_version_2_without_authentication() {
    let addresses = v4(&["192.168.4.16", "192.168.4.17"]);
    let packet = bytes(V2_PLAIN);
    let datagram = Datagram::from_ipv4_packet(&packet).expect("IPv4");
    let interval = Interval::from_centiseconds(300);
    let expected = Expected { interval, ..expected(Version::V2, 52, &addresses) };
    let advert = Advert {
        version: Version::V2,
        router: router(52),
        priority: 255,
        interval,
        authentication: Authentication::None,
        addresses: addresses.clone(),
    };
    both_ways(&datagram, &expected, &advert);
}

#[test]
fn keepalived_version_3_over_ipv4() {
    let addresses = v4(&["192.168.4.18"]);
    let packet = bytes(V3);
    let datagram = Datagram::from_ipv4_packet(&packet).expect("IPv4");
    let interval = Interval::from_centiseconds(25);
    let expected = Expected { interval, ..expected(Version::V3, 53, &addresses) };
    let advert = Advert {
        version: Version::V3,
        router: router(53),
        priority: 255,
        interval,
        authentication: Authentication::None,
        addresses: addresses.clone(),
    };
    both_ways(&datagram, &expected, &advert);
}

#[test]
fn keepalived_version_3_over_ipv6() {
    let addresses =
        Addresses::V6(vec!["fe80::54".parse().expect("IPv6"), "2001:db8:4::15".parse().expect("IPv6")]);
    let payload = bytes(V3_IPV6);
    let from = "fe80::ff:fe00:402".parse().expect("IPv6");
    let datagram = Datagram { from, to: GROUP_V6.into(), ttl: TTL, payload: &payload };
    let expected =
        Expected { own: "fe80::ff:fe00:403".parse().expect("IPv6"), ..expected(Version::V3, 54, &addresses) };
    let advert = Advert {
        version: Version::V3,
        router: router(54),
        priority: 255,
        interval: Interval::DEFAULT,
        authentication: Authentication::None,
        addresses: addresses.clone(),
    };
    both_ways(&datagram, &expected, &advert);
}

/// Version 2 with a password, as the checks below change it.
struct Case {
    from: IpAddr,
    to: IpAddr,
    ttl: u8,
    advert: Advert,
}

impl Case {
    fn v2() -> Self {
        let advert = Advert {
            version: Version::V2,
            router: router(51),
            priority: 150,
            interval: Interval::DEFAULT,
            authentication: password("lvs1234"),
            addresses: v4(&["192.168.4.15"]),
        };
        Self { from: PEER.into(), to: GROUP_V4.into(), ttl: TTL, advert }
    }

    fn v3() -> Self {
        let mut case = Self::v2();
        case.advert.version = Version::V3;
        case.advert.authentication = Authentication::None;
        case
    }

    /// The result, after `change` to the payload and then a right checksum.
    fn receive(
        &self,
        style: Ipv4Checksum,
        change: impl FnOnce(&mut Vec<u8>),
        expect: impl FnOnce(&mut Expected<'_>),
    ) -> Result<Vec<Remark>, Refusal> {
        let ours = v4(&["192.168.4.15"]);
        let mut expected = Expected {
            authentication: self.advert.authentication,
            ..expected(self.advert.version, 51, &ours)
        };
        expect(&mut expected);
        let mut payload = self.advert.encode(self.from, self.to, style).expect("encodes");
        change(&mut payload);
        if payload.len() >= HEADER && payload[6..8] != [0xde, 0xad] {
            payload[6..8].fill(0);
            let version = self.advert.version;
            let sum = !checksum::sum(version, style, self.from, self.to, &payload);
            payload[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        let datagram = Datagram { from: self.from, to: self.to, ttl: self.ttl, payload: &payload };
        receive(&datagram, &expected).map(|received| received.remarks)
    }

    fn refusal(&self, change: impl FnOnce(&mut Vec<u8>), expect: impl FnOnce(&mut Expected<'_>)) -> Refusal {
        self.receive(Ipv4Checksum::PseudoHeader, change, expect).expect_err("refused")
    }
}

#[test]
fn each_check_refuses_what_it_is_for() {
    let as_is = |_: &mut Vec<u8>| {};
    let mut found = vec![
        Case::v2().refusal(|payload| payload.truncate(7), |_| {}),
        Case::v2().refusal(|payload| payload.truncate(19), |_| {}),
        Case::v2().refusal(|payload| payload.push(0), |_| {}),
        Case::v2().refusal(|payload| payload[3] = 2, |_| {}),
        Case { ttl: 254, ..Case::v2() }.refusal(as_is, |_| {}),
        Case::v3().refusal(as_is, |expected| expected.version = Version::V2),
        Case::v2().refusal(as_is, |expected| expected.version = Version::V3),
        Case::v2().refusal(|payload| payload[0] = 0x41, |_| {}),
        Case::v2().refusal(|payload| payload[4] = 2, |_| {}),
        Case::v2().refusal(|payload| payload[4] = 0, |_| {}),
        Case::v2().refusal(|payload| payload[4] = 7, |_| {}),
        Case::v2().refusal(as_is, |expected| expected.authentication = Authentication::None),
        Case::v2().refusal(as_is, |expected| expected.authentication = password("lvs12345")),
        Case::v2().refusal(|payload| payload[0] = 0x22, |_| {}),
        Case::v2().refusal(|payload| payload[6..8].copy_from_slice(&[0xde, 0xad]), |_| {}),
        Case::v3().refusal(as_is, |expected| expected.checksum = Ipv4Checksum::WithoutPseudoHeader),
        Case::v2().refusal(as_is, |expected| expected.router = router(52)),
        Case::v2().refusal(|payload| payload[1] = 0, |_| {}),
        Case::v2().refusal(as_is, |expected| expected.cast = Cast::Unicast(&[])),
        Case { to: OURS.into(), ..Case::v2() }.refusal(as_is, |_| {}),
        Case { to: OURS.into(), ..Case::v2() }.refusal(as_is, |expected| expected.cast = Cast::Unicast(&[])),
        Case::v2().refusal(as_is, |expected| expected.own = PEER.into()),
        Case::v3().refusal(|payload| payload[4..6].fill(0), |_| {}),
    ];
    // The reserved bits of version 3 are ignored (RFC 9568 section 5.2.6), so this interval is 0 too.
    found.push(Case::v3().refusal(|payload| payload[4..6].copy_from_slice(&[0xf0, 0]), |_| {}));
    let style = Case::v3().receive(Ipv4Checksum::WithoutPseudoHeader, as_is, |expected| {
        expected.checksum = Ipv4Checksum::PseudoHeader
    });
    found.push(style.expect_err("refused"));
    assert_eq!(
        found,
        [
            Refusal::Length { found: 7, expected: 8, addresses: 0 },
            Refusal::Length { found: 19, expected: 20, addresses: 1 },
            Refusal::Length { found: 21, expected: 20, addresses: 1 },
            Refusal::Length { found: 20, expected: 24, addresses: 2 },
            Refusal::Ttl(254),
            Refusal::Version { found: 3, expected: 2 },
            Refusal::Version { found: 2, expected: 3 },
            Refusal::Version { found: 4, expected: 2 },
            Refusal::AuthenticationHeader,
            Refusal::AuthType { found: 0, expected: 1 },
            Refusal::AuthType { found: 7, expected: 1 },
            Refusal::AuthType { found: 1, expected: 0 },
            Refusal::Password,
            Refusal::Type(2),
            Refusal::Checksum,
            Refusal::ChecksumStyle(Ipv4Checksum::PseudoHeader),
            Refusal::UnknownRouter(51),
            Refusal::UnknownRouter(0),
            Refusal::Cast(GROUP_V4.into()),
            Refusal::Cast(OURS.into()),
            Refusal::NotAPeer(PEER.into()),
            Refusal::OwnAddress(PEER.into()),
            Refusal::IntervalZero,
            Refusal::IntervalZero,
            Refusal::ChecksumStyle(Ipv4Checksum::WithoutPseudoHeader),
        ]
    );
    // With the two of the IP header below, these are all refusals there are.
    let mut checks: Vec<_> = found.iter().map(Refusal::check).chain([Check::IpHeader]).collect();
    checks.sort_unstable();
    checks.dedup();
    assert!(checks.iter().copied().eq(Check::ALL.into_iter().filter(|check| !check.is_accepted())));
}

#[test]
fn a_unicast_peer_may_be_routers_away() {
    let peers = [PEER.into()];
    let case = Case { to: OURS.into(), ttl: 61, ..Case::v2() };
    let ours = v4(&["192.168.4.15"]);
    let expected = Expected {
        authentication: password("lvs1234"),
        cast: Cast::Unicast(&peers),
        ..expected(Version::V2, 51, &ours)
    };
    let payload = case.advert.encode(case.from, case.to, Ipv4Checksum::PseudoHeader).expect("encodes");
    let datagram = Datagram { from: case.from, to: case.to, ttl: case.ttl, payload: &payload };
    assert!(receive(&datagram, &expected).is_ok());
}

#[test]
fn differences_of_configuration_are_told_but_accepted() {
    let as_is = |_: &mut Vec<u8>| {};
    let mut case = Case::v2();
    case.advert.interval = Interval::from_centiseconds(300);
    case.advert.addresses = v4(&["192.168.4.15", "192.168.4.16"]);
    assert_eq!(
        case.receive(Ipv4Checksum::PseudoHeader, as_is, |_| {}),
        Ok(vec![
            Remark::IntervalDiffers {
                theirs: Interval::from_centiseconds(300),
                ours: Interval::from_centiseconds(100)
            },
            Remark::AddressCount { theirs: 2, ours: 1 }
        ])
    );
    case.advert.interval = Interval::DEFAULT;
    case.advert.addresses = v4(&["192.168.4.16"]);
    assert_eq!(case.receive(Ipv4Checksum::PseudoHeader, as_is, |_| {}), Ok(vec![Remark::AddressList]));

    // The order of addresses means nothing.
    let ours = v4(&["192.168.4.16", "192.168.4.15"]);
    assert!(v4(&["192.168.4.15", "192.168.4.16"]).same_set(&ours));
    assert!(!v4(&["192.168.4.15", "192.168.4.15"]).same_set(&ours));
}

#[test]
fn ip_headers_are_read() {
    let good = bytes(V2_PASSWORD);
    let with = |index: usize, byte| {
        let mut packet = good.clone();
        packet[index] = byte;
        packet
    };
    let check = |packet: &[u8]| Datagram::from_ipv4_packet(packet).map(|datagram| datagram.payload.to_vec());
    assert_eq!(check(&good), Ok(good[20..].to_vec()));
    let padded = [good.clone(), vec![0; 6]].concat();
    assert_eq!(check(&padded), Ok(good[20..].to_vec()), "Ethernet padding is left out");
    assert_eq!(check(&[]), Err(Refusal::IpHeader));
    assert_eq!(check(&good[..39]), Err(Refusal::IpHeader), "cut off");
    assert_eq!(check(&with(0, 0x65)), Err(Refusal::IpHeader), "another version");
    assert_eq!(check(&with(0, 0x44)), Err(Refusal::IpHeader), "a header of 16 bytes");
    assert_eq!(check(&with(3, 19)), Err(Refusal::IpHeader), "ends within its header");
    assert_eq!(check(&with(9, 17)), Err(Refusal::IpHeader), "UDP");
    assert_eq!(check(&with(9, 51)), Err(Refusal::AuthenticationHeader));
}

#[test]
fn what_a_version_cannot_say_is_refused() {
    let (from, to) = (PEER.into(), GROUP_V4.into());
    let fails = |advert: Advert, from, to| {
        advert.encode(from, to, Ipv4Checksum::PseudoHeader).expect_err("cannot be said")
    };
    let v2 = Case::v2().advert;
    let interval = |centiseconds, advert: &Advert| Advert {
        interval: Interval::from_centiseconds(centiseconds),
        ..advert.clone()
    };
    for centiseconds in [0, 10, 150, 25_600] {
        let error = fails(interval(centiseconds, &v2), from, to);
        assert!(matches!(error, EncodeError::Interval { version: Version::V2, .. }), "{error}");
    }
    let v3 = Case::v3().advert;
    for centiseconds in [0, 4096] {
        let error = fails(interval(centiseconds, &v3), from, to);
        assert!(matches!(error, EncodeError::Interval { version: Version::V3, .. }), "{error}");
    }
    let both = Advert { version: Version::V3, ..v2.clone() };
    assert_eq!(fails(both, from, to), EncodeError::PasswordInVersion3);
    let many = Advert { addresses: Addresses::V4(vec![OURS; 256]), ..v3.clone() };
    assert_eq!(fails(many, from, to), EncodeError::TooManyAddresses { count: 256 });
    let (six, group6) = (Ipv6Addr::LOCALHOST.into(), GROUP_V6.into());
    assert_eq!(fails(v3, six, group6), EncodeError::Families { from: six, to: group6 });
    let over6 = Advert { addresses: Addresses::V6(Vec::new()), ..v2 };
    assert_eq!(fails(over6, six, group6), EncodeError::Version2OverIpv6);
}

#[test]
fn intervals_are_exact() {
    let exact = |millis, version| Interval::exact(Duration::from_millis(millis), version);
    let centiseconds = |number| Some(Interval::from_centiseconds(number));
    assert_eq!(exact(10, Version::V3), centiseconds(1));
    assert_eq!(exact(40_950, Version::V3), centiseconds(4095));
    assert_eq!(exact(255_000, Version::V2), centiseconds(25_500));
    for (millis, version) in [
        (0, Version::V3),
        (5, Version::V3),
        (40_960, Version::V3),
        (500, Version::V2),
        (256_000, Version::V2),
    ] {
        assert_eq!(exact(millis, version), None, "{millis} ms");
    }
    assert_eq!(exact(u64::MAX / 2, Version::V3), None);
    assert_eq!(Interval::from_centiseconds(25).to_string(), "250ms");
}

#[test]
fn passwords_have_eight_bytes_and_are_not_printed() {
    assert!(Password::new("12345678").is_some());
    assert_eq!(Password::new("123456789"), None);
    assert_eq!(
        Password::new("äöüß").map(|password| password.0),
        Some(*"äöüß".as_bytes().first_chunk().expect("8"))
    );
    assert_eq!(format!("{:?}", Password::new("geheim")), "Some(Password(…))");
}

#[test]
fn counters_are_in_order_and_named_once() {
    for (index, check) in Check::ALL.into_iter().enumerate() {
        assert_eq!(check.index(), index);
    }
    let mut names: Vec<_> = Check::ALL.into_iter().map(Check::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Check::ALL.len());
}

prop_compose! {
    fn adverts()(
        version in prop_oneof![Just(Version::V2), Just(Version::V3)],
        number in 1..=255_u8,
        priority: u8,
        interval in 1..=255_u16,
        secret in proptest::option::of("[ -~]{0,8}"),
        is_ipv6: bool,
        addresses in proptest::collection::vec(any::<u128>(), 0..=255),
    ) -> Advert {
        let is_v2 = version == Version::V2;
        Advert {
            version,
            router: router(number),
            priority,
            interval: Interval::from_centiseconds(if is_v2 { interval * 100 } else { interval * 16 + 15 }),
            authentication: secret.filter(|_| is_v2).map_or(Authentication::None, |text| password(&text)),
            addresses: if is_v2 || !is_ipv6 {
                Addresses::V4(addresses.iter().map(|bits| {
                    let [.., a, b, c, d] = bits.to_be_bytes();
                    Ipv4Addr::new(a, b, c, d)
                }).collect())
            } else {
                Addresses::V6(addresses.into_iter().map(Ipv6Addr::from_bits).collect())
            },
        }
    }
}

fn ends(advert: &Advert) -> (IpAddr, IpAddr) {
    match advert.addresses {
        Addresses::V4(_) => (PEER.into(), GROUP_V4.into()),
        Addresses::V6(_) => ("fe80::2".parse().expect("IPv6"), GROUP_V6.into()),
    }
}

fn expected_of(advert: &Advert, checksum: Ipv4Checksum) -> Expected<'_> {
    Expected {
        version: advert.version,
        router: advert.router,
        authentication: advert.authentication,
        interval: advert.interval,
        addresses: &advert.addresses,
        cast: Cast::Multicast,
        own: OURS.into(),
        checksum,
    }
}

proptest! {
    #[test]
    fn what_is_sent_is_received(advert in adverts(), is_plain: bool) {
        let style = if is_plain { Ipv4Checksum::WithoutPseudoHeader } else { Ipv4Checksum::PseudoHeader };
        let (from, to) = ends(&advert);
        let payload = advert.encode(from, to, style).expect("encodes");
        let datagram = Datagram { from, to, ttl: TTL, payload: &payload };
        let received = receive(&datagram, &expected_of(&advert, style)).expect("good");
        prop_assert_eq!(received, Received { advert, remarks: Vec::new() });
    }

    /// Whatever the password, nothing is taken that was changed in one bit.
    #[test]
    fn a_flipped_bit_is_noticed(advert in adverts(), bit: prop::sample::Index) {
        let (from, to) = ends(&advert);
        let mut payload = advert.encode(from, to, Ipv4Checksum::PseudoHeader).expect("encodes");
        let bit = bit.index(payload.len() * 8);
        payload[bit / 8] ^= 1 << (bit % 8);
        let datagram = Datagram { from, to, ttl: TTL, payload: &payload };
        prop_assert!(receive(&datagram, &expected_of(&advert, Ipv4Checksum::PseudoHeader)).is_err());
    }

    #[test]
    fn no_bytes_are_too_strange(packet: Vec<u8>, advert in adverts()) {
        let (from, to) = ends(&advert);
        let datagram = Datagram { from, to, ttl: TTL, payload: &packet };
        drop(receive(&datagram, &expected_of(&advert, Ipv4Checksum::PseudoHeader)));
        prop_assert!(Datagram::from_ipv4_packet(&packet).map_or(true, |found| found.payload.len() < packet.len()));
    }
}

//! Every check of a received advert, in keepalived's order, each with a counter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    AUTH_HEADER, AUTH_NONE, AUTH_PASSWORD, AUTHENTICATION, Addresses, Advert, Authentication, HEADER,
    Interval, Ipv4Checksum, PROTOCOL, Password, TTL, TYPE_ADVERTISEMENT, Version, VirtualRouterId, checksum,
};

/// The IP protocol number of authentication headers (RFC 4302).
const AH: u8 = 51;

/// What a counter counts. The number is the counter's index, and stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Check {
    /// The IP header is broken, or its protocol is not 112.
    IpHeader = 0,
    /// The length does not fit the number of addresses.
    Length = 1,
    /// TTL or hop limit is not 255: it was routed here.
    Ttl = 2,
    /// Another version than this virtual router's.
    Version = 3,
    /// Authenticated by AH, which is not supported.
    AuthenticationHeader = 4,
    /// Another type of authentication, or an unknown one.
    AuthType = 5,
    /// Another password.
    Password = 6,
    /// Not an advertisement.
    Type = 7,
    /// A wrong checksum.
    Checksum = 8,
    /// The checksum is right for the other rule about the pseudo-header.
    ChecksumStyle = 9,
    /// No virtual router of this number on the interface.
    UnknownRouter = 10,
    /// Multicast where unicast is configured, or the reverse.
    Cast = 11,
    /// Unicast by none of the peers.
    NotAPeer = 12,
    /// Sent from an address of this director.
    OwnAddress = 13,
    /// Version 3 with an interval of 0.
    IntervalZero = 14,
    /// Accepted, but with another interval than ours.
    IntervalDiffers = 15,
    /// Accepted, but with another number of addresses than ours.
    AddressCount = 16,
    /// Accepted, but with other addresses than ours.
    AddressList = 17,
}

impl Check {
    /// All, by counter index.
    pub const ALL: [Self; 18] = [
        Self::IpHeader,
        Self::Length,
        Self::Ttl,
        Self::Version,
        Self::AuthenticationHeader,
        Self::AuthType,
        Self::Password,
        Self::Type,
        Self::Checksum,
        Self::ChecksumStyle,
        Self::UnknownRouter,
        Self::Cast,
        Self::NotAPeer,
        Self::OwnAddress,
        Self::IntervalZero,
        Self::IntervalDiffers,
        Self::AddressCount,
        Self::AddressList,
    ];

    /// Index of its counter.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in metrics and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IpHeader => "ip_header",
            Self::Length => "length",
            Self::Ttl => "ttl",
            Self::Version => "version",
            Self::AuthenticationHeader => "authentication_header",
            Self::AuthType => "auth_type",
            Self::Password => "password",
            Self::Type => "type",
            Self::Checksum => "checksum",
            Self::ChecksumStyle => "checksum_style",
            Self::UnknownRouter => "unknown_router",
            Self::Cast => "cast",
            Self::NotAPeer => "not_a_peer",
            Self::OwnAddress => "own_address",
            Self::IntervalZero => "interval_zero",
            Self::IntervalDiffers => "interval_differs",
            Self::AddressCount => "address_count",
            Self::AddressList => "address_list",
        }
    }

    /// Whether the advert counts all the same.
    #[must_use]
    pub const fn is_accepted(self) -> bool {
        matches!(self, Self::IntervalDiffers | Self::AddressCount | Self::AddressList)
    }
}

/// Why an advert is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// See [`Check::IpHeader`].
    #[error("not an IPv4 packet of protocol 112")]
    IpHeader,
    /// See [`Check::Length`].
    #[error("{found} bytes long, but an advert of {addresses} addresses has {expected}")]
    Length {
        /// Its length without the IP header.
        found: usize,
        /// What it should be.
        expected: usize,
        /// The number of addresses it tells.
        addresses: u8,
    },
    /// See [`Check::Ttl`].
    #[error("TTL {0} instead of 255: it was routed here, or sent by something that is not VRRP")]
    Ttl(u8),
    /// See [`Check::Version`].
    #[error("VRRP version {found}, but this director uses {expected}; set `version` alike on all directors")]
    Version {
        /// The sender's.
        found: u8,
        /// Ours.
        expected: u8,
    },
    /// See [`Check::AuthenticationHeader`].
    #[error(
        "authenticated by AH, which is not supported; let the peer use `auth_type PASS` or no authentication"
    )]
    AuthenticationHeader,
    /// See [`Check::AuthType`].
    #[error("authentication {}, but this director uses {}; set `auth_pass` alike on all directors",
        auth_name(*.found), auth_name(*.expected))]
    AuthType {
        /// The sender's: 0 none, 1 password.
        found: u8,
        /// Ours.
        expected: u8,
    },
    /// See [`Check::Password`].
    #[error("another password; set `auth_pass` alike on all directors, or another `virtual_router_id`")]
    Password,
    /// See [`Check::Type`].
    #[error("type {0} is not an advertisement")]
    Type(u8),
    /// See [`Check::Checksum`].
    #[error("wrong checksum")]
    Checksum,
    /// See [`Check::ChecksumStyle`].
    #[error("the checksum is right only {} the pseudo-header; set keepalived's `v3_checksum_as_v2` alike on all directors",
        match .0 { Ipv4Checksum::PseudoHeader => "with", Ipv4Checksum::WithoutPseudoHeader => "without" })]
    ChecksumStyle(Ipv4Checksum),
    /// See [`Check::UnknownRouter`].
    #[error("virtual router {0}: there is none of this number on the interface")]
    UnknownRouter(u8),
    /// See [`Check::Cast`].
    #[error("sent to {0}, but this virtual router uses {other}; set `unicast_peers` on all directors or on none",
        other = if .0.is_multicast() { "unicast" } else { "multicast" })]
    Cast(IpAddr),
    /// See [`Check::NotAPeer`].
    #[error("{0} is none of the unicast peers")]
    NotAPeer(IpAddr),
    /// See [`Check::OwnAddress`].
    #[error("{0} is this director's own address; another machine has it, or the network sends packets back")]
    OwnAddress(IpAddr),
    /// See [`Check::IntervalZero`].
    #[error("an advert interval of 0")]
    IntervalZero,
}

const fn auth_name(kind: u8) -> &'static str {
    match kind {
        AUTH_NONE => "none",
        AUTH_PASSWORD => "by password",
        AUTH_HEADER => "by AH",
        _ => "of an unknown type",
    }
}

impl Refusal {
    /// What counts it.
    #[must_use]
    pub const fn check(&self) -> Check {
        match self {
            Self::IpHeader => Check::IpHeader,
            Self::Length { .. } => Check::Length,
            Self::Ttl(_) => Check::Ttl,
            Self::Version { .. } => Check::Version,
            Self::AuthenticationHeader => Check::AuthenticationHeader,
            Self::AuthType { .. } => Check::AuthType,
            Self::Password => Check::Password,
            Self::Type(_) => Check::Type,
            Self::Checksum => Check::Checksum,
            Self::ChecksumStyle(_) => Check::ChecksumStyle,
            Self::UnknownRouter(_) => Check::UnknownRouter,
            Self::Cast(_) => Check::Cast,
            Self::NotAPeer(_) => Check::NotAPeer,
            Self::OwnAddress(_) => Check::OwnAddress,
            Self::IntervalZero => Check::IntervalZero,
        }
    }
}

/// What is wrong with an advert that counts all the same: a difference of configuration must not make two masters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Remark {
    /// See [`Check::IntervalDiffers`].
    #[error("advert interval {theirs}, but {ours} here; set `advert_interval` alike on all directors")]
    IntervalDiffers {
        /// The sender's.
        theirs: Interval,
        /// Ours.
        ours: Interval,
    },
    /// See [`Check::AddressCount`].
    #[error("{theirs} virtual addresses, but {ours} here; set `virtual_addresses` alike on all directors")]
    AddressCount {
        /// How many it tells.
        theirs: usize,
        /// How many are ours.
        ours: usize,
    },
    /// See [`Check::AddressList`].
    #[error("other virtual addresses than here; set `virtual_addresses` alike on all directors")]
    AddressList,
}

impl Remark {
    /// What counts it.
    #[must_use]
    pub const fn check(&self) -> Check {
        match self {
            Self::IntervalDiffers { .. } => Check::IntervalDiffers,
            Self::AddressCount { .. } => Check::AddressCount,
            Self::AddressList => Check::AddressList,
        }
    }
}

/// A received payload of protocol 112, with what its IP header said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The sender.
    pub from: IpAddr,
    /// To whom it was sent; of the same family.
    pub to: IpAddr,
    /// TTL or hop limit at arrival.
    pub ttl: u8,
    /// What follows the IP header.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// From what an IPv4 raw socket reads: the packet with its IP header. What is behind the header's total length is
    /// Ethernet padding and left out.
    ///
    /// # Errors
    /// [`Refusal::IpHeader`], or [`Refusal::AuthenticationHeader`] of protocol 51.
    pub fn from_ipv4_packet(packet: &'a [u8]) -> Result<Self, Refusal> {
        let header = packet.first_chunk::<20>().ok_or(Refusal::IpHeader)?;
        let [first, _, high, low, _, _, _, _, ttl, protocol, _, _, a, b, c, d, e, f, g, h] = *header;
        let length = usize::from(first & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([high, low]));
        match protocol {
            PROTOCOL if first >> 4 == 4 && length >= 20 => {}
            AH => return Err(Refusal::AuthenticationHeader),
            _ => return Err(Refusal::IpHeader),
        }
        let payload = packet.get(length..total).ok_or(Refusal::IpHeader)?;
        let address = |a, b, c, d| IpAddr::V4(Ipv4Addr::new(a, b, c, d));
        Ok(Self { from: address(a, b, c, d), to: address(e, f, g, h), ttl, payload })
    }
}

/// How adverts of a virtual router are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cast<'a> {
    /// To the group. The TTL must be 255.
    Multicast,
    /// To each of these; no others' are taken. The TTL is not looked at, as in keepalived: peers may be routers away.
    Unicast(&'a [IpAddr]),
}

/// What adverts of a virtual router should be like.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The version.
    pub version: Version,
    /// The number; the caller has chosen the virtual router by it ([`peek`]).
    pub router: VirtualRouterId,
    /// Version 2 only.
    pub authentication: Authentication,
    /// Our own interval.
    pub interval: Interval,
    /// Our own virtual addresses, without the excluded ones.
    pub addresses: &'a Addresses,
    /// How they are sent.
    pub cast: Cast<'a>,
    /// The source address of our own adverts.
    pub own: IpAddr,
    /// What the checksum of version 3 over IPv4 covers.
    pub checksum: Ipv4Checksum,
}

/// An advert that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The advert.
    pub advert: Advert,
    /// What is wrong with it nevertheless.
    pub remarks: Vec<Remark>,
}

/// Number of the virtual router that a payload is for, as it stands there; `None` if it is shorter than a header.
/// Nothing else is checked: choose by it whom [`receive`] should ask.
#[must_use]
pub fn peek(payload: &[u8]) -> Option<u8> {
    payload.first_chunk::<HEADER>().map(|&[_, router, ..]| router)
}

/// Checks a payload and reads it.
///
/// # Errors
/// The first check that fails, in keepalived's order. A difference of interval or addresses is none.
pub fn receive(datagram: &Datagram<'_>, expected: &Expected<'_>) -> Result<Received, Refusal> {
    let &Datagram { from, to, ttl, payload } = datagram;
    let header = payload.first_chunk::<HEADER>();
    let &[kind, router, priority, count, five, six, ..] =
        header.ok_or(Refusal::Length { found: payload.len(), expected: HEADER, addresses: 0 })?;
    let (found_version, kind) = (kind >> 4, kind & 0x0f);

    // The sender's version says how long it should be; of an unknown one nothing is known.
    let version = match found_version {
        2 if from.is_ipv4() => Version::V2,
        3 => Version::V3,
        found => return Err(Refusal::Version { found, expected: expected.version.number() }),
    };
    let address = if from.is_ipv4() { 4 } else { 16 };
    let end = HEADER + usize::from(count) * address;
    let length = match version {
        Version::V2 => end + AUTHENTICATION,
        Version::V3 => end,
    };
    if payload.len() != length {
        return Err(Refusal::Length { found: payload.len(), expected: length, addresses: count });
    }
    if expected.cast == Cast::Multicast && ttl != TTL {
        return Err(Refusal::Ttl(ttl));
    }
    if version != expected.version {
        return Err(Refusal::Version { found: found_version, expected: expected.version.number() });
    }
    let (authentication, interval) = match version {
        Version::V2 => {
            let data = payload.get(end..).and_then(|data| data.first_chunk::<AUTHENTICATION>());
            let authentication = authentication(five, data.copied().unwrap_or_default(), expected)?;
            (authentication, Interval::from_centiseconds(u16::from(six) * 100))
        }
        Version::V3 => {
            let interval = Interval::from_centiseconds(u16::from_be_bytes([five & 0x0f, six]));
            (Authentication::None, interval)
        }
    };
    if kind != TYPE_ADVERTISEMENT {
        return Err(Refusal::Type(kind));
    }
    check_sum(datagram, version, expected.checksum)?;
    let Some(router) = VirtualRouterId::new(router).filter(|router| *router == expected.router) else {
        return Err(Refusal::UnknownRouter(router));
    };
    if from == expected.own {
        return Err(Refusal::OwnAddress(from));
    }
    match expected.cast {
        Cast::Multicast if !to.is_multicast() => return Err(Refusal::Cast(to)),
        Cast::Unicast(_) if to.is_multicast() => return Err(Refusal::Cast(to)),
        Cast::Unicast(peers) if !peers.contains(&from) => return Err(Refusal::NotAPeer(from)),
        Cast::Multicast | Cast::Unicast(_) => {}
    }
    // Three times nothing is how long this master would be waited for.
    if version == Version::V3 && interval.centiseconds() == 0 {
        return Err(Refusal::IntervalZero);
    }
    let addresses = addresses(from, payload.get(HEADER..end).unwrap_or_default());
    let advert = Advert { version, router, priority, interval, authentication, addresses };
    Ok(Received { remarks: remarks(&advert, expected), advert })
}

fn authentication(
    kind: u8,
    data: [u8; AUTHENTICATION],
    expected: &Expected<'_>,
) -> Result<Authentication, Refusal> {
    match (kind, expected.authentication) {
        (AUTH_HEADER, _) => Err(Refusal::AuthenticationHeader),
        (AUTH_NONE, Authentication::None) => Ok(Authentication::None),
        (AUTH_PASSWORD, Authentication::Password(Password(password))) => {
            // Every byte is looked at: how long it takes tells nothing of the password.
            let difference = password.iter().zip(data).fold(0, |sum, (one, two)| sum | (one ^ two));
            if difference == 0 { Ok(expected.authentication) } else { Err(Refusal::Password) }
        }
        (found, Authentication::None) => Err(Refusal::AuthType { found, expected: AUTH_NONE }),
        (found, Authentication::Password(_)) => Err(Refusal::AuthType { found, expected: AUTH_PASSWORD }),
    }
}

fn check_sum(datagram: &Datagram<'_>, version: Version, style: Ipv4Checksum) -> Result<(), Refusal> {
    let &Datagram { from, to, payload, .. } = datagram;
    let is_right = |style| checksum::sum(version, style, from, to, payload) == 0xffff;
    let other = match style {
        Ipv4Checksum::PseudoHeader => Ipv4Checksum::WithoutPseudoHeader,
        Ipv4Checksum::WithoutPseudoHeader => Ipv4Checksum::PseudoHeader,
    };
    match (is_right(style), is_right(other)) {
        (true, _) => Ok(()),
        (false, true) => Err(Refusal::ChecksumStyle(other)),
        (false, false) => Err(Refusal::Checksum),
    }
}

fn addresses(from: IpAddr, bytes: &[u8]) -> Addresses {
    match from {
        IpAddr::V4(_) => {
            Addresses::V4(bytes.as_chunks().0.iter().map(|&octets: &[u8; 4]| octets.into()).collect())
        }
        IpAddr::V6(_) => Addresses::V6(
            bytes.as_chunks().0.iter().map(|&octets: &[u8; 16]| Ipv6Addr::from(octets)).collect(),
        ),
    }
}

fn remarks(advert: &Advert, expected: &Expected<'_>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    if advert.interval != expected.interval {
        remarks.push(Remark::IntervalDiffers { theirs: advert.interval, ours: expected.interval });
    }
    let (theirs, ours) = (advert.addresses.len(), expected.addresses.len());
    if theirs != ours {
        remarks.push(Remark::AddressCount { theirs, ours });
    } else if !advert.addresses.same_set(expected.addresses) {
        remarks.push(Remark::AddressList);
    }
    remarks
}

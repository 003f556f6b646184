//! Adverts on the wire: VRRP version 2 (RFC 3768; passwords as in RFC 2338) and version 3 (RFC 5798, RFC 9568).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-------+---------------+---------------+---------------+
//! |version| type 1| router id     | priority      | address count |
//! +-------+-------+---------------+---------------+---------------+
//! | 2: auth type  | 2: seconds    | checksum                      |   version 2
//! | reserved| centiseconds, 12 bit| checksum                      |   version 3
//! +-------------------------------+-------------------------------+
//! | addresses, 4 or 16 bytes each …                               |
//! +---------------------------------------------------------------+
//! | 2: authentication data, always 8 bytes                        |   version 2 only
//! +---------------------------------------------------------------+
//! ```
//!
//! The checksum of version 2 covers these bytes; that of version 3 a pseudo-header before them too, over IPv4 as over
//! IPv6. keepalived does so by default; [`Ipv4Checksum::WithoutPseudoHeader`] is its `v3_checksum_as_v2`.

mod checksum;
pub mod frame;
mod receive;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU8,
    time::Duration,
};

pub use receive::{Cast, Check, Datagram, Expected, Received, Refusal, Remark, peek, receive};

/// The IP protocol number.
pub const PROTOCOL: u8 = 112;
/// Where adverts of virtual routers with IPv4 addresses go without unicast peers.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Where adverts of virtual routers with IPv6 addresses go without unicast peers.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// TTL or hop limit of adverts: one that was routed has less.
pub const TTL: u8 = 255;
/// Type of service or traffic class of adverts: internetwork control.
pub const TRAFFIC_CLASS: u8 = 0xc0;
/// The priority that hands over: the master leaves.
pub const PRIORITY_LEAVING: u8 = 0;
/// The priority of the addresses' owner.
pub const PRIORITY_OWNER: u8 = 255;

const HEADER: usize = 8;
const AUTHENTICATION: usize = 8;
const TYPE_ADVERTISEMENT: u8 = 1;
const AUTH_NONE: u8 = 0;
const AUTH_PASSWORD: u8 = 1;
const AUTH_HEADER: u8 = 2;

/// Version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// RFC 3768: IPv4 only, intervals in seconds, passwords.
    V2,
    /// RFC 5798 and RFC 9568: IPv4 and IPv6, intervals in centiseconds.
    V3,
}

impl Version {
    /// As on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// Number of a virtual router, 1 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualRouterId(NonZeroU8);

impl VirtualRouterId {
    /// `None` for 0.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// As on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0.get()
    }
}

impl fmt::Display for VirtualRouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Time between two adverts, in centiseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval(u16);

impl Interval {
    /// One second, the default.
    pub const DEFAULT: Self = Self(100);
    /// The longest of version 2: 255 s.
    pub const MAX_V2: Self = Self(25_500);
    /// The longest of version 3: 40.95 s.
    pub const MAX_V3: Self = Self(0x0fff);

    /// From centiseconds.
    #[must_use]
    pub const fn from_centiseconds(centiseconds: u16) -> Self {
        Self(centiseconds)
    }

    /// In centiseconds.
    #[must_use]
    pub const fn centiseconds(self) -> u16 {
        self.0
    }

    /// From a duration; `None` if it is not a whole number of centiseconds that `version` can say (version 2: 1 s to
    /// 255 s, whole seconds; version 3: 10 ms to 40.95 s).
    #[must_use]
    pub fn exact(duration: Duration, version: Version) -> Option<Self> {
        if !duration.subsec_nanos().is_multiple_of(10_000_000) {
            return None;
        }
        let interval = Self(u16::try_from(duration.as_millis() / 10).ok()?);
        interval.fits(version).then_some(interval)
    }

    /// Whether `version` can say it.
    #[must_use]
    pub const fn fits(self, version: Version) -> bool {
        match version {
            Version::V2 => self.0 >= 100 && self.0 <= Self::MAX_V2.0 && self.0.is_multiple_of(100),
            Version::V3 => self.0 >= 1 && self.0 <= Self::MAX_V3.0,
        }
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64 * 10)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.duration()).fmt(f)
    }
}

/// Password of version 2: up to eight bytes, filled up with zero bytes. It crosses the network in the clear: it keeps
/// apart what was wired together by mistake, and is no security.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password([u8; AUTHENTICATION]);

impl Password {
    /// `None` if it is longer than eight bytes.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; AUTHENTICATION];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self(bytes))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Authentication of version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Authentication {
    /// Type 0; always so in version 3.
    #[default]
    None,
    /// Type 1: `PASS`.
    Password(Password),
}

/// The virtual addresses of an advert, of one family, in the order of the packet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// IPv4.
    V4(Vec<Ipv4Addr>),
    /// IPv6.
    V6(Vec<Ipv6Addr>),
}

impl Addresses {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::V4(addresses) => addresses.len(),
            Self::V6(addresses) => addresses.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether they are the same addresses, in whatever order.
    #[must_use]
    pub fn same_set(&self, other: &Self) -> bool {
        fn sorted<T: Ord + Copy>(addresses: &[T]) -> Vec<T> {
            let mut sorted = addresses.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            sorted
        }
        match (self, other) {
            (Self::V4(one), Self::V4(two)) => one == two || sorted(one) == sorted(two),
            (Self::V6(one), Self::V6(two)) => one == two || sorted(one) == sorted(two),
            (Self::V4(_), Self::V6(_)) | (Self::V6(_), Self::V4(_)) => false,
        }
    }
}

/// What the checksum of version 3 over IPv4 covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ipv4Checksum {
    /// A pseudo-header too (RFC 5798 section 5.2.8, RFC 9568 section 5.2.8).
    #[default]
    PseudoHeader,
    /// The advert alone, as in version 2.
    WithoutPseudoHeader,
}

/// An advert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    /// Version 2 has IPv4 addresses only.
    pub version: Version,
    /// The virtual router.
    pub router: VirtualRouterId,
    /// The sender's; 0 if it leaves.
    pub priority: u8,
    /// The sender's.
    pub interval: Interval,
    /// Version 2 only.
    pub authentication: Authentication,
    /// At most 255.
    pub addresses: Addresses,
}

/// An advert cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Version 2 with IPv6.
    #[error("VRRP version 2 has IPv4 addresses only; use version 3")]
    Version2OverIpv6,
    /// The interval has no representation.
    #[error(
        "advert interval {interval}: version {} cannot say it; use {}",
        version.number(),
        match version { Version::V2 => "whole seconds, 1s to 255s", Version::V3 => "10ms to 40.95s" }
    )]
    Interval {
        /// What was asked for.
        interval: Interval,
        /// The version.
        version: Version,
    },
    /// A password in version 3.
    #[error("VRRP version 3 has no authentication; leave the password out or use version 2")]
    PasswordInVersion3,
    /// Too many for the count of eight bits.
    #[error("{count} virtual addresses: an advert holds 255; make the others excluded addresses")]
    TooManyAddresses {
        /// How many there are.
        count: usize,
    },
    /// Source, destination and virtual addresses are not of one family.
    #[error("the source {from}, the destination {to} and the virtual addresses are not of one family")]
    Families {
        /// The source.
        from: IpAddr,
        /// The destination.
        to: IpAddr,
    },
}

impl Advert {
    /// The payload of protocol 112, checksum included.
    ///
    /// # Errors
    /// The version cannot say it.
    pub fn encode(&self, from: IpAddr, to: IpAddr, style: Ipv4Checksum) -> Result<Vec<u8>, EncodeError> {
        let Self { version, router, priority, interval, authentication, addresses } = self;
        let is_one_family = match addresses {
            Addresses::V4(_) => from.is_ipv4() && to.is_ipv4(),
            Addresses::V6(_) => from.is_ipv6() && to.is_ipv6(),
        };
        if !is_one_family {
            return Err(EncodeError::Families { from, to });
        }
        if !interval.fits(*version) {
            return Err(EncodeError::Interval { interval: *interval, version: *version });
        }
        let Ok(count) = u8::try_from(addresses.len()) else {
            return Err(EncodeError::TooManyAddresses { count: addresses.len() });
        };
        let [high, low] = interval.0.to_be_bytes();
        let middle = match (version, addresses, authentication) {
            (Version::V2, Addresses::V6(_), _) => return Err(EncodeError::Version2OverIpv6),
            (Version::V2, Addresses::V4(_), authentication) => {
                let kind = match authentication {
                    Authentication::None => AUTH_NONE,
                    Authentication::Password(_) => AUTH_PASSWORD,
                };
                let [_, seconds] = (interval.0 / 100).to_be_bytes();
                [kind, seconds]
            }
            (Version::V3, _, Authentication::Password(_)) => return Err(EncodeError::PasswordInVersion3),
            (Version::V3, _, Authentication::None) => [high, low],
        };
        let mut bytes = Vec::with_capacity(HEADER + addresses.len() * 16 + AUTHENTICATION);
        bytes.extend([version.number() << 4 | TYPE_ADVERTISEMENT, router.number(), *priority, count]);
        bytes.extend(middle);
        bytes.extend([0, 0]);
        match addresses {
            Addresses::V4(addresses) => addresses.iter().for_each(|address| bytes.extend(address.octets())),
            Addresses::V6(addresses) => addresses.iter().for_each(|address| bytes.extend(address.octets())),
        }
        if *version == Version::V2 {
            bytes.extend(match authentication {
                Authentication::None => [0; AUTHENTICATION],
                Authentication::Password(Password(password)) => *password,
            });
        }
        let checksum = !checksum::sum(*version, style, from, to, &bytes);
        if let Some(field) = bytes.get_mut(6..HEADER) {
            field.copy_from_slice(&checksum.to_be_bytes());
        }
        Ok(bytes)
    }
}

//! Later fragments, which have no ports: they follow the first.

use crate::conn::Ticks;
use crate::layout::{DestinationRef, FragmentKey, FragmentOwner, Settings};
use crate::packet::Packet;
use crate::parse::{Ipv4, Ipv6, Link, Part};
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};

use super::place::{Chosen, live};
use super::{BROKEN, accept};

/// A datagram is reassembled long before this (RFC 791: 15 s; Linux: 30 s), and its identification comes again.
const FRAGMENT_TICKS: u32 = 28;

#[inline(always)]
pub(super) fn fragment_key4(ip: &Ipv4) -> FragmentKey {
    FragmentKey {
        source: [u64::from(ip.source.bits()), 0],
        destination: [u64::from(ip.destination.bits()), 0],
        identification: identification(ip.part),
        protocol: ip.protocol,
        version: 4,
        zero: [0; 2],
    }
}

#[inline(always)]
pub(super) fn fragment_key6(ip: &Ipv6) -> FragmentKey {
    FragmentKey {
        source: ip.source.words(),
        destination: ip.destination.words(),
        identification: identification(ip.part),
        protocol: 0,
        version: 6,
        zero: [0; 2],
    }
}

#[inline(always)]
fn identification(part: Part) -> u32 {
    match part {
        Part::Whole => 0,
        Part::First(identification) | Part::Later(identification) => identification,
    }
}

#[inline(always)]
pub(super) fn remember<T: Tables>(
    tables: &T,
    settings: &Settings,
    key: &FragmentKey,
    reference: DestinationRef,
) {
    let owner =
        FragmentOwner { destination: reference.to_word(), seen: u64::from(tables.now(settings).bits()) };
    tables.remember_fragment(key, &owner);
}

/// A later fragment goes where the first one went.
#[inline(always)]
pub(super) fn later_fragment<'t, P: Packet, T: Tables>(
    packet: &P,
    tables: &'t T,
    link: &Link,
    key: &FragmentKey,
    ttl: u8,
) -> Result<Chosen<'t>, Verdict> {
    let owner = tables.fragment(key).ok_or(Reason::UnknownFragment)?;
    #[expect(clippy::cast_possible_truncation, reason = "18 bits were stored")]
    let seen = Ticks::default().later(owner.seen as u32);
    let settings = tables.settings().ok_or(BROKEN)?;
    if tables.now(settings).since(seen) >= FRAGMENT_TICKS {
        return Err(Reason::UnknownFragment.into());
    }
    accept(packet, settings, link, ttl)?;
    Ok(live(tables, DestinationRef::from_word(owner.destination), false).ok_or(Reason::UnknownFragment)?)
}

//! Later fragments, which have no ports: they follow the first.

use crate::conn::Ticks;
use crate::layout::{DestinationRef, FragmentKey, FragmentOwner, Owner, Settings};
use crate::net::{Be32, Be128};
use crate::packet::Packet;
use crate::parse::Link;
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};

use super::{BROKEN, accept};

/// A datagram is reassembled long before this (RFC 791: 15 s; Linux: 30 s), and its identification comes again.
const FRAGMENT_TICKS: u32 = 28;

#[inline(always)]
pub(super) fn fragment_key4(
    source: Be32,
    destination: Be32,
    protocol: u8,
    identification: u32,
) -> FragmentKey {
    FragmentKey {
        source: [u64::from(source.bits()), 0],
        destination: [u64::from(destination.bits()), 0],
        identification,
        protocol,
        version: 4,
        zero: [0; 2],
    }
}

#[inline(always)]
pub(super) fn fragment_key6(source: Be128, destination: Be128, identification: u32) -> FragmentKey {
    FragmentKey {
        source: source.words(),
        destination: destination.words(),
        identification,
        protocol: 0,
        version: 6,
        zero: [0; 2],
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

/// Keeps that a datagram is an answer of a virtual server.
#[inline(always)]
pub(super) fn remember_answer<T: Tables>(tables: &T, settings: &Settings, key: &FragmentKey, owner: Owner) {
    let owner = FragmentOwner {
        destination: owner.destination.to_word() | FragmentOwner::ANSWER | (owner.service as u64) << 32,
        seen: u64::from(tables.now(settings).bits()),
    };
    tables.remember_fragment(key, &owner);
}

/// Keeps that a datagram is of a flow that has a lease. `owner` is [`FragmentOwner::destination`].
#[inline(always)]
pub(super) fn remember_lease<T: Tables>(tables: &T, settings: &Settings, key: &FragmentKey, owner: u64) {
    let owner = FragmentOwner { destination: owner, seen: u64::from(tables.now(settings).bits()) };
    tables.remember_fragment(key, &owner);
}

/// What was kept of the first fragment: [`FragmentOwner::destination`].
#[inline(always)]
pub(super) fn first_fragment<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    link: &Link,
    key: &FragmentKey,
    ttl: u8,
) -> Result<u64, Verdict> {
    let owner = tables.fragment(key).ok_or(Reason::UnknownFragment)?;
    #[expect(clippy::cast_possible_truncation, reason = "18 bits were stored")]
    let seen = Ticks::default().later(owner.seen as u32);
    let settings = tables.settings().ok_or(BROKEN)?;
    if tables.now(settings).since(seen) >= FRAGMENT_TICKS {
        return Err(Reason::UnknownFragment.into());
    }
    accept(packet, settings, link, ttl)?;
    Ok(owner.destination)
}

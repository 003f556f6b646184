//! The way of an answer to its client: by the routing table that user space keeps, and on the director's own
//! segments to the MAC that the client's packets came from.

use core::hint;

use crate::layout::{Neighbour, NextHop, Route, RoutePlaces, Settings, mac_word};
use crate::packet::Packet;
use crate::parse::Link;
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};

use super::send::VLAN_ID;
use super::version::Version;

/// Where a frame goes: MACs and VLAN as in the first words of a `Destination`, and the interface.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) to: u64,
    pub(super) from: u64,
    pub(super) interface: u64,
}

/// No route has this index.
const NONE: u32 = u32::MAX;

/// The index, or none, of the first of `count` routes from `first` on whose network has the address of these words.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, first: u32, count: u32, a: u64, b: u64) -> u32 {
    if count == 0 {
        return NONE;
    }
    // The table says itself where it ends: of two bounds LLVM makes one that the verifier does not understand.
    let mut number = 0;
    while number < Route::MOST {
        let index = first.wrapping_add(number);
        let Some(route) = tables.route(index) else { return NONE };
        if leads_to(route, a, b) {
            return index;
        }
        if route.last.load() != 0 {
            return NONE;
        }
        number += 1;
    }
    NONE
}

/// Does it lead to the address of these words?
#[inline(always)]
fn leads_to(route: &Route, a: u64, b: u64) -> bool {
    a & route.mask[0].load() == route.network[0].load() && b & route.mask[1].load() == route.network[1].load()
}

#[inline(always)]
fn route<'t, A: Version, T: Tables>(tables: &'t T, settings: &Settings, address: A) -> Option<&'t Route> {
    let (first, count) = A::routes(RoutePlaces::from_word(settings.routes.load()));
    let [a, b] = address.words();
    let mut number = 0;
    // Few directors have more, and these cost less than a call.
    while number < 3 && number < u32::from(count) {
        let route = tables.route(u32::from(first) + number)?;
        if leads_to(route, a, b) {
            return Some(route);
        }
        number += 1;
    }
    if u32::from(count) <= number {
        return None;
    }
    hint::cold_path();
    tables.route(tables.find_route(u32::from(first), u32::from(count), a, b))
}

/// The way to a client.
#[inline(always)]
pub(super) fn way<A: Version, T: Tables>(tables: &T, settings: &Settings, client: A) -> Result<Way, Verdict> {
    let route = route(tables, settings, client).ok_or(Verdict::Drop(Reason::NoRoute))?;
    let to = route.next_hop.load();
    let flags = NextHop::from_word(to).flags;
    if flags & Route::SEGMENT != 0 {
        let neighbour =
            tables.neighbour(&client.neighbour()).ok_or(Verdict::Drop(Reason::ClientUnresolved))?;
        return Ok(Way { to: neighbour.to, from: neighbour.from, interface: neighbour.interface });
    }
    if flags & NextHop::RESOLVED == 0 {
        return Err(Verdict::Drop(Reason::ClientUnresolved));
    }
    Ok(Way { to, from: route.source.load(), interface: route.interface.load() })
}

/// Keeps where a client is whose packet this is, if it is on a segment of the director's.
#[inline(always)]
pub(super) fn learn<P: Packet, A: Version, T: Tables>(
    packet: &P,
    tables: &T,
    settings: &Settings,
    link: &Link,
    client: A,
) {
    let Some(route) = route(tables, settings, client) else { return };
    if NextHop::from_word(route.next_hop.load()).flags & Route::SEGMENT == 0 {
        return;
    }
    let Some(mac) = packet.load::<6>(6) else { return };
    #[expect(clippy::cast_possible_truncation, reason = "a tag's low 12 bits")]
    let vlan = if link.is_plain() { 0 } else { link.tag as u16 & VLAN_ID };
    let neighbour = Neighbour {
        to: mac_word(mac, 0),
        from: mac_word(link.destination, vlan),
        interface: u64::from(packet.ingress()),
    };
    tables.learn(&client.neighbour(), &neighbour);
}

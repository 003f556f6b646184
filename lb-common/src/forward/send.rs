//! The packet's way out.

use core::hint;

use crate::csum;
use crate::layout::NextHop;
use crate::net::ethertype;
use crate::packet::Packet;
use crate::parse::Link;
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};

use super::place::Chosen;
use super::way::Way;

/// Sends the packet on its way to the real server by direct routing.
#[inline(always)]
pub(super) fn send<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    chosen: &Chosen<'_>,
    length: usize,
) -> Result<Verdict, Verdict> {
    may_go(tables, chosen, length)?;
    let hop = Way {
        to: chosen.hop,
        from: chosen.destination.source.load(),
        interface: chosen.destination.interface.load(),
    };
    if hop_on(packet, link).is_none() {
        return Err(Verdict::Drop(Reason::Malformed));
    }
    depart(packet, link, hop)
}

/// Can a packet of this length go to the real server? Counts it if so.
#[inline(always)]
pub(super) fn may_go<T: Tables>(tables: &T, chosen: &Chosen<'_>, length: usize) -> Result<(), Verdict> {
    let flags = chosen.flags();
    if flags & (NextHop::LOCAL | NextHop::RESOLVED) == 0 {
        return Err(Verdict::Drop(Reason::NeighbourUnresolved));
    }
    tables.count_traffic(chosen.reference.id(), chosen.new, length as u64);
    if flags & NextHop::LOCAL != 0 {
        return Err(Reason::LocalRealServer.into());
    }
    Ok(())
}

/// Sends a frame whose packet is as it must be.
#[inline(always)]
pub(super) fn depart<P: Packet>(packet: &mut P, link: &Link, hop: Way) -> Result<Verdict, Verdict> {
    #[expect(clippy::cast_possible_truncation, reason = "an interface index is 32 bits")]
    let interface = hop.interface as u32;
    if envelope(packet, link, hop.to, hop.from).is_none() {
        return Err(Verdict::Drop(Reason::NoHeadroom));
    }
    Ok(if interface == packet.ingress() { Verdict::Transmit } else { Verdict::Redirect(interface) })
}

/// VLAN ids are the low 12 bits of a tag.
pub(super) const VLAN_ID: u16 = 0x0fff;

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
pub(super) fn decrement_ttl<P: Packet>(packet: &mut P, ip: usize) -> Option<()> {
    // TTL, protocol and checksum are one word.
    let word = u32::from_be_bytes(packet.load(ip + 8)?);
    let kept = word.wrapping_sub(1 << 24) & 0xffff_0000;
    packet.store(ip + 8, (kept | u32::from(csum::after_ttl_decrement(word as u16))).to_be_bytes())
}

/// The low six bytes of a word.
pub(super) const MAC: u64 = (1 << 48) - 1;

/// Decrements the TTL or hop limit.
#[inline(always)]
fn hop_on<P: Packet>(packet: &mut P, link: &Link) -> Option<()> {
    if link.ethertype == ethertype::IPV4 && link.is_plain() {
        decrement_ttl(packet, Link::PLAIN)
    } else if link.ethertype == ethertype::IPV4 {
        hint::cold_path();
        decrement_ttl(packet, link.payload)
    } else {
        let [hop_limit] = packet.load::<1>(link.payload + 7)?;
        packet.store(link.payload + 7, [hop_limit.wrapping_sub(1)])
    }
}

/// Gives the frame the VLAN tag it needs, and sets the MACs. `to` and `from` are the first two words of a
/// [`Destination`](crate::layout::Destination): a MAC in the low six bytes, and in the high two of `from` the VLAN.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes words apart")]
fn envelope<P: Packet>(packet: &mut P, link: &Link, to: u64, from: u64) -> Option<()> {
    let vlan = (from >> 48) as u16;
    let tag = link.tag as u16;
    if link.tag & Link::TAGGED != 0 {
        hint::cold_path();
        if tag & VLAN_ID != vlan {
            if vlan == 0 {
                packet.grow_front(-4)?;
            } else {
                packet.store(14, (tag & !VLAN_ID | vlan).to_be_bytes())?;
            }
        }
    } else if vlan != 0 {
        hint::cold_path();
        packet.grow_front(4)?;
        packet.store(12, ethertype::VLAN.to_be_bytes())?;
        packet.store(14, vlan.to_be_bytes())?;
    }
    packet.store(0, (to & MAC | from << 48).to_le_bytes())?;
    packet.store(8, ((from >> 16) as u32).to_le_bytes())
}

//! Tunnels: a packet travels whole inside another one to a real server that may be anywhere
//! (`ip_vs_tunnel_xmit` and `ip_vs_tunnel_xmit_v6` in `net/netfilter/ipvs/ip_vs_xmit.c`).
//!
//! The outer header has the TTL of the inner one, which is decremented first, its type of service, and its DF bit.
//! The real server unpacks it (`ipip`, `ip6_tunnel`, `sit`) and answers the client directly.

use core::hint;

use crate::csum::Sum;
use crate::layout::NextHop;
use crate::net::{Be32, Be128, ethertype, protocol};
use crate::packet::Packet;
use crate::parse::{Link, Ports};
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};

use super::nat::{Ends, can_finish, is_partial};
use super::place::Chosen;
use super::refuse::too_big;
use super::send::{MAC, may_go};
use super::version::{Arrived, Version};
use super::{BROKEN, nat};

/// What the outer header takes from the inner one.
pub(super) struct Inherited {
    pub(super) class: u8,
    pub(super) hop_limit: u8,
    pub(super) dont_fragment: bool,
    /// Tells outer packets apart that may be fragmented on their way.
    pub(super) identification: [u8; 2],
}

/// The outer traffic class: congestion that the inner packet has met is not told again (RFC 3168 section 9.1.1, the
/// full-functionality option: `INET_ECN_encapsulate`).
#[inline(always)]
pub(super) const fn outer_class(class: u8) -> u8 {
    if class & 3 == 3 { class & !3 | 2 } else { class }
}

/// IP in IP (RFC 2003), IPv6 in IP (RFC 2473, RFC 4213).
const IPIP: u8 = 4;
const IPV6: u8 = 41;

/// Sends a packet through the tunnel to its real server. `ports` are those of a first or only fragment.
#[inline(always)]
pub(super) fn encapsulate<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    ip: &Arrived<A>,
    ports: Option<Ports>,
    chosen: &Chosen<'_>,
) -> Result<Verdict, Verdict> {
    let detail = tables.detail(chosen.reference.id()).ok_or(BROKEN)?;
    let is_ipv6 = (chosen.destination.order.load() >> 32) & 0xff == 6;
    let overhead = if is_ipv6 { 40 } else { 20 };
    let mtu = detail.mtu.load();
    if mtu != 0 && chosen.flags() & NextHop::LOCAL == 0 && (ip.length + overhead) as u64 > mtu {
        hint::cold_path();
        tables.count(Reason::TooBig);
        #[expect(clippy::cast_possible_truncation, reason = "less than a packet's length, which is 16 bits")]
        let fits = (mtu as usize).saturating_sub(overhead) as u16;
        return too_big(packet, link, ip, fits);
    }
    if detail.source[0].load() == 0 && chosen.flags() & NextHop::LOCAL == 0 {
        return Err(Verdict::Drop(Reason::NeighbourUnresolved));
    }
    may_go(tables, chosen, ip.length)?;
    if let Some(ports) = ports {
        finish(packet, ip, &ports)?;
    }
    let inherited = A::hop_on(packet, ip.at).ok_or(Reason::Malformed)?;
    let from = chosen.destination.source.load();
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    let (vlan, interface) = ((from >> 48) as u16, chosen.destination.interface.load() as u32);
    let inner = if A::IS_IPV6 { IPV6 } else { IPIP };
    let (source, server) = (&detail.source, &chosen.destination.address);
    // The new link header is in front of the new IP header, the old one gives its place to this.
    let header = if vlan == 0 { 14 } else { 18 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "sizes of headers")]
    let by = (overhead + header) as i32 - link.payload as i32;
    packet.grow_front(by).ok_or(Verdict::Drop(Reason::NoHeadroom))?;
    let kind = if is_ipv6 {
        let header6 = Ipv6Outer { source: Be128::from_table(source), destination: Be128::from_table(server) };
        header6.write(packet, header, inner, ip.length, &inherited).ok_or(Reason::Malformed)?;
        ethertype::IPV6
    } else {
        let header4 = Ipv4Outer { source: Be32::from_table(source), destination: Be32::from_table(server) };
        header4.write(packet, header, inner, ip.length, &inherited).ok_or(Reason::Malformed)?;
        ethertype::IPV4
    };
    link_header(packet, chosen.hop, from, vlan, kind).ok_or(Reason::Malformed)?;
    Ok(if interface == packet.ingress() { Verdict::Transmit } else { Verdict::Redirect(interface) })
}

/// The real server checks the inner checksum; nobody finishes it on the way.
#[inline(always)]
fn finish<P: Packet, A: Version>(packet: &mut P, ip: &Arrived<A>, ports: &Ports) -> Result<(), Verdict> {
    let ends = Ends {
        source: ip.source,
        destination: ip.destination,
        source_port: ports.source,
        destination_port: ports.destination,
    };
    if !is_partial(packet, ip.segment, ends).ok_or(Reason::Malformed)? {
        return Ok(());
    }
    hint::cold_path();
    if !can_finish(packet, ip.segment, ends).ok_or(Reason::Malformed)? {
        return Err(Verdict::Drop(Reason::Unfinished));
    }
    Ok(nat::finish(packet, ip.segment, ends.pseudo(ip.segment)).ok_or(Reason::Malformed)?)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
fn link_header<P: Packet>(packet: &mut P, to: u64, from: u64, vlan: u16, kind: u16) -> Option<()> {
    packet.store(0, (to & MAC | from << 48).to_le_bytes())?;
    packet.store(8, ((from >> 16) as u32).to_le_bytes())?;
    if vlan == 0 {
        return packet.store(12, kind.to_be_bytes());
    }
    packet.store(12, ethertype::VLAN.to_be_bytes())?;
    packet.store(14, vlan.to_be_bytes())?;
    packet.store(16, kind.to_be_bytes())
}

struct Ipv4Outer {
    source: Be32,
    destination: Be32,
}

impl Ipv4Outer {
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked against the MTU, or 65,535 at most by the kernel"
    )]
    fn write<P: Packet>(
        &self,
        packet: &mut P,
        at: usize,
        inner: u8,
        length: usize,
        from: &Inherited,
    ) -> Option<()> {
        let [l0, l1] = ((length + 20) as u16).to_be_bytes();
        let [i0, i1] = from.identification;
        let flags = if from.dont_fragment { 0x40 } else { 0 };
        let start = [0x45, outer_class(from.class), l0, l1, i0, i1, flags, 0];
        let sum = Sum::default()
            .add32(u32::from_ne_bytes([start[0], start[1], start[2], start[3]]))
            .add32(u32::from_ne_bytes([start[4], start[5], start[6], start[7]]))
            .add16(u16::from_ne_bytes([from.hop_limit, inner]))
            .add_v4(self.source)
            .add_v4(self.destination);
        let [c0, c1] = sum.checksum().to_ne_bytes();
        let ([a, b, c, d], [e, f, g, h]) = (self.source.wire(), self.destination.wire());
        packet.store(at, start)?;
        packet.store(at + 8, [from.hop_limit, inner, c0, c1, a, b, c, d])?;
        packet.store(at + 16, [e, f, g, h])
    }
}

struct Ipv6Outer {
    source: Be128,
    destination: Be128,
}

impl Ipv6Outer {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a packet's length is 16 bits")]
    fn write<P: Packet>(
        &self,
        packet: &mut P,
        at: usize,
        inner: u8,
        length: usize,
        from: &Inherited,
    ) -> Option<()> {
        let class = outer_class(from.class);
        let [l0, l1] = (length as u16).to_be_bytes();
        packet.store(at, [0x60 | class >> 4, class << 4, 0, 0, l0, l1, inner, from.hop_limit])?;
        let ([a, b], [c, d]) = (self.source.words(), self.destination.words());
        packet.store(at + 8, a.to_ne_bytes())?;
        packet.store(at + 16, b.to_ne_bytes())?;
        packet.store(at + 24, c.to_ne_bytes())?;
        packet.store(at + 32, d.to_ne_bytes())
    }
}

/// What an IPv4 header at `at` gives to the outer one, its TTL decremented.
#[inline(always)]
pub(super) fn inherit4<P: Packet>(packet: &mut P, at: usize) -> Option<Inherited> {
    let [_, class, _, _, i0, i1, flags, _] = packet.load::<8>(at)?;
    super::send::decrement_ttl(packet, at)?;
    let [hop_limit] = packet.load::<1>(at + 8)?;
    let dont_fragment = flags & 0x40 != 0;
    Some(Inherited { class, hop_limit, dont_fragment, identification: [i0, i1] })
}

/// As [`inherit4`]. The outer packet is not fragmented, as the inner one is not by routers.
#[inline(always)]
pub(super) fn inherit6<P: Packet>(packet: &mut P, at: usize) -> Option<Inherited> {
    let [a, b] = packet.load::<2>(at)?;
    let [hop_limit] = packet.load::<1>(at + 7)?;
    let hop_limit = hop_limit.wrapping_sub(1);
    packet.store(at + 7, [hop_limit])?;
    Some(Inherited { class: a << 4 | b >> 4, hop_limit, dont_fragment: true, identification: [0; 2] })
}

/// TCP and UDP have checksums that a local sender may leave unfinished.
#[inline(always)]
pub(super) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::UDP)
}

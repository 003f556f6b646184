//! ICMP errors about a balanced flow.

use crate::conn::{Key4, Key6};
use crate::net::protocol;
use crate::packet::Packet;
use crate::parse::{self, Ipv4, Ipv6, Link, Part};
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};

use super::place::{Chosen, existing, placement4, placement6};
use super::{BROKEN, accept, service4, service6};

/// An ICMP error follows the flow of the packet that it quotes: to the real server that sent it.
/// Everything else to a virtual address, echo requests too, is for the kernel.
#[inline(always)]
pub(super) fn icmp4<'t, P: Packet, T: Tables>(
    packet: &P,
    tables: &'t T,
    link: &Link,
    ip: &Ipv4,
) -> Result<Chosen<'t>, Verdict> {
    let [kind] = packet.load::<1>(ip.payload).ok_or(Reason::Malformed)?;
    // RFC 792: destination unreachable, source quench, time exceeded, parameter problem.
    if !matches!(kind, 3 | 4 | 11 | 12) || ip.part != Part::Whole {
        return Err(Reason::NoVirtualServer.into());
    }
    let quoted = parse::ipv4(packet, ip.payload + 8, false).ok_or(Reason::Malformed)?;
    if quoted.source != ip.destination || matches!(quoted.part, Part::Later(_)) {
        return Err(Reason::NoVirtualServer.into());
    }
    if !matches!(quoted.protocol, protocol::TCP | protocol::UDP) {
        return Err(Reason::NoVirtualServer.into());
    }
    let (port, client_port) = parse::port_pair(packet, quoted.payload).ok_or(Reason::Malformed)?;
    let service = service4(tables, quoted.source, port, quoted.protocol)?;
    let settings = tables.settings().ok_or(BROKEN)?;
    accept(packet, settings, link, ip.ttl)?;
    let flow = Key4::new(quoted.destination, client_port, service.id);
    let placement = placement4(quoted.destination, client_port, port);
    existing(tables, settings, flow, placement, service, port, packet.blur())
}

/// As [`icmp4`], for ICMPv6 (RFC 4443 types 1 to 4).
#[inline(always)]
pub(super) fn icmp6<'t, P: Packet, T: Tables>(
    packet: &P,
    tables: &'t T,
    link: &Link,
    ip: &Ipv6,
) -> Result<Chosen<'t>, Verdict> {
    let [kind] = packet.load::<1>(ip.payload).ok_or(Reason::Malformed)?;
    if !matches!(kind, 1..=4) || ip.part != Part::Whole {
        return Err(Reason::NoVirtualServer.into());
    }
    let quoted = parse::ipv6(packet, ip.payload + 8, false)?;
    if quoted.source != ip.destination || matches!(quoted.part, Part::Later(_)) {
        return Err(Reason::NoVirtualServer.into());
    }
    if !matches!(quoted.protocol, protocol::TCP | protocol::UDP) {
        return Err(Reason::NoVirtualServer.into());
    }
    let (port, client_port) = parse::port_pair(packet, quoted.payload).ok_or(Reason::Malformed)?;
    let service = service6(tables, quoted.source, port, quoted.protocol)?;
    let settings = tables.settings().ok_or(BROKEN)?;
    accept(packet, settings, link, ip.hop_limit)?;
    let flow = Key6::new(quoted.destination, client_port, service.id);
    let placement = placement6(quoted.destination, client_port, port);
    existing(tables, settings, flow, placement, service, port, packet.blur())
}

//! ICMP errors about a balanced flow.

use core::hint;

use crate::layout::{NextHop, Settings};
use crate::net::protocol;
use crate::packet::Packet;
use crate::parse::{Link, Part, port_pair};
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};

use super::nat::{Ends, Quote};
use super::place::{Chosen, existing};
use super::send::{depart, may_go, send};
use super::translate::{answers, origin, server_port};
use super::version::{Arrived, Version};
use super::way::{Way, way};
use super::{BROKEN, accept};

/// An ICMP error follows the flow of the packet that it quotes: one about a packet of a virtual server goes to the
/// real server that sent it, and one about a packet that was translated goes to the client that sent it. Everything
/// else to a virtual address, echo requests too, is for the kernel.
#[inline(always)]
pub(super) fn icmp<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    ip: &Arrived<A>,
) -> Result<Verdict, Verdict> {
    let [kind] = packet.load::<1>(ip.segment.at).ok_or(Reason::Malformed)?;
    if !A::is_error(kind) || !ip.is_whole() {
        return Err(Reason::NoVirtualServer.into());
    }
    let (quoted, part) = A::quoted(packet, ip.segment.at + 8)?;
    if !quoted.source.is(ip.destination) || matches!(part, Part::Later(_)) {
        return Err(Reason::NoVirtualServer.into());
    }
    if !matches!(quoted.protocol, protocol::TCP | protocol::UDP) {
        return Err(Reason::NoVirtualServer.into());
    }
    let (source_port, destination_port) = port_pair(packet, quoted.payload).ok_or(Reason::Malformed)?;
    let ends = Ends { source: quoted.source, destination: quoted.destination, source_port, destination_port };
    let quote = Quote {
        ip: ip.segment.at + 8,
        segment: quoted.payload,
        protocol: quoted.protocol,
        end: ip.segment.at + ip.segment.length,
    };
    let settings = tables.settings().ok_or(BROKEN)?;
    let Some(service) = A::service(tables, settings, ends.source, source_port, quoted.protocol) else {
        return to_client(packet, tables, link, ip, quote, ends);
    };
    accept(packet, settings, link, ip.ttl)?;
    let flow = ends.destination.flow(destination_port, service.id);
    let asked = ends.destination.asked(destination_port, ends.source, source_port);
    let chosen = existing(tables, settings, flow, asked, service, source_port, packet.blur())?;
    if chosen.is_tunnelled() {
        hint::cold_path();
        return Err(packet.stage(tables, chosen.stage()));
    }
    if chosen.flags() & NextHop::METHOD != 0 {
        hint::cold_path();
        return to_server(packet, tables, link, ip, quote, ends, &chosen);
    }
    send(packet, tables, link, &chosen, ip.length)
}

/// To a real server behind NAT: it knows its own address only.
#[inline(always)]
fn to_server<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    ip: &Arrived<A>,
    quote: Quote,
    ends: Ends<A>,
    chosen: &Chosen<'_>,
) -> Result<Verdict, Verdict> {
    may_go(tables, chosen, ip.length)?;
    let server = A::from_table(&chosen.destination.address);
    let new = Ends { source: server, source_port: server_port(chosen, ends.source_port), ..ends };
    let outer = Ends { source: ip.source, destination: server, ..ends };
    A::translate_error(packet, ip, quote, outer, [ends, new]).ok_or(Reason::Malformed)?;
    let hop = Way {
        to: chosen.hop,
        from: chosen.destination.source.load(),
        interface: chosen.destination.interface.load(),
    };
    depart(packet, link, hop)
}

/// From a real server, or a router before it, about a client's packet that was translated: the client knows the
/// virtual server only, so that is who seems to send it (`ip_vs_nat_icmp` in `net/netfilter/ipvs/ip_vs_core.c`).
#[inline(always)]
fn to_client<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    ip: &Arrived<A>,
    quote: Quote,
    ends: Ends<A>,
) -> Result<Verdict, Verdict> {
    let settings = tables.settings().ok_or(BROKEN)?;
    if settings.flags.load() & Settings::NAT == 0 {
        return Err(Reason::NoVirtualServer.into());
    }
    let answers = answers(tables, ends.destination, ends.destination_port, quote.protocol)?;
    accept(packet, settings, link, ip.ttl)?;
    let client = (ends.source, ends.source_port);
    // Without an entry it may be about a packet of the real server's own neighbour that it never translated.
    let origin = origin(tables, answers, client, ends.destination_port, true)?;
    let hop = way(tables, settings, ip.destination)?;
    tables.count_answer(origin.owner.destination.id(), ip.length as u64);
    let new = Ends { destination: origin.address, destination_port: origin.port, ..ends };
    let outer = Ends { source: origin.address, destination: ip.destination, ..ends };
    A::translate_error(packet, ip, quote, outer, [ends, new]).ok_or(Reason::Malformed)?;
    depart(packet, link, hop)
}

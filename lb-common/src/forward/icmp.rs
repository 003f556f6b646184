//! ICMP errors about a balanced flow.

use core::hint;

use crate::layout::{Method, NextHop, Settings};
use crate::net::protocol;
use crate::packet::Packet;
use crate::parse::{Link, Part, port_pair};
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};

use super::full_nat::Client;
use super::nat::{Ends, Quote};
use super::place::{Chosen, existing};
use super::send::{depart, may_go, send};
use super::translate::{answers, origin, server_port};
use super::version::{Arrived, Version};
use super::way::{Way, way};
use super::{BROKEN, Stage, accept, full_nat};

/// What an ICMP error quotes of a TCP segment or UDP datagram of its receiver's.
#[inline(always)]
fn quoted<P: Packet, A: Version>(packet: &P, ip: &Arrived<A>) -> Result<(Quote, Ends<A>), Verdict> {
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
    Ok((quote, ends))
}

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
    let (quote, ends) = quoted(packet, ip)?;
    let (source_port, destination_port) = (ends.source_port, ends.destination_port);
    let settings = tables.settings().ok_or(BROKEN)?;
    let Some(service) = A::service(tables, settings, ends.source, source_port, quote.protocol) else {
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
    if chosen.flags() & NextHop::METHOD == Method::FullNat as u8 {
        hint::cold_path();
        return Err(packet.stage(tables, Stage::ErrorOfLease(chosen.reference)));
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

/// Finds the lease of the flow that an error is about, and goes on with [`to_server_of_lease`].
#[inline(always)]
pub(super) fn of_lease<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    ip: &Arrived<A>,
    chosen: &Chosen<'_>,
) -> Result<Verdict, Verdict> {
    let (quote, ends) = quoted(packet, ip)?;
    let settings = tables.settings().ok_or(BROKEN)?;
    let service = A::service(tables, settings, ends.source, ends.source_port, quote.protocol)
        .ok_or(Reason::NoVirtualServer)?
        .id;
    let client = (ends.destination, ends.destination_port);
    let index = full_nat::of_flow(tables, chosen, client, ends.source_port, quote.protocol, service, None)?;
    Err(packet.stage(tables, Stage::ErrorToServer(index)))
}

/// To a real server by full NAT, which knows its own address and the director's.
#[inline(always)]
pub(super) fn to_server_of_lease<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    ip: &Arrived<A>,
    index: u32,
) -> Result<Verdict, Verdict> {
    let (quote, ends) = quoted(packet, ip)?;
    let (new, chosen) = full_nat::server_side(tables, index)?;
    may_go(tables, &chosen, ip.length)?;
    // What it sent is what the director sends it, the other way round.
    let new = Ends {
        source: new.destination,
        source_port: new.destination_port,
        destination: new.source,
        destination_port: new.source_port,
    };
    let outer = Ends { source: ip.source, destination: new.source, ..ends };
    A::translate_error(packet, ip, quote, outer, [ends, new]).ok_or(Reason::Malformed)?;
    depart(packet, link, full_nat::hop(&chosen))
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
    let client = client(tables, settings, quote.protocol, ends)?;
    accept(packet, settings, link, ip.ttl)?;
    let hop = way(tables, settings, client.address)?;
    tables.count_answer(client.destination.id(), ip.length as u64);
    let new = Ends {
        source: client.address,
        source_port: client.port,
        destination: client.virtual_server,
        destination_port: client.virtual_port,
    };
    let outer = Ends { source: client.virtual_server, destination: client.address, ..ends };
    A::translate_error(packet, ip, quote, outer, [ends, new]).ok_or(Reason::Malformed)?;
    depart(packet, link, hop)
}

/// The client of a translated packet.
#[inline(always)]
fn client<A: Version, T: Tables>(
    tables: &T,
    settings: &Settings,
    protocol: u8,
    ends: Ends<A>,
) -> Result<Client<A>, Verdict> {
    let flags = settings.flags.load();
    if flags & Settings::FULL_NAT != 0 {
        let (source, server) = ((ends.source, ends.source_port), (ends.destination, ends.destination_port));
        if let Some(index) = full_nat::of_answer(tables, source, server, protocol) {
            return full_nat::client(tables, index);
        }
    }
    if flags & Settings::NAT == 0 {
        return Err(Reason::NoVirtualServer.into());
    }
    let answers = answers(tables, ends.destination, ends.destination_port, protocol)?;
    let client = (ends.source, ends.source_port);
    // Without an entry it may be about a packet of the real server's own neighbour that it never translated.
    let origin = origin(tables, answers, client, ends.destination_port, true)?;
    Ok(Client {
        address: ends.source,
        port: ends.source_port,
        virtual_server: origin.address,
        virtual_port: origin.port,
        destination: origin.owner.destination,
    })
}

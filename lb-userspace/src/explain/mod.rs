//! `lbctl explain`: which decision the program would take now about a packet, and why.
//!
//! The decision is the datapath's own: [`lb_common::forward::forward`] runs on a synthetic [`frame`] and on the
//! running director's tables, of which it writes [`copies`] only. Nothing here decides anything again; it names
//! what the packet met.

mod copies;
mod explanation;
mod frame;
mod scheduler;
#[cfg(test)]
mod tests;
mod text;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use lb_common::admission::Listing;
use lb_common::forward::{admission, forward, sticky};
use lb_common::layout::{DestinationRef, Identity, NextHop, Service, from_mac_word};
use lb_common::net::{Be32, Be128, MacAddress, protocol};
use lb_common::packet::MemoryPacket;
use lb_common::verdict::{Reason, Verdict};

use crate::list;
use crate::list::snapshot::live_connections;
use crate::plane::applied::address_of;
use crate::plane::desired::ServiceKey;
use crate::plane::store::{answers, virtual_servers};
use copies::{Arenas, Copies, Seen};
pub use explanation::{By, Choice, Compared, Explanation, Out, RealServer, Source, VirtualServer};
use frame::{Frame, Kind};
pub use text::write;

/// Which packet.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Where it comes from; port 0: one that has no connection yet.
    pub client: SocketAddr,
    /// Where it goes to.
    pub virtual_server: SocketAddr,
    /// UDP, not TCP.
    pub udp: bool,
    /// A TCP packet in the middle of a connection (`Some(true)`), one that opens a connection (`Some(false)`), or
    /// whichever fits.
    pub midstream: Option<bool>,
    /// The index of the interface it comes in on; the first of the director's if not given.
    pub interface: Option<u32>,
}

/// Why there is no explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unexplained {
    /// Two families.
    #[error("{client} and {virtual_server} are of two families; give both as IPv4 or both as IPv6")]
    Families {
        /// From the question.
        client: SocketAddr,
        /// From the question.
        virtual_server: SocketAddr,
    },
    /// The program is nowhere, or not there.
    #[error("the program is on no such interface; `lbctl list` shows whether the director is up")]
    NoInterface,
}

/// Runs the datapath for a packet, without any change to the tables.
///
/// # Errors
///
/// Nothing that could be asked.
pub fn explain<S: list::Source>(source: &S, question: &Question) -> Result<Explanation, Unexplained> {
    let Question { mut client, virtual_server: address, udp, .. } = *question;
    if client.is_ipv4() != address.is_ipv4() {
        return Err(Unexplained::Families { client, virtual_server: address });
    }
    let (interface, to) = interface(source, question.interface).ok_or(Unexplained::NoInterface)?;
    let found = service(source, address, udp);
    let is_answer = found.is_none() && is_real_server(source, client, udp);
    let entry = |client: SocketAddr| {
        let (_, service) = found?;
        live_connections(source, source.now())
            .find(|connection| connection.client == client && connection.service == service.id)
    };
    if client.port() == 0 {
        let ports = (32_768..=u16::MAX).map(|port| SocketAddr::new(client.ip(), port));
        client = free_port(source, found.map(|(_, service)| service.id), ports).unwrap_or(client);
    }
    let entry = entry(client);
    let kind = match (udp, question.midstream.unwrap_or(entry.is_some() || is_answer)) {
        (true, _) => Kind::Datagram,
        (false, true) => Kind::Ack,
        (false, false) => Kind::Syn,
    };
    let about = found.map_or_else(Source::default, |(_, service)| about(source, service, client.ip()));
    let arenas = Arenas::default();
    let copies = Copies::new(source, &arenas);
    let bytes = Frame { to, client, virtual_server: address, kind }.bytes();
    let mut packet = MemoryPacket::new(bytes, interface);
    let verdict = forward(&mut packet, &copies);
    let seen = copies.seen();
    let destination = chosen(source, &seen);
    let (word, out) = match verdict {
        // The last is none of a frame in plain memory.
        Verdict::Pass(_) | Verdict::Next(_) => ("pass", None),
        Verdict::Drop(_) => ("drop", None),
        Verdict::Transmit => ("transmit", out(packet.bytes(), interface)),
        Verdict::Redirect(index) => ("redirect", out(packet.bytes(), index)),
    };
    let out =
        out.map(|out| Out { translated: out.translated.filter(|ends| *ends != (client, address)), ..out });
    // An answer's virtual server is where it says it comes from.
    let found = found.or_else(|| {
        let (from, _) = out.as_ref()?.translated?;
        seen.answered.and_then(|_| service(source, from, udp))
    });
    let begins = matches!(seen.counted, Some((_, true)));
    let choice = destination.and_then(|id| {
        let (_, service) = found?;
        if seen.answered.is_some() {
            return Some(Choice::Answer);
        }
        let is_of = |reference: DestinationRef| reference.id() == id;
        match entry.filter(|entry| is_of(entry.value.destination())) {
            Some(entry) if !begins => Some(Choice::Connection {
                state: entry.value.state().as_str(),
                expires_in_seconds: list::seconds_left(
                    list::timeout(source, &entry),
                    entry.value,
                    source.now(),
                ),
            }),
            _ => Some(scheduler::choice(source, service, id, &seen)),
        }
    });
    Ok(Explanation {
        schema: "lbctl/explain/v1",
        client,
        address,
        packet: kind.as_str(),
        interface,
        virtual_server: found.map(|(key, service)| VirtualServer {
            protocol: if key.protocol == protocol::UDP { "udp" } else { "tcp" },
            address: SocketAddr::new(key.address, key.port),
            scheduler: source
                .schedules()
                .get(usize::from(service.schedule))
                .map(|schedule| lb_common::layout::Rules::from_word(schedule.scheduler.load()).code)
                .and_then(lb_common::layout::SchedulerCode::from_number)
                .map(lb_common::layout::SchedulerCode::as_str),
        }),
        source: about,
        compared: match (choice, found) {
            (Some(Choice::Scheduler | Choice::Locality), Some((key, _))) => scheduler::compared(source, &key),
            _ => Vec::new(),
        },
        choice,
        real_server: destination.and_then(|id| real_server(source, id)),
        out,
        verdict: word,
        reasons: seen.reasons.iter().map(|reason| reason.as_str()).collect(),
    })
}

/// What the virtual server says of a source.
fn about<S: list::Source>(source: &S, service: Service, client: IpAddr) -> Source {
    let (words, length) = match client {
        IpAddr::V4(address) => ([u64::from(Be32::from_wire(address.octets()).bits()), 0], 32),
        IpAddr::V6(address) => (Be128::from_wire(address.octets()).words(), 128),
    };
    let arenas = Arenas::default();
    let copies = Copies::new(source, &arenas);
    let is_set = |flag| service.flags & flag != 0;
    let value = match client {
        _ if !is_set(Service::LISTED) => None,
        IpAddr::V4(address) => source.network4(service.schedule, Be32::from_wire(address.octets())),
        IpAddr::V6(address) => source.network6(service.schedule, Be128::from_wire(address.octets())),
    };
    let listed = value.and_then(Listing::from_value);
    let network = listed.and_then(|(_, bits)| IpNet::new(client, bits.min(length)).ok());
    let rest = sticky::rest(service.schedule, true, client.is_ipv6());
    let rate = is_set(Service::RATED).then(|| admission::left(&copies, words, rest)).flatten();
    Source {
        network: network.map(|network| network.trunc()),
        denied: matches!(listed, Some((Listing::Deny, _))),
        rate_left: rate.map(|(left, _)| left),
        rate_burst: rate.map(|(_, burst)| burst),
    }
}

/// The first port without a connection entry.
fn free_port<S: list::Source>(
    source: &S,
    service: Option<u16>,
    mut ports: impl Iterator<Item = SocketAddr>,
) -> Option<SocketAddr> {
    let first = ports.next()?;
    let taken: std::collections::HashSet<u16> = live_connections(source, source.now())
        .filter(|entry| Some(entry.service) == service && entry.client.ip() == first.ip())
        .map(|entry| entry.client.port())
        .collect();
    std::iter::once(first).chain(ports).find(|client| !taken.contains(&client.port()))
}

/// An interface that the program is on, and its MAC.
fn interface<S: list::Source>(source: &S, wanted: Option<u32>) -> Option<(u32, MacAddress)> {
    source.settings().interfaces.iter().find_map(|slot| {
        let index = u32::try_from(slot.index.load()).ok().filter(|index| *index != 0)?;
        let (mac, _) = from_mac_word(slot.mac.load());
        wanted.is_none_or(|wanted| wanted == index).then_some((index, mac))
    })
}

/// The virtual server of an address: its own, else the one of any port.
fn service<S: list::Source>(source: &S, address: SocketAddr, udp: bool) -> Option<(ServiceKey, Service)> {
    let protocol = if udp { protocol::UDP } else { protocol::TCP };
    let key = |port| ServiceKey { protocol, address: address.ip(), port };
    let mut any = None;
    for (found, service) in virtual_servers(source) {
        if found == key(address.port()) {
            return Some((found, service));
        }
        if found == key(0) {
            any = Some((found, service));
        }
    }
    any
}

/// The destination that the packet went to, or would have gone to but for the reason that it did not.
fn chosen<S: list::Source>(source: &S, seen: &Seen) -> Option<u32> {
    let in_use = |id: &u32| {
        source.destinations().get(*id as usize).is_some_and(|destination| {
            NextHop::from_word(destination.next_hop.load()).flags & NextHop::IN_USE != 0
        })
    };
    seen.counted.map(|(id, _)| id).or(seen.answered).or_else(|| {
        let is_about_it = |reason: &Reason| {
            ["local-real-server", "neighbour-unresolved", "no-headroom"].contains(&reason.as_str())
        };
        seen.reasons.iter().any(is_about_it).then(|| seen.destinations.last().copied())?.filter(in_use)
    })
}

/// Is this the address and port of a real server whose answers the datapath knows?
fn is_real_server<S: list::Source>(source: &S, address: SocketAddr, udp: bool) -> bool {
    let number = if udp { protocol::UDP } else { protocol::TCP };
    answers(source).any(|(key, _)| {
        key.protocol == number && key.address == address.ip() && [0, address.port()].contains(&key.port)
    })
}

fn real_server<S: list::Source>(source: &S, id: u32) -> Option<RealServer> {
    let destination = source.destinations().get(id as usize)?;
    let identity = Identity::from_word(destination.identity.load());
    let flags = NextHop::from_word(destination.next_hop.load()).flags;
    Some(RealServer {
        address: SocketAddr::new(address_of(destination), identity.port.host()),
        weight: identity.weight,
        retired: flags & NextHop::RETIRED != 0,
    })
}

/// What stands in a frame that goes out.
fn out(frame: &[u8], interface: u32) -> Option<Out> {
    let destination_mac = *frame.first_chunk::<6>()?;
    let source_mac = *frame.get(6..)?.first_chunk::<6>()?;
    let (vlan, ip) = match frame.get(12..14)? {
        [0x81, 0x00] => {
            let tag = u16::from_be_bytes(*frame.get(14..)?.first_chunk::<2>()?);
            (Some(tag & 0xfff), frame.get(18..)?)
        }
        _ => (None, frame.get(14..)?),
    };
    let ttl = match ip.first()? >> 4 {
        4 => ip.get(8),
        _ => ip.get(7),
    };
    Some(Out { interface, destination_mac, source_mac, vlan, ttl: ttl.copied(), translated: ends(ip) })
}

/// Source and destination of a packet, with the ports that it has if it is TCP or UDP.
fn ends(ip: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (number, source, destination, header): (_, IpAddr, IpAddr, _) = match ip.first()? >> 4 {
        4 => (
            *ip.get(9)?,
            (*ip.get(12..)?.first_chunk::<4>()?).into(),
            (*ip.get(16..)?.first_chunk::<4>()?).into(),
            usize::from(ip.first()? & 15) * 4,
        ),
        _ => (
            *ip.get(6)?,
            (*ip.get(8..)?.first_chunk::<16>()?).into(),
            (*ip.get(24..)?.first_chunk::<16>()?).into(),
            40,
        ),
    };
    let has_ports = [protocol::TCP, protocol::UDP].contains(&number);
    let port = |at: usize| {
        let bytes = ip.get(header + at..)?.first_chunk::<2>()?;
        Some(u16::from_be_bytes(*bytes))
    };
    let [from, to] = if has_ports { [port(0)?, port(2)?] } else { [0; 2] };
    Some((SocketAddr::new(source, from), SocketAddr::new(destination, to)))
}

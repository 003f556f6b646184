//! `lbctl explain`: which decision the program would take now about a packet, and why.
//!
//! The decision is the datapath's own: [`lb_common::forward::forward`] runs on a synthetic [`frame`] and on the
//! running director's tables, of which it writes [`copies`] only. Nothing here decides anything again; it names
//! what the packet met.

mod copies;
mod frame;
#[cfg(test)]
mod tests;
mod text;

use std::net::SocketAddr;

use lb_common::forward::forward;
use lb_common::layout::{DestinationRef, Identity, NextHop, RING_HEADER, Service, from_mac_word};
use lb_common::net::{MacAddress, protocol};
use lb_common::packet::MemoryPacket;
use lb_common::verdict::{Reason, Verdict};
use serde::{Serialize, Serializer};

use crate::list::Source;
use crate::list::snapshot::live_connections;
use crate::plane::applied::address_of;
use crate::plane::desired::ServiceKey;
use crate::plane::store::virtual_servers;
use copies::{Arenas, Copies, Seen};
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

/// What would become of the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// "lbctl/explain/v1".
    pub schema: &'static str,
    /// Address and port.
    pub client: SocketAddr,
    /// As asked for.
    pub address: SocketAddr,
    /// "TCP SYN", "TCP ACK" or "UDP".
    pub packet: &'static str,
    /// Index of the interface it comes in on.
    pub interface: u32,
    /// The virtual server that it is for, if any.
    pub virtual_server: Option<VirtualServer>,
    /// How its real server was found.
    pub choice: Option<Choice>,
    /// Its real server, if one was found.
    pub real_server: Option<RealServer>,
    /// How it goes out, if it does.
    pub out: Option<Out>,
    /// "transmit", "redirect", "pass" or "drop".
    pub verdict: &'static str,
    /// Names of what is counted.
    pub reasons: Vec<&'static str>,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VirtualServer {
    /// "tcp" or "udp".
    pub protocol: &'static str,
    /// Address and port; port 0 for any.
    pub address: SocketAddr,
    /// As in the configuration; null: another version's.
    pub scheduler: Option<&'static str>,
}

/// How a real server was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// By its connection's entry.
    Connection {
        /// The entry's state.
        state: &'static str,
        /// Until it ends, if no packet comes.
        expires_in_seconds: u64,
    },
    /// By the scheduler's ring.
    Ring {
        /// From 0.
        slot: u32,
        /// Of so many.
        slots: u32,
    },
    /// By the scheduler, in another way.
    Scheduler,
}

/// A real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RealServer {
    /// Address and port; port 0: the client's.
    pub address: SocketAddr,
    /// As configured.
    pub weight: u32,
    /// Taken out of the configuration.
    pub retired: bool,
}

/// A frame on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Out {
    /// Index of the interface.
    pub interface: u32,
    /// As `02:00:00:00:00:01`.
    #[serde(serialize_with = "mac")]
    pub destination_mac: MacAddress,
    /// As `02:00:00:00:00:01`.
    #[serde(serialize_with = "mac")]
    pub source_mac: MacAddress,
    /// The tag's id.
    pub vlan: Option<u16>,
    /// Of the IP header; hop limit in IPv6.
    pub ttl: Option<u8>,
}

/// A MAC address in colons.
pub(crate) fn colons(mac: MacAddress) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn mac<S: Serializer>(mac: &MacAddress, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&colons(*mac))
}

/// Runs the datapath for a packet, without any change to the tables.
///
/// # Errors
///
/// Nothing that could be asked.
pub fn explain<S: Source>(source: &S, question: &Question) -> Result<Explanation, Unexplained> {
    let Question { mut client, virtual_server: address, udp, .. } = *question;
    if client.is_ipv4() != address.is_ipv4() {
        return Err(Unexplained::Families { client, virtual_server: address });
    }
    let (interface, to) = interface(source, question.interface).ok_or(Unexplained::NoInterface)?;
    let found = service(source, address, udp);
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
    let kind = match (udp, question.midstream.unwrap_or(entry.is_some())) {
        (true, _) => Kind::Datagram,
        (false, true) => Kind::Ack,
        (false, false) => Kind::Syn,
    };
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
        Verdict::Transmit => ("transmit", Some(out(packet.bytes(), interface))),
        Verdict::Redirect(index) => ("redirect", Some(out(packet.bytes(), index))),
    };
    let choice = destination.and_then(|id| {
        let (_, service) = found?;
        let timeouts = source.settings();
        let is_of = |reference: DestinationRef| reference.id() == id;
        match entry.filter(|entry| is_of(entry.value.destination())) {
            Some(entry) if !matches!(seen.counted, Some((_, true))) => Some(Choice::Connection {
                state: entry.value.state().as_str(),
                expires_in_seconds: crate::list::seconds_left(timeouts, entry.value, source.now()),
            }),
            _ => Some(slot(source, service, &seen).unwrap_or(Choice::Scheduler)),
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
        choice,
        real_server: destination.and_then(|id| real_server(source, id)),
        out: out.flatten(),
        verdict: word,
        reasons: seen.reasons.iter().map(|reason| reason.as_str()).collect(),
    })
}

/// The first port without a connection entry.
fn free_port<S: Source>(
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
fn interface<S: Source>(source: &S, wanted: Option<u32>) -> Option<(u32, MacAddress)> {
    source.settings().interfaces.iter().find_map(|slot| {
        let index = u32::try_from(slot.index.load()).ok().filter(|index| *index != 0)?;
        let (mac, _) = from_mac_word(slot.mac.load());
        wanted.is_none_or(|wanted| wanted == index).then_some((index, mac))
    })
}

/// The virtual server of an address: its own, else the one of any port.
fn service<S: Source>(source: &S, address: SocketAddr, udp: bool) -> Option<(ServiceKey, Service)> {
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
fn chosen<S: Source>(source: &S, seen: &Seen) -> Option<u32> {
    let in_use = |id: &u32| {
        source.destinations().get(*id as usize).is_some_and(|destination| {
            NextHop::from_word(destination.next_hop.load()).flags & NextHop::IN_USE != 0
        })
    };
    seen.counted.map(|(id, _)| id).or_else(|| {
        let is_about_it = |reason: &Reason| {
            ["local-real-server", "neighbour-unresolved", "no-headroom"].contains(&reason.as_str())
        };
        seen.reasons.iter().any(is_about_it).then(|| seen.destinations.last().copied())?.filter(in_use)
    })
}

/// The slot of the ring that was read last.
fn slot<S: Source>(source: &S, service: Service, seen: &Seen) -> Option<Choice> {
    let schedule = source.schedules().get(usize::from(service.schedule))?;
    let place = lb_common::layout::RingPlace::from_word(schedule.ring.load());
    let first = place.offset.checked_add(RING_HEADER)?;
    let slot = seen.ring.iter().rev().find_map(|index| index.checked_sub(first))?;
    (slot < place.slots).then_some(Choice::Ring { slot, slots: place.slots })
}

fn real_server<S: Source>(source: &S, id: u32) -> Option<RealServer> {
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
    Some(Out { interface, destination_mac, source_mac, vlan, ttl: ttl.copied() })
}

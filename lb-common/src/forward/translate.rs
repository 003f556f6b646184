//! NAT: packets of clients to real servers, and the answers of real servers to clients.
//!
//! An answer needs no state of its flow where its source, an address and port of a real server, is in one virtual
//! server: whatever comes from there is made to come from the virtual server, whether the flow's entry is there or
//! not. Where several virtual servers share the real server's port, the one that has an entry of the flow is it.
//!
//! A real server may send from that port on its own account, and such packets are not answers:
//! - TCP: a SYN without ACK opens a connection of its own.
//! - UDP: only what has an entry of the flow is an answer, for a server of datagrams asks others from its own port
//!   (a resolver from port 53), and every client's request made an entry.

use core::hint;

use crate::conn::{Event, State, Value};
use crate::layout::{Answers, Identity, NextHop, Owner, Settings};
use crate::net::{Be16, Be32, Be128, protocol};
use crate::packet::Packet;
use crate::parse::{Link, Ports};
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};
use crate::word::Blur;

use super::fragment::remember_answer;
use super::nat::{Ends, can_finish, translate_segment};
use super::place::{Chosen, entry};
use super::send::{depart, may_go};
use super::version::{Arrived, Version, has_any_port};
use super::way::{Way, learn, way};
use super::{BROKEN, Stage, accept, full_nat};

/// Cannot be: the frame was long enough when it was read.
pub(super) const SHORT: Verdict = Verdict::Drop(Reason::Malformed);

/// Sends a client's packet to its real server by another method than direct routing.
#[inline(always)]
pub(super) fn to_server<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    ip: &Arrived<A>,
    ports: &Ports,
    chosen: &Chosen<'_>,
) -> Result<Verdict, Verdict> {
    may_go(tables, chosen, ip.length)?;
    let settings = tables.settings().ok_or(BROKEN)?;
    if chosen.new {
        hint::cold_path();
        learn(packet, tables, settings, link, ip.source);
    }
    let old = Ends {
        source: ip.source,
        destination: ip.destination,
        source_port: ports.source,
        destination_port: ports.destination,
    };
    let new = Ends {
        destination: A::from_table(&chosen.destination.address),
        destination_port: server_port(chosen, ports.destination),
        ..old
    };
    let hop = Way {
        to: chosen.hop,
        from: chosen.destination.source.load(),
        interface: chosen.destination.interface.load(),
    };
    translated(packet, link, ip, old, new, hop)
}

/// The real server's port, which is the client's choice if it has none of its own.
#[inline(always)]
pub(super) fn server_port(chosen: &Chosen<'_>, port: Be16) -> Be16 {
    let own = Identity::from_word(chosen.destination.identity.load()).port;
    if own.bits() == 0 { port } else { own }
}

/// Translates a packet and sends it.
#[inline(always)]
pub(super) fn translated<P: Packet, A: Version>(
    packet: &mut P,
    link: &Link,
    ip: &Arrived<A>,
    old: Ends<A>,
    new: Ends<A>,
    hop: Way,
) -> Result<Verdict, Verdict> {
    if !can_finish(packet, ip.segment, old).ok_or(SHORT)? {
        return Err(Verdict::Drop(Reason::Unfinished));
    }
    translate_segment(packet, ip.segment, old, new).ok_or(SHORT)?;
    A::translate_header(packet, ip.at, new.source, new.destination).ok_or(SHORT)?;
    depart(packet, link, hop)
}

/// An answer's virtual server: its address and port for the client.
#[derive(Clone, Copy)]
pub(super) struct Origin<A> {
    pub(super) owner: Owner,
    pub(super) address: A,
    pub(super) port: Be16,
}

/// Sends what may be the answer of a real server to its client. Where the packet `is_plain` and it is clear whose answer
/// it is, that costs little and is not left to its stage.
#[inline(always)]
pub(super) fn answered<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    settings: &Settings,
    link: &Link,
    ip: &Arrived<A>,
    ports: &Ports,
    is_plain: bool,
) -> Result<Verdict, Verdict> {
    if is_plain && ip.segment.protocol == protocol::TCP && ports.event != Event::SYN {
        match ip.source.answers(tables, ports.source, protocol::TCP).map(Answers::from_word) {
            Some(Answers::One(owner)) => {
                accept(packet, settings, link, ip.ttl)?;
                let (address, port) = virtual_server(tables, owner.service, ports.source)?;
                return to_client(packet, tables, settings, link, ip, ports, Origin { owner, address, port });
            }
            None if !has_any_port(settings) => return Err(Reason::NoVirtualServer.into()),
            None | Some(Answers::Several { .. }) => {}
        }
    }
    hint::cold_path();
    Err(packet.stage(tables, Stage::Answer))
}

/// As [`answered`], of any packet.
#[inline(always)]
pub(super) fn answer<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    ip: &Arrived<A>,
    ports: &Ports,
) -> Result<Verdict, Verdict> {
    let settings = tables.settings().ok_or(BROKEN)?;
    let flags = settings.flags.load();
    if flags & Settings::FULL_NAT != 0 {
        hint::cold_path();
        if let Some(stage) = full_nat::answer(tables, ip, ports) {
            return Err(packet.stage(tables, stage));
        }
    }
    if flags & Settings::NAT == 0 {
        return Err(Reason::NoVirtualServer.into());
    }
    let answers = answers(tables, ip.source, ports.source, ip.segment.protocol)?;
    accept(packet, settings, link, ip.ttl)?;
    if ports.event == Event::SYN {
        hint::cold_path();
        let [flags] = packet.load::<1>(ip.segment.at + 13).ok_or(SHORT)?;
        if flags & 0x10 == 0 {
            return Err(Reason::NoVirtualServer.into());
        }
    }
    let client = (ip.destination, ports.destination);
    let is_datagram = ip.segment.protocol == protocol::UDP;
    let origin = origin(tables, answers, client, ports.source, is_datagram)?;
    to_client(packet, tables, settings, link, ip, ports, origin)
}

/// Sends an answer to its client.
#[inline(always)]
fn to_client<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    settings: &Settings,
    link: &Link,
    ip: &Arrived<A>,
    ports: &Ports,
    origin: Origin<A>,
) -> Result<Verdict, Verdict> {
    let hop = way(tables, settings, ip.destination)?;
    if ip.is_first {
        hint::cold_path();
        remember_answer(tables, settings, &A::fragment_key(ip), origin.owner);
    }
    tables.count_answer(origin.owner.destination.id(), ip.length as u64);
    let old = Ends {
        source: ip.source,
        destination: ip.destination,
        source_port: ports.source,
        destination_port: ports.destination,
    };
    let new = Ends { source: origin.address, source_port: origin.port, ..old };
    translated(packet, link, ip, old, new, hop)
}

/// Whose answers those from this address and port are.
#[inline(always)]
pub(super) fn answers<A: Version, T: Tables>(
    tables: &T,
    server: A,
    port: Be16,
    protocol: u8,
) -> Result<Answers, Reason> {
    let [a, b] = server.words();
    let key = u32::from(port.bits()) | u32::from(protocol) << 16;
    let found = tables.answers(a, b, key, A::IS_IPV6);
    if found & FOUND == 0 { Err(Reason::NoVirtualServer) } else { Ok(Answers::from_word(found)) }
}

/// [`Answers`] as a word and [`FOUND`] of the real server whose address are these words, or 0. `key` is its port and,
/// above it, the protocol.
#[inline(always)]
pub fn find_answers<T: Tables>(tables: &T, a: u64, b: u64, key: u32, is_ipv6: bool) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    let (port, protocol) = (Be16::from_bits(key as u16), (key >> 16) as u8);
    let found = if is_ipv6 {
        by_name::<Be128, T>(tables, [a, b], port, protocol)
    } else {
        by_name::<Be32, T>(tables, [a, b], port, protocol)
    };
    match found {
        Some(word) => word | FOUND,
        None => 0,
    }
}

#[inline(always)]
fn by_name<A: Version, T: Tables>(tables: &T, words: [u64; 2], port: Be16, protocol: u8) -> Option<u64> {
    let server = A::from_words(words);
    if let Some(found) = server.answers(tables, port, protocol) {
        return Some(found);
    }
    hint::cold_path();
    if has_any_port(tables.settings()?) { server.answers(tables, Be16::default(), protocol) } else { None }
}

/// The virtual server that an answer to this client comes from. `port` is the real server's.
#[inline(always)]
pub(super) fn origin<A: Version, T: Tables>(
    tables: &T,
    answers: Answers,
    (client, client_port): (A, Be16),
    port: Be16,
    needs_entry: bool,
) -> Result<Origin<A>, Verdict> {
    let owner = match answers {
        Answers::One(owner) if !needs_entry => owner,
        Answers::One(_) | Answers::Several { .. } => {
            hint::cold_path();
            let [a, b] = client.words();
            let ports = u32::from(client_port.bits()) | u32::from(port.bits()) << 16;
            let found = tables.owner(a, b, ports, answers.to_word(), A::IS_IPV6);
            if found & FOUND == 0 {
                return Err(Reason::NoVirtualServer.into());
            }
            Owner::from_word(found)
        }
    };
    let (address, port) = virtual_server(tables, owner.service, port)?;
    Ok(Origin { owner, address, port })
}

/// The bit of what [`find_answers`] and [`owner`] return that says that there is one.
const FOUND: u64 = 1 << 63;

/// Who of those that [`Answers`] (as a word) names has a live entry of the flow of the client whose address are
/// these words: an [`Owner`] as a word and [`FOUND`], or 0. `ports` are the client's and, above it, the real server's.
#[inline(always)]
pub fn owner<T: Tables>(tables: &T, a: u64, b: u64, ports: u32, answers: u64, is_ipv6: bool) -> u64 {
    let Some(settings) = tables.settings() else { return 0 };
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    let (client_port, port) = (Be16::from_bits(ports as u16), Be16::from_bits((ports >> 16) as u16));
    let has = |owner: Owner| {
        if is_ipv6 {
            let client = <Be128 as Version>::from_words([a, b]);
            has_entry(tables, settings, client, client_port, port, owner)
        } else {
            let client = <Be32 as Version>::from_words([a, b]);
            has_entry(tables, settings, client, client_port, port, owner)
        }
    };
    let offset = match Answers::from_word(answers) {
        Answers::One(owner) => return if has(owner) { owner.to_word() | FOUND } else { 0 },
        Answers::Several { offset, .. } => offset,
    };
    // The list says itself where it ends: of two bounds LLVM makes one that the verifier does not understand.
    let mut number = 0;
    while number < u32::from(Answers::MOST) {
        let Some(word) = tables.ring(offset.wrapping_add(number)) else { return 0 };
        let word = word.load();
        let owner = Owner::from_word(word);
        if has(owner) {
            return owner.to_word() | FOUND;
        }
        if word & Owner::LAST != 0 {
            return 0;
        }
        number += 1;
    }
    0
}

/// A virtual server's address and port; `port` if it is for any.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low 16 bits")]
pub(super) fn virtual_server<A: Version, T: Tables>(
    tables: &T,
    service: u16,
    port: Be16,
) -> Result<(A, Be16), Verdict> {
    let found = tables.virtual_server(service).ok_or(BROKEN)?;
    let own = Be16::from_bits(found.port.load() as u16);
    Ok((A::from_table(&found.address), if own.bits() == 0 { port } else { own }))
}

/// Is there a live entry of this client's flow, to this owner?
#[inline(always)]
fn has_entry<A: Version, T: Tables>(
    tables: &T,
    settings: &Settings,
    client: A,
    client_port: Be16,
    port: Be16,
    owner: Owner,
) -> bool {
    let Ok((_, virtual_port)) = virtual_server::<A, T>(tables, owner.service, port) else { return false };
    let flow = client.flow(client_port, owner.service);
    let Some(value) = entry(tables, settings, flow, virtual_port, Blur::new(0)) else { return false };
    value.destination() == owner.destination && is_live(tables, settings, value)
}

#[inline(always)]
fn is_live<T: Tables>(tables: &T, settings: &Settings, value: Value) -> bool {
    let timeout = settings.timeout(value.state());
    value.state() != State::NONE && u64::from(tables.now(settings).since(value.seen())) < timeout
}

/// Sends a later fragment of a client's datagram to the real server that the first one went to.
#[inline(always)]
pub(super) fn rest_to_server<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    ip: &Arrived<A>,
    chosen: &Chosen<'_>,
) -> Result<Verdict, Verdict> {
    may_go(tables, chosen, ip.length)?;
    let hop = Way {
        to: chosen.hop,
        from: chosen.destination.source.load(),
        interface: chosen.destination.interface.load(),
    };
    let server = A::from_table(&chosen.destination.address);
    A::translate_header(packet, ip.at, ip.source, server).ok_or(SHORT)?;
    depart(packet, link, hop)
}

/// Sends a later fragment of an answer where the first one went.
#[inline(always)]
pub(super) fn rest_of_answer<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    settings: &Settings,
    link: &Link,
    ip: &Arrived<A>,
    owner: Owner,
) -> Result<Verdict, Verdict> {
    let destination = tables.destination(owner.destination.id()).ok_or(BROKEN)?;
    let hop = NextHop::from_word(destination.next_hop.load());
    if hop.flags & NextHop::IN_USE == 0 || hop.generation != owner.destination.generation() {
        return Err(Reason::UnknownFragment.into());
    }
    let (address, _) = virtual_server::<A, T>(tables, owner.service, Be16::default())?;
    let hop = way(tables, settings, ip.destination)?;
    tables.count_answer(owner.destination.id(), ip.length as u64);
    A::translate_header(packet, ip.at, address, ip.destination).ok_or(SHORT)?;
    depart(packet, link, hop)
}

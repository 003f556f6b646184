//! Full NAT: as NAT, and the source of a client's packets becomes an address and port of the director's, so that the
//! real server answers the director whatever its gateway is. Which one, says the flow's [lease](crate::lease).
//!
//! A flow tries ports in an order that follows from its client, and finds its lease again by trying them in the same
//! order. So the table needs no entry for the way there beside the one for the way back.

use core::hint;

use crate::conn::{CLAIMED, EMPTY, EXPIRED, Event, State, Value, WORST, mix, next_state, rank, scale};
use crate::layout::{DestinationRef, FragmentOwner, Identity, NextHop, Settings, Sources};
use crate::lease::{self, GROUP, Lease, ServerSide};
use crate::net::Be16;
use crate::packet::Packet;
use crate::parse::{Link, Ports};
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};
use crate::word::Blur;

use super::fragment::remember_lease;
use super::nat::Ends;
use super::place::{Chosen, live};
use super::send::{depart, may_go};
use super::translate::{SHORT, translated, virtual_server};
use super::version::{Arrived, Version};
use super::way::{Way, learn, way};
use super::{BROKEN, Stage, accept};

/// A flow looks at so many groups of ports: 64 ports.
const GROUPS: u32 = 8;

/// The bit of what [`lease`] and [`lease_of`] return that says that there is one; the slot is below.
const FOUND: u64 = 1 << 63;

/// In `what` of [`lease`]: the flow is of IPv6.
const IPV6: u64 = 1 << 26;

/// `what` of [`lease`] has from this bit on the least rank of a slot that may be taken.
const LEAST: u32 = 32;

/// Finds the lease of a flow, or takes one: its slot and [`FOUND`], or 0.
///
/// `client` is the client's address. `rest` has its port, the port it connects to, the virtual server's id (16 bits
/// each, ports in network order), the protocol and the number of the packet's [`Event`] (8 bits each). `what` has the
/// [`DestinationRef`], [`IPV6`], and from [`LEAST`] on the rank from which on another flow's slot may be taken.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes words apart")]
pub fn lease<T: Tables>(tables: &T, client: [u64; 2], rest: u64, what: u64) -> u64 {
    let (Some(settings), Some(detail)) =
        (tables.settings(), tables.detail(DestinationRef::from_word(what).id()))
    else {
        return 0;
    };
    let Sources { ports: (first, last), count, .. } = Sources::from_word(detail.sources.load());
    let flow = flow(client, rest, settings.seed.load());
    let (first, last) = (u32::from(first >> 3), u32::from(last >> 3));
    let mut group = first + scale(flow as u32, last.wrapping_sub(first).wrapping_add(1));
    let mut address = scale((flow >> 32) as u32, u32::from(count));
    let mut turn = 0;
    while turn < GROUPS {
        let found = tables.lease_among(client, rest, what, group << 8 | address & 0xff);
        if found != 0 {
            return found;
        }
        // Every address before the next group.
        address += 1;
        if address >= u32::from(count) {
            address = 0;
            group = if group >= last { first } else { group + 1 };
        }
        turn += 1;
    }
    0
}

/// What the order of a flow's ports follows from.
#[inline(always)]
const fn flow(client: [u64; 2], rest: u64, seed: u64) -> u64 {
    // Without the event.
    mix(mix(client[0] ^ seed) ^ client[1] ^ (rest << 8).rotate_left(16))
}

/// As [`lease`], among the ports of one group at one address, whose numbers are in `place`: from bit 8 on, and below.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes words apart")]
pub fn among<T: Tables>(tables: &T, client: [u64; 2], rest: u64, what: u64, place: u32, blur: Blur) -> u64 {
    let reference = DestinationRef::from_word(what);
    let (Some(settings), Some(destination), Some(detail)) =
        (tables.settings(), tables.destination(reference.id()), tables.detail(reference.id()))
    else {
        return 0;
    };
    let Sources { ports: (first, last), offset, count } = Sources::from_word(detail.sources.load());
    let source = if count == 0 {
        [detail.source[0].load(), detail.source[1].load()]
    } else {
        let at = offset.wrapping_add((place & 0xff) << 1);
        let (Some(a), Some(b)) = (tables.ring(at), tables.ring(at.wrapping_add(1))) else { return 0 };
        [a.load(), b.load()]
    };
    let own = Identity::from_word(destination.identity.load()).port;
    let server_port = if own.bits() == 0 { Be16::from_bits((rest >> 16) as u16) } else { own };
    let server = [destination.address[0].load(), destination.address[1].load()];
    let seed = settings.seed.load();
    let side = |port: u32| ServerSide {
        source,
        server,
        ports: lease::ports(Be16::new(port as u16), server_port, (rest >> 48) as u8, what & IPV6 != 0),
    };
    let seeker = Seeker {
        client,
        client_port: Be16::from_bits(rest as u16),
        service: (rest >> 32) as u16,
        reference,
        event: Event::from_number((rest >> 56) as u8),
        least: (what >> LEAST) as u32,
    };
    let base = side(place >> 8 << 3).group(seed, settings.leases.load() as u32);
    let start = flow(client, rest, seed) as u32;
    let mut step = 0;
    while step < GROUP {
        let number = blur.number(u64::from(start.wrapping_add(step))) as u32 & 7;
        let port = place >> 8 << 3 | number;
        if port >= u32::from(first)
            && port <= u32::from(last)
            && let Some(slot) = tables.lease(base.wrapping_add(number))
            && seeker.has(tables, settings, slot, side(port))
        {
            return FOUND | u64::from(base.wrapping_add(number));
        }
        step += 1;
    }
    0
}

/// A flow that looks for its lease.
struct Seeker {
    client: [u64; 2],
    client_port: Be16,
    service: u16,
    reference: DestinationRef,
    event: Event,
    /// The rank from which on it takes a slot.
    least: u32,
}

impl Seeker {
    /// Is the slot the flow's, or has it become so?
    #[inline(always)]
    fn has<T: Tables>(&self, tables: &T, settings: &Settings, slot: &Lease, side: ServerSide) -> bool {
        let word = slot.value.load();
        let now = tables.now(settings);
        let opened = Value::new(self.reference, self.event.opens(), now, self.client_port);
        let value = Value::from_word(word);
        if word != 0
            && value.port() == self.client_port
            && value.destination() == self.reference
            && let Some(value) = slot.of(side)
            && slot.is_of(self.client, self.service)
        {
            let (state, age) = (value.state(), u64::from(now.since(value.seen())));
            let timeout = settings.timeout(state);
            if age >= timeout {
                // Its own, which nobody has taken yet.
                return self.event.opens() != State::NONE
                    && slot.value.replace(value.to_word(), opened.to_word());
            }
            let next = next_state(state, self.event);
            if next != state || age > timeout >> 8 {
                slot.value.replace(value.to_word(), value.with(next, now).to_word());
            }
            return true;
        }
        let rank = if word == CLAIMED {
            WORST
        } else if word == 0 {
            EMPTY
        } else {
            rank(value, now, settings.timeout(value.state()))
        };
        if rank < self.least || !slot.value.replace(word, CLAIMED) {
            return false;
        }
        slot.publish(side, self.client, self.service, opened);
        true
    }
}

/// The live lease of this [`ServerSide`], seen now: its slot and [`FOUND`], or 0.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
pub fn lease_of<T: Tables>(tables: &T, source: [u64; 2], server: [u64; 2], ports: u64) -> u64 {
    let Some(settings) = tables.settings() else { return 0 };
    let side = ServerSide { source, server, ports };
    let index = side.slot(settings.seed.load(), settings.leases.load() as u32);
    let Some(slot) = tables.lease(index) else { return 0 };
    let Some(value) = slot.of(side) else { return 0 };
    let now = tables.now(settings);
    let (timeout, age) = (settings.timeout(value.state()), u64::from(now.since(value.seen())));
    if age >= timeout {
        return 0;
    }
    if age > timeout >> 8 {
        slot.value.replace(value.to_word(), value.with(value.state(), now).to_word());
    }
    FOUND | u64::from(index)
}

/// The lease of what may be an answer, or may be quoted in an error about one.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a slot's index")]
pub(super) fn of_answer<A: Version, T: Tables>(
    tables: &T,
    (source, source_port): (A, Be16),
    (server, server_port): (A, Be16),
    protocol: u8,
) -> Option<u32> {
    let ports = lease::ports(source_port, server_port, protocol, A::IS_IPV6);
    let found = tables.lease_of(source.words(), server.words(), ports);
    if found & FOUND == 0 { None } else { Some(found as u32) }
}

/// A flow's lease, which is taken if there is none and `event` begins one.
#[inline(always)]
pub(super) fn of_flow<A: Version, T: Tables>(
    tables: &T,
    chosen: &Chosen<'_>,
    (client, client_port): (A, Be16),
    port: Be16,
    protocol: u8,
    service: u16,
    event: Option<Event>,
) -> Result<u32, Verdict> {
    let detail = tables.detail(chosen.reference.id()).ok_or(BROKEN)?;
    if Sources::from_word(detail.sources.load()).count == 0 && detail.source[0].load() == 0 {
        return Err(Verdict::Drop(Reason::NeighbourUnresolved));
    }
    let family = if A::IS_IPV6 { IPV6 } else { 0 };
    let what = |least: u32| chosen.reference.to_word() | family | u64::from(least) << LEAST;
    let rest = u64::from(client_port.bits())
        | u64::from(port.bits()) << 16
        | u64::from(service) << 32
        | u64::from(protocol) << 48
        | u64::from(event.unwrap_or(Event::ACK).number()) << 56;
    let client = client.words();
    #[expect(clippy::cast_possible_truncation, reason = "a slot's index")]
    let found = |found: u64| Ok(found as u32);
    // What a SYN begins needs no search for what may be left from before.
    if !(chosen.new && event == Some(Event::SYN)) {
        let word = tables.find_lease(client, rest, what(u32::MAX));
        if word & FOUND != 0 {
            return found(word);
        }
    }
    hint::cold_path();
    if event.is_none_or(|event| event.opens() == State::NONE) {
        return Err(Verdict::Drop(Reason::NoLease));
    }
    let word = tables.find_lease(client, rest, what(EXPIRED));
    if word & FOUND != 0 {
        return found(word);
    }
    let word = tables.find_lease(client, rest, what(WORST + 1));
    if word & FOUND != 0 {
        tables.count(Reason::Evicted);
        return found(word);
    }
    Err(Verdict::Drop(Reason::NoSourcePort))
}

/// Finds the lease of a client's packet, or takes one, and goes on with [`to_server`].
#[inline(always)]
pub(super) fn take<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    ip: &Arrived<A>,
    ports: &Ports,
    chosen: &Chosen<'_>,
) -> Result<Verdict, Verdict> {
    if chosen.flags() & (NextHop::LOCAL | NextHop::RESOLVED) != NextHop::RESOLVED {
        hint::cold_path();
        may_go(tables, chosen, ip.length)?;
    }
    let protocol = ip.segment.protocol;
    let settings = tables.settings().ok_or(BROKEN)?;
    let service = A::service(tables, settings, ip.destination, ports.destination, protocol)
        .ok_or(Reason::NoVirtualServer)?
        .id;
    let client = (ip.source, ports.source);
    let index = of_flow(tables, chosen, client, ports.destination, protocol, service, Some(ports.event))?;
    Err(packet.stage(tables, Stage::ToServer(index, chosen.new)))
}

/// Sends a client's packet to its real server by its lease.
#[inline(always)]
pub(super) fn to_server<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    ip: &Arrived<A>,
    ports: &Ports,
    (index, new): (u32, bool),
) -> Result<Verdict, Verdict> {
    let (ends, chosen) = server_side(tables, index)?;
    let lease = tables.lease(index).ok_or(BROKEN)?;
    let port = Value::from_word(lease.value.load()).port();
    if !lease.is_of(ip.source.words(), lease.service()) || port != ports.source {
        // A connection that ends at once gave it away meanwhile.
        return Err(Verdict::Drop(Reason::NoLease));
    }
    let chosen = Chosen { new, ..chosen };
    may_go(tables, &chosen, ip.length)?;
    let settings = tables.settings().ok_or(BROKEN)?;
    if new {
        hint::cold_path();
        learn(packet, tables, settings, link, ip.source);
    }
    if ip.is_first {
        hint::cold_path();
        remember_lease(tables, settings, &A::fragment_key(ip), FragmentOwner::LEASE | u64::from(index));
    }
    let old = Ends {
        source: ip.source,
        destination: ip.destination,
        source_port: ports.source,
        destination_port: ports.destination,
    };
    translated(packet, link, ip, old, ends, hop(&chosen))
}

/// What packets of the flow of a lease to its real server are from and for; and the real server.
#[inline(always)]
pub(super) fn server_side<A: Version, T: Tables>(
    tables: &T,
    index: u32,
) -> Result<(Ends<A>, Chosen<'_>), Verdict> {
    let lease = tables.lease(index).ok_or(BROKEN)?;
    let reference = Value::from_word(lease.value.load()).destination();
    let chosen = live(tables, reference, false).ok_or(Verdict::Drop(Reason::NoLease))?;
    let (source_port, destination_port) = lease.ports();
    let ends = Ends {
        source: A::from_table(&lease.source),
        destination: A::from_table(&lease.server),
        source_port,
        destination_port,
    };
    Ok((ends, chosen))
}

#[inline(always)]
pub(super) fn hop(chosen: &Chosen<'_>) -> Way {
    Way {
        to: chosen.hop,
        from: chosen.destination.source.load(),
        interface: chosen.destination.interface.load(),
    }
}

/// Whom a flow's answers go to: the client, and the virtual server as it knows it.
#[derive(Clone, Copy)]
pub(super) struct Client<A> {
    pub(super) address: A,
    pub(super) port: Be16,
    pub(super) virtual_server: A,
    pub(super) virtual_port: Be16,
    pub(super) destination: DestinationRef,
}

/// The client of a lease.
#[inline(always)]
pub(super) fn client<A: Version, T: Tables>(tables: &T, index: u32) -> Result<Client<A>, Verdict> {
    let lease = tables.lease(index).ok_or(BROKEN)?;
    let word = lease.value.load();
    if word == 0 || word == CLAIMED {
        return Err(Reason::NoVirtualServer.into());
    }
    let value = Value::from_word(word);
    let (virtual_server, virtual_port) = virtual_server(tables, lease.service(), lease.ports().1)?;
    Ok(Client {
        address: A::from_table(&lease.client),
        port: value.port(),
        virtual_server,
        virtual_port,
        destination: value.destination(),
    })
}

/// Sends the answer of a real server to the client of a lease.
#[inline(always)]
pub(super) fn to_client<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    ip: &Arrived<A>,
    ports: &Ports,
    index: u32,
) -> Result<Verdict, Verdict> {
    let settings = tables.settings().ok_or(BROKEN)?;
    accept(packet, settings, link, ip.ttl)?;
    let client = client::<A, T>(tables, index)?;
    let hop = way(tables, settings, client.address)?;
    if ip.is_first {
        hint::cold_path();
        let owner = FragmentOwner::ANSWER | FragmentOwner::LEASE | u64::from(index);
        remember_lease(tables, settings, &A::fragment_key(ip), owner);
    }
    tables.count_answer(client.destination.id(), ip.length as u64);
    let old = Ends {
        source: ip.source,
        destination: ip.destination,
        source_port: ports.source,
        destination_port: ports.destination,
    };
    let new = Ends {
        source: client.virtual_server,
        destination: client.address,
        source_port: client.virtual_port,
        destination_port: client.port,
    };
    translated(packet, link, ip, old, new, hop)
}

/// Sends a later fragment where the first one went. `first` is [`FragmentOwner::destination`].
#[inline(always)]
pub(super) fn rest<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    ip: &Arrived<A>,
    first: u64,
) -> Result<Verdict, Verdict> {
    let index = DestinationRef::from_word(first).to_word();
    #[expect(clippy::cast_possible_truncation, reason = "26 bits")]
    let index = index as u32;
    let client = client::<A, T>(tables, index)?;
    let (source, destination, hop) = if first & FragmentOwner::ANSWER != 0 {
        let settings = tables.settings().ok_or(BROKEN)?;
        let hop = way(tables, settings, client.address)?;
        tables.count_answer(client.destination.id(), ip.length as u64);
        (client.virtual_server, client.address, hop)
    } else {
        let (ends, chosen) = server_side::<A, T>(tables, index)?;
        may_go(tables, &chosen, ip.length)?;
        (ends.source, ends.destination, hop(&chosen))
    };
    A::translate_header(packet, ip.at, source, destination).ok_or(SHORT)?;
    depart(packet, link, hop)
}

/// The stage of what may be an answer of a lease.
#[inline(always)]
pub(super) fn answer<A: Version, T: Tables>(tables: &T, ip: &Arrived<A>, ports: &Ports) -> Option<Stage> {
    let (source, server) = ((ip.destination, ports.destination), (ip.source, ports.source));
    of_answer(tables, source, server, ip.segment.protocol).map(Stage::ToClient)
}

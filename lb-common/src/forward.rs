//! The datapath, in the order a packet goes through it: [`forward`] → `ip4` or `ip6` → `place` (which real
//! server) → `send` (rewrite and out).
//!
//! Direct routing changes the two MACs, the TTL and its checksum, and the VLAN tag where the real server is on
//! another VLAN. A packet that is passed or dropped is not changed at all.

use core::hint;

use crate::conn::{self, Candidate, Event, Key, Key4, Key6, State, Ticks, Value};
use crate::csum;
use crate::layout::{
    Destination, DestinationRef, FragmentKey, FragmentOwner, INTERFACE_PROBES, NextHop, RING_HEADER,
    RingPlace, Service, ServiceKey4, ServiceKey6, Settings, from_mac_word,
};
use crate::maps::INTERFACE_SLOTS;
use crate::net::{Be16, Be32, Be128, ethertype, protocol};
use crate::packet::Packet;
use crate::parse::{self, Ipv4, Ipv6, Link, Part, Ports};
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};
use crate::word::Blur;

/// Decides about one frame, changes it for its way out, and counts what happened.
#[inline(always)]
pub fn forward<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let verdict = match decide(packet, tables) {
        Ok(verdict) | Err(verdict) => verdict,
    };
    if let Verdict::Pass(reason) | Verdict::Drop(reason) = verdict {
        hint::cold_path();
        tables.count(reason);
    }
    verdict
}

/// A reason alone means that the frame goes to the kernel.
impl From<Reason> for Verdict {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self::Pass(reason)
    }
}

/// What cannot be: the tables contradict each other.
const BROKEN: Verdict = Verdict::Drop(Reason::Inconsistent);

#[inline(always)]
fn decide<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(Reason::Malformed)?;
    let (chosen, length) = match link.ethertype {
        ethertype::IPV4 => ip4(packet, tables, &link)?,
        ethertype::IPV6 => ip6(packet, tables, &link)?,
        _ => return Err(Reason::NotIp.into()),
    };
    send(packet, tables, &link, &chosen, length)
}

/// Where a packet goes, and its length from the IP header on.
type Destined<'t> = Result<(Chosen<'t>, usize), Verdict>;

#[inline(always)]
fn ip4<'t, P: Packet, T: Tables>(packet: &P, tables: &'t T, link: &Link) -> Destined<'t> {
    let ip = if link.is_plain() {
        parse::ipv4(packet, Link::PLAIN, true)
    } else {
        hint::cold_path();
        parse::ipv4(packet, link.payload, true)
    };
    let ip = ip.ok_or(Reason::Malformed)?;
    if let Part::Later(_) = ip.part {
        hint::cold_path();
        return Ok((later_fragment(packet, tables, link, &fragment_key4(&ip), ip.ttl)?, ip.length));
    }
    if ip.protocol == protocol::ICMP {
        hint::cold_path();
        return Ok((icmp4(packet, tables, link, &ip)?, ip.length));
    }
    let ports = parse::ports(packet, ip.protocol, ip.payload, ip.payload_length)?;
    let settings = tables.settings().ok_or(BROKEN)?;
    let service = service4(tables, settings, ip.destination, ports.destination, ip.protocol)?;
    accept(packet, tables, link, ip.ttl)?;
    let flow = Key4::new(ip.source, ports.source, service.id);
    let chosen = place(tables, settings, flow, service, &ports, packet.blur(), || {
        placement4(ip.source, ports.source, ports.destination)
    })?;
    if let Part::First(_) = ip.part {
        hint::cold_path();
        remember(tables, &fragment_key4(&ip), chosen.reference);
    }
    Ok((chosen, ip.length))
}

#[inline(always)]
fn ip6<'t, P: Packet, T: Tables>(packet: &P, tables: &'t T, link: &Link) -> Destined<'t> {
    let ip = parse::ipv6(packet, link.payload, true)?;
    if let Part::Later(_) = ip.part {
        hint::cold_path();
        return Ok((later_fragment(packet, tables, link, &fragment_key6(&ip), ip.hop_limit)?, ip.length));
    }
    if ip.protocol == protocol::ICMPV6 {
        hint::cold_path();
        return Ok((icmp6(packet, tables, link, &ip)?, ip.length));
    }
    let ports = parse::ports(packet, ip.protocol, ip.payload, ip.payload_length)?;
    let settings = tables.settings().ok_or(BROKEN)?;
    let service = service6(tables, settings, ip.destination, ports.destination, ip.protocol)?;
    accept(packet, tables, link, ip.hop_limit)?;
    let flow = Key6::new(ip.source, ports.source, service.id);
    let chosen = place(tables, settings, flow, service, &ports, packet.blur(), || {
        placement6(ip.source, ports.source, ports.destination)
    })?;
    if let Part::First(_) = ip.part {
        hint::cold_path();
        remember(tables, &fragment_key6(&ip), chosen.reference);
    }
    Ok((chosen, ip.length))
}

/// The virtual server of an address, port and protocol; one for any port comes second.
#[inline(always)]
fn service4<T: Tables>(
    tables: &T,
    settings: &Settings,
    address: Be32,
    port: Be16,
    protocol: u8,
) -> Result<Service, Reason> {
    let key = ServiceKey4 { address: address.wire(), port: port.wire(), protocol, zero: 0 };
    if let Some(service) = tables.service4(&key) {
        return Ok(service);
    }
    hint::cold_path();
    if settings.flags.load() & Settings::ANY_PORT == 0 {
        return Err(Reason::NoVirtualServer);
    }
    tables.service4(&ServiceKey4 { port: [0; 2], ..key }).ok_or(Reason::NoVirtualServer)
}

/// As [`service4`].
#[inline(always)]
fn service6<T: Tables>(
    tables: &T,
    settings: &Settings,
    address: Be128,
    port: Be16,
    protocol: u8,
) -> Result<Service, Reason> {
    let key = ServiceKey6 { address: address.wire(), port: port.wire(), protocol, zero: 0 };
    if let Some(service) = tables.service6(&key) {
        return Ok(service);
    }
    hint::cold_path();
    if settings.flags.load() & Settings::ANY_PORT == 0 {
        return Err(Reason::NoVirtualServer);
    }
    tables.service6(&ServiceKey6 { port: [0; 2], ..key }).ok_or(Reason::NoVirtualServer)
}

/// Is the frame meant for this machine, and may it go another hop?
#[inline(always)]
fn accept<P: Packet, T: Tables>(packet: &P, tables: &T, link: &Link, ttl: u8) -> Result<(), Reason> {
    let index = packet.ingress();
    let mut probe = 0;
    while probe < INTERFACE_PROBES {
        let interface = tables.interface(index % INTERFACE_SLOTS + probe).ok_or(Reason::OtherMac)?;
        if interface.is(index) {
            let (mac, _) = from_mac_word(interface.mac.load());
            if mac != link.destination {
                return Err(Reason::OtherMac);
            }
            return if ttl <= 1 { Err(Reason::TtlExceeded) } else { Ok(()) };
        }
        probe += 1;
    }
    Err(Reason::OtherMac)
}

/// The hash that places a flow where there is no entry. It depends on the flow alone, so that it gives the
/// same real server for every packet and on every director with the same ring.
#[inline(always)]
fn placement4(client: Be32, client_port: Be16, port: Be16) -> u64 {
    conn::mix(client.bits() as u64 | (client_port.bits() as u64) << 32 | (port.bits() as u64) << 48)
}

/// As [`placement4`].
#[inline(always)]
fn placement6(client: Be128, client_port: Be16, port: Be16) -> u64 {
    let [first, second] = client.words();
    conn::mix(
        conn::mix(conn::mix(first) ^ second) ^ (client_port.bits() as u64) << 32 ^ (port.bits() as u64) << 48,
    )
}

/// A key whose buckets the tables hold.
trait Family: Key {
    /// The number of this family's buckets.
    fn buckets(settings: &Settings) -> u32;
    /// A bucket.
    fn bucket<T: Tables>(tables: &T, index: u32) -> Option<&Self::Bucket>;
}

impl Family for Key4 {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    fn buckets(settings: &Settings) -> u32 {
        settings.buckets.load() as u32
    }

    #[inline(always)]
    fn bucket<T: Tables>(tables: &T, index: u32) -> Option<&Self::Bucket> {
        tables.bucket4(index)
    }
}

impl Family for Key6 {
    #[inline(always)]
    fn buckets(settings: &Settings) -> u32 {
        (settings.buckets.load() >> 32) as u32
    }

    #[inline(always)]
    fn bucket<T: Tables>(tables: &T, index: u32) -> Option<&Self::Bucket> {
        tables.bucket6(index)
    }
}

/// The real server a packet goes to.
struct Chosen<'t> {
    reference: DestinationRef,
    destination: &'t Destination,
    hop: NextHop,
    new: bool,
}

/// The destination, unless it has been freed or given out again.
#[inline(always)]
fn live<T: Tables>(tables: &T, reference: DestinationRef, new: bool) -> Option<Chosen<'_>> {
    let destination = tables.destination(reference.id())?;
    let hop = NextHop::from_word(destination.next_hop.load());
    if hop.flags & NextHop::IN_USE == 0 || hop.generation != reference.generation() {
        return None;
    }
    Some(Chosen { reference, destination, hop, new })
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the two halves of the hash choose one bucket each")]
fn first_bucket<K: Family, T: Tables>(tables: &T, hash: u64, buckets: u32) -> Option<&K::Bucket> {
    K::bucket(tables, conn::scale(hash as u32, buckets))
}

#[inline(always)]
fn second_bucket<K: Family, T: Tables>(tables: &T, hash: u64, buckets: u32) -> Option<&K::Bucket> {
    K::bucket(tables, conn::scale((hash >> 32) as u32, buckets))
}

/// The timeout of a state in ticks.
#[inline(always)]
fn timeout(settings: &Settings, state: State) -> u64 {
    settings.timeouts[state.number() & 15].load()
}

/// Finds the real server of a TCP or UDP packet: by its connection's entry, else by the scheduler.
/// `placement` gives the flow's [`placement4`] or [`placement6`].
#[inline(always)]
fn place<'t, K: Family, T: Tables>(
    tables: &'t T,
    settings: &Settings,
    flow: K,
    service: Service,
    ports: &Ports,
    blur: Blur,
    placement: impl Fn() -> u64,
) -> Result<Chosen<'t>, Verdict> {
    let hash = flow.hash(settings.seed.load());
    let count = K::buckets(settings);
    let first = first_bucket::<K, T>(tables, hash, count).ok_or(BROKEN)?;
    let now = tables.now();
    let mut bucket = first;
    let mut found = flow.find(first, ports.destination, blur);
    if found.is_none() {
        hint::cold_path();
        bucket = second_bucket::<K, T>(tables, hash, count).ok_or(BROKEN)?;
        found = flow.find(bucket, ports.destination, blur);
    }
    let candidate = match found {
        Some((slot, value)) => {
            if let Some(chosen) = follow::<K, T>(tables, settings, bucket, slot, value, ports.event, now) {
                return Ok(chosen);
            }
            Candidate::<K>::own(bucket, slot)
        }
        None => {
            hint::cold_path();
            let best = Candidate::<K>::best(None, first, now, blur, |state| timeout(settings, state));
            Candidate::best(best, bucket, now, blur, |state| timeout(settings, state))
        }
    };
    schedule(tables, flow, service, ports, now, candidate, placement)
}

/// Goes on with a connection that has an entry: its real server, and the entry brought up to date. `None` if
/// the entry has expired, the real server is gone, or the packet starts the connection anew.
#[inline(always)]
fn follow<'t, K: Family, T: Tables>(
    tables: &'t T,
    settings: &Settings,
    bucket: &K::Bucket,
    slot: usize,
    value: Value,
    event: Event,
    now: Ticks,
) -> Option<Chosen<'t>> {
    let age = u64::from(now.since(value.seen()));
    let state = value.state();
    let timeout = timeout(settings, state);
    if age >= timeout {
        return None;
    }
    let chosen = live(tables, value.destination(), false)?;
    if event == Event::SYN {
        hint::cold_path();
        if conn::reschedules(state, chosen.hop.flags & NextHop::RETIRED != 0) {
            return None;
        }
    }
    let next = conn::next_state(state, event);
    // Written only in steps of 1/256 of the timeout: established traffic must not dirty the cache line.
    if next != state || age > timeout >> 8 {
        hint::cold_path();
        K::update(bucket, slot, value, value.with(next, now));
    }
    Some(chosen)
}

/// Chooses a real server for a flow that has none, and records it if there is a slot for it.
#[inline(always)]
fn schedule<'t, K: Family, T: Tables>(
    tables: &'t T,
    flow: K,
    service: Service,
    ports: &Ports,
    now: Ticks,
    candidate: Option<Candidate<'_, K>>,
    placement: impl Fn() -> u64,
) -> Result<Chosen<'t>, Verdict> {
    let ring = RingPlace::from_word(tables.schedule(service.id).ok_or(BROKEN)?.ring.load());
    if ring.slots == 0 {
        return Err(Reason::NoRealServer.into());
    }
    let opens = ports.event.opens();
    let claimed = match &candidate {
        Some(candidate) if opens != State::NONE => {
            K::claim(candidate.bucket, candidate.slot, candidate.expected)
        }
        _ => false,
    };
    let starts = ports.event.starts();
    // Where entries are evicted the hash places newcomers too: this one's entry may be gone when its next
    // packet comes, which then finds the same place.
    let crowded = match &candidate {
        Some(candidate) => candidate.evicts(),
        None => true,
    };
    let slot =
        if claimed && starts && !crowded { by_turn(tables, ring) } else { Some(by_hash(ring, placement())) };
    // A claimed slot must be given back whatever is wrong: nothing is returned before that.
    let new = claimed || ports.event == Event::SYN;
    let chosen = slot.and_then(|slot| ring_slot(tables, ring, slot, new));
    if let (true, Some(candidate)) = (claimed, &candidate) {
        let Some(chosen) = &chosen else {
            hint::cold_path();
            K::release(candidate.bucket, candidate.slot);
            return Err(BROKEN);
        };
        flow.publish(
            candidate.bucket,
            candidate.slot,
            Value::new(chosen.reference, opens, now, ports.destination),
        );
        if candidate.evicts() {
            tables.count(Reason::Evicted);
        }
        if !starts {
            tables.count(Reason::MidStream);
        }
    } else if opens != State::NONE {
        // A reset of a connection that nobody knows is worth forwarding, not worth recording.
        tables.count(Reason::Unrecorded);
    }
    chosen.ok_or(BROKEN)
}

/// The next place in the scheduler's order.
#[inline(always)]
fn by_turn<T: Tables>(tables: &T, ring: RingPlace) -> Option<u32> {
    let turn = tables.ring(ring.offset)?.fetch_add(1);
    #[expect(clippy::cast_possible_truncation, reason = "a remainder of a 32-bit number")]
    Some((turn % u64::from(ring.slots)) as u32)
}

/// The place of the flow's hash in the scheduler's ring, so that each real server gets its weight's share.
#[inline(always)]
fn by_hash(ring: RingPlace, placement: u64) -> u32 {
    conn::scale((placement >> 32) as u32, ring.slots)
}

#[inline(always)]
fn ring_slot<T: Tables>(tables: &T, ring: RingPlace, slot: u32, new: bool) -> Option<Chosen<'_>> {
    let word = tables.ring(ring.offset.wrapping_add(RING_HEADER).wrapping_add(slot))?.load();
    live(tables, DestinationRef::from_word(word), new)
}

/// Sends the packet on its way to the real server.
#[inline(always)]
fn send<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    chosen: &Chosen<'_>,
    length: usize,
) -> Result<Verdict, Verdict> {
    let flags = chosen.hop.flags;
    if flags & (NextHop::LOCAL | NextHop::RESOLVED) == 0 {
        return Err(Verdict::Drop(Reason::NeighbourUnresolved));
    }
    tables.count_traffic(chosen.reference.id(), chosen.new, length as u64);
    if flags & NextHop::LOCAL != 0 {
        return Err(Reason::LocalRealServer.into());
    }
    let source = chosen.destination.source.load();
    #[expect(clippy::cast_possible_truncation, reason = "an interface index is 32 bits")]
    let interface = chosen.destination.interface.load() as u32;
    if rewrite(packet, link, chosen.hop.to_word(), source).is_none() {
        return Err(Verdict::Drop(Reason::NoHeadroom));
    }
    Ok(if interface == packet.ingress() { Verdict::Transmit } else { Verdict::Redirect(interface) })
}

/// VLAN ids are the low 12 bits of a tag.
const VLAN_ID: u16 = 0x0fff;

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
fn decrement_ttl<P: Packet>(packet: &mut P, ip: usize) -> Option<()> {
    // TTL, protocol and checksum are one word.
    let word = u32::from_be_bytes(packet.load(ip + 8)?);
    let kept = word.wrapping_sub(1 << 24) & 0xffff_0000;
    packet.store(ip + 8, (kept | u32::from(csum::after_ttl_decrement(word as u16))).to_be_bytes())
}

/// The low six bytes of a word.
const MAC: u64 = (1 << 48) - 1;

/// Decrements the TTL, gives the frame the VLAN tag it needs, and sets the MACs. `to` and `from` are the first two
/// words of a [`Destination`]: a MAC in the low six bytes, and in the high two of `from` the VLAN.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes words apart")]
fn rewrite<P: Packet>(packet: &mut P, link: &Link, to: u64, from: u64) -> Option<()> {
    let ip = link.payload;
    let vlan = (from >> 48) as u16;
    if link.ethertype == ethertype::IPV4 && link.is_plain() {
        decrement_ttl(packet, Link::PLAIN)?;
    } else if link.ethertype == ethertype::IPV4 {
        hint::cold_path();
        decrement_ttl(packet, ip)?;
    } else {
        let [hop_limit] = packet.load::<1>(ip + 7)?;
        packet.store(ip + 7, [hop_limit.wrapping_sub(1)])?;
    }
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

/// An ICMP error follows the flow of the packet that it quotes: to the real server that sent it.
/// Everything else to a virtual address, echo requests too, is for the kernel.
#[inline(always)]
fn icmp4<'t, P: Packet, T: Tables>(
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
    let settings = tables.settings().ok_or(BROKEN)?;
    let service = service4(tables, settings, quoted.source, port, quoted.protocol)?;
    accept(packet, tables, link, ip.ttl)?;
    let flow = Key4::new(quoted.destination, client_port, service.id);
    let placement = placement4(quoted.destination, client_port, port);
    existing(tables, settings, flow, placement, service, port, packet.blur())
}

/// As [`icmp4`], for ICMPv6 (RFC 4443 types 1 to 4).
#[inline(always)]
fn icmp6<'t, P: Packet, T: Tables>(
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
    let settings = tables.settings().ok_or(BROKEN)?;
    let service = service6(tables, settings, quoted.source, port, quoted.protocol)?;
    accept(packet, tables, link, ip.hop_limit)?;
    let flow = Key6::new(quoted.destination, client_port, service.id);
    let placement = placement6(quoted.destination, client_port, port);
    existing(tables, settings, flow, placement, service, port, packet.blur())
}

/// The real server of a flow without changing anything: by its entry, else by its hash.
#[inline(always)]
fn existing<'t, K: Family, T: Tables>(
    tables: &'t T,
    settings: &Settings,
    flow: K,
    placement: u64,
    service: Service,
    port: Be16,
    blur: Blur,
) -> Result<Chosen<'t>, Verdict> {
    let hash = flow.hash(settings.seed.load());
    let count = K::buckets(settings);
    let first = first_bucket::<K, T>(tables, hash, count).ok_or(BROKEN)?;
    let found = match flow.find(first, port, blur) {
        Some((_, value)) => Some(value),
        None => {
            let second = second_bucket::<K, T>(tables, hash, count).ok_or(BROKEN)?;
            flow.find(second, port, blur).map(|(_, value)| value)
        }
    };
    if let Some(value) = found
        && let Some(chosen) = live(tables, value.destination(), false)
    {
        return Ok(chosen);
    }
    let ring = RingPlace::from_word(tables.schedule(service.id).ok_or(BROKEN)?.ring.load());
    if ring.slots == 0 {
        return Err(Reason::NoRealServer.into());
    }
    ring_slot(tables, ring, by_hash(ring, placement), false).ok_or(BROKEN)
}

/// A datagram is reassembled long before this (RFC 791: 15 s; Linux: 30 s), and its identification comes again.
const FRAGMENT_TICKS: u32 = 28;

#[inline(always)]
fn fragment_key4(ip: &Ipv4) -> FragmentKey {
    FragmentKey {
        source: [u64::from(ip.source.bits()), 0],
        destination: [u64::from(ip.destination.bits()), 0],
        identification: identification(ip.part),
        protocol: ip.protocol,
        version: 4,
        zero: [0; 2],
    }
}

#[inline(always)]
fn fragment_key6(ip: &Ipv6) -> FragmentKey {
    FragmentKey {
        source: ip.source.words(),
        destination: ip.destination.words(),
        identification: identification(ip.part),
        protocol: 0,
        version: 6,
        zero: [0; 2],
    }
}

#[inline(always)]
fn identification(part: Part) -> u32 {
    match part {
        Part::Whole => 0,
        Part::First(identification) | Part::Later(identification) => identification,
    }
}

#[inline(always)]
fn remember<T: Tables>(tables: &T, key: &FragmentKey, reference: DestinationRef) {
    let owner = FragmentOwner { destination: reference.to_word(), seen: u64::from(tables.now().bits()) };
    tables.remember_fragment(key, &owner);
}

/// A later fragment goes where the first one went.
#[inline(always)]
fn later_fragment<'t, P: Packet, T: Tables>(
    packet: &P,
    tables: &'t T,
    link: &Link,
    key: &FragmentKey,
    ttl: u8,
) -> Result<Chosen<'t>, Verdict> {
    let owner = tables.fragment(key).ok_or(Reason::UnknownFragment)?;
    #[expect(clippy::cast_possible_truncation, reason = "18 bits were stored")]
    let seen = Ticks::default().later(owner.seen as u32);
    if tables.now().since(seen) >= FRAGMENT_TICKS {
        return Err(Reason::UnknownFragment.into());
    }
    accept(packet, tables, link, ttl)?;
    Ok(live(tables, DestinationRef::from_word(owner.destination), false).ok_or(Reason::UnknownFragment)?)
}

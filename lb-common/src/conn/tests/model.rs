//! The connection table through `forward`, against a plain model of its rules: a `HashMap` from flow to entry,
//! and a list of who lies in which bucket.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::*;
use crate::forward::forward;
use crate::layout::{
    Addresses, Destination, DestinationRef, Identity, NextHop, RING_HEADER, RingPlace, Service, mac_word,
};
use crate::memory::{MemoryTables, Sizes};
use crate::net::{Be16, Be32, Be128};
use crate::packet::MemoryPacket;
use crate::services::{self, Name4, Name6};
use crate::verdict::{Reason, Verdict};
use crate::word::Blur;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const INTERFACE: u32 = 3;
/// Real servers of every service, in the order of their turns.
const SERVERS: u32 = 3;
const BUCKETS: u32 = 2;
const SEED: u64 = 99;

/// A client's port; the addresses are the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Flow {
    six: bool,
    udp: bool,
    client: u16,
    /// The service takes any port.
    port: u16,
}

#[derive(Clone, Debug)]
enum Op {
    /// A packet, with the TCP flag byte.
    Packet(Flow, u8),
    Idle(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let flow = (any::<bool>(), any::<bool>(), 0u16..24, prop_oneof![4 => Just(80u16), 1 => Just(81)])
        .prop_map(|(six, udp, client, port)| Flow { six, udp, client: 1000 + client, port });
    let flags = prop_oneof![
        4 => Just(0x02u8), 5 => Just(0x10), 1 => Just(0x11), 1 => Just(0x04), 1 => any::<u8>()
    ];
    prop_oneof![
        8 => (flow, flags).prop_map(|(flow, flags)| Op::Packet(flow, flags)),
        1 => (0u32..8).prop_map(Op::Idle),
        1 => (0u32..900).prop_map(Op::Idle),
    ]
}

/// What the model knows of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    server: u32,
    state: &'static str,
    seen: u64,
}

/// The rules, written down without words, slots or ticks that wrap.
#[derive(Debug, Default)]
struct Model {
    now: u64,
    entries: HashMap<Flow, Entry>,
    /// By family and bucket: who is in which of the four slots. Who has expired stays until somebody else comes.
    slots: HashMap<(bool, u32), [Option<Flow>; 4]>,
    turns: HashMap<(bool, bool), u32>,
    evicted: u64,
    unrecorded: u64,
    mid_stream: u64,
}

/// Idle timeouts in seconds, as `ip_vs_proto_tcp.c` and `ip_vs_proto_udp.c` have them.
fn timeout_seconds(state: &str) -> u64 {
    match state {
        "new" | "mid-stream" => 60,
        "established" => 900,
        "fin-wait" | "time-wait" => 120,
        "close" => 10,
        "first datagram" | "udp" => 300,
        other => panic!("{other}"),
    }
}

impl Model {
    fn expired(&self, entry: &Entry) -> bool {
        // A tick is 2^30 ns; a timeout is the first whole number of ticks that lasts as long.
        let ticks = (timeout_seconds(entry.state) * 1_000_000_000).div_ceil(1 << 30);
        self.now - entry.seen >= ticks
    }

    fn idle(&self, flow: &Flow) -> u64 {
        self.now - self.entries[flow].seen
    }

    /// The real server of a packet; `None` where the flow's hash decides.
    fn packet(&mut self, flow: Flow, flags: u8, buckets: [u32; 2]) -> Option<u32> {
        let event = match flags {
            _ if flow.udp => "datagram",
            _ if flags & 4 != 0 => "rst",
            _ if flags & 2 != 0 => "syn",
            _ if flags & 1 != 0 => "fin",
            _ => "ack",
        };
        let known = self.entries.get(&flow).copied();
        if let Some(entry) = known.filter(|entry| !self.expired(entry)) {
            let anew = event == "syn" && matches!(entry.state, "close" | "time-wait");
            if !anew {
                let state = next(entry.state, event);
                // Time is written in steps of 1/256 of the timeout, or with a change.
                let step = (timeout_seconds(entry.state) * 1_000_000_000).div_ceil(1 << 30) / 256;
                let seen =
                    if state != entry.state || self.now - entry.seen > step { self.now } else { entry.seen };
                self.entries.insert(flow, Entry { state, seen, ..entry });
                return Some(entry.server);
            }
        }
        let slot =
            if known.is_some() { self.own_slot(&flow, buckets) } else { self.best_slot(flow.six, buckets) };
        let (state, starts) = match event {
            "syn" => ("new", true),
            "datagram" => ("first datagram", true),
            "rst" => return None,
            _ => ("mid-stream", false),
        };
        let Some((bucket, slot)) = slot else {
            self.unrecorded += 1;
            return None;
        };
        let slots = self.slots.entry((flow.six, bucket)).or_default();
        let mut evicts = false;
        if let Some(old) = slots[slot].replace(flow).filter(|old| *old != flow) {
            let entry = self.entries.remove(&old).unwrap();
            evicts = !self.expired(&entry);
        }
        self.evicted += u64::from(evicts);
        self.mid_stream += u64::from(!starts);
        // Where there is no peace, or in mid-stream, the hash decides, which this model does not know.
        let by_turn = (starts && !evicts).then(|| {
            let turn = self.turns.entry((flow.six, flow.udp)).or_default();
            *turn += 1;
            (*turn - 1) % SERVERS
        });
        self.entries.insert(flow, Entry { server: by_turn.unwrap_or(u32::MAX), state, seen: self.now });
        by_turn
    }

    fn own_slot(&self, flow: &Flow, buckets: [u32; 2]) -> Option<(u32, usize)> {
        buckets.into_iter().find_map(|bucket| {
            let slots = self.slots.get(&(flow.six, bucket))?;
            Some((bucket, slots.iter().position(|owner| *owner == Some(*flow))?))
        })
    }

    /// An empty slot, else an expired one, else the longest idle unconfirmed one that is not fresh; the first of
    /// equals.
    fn best_slot(&self, six: bool, buckets: [u32; 2]) -> Option<(u32, usize)> {
        let all: Vec<_> = buckets
            .into_iter()
            .flat_map(|bucket| {
                let slots = self.slots.get(&(six, bucket)).copied().unwrap_or_default();
                (0..4).map(move |slot| (bucket, slot, slots[slot]))
            })
            .collect();
        let place = |(bucket, slot, _): &(u32, usize, Option<Flow>)| (*bucket, *slot);
        let empty = all.iter().find(|(_, _, owner)| owner.is_none());
        let expired = all.iter().find(|(_, _, owner)| owner.is_some_and(|o| self.expired(&self.entries[&o])));
        if let Some(found) = empty.or(expired) {
            return Some(place(found));
        }
        let mut best: Option<(u64, (u32, usize))> = None;
        for candidate in &all {
            let Some(owner) = candidate.2 else { continue };
            let unconfirmed = matches!(self.entries[&owner].state, "new" | "mid-stream" | "first datagram");
            let idle = self.idle(&owner);
            // A handshake of the last 5.4 s may be on its way.
            if unconfirmed && idle >= 5 && best.is_none_or(|(longest, _)| idle > longest) {
                best = Some((idle, place(candidate)));
            }
        }
        best.map(|(_, place)| place)
    }
}

/// `ip_vs_proto_tcp.c`, the client's packets only.
fn next(state: &'static str, event: &str) -> &'static str {
    match (state, event) {
        ("first datagram" | "udp", _) => "udp",
        ("new", "syn" | "rst") => "new",
        ("new", "fin") => "time-wait",
        ("new" | "mid-stream" | "established", "ack") | ("mid-stream" | "established", "syn") => {
            "established"
        }
        ("mid-stream" | "established" | "fin-wait", "fin") => "fin-wait",
        ("fin-wait", "syn") => "new",
        (_, "rst") => "close",
        (state, _) => state,
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::SYN_RECEIVED => "new",
        State::MID_STREAM => "mid-stream",
        State::FIRST_DATAGRAM => "first datagram",
        State::ESTABLISHED => "established",
        State::FIN_WAIT => "fin-wait",
        State::TIME_WAIT => "time-wait",
        State::CLOSE => "close",
        State::UDP => "udp",
        other => panic!("{other:?}"),
    }
}

/// A service for each family and protocol, ids 1 to 4, any port, real servers 0, 1, 2 with MACs that say so.
fn tables() -> MemoryTables {
    let tables = MemoryTables::new(Sizes { buckets: BUCKETS, ..Sizes::default() }, SEED);
    assert!(tables.add_interface(INTERFACE, MAC));
    tables.settings.flags.store(crate::layout::Settings::ANY_PORT);
    for (id, (six, protocol)) in (1u16..).zip([(false, 6), (false, 17), (true, 6), (true, 17)]) {
        let (service, any) = (Service::alone(id), Be16::default());
        let inserted = if six {
            let name = Name6::new(Be128::from_wire([0xfd; 16]), any, protocol);
            tables.settings.addresses.add(Addresses::bit6(name.parts().0));
            services::insert(&tables.services6, name, service)
        } else {
            let name = Name4::new(Be32::from_wire([10, 0, 0, 1]), any, protocol);
            tables.settings.addresses.add(Addresses::bit4(name.parts().0));
            services::insert(&tables.services4, name, service)
        };
        assert!(inserted);
        let place = RingPlace { offset: u32::from(id) * 16, slots: SERVERS };
        tables.schedules[usize::from(id)].ring.store(place.to_word());
        for server in 0..SERVERS {
            let reference = DestinationRef::new(u32::from(id) * 8 + server, 1);
            let destination: &Destination = &tables.destinations[reference.id() as usize];
            let mac = [2, 0, 0, 0, 1, u8::try_from(server).unwrap()];
            let flags = NextHop::IN_USE | NextHop::RESOLVED;
            destination.source.store(mac_word(MAC, 0));
            destination.interface.store(u64::from(INTERFACE));
            destination.identity.store(Identity { service: id, port: Be16::new(0), weight: 1 }.to_word());
            destination.next_hop.store(NextHop { mac, flags, generation: 1 }.to_word());
            let slot = place.offset + RING_HEADER + server;
            tables.rings[slot as usize].store(reference.to_word());
        }
    }
    tables
}

impl Flow {
    fn service(&self) -> u16 {
        1 + u16::from(self.udp) + 2 * u16::from(self.six)
    }

    fn frame(&self, flags: u8) -> Vec<u8> {
        let mut frame = [MAC, [2, 0, 0, 0, 0, 9]].concat();
        let protocol = if self.udp { 17 } else { 6 };
        if self.six {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, protocol, 64]);
            frame.extend([[0xfc; 16], [0xfd; 16]].concat());
        } else {
            frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 9, 9, 9, 10, 0, 0, 1]);
        }
        frame.extend(self.client.to_be_bytes());
        frame.extend(self.port.to_be_bytes());
        frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        frame
    }

    fn key4(&self) -> Key4 {
        Key4::new(Be32::from_wire([10, 9, 9, 9]), Be16::new(self.client), self.service())
    }

    fn key6(&self) -> Key6 {
        Key6::new(Be128::from_wire([0xfc; 16]), Be16::new(self.client), self.service())
    }

    /// The two buckets it may be in.
    fn buckets(&self) -> [u32; 2] {
        let (first, second) = if self.six {
            buckets_of(self.key6().hash(SEED), Part::main(BUCKETS), Key6::NEAR)
        } else {
            buckets_of(self.key4().hash(SEED), Part::main(BUCKETS), Key4::NEAR)
        };
        [first, second]
    }

    fn find(&self, tables: &MemoryTables) -> Option<Value> {
        let (port, blur) = (Be16::new(self.port), Blur::new(0));
        self.buckets().into_iter().find_map(|bucket| {
            let bucket = bucket as usize;
            let found = if self.six {
                self.key6().find(&tables.connections6[bucket], port, blur)
            } else {
                self.key4().find(&tables.connections4[bucket], port, blur)
            };
            found.map(|(_, value)| value)
        })
    }
}

fn occupied(tables: &MemoryTables) -> usize {
    let four = tables.connections4.iter().flat_map(|bucket| &bucket.0).filter(|e| e.key.load() != 0).count();
    let six = tables.connections6.iter().flat_map(|bucket| &bucket.0).filter(|e| e.value.load() != 0).count();
    four + six
}

fn run(ops: &[Op], start: u32) -> Result<(), TestCaseError> {
    let tables = tables();
    tables.advance(start);
    let mut model = Model::default();
    let mut hashed: HashMap<Flow, u32> = HashMap::new();
    for op in ops {
        let (flow, flags) = match op {
            Op::Idle(ticks) => {
                tables.advance(*ticks);
                model.now += u64::from(*ticks);
                continue;
            }
            Op::Packet(flow, flags) => (*flow, *flags),
        };
        let expected = model.packet(flow, flags, flow.buckets());
        let mut packet = MemoryPacket::new(flow.frame(flags), INTERFACE);
        prop_assert_eq!(forward(&mut packet, &tables), Verdict::Transmit);
        let server = u32::from(packet.bytes()[5]);
        if expected.is_none() {
            let before = *hashed.entry(flow).or_insert(server);
            prop_assert_eq!(server, before, "{:?}: the hash places a flow once and for all", flow);
        }
        if let Some(entry) = model.entries.get_mut(&flow).filter(|entry| entry.server == u32::MAX) {
            entry.server = server;
        } else if let Some(expected) = expected {
            prop_assert_eq!(server, expected, "{:?} {:02x}", flow, flags);
        }
        // The model's times count from the start.
        for (flow, entry) in &model.entries {
            let found = flow.find(&tables).map(|value| {
                let age = tables_now(&tables).since(value.seen());
                (value.destination().id() % 8, name(value.state()), u64::from(age))
            });
            prop_assert_eq!(found, Some((entry.server, entry.state, model.now - entry.seen)), "{:?}", flow);
        }
        prop_assert_eq!(occupied(&tables), model.entries.len(), "nothing but what the model knows");
        let counted = [Reason::Evicted, Reason::Unrecorded, Reason::MidStream].map(|r| tables.reason(r));
        prop_assert_eq!(counted, [model.evicted, model.unrecorded, model.mid_stream]);
    }
    Ok(())
}

/// Tables that contradict each other cost the packet, not a slot for ever.
#[test]
fn a_ring_beyond_the_table_leaves_no_slot_claimed() {
    let tables = tables();
    let beyond = u32::try_from(tables.rings.len()).unwrap();
    for six in [false, true] {
        for offset in [beyond, beyond - RING_HEADER] {
            let flow = Flow { six, udp: false, client: 1, port: 80 };
            let place = RingPlace { offset, slots: 1 };
            tables.schedules[usize::from(flow.service())].ring.store(place.to_word());
            for flags in [0x02, 0x10] {
                let mut packet = MemoryPacket::new(flow.frame(flags), INTERFACE);
                let verdict = forward(&mut packet, &tables);
                // What is no place of the ring is nobody's.
                assert!(
                    matches!(
                        verdict,
                        Verdict::Drop(Reason::Inconsistent) | Verdict::Pass(Reason::NoRealServer)
                    ),
                    "{verdict:?}"
                );
                assert_eq!(occupied(&tables), 0, "IPv6: {six}, ring at {offset}, flags {flags:02x}");
            }
        }
    }
}

fn tables_now(tables: &MemoryTables) -> Ticks {
    tables.ticks()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Two buckets of each family for 96 flows, at a clock that may wrap on the way.
    #[test]
    fn the_table_keeps_its_rules(
        ops in prop::collection::vec(op(), 1..250),
        start in prop_oneof![Just(0u32), Just((1 << 18) - 500), 0u32..1 << 18],
    ) {
        run(&ops, start)?;
    }
}

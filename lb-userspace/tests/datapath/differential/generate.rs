//! Random frames, most of them nearly valid, and random changes of the tables.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use lb_common::layout::{NextHop, RingPlace, SchedulerCode, Settings};
use lb_userspace::config::{OnFailure, SourceRate};
use lb_userspace::plane::desired::Admission;
use lb_userspace::plane::standby;
use lb_userspace::plane::store::Store;

use crate::harness::frame::{C_TAG, Frame, S_TAG, TCP, UDP};
use crate::harness::random::Random;
use crate::harness::sides::{LIMITS, Side};
use crate::harness::world::{
    self, DIRECTOR_MAC, FULL, FULL_6, FULL_FAR, NAT_FAR, NAT1, NAT1_6, NAT2, NAT2_6, ROUTER, ROUTER_6,
    SOURCE_PORT, SOURCES, TUN_SOURCE, TUN_SOURCE_6, any_full_vip, any_nat_vip, any_nat_vip6, client, client6,
    full_vip, full_vip6, nat_vip, nat_vip6, near, near6, second_vip, second_vip6, tun_vip, tun_vip6, vip,
    vip6,
};

/// One step of a batch.
#[derive(Debug)]
pub(super) enum Op {
    Frame(Vec<u8>),
    Tables(Change),
}

/// A change of the tables, the same on both sides.
#[derive(Debug)]
pub(super) enum Change {
    /// The virtual servers of [`world::world`], with these weights.
    Configure(Vec<u32>),
    /// So many ticks pass.
    Idle(u32),
    /// Flags and generation of a destination.
    NextHop(usize, u8, u8),
    /// The VLAN and interface of a destination.
    Link(usize, u16, u64),
    /// A word of a slot of a ring.
    Slot(usize, u64),
    /// A service's ring.
    Ring(usize, RingPlace),
    /// What a virtual server's address remembers.
    Locality(usize, RingPlace),
    /// The value of an entry of the IPv4 table.
    Entry4(usize, usize, u64),
    /// Value and tag of an entry of the IPv6 table.
    Entry6(usize, usize, u64, u64),
    /// Value and tag of a lease.
    Lease(usize, u64, u64),
    /// A word about sources of a destination.
    Sources(usize, u64),
    /// The flags of the settings.
    Flags(u64),
    /// Every other virtual address is another director's, or none is.
    Standby(bool),
}

impl Change {
    pub(super) fn make(&self, side: &mut impl Side) {
        match self {
            Self::Configure(weights) => {
                let mut desired = world::world();
                let servers = desired.services.values_mut().flat_map(|service| &mut service.servers);
                servers.zip(weights.iter().cycle()).for_each(|(server, weight)| {
                    server.weight = *weight;
                    server.failed = *weight == 0;
                });
                let kinds = [OnFailure::Keep, OnFailure::Drop, OnFailure::Reset];
                let kind = kinds[weights.iter().sum::<u32>() as usize % kinds.len()];
                desired.services.values_mut().for_each(|service| service.on_failure = kind);
                let sum = weights.iter().sum::<u32>() as usize;
                for (number, (key, service)) in desired.services.iter_mut().enumerate() {
                    match (number + sum) % 9 {
                        0 => service.scheduler = SchedulerCode::Lblc,
                        1 => service.scheduler = SchedulerCode::Lblcr,
                        2 => service.scheduler = SchedulerCode::Wlc,
                        _ => {}
                    }
                    service.admission = admission(number + sum, key.address.is_ipv6());
                }
                side.configure(&desired, &world::hops());
            }
            Self::Idle(ticks) => side.idle(*ticks),
            Self::NextHop(id, flags, generation) => {
                let destination = &side.store().destinations()[*id];
                let hop = NextHop::from_word(destination.next_hop.load());
                let flags = hop.flags ^ flags;
                let generation = hop.generation.wrapping_add(*generation);
                destination.next_hop.store(NextHop { flags, generation, ..hop }.to_word());
            }
            Self::Link(id, vlan, interface) => {
                let destination = &side.store().destinations()[*id];
                destination.source.store(lb_common::layout::mac_word(DIRECTOR_MAC, *vlan));
                destination.interface.store(*interface);
            }
            Self::Slot(index, word) => side.store().rings()[*index].store(*word),
            Self::Ring(service, place) => side.store().schedules()[*service].ring.store(place.to_word()),
            Self::Locality(service, place) => {
                side.store().virtuals()[*service].locality.store(place.to_word());
            }
            Self::Entry4(bucket, slot, value) => {
                side.store().connections4()[*bucket].0[*slot].value.store(*value);
            }
            Self::Entry6(bucket, slot, tag, value) => {
                let entry = &side.store().connections6()[*bucket].0[*slot];
                entry.tag.store(*tag);
                entry.value.store(*value);
            }
            Self::Lease(slot, tag, value) => {
                let lease = &side.store().leases()[*slot];
                lease.tag.store(lease.tag.load() ^ tag);
                lease.value.store(*value);
            }
            Self::Sources(id, word) => side.store().details()[*id].sources.store(*word),
            Self::Flags(flags) => side.store().settings().flags.store(*flags),
            Self::Standby(elsewhere) => {
                let addresses: BTreeSet<_> = world::world().services.keys().map(|key| key.address).collect();
                let some = addresses.into_iter().step_by(2).filter(|_| *elsewhere).collect();
                standby::mark(side.store(), &some).unwrap();
            }
        }
    }
}

/// Who may connect: most virtual servers are for everybody.
fn admission(number: usize, is_ipv6: bool) -> Admission {
    let networks = |four: &str, six: &str| vec![if is_ipv6 { six } else { four }.parse().unwrap()];
    let clients = || networks("198.51.100.0/28", "2001:db8:ffff::/60");
    let near = || networks("192.0.2.0/24", "2001:db8:eeee::10/128");
    // So slow that time does not matter as long as the clock's tick is the same.
    let rate = SourceRate { rate: 1, burst: 2, prefix: if is_ipv6 { 64 } else { 32 } };
    match number % 30 {
        0 => Admission { deny: clients(), ..Admission::default() },
        1 => Admission { allow: near(), ..Admission::default() },
        2 => Admission { allow: clients(), deny: near(), rate_limit: Some(rate) },
        3 | 4 => Admission { rate_limit: Some(rate), ..Admission::default() },
        _ => Admission::default(),
    }
}

/// A change that leaves the tables whole, as user space makes them.
fn sound(random: &mut Random) -> Change {
    let small = |random: &mut Random, bound: usize| u32::try_from(random.below(bound)).unwrap();
    let id = random.below(56);
    match random.below(10) {
        9 => Change::Standby(random.below(3) == 0),
        0..=2 => Change::Configure((0..7).map(|_| small(random, 6).saturating_sub(1)).collect()),
        3 => Change::Idle(small(random, 900)),
        4..=6 => Change::Idle(small(random, 8)),
        7 => Change::NextHop(id, random.pick(&[NextHop::RESOLVED, NextHop::LOCAL]), 0),
        _ => {
            let vlan = random.pick(&[0, 8, 9, 4095]);
            Change::Link(id, vlan, random.pick(&[1, 7, 1 << 32 | 1]))
        }
    }
}

/// A change that may leave tables that contradict each other.
fn broken(random: &mut Random) -> Change {
    let small = |random: &mut Random, bound: usize| u32::try_from(random.below(bound)).unwrap();
    match random.below(10) {
        7 => {
            let value = if random.one_in(3) { u64::MAX } else { random.next() };
            Change::Lease(random.below(1024), random.next() & random.next() & random.next(), value)
        }
        8 => Change::Sources(random.below(LIMITS.servers), random.next() & 0x03ff_00ff_ffff_ffff),
        9 => {
            let place = RingPlace { offset: small(random, 128), slots: small(random, 12) };
            Change::Locality(random.below(LIMITS.services), place)
        }
        0 => Change::Idle(small(random, 1000)),
        1 => Change::NextHop(random.below(30), random.byte() & 15, random.byte() & random.byte() & 3),
        2 => Change::Slot(random.below(128), random.next() & random.next() & 0xff_00ff),
        3 => {
            let slots = random.pick(&[0, 1, 2, 3, 7]);
            Change::Ring(random.below(LIMITS.services), RingPlace { offset: small(random, 128), slots })
        }
        4 => Change::Entry4(random.below(8), random.below(4), random.next()),
        5 => {
            // A word of all ones is an entry that is being written.
            let value = if random.one_in(3) { u64::MAX } else { random.next() };
            Change::Entry6(random.below(8), random.below(4), random.next() & 0xf_ffff, value)
        }
        _ => {
            let flags = Settings::ANY_PORT | Settings::NAT | Settings::FULL_NAT | Settings::HANDING_OVER;
            Change::Flags(random.next() & flags)
        }
    }
}

/// `frames` frames with changes between them. The tables are configured first, sound for most of the batch,
/// and broken at its end.
pub(super) fn batch(random: &mut Random, frames: usize) -> Vec<Op> {
    let mut ops = vec![Op::Tables(Change::Configure(vec![1, 1, 2, 3, 1, 1, 1]))];
    for number in 0..frames {
        if random.one_in(25) {
            let sound_yet = number < frames * 4 / 5;
            ops.push(Op::Tables(if sound_yet { sound(random) } else { broken(random) }));
        }
        let mut frame = frame(random);
        if random.one_in(3) {
            mutate(random, &mut frame);
        }
        ops.push(Op::Frame(frame));
    }
    ops
}

/// A flow between one of few clients and one of the virtual servers, seldom to nobody.
fn flow(random: &mut Random, protocol: u8) -> (SocketAddr, SocketAddr) {
    let ports: &[u16] = match protocol {
        UDP => &[53, 5353],
        _ => &[80, 80, 80, 8080, 8080, 8081, 8081, 81, 82, 83, 84, 85, 86],
    };
    let port = if random.one_in(20) { random.pick(&[443, 0, 22, 53, 80]) } else { random.pick(ports) };
    let from = 1000 + u16::from(random.byte() & if random.one_in(3) { 63 } else { 7 });
    match random.below(8) {
        0..=2 => (client(from), vip(port)),
        3 => (client(from), second_vip(port)),
        4..=6 => (client6(from), vip6(port)),
        _ => (client6(from), second_vip6(port)),
    }
}

/// A flow with the virtual servers behind NAT, as its client or as its real server sends it.
fn nat_flow(random: &mut Random, protocol: u8) -> (SocketAddr, SocketAddr) {
    let from = 1000 + u16::from(random.byte() & 7);
    let clients = [[client(from), client6(from)], [near(from), near6(from)]];
    let mut clients = random.pick(&clients);
    if random.one_in(20) {
        clients[0] = random.pick(&[
            SocketAddr::new([10, 66, 0, 1].into(), from),
            SocketAddr::new([10, 77, 0, 1].into(), from),
            SocketAddr::new([10, 88, 0, 1].into(), from),
        ]);
    }
    let six = usize::from(random.one_in(2));
    let client = clients[six];
    if random.one_in(3) {
        return full_flow(random, protocol, client);
    }
    if random.one_in(4) {
        let port = random.pick(&[80, 81, 82, 83]);
        return (client, [tun_vip(port), tun_vip6(port)][six]);
    }
    if random.one_in(2) {
        let port = random.pick(if protocol == UDP { &[53, 54, 55, 56] } else { &[80, 8081, 82, 83, 81] });
        let vip = [nat_vip(port), nat_vip6(port)][six];
        let any = [any_nat_vip(port), any_nat_vip6(port)][six];
        return (client, if random.one_in(5) { any } else { vip });
    }
    let port = random.pick(if protocol == UDP { &[53, 54, 55, 56] } else { &[8080, 8081, 8082, 8083, 80] });
    let servers = [[NAT1, NAT2, NAT_FAR], [NAT1_6, NAT2_6, NAT1_6]][six];
    (SocketAddr::new(random.pick(&servers).address, port), client)
}

/// A flow with the virtual servers by full NAT, as its client or as its real server sends it.
fn full_flow(random: &mut Random, protocol: u8, client: SocketAddr) -> (SocketAddr, SocketAddr) {
    let six = usize::from(client.is_ipv6());
    if random.one_in(2) {
        let port = random.pick(if protocol == UDP { &[53, 53, 54] } else { &[80, 81, 82, 83, 84, 85, 86] });
        let vip = [full_vip(port), full_vip6(if protocol == UDP { 53 } else { 80 })][six];
        return (client, if six == 0 && random.one_in(5) { any_full_vip(443) } else { vip });
    }
    let port = random.pick(if protocol == UDP { &[53, 53, 54] } else { &[8080, 8083, 443, 80] });
    let server = random.pick(&[[FULL, FULL_FAR], [FULL_6, FULL_6]][six]);
    let source = if six == 1 { TUN_SOURCE_6 } else { random.pick(&[TUN_SOURCE, SOURCES[0], SOURCES[1]]) };
    (SocketAddr::new(server.address, port), SocketAddr::new(source, SOURCE_PORT))
}

fn transport(random: &mut Random, protocol: u8, from: SocketAddr, to: SocketAddr) -> Frame {
    let data = vec![random.byte(); random.pick(&[0, 1, 8, 40, 600, 1360])];
    if protocol == UDP {
        return Frame::udp(from, to, &data);
    }
    let flags = random.pick(&[2, 2, 16, 16, 16, 24, 17, 20, 4, 18, 1, 0]);
    Frame::tcp(from, to, if random.one_in(20) { random.byte() } else { flags })
}

fn frame(random: &mut Random) -> Vec<u8> {
    let protocol = random.pick(&[TCP, TCP, UDP]);
    let nat = random.one_in(3);
    let (from, to) = if nat { nat_flow(random, protocol) } else { flow(random, protocol) };
    let six = to.is_ipv6();
    let mut frame = match random.below(10) {
        0 => {
            let quoted = transport(random, protocol, to, from);
            let quoted = if random.one_in(8) { quoted.options(&[1; 8]) } else { quoted };
            let (router, kinds) = if six { (ROUTER_6, [1, 2, 3, 128]) } else { (ROUTER, [3, 4, 11, 8]) };
            Frame::icmp_error(router, random.pick(&kinds), &quoted, random.pick(&[28, 48, 60, 500]))
        }
        1 | 2 => {
            let whole = transport(random, protocol, from, to).identification(u16::from(random.byte() & 3));
            match random.below(3) {
                0 => whole.first_fragment(random.pick(&[8, 24, 24, 48])),
                1 => whole.later_fragment(random.pick(&[8, 24, 1480]), true),
                _ => whole.later_fragment(random.pick(&[8, 24, 1480]), false),
            }
        }
        _ => transport(random, protocol, from, to),
    };
    if nat && random.one_in(4) && frame.ports().is_some() && frame.is_whole() {
        frame = frame.unfinished();
    }
    if six {
        for _ in 0..random.below(8).saturating_sub(3) {
            let body: &[u8] = if random.one_in(2) { &[0; 7] } else { &[1; 15] };
            frame = frame.extension(random.pick(&[0, 43, 60, 44, 51]), body);
        }
    } else if random.one_in(6) {
        frame = frame.options(&vec![1; random.pick(&[4, 8, 40])]);
    }
    for _ in 0..random.below(8).saturating_sub(5) {
        let control = random.pick(&[0, 8, 9, 0xe008, 0xe000, 0xffff]);
        frame = frame.tag(random.pick(&[C_TAG, S_TAG]), control);
    }
    if random.one_in(10) {
        frame = frame.ttl(random.byte() & 3);
    }
    if random.one_in(20) {
        frame = frame.to([0xff, 2, 0, 0, 0, random.byte()]);
    }
    if random.one_in(6) {
        frame = frame.padding(random.below(20));
    }
    frame.bytes()
}

/// Makes a frame a little or quite wrong. It keeps its Ethernet header: the kernel takes no shorter one.
fn mutate(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        let length = frame.len();
        match random.below(8) {
            0 => frame.truncate(14 + random.below(length - 13)),
            1 => frame.truncate(14.max(length - random.below(length.min(24)))),
            2 => frame.resize((length + random.below(30)).min(1500), 0xcc),
            3 => frame[random.below(length.min(24))] = random.byte(),
            4 => {
                let at = random.below(length.min(90));
                frame[at] ^= 1 << random.below(8);
            }
            5 => {
                // Where lengths, protocols, fragment fields and next headers are.
                let at = random
                    .pick(&[12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23, 34, 38, 39, 42, 46, 47, 54, 55]);
                if at < length {
                    frame[at] =
                        random.pick(&[0, 1, 6, 17, 20, 44, 58, 60, 0x20, 0x40, 0x45, 0x46, 0x4f, 0x60, 0xff]);
                }
            }
            6 => {
                let at = random.below(length.min(100));
                frame[at] = random.byte();
            }
            _ => {
                let at = random.below(length);
                let byte = frame[at];
                frame[at] = byte.wrapping_add(random.pick(&[1, 255]));
            }
        }
    }
}

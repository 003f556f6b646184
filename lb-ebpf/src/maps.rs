// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The maps, and `lb_common`'s view of them. Values are shared with user space and other CPUs: what changes
//! under a running program is atomic, so `&T` is sound; the two per-CPU counters are this CPU's own.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::helpers::generated::bpf_jiffies64;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray};
use lb_common::admission::{LISTED_BITS, Sources};
use lb_common::conn::{Bucket4, Bucket6};
use lb_common::forward::pick::{self, Asked};
use lb_common::layout::{
    Destination, Detail, FragmentKey, FragmentOwner, Load, Neighbour, Route, Schedule, Service, Settings,
    Traffic, Virtual,
};
use lb_common::lease::{GROUP, Lease};
use lb_common::maps::{
    DESTINATIONS_MAX, FRAGMENTS_MAX, NEIGHBOURS_MAX, NETWORKS_MAX, RING_WORDS, ROUTES_HALF,
    SERVICES as SERVICES_MAX, SOURCES_LINES,
};
use lb_common::net::{Be32, Be128};
use lb_common::services::{self, BUCKETS};
use lb_common::tables::Tables;
use lb_common::verdict::Reason;
use lb_common::word::Word;

use crate::stages;

#[map]
static SERVICES4: Array<services::Bucket4> = Array::with_max_entries(BUCKETS, BPF_F_MMAPABLE);
#[map]
static SERVICES6: Array<services::Bucket6> = Array::with_max_entries(BUCKETS, BPF_F_MMAPABLE);
#[map]
static SCHEDULES: Array<Schedule> = Array::with_max_entries(SERVICES_MAX + 1, BPF_F_MMAPABLE);
#[map]
static RINGS: Array<Word> = Array::with_max_entries(RING_WORDS, BPF_F_MMAPABLE);
#[map]
static DESTINATIONS: Array<Destination> = Array::with_max_entries(DESTINATIONS_MAX, BPF_F_MMAPABLE);
#[map]
static LOADS: Array<Load> = Array::with_max_entries(DESTINATIONS_MAX, BPF_F_MMAPABLE);
#[map]
static TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(DESTINATIONS_MAX, 0);
// The loader sets the connection tables' sizes.
#[map]
static CONNECTIONS4: Array<Bucket4> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static CONNECTIONS6: Array<Bucket6> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentOwner> = LruHashMap::with_max_entries(FRAGMENTS_MAX, 0);
#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static DETAILS: Array<Detail> = Array::with_max_entries(DESTINATIONS_MAX, BPF_F_MMAPABLE);
#[map]
static VIRTUALS: Array<Virtual> = Array::with_max_entries(SERVICES_MAX + 1, BPF_F_MMAPABLE);
#[map]
static ROUTES: Array<Route> = Array::with_max_entries(2 * ROUTES_HALF, BPF_F_MMAPABLE);
#[map]
static NEIGHBOURS: LruHashMap<[u64; 2], Neighbour> = LruHashMap::with_max_entries(NEIGHBOURS_MAX, 0);
// The loader sets its size.
#[map]
static LEASES: Array<Lease> = Array::with_max_entries(GROUP, BPF_F_MMAPABLE);
#[map]
static NETWORKS4: LpmTrie<[u32; 2], u32> = LpmTrie::with_max_entries(NETWORKS_MAX, 0);
#[map]
static NETWORKS6: LpmTrie<[u32; 5], u32> = LpmTrie::with_max_entries(NETWORKS_MAX, 0);
#[map]
static SOURCES: Array<Sources> = Array::with_max_entries(SOURCES_LINES, BPF_F_MMAPABLE);
#[map]
static REASONS: PerCpuArray<u64> = PerCpuArray::with_max_entries(64, 0);

pub(crate) struct KernelTables;

impl Tables for KernelTables {
    #[inline(always)]
    fn nanoseconds(&self, settings: &Settings) -> u64 {
        // The kernel's own coarse clock is a call; this helper the JIT replaces by one load.
        // SAFETY: takes nothing, returns an integer.
        let jiffies = unsafe { bpf_jiffies64() };
        jiffies.wrapping_mul(settings.jiffy.load()).wrapping_add(settings.epoch.load())
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0)
    }

    #[inline(always)]
    fn services4(&self, index: u32) -> Option<&services::Bucket4> {
        SERVICES4.get(index)
    }

    #[inline(always)]
    fn services6(&self, index: u32) -> Option<&services::Bucket6> {
        SERVICES6.get(index)
    }

    #[inline(always)]
    fn schedule(&self, id: u16) -> Option<&Schedule> {
        SCHEDULES.get(u32::from(id))
    }

    #[inline(always)]
    fn ring(&self, index: u32) -> Option<&Word> {
        RINGS.get(index)
    }

    #[inline(always)]
    fn destination(&self, id: u32) -> Option<&Destination> {
        DESTINATIONS.get(id)
    }

    #[inline(always)]
    fn load(&self, id: u32) -> Option<&Load> {
        LOADS.get(id)
    }

    #[inline(always)]
    fn bucket4(&self, index: u32) -> Option<&Bucket4> {
        CONNECTIONS4.get(index)
    }

    #[inline(always)]
    fn bucket6(&self, index: u32) -> Option<&Bucket6> {
        CONNECTIONS6.get(index)
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentOwner> {
        // SAFETY: the value is copied at once; two words of different first fragments of one datagram agree.
        unsafe { FRAGMENTS.get(key).copied() }
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, owner: &FragmentOwner) {
        // A full or contended table costs later fragments their way, and they are counted.
        let _ignored = FRAGMENTS.insert(key, owner, 0);
    }

    #[inline(always)]
    fn detail(&self, id: u32) -> Option<&Detail> {
        DETAILS.get(id)
    }

    #[inline(always)]
    fn virtual_server(&self, service: u16) -> Option<&Virtual> {
        VIRTUALS.get(u32::from(service))
    }

    #[inline(always)]
    fn route(&self, index: u32) -> Option<&Route> {
        ROUTES.get(index)
    }

    #[inline(always)]
    fn find_route(&self, first: u32, count: u32, a: u64, b: u64) -> u32 {
        stages::find_route(first, count, a, b)
    }

    #[inline(always)]
    fn answers(&self, a: u64, b: u64, key: u32, is_ipv6: bool) -> u64 {
        stages::find_answers(a, b, key, u32::from(is_ipv6))
    }

    #[inline(always)]
    fn owner(&self, a: u64, b: u64, ports: u32, answers: u64, is_ipv6: bool) -> u64 {
        stages::owner(a, b, ports, answers, u32::from(is_ipv6))
    }

    #[inline(always)]
    fn lease(&self, index: u32) -> Option<&Lease> {
        LEASES.get(index)
    }

    #[inline(always)]
    fn find_lease(&self, [a, b]: [u64; 2], rest: u64, what: u64) -> u64 {
        stages::find_lease(a, b, rest, what)
    }

    #[inline(always)]
    fn lease_among(&self, [a, b]: [u64; 2], rest: u64, what: u64, place: u32) -> u64 {
        stages::lease_among(a, b, rest, what, place)
    }

    #[inline(always)]
    fn lease_of(&self, [a, b]: [u64; 2], [c, d]: [u64; 2], ports: u64) -> u64 {
        stages::lease_of(a, b, c, d, ports)
    }

    #[inline(always)]
    fn neighbour(&self, address: &[u64; 2]) -> Option<Neighbour> {
        // SAFETY: an update replaces the element, so the value is copied whole.
        unsafe { NEIGHBOURS.get(address).copied() }
    }

    #[inline(always)]
    fn learn(&self, address: &[u64; 2], neighbour: &Neighbour) {
        // A contended table learns from the next connection.
        let _ignored = NEIGHBOURS.insert(address, neighbour, 0);
    }

    #[inline(always)]
    fn count_answer(&self, destination: u32, bytes: u64) {
        if let Some(traffic) = TRAFFIC.get_ptr_mut(destination) {
            // SAFETY: as for `count_traffic`.
            let traffic = unsafe { &mut *traffic };
            traffic.out_packets = traffic.out_packets.wrapping_add(1);
            traffic.out_bytes = traffic.out_bytes.wrapping_add(bytes);
        }
    }

    #[inline(always)]
    fn count_traffic(&self, destination: u32, new: bool, bytes: u64) {
        if let Some(traffic) = TRAFFIC.get_ptr_mut(destination) {
            // SAFETY: this CPU's own element, and XDP programs do not interrupt each other on a CPU.
            let traffic = unsafe { &mut *traffic };
            traffic.connections = traffic.connections.wrapping_add(u64::from(new));
            traffic.packets = traffic.packets.wrapping_add(1);
            traffic.bytes = traffic.bytes.wrapping_add(bytes);
        }
    }

    #[inline(always)]
    fn pick(&self, service: Service, asked: &Asked) -> u64 {
        let (placement, addresses, rest) = asked.to_words();
        match stages::pick_any(service.to_word(), placement, addresses, rest) {
            pick::LOCAL => stages::pick_local(service.to_word()),
            word => word,
        }
    }

    #[inline(always)]
    fn near(&self, about: u64) -> u64 {
        stages::near(about)
    }

    #[inline(always)]
    fn near_shrink(&self, about: u64) {
        let _zero = stages::near_shrink(about);
    }

    #[inline(always)]
    fn near_count(&self, place: u64, about: u64, start: u32) -> u32 {
        stages::near_count(place, about, start)
    }

    #[inline(always)]
    fn settle(&self, about: u64, word: u64) {
        let _zero = stages::settle(about, word);
    }

    #[inline(always)]
    fn near_among(&self, place: u64, about: u64, start: u32, best: u64) -> u64 {
        stages::near_among(place, about, start, best)
    }

    #[inline(always)]
    fn near_room(&self, place: u64, about: u64, start: u32, word: u64) -> u32 {
        stages::near_room(place, about, start, word)
    }

    #[inline(always)]
    fn near_idle(&self, list: u64, start: u32) -> u32 {
        stages::near_idle(list, start)
    }

    #[inline(always)]
    fn pick_best(&self, list: u64, code: u8) -> u64 {
        // Not a function of its own: the frames of all that are called add up to 512 bytes of stack.
        pick::best(self, list, code)
    }

    #[inline(always)]
    fn pick_drawn(&self, list: u64, drawn: u64) -> u64 {
        stages::pick_drawn(list, drawn)
    }

    #[inline(always)]
    fn pick_relieved(&self, ring: u64) -> u64 {
        stages::pick_relieved(ring)
    }

    #[inline(always)]
    fn pick_other(&self, ring: u64, number: u32, place: u32, flags: u32) -> u64 {
        stages::pick_other(ring, number, place, flags)
    }

    #[inline(always)]
    fn pick_among(&self, list: u64, start: u32, code: u8) -> u64 {
        stages::pick_among(list, start, u32::from(code))
    }

    #[inline(always)]
    fn pick_up_to(&self, list: u64, start: u32, drawn: u64, sum: u64) -> u64 {
        stages::pick_up_to(list, start, drawn, sum)
    }

    #[inline(always)]
    fn bound(&self, [a, b]: [u64; 2], rest: u64) -> u64 {
        stages::bound(a, b, rest)
    }

    #[inline(always)]
    fn bind(&self, [a, b]: [u64; 2], rest: u64, word: u64) {
        let _zero = stages::bind(a, b, rest, word);
    }

    #[inline(always)]
    fn weigh(&self, value: u64, change: i64) {
        let _zero = stages::weigh(value, change);
    }

    #[inline(always)]
    fn listed(&self, [a, b]: [u64; 2], rest: u64) -> u32 {
        stages::listed(a, b, rest)
    }

    #[inline(always)]
    fn connects(&self, [a, b]: [u64; 2], rest: u64) -> u32 {
        stages::connects(a, b, rest)
    }

    #[inline(always)]
    fn network4(&self, schedule: u16, source: Be32) -> Option<u32> {
        // An update replaces the element, so the value does not change.
        NETWORKS4.get(Key::new(LISTED_BITS + 32, [u32::from(schedule), source.bits()])).copied()
    }

    #[inline(always)]
    fn network6(&self, schedule: u16, source: Be128) -> Option<u32> {
        let [[a, b], [c, d]] = source.words().map(|word| {
            let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
            [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
        });
        NETWORKS6.get(Key::new(LISTED_BITS + 128, [u32::from(schedule), a, b, c, d])).copied()
    }

    #[inline(always)]
    fn sources(&self, index: u32) -> Option<&Sources> {
        SOURCES.get(index)
    }

    #[inline(always)]
    fn count(&self, reason: Reason) {
        if let Some(count) = REASONS.get_ptr_mut(reason as u32) {
            // SAFETY: as for `count_traffic`.
            let count = unsafe { &mut *count };
            *count = count.wrapping_add(1);
        }
    }
}

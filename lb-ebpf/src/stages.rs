// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The stages of the datapath, and loops within them, as functions of their own. Their symbols are global, so the
//! verifier checks each of them once, for any arguments, and where they are called takes them for what their types
//! say.

use core::hint;

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::bpf_redirect;
use lb_common::csum;
use lb_common::forward::pick::{self, Asked};
use lb_common::forward::{self, Stage, admission, full_nat, locality, place, sticky, translate, way};
use lb_common::layout::{DestinationRef, Service};
use lb_common::verdict::Verdict;
use lb_common::word::Blur;

use crate::maps::KernelTables;
use crate::xdp_packet::XdpPacket;

/// What the program returns for a verdict.
#[inline(always)]
fn action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Pass(_) => xdp_action::XDP_PASS,
        Verdict::Drop(_) => xdp_action::XDP_DROP,
        Verdict::Transmit => xdp_action::XDP_TX,
        // SAFETY: takes two integers; an index that is no interface makes the kernel drop the frame.
        Verdict::Redirect(interface) => unsafe { bpf_redirect(interface, 0) as u32 },
        Verdict::Next(stage) => after(stage),
    }
}

/// No action has this bit: a stage is to come. Which one, say four bits from [`KIND`] on; what it is about, those below
/// [`NEW`].
const NEXT: u32 = 1 << 31;
const KIND: u32 = 27;
/// A new connection.
const NEW: u32 = 1 << 26;

const ANSWER: u32 = 0;
const ERROR: u32 = 1;
const REST: u32 = 2;
const FAILED: u32 = 3;
const TRANSLATE: u32 = 4;
const ENCAPSULATE: u32 = 5;
const FULL_NAT: u32 = 6;
const TO_SERVER: u32 = 7;
const TO_CLIENT: u32 = 8;
const ERROR_OF_LEASE: u32 = 9;
const ERROR_TO_SERVER: u32 = 10;
const UNCOMMON: u32 = 11;

/// The return value of a stage that another one comes after. A stage does not call the next itself: stages would
/// then share the 512 bytes of stack.
#[inline(always)]
fn after(stage: Stage) -> u32 {
    let (kind, about, new) = match stage {
        Stage::Answer => (ANSWER, 0, false),
        Stage::Error => (ERROR, 0, false),
        Stage::Rest => (REST, 0, false),
        Stage::Failed(flags) => (FAILED, u32::from(flags), false),
        Stage::Uncommon => (UNCOMMON, 0, false),
        Stage::Translate(destination, new) => (TRANSLATE, destination.to_word() as u32, new),
        Stage::Encapsulate(destination, new) => (ENCAPSULATE, destination.to_word() as u32, new),
        Stage::FullNat(destination, new) => (FULL_NAT, destination.to_word() as u32, new),
        Stage::ToServer(slot, new) => (TO_SERVER, slot, new),
        Stage::ToClient(slot) => (TO_CLIENT, slot, false),
        Stage::ErrorOfLease(destination) => (ERROR_OF_LEASE, destination.to_word() as u32, false),
        Stage::ErrorToServer(slot) => (ERROR_TO_SERVER, slot, false),
    };
    NEXT | kind << KIND | if new { NEW } else { 0 } | about & (NEW - 1)
}

/// The stages that a frame may come to after the first.
const MOST_STAGES: u32 = 4;

/// All stages that a frame comes to.
#[inline(always)]
pub(crate) fn run(context: *mut xdp_md) -> u32 {
    let mut word = stage_first(context);
    let mut stages = 0;
    while word & NEXT != 0 && stages < MOST_STAGES {
        hint::cold_path();
        word = next(context, word);
        stages += 1;
    }
    word
}

#[inline(always)]
fn next(context: *mut xdp_md, word: u32) -> u32 {
    match word >> KIND & 15 {
        TRANSLATE => stage_translate(context, word),
        ANSWER => stage_answer(context),
        ENCAPSULATE => stage_encapsulate(context, word),
        FULL_NAT => stage_full_nat(context, word),
        TO_SERVER => stage_to_server(context, word),
        TO_CLIENT => stage_to_client(context, word),
        UNCOMMON => stage_uncommon(context),
        ERROR => stage_error(context),
        REST => stage_rest(context),
        ERROR_OF_LEASE => stage_error_of_lease(context, word),
        ERROR_TO_SERVER => stage_error_to_server(context, word),
        _ => stage_failed(context, word),
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_first(context: *mut xdp_md) -> u32 {
    action(forward::forward(&mut XdpPacket::new(context), &KernelTables))
}

#[inline(always)]
fn carry_out(context: *mut xdp_md, stage: Stage) -> u32 {
    action(forward::stage(&mut XdpPacket::new(context), &KernelTables, stage))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_uncommon(context: *mut xdp_md) -> u32 {
    carry_out(context, Stage::Uncommon)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_answer(context: *mut xdp_md) -> u32 {
    carry_out(context, Stage::Answer)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_error(context: *mut xdp_md) -> u32 {
    carry_out(context, Stage::Error)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_rest(context: *mut xdp_md) -> u32 {
    carry_out(context, Stage::Rest)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_failed(context: *mut xdp_md, about: u32) -> u32 {
    carry_out(context, Stage::Failed(about as u8))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_translate(context: *mut xdp_md, about: u32) -> u32 {
    carry_out(context, Stage::Translate(destination(about), about & NEW != 0))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_encapsulate(context: *mut xdp_md, about: u32) -> u32 {
    carry_out(context, Stage::Encapsulate(destination(about), about & NEW != 0))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_full_nat(context: *mut xdp_md, about: u32) -> u32 {
    carry_out(context, Stage::FullNat(destination(about), about & NEW != 0))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_to_server(context: *mut xdp_md, about: u32) -> u32 {
    carry_out(context, Stage::ToServer(about & (NEW - 1), about & NEW != 0))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_to_client(context: *mut xdp_md, about: u32) -> u32 {
    carry_out(context, Stage::ToClient(about & (NEW - 1)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_error_of_lease(context: *mut xdp_md, about: u32) -> u32 {
    carry_out(context, Stage::ErrorOfLease(destination(about)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_error_to_server(context: *mut xdp_md, about: u32) -> u32 {
    carry_out(context, Stage::ErrorToServer(about & (NEW - 1)))
}

/// The destination in the low bits.
#[inline(always)]
fn destination(about: u32) -> DestinationRef {
    DestinationRef::from_word(u64::from(about))
}

/// The bits of `csum::sum`.
#[inline(always)]
pub(crate) fn sum(context: *mut xdp_md, at: usize, length: usize) -> Option<u64> {
    let sum = stage_sum(context, at as u32, length as u32);
    if sum == u64::MAX { None } else { Some(sum) }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_sum(context: *mut xdp_md, at: u32, length: u32) -> u64 {
    match csum::sum(&XdpPacket::new(context), at as usize, length as usize) {
        Some(sum) => sum.bits(),
        None => u64::MAX,
    }
}

/// See [`way::find`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn find_route(first: u32, count: u32, a: u64, b: u64) -> u32 {
    way::find(&KernelTables, first, count, a, b)
}

/// See [`translate::find_answers`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn find_answers(a: u64, b: u64, key: u32, is_ipv6: u32) -> u64 {
    translate::find_answers(&KernelTables, a, b, key, is_ipv6 != 0)
}

/// See [`translate::owner`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn owner(a: u64, b: u64, ports: u32, answers: u64, is_ipv6: u32) -> u64 {
    translate::owner(&KernelTables, a, b, ports, answers, is_ipv6 != 0)
}

/// See [`full_nat::lease`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn find_lease(a: u64, b: u64, rest: u64, what: u64) -> u64 {
    full_nat::lease(&KernelTables, [a, b], rest, what)
}

/// See [`full_nat::among`]. The top bits of `rest` are 0, which the verifier does not know.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lease_among(a: u64, b: u64, rest: u64, what: u64, place: u32) -> u64 {
    full_nat::among(&KernelTables, [a, b], rest, what, place, Blur::new(rest >> 60))
}

/// See [`full_nat::lease_of`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lease_of(a: u64, b: u64, c: u64, d: u64, ports: u64) -> u64 {
    full_nat::lease_of(&KernelTables, [a, b], [c, d], ports)
}

/// See [`pick::pick`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn pick_any(service: u64, placement: u64, addresses: u64, rest: u32) -> u64 {
    let asked = Asked::from_words(placement, addresses, rest);
    pick::pick(&KernelTables, Service::from_word(service), &asked)
}

/// See [`locality::local`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn pick_local(service: u64) -> u64 {
    locality::local(&KernelTables, service)
}

/// See [`locality::shrink`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn near_shrink(about: u64) -> u32 {
    locality::shrink(&KernelTables, about);
    0
}

/// See [`locality::count`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn near_count(place: u64, about: u64, start: u32) -> u32 {
    locality::count(&KernelTables, place, about, start)
}

/// See [`locality::near`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn near(about: u64) -> u64 {
    locality::near(&KernelTables, about)
}

/// See [`locality::settle`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn settle(about: u64, word: u64) -> u32 {
    locality::settle(&KernelTables, about, word);
    0
}

/// See [`locality::among`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn near_among(place: u64, about: u64, start: u32, best: u64) -> u64 {
    locality::among(&KernelTables, place, about, start, best)
}

/// See [`locality::room`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn near_room(place: u64, about: u64, start: u32, word: u64) -> u32 {
    locality::room(&KernelTables, place, about, start, word)
}

/// See [`locality::idle`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn near_idle(list: u64, start: u32) -> u32 {
    locality::idle(&KernelTables, list, start)
}

/// See [`pick::drawn`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn pick_drawn(list: u64, drawn: u64) -> u64 {
    pick::drawn(&KernelTables, list, drawn)
}

/// See [`pick::relieved`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn pick_relieved(ring: u64) -> u64 {
    pick::relieved(&KernelTables, ring)
}

/// See [`pick::other`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn pick_other(ring: u64, number: u32, place: u32, flags: u32) -> u64 {
    pick::other(&KernelTables, ring, number, place, flags)
}

/// See [`pick::among`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn pick_among(list: u64, start: u32, code: u32) -> u64 {
    pick::among(&KernelTables, list, start, code as u8)
}

/// See [`pick::up_to`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn pick_up_to(list: u64, start: u32, drawn: u64, sum: u64) -> u64 {
    pick::up_to(&KernelTables, list, start, drawn, sum)
}

/// See [`sticky::bound`]. The top bits of `rest` are 0, which the verifier does not know.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn bound(a: u64, b: u64, rest: u64) -> u64 {
    sticky::bound(&KernelTables, [a, b], rest, Blur::new(rest >> 41))
}

/// See [`sticky::bind`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn bind(a: u64, b: u64, rest: u64, word: u64) -> u32 {
    sticky::bind(&KernelTables, [a, b], rest, word, Blur::new(rest >> 41));
    0
}

/// See [`admission::listed`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn listed(a: u64, b: u64, rest: u64) -> u32 {
    admission::listed(&KernelTables, [a, b], rest)
}

/// See [`admission::connects`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn connects(a: u64, b: u64, rest: u64) -> u32 {
    admission::connects(&KernelTables, [a, b], rest)
}

/// See [`place::weigh`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn weigh(value: u64, change: i64) -> u32 {
    place::weigh(&KernelTables, value, change);
    0
}

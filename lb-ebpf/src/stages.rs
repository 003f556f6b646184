// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The stages of the datapath, and loops within them, as functions of their own. Their symbols are global, so the
//! verifier checks each of them once, for any arguments, and where they are called takes them for what their types
//! say.

use core::hint;

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::bpf_redirect;
use lb_common::csum;
use lb_common::forward::pick::{self, Asked};
use lb_common::forward::{self, Stage, place, sticky, translate, way};
use lb_common::layout::DestinationRef;
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

/// No action has this bit: a stage is to come.
const NEXT: u32 = 1 << 31;
/// That stage is [`Stage::Translate`], with the destination in the low bits and [`NEW`].
const TRANSLATE: u32 = 1 << 30;
/// That stage is [`Stage::Encapsulate`], likewise.
const ENCAPSULATE: u32 = 1 << 29;
const NEW: u32 = 1 << 28;

/// The return value of a stage that another one comes after. A stage does not call the next itself: stages would
/// then share the 512 bytes of stack.
#[inline(always)]
fn after(stage: Stage) -> u32 {
    match stage {
        Stage::Answer => NEXT,
        Stage::Error => NEXT | 1,
        Stage::Rest => NEXT | 2,
        Stage::Failed(flags) => NEXT | 3 | (flags as u32) << 8,
        Stage::Uncommon => NEXT | 4,
        Stage::Translate(destination, new) => NEXT | TRANSLATE | chosen(destination, new),
        Stage::Encapsulate(destination, new) => NEXT | ENCAPSULATE | chosen(destination, new),
    }
}

#[inline(always)]
fn chosen(destination: DestinationRef, new: bool) -> u32 {
    destination.to_word() as u32 | if new { NEW } else { 0 }
}

/// The stages that a frame may come to after the first.
const MOST_STAGES: u32 = 3;

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
    if word & TRANSLATE != 0 {
        stage_translate(context, word)
    } else if word & ENCAPSULATE != 0 {
        stage_encapsulate(context, word)
    } else {
        match word & 7 {
            0 => stage_answer(context),
            1 => stage_error(context),
            2 => stage_rest(context),
            3 => stage_failed(context, word >> 8),
            _ => stage_uncommon(context),
        }
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
extern "C" fn stage_failed(context: *mut xdp_md, flags: u32) -> u32 {
    carry_out(context, Stage::Failed(flags as u8))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_translate(context: *mut xdp_md, chosen: u32) -> u32 {
    carry_out(context, Stage::Translate(DestinationRef::from_word(u64::from(chosen)), chosen & NEW != 0))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_encapsulate(context: *mut xdp_md, chosen: u32) -> u32 {
    carry_out(context, Stage::Encapsulate(DestinationRef::from_word(u64::from(chosen)), chosen & NEW != 0))
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

/// See [`pick::pick`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn pick_any(schedule: u32, placement: u64, addresses: u64, rest: u32) -> u64 {
    pick::pick(&KernelTables, schedule as u16, &Asked::from_words(placement, addresses, rest))
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

/// See [`place::weigh`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn weigh(value: u64, change: i64) -> u32 {
    place::weigh(&KernelTables, value, change);
    0
}

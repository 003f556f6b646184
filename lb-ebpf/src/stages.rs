// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The stages of the datapath, and loops within them, as functions of their own. Their symbols are global, so the
//! verifier checks each of them once, for any arguments, and where they are called takes them for what their types
//! say.

use core::hint;

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::bpf_redirect;
use lb_common::csum::Sum;
use lb_common::forward::nat::{self, Segment};
use lb_common::forward::{self, Stage, translate, way};
use lb_common::layout::DestinationRef;
use lb_common::verdict::Verdict;

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
const NEW: u32 = 1 << 29;

/// The return value of a stage that another one comes after. A stage does not call the next itself: stages would
/// then share the 512 bytes of stack.
#[inline(always)]
fn after(stage: Stage) -> u32 {
    match stage {
        Stage::Answer => NEXT,
        Stage::Error => NEXT | 1,
        Stage::Rest => NEXT | 2,
        Stage::Translate(destination, new) => {
            NEXT | TRANSLATE | if new { NEW } else { 0 } | destination.to_word() as u32
        }
    }
}

/// All stages that a frame comes to.
#[inline(always)]
pub(crate) fn run(context: *mut xdp_md) -> u32 {
    let first = stage_first(context);
    if first & NEXT == 0 {
        return first;
    }
    hint::cold_path();
    if first & TRANSLATE != 0 {
        stage_translate(context, first)
    } else if first & 3 == 0 {
        stage_answer(context)
    } else if first & 3 == 1 {
        stage_error(context)
    } else {
        stage_rest(context)
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
extern "C" fn stage_translate(context: *mut xdp_md, chosen: u32) -> u32 {
    carry_out(context, Stage::Translate(DestinationRef::from_word(u64::from(chosen)), chosen & NEW != 0))
}

/// Writes a segment's checksum from scratch.
#[inline(always)]
pub(crate) fn finish(context: *mut xdp_md, segment: Segment, pseudo: Sum) -> bool {
    let Segment { at, length, protocol, .. } = segment;
    stage_finish(context, at as u32, length as u32, u32::from(protocol), pseudo.bits()) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_finish(context: *mut xdp_md, at: u32, length: u32, protocol: u32, pseudo: u64) -> u32 {
    let segment = Segment { at: at as usize, length: length as usize, protocol: protocol as u8, whole: true };
    u32::from(nat::finish(&mut XdpPacket::new(context), segment, Sum::from_bits(pseudo)).is_some())
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

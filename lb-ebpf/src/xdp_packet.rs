// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The frame an XDP program was given.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use lb_common::forward::Stage;
use lb_common::packet::Packet;
use lb_common::tables::Tables;
use lb_common::verdict::Verdict;
use lb_common::word::Blur;

use crate::stages;

pub(crate) struct XdpPacket {
    context: *mut xdp_md,
}

/// The verifier follows packet pointers only up to this distance (`MAX_PACKET_OFF` in `kernel/bpf/verifier.c`);
/// no frame an XDP program gets is longer.
const LONGEST: usize = 0x7fff;

/// The same number, but LLVM does not see where it comes from: else it spares bounds checks that follow from
/// others, or turns them into a form that the verifier draws nothing from (`start >= end`).
#[inline(always)]
fn opaque(number: usize) -> usize {
    let mut number = number;
    // SAFETY: moves a register to itself.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack, preserves_flags))
    };
    number
}

impl XdpPacket {
    #[inline(always)]
    pub(crate) fn new(context: *mut xdp_md) -> Self {
        Self { context }
    }

    #[inline(always)]
    fn data(&self) -> usize {
        // SAFETY: the context lives as long as the program runs.
        unsafe { (*self.context).data as usize }
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.context).data_end as usize }
    }

    /// The address of `N` bytes at `offset` if they lie in the frame.
    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Option<usize> {
        if offset > LONGEST {
            return None;
        }
        let start = self.data() + offset;
        if opaque(start + N) > self.data_end() { None } else { Some(start) }
    }
}

impl Packet for XdpPacket {
    #[inline(always)]
    fn length(&self) -> usize {
        opaque(self.data_end() - self.data())
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let start = self.at::<N>(offset)?;
        // SAFETY: `at` checked that N bytes from `start` on are in the frame; any bytes are a [u8; N].
        Some(unsafe { core::ptr::read(start as *const [u8; N]) })
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()> {
        let start = self.at::<N>(offset)?;
        // SAFETY: `at` checked that N bytes from `start` on are in the frame, which this program may write.
        unsafe { core::ptr::write(start as *mut [u8; N], bytes) };
        Some(())
    }

    #[inline(always)]
    fn grow_front(&mut self, by: i32) -> Option<()> {
        // SAFETY: the helper checks the room itself; `data` and `data_end` are read anew for every access.
        if unsafe { bpf_xdp_adjust_head(self.context, -by) } == 0 { Some(()) } else { None }
    }

    #[inline(always)]
    fn stage<T: Tables>(&mut self, _: &T, stage: Stage) -> Verdict {
        Verdict::Next(stage)
    }

    #[inline(always)]
    fn sum(&self, at: usize, length: usize) -> Option<u64> {
        stages::sum(self.context, at, length)
    }

    #[inline(always)]
    fn shrink(&mut self, length: usize) -> Option<()> {
        let by = length as i32 - self.length() as i32;
        if by > 0 {
            return None;
        }
        // SAFETY: the helper checks what is left; `data` and `data_end` are read anew for every access.
        if by == 0 || unsafe { bpf_xdp_adjust_tail(self.context, by) } == 0 { Some(()) } else { None }
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        // SAFETY: the context lives as long as the program runs.
        unsafe { (*self.context).ingress_ifindex }
    }

    #[inline(always)]
    fn blur(&self) -> Blur {
        let mut zero = self.length() as u64;
        // SAFETY: subtracts a number from itself; the verifier does not see that the two are one.
        unsafe {
            core::arch::asm!("{0} -= {1}", inout(reg) zero, in(reg) self.length() as u64,
                options(pure, nomem, nostack));
        }
        Blur::new(zero)
    }
}

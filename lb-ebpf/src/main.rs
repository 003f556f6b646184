// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The director's XDP program: `lb_common::forward` on XDP memory and BPF maps. There is no policy here.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod xdp_packet;

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::bindings::xdp_action;
    use aya_ebpf::helpers::bpf_redirect;
    use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
    use aya_ebpf::macros::xdp;
    use aya_ebpf::programs::XdpContext;
    use lb_common::forward::forward;
    use lb_common::tables::Tables as _;
    use lb_common::verdict::Verdict;

    use crate::maps::KernelTables;
    use crate::xdp_packet::XdpPacket;

    #[xdp]
    #[inline(always)]
    fn director(context: XdpContext) -> u32 {
        let mut packet = XdpPacket::new(&context);
        match forward(&mut packet, &KernelTables) {
            Verdict::Pass(_) => xdp_action::XDP_PASS,
            Verdict::Drop(_) => xdp_action::XDP_DROP,
            Verdict::Transmit => xdp_action::XDP_TX,
            // SAFETY: takes two integers; an index that is no interface makes the kernel drop the frame.
            Verdict::Redirect(interface) => unsafe { bpf_redirect(interface, 0) as u32 },
        }
    }

    /// Writes what the two clocks show into the settings: jiffies into the epoch, nanoseconds of the monotonic
    /// clock, as coarse, into the jiffy. User space runs it once, before the program above, and makes of them what
    /// their names say.
    #[xdp]
    fn clock(_: XdpContext) -> u32 {
        if let Some(settings) = KernelTables.settings() {
            // SAFETY: takes nothing, returns an integer.
            settings.epoch.store(unsafe { bpf_jiffies64() });
            // SAFETY: as above.
            settings.jiffy.store(unsafe { bpf_ktime_get_coarse_ns() });
        }
        xdp_action::XDP_PASS
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}

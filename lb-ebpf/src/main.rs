// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The director's XDP program: `lb_common::forward` on XDP memory and BPF maps. There is no policy here.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod stages;
#[cfg(target_arch = "bpf")]
mod xdp_packet;

#[cfg(target_arch = "bpf")]
mod program {
    use crate::maps::KernelTables;
    use crate::stages;
    use aya_ebpf::bindings::xdp_action;
    use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
    use aya_ebpf::macros::xdp;
    use aya_ebpf::programs::XdpContext;
    use lb_common::tables::Tables as _;

    #[xdp]
    #[inline(always)]
    fn director(context: XdpContext) -> u32 {
        stages::run(context.ctx)
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

//! The XDP program that passes every packet to the kernel.
//!
//! A veth takes frames that its peer transmits or redirects from XDP only while it has an XDP program itself; this
//! one does for a client or real server in the lab, and is the empty program that measurements are net of.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::bindings::xdp_action::XDP_PASS;
    use aya_ebpf::macros::xdp;
    use aya_ebpf::programs::XdpContext;

    #[xdp]
    #[inline(always)]
    fn pass(_packet: XdpContext) -> u32 {
        XDP_PASS
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}

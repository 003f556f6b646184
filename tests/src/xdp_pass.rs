//! A pass-all XDP program on the hub's side of a director's veth.
//!
//! veth hands a frame sent by `XDP_TX` or a redirect to its peer only if the peer polls (`veth_xdp_xmit` in
//! drivers/net/veth.c looks at the peer's `napi`), which an XDP program there switches on; otherwise the frame is
//! dropped silently. The program is attached through netlink, not a BPF link, so that it lives as long as the device and
//! needs no file, pin or process.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, bail};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// `enum bpf_cmd`, `enum bpf_prog_type` in include/uapi/linux/bpf.h.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TYPE_XDP: u32 = 6;
/// `XDP_FLAGS_DRV_MODE` in include/uapi/linux/if_link.h.
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes what is not given as zero.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// `mov64 r0, 2 (XDP_PASS)` and `exit`, as `struct bpf_insn` in memory: opcode, registers, offset, immediate.
#[repr(C, align(8))]
struct Program([u8; 16]);
static PASS: Program = Program([0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);

/// Attaches the program in native mode to `devices` of the network namespace that the calling thread is in.
pub(crate) fn attach(devices: &[String]) -> anyhow::Result<()> {
    let program = load().context("the pass-all XDP program does not load; is this root, with CAP_BPF?")?;
    let mut socket = Socket::new(NETLINK_ROUTE).context("netlink socket")?;
    socket.bind_auto().context("netlink socket")?;
    socket.connect(&SocketAddr::new(0, 0)).context("netlink socket")?;
    for device in devices {
        set_xdp(&socket, device, &program).with_context(|| format!("{device}: pass-all XDP program"))?;
    }
    Ok(())
}

fn load() -> io::Result<OwnedFd> {
    let mut prog_name = [0; 16];
    prog_name[..8].copy_from_slice(b"lab_pass");
    let attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: 2,
        insns: PASS.0.as_ptr().addr() as u64,
        license: c"GPL".as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
    };
    // SAFETY: `attr` is a live `union bpf_attr` prefix of the size given; the two pointers in it lead to statics: two
    // instructions, as `insn_cnt` says, and a string that ends in NUL. The kernel only reads all three.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attr, size_of::<ProgLoad>()) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above succeeded, so `fd` is a descriptor it opened and that nothing else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_xdp(socket: &Socket, device: &str, program: &OwnedFd) -> anyhow::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = nix::net::if_::if_nametoindex(device)?;
    link.attributes
        .push(LinkAttribute::Xdp(vec![LinkXdp::Fd(program.as_raw_fd()), LinkXdp::Flags(XDP_FLAGS_DRV_MODE)]));
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::SetLink(link));
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    message.finalize();
    let mut request = vec![0; message.buffer_len()];
    message.serialize(&mut request);
    socket.send(&request, 0)?;
    let (reply, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&reply)?.payload;
    let NetlinkPayload::Error(acknowledgement) = answer else {
        bail!("unexpected netlink answer {answer:?}")
    };
    match acknowledgement.code {
        None => Ok(()),
        Some(_) => Err(acknowledgement.to_io().into()),
    }
}

//! A pass-all XDP program on the hub's side of a director's veth.
//!
//! veth puts a frame sent by `XDP_TX` or a redirect into its peer's ring only if the peer polls, and wakes the peer only if
//! it has an XDP program (`veth_xdp_xmit`, `veth_xdp_flush` in drivers/net/veth.c); otherwise the frame is dropped. Merging
//! (`ethtool -K PEER gro on`) is no substitute: it makes the peer poll, so frames are taken and counted as sent, but nobody
//! wakes it for them. The program is attached through netlink, not a BPF link, so that it lives as long as the device and
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

/// Two `struct bpf_insn` as in memory: opcode, registers, offset, immediate; little-endian.
#[repr(C, align(8))]
struct Program([u8; 16]);

impl Program {
    /// `r0 = verdict` and `exit`.
    const fn answer(verdict: u8) -> Self {
        Self([0xb7, 0, 0, 0, verdict, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
    }
}

static PASS: Program = Program::answer(2);

/// Attaches the program in native mode to `devices` of the network namespace that the calling thread is in.
pub(crate) fn attach(devices: &[String]) -> anyhow::Result<()> {
    attach_program(devices, &PASS)
}

fn attach_program(devices: &[String], program: &'static Program) -> anyhow::Result<()> {
    let program = load(program).context("an XDP program does not load; is this root, with CAP_BPF?")?;
    let mut socket = Socket::new(NETLINK_ROUTE).context("netlink socket")?;
    socket.bind_auto().context("netlink socket")?;
    socket.connect(&SocketAddr::new(0, 0)).context("netlink socket")?;
    for device in devices {
        set_xdp(&socket, device, &program).with_context(|| format!("attach an XDP program to {device}"))?;
    }
    Ok(())
}

fn load(program: &'static Program) -> io::Result<OwnedFd> {
    let mut prog_name = [0; 16];
    prog_name[..8].copy_from_slice(b"lab_xdp\0");
    let attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: 2,
        insns: program.0.as_ptr().addr() as u64,
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::topology::HUB;
    use crate::{Lab, Node, isolated, netns, wait_until};

    static TX: Program = Program::answer(3);

    /// What a device of the calling thread's namespace has received, in packets (/proc/net/dev, second column).
    fn received(device: &str) -> u64 {
        let devices = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let line = devices.lines().find_map(|line| line.trim().strip_prefix(&format!("{device}:"))).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Sends a hundred frames to a director that sends every frame back by `XDP_TX`; how many arrive at its peer?
    fn returned(has_pass_program: bool) -> anyhow::Result<u64> {
        let lab = Lab::builder().pass_program(has_pass_program).nginx(false).up()?;
        lab.enter(Node::Lvs1, || attach_program(&["eth0".to_owned()], &TX))??;
        lab.exec(
            Node::Client,
            ["ip", "neigh", "add", "192.168.4.2", "lladdr", "02:00:00:00:04:02", "dev", "eth0"],
        )?;
        let [seen, before] = [(Node::Lvs1.name(), "eth0"), (HUB, "lvs1-eth0")]
            .map(|(name, device)| netns::enter(name, || received(device)).unwrap());
        let socket = lab.enter(Node::Client, || std::net::UdpSocket::bind("192.168.4.10:0"))??;
        for _ in 0..100 {
            socket.send_to(b"?", "192.168.4.2:9")?;
        }
        let limit = Duration::from_secs(5);
        // The director's device counts what its program saw.
        assert!(wait_until(limit, || lab.enter(Node::Lvs1, || received("eth0")).unwrap() >= seen + 100));
        let arrived = || netns::enter(HUB, || received("lvs1-eth0")).unwrap() - before;
        // Without the program there is nothing to wait for but the end of a time in which it could arrive.
        let patience = if has_pass_program { limit } else { Duration::from_millis(500) };
        let _all = wait_until(patience, || arrived() >= 100);
        let count = arrived();
        lab.down()?;
        Ok(count)
    }

    #[test]
    fn transmitted_frames_arrive_only_with_the_program() {
        isolated("xdp_pass::tests::transmitted_frames_arrive_only_with_the_program", || {
            let [with, without] = [returned(true)?, returned(false)?];
            assert!(with >= 100, "{with}");
            // The director's own stack sends a few, for IPv6 multicast.
            assert!(without < 20, "{without}");
            Ok(())
        });
    }
}

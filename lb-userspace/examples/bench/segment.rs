//! A director and its real servers on two ends of a cable, for checks: a pair of network namespaces without names,
//! which end with this process.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::net::neighbours::{Resolution, Resolutions};
use nix::sched::{CloneFlags, setns, unshare};

const DIRECTOR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVERS_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The two namespaces. The VIPs are 192.0.2.0 to 192.0.2.99, the real servers 198.51.0.0 to 198.51.99.99, all of them one
/// host.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) director: File,
    pub(crate) servers: File,
}

impl Segment {
    /// Makes it.
    ///
    /// # Errors
    ///
    /// For want of root or of `ip`.
    pub(crate) fn new(vips: u32) -> Result<Self> {
        let (director, servers) = (namespace()?, namespace()?);
        let peer = format!("/proc/{}/fd/{}", std::process::id(), servers.as_raw_fd());
        let address = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
        let own: String = (0..vips).map(|vip| format!("address add 192.0.2.{vip}/32 dev lo\n")).collect();
        ip(
            &director,
            &format!(
                "link set lo up\nlink add d0 address {} type veth peer name w0 address {} netns {peer}\n\
                 address add 203.0.113.1/24 dev d0\nlink set d0 up\n{own}",
                address(DIRECTOR_MAC),
                address(SERVERS_MAC)
            ),
        )?;
        ip(
            &servers,
            "link set lo up\naddress add 203.0.113.2/24 dev w0\nlink set w0 up\naddress add 192.0.2.0/24 dev lo\n\
             address add 198.51.0.0/16 dev lo\n",
        )?;
        // Ten thousand neighbours are more than this machine's table may hold, so all are behind one.
        ip(&director, "route add 198.51.0.0/16 via 203.0.113.2\n")?;
        Ok(Self { director, servers })
    }

    /// The Ethernet addresses of the real servers: the same for all, on `d0`.
    ///
    /// # Errors
    ///
    /// There is no `d0`.
    pub(crate) fn resolutions(&self, services: u32, servers: u32) -> Result<Resolutions> {
        let ifindex = enter(&self.director, || nix::net::if_::if_nametoindex("d0"))??;
        let all = (0..services).flat_map(|service| (0..servers).map(move |server| service << 8 | server));
        let way = Resolution::Resolved { dst_mac: SERVERS_MAC, src_mac: DIRECTOR_MAC, ifindex, vlan: 0 };
        let first = u32::from(Ipv4Addr::new(198, 51, 0, 0));
        Ok(all.map(|host| (IpAddr::V4(Ipv4Addr::from(first | host)), way)).collect())
    }
}

/// Runs `work` on a thread in a namespace; threads that it starts are in it, too.
///
/// # Errors
///
/// The namespace cannot be entered.
pub(crate) fn enter<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| setns(namespace, CloneFlags::CLONE_NEWNET).map(|()| work()));
        thread.join().ok().context("a thread of the measurement has ended")?.context("entering a namespace")
    })
}

fn namespace() -> Result<File> {
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace; this needs root")?;
        File::open("/proc/thread-self/ns/net").context("a network namespace")
    };
    thread::spawn(make).join().ok().context("a thread of the measurement has ended")?
}

/// Runs lines of `ip` in a namespace.
fn ip(namespace: &File, lines: &str) -> Result<()> {
    let status = enter(namespace, || {
        let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(lines.as_bytes())?;
        }
        child.wait()
    })?;
    ensure!(status.context("ip; install iproute2")?.success(), "ip does not take: {lines}");
    Ok(())
}

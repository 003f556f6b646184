//! `cargo xtask setup`: installs what the build, the tests, the lab and the demo need.

use std::env;
use std::io;

use anyhow::bail;

use crate::toolchain;

/// A program that is needed and the Debian package that has it.
type Tool = (&'static str, &'static str);

/// What the lab, the demo and the tests in network namespaces run.
const LAB: [Tool; 13] = [
    ("arping", "iputils-arping"),
    ("bpftool", "bpftool"),
    ("curl", "curl"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("ipvsadm", "ipvsadm"),
    ("jq", "jq"),
    ("keepalived", "keepalived"),
    ("nginx", "nginx-light"),
    ("ping", "iputils-ping"),
    ("ps", "procps"),
    ("tcpdump", "tcpdump"),
    ("wrk", "wrk"),
];

/// What the virtual machine is made with.
const VM: [Tool; 4] = [
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("xz", "xz-utils"),
];

pub(crate) fn run() -> anyhow::Result<()> {
    lab()?;
    vm()?;
    build_tools()
}

/// Provides the programs of the lab.
pub(crate) fn lab() -> anyhow::Result<()> {
    provide(&LAB)
}

/// Provides the programs of the virtual machine.
pub(crate) fn vm() -> anyhow::Result<()> {
    provide(&VM)
}

/// Provides the compiler and linker of the BPF programs. The build would do it too, but silently.
pub(crate) fn build_tools() -> anyhow::Result<()> {
    let toolchain = toolchain::find_or_install(&mut io::stderr())?;
    crate::progress(&format!("bpf toolchain: {toolchain}"));
    Ok(())
}

fn provide(tools: &[Tool]) -> anyhow::Result<()> {
    let missing = || tools.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package);
    let packages: Vec<&str> = missing().collect();
    if packages.is_empty() {
        return Ok(());
    }
    if !toolchain::is_root() || !toolchain::has_apt() {
        let list = packages.join(" ");
        bail!("missing programs; run\n    apt-get install --no-install-recommends {list}");
    }
    toolchain::apt_install(&packages, &mut io::stderr())?;
    let packages: Vec<&str> = missing().collect();
    if !packages.is_empty() {
        bail!("{}: installed, but the programs are not on the path; set PATH", packages.join(" "));
    }
    Ok(())
}

/// Is this program on the path, or where only root's path leads?
fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|directory| directory.join(program).is_file())
}

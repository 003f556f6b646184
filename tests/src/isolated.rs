//! A sandbox for a test that builds labs: its own mounts, process ids and network, gone with the test.
//!
//! ```text
//! test binary ── setpriv --pdeathsig KILL ── unshare --fork --kill-child ── the same test binary, one test, pid 1
//! ```
//!
//! However the test ends, also by SIGKILL, the kernel ends everything in its process namespace when pid 1 dies, and with
//! the last process the mount namespace goes: the names in /run/netns, the pins in bpffs, the files in /run.

use std::fs;
use std::io::{Read, Write};
use std::panic::resume_unwind;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{env, io, thread};

use anyhow::{Context, bail};
use nix::mount::{MsFlags, mount};
use nix::unistd::geteuid;

use crate::{netns, wait_until};

/// A test that takes longer is killed and has failed.
pub const MAX_DURATION: Duration = Duration::from_secs(300);

/// Tells the inner test binary that it is inside; the value is the test's name.
const INSIDE: &str = "LBCTL_TEST_ISOLATED";

/// Runs `body` with private mounts (empty /run, its own /sys and bpffs), process ids and network namespace, in a new
/// process. `test` is the full name of the calling test as `cargo test -- --list` shows it. Tests may run in parallel.
///
/// Needs root. Without it the test fails and says so; with `LBCTL_SKIP_PRIVILEGED=1` it is skipped with a line on
/// standard error, unless `LBCTL_REQUIRE_PRIVILEGES=1` (as in CI).
///
/// # Panics
/// If `body` fails or panics, the sandbox cannot be made, `test` names no test, or the test exceeds [`MAX_DURATION`].
#[expect(clippy::panic, reason = "a test fails by panicking")]
pub fn isolated(test: &str, body: impl FnOnce() -> anyhow::Result<()>) {
    if env::var(INSIDE).is_ok_and(|inside| inside == test) {
        if let Err(error) = enter().and_then(|()| body()) {
            panic!("{error:?}");
        }
    } else if may_run_privileged(test)
        && let Err(error) = run_inside(test)
    {
        panic!("{error:#}");
    }
}

/// Whether a test that needs root may run; if not, it is to be skipped, which this function has said on standard error.
///
/// # Panics
/// Without root, unless `LBCTL_SKIP_PRIVILEGED=1` allows to skip.
#[must_use]
#[expect(clippy::panic, reason = "a test fails by panicking")]
pub fn may_run_privileged(test: &str) -> bool {
    let is_set = |name| env::var(name).is_ok_and(|value| value == "1");
    if geteuid().is_root() {
        return true;
    }
    if !is_set("LBCTL_SKIP_PRIVILEGED") || is_set("LBCTL_REQUIRE_PRIVILEGES") {
        panic!(
            "{test} needs root (it makes network namespaces): run `cargo xtask test` as root, \
             or skip such tests with LBCTL_SKIP_PRIVILEGED=1"
        );
    }
    // Not eprintln!, which the test harness keeps to itself when a test passes.
    writeln!(io::stderr(), "SKIPPED: {test} needs root").ok();
    false
}

fn run_inside(test: &str) -> anyhow::Result<()> {
    let binary = env::current_exe().context("the test binary's own path")?;
    let mut child = Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "--",
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--net",
        ])
        .args(["--fork", "--kill-child=SIGKILL", "--mount-proc", "--"])
        .arg(binary)
        .args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("setpriv does not start; install util-linux")?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child)?;
    let [stdout, stderr] =
        [stdout, stderr].map(|pipe| pipe.join().unwrap_or_else(|cause| resume_unwind(cause)));
    let Some(status) = status else {
        bail!("{test} was killed after {MAX_DURATION:?}; it said:\n{stdout}\n{stderr}");
    };
    if !status.success() {
        bail!("inside the sandbox, {status}:\n{stdout}\n{stderr}");
    }
    if !stdout.contains("test result: ok. 1 passed") {
        bail!(
            "{test:?} names no test of this binary; give isolated() the name that `cargo test -- --list` shows"
        );
    }
    // Kept by the harness if the test passes and nobody asked for it.
    eprint!("{stderr}");
    Ok(())
}

fn wait(child: &mut Child) -> anyhow::Result<Option<ExitStatus>> {
    let mut status = Ok(None);
    let has_ended = wait_until(MAX_DURATION, || {
        status = child.try_wait();
        !matches!(status, Ok(None))
    });
    if !has_ended {
        child.kill()?;
        child.wait()?;
    }
    Ok(status?)
}

/// Reads a pipe to its end, on the side, so that no pipe runs full.
fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        pipe.map(|mut pipe| pipe.read_to_end(&mut bytes).ok());
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// First thing inside: hides what belongs to the machine.
fn enter() -> anyhow::Result<()> {
    let mount_on = |kind: &str, path: &str| {
        mount(Some(kind), path, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mount {kind} on {path}"))
    };
    mount_on("tmpfs", "/run")?;
    fs::create_dir_all("/run/netns")?;
    // The old one shows the devices of the network namespace that it was mounted in.
    mount_on("sysfs", "/sys")?;
    mount_on("bpf", "/sys/fs/bpf")?;
    netns::run(Command::new("ip").args(["link", "set", "dev", "lo", "up"])).map(drop)
}

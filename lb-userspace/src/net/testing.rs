//! Network namespaces for the tests whose names begin with `privileged_`.
//!
//! A namespace lives as long as its [`Namespace`]; nothing is named, so nothing is left behind.

use std::{
    fs::File,
    future::Future,
    io::Write,
    os::fd::AsRawFd,
    process::{Command, id},
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, setns, unshare};

/// How long anything may take that the kernel does at once; generous, for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Is the caller to be skipped for want of root? Only on request, and visibly; else it fails.
pub(crate) fn skip_without_root(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return false;
    }
    let is_wanted = std::env::var_os("LBCTL_SKIP_PRIVILEGED").is_some_and(|value| value == "1");
    assert!(
        is_wanted,
        "{test} needs root: run it with sudo, or set LBCTL_SKIP_PRIVILEGED=1 to skip such tests"
    );
    say(&format!("SKIPPED {test}: not root and LBCTL_SKIP_PRIVILEGED=1"));
    true
}

/// Writes to the real standard error, which the test harness does not swallow.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap();
}

/// A network namespace of its own, with `lo` up.
pub(crate) struct Namespace(File);

impl Namespace {
    pub(crate) fn new() -> Self {
        let open = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        let namespace = Self(thread::spawn(open).join().unwrap());
        namespace.ip("link set lo up");
        namespace
    }

    /// A path that names the namespace to other programs of this test's lifetime.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", id(), self.0.as_raw_fd())
    }

    /// Runs a function in a thread inside the namespace.
    pub(crate) fn run<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let enter = || {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                function()
            };
            match scope.spawn(enter).join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs a future on a runtime inside the namespace.
    pub(crate) fn block_on<T: Send, F: Future<Output = T>>(&self, future: impl FnOnce() -> F + Send) -> T {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(future())
        })
    }

    /// Runs `ip ARGUMENTS` and insists on success.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.command("ip", arguments).unwrap_or_else(|error| panic!("ip {arguments}: {error}"))
    }

    /// Runs a command with arguments split at spaces; its output, or what it wrote to standard error.
    pub(crate) fn command(&self, program: &str, arguments: &str) -> Result<String, String> {
        let output = self.run(|| Command::new(program).args(arguments.split_whitespace()).output().unwrap());
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Reads a setting below /proc/sys.
    pub(crate) fn sysctl(&self, name: &str) -> String {
        let path = format!("/proc/sys/{name}");
        self.run(|| std::fs::read_to_string(path)).unwrap().trim().to_owned()
    }

    /// Writes a setting below /proc/sys.
    pub(crate) fn set_sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/{name}");
        self.run(|| std::fs::write(path, value)).unwrap();
    }
}

/// Two namespaces joined by a veth pair, `d0` in the director's and `w0` in the web node's, both up.
pub(crate) fn director_and_web() -> (Namespace, Namespace) {
    let director = Namespace::new();
    let web = Namespace::new();
    director.ip(&format!(
        "link add d0 address 02:00:00:00:00:01 type veth peer name w0 address 02:00:00:00:00:64 netns {}",
        web.path()
    ));
    for (namespace, device, host) in [(&director, "d0", "1"), (&web, "w0", "100")] {
        namespace.ip(&format!("addr add 192.168.4.{host}/24 dev {device}"));
        namespace.ip(&format!("addr add fd00:4::{host}/64 dev {device} nodad"));
        namespace.ip(&format!("link set {device} up"));
    }
    (director, web)
}

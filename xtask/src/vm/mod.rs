//! `cargo xtask vm`: a command as root under one of Debian's kernels, in QEMU without hardware support.
//!
//! The guest has the host's root file system, read-only over 9p with a tmpfs above it, so that every program of the
//! host is there and nothing that the guest writes reaches the host but under a shared directory. It has the
//! kernel's own modules, BTF and bpffs, and no network device. The clock is the guest's: emulated, and slow.
//!
//! - `kernel`: gets a kernel's package from apt and takes it apart (cached);
//! - `initramfs`: the archive that the kernel starts from (cached);
//! - `guest`: the scripts that run inside, up to the command;
//! - `qemu`: starts the machine, passes the output on, and finds out what became of the command.

mod guest;
mod initramfs;
mod kernel;
mod qemu;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

pub(crate) use kernel::Kernel;

/// The exit code of a command that was still running when its time was up, as timeout(1) has it.
const TIMED_OUT: u8 = 124;
/// The exit code if the command was not run, or nothing is known of it.
const FAILED: u8 = 125;

/// `cargo xtask vm`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The kernel's series
    #[arg(long, default_value = "6.1")]
    kernel: Kernel,
    /// How long the command may take, boot included; 0: as long as it likes
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Share this directory at the same path, for reading and writing (may be repeated)
    #[arg(long, value_name = "DIR")]
    dir: Vec<PathBuf>,
    /// Share this directory at the same path, for reading (may be repeated)
    #[arg(long, value_name = "DIR")]
    ro_dir: Vec<PathBuf>,
    /// Set this variable for the command; without a value, as it is here (may be repeated)
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// The directory the command starts in (default: this one, if the guest sees it)
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// The guest's memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1536)]
    memory: u32,
    /// The guest's processors (default: 2, or 1 with --icount)
    #[arg(long, value_name = "N")]
    cpus: Option<u8>,
    /// Let each instruction take one nanosecond of the guest's time: times measured inside count instructions
    #[arg(long)]
    icount: bool,
    /// The command and its arguments; its output and exit code become those of this one (124: timed out, 125: no
    /// guest)
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What became of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its exit code; 128 and the number of the signal that ended it.
    Exited(u8),
    /// It was still running, or the guest still booting.
    TimedOut,
}

/// A virtual machine to be started.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) kernel: Kernel,
    /// From the start of the machine; `None`: no limit.
    pub(crate) timeout: Option<Duration>,
    /// In MiB.
    pub(crate) memory: u32,
    pub(crate) cpus: Option<u8>,
    /// One guest nanosecond per instruction.
    pub(crate) counts_instructions: bool,
    /// Where its output and its errors go; `None`: to this process's.
    pub(crate) log: Option<File>,
    /// Where the command starts; `/` if the guest does not have it.
    pub(crate) directory: PathBuf,
    shares: Vec<Share>,
    environment: Vec<(String, OsString)>,
}

/// A directory of the host that the guest has at the same path.
#[derive(Debug)]
struct Share {
    path: PathBuf,
    is_writable: bool,
}

impl Guest {
    /// A guest with two processors, nothing shared and no time limit.
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            timeout: None,
            memory: 1536,
            cpus: None,
            counts_instructions: false,
            log: None,
            directory: PathBuf::from("/"),
            shares: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Sets a variable of the command's environment, which is otherwise almost empty.
    pub(crate) fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
    }

    /// Shares a directory at the same path for reading. The guest sees it anyway, except below `/tmp` and the other
    /// directories that start empty.
    ///
    /// # Errors
    /// As for [`Guest::share`].
    pub(crate) fn share_read_only(&mut self, path: &Path) -> anyhow::Result<()> {
        self.add_share(path, false)
    }

    /// Shares a directory at the same path for reading and writing.
    ///
    /// # Errors
    /// If it is not there, or if the guest needs its own at this path.
    pub(crate) fn share(&mut self, path: &Path) -> anyhow::Result<()> {
        self.add_share(path, true)
    }

    fn add_share(&mut self, path: &Path, is_writable: bool) -> anyhow::Result<()> {
        const RESERVED: [&str; 7] = ["/", "/dev", "/proc", "/run", "/sys", "/usr", "/usr/lib"];
        let path = path.canonicalize().with_context(|| format!("{}: cannot be shared", path.display()))?;
        let reserved = RESERVED.iter().any(|reserved| path == Path::new(reserved));
        if reserved || ["/dev", "/proc", "/sys"].iter().any(|own| path.starts_with(own)) {
            bail!("{}: the guest has its own; share a directory below or elsewhere", path.display());
        }
        // QEMU separates its options by commas; the guest's script has one path per line.
        if path.as_os_str().as_encoded_bytes().iter().any(|byte| b",\n".contains(byte)) {
            bail!("{}: a path with a comma or a line break cannot be shared; rename it", path.display());
        }
        if !self.shares.iter().any(|share| path.starts_with(&share.path) && share.is_writable >= is_writable)
        {
            self.shares.push(Share { path, is_writable });
        }
        Ok(())
    }

    /// Starts the machine, runs the command and waits for it.
    ///
    /// # Errors
    /// If the machine cannot be made, or ends without having run the command; with the end of the guest's console.
    pub(crate) fn run(&self, command: &[OsString]) -> anyhow::Result<Outcome> {
        let kernel = kernel::prepare(self.kernel)?;
        qemu::run(self, &kernel, command)
    }
}

pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let timeout = arguments.timeout;
    match start(arguments) {
        Ok(Outcome::Exited(code)) => ExitCode::from(code),
        Ok(Outcome::TimedOut) => {
            crate::progress(&format!("not done after {timeout} s; give it more with --timeout"));
            ExitCode::from(TIMED_OUT)
        }
        Err(error) => {
            crate::progress(&format!("error: {error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<Outcome> {
    crate::setup::vm()?;
    let mut guest = Guest::new(arguments.kernel);
    guest.timeout = (arguments.timeout > 0).then(|| Duration::from_secs(arguments.timeout));
    guest.memory = arguments.memory;
    guest.cpus = arguments.cpus;
    guest.counts_instructions = arguments.icount;
    guest.directory = arguments.cwd.map_or_else(env::current_dir, Ok)?;
    for directory in &arguments.dir {
        guest.share(directory)?;
    }
    for directory in &arguments.ro_dir {
        guest.share_read_only(directory)?;
    }
    for variable in &arguments.env {
        if let Some((name, value)) = variable.split_once('=') {
            guest.set(checked(name)?, value);
        } else if let Some(value) = env::var_os(checked(variable)?) {
            guest.set(variable, value);
        }
    }
    guest.run(&arguments.command)
}

/// The name of a variable, if a shell takes it.
fn checked(name: &str) -> anyhow::Result<&str> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        bail!("--env {name}: not a variable's name; give NAME or NAME=VALUE");
    }
    Ok(name)
}

//! Finds what compiles the BPF programs, and installs what is missing.
//!
//! Two things are needed: a compiler with `core` for `bpfel-unknown-none`, and `bpf-linker` linked against an
//! LLVM at least as new as that compiler's. The compiler is, in this order,
//!
//! 1. a nightly of rustup with the component `rust-src` (`core` is then built by `-Z build-std`);
//! 2. Debian's `rustc-web` with `libstd-rust-web-dev-bpf`, which ships `core` compiled, so an ordinary cargo can
//!    drive it (`RUSTC_BOOTSTRAP=1`, because `aya-ebpf` uses an unstable feature of inline assembly).
//!
//! What is there is preferred to what would have to be installed. Installing needs root and apt; without them the
//! error gives the commands. This file is a module of `xtask` and, by `#[path]`, of `lb-userspace/build.rs`: it
//! uses `std` only.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The target of the BPF programs. All supported hosts are little-endian.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// The newest LLVM that Debian 12 packages, which its `rustc-web` uses.
const LLVM: u32 = 22;
/// The nightly named in messages: one that uses that LLVM.
const NIGHTLY: &str = "nightly-2026-05-20";
const LINKER_VERSION: &str = "0.13.0";
/// Majors of LLVM that `bpf-linker` [`LINKER_VERSION`] can be built against (its cargo features `llvm-NN`).
const LINKER_LLVMS: std::ops::RangeInclusive<u32> = 21..=23;
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// How long rustup may take to fetch `rust-src` (4 MB) before the next choice is tried.
const RUSTUP_TIMEOUT: Duration = Duration::from_secs(60);

/// How the compiler comes by `core` for [`TARGET`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Core {
    /// `-Z build-std=core`, from `rust-src`.
    BuiltFromSource,
    /// Shipped compiled; the compiler is a stable one that must be told to allow unstable features.
    Prebuilt,
}

/// A compiler for [`TARGET`].
#[derive(Debug, Clone)]
struct Compiler {
    cargo: PathBuf,
    rustc: PathBuf,
    core: Core,
    llvm: u32,
}

/// Everything needed to compile and link for [`TARGET`].
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    /// The cargo to call; it may be of another release than `rustc`.
    pub(crate) cargo: PathBuf,
    /// Goes into the variable `RUSTC`.
    pub(crate) rustc: PathBuf,
    /// Where `core` comes from.
    pub(crate) core: Core,
    /// `bpf-linker`.
    pub(crate) linker: PathBuf,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = match self.core {
            Core::BuiltFromSource => "core from rust-src",
            Core::Prebuilt => "precompiled core",
        };
        let Self { cargo, rustc, linker, .. } = self;
        write!(f, "{} ({core}), {}, {}", rustc.display(), cargo.display(), linker.display())
    }
}

/// Why something could not be found or installed, with the remedy; may have several lines.
#[derive(Debug)]
pub(crate) struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

type Result<T> = std::result::Result<T, Error>;

/// A way to a compiler: `None` if it is not open on this machine.
type Way = fn(&mut dyn Write) -> Result<Option<Compiler>>;

/// Finds the toolchain, or installs it. Lines about what is being installed go to `log`.
///
/// # Errors
/// With every way that was tried, and the commands that would provide the missing pieces.
pub(crate) fn find_or_install(log: &mut dyn Write) -> Result<Toolchain> {
    let ways: [Way; 4] = [nightly_with_source, debian, add_source_to_nightly, install_debian];
    let _lock = lock_installs()?;
    let mut problems = Vec::new();
    for way in ways {
        match way(log) {
            Ok(Some(Compiler { cargo, rustc, core, llvm })) => match linker(llvm, log) {
                Ok(linker) => return Ok(Toolchain { cargo, rustc, core, linker }),
                Err(error) => problems.push(error.0),
            },
            Ok(None) => {}
            Err(error) => problems.push(error.0),
        }
    }
    if problems.is_empty() {
        problems.push(format!(
            "no Rust compiler for {TARGET}; run one of\n    \
             rustup toolchain install {NIGHTLY} --profile minimal --component rust-src\n    \
             apt-get install --no-install-recommends {}",
            DEBIAN_PACKAGES.join(" ")
        ));
        problems.extend(find_linker(LLVM)?.is_none().then(|| without_linker(LLVM).0));
    }
    problems.dedup();
    Err(Error(format!("the BPF programs cannot be compiled:\n{}", problems.join("\n"))))
}

/// One installation at a time: apt and rustup do not queue, and several builds may start at once.
fn lock_installs() -> Result<File> {
    let home = cargo_home()?;
    let path = home.join("lbctl-toolchain.lock");
    let locked = fs::create_dir_all(&home)
        .and_then(|()| File::options().create(true).truncate(false).write(true).open(&path))
        .and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| Error(format!("{}: cannot be locked: {error}", path.display())))
}

// ---------------------------------------------------------------------------------------------- compilers

fn nightly_with_source(_log: &mut dyn Write) -> Result<Option<Compiler>> {
    Ok(nightlies().into_iter().map(|(_, compiler)| compiler).find(|compiler| has_source(&compiler.rustc)))
}

fn add_source_to_nightly(log: &mut dyn Write) -> Result<Option<Compiler>> {
    for (name, compiler) in nightlies() {
        if has_source(&compiler.rustc) {
            continue;
        }
        note(log, &format!("adding rust-src to the toolchain {name}"));
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "add", "rust-src", "--toolchain", &name]).stdout(Stdio::null());
        rustup.stderr(Stdio::null());
        // A machine without rustup's server at hand is no error: Debian's compiler is the next choice.
        let done = run_for(&mut rustup, RUSTUP_TIMEOUT).is_ok_and(|status| status.success());
        if done && has_source(&compiler.rustc) {
            return Ok(Some(compiler));
        }
    }
    Ok(None)
}

/// The nightlies that rustup has installed, with names, and whose LLVM `bpf-linker` can follow.
fn nightlies() -> Vec<(String, Compiler)> {
    let Some(list) = output(Command::new("rustup").args(["toolchain", "list"])) else { return Vec::new() };
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .filter_map(|name| {
            let which = output(Command::new("rustup").args(["which", "--toolchain", name, "rustc"]))?;
            let rustc = PathBuf::from(which.trim());
            let llvm = llvm_of(&rustc).filter(|llvm| LINKER_LLVMS.contains(llvm))?;
            let cargo = rustc.with_file_name("cargo");
            Some((name.to_owned(), Compiler { cargo, rustc, core: Core::BuiltFromSource, llvm }))
        })
        .collect()
}

/// Is `rust-src` there, beside this `…/bin/rustc`?
fn has_source(rustc: &Path) -> bool {
    let Some(sysroot) = rustc.ancestors().nth(2) else { return false };
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
}

fn debian(_log: &mut dyn Write) -> Result<Option<Compiler>> {
    let rustc = PathBuf::from(DEBIAN_RUSTC);
    let Some(llvm) = llvm_of(&rustc).filter(|_| has_core(&rustc)) else { return Ok(None) };
    let cargo = env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
    Ok(Some(Compiler { cargo, rustc, core: Core::Prebuilt, llvm }))
}

/// Does this compiler have a compiled `core` for [`TARGET`]?
fn has_core(rustc: &Path) -> bool {
    let libdir = output(Command::new(rustc).args(["--print=target-libdir", "--target", TARGET]));
    let Some(entries) = libdir.and_then(|dir| fs::read_dir(dir.trim()).ok()) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

fn install_debian(log: &mut dyn Write) -> Result<Option<Compiler>> {
    if !is_root() || !has_apt() {
        return Ok(None);
    }
    apt_install(&DEBIAN_PACKAGES, log)?;
    debian(log)
}

/// The major of the LLVM in this compiler; `None` if it does not run.
fn llvm_of(rustc: &Path) -> Option<u32> {
    let version = output(Command::new(rustc).arg("-vV"))?;
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next()?.parse().ok()
}

// ------------------------------------------------------------------------------------------------- linker

/// `bpf-linker` for objects of this LLVM: the one that is there, else a newly built one.
fn linker(llvm: u32, log: &mut dyn Write) -> Result<PathBuf> {
    if let Some(found) = find_linker(llvm)? {
        return Ok(found);
    }
    let home = cargo_home()?;
    let prefix = llvm_prefix(llvm);
    if !prefix.join("lib/libLLVM.so").exists() {
        if !is_root() || !has_apt() {
            return Err(without_linker(llvm));
        }
        apt_install(&[&llvm_package(llvm)], log)?;
    }
    note(log, &format!("installing bpf-linker {LINKER_VERSION} (about a minute)"));
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    clean_environment(&mut cargo, true);
    // In cargo's home, so that no configuration of this workspace applies.
    cargo.args(install_arguments(llvm)).arg("--force").arg("--root").arg(&home).current_dir(&home);
    cargo.env("LLVM_PREFIX", &prefix).stdin(Stdio::null());
    run_logged(&mut cargo, &home.join("lbctl-toolchain.log"))?;
    let built = home.join("bin/bpf-linker");
    if serves(&built, llvm) {
        return Ok(built);
    }
    Err(Error(format!("{}: built, but does not run; try it with --version", built.display())))
}

/// The linker on the path or in cargo's home.
fn find_linker(llvm: u32) -> Result<Option<PathBuf>> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories = env::split_paths(&path).chain([cargo_home()?.join("bin")]);
    Ok(directories
        .find_map(|directory| Some(directory.join("bpf-linker")).filter(|linker| serves(linker, llvm))))
}

fn without_linker(llvm: u32) -> Error {
    Error(format!(
        "no bpf-linker that reads LLVM {llvm}; run\n    \
         apt-get install --no-install-recommends {}\n    \
         LLVM_PREFIX={} cargo {}",
        llvm_package(llvm),
        llvm_prefix(llvm).display(),
        install_arguments(llvm).join(" ")
    ))
}

/// Where Debian's package of this LLVM is.
fn llvm_prefix(llvm: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{llvm}"))
}

/// The package with `libLLVM.so`, which is all that `bpf-linker` is linked with.
fn llvm_package(llvm: u32) -> String {
    format!("llvm-{llvm}-dev")
}

fn install_arguments(llvm: u32) -> Vec<String> {
    let text = format!(
        "install bpf-linker --version {LINKER_VERSION} --locked --no-default-features --features llvm-{llvm}"
    );
    text.split(' ').map(str::to_owned).collect()
}

/// Does this linker run, and read what a compiler with this LLVM writes? Bitcode can be read by a newer LLVM only.
fn serves(linker: &Path, llvm: u32) -> bool {
    if output(Command::new(linker).arg("--version")).is_none() {
        return false;
    }
    let mut program = Vec::new();
    let read = File::open(linker).and_then(|mut file| file.read_to_end(&mut program));
    if read.is_err() {
        return false;
    }
    // The name of the shared library in the dynamic section. One linked statically does not have it, and is
    // trusted.
    const NAME: &[u8] = b"libLLVM.so.";
    let Some(at) = program.windows(NAME.len()).position(|window| window == NAME) else { return true };
    let major = program.iter().skip(at + NAME.len()).take_while(|byte| byte.is_ascii_digit());
    let major =
        major.fold(0_u32, |number, digit| number.saturating_mul(10).saturating_add((digit - b'0').into()));
    major >= llvm
}

// ----------------------------------------------------------------------------------------------- packages

/// Installs Debian packages, none of which may remove another one. Needs root.
///
/// # Errors
/// With the end of apt's output and the command.
pub(crate) fn apt_install(packages: &[&str], log: &mut dyn Write) -> Result<()> {
    let list = packages.join(" ");
    note(log, &format!("apt-get install {list}"));
    let known = |package: &&&str| output(Command::new("apt-cache").args(["show", package])).is_some();
    if packages.iter().filter(known).count() < packages.len() {
        apt_get(&["update"], &[])?;
    }
    let options = ["install", "-y", "--no-install-recommends", "--no-remove"];
    // What apt knows may be older than what the archive still has.
    let installed = apt_get(&options, packages).or_else(|_| {
        apt_get(&["update"], &[])?;
        apt_get(&options, packages)
    });
    installed.map_err(|error| {
        Error(format!(
            "{error}\nremedy what apt says, then run\n    apt-get install --no-install-recommends {list}"
        ))
    })
}

fn apt_get(options: &[&str], packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.arg("-q").args(["-o", "DPkg::Lock::Timeout=300"]).args(options).args(packages);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    run_logged(&mut command, &cargo_home()?.join("lbctl-toolchain.log"))
}

/// Can packages be installed here? Says nothing about whether we may.
pub(crate) fn has_apt() -> bool {
    output(Command::new("apt-get").arg("--version")).is_some()
}

/// Is the effective user root?
pub(crate) fn is_root() -> bool {
    // The fields of this line are the real, effective, saved and file-system user ids.
    fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0"))
    })
}

// ------------------------------------------------------------------------------------------------ commands

/// Removes what an outer cargo, rustup or clippy put into the environment for *its* compiler, and everything of a
/// build script: a nested cargo that saw it would use the wrong compiler, or build anew each time a variable that
/// a dependency watches comes and goes.
pub(crate) fn clean_environment(command: &mut Command, keep_rustc: bool) {
    const KEPT: [&str; 7] = [
        "CARGO_HOME",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_MAKEFLAGS",
        "CARGO_TERM_",
    ];
    const BUILD_SCRIPT: [&str; 9] = [
        "DEBUG",
        "HOST",
        "LLVM_PREFIX",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTFLAGS",
        "TARGET",
    ];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let cargo =
            (text == "CARGO" || text.starts_with("CARGO_")) && !KEPT.iter().any(|k| text.starts_with(k));
        let rustc = text.starts_with("RUSTC") || text.starts_with("RUSTDOC") || text.starts_with("CLIPPY_");
        let rustc = rustc && !(keep_rustc && text == "RUSTC");
        if cargo || rustc || text.starts_with("DEP_") || BUILD_SCRIPT.contains(&&*text) {
            command.env_remove(&name);
        }
    }
}

fn cargo_home() -> Result<PathBuf> {
    let dir = env::var_os("CARGO_HOME").map(PathBuf::from);
    dir.or_else(|| env::home_dir().map(|home| home.join(".cargo")))
        .ok_or_else(|| Error("neither CARGO_HOME nor HOME is set; set one of them".to_owned()))
}

/// The standard output of a command that succeeded.
fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command with its output in a file; the end of it is in the error.
fn run_logged(command: &mut Command, path: &Path) -> Result<()> {
    let program = command.get_program().to_owned();
    let arguments: Vec<OsString> = command.get_args().map(Into::into).collect();
    let name = arguments.iter().fold(program.to_string_lossy().into_owned(), |line, argument| {
        format!("{line} {}", argument.to_string_lossy())
    });
    let failed = |why: String| Error(format!("`{name}` failed: {why}"));
    let log = File::create(path).map_err(|error| failed(format!("{}: {error}", path.display())))?;
    let copy = log.try_clone().map_err(|error| failed(error.to_string()))?;
    let status = command.stdout(log).stderr(copy).status().map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default();
    Err(failed(format!("{status}; the end of {}:\n    {}", path.display(), end.join("\n    "))))
}

/// Runs a command for at most so long, then kills it.
fn run_for(command: &mut Command, limit: Duration) -> io::Result<ExitStatus> {
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Progress is a courtesy: a log that cannot be written is no reason to stop.
fn note(log: &mut dyn Write, line: &str) {
    writeln!(log, "{line}").unwrap_or_default();
}

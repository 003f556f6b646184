//! `cargo xtask test`: all tiers of tests, and one line about each.
//!
//! | tier | what | needs |
//! |---|---|---|
//! | 0 | tables and vectors | |
//! | 1 | properties and simulations | |
//! | 2 | packets, on the host and through the kernel's test run | root |
//! | 3 | network namespaces: the package `lb-tests`, and the Debian package | root |
//! | 4 | Debian's kernels, in a virtual machine | |
//!
//! Tiers 0 to 2 are one run of the tests of every other package, because one test program has tests of several
//! tiers. Four words in the path of a test mean something here: a test that needs root has `as_root` in it, one
//! that tier 4 runs under the other kernels too has `every_kernel`, and one that needs modules of Debian's kernels
//! that other kernels may lack (`ip_vs`, `ipip`) has `with_modules`: tier 4 alone runs it. One of tier 3 that spends
//! its time waiting has `waiting`, and runs beside others.
//!
//! A tier that cannot run for want of root is skipped, and said to be; where `CI` is `true`, it fails. The tests
//! get `LBCTL`, the path of the `lbctl` to test, and in CI `LBCTL_REQUIRE_PRIVILEGES=1`.

use std::ffi::OsString;
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context as _, anyhow, bail};

use crate::cargo::Executable;
use crate::vm::{Guest, Kernel, Outcome};
use crate::{cargo, setup, toolchain};

/// Is part of the path of a test that needs root.
const AS_ROOT: &str = "as_root";
/// Is part of the path of a test that runs under every kernel.
const EVERY_KERNEL: &str = "every_kernel";
/// Is part of the path of a test that needs a Debian kernel's modules.
const WITH_MODULES: &str = "with_modules";
/// Is part of the path of a test that mostly waits.
const WAITING: &str = "waiting";
/// How many of those run at once.
const WAITING_AT_ONCE: &str = "--test-threads=4";
/// Builds all test programs, of every package, so that all tiers share what is compiled.
const TEST_PROGRAMS: [&str; 3] = ["test", "--workspace", "--no-run"];
/// How long one kernel may take, in emulation.
const GUEST_TIMEOUT: Duration = Duration::from_secs(1500);

/// `cargo xtask test`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run only this tier (0, 1 and 2 are one; may be repeated)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=4))]
    tier: Vec<u8>,
}

/// What became of a tier that did not fail.
enum Passed {
    Whole,
    /// Without what this says.
    Partly(String),
}

/// A tier: the numbers that select it, its title, and what runs it.
type Tier = (&'static [u8], &'static str, fn(&Setting) -> anyhow::Result<Passed>);

const TIERS: [Tier; 3] = [
    (&[0, 1, 2], "tiers 0-2: tables, properties, packets", host),
    (&[3], "tier 3: network namespaces", namespaces),
    (&[4], "tier 4: Debian's kernels", kernels),
];

/// What all tiers share.
struct Setting {
    is_root: bool,
    is_ci: bool,
    lbctl: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    setup::build_tools()?;
    let is_ci = env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let setting = Setting { is_root: toolchain::is_root(), is_ci, lbctl: cargo::lbctl(false)? };

    let mut summary = Vec::new();
    let mut failed = Vec::new();
    for (numbers, title, tier) in TIERS {
        if !arguments.tier.is_empty() && !numbers.iter().any(|number| arguments.tier.contains(number)) {
            continue;
        }
        crate::progress(&format!("== {title}"));
        let started = Instant::now();
        let result = tier(&setting);
        let seconds = started.elapsed().as_secs();
        summary.push(match result {
            Ok(Passed::Whole) => format!("{title}: passed ({seconds} s)"),
            Ok(Passed::Partly(without)) if !setting.is_ci => {
                format!("{title}: SKIPPED in part or whole: {without} ({seconds} s)")
            }
            Ok(Passed::Partly(without)) => {
                failed.push(title);
                format!("{title}: FAILED, because CI must skip nothing: {without}")
            }
            Err(error) => {
                failed.push(title);
                format!("{title}: FAILED ({seconds} s): {error:#}")
            }
        });
    }
    crate::say(&summary.join("\n"))?;
    if let Some(first) = failed.first() {
        bail!("{first} failed");
    }
    Ok(())
}

/// Tiers 0 to 2: the tests of every package but the one of tier 3.
fn host(setting: &Setting) -> anyhow::Result<Passed> {
    let mut cargo = setting.cargo_test();
    cargo.args(["--workspace", "--exclude", "lb-tests"]);
    if setting.is_root {
        succeed(&mut cargo)?;
        return Ok(Passed::Whole);
    }
    succeed(cargo.args(["--", "--skip", AS_ROOT]))?;
    Ok(Passed::Partly(format!("tests with {AS_ROOT} in their names need root")))
}

/// Tier 3. One test at a time, unless it mostly waits: each brings up directors and web servers that need the
/// processors. The Debian package
/// comes and goes in namespaces too; the tarball, whose static program takes minutes to build, only by
/// `cargo xtask dist --check`.
fn namespaces(setting: &Setting) -> anyhow::Result<Passed> {
    // By themselves the package's dependencies would have other features: they would be compiled once more.
    let programs = cargo::executables(&TEST_PROGRAMS)?;
    let own = cargo::workspace().join("tests");
    let programs: Vec<_> = programs.into_iter().filter(|program| program.package == own).collect();
    if programs.is_empty() {
        bail!("no test program in {}", own.display());
    }
    let mut documentation = setting.cargo_test();
    documentation.args(["--workspace", "--doc", "--", "tests/src"]);
    let mut results = vec![succeed(&mut documentation)];
    if !setting.is_root {
        let without = ["--skip", AS_ROOT];
        results.extend(programs.iter().map(|program| succeed(&mut setting.program(program, &without))));
        results.into_iter().collect::<anyhow::Result<()>>()?;
        return Ok(Passed::Partly("network namespaces need root".to_owned()));
    }
    setup::lab()?;
    let by_itself = ["--test-threads=1", "--skip", WITH_MODULES, "--skip", WAITING];
    results.extend(programs.iter().map(|program| succeed(&mut setting.program(program, &by_itself))));
    let waiting = programs.iter().filter(|program| has_tests(&program.path, &[WAITING]));
    let at_once = [WAITING_AT_ONCE, WAITING];
    results.extend(waiting.map(|program| succeed(&mut setting.program(program, &at_once))));
    results.push(crate::dist::test(setting.lbctl.clone()));
    results.into_iter().collect::<anyhow::Result<()>>()?;
    Ok(Passed::Whole)
}

/// Tier 4: the tests for every kernel, from the test programs of the host. Those that need modules, IPVS among them,
/// are about what is the same everywhere, and run under the first kernel only.
fn kernels(setting: &Setting) -> anyhow::Result<Passed> {
    setup::vm()?;
    if setting.is_root {
        // The guest sees the host's programs.
        setup::lab()?;
    }
    let programs = cargo::executables(&TEST_PROGRAMS)?.into_iter().map(|program| program.path);
    let programs: Vec<PathBuf> =
        programs.filter(|program| has_tests(program, &[EVERY_KERNEL, WITH_MODULES])).collect();
    if programs.is_empty() {
        bail!("no test has `{EVERY_KERNEL}` in its name; one at least must load the program");
    }
    // Each keeps about one processor busy. The first shows what it does; the others' output comes when they are done.
    let [first, others @ ..] = Kernel::ALL;
    let mut failed = Vec::new();
    thread::scope(|scope| -> anyhow::Result<()> {
        let mut running = Vec::new();
        for kernel in others {
            let mut guest = setting.guest(kernel, &programs)?;
            let log = tempfile::tempfile().context("no temporary file")?;
            guest.log = Some(log.try_clone()?);
            let command = script(&programs, false);
            running.push((kernel, log, scope.spawn(move || guest.run(&command))));
        }
        crate::progress(&format!("-- Linux {first}"));
        failed.extend(trouble(first, setting.guest(first, &programs)?.run(&script(&programs, true))));
        for (kernel, mut log, running) in running {
            let outcome =
                running.join().map_err(|cause| anyhow!("the guest's thread panicked: {cause:?}"))?;
            crate::progress(&format!("-- Linux {kernel}"));
            log.rewind()?;
            io::copy(&mut log, &mut io::stdout())?;
            failed.extend(trouble(kernel, outcome));
        }
        Ok(())
    })?;
    if failed.is_empty() { Ok(Passed::Whole) } else { bail!("under Linux {}", failed.join(" and ")) }
}

/// What is to be said of a guest that did not end well.
fn trouble(kernel: Kernel, outcome: anyhow::Result<Outcome>) -> Option<String> {
    match outcome {
        Ok(Outcome::Exited(0)) => None,
        Ok(Outcome::Exited(code)) => Some(format!("{kernel} (exit code {code})")),
        Ok(Outcome::TimedOut) => Some(format!("{kernel} (not done after {} s)", GUEST_TIMEOUT.as_secs())),
        Err(error) => Some(format!("{kernel} ({error:#})")),
    }
}

/// Does this test program have tests with one of these words in their paths? One without the standard harness has none.
fn has_tests(program: &Path, words: &[&str]) -> bool {
    // An example runs for real whatever it is asked.
    if program.parent().is_some_and(|directory| directory.ends_with("examples")) {
        return false;
    }
    let listed = Command::new(program)
        .args(words)
        .args(["--list", "--format=terse"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    listed.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).lines().any(|line| line.ends_with(": test"))
    })
}

/// A shell command that runs all of these, and fails if one of them does.
fn script(programs: &[PathBuf], with_modules: bool) -> Vec<OsString> {
    let with_modules = if with_modules { WITH_MODULES } else { "" };
    let each = format!(
        // The daemon and every command are this program: from memory it starts several times faster than from 9p.
        "cp \"$LBCTL\" /tmp/lbctl && export LBCTL=/tmp/lbctl || exit 1; \
         status=0; for program; do \"$program\" {EVERY_KERNEL} {with_modules} --test-threads=1 || status=1; done; exit $status"
    );
    let start = ["sh", "-c", each.as_str(), "sh"].map(OsString::from);
    start.into_iter().chain(programs.iter().map(OsString::from)).collect()
}

impl Setting {
    /// A machine that has these test programs and what they need.
    fn guest(&self, kernel: Kernel, programs: &[PathBuf]) -> anyhow::Result<Guest> {
        let mut guest = Guest::new(kernel);
        guest.timeout = Some(GUEST_TIMEOUT);
        guest.share_read_only(cargo::workspace())?;
        for program in programs {
            guest.share_read_only(program.parent().context("a test program without directory")?)?;
        }
        guest.share_read_only(self.lbctl.parent().context("`lbctl` without directory")?)?;
        guest.directory = cargo::workspace().to_owned();
        guest.set("LBCTL", &self.lbctl);
        guest.set("LBCTL_REQUIRE_PRIVILEGES", "1");
        guest.set("LBCTL_TEST_SLOWNESS", "20");
        guest.set("RUST_BACKTRACE", "1");
        Ok(guest)
    }

    /// Runs a test program as cargo would.
    fn program(&self, program: &Executable, arguments: &[&str]) -> Command {
        crate::progress(&format!("     Running {}", program.path.display()));
        let mut command = self.tests(Command::new(&program.path));
        command.args(arguments).current_dir(&program.package);
        command
    }

    fn cargo_test(&self) -> Command {
        let mut cargo = self.tests(cargo::command());
        cargo.args(["test", "--no-fail-fast"]);
        cargo
    }

    /// A command with what tests want to know.
    fn tests(&self, mut command: Command) -> Command {
        command.env("LBCTL", &self.lbctl);
        if self.is_ci {
            command.env("LBCTL_REQUIRE_PRIVILEGES", "1");
        }
        command
    }
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("{name} cannot be run"))?;
    if !status.success() {
        bail!("{name}: {status}");
    }
    Ok(())
}

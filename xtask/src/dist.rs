//! `cargo xtask dist`: a Debian package and a release tarball, and a test that the package comes and goes cleanly.

mod check;
mod debian;
mod tree;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::cargo;
use tree::{Binary, Tree};

/// `cargo xtask dist`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to put the files
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    out: PathBuf,
    /// Without optimisations, for trying
    #[arg(long)]
    dev: bool,
    /// Only the Debian package
    #[arg(long)]
    deb: bool,
    /// Then install the package in an empty root, run it, upgrade it, remove it and purge it, and run the tarball's
    /// program in a root without any other file (needs root)
    #[arg(long)]
    check: bool,
}

/// The target whose programs need nothing from the host.
const STATIC: &str = "x86_64-unknown-linux-musl";

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    crate::setup::build_tools()?;
    let out = std::path::absolute(cargo::workspace().join(&arguments.out))?;
    std::fs::create_dir_all(&out)?;
    let release = !arguments.dev;
    let generated = tempfile::tempdir()?;
    generate(generated.path())?;
    let dynamic = Binary::read(cargo::lbctl(release)?)?;
    let tree = Tree { generated: generated.path(), version: version() };
    let package = debian::build(&tree, &dynamic, &out, true)?;
    crate::say(&package.display().to_string())?;
    let tarball = if arguments.deb { None } else { Some(tarball(&tree, &static_lbctl(release)?, &out)?) };
    if let Some(tarball) = &tarball {
        crate::say(&tarball.display().to_string())?;
    }
    if arguments.check {
        check::run(&package, tarball.as_deref())?;
    }
    Ok(())
}

/// Makes the Debian package of this `lbctl`, installs it in an empty root, runs, upgrades, removes and purges it.
pub(crate) fn test(lbctl: PathBuf) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let out = directory.path();
    generate(out)?;
    let tree = Tree { generated: out, version: version() };
    let package = debian::build(&tree, &Binary::read(lbctl)?, out, false)?;
    check::run(&package, None)
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Writes manual pages and completions.
fn generate(directory: &Path) -> anyhow::Result<()> {
    let mut made = cargo::executables(&["build", "--package", "lb-userspace", "--example", "generate"])?;
    let program = made.pop().context("cargo built no example `generate`")?;
    call(program.path, [directory])
}

/// `lbctl` without any library of the host's. With the musl target where rustup can have it, else with glibc's
/// static library, whose name look-ups then need the host's glibc at run time.
fn static_lbctl(release: bool) -> anyhow::Result<Binary> {
    let libraries = Command::new("rustc").args(["--print", "target-libdir", "--target", STATIC]).output();
    let directory = libraries.ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let is_there = directory.as_ref().is_some_and(|directory| Path::new(directory).is_dir());
    let has_musl = is_there || call("rustup", ["target", "add", STATIC]).is_ok();
    let target = if has_musl { STATIC } else { "x86_64-unknown-linux-gnu" };
    let profile: &[&str] = if release { &["--release"] } else { &[] };
    let mut command = cargo::command();
    command.args(
        [&["build", "--package", "lb-userspace", "--bin", "lbctl", "--target", target], profile].concat(),
    );
    if has_musl {
        // What little C there is needs no header of the library's own.
        command.env("CC_x86_64_unknown_linux_musl", "cc");
    } else {
        command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static");
    }
    let status = command.status().context("cargo cannot be run")?;
    if !status.success() {
        bail!("the static lbctl cannot be built: {status}");
    }
    let directory = cargo::workspace().join("target").join(target);
    let binary = Binary::read(directory.join(if release { "release" } else { "debug" }).join("lbctl"))?;
    if binary.interpreter().is_some() {
        bail!("{} is not static", binary.path().display());
    }
    Ok(binary)
}

fn tarball(tree: &Tree<'_>, binary: &Binary, out: &Path) -> anyhow::Result<PathBuf> {
    let stage = tempfile::tempdir()?;
    let name = format!("lbctl-{}-x86_64-linux", tree.version);
    let root = stage.path().join(&name);
    tree.tarball(binary, &root)?;
    let path = out.join(format!("{name}.tar.gz"));
    let file = path.as_os_str();
    call(
        "tar",
        [
            "--create".as_ref(),
            "--gzip".as_ref(),
            "--sort=name".as_ref(),
            "--owner=root:0".as_ref(),
            "--group=root:0".as_ref(),
            "--file".as_ref(),
            file,
            "--directory".as_ref(),
            stage.path().as_os_str(),
            OsStr::new(&name),
        ],
    )?;
    Ok(path)
}

/// Runs a program that must succeed.
fn call<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> anyhow::Result<()> {
    let program = program.as_ref();
    let status = Command::new(program)
        .args(arguments)
        .status()
        .with_context(|| format!("{} cannot be run; install it", program.display()))?;
    if status.success() { Ok(()) } else { bail!("{}: {status}", program.display()) }
}

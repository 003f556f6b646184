//! Calls cargo for the workspace, and `cargo xtask build`.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// `cargo xtask build`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Build with optimisations
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    crate::setup::build_tools()?;
    let lbctl = lbctl(arguments.release)?;
    crate::say(&lbctl.display().to_string())
}

/// Builds `lbctl` and returns where it is.
pub(crate) fn lbctl(release: bool) -> anyhow::Result<PathBuf> {
    let profile: &[&str] = if release { &["--release"] } else { &[] };
    let mut found =
        executables(&[&["build", "--package", "lb-userspace", "--bin", "lbctl"], profile].concat())?;
    let found =
        found.pop().context("cargo built no `lbctl`; has the binary of lb-userspace been renamed?")?;
    Ok(found.path)
}

/// A program that cargo has made.
#[derive(Debug)]
pub(crate) struct Executable {
    pub(crate) path: PathBuf,
    /// The directory of its package, in which cargo starts tests.
    pub(crate) package: PathBuf,
}

/// Runs a cargo command that builds, and returns the programs and test programs that it made.
///
/// # Errors
/// If it does not compile; cargo has said why on standard error.
pub(crate) fn executables(arguments: &[&str]) -> anyhow::Result<Vec<Executable>> {
    let mut cargo = command();
    cargo.args(arguments).arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = cargo.output().context("cargo cannot be run")?;
    if !output.status.success() {
        bail!("`cargo {}` failed: {}", arguments.join(" "), output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executable = |message: Value| {
        let path = |name| message.get(name)?.as_str().map(Path::new);
        let package = path("manifest_path")?.parent()?.to_owned();
        Some(Executable { path: path("executable")?.to_owned(), package })
    };
    Ok(messages.filter_map(executable).collect())
}

/// A cargo for the workspace, without the variables by which the one that runs this program describes its package.
pub(crate) fn command() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").as_deref().unwrap_or(OsStr::new("cargo")));
    cargo.current_dir(workspace());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

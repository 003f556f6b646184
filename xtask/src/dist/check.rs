//! Installs the package in an empty root, runs it there, upgrades, removes and purges it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

/// What is done in the new namespaces.
const SCRIPT: &str = include_str!("check.sh");

/// In namespaces of its own (mounts, processes, network), with a root directory that has a shell, the C library
/// and an empty dpkg database, and nothing else.
pub(super) fn run(package: &Path) -> anyhow::Result<()> {
    let root = tempfile::tempdir()?;
    let script = root.path().join("check.sh");
    std::fs::write(&script, SCRIPT)?;
    let status = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation=private", "sh", "-eu"])
        .arg(&script)
        .arg(root.path().join("root"))
        .arg(package)
        .status()
        .context("unshare cannot be run; install util-linux")?;
    if !status.success() {
        bail!("the package does not come and go cleanly: {status}");
    }
    crate::say("installed, ran, upgraded, removed and purged cleanly")
}

//! Installs the package in an empty root, runs it there, upgrades, removes and purges it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

/// What is done in the new namespaces.
const SCRIPT: &str = include_str!("check.sh");

/// In namespaces of its own (mounts, processes, network): a director and a real server, each in a root directory that
/// has a shell, the C library and an empty dpkg database, and nothing else; and a client. The `lbctl` of the tarball
/// runs in a root that has no other file.
pub(super) fn run(package: &Path, tarball: Option<&Path>) -> anyhow::Result<()> {
    crate::setup::lab()?;
    let directory = tempfile::tempdir()?;
    let script = directory.path().join("check.sh");
    std::fs::write(&script, SCRIPT)?;
    let status = Command::new("unshare")
        .args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--propagation=private",
        ])
        .args(["sh", "-eu"])
        .arg(&script)
        .arg(directory.path())
        .arg(package)
        .args(tarball)
        .status()
        .context("unshare cannot be run; install util-linux")?;
    if !status.success() {
        bail!("the package does not come and go cleanly: {status}");
    }
    crate::say("installed, ran, upgraded, removed and purged cleanly")
}

//! Named network namespaces that carry the lab's mark.
//!
//! The mark is an alias on the loopback device, set before the namespace gets its name. So whatever stands under a name
//! of ours and carries the mark was made by a lab, no matter where that lab was interrupted.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use nix::unistd::Pid;

/// Where `ip netns` keeps the names.
const DIR: &str = "/run/netns";
const MARK: &str = "lbctl-lab";

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// A namespace with the mark.
    Ours,
    /// A namespace without it.
    Foreign,
    /// A file that is no namespace: what is left when its maker died before it mounted the namespace there.
    File,
}

/// The file to give to `nsenter --net=`.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// Tells what stands under `name`.
pub(crate) fn look(name: &str) -> anyhow::Result<Found> {
    let path = path(name);
    let fs = match statfs(&path) {
        Ok(fs) => fs,
        Err(nix::Error::ENOENT) => return Ok(Found::Nothing),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    if fs.filesystem_type() != NSFS_MAGIC {
        return Ok(Found::File);
    }
    let link = enter(name, || run(Command::new("ip").args(["link", "show", "dev", "lo"])))??;
    Ok(if link.contains(&format!("alias {MARK}")) { Found::Ours } else { Found::Foreign })
}

/// Makes a marked namespace with loopback up and names it `name`. Fails if the name is taken.
pub(crate) fn create(name: &str) -> anyhow::Result<()> {
    fs::create_dir_all(DIR).context(DIR)?;
    let path = path(name);
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET).context("new network namespace; is this root?")?;
        run(Command::new("ip").args(["link", "set", "dev", "lo", "up", "alias", MARK]))?;
        OpenOptions::new().write(true).create_new(true).open(&path)?;
        let none = None::<&str>;
        mount(Some("/proc/thread-self/ns/net"), &path, none, MsFlags::MS_BIND, none)
            .with_context(|| format!("mount on {}", path.display()))
    };
    on_own_thread(make).with_context(|| format!("network namespace {name}"))
}

/// Removes the name; the namespace goes when nobody is left in it.
pub(crate) fn delete(name: &str) -> anyhow::Result<()> {
    let path = path(name);
    match umount2(&path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
        Err(error) => return Err(error).with_context(|| format!("unmount {}", path.display())),
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

/// Removes the directory of names if it is empty and nobody has mounted anything on it.
pub(crate) fn delete_empty_dir() {
    // Not ours alone: that it is in use, or gone, is as good.
    fs::remove_dir(DIR).ok();
}

/// Moves the calling thread into the namespace, for good.
pub(crate) fn enter_here(name: &str) -> anyhow::Result<()> {
    let path = path(name);
    let file =
        File::open(&path).with_context(|| format!("{}: no such lab node; is the lab up?", path.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}; is this root?", path.display()))
}

/// Runs `work` on a thread of its own inside the namespace, and waits for it. Commands it starts are inside, too.
pub(crate) fn enter<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    on_own_thread(|| enter_here(name).map(|()| work()))
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match thread::scope(|scope| scope.spawn(work).join()) {
        Ok(result) => result,
        Err(cause) => panic::resume_unwind(cause),
    }
}

/// The processes whose main thread is in the namespace.
pub(crate) fn processes(name: &str) -> anyhow::Result<Vec<Pid>> {
    let path = path(name);
    let namespace = fs::metadata(&path).with_context(|| path.display().to_string())?;
    let mut inside = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that has just ended, or a zombie, has no namespace to read: it is not inside any more.
        let Ok(theirs) = fs::metadata(format!("/proc/{pid}/ns/net")) else { continue };
        if (theirs.dev(), theirs.ino()) == (namespace.dev(), namespace.ino()) {
            inside.push(Pid::from_raw(pid));
        }
    }
    Ok(inside)
}

/// Runs a command to its end and returns what it printed; a failure quotes the command and what it said.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("{} does not start; is it installed?", command.get_program().display()))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}\n{stdout}{stderr}", output.status);
    }
    Ok(stdout)
}

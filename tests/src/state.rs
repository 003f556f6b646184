//! What a lab leaves on the system, for those who come later: another command, or a clean-up after a crash.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::netns::{self, Found};
use crate::topology::{HUB, Node, Topology};
use crate::wait_until;

/// Configuration, logs and state of the lab that is up.
pub const LAB_DIR: &str = "/run/lbctl-lab";

/// How long processes get to end, after SIGTERM and again after SIGKILL.
const END_OF_PROCESSES: Duration = Duration::from_secs(3);

/// How long to wait for another command that builds or removes a lab.
const OTHERS_END: Duration = Duration::from_secs(5);

/// Where `lbctl` keeps what belongs to an instance; instances in the lab are called like their node.
const PINS: &str = "/sys/fs/bpf/lbctl";
const RUNTIME: &str = "/run/lbctl";

/// How the lab was asked for. Written before the first namespace is made, and again when the lab is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) topology: Topology,
    pub(crate) has_web3: bool,
    pub(crate) has_pass_program: bool,
    pub(crate) has_nginx: bool,
    pub(crate) is_complete: bool,
}

impl State {
    fn path() -> PathBuf {
        Path::new(LAB_DIR).join("state.json")
    }

    pub(crate) fn load() -> anyhow::Result<Option<Self>> {
        let path = Self::path();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Replaces the file in one step, so that a reader, or a crash, never sees half of it.
    pub(crate) fn save(&self) -> anyhow::Result<()> {
        let path = Self::path();
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(self)?).with_context(|| new.display().to_string())?;
        fs::rename(&new, &path).with_context(|| path.display().to_string())
    }

    pub(crate) fn nodes(&self) -> Vec<Node> {
        self.topology.nodes(self.has_web3)
    }
}

/// Keeps other labs out while one is built or removed. Released when dropped.
///
/// Waits a while for others: what an interrupted lab was just starting holds its lock until it turns into that program.
pub(crate) fn lock() -> anyhow::Result<File> {
    let mut taken = try_lock();
    let is_decided = wait_until(OTHERS_END, || {
        if matches!(taken, Ok(None)) {
            taken = try_lock();
        }
        !matches!(taken, Ok(None))
    });
    let lock = taken.with_context(|| format!("lock {LAB_DIR}; is this root?"))?;
    lock.filter(|_| is_decided)
        .with_context(|| format!("{LAB_DIR}: another command is building or removing the lab"))
}

/// `None` if somebody else has the lock, or removed the directory meanwhile.
fn try_lock() -> io::Result<Option<File>> {
    fs::create_dir_all(LAB_DIR)?;
    let dir = File::open(LAB_DIR)?;
    match dir.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let is_current =
        fs::metadata(LAB_DIR).is_ok_and(|now| dir.metadata().is_ok_and(|ours| ours.ino() == now.ino()));
    Ok(Some(dir).filter(|_| is_current))
}

/// Everything on the system that a lab made, complete or not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Names of namespaces that carry the lab's mark.
    pub namespaces: Vec<&'static str>,
    /// Directories of the lab, and of `lbctl` instances in it.
    pub directories: Vec<PathBuf>,
    /// Names in /run/netns that lead to nothing because their maker died.
    names_of_nothing: Vec<&'static str>,
}

impl Remains {
    /// Looks for what is there.
    ///
    /// # Errors
    /// /run/netns cannot be read or a namespace in it not be entered.
    pub fn look() -> anyhow::Result<Self> {
        let mut remains = Self::default();
        // Its being there means that `refuse_foreign` found none of what is listed below, so all of it came later.
        let has_begun = State::path().exists();
        for name in names() {
            match netns::look(name)? {
                Found::Ours => remains.namespaces.push(name),
                Found::File if has_begun => remains.names_of_nothing.push(name),
                Found::File | Found::Foreign | Found::Nothing => {}
            }
        }
        if has_begun {
            for node in Node::ALL {
                let [pins, runtime] = instance_dirs(node);
                // The same bpffs can be visible where another /run is, and pins there be somebody else's: without the
                // runtime directory of their daemon in this /run they stay. They go first, as long as it proves them ours.
                if runtime.exists() {
                    remains.directories.extend([pins, runtime].into_iter().filter(|dir| dir.exists()));
                }
            }
        }
        remains.directories.extend(Some(PathBuf::from(LAB_DIR)).filter(|dir| dir.exists()));
        Ok(remains)
    }

    /// Whether there is nothing to remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Ends the processes in the namespaces, then removes everything, also what came since [`Remains::look`].
    ///
    /// # Errors
    /// The caller is inside one of the namespaces, another command is building a lab, a process does not end, or a name
    /// or directory cannot be removed. What is left can be looked for and removed again.
    pub fn remove(self) -> anyhow::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let _lock = lock()?;
        Self::look()?.remove_locked()
    }

    /// As [`Remains::remove`], for a caller that has the lock.
    pub(crate) fn remove_locked(self) -> anyhow::Result<()> {
        self.end_processes()?;
        for name in self.namespaces.into_iter().chain(self.names_of_nothing) {
            netns::delete(name)?;
        }
        netns::delete_empty_dir();
        // The lab's own directory comes last, so that an interrupted removal can be resumed.
        for dir in self.directories {
            match fs::remove_dir_all(&dir) {
                // A director that was told to end has cleaned up itself.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| dir.display().to_string());
                }
                _ => {}
            }
        }
        for dir in [PINS, RUNTIME] {
            // Only if empty, and then as good as gone; other instances may live here.
            fs::remove_dir(dir).ok();
        }
        Ok(())
    }

    fn end_processes(&self) -> anyhow::Result<()> {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            for pid in self.processes()? {
                if pid == Pid::this() {
                    bail!("this command runs inside the lab; run it from outside");
                }
                match kill(pid, signal) {
                    Ok(()) | Err(nix::Error::ESRCH) => {}
                    Err(error) => return Err(error).with_context(|| format!("end process {pid}")),
                }
            }
            if wait_until(END_OF_PROCESSES, || self.processes().is_ok_and(|left| left.is_empty())) {
                return Ok(());
            }
        }
        bail!("these processes do not end: {:?}", self.processes()?)
    }

    fn processes(&self) -> anyhow::Result<Vec<Pid>> {
        let inside: anyhow::Result<Vec<_>> =
            self.namespaces.iter().map(|name| netns::processes(name)).collect();
        Ok(inside?.concat())
    }
}

/// Fails if anything of somebody else's stands where the lab would put its own.
pub(crate) fn refuse_foreign() -> anyhow::Result<()> {
    for name in names() {
        match netns::look(name)? {
            Found::Nothing => {}
            Found::Ours => bail!("a lab is already up; `cargo xtask lab down` removes it"),
            Found::Foreign => bail!(
                "the network namespace {name} exists and is not the lab's; if nobody needs it: ip netns delete {name}"
            ),
            Found::File => {
                let path = netns::path(name);
                bail!("{} is not the lab's; if nobody needs it: rm {0}", path.display())
            }
        }
    }
    if let Some(dir) = Node::ALL.into_iter().flat_map(instance_dirs).find(|dir| dir.exists()) {
        let dir = dir.display();
        bail!(
            "{dir} belongs to an lbctl instance outside the lab; stop it with `lbctl down --instance`, or rm -r {dir}"
        );
    }
    Ok(())
}

/// All namespaces that a lab of any shape can have.
fn names() -> impl Iterator<Item = &'static str> {
    Node::ALL.into_iter().map(Node::name).chain([HUB])
}

/// The pins of the instance called like `node`, and its runtime directory.
fn instance_dirs(node: Node) -> [PathBuf; 2] {
    [PINS, RUNTIME].map(|dir| Path::new(dir).join(node.name()))
}

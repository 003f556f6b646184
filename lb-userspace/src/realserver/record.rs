//! The record of what was found and what was changed: `RUN_DIR/INSTANCE/realserver.json`.
//!
//! It is replaced by renaming, so a reader never sees half of one. A record counts only in the boot and the
//! network namespace it was made in; in any other the settings and addresses it speaks of are gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{Options, RealserverError, tunnel::Tunnel};

const FILE: &str = "realserver.json";

/// The format's version; another one is refused, not guessed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
struct Version;

impl From<Version> for u32 {
    fn from(Version: Version) -> Self {
        1
    }
}

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(version: u32) -> Result<Self, String> {
        if version == 1 { Ok(Self) } else { Err(format!("version {version}, not 1")) }
    }
}

/// What an instance found and changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: Version,
    /// `/proc/sys/kernel/random/boot_id`.
    boot: String,
    /// Inode number of the network namespace.
    netns: u64,
    /// The VIPs started.
    pub vips: BTreeSet<IpAddr>,
    /// The addresses on `lo` that are there because of this instance.
    pub added: BTreeSet<IpAddr>,
    /// Each setting's value before; paths below /proc/sys.
    pub before: BTreeMap<String, String>,
    /// What tunnels need, if `start` was asked for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
}

impl Record {
    /// An empty record of this boot and namespace.
    ///
    /// # Errors
    /// [`RealserverError::File`] without /proc.
    pub fn new() -> Result<Self, RealserverError> {
        let boot = read(Path::new("/proc/sys/kernel/random/boot_id"))?.unwrap_or_default().trim().to_owned();
        let netns = netns()?;
        let (vips, added, before, tunnel) = Default::default();
        Ok(Self { version: Version, boot, netns, vips, added, before, tunnel })
    }

    /// Is any VIP an IPv4 address, so that the ARP settings are needed?
    #[must_use]
    pub fn needs_settings(&self) -> bool {
        self.vips.iter().any(IpAddr::is_ipv4)
    }
}

/// What an instance's file says.
#[derive(Debug, Clone)]
pub enum Recorded {
    /// There is none.
    Nothing,
    /// It speaks of an earlier boot, or of a network namespace that is gone.
    Outdated,
    /// It speaks of another network namespace, which is still in use.
    Elsewhere,
    /// It speaks of here and now.
    Ours(Record),
}

impl Recorded {
    /// The record, if it speaks of here and now.
    #[must_use]
    pub fn ours(&self) -> Option<&Record> {
        if let Self::Ours(record) = self { Some(record) } else { None }
    }
}

/// Where an instance keeps its record.
#[derive(Debug, Clone)]
pub struct Directory {
    run_dir: PathBuf,
    instance: String,
    here: Record,
}

impl Directory {
    /// Names the place; makes nothing.
    ///
    /// # Errors
    /// [`RealserverError::File`] without /proc.
    pub fn new(options: &Options) -> Result<Self, RealserverError> {
        Ok(Self {
            run_dir: options.run_dir.clone(),
            instance: options.instance.clone(),
            here: Record::new()?,
        })
    }

    /// An empty record of here and now.
    #[must_use]
    pub fn blank(&self) -> &Record {
        &self.here
    }

    /// The same for another instance.
    #[must_use]
    pub fn of(&self, instance: &str) -> Self {
        Self { instance: instance.to_owned(), ..self.clone() }
    }

    /// The record's file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.run_dir.join(&self.instance).join(FILE)
    }

    /// Keeps other commands of all instances out until it is dropped.
    ///
    /// # Errors
    /// [`RealserverError::File`].
    pub fn lock(&self) -> Result<Flock<File>, RealserverError> {
        let path = self.run_dir.join("realserver.lock");
        let failed = |source| RealserverError::File { path: path.clone(), action: "lock it", source };
        fs::create_dir_all(&self.run_dir).map_err(failed)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))
    }

    /// Reads the record.
    ///
    /// # Errors
    /// [`RealserverError::File`], [`RealserverError::Record`].
    pub fn read(&self) -> Result<Recorded, RealserverError> {
        let path = self.file();
        let Some(text) = read(&path)? else { return Ok(Recorded::Nothing) };
        let record: Record =
            serde_json::from_str(&text).map_err(|source| RealserverError::Record { path, source })?;
        Ok(if record.boot != self.here.boot {
            Recorded::Outdated
        } else if record.netns == self.here.netns {
            Recorded::Ours(record)
        } else if is_in_use(record.netns) {
            Recorded::Elsewhere
        } else {
            Recorded::Outdated
        })
    }

    /// The records of the other instances of here and now. One that cannot be read is none of ours.
    ///
    /// # Errors
    /// [`RealserverError::File`].
    pub fn others(&self) -> Result<BTreeMap<String, Record>, RealserverError> {
        let failed = |source| RealserverError::File { path: self.run_dir.clone(), action: "list it", source };
        let mut others = BTreeMap::new();
        for entry in fs::read_dir(&self.run_dir).map_err(failed)? {
            let Ok(instance) = entry.map_err(failed)?.file_name().into_string() else { continue };
            if instance != self.instance
                && let Ok(Recorded::Ours(record)) = self.of(&instance).read()
            {
                others.insert(instance, record);
            }
        }
        Ok(others)
    }

    /// Replaces the record, durably, in one step.
    ///
    /// # Errors
    /// [`RealserverError::File`].
    pub fn write(&self, record: &Record) -> Result<(), RealserverError> {
        let path = self.file();
        let parent = self.run_dir.join(&self.instance);
        let replace = || -> io::Result<()> {
            fs::create_dir_all(&parent)?;
            let new = parent.join(".realserver.json.new");
            let mut file = File::create(&new)?;
            serde_json::to_writer_pretty(&mut file, record)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&parent)?.sync_all()
        };
        replace().map_err(|source| RealserverError::File { path: path.clone(), action: "write it", source })
    }

    /// Removes the record, and its directory if nothing else is in it.
    ///
    /// # Errors
    /// [`RealserverError::File`].
    pub fn remove(&self) -> Result<(), RealserverError> {
        let path = self.file();
        fs::remove_file(&path).map_err(|source| RealserverError::File {
            path,
            action: "remove it",
            source,
        })?;
        if fs::remove_dir(self.run_dir.join(&self.instance)).is_err() {
            tracing::debug!(instance = self.instance, "runtime directory is in use by others; left there");
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Option<String>, RealserverError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RealserverError::File { path: path.to_owned(), action: "read it", source }),
    }
}

fn netns() -> Result<u64, RealserverError> {
    let path = Path::new("/proc/thread-self/ns/net");
    let metadata = fs::metadata(path).map_err(|source| RealserverError::File {
        path: path.to_owned(),
        action: "read it",
        source,
    })?;
    Ok(std::os::unix::fs::MetadataExt::ino(&metadata))
}

/// Does any process live in the network namespace, or any mount (`ip netns add`) hold it?
fn is_in_use(netns: u64) -> bool {
    let name = format!("net:[{netns}]");
    let is_mounted = fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| mounts.contains(&name));
    is_mounted
        || fs::read_dir("/proc").is_ok_and(|entries| {
            entries.flatten().any(|process| {
                fs::read_link(process.path().join("ns/net")).is_ok_and(|link| link == Path::new(&name))
            })
        })
}

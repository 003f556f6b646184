//! Named pipes: a line for each event, and a script that reads them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::{User, chown, mkfifo};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::notifications::Fifo as Settings;
use crate::process::{Run, Script};

/// A script that has ended is started again after so long.
const RESTART: Duration = Duration::from_secs(5);
/// A script of a FIFO runs for as long as the daemon.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// An open FIFO.
#[derive(Debug)]
pub(super) struct Fifo {
    settings: Settings,
    user: Option<String>,
    path: PathBuf,
    file: File,
    was_made: bool,
    /// Lines that nobody has read in time.
    lost: u64,
    reader: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl Fifo {
    /// Makes the FIFO if it is not there, opens it, and starts its script. `None`: none is configured.
    pub(super) fn open(settings: &Settings, user: Option<&str>) -> io::Result<Option<Self>> {
        let Some(path) = &settings.path else { return Ok(None) };
        let was_made = make(path, user)?;
        // For reading too: a FIFO that is open for both never waits for a reader, and never loses its lines
        // between two of them.
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC);
        let file = options.open(path)?;
        if !file.metadata()?.file_type().is_fifo() {
            return Err(io::Error::other("is not a FIFO; remove it, or name another path"));
        }
        let reader = settings.script.as_ref().map(|script| {
            let script = Script { user: user.map(str::to_owned), ..script.clone() };
            let (stop, stopped) = watch::channel(false);
            (stop, tokio::spawn(keep_running(script, path.clone(), stopped)))
        });
        let (settings, path) = (settings.clone(), path.clone());
        Ok(Some(Self { settings, user: user.map(str::to_owned), path, file, was_made, lost: 0, reader }))
    }

    /// Whether it is as it would be opened now.
    pub(super) fn is(&self, settings: &Settings, user: Option<&str>) -> bool {
        self.settings == *settings && self.user.as_deref() == user
    }

    /// Writes a line at once or not at all.
    pub(super) fn write(&mut self, line: &str) {
        let path = self.path.display();
        match self.file.write_all(format!("{line}\n").as_bytes()) {
            Ok(()) if self.lost > 0 => {
                tracing::info!("FIFO {path}: read again; {} lines were lost", self.lost);
                self.lost = 0;
            }
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.lost == 0 {
                    tracing::warn!("FIFO {path}: it is full and nobody reads it; lines are lost");
                }
                self.lost += 1;
            }
            Err(error) => tracing::error!("FIFO {path}: {error}"),
        }
    }

    /// Ends the script, and removes the FIFO if it was not there before.
    pub(super) async fn close(mut self) {
        if let Some((stop, task)) = self.reader.take() {
            stop.send_replace(true);
            if let Err(error) = task.await {
                tracing::error!("FIFO {}: {error}", self.path.display());
            }
        }
        if self.was_made {
            // Somebody else may have removed it.
            std::fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}

/// Returns whether there was none.
fn make(path: &Path, user: Option<&str>) -> io::Result<bool> {
    match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Err(nix::errno::Errno::EEXIST) => return Ok(false),
        result => result?,
    }
    if let Some(user) = user {
        let found =
            User::from_name(user)?.ok_or_else(|| io::Error::other(format!("there is no user {user}")))?;
        chown(path, Some(found.uid), Some(found.gid))?;
    }
    Ok(true)
}

async fn keep_running(script: Script, path: PathBuf, mut stop: watch::Receiver<bool>) {
    loop {
        let run = Run {
            script: &script,
            arguments: vec![path.display().to_string()],
            environment: Vec::new(),
            timeout: FOR_EVER,
        };
        let mut stopped = stop.clone();
        let ended = run.until(async move {
            // Its other end is gone only when the FIFO is.
            drop(stopped.wait_for(|stop| *stop).await);
        });
        let ended = ended.await;
        if *stop.borrow() {
            return;
        }
        match ended {
            Ok(outcome) => {
                tracing::warn!("{}, which reads FIFO {}, has ended: {outcome}", script.name(), path.display())
            }
            Err(error) => {
                tracing::error!("nothing reads FIFO {}: {:#}", path.display(), anyhow::Error::new(error))
            }
        }
        // Whether it is time or the end, both are seen above.
        drop(tokio::time::timeout(RESTART, stop.wait_for(|stop| *stop)).await);
        if *stop.borrow() {
            return;
        }
    }
}

//! One daemon for each instance.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use super::instance::Instance;

/// Held as long as the daemon lives; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A daemon has it.
    #[error(
        "instance \"{instance}\" is running already{}; use `lbctl reload` to change it, `lbctl down` to stop it, or \
         --instance NAME for another one",
        .pid.map_or(String::new(), |pid| format!(" (process {pid})"))
    )]
    Running {
        /// Which.
        instance: Instance,
        /// Its process, if the file says.
        pid: Option<u32>,
    },
    /// The file cannot be used.
    #[error("{0}: {1}")]
    Io(std::path::PathBuf, #[source] io::Error),
}

impl Lock {
    /// Takes the lock and writes this process's id into it.
    ///
    /// # Errors
    ///
    /// [`LockError::Running`] if a daemon holds it.
    pub fn take(instance: &Instance) -> Result<Self, LockError> {
        let path = instance.lock_file();
        let failed = |error| LockError::Io(path.clone(), error);
        fs::create_dir_all(instance.run_dir()).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(LockError::Running { instance: instance.clone(), pid: read_pid(&path) });
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }

    /// Does a daemon hold it?
    pub fn is_held(instance: &Instance) -> bool {
        let Ok(file) = File::open(instance.lock_file()) else { return false };
        matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
    }
}

fn read_pid(path: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

//! A command that runs in the lab while the test goes on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait_until;

/// A running command. Its output goes to a file; it is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(crate) fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// The process id. It is the command's own: what enters the namespace turns into the command.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output and standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.id())?);
        kill(pid, signal).with_context(|| format!("{signal} to process {pid}"))
    }

    /// Sends SIGKILL and waits for the end.
    ///
    /// # Errors
    /// The process could not be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// It did not end in time; the message has its output.
    pub fn wait(&mut self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let mut status = None;
        let has_ended = wait_until(timeout, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        status.filter(|_| has_ended).with_context(|| {
            format!("process {} did not end within {timeout:?}; it said:\n{}", self.id(), self.log())
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        self.kill().ok();
    }
}

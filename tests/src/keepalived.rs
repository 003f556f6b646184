//! A real keepalived as the other director, for VRRP alone.

use std::fs;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::Lab;
use crate::process::Process;
use crate::topology::Node;
use crate::wait_until;

/// A keepalived that runs in the foreground on a node. It is killed when this is dropped.
#[derive(Debug)]
pub struct Keepalived {
    process: Process,
    pid_files: [String; 2],
}

impl Keepalived {
    /// Starts keepalived with this configuration.
    ///
    /// # Errors
    /// It cannot be started; install keepalived.
    pub fn start(lab: &Lab, node: Node, config: &str) -> anyhow::Result<Self> {
        let path = lab.write(&format!("keepalived-{node}.conf"), config)?;
        let pid = |what: &str| format!("{}/keepalived-{node}-{what}.pid", lab.dir().display());
        let (main, vrrp) = (pid("main"), pid("vrrp"));
        // Not forked, log to standard output, details, VRRP alone.
        let words = ["keepalived", "-n", "-l", "-D", "-P", "-p", &main, "-r", &vrrp, "-f"];
        let path = path.display().to_string();
        let process = lab.spawn(node, words.into_iter().chain([path.as_str()]))?;
        Ok(Self { process, pid_files: [main, vrrp] })
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Ends both its processes by SIGKILL: it says nothing and cleans nothing up.
    ///
    /// # Errors
    /// They do not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let parent = self.process.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        // Stopped first: it would start another child, or its child would clean up.
        self.process.signal(Signal::SIGSTOP)?;
        for child in children.split_whitespace() {
            kill(Pid::from_raw(child.parse()?), Signal::SIGKILL).context("keepalived's child")?;
        }
        self.process.kill()?;
        // Its child is a zombie that nobody waits for in a sandbox; another keepalived would take it for alive.
        for file in &self.pid_files {
            fs::remove_file(file).with_context(|| file.clone())?;
        }
        Ok(())
    }

    /// Ends it as an operator does.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(Duration::from_secs(10)).map(drop)
    }

    /// Waits until it logs this.
    ///
    /// # Errors
    /// It does not; with its log.
    pub fn await_log(&self, text: &str, timeout: Duration) -> anyhow::Result<()> {
        if wait_until(timeout, || self.log().contains(text)) {
            return Ok(());
        }
        bail!("keepalived does not say {text:?}:\n{}", self.log())
    }
}

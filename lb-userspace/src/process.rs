//! Runs commands that the configuration names: checks, trackers, notifications.
//!
//! A command gets a process group of its own, a bounded time, the user it shall run as, and nothing on its standard
//! input. It is started on a thread that may block, so that a program on a hung file system delays nobody, and what
//! it prints is read for as long as it runs, so that it never waits for a reader. There is no shell: words are
//! words. Nothing here knows what a command is for.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User};
use serde::Serialize;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::Child;

use crate::turns::Turns;

#[cfg(test)]
mod tests;

/// How long a command that was asked to end (SIGTERM) may take before it is killed; keepalived's two seconds.
pub const GRACE: Duration = Duration::from_secs(2);

/// So many commands of the same program and user are started at once. Starting takes a millisecond, unless the file
/// system of the program or the service that knows the users is gone: then no more threads than these hang in it.
const STARTS: usize = 8;
static STARTING: LazyLock<Turns> = LazyLock::new(Turns::default);

/// So much of what a command prints is kept, in bytes.
const MAX_OUTPUT: usize = 4096;

/// A command as it is configured: program, arguments, and who runs it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Script {
    /// The program, which is looked for in `PATH` unless it has a slash, and its arguments; at least one word.
    pub words: Vec<String>,
    /// The user's name; `None`: the daemon's own.
    pub user: Option<String>,
}

/// Why a text is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// Nothing but blanks.
    #[error("is empty")]
    Empty,
    /// A quote or a backslash without what belongs to it.
    #[error("ends within quotes or after a backslash")]
    Unbalanced,
    /// A NUL, which no argument can have.
    #[error("has a NUL character")]
    Nul,
}

impl Script {
    /// Splits `text` into words as a POSIX shell does (blanks, `'…'`, `"…"`, backslash), but expands nothing.
    ///
    /// # Errors
    ///
    /// There is no word, a quote is not closed, or there is a NUL.
    pub fn parse(text: &str, user: Option<String>) -> Result<Self, ScriptError> {
        if text.contains('\0') {
            return Err(ScriptError::Nul);
        }
        let words = shlex::split(text).ok_or(ScriptError::Unbalanced)?;
        if words.first().is_none_or(String::is_empty) {
            return Err(ScriptError::Empty);
        }
        Ok(Self { words, user })
    }

    /// The program's name without its directory, for messages.
    pub fn name(&self) -> &str {
        let program = self.words.first().map_or("", String::as_str);
        program.rsplit('/').next().unwrap_or(program)
    }
}

/// One run of a command.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// What to run.
    pub script: &'a Script,
    /// Further arguments after the configured ones.
    pub arguments: Vec<String>,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
    /// After so long the whole process group is asked to end, and [`GRACE`] later killed.
    pub timeout: Duration,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit status.
    Exited(u8),
    /// By a signal, with its number.
    Killed(i32),
    /// It took longer than it may, and its process group was ended.
    TimedOut,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// From before it was started until it had ended, or until its time was over.
    pub took: Duration,
    /// The first 4 KiB of its standard output and standard error.
    pub output: String,
}

impl Outcome {
    /// Whether it ended as commands end that have done their work.
    pub fn is_success(&self) -> bool {
        self.ended == Ended::Exited(0)
    }
}

/// "exited with 1 in 12 ms: no such host", for logs.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.took.as_millis();
        match self.ended {
            Ended::Exited(code) => write!(f, "exited with {code} in {milliseconds} ms")?,
            Ended::Killed(signal) => match Signal::try_from(signal) {
                Ok(signal) => write!(f, "was killed by {signal} after {milliseconds} ms")?,
                Err(_unnamed) => write!(f, "was killed by signal {signal} after {milliseconds} ms")?,
            },
            Ended::TimedOut => write!(f, "was ended after {milliseconds} ms")?,
        }
        match self.output.lines().find(|line| !line.trim().is_empty()) {
            Some(line) => write!(f, ": {}", line.trim().escape_debug()),
            None => Ok(()),
        }
    }
}

/// Why a command was not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such user.
    #[error("user {0}: there is none of this name")]
    NoUser(String),
    /// The users cannot be read.
    #[error("user {name}: cannot be looked up")]
    User {
        /// Whose name.
        name: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The program cannot be started.
    #[error("{program}: cannot be started")]
    Start {
        /// What was to be started.
        program: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Its end cannot be waited for, or its output not be read.
    #[error("{program}: cannot be followed")]
    Follow {
        /// What was started.
        program: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Starting it takes longer than it may run.
    #[error("{program}: starting it takes more than {}", humantime::format_duration(*.after))]
    StartTimedOut {
        /// What was to be started.
        program: String,
        /// The time it had.
        after: Duration,
    },
}

impl Run<'_> {
    /// Runs the command to its end. When this is dropped before, the whole process group is killed.
    ///
    /// # Errors
    ///
    /// It cannot be started. (That it fails, is killed or takes too long is an [`Outcome`].)
    pub async fn to_end(self) -> Result<Outcome, RunError> {
        let begun = Instant::now();
        let timeout = self.timeout;
        self.end_when(begun, tokio::time::sleep_until((begun + timeout).into())).await
    }

    /// Runs the command until it ends or `stop` does; then it is as if its time was over. Its timeout does not count.
    ///
    /// # Errors
    ///
    /// As of [`to_end`](Self::to_end).
    pub async fn until(self, stop: impl Future<Output = ()>) -> Result<Outcome, RunError> {
        self.end_when(Instant::now(), stop).await
    }

    async fn end_when(self, begun: Instant, stop: impl Future<Output = ()>) -> Result<Outcome, RunError> {
        let program = self.script.words.first().cloned().unwrap_or_default();
        let mut stop = std::pin::pin!(stop);
        let started = tokio::select! {
            started = self.start() => started,
            () = &mut stop => return Err(RunError::StartTimedOut { program, after: begun.elapsed() }),
        };
        let (child, mut reader) = started?;
        let mut group = Group::of(child);
        let mut output = Vec::new();
        let status = tokio::select! {
            status = follow(&mut group, &mut reader, &mut output) => Some(status),
            () = stop => None,
        };
        let ended = match status {
            Some(status) => {
                let status = status.map_err(|source| RunError::Follow { program, source })?;
                group.has_ended();
                ended_by(status)
            }
            None => Ended::TimedOut,
        };
        let took = begun.elapsed();
        if ended == Ended::TimedOut {
            group.signal(Signal::SIGTERM);
            // Whether it has ended by then or not, what is left of its group is killed.
            let waited = tokio::time::timeout(GRACE, follow(&mut group, &mut reader, &mut output)).await;
            drop(waited);
            group.signal(Signal::SIGKILL);
            group.has_ended();
        }
        let output = String::from_utf8_lossy(&output).into_owned();
        Ok(Outcome { ended, took, output })
    }

    async fn start(&self) -> Result<(Child, pipe::Receiver), RunError> {
        let program = self.script.words.first().cloned().unwrap_or_default();
        let failed = |source| RunError::Start { program: program.clone(), source };
        let (reader, writer) = io::pipe().map_err(failed)?;
        let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(failed)?;
        let mut command = tokio::process::Command::new(&program);
        command.args(self.script.words.iter().skip(1)).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(failed)?).stderr(writer);
        command.process_group(0).current_dir("/");
        let user = self.script.user.clone();
        let turn = STARTING.take(&format!("{program} {user:?}"), STARTS).await;
        let start = tokio::task::spawn_blocking(move || {
            let _until_started = turn;
            if let Some(name) = user {
                let found = User::from_name(&name)
                    .map_err(|errno| RunError::User { name: name.clone(), source: errno.into() })?;
                let user = found.ok_or(RunError::NoUser(name))?;
                // Setting the user also drops the daemon's supplementary groups.
                command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
            }
            // The writer's own copies go with the command, so that the pipe ends with its last user.
            command.spawn().map(Group::of).map_err(|source| RunError::Start {
                program: command.as_std().get_program().to_string_lossy().into_owned(),
                source,
            })
        });
        match start.await {
            Ok(Ok(mut group)) => match group.child.take() {
                Some(child) => Ok((child, reader)),
                None => Err(failed(io::ErrorKind::Other.into())),
            },
            Ok(Err(error)) => Err(error),
            Err(gone) => Err(failed(io::Error::other(gone))),
        }
    }
}

/// A process group that is killed unless it is known to have ended.
#[derive(Debug)]
struct Group {
    child: Option<Child>,
    id: Option<Pid>,
}

impl Group {
    fn of(child: Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Self { child: Some(child), id }
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id {
            // A group that has ended needs no signal.
            killpg(id, signal).unwrap_or_default();
        }
    }

    fn has_ended(&mut self) {
        self.id = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// Waits for the end of the group's first process, and reads meanwhile.
async fn follow(
    group: &mut Group,
    reader: &mut pipe::Receiver,
    output: &mut Vec<u8>,
) -> io::Result<std::process::ExitStatus> {
    let Some(child) = &mut group.child else { return Err(io::ErrorKind::NotFound.into()) };
    let mut is_open = true;
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            biased;
            count = reader.read(&mut buffer), if is_open => {
                let count = count.unwrap_or(0);
                is_open = count > 0;
                keep(output, &buffer, count);
            }
            status = child.wait() => {
                // What it printed last is there already; what it left behind may keep the pipe open for ever.
                while let Some(Ok(count @ 1..)) = reader.read(&mut buffer).now_or_never() {
                    keep(output, &buffer, count);
                    if output.len() >= MAX_OUTPUT {
                        break;
                    }
                }
                return status;
            }
        }
    }
}

fn keep(output: &mut Vec<u8>, buffer: &[u8], count: usize) {
    let room = MAX_OUTPUT.saturating_sub(output.len());
    output.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
}

fn ended_by(status: std::process::ExitStatus) -> Ended {
    use std::os::unix::process::ExitStatusExt as _;

    match (status.code(), status.signal()) {
        // An exit status has eight bits.
        (Some(code), _) => Ended::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
        (None, signal) => Ended::Killed(signal.unwrap_or_default()),
    }
}

//! Probes: each asks one question of one real server, and says in an operator's words what it found.
//!
//! None takes longer than its check's timeout, and none shares anything with another that could make it wait. What
//! keeps a probe from being made on this side (no file descriptor, no memory, no port, no permission) is not held
//! against the real server.

mod dns;
mod file;
mod http;
mod ping;
mod script;
mod smtp;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod udp;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use nix::errno::Errno;
use regex::bytes::Regex;

pub(crate) use self::tls::read_authorities;
use super::check::Verdict;
use super::core::{Outcome, Target};
use crate::config::checks::ProbeKind;
use crate::turns::Turns;

/// How a probe ended.
pub type Found = Result<Passed, Problem>;

/// All is as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// What was found, such as "connected".
    pub text: String,
    /// What a file says, or the weight that a script asks for.
    pub number: Option<i64>,
}

impl Passed {
    /// Without a number.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), number: None }
    }
}

/// Something is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// With who was asked.
    Failed(String),
    /// With this host.
    Inconclusive(String),
}

impl Problem {
    /// With who was asked.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        let text = words(&error);
        if is_ours(&error) { Self::Inconclusive(text) } else { Self::Failed(text) }
    }
}

/// Errors that say something of this host, not of who was asked.
fn is_ours(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(
            Errno::EMFILE
                | Errno::ENFILE
                | Errno::ENOBUFS
                | Errno::ENOMEM
                | Errno::EADDRNOTAVAIL
                | Errno::EADDRINUSE
                | Errno::EPERM
                | Errno::EACCES
                | Errno::EAFNOSUPPORT
        )
    )
}

/// An error in words: lower case, without a number.
pub(crate) fn words(error: &io::Error) -> String {
    let errno = error.raw_os_error().map(Errno::from_raw);
    match errno {
        Some(Errno::ECONNREFUSED) => "connection refused".to_owned(),
        Some(Errno::ECONNRESET | Errno::EPIPE) => "connection reset".to_owned(),
        Some(Errno::EHOSTUNREACH) => "no route to host".to_owned(),
        Some(Errno::ENETUNREACH) => "network unreachable".to_owned(),
        Some(Errno::ETIMEDOUT) => "timed out".to_owned(),
        Some(errno) => errno.desc().to_lowercase(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "connection closed early".to_owned(),
        None => error.to_string(),
    }
}

/// Proves that the way a client's packets take to a real server works; see [`ProbeKind::Path`].
pub trait PathProbe: Send + Sync + fmt::Debug {
    /// Makes the probe. Dropped when its time is over.
    fn probe<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Found>;
}

/// What probes share; nothing of it is ever held while something is waited for.
#[derive(Debug, Default)]
pub struct Context {
    path: Option<Arc<dyn PathProbe>>,
    tls: tls::Configurations,
    regexes: Mutex<HashMap<String, Regex>>,
    /// Of files and programs that may hang.
    turns: Turns,
}

impl Context {
    /// With somebody who makes the probes of direct routing's path.
    pub fn new(path: Option<Arc<dyn PathProbe>>) -> Self {
        Self { path, ..Self::default() }
    }

    /// Forgets expressions and certificate authorities; those that are still used come back, as they are by then.
    pub fn clear(&self) {
        self.tls.clear();
        self.regexes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The compiled expression. Compiling takes much longer than matching.
    fn regex(&self, pattern: &str) -> Result<Regex, Problem> {
        let mut regexes = self.regexes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(regex) = regexes.get(pattern) {
            return Ok(regex.clone());
        }
        // The configuration's check has compiled it before.
        let regex = Regex::new(pattern).map_err(|error| Problem::Inconclusive(error.to_string()))?;
        regexes.insert(pattern.to_owned(), regex.clone());
        Ok(regex)
    }
}

/// Makes a probe, within its timeout.
pub async fn make(target: &Target, context: &Context) -> Outcome {
    let begun = Instant::now();
    let timeout = target.check.timing.timeout;
    let found = match tokio::time::timeout(bound(target), ask(target, context)).await {
        Ok(found) => found,
        Err(_elapsed) => Err(Problem::Failed(timed_out(timeout))),
    };
    let latency = begun.elapsed();
    let (verdict, text, number) = match found {
        Ok(passed) => (Verdict::Passed, passed.text, passed.number),
        Err(Problem::Failed(text)) => (Verdict::Failed, text, None),
        Err(Problem::Inconclusive(text)) => (Verdict::Inconclusive, format!("not checked: {text}"), None),
    };
    Outcome { verdict, text, latency, number }
}

/// "timed out after 3 s"
fn timed_out(after: Duration) -> String {
    format!("timed out after {}", shown(after))
}

/// "3 s", "1.5 s", "250 ms"
pub(crate) fn shown(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{} s", duration.as_millis() as f64 / 1000.0)
    }
}

/// When a probe is given up. That nothing comes is what some wait for themselves.
fn bound(target: &Target) -> Duration {
    let timeout = target.check.timing.timeout;
    let waits = matches!(
        target.check.probe.kind,
        ProbeKind::Udp { expect: None, .. } | ProbeKind::Script { .. } | ProbeKind::Path
    );
    if waits { timeout.saturating_add(Duration::from_millis(500)) } else { timeout }
}

async fn ask(target: &Target, context: &Context) -> Found {
    let probe = &target.check.probe;
    let timeout = target.check.timing.timeout;
    match &probe.kind {
        ProbeKind::Tcp => socket::tcp(probe).await,
        ProbeKind::Http(http) => http::ask(probe, http, context).await,
        ProbeKind::Smtp { helo } => smtp::ask(probe, helo).await,
        ProbeKind::Dns(dns) => dns::ask(probe, dns).await,
        ProbeKind::Udp { payload, expect } => udp::ask(probe, payload, expect.as_ref(), timeout).await,
        ProbeKind::Ping => ping::ask(probe).await,
        ProbeKind::Script { script, weight_by_exit } => {
            script::ask(target, script, *weight_by_exit, context).await
        }
        ProbeKind::File { path } => file::ask(path, target.check.weight, context).await,
        ProbeKind::Path => match &context.path {
            Some(path) => path.probe(target).await,
            None => Err(Problem::Inconclusive("nobody can make it".to_owned())),
        },
    }
}

//! Requests without end, to see whether any of them fails while something happens to the directors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use crate::http::Connection;
use crate::lab::Lab;
use crate::netns;
use crate::topology::Node;

/// A request that takes longer, from before the connection is opened to the last byte, has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How many failures are described in words.
const MAX_ERRORS: usize = 20;

/// What connections are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// One request each.
    New,
    /// All requests of one sender, until the server closes it or a request fails.
    KeepAlive,
}

/// What to send.
#[derive(Clone, Debug)]
#[must_use]
pub struct LoadPlan {
    /// Whom to ask.
    pub address: SocketAddr,
    /// What to ask for: `/`, `/big` (64 MiB) or `/slow` (the same at 1 MiB/s).
    pub path: &'static str,
    /// How many send at the same time.
    pub senders: usize,
    /// Whether each request gets its own connection.
    pub connections: Connections,
    /// How long a sender rests between two requests; bounds the load on a small machine.
    pub pause: Duration,
}

impl LoadPlan {
    /// Eight senders that ask for `/`, each at most 200 times a second, each request on a new connection.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            path: "/",
            senders: 8,
            connections: Connections::New,
            pause: Duration::from_millis(5),
        }
    }
}

/// What became of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Requests answered with status 200 and the whole body.
    pub ok: u64,
    /// All others.
    pub failed: u64,
    /// Who gave the good answers (the header `X-Server`).
    pub by_server: BTreeMap<String, u64>,
    /// The longest time a good answer took, connecting included.
    pub max_latency: Duration,
    /// The first twenty failures: when, counted from the start of the load, and why.
    pub errors: Vec<String>,
}

/// A load that is running. Stops when dropped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    senders: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    plan: LoadPlan,
    started: Instant,
    is_stopping: AtomicBool,
    report: Mutex<LoadReport>,
}

impl Load {
    /// Starts sending from `node`.
    ///
    /// # Errors
    /// The node's namespace cannot be entered.
    pub fn start(_lab: &Lab, node: Node, plan: LoadPlan) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            plan,
            started: Instant::now(),
            is_stopping: AtomicBool::new(false),
            report: Mutex::default(),
        });
        let mut load = Self { shared: Arc::clone(&shared), senders: Vec::new() };
        let (inside, entered) = mpsc::channel();
        for _ in 0..shared.plan.senders {
            let (shared, inside) = (Arc::clone(&shared), inside.clone());
            load.senders.push(thread::spawn(move || {
                let result = netns::enter_here(node.name());
                let is_inside = result.is_ok();
                if inside.send(result).is_ok() && is_inside {
                    shared.send();
                }
            }));
        }
        for _ in &load.senders {
            entered.recv().context("a sender ended at once")??;
        }
        Ok(load)
    }

    /// The report so far.
    #[must_use]
    pub fn so_far(&self) -> LoadReport {
        self.shared.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `count` more requests than now have been answered or failed; false if that takes too long. This is
    /// how a test lets load pass before and after what it does.
    #[must_use]
    pub fn pass(&self, count: u64, timeout: Duration) -> bool {
        let done = || {
            let report = self.shared.report.lock().unwrap_or_else(PoisonError::into_inner);
            report.ok + report.failed
        };
        let target = done() + count;
        crate::wait_until(timeout, || done() >= target)
    }

    /// Lets the requests under way end, within their five seconds, and returns what became of all.
    ///
    /// # Errors
    /// A sender panicked.
    pub fn stop(mut self) -> anyhow::Result<LoadReport> {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        for sender in self.senders.drain(..) {
            sender.join().map_err(|cause| anyhow!("a sender panicked: {cause:?}"))?;
        }
        Ok(self.so_far())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn send(&self) {
        let mut kept = None;
        while !self.is_stopping.load(Ordering::Relaxed) {
            let started = Instant::now();
            let result = self.request(&mut kept, started);
            self.record(started, result);
            thread::sleep(self.plan.pause);
        }
    }

    /// One request; returns who answered. `kept` is the connection to use, if any, and the one to use next.
    fn request(&self, kept: &mut Option<Connection>, started: Instant) -> Result<String, String> {
        let deadline = started + REQUEST_TIMEOUT;
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => {
                Connection::open(self.plan.address, deadline).map_err(|error| format!("connect: {error}"))?
            }
        };
        let is_last = self.plan.connections == Connections::New;
        let response =
            connection.get(self.plan.path, is_last, deadline).map_err(|error| error.to_string())?;
        if !response.is_last {
            *kept = Some(connection);
        }
        match response.status {
            200 => Ok(response.server),
            status => Err(format!("{}: status {status}", response.server)),
        }
    }

    fn record(&self, started: Instant, result: Result<String, String>) {
        let latency = started.elapsed();
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(server) => {
                report.ok += 1;
                *report.by_server.entry(server).or_default() += 1;
                report.max_latency = report.max_latency.max(latency);
            }
            Err(error) => {
                report.failed += 1;
                if report.errors.len() < MAX_ERRORS {
                    let at = started.duration_since(self.started);
                    report.errors.push(format!("at {at:.3?}, after {latency:.3?}: {error}"));
                }
            }
        }
    }
}

//! The thread that runs the checks: one [`Core`], and a task for each probe that is being made.
//!
//! It has a runtime of its own, so that neither thousands of checks hold up the director's loop, nor anything there
//! the checks. The loop below serves, in this order: what the director says, probes that ended, and the clock.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::check::Now;
use super::core::{Action, CheckId, Core, Event, Outcome, Tables};
use super::probe::{self, Context, PathProbe};
use super::report::{self, Report};
use super::view::View;
use crate::config::Config;
use crate::notify::{Event as Told, Notifier};

/// At most so many probes that ended are looked at before the director is listened to again.
const BATCH: usize = 256;
/// File descriptors that the rest of the daemon needs.
const MAX_FILES: u64 = 1 << 20;

#[derive(Debug)]
enum Command {
    Configure { config: Box<Config>, tables: Option<Tables>, done: oneshot::Sender<()> },
    Addresses(BTreeSet<IpAddr>),
    Report(oneshot::Sender<Report>),
    Stop(oneshot::Sender<Vec<Told>>),
}

/// The running checks. When it is dropped they end.
#[derive(Debug)]
pub struct Health {
    commands: mpsc::UnboundedSender<Command>,
    views: watch::Receiver<Arc<View>>,
    notifier: Notifier,
    thread: Option<JoinHandle<()>>,
}

impl Health {
    /// Starts without anything to check. Checks of type `path` are made by `path`.
    ///
    /// # Errors
    ///
    /// There is no thread or no runtime to be had.
    pub fn start(notifier: Notifier, path: Option<Arc<dyn PathProbe>>) -> io::Result<Self> {
        raise_file_limit();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (commands, incoming) = mpsc::unbounded_channel();
        let (publisher, views) = watch::channel(Arc::default());
        let told = notifier.clone();
        let thread = std::thread::Builder::new().name("health".to_owned()).spawn(move || {
            runtime.block_on(Shell::new(publisher, told, path).run(incoming));
            // A thread that hangs in a read of a file is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { commands, views, notifier, thread: Some(thread) })
    }

    /// Goes over to a configuration, and returns when [`Self::view`] is of it. `tables` are what an earlier daemon
    /// left; only at the start.
    pub async fn configure(&self, config: &Config, tables: Option<Tables>) {
        let (done, configured) = oneshot::channel();
        self.send(Command::Configure { config: Box::new(config.clone()), tables, done });
        if configured.await.is_err() {
            tracing::error!("health checks have ended; restart the director");
        }
    }

    /// Says which addresses this host has, for `ha_suspend`.
    pub fn addresses(&self, addresses: BTreeSet<IpAddr>) {
        self.send(Command::Addresses(addresses));
    }

    /// Where to wait for another [`Self::view`].
    pub fn news(&self) -> News {
        News(self.views.clone())
    }

    /// What is known now.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    /// Whether every check has run at least once.
    pub fn ready(&self) -> bool {
        self.views.borrow().is_ready
    }

    /// Has everything that is known sent to `answer`.
    pub fn report(&self, answer: oneshot::Sender<Report>) {
        self.send(Command::Report(answer));
    }

    /// Ends all checks, and tells what `omega` asks for.
    pub async fn stop(mut self) {
        let (answer, told) = oneshot::channel();
        self.send(Command::Stop(answer));
        for event in told.await.unwrap_or_default() {
            self.notifier.send(event);
        }
        if let Some(thread) = self.thread.take() {
            let ended = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::error!("health checks did not end well");
            }
        }
    }

    fn send(&self, command: Command) {
        if self.commands.send(command).is_err() {
            tracing::error!("health checks have ended; restart the director");
        }
    }
}

/// Waits for changes of health.
#[derive(Debug)]
pub struct News(watch::Receiver<Arc<View>>);

impl News {
    /// Waits for another view than the last time.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The thread has ended, which the log says; there is no more news.
            std::future::pending::<()>().await;
        }
    }
}

/// Hung real servers keep many connections half open.
fn raise_file_limit() {
    let result = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| match hard.min(MAX_FILES) {
        wanted if wanted > soft => setrlimit(Resource::RLIMIT_NOFILE, wanted, hard),
        _ => Ok(()),
    });
    if let Err(error) = result {
        tracing::warn!("the limit of open files cannot be raised: {error}");
    }
}

struct Ended {
    check: CheckId,
    probe: u32,
    outcome: Outcome,
}

struct Shell {
    core: Core,
    begun: Instant,
    context: Arc<Context>,
    running: HashMap<CheckId, AbortHandle>,
    ended: (mpsc::UnboundedSender<Ended>, mpsc::UnboundedReceiver<Ended>),
    publisher: watch::Sender<Arc<View>>,
    notifier: Notifier,
}

impl Shell {
    fn new(
        publisher: watch::Sender<Arc<View>>,
        notifier: Notifier,
        path: Option<Arc<dyn PathProbe>>,
    ) -> Self {
        Self {
            core: Core::new(u64::from(std::process::id()) ^ clock_seed()),
            begun: Instant::now(),
            context: Arc::new(Context::new(path)),
            running: HashMap::new(),
            ended: mpsc::unbounded_channel(),
            publisher,
            notifier,
        }
    }

    fn now(&self) -> Now {
        self.begun.elapsed()
    }

    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            let deadline = self.core.deadline().map(|due| self.begun + due);
            let alarm = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Stop(answer)) => {
                        // Who asked may be gone.
                        drop(answer.send(self.core.farewell()));
                        return;
                    }
                    Some(command) => self.serve(command),
                    None => return,
                },
                Some(ended) = self.ended.1.recv() => {
                    self.finish(ended);
                    for _ in 1..BATCH {
                        let Ok(ended) = self.ended.1.try_recv() else { break };
                        self.finish(ended);
                    }
                }
                () = alarm => {
                    let actions = self.core.step(Event::Tick, self.now());
                    self.perform(actions);
                }
            }
        }
    }

    fn serve(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Configure { config, tables, done } => {
                self.context.clear();
                let event = Event::Configure { config: &config, tables: tables.as_ref() };
                let actions = self.core.step(event, now);
                self.perform(actions);
                // Even if changes are being gathered.
                self.publish(Arc::new(self.core.view()));
                done.send(()).unwrap_or_default();
            }
            Command::Addresses(addresses) => {
                let actions = self.core.step(Event::Addresses(&addresses), now);
                self.perform(actions);
            }
            Command::Report(answer) => drop(answer.send(report::of(&self.core, now))),
            Command::Stop(answer) => drop(answer.send(Vec::new())),
        }
    }

    fn finish(&mut self, ended: Ended) {
        let Ended { check, probe, outcome } = ended;
        let actions = self.core.step(Event::Finished { check, probe, outcome }, self.now());
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Probe { check, probe, target } => {
                    let (context, ended) = (Arc::clone(&self.context), self.ended.0.clone());
                    let task = tokio::spawn(async move {
                        let outcome = probe::make(&target, &context).await;
                        // Whoever asked may have ended.
                        drop(ended.send(Ended { check, probe, outcome }));
                    });
                    self.running.insert(check, task.abort_handle());
                }
                Action::Cancel { check } => {
                    if let Some(task) = self.running.remove(&check) {
                        task.abort();
                    }
                }
                Action::Publish(view) => self.publish(view),
                Action::Tell(event) => {
                    log(&event);
                    self.notifier.send(event);
                }
            }
        }
    }

    fn publish(&self, view: Arc<View>) {
        self.publisher.send_if_modified(|current| {
            let differs = *current != view;
            *current = view;
            differs
        });
    }
}

fn log(event: &Told) {
    match event {
        Told::RealServer(event) if event.up => {
            tracing::info!(
                "virtual server {}: real server {} is up: {}",
                event.virtual_server,
                event.real_server,
                event.reason
            );
        }
        Told::RealServer(event) => {
            tracing::warn!(
                "virtual server {}: real server {} is down: {}",
                event.virtual_server,
                event.real_server,
                event.reason
            );
        }
        Told::VirtualServer(event) if event.initial => {}
        Told::VirtualServer(event) if event.up => {
            tracing::info!(
                "virtual server {} has its quorum again: weight {} of {}",
                event.virtual_server,
                event.weight,
                event.quorum
            );
        }
        Told::VirtualServer(event) => {
            tracing::error!(
                "virtual server {} has lost its quorum: weight {} of {}",
                event.virtual_server,
                event.weight,
                event.quorum
            );
        }
        Told::Vrrp(_) => {}
    }
}

/// Differs from start to start.
fn clock_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::from(since.subsec_nanos()) << 32 | (since.as_secs() & 0xffff_ffff)
}

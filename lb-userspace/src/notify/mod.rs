//! Tells people and programs what happens: scripts, FIFOs and mail, as keepalived does.
//!
//! [`Event`]s go into a queue and never wait ([`Notifier::send`]). A task takes them out: it writes lines to FIFOs,
//! which takes no time, runs scripts, of one object one after the other ([`lanes`]), and hands letters to the task
//! that sends mail ([`mail`]). Nothing of this can hold up the daemon, and every queue is bounded.

mod event;
mod fifo;
mod lanes;
mod mail;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

pub use event::{Event, QuorumEvent, RealServerEvent, VrrpChange, VrrpEvent, VrrpObject, VrrpScripts};

use self::event::Job;
use self::fifo::Fifo;
use self::lanes::Lanes;
use self::mail::{Mailer, Sender};
use crate::config::Config;
use crate::config::notifications::Notifications;
use crate::process::{Run, Script};

/// Events that wait for the task; more are lost, and counted. Ten thousand real servers may go down at once.
const QUEUE: usize = 32_768;
/// The account that keepalived's scripts run as, where there is one.
const SCRIPT_USER: &str = "keepalived_script";

/// Where events are sent to; cheap to clone.
#[derive(Clone, Debug)]
pub struct Notifier {
    events: mpsc::Sender<Event>,
    lost: Arc<AtomicU64>,
}

impl Notifier {
    /// Sends an event. Never waits; if too many wait already, it is lost, and that is logged.
    pub fn send(&self, event: Event) {
        if let Err(error) = self.events.try_send(event) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            let (mpsc::error::TrySendError::Full(event) | mpsc::error::TrySendError::Closed(event)) = error;
            tracing::error!("notification lost, too many wait: {}", event.line());
        }
    }

    /// How many were lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// One that nobody listens to, for tests.
    #[cfg(test)]
    pub fn deaf() -> Self {
        Self { events: mpsc::channel(1).0, lost: Arc::default() }
    }

    /// One whose events can be looked at, for tests.
    #[cfg(test)]
    pub fn observed() -> (Self, mpsc::Receiver<Event>) {
        let (events, receiver) = mpsc::channel(QUEUE);
        (Self { events, lost: Arc::default() }, receiver)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    router_id: String,
    notifications: Notifications,
}

impl Settings {
    fn of(config: &Config) -> Self {
        Self { router_id: config.director.router_id.clone(), notifications: config.notifications.clone() }
    }

    fn sender(&self) -> Option<Sender> {
        let settings = self.notifications.mail.clone()?;
        Some(Sender { router_id: self.router_id.clone(), settings })
    }
}

/// The running task; [`close`](Self::close) it so that what was sent last is told, too.
#[derive(Debug)]
pub struct Service {
    notifier: Notifier,
    settings: watch::Sender<Settings>,
    end: watch::Sender<Option<Duration>>,
    task: JoinHandle<()>,
}

impl Service {
    /// Starts telling. What cannot be had (a FIFO, an account) is logged, and the rest works.
    pub fn start(config: &Config) -> Self {
        let (events, incoming) = mpsc::channel(QUEUE);
        let (settings, changes) = watch::channel(Settings::of(config));
        let (end, ended) = watch::channel(None);
        let task = tokio::spawn(run(incoming, changes, ended));
        Self { notifier: Notifier { events, lost: Arc::default() }, settings, end, task }
    }

    /// Where to send events to.
    pub fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// Goes over to a changed configuration.
    pub fn reconfigure(&self, config: &Config) {
        let new = Settings::of(config);
        self.settings.send_if_modified(|settings| {
            let is_new = *settings != new;
            *settings = new;
            is_new
        });
    }

    /// Tells what was sent so far, for as long as `patience`, and ends.
    pub async fn close(self, patience: Duration) {
        self.end.send_replace(Some(patience));
        if let Err(error) = self.task.await {
            tracing::error!("notifications: {error}");
        }
    }
}

async fn run(
    mut events: mpsc::Receiver<Event>,
    mut changes: watch::Receiver<Settings>,
    mut end: watch::Receiver<Option<Duration>>,
) {
    let settings = changes.borrow_and_update().clone();
    let mut worker = Worker::start(settings).await;
    let patience = loop {
        tokio::select! {
            biased;
            Ok(()) = changes.changed() => {
                let settings = changes.borrow_and_update().clone();
                worker.reconfigure(settings).await;
            }
            Some(ended) = worker.scripts.join_next() => worker.script_ended(ended),
            Some(event) = events.recv() => worker.tell(&event),
            // The owner ends it, or is gone without a word.
            patience = told_to_end(&mut end) => break patience,
        }
    };
    events.close();
    while let Some(event) = events.recv().await {
        worker.tell(&event);
    }
    worker.close(patience).await;
}

/// How long the end may take.
async fn told_to_end(end: &mut watch::Receiver<Option<Duration>>) -> Duration {
    match end.wait_for(Option::is_some).await {
        Ok(patience) => patience.unwrap_or_default(),
        Err(_owner_is_gone) => Duration::ZERO,
    }
}

struct Worker {
    settings: Settings,
    script_user: Option<String>,
    /// Everything, VRRP, balancing.
    fifos: [Option<Fifo>; 3],
    lanes: Lanes<Job>,
    scripts: JoinSet<String>,
    mailer: Mailer,
}

impl Worker {
    async fn start(settings: Settings) -> Self {
        let mut worker = Self {
            mailer: Mailer::start(settings.sender()),
            settings,
            script_user: None,
            fifos: [None, None, None],
            lanes: Lanes::new(),
            scripts: JoinSet::new(),
        };
        worker.apply().await;
        worker
    }

    async fn reconfigure(&mut self, settings: Settings) {
        self.settings = settings;
        self.mailer.reconfigure(self.settings.sender());
        self.apply().await;
    }

    async fn apply(&mut self) {
        let notifications = &self.settings.notifications;
        self.script_user = match &notifications.script_user {
            Some(user) => Some(user.clone()),
            None => default_user().await,
        };
        let user = self.script_user.as_deref();
        let wanted = [&notifications.fifo, &notifications.vrrp_fifo, &notifications.lvs_fifo];
        for (fifo, wanted) in self.fifos.iter_mut().zip(wanted) {
            if let Some(old) = fifo.take_if(|fifo| !fifo.is(wanted, user)) {
                old.close().await;
            }
        }
        for (fifo, wanted) in self.fifos.iter_mut().zip(wanted) {
            if fifo.is_none() {
                match Fifo::open(wanted, user) {
                    Ok(new) => *fifo = new,
                    Err(error) => {
                        let path = wanted.path.as_deref().unwrap_or(std::path::Path::new(""));
                        tracing::error!("FIFO {}: {error}", path.display());
                    }
                }
            }
        }
    }

    fn tell(&mut self, event: &Event) {
        let line = event.line();
        let [all, vrrp, lvs] = &mut self.fifos;
        let own = if event.is_vrrp() { vrrp } else { lvs };
        for fifo in [all, own].into_iter().flatten() {
            fifo.write(&line);
        }
        if let Some(letter) = event.letter() {
            self.mailer.push(letter);
        }
        let object = event.object();
        for job in event.jobs() {
            if let Some(job) = self.lanes.push(&object, job) {
                tracing::error!(
                    "{object}: script {} not run: too many wait for the one before",
                    job.script.name()
                );
            }
        }
        self.run_scripts();
    }

    fn run_scripts(&mut self) {
        while let Some((object, Job { script, arguments, environment })) = self.lanes.next() {
            let user = script.user.clone().or_else(|| self.script_user.clone());
            let script = Script { user, ..script };
            let timeout = self.settings.notifications.script_timeout;
            self.scripts.spawn(async move {
                let run = Run { script: &script, arguments, environment, timeout };
                match run.to_end().await {
                    Ok(outcome) if outcome.is_success() => {
                        tracing::debug!("{object}: script {} {outcome}", script.name());
                    }
                    Ok(outcome) => tracing::warn!("{object}: script {} {outcome}", script.name()),
                    Err(error) => tracing::error!("{object}: {:#}", anyhow::Error::new(error)),
                }
                object
            });
        }
    }

    fn script_ended(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(object) => self.lanes.done(&object),
            // Its lane stays closed, but no script ends so.
            Err(error) => tracing::error!("a script's task failed: {error}"),
        }
        self.run_scripts();
    }

    async fn close(mut self, patience: Duration) {
        let until = tokio::time::Instant::now() + patience;
        let rest = async {
            while let Some(ended) = self.scripts.join_next().await {
                self.script_ended(ended);
            }
        };
        if tokio::time::timeout_at(until, rest).await.is_err() {
            let (running, waiting) = (self.scripts.len(), self.lanes.waiting());
            tracing::warn!(running, waiting, "ending: scripts that have not ended are killed");
            self.scripts.shutdown().await;
        }
        for fifo in self.fifos.into_iter().flatten() {
            fifo.close().await;
        }
        self.mailer.close(until.saturating_duration_since(tokio::time::Instant::now())).await;
    }
}

/// Looks the account up, which may ask a server.
async fn default_user() -> Option<String> {
    let found = tokio::task::spawn_blocking(|| nix::unistd::User::from_name(SCRIPT_USER).ok().flatten());
    found.await.ok().flatten().map(|user| user.name)
}

//! Mail: a task of its own that sends one after the other, so that a slow server delays nobody else.

mod queue;
mod smtp;

use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};

use self::queue::{Next, Queue};
use super::event::Letter;
use crate::config::notifications::Mail as Settings;

/// Letters on their way to the task; more are lost, and counted.
const CHANNEL: usize = 1024;

/// How mail is sent, and in whose name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) router_id: String,
    pub(super) settings: Settings,
}

/// The running task.
#[derive(Debug)]
pub(super) struct Mailer {
    letters: mpsc::Sender<Letter>,
    sender: watch::Sender<Option<Sender>>,
    task: tokio::task::JoinHandle<()>,
}

impl Mailer {
    pub(super) fn start(sender: Option<Sender>) -> Self {
        let (letters, incoming) = mpsc::channel(CHANNEL);
        let (sender, changes) = watch::channel(sender);
        Self { letters, sender, task: tokio::spawn(run(incoming, changes)) }
    }

    pub(super) fn reconfigure(&self, sender: Option<Sender>) {
        self.sender.send_if_modified(|old| {
            let is_new = *old != sender;
            *old = sender;
            is_new
        });
    }

    pub(super) fn push(&self, letter: Letter) {
        if self.sender.borrow().is_none() {
            return;
        }
        if let Err(error) = self.letters.try_send(letter) {
            tracing::error!("mail \"{}\" lost: too many wait", error.into_inner().subject);
        }
    }

    /// Sends what waits, as far as it can be sent at once and within `patience`.
    pub(super) async fn close(self, patience: Duration) {
        let Self { letters, sender, mut task } = self;
        drop(letters);
        if tokio::time::timeout(patience, &mut task).await.is_err() {
            tracing::warn!("ending: mail that could not be sent is lost");
            task.abort();
        }
        drop(sender);
    }
}

async fn run(mut letters: mpsc::Receiver<Letter>, mut changes: watch::Receiver<Option<Sender>>) {
    let origin = Instant::now();
    let started = SystemTime::now();
    let mut sender = changes.borrow_and_update().clone();
    let mut queue = sender.as_ref().map(|sender| Queue::new(sender.settings.rate_limit));
    loop {
        let next = queue.as_mut().map_or(Next::Idle, |queue| queue.next(origin.elapsed()));
        if let (Next::Send(mail), Some(queue), Some(sender)) = (&next, &mut queue, &sender) {
            let subject = &mail.letter.subject;
            match smtp::send(sender, mail, started + mail.at).await {
                Ok(()) => {
                    tracing::info!("mail \"{subject}\" sent");
                    queue.sent();
                }
                Err(error) if error.is_final() => {
                    tracing::error!("mail \"{subject}\" refused: {error}");
                    queue.refused(&sender.settings.to);
                }
                Err(error) => {
                    queue.failed(origin.elapsed());
                    let (waiting, left_out) = queue.waiting();
                    tracing::warn!(waiting, left_out, "mail \"{subject}\" is tried again later: {error}");
                }
            }
        }
        let wake = match next {
            Next::Send(_) => Some(Duration::ZERO),
            Next::At(then) => Some(then.saturating_sub(origin.elapsed())),
            Next::Idle => None,
        };
        let sleep = async {
            match wake {
                Some(wake) => tokio::time::sleep(wake).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            letter = letters.recv() => match (letter, &mut queue) {
                (Some(letter), Some(queue)) => queue.push(letter, origin.elapsed()),
                (Some(_), None) => {}
                (None, _) => break,
            },
            Ok(()) = changes.changed() => {
                sender = changes.borrow_and_update().clone();
                match (&mut queue, &sender) {
                    (Some(queue), Some(sender)) => queue.reconfigure(sender.settings.rate_limit),
                    (queue, sender) => {
                        *queue = sender.as_ref().map(|sender| Queue::new(sender.settings.rate_limit));
                    }
                }
            }
            () = sleep => {}
        }
    }
    if let (Some(mut queue), Some(sender)) = (queue, sender) {
        flush(&mut queue, &sender, started, origin).await;
    }
}

/// The last mails: each is tried once, and the first that fails is the last.
async fn flush(queue: &mut Queue, sender: &Sender, started: SystemTime, origin: Instant) {
    queue.reconfigure(sender.settings.rate_limit);
    // What was left out is told now or never.
    queue.summarize(origin.elapsed() + sender.settings.rate_limit.period);
    while let Next::Send(mail) = queue.next(origin.elapsed()) {
        match smtp::send(sender, &mail, started + mail.at.min(origin.elapsed())).await {
            Ok(()) => queue.sent(),
            Err(error) if error.is_final() => queue.refused(&sender.settings.to),
            Err(error) => {
                let (waiting, left_out) = queue.waiting();
                tracing::error!(waiting, left_out, "ending: mail is lost: {error}");
                return;
            }
        }
    }
}

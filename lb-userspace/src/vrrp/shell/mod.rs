//! VRRP as a director runs it: sockets, clocks and addresses around the state machines.
//!
//! Two threads of their own, so that nothing else the daemon does delays an advert:
//!
//! ```text
//!   daemon's loop ──messages──► protocol (runner) ──tasks──► addresses (holder) ──► kernel
//!        ▲    ▲                  │    │   ▲                    │        ▲
//!        │    └──which addresses─┘    │   └────interfaces──────┘        │
//!        └────────news────────────────┘                        tables are ready
//! ```
//!
//! On becoming master the protocol's thread says which addresses are carried, the daemon changes the tables, and only
//! then the addresses are added and announced. Start reading at [`Handle::start`] and `runner`.

mod compare;
pub(crate) mod filter;
mod holder;
mod member;
mod observe;
mod overheard;
mod realtime;
pub(crate) mod record;
mod runner;
mod settings;
pub(crate) mod settle;
mod sockets;
pub(crate) mod track;
pub(crate) mod undo;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::LocalSet;

use self::compare::{Comparison, Intent, Ways};
use self::holder::Interfaces;
use self::observe::Observers;
use self::runner::{Outlets, Runner};
use self::track::Observation;
use super::machine::{Event, State};
use super::status::VrrpStatus;
use crate::config::Config;
use crate::config::vrrp::{SyncGroup, Vrrp, VrrpInstance};

/// Of adverts over addresses, and of both over everything ordinary.
const PROTOCOL_PRECEDENCE: i32 = 20;
const ADDRESSES_PRECEDENCE: i32 = 10;
/// How long the end may take after nobody has to be waited for any more.
const END: Duration = Duration::from_secs(8);
/// Intents that wait to be sent; more are forgotten.
const INTENTS: usize = 64;

/// What the protocol's thread is told.
#[derive(Debug)]
enum Message {
    Interfaces(Interfaces),
    Tracked(Observation),
    Ready(bool),
    /// An instance's addresses are gone.
    Released(String),
    /// An address, route or rule of this instance was removed by somebody else, and is there again.
    PutBack(String),
    Configure(Box<Vrrp>, oneshot::Sender<()>),
    Order {
        name: String,
        event: Event,
        answer: oneshot::Sender<Result<String, String>>,
    },
    Status(oneshot::Sender<VrrpStatus>),
    /// Another director will be master of a virtual router of this interface.
    Intended {
        interface: String,
        intent: Intent,
    },
    Stop(oneshot::Sender<()>),
}

/// Which virtual addresses are on this director.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// Grows with each change.
    pub generation: u64,
    /// Those that are here, or are about to be.
    pub here: BTreeSet<IpAddr>,
    /// All that instances have, here or elsewhere.
    pub all: BTreeSet<IpAddr>,
    /// Whether some of them will soon be another director's, because this one hands them over.
    pub hands_over: bool,
}

/// Something that others want to know of.
#[derive(Debug, Clone)]
pub enum News {
    /// An instance has changed its state.
    Instance {
        /// Which.
        instance: Arc<VrrpInstance>,
        /// The new state.
        to: State,
        /// The priority in effect.
        priority: u8,
    },
    /// A sync group has changed its state.
    Group {
        /// Which.
        group: Arc<SyncGroup>,
        /// The new state.
        to: State,
    },
    /// The protocol's thread has ended, which it does not by itself.
    Ended,
    /// Another director of one of the instances was heard for the first time: this address sends good adverts.
    Peer(IpAddr),
    /// A master has heard another one of lower priority.
    LowerPriority {
        /// Which.
        instance: Arc<VrrpInstance>,
        /// Its priority.
        priority: u8,
    },
}

/// The daemon's end of VRRP.
#[derive(Debug)]
pub struct Handle {
    messages: mpsc::UnboundedSender<Message>,
    carried: watch::Receiver<Carried>,
    tables: watch::Sender<u64>,
    news: mpsc::UnboundedReceiver<News>,
    observers: Observers,
    comparison: Comparison,
    ways: Ways,
}

/// The protocol's thread has ended, which it does not by itself.
#[derive(Debug, thiserror::Error)]
#[error("the VRRP thread has ended; see the log")]
pub struct Ended;

impl Handle {
    /// Starts both threads, in the caller's network namespace, and on the current runtime what looks after tracked things.
    /// `record` is the file of what was put on the host. The calling thread, whose tables the addresses wait for, is
    /// favoured from now on.
    ///
    /// # Errors
    /// A thread or its runtime cannot be made.
    pub fn start(whole: &Config, record: PathBuf) -> io::Result<Self> {
        let config = &whole.vrrp;
        let (messages, inbox) = mpsc::unbounded_channel();
        let (tasks, task_inbox) = mpsc::unbounded_channel();
        let (news, news_inbox) = mpsc::unbounded_channel();
        let (carried, carried_here) = watch::channel(Carried::default());
        let (tables, tables_there) = watch::channel(0);
        let to_protocol = messages.clone();
        spawn("addresses", ADDRESSES_PRECEDENCE, move |_has_precedence| async move {
            if let Err(error) = holder::run(task_inbox, to_protocol, tables_there, record).await {
                tracing::error!("virtual addresses are not kept: {error:#}");
            }
        })?;
        // The threads have said by now if it may not be.
        if let Err(error) = realtime::favour() {
            tracing::debug!("the tables' thread is not favoured: {error}");
        }
        let observers = Observers::start(config, &Observer(messages.clone()));
        let config = config.clone();
        let ways = Ways { intents: broadcast::channel(INTENTS).0, messages: messages.clone() };
        let outlets = Outlets { holder: tasks, carried, news, intents: ways.intents.clone() };
        spawn("vrrp", PROTOCOL_PRECEDENCE, move |has_precedence| async move {
            Runner::new(&config, outlets, has_precedence).run(inbox).await;
        })?;
        Ok(Self {
            messages,
            carried: carried_here,
            tables,
            news: news_inbox,
            observers,
            comparison: Comparison::start(whole, &ways),
            ways,
        })
    }

    fn tell(&self, message: Message) -> Result<(), Ended> {
        self.messages.send(message).map_err(|_gone| Ended)
    }

    /// Whether this director could serve: tables applied, checks run, neighbours resolved.
    pub fn set_ready(&self, is_ready: bool) {
        // Its end is reported where something is asked of it.
        drop(self.tell(Message::Ready(is_ready)));
    }

    /// Whom to tell what is found out about tracked things.
    pub(crate) fn observer(&self) -> Observer {
        Observer(self.messages.clone())
    }

    /// Returns when other addresses are carried than when this was called last, or something is news.
    pub async fn changed(&mut self) -> Option<News> {
        let Self { carried, news, .. } = self;
        tokio::select! {
            biased;
            changed = carried.changed() => match changed {
                Ok(()) => None,
                // Its sender is the protocol's thread.
                Err(_ended) => Some(News::Ended),
            },
            Some(news) = news.recv() => Some(news),
        }
    }

    /// The news that have not been taken yet.
    pub fn remaining_news(&mut self) -> Vec<News> {
        std::iter::from_fn(|| self.news.try_recv().ok()).collect()
    }

    /// Which addresses are carried now.
    pub fn carried(&mut self) -> Carried {
        self.carried.borrow_and_update().clone()
    }

    /// The tables are those of this generation: its addresses may be added.
    pub fn tables_are(&self, generation: u64) {
        self.tables.send_replace(generation);
    }

    /// Goes over to another configuration.
    ///
    /// # Errors
    /// The thread is gone.
    pub async fn configure(&mut self, whole: &Config) -> Result<(), Ended> {
        let config = &whole.vrrp;
        let (done, is_done) = oneshot::channel();
        self.tell(Message::Configure(Box::new(config.clone()), done))?;
        is_done.await.map_err(|_gone| Ended)?;
        let observer = self.observer();
        self.observers.configure(config, &observer);
        self.comparison = Comparison::start(whole, &self.ways);
        Ok(())
    }

    /// How it is.
    ///
    /// # Errors
    /// The thread is gone.
    pub async fn status(&self) -> Result<VrrpStatus, Ended> {
        let (answer, status) = oneshot::channel();
        self.tell(Message::Status(answer))?;
        let status = status.await.map_err(|_gone| Ended)?;
        Ok(VrrpStatus { peers: self.comparison.status(), ..status })
    }

    /// Hands an instance or a group over, or takes it. Returns what happens now, or why it does not; a take returns when
    /// it is done, which is announced to the master first.
    pub fn order(
        &self,
        name: &str,
        takes: bool,
    ) -> impl Future<Output = Result<String, String>> + Send + use<> {
        let (answer, said) = oneshot::channel();
        let event = if takes { Event::Take } else { Event::Release };
        let order = Message::Order { name: name.to_owned(), event, answer };
        let told = self.tell(order);
        async move {
            told.map_err(|ended| ended.to_string())?;
            said.await.map_err(|_gone| Ended.to_string())?
        }
    }

    /// Hands everything over, waits until somebody has it or nobody comes, and removes the addresses.
    pub async fn stop(&mut self) {
        let (done, stopped) = oneshot::channel();
        if self.tell(Message::Stop(done)).is_ok() && tokio::time::timeout(END, stopped).await.is_err() {
            tracing::error!("vrrp: the end takes longer than {END:?}; the addresses may be left");
        }
    }
}

/// Tells the protocol's thread what was found out.
#[derive(Debug, Clone)]
pub(crate) struct Observer(mpsc::UnboundedSender<Message>);

impl Observer {
    /// Returns whether there is still somebody to be told.
    pub(crate) fn tell(&self, observation: Observation) -> bool {
        self.0.send(Message::Tracked(observation)).is_ok()
    }
}

/// Runs a task on a thread of its own, which has precedence if the system lets it.
fn spawn<F: Future<Output = ()>>(
    name: &str,
    precedence: i32,
    task: impl FnOnce(bool) -> F + Send + 'static,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let has_precedence = match realtime::prefer(precedence) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(
                    "thread {} has no precedence over others: {error}",
                    thread::current().name().unwrap_or("")
                );
                false
            }
        };
        LocalSet::new().block_on(&runtime, task(has_precedence));
    })?;
    Ok(())
}

/// Where an instance's record of what VRRP put on the host is.
pub(crate) fn record_file(run_dir: &Path) -> PathBuf {
    run_dir.join("vrrp.json")
}

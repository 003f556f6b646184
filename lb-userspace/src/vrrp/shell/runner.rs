//! The protocol's thread: what arrives first, then what is due, then everything else.
//!
//! Nothing here waits for anything: adverts go out of non-blocking sockets, and whatever may take its time (addresses,
//! scripts, tables) is asked of others.

mod act;
mod configure;
mod hear;
mod orders;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::select_all;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::compare::Intent;
use super::holder::{Interfaces, Task};
use super::member::{Member, ms};
use super::overheard::Overheard;
use super::settings;
use super::sockets::Sockets;
use super::track::Tracking;
use super::{Carried, Message, News};
use crate::config::vrrp::{SyncGroup, VirtualAddress, Vrrp};
use crate::net::frames::Frames;
use crate::vrrp::machine::{Event, State};
use crate::vrrp::packet::Check;
use crate::vrrp::status::{GroupStatus, VrrpStatus};
use crate::vrrp::sync::{GroupId, InstanceId, Routers};

/// How long packets are served after another director was heard at the end: its adverts come before its announcement.
const ANNOUNCEMENT: Duration = Duration::from_millis(200);
/// How long before priority 0 newcomers are placed as the next director will place their packets: the requests that are
/// under way then have mostly ended.
const AGREEMENT: Duration = Duration::from_millis(500);
/// How much later than it said another director may become master.
const LATE: Duration = Duration::from_secs(1);
/// Who intends to be master later than this is not believed.
const SOON: Duration = Duration::from_secs(10);
/// How long an end waits for another director to take over, at most.
const HANDOVER: Duration = Duration::from_secs(3);

pub(super) struct Runner {
    origin: Instant,
    routers: Routers,
    members: Vec<Member>,
    groups: Vec<SyncGroup>,
    sockets: Vec<Sockets>,
    overheard: Vec<Overheard>,
    /// For adverts whose source is a virtual MAC.
    frames: Option<Frames>,
    interfaces: Interfaces,
    tracking: Tracking,
    is_ready: bool,
    /// From when on instances take part.
    starts_at: Instant,
    /// Whether the interfaces have been looked at.
    has_interfaces: bool,
    outlets: Outlets,
    has_precedence: bool,
    delays: u64,
    longest_delay: Duration,
    /// By interface and reason.
    refused: BTreeMap<String, BTreeMap<&'static str, u64>>,
    refused_told: BTreeSet<(String, IpAddr, Check)>,
    /// Masters that will say priority 0 by order, and when.
    releases: Vec<(Instant, InstanceId)>,
    /// Instances that will be taken by order.
    takes: Vec<Taking>,
    /// Until when other directors will be masters in the place of this one.
    successors: Vec<(Instant, InstanceId)>,
    ending: Option<Ending>,
}

/// Whom the protocol's thread tells what.
pub(super) struct Outlets {
    pub(super) holder: mpsc::UnboundedSender<Task>,
    pub(super) carried: watch::Sender<Carried>,
    pub(super) news: mpsc::UnboundedSender<News>,
    pub(super) intents: broadcast::Sender<Intent>,
}

/// An order to take an instance, announced to its master.
struct Taking {
    at: Instant,
    id: InstanceId,
    name: String,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<String, String>>;

/// The end, asked for.
struct Ending {
    done: oneshot::Sender<()>,
    /// The addresses are left as they are until then, if nobody takes them.
    until: Instant,
    /// Whether there was something to hand over, and nobody has taken it yet.
    waits: bool,
}

impl Runner {
    pub(super) fn new(config: &Vrrp, outlets: Outlets, has_precedence: bool) -> Self {
        let origin = Instant::now();
        let mut runner = Self {
            origin,
            routers: Routers::new(),
            members: Vec::new(),
            groups: Vec::new(),
            sockets: Vec::new(),
            overheard: Vec::new(),
            frames: None,
            interfaces: Interfaces::new(),
            tracking: Tracking::default(),
            is_ready: false,
            starts_at: origin + config.startup_delay,
            has_interfaces: false,
            outlets,
            has_precedence,
            delays: 0,
            longest_delay: Duration::ZERO,
            refused: BTreeMap::new(),
            refused_told: BTreeSet::new(),
            releases: Vec::new(),
            takes: Vec::new(),
            successors: Vec::new(),
            ending: None,
        };
        runner.configure(config);
        runner
    }

    /// Runs until [`Message::Stop`] has been carried out, or nobody is left to send messages.
    pub(super) async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        loop {
            self.read_sockets();
            self.let_time_pass();
            if self.has_ended() {
                return self.end().await;
            }
            let due = self.next_wake();
            tokio::select! {
                biased;
                // Before the sockets, which have just been read: a flood of packets must not keep orders out.
                message = messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                () = readable(&self.sockets, &self.overheard) => {}
                () = sleep_until(due) => self.note_delay(due),
            }
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn next_wake(&self) -> Instant {
        let core = self.routers.next_deadline().map(|at| self.origin + at);
        let start = self.has_unstarted().then_some(self.starts_at);
        let end = self.ending.as_ref().map(|ending| ending.until);
        let far = Instant::now() + Duration::from_secs(3600);
        let releases = self.releases.iter().chain(&self.successors).map(|(at, _)| *at);
        let orders = releases.chain(self.takes.iter().map(|taking| taking.at)).min();
        [core, start, end, orders].into_iter().flatten().min().unwrap_or(far)
    }

    fn note_delay(&mut self, due: Instant) {
        let late = Instant::now().saturating_duration_since(due);
        let shortest = self.members.iter().map(|member| member.config.advert_interval).min();
        if shortest.is_some_and(|interval| late > interval / 10) {
            self.delays += 1;
            if late > self.longest_delay {
                self.longest_delay = late;
                tracing::warn!("vrrp: a timer ran {late:?} late; this director is short of processor time");
            }
        }
    }

    fn has_unstarted(&self) -> bool {
        self.has_interfaces && self.members.iter().any(|member| self.state(member.id) == State::Initialize)
    }

    fn state(&self, id: InstanceId) -> State {
        self.routers.get(id).map_or(State::Initialize, crate::vrrp::machine::Instance::state)
    }

    fn let_time_pass(&mut self) {
        let now = self.now();
        if self.routers.next_deadline().is_some_and(|at| at <= now) {
            let outputs = self.routers.timer(now);
            self.perform(outputs);
        }
        if self.has_unstarted() && Instant::now() >= self.starts_at {
            self.start();
        }
        self.carry_out_orders();
    }

    /// Leftovers of a killed daemon stay until a living master is heard: if nobody has taken over meanwhile, they are in
    /// use.
    fn find_leftovers(&mut self) {
        for member in &mut self.members {
            let is_new = self.routers.get(member.id).is_some_and(|core| core.state() == State::Initialize);
            let is_present = |own: &VirtualAddress| {
                let interface = self.interfaces.get(&own.interface);
                interface.is_some_and(|interface| interface.addresses.contains(&own.address))
            };
            if is_new {
                member.has_leftovers = member.config.addresses().any(is_present);
            }
        }
    }

    /// Lets those take part that do not yet.
    fn start(&mut self) {
        let new: Vec<InstanceId> = self
            .members
            .iter()
            .map(|member| member.id)
            .filter(|id| self.state(*id) == State::Initialize)
            .collect();
        for id in new {
            self.step(id, Event::Ready(self.is_ready));
            self.step(id, Event::Start);
            let is_faulty = self.state(id) == State::Fault;
            if is_faulty && self.member(id).is_some_and(|member| member.has_leftovers) {
                self.release(id);
            }
        }
        self.publish();
    }

    fn member(&self, id: InstanceId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    fn member_mut(&mut self, id: InstanceId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    fn step(&mut self, id: InstanceId, event: Event) {
        let outputs = self.routers.step(id, event, self.now());
        self.perform(outputs);
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Interfaces(interfaces) => self.follow_interfaces(interfaces),
            Message::Tracked(observation) => {
                if self.tracking.observe(observation) {
                    self.follow_tracking();
                }
            }
            Message::Ready(is_ready) => {
                if self.is_ready != is_ready {
                    self.is_ready = is_ready;
                    tracing::info!("vrrp: this director is {}", if is_ready { "ready" } else { "not ready" });
                    self.step_all(Event::Ready(is_ready));
                }
            }
            Message::Released(_name) => {
                self.publish();
            }
            Message::PutBack(instance) => {
                if let Some(member) = self.members.iter_mut().find(|member| member.config.name == instance) {
                    member.counters.put_back += 1;
                }
            }
            Message::Configure(config, done) => {
                self.configure(&config);
                // Who asked may have given up.
                done.send(()).unwrap_or_default();
            }
            Message::Order { name, event, answer } => self.order(&name, event, answer),
            Message::Intended { interface, intent } => self.expect_successor(&interface, intent),
            Message::Status(answer) => {
                drop(answer.send(self.status()));
            }
            Message::Stop(done) => self.begin_end(done),
        }
    }

    fn step_all(&mut self, event: Event) {
        let ids: Vec<_> = self.members.iter().map(|member| member.id).collect();
        for id in ids {
            self.step(id, event);
        }
    }

    fn virtual_addresses(&self) -> BTreeSet<IpAddr> {
        self.members.iter().flat_map(|member| member.config.addresses()).map(|own| own.address).collect()
    }

    fn interface_name(&self, index: u32) -> String {
        let found = self.interfaces.iter().find(|(_, interface)| interface.index == index);
        found.map_or_else(|| format!("interface {index}"), |(name, _)| name.clone())
    }

    /// Hands over by hand first, so that whoever takes over does it while packets are still served.
    fn begin_end(&mut self, done: oneshot::Sender<()>) {
        let (masters, others): (Vec<_>, Vec<_>) =
            self.members.iter().partition(|member| self.state(member.id) == State::Master);
        let others: Vec<_> = others.iter().map(|member| member.id).collect();
        let ids: Vec<_> = masters.iter().map(|member| member.id).collect();
        // What a backup of the lowest priority waits after priority 0, and a little.
        let patience: Option<Duration> = masters
            .iter()
            .map(|member| match settings::version(&member.config) {
                crate::vrrp::packet::Version::V2 => Duration::from_secs(1),
                crate::vrrp::packet::Version::V3 => member.config.advert_interval,
            })
            .max()
            .map(|skew| AGREEMENT + (skew + Duration::from_millis(100)).min(HANDOVER));
        let until = Instant::now() + patience.unwrap_or_default();
        self.ending = Some(Ending { done, until, waits: patience.is_some() });
        for id in others {
            self.step(id, Event::Release);
        }
        for id in ids {
            self.release_soon(id);
        }
    }

    fn has_ended(&mut self) -> bool {
        let is_master = self.members.iter().any(|member| self.state(member.id) == State::Master);
        let Some(ending) = &mut self.ending else { return false };
        if ending.waits && !is_master {
            ending.waits = false;
            ending.until = Instant::now() + ANNOUNCEMENT;
        }
        Instant::now() >= ending.until
    }

    async fn end(mut self) {
        self.step_all(Event::Shutdown);
        // After the last address has gone.
        drop(self.outlets.holder.send(Task::Close(BTreeSet::new())));
        drop(self.outlets.holder.send(Task::Devices(Vec::new())));
        let (done, flushed) = oneshot::channel();
        drop(self.outlets.holder.send(Task::Flush(done)));
        drop(flushed.await);
        if let Some(ending) = self.ending.take() {
            ending.done.send(()).unwrap_or_default();
        }
    }

    fn status(&self) -> VrrpStatus {
        let now = self.now();
        let instances = self
            .members
            .iter()
            .filter_map(|member| {
                let tracked =
                    self.tracking.status(&member.config, self.group_of(&member.config), &self.interfaces);
                Some(member.status(self.routers.get(member.id)?, tracked, now))
            })
            .collect();
        let groups = self.groups.iter().enumerate().map(|(index, group)| GroupStatus {
            name: group.name.clone(),
            state: self.routers.group_state(GroupId(index)).unwrap_or(State::Initialize).name().to_owned(),
            members: group.members.clone(),
        });
        let refused = self.refused.iter().map(|(interface, reasons)| {
            let reasons = reasons.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
            (interface.clone(), reasons)
        });
        VrrpStatus {
            schema: "lbctl/vrrp/v1".to_owned(),
            instances,
            groups: groups.collect(),
            is_ready: self.is_ready,
            has_precedence: self.has_precedence,
            delays: self.delays,
            longest_delay_ms: ms(self.longest_delay),
            refused: refused.collect(),
            peers: Vec::new(),
        }
    }
}

/// Returns when one of the sockets may have something to read; never without sockets.
async fn readable(sockets: &[Sockets], overheard: &[Overheard]) {
    if sockets.is_empty() {
        return std::future::pending().await;
    }
    let all = sockets.iter().map(|open| open.readable().boxed_local());
    let others = overheard.iter().map(|open| open.readable().boxed_local());
    let (_result, _index, _rest) = select_all(all.chain(others)).await;
}

//! The protocol's thread: what arrives first, then what is due, then everything else.
//!
//! Nothing here waits for anything: adverts go out of non-blocking sockets, and whatever may take its time (addresses,
//! scripts, tables) is asked of others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::holder::{Interfaces, Task};
use super::member::{Member, ms};
use super::settings;
use super::sockets::{Read, Sockets};
use super::track::Tracking;
use super::{Carried, Message, News, filter};
use crate::config::vrrp::{SyncGroup, VirtualAddress, Vrrp, VrrpInstance};
use crate::vrrp::machine::{Action, Event, FaultCause, Report, Sighting, State};
use crate::vrrp::packet::{Advert, Check, Datagram, Ipv4Checksum, PRIORITY_LEAVING, Refusal, peek, receive};
use crate::vrrp::priority::{Effective, effective};
use crate::vrrp::status::{GroupStatus, VrrpStatus};
use crate::vrrp::sync::{GroupId, InstanceId, Output, Routers};

/// So many packets of a socket are read before time is looked at again: a flood must not stop the clock.
const BATCH: usize = 64;
/// How long packets are served after another director was heard at the end: its adverts come before its announcement.
const ANNOUNCEMENT: Duration = Duration::from_millis(200);
/// How long an end waits for another director to take over, at most.
const HANDOVER: Duration = Duration::from_secs(3);

pub(super) struct Runner {
    origin: Instant,
    routers: Routers,
    members: Vec<Member>,
    groups: Vec<SyncGroup>,
    sockets: Vec<Sockets>,
    interfaces: Interfaces,
    tracking: Tracking,
    is_ready: bool,
    /// From when on instances take part.
    starts_at: Instant,
    /// Whether the interfaces have been looked at.
    has_interfaces: bool,
    holder: mpsc::UnboundedSender<Task>,
    carried: watch::Sender<Carried>,
    news: mpsc::UnboundedSender<News>,
    has_precedence: bool,
    delays: u64,
    longest_delay: Duration,
    /// By interface and reason.
    refused: BTreeMap<String, BTreeMap<&'static str, u64>>,
    refused_told: BTreeSet<(String, IpAddr, Check)>,
    ending: Option<Ending>,
}

/// The end, asked for.
struct Ending {
    done: oneshot::Sender<()>,
    /// The addresses are left as they are until then, if nobody takes them.
    until: Instant,
    /// Whether there was something to hand over, and nobody has taken it yet.
    waits: bool,
}

impl Runner {
    pub(super) fn new(
        config: &Vrrp,
        holder: mpsc::UnboundedSender<Task>,
        carried: watch::Sender<Carried>,
        news: mpsc::UnboundedSender<News>,
        has_precedence: bool,
    ) -> Self {
        let origin = Instant::now();
        let mut runner = Self {
            origin,
            routers: Routers::new(),
            members: Vec::new(),
            groups: Vec::new(),
            sockets: Vec::new(),
            interfaces: Interfaces::new(),
            tracking: Tracking::default(),
            is_ready: false,
            starts_at: origin + config.startup_delay,
            has_interfaces: false,
            holder,
            carried,
            news,
            has_precedence,
            delays: 0,
            longest_delay: Duration::ZERO,
            refused: BTreeMap::new(),
            refused_told: BTreeSet::new(),
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
                () = readable(&self.sockets) => {}
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
        [core, start, end].into_iter().flatten().min().unwrap_or(far)
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
            Message::Order { name, event, answer } => {
                drop(answer.send(self.order(&name, event)));
            }
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

    fn order(&mut self, name: &str, event: Event) -> Result<String, String> {
        let by_group =
            self.groups.iter().find(|group| group.name == name).and_then(|group| group.members.first());
        let wanted = by_group.map_or(name, String::as_str).to_owned();
        let Some(member) = self.members.iter().find(|member| member.config.name == wanted) else {
            let names: Vec<_> = self.members.iter().map(|member| member.config.name.as_str()).collect();
            return Err(format!("there is no VRRP instance {name:?}; there are: {}", names.join(", ")));
        };
        let id = member.id;
        let before = self.state(id);
        if event == Event::Release && before != State::Master {
            // Remembered all the same: it leaves every master alone.
            self.step(id, event);
            return Ok(format!("{wanted} is {before}; it leaves every other master alone from now on"));
        }
        let outputs = self.routers.step(id, event, self.now());
        let refusal = outputs.iter().find_map(|output| {
            if let Output::Instance(_, Action::Report(Report::TakeRefused(why))) = output {
                Some(why.to_string())
            } else {
                None
            }
        });
        self.perform(outputs);
        match refusal {
            Some(why) => Err(format!("{wanted}: {why}")),
            None if event == Event::Release => {
                Ok(format!("{wanted} hands over; the addresses stay until another director is heard"))
            }
            None => Ok(format!("{wanted} is {}", self.state(id))),
        }
    }

    /// Makes the instances those of the configuration. What is not changed is not touched.
    fn configure(&mut self, config: &Vrrp) {
        self.tracking.configure(config);
        // Before any address comes.
        drop(self.holder.send(Task::Close(filter::closed(&config.instances))));
        let same_router = |one: &VrrpInstance, two: &VrrpInstance| {
            (&one.name, &one.interface, one.virtual_router_id, one.is_ipv6())
                == (&two.name, &two.interface, two.virtual_router_id, two.is_ipv6())
        };
        let gone: Vec<InstanceId> = self
            .members
            .iter()
            .filter(|member| !config.instances.iter().any(|new| same_router(new, &member.config)))
            .map(|member| member.id)
            .collect();
        for id in gone {
            self.step(id, Event::Shutdown);
            self.routers.remove(id);
            self.members.retain(|member| member.id != id);
        }
        for new in &config.instances {
            let Some(router) = settings::router(new) else { continue };
            let known = self.members.iter().position(|member| same_router(new, &member.config));
            match known.and_then(|index| self.members.get_mut(index)) {
                Some(member) if *member.config == *new => {}
                Some(member) => {
                    let new = Arc::new(new.clone());
                    let old = std::mem::replace(&mut member.config, Arc::clone(&new));
                    member.addresses = settings::addresses(&new);
                    let (id, source) = (member.id, member.source);
                    drop(self.holder.send(Task::Change { old, new: Arc::clone(&new) }));
                    let effective = self.effective(&new).priority;
                    self.step(id, Event::Reconfigured(settings::settings(&new, source), effective));
                }
                None => {
                    let id = self.routers.add(settings::settings(new, None));
                    self.members.push(Member::new(id, Arc::new(new.clone()), router));
                }
            }
        }
        let place = |name: &str| config.instances.iter().position(|new| new.name == name);
        self.members.sort_by_key(|member| place(&member.config.name));
        self.groups.clone_from(&config.sync_groups);
        let groups: Vec<Vec<InstanceId>> = self
            .groups
            .iter()
            .map(|group| {
                let named = |name: &String| self.members.iter().find(|member| member.config.name == *name);
                group.members.iter().filter_map(named).map(|member| member.id).collect()
            })
            .collect();
        self.routers.set_groups(groups);
        drop(self.holder.send(Task::Pace(config.garp_interval)));
        if self.has_interfaces {
            self.follow_interfaces(self.interfaces.clone());
        }
        self.publish();
    }

    fn virtual_addresses(&self) -> BTreeSet<IpAddr> {
        self.members.iter().flat_map(|member| member.config.addresses()).map(|own| own.address).collect()
    }

    /// Interfaces came, went or changed.
    fn follow_interfaces(&mut self, interfaces: Interfaces) {
        self.interfaces = interfaces;
        let virtual_addresses = self.virtual_addresses();
        let mut events = Vec::new();
        for member in &mut self.members {
            let (is_running, source) = member.look_at(&self.interfaces, &virtual_addresses);
            member.interface = self.interfaces.get(&member.config.interface).map(|known| known.index);
            let fault = |is_there: bool, cause| {
                if is_there { Event::Fault(cause) } else { Event::FaultCleared(cause) }
            };
            events.push((member.id, fault(!is_running, FaultCause::LinkDown)));
            if member.source != source {
                member.source = source;
                let effective =
                    self.routers.get(member.id).map_or(0, |core| core.status(Duration::ZERO).effective);
                events.push((
                    member.id,
                    Event::Reconfigured(settings::settings(&member.config, source), effective),
                ));
            }
            events.push((member.id, fault(source.is_none(), FaultCause::NoAddress)));
        }
        self.open_sockets();
        self.find_leftovers();
        for (id, event) in events {
            self.step(id, event);
        }
        self.follow_tracking();
        self.has_interfaces = true;
        self.publish();
        self.let_time_pass();
    }

    /// A pair of sockets for each interface and family that an instance has, and no other.
    fn open_sockets(&mut self) {
        let wanted: BTreeSet<(u32, bool)> =
            self.members.iter().filter_map(|member| Some((member.interface?, member.is_ipv6()))).collect();
        self.sockets.retain(|open| wanted.contains(&(open.interface(), open.is_ipv6())));
        for (interface, is_ipv6) in wanted {
            if self.sockets.iter().any(|open| open.is(interface, is_ipv6)) {
                continue;
            }
            let name = self.interface_name(interface);
            match Sockets::open(&name, interface, is_ipv6) {
                Ok(sockets) => self.sockets.push(sockets),
                Err(error) => tracing::error!("{name}: no adverts can be sent or received: {error}"),
            }
        }
    }

    fn interface_name(&self, index: u32) -> String {
        let found = self.interfaces.iter().find(|(_, interface)| interface.index == index);
        found.map_or_else(|| format!("interface {index}"), |(name, _)| name.clone())
    }

    fn group_of(&self, instance: &VrrpInstance) -> Option<&SyncGroup> {
        self.groups.iter().find(|group| group.members.contains(&instance.name))
    }

    fn effective(&self, instance: &VrrpInstance) -> Effective {
        let own = self.tracking.of_instance(instance, &self.interfaces);
        match self.group_of(instance) {
            None => effective(instance.priority, own),
            Some(group) => {
                let of_group = self.tracking.of_group(&group.tracking, &self.interfaces);
                if group.weighted_tracking {
                    effective(instance.priority, of_group.into_iter().chain(own))
                } else {
                    Effective::of_member(instance.priority, of_group, own)
                }
            }
        }
    }

    /// Something tracked changed, so priorities and faults may.
    fn follow_tracking(&mut self) {
        let all: Vec<_> =
            self.members.iter().map(|member| (member.id, self.effective(&member.config))).collect();
        for (id, Effective { priority, is_fault }) in all {
            self.step(id, Event::Priority(priority));
            let event = if is_fault {
                Event::Fault(FaultCause::Tracked)
            } else {
                Event::FaultCleared(FaultCause::Tracked)
            };
            self.step(id, event);
        }
    }

    fn read_sockets(&mut self) {
        for index in 0..self.sockets.len() {
            for _ in 0..BATCH {
                let Some(sockets) = self.sockets.get(index) else { break };
                let (interface, is_ipv6) = (sockets.interface(), sockets.is_ipv6());
                match sockets.read() {
                    Ok(Some(read)) => self.hear(interface, is_ipv6, &read),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!("adverts cannot be read: {error}");
                        break;
                    }
                }
            }
        }
    }

    fn hear(&mut self, interface: u32, is_ipv6: bool, read: &Read) {
        let datagram = match read {
            Read::Ipv4Packet(packet) => match Datagram::from_ipv4_packet(packet) {
                Ok(datagram) => datagram,
                Err(refusal) => {
                    let octets = packet.get(12..16).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
                    let from = IpAddr::from(octets.unwrap_or_default());
                    return self.refuse_all(interface, from, &refusal);
                }
            },
            Read::Ipv6 { from, to, hop_limit, payload } => {
                Datagram { from: *from, to: *to, ttl: *hop_limit, payload }
            }
        };
        let number = peek(datagram.payload);
        let found = self.members.iter_mut().find(|member| {
            Some(member.router.number()) == number
                && member.interface == Some(interface)
                && member.is_ipv6() == is_ipv6
        });
        let Some(member) = found else {
            let refusal = Refusal::UnknownRouter(number.unwrap_or(0));
            return self.refuse_all(interface, datagram.from, &refusal);
        };
        let own = member.source.unwrap_or_else(|| settings::settings(&member.config, None).address);
        let expected = settings::expected(&member.config, member.router, &member.addresses, own);
        let received = receive(&datagram, &expected);
        let (id, name, from) = (member.id, member.config.name.clone(), datagram.from);
        match received {
            Err(refusal) => {
                member.counters.count(refusal.check());
                if member.is_news(from, refusal.check()) {
                    tracing::warn!("{name}: advert of {from} ignored: {refusal}");
                }
            }
            Ok(received) => {
                member.counters.received += 1;
                if member.is_new_peer(from) {
                    drop(self.news.send(News::Peer(from)));
                }
                for remark in &received.remarks {
                    member.counters.count(remark.check());
                    // A backup is told of other intervals by the state machine.
                    if remark.check() != Check::IntervalDiffers && member.is_news(from, remark.check()) {
                        tracing::warn!("{name}: {from}: {remark}");
                    }
                }
                let Advert { priority, interval, .. } = received.advert;
                if priority == PRIORITY_LEAVING {
                    member.counters.zero_received += 1;
                }
                let has_leftovers = member.has_leftovers && priority != PRIORITY_LEAVING;
                self.step(id, Event::Advert(Sighting { from, priority, interval }));
                if has_leftovers && self.state(id) != State::Master {
                    tracing::info!("{name}: {from} is master; what an earlier daemon left here is removed");
                    self.release(id);
                }
            }
        }
    }

    /// A packet that no instance here is meant by.
    fn refuse_all(&mut self, interface: u32, from: IpAddr, refusal: &Refusal) {
        let name = self.interface_name(interface);
        let check = refusal.check();
        *self.refused.entry(name.clone()).or_default().entry(check.name()).or_insert(0) += 1;
        // Other virtual routers of the network are nobody's fault.
        let is_new = self.refused_told.len() < 64 && self.refused_told.insert((name.clone(), from, check));
        if is_new && check == Check::UnknownRouter {
            tracing::debug!("{name}: advert of {from} ignored: {refusal}");
        } else if is_new {
            tracing::warn!("{name}: advert of {from} ignored: {refusal}");
        }
    }

    fn perform(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Instance(id, action) => self.act(id, action),
                Output::Group { group, from, to } => self.group_changed(group, from, to),
            }
        }
    }

    fn act(&mut self, id: InstanceId, action: Action) {
        match action {
            Action::SendAdvert { priority } => self.send(id, priority),
            Action::AddAddresses => {
                if let Some(member) = self.member_mut(id) {
                    member.has_leftovers = false;
                    let instance = Arc::clone(&member.config);
                    // The state is told before the transition is.
                    let generation = self.publish_with(Some(id));
                    drop(self.holder.send(Task::Hold { instance, generation }));
                }
            }
            Action::RemoveAddresses => {
                let stays = self.member(id).is_some_and(|member| {
                    member.has_leftovers && self.state(id) == State::Backup && self.ending.is_none()
                });
                if !stays {
                    self.release(id);
                }
            }
            Action::SendGarp { repeat } => {
                if let Some(member) = self.member(id) {
                    let instance = Arc::clone(&member.config);
                    drop(self.holder.send(Task::Announce { instance, repeat }));
                }
            }
            Action::Transition(transition) => {
                let priority =
                    self.routers.get(id).map_or(0, |core| core.status(self.origin.elapsed()).effective);
                if let Some(member) = self.member_mut(id) {
                    tracing::info!("{}: {transition}", member.config.name);
                    member.remember(transition);
                    let instance = Arc::clone(&member.config);
                    drop(self.news.send(News::Instance { instance, to: transition.to, priority }));
                }
            }
            Action::Report(report) => self.report(id, report),
            Action::Want => {}
        }
    }

    fn report(&mut self, id: InstanceId, report: Report) {
        let Some(member) = self.member(id) else { return };
        let name = &member.config.name;
        if let Report::TwoMasters(_) = report {
            let instance = Arc::clone(&member.config);
            let priority = self.routers.get(id).map_or(0, |core| core.status(self.now()).effective);
            drop(self.news.send(News::LowerPriority { instance, priority }));
        }
        if report.is_warning() {
            tracing::warn!("{name}: {report}");
        } else {
            tracing::info!("{name}: {report}");
        }
    }

    fn release(&mut self, id: InstanceId) {
        if let Some(member) = self.member_mut(id) {
            member.has_leftovers = false;
            let instance = Arc::clone(&member.config);
            drop(self.holder.send(Task::Release { instance }));
        }
    }

    fn group_changed(&mut self, id: GroupId, from: State, to: State) {
        if let Some(group) = self.groups.get(id.0) {
            tracing::info!("group {}: {from} to {to}", group.name);
            drop(self.news.send(News::Group { group: Arc::new(group.clone()), to }));
        }
    }

    fn send(&mut self, id: InstanceId, priority: u8) {
        let Some(member) = self.members.iter_mut().find(|member| member.id == id) else { return };
        let (Some(interface), Some(source)) = (member.interface, member.source) else {
            member.counters.send_failures += 1;
            return;
        };
        let is_ipv6 = member.is_ipv6();
        let Some(sockets) = self.sockets.iter().find(|open| open.is(interface, is_ipv6)) else {
            member.counters.send_failures += 1;
            return;
        };
        let config = Arc::clone(&member.config);
        let advert = Advert {
            version: settings::version(&config),
            router: member.router,
            priority,
            interval: settings::interval(&config),
            authentication: settings::authentication(&config),
            addresses: member.addresses.clone(),
        };
        let ttl = if config.unicast_peers.is_empty() { crate::vrrp::packet::TTL } else { config.unicast_ttl };
        let mut problem = None;
        for to in member.destinations() {
            let sent = match advert.encode(source, to, Ipv4Checksum::PseudoHeader) {
                Ok(payload) => sockets.send(&payload, source, to, ttl).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            problem = problem.or(sent.err().map(|error| format!("{to}: {error}")));
        }
        match problem {
            None => {
                member.counters.sent += 1;
                member.counters.zero_sent += u64::from(priority == PRIORITY_LEAVING);
                member.sends = true;
            }
            Some(problem) => {
                member.counters.send_failures += 1;
                // Once, until one is sent again.
                if std::mem::replace(&mut member.sends, false) {
                    tracing::warn!("{}: no advert is sent to {problem}", config.name);
                }
            }
        }
    }

    /// Tells which addresses are carried here now. Returns the number of the announcement.
    fn publish(&self) -> u64 {
        self.publish_with(None)
    }

    /// As [`Runner::publish`], as if this instance were master already.
    fn publish_with(&self, master: Option<InstanceId>) -> u64 {
        // Before the interfaces are known nothing is known to be elsewhere.
        if !self.has_interfaces {
            return self.carried.borrow().generation;
        }
        let mut carried = BTreeSet::new();
        for member in &self.members {
            let is_here =
                self.state(member.id) == State::Master || member.has_leftovers || master == Some(member.id);
            if is_here {
                carried.extend(member.config.addresses().map(|own| own.address));
            }
        }
        let all = self.virtual_addresses();
        self.carried.send_if_modified(|now| {
            let is_new = now.here != carried || now.all != all;
            if is_new {
                now.generation += 1;
                now.here = carried;
                now.all = all;
            }
            is_new
        });
        self.carried.borrow().generation
    }

    /// Hands over by hand first, so that whoever takes over does it while packets are still served.
    fn begin_end(&mut self, done: oneshot::Sender<()>) {
        let masters = self.members.iter().filter(|member| self.state(member.id) == State::Master);
        // What a backup of the lowest priority waits after priority 0, and a little.
        let patience: Option<Duration> = masters
            .map(|member| match settings::version(&member.config) {
                crate::vrrp::packet::Version::V2 => Duration::from_secs(1),
                crate::vrrp::packet::Version::V3 => member.config.advert_interval,
            })
            .max()
            .map(|skew| (skew + Duration::from_millis(100)).min(HANDOVER));
        let until = Instant::now() + patience.unwrap_or_default();
        self.ending = Some(Ending { done, until, waits: patience.is_some() });
        self.step_all(Event::Release);
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
        drop(self.holder.send(Task::Close(BTreeSet::new())));
        let (done, flushed) = oneshot::channel();
        drop(self.holder.send(Task::Flush(done)));
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
async fn readable(sockets: &[Sockets]) {
    if sockets.is_empty() {
        return std::future::pending().await;
    }
    let all = sockets.iter().map(|open| Box::pin(open.readable()));
    let (_result, _index, _rest) = select_all(all).await;
}

//! The keeper of the addresses: what a master has on its interfaces, put there, kept there, taken away.
//!
//! It runs on a thread of its own, because the kernel may take its time over a change (every change of the network
//! configuration waits for one lock), and adverts must not. Tasks are done in their order. What somebody else removes is
//! put back. Before anything is added it is written into the [`Record`].

mod announce;
mod device;
pub(super) mod put;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::record::Record;
use super::{Message, filter};
use crate::config::vrrp::VrrpInstance;
use crate::net::frames::Frames;
use crate::net::netlink::{Address, Event, Events, Link, Netlink, NetlinkError};
use crate::net::sysctl;
use crate::vrrp::garp;

pub(super) use self::device::Device;

/// What could not be added is tried again this often.
const RETRY: Duration = Duration::from_secs(1);
/// How long addresses wait for the tables.
const TABLES: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Debug)]
pub(super) enum Task {
    /// Have the addresses, routes and rules of this instance, when the tables are those of `generation`.
    Hold { instance: Arc<VrrpInstance>, generation: u64 },
    /// Have none of them. Answered by [`Message::Released`].
    Release { instance: Arc<VrrpInstance> },
    /// The instance's configuration is another: what only the old one has goes, and if the old one is held, so is the new.
    Change { old: Arc<VrrpInstance>, new: Arc<VrrpInstance> },
    /// Tell the network where the held addresses of this instance are.
    Announce { instance: Arc<VrrpInstance>, repeat: u32 },
    /// Have macvlans with these virtual MACs, and no others. The interfaces are told from the first one on.
    Devices(Vec<Device>),
    /// Drop packets for these addresses that nothing else serves.
    Close(BTreeSet<IpAddr>),
    /// Between two frames.
    Pace(Duration),
    /// Say when everything before is done.
    Flush(oneshot::Sender<()>),
}

/// What is known of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    /// Up, and with a carrier.
    pub(super) is_running: bool,
    pub(super) addresses: Vec<IpAddr>,
    /// Of a macvlan, the index of the interface below.
    pub(super) base: Option<u32>,
    pub(super) mac: Option<garp::Mac>,
}

/// All interfaces by name.
pub(super) type Interfaces = BTreeMap<String, Interface>;

struct Held {
    instance: Arc<VrrpInstance>,
    /// Whether something that should be there is not.
    is_incomplete: bool,
}

/// What its tasks share: all run on its thread.
struct Shared {
    interfaces: Interfaces,
    held: BTreeMap<String, Held>,
    record: Record,
    frames: Frames,
    pace: Duration,
    is_router: bool,
    messages: mpsc::UnboundedSender<Message>,
}

pub(super) struct Holder {
    shared: Rc<RefCell<Shared>>,
    /// Addresses that packets are dropped for.
    closed: BTreeSet<IpAddr>,
    /// Whether the packet filter may be otherwise than `closed` says.
    is_filter_due: bool,
    /// Whether that it could not be written has been said.
    filter_failed: bool,
    /// The macvlans that should be there.
    devices: Vec<Device>,
    /// Names of those that cannot be made, which has been said.
    devices_told: BTreeSet<String>,
    /// Whether the macvlans are known.
    is_prepared: bool,
    netlink: Netlink,
    tables: watch::Receiver<u64>,
}

/// Serves tasks until their sender is gone.
pub(super) async fn run(
    mut tasks: mpsc::UnboundedReceiver<Task>,
    messages: mpsc::UnboundedSender<Message>,
    tables: watch::Receiver<u64>,
    record: PathBuf,
) -> anyhow::Result<()> {
    // Subscribed before the first look, so that no change is missed.
    let mut events = Netlink::events()?;
    let netlink = Netlink::open()?;
    let shared = Shared {
        interfaces: Interfaces::new(),
        held: BTreeMap::new(),
        record: Record::read(&record)?,
        // Of no protocol: it sends only.
        frames: Frames::open(0, 0, &[])?,
        pace: Duration::ZERO,
        is_router: is_ipv6_router(),
        messages,
    };
    let mut holder = Holder {
        shared: Rc::new(RefCell::new(shared)),
        closed: BTreeSet::new(),
        is_filter_due: false,
        filter_failed: false,
        devices: Vec::new(),
        devices_told: BTreeSet::new(),
        is_prepared: false,
        netlink,
        tables,
    };
    let mut retry = interval(RETRY);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            task = tasks.recv() => match task {
                Some(task) => holder.serve(task).await,
                None => return Ok(()),
            },
            event = events.next() => holder.follow(event, &mut events).await,
            _ = retry.tick() => holder.complete().await,
        }
    }
}

/// Advertisements of a host that forwards have the Router flag (RFC 4861 section 4.4).
fn is_ipv6_router() -> bool {
    sysctl::read("net/ipv6/conf/all/forwarding").is_ok_and(|text| text == "1")
}

impl Holder {
    async fn serve(&mut self, task: Task) {
        match task {
            Task::Hold { instance, generation } => {
                self.await_tables(&instance.name, generation).await;
                let held = Held { instance: Arc::clone(&instance), is_incomplete: true };
                self.shared.borrow_mut().held.insert(instance.name.clone(), held);
                self.put(&instance).await;
                // Who has flushed all rules since has flushed ours.
                self.is_filter_due |= filter::concerns(&instance);
            }
            Task::Close(addresses) => {
                // A table that a killed daemon left is written anew, or goes.
                let had_any = self.shared.borrow().record.has_filter;
                if had_any || !addresses.is_empty() {
                    self.closed = addresses;
                    self.is_filter_due = true;
                    self.write_filter().await;
                }
            }
            Task::Devices(devices) => self.have_devices(devices).await,
            Task::Release { instance } => {
                self.shared.borrow_mut().held.remove(&instance.name);
                self.lower(&instance).await;
                self.take_away(&instance).await;
                self.tell(Message::Released(instance.name.clone()));
            }
            Task::Change { old, new } => self.change(&old, new).await,
            Task::Announce { instance, repeat } => self.announce(&instance, repeat).await,
            Task::Pace(pace) => self.shared.borrow_mut().pace = pace,
            // Who asked may have given up.
            Task::Flush(done) => drop(done.send(())),
        }
    }

    fn tell(&self, message: Message) {
        // Without the other thread there is nobody to be told.
        drop(self.shared.borrow().messages.send(message));
    }

    /// The tables first: a packet for an address that is here, but not in the tables, is refused by this host.
    async fn await_tables(&mut self, name: &str, generation: u64) {
        let begun = Instant::now();
        let ready = self.tables.wait_for(|applied| *applied >= generation);
        match timeout(TABLES, ready).await {
            Ok(Ok(_applied)) => {}
            Ok(Err(_gone)) => {}
            Err(_elapsed) => {
                let waited = begun.elapsed();
                tracing::warn!("{name}: the addresses do not wait for the tables any longer than {waited:?}");
            }
        }
    }

    /// Reads all interfaces and addresses, and tells if they changed.
    async fn look(&mut self) {
        if !self.is_prepared {
            return;
        }
        self.make_devices().await;
        let read =
            async { Ok::<_, NetlinkError>((self.netlink.links().await?, self.netlink.addresses().await?)) };
        match read.await {
            Ok((links, addresses)) => {
                let interfaces = by_name(&links, &addresses);
                let is_new = self.shared.borrow().interfaces != interfaces;
                if is_new {
                    self.shared.borrow_mut().interfaces.clone_from(&interfaces);
                    self.tell(Message::Interfaces(interfaces));
                }
            }
            Err(error) => tracing::error!("the interfaces cannot be read: {error}"),
        }
    }

    async fn follow(&mut self, event: Result<Event, NetlinkError>, events: &mut Events) {
        match event {
            Ok(Event::AddressGone(gone)) => {
                self.look().await;
                self.put_back(Some(gone.address)).await;
            }
            Ok(Event::Link(_) | Event::LinkGone(_)) => {
                self.look().await;
                self.raise_again().await;
            }
            Ok(Event::Address(_)) => self.look().await,
            Ok(Event::Overrun) => {
                self.look().await;
                self.put_back(None).await;
            }
            Ok(Event::Route(_) | Event::Rules) => self.put_back_routes().await,
            Ok(_) => {}
            Err(error) => {
                tracing::error!("no news of addresses: {error}");
                match Netlink::events() {
                    Ok(new) => *events = new,
                    Err(_) => sleep(RETRY).await,
                }
                self.look().await;
            }
        }
    }

    fn instances(&self) -> Vec<Arc<VrrpInstance>> {
        self.shared.borrow().held.values().map(|held| Arc::clone(&held.instance)).collect()
    }

    /// Somebody removed an address; if a master should have it, it has it again.
    async fn put_back(&mut self, gone: Option<IpAddr>) {
        for instance in self.instances() {
            let concerns = |address: IpAddr| instance.addresses().any(|own| own.address == address);
            if gone.is_none_or(concerns) {
                let added = self.put(&instance).await;
                for address in &added {
                    tracing::warn!(
                        "{}: virtual address {address} was removed by somebody else; put back",
                        instance.name
                    );
                    self.tell(Message::PutBack(instance.name.clone()));
                }
                if !added.is_empty() {
                    self.announce(&instance, instance.garp.repeat).await;
                }
            }
        }
    }

    async fn put_back_routes(&mut self) {
        for instance in self.instances() {
            if !instance.virtual_routes.is_empty() || !instance.virtual_rules.is_empty() {
                for text in self.put_routes(&instance).await.added {
                    tracing::warn!("{}: {text} was removed by somebody else; put back", instance.name);
                    self.tell(Message::PutBack(instance.name.clone()));
                }
            }
        }
    }

    /// Makes the packet filter fit.
    async fn write_filter(&mut self) {
        let path = {
            let record = &mut self.shared.borrow_mut().record;
            // Before it is there, and after it is gone.
            if !self.closed.is_empty()
                && let Err(error) = record.set_filter(true)
            {
                tracing::error!("the packet filter cannot be recorded: {error}");
            }
            record.path().to_owned()
        };
        let applied = filter::apply(&path, &self.closed).await;
        self.is_filter_due = applied.is_err();
        match applied {
            Ok(()) => {
                self.filter_failed = false;
                if self.closed.is_empty()
                    && let Err(error) = self.shared.borrow_mut().record.set_filter(false)
                {
                    tracing::error!("that the packet filter is gone cannot be recorded: {error}");
                }
            }
            Err(problem) if !self.filter_failed => {
                self.filter_failed = true;
                tracing::error!("accept = false is not in force; trying again: {problem}");
            }
            Err(_again) => {}
        }
    }

    /// What could not be added before is tried again.
    async fn complete(&mut self) {
        if self.is_filter_due {
            self.write_filter().await;
        }
        let are_devices_missing = !self.devices_told.is_empty();
        if are_devices_missing {
            self.look().await;
        }
        let incomplete: Vec<_> = {
            let shared = self.shared.borrow();
            let incomplete = shared.held.values().filter(|held| held.is_incomplete);
            incomplete.map(|held| Arc::clone(&held.instance)).collect()
        };
        for instance in incomplete {
            self.look().await;
            if !self.put(&instance).await.is_empty() {
                self.announce(&instance, instance.garp.repeat).await;
            }
        }
    }
}

fn by_name(links: &[Link], addresses: &[Address]) -> Interfaces {
    let known = |link: &Link| Interface {
        index: link.index,
        is_running: link.is_running(),
        base: link.lower.filter(|_| link.kind.as_deref() == Some("macvlan")),
        mac: link.mac.filter(|_| !link.loopback),
        addresses: addresses
            .iter()
            .filter(|address| address.ifindex == link.index && !address.tentative && !address.dad_failed)
            .map(|address| address.address)
            .collect(),
    };
    links.iter().map(|link| (link.name.clone(), known(link))).collect()
}

//! Keeps the Ethernet addresses of the real servers known.
//!
//! The datapath writes whole frames and never asks the kernel's neighbour table, so nothing would resolve or
//! refresh its entries. [`Neighbours`] makes the kernel do that for a set of wanted addresses and says for
//! each where its frames go, as soon as that changes.
//!
//! All decisions are in [`core`], a state machine without clock or socket; this file only carries its actions
//! out. The one task reads events in the order the kernel sent them and makes its requests between two events,
//! so an answer is never older than the events handled after it.
//!
//! The kernel keeps at most `net.ipv4.neigh.default.gc_thresh3` neighbours (1024 unless raised); more real
//! servers than that need it raised.

pub mod core;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    convert::Infallible,
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tokio::{sync::watch, task::JoinHandle};

use self::core::{Action, Core, Event};
use super::netlink::{Events, Netlink, NetlinkError};

/// Requests to the kernel under way at once.
const CONCURRENT_REQUESTS: usize = 64;

/// How long to wait before the sockets are opened anew after a failure.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// Where the frames to a real server go, for every wanted address.
pub type Resolutions = BTreeMap<IpAddr, Resolution>;

/// Where the frames to a real server go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// Onto a segment of the director's.
    Resolved {
        /// Ethernet address of the real server.
        dst_mac: [u8; 6],
        /// Ethernet address of the device that the route names.
        src_mac: [u8; 6],
        /// The device the frame leaves through: for a route over a VLAN device the device below it.
        ifindex: u32,
        /// 802.1Q identifier of the tag the frame needs; 0 for none.
        vlan: u16,
    },
    /// Nowhere: the address is this host's own.
    Local,
    /// Not known, or not reachable in direct routing.
    Unresolved {
        /// Why.
        reason: Reason,
    },
}

/// Why a real server has no Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The route leads through this router; direct routing needs the real server on the director's segment.
    Gateway(IpAddr),
    /// There is no route, or one that refuses.
    NoRoute,
    /// It was asked for and did not answer.
    NoAnswer,
    /// The route's device is down or has no carrier.
    LinkDown,
    /// The route's device cannot carry our frames: it is not Ethernet, or a VLAN on a VLAN. Its index.
    Device(u32),
    /// It is being asked for.
    Incomplete,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(router) => {
                write!(f, "is behind the router {router}; direct routing needs it on the director's segment")
            }
            Self::NoRoute => f.write_str("has no route; add one, or bring up the interface of its network"),
            Self::NoAnswer => f.write_str("answers neither ARP nor neighbour discovery; is it up?"),
            Self::LinkDown => f.write_str("is on an interface that is down or has no carrier"),
            Self::Device(index) => {
                write!(f, "is on device {index}, which is not Ethernet or is a VLAN on a VLAN; use another")
            }
            Self::Incomplete => f.write_str("is being resolved"),
        }
    }
}

/// The running keeper; it stops when dropped.
#[derive(Debug)]
pub struct Neighbours {
    wanted: watch::Sender<BTreeSet<IpAddr>>,
    resolutions: watch::Receiver<Resolutions>,
    task: JoinHandle<()>,
}

impl Neighbours {
    /// Starts the keeper in the calling thread's network namespace, wanting nothing yet.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn start() -> Result<Self, NetlinkError> {
        let sockets = Sockets::open()?;
        let (wanted, wanted_seen) = watch::channel(BTreeSet::new());
        let (sender, resolutions) = watch::channel(Resolutions::new());
        let keeper =
            Keeper { core: Core::new(), origin: Instant::now(), wanted: wanted_seen, resolutions: sender };
        let task = tokio::spawn(keeper.run_for_ever(sockets));
        Ok(Self { wanted, resolutions, task })
    }

    /// Replaces the set of wanted addresses. Those wanted before keep what is known of them.
    pub fn set_wanted(&self, wanted: BTreeSet<IpAddr>) {
        self.wanted.send_replace(wanted);
    }

    /// What is known, always of exactly the set wanted last as soon as the keeper has taken it up. New
    /// addresses begin as [`Reason::Incomplete`].
    #[must_use]
    pub fn resolutions(&self) -> watch::Receiver<Resolutions> {
        self.resolutions.clone()
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Sockets {
    netlink: Netlink,
    events: Events,
}

impl Sockets {
    fn open() -> Result<Self, NetlinkError> {
        Ok(Self { events: Netlink::events()?, netlink: Netlink::open()? })
    }
}

struct Keeper {
    core: Core,
    origin: Instant,
    wanted: watch::Receiver<BTreeSet<IpAddr>>,
    resolutions: watch::Sender<Resolutions>,
}

impl Keeper {
    async fn run_for_ever(mut self, sockets: Sockets) {
        let mut sockets = Ok(sockets);
        loop {
            let error = match sockets {
                Ok(sockets) => match self.run(sockets).await {
                    Ok(never) => match never {},
                    Err(error) => error,
                },
                Err(error) => error,
            };
            tracing::warn!(%error, "following the neighbours failed; starting over");
            tokio::time::sleep(REOPEN_AFTER).await;
            sockets = Sockets::open();
        }
    }

    async fn run(&mut self, mut sockets: Sockets) -> Result<Infallible, NetlinkError> {
        let mut event = Event::Started;
        loop {
            self.handle(event, &sockets.netlink).await?;
            let wake = self.origin + self.core.next_deadline();
            event = tokio::select! {
                Ok(()) = self.wanted.changed() => Event::Wanted(self.wanted.borrow_and_update().clone()),
                kernel = sockets.events.next() => Event::Kernel(kernel?),
                () = tokio::time::sleep_until(wake.into()) => Event::Timer,
            };
        }
    }

    /// Feeds one event and carries out what follows from it.
    async fn handle(&mut self, event: Event, netlink: &Netlink) -> Result<(), NetlinkError> {
        let mut actions = VecDeque::from(self.core.step(event, self.origin.elapsed()));
        while let Some(action) = actions.pop_front() {
            let answer = match action {
                Action::ReadTables => {
                    Event::Tables { links: netlink.links().await?, neighbours: netlink.neighbours().await? }
                }
                Action::LookUpRoutes(addresses) => Event::Routes(look_up(netlink, addresses).await?),
                Action::Probe(probes) => {
                    probe(netlink, probes).await;
                    continue;
                }
                Action::Publish(changes) => {
                    self.publish(changes);
                    continue;
                }
            };
            actions.extend(self.core.step(answer, self.origin.elapsed()));
        }
        Ok(())
    }

    fn publish(&self, changes: Vec<(IpAddr, Option<Resolution>)>) {
        self.resolutions.send_modify(|all| {
            for (address, resolution) in changes {
                match resolution {
                    Some(resolution) => all.insert(address, resolution),
                    None => all.remove(&address),
                };
            }
        });
    }
}

async fn look_up(
    netlink: &Netlink,
    addresses: Vec<IpAddr>,
) -> Result<Vec<(IpAddr, Option<super::netlink::Route>)>, NetlinkError> {
    let answers = stream::iter(addresses)
        .map(|address| async move { (address, netlink.route_to(address).await) })
        .buffer_unordered(CONCURRENT_REQUESTS)
        .collect::<Vec<_>>()
        .await;
    let mut routes = Vec::with_capacity(answers.len());
    for (address, answer) in answers {
        match answer {
            Ok(route) => routes.push((address, Some(route))),
            Err(NetlinkError::Unreachable { .. }) => routes.push((address, None)),
            Err(error) => return Err(error),
        }
    }
    Ok(routes)
}

/// A probe that fails is made again in its turn, so its error is only told.
async fn probe(netlink: &Netlink, probes: Vec<(u32, IpAddr)>) {
    let errors = stream::iter(probes)
        .map(|(ifindex, address)| netlink.probe(ifindex, address))
        .buffer_unordered(CONCURRENT_REQUESTS)
        .filter_map(|result| async move { result.err() })
        .collect::<Vec<_>>()
        .await;
    if let Some(error) = errors.iter().find(|e| matches!(e, NetlinkError::NeighbourTableFull { .. })) {
        tracing::warn!(%error, "real servers cannot be resolved");
    } else if let Some(error) = errors.first() {
        tracing::debug!(%error, count = errors.len(), "probes failed");
    }
}

#[cfg(test)]
mod tests;

//! The routes that answers to clients take.
//!
//! The datapath sends the answers of translated connections itself, so it needs the main routing table: a short one,
//! since it looks through it from the longest prefix on. [`condense`] makes it short without a change of meaning;
//! [`Routes`] follows the kernel's table.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::netlink::{Event, Events, Netlink, NetlinkError, TableHop, TableRoute};

/// Changes come in bursts: the table is read this long after the first of them.
const SETTLE: Duration = Duration::from_millis(50);
/// The table is read again this often, whatever the events said.
const RE_READ: Duration = Duration::from_secs(60);
/// How long to wait before the sockets are opened anew after a failure.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// Where packets to a network go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// The network is on a device's own segment, or behind a router of which only the device makes sense (IPv6
    /// link-local). Whom to send to is learnt from the clients' packets.
    Segment,
    /// To a router.
    Router(IpAddr),
    /// Nowhere: the route refuses.
    Refused,
}

/// The table as the datapath needs it: longest prefixes first.
pub type Ways = Vec<(IpNet, Way)>;

fn way(hop: Option<TableHop>) -> Way {
    match hop {
        None => Way::Refused,
        Some(TableHop { gateway: None, .. }) => Way::Segment,
        Some(TableHop { gateway: Some(IpAddr::V6(router)), .. }) if router.is_unicast_link_local() => {
            Way::Segment
        }
        Some(TableHop { gateway: Some(router), .. }) => Way::Router(router),
    }
}

/// The table with one route for each network, that of the lowest metric, and without the routes that lead where the
/// next shorter prefix leads anyway. Longest prefixes first; IPv4 and IPv6 are mixed.
#[must_use]
pub fn condense(routes: &[TableRoute]) -> Ways {
    let mut best: BTreeMap<(u8, IpAddr), (u32, TableRoute)> = BTreeMap::new();
    for route in routes {
        let network = route.destination.trunc();
        // Multicast is nobody's answer.
        if network.addr().is_multicast() {
            continue;
        }
        let entry = best.entry((network.prefix_len(), network.addr())).or_insert((route.metric, *route));
        if route.metric < entry.0 {
            *entry = (route.metric, *route);
        }
    }
    // Shortest first: whether a route says anything depends on the shorter ones that were kept.
    let mut kept: BTreeMap<(bool, u8, IpAddr), Way> = BTreeMap::new();
    let mut ways = Ways::new();
    for (_, route) in best.into_values() {
        let network = route.destination.trunc();
        let way = way(route.hop);
        if covering(&kept, network) != Some(way) {
            kept.insert((network.addr().is_ipv6(), network.prefix_len(), network.addr()), way);
            ways.push((network, way));
        }
    }
    ways.reverse();
    ways
}

/// Where the longest kept prefix around a network leads.
fn covering(kept: &BTreeMap<(bool, u8, IpAddr), Way>, network: IpNet) -> Option<Way> {
    let mut around = network;
    while let Some(shorter) = around.supernet() {
        if let Some(way) = kept.get(&(shorter.addr().is_ipv6(), shorter.prefix_len(), shorter.addr())) {
            return Some(*way);
        }
        around = shorter;
    }
    None
}

/// The keeper of the table; it stops when dropped.
#[derive(Debug)]
pub struct Routes {
    ways: watch::Receiver<Ways>,
    task: JoinHandle<()>,
}

impl Routes {
    /// Reads the table and follows it in the calling thread's network namespace.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn start() -> Result<Self, NetlinkError> {
        let events = Netlink::events()?;
        let netlink = Netlink::open()?;
        let (sender, ways) = watch::channel(condense(&netlink.main_routes().await?));
        let task = tokio::spawn(follow_for_ever(netlink, events, sender));
        Ok(Self { ways, task })
    }

    /// The table.
    #[must_use]
    pub fn ways(&self) -> watch::Receiver<Ways> {
        self.ways.clone()
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow_for_ever(netlink: Netlink, events: Events, sender: watch::Sender<Ways>) {
    let mut sockets = Ok((netlink, events));
    loop {
        let error = match sockets {
            Ok((netlink, mut events)) => match follow(&netlink, &mut events, &sender).await {
                Ok(()) => return,
                Err(error) => error,
            },
            Err(error) => error,
        };
        tracing::warn!(%error, "following the routes failed; starting over");
        tokio::time::sleep(REOPEN_AFTER).await;
        sockets = Netlink::events().and_then(|events| Ok((Netlink::open()?, events)));
    }
}

/// Publishes every change until nobody wants them.
async fn follow(
    netlink: &Netlink,
    events: &mut Events,
    sender: &watch::Sender<Ways>,
) -> Result<(), NetlinkError> {
    loop {
        let ways = condense(&netlink.main_routes().await?);
        sender.send_if_modified(|old| {
            let is_new = *old != ways;
            *old = ways;
            is_new
        });
        let next_reading = tokio::time::sleep(RE_READ);
        tokio::pin!(next_reading);
        let mut settled = false;
        loop {
            tokio::select! {
                () = sender.closed() => return Ok(()),
                () = &mut next_reading => break,
                event = events.next() => {
                    if !settled && is_of_routes(&event?) {
                        settled = true;
                        next_reading.as_mut().reset(tokio::time::Instant::now() + SETTLE);
                    }
                }
            }
        }
    }
}

/// May the routes be others after this? A device that goes down takes its routes along without a word.
fn is_of_routes(event: &Event) -> bool {
    match event {
        Event::Route(_) | Event::Link(_) | Event::LinkGone(_) | Event::AddressGone(_) | Event::Overrun => {
            true
        }
        Event::Neighbour(_) | Event::NeighbourGone { .. } | Event::Address(_) | Event::Rules => false,
    }
}

#[cfg(test)]
mod tests;

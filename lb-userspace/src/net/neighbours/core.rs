//! What to ask the kernel, and what its answers mean for each wanted address.
//!
//! ```text
//!            wanted                 route on a segment            kernel has an address
//! (unwanted) ──────► Incomplete ──────────────────────► Incomplete ──────────────────► Resolved
//!                        │ no route, router, own address   │  ▲ ▲                          │
//!                        ▼                       no answer │  │ └── entry or link changed ─┤
//!              NoRoute, Gateway, Local, Device             ▼  │                            │
//!                        ▲                              NoAnswer ◄──── FAILED ─────────────┘
//!                        └── routes are looked up again whenever one that covers the address, a device,
//!                            an address or a rule changes
//! ```
//!
//! No clock: `now` is the time since an origin the caller chose. Time passes by calling [`Core::step`] with any
//! event at or after [`Core::next_deadline`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use super::{Reason, Resolution};
use crate::net::netlink::{self, Link, Neighbour, NeighbourState, Route};

/// An address that the kernel knows nothing of is probed this often.
pub const RETRY: Duration = Duration::from_millis(500);
/// The kernel repeats its own question every second and gives up after three; this only guards against a
/// missed end.
pub const GIVE_UP_WAITING: Duration = Duration::from_secs(5);
/// A known address that is not confirmed is refreshed this often.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Route look-ups wait this long for further changes: one change of configuration makes several.
pub const SETTLE: Duration = Duration::from_millis(20);
/// Everything is read again this often, whatever the events said.
pub const RE_READ: Duration = Duration::from_secs(60);
/// After lost events the tables are not read more often than this.
pub const RE_READ_SPACING: Duration = Duration::from_millis(250);

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Listening has begun (again): whatever happened before is unknown.
    Started,
    /// These addresses are wanted, no others.
    Wanted(BTreeSet<IpAddr>),
    /// The answer to [`Action::ReadTables`]: all devices and neighbours.
    Tables {
        /// All devices.
        links: Vec<Link>,
        /// All neighbour entries.
        neighbours: Vec<Neighbour>,
    },
    /// The answer to [`Action::LookUpRoutes`]; `None` where there is no route.
    Routes(Vec<(IpAddr, Option<Route>)>),
    /// The kernel announced a change.
    Kernel(netlink::Event),
    /// Time has passed.
    Timer,
}

/// What to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read all devices and neighbours.
    ReadTables,
    /// Look these routes up.
    LookUpRoutes(Vec<IpAddr>),
    /// Make the kernel resolve or refresh these, on the devices of these indices.
    Probe(Vec<(u32, IpAddr)>),
    /// Tell what changed; `None` for addresses no longer wanted.
    Publish(Vec<(IpAddr, Option<Resolution>)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RouteState {
    Unknown,
    Absent,
    Known(Route),
}

#[derive(Debug)]
struct Target {
    route: RouteState,
    resolution: Resolution,
    /// When the kernel was last asked to resolve it on the route's device.
    probed_at: Option<Duration>,
    /// Its key in [`Core::due`].
    probe_at: Option<Duration>,
}

/// What the kernel says of a neighbour on a device.
type Entry = (NeighbourState, Option<[u8; 6]>);

const UNKNOWN: Resolution = Resolution::Unresolved { reason: Reason::Incomplete };

/// The state: what is wanted, what the kernel said, and when to ask again.
#[derive(Debug, Default)]
pub struct Core {
    targets: BTreeMap<IpAddr, Target>,
    links: HashMap<u32, Link>,
    neighbours: HashMap<(u32, IpAddr), Entry>,
    /// Probes to make, by time.
    due: BTreeSet<(Duration, IpAddr)>,
    /// Addresses whose routes may have changed, and when to look them up.
    unsettled: BTreeSet<IpAddr>,
    look_up_at: Option<Duration>,
    read_at: Duration,
    last_read: Option<Duration>,
    /// Addresses to publish at the end of the step.
    changed: BTreeSet<IpAddr>,
}

impl Core {
    /// Wants nothing and knows nothing; the first step reads the tables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// When the next step is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Duration {
        let probe = self.due.first().map(|&(at, _)| at);
        [probe, self.look_up_at].into_iter().flatten().fold(self.read_at, Duration::min)
    }

    /// What is known of a wanted address.
    #[must_use]
    pub fn resolution(&self, address: IpAddr) -> Option<Resolution> {
        self.targets.get(&address).map(|target| target.resolution)
    }

    /// Takes one event, and does what is due by `now`. The answers to the returned actions come back as events.
    #[must_use]
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::Started => self.read_at = now,
            Event::Wanted(wanted) => self.want(wanted, now),
            Event::Tables { links, neighbours } => self.take_tables(links, neighbours, now),
            Event::Routes(routes) => self.take_routes(routes, now),
            Event::Kernel(change) => self.take_change(change, now),
            Event::Timer => {}
        }
        self.do_due(now)
    }

    fn want(&mut self, wanted: BTreeSet<IpAddr>, now: Duration) {
        let gone: Vec<IpAddr> = self.targets.keys().filter(|a| !wanted.contains(a)).copied().collect();
        for address in gone {
            if let Some(Target { probe_at: Some(at), .. }) = self.targets.remove(&address) {
                self.due.remove(&(at, address));
            }
            self.unsettled.remove(&address);
            self.changed.insert(address);
        }
        for address in wanted {
            self.targets.entry(address).or_insert_with(|| {
                self.changed.insert(address);
                self.unsettled.insert(address);
                self.look_up_at = Some(now);
                Target { route: RouteState::Unknown, resolution: UNKNOWN, probed_at: None, probe_at: None }
            });
        }
    }

    fn take_tables(&mut self, links: Vec<Link>, neighbours: Vec<Neighbour>, now: Duration) {
        self.last_read = Some(now);
        self.read_at = now + RE_READ;
        self.links = links.into_iter().map(|link| (link.index, link)).collect();
        self.neighbours =
            neighbours.into_iter().map(|n| ((n.ifindex, n.address), (n.state, n.mac))).collect();
        self.unsettle_all(now);
        self.evaluate_all(now);
    }

    fn take_routes(&mut self, routes: Vec<(IpAddr, Option<Route>)>, now: Duration) {
        for (address, route) in routes {
            let Some(target) = self.targets.get_mut(&address) else { continue };
            let route = route.map_or(RouteState::Absent, RouteState::Known);
            if device(target.route) != device(route) {
                target.probed_at = None;
            }
            target.route = route;
            self.evaluate(address, now);
        }
    }

    fn take_change(&mut self, change: netlink::Event, now: Duration) {
        match change {
            netlink::Event::Link(link) => {
                if self.links.get(&link.index) != Some(&link) {
                    self.links.insert(link.index, link);
                    // The kernel removes the routes of a device that goes down without announcing it.
                    self.unsettle_all(now);
                    self.evaluate_all(now);
                }
            }
            netlink::Event::LinkGone(index) => {
                self.links.remove(&index);
                self.neighbours.retain(|&(ifindex, _), _| ifindex != index);
                self.unsettle_all(now);
                self.evaluate_all(now);
            }
            netlink::Event::Neighbour(Neighbour { ifindex, address, mac, state }) => {
                self.neighbours.insert((ifindex, address), (state, mac));
                self.evaluate(address, now);
            }
            netlink::Event::NeighbourGone { ifindex, address } => {
                self.neighbours.remove(&(ifindex, address));
                self.evaluate(address, now);
            }
            netlink::Event::Address(_) | netlink::Event::AddressGone(_) | netlink::Event::Rules => {
                self.unsettle_all(now);
            }
            netlink::Event::Route(net) => {
                let affected: Vec<IpAddr> = self
                    .targets
                    .range(net.network()..=net.broadcast())
                    .map(|(&address, _)| address)
                    .collect();
                self.unsettle(affected, now);
            }
            netlink::Event::Overrun => {
                let earliest = self.last_read.map_or(now, |last| now.max(last + RE_READ_SPACING));
                self.read_at = self.read_at.min(earliest);
            }
        }
    }

    fn unsettle_all(&mut self, now: Duration) {
        let all: Vec<IpAddr> = self.targets.keys().copied().collect();
        self.unsettle(all, now);
    }

    fn unsettle(&mut self, addresses: Vec<IpAddr>, now: Duration) {
        if !addresses.is_empty() {
            self.unsettled.extend(addresses);
            self.look_up_at.get_or_insert(now + SETTLE);
        }
    }

    fn evaluate_all(&mut self, now: Duration) {
        let all: Vec<IpAddr> = self.targets.keys().copied().collect();
        for address in all {
            self.evaluate(address, now);
        }
    }

    /// Brings one address's resolution and its next probe up to date with what the kernel said.
    fn evaluate(&mut self, address: IpAddr, now: Duration) {
        let Some(target) = self.targets.get(&address) else { return };
        let resolution = self.resolve(address, target);
        let probe_at = self
            .interval(target, &resolution, address)
            .map(|wait| target.probed_at.map_or(now, |t| t + wait));
        let Some(target) = self.targets.get_mut(&address) else { return };
        if target.resolution != resolution {
            target.resolution = resolution;
            self.changed.insert(address);
        }
        if target.probe_at != probe_at {
            if let Some(at) = target.probe_at {
                self.due.remove(&(at, address));
            }
            if let Some(at) = probe_at {
                self.due.insert((at, address));
            }
            target.probe_at = probe_at;
        }
    }

    fn resolve(&self, address: IpAddr, target: &Target) -> Resolution {
        let unresolved = |reason| Resolution::Unresolved { reason };
        let route = match target.route {
            RouteState::Unknown => return UNKNOWN,
            RouteState::Absent => return unresolved(Reason::NoRoute),
            RouteState::Known(Route { local: true, .. }) => return Resolution::Local,
            RouteState::Known(Route { gateway: Some(router), .. }) => {
                return unresolved(Reason::Gateway(router));
            }
            RouteState::Known(route) => route,
        };
        let Some(device) = self.links.get(&route.ifindex).filter(|l| l.is_running()) else {
            return unresolved(Reason::LinkDown);
        };
        let unsupported = unresolved(Reason::Device(device.index));
        let Some(src_mac) = device.mac else { return unsupported };
        let (ifindex, vlan) = match (device.kind.as_deref(), device.vlan) {
            (Some("vlan"), Some(vlan)) => {
                let Some(lower) = device.lower.filter(|_| device.peer_netnsid.is_none()) else {
                    return unsupported;
                };
                match self.links.get(&lower) {
                    Some(lower) if !lower.is_running() => return unresolved(Reason::LinkDown),
                    Some(lower) if lower.vlan.is_some() => return unsupported,
                    Some(lower) => (lower.index, vlan),
                    None => return unresolved(Reason::LinkDown),
                }
            }
            (Some("vlan"), None) => return unsupported,
            _ => (device.index, 0),
        };
        match self.neighbour(route.ifindex, address) {
            (state, Some(mac)) if state.is_valid() => {
                if is_unicast(mac) {
                    Resolution::Resolved { dst_mac: mac, src_mac, ifindex, vlan }
                } else {
                    unsupported
                }
            }
            (NeighbourState::Failed, _) => unresolved(Reason::NoAnswer),
            // Asked again after it did not answer: it still has not.
            _ if target.resolution == unresolved(Reason::NoAnswer) => target.resolution,
            _ => UNKNOWN,
        }
    }

    /// How long after a probe the next one is due; `None` if none is.
    fn interval(&self, target: &Target, resolution: &Resolution, address: IpAddr) -> Option<Duration> {
        let RouteState::Known(route) = target.route else { return None };
        match resolution {
            Resolution::Resolved { .. }
            | Resolution::Unresolved { reason: Reason::NoAnswer | Reason::Incomplete } => {}
            Resolution::Local
            | Resolution::Unresolved {
                reason: Reason::Gateway(_) | Reason::NoRoute | Reason::LinkDown | Reason::Device(_),
            } => return None,
        }
        match self.neighbour(route.ifindex, address).0 {
            NeighbourState::None | NeighbourState::Failed => Some(RETRY),
            NeighbourState::Incomplete => Some(GIVE_UP_WAITING),
            NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe => Some(KEEP_ALIVE),
            // The kernel announces when it ceases to be reachable.
            NeighbourState::Reachable | NeighbourState::NoArp | NeighbourState::Permanent => None,
        }
    }

    fn neighbour(&self, ifindex: u32, address: IpAddr) -> Entry {
        self.neighbours.get(&(ifindex, address)).copied().unwrap_or((NeighbourState::None, None))
    }

    fn do_due(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.read_at <= now {
            // The answer sets both anew; until then no second request is made.
            self.read_at = now + RE_READ;
            actions.push(Action::ReadTables);
        }
        if self.look_up_at.is_some_and(|at| at <= now) {
            self.look_up_at = None;
            let addresses: Vec<IpAddr> = std::mem::take(&mut self.unsettled).into_iter().collect();
            if !addresses.is_empty() {
                actions.push(Action::LookUpRoutes(addresses));
            }
        }
        let mut probes = Vec::new();
        while let Some(&(at, address)) = self.due.first().filter(|&&(at, _)| at <= now) {
            self.due.remove(&(at, address));
            if let Some(target) = self.targets.get_mut(&address) {
                target.probed_at = Some(now);
                target.probe_at = None;
                probes.extend(device(target.route).map(|ifindex| (ifindex, address)));
            }
            self.evaluate(address, now);
        }
        if !probes.is_empty() {
            actions.push(Action::Probe(probes));
        }
        if !self.changed.is_empty() {
            let changed = std::mem::take(&mut self.changed);
            actions.push(Action::Publish(changed.into_iter().map(|a| (a, self.resolution(a))).collect()));
        }
        actions
    }
}

fn device(route: RouteState) -> Option<u32> {
    if let RouteState::Known(route) = route { Some(route.ifindex) } else { None }
}

fn is_unicast(mac: [u8; 6]) -> bool {
    mac != [0; 6] && mac[0] & 1 == 0
}

#[cfg(test)]
mod tests;

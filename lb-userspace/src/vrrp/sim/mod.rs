//! Several directors on a network that loses, doubles, delays and reorders, on a virtual clock.
//!
//! Every director has the same virtual routers, each on a network of its own. Time goes from event to event; what
//! must hold at every moment is checked after each.

mod failover;
mod groups;
mod soak;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use super::{
    machine::{Action, Event, Settings, Sighting, State, Transition},
    packet::{Interval, Version},
    sync::{InstanceId, Output, Routers},
};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Every run of a seed is the same (SplitMix64).
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("a length")
    }

    fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let width = u64::try_from((high - low).as_nanos()).expect("less than centuries");
        low + Duration::from_nanos(self.below(width + 1))
    }

    fn one_in_thousand(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }
}

/// What the network does to each copy of an advert.
#[derive(Debug, Clone, Copy, Default)]
struct Network {
    /// Of a thousand.
    lost: u64,
    /// Of a thousand.
    doubled: u64,
    /// Each copy takes up to this long, so that they overtake each other.
    delay: Duration,
}

#[derive(Debug)]
struct Director {
    settings: Vec<Settings>,
    is_grouped: bool,
    is_ready: bool,
    /// None of a dead one.
    running: Option<(Routers, Vec<InstanceId>)>,
    /// Which virtual routers' addresses it has. A dead one keeps them.
    has_addresses: Vec<bool>,
}

/// Everything that happened to a virtual router: when, to whom, what.
type Happened = (Duration, usize, Transition);

#[derive(Debug)]
struct Sim {
    now: Duration,
    random: Random,
    network: Network,
    directors: Vec<Director>,
    /// Directors of different sides do not hear each other.
    side: Vec<u64>,
    /// By arrival, then by sending.
    wire: BTreeMap<(Duration, u64), (usize, usize, usize, Sighting)>,
    sent: u64,
    happened: Vec<Happened>,
}

impl Sim {
    /// Dead directors with these settings of their virtual routers.
    fn new(seed: u64, settings: Vec<Vec<Settings>>) -> Self {
        let directors: Vec<_> = settings
            .into_iter()
            .map(|settings| Director {
                is_grouped: settings.len() > 1,
                is_ready: true,
                running: None,
                has_addresses: vec![false; settings.len()],
                settings,
            })
            .collect();
        Self {
            now: Duration::ZERO,
            random: Random(seed),
            network: Network::default(),
            side: vec![0; directors.len()],
            directors,
            wire: BTreeMap::new(),
            sent: 0,
            happened: Vec::new(),
        }
    }

    /// One virtual router on directors of these priorities, the first at 192.168.4.2.
    fn of(seed: u64, version: Version, interval: u16, priorities: &[u8]) -> Self {
        let settings = |(index, priority): (usize, &u8)| {
            let interval = Interval::from_centiseconds(interval);
            vec![Settings { interval, ..Settings::new(version, address(index), *priority) }]
        };
        Self::new(seed, priorities.iter().enumerate().map(settings).collect())
    }

    fn change(&mut self, mut change: impl FnMut(&mut Settings)) {
        self.directors.iter_mut().flat_map(|director| &mut director.settings).for_each(&mut change);
    }

    fn start(&mut self, index: usize) {
        let director = &mut self.directors[index];
        let mut routers = Routers::new();
        let ids: Vec<_> = director.settings.iter().map(|settings| routers.add(*settings)).collect();
        if director.is_grouped {
            routers.set_groups([ids.clone()]);
        }
        let is_ready = director.is_ready;
        director.running = Some((routers, ids.clone()));
        for router in 0..ids.len() {
            self.tell(index, router, Event::Ready(is_ready));
        }
        for router in 0..ids.len() {
            self.tell(index, router, Event::Start);
        }
    }

    fn start_all(&mut self) {
        (0..self.directors.len()).for_each(|index| self.start(index));
    }

    /// `kill -9`: no advert, and the addresses stay.
    fn kill(&mut self, index: usize) {
        self.directors[index].running = None;
    }

    /// An event for one virtual router of a living director.
    fn tell(&mut self, index: usize, router: usize, event: Event) {
        let Some((routers, ids)) = &mut self.directors[index].running else { return };
        let outputs = routers.step(ids[router], event, self.now);
        self.carry_out(index, outputs);
    }

    fn tell_all(&mut self, index: usize, event: Event) {
        (0..self.directors[index].settings.len()).for_each(|router| self.tell(index, router, event));
    }

    fn carry_out(&mut self, index: usize, outputs: Vec<Output>) {
        for output in outputs {
            let Output::Instance(id, action) = output else { continue };
            let Some((_, ids)) = &self.directors[index].running else { return };
            let router = ids.iter().position(|other| *other == id).expect("one of its own");
            match action {
                Action::SendAdvert { priority } => self.send(index, router, priority),
                Action::AddAddresses => self.directors[index].has_addresses[router] = true,
                Action::RemoveAddresses => self.directors[index].has_addresses[router] = false,
                Action::Transition(transition) => self.happened.push((self.now, index, transition)),
                Action::SendGarp { .. } | Action::Report(_) => {}
                Action::Want => panic!("stays within the group"),
            }
        }
    }

    fn send(&mut self, from: usize, router: usize, priority: u8) {
        let Settings { address, interval, .. } = self.directors[from].settings[router];
        let sighting = Sighting { from: address, priority, interval };
        for to in (0..self.directors.len()).filter(|to| *to != from) {
            let copies = 1 + u8::from(self.random.one_in_thousand(self.network.doubled));
            for _ in 0..copies {
                if !self.random.one_in_thousand(self.network.lost) {
                    let at = self.now + self.random.between(Duration::ZERO, self.network.delay);
                    self.sent += 1;
                    self.wire.insert((at, self.sent), (from, to, router, sighting));
                }
            }
        }
    }

    /// The next moment at which anything happens by itself.
    fn next(&self) -> Option<Duration> {
        let timers =
            self.directors.iter().filter_map(|director| director.running.as_ref()?.0.next_deadline());
        timers.chain(self.wire.first_key_value().map(|((at, _), _)| *at)).min()
    }

    /// Lets everything happen until then; `check` is called after each event.
    fn run_until(&mut self, until: Duration, mut check: impl FnMut(&Self)) {
        while let Some(at) = self.next().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            // Adverts before timers, as a director reads its sockets first.
            while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (from, to, router, sighting) = entry.remove();
                if self.side[from] == self.side[to] {
                    self.tell(to, router, Event::Advert(sighting));
                    check(self);
                }
            }
            for index in 0..self.directors.len() {
                if let Some((routers, _)) = &mut self.directors[index].running {
                    let outputs = routers.timer(self.now);
                    self.carry_out(index, outputs);
                    check(self);
                }
            }
        }
        self.now = until;
    }

    fn run(&mut self, time: Duration) {
        self.run_until(self.now + time, |_| {});
    }

    fn state(&self, index: usize, router: usize) -> Option<State> {
        let (routers, ids) = self.directors[index].running.as_ref()?;
        routers.get(ids[router]).map(|instance| instance.state())
    }

    fn is_alive(&self, index: usize) -> bool {
        self.directors[index].running.is_some()
    }

    /// The living masters of a virtual router.
    fn masters(&self, router: usize) -> Vec<usize> {
        let is_master = |index: &usize| self.state(*index, router) == Some(State::Master);
        (0..self.directors.len()).filter(is_master).collect()
    }

    /// Exactly one master on each side where any director lives.
    fn assert_one_master_each(&self) {
        for router in 0..self.directors[0].settings.len() {
            for side in 0..=1 {
                let here = |index: &usize| self.side[*index] == side;
                let alive = (0..self.directors.len()).filter(here).any(|index| self.is_alive(index));
                let masters: Vec<_> = self.masters(router).into_iter().filter(here).collect();
                assert_eq!(
                    masters.len(),
                    usize::from(alive),
                    "at {:?}: {masters:?}\n{:#?}",
                    self.now,
                    self.happened
                );
            }
        }
    }

    /// What happened since then.
    fn happened_since(&self, since: Duration) -> &[Happened] {
        let first = self.happened.partition_point(|(at, ..)| *at < since);
        &self.happened[first..]
    }

    /// After this long without a disturbance there is one master on each side: a silent master is waited for, with
    /// the longest skew time and interval there are.
    fn settles_within(&self) -> Duration {
        let settings = || self.directors.iter().flat_map(|director| &director.settings);
        let interval = settings().map(|settings| settings.interval.duration()).max().unwrap_or_default();
        let skew = match settings().any(|settings| settings.version == Version::V2) {
            true => interval.max(secs(1)),
            false => interval,
        };
        // One more skew time for who is not ready, one more interval for two masters to hear each other.
        interval * 4 + skew * 2 + self.network.delay * 2
    }
}

fn address(index: usize) -> IpAddr {
    Ipv4Addr::new(192, 168, 4, 2 + u8::try_from(index).expect("few")).into()
}

/// As RFC 9568 section 6.1 and RFC 3768 section 6.1 have it.
fn skew(settings: &Settings) -> Duration {
    let unit = match settings.version {
        Version::V2 => secs(1),
        Version::V3 => settings.interval.duration(),
    };
    unit * (256 - u32::from(settings.priority)) / 256
}

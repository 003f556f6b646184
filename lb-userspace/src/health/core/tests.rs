//! The core as a whole: with a configuration, an order of events and a clock of the test's own.

mod scenarios;
mod simulation;

use std::collections::VecDeque;

use super::*;
use crate::plane::desired::Desired;

pub(super) fn config(text: &str) -> Config {
    let text = format!("director = {{ interfaces = [\"eth0\"], router_id = \"lvs1\" }}\n{text}");
    Config::parse("test.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) fn outcome(verdict: Verdict) -> Outcome {
    let text = match verdict {
        Verdict::Passed => "connected in 1 ms",
        Verdict::Failed => "connection refused",
        Verdict::Inconclusive => "not checked: no file descriptors",
    };
    Outcome { verdict, text: text.to_owned(), latency: ms(1), number: None }
}

/// A core, the world that it probes, and what it did.
pub(super) struct World {
    pub(super) core: Core,
    pub(super) now: Now,
    pub(super) config: Config,
    /// Probes under way: when they end, and how.
    running: VecDeque<(Now, CheckId, u32, Outcome)>,
    /// How long a probe takes.
    pub(super) latency: Duration,
    pub(super) view: Arc<View>,
    pub(super) published: Vec<Now>,
    pub(super) told: Vec<(Now, Told)>,
    pub(super) probed: u64,
}

impl World {
    pub(super) fn new(text: &str) -> Self {
        Self::with(config(text), None)
    }

    pub(super) fn with(config: Config, tables: Option<&Tables>) -> Self {
        let mut world = Self {
            core: Core::new(42),
            now: ms(0),
            config,
            running: VecDeque::new(),
            latency: ms(1),
            view: Arc::default(),
            published: Vec::new(),
            told: Vec::new(),
            probed: 0,
        };
        let config = world.config.clone();
        let actions = world.core.step(Event::Configure { config: &config, tables }, world.now);
        world.perform(actions, &mut |_| Verdict::Passed);
        world
    }

    pub(super) fn configure(&mut self, text: &str) {
        self.config = config(text);
        let config = self.config.clone();
        let actions = self.core.step(Event::Configure { config: &config, tables: None }, self.now);
        self.perform(actions, &mut |_| Verdict::Passed);
    }

    fn perform(&mut self, actions: Vec<Action>, answer: &mut dyn FnMut(&Target) -> Verdict) {
        for action in actions {
            match action {
                Action::Probe { check, probe, target } => {
                    self.probed += 1;
                    let end = self.now + self.latency;
                    self.running.push_back((end, check, probe, outcome(answer(&target))));
                }
                Action::Cancel { check } => self.running.retain(|(_, running, ..)| *running != check),
                Action::Publish(view) => {
                    self.view = view;
                    self.published.push(self.now);
                }
                Action::Tell(told) => self.told.push((self.now, told)),
            }
        }
    }

    /// Lets time pass; probes are answered by `answer` when they start.
    pub(super) fn run(&mut self, length: Duration, mut answer: impl FnMut(&Target) -> Verdict) {
        let end = self.now + length;
        loop {
            let probe = self.running.front().map(|(at, ..)| *at);
            let next = self.core.deadline().into_iter().chain(probe).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            let actions = match self.running.front() {
                Some((at, ..)) if *at <= self.now => {
                    let (_, check, probe, outcome) = self.running.pop_front().unwrap();
                    self.core.step(Event::Finished { check, probe, outcome }, self.now)
                }
                _ => self.core.step(Event::Tick, self.now),
            };
            self.perform(actions, &mut answer);
        }
        self.now = end;
    }

    /// The real servers in the tables of the first virtual server: last byte of the address, and weight.
    pub(super) fn rotation(&self) -> Vec<(u8, u32)> {
        let mut desired = Desired::from_config(&self.config);
        self.view.apply(&self.config, &mut desired);
        let service = desired.services.values().next().unwrap();
        service.servers.iter().map(|server| (last(server.key.address), server.weight)).collect()
    }

    /// What was told of quorums and real servers, in short, and forgets it.
    pub(super) fn news(&mut self) -> Vec<String> {
        let up = |up: bool| if up { "up" } else { "down" };
        let told = self.told.drain(..).map(|(_, told)| match told {
            Told::RealServer(event) => format!("{} {}", last(event.real_server.address), up(event.up)),
            Told::VirtualServer(event) if event.initial => format!("begins {}", up(event.up)),
            Told::VirtualServer(event) => format!("quorum {}", up(event.up)),
            Told::Vrrp(event) => panic!("{event:?}"),
        });
        told.collect()
    }
}

pub(super) fn last(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    }
}

//! The path check that nobody has to configure: it changes no table, but says what it finds, in the log and in
//! `lbctl list --checks`. Real servers with a `path` check of their own are left to that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Finding, Prober, Question};
use crate::config::checks::ProbeKind;
use crate::config::{Config, Forwarding, Protocol};
use crate::orders::{RealServerName, VirtualServerName, now as seconds_now};
use crate::plane::desired::{ServerKey, ServiceKey};

/// Everyone is asked so often, but not more than one in [`PACE`].
const PERIOD: Duration = Duration::from_secs(10);
/// Two hundred questions a second, spread evenly, however many there are: ten thousand real servers in 50 seconds.
const PACE: Duration = Duration::from_millis(5);
/// Someone whose answer is new, sooner.
const AGAIN: Duration = Duration::from_secs(3);
/// Those who are due within this time are asked together.
const TOGETHER: Duration = Duration::from_millis(200);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// So many are asked at once: as many as are asked within [`TIMEOUT`] if none of them answers, and some more.
const AT_ONCE: usize = 512;
/// So many answers in a row make a state.
const ENOUGH: u32 = 2;

/// What is known of the way to one real server of one virtual server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// The virtual server.
    pub virtual_server: VirtualServerName,
    /// The real server.
    pub real_server: RealServerName,
    /// Whether it takes the VIP's packets and answers them; `None`: not known.
    pub good: Option<bool>,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// What it said last.
    pub finding: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

type Key = (ServiceKey, ServerKey);

/// What is known of one; a state machine without a clock.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    good: Option<bool>,
    since: u64,
    finding: Option<Finding>,
    /// Answers in a row that are otherwise than `good`.
    against: u32,
}

impl Known {
    fn new(now: u64) -> Self {
        Self { good: None, since: now, finding: None, against: 0 }
    }

    /// Takes an answer. Returns whether the state has changed.
    fn heard(&mut self, finding: Finding, now: u64) -> bool {
        let good = finding.is_good();
        self.finding = Some(finding);
        if good.is_none() || good == self.good {
            self.against = 0;
            return false;
        }
        self.against += 1;
        // That all is well is believed at once.
        let changes = self.against >= ENOUGH || (self.good.is_none() && good == Some(true));
        if changes {
            (self.good, self.since, self.against) = (good, now, 0);
        }
        changes
    }

    /// Whether the next answer should come soon.
    fn is_in_doubt(&self) -> bool {
        self.against > 0
    }
}

/// All real servers that are reached by direct routing and have no `path` check of their own.
fn wanted(config: &Config) -> Vec<Key> {
    let mut keys = Vec::new();
    for server in &config.virtual_servers {
        let protocol = match server.protocol {
            Protocol::Tcp => lb_common::net::protocol::TCP,
            Protocol::Udp => lb_common::net::protocol::UDP,
        };
        for real in &server.real_servers {
            let is_checked = real.health.checks.iter().any(|check| check.probe.kind == ProbeKind::Path);
            if real.forwarding != Forwarding::Dr || is_checked {
                continue;
            }
            let server_key = ServerKey { address: real.address, port: real.port };
            for (address, port) in server.endpoints() {
                keys.push((ServiceKey { protocol, address, port }, server_key));
            }
        }
    }
    keys
}

/// The running adviser; it ends when dropped.
#[derive(Debug)]
pub struct Adviser {
    wanted: watch::Sender<Vec<Key>>,
    known: Arc<Mutex<BTreeMap<Key, Known>>>,
    task: JoinHandle<()>,
}

impl Adviser {
    /// Starts asking about the real servers of `config`.
    pub fn start(config: &Config, prober: Prober) -> Self {
        let (sender, receiver) = watch::channel(wanted(config));
        let known = Arc::default();
        let task = tokio::spawn(run(receiver, prober, Arc::clone(&known)));
        Self { wanted: sender, known, task }
    }

    /// Goes over to another configuration. Of those that are in both, nothing is forgotten.
    pub fn reconfigure(&self, config: &Config) {
        self.wanted.send_replace(wanted(config));
    }

    /// All that is known.
    pub fn report(&self) -> Vec<Advice> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(key, known)| advice(key, known)).collect()
    }
}

impl Drop for Adviser {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn advice((service, server): &Key, known: &Known) -> Advice {
    let finding = known.finding.as_ref();
    Advice {
        virtual_server: (*service).into(),
        real_server: (*server).into(),
        good: known.good,
        since: known.since,
        finding: finding.map_or_else(|| "not asked yet".to_owned(), ToString::to_string),
        remedy: finding.and_then(|finding| remedy(service, finding)),
    }
}

/// What an operator can do about a finding.
pub fn remedy(service: &ServiceKey, finding: &Finding) -> Option<String> {
    if finding.lacks_vip() {
        return Some(format!("run `lbctl realserver start --vip {}` there", service.address));
    }
    matches!(finding, Finding::Refused(_))
        .then(|| format!("let its service listen on {} or on all addresses", service.address))
}

async fn run(mut wanted: watch::Receiver<Vec<Key>>, prober: Prober, known: Arc<Mutex<BTreeMap<Key, Known>>>) {
    let mut due: BTreeMap<Key, Instant> = BTreeMap::new();
    let mut is_new = true;
    loop {
        if is_new {
            let keys = wanted.borrow_and_update().clone();
            due = planned(&keys, &due, Instant::now() + AGAIN);
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|key, _| due.contains_key(key));
            for key in keys {
                known.entry(key).or_insert_with(|| Known::new(seconds_now()));
            }
        }
        let next = due.values().min().map(|next| (*next).max(Instant::now() + TOGETHER));
        let sleep = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        is_new = tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => true,
                Err(_owner_is_gone) => return,
            },
            () = sleep => false,
        };
        if is_new {
            continue;
        }
        let now = Instant::now();
        let asked: Vec<Key> = due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).collect();
        let ask = |key: Key| {
            let prober = prober.clone();
            async move {
                let (service, server) = key;
                let question = Question {
                    vip: service.address,
                    port: service.port,
                    protocol: service.protocol,
                    real_server: server.address,
                    timeout: TIMEOUT,
                };
                (key, prober.ask(&question).await)
            }
        };
        let mut answers = stream::iter(asked).map(ask).buffer_unordered(AT_ONCE);
        while let Some((key, finding)) = answers.next().await {
            let in_doubt = heard(&known, key, finding);
            due.insert(key, Instant::now() + if in_doubt { AGAIN } else { period(due.len()) });
        }
    }
}

/// From one question about a real server to the next, if there are `count`.
fn period(count: usize) -> Duration {
    PERIOD.max(PACE.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)))
}

/// When each is asked next: the old ones when they were to be, the new ones from `start` on, one after the other.
fn planned(keys: &[Key], old: &BTreeMap<Key, Instant>, start: Instant) -> BTreeMap<Key, Instant> {
    let mut next = start;
    let mut place = || {
        let place = next;
        next += PACE;
        place
    };
    keys.iter().map(|key| (*key, old.get(key).copied().unwrap_or_else(&mut place))).collect()
}

/// Keeps an answer and says what is new. Returns whether it is to be asked again soon.
fn heard(known: &Mutex<BTreeMap<Key, Known>>, key: Key, finding: Finding) -> bool {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(known) = known.get_mut(&key) else { return false };
    let (service, server) = key;
    let was = known.good;
    if known.heard(finding.clone(), seconds_now()) {
        match known.good {
            Some(true) if was == Some(false) => {
                tracing::info!("real server {server} of {service}: takes its packets again: {finding}");
            }
            Some(false) => {
                let remedy = remedy(&service, &finding).unwrap_or_default();
                tracing::warn!("real server {server} of {service}: {finding}; {remedy}");
            }
            _ => {}
        }
    }
    known.is_in_doubt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::neighbours::Reason;

    #[test]
    fn one_lost_answer_is_no_news() {
        let mut known = Known::new(0);
        let good = || Finding::Answered(Duration::from_millis(1));
        let bad = || Finding::Silent(TIMEOUT);
        assert!(known.heard(good(), 1), "good news is believed at once");
        assert!(!known.heard(bad(), 2));
        assert!(known.is_in_doubt());
        assert!(!known.heard(good(), 3));
        assert!(!known.is_in_doubt());
        assert!(!known.heard(bad(), 4));
        assert!(!known.heard(Finding::Unresolved(Reason::Incomplete), 5), "says nothing");
        assert!(!known.heard(bad(), 6));
        assert!(known.heard(bad(), 7));
        assert_eq!((known.good, known.since), (Some(false), 7));
        assert!(!known.heard(good(), 8));
        assert!(known.heard(good(), 9));
        assert_eq!(known.good, Some(true));
    }

    #[test]
    fn a_new_one_is_not_called_bad_for_one_answer() {
        let mut known = Known::new(0);
        assert!(!known.heard(Finding::Forwards, 1));
        assert!(known.heard(Finding::Forwards, 2));
        assert_eq!(known.good, Some(false));
    }

    #[test]
    fn ten_thousand_are_asked_one_after_the_other() {
        let key = |number: u32| -> Key {
            let service = ServiceKey::new(Protocol::Tcp, [192, 168, 4, 15].into(), 80);
            (service, ServerKey { address: std::net::Ipv4Addr::from(0x0a00_0000 + number).into(), port: 80 })
        };
        let keys: Vec<Key> = (0..10_000).map(key).collect();
        let start = Instant::now();
        let plan = planned(&keys, &BTreeMap::new(), start);
        let mut times: Vec<_> = plan.values().map(|at| *at - start).collect();
        times.sort();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == PACE));
        assert_eq!(period(keys.len()), Duration::from_secs(50));
        assert_eq!(period(2), PERIOD);
        // A reload does not disturb who was there.
        let more: Vec<Key> = (9_990..10_010).map(key).collect();
        let later = planned(&more, &plan, start + PERIOD);
        assert_eq!(later[&key(9_995)], plan[&key(9_995)]);
        assert_eq!(later[&key(10_001)], start + PERIOD + PACE);
        assert_eq!(later.len(), 20);
    }

    #[test]
    fn direct_routing_without_a_check_of_its_own_is_advised_about() {
        let text = r#"
            [director]
            interfaces = ["eth0"]
            [[virtual_server]]
            address = "192.168.4.15:80"
              [[virtual_server.real_server]]
              address = "192.168.4.100"
              [[virtual_server.real_server]]
              address = "192.168.4.200"
                [[virtual_server.real_server.check]]
                type = "path"
              [[virtual_server.real_server]]
              address = "192.168.4.150"
              forwarding = "nat"
        "#;
        let config = Config::parse("lbctl.toml", text).unwrap();
        let found: Vec<_> =
            wanted(&config).iter().map(|(service, server)| format!("{service} {server}")).collect();
        assert_eq!(found, ["192.168.4.15:80/tcp 192.168.4.100:80"]);
    }
}

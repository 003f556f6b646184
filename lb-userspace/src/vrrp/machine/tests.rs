//! The transition table, then each rule by itself, then random events.

mod properties;
mod rules;
mod table;

use std::{net::Ipv4Addr, time::Duration};

use super::{super::packet::Version, *};

/// 192.168.4.`host`.
fn host(host: u8) -> IpAddr {
    Ipv4Addr::new(192, 168, 4, host).into()
}

/// 192.168.4.2 with priority 100 and an advert each second; version 3, so that the skew time is 156/256 s.
fn settings() -> Settings {
    Settings::new(Version::V3, host(2), 100)
}

fn sighting(from: u8, priority: u8) -> Sighting {
    Sighting { from: host(from), priority, interval: Interval::DEFAULT }
}

fn advert(from: u8, priority: u8) -> Event {
    Event::Advert(sighting(from, priority))
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Makes it take all of these events at `now`, and returns what the last one did.
fn told(instance: &mut Instance, events: &[Event], now: Duration) -> Vec<Action> {
    events.iter().map(|event| instance.step(*event, now)).last().unwrap_or_default()
}

/// Ready and started at 0.
fn backup(settings: Settings) -> Instance {
    let mut instance = Instance::new(settings);
    told(&mut instance, &[Event::Ready(true), Event::Start], Duration::ZERO);
    assert_eq!(instance.state(), State::Backup);
    instance
}

/// Steps through timers from 0 until it is master; returns when that was.
fn master(settings: Settings) -> (Instance, Duration) {
    let mut instance = backup(settings);
    let at = instance.next_deadline().expect("a timer");
    told(&mut instance, &[Event::Timer], at);
    assert_eq!(instance.state(), State::Master);
    (instance, at)
}

/// In one word each, for a reader.
fn words(actions: &[Action]) -> String {
    let word = |action: &Action| match action {
        Action::SendAdvert { priority } => format!("advert {priority}"),
        Action::AddAddresses => "add".to_owned(),
        Action::RemoveAddresses => "remove".to_owned(),
        Action::SendGarp { repeat } => format!("garp {repeat}"),
        Action::Transition(Transition { from, to, why }) => format!("{from}→{to} {}", why.name()),
        Action::Report(report) => {
            let report = format!("{report:?}");
            format!("say {}", report.split(|end: char| !end.is_alphanumeric()).next().unwrap_or_default())
        }
        Action::Want => "want".to_owned(),
    };
    actions.iter().map(word).collect::<Vec<_>>().join(", ")
}

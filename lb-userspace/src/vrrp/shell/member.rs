//! One virtual router of the protocol's thread: its configuration, its socket addresses, its counters, its past.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::holder::Interfaces;
use super::settings;
use crate::config::vrrp::VrrpInstance;
use crate::net::colons;
use crate::vrrp::machine::{Hand, Instance, State, Transition};
use crate::vrrp::packet::{Addresses, Check, GROUP_V4, GROUP_V6, VirtualRouterId};
use crate::vrrp::status::{InstanceStatus, MasterStatus, TrackedStatus, TransitionStatus};
use crate::vrrp::sync::InstanceId;

/// Transitions remembered.
const PAST: usize = 32;
/// Other directors that are told of. A virtual router has one or two; who makes up addresses fills no memory.
const MAX_PEERS: usize = 64;
/// Senders whose first wrong advert of a kind is logged; more are counted only.
const MAX_TOLD: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sent: u64,
    pub(super) zero_sent: u64,
    pub(super) received: u64,
    pub(super) zero_received: u64,
    pub(super) send_failures: u64,
    pub(super) became_master: u64,
    pub(super) put_back: u64,
    pub(super) checks: [u64; Check::ALL.len()],
}

impl Counters {
    pub(super) fn count(&mut self, check: Check) {
        if let Some(counter) = self.checks.get_mut(check.index()) {
            *counter += 1;
        }
    }
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: InstanceId,
    pub(super) config: Arc<VrrpInstance>,
    pub(super) router: VirtualRouterId,
    pub(super) addresses: Addresses,
    /// Where adverts come from.
    pub(super) source: Option<IpAddr>,
    /// Index of the interface, while it is there.
    pub(super) interface: Option<u32>,
    /// What a killed daemon left is still there, until a living master is heard.
    pub(super) has_leftovers: bool,
    pub(super) counters: Counters,
    past: VecDeque<(SystemTime, Transition)>,
    told: BTreeSet<(IpAddr, Check)>,
    /// Who has sent a good advert.
    peers: BTreeSet<IpAddr>,
    /// Whether the last advert could be sent.
    pub(super) sends: bool,
}

impl Member {
    pub(super) fn new(id: InstanceId, config: Arc<VrrpInstance>, router: VirtualRouterId) -> Self {
        Self {
            id,
            addresses: settings::addresses(&config),
            config,
            router,
            source: None,
            interface: None,
            has_leftovers: false,
            counters: Counters::default(),
            past: VecDeque::new(),
            told: BTreeSet::new(),
            peers: BTreeSet::new(),
            sends: true,
        }
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.config.is_ipv6()
    }

    /// Where adverts go.
    pub(super) fn destinations(&self) -> Vec<IpAddr> {
        if !self.config.unicast_peers.is_empty() {
            self.config.unicast_peers.clone()
        } else if self.is_ipv6() {
            vec![GROUP_V6.into()]
        } else {
            vec![GROUP_V4.into()]
        }
    }

    /// What the interface is like now: whether it runs, and the address that adverts come from.
    pub(super) fn look_at(
        &self,
        interfaces: &Interfaces,
        virtual_addresses: &BTreeSet<IpAddr>,
    ) -> (bool, Option<IpAddr>) {
        let Some(own) = interfaces.get(&self.config.interface) else { return (false, None) };
        let source = match self.config.source_address {
            Some(configured) => own.addresses.contains(&configured).then_some(configured),
            None => own.addresses.iter().copied().find(|address| {
                let fits = match address {
                    IpAddr::V4(_) => !self.is_ipv6(),
                    // RFC 9568 section 5.1.2.1: adverts come from the link-local address.
                    IpAddr::V6(v6) => self.is_ipv6() && v6.is_unicast_link_local(),
                };
                fits && !virtual_addresses.contains(address)
            }),
        };
        (own.is_running, source)
    }

    /// Whether the macvlan with its virtual MAC is there; of an instance that has none, yes.
    pub(super) fn has_virtual_mac(&self, interfaces: &Interfaces) -> bool {
        let Some(own) = &self.config.virtual_mac else { return true };
        interfaces.get(&own.interface).is_some_and(|found| {
            found.mac == self.config.mac() && found.base.is_some() && found.base == self.interface
        })
    }

    /// Whether a message about this sender and this check is the first.
    pub(super) fn is_news(&mut self, from: IpAddr, check: Check) -> bool {
        self.told.len() < MAX_TOLD && self.told.insert((from, check))
    }

    /// Whether a good advert is the first of its sender.
    pub(super) fn is_new_peer(&mut self, from: IpAddr) -> bool {
        self.peers.len() < MAX_PEERS && self.peers.insert(from)
    }

    pub(super) fn remember(&mut self, transition: Transition) {
        if transition.to == State::Master {
            self.counters.became_master += 1;
        }
        self.told.clear();
        self.past.push_front((SystemTime::now(), transition));
        self.past.truncate(PAST);
    }

    pub(super) fn status(
        &self,
        core: &Instance,
        tracked: Vec<TrackedStatus>,
        now: Duration,
    ) -> InstanceStatus {
        let status = core.status(now);
        let config = &self.config;
        let checks: BTreeMap<_, _> = Check::ALL
            .iter()
            .zip(self.counters.checks)
            .map(|(check, count)| (check.name().to_owned(), count))
            .collect();
        InstanceStatus {
            name: config.name.clone(),
            state: status.state.name().to_owned(),
            interface: config.interface.clone(),
            virtual_mac: config.mac().map(colons),
            virtual_mac_interface: config.virtual_mac.as_ref().map(|own| own.interface.clone()),
            virtual_router_id: config.virtual_router_id,
            version: settings::version(config).number(),
            priority: status.priority,
            effective_priority: status.effective,
            advertised_priority: status.advertised,
            advert_interval_ms: ms(config.advert_interval),
            source: self.source.map(|source| source.to_string()),
            destinations: self.destinations().iter().map(ToString::to_string).collect(),
            addresses: config.addresses().map(ToString::to_string).collect(),
            master: status.master.map(|master| MasterStatus {
                address: master.last.from.to_string(),
                priority: master.last.priority,
                advert_interval_ms: ms(master.last.interval.duration()),
                heard_ago_ms: ms(now.saturating_sub(master.heard)),
            }),
            due_in_ms: status.due_in.map(ms),
            master_down_interval_ms: ms(status.master_down_interval),
            skew_ms: ms(status.skew),
            preempts_in_ms: status.preempts_in.map(ms),
            order: status.hand.map(|hand| match hand {
                Hand::Releasing { .. } => "released: waiting for another director".to_owned(),
                Hand::Released => "released: every other master is left alone".to_owned(),
                Hand::Taken { raised: 0 } => "taken".to_owned(),
                Hand::Taken { raised } => format!("taken, with priority {raised}"),
            }),
            faults: core.faults().map(|fault| fault.to_string()).collect(),
            tracked,
            transitions: self.past.iter().map(|(at, transition)| past(*at, transition)).collect(),
            adverts_sent: self.counters.sent,
            zero_priority_sent: self.counters.zero_sent,
            adverts_received: self.counters.received,
            zero_priority_received: self.counters.zero_received,
            send_failures: self.counters.send_failures,
            became_master: self.counters.became_master,
            put_back: self.counters.put_back,
            checks,
        }
    }
}

fn past(at: SystemTime, transition: &Transition) -> TransitionStatus {
    TransitionStatus {
        at: at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        from: transition.from.name().to_owned(),
        to: transition.to.name().to_owned(),
        reason: transition.why.name().to_owned(),
        why: transition.why.to_string(),
    }
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

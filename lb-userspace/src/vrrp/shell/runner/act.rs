//! What the state machines want done.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::holder::Task;
use super::super::{Carried, News, settings};
use super::Runner;
use crate::net::frames::Frames;
use crate::vrrp::machine::{Action, Report, State};
use crate::vrrp::packet::{Advert, Ipv4Checksum, PRIORITY_LEAVING, frame};
use crate::vrrp::sync::{GroupId, InstanceId, Output};

impl Runner {
    pub(super) fn perform(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Instance(id, action) => self.act(id, action),
                Output::Group { group, from, to } => self.group_changed(group, from, to),
            }
        }
    }

    pub(super) fn act(&mut self, id: InstanceId, action: Action) {
        match action {
            Action::SendAdvert { priority } => self.send(id, priority),
            Action::AddAddresses => {
                if let Some(member) = self.member_mut(id) {
                    member.has_leftovers = false;
                    let instance = Arc::clone(&member.config);
                    // The state is told before the transition is.
                    let generation = self.publish_with(Some(id));
                    drop(self.outlets.holder.send(Task::Hold { instance, generation }));
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
                    drop(self.outlets.holder.send(Task::Announce { instance, repeat }));
                }
            }
            Action::Transition(transition) => {
                let priority =
                    self.routers.get(id).map_or(0, |core| core.status(self.origin.elapsed()).effective);
                if let Some(member) = self.member_mut(id) {
                    tracing::info!("{}: {transition}", member.config.name);
                    member.remember(transition);
                    let instance = Arc::clone(&member.config);
                    drop(self.outlets.news.send(News::Instance { instance, to: transition.to, priority }));
                }
            }
            Action::Report(report) => self.report(id, report),
            Action::Want => {}
        }
    }

    pub(super) fn report(&mut self, id: InstanceId, report: Report) {
        let Some(member) = self.member(id) else { return };
        let name = &member.config.name;
        if let Report::TwoMasters(_) = report {
            let instance = Arc::clone(&member.config);
            let priority = self.routers.get(id).map_or(0, |core| core.status(self.now()).effective);
            drop(self.outlets.news.send(News::LowerPriority { instance, priority }));
        }
        if report.is_warning() {
            tracing::warn!("{name}: {report}");
        } else {
            tracing::info!("{name}: {report}");
        }
        if report == Report::ReleaseUntaken {
            self.publish();
        }
    }

    pub(super) fn release(&mut self, id: InstanceId) {
        if let Some(member) = self.member_mut(id) {
            member.has_leftovers = false;
            let instance = Arc::clone(&member.config);
            drop(self.outlets.holder.send(Task::Release { instance }));
        }
    }

    pub(super) fn group_changed(&mut self, id: GroupId, from: State, to: State) {
        if let Some(group) = self.groups.get(id.0) {
            tracing::info!("group {}: {from} to {to}", group.name);
            drop(self.outlets.news.send(News::Group { group: Arc::new(group.clone()), to }));
        }
    }

    pub(super) fn send(&mut self, id: InstanceId, priority: u8) {
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
        if self.frames.is_none() && config.sends_from_virtual_mac() {
            self.frames = Frames::open(0, 0, &[]).ok();
        }
        for to in member.destinations() {
            let sent = match advert.encode(source, to, Ipv4Checksum::PseudoHeader) {
                Ok(payload) => match config.mac().filter(|_| config.sends_from_virtual_mac()) {
                    None => sockets.send(&payload, source, to, ttl).map_err(|error| error.to_string()),
                    Some(mac) => send_frame(self.frames.as_ref(), interface, &payload, source, mac),
                },
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
    pub(super) fn publish(&self) -> u64 {
        self.publish_with(None)
    }

    /// As [`Runner::publish`], as if this instance were master already.
    pub(super) fn publish_with(&self, master: Option<InstanceId>) -> u64 {
        // Before the interfaces are known nothing is known to be elsewhere.
        if !self.has_interfaces {
            return self.outlets.carried.borrow().generation;
        }
        let mut carried = BTreeSet::new();
        for member in &self.members {
            let is_here =
                self.state(member.id) == State::Master || member.has_leftovers || master == Some(member.id);
            if is_here {
                carried.extend(member.config.addresses().map(|own| own.address));
            }
        }
        let new = Carried {
            generation: 0,
            here: carried,
            all: self.virtual_addresses(),
            hands_over: self.hands_over(),
        };
        self.outlets.carried.send_if_modified(|now| {
            let new = Carried { generation: now.generation, ..new };
            let is_new = *now != new;
            if is_new {
                *now = Carried { generation: now.generation + 1, ..new };
            }
            is_new
        });
        self.outlets.carried.borrow().generation
    }
}

/// Sends an advert out of an interface as if it came from this MAC.
fn send_frame(
    frames: Option<&Frames>,
    interface: u32,
    payload: &[u8],
    source: IpAddr,
    mac: [u8; 6],
) -> Result<(), String> {
    let frames = frames.ok_or("no socket for frames can be had")?;
    let frame = frame::to_group(payload, source, mac).ok_or("it is too long")?;
    frames.send(interface, &frame).map_err(|error| error.to_string())
}

//! Another configuration, other interfaces, other results of what is tracked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::super::holder::{Device, Interfaces, Task};
use super::super::member::Member;
use super::super::overheard::Overheard;
use super::super::sockets::Sockets;
use super::super::{filter, settings};
use super::Runner;
use crate::config::vrrp::{SyncGroup, Vrrp, VrrpInstance};
use crate::vrrp::machine::{Event, FaultCause};
use crate::vrrp::priority::{Effective, effective};
use crate::vrrp::sync::InstanceId;

impl Runner {
    /// Makes the instances those of the configuration. What is not changed is not touched.
    pub(super) fn configure(&mut self, config: &Vrrp) {
        self.tracking.configure(config);
        // Before any address comes.
        drop(self.outlets.holder.send(Task::Close(filter::closed(&config.instances))));
        let same_router = |one: &VrrpInstance, two: &VrrpInstance| {
            (&one.name, &one.interface, one.virtual_router_id, one.is_ipv6())
                == (&two.name, &two.interface, two.virtual_router_id, two.is_ipv6())
        };
        let gone: Vec<InstanceId> = self
            .members
            .iter()
            .filter(|member| !config.instances.iter().any(|new| same_router(new, &member.config)))
            .map(|member| member.id)
            .collect();
        for id in gone {
            self.step(id, Event::Shutdown);
            self.routers.remove(id);
            self.members.retain(|member| member.id != id);
        }
        for new in &config.instances {
            let Some(router) = settings::router(new) else { continue };
            let known = self.members.iter().position(|member| same_router(new, &member.config));
            match known.and_then(|index| self.members.get_mut(index)) {
                Some(member) if *member.config == *new => {}
                Some(member) => {
                    let new = Arc::new(new.clone());
                    let old = std::mem::replace(&mut member.config, Arc::clone(&new));
                    member.addresses = settings::addresses(&new);
                    let (id, source) = (member.id, member.source);
                    drop(self.outlets.holder.send(Task::Change { old, new: Arc::clone(&new) }));
                    let effective = self.effective(&new).priority;
                    self.step(id, Event::Reconfigured(settings::settings(&new, source), effective));
                }
                None => {
                    let id = self.routers.add(settings::settings(new, None));
                    self.members.push(Member::new(id, Arc::new(new.clone()), router));
                }
            }
        }
        let place = |name: &str| config.instances.iter().position(|new| new.name == name);
        self.members.sort_by_key(|member| place(&member.config.name));
        self.groups.clone_from(&config.sync_groups);
        let groups: Vec<Vec<InstanceId>> = self
            .groups
            .iter()
            .map(|group| {
                let named = |name: &String| self.members.iter().find(|member| member.config.name == *name);
                group.members.iter().filter_map(named).map(|member| member.id).collect()
            })
            .collect();
        self.routers.set_groups(groups);
        drop(self.outlets.holder.send(Task::Devices(Device::of(&config.instances))));
        drop(self.outlets.holder.send(Task::Pace(config.garp_interval)));
        if self.has_interfaces {
            self.follow_interfaces(self.interfaces.clone());
        }
        self.publish();
    }

    /// Interfaces came, went or changed.
    pub(super) fn follow_interfaces(&mut self, interfaces: Interfaces) {
        self.interfaces = interfaces;
        let virtual_addresses = self.virtual_addresses();
        let mut events = Vec::new();
        for member in &mut self.members {
            let (is_running, source) = member.look_at(&self.interfaces, &virtual_addresses);
            member.interface = self.interfaces.get(&member.config.interface).map(|known| known.index);
            let fault = |is_there: bool, cause| {
                if is_there { Event::Fault(cause) } else { Event::FaultCleared(cause) }
            };
            events.push((member.id, fault(!is_running, FaultCause::LinkDown)));
            if member.source != source {
                member.source = source;
                let effective =
                    self.routers.get(member.id).map_or(0, |core| core.status(Duration::ZERO).effective);
                events.push((
                    member.id,
                    Event::Reconfigured(settings::settings(&member.config, source), effective),
                ));
            }
            events.push((member.id, fault(source.is_none(), FaultCause::NoAddress)));
            // Where the interface is not there, its macvlan cannot be.
            let has_base = self.interfaces.contains_key(&member.config.interface);
            let lacks_mac = has_base && !member.has_virtual_mac(&self.interfaces);
            events.push((member.id, fault(lacks_mac, FaultCause::NoVirtualMac)));
        }
        self.open_sockets();
        self.overhear();
        self.find_leftovers();
        for (id, event) in events {
            self.step(id, event);
        }
        self.follow_tracking();
        self.has_interfaces = true;
        self.publish();
        self.let_time_pass();
    }

    /// A pair of sockets for each interface and family that an instance has, and no other.
    pub(super) fn open_sockets(&mut self) {
        let wanted: BTreeSet<(u32, bool)> =
            self.members.iter().filter_map(|member| Some((member.interface?, member.is_ipv6()))).collect();
        self.sockets.retain(|open| wanted.contains(&(open.interface(), open.is_ipv6())));
        for (interface, is_ipv6) in wanted {
            if self.sockets.iter().any(|open| open.is(interface, is_ipv6)) {
                continue;
            }
            let name = self.interface_name(interface);
            match Sockets::open(&name, interface, is_ipv6) {
                Ok(sockets) => self.sockets.push(sockets),
                Err(error) => tracing::error!("{name}: no adverts can be sent or received: {error}"),
            }
        }
    }

    /// What macvlans keep from the interfaces below them.
    fn overhear(&mut self) {
        let place = |member: &Member| {
            let own = self.interfaces.get(&member.config.virtual_mac.as_ref()?.interface)?;
            Some((own.index, member.interface?, member.is_ipv6(), member.config.mac()?))
        };
        let wanted: Vec<_> = self.members.iter().filter_map(place).collect();
        self.overheard
            .retain(|open| wanted.iter().any(|(device, base, is_ipv6, _)| open.is(*device, *base, *is_ipv6)));
        for (device, base, is_ipv6, mac) in wanted {
            if self.overheard.iter().any(|open| open.is(device, base, is_ipv6)) {
                continue;
            }
            match Overheard::open(device, base, is_ipv6, mac) {
                Ok(open) => self.overheard.push(open),
                Err(error) => {
                    let name = self.interface_name(device);
                    tracing::error!("{name}: adverts of another master would not be heard: {error}");
                }
            }
        }
    }

    pub(super) fn group_of(&self, instance: &VrrpInstance) -> Option<&SyncGroup> {
        self.groups.iter().find(|group| group.members.contains(&instance.name))
    }

    pub(super) fn effective(&self, instance: &VrrpInstance) -> Effective {
        let own = self.tracking.of_instance(instance, &self.interfaces);
        match self.group_of(instance) {
            None => effective(instance.priority, own),
            Some(group) => {
                let of_group = self.tracking.of_group(&group.tracking, &self.interfaces);
                if group.weighted_tracking {
                    effective(instance.priority, of_group.into_iter().chain(own))
                } else {
                    Effective::of_member(instance.priority, of_group, own)
                }
            }
        }
    }

    /// Something tracked changed, so priorities and faults may.
    pub(super) fn follow_tracking(&mut self) {
        let all: Vec<_> =
            self.members.iter().map(|member| (member.id, self.effective(&member.config))).collect();
        for (id, Effective { priority, is_fault }) in all {
            self.step(id, Event::Priority(priority));
            let event = if is_fault {
                Event::Fault(FaultCause::Tracked)
            } else {
                Event::FaultCleared(FaultCause::Tracked)
            };
            self.step(id, event);
        }
    }
}

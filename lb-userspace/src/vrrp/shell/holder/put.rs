//! Addresses, routes and rules put on the host, and taken away.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::record::HeldAddress;
use super::{Held, Holder};
use crate::config::vrrp::{RouteKind, VirtualAddress, VirtualRoute, VirtualRule, VrrpInstance};
use crate::net::netlink::{NetlinkError, NewAddress, NewRoute, NewRule, RouteAction, Scope};

/// Routes and rules that should be there.
pub(super) struct Put {
    /// Whether all are.
    pub(super) is_complete: bool,
    /// Those that were not, in words.
    pub(super) added: Vec<String>,
}

impl Put {
    fn note(&mut self, added: Result<bool, NetlinkError>, text: String, instance: &str) {
        match added {
            Ok(true) => self.added.push(text),
            Ok(false) => {}
            Err(error) => {
                tracing::error!("{instance}: {text}: {error}");
                self.is_complete = false;
            }
        }
    }
}

impl Holder {
    /// Adds what is missing of an instance's addresses, then routes, then rules. Returns the addresses it added.
    pub(super) async fn put(&mut self, instance: &VrrpInstance) -> Vec<IpAddr> {
        let records: Vec<_> = instance.addresses().map(record_of).collect();
        let routes = routes_of(instance);
        let rules: Vec<_> = instance.virtual_rules.iter().collect();
        let written = self.shared.borrow_mut().record.add(records, &routes, &rules);
        if let Err(error) = written {
            tracing::error!("{}: what is added cannot be recorded: {error}", instance.name);
        }
        let mut added = Vec::new();
        let mut is_incomplete = false;
        self.raise(instance).await;
        for own in instance.addresses() {
            let index = self.shared.borrow().interfaces.get(&own.interface).map(|interface| interface.index);
            let Some(ifindex) = index else {
                tracing::error!(
                    "{}: virtual address {own}: there is no interface {}",
                    instance.name,
                    own.interface
                );
                is_incomplete = true;
                continue;
            };
            let new = NewAddress {
                ifindex,
                address: own.address,
                prefix_len: own.prefix_len,
                label: own.label.clone(),
                scope: match own.scope {
                    0 => Scope::Global,
                    253 => Scope::Link,
                    254 => Scope::Host,
                    other => Scope::Other(other),
                },
                // As keepalived: never chosen as a source by itself.
                deprecated: own.address.is_ipv6() && own.prefix_len == 128,
                without_route: self.has_route(instance, own),
            };
            match self.netlink.add_address(&new).await {
                Ok(true) => added.push(own.address),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!("{}: virtual address {own}: {error}", instance.name);
                    is_incomplete = true;
                }
            }
        }
        is_incomplete |= !self.put_routes(instance).await.is_complete;
        if let Some(held) = self.shared.borrow_mut().held.get_mut(&instance.name) {
            held.is_incomplete = is_incomplete;
        }
        added
    }

    /// Whether an address on the macvlan is of a network that the interface below leads to.
    fn has_route(&self, instance: &VrrpInstance, own: &VirtualAddress) -> bool {
        let is_on_macvlan = instance.virtual_mac.as_ref().is_some_and(|mac| mac.interface == own.interface);
        let shared = self.shared.borrow();
        is_on_macvlan
            && shared.interfaces.get(&instance.interface).is_some_and(|base| {
                let network = ipnet::IpNet::new(own.address, own.prefix_len).ok();
                base.addresses.iter().any(|address| network.is_some_and(|network| network.contains(address)))
            })
    }

    pub(super) async fn put_routes(&self, instance: &VrrpInstance) -> Put {
        let mut put = Put { is_complete: true, added: Vec::new() };
        for route in &instance.virtual_routes {
            let text = format!("virtual route {}", route.text);
            let Some(new) = self.new_route(route, &instance.interface) else {
                put.is_complete = false;
                continue;
            };
            put.note(self.netlink.add_route(&new).await, text, &instance.name);
        }
        for rule in &instance.virtual_rules {
            let text = format!("virtual rule {}", rule.text);
            put.note(self.netlink.add_rule(&new_rule(rule)).await, text, &instance.name);
        }
        put
    }

    pub(super) fn new_route(&self, route: &VirtualRoute, interface: &str) -> Option<NewRoute> {
        let name = route.interface.as_deref().unwrap_or(interface);
        let index = self.shared.borrow().interfaces.get(name).map(|known| known.index);
        new_route(route, index)
    }

    /// Removes rules, routes, then addresses, whoever added them. keepalived's order.
    pub(super) async fn take_away(&mut self, instance: &VrrpInstance) {
        let mut problems = Vec::new();
        for rule in &instance.virtual_rules {
            problems.extend(self.netlink.remove_rule(&new_rule(rule)).await.err());
        }
        for route in &instance.virtual_routes {
            if let Some(new) = self.new_route(route, &instance.interface) {
                problems.extend(self.netlink.remove_route(&new).await.err());
            }
        }
        let present = match self.netlink.addresses().await {
            Ok(present) => present,
            Err(error) => {
                problems.push(error);
                Vec::new()
            }
        };
        for own in instance.addresses() {
            let index = self.shared.borrow().interfaces.get(&own.interface).map(|interface| interface.index);
            for found in
                present.iter().filter(|found| found.address == own.address && Some(found.ifindex) == index)
            {
                let removed =
                    self.netlink.remove_address(found.ifindex, found.address, found.prefix_len).await;
                problems.extend(removed.err());
            }
        }
        for problem in &problems {
            tracing::error!("{}: {problem}", instance.name);
        }
        if problems.is_empty() {
            let records: Vec<_> = instance.addresses().map(record_of).collect();
            let rules: Vec<_> = instance.virtual_rules.iter().collect();
            let written = self.shared.borrow_mut().record.remove(&records, &routes_of(instance), &rules);
            if let Err(error) = written {
                tracing::error!("{}: what was removed cannot be recorded: {error}", instance.name);
            }
        }
    }

    pub(super) async fn change(&mut self, old: &VrrpInstance, new: Arc<VrrpInstance>) {
        let is_held = self.shared.borrow_mut().held.remove(&old.name).is_some();
        let mut gone = old.clone();
        let stays = |own: &VirtualAddress| {
            new.addresses().any(|other| (other.address, &other.interface) == (own.address, &own.interface))
        };
        gone.virtual_addresses.retain(|own| !stays(own));
        gone.excluded_addresses.retain(|own| !stays(own));
        gone.virtual_routes.retain(|route| !new.virtual_routes.contains(route));
        gone.virtual_rules.retain(|rule| !new.virtual_rules.contains(rule));
        if is_held {
            self.take_away(&gone).await;
            let held = Held { instance: Arc::clone(&new), is_incomplete: true };
            self.shared.borrow_mut().held.insert(new.name.clone(), held);
            if !self.put(&new).await.is_empty() {
                self.announce(&new, new.garp.repeat).await;
            }
        }
    }
}

fn record_of(own: &VirtualAddress) -> HeldAddress {
    HeldAddress { interface: own.interface.clone(), address: own.address, prefix_len: own.prefix_len }
}

fn routes_of(instance: &VrrpInstance) -> Vec<(&VirtualRoute, &str)> {
    instance.virtual_routes.iter().map(|route| (route, instance.interface.as_str())).collect()
}

/// `None` if the route's device is not there. A route that answers needs none.
pub(in crate::vrrp::shell) fn new_route(route: &VirtualRoute, ifindex: Option<u32>) -> Option<NewRoute> {
    let action = match route.kind {
        RouteKind::Unicast => RouteAction::Forward,
        RouteKind::Blackhole => RouteAction::Blackhole,
        RouteKind::Unreachable => RouteAction::Unreachable,
        RouteKind::Prohibit => RouteAction::Prohibit,
    };
    let ifindex = match action {
        RouteAction::Forward => Some(ifindex?),
        RouteAction::Blackhole | RouteAction::Unreachable | RouteAction::Prohibit => None,
    };
    Some(NewRoute {
        to: route.to,
        via: route.via,
        ifindex,
        source: route.source,
        metric: route.metric,
        table: route.table,
        scope: route.scope,
        action,
    })
}

pub(in crate::vrrp::shell) fn new_rule(rule: &VirtualRule) -> NewRule {
    NewRule {
        is_ipv6: rule.is_ipv6,
        from: rule.from,
        to: rule.to,
        iif: rule.iif.clone(),
        fwmark: rule.fwmark,
        table: rule.table,
        priority: rule.priority,
    }
}

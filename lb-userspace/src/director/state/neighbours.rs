//! The MACs of real servers and of the routers to clients.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use lb_common::layout::{Destination, NextHop};

use super::Director;
use crate::net::neighbours::{Reason, Resolution, Resolutions};
use crate::plane::applied::address_of;
use crate::plane::apply::{Hop, follow_hops};
use crate::plane::desired::Desired;
use crate::plane::store::Store;

impl Director {
    /// The addresses of the real servers that are configured.
    pub(in crate::director) fn real_addresses(&self) -> BTreeSet<IpAddr> {
        self.config
            .virtual_servers
            .iter()
            .flat_map(|server| &server.real_servers)
            .map(|real| real.address)
            .collect()
    }

    /// Has MACs followed of all real servers in the configuration, so that one that is taken back is reachable at
    /// once, and of those that were removed but still have connections.
    pub(super) fn want_neighbours(&self, desired: &Desired) {
        let mut wanted = desired.real_addresses();
        wanted.extend(Self::candidates(&self.config));
        wanted.extend(self.answering.routers());
        let in_use = |destination: &&Destination| {
            NextHop::from_word(destination.next_hop.load()).flags & NextHop::IN_USE != 0
        };
        wanted.extend(self.loaded.tables.destinations().iter().filter(in_use).map(address_of));
        self.neighbours.set_wanted(wanted);
    }

    /// Asks for the MACs of all real servers, and waits a little for the answers.
    pub(super) async fn resolve(&mut self, desired: &Desired, patience: Duration) {
        self.answering.prepare(desired, &self.netlink).await;
        let resolutions = self.resolutions.borrow().clone();
        self.follow_routers(&resolutions);
        let mut wanted = desired.real_addresses();
        wanted.extend(self.answering.routers());
        self.want_neighbours(desired);
        let known = |resolutions: &Resolutions| {
            wanted.iter().all(|address| {
                resolutions.get(address).is_some_and(|found| !matches!(found, Resolution::Unresolved { .. }))
            })
        };
        // Whether it times out or not, what is known by then is what counts.
        let deadline = tokio::time::Instant::now() + patience;
        while !known(&self.resolutions.borrow_and_update()) {
            let Self { failover, resolutions, .. } = self;
            tokio::select! {
                biased;
                // A takeover does not wait for real servers that are not there.
                news = failover.changed() => self.follow_vrrp(news),
                changed = resolutions.changed() => if changed.is_err() { break },
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        self.follow_neighbours();
    }

    /// Writes what is known of the real servers' MACs into the tables, and reports what changed.
    pub fn follow_neighbours(&mut self) {
        let resolutions = self.resolutions.borrow_and_update().clone();
        self.follow_routers(&resolutions);
        let mut unresolved = BTreeSet::new();
        let mut unreachable = BTreeSet::new();
        self.hops.clear();
        for (address, resolution) in &resolutions {
            match resolution {
                Resolution::Resolved { dst_mac, src_mac, ifindex, vlan } => {
                    let hop = Hop::Link { to: *dst_mac, from: *src_mac, interface: *ifindex, vlan: *vlan };
                    self.hops.insert(*address, hop);
                }
                Resolution::Local => {
                    self.hops.insert(*address, Hop::Local);
                }
                Resolution::Unresolved { reason } => {
                    if let Some(hop) = self.answering.through_router(*address, &resolutions) {
                        self.hops.insert(*address, hop);
                        continue;
                    }
                    unresolved.insert(*address);
                    if *reason != Reason::Incomplete {
                        unreachable.insert(*address);
                    }
                    if !self.unresolved.contains(address) {
                        let who = self.answering.role(address);
                        tracing::warn!("{who} {address} {reason}");
                    }
                }
            }
        }
        for address in self.unresolved.difference(&unresolved).filter(|a| resolutions.contains_key(a)) {
            tracing::info!("{} {address} is reachable", self.answering.role(address));
        }
        self.unresolved = unresolved;
        follow_hops(&self.loaded.tables, &self.hops, &unreachable);
        self.write_ways();
    }
}

//! The ways of packets that do not end on the director's segments: of answers to clients, by the routing table, and
//! of translated packets to real servers behind a router.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::layout::Route;
use tokio::sync::watch;

use super::Director;
use crate::config::Forwarding;
use crate::net::neighbours::{Reason, Resolution, Resolutions};
use crate::net::netlink::Netlink;
use crate::net::routes::{Routes, Way, Ways};
use crate::plane::apply::Hop;
use crate::plane::desired::Desired;
use crate::plane::details::{Details, Near, write_details};
use crate::plane::routes::write_routes;

/// What is known of these ways; nothing as long as no real server's answers come through the director.
#[derive(Debug, Default)]
pub(super) struct Answering {
    keeper: Option<(Routes, watch::Receiver<Ways>)>,
    /// The routers whose MACs are followed.
    routers: BTreeSet<IpAddr>,
    /// The real servers that may be behind a router.
    distant: BTreeSet<IpAddr>,
    /// The director's side of the ways to the real servers by tunnels and by full NAT.
    details: Details,
    /// Those real servers.
    from_here: BTreeSet<IpAddr>,
    /// Whether the operator knows that there are too many routes.
    overflow: bool,
}

impl Answering {
    /// The routers whose MACs are followed.
    pub(super) fn routers(&self) -> &BTreeSet<IpAddr> {
        &self.routers
    }

    /// What an address is, for the log.
    pub(super) fn role(&self, address: &IpAddr) -> &'static str {
        if self.routers.contains(address) && !self.distant.contains(address) {
            "router"
        } else {
            "real server"
        }
    }

    /// Waits for another routing table.
    pub(super) async fn changed(&mut self) {
        if let Some((_, ways)) = &mut self.keeper
            && ways.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    /// Learns what is desired, and follows the routing table as soon as some answers come through the director.
    pub(super) async fn prepare(&mut self, desired: &Desired, netlink: &Netlink) {
        let servers = || desired.services.values().flat_map(|service| &service.servers);
        let distant = servers().filter(|server| server.forwarding != Forwarding::Dr);
        self.distant = distant.map(|server| server.key.address).collect();
        let from_here =
            servers().filter(|server| matches!(server.forwarding, Forwarding::Tun | Forwarding::FullNat));
        self.from_here = from_here.map(|server| server.key.address).collect();
        self.look_up(netlink).await;
        let translates = servers().any(|server| server.forwarding.translates());
        if !translates || self.keeper.is_some() {
            return;
        }
        match Routes::start().await {
            Ok(routes) => {
                let ways = routes.ways();
                self.keeper = Some((routes, ways));
            }
            Err(error) => tracing::error!("the routing table cannot be followed: {error}"),
        }
    }

    /// Asks the kernel how it would send to these real servers. Of whom it does not say, nothing is known any more.
    async fn look_up(&mut self, netlink: &Netlink) {
        self.details.clear();
        let links = match netlink.links().await {
            Ok(links) if !self.from_here.is_empty() => links,
            _ => return,
        };
        for &address in &self.from_here {
            let Ok(route) = netlink.route_to(address).await else { continue };
            let link = links.iter().find(|link| link.index == route.ifindex);
            if let (Some(source), Some(link)) = (route.source, link) {
                self.details.insert(address, Near { source, mtu: link.mtu });
            }
        }
    }

    /// Asks again: devices and addresses have changed.
    pub(super) async fn look_up_again(&mut self, netlink: &Netlink) {
        self.look_up(netlink).await;
    }

    /// Works out the routers that matter; have they changed?
    fn find_routers(&mut self, resolutions: &Resolutions) -> bool {
        let gateway = |address: &IpAddr| match resolutions.get(address) {
            Some(Resolution::Unresolved { reason: Reason::Gateway(router) }) => Some(*router),
            Some(Resolution::Unresolved { .. } | Resolution::Resolved { .. } | Resolution::Local) | None => {
                None
            }
        };
        let mut routers: BTreeSet<IpAddr> = self.distant.iter().filter_map(gateway).collect();
        if let Some((_, ways)) = &mut self.keeper {
            let ways = ways.borrow_and_update();
            routers.extend(ways.iter().filter_map(|(_, way)| match way {
                Way::Router(router) => Some(*router),
                Way::Segment | Way::Refused => None,
            }));
        }
        let changed = routers != self.routers;
        self.routers = routers;
        changed
    }

    /// The way to a real server behind a router whose MAC is known.
    pub(super) fn through_router(&self, address: IpAddr, resolutions: &Resolutions) -> Option<Hop> {
        let Some(Resolution::Unresolved { reason: Reason::Gateway(router) }) = resolutions.get(&address)
        else {
            return None;
        };
        let Some(Resolution::Resolved { dst_mac, src_mac, ifindex, vlan }) = resolutions.get(router) else {
            return None;
        };
        let hop = Hop::Router { to: *dst_mac, from: *src_mac, interface: *ifindex, vlan: *vlan };
        self.distant.contains(&address).then_some(hop)
    }
}

impl Director {
    /// Has the MACs of the routers followed that matter now.
    pub(super) fn follow_routers(&mut self, resolutions: &Resolutions) {
        if self.answering.find_routers(resolutions) {
            self.want_neighbours(&self.desired_now());
        }
    }

    /// Writes the ways of answers into the tables.
    pub(super) fn write_ways(&mut self) {
        write_details(&self.loaded.tables, &self.answering.details);
        let Some((_, ways)) = &self.answering.keeper else { return };
        let fits = write_routes(&self.loaded.tables, &ways.borrow(), &self.hops);
        if !fits && !self.answering.overflow {
            tracing::error!(
                "there are more than {} routes to different routers: answers to clients by the shortest prefixes \
                 are dropped",
                Route::MOST
            );
        }
        self.answering.overflow = !fits;
    }
}

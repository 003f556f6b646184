//! Routes and policy rules, added and removed (RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWRULE, RTM_DELRULE).

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType, RouteVia},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::{Netlink, NetlinkError, family_of};

/// What a route does with packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteAction {
    /// Sends them on.
    Forward,
    /// Drops them.
    Blackhole,
    /// Answers that the host cannot be reached.
    Unreachable,
    /// Answers that it is not allowed.
    Prohibit,
}

/// A route to put into a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRoute {
    /// Destination, without bits beyond the prefix.
    pub to: IpNet,
    /// Router.
    pub via: Option<IpAddr>,
    /// Index of the device.
    pub ifindex: Option<u32>,
    /// Preferred source.
    pub source: Option<IpAddr>,
    /// Metric.
    pub metric: Option<u32>,
    /// Table.
    pub table: u32,
    /// `RT_SCOPE_*`; `None`: global with a router, link without (IPv4; IPv6 routes have no scope).
    pub scope: Option<u8>,
    /// What it does.
    pub action: RouteAction,
}

/// A policy rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRule {
    /// IPv6 or IPv4.
    pub is_ipv6: bool,
    /// Source of matching packets.
    pub from: Option<IpNet>,
    /// Destination of matching packets.
    pub to: Option<IpNet>,
    /// Name of the incoming device.
    pub iif: Option<String>,
    /// Mark.
    pub fwmark: Option<u32>,
    /// Table of the look-up.
    pub table: u32,
    /// Lower is earlier.
    pub priority: Option<u32>,
}

impl Netlink {
    /// Puts a route into its table. `Ok(false)` if there is one to that destination with that metric.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn add_route(&self, route: &NewRoute) -> Result<bool, NetlinkError> {
        let request = RouteNetlinkMessage::NewRoute(route_message(route));
        let operation = format!("add route to {}", route.to);
        absent_is_fine(self.change(request, NLM_F_CREATE | NLM_F_EXCL, &operation).await, &[libc::EEXIST])
    }

    /// Takes a route out of its table. `Ok(false)` if it is not there.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn remove_route(&self, route: &NewRoute) -> Result<bool, NetlinkError> {
        let request = RouteNetlinkMessage::DelRoute(route_message(route));
        let operation = format!("remove route to {}", route.to);
        absent_is_fine(self.change(request, 0, &operation).await, &[libc::ESRCH, libc::ENODEV, libc::EINVAL])
    }

    /// Adds a rule. `Ok(false)` if there is one like it.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn add_rule(&self, rule: &NewRule) -> Result<bool, NetlinkError> {
        let request = RouteNetlinkMessage::NewRule(rule_message(rule));
        let operation = format!("add rule for table {}", rule.table);
        absent_is_fine(self.change(request, NLM_F_CREATE | NLM_F_EXCL, &operation).await, &[libc::EEXIST])
    }

    /// Removes a rule. `Ok(false)` if it is not there.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn remove_rule(&self, rule: &NewRule) -> Result<bool, NetlinkError> {
        let request = RouteNetlinkMessage::DelRule(rule_message(rule));
        let operation = format!("remove rule for table {}", rule.table);
        absent_is_fine(self.change(request, 0, &operation).await, &[libc::ENOENT, libc::ESRCH])
    }
}

fn absent_is_fine(result: Result<(), NetlinkError>, fine: &[i32]) -> Result<bool, NetlinkError> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.errno().is_some_and(|errno| fine.contains(&errno)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// `RT_TABLE_COMPAT`: the table is in the attribute.
const IN_ATTRIBUTE: u8 = 252;

fn short_table(table: u32) -> u8 {
    u8::try_from(table).unwrap_or(IN_ATTRIBUTE)
}

fn route_message(route: &NewRoute) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(route.to.addr());
    message.header.destination_prefix_length = route.to.prefix_len();
    message.header.table = short_table(route.table);
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = match route.action {
        RouteAction::Forward => RouteType::Unicast,
        RouteAction::Blackhole => RouteType::BlackHole,
        RouteAction::Unreachable => RouteType::Unreachable,
        RouteAction::Prohibit => RouteType::Prohibit,
    };
    message.header.scope = match route.scope {
        Some(scope) => RouteScope::from(scope),
        None if route.to.addr().is_ipv4() && route.via.is_none() && route.action == RouteAction::Forward => {
            RouteScope::Link
        }
        None => RouteScope::Universe,
    };
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(route.table));
    if route.to.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(route.to.addr().into()));
    }
    match (route.via, route.to.addr()) {
        (Some(IpAddr::V6(via)), IpAddr::V4(_)) => attributes.push(RouteAttribute::Via(RouteVia::Inet6(via))),
        (Some(via), _) => attributes.push(RouteAttribute::Gateway(via.into())),
        (None, _) => {}
    }
    attributes.extend(route.ifindex.map(RouteAttribute::Oif));
    attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    attributes.extend(route.metric.map(RouteAttribute::Priority));
    message
}

fn rule_message(rule: &NewRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = if rule.is_ipv6 {
        netlink_packet_route::AddressFamily::Inet6
    } else {
        netlink_packet_route::AddressFamily::Inet
    };
    message.header.table = short_table(rule.table);
    message.header.action = RuleAction::ToTable;
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Table(rule.table));
    if let Some(from) = rule.from {
        message.header.src_len = from.prefix_len();
        attributes.push(RuleAttribute::Source(from.addr()));
    }
    if let Some(to) = rule.to {
        message.header.dst_len = to.prefix_len();
        attributes.push(RuleAttribute::Destination(to.addr()));
    }
    attributes.extend(rule.iif.clone().map(RuleAttribute::Iifname));
    attributes.extend(rule.fwmark.map(RuleAttribute::FwMark));
    attributes.extend(rule.priority.map(RuleAttribute::Priority));
    message
}

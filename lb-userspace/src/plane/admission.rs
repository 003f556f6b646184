//! Lists of networks that a virtual server lets in or keeps out, and the steps that change them.
//!
//! Networks are changed in place, each by itself, while packets look sources up; a source must meet what the old lists
//! say of it or what the new ones say, and nothing else. So first what is new or changed is written, from the longest
//! prefix to the shortest, then what is old is removed, from the shortest to the longest: of two networks that have
//! a source, the longer counts, and it is written before and removed after the shorter.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lb_common::admission::{Listing, Rate};
use lb_common::maps::NETWORKS_MAX;

use super::applied::Applied;
use super::desired::Admission;
use super::plan::{PlanError, Step};

/// Networks by the id of their schedule.
pub type Networks = BTreeMap<u16, Lists>;

/// The networks of one virtual server.
pub type Lists = BTreeMap<IpNet, Listing>;

impl Admission {
    /// The networks that the tables should have. With an `allow` list, whom no network names is kept out.
    pub fn lists(&self) -> Lists {
        let all = match self.allow.first() {
            Some(IpNet::V4(_)) => Some(IpNet::V4(Ipv4Net::default())),
            Some(IpNet::V6(_)) => Some(IpNet::V6(Ipv6Net::default())),
            None => None,
        };
        let rest = all.map(|all| (all, Listing::Deny));
        let allow = self.allow.iter().map(|network| (*network, Listing::Allow));
        let deny = self.deny.iter().map(|network| (*network, Listing::Deny));
        rest.into_iter().chain(allow).chain(deny).collect()
    }

    /// The rate that the tables should have.
    pub fn rate(&self) -> Rate {
        self.rate_limit
            .map_or_else(Rate::default, |limit| Rate::per_second(limit.rate, limit.burst, limit.prefix))
    }
}

/// Steps to the lists that are wanted, by schedule: those before virtual servers are changed, and those after.
///
/// # Errors
///
/// There is no room for old and new ones together.
pub(super) fn steps(
    applied: &Applied,
    wanted: &BTreeMap<u16, Lists>,
) -> Result<(Vec<Step>, Vec<Step>), PlanError> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let none = Lists::new();
    let schedules: BTreeSet<u16> = applied.networks.keys().chain(wanted.keys()).copied().collect();
    for schedule in schedules {
        let old = applied.networks.get(&schedule).unwrap_or(&none);
        let new = wanted.get(&schedule).unwrap_or(&none);
        let mut written: Vec<_> =
            new.iter().filter(|(network, listing)| old.get(network) != Some(listing)).collect();
        written.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        let mut removed: Vec<_> = old.keys().filter(|network| !new.contains_key(network)).collect();
        removed.sort_by_key(|network| network.prefix_len());
        let step = |network: &IpNet, listing| Step::Network { schedule, network: *network, listing };
        before.extend(written.into_iter().map(|(network, listing)| step(network, Some(*listing))));
        // A virtual server that is to have no lists looks sources up until it is changed.
        let last = if new.is_empty() { &mut after } else { &mut before };
        last.extend(removed.into_iter().map(|network| step(network, None)));
    }
    for is_ipv6 in [false, true] {
        let of_family = |lists: &Lists| lists.keys().filter(|net| net.addr().is_ipv6() == is_ipv6).count();
        let there: usize = applied.networks.values().map(of_family).sum();
        let is_new = |step: &&Step| {
            let Step::Network { schedule, network, listing: Some(_) } = step else { return false };
            let known = applied.networks.get(schedule).is_some_and(|lists| lists.contains_key(network));
            !known && network.addr().is_ipv6() == is_ipv6
        };
        let wanted = there + before.iter().filter(is_new).count();
        if wanted > NETWORKS_MAX as usize {
            return Err(PlanError::TooManyNetworks { wanted, capacity: NETWORKS_MAX as usize });
        }
    }
    Ok((before, after))
}

#[cfg(test)]
mod tests;

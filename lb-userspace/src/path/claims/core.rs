//! Which claims are wrong: a state machine without clock or socket.
//!
//! A VIP is answered for by its director: this one, or the one that VRRP has made master. A real server that answers,
//! too, draws clients past the director, some of them, some of the time, which is hard to find. A claim is reported when
//! it was heard twice at different times, so nothing is cried during a transition; and is taken back when three rounds
//! of asking have passed without it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use lb_common::net::MacAddress;

#[cfg(test)]
mod tests;

/// Time since whoever counts it began.
pub(super) type Now = Duration;

/// Two claims of one kind within this time are one.
const APART: Duration = Duration::from_secs(1);
/// A VIP that came to this host may still be claimed by the one it left, for so long.
const SETTLES: Duration = Duration::from_secs(10);
/// So many rounds without a claim end it.
const ROUNDS: u32 = 3;
/// So many claimants are kept of one VIP; a host that changes its MAC with each packet fills no memory.
const KEPT: usize = 64;

/// What is known of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Network {
    /// The VIPs to watch.
    pub(super) vips: BTreeSet<IpAddr>,
    /// Those of them that are on this host.
    pub(super) held: BTreeSet<IpAddr>,
    /// This host's own MACs.
    pub(super) own: BTreeSet<MacAddress>,
    /// The other directors'.
    pub(super) peers: BTreeSet<MacAddress>,
    /// The real servers' MACs and addresses.
    pub(super) real_servers: BTreeMap<MacAddress, BTreeSet<IpAddr>>,
    /// Everybody's, from the neighbour table.
    pub(super) neighbours: BTreeMap<MacAddress, BTreeSet<IpAddr>>,
}

/// A wrong claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) vip: IpAddr,
    pub(super) mac: MacAddress,
    /// Where it was heard last.
    pub(super) interface: u32,
    /// When it was reported.
    pub(super) since: Now,
    /// The claimant is a real server.
    pub(super) is_real_server: bool,
    /// Its own addresses, as far as they are known.
    pub(super) addresses: BTreeSet<IpAddr>,
}

/// What is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A claim is wrong.
    Found(Wrong),
    /// One that was is not heard any more, or not wrong any more.
    Gone(Wrong),
    /// A claim may be wrong: ask again soon.
    Suspected,
}

#[derive(Debug)]
struct Claim {
    /// Heard at different times, up to 2.
    times: u32,
    last: Now,
    interface: u32,
    /// Rounds since.
    missed: u32,
    reported: Option<Wrong>,
}

/// All claims.
#[derive(Debug, Default)]
pub(super) struct Core {
    network: Network,
    held_since: BTreeMap<IpAddr, Now>,
    claims: BTreeMap<IpAddr, BTreeMap<MacAddress, Claim>>,
}

impl Core {
    /// The network is as it says.
    pub(super) fn network(&mut self, network: Network, now: Now) -> Vec<News> {
        self.held_since.retain(|vip, _| network.held.contains(vip));
        for vip in &network.held {
            self.held_since.entry(*vip).or_insert_with(|| {
                // Until now others might answer for it.
                for claim in self.claims.get_mut(vip).into_iter().flat_map(BTreeMap::values_mut) {
                    claim.times = 0;
                }
                now
            });
        }
        self.network = network;
        let mut news = Vec::new();
        for (vip, claims) in std::mem::take(&mut self.claims) {
            if self.network.vips.contains(&vip) {
                self.claims.insert(vip, claims);
            } else {
                news.extend(claims.into_values().filter_map(|claim| claim.reported).map(News::Gone));
            }
        }
        news.extend(self.judge_all(now));
        news
    }

    /// Another director is at this Ethernet address.
    pub(super) fn peer(&mut self, mac: MacAddress, now: Now) -> Vec<News> {
        if self.network.peers.insert(mac) { self.judge_all(now) } else { Vec::new() }
    }

    /// Somebody claims an address.
    pub(super) fn heard(&mut self, vip: IpAddr, mac: MacAddress, interface: u32, now: Now) -> Vec<News> {
        if !self.network.vips.contains(&vip) || self.network.own.contains(&mac) {
            return Vec::new();
        }
        if self.held_since.get(&vip).is_some_and(|since| now.saturating_sub(*since) < SETTLES) {
            return Vec::new();
        }
        let claims = self.claims.entry(vip).or_default();
        if claims.len() >= KEPT && !claims.contains_key(&mac) {
            return Vec::new();
        }
        let claim =
            claims.entry(mac).or_insert(Claim { times: 0, last: now, interface, missed: 0, reported: None });
        if claim.times == 0 || now.saturating_sub(claim.last) >= APART {
            claim.times = (claim.times + 1).min(2);
            claim.last = now;
        }
        (claim.interface, claim.missed) = (interface, 0);
        self.judge_all(now)
    }

    /// A round of asking is over.
    pub(super) fn round(&mut self, now: Now) -> Vec<News> {
        let mut news = Vec::new();
        for claims in self.claims.values_mut() {
            for claim in claims.values_mut() {
                claim.missed += 1;
            }
            claims.retain(|_, claim| {
                let stays = claim.missed < ROUNDS;
                if !stays {
                    news.extend(claim.reported.take().map(News::Gone));
                }
                stays
            });
        }
        self.claims.retain(|_, claims| !claims.is_empty());
        news.extend(self.judge_all(now));
        news
    }

    /// All that is wrong now.
    pub(super) fn wrong(&self) -> impl Iterator<Item = &Wrong> {
        self.claims.values().flat_map(BTreeMap::values).filter_map(|claim| claim.reported.as_ref())
    }

    /// Reports what is wrong and was heard twice.
    fn judge_all(&mut self, now: Now) -> Vec<News> {
        let mut news = Vec::new();
        let mut is_suspected = false;
        for (vip, claims) in &mut self.claims {
            let macs: BTreeSet<MacAddress> = claims.keys().copied().collect();
            for (mac, claim) in claims.iter_mut() {
                let is_wrong = is_wrong(&self.network, self.held_since.contains_key(vip), *mac, &macs);
                match (&claim.reported, is_wrong) {
                    (None, true) if claim.times >= 2 => {
                        let wrong = describe(&self.network, (*vip, *mac), claim.interface, now);
                        claim.reported = Some(wrong.clone());
                        news.push(News::Found(wrong));
                    }
                    (None, true) => is_suspected |= claim.times == 1,
                    (Some(_), false) => news.extend(claim.reported.take().map(News::Gone)),
                    (Some(_), true) | (None, false) => {}
                }
            }
        }
        news.extend(is_suspected.then_some(News::Suspected));
        news
    }
}

fn is_wrong(network: &Network, is_held: bool, mac: MacAddress, claimants: &BTreeSet<MacAddress>) -> bool {
    if network.own.contains(&mac) || network.peers.contains(&mac) || is_virtual(mac) {
        return false;
    }
    // If it is ours, nobody else may. If it is another director's, he may be a real server besides; but he is one.
    is_held || (network.real_servers.contains_key(&mac) && claimants.len() > 1)
}

/// The MAC of a VRRP virtual router: 00-00-5E-00-01-XX, over IPv6 00-00-5E-00-02-XX (RFC 9568, section 7.3).
fn is_virtual(mac: MacAddress) -> bool {
    matches!(mac, [0, 0, 0x5e, 0, 1 | 2, _])
}

fn describe(network: &Network, (vip, mac): (IpAddr, MacAddress), interface: u32, now: Now) -> Wrong {
    let real_server = network.real_servers.get(&mac);
    let mut addresses = real_server.or_else(|| network.neighbours.get(&mac)).cloned().unwrap_or_default();
    addresses.remove(&vip);
    Wrong { vip, mac, interface, since: now, is_real_server: real_server.is_some(), addresses }
}

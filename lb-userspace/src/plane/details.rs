//! What tunnels and full NAT need to know of their real servers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::layout::{Method, NextHop};

use super::applied::address_of;
use super::apply::words_of;
use super::store::Store;

/// The director's side of the way to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near {
    /// The director's address that packets to it come from.
    pub source: IpAddr,
    /// The longest packet of the link.
    pub mtu: u32,
}

/// Of real servers.
pub type Details = BTreeMap<IpAddr, Near>;

/// Writes what is known of the real servers reached by tunnels and by full NAT. Of whom nothing is known, what was known before stays.
pub fn write_details<S: Store>(store: &S, details: &Details) {
    for (destination, detail) in store.destinations().iter().zip(store.details()) {
        let hop = NextHop::from_word(destination.next_hop.load());
        if hop.flags & NextHop::IN_USE == 0 || !matches!(hop.method(), Method::Tunnel | Method::FullNat) {
            continue;
        }
        if let Some(near) = details.get(&address_of(destination)) {
            let [first, second] = words_of(near.source);
            // The first word says that the others are there.
            detail.mtu.store(near.mtu.into());
            detail.source[1].store(second);
            detail.source[0].publish(first);
        }
    }
}

//! The routing table of answers, written as a whole.

use lb_common::layout::{NextHop, Route, RoutePlaces, mac_word};
use lb_common::maps::ROUTES_HALF;
use lb_common::net::{Be32, Be128};

use ipnet::IpNet;

use super::apply::{Hop, Hops};
use super::store::Store;
use crate::net::routes::{Way, Ways};

/// A route as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Words {
    network: [u64; 2],
    mask: [u64; 2],
    next_hop: u64,
    source: u64,
    interface: u64,
}

impl Words {
    fn new(network: IpNet, way: Way, hops: &Hops) -> Self {
        let words = |address: std::net::IpAddr| match address {
            std::net::IpAddr::V4(address) => [u64::from(Be32::from_wire(address.octets()).bits()), 0],
            std::net::IpAddr::V6(address) => Be128::from_wire(address.octets()).words(),
        };
        let mut route = Self {
            network: words(network.network()),
            mask: words(network.netmask()),
            next_hop: 0,
            source: 0,
            interface: 0,
        };
        match way {
            Way::Refused => {}
            Way::Segment => {
                route.next_hop = NextHop { flags: Route::SEGMENT, ..NextHop::default() }.to_word();
            }
            Way::Router(router) => {
                if let Some(Hop::Link { to, from, interface, vlan }) = hops.get(&router) {
                    let hop = NextHop { mac: *to, flags: NextHop::RESOLVED, generation: 0 };
                    route.next_hop = hop.to_word();
                    route.source = mac_word(*from, *vlan);
                    route.interface = u64::from(*interface);
                }
            }
        }
        route
    }

    fn read(route: &Route) -> Self {
        Self {
            network: [route.network[0].load(), route.network[1].load()],
            mask: [route.mask[0].load(), route.mask[1].load()],
            next_hop: route.next_hop.load(),
            source: route.source.load(),
            interface: route.interface.load(),
        }
    }

    fn write(&self, route: &Route) {
        for (to, from) in [(&route.network, self.network), (&route.mask, self.mask)] {
            to[0].store(from[0]);
            to[1].store(from[1]);
        }
        route.next_hop.store(self.next_hop);
        route.source.store(self.source);
        route.interface.store(self.interface);
    }
}

/// Writes the table into the half that is not in use, and then has that one used, unless it is there already.
/// `false` if there are more routes than fit: then the shortest prefixes are missing.
pub fn write_routes<S: Store>(store: &S, ways: &Ways, hops: &Hops) -> bool {
    let most = Route::MOST as usize;
    let family = |ipv6: bool| -> Vec<Words> {
        ways.iter()
            .filter(|(network, _)| network.network().is_ipv6() == ipv6)
            .map(|(network, way)| Words::new(*network, *way, hops))
            .collect()
    };
    let (ipv4, ipv6) = (family(false), family(true));
    let fits = ipv4.len() <= most && ipv6.len() <= most;
    let routes = store.routes();
    let old = RoutePlaces::from_word(store.settings().routes.load());
    let read = |(first, count): (u16, u16)| -> Vec<Words> {
        routes.iter().skip(first.into()).take(count.into()).map(Words::read).collect()
    };
    if read(old.ipv4)[..] == ipv4[..ipv4.len().min(most)]
        && read(old.ipv6)[..] == ipv6[..ipv6.len().min(most)]
    {
        return fits;
    }
    let half = u16::try_from(ROUTES_HALF).unwrap_or(u16::MAX);
    let family = half / 2;
    let start = if old.ipv4.0 < half { half } else { 0 };
    let put = |first: u16, words: &[Words]| {
        let mut count = 0u16;
        for (words, route) in words.iter().zip(routes.iter().skip(first.into()).take(family.into())) {
            words.write(route);
            route.last.store(0);
            count += 1;
        }
        if let Some(last) = count.checked_sub(1).and_then(|last| routes.get(usize::from(first + last))) {
            last.last.store(1);
        }
        (first, count)
    };
    let places = RoutePlaces { ipv4: put(start, &ipv4), ipv6: put(start + family, &ipv6) };
    store.settings().routes.publish(places.to_word());
    fits
}

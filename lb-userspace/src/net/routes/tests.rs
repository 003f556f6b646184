use super::*;
use crate::net::testing::{Namespace, PATIENCE, director_and_web, skip_without_root};
use proptest::prelude::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(destination: &str, metric: u32, via: Option<&str>) -> TableRoute {
    let hop = TableHop { ifindex: 2, gateway: via.map(ip) };
    TableRoute { destination: net(destination), metric, hop: Some(hop) }
}

/// Where the table leads an address, by the rule that it is condensed from.
fn by_rule(routes: &[TableRoute], address: IpAddr) -> Option<Way> {
    routes
        .iter()
        .enumerate()
        .filter(|(_, route)| route.destination.contains(&address) && !route.destination.addr().is_multicast())
        .min_by_key(|(place, route)| {
            (std::cmp::Reverse(route.destination.prefix_len()), route.metric, *place)
        })
        .map(|(_, route)| way(route.hop))
}

fn by_ways(ways: &Ways, address: IpAddr) -> Option<Way> {
    ways.iter().find(|(network, _)| network.contains(&address)).map(|(_, way)| *way)
}

#[test]
fn routes_that_say_nothing_are_left_out() {
    let routes = [
        route("0.0.0.0/0", 100, Some("192.168.4.1")),
        route("0.0.0.0/0", 200, Some("192.168.4.2")),
        route("192.168.4.0/24", 0, None),
        route("203.0.113.0/24", 0, Some("192.168.4.1")),
        route("10.0.0.0/8", 0, Some("192.168.4.3")),
        route("10.1.0.0/16", 0, Some("192.168.4.1")),
        TableRoute { destination: net("10.1.2.0/24"), metric: 0, hop: None },
        route("::/0", 0, Some("fe80::1")),
        route("2001:db8::/64", 0, None),
        route("2001:db8:1::/48", 0, Some("2001:db8::1")),
        route("ff00::/8", 0, None),
    ];
    let expected = [
        ("192.168.4.0/24", Way::Segment),
        ("10.1.2.0/24", Way::Refused),
        ("10.1.0.0/16", Way::Router(ip("192.168.4.1"))),
        ("10.0.0.0/8", Way::Router(ip("192.168.4.3"))),
        ("0.0.0.0/0", Way::Router(ip("192.168.4.1"))),
    ];
    let ways = condense(&routes);
    let of = |ipv6: bool| -> Ways {
        ways.iter().copied().filter(|(network, _)| network.addr().is_ipv6() == ipv6).collect()
    };
    assert_eq!(of(false), expected.map(|(network, way)| (net(network), way)));
    let expected = [("2001:db8:1::/48", Way::Router(ip("2001:db8::1"))), ("::/0", Way::Segment)];
    assert_eq!(of(true), expected.map(|(network, way)| (net(network), way)));
}

#[test]
fn a_large_table_by_one_router_is_one_route() {
    let mut routes = vec![route("0.0.0.0/0", 0, Some("192.0.2.1"))];
    for number in 0..50_000u32 {
        let address = std::net::Ipv4Addr::from(number << 8);
        routes.push(route(&format!("{address}/24"), 0, Some("192.0.2.1")));
    }
    assert_eq!(condense(&routes).len(), 1);
}

proptest! {
    #[test]
    fn the_short_table_means_the_same(
        routes in prop::collection::vec((any::<u16>(), 0u8..17, 0u32..3, 0u8..5), 0..24),
        addresses in prop::collection::vec(any::<u32>(), 32),
    ) {
        let routes: Vec<TableRoute> = routes.into_iter().map(|(high, length, metric, hop)| {
            let address = std::net::Ipv4Addr::from(u32::from(high & 0x1c0f) << 16);
            TableRoute {
                destination: IpNet::new(address.into(), length).unwrap(),
                metric,
                hop: (hop != 0).then_some(TableHop {
                    ifindex: 1,
                    gateway: (hop > 1).then(|| IpAddr::from([192, 0, 2, hop])),
                }),
            }
        }).collect();
        let ways = condense(&routes);
        for address in addresses {
            let address = IpAddr::V4((address & 0x1c0f_ffff).into());
            prop_assert_eq!(by_ways(&ways, address), by_rule(&routes, address), "{} in {:?}", address, ways);
        }
    }
}

async fn becomes(ways: &mut watch::Receiver<Ways>, network: &str, expected: Option<Way>) {
    let network = net(network);
    let is_there = |ways: &Ways| ways.iter().find(|(n, _)| *n == network).map(|(_, way)| *way) == expected;
    tokio::time::timeout(PATIENCE, ways.wait_for(is_there)).await.unwrap().unwrap();
}

#[test]
fn privileged_the_main_table_is_followed() {
    if skip_without_root("privileged_the_main_table_is_followed") {
        return;
    }
    let (director, _web) = director_and_web();
    director.ip("route add default via 192.168.4.100");
    director.ip("route add default via fd00:4::100");
    director.ip("route add 203.0.113.0/24 via 192.168.4.7 table 77");
    director.ip("route add unreachable 10.9.0.0/16");
    director.ip("route add 10.8.0.0/16 nexthop via 192.168.4.8 nexthop via 192.168.4.9");
    director.block_on(|| follow_changes(&director));
}

async fn follow_changes(director: &Namespace) {
    let routes = Routes::start().await.unwrap();
    let mut ways = routes.ways();
    let found = ways.borrow_and_update().clone();
    let of = |network: &str| found.iter().find(|(n, _)| *n == net(network)).map(|(_, way)| *way);
    assert_eq!(of("0.0.0.0/0"), Some(Way::Router(ip("192.168.4.100"))), "{found:?}");
    assert_eq!(of("::/0"), Some(Way::Router(ip("fd00:4::100"))));
    assert_eq!(of("192.168.4.0/24"), Some(Way::Segment));
    assert_eq!(of("fd00:4::/64"), Some(Way::Segment));
    assert_eq!(of("10.9.0.0/16"), Some(Way::Refused));
    assert_eq!(of("10.8.0.0/16"), Some(Way::Router(ip("192.168.4.8"))));
    assert_eq!(of("203.0.113.0/24"), None, "of another table");
    director.ip("route replace default via 192.168.4.101");
    becomes(&mut ways, "0.0.0.0/0", Some(Way::Router(ip("192.168.4.101")))).await;
    director.ip("route del 10.9.0.0/16");
    becomes(&mut ways, "10.9.0.0/16", None).await;
    director.ip("link set d0 down");
    becomes(&mut ways, "192.168.4.0/24", None).await;
    director.ip("link set d0 up");
    becomes(&mut ways, "192.168.4.0/24", Some(Way::Segment)).await;
}

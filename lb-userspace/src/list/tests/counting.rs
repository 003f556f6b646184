//! What is counted, what is shown, and in which order.

use lb_common::conn::CLAIMED;
use lb_common::layout::Traffic;

use super::super::rates::{Estimator, Estimators, PERIOD, Rate};
use super::super::snapshot::Snapshot;
use super::*;

const DNS: (u8, &str, &str) = (UDP, "192.168.4.15:53", "192.168.4.100:53");

#[test]
fn active_are_the_states_that_ipvs_counts() {
    let mut director = Director::new();
    director.serve(TCP, HTTP[0].1, &[(HTTP[0].2, 1)]).serve(UDP, DNS.1, &[(DNS.2, 1)]);
    let tcp = [
        (State::SYN_RECEIVED, 1),
        (State::MID_STREAM, 2),
        (State::ESTABLISHED, 4),
        (State::FIN_WAIT, 8),
        (State::TIME_WAIT, 16),
        (State::CLOSE, 32),
    ];
    for (state, count) in tcp {
        director.connect_many(HTTP[0], state, count);
    }
    director.connect_many(DNS, State::FIRST_DATAGRAM, 1).connect_many(DNS, State::UDP, 2);
    let listing = director.list(&[]);
    let rows = rows(&listing);
    assert_eq!(rows["192.168.4.100:80"], ["Route", "1", "7", "56"]);
    assert_eq!(rows["192.168.4.100:53"], ["Route", "1", "0", "3"]);
}

#[test]
fn expired_claimed_and_foreign_entries_are_neither_counted_nor_listed() {
    let mut director = Director::new();
    lab(&mut director, &[80]);
    let (service, reference) = director.find(TCP, HTTP[0].1, HTTP[0].2);
    let timeout = u32::try_from(director.tables.settings.timeouts[State::CLOSE.number()].load()).unwrap();
    director.connect(HTTP[0], "192.168.4.10:1", State::CLOSE, timeout - 1);
    director.connect(HTTP[0], "192.168.4.10:2", State::CLOSE, timeout);
    let reused = DestinationRef::new(reference.id(), reference.generation() + 1);
    director.enter(service, reused, "192.168.4.10:3", State::CLOSE, 0, 80);
    let nowhere = DestinationRef::new(60_000, 1);
    director.enter(service, nowhere, "192.168.4.10:4", State::CLOSE, 0, 80);
    director.enter(15, reference, "192.168.4.10:5", State::CLOSE, timeout, 80);
    director.tables.connections4[20].0[0].key.store(CLAIMED);
    director.tables.connections6[20].0[0].value.store(CLAIMED);
    assert_eq!(rows(&director.list(&[]))["192.168.4.100:80"], ["Route", "1", "0", "1"]);
    let connections = director.list(&["-c"]);
    let lines: Vec<_> = connections.lines().skip(2).collect();
    assert_eq!(lines, ["TCP 00:01  CLOSE       192.168.4.10:1     192.168.4.15:80    192.168.4.100:80"]);
}

/// As in `ipvsadm -Ln --persistent-conn`, where two of three clients are bound to the heavier real server.
#[test]
fn templates_are_counted_for_their_real_servers() {
    let mut director = Director::new();
    lab(&mut director, &[80]);
    let timeout = std::time::Duration::from_secs(20);
    let service = director.desired.services.get_mut(&service_key(TCP, HTTP[0].1)).unwrap();
    service.persistence = Some(crate::config::Persistence { timeout, prefix: 32 });
    director.reach();
    let [(id, light), (_, heavy)] =
        HTTP.map(|(protocol, address, server)| director.find(protocol, address, server));
    for (client, reference, state) in
        [(10, heavy, State::TEMPLATE), (11, light, State::TEMPLATE), (12, heavy, State::NEW_TEMPLATE)]
    {
        director.enter(id, reference, &format!("192.168.4.{client}:0"), state, 1, 0);
    }
    // One whose time is over binds until the sweep has looked whether its client has a connection: it is there still.
    let timeout = u32::try_from(lb_common::conn::Ticks::of_seconds(20)).unwrap();
    let grace = u32::try_from(lb_common::conn::TEMPLATE_GRACE).unwrap();
    director.enter(id, light, "192.168.4.15:0", State::TEMPLATE, timeout + grace - 1, 0);
    // Neither one that has expired, nor one of a real server that had the id before.
    director.enter(id, heavy, "192.168.4.13:0", State::TEMPLATE, timeout + grace, 0);
    let before = DestinationRef::new(light.id(), light.generation() + 1);
    director.enter(id, before, "192.168.4.14:0", State::TEMPLATE, 1, 0);
    director.connect_many(HTTP[0], State::FIN_WAIT, 3).connect_many(HTTP[1], State::FIN_WAIT, 6);
    let listing = director.list(&["--persistent-conn"]);
    let rows = rows(&listing);
    assert_eq!(rows["192.168.4.100:80"], ["1", "2", "0", "3"]);
    assert_eq!(rows["192.168.4.200:80"], ["2", "2", "0", "6"]);
    let ending = director.list(&["-c"]);
    let ending = ending.lines().find(|line| line.contains("192.168.4.15:0 ")).unwrap();
    assert!(ending.starts_with("TCP 00:00  ASSURED "), "{ending}");
    let json: serde_json::Value = serde_json::from_str(&director.list(&["--json"])).unwrap();
    let service = &json["virtual_servers"][0];
    assert_eq!(service["persistent_connections"], 4);
    assert_eq!(service["real_servers"][1]["persistent_connections"], 2);
}

#[test]
fn numbers_sort_as_numbers() {
    let mut director = Director::new();
    let servers = ["10.0.0.100:80", "9.0.0.1:80", "255.255.255.254:80", "9.0.0.1:8"].map(|name| (name, 1));
    director.serve(TCP, "255.255.255.254:80", &servers);
    let servers = ["[ffff::1]:80", "[2::10]:80", "[2::9]:80"].map(|name| (name, 1));
    director.serve(UDP, "[fe00::1]:80", &servers).serve(TCP, "[fe00::1]:80", &[]);
    director.serve(TCP, "[2001:db8::9]:80", &[]).serve(TCP, "[2001:db8::10]:80", &[]);
    director.serve(UDP, "10.0.0.1:53", &[]).serve(TCP, "10.0.0.9:443", &[]).serve(TCP, "10.0.0.9:80", &[]);
    let listing = director.list(&[]);
    let order: Vec<_> = listing.lines().skip(3).map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(
        order,
        [
            "10.0.0.9:80",
            "10.0.0.9:443",
            "255.255.255.254:80",
            "9.0.0.1:8",
            "9.0.0.1:80",
            "10.0.0.100:80",
            "255.255.255.254:80",
            "10.0.0.1:53",
            "[2001:db8::9]:80",
            "[2001:db8::10]:80",
            "[fe00::1]:80",
            "[fe00::1]:80",
            "[2::9]:80",
            "[2::10]:80",
            "[ffff::1]:80",
        ]
    );
}

#[test]
fn a_director_that_serves_is_local() {
    let mut director = Director::new();
    director.hops.insert(server(HTTP[0].2).address, Hop::Local);
    lab(&mut director, &[80]);
    let listing = director.list(&[]);
    let forward: Vec<_> = rows(&listing).into_values().map(|words| words[0]).collect();
    assert!(forward.contains(&"Local") && forward.contains(&"Route"), "{listing}");
}

#[test]
fn weights_overflow_their_column_as_ipvsadms_do() {
    let mut director = Director::new();
    director.serve(TCP, HTTP[0].1, &[("100.100.100.100:65535", 2_147_483_647)]);
    let listing = director.list(&[]);
    let line = "  -> 100.100.100.100:65535        Route   2147483647 0          0         ";
    assert_eq!(listing.lines().last(), Some(line));
}

#[test]
fn removed_servers_are_shown_on_demand_and_counted_in_totals() {
    let mut director = Director::new();
    lab(&mut director, &[80]);
    director.connect_many(HTTP[0], State::ESTABLISHED, 2).connect_many(HTTP[1], State::ESTABLISHED, 3);
    director.count(HTTP[0], 2, 20, 200).count(HTTP[1], 3, 30, 300);
    director.serve(TCP, HTTP[0].1, &[(HTTP[1].2, 2)]);
    let (listing, notes) = director.list_with(&["--stats"], None);
    assert_eq!(notes, "2 connections on 1 removed real server not listed; --all lists them\n");
    let totals = rows(&listing);
    assert_eq!(totals["192.168.4.15:80"], ["5", "50", "0", "500", "0"]);
    assert!(!totals.contains_key("192.168.4.100:80"), "{listing}");
    let all = director.list(&["--all"]);
    assert_eq!(rows(&all)["192.168.4.100:80"], ["Removed", "1", "2", "0"]);
    let connections = director.list(&["-c"]);
    assert_eq!(connections.lines().count(), 2 + 5, "its connections go on:\n{connections}");
}

#[test]
fn entries_of_a_removed_virtual_server_are_not_listed() {
    let mut director = Director::new();
    lab(&mut director, &[80, 7]);
    director.connect_many(HTTP[0], State::ESTABLISHED, 2).connect_many(ECHO[0], State::ESTABLISHED, 1);
    director.desired.services.remove(&service_key(TCP, HTTP[0].1));
    director.reach();
    assert_eq!(director.list(&["-c"]).lines().count(), 2 + 1);
    assert!(!director.list(&["--all"]).contains(":80 "));
}

#[test]
fn any_port_entries_show_the_port_that_was_asked_for() {
    let mut director = Director::new();
    director.serve(UDP, "192.168.4.15:0", &[("192.168.4.100:0", 1)]);
    let (service, reference) = director.find(UDP, "192.168.4.15:0", "192.168.4.100:0");
    director.enter(service, reference, "192.168.4.10:51800", State::UDP, 3, 5555);
    let listing = director.list(&["-c", "192.168.4.15", "--udp"]);
    let line = "UDP 04:57  UDP         192.168.4.10:51800 192.168.4.15:5555  192.168.4.100:5555";
    assert_eq!(listing.lines().last(), Some(line));
}

#[test]
fn a_steady_rate_is_reached_and_forgotten() {
    let mut estimator = Estimator::default();
    let second = u64::from(u8::try_from(PERIOD.as_secs()).unwrap());
    let steady = Rate {
        connections: 100,
        packets: 250_000,
        bytes: 12_500_000_000,
        out_packets: 200_000,
        out_bytes: 9_000_000_000,
    };
    for _ in 0..200 {
        estimator.tick(Traffic {
            connections: steady.connections * second,
            packets: steady.packets * second,
            bytes: steady.bytes * second,
            out_packets: steady.out_packets * second,
            out_bytes: steady.out_bytes * second,
        });
    }
    assert_eq!(estimator.rate(), steady);
    for _ in 0..200 {
        estimator.tick(Traffic::default());
    }
    assert_eq!(estimator.rate(), Rate::default());
    let most = u64::MAX;
    let all = Traffic { connections: most, packets: most, bytes: most, out_packets: most, out_bytes: most };
    estimator.tick(all);
    assert!(estimator.rate().bytes > u64::MAX >> 7, "no overflow: {estimator:?}");
}

#[test]
fn counters_from_before_and_cleared_counters_make_no_rate() {
    let mut director = Director::new();
    lab(&mut director, &[80]);
    director.count(HTTP[0], 500, 5_000, 1_000_000);
    let mut estimators = Estimators::default();
    let mut tick = |director: &Director| {
        estimators.tick(&Snapshot::read(&director.tables).unwrap().virtual_servers);
        estimators.rates().of_service(&service_key(TCP, HTTP[0].1))
    };
    assert_eq!(tick(&director), Rate::default(), "counted by a daemon before this one");
    let (_, reference) = director.find(TCP, HTTP[0].1, HTTP[0].2);
    director.tables.clear_traffic(reference.id());
    assert_eq!(tick(&director), Rate::default());
    director.count(HTTP[0], 8, 800, 8_000);
    assert_eq!(tick(&director), Rate { connections: 1, packets: 100, bytes: 1_000, ..Rate::default() });
}

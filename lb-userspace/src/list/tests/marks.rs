//! A group that a firewall mark names: what ipvsadm shows of a service with a mark.

use std::num::NonZeroU32;

use super::super::attributes::Attributes;
use super::golden::assert_same;
use super::*;
use crate::config::{Config, Scheduling};

/// As in the capture: ports 80 and 8080 of an address, whose packets were given mark 1.
fn director(text: &str) -> Director {
    let config = Config::parse("marks", text).unwrap();
    let mut director = Director::new();
    director.desired = Desired::from_config(&config);
    for address in director.desired.real_addresses() {
        director.hops.insert(address, Hop::Link { to: [2; 6], from: [4; 6], interface: 2, vlan: 0 });
    }
    director.beside.attributes = Attributes::of(&config);
    director.reach();
    director
}

const FILE: &str = r#"
[director]
interfaces = ["eth0"]
[[virtual_server_group]]
name = "web"
fwmark = 1
addresses = ["192.168.4.15:80", "192.168.4.15:8080"]
[[virtual_server]]
group = "web"
scheduler = "rr"
real_server = [{ address = "192.168.4.100" }, { address = "192.168.4.200" }]
"#;

/// The listings of the capture that begin with `command`.
fn captured(command: &str) -> &'static str {
    let all = include_str!("../golden/listings.txt");
    let ours = all.split("$ ").filter_map(|listing| listing.split_once('\n'));
    let is_it =
        |(name, text): &(&str, &str)| *name == command && (text.contains("FWM") || text.contains(":8080 "));
    let mut found = ours.filter(is_it).map(|(_, text)| text);
    found
        .find(|text| text.contains("FWM  1") || text.contains("192.168.4.15:8080  192.168.4.100:8080"))
        .unwrap()
}

/// A connection by the address that the client used: each address of a group has an id of its own.
fn connect(director: &mut Director, virtual_server: &str, real_server: &str, client: &str, idle: u32) {
    let applied = Applied::read(&director.tables);
    let (service, wanted) = (service_key(TCP, "192.168.4.15:80"), service_key(TCP, virtual_server));
    let found = &applied.services[&service];
    let ids = std::iter::once((service, found.id)).chain(found.also.iter().copied());
    let (_, id) = ids.into_iter().find(|(name, _)| *name == wanted).unwrap();
    let server = found.servers.iter().find(|one| one.key == server(real_server)).unwrap();
    director.enter(id, server.reference, client, State::FIN_WAIT, idle, wanted.port);
}

fn connected() -> Director {
    let mut director = director(FILE);
    for (port, server, client) in
        [(8080, 100, 36_930), (8080, 100, 53_644), (80, 200, 37_986), (80, 200, 47_062)]
    {
        let (service, server) = (format!("192.168.4.15:{port}"), format!("192.168.4.{server}:0"));
        connect(&mut director, &service, &server, &format!("192.168.4.10:{client}"), 3);
    }
    director
}

#[test]
fn is_listed_as_the_mark() {
    let director = connected();
    assert_same(captured("ipvsadm -Ln"), &director.list(&["-n"]));
    let one = director.list(&["-n", "192.168.4.15:8080"]);
    assert_eq!(one, captured("ipvsadm -Ln").split_once('\n').unwrap().1, "by any of its addresses");
    let (web, [light, heavy]) = ("192.168.4.15:80", ["192.168.4.100:0", "192.168.4.200:0"]);
    let mut director = connected();
    director.count((TCP, web, light), 2, 12, 802).count((TCP, web, heavy), 2, 12, 792);
    assert_same(captured("ipvsadm -Ln --stats"), &director.list(&["-n", "--stats"]));
}

/// Of every address of the group, with the address and port that the client used.
#[test]
fn its_connections_are_all_listed() {
    let director = connected();
    let rows = |text: &str| {
        let mut rows: Vec<String> = text
            .lines()
            .skip(2)
            .map(|line| line.split_whitespace().skip(2).collect::<Vec<_>>().join(" "))
            .collect();
        rows.sort();
        rows
    };
    assert_eq!(rows(&director.list(&["-c"])), rows(captured("ipvsadm -Lcn")));
    let json: serde_json::Value = serde_json::from_str(&director.list(&["-c", "--json"])).unwrap();
    let ports: Vec<_> =
        json["connections"].as_array().unwrap().iter().map(|one| &one["virtual_server"]["port"]).collect();
    assert_eq!(ports, [8080, 8080, 80, 80]);
}

#[test]
fn is_in_the_json_with_all_its_addresses() {
    let json: serde_json::Value = serde_json::from_str(&director(FILE).list(&["--json"])).unwrap();
    let service = &json["virtual_servers"][0];
    assert_eq!(service["fwmark"], 1);
    assert_eq!(
        service["addresses"],
        serde_json::json!([
            {"address": "192.168.4.15", "port": 80},
            {"address": "192.168.4.15", "port": 8080}
        ])
    );
    assert_eq!(service["real_servers"][0]["port"], 0);
}

/// By mark, IPv4 first, after everything else.
#[test]
fn marks_come_last() {
    let more = r#"
[[virtual_server_group]]
name = "six"
fwmark = 1
addresses = ["[fd00:4::15]:80"]
[[virtual_server]]
group = "six"
persistence_timeout = "2m"
persistence_granularity = 64
real_server = [{ address = "fd00:4::100" }]
[[virtual_server_group]]
name = "first"
fwmark = 12
addresses = ["10.0.0.1:80"]
[[virtual_server]]
group = "first"
real_server = [{ address = "10.0.0.2", forwarding = "nat" }, { address = "10.0.0.3:8080", forwarding = "nat" }]
[[virtual_server]]
address = "[fd00:4::15]:443"
"#;
    let director = director(&format!("{FILE}{more}"));
    let listing = director.list(&["-n"]);
    let lines: Vec<_> = listing.lines().skip(3).map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "TCP  [fd00:4::15]:443 wrr",
            "FWM  1 rr",
            "  -> 192.168.4.100:0              Route   1      0          0",
            "  -> 192.168.4.200:0              Route   1      0          0",
            "FWM  1 IPv6 wrr persistent 120 mask 64",
            "  -> [fd00:4::100]:0              Route   1      0          0",
            "FWM  12 wrr",
            "  -> 10.0.0.2:0                   Masq    1      0          0",
            "  -> 10.0.0.3:8080                Masq    1      0          0",
        ]
    );
}

/// Without a mark it is listed by its lowest address.
#[test]
fn without_a_mark_it_is_an_address() {
    let director = director(&FILE.replace("fwmark = 1\n", ""));
    let listing = director.list(&["-n"]);
    assert_eq!(listing.lines().nth(3), Some("TCP  192.168.4.15:80 rr"));
    assert_eq!(
        listing.lines().nth(4).map(str::trim_end),
        Some("  -> 192.168.4.100:0              Route   1      0          0")
    );
}

/// A marked group's real servers have no port of their own, however many ports it has, so that rules are as ipvsadm's.
#[test]
fn a_mark_takes_the_port_from_real_servers() {
    let config = Config::parse("marks", &FILE.replace(", \"192.168.4.15:8080\"", "")).unwrap();
    let server = &config.virtual_servers[0];
    let Scheduling { group, .. } = &server.scheduling;
    assert_eq!(group.as_ref().unwrap().fwmark, NonZeroU32::new(1));
    assert_eq!(server.real_servers.iter().map(|real| real.port).collect::<Vec<_>>(), [0, 0]);
}

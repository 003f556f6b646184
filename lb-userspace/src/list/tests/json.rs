use serde_json::Value as Json;

use super::super::rates::Estimators;
use super::super::snapshot::Snapshot;
use super::*;

fn parse(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

#[test]
fn virtual_servers_have_every_documented_field() {
    let mut director = Director::new();
    director.hops.insert(server("[2001:db8::21]:80").address, Hop::Local);
    director.serve(TCP, "[2001:db8::15]:80", &[("[2001:db8::20]:80", 1), ("[2001:db8::21]:80", 2)]);
    let mut estimators = Estimators::default();
    estimators.tick(&Snapshot::read(&director.tables).unwrap().virtual_servers);
    let names = (TCP, "[2001:db8::15]:80", "[2001:db8::20]:80");
    director.connect_many(names, State::ESTABLISHED, 2).connect_many(names, State::CLOSE, 1);
    director.count(names, 8, 800, 8_000);
    director.serve(TCP, "[2001:db8::15]:80", &[("[2001:db8::21]:80", 2)]);
    let lost = server("[2001:db8::20]:80").address;
    director.hops.remove(&lost);
    crate::plane::apply::follow_hops(&director.tables, &director.hops, &[lost].into());
    estimators.tick(&Snapshot::read(&director.tables).unwrap().virtual_servers);
    let (listing, notes) = director.list_with(&["--json"], Some(&estimators.rates()));
    assert_eq!(notes, "", "what the note says is in the JSON");
    let golden = include_str!("../golden/list-v1.json").replace("VERSION", env!("CARGO_PKG_VERSION"));
    assert_eq!(listing, golden);
    let (without, _) = director.list_with(&["--json", "--stats"], None);
    assert_eq!(parse(&without)["virtual_servers"][0]["rate"], Json::Null);
}

#[test]
fn connections() {
    let mut director = Director::new();
    lab(&mut director, &[80]);
    let empty = parse(&director.list(&["-c", "--json"]));
    assert_eq!(empty["connections"], Json::Array(vec![]));
    director.connect(HTTP[1], "192.168.4.10:36618", State::ESTABLISHED, 9);
    director.connect(HTTP[0], "192.168.4.10:36619", State::FIN_WAIT, 0);
    let listing = director.list(&["-c", "--json"]);
    assert_eq!(listing, include_str!("../golden/connections-v1.json"));
    assert_eq!(parse(&listing)["connections"].as_array().unwrap().len(), 2);
}

#[test]
fn drops() {
    use lb_common::verdict::Reason;
    let director = Director::new();
    director.tables.count(Reason::NeighbourUnresolved);
    let listing = parse(&director.list(&["--drops", "--json"]));
    assert_eq!(listing["schema"], "lbctl/drops/v1");
    let counters = listing["counters"].as_array().unwrap();
    assert_eq!(counters.len(), Reason::ALL.len(), "zeros too");
    let unresolved = counters.iter().find(|counter| counter["reason"] == "neighbour-unresolved").unwrap();
    assert_eq!(
        *unresolved,
        serde_json::json!({"reason": "neighbour-unresolved", "effect": "drop", "packets": 1})
    );
}

#[test]
fn rates_survive_the_way_from_the_daemon() {
    let mut director = Director::new();
    lab(&mut director, &[80, 7]);
    let mut estimators = Estimators::default();
    estimators.tick(&Snapshot::read(&director.tables).unwrap().virtual_servers);
    director.count(HTTP[0], 8, 800, 8_000);
    estimators.tick(&Snapshot::read(&director.tables).unwrap().virtual_servers);
    let rates = estimators.rates();
    assert_ne!(rates, Rates::default());
    let sent = serde_json::to_string(&rates).unwrap();
    assert_eq!(serde_json::from_str::<Rates>(&sent).unwrap(), rates);
}

//! Who may claim what, and when it is cried.

use super::*;

const OWN: MacAddress = [2, 0, 0, 0, 4, 2];
const PEER: MacAddress = [2, 0, 0, 0, 4, 3];
const WEB1: MacAddress = [2, 0, 0, 0, 4, 100];
const STRANGER: MacAddress = [2, 0, 0, 0, 4, 77];

fn vip() -> IpAddr {
    IpAddr::from([192, 168, 4, 15])
}

fn rip() -> IpAddr {
    IpAddr::from([192, 168, 4, 100])
}

fn network(holds: bool) -> Network {
    Network {
        vips: BTreeSet::from([vip()]),
        held: holds.then_some(vip()).into_iter().collect(),
        own: BTreeSet::from([OWN]),
        peers: BTreeSet::new(),
        real_servers: BTreeMap::from([(WEB1, BTreeSet::from([rip()]))]),
        neighbours: BTreeMap::from([(STRANGER, BTreeSet::from([IpAddr::from([192, 168, 4, 77])]))]),
    }
}

fn secs(seconds: u64) -> Now {
    Duration::from_secs(seconds)
}

fn core(holds: bool) -> Core {
    let mut core = Core::default();
    assert_eq!(core.network(network(holds), secs(0)), []);
    core
}

fn found(news: &[News]) -> Vec<MacAddress> {
    news.iter()
        .filter_map(|news| if let News::Found(wrong) = news { Some(wrong.mac) } else { None })
        .collect()
}

fn gone(news: &[News]) -> Vec<MacAddress> {
    news.iter().filter_map(|news| if let News::Gone(wrong) = news { Some(wrong.mac) } else { None }).collect()
}

#[test]
fn a_real_server_that_answers_twice_is_named() {
    let mut core = core(true);
    assert_eq!(core.heard(vip(), WEB1, 2, secs(20)), [News::Suspected]);
    assert_eq!(core.heard(vip(), WEB1, 2, secs(20)), [News::Suspected], "the same answer again");
    let news = core.heard(vip(), WEB1, 2, secs(23));
    let expected = Wrong {
        vip: vip(),
        mac: WEB1,
        interface: 2,
        since: secs(23),
        is_real_server: true,
        addresses: BTreeSet::from([rip()]),
    };
    assert_eq!(news, [News::Found(expected.clone())]);
    assert_eq!(core.heard(vip(), WEB1, 2, secs(30)), [], "once");
    assert_eq!(core.wrong().collect::<Vec<_>>(), [&expected]);
    // It was put right: three rounds without an answer.
    assert_eq!((core.round(secs(60)), core.round(secs(90))), (vec![], vec![]));
    assert_eq!(core.round(secs(120)), [News::Gone(expected)]);
    assert_eq!(core.wrong().count(), 0);
}

#[test]
fn a_stranger_is_named_with_the_address_that_he_has() {
    let mut core = core(true);
    core.heard(vip(), STRANGER, 2, secs(20));
    let news = core.heard(vip(), STRANGER, 2, secs(23));
    let [News::Found(wrong)] = news.as_slice() else { panic!("{news:?}") };
    assert!(!wrong.is_real_server);
    assert_eq!(wrong.addresses, BTreeSet::from([IpAddr::from([192, 168, 4, 77])]));
}

#[test]
fn nothing_is_cried_in_a_transition() {
    let mut core = core(false);
    // The peer is master and answers, and is not known to be a peer.
    for at in 1..5 {
        assert_eq!(core.heard(vip(), STRANGER, 2, secs(at * 10)), []);
    }
    // We become master; the peer is still heard for some seconds, then no more.
    assert_eq!(core.network(network(true), secs(50)), []);
    assert_eq!(core.heard(vip(), STRANGER, 2, secs(55)), []);
    for at in [60, 90, 120] {
        assert_eq!(core.round(secs(at)), []);
    }
    // He is not gone: two masters.
    core.heard(vip(), STRANGER, 2, secs(121));
    assert_eq!(found(&core.heard(vip(), STRANGER, 2, secs(124))), [STRANGER]);
    // A peer that VRRP knows of is left to VRRP.
    let peers = BTreeSet::from([STRANGER]);
    let news = core.network(Network { peers, ..network(true) }, secs(100));
    assert_eq!(gone(&news), [STRANGER]);
}

#[test]
fn a_standby_cries_only_of_real_servers_beside_the_master() {
    let mut core = core(false);
    // The master is a real server, too.
    for at in 1..4 {
        assert_eq!(core.heard(vip(), WEB1, 2, secs(at * 10)), []);
    }
    // Two answer, one of them a real server.
    let news = core.heard(vip(), STRANGER, 2, secs(40));
    assert_eq!(found(&news), [WEB1]);
    // The real server is the peer: then it may.
    let peers = BTreeSet::from([WEB1]);
    assert_eq!(gone(&core.network(Network { peers, ..network(false) }, secs(50))), [WEB1]);
}

#[test]
fn a_director_that_is_heard_is_not_cried_of_any_more() {
    let mut core = core(true);
    core.heard(vip(), PEER, 2, secs(20));
    core.heard(vip(), WEB1, 2, secs(20));
    core.heard(vip(), PEER, 2, secs(30));
    core.heard(vip(), WEB1, 2, secs(30));
    let wrong = |core: &Core| core.wrong().map(|wrong| wrong.mac).collect::<Vec<_>>();
    assert_eq!(wrong(&core), [PEER, WEB1]);
    assert_eq!(gone(&core.peer(PEER, secs(31))), [PEER]);
    assert_eq!(core.peer(PEER, secs(32)), [], "no news");
    assert_eq!(wrong(&core), [WEB1]);
    assert_eq!(core.heard(vip(), PEER, 2, secs(33)), []);
}

#[test]
fn directors_and_virtual_routers_may() {
    let mut core = core(false);
    core.network(Network { peers: BTreeSet::from([PEER]), ..network(true) }, secs(1));
    for mac in [OWN, PEER, [0, 0, 0x5e, 0, 1, 50], [0, 0, 0x5e, 0, 2, 50]] {
        for at in [20, 30, 40] {
            assert_eq!(core.heard(vip(), mac, 2, secs(at)), []);
        }
    }
    assert_eq!(core.heard(IpAddr::from([192, 168, 4, 16]), WEB1, 2, secs(50)), [], "not watched");
}

#[test]
fn a_vip_that_is_not_watched_any_more_is_forgotten() {
    let mut core = core(true);
    core.heard(vip(), WEB1, 2, secs(20));
    core.heard(vip(), WEB1, 2, secs(30));
    let none = Network { vips: BTreeSet::new(), held: BTreeSet::new(), ..network(true) };
    assert_eq!(gone(&core.network(none, secs(40))), [WEB1]);
    assert_eq!(core.claims.len(), 0);
}

#[test]
fn a_flood_of_claimants_fills_no_memory() {
    let mut core = core(true);
    for n in 0..1000u32 {
        let [_, _, a, b] = n.to_be_bytes();
        core.heard(vip(), [2, 1, 1, 1, a, b], 2, secs(20));
    }
    assert_eq!(core.claims[&vip()].len(), KEPT);
}

use super::super::rates::{Estimators, Rates};
use super::super::snapshot::Snapshot;
use super::super::text::LargeNumber;
use super::*;

/// Equal but for the first line, which names the program.
pub(super) fn assert_same(golden: &str, ours: &str) {
    let (title, rest) = ours.split_once('\n').unwrap();
    assert_eq!(title, format!("lbctl {} (size=128)", env!("CARGO_PKG_VERSION")));
    assert_eq!(rest, golden.split_once('\n').unwrap().1);
}

#[test]
fn idle() {
    let mut director = Director::new();
    lab(&mut director, &[80]);
    assert_same(include_str!("../golden/ln-idle.txt"), &director.list(&["-n"]));
    let one = director.list(&["-n", "192.168.4.15:80"]);
    assert_eq!(one, include_str!("../golden/ln-t.txt"), "without the first line, as with ipvsadm -t");
}

#[test]
fn after_24_requests() {
    let mut director = Director::new();
    lab(&mut director, &[80]);
    director.connect_many(HTTP[0], State::FIN_WAIT, 8).connect_many(HTTP[1], State::FIN_WAIT, 16);
    assert_same(include_str!("../golden/ln-after-24-requests.txt"), &director.list(&["-n"]));
}

#[test]
fn three_connections_held() {
    let mut director = Director::new();
    lab(&mut director, &[80, 7]);
    director.connect_many(HTTP[0], State::FIN_WAIT, 8).connect_many(HTTP[1], State::FIN_WAIT, 16);
    director.connect_many(ECHO[0], State::ESTABLISHED, 1).connect_many(ECHO[1], State::ESTABLISHED, 2);
    assert_same(include_str!("../golden/ln-three-connections-held-on-port-7.txt"), &director.list(&[]));
}

#[test]
fn real_servers_drop_syn() {
    let mut director = Director::new();
    lab(&mut director, &[7, 80]);
    director.connect_many(HTTP[0], State::FIN_WAIT, 8).connect_many(HTTP[1], State::FIN_WAIT, 16);
    director.connect_many(HTTP[0], State::SYN_RECEIVED, 1).connect_many(HTTP[1], State::SYN_RECEIVED, 2);
    director.connect_many(ECHO[0], State::FIN_WAIT, 1).connect_many(ECHO[1], State::FIN_WAIT, 2);
    assert_same(include_str!("../golden/ln-real-servers-drop-syn.txt"), &director.list(&["-n", "--exact"]));
}

#[test]
fn under_load() {
    let mut director = Director::new();
    lab(&mut director, &[7, 80]);
    director.connect_many(HTTP[0], State::ESTABLISHED, 3).connect_many(HTTP[1], State::ESTABLISHED, 8);
    director.connect_many(HTTP[0], State::FIN_WAIT, 25).connect_many(HTTP[1], State::FIN_WAIT, 47);
    director.connect_many(ECHO[0], State::FIN_WAIT, 1).connect_many(ECHO[1], State::FIN_WAIT, 2);
    assert_same(include_str!("../golden/ln-under-load.txt"), &director.list(&["-n"]));
}

#[test]
fn stats_after_400_mb() {
    let mut director = Director::new();
    lab(&mut director, &[7, 9, 80]);
    director.count(ECHO[0], 1, 6, 323).count(ECHO[1], 2, 12, 646);
    director.count(DISCARD[1], 1, 7792, 400_405_192);
    director.count(HTTP[0], 35, 25_484, 2_288_642).count(HTTP[1], 71, 50_014, 4_491_584);
    assert_same(include_str!("../golden/ln-stats-after-400-mb.txt"), &director.list(&["-n", "--stats"]));
    let exact = director.list(&["-n", "--stats", "--exact"]);
    assert_same(include_str!("../golden/ln-stats-exact-after-400-mb.txt"), &exact);
}

#[test]
fn ipv6() {
    let mut director = Director::new();
    director.serve(TCP, HTTP6[0].1, &[(HTTP6[1].2, 2), (HTTP6[0].2, 1)]);
    let mut estimators = Estimators::default();
    estimators.tick(&Snapshot::read(&director.tables).unwrap().virtual_servers);
    director.connect_many(HTTP6[0], State::FIN_WAIT, 4).connect_many(HTTP6[1], State::FIN_WAIT, 8);
    director.count(HTTP6[0], 4, 21, 1924).count(HTTP6[1], 8, 43, 3920);
    assert_same(include_str!("../golden/ln-ipv6.txt"), &director.list(&["-n"]));
    assert_same(include_str!("../golden/ln-stats-ipv6.txt"), &director.list(&["-n", "--stats"]));
    // It was read in the third period from the requests on.
    for _ in 0..3 {
        estimators.tick(&Snapshot::read(&director.tables).unwrap().virtual_servers);
    }
    let (listing, _) = director.list_with(&["-n", "--rate"], Some(&estimators.rates()));
    assert_same(include_str!("../golden/ln-rate-ipv6.txt"), &listing);
}

#[test]
fn rate_after_24_requests() {
    let mut director = Director::new();
    lab(&mut director, &[80]);
    let mut estimators = Estimators::default();
    estimators.tick(&Snapshot::read(&director.tables).unwrap().virtual_servers);
    director.count(HTTP[0], 8, 47, 3268).count(HTTP[1], 16, 88, 6224);
    // It was read in the fourth period from the requests on.
    for _ in 0..4 {
        estimators.tick(&Snapshot::read(&director.tables).unwrap().virtual_servers);
    }
    let (listing, _) = director.list_with(&["-n", "--rate"], Some(&estimators.rates()));
    assert_same(include_str!("../golden/ln-rate-after-24-requests.txt"), &listing);
}

#[test]
fn rate_after_400_mb() {
    let mut director = Director::new();
    lab(&mut director, &[7, 9, 80]);
    let rates: Rates = serde_json::from_str(
        r#"[
        {"protocol":6,"virtual_server":"192.168.4.15:9","real_server":null,
         "connections":0,"packets":168,"bytes":8771029},
        {"protocol":6,"virtual_server":"192.168.4.15:9","real_server":"192.168.4.200:9",
         "connections":0,"packets":168,"bytes":8771029},
        {"protocol":6,"virtual_server":"192.168.4.15:80","real_server":null,
         "connections":0,"packets":55,"bytes":4973},
        {"protocol":6,"virtual_server":"192.168.4.15:80","real_server":"192.168.4.100:80",
         "connections":0,"packets":18,"bytes":1637},
        {"protocol":6,"virtual_server":"192.168.4.15:80","real_server":"192.168.4.200:80",
         "connections":0,"packets":37,"bytes":3336}]"#,
    )
    .unwrap();
    let (listing, _) = director.list_with(&["-n", "--rate"], Some(&rates));
    assert_same(include_str!("../golden/ln-rate-after-400-mb.txt"), &listing);
}

/// Enters the connections and templates that a capture shows, lists them, and finds the capture's lines: all of them, in
/// the order of our table instead of theirs, with columns for persistence engines if `has_engines`. A tick is longer
/// than a second, so that some seconds are none here: then it is the next one.
pub(super) fn assert_same_connections(director: &mut Director, golden: &str, has_engines: bool) {
    let is_any_port = is_of_any_port(golden);
    let name = |address: &str| if is_any_port { any_port(address) } else { address.to_owned() };
    let mut golden = golden.to_owned();
    for line in golden.clone().lines().skip(2) {
        let words: Vec<_> = line.split_whitespace().collect();
        let [protocol, expires, state, client, service, server] = words[..] else { panic!("{line}") };
        let state = State::ALL.into_iter().rev().find(|known| known.as_str() == state).unwrap();
        let (minutes, seconds) = expires.split_once(':').unwrap();
        let left = minutes.parse::<u64>().unwrap() * 60 + seconds.parse::<u64>().unwrap();
        let (protocol, service_name, server_name) = (protocol_of(protocol), name(service), name(server));
        let key = service_key(protocol, &service_name);
        let timeout = match state.template() {
            true => director.desired.services[&key].persistence_ticks().unwrap().into(),
            false => director.tables.settings.timeouts[state.number()].load(),
        };
        let shown = |idle: u64| (timeout - idle) * (1 << 30) / 1_000_000_000;
        let idle = (0..timeout).rev().find(|idle| shown(*idle) >= left).unwrap();
        let ours = format!("{:02}:{:02}", shown(idle) / 60, shown(idle) % 60);
        assert!(shown(idle) - left <= 1, "{ours} for {expires}");
        golden = golden.replace(line, &line.replacen(expires, &ours, 1));
        let (id, reference) = director.find(protocol, &service_name, &server_name);
        let id = match state.template() {
            true => Applied::read(&director.tables).services[&key].schedule,
            false => id,
        };
        let port = service.parse::<SocketAddr>().unwrap().port();
        director.enter(id, reference, client, state, u32::try_from(idle).unwrap(), port);
    }
    let wanted = ListArgs { persistent_conn: has_engines, ..args(&["-c", "-n"]) };
    let mut ours = Vec::new();
    run(&wanted, &director.tables, &director.beside, &mut ours, &mut Vec::new()).unwrap();
    let ours = String::from_utf8(ours).unwrap();
    let parts = |text: &str| {
        let (titles, mut rows): (Vec<_>, Vec<_>) =
            text.lines().map(str::to_owned).partition(|line| !line.starts_with(['T', 'U']));
        rows.sort();
        (titles, rows)
    };
    assert_eq!(parts(&ours), parts(&golden));
}

/// Is the capture of a virtual server of any port? Its templates have port 0.
pub(super) fn is_of_any_port(capture: &str) -> bool {
    let mut rows = capture.lines().skip(2).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.any(|words| words[2] == "ASSURED" && words[4].ends_with(":0"))
}

pub(super) fn any_port(address: &str) -> String {
    format!("{}:0", address.rsplit_once(':').unwrap().0)
}

pub(super) fn protocol_of(name: &str) -> u8 {
    if name == "UDP" { UDP } else { TCP }
}

#[test]
fn connections() {
    let mut director = Director::new();
    lab(&mut director, &[80]);
    assert_same_connections(&mut director, include_str!("../golden/lcn-after-24-requests.txt"), false);

    let mut director = Director::new();
    lab(&mut director, &[80, 7]);
    let golden = include_str!("../golden/lcn-three-connections-held-on-port-7.txt");
    assert_same_connections(&mut director, golden, false);
}

#[test]
fn connections_of_both_families() {
    let mut director = Director::new();
    lab(&mut director, &[80, 8080]);
    director.serve(TCP, HTTP6[0].1, &[(HTTP6[0].2, 1), (HTTP6[1].2, 2)]);
    assert_same_connections(&mut director, include_str!("../golden/lcn-ipv6.txt"), false);
    let ours = director.list(&["-c"]);
    let sixes: Vec<_> = ours.lines().skip(2).map(|line| line.contains('[')).collect();
    assert!(sixes.is_sorted() && sixes.contains(&true), "IPv4 first:\n{ours}");
}

#[test]
fn large_numbers() {
    for (number, short, exact) in [
        (0, "        0", "        0"),
        (99_999_999, " 99999999", " 99999999"),
        (100_000_000, "  100000K", " 100000000"),
        (999_999_999, "  999999K", " 999999999"),
        (1_000_000_000, "    1000M", " 1000000000"),
        (99_999_999_999, "   99999M", " 99999999999"),
        (100_000_000_000, "     100G", " 100000000000"),
        (99_999_999_999_999, "   99999G", " 99999999999999"),
        (100_000_000_000_000, "     100T", " 100000000000000"),
        (u64::MAX, "18446744T", " 18446744073709551615"),
    ] {
        assert_eq!(LargeNumber { number, exact: false }.to_string(), short);
        assert_eq!(LargeNumber { number, exact: true }.to_string(), exact);
    }
}

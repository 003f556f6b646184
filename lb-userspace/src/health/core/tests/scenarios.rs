//! What operators configure, step by step.

use super::*;
use crate::config::Config;
use crate::orders::{Change, Orders};

const ALL: fn(&Target) -> Verdict = |_| Verdict::Passed;
const NONE: fn(&Target) -> Verdict = |_| Verdict::Failed;

/// All pass but the real servers with these last bytes.
fn but(down: &'static [u8]) -> impl FnMut(&Target) -> Verdict {
    move |target| match down.contains(&last(target.server.address)) {
        true => Verdict::Failed,
        false => Verdict::Passed,
    }
}

/// Real servers .1, .2, … with weight 1 each, checked every second without repetitions.
fn web(options: &str, servers: u8) -> String {
    let servers: String = (1..=servers)
        .map(|n| format!("[[virtual_server.real_server]]\naddress = \"192.168.4.{n}\"\n"))
        .collect();
    format!(
        "[[virtual_server]]\naddress = \"192.168.4.15:80\"\ncheck_interval = \"1s\"\ncheck_retries = 0\n\
         check = [{{ type = \"tcp\" }}]\n{options}\n{servers}"
    )
}

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

#[test]
fn who_fails_is_out_and_who_recovers_is_back() {
    let mut world = World::new(&web("", 3));
    // In from the start, as with keepalived.
    assert_eq!(world.rotation(), [(1, 1), (2, 1), (3, 1)]);
    assert!(!world.view.is_ready);
    world.run(SECONDS(5), ALL);
    assert!(world.view.is_ready);
    assert_eq!(world.news(), ["begins up"]);
    world.run(SECONDS(2), but(&[2]));
    assert_eq!(world.rotation(), [(1, 1), (3, 1)]);
    assert_eq!(world.news(), ["2 down"]);
    world.run(SECONDS(2), ALL);
    assert_eq!(world.rotation(), [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(world.news(), ["2 up"]);
}

#[test]
fn the_reason_is_told() {
    let mut world = World::new(&web("", 1));
    world.run(SECONDS(2), NONE);
    let reasons: Vec<_> = world
        .told
        .iter()
        .filter_map(|(_, told)| match told {
            Told::RealServer(event) => Some(event.reason.as_str()),
            Told::VirtualServer(_) | Told::Vrrp(_) => None,
        })
        .collect();
    assert_eq!(reasons, ["tcp 192.168.4.1:80: connection refused"]);
}

#[test]
fn inhibited_ones_stay_with_weight_0() {
    let mut world = World::new(&web("inhibit_on_failure = true", 2));
    world.run(SECONDS(3), but(&[2]));
    assert_eq!(world.rotation(), [(1, 1), (2, 0)]);
}

#[test]
fn with_alpha_who_was_not_seen_is_out() {
    let mut world = World::new(&web("alpha = true\nsorry_server = \"192.168.4.9\"", 2));
    assert_eq!(world.rotation(), [(9, 1)]);
    world.run(SECONDS(3), but(&[2]));
    assert_eq!(world.rotation(), [(1, 1)]);
    assert_eq!(world.news(), ["begins down", "1 up", "quorum up"]);
    // One that a reload adds is not in before its check passed.
    world.configure(&web("alpha = true\nsorry_server = \"192.168.4.9\"", 3));
    assert_eq!(world.rotation(), [(1, 1)]);
    world.run(SECONDS(3), ALL);
    assert_eq!(world.rotation(), [(1, 1), (2, 1), (3, 1)]);
}

#[test]
fn the_sorry_server_serves_while_there_is_no_quorum() {
    let mut world = World::new(&web("quorum = 3\nhysteresis = 1\nsorry_server = \"192.168.4.9\"", 4));
    world.run(SECONDS(3), ALL);
    assert_eq!(world.rotation(), [(1, 1), (2, 1), (3, 1), (4, 1)]);
    // Two are enough for who has a quorum, and not for who has none.
    world.run(SECONDS(3), but(&[3, 4]));
    assert_eq!(world.rotation(), [(1, 1), (2, 1)]);
    world.run(SECONDS(3), but(&[2, 3, 4]));
    assert_eq!(world.rotation(), [(9, 1)]);
    world.run(SECONDS(3), but(&[4]));
    assert_eq!(world.rotation(), [(9, 1)]);
    world.run(SECONDS(3), ALL);
    assert_eq!(world.rotation(), [(1, 1), (2, 1), (3, 1), (4, 1)]);
    let quorum: Vec<_> = world.news().into_iter().filter(|line| line.starts_with("quorum")).collect();
    assert_eq!(quorum, ["quorum down", "quorum up"]);
}

#[test]
fn an_inhibited_sorry_server_waits_in_the_table() {
    let options = "sorry_server = \"192.168.4.9\"\nsorry_server_inhibit = true";
    let mut world = World::new(&web(options, 1));
    world.run(SECONDS(3), ALL);
    assert_eq!(world.rotation(), [(1, 1), (9, 0)]);
    world.run(SECONDS(3), NONE);
    assert_eq!(world.rotation(), [(9, 1)]);
}

#[test]
fn a_real_server_can_be_the_sorry_server() {
    let mut world =
        World::new(&web("quorum = 2\nsorry_server = \"192.168.4.2\"\ninhibit_on_failure = true", 2));
    world.run(SECONDS(3), NONE);
    assert_eq!(world.rotation(), [(1, 0), (2, 1)]);
}

#[test]
fn without_quorum_and_sorry_server_those_that_are_left_serve() {
    let mut world = World::new(&web("quorum = 2", 2));
    world.run(SECONDS(3), but(&[1]));
    assert_eq!(world.rotation(), [(2, 1)]);
    assert_eq!(world.news(), ["begins up", "1 down", "quorum down"]);
}

#[test]
fn in_panic_all_are_kept() {
    let mut world = World::new(&web("min_up = 50", 4));
    world.run(SECONDS(3), but(&[1, 2]));
    assert_eq!(world.rotation(), [(3, 1), (4, 1)]);
    world.run(SECONDS(3), but(&[1, 2, 3]));
    assert_eq!(world.rotation(), [(1, 1), (2, 1), (3, 1), (4, 1)]);
    world.run(SECONDS(3), NONE);
    assert_eq!(world.rotation(), [(1, 1), (2, 1), (3, 1), (4, 1)]);
    world.run(SECONDS(3), but(&[1, 2]));
    assert_eq!(world.rotation(), [(3, 1), (4, 1)]);
}

#[test]
fn who_is_kept_in_panic_has_not_failed() {
    let mut world = World::new(&web("min_up = 50\non_failure = \"reset\"", 2));
    world.run(SECONDS(3), NONE);
    let mut desired = Desired::from_config(&world.config);
    world.view.apply(&world.config, &mut desired);
    let servers = &desired.services.values().next().unwrap().servers;
    assert!(servers.iter().all(|server| !server.failed && server.weight == 1), "{servers:?}");
}

#[test]
fn a_sorry_server_comes_before_panic() {
    let mut world = World::new(&web("min_up = 50\nsorry_server = \"192.168.4.9\"", 2));
    world.run(SECONDS(3), NONE);
    assert_eq!(world.rotation(), [(9, 1)]);
}

#[test]
fn several_checks_are_anded() {
    let two = web("", 1).replace("{ type = \"tcp\" }", "{ type = \"tcp\" }, { type = \"ping\" }");
    let ping = |verdict| {
        move |target: &Target| match target.check.probe.kind.as_str() {
            "ping" => verdict,
            _ => Verdict::Passed,
        }
    };
    let mut world = World::new(&two);
    world.run(SECONDS(3), ping(Verdict::Failed));
    assert_eq!(world.rotation(), []);
    world.run(SECONDS(3), ping(Verdict::Passed));
    assert_eq!(world.rotation(), [(1, 1)]);
    assert_eq!(world.news(), ["begins up", "1 down", "quorum down", "1 up", "quorum up"]);
}

#[test]
fn a_check_with_a_weight_changes_the_weight() {
    let text = web("", 2)
        .replace("{ type = \"tcp\" }", "{ type = \"tcp\", weight = -3 }")
        .replace("address = \"192.168.4.2\"", "address = \"192.168.4.2\"\nweight = 10");
    let mut world = World::new(&text);
    world.run(SECONDS(3), but(&[2]));
    assert_eq!(world.rotation(), [(1, 1), (2, 7)]);
    assert_eq!(world.news(), ["begins up"]);
}

#[test]
fn a_slow_start_grows_the_weight_and_counts_in_full() {
    let text = web("slow_start = \"10s\"\nquorum = 150", 2)
        .replace("[[virtual_server.real_server]]", "[[virtual_server.real_server]]\nweight = 100");
    let mut world = World::new(&text);
    world.run(SECONDS(3), ALL);
    assert_eq!(world.rotation(), [(1, 100), (2, 100)], "who begins has all of it");
    world.run(SECONDS(2), but(&[2]));
    world.run(ms(1100), ALL);
    let rotation = world.rotation();
    assert!((5..=15).contains(&rotation[1].1), "{rotation:?}");
    assert_eq!(world.news().last().map(String::as_str), Some("quorum up"));
    world.run(SECONDS(11), ALL);
    assert_eq!(world.rotation(), [(1, 100), (2, 100)]);
    assert_eq!(world.news(), [""; 0]);
}

#[test]
fn what_this_host_lacks_is_not_held_against_anybody() {
    let mut world = World::new(&web("", 1));
    world.run(SECONDS(5), |_| Verdict::Inconclusive);
    assert_eq!(world.rotation(), [(1, 1)]);
    assert!(world.view.is_ready, "it has run");
    world.run(SECONDS(2), NONE);
    assert_eq!(world.rotation(), []);
}

#[test]
fn a_reload_keeps_what_it_does_not_change() {
    let mut world = World::new(&web("", 3));
    world.run(SECONDS(3), but(&[2]));
    assert_eq!(world.rotation(), [(1, 1), (3, 1)]);
    world.news();
    // Another weight, another quorum, another interval; one more.
    let text = web("quorum = 2", 4).replace("\"1s\"", "\"2s\"");
    world.configure(&text);
    assert_eq!(world.rotation(), [(1, 1), (3, 1), (4, 1)]);
    assert_eq!(world.news(), [""; 0]);
    world.run(SECONDS(5), but(&[2]));
    assert_eq!(world.news(), [""; 0]);
    // Another question: the answer to the old one is worth nothing.
    world.configure(&text.replace("{ type = \"tcp\" }", "{ type = \"ping\" }"));
    assert_eq!(world.rotation(), [(1, 1), (2, 1), (3, 1), (4, 1)]);
    // Nobody asks about who is gone.
    world.configure(&web("", 1));
    assert_eq!(world.core.checks(), 1);
    world.configure("");
    assert_eq!((world.core.checks(), world.core.services.len()), (0, 0));
    world.run(SECONDS(10), |target| panic!("{target:?}"));
}

#[test]
fn one_check_less_can_bring_a_real_server_back() {
    let two = web("", 1).replace("{ type = \"tcp\" }", "{ type = \"tcp\" }, { type = \"ping\" }");
    let mut world = World::new(&two);
    world.run(SECONDS(3), |target| match target.check.probe.kind.as_str() {
        "ping" => Verdict::Failed,
        _ => Verdict::Passed,
    });
    assert_eq!(world.rotation(), []);
    world.configure(&web("", 1));
    assert_eq!(world.rotation(), [(1, 1)]);
    assert_eq!(world.news(), ["begins up", "1 down", "quorum down", "1 up", "quorum up"]);
}

/// The server 192.168.4.`n`.
fn key(n: u8) -> ServerKey {
    ServerKey { address: IpAddr::from([192, 168, 4, n]), port: 80 }
}

/// What a daemon finds that starts where another has left this rotation of the first virtual server.
fn tables(config: &Config, rotation: impl IntoIterator<Item = (u8, u32)>) -> Tables {
    let service = crate::health::view::service_key(&config.virtual_servers[0]);
    let left = rotation.into_iter().map(|(n, weight)| (key(n), weight)).collect();
    Tables { services: BTreeMap::from([(service, left)]) }
}

#[test]
fn a_restart_lets_nobody_in_who_was_out() {
    let text = web("", 3);
    let mut before = World::new(&text);
    before.run(SECONDS(3), but(&[2]));
    let tables = tables(&before.config, before.rotation());
    let mut after = World::with(config(&text), Some(&tables));
    assert_eq!(after.rotation(), before.rotation());
    assert_eq!(after.news(), ["begins up"]);
    after.run(SECONDS(3), but(&[2]));
    assert_eq!(after.rotation(), before.rotation());
    assert_eq!(after.news(), [""; 0]);
    after.run(SECONDS(3), ALL);
    assert_eq!(after.rotation(), [(1, 1), (2, 1), (3, 1)]);
    // A virtual server that was not there begins as any.
    let tables = Tables::default();
    assert_eq!(World::with(config(&text), Some(&tables)).rotation(), [(1, 1), (2, 1), (3, 1)]);
}

#[test]
fn a_restart_takes_nobody_out_who_was_in() {
    let text = web("alpha = true\nquorum = 2\nsorry_server = \"192.168.4.9\"", 3);
    let mut before = World::new(&text);
    before.run(SECONDS(3), but(&[2]));
    assert_eq!(before.rotation(), [(1, 1), (3, 1)]);
    let tables = tables(&before.config, before.rotation());
    let mut after = World::with(config(&text), Some(&tables));
    assert_eq!(after.rotation(), before.rotation());
    assert_eq!(after.news(), ["begins up"]);
    after.run(SECONDS(3), but(&[2]));
    assert_eq!(after.rotation(), before.rotation());
    assert_eq!(after.news(), [""; 0]);
}

/// Who was out by order has a weight of 0 in the tables, which says nothing of its health.
#[test]
fn a_restart_does_not_take_an_order_for_a_failure() {
    let text = web("quorum = 2\nsorry_server = \"192.168.4.9\"", 2);
    let service = crate::health::view::service_key(&config(&text).virtual_servers[0]);
    let tables = tables(&config(&text), [(1, 1), (2, 0)]);
    assert_eq!(World::with(config(&text), Some(&tables)).news(), ["begins down"], "it had failed");
    let mut orders = Orders::default();
    orders.change((service, key(2)), Change::Drain { keep_persistent: false }, 0).unwrap();
    let mut world = World::with(config(&text), Some(&tables.but_for(&orders)));
    world.run(SECONDS(3), ALL);
    assert_eq!(world.news(), ["begins up"]);
}

#[test]
fn in_panic_nobody_is_let_in_who_was_not_seen() {
    let mut world = World::new(&web("alpha = true\nmin_up = 75", 3));
    assert_eq!(world.rotation(), []);
    // .3 was never seen; .1 and .2 are kept though they fail.
    world.run(SECONDS(3), but(&[3]));
    assert_eq!(world.rotation(), [(1, 1), (2, 1)]);
    world.run(SECONDS(3), NONE);
    assert_eq!(world.rotation(), [(1, 1), (2, 1)]);
    world.run(SECONDS(3), but(&[1, 2]));
    assert_eq!(world.rotation(), [(1, 1), (2, 1), (3, 1)]);
    world.run(SECONDS(3), NONE);
    assert_eq!(world.rotation(), [(1, 1), (2, 1), (3, 1)]);
}

#[test]
fn a_restart_while_the_sorry_server_serves_changes_nothing() {
    let text = web("sorry_server = \"192.168.4.9\"", 2);
    let tables = tables(&config(&text), [(9, 1)]);
    let mut world = World::with(config(&text), Some(&tables));
    assert_eq!(world.rotation(), [(9, 1)]);
    world.run(SECONDS(3), but(&[1]));
    assert_eq!(world.rotation(), [(2, 1)]);
}

#[test]
fn with_ha_suspend_nothing_is_asked_while_the_address_is_elsewhere() {
    let mut world = World::new(&web("ha_suspend = true", 2));
    let addresses = |world: &mut World, list: &[&str]| {
        let set: BTreeSet<IpAddr> = list.iter().map(|text| text.parse().unwrap()).collect();
        let actions = world.core.step(Event::Addresses(&set), world.now);
        world.perform(actions, &mut |_| Verdict::Passed);
    };
    addresses(&mut world, &["192.168.4.2"]);
    world.run(SECONDS(5), |target| panic!("{target:?}"));
    assert!(world.view.is_ready, "nothing is awaited");
    assert_eq!(world.rotation(), [(1, 1), (2, 1)]);
    addresses(&mut world, &["192.168.4.2", "192.168.4.15"]);
    world.run(SECONDS(3), but(&[2]));
    assert_eq!(world.rotation(), [(1, 1)]);
    // Elsewhere again: what is known stays.
    addresses(&mut world, &[]);
    world.run(SECONDS(5), |target| panic!("{target:?}"));
    assert_eq!(world.rotation(), [(1, 1)]);
}

#[test]
fn omega_says_good_bye() {
    let mut world = World::new(&web("omega = true", 2));
    world.run(SECONDS(3), but(&[2]));
    let told: Vec<Told> = world.core.farewell();
    world.told = told.into_iter().map(|told| (world.now, told)).collect();
    assert_eq!(world.news(), ["1 down", "quorum down"]);
    assert!(World::new(&web("", 2)).core.farewell().is_empty());
}

#[test]
fn on_failure_other_than_keep_leaves_the_failed_in_the_table() {
    let mut world = World::new(&web("on_failure = \"reset\"", 2));
    world.run(SECONDS(3), but(&[2]));
    assert_eq!(world.rotation(), [(1, 1), (2, 0)]);
    let mut desired = Desired::from_config(&world.config);
    world.view.apply(&world.config, &mut desired);
    let failed: Vec<bool> =
        desired.services.values().next().unwrap().servers.iter().map(|it| it.failed).collect();
    assert_eq!(failed, [false, true]);
}

#[test]
fn a_group_shares_its_checks() {
    let text = "[[virtual_server_group]]\nname = \"web\"\naddresses = [\"192.168.4.15:80\", \"192.168.4.20-22:80\"]\n\
                [[virtual_server]]\ngroup = \"web\"\ncheck_interval = \"1s\"\ncheck = [{ type = \"tcp\" }]\n\
                check_retries = 0\nreal_server = [{ address = \"192.168.4.1\" }, { address = \"192.168.4.2\" }]\n";
    let mut world = World::new(text);
    assert_eq!(world.core.checks(), 2);
    world.run(SECONDS(3), but(&[1]));
    assert_eq!(world.rotation(), [(2, 1)]);
}

#[test]
fn the_view_of_one_configuration_is_good_for_another() {
    let mut world = World::new(&web("", 3));
    world.run(SECONDS(3), but(&[2]));
    let other: Config = config(&web("alpha = true", 4));
    let mut desired = Desired::from_config(&other);
    world.view.apply(&other, &mut desired);
    let names: Vec<u8> =
        desired.services.values().next().unwrap().servers.iter().map(|it| last(it.key.address)).collect();
    assert_eq!(names, [1, 3]);
    let again = desired.clone();
    world.view.apply(&other, &mut desired);
    assert_eq!(desired, again);
}

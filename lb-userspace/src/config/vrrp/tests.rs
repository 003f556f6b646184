use std::time::Duration;

use crate::config::{Config, Severity, parse};

use super::*;

/// Two instances that nothing is wrong with.
const GOOD: &str = r#"
[[vrrp_instance]]
name = "VI_1"
interface = "eth0"
virtual_router_id = 51
virtual_addresses = ["192.168.4.15/24"]

[[vrrp_instance]]
name = "VI_2"
interface = "eth0"
virtual_router_id = 52
virtual_addresses = ["192.168.4.16/24"]
"#;

fn read(text: &str) -> Config {
    parse("lbctl.toml", text, || Some("lvs1".to_owned())).unwrap_or_else(|error| panic!("{error}"))
}

/// All findings as `severity line key: message`.
fn findings(text: &str) -> Vec<String> {
    let all = match parse("lbctl.toml", text, || Some("lvs1".to_owned())) {
        Ok(config) => config.warnings,
        Err(error) => error.diagnostics().to_vec(),
    };
    all.iter()
        .map(|d| {
            assert!(!d.help.is_empty() && !d.message.ends_with('.'), "{d}");
            let severity = if d.severity == Severity::Error { "error" } else { "warning" };
            format!("{severity} {} {}: {}", d.line.unwrap_or(0), d.key, d.message)
        })
        .collect()
}

/// One instance with further lines.
fn one(lines: &str) -> String {
    format!(
        "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\n\
         virtual_addresses = [\"192.168.4.15\"]\n{lines}\n"
    )
}

#[test]
fn a_virtual_mac_takes_the_addresses_of_its_interface() {
    let lines = "use_vmac = true\nvmac_xmit_base = true\nunicast_peers = [\"192.168.4.3\"]\n\
                 excluded_addresses = [\"2001:db8::15\", { address = \"10.0.0.1\", interface = \"eth1\" }]";
    let config = read(&one(lines));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let own = &config.vrrp.instances[0];
    assert_eq!(own.mac(), Some([0, 0, 0x5e, 0, 1, 51]));
    assert!(own.virtual_mac.as_ref().is_some_and(|mac| mac.sends_from_base) && !own.sends_from_virtual_mac());
    let interfaces: Vec<_> = own.addresses().map(|address| address.interface.as_str()).collect();
    assert_eq!(interfaces, ["vrrp.51", "eth0", "eth1"]);
    let ipv6 = one("use_vmac = true").replace("192.168.4.15", "2001:db8::15");
    let config = read(&ipv6);
    let own = &config.vrrp.instances[0];
    assert_eq!((own.mac(), own.sends_from_virtual_mac()), (Some([0, 0, 0x5e, 0, 2, 51]), true));
    assert_eq!(own.virtual_addresses[0].interface, "vrrp6.51");
    assert_eq!(read(&one("")).vrrp.instances[0].mac(), None);
}

#[test]
fn what_a_virtual_mac_does_not_go_with_is_said() {
    let other = |lines: &str| {
        one(lines).replace("VI_1", "VI_2").replace("eth0", "eth1").replace("192.168.4.15", "192.168.4.16")
    };
    for (text, expected) in [
        (
            one("use_vmac = true\nunicast_peers = [\"192.168.4.3\"]"),
            "error 6 vrrp_instance[0].use_vmac: adverts to unicast_peers come from the interface's own MAC",
        ),
        (one("vmac_name = \"vip0\""), "warning 6 vrrp_instance[0].vmac_name: has no effect without use_vmac"),
        (
            one("vmac_xmit_base = true"),
            "warning 6 vrrp_instance[0].vmac_xmit_base: has no effect without use_vmac",
        ),
        (
            one("use_vmac = true\nvmac_name = \"eth0\""),
            "error 7 vrrp_instance[0].vmac_name: \"eth0\" is an interface of another kind",
        ),
        (
            one("use_vmac = true") + &other("use_vmac = true"),
            "error 12 vrrp_instance[1].use_vmac: the interface \"vrrp.51\" is another instance's already",
        ),
    ] {
        let found = findings(&text);
        assert!(found.iter().any(|line| line == expected), "{expected}\nin\n{}", found.join("\n"));
    }
}

#[test]
fn defaults_are_keepaliveds() {
    let config = read(GOOD);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(config.director.interfaces.is_empty());
    let [first, second] = config.vrrp.instances.as_slice() else { panic!("two instances") };
    assert_eq!((first.name.as_str(), second.name.as_str()), ("VI_1", "VI_2"));
    assert_eq!((first.priority, first.state, first.version), (100, InitialState::Backup, VrrpVersion::V2));
    assert_eq!(first.advert_interval, Duration::from_secs(1));
    assert_eq!((first.unicast_ttl, first.nopreempt, first.accept), (255, false, true));
    let five = Duration::from_secs(5);
    assert_eq!(
        first.garp,
        Garp {
            delay: five,
            repeat: 5,
            refresh: Duration::ZERO,
            refresh_repeat: 1,
            lower_priority_delay: five,
            lower_priority_repeat: 5
        }
    );
    let bare = read(&one("")).vrrp.instances[0].virtual_addresses[0].clone();
    assert_eq!((bare.prefix_len, bare.scope, bare.interface.as_str()), (32, 0, "eth0"));
}

#[test]
fn the_version_follows_the_family_and_the_global_key() {
    let version = |text: &str| read(text).vrrp.instances[0].version;
    assert_eq!(version(&one("")), VrrpVersion::V2);
    assert_eq!(version(&format!("[vrrp]\nversion = 3\n{}", one(""))), VrrpVersion::V3);
    assert_eq!(version(&format!("[vrrp]\nversion = 3\n{}", one("version = 2"))), VrrpVersion::V2);
    let ipv6 = "[[vrrp_instance]]\nname = \"a\"\ninterface = \"eth0\"\nvirtual_router_id = 1\n\
                virtual_addresses = [\"fe80::15/64\", \"2001:db8::15/64\"]\n";
    assert_eq!(version(ipv6), VrrpVersion::V3);
}

#[test]
fn what_concerns_lower_priorities_follows_the_other_garp_keys() {
    let garp =
        read(&format!("[vrrp]\ngarp_repeat = 2\n{}", one("garp_delay = \"1s\""))).vrrp.instances[0].garp;
    assert_eq!((garp.repeat, garp.lower_priority_repeat), (2, 2));
    assert_eq!((garp.delay, garp.lower_priority_delay), (Duration::from_secs(1), Duration::from_secs(1)));
}

#[test]
fn addresses_and_trackers_can_be_tables() {
    let config = read(
        r#"
[[vrrp_instance]]
name = "VI_1"
interface = "eth0"
virtual_router_id = 51
virtual_addresses = [{ address = "192.168.4.15/24", interface = "eth1", scope = "link", label = "eth1:v" }]
excluded_addresses = ["2001:db8::15/64"]
track_interfaces = ["eth2", { name = "eth3", weight = -10 }]
track_scripts = ["a", { name = "b", weight = 7, reverse = true }]
track_files = ["f"]

[[vrrp_script]]
name = "a"
command = "/bin/check 'one word' two"
weight = 5
user = "nobody"

[[vrrp_script]]
name = "b"
command = "/bin/true"
interval = "500ms"

[[vrrp_track_file]]
name = "f"
file = "/run/f"
"#,
    );
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let own = &config.vrrp.instances[0];
    let vip = &own.virtual_addresses[0];
    assert_eq!((vip.interface.as_str(), vip.scope, vip.label.as_deref()), ("eth1", 253, Some("eth1:v")));
    assert_eq!(own.addresses().count(), 2);
    let weights = |of: &[Tracked]| -> Vec<(String, i16, bool)> {
        of.iter().map(|t| (t.name.clone(), t.weight.weight, t.weight.reverse)).collect()
    };
    assert_eq!(weights(&own.track_interfaces), [("eth2".into(), 0, false), ("eth3".into(), -10, false)]);
    assert_eq!(weights(&own.track_scripts), [("a".into(), 5, false), ("b".into(), 7, true)]);
    assert_eq!(weights(&own.track_files), [("f".into(), 1, false)]);
    let script = &config.vrrp.scripts[0];
    assert_eq!(script.command.words, ["/bin/check", "one word", "two"]);
    assert_eq!(script.command.user.as_deref(), Some("nobody"));
    assert_eq!(config.vrrp.scripts[1].timeout, Duration::from_millis(500));
}

#[test]
fn an_owner_accepts_whatever_is_written() {
    let text = |priority: u8| {
        format!(
            "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\n\
             priority = {priority}\naccept = false\nvirtual_addresses = [\"192.168.4.15/24\"]\n"
        )
    };
    assert_eq!(findings(&text(254)), [""; 0]);
    assert_eq!(
        findings(&text(255)),
        [
            "warning 6 vrrp_instance[0].accept: false has no effect with priority = 255: the owner of the addresses \
          accepts"
        ]
    );
}

#[test]
fn every_error_is_found_at_once() {
    let found = findings(
        r#"
[[vrrp_instance]]
name = "VI_1"
interface = "eth0/1"
virtual_router_id = 0
priority = 256
advert_interval = "100ms"
auth_pass = ""
virtual_addresses = ["192.168.4.15/24", "fe80::1/64", "nonsense", 7]
unicast_peers = []
virtual_routes = ["nowhere"]
track_scripts = ["chk_haproxy"]
use_vmac = true
vmac_name = "eth0/9"

[[vrrp_instance]]
name = "VI_1"
interface = "eth0"
advert_int = 1
virtual_addresses = ["192.168.4.15/24"]

[[vrrp_script]]
name = "chk_haproxi"
command = "'open"

[[vrrp_sync_group]]
name = "VG"
members = ["VI_9"]
"#,
    );
    for expected in [
        "error 4 vrrp_instance[0].interface: \"eth0/1\" is not an interface name: it has a slash or a colon",
        "error 5 vrrp_instance[0].virtual_router_id: 0 is out of range",
        "error 6 vrrp_instance[0].priority: 256 is out of range",
        "error 7 vrrp_instance[0].advert_interval: \"100ms\" is not whole seconds, which is what version 2 counts in",
        "error 8 vrrp_instance[0].auth_pass: is empty",
        "error 9 vrrp_instance[0].virtual_addresses: fe80::1 among IPv4 addresses",
        "error 9 vrrp_instance[0].virtual_addresses[2]: \"nonsense\" is not an IP address with a prefix length",
        "error 9 vrrp_instance[0].virtual_addresses[3]: is neither a string nor a table",
        "error 10 vrrp_instance[0].unicast_peers: is empty: adverts would go to nobody",
        "error 11 vrrp_instance[0].virtual_routes[0]: \"nowhere\" is not a network",
        "error 12 vrrp_instance[0].track_scripts[0]: there is no [[vrrp_script]] \"chk_haproxy\"",
        "error 14 vrrp_instance[0].vmac_name: \"eth0/9\" is not an interface name: it has a slash or a colon",
        "error 17 vrrp_instance[1].name: \"VI_1\" is the name of two",
        "error 16 vrrp_instance[1].virtual_router_id: is missing",
        "error 19 vrrp_instance[1].advert_int: unknown key in [[vrrp_instance]]",
        "error 20 vrrp_instance[1]: 192.168.4.15 is listed twice",
        "error 24 vrrp_script[0].command: ends within quotes or after a backslash",
        "error 28 vrrp_sync_group[0].members: there is no [[vrrp_instance]] \"VI_9\"",
    ] {
        assert!(found.iter().any(|line| line == expected), "{expected}\nin\n{}", found.join("\n"));
    }
}

#[test]
fn one_router_id_serves_two_families_and_two_interfaces_but_not_twice() {
    let text = |interface: &str, address: &str| {
        format!(
            "{}\n[[vrrp_instance]]\nname = \"b\"\ninterface = \"{interface}\"\nvirtual_router_id = 51\n\
             virtual_addresses = [\"{address}\"]\n",
            one("")
        )
    };
    assert_eq!(
        findings(&text("eth0", "192.168.4.16")),
        ["error 11 vrrp_instance[1].virtual_router_id: 51 is used twice on eth0 by IPv4 instances"]
    );
    assert!(findings(&text("eth1", "192.168.4.16")).is_empty());
    assert!(findings(&text("eth0", "fe80::15")).is_empty());
    assert_eq!(
        findings(&text("eth1", "192.168.4.15")),
        ["error 12 vrrp_instance[1]: 192.168.4.15 is carried by instance \"VI_1\" too"]
    );
}

#[test]
fn the_traps_are_named() {
    for (lines, warning) in [
        ("state = \"master\"", "gives no head start"),
        ("state = \"master\"\nnopreempt = true", "has no effect with state = \"master\""),
        ("nopreempt = true\npreempt_delay = \"5s\"", "has no effect with nopreempt"),
        ("priority = 255\nnopreempt = true", "has no effect with priority = 255"),
        ("auth_pass = \"1111\"", "is no security"),
        ("auth_pass = \"admin12345\"", "has 10 bytes, and an advert carries 8"),
        (
            "nopreempt = true\ntrack_interfaces = [{ name = \"eth1\", weight = -50 }]",
            "a failure there never moves the addresses",
        ),
    ] {
        let text = one(lines);
        let found = findings(&text);
        assert!(found.iter().any(|line| line.starts_with("warning") && line.contains(warning)), "{found:?}");
        read(&text);
    }
    assert_eq!(
        read(&one("auth_pass = \"admin12345\"")).vrrp.instances[0].auth_pass.as_deref(),
        Some("admin123")
    );
    assert!(!read(&one("state = \"master\"\nnopreempt = true")).vrrp.instances[0].nopreempt);
    assert!(findings(&one("nopreempt = true\ntrack_interfaces = [\"eth1\"]")).is_empty());
    let error = findings(&one("version = 3\nauth_pass = \"1111\""));
    assert!(error[0].contains("version 3 has no authentication"), "{error:?}");
}

#[test]
fn groups_hold_known_instances_once() {
    let group = |members: &str| format!("{GOOD}\n[[vrrp_sync_group]]\nname = \"VG\"\nmembers = {members}\n");
    assert!(findings(&group("[\"VI_1\", \"VI_2\"]")).is_empty());
    assert!(findings(&group("[\"VI_1\", \"VI_1\"]"))[0].contains("is in two groups"));
    assert!(findings(&group("[\"VI_1\"]"))[0].contains("has one member"));
    assert!(findings(&group("[]"))[0].contains("has no members"));
    let weighted = group("[\"VI_1\", \"VI_2\"]").replacen(
        "virtual_router_id = 51",
        "virtual_router_id = 51\ntrack_interfaces = [{ name = \"eth1\", weight = 5 }]",
        1,
    );
    assert!(findings(&weighted)[0].contains("does not count"), "{:?}", findings(&weighted));
    assert!(findings(&format!("{weighted}weighted_tracking = true\n")).is_empty());
}

#[test]
fn virtual_servers_without_an_instance_are_named() {
    let server = "[director]\ninterfaces = [\"eth0\"]\n[[virtual_server]]\naddress = \"192.168.4.99:80\"\n\
                  [[virtual_server.real_server]]\naddress = \"192.168.4.100\"\n";
    let found = findings(&format!("{server}{GOOD}"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("192.168.4.99 is carried by no [[vrrp_instance]]"));
    let unmanaged = server.replace("[director]\n", "[director]\nmanage_addresses = false\n");
    assert!(findings(&format!("{unmanaged}{GOOD}")).is_empty());
    let tracked = format!(
        "{}{}",
        server.replace(".99:80", ".15:80"),
        GOOD.replacen(
            "virtual_router_id = 51",
            "virtual_router_id = 51\ntrack_virtual_servers = [\"192.168.4.15:80\"]",
            1
        )
    );
    let config = read(&tracked);
    let own = &config.vrrp.instances[0].track_virtual_servers[0];
    assert_eq!((own.name.as_str(), own.weight.weight), ("192.168.4.15:80/tcp", -253));
}

#[test]
fn interfaces_stay_required_where_something_is_balanced() {
    let found = findings(&format!(
        "[[virtual_server]]\naddress = \"192.168.4.15:80\"\n[[virtual_server.real_server]]\naddress = \"192.168.4.100\"\n{GOOD}"
    ));
    assert!(found.iter().any(|line| line.contains("director.interfaces: is missing")), "{found:?}");
}

#[test]
fn the_example_line_of_every_key_is_accepted() {
    let line = |section: &crate::config::schema::Section| -> String {
        let lines: Vec<_> =
            section.keys.iter().map(|key| key.example).filter(|example| !example.starts_with('[')).collect();
        format!("{}\n{}\n", section.header, lines.join("\n"))
    };
    let sections = [&schema::VRRP, &schema::INSTANCE, &schema::SCRIPT, &schema::PROCESS, &schema::FILE];
    let server = "[director]\ninterfaces = [\"eth0\"]\n[[virtual_server]]\naddress = \"192.168.4.15:80\"\n\
                  [[virtual_server.real_server]]\naddress = \"192.168.4.100\"\n";
    let second = GOOD.split_once("\n\n").unwrap().1;
    let second = second.replace("192.168.4.16", "192.168.4.17");
    let group = line(&schema::SYNC_GROUP);
    let text = format!("{server}{}{second}{group}", sections.map(line).concat());
    let config = read(&text);
    assert_eq!(config.vrrp.instances.len(), 2);
    assert_eq!(config.vrrp.sync_groups[0].tracking.scripts.len(), 1);
}

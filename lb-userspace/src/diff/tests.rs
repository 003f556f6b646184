use super::*;

const OLD: &str = r#"
[director]
router_id = "lvs1"
interfaces = ["eth0"]
max_connections = 100000

[[virtual_server]]
address = "192.168.4.15:80"
scheduler = "wrr"

  [[virtual_server.real_server]]
  address = "192.168.4.100:80"
  weight = 1

  [[virtual_server.real_server]]
  address = "192.168.4.200:80"
  weight = 2

[[virtual_server]]
address = "192.168.4.16:80"
real_server = [{ address = "192.168.4.100:80" }]

[[vrrp_instance]]
name = "VI_1"
interface = "eth0"
virtual_router_id = 50
priority = 100
auth_pass = "1111"
virtual_addresses = ["192.168.4.15/24"]
"#;

fn changes(new: &str) -> Vec<String> {
    let picture = |text| picture(&Config::parse("lbctl.toml", text).unwrap()).unwrap();
    compare(&picture(OLD), &picture(new)).iter().map(ToString::to_string).collect()
}

#[test]
fn the_same_has_no_difference() {
    assert_eq!(changes(OLD), [""; 0]);
    let reordered = OLD.replace("weight = 1", "weight   =   1 # as before");
    assert_eq!(changes(&reordered), [""; 0]);
}

#[test]
fn every_difference_has_its_path() {
    let new = OLD
        .replace("max_connections = 100000", "max_connections = 200000\nmax_connections_ipv6 = 25000")
        .replace("scheduler = \"wrr\"", "scheduler = \"rr\"")
        .replace("192.168.4.200:80", "192.168.4.201:80")
        .replace("weight = 1", "weight = 3")
        .replace("192.168.4.16:80", "192.168.4.17:80")
        .replace("priority = 100", "priority = 120");
    assert_eq!(
        changes(&new),
        [
            "~ director: max_connections: 100000 -> 200000",
            "~ virtual_server 192.168.4.15:80/tcp: real_server 192.168.4.100:80: weight: 1 -> 3",
            "- virtual_server 192.168.4.15:80/tcp: real_server 192.168.4.200:80",
            "+ virtual_server 192.168.4.15:80/tcp: real_server 192.168.4.201:80",
            "~ virtual_server 192.168.4.15:80/tcp: scheduler: \"wrr\" -> \"rr\"",
            "- virtual_server 192.168.4.16:80/tcp",
            "+ virtual_server 192.168.4.17:80/tcp",
            "~ vrrp_instance VI_1: priority: 100 -> 120",
        ]
    );
}

#[test]
fn another_password_is_a_difference_that_does_not_tell_it() {
    let all = changes(&OLD.replace("1111", "2222"));
    assert_eq!(all.len(), 1);
    assert!(all[0].starts_with("~ vrrp_instance VI_1: auth_pass: \"hidden, "), "{all:?}");
    assert!(!all[0].contains("1111") && !all[0].contains("2222"), "{all:?}");
}

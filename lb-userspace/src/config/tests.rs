mod examples;
mod health;
mod properties;
pub(super) mod refused;
mod rendering;
mod syntax;

use std::net::{IpAddr, Ipv4Addr};

use super::*;

/// A director that nothing is wrong with, in one line.
pub(super) const DIRECTOR: &str = "director = { interfaces = [\"eth0\"] }\n";

pub(super) fn parse_here(text: &str) -> Result<Config, ConfigError> {
    parse("lbctl.toml", text, || Some("lvs1.example.org".to_owned()))
}

fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 168, 4, last))
}

/// One of which nothing else is said.
fn real_server(last: u8, port: u16, weight: u32) -> RealServer {
    RealServer {
        address: v4(last),
        port,
        weight,
        forwarding: Forwarding::Dr,
        commands: UpDown::default(),
        thresholds: Thresholds::default(),
        health: checks::ServerHealth::default(),
    }
}

#[test]
fn the_issues_example_means_what_it_says() {
    let config = parse_here(
        r#"
[director]
router_id = "lvs1"
interfaces = ["eth0", "eth1"]
xdp_mode = "native"
max_connections = 2_000_000
max_connections_ipv6 = 4096
manage_addresses = false

[[virtual_server]]
address = "192.168.4.15:80"
protocol = "udp"
scheduler = "rr"
forwarding = "dr"

  [[virtual_server.real_server]]
  address = "192.168.4.100:80"
  weight = 0

  [[virtual_server.real_server]]
  address = "192.168.4.200"
  weight = 65_535
"#,
    )
    .unwrap();
    assert_eq!(
        config.director,
        Director {
            router_id: "lvs1".to_owned(),
            interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
            xdp_mode: XdpMode::Native,
            max_connections: 2_000_000,
            max_connections_ipv6: 4096,
            max_full_nat_connections: 65_536,
            manage_addresses: false,
            connection_rules: ConnectionRules::default(),
        }
    );
    assert_eq!(
        config.virtual_servers,
        [VirtualServer {
            address: v4(15),
            port: 80,
            protocol: Protocol::Udp,
            scheduler: Scheduler::Rr,
            forwarding: Forwarding::Dr,
            scheduling: Scheduling::default(),
            real_servers: vec![real_server(100, 80, 0), real_server(200, 80, 65_535),],
            quorum_commands: UpDown::default(),
            health: checks::ServiceHealth::default(),
        }]
    );
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn what_is_not_written_has_its_default() {
    let text = format!(
        "{DIRECTOR}[[virtual_server]]\naddress = \"192.168.4.15:0\"\n\
         [[virtual_server.real_server]]\naddress = \"192.168.4.100\"\n"
    );
    let config = parse_here(&text).unwrap();
    assert_eq!(
        config.director,
        Director {
            router_id: "lvs1.example.org".to_owned(),
            interfaces: vec!["eth0".to_owned()],
            xdp_mode: XdpMode::Auto,
            max_connections: 1_000_000,
            max_connections_ipv6: 250_000,
            max_full_nat_connections: 65_536,
            manage_addresses: true,
            connection_rules: ConnectionRules::default(),
        }
    );
    let server = &config.virtual_servers[0];
    assert_eq!(
        (server.protocol, server.scheduler, server.forwarding),
        (Protocol::Tcp, Scheduler::Wrr, Forwarding::Dr)
    );
    assert_eq!(server.real_servers, [real_server(100, 0, 1)]);
    assert_eq!(server.to_string(), "192.168.4.15:0/tcp");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn real_servers_have_the_forwarding_method_of_their_virtual_server_or_their_own() {
    let config = parse_here(&format!(
        r#"{DIRECTOR}
[[virtual_server]]
address = "192.168.4.15:80"
forwarding = "nat"
real_server = [
  {{ address = "192.168.4.100:8080" }},
  {{ address = "192.168.4.100:8081" }},
  {{ address = "192.168.4.101" }},
  {{ address = "192.168.4.102", forwarding = "dr" }},
  {{ address = "2001:db8::100", forwarding = "tun" }},
]
"#
    ))
    .unwrap();
    let found: Vec<_> =
        config.virtual_servers[0].real_servers.iter().map(|s| format!("{s} {}", s.forwarding)).collect();
    assert_eq!(
        found,
        [
            "192.168.4.100:8080 nat",
            "192.168.4.100:8081 nat",
            "192.168.4.101:80 nat",
            "192.168.4.102:80 dr",
            "[2001:db8::100]:80 tun",
        ]
    );
}

#[test]
fn the_ipv6_table_is_a_quarter_of_the_ipv4_table() {
    for (connections, ipv6) in [(1024, 256), (1027, 256), (64_000_000, 16_000_000)] {
        let text = format!("[director]\ninterfaces = [\"eth0\"]\nmax_connections = {connections}\n");
        let director = parse_here(&text).unwrap().director;
        assert_eq!((director.max_connections, director.max_connections_ipv6), (connections, ipv6));
    }
}

#[test]
fn a_missing_host_name_is_an_error_only_if_it_is_needed() {
    let nameless = |text: &str| parse("lbctl.toml", text, || None);
    let error = nameless(DIRECTOR).unwrap_err();
    let keys: Vec<_> = error
        .diagnostics()
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .map(|d| d.key.as_str())
        .collect();
    assert_eq!(keys, ["director.router_id"]);
    let config = nameless("[director]\nrouter_id = \"a\"\ninterfaces = [\"eth0\"]\n").unwrap();
    assert_eq!(config.director.router_id, "a");
}

#[test]
fn the_same_address_may_serve_several_ports_and_protocols() {
    let mut text = DIRECTOR.to_owned();
    for (port, protocol) in [(0, "tcp"), (53, "tcp"), (53, "udp"), (80, "tcp")] {
        text.push_str(&format!(
            "[[virtual_server]]\naddress = \"192.168.4.15:{port}\"\nprotocol = \"{protocol}\"\n\
             real_server = [{{ address = \"192.168.4.100\" }}]\n"
        ));
    }
    assert_eq!(parse_here(&text).unwrap().virtual_servers.len(), 4);
}

#[test]
fn warnings_do_not_refuse() {
    let cases = [
        ("", "real_server", "there is none"),
        ("real_server = []", "real_server", "there is none"),
        ("real_server = [{ address = \"192.168.4.100\", weight = 0 }]", "real_server", "every weight is 0"),
        (
            "real_server = [{ address = \"192.168.4.100\", weight = 65535 }, { address = \"192.168.4.101\", weight = 2 }]",
            "real_server",
            "takes 65537 steps, more than 65536",
        ),
    ];
    for (servers, key, message) in cases {
        let text = format!("{DIRECTOR}[[virtual_server]]\naddress = \"192.168.4.15:80\"\n{servers}\n");
        let config = parse_here(&text).unwrap();
        let [warning] = config.warnings.as_slice() else { panic!("{servers}: {:?}", config.warnings) };
        assert_eq!(warning.severity, Severity::Warning);
        assert_eq!(
            (warning.line, warning.key.as_str()),
            (Some(2), format!("virtual_server[0].{key}").as_str())
        );
        assert!(warning.message.contains(message), "{servers}: {}", warning.message);
    }
    let config = parse_here(DIRECTOR).unwrap();
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].message.contains("nothing will be forwarded"));
}

#[test]
fn wrr_weights_with_a_common_divisor_or_under_rr_need_no_warning() {
    for (scheduler, weights) in [("wrr", [40_000, 30_000]), ("wrr", [65_535, 1]), ("rr", [65_535, 2])] {
        let [a, b] = weights;
        let text = format!(
            "{DIRECTOR}[[virtual_server]]\naddress = \"192.168.4.15:80\"\nscheduler = \"{scheduler}\"\n\
             real_server = [{{ address = \"192.168.4.1\", weight = {a} }}, {{ address = \"192.168.4.2\", weight = {b} }}]\n"
        );
        let warnings = parse_here(&text).unwrap().warnings;
        assert!(warnings.is_empty(), "{scheduler} {weights:?}: {warnings:?}");
    }
}

/// `count` virtual servers, each with `real_servers` real servers.
fn many(count: u32, real_servers: u32) -> String {
    let mut text = DIRECTOR.to_owned();
    for index in 0..count {
        let address = Ipv4Addr::from(0x0a00_0000 + index);
        text.push_str(&format!("[[virtual_server]]\naddress = \"{address}:80\"\nreal_server = ["));
        for server in 0..real_servers {
            text.push_str(&format!("{{ address = \"{}\" }},", Ipv4Addr::from(0x0b00_0000 + server)));
        }
        text.push_str("]\n");
    }
    text
}

#[test]
fn the_largest_configuration_is_accepted_and_one_more_is_not() {
    assert_eq!(parse_here(&many(256, 256)).unwrap().virtual_servers.len(), 256);
    let error = parse_here(&many(257, 256)).unwrap_err();
    let [diagnostic] = error.diagnostics() else { panic!("{error}") };
    assert_eq!(diagnostic.key, "virtual_server[256].real_server[0]");
    assert!(diagnostic.message.contains("there are 65792 real servers"), "{diagnostic}");

    assert_eq!(parse_here(&many(65_535, 1)).unwrap().virtual_servers.len(), 65_535);
    let error = parse_here(&many(65_536, 1)).unwrap_err();
    let [diagnostic] = error.diagnostics() else { panic!("{error}") };
    assert_eq!(diagnostic.key, "virtual_server[65535]");
    assert!(diagnostic.message.contains("there are 65536 virtual servers"), "{diagnostic}");
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("none.toml");
    let error = Config::load(&missing).unwrap_err();
    let [diagnostic] = error.diagnostics() else { panic!("{error}") };
    assert_eq!((diagnostic.file.as_str(), diagnostic.line), (missing.to_str().unwrap(), None));
    assert_eq!(diagnostic.message, "no such file");
    assert!(diagnostic.help.contains("-c FILE"));
    assert!(error.to_string().starts_with(&format!("error: {}: no such file", missing.display())), "{error}");

    let error = Config::load(directory.path()).unwrap_err();
    assert_eq!(error.diagnostics()[0].message, "is a directory");

    let error = Config::load(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(error.diagnostics()[0].message, "is larger than 64 MiB");

    let latin1 = directory.path().join("latin1.toml");
    std::fs::write(&latin1, b"[director]\nrouter_id = \"B\xe4r\"\n").unwrap();
    let error = Config::load(&latin1).unwrap_err();
    let [diagnostic] = error.diagnostics() else { panic!("{error}") };
    assert_eq!((diagnostic.line, diagnostic.column), (Some(2), Some(15)));
    assert_eq!(diagnostic.message, "byte 0xe4 is not UTF-8");
}

use toml::Value;

use super::*;

const FILE: &str = r#"
[director]
router_id = "lvs1"
interfaces = ["eth0"]

[[virtual_server]]
address = "192.168.4.15:80"
[[virtual_server.real_server]]
address = "192.168.4.100"
weight = 1
[[virtual_server.real_server]]
address = "192.168.4.200"
weight = 2

[[virtual_server]]
address = "192.168.4.15:53"
protocol = "udp"
scheduler = "rr"
"#;

struct Director {
    file: Config,
    config: Config,
    edits: Edits,
}

impl Director {
    fn new(text: &str) -> Self {
        let file = Config::parse("lbctl.toml", text).unwrap();
        Self { config: file.clone(), file, edits: Edits::default() }
    }

    /// Performs, and checks that the record leads from the file to the same.
    fn perform(&mut self, operation: Operation) -> Result<(), OperationError> {
        let result = self.edits.perform(&operation, &self.file, &mut self.config);
        let Edited { config, left_out } = self.edits.apply(self.file.clone());
        assert_eq!(left_out, [""; 0], "after {operation:?}");
        let sorted = |config: &Config| {
            let mut servers = config.virtual_servers.clone();
            servers.sort_by_key(ToString::to_string);
            servers
        };
        assert_eq!(sorted(&config), sorted(&self.config), "after {operation:?}");
        result
    }

    fn weights(&self, service: ServiceName) -> Vec<(String, u32)> {
        let server = self.config.virtual_servers.iter().find(|server| ServiceName::of(server) == service);
        server.unwrap().real_servers.iter().map(|real| (real.to_string(), real.weight)).collect()
    }
}

fn tcp(address: &str) -> ServiceName {
    ServiceName { protocol: Protocol::Tcp, address: address.parse().unwrap() }
}

fn keys(pairs: &[(&str, Value)]) -> Keys {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), Some(value.clone()))).collect()
}

fn weight(weight: i64) -> Keys {
    keys(&[("weight", Value::from(weight))])
}

const WEB: &str = "192.168.4.15:80";

#[test]
fn servers_come_change_and_go() {
    let mut director = Director::new(FILE);
    let (service, server) = (tcp(WEB), "192.168.4.150:80".parse().unwrap());
    director.perform(Operation::AddServer { service, server, keys: weight(3) }).unwrap();
    let added = [("192.168.4.100:80", 1), ("192.168.4.200:80", 2), ("192.168.4.150:80", 3)];
    assert_eq!(director.weights(service), added.map(|(name, weight)| (name.to_owned(), weight)));
    assert_eq!(director.edits.origin_of_server(&service, server), Origin::Added);
    assert_eq!(
        director.perform(Operation::AddServer { service, server, keys: weight(3) }),
        Err(OperationError::ServerExists { service, server })
    );
    director.perform(Operation::EditServer { service, server, keys: weight(7) }).unwrap();
    assert_eq!(director.weights(service)[2].1, 7);
    director.perform(Operation::DeleteServer { service, server }).unwrap();
    assert_eq!(director.weights(service).len(), 2);
    assert!(director.edits.is_empty(), "it never was in the file: {:?}", director.edits);
    assert_eq!(
        director.perform(Operation::DeleteServer { service, server }),
        Err(OperationError::NoSuchServer { service, server })
    );
}

#[test]
fn an_edit_back_to_the_file_is_none() {
    let mut director = Director::new(FILE);
    let (service, server) = (tcp(WEB), "192.168.4.100:80".parse().unwrap());
    director.perform(Operation::EditServer { service, server, keys: weight(0) }).unwrap();
    assert_eq!(director.weights(service)[0].1, 0);
    director.perform(Operation::EditServer { service, server, keys: weight(1) }).unwrap();
    assert!(director.edits.is_empty());
    director.perform(Operation::DeleteServer { service, server }).unwrap();
    assert_eq!(director.edits.removed().1, [(service, server)]);
    director.perform(Operation::AddServer { service, server, keys: weight(4) }).unwrap();
    assert_eq!(director.edits.removed().1, []);
    assert_eq!(director.edits.origin_of_service(&service), Origin::File);
    assert_eq!(director.edits.origin_of_server(&service, server), Origin::Added);
    assert_eq!(director.weights(service)[1], ("192.168.4.100:80".to_owned(), 4), "it comes last now");
}

#[test]
fn services_come_change_and_go() {
    let mut director = Director::new(FILE);
    let service = tcp("192.168.4.15:443");
    let rr = keys(&[("scheduler", Value::from("rr"))]);
    director.perform(Operation::AddService { service, keys: rr.clone() }).unwrap();
    assert_eq!(director.edits.origin_of_service(&service), Origin::Added);
    let server = "192.168.4.100:443".parse().unwrap();
    director.perform(Operation::AddServer { service, server, keys: Keys::new() }).unwrap();
    director
        .perform(Operation::EditService { service, keys: [("scheduler".to_owned(), None)].into() })
        .unwrap();
    assert_eq!(director.config.virtual_servers[2].scheduler.as_str(), "wrr", "the default");
    director.perform(Operation::EditService { service: tcp(WEB), keys: rr.clone() }).unwrap();
    assert_eq!(director.edits.origin_of_service(&tcp(WEB)), Origin::Changed);
    assert_eq!(
        director.perform(Operation::AddService { service, keys: rr }),
        Err(OperationError::ServiceExists { service })
    );
    director.perform(Operation::DeleteService { service }).unwrap();
    let gone = OperationError::NoSuchService { service };
    assert_eq!(director.perform(Operation::DeleteService { service }), Err(gone.clone()));
    assert_eq!(director.perform(Operation::AddServer { service, server, keys: Keys::new() }), Err(gone));
}

#[test]
fn a_removed_service_added_again_is_a_new_one() {
    let mut director = Director::new(FILE);
    let service = tcp(WEB);
    director.perform(Operation::DeleteService { service }).unwrap();
    assert_eq!(director.edits.removed().0, [service]);
    director.perform(Operation::AddService { service, keys: Keys::new() }).unwrap();
    assert_eq!(director.weights(service), [], "without the file's real servers");
    assert_eq!(director.edits.origin_of_service(&service), Origin::Added);
}

#[test]
fn clear_takes_all_out_and_lift_brings_the_file_back() {
    let mut director = Director::new(FILE);
    let service = tcp("192.168.4.15:443");
    director.perform(Operation::AddService { service, keys: Keys::new() }).unwrap();
    director.perform(Operation::Clear).unwrap();
    assert_eq!(director.config.virtual_servers, []);
    assert_eq!(director.edits.removed().0.len(), 2, "the added one is forgotten");
    director.perform(Operation::Lift).unwrap();
    assert_eq!(director.config.virtual_servers, director.file.virtual_servers);
    assert!(director.edits.is_empty());
}

#[test]
fn what_a_file_could_not_say_is_refused_alike() {
    let mut director = Director::new(FILE);
    let service = tcp(WEB);
    let mut refused = |operation| director.perform(operation).unwrap_err().to_string();
    let server: SocketAddr = "192.168.4.150:8080".parse().unwrap();
    let error = refused(Operation::AddServer { service, server, keys: Keys::new() });
    assert!(error.contains("port 8080 is not the virtual server's port 80"), "{error}");
    let error = refused(Operation::AddServer {
        service,
        server: "192.168.4.15:80".parse().unwrap(),
        keys: Keys::new(),
    });
    assert!(error.contains("192.168.4.15 is the address of the virtual server"), "{error}");
    let error = refused(Operation::AddServer {
        service,
        server: "192.168.4.150:80".parse().unwrap(),
        keys: weight(65_536),
    });
    assert!(error.contains("weight: 65536 is out of range"), "{error}");
    let keys = keys(&[("scheduler", Value::from("nosuch"))]);
    let error = refused(Operation::EditService { service, keys });
    assert!(error.contains("scheduler: "), "{error}");
    assert!(director.edits.is_empty());
}

#[test]
fn edits_outlive_a_changed_file() {
    let mut director = Director::new(FILE);
    let (service, server) = (tcp(WEB), "192.168.4.200:80".parse().unwrap());
    director.perform(Operation::EditServer { service, server, keys: weight(9) }).unwrap();
    let other = FILE.replace("weight = 1", "weight = 5").replace("192.168.4.15:53", "192.168.4.15:54");
    let changed = director.edits.apply(Config::parse("lbctl.toml", &other).unwrap());
    assert_eq!(changed.left_out, [""; 0]);
    let weights: Vec<_> =
        changed.config.virtual_servers[0].real_servers.iter().map(|real| real.weight).collect();
    assert_eq!(weights, [5, 9]);
    // A file without the virtual server leaves nothing to edit.
    let other = FILE.replace("192.168.4.15:80", "192.168.4.16:80");
    let changed = director.edits.apply(Config::parse("lbctl.toml", &other).unwrap());
    assert_eq!(changed.config.virtual_servers[0].real_servers[1].weight, 2);
}

#[test]
fn what_does_not_fit_is_left_out_and_named() {
    let record: Edits = serde_json::from_value(serde_json::json!({"services": [
        {"name": {"protocol": "tcp", "address": WEB}, "change": "kept",
         "servers": [{"address": "192.168.4.15:80", "change": {"added": {}}}]},
        {"name": {"protocol": "tcp", "address": "127.0.0.1:80"}, "change": {"added": {}}, "servers": []}]}))
    .unwrap();
    let Edited { config, left_out } = record.apply(Config::parse("lbctl.toml", FILE).unwrap());
    assert_eq!(config.virtual_servers.len(), 2);
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    assert!(left_out[0].starts_with("virtual server 192.168.4.15:80/tcp: real server 192.168.4.15:80: "));
    assert!(left_out[1].contains("loopback"), "{left_out:?}");
}

#[test]
fn the_record_comes_back_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edits.json");
    assert_eq!(Edits::read(&path).unwrap(), Edits::default());
    let mut director = Director::new(FILE);
    let (service, server) = (tcp(WEB), "192.168.4.150:80".parse().unwrap());
    director.perform(Operation::AddServer { service, server, keys: weight(3) }).unwrap();
    director.perform(Operation::EditService { service, keys: keys(&[("scheduler", "rr".into())]) }).unwrap();
    director.edits.write(&path).unwrap();
    assert_eq!(Edits::read(&path).unwrap(), director.edits);
    Edits::default().write(&path).unwrap();
    assert!(!path.exists());
    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(Edits::read(&path), Err(RecordError::NotARecord { .. })));
}

const CHECKED: &str = r#"
[director]
router_id = "lvs1"
interfaces = ["eth0"]

[[virtual_server]]
address = "192.168.4.15:80"
forwarding = "nat"
check_interval = "2s"
rise = 3
alpha = true
slow_start = "10s"
[[virtual_server.check]]
type = "http"
path = "/health"
status = [200, "204-206"]
[virtual_server.check.headers]
X-Check = "lbctl"
[[virtual_server.check]]
type = "tcp"
connect = ":8080"
fall = 2
[[virtual_server.real_server]]
address = "192.168.4.100"
  [[virtual_server.real_server.check]]
  type = "ping"
"#;

#[test]
fn a_server_that_is_added_is_checked_as_its_virtual_server_says() {
    let mut director = Director::new(CHECKED);
    let (service, server) = (tcp(WEB), "192.168.4.150:8000".parse().unwrap());
    director.perform(Operation::AddServer { service, server, keys: weight(3) }).unwrap();
    let servers = &director.config.virtual_servers[0].real_servers;
    let probes = |place: usize| -> Vec<String> {
        servers[place].health.checks.iter().map(|check| check.probe.to_string()).collect()
    };
    assert_eq!(probes(1), ["http 192.168.4.150:8000/health", "tcp 192.168.4.150:8080"]);
    assert_eq!(probes(0).len(), 3, "its own is its own");
    // But for whom it asks, the same to the last key.
    let (old, new) = (&servers[0].health, &servers[1].health);
    for (old, new) in old.checks.iter().zip(&new.checks) {
        assert_eq!((&old.probe.kind, old.timing), (&new.probe.kind, new.timing));
    }
    assert_eq!((new.alpha, new.slow_start), (true, std::time::Duration::from_secs(10)));

    // What the file says later counts.
    let later = CHECKED.replace("\"/health\"", "\"/alive\"");
    let Edited { config, left_out } = director.edits.apply(Config::parse("lbctl.toml", &later).unwrap());
    assert_eq!(left_out, [""; 0]);
    let found = &config.virtual_servers[0].real_servers[1].health.checks[0].probe;
    assert_eq!(found.to_string(), "http 192.168.4.150:8000/alive");

    // An edit keeps the checks, also those of its own.
    director.perform(Operation::EditServer { service, server, keys: weight(4) }).unwrap();
    assert_eq!(director.config.virtual_servers[0].real_servers[1].health.checks.len(), 2);
    let first = "192.168.4.100:80".parse().unwrap();
    director.perform(Operation::EditServer { service, server: first, keys: weight(4) }).unwrap();
    assert_eq!(director.config.virtual_servers[0].real_servers[0].health.checks.len(), 3);
}

#[test]
fn an_added_virtual_server_has_no_checks_to_inherit() {
    let mut director = Director::new(CHECKED);
    let (service, server) = (tcp("192.168.4.15:81"), "192.168.4.150:81".parse().unwrap());
    director.perform(Operation::AddService { service, keys: Keys::new() }).unwrap();
    director.perform(Operation::AddServer { service, server, keys: weight(1) }).unwrap();
    assert_eq!(director.config.virtual_servers[1].real_servers[0].health.checks, []);
}

#[test]
fn timeouts_are_kept_apart_from_the_file() {
    let mut director = Director::new(&FILE.replace("[director]", "[director]\nudp_timeout = \"1m\""));
    let set = |tcp, tcp_fin, udp| Operation::SetTimeouts(Timeouts { tcp, tcp_fin, udp });
    let in_force = |director: &Director| {
        let rules = &director.edits.apply(director.file.clone()).config.director.connection_rules;
        [rules.tcp_timeout, rules.tcp_fin_timeout, rules.udp_timeout].map(|timeout| timeout.as_secs())
    };
    director.perform(set(None, Some(60), Some(90))).unwrap();
    assert_eq!(in_force(&director), [900, 60, 90]);
    assert_eq!(director.config.director.connection_rules.udp_timeout.as_secs(), 90);
    let named: Vec<_> = director.edits.timeouts().named().collect();
    assert_eq!(named, [("tcp_fin_timeout", 60), ("udp_timeout", 90)]);
    // The file's own value again is no edit.
    director.perform(set(Some(600), None, Some(60))).unwrap();
    assert_eq!(in_force(&director), [600, 60, 60]);
    assert_eq!(director.edits.timeouts().named().count(), 2);
    let refused = director.perform(set(None, Some(86_401), None)).unwrap_err().to_string();
    assert!(refused.starts_with("tcp_fin_timeout: out of range"), "{refused}");
    assert_eq!(in_force(&director), [600, 60, 60]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edits.json");
    director.edits.write(&path).unwrap();
    assert_eq!(Edits::read(&path).unwrap(), director.edits);
    director.perform(Operation::Lift).unwrap();
    assert_eq!(in_force(&director), [900, 120, 60]);
    assert!(director.edits.is_empty());
}

const MARKED: &str = r#"
[director]
router_id = "lvs1"
interfaces = ["eth0"]
[[virtual_server_group]]
name = "web"
fwmark = 7
addresses = ["192.168.4.15:80", "192.168.4.15:443"]
[[virtual_server]]
group = "web"
scheduler = "wlc"
persistence_timeout = "10m"
[[virtual_server.real_server]]
address = "192.168.4.100"
"#;

/// What `ipvsadm -C` and the rules of `ipvsadm -S` do to a group with a firewall mark.
#[test]
fn a_marked_group_is_taken_out_and_put_back() {
    let mut director = Director::new(MARKED);
    let service = tcp(WEB);
    let group = director.config.virtual_servers[0].scheduling.group.clone();
    let (old, new) = ("192.168.4.100:0".parse().unwrap(), "192.168.4.200:0".parse().unwrap());
    director.perform(Operation::AddServer { service, server: new, keys: weight(5) }).unwrap();
    director.perform(Operation::EditServer { service, server: old, keys: weight(0) }).unwrap();
    let servers = [("192.168.4.100:0".to_owned(), 0), ("192.168.4.200:0".to_owned(), 5)];
    assert_eq!(director.weights(service), servers);
    director
        .perform(Operation::EditService { service, keys: keys(&[("scheduler", Value::from("rr"))]) })
        .unwrap();
    assert_eq!(director.config.virtual_servers[0].scheduling.group, group, "its addresses stay");
    director.perform(Operation::DeleteServer { service, server: old }).unwrap();
    director.perform(Operation::Clear).unwrap();
    assert_eq!(director.config.virtual_servers, []);

    let again = keys(&[("group", Value::from("web")), ("scheduler", Value::from("wrr"))]);
    director.perform(Operation::AddService { service, keys: again.clone() }).unwrap();
    assert_eq!(director.config.virtual_servers[0].scheduling.group, group);
    let taken = director.perform(Operation::AddService { service, keys: again }).unwrap_err();
    assert!(matches!(taken, OperationError::ServiceExists { .. }), "{taken}");
    director.perform(Operation::AddServer { service, server: new, keys: weight(1) }).unwrap();
    assert_eq!(director.weights(service), [("192.168.4.200:0".to_owned(), 1)]);
    let other = keys(&[("group", Value::from("none"))]);
    let refused =
        director.perform(Operation::AddService { service: tcp("192.168.4.16:80"), keys: other }).unwrap_err();
    assert!(
        refused.to_string().contains("group \"none\": no virtual server of the file has it"),
        "{refused}"
    );
}

/// A file whose group has other addresses is gone over to; what no longer fits is said.
#[test]
fn a_group_that_was_put_back_follows_the_file() {
    let mut director = Director::new(MARKED);
    let service = tcp(WEB);
    director.perform(Operation::DeleteService { service }).unwrap();
    let again = keys(&[("group", Value::from("web")), ("scheduler", Value::from("wrr"))]);
    director.perform(Operation::AddService { service, keys: again }).unwrap();
    let more = Config::parse("lbctl.toml", &MARKED.replace(":443", ":444")).unwrap();
    let Edited { config, left_out } = director.edits.apply(more);
    assert_eq!(left_out, [""; 0]);
    assert_eq!(config.virtual_servers[0].endpoints()[1].1, 444);
    let gone = Config::parse(
        "lbctl.toml",
        &MARKED.replace("name = \"web\"", "name = \"shop\"").replace("group = \"web\"", "group = \"shop\""),
    )
    .unwrap();
    let Edited { left_out, .. } = director.edits.apply(gone);
    assert!(left_out[0].contains("group \"web\": no virtual server of the file has it"), "{left_out:?}");
}

/// Without a port a real server gets the virtual server's, as in the file.
#[test]
fn a_real_server_without_a_port_has_the_virtual_server_s() {
    let mut director = Director::new(FILE);
    let service = tcp(WEB);
    let server = "192.168.4.150:0".parse().unwrap();
    director.perform(Operation::AddServer { service, server, keys: weight(3) }).unwrap();
    assert_eq!(director.weights(service)[2], ("192.168.4.150:80".to_owned(), 3));
    director.perform(Operation::EditServer { service, server, keys: weight(4) }).unwrap();
    director.perform(Operation::DeleteServer { service, server }).unwrap();
    assert_eq!(director.weights(service).len(), 2);
    // Of a group of several ports it has none.
    let mut director = Director::new(&MARKED.replace("fwmark = 7", ""));
    director.perform(Operation::AddServer { service, server, keys: weight(3) }).unwrap();
    assert_eq!(director.weights(service)[1], ("192.168.4.150:0".to_owned(), 3));
}

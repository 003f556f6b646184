use std::net::IpAddr;

use super::check::{connection_rules, scheduling, thresholds};
use super::*;
use crate::config::diagnostics::Report;
use crate::config::model::{Protocol, Scheduler};
use crate::config::raw::Table;
use crate::config::schema;
use toml::de::DeTable;

/// Reads lines of one section; what is made of them, or all that is wrong with them.
fn read<T>(
    section: &'static schema::Section,
    text: &str,
    check: impl FnOnce(&Table<'_>, &mut Report) -> Option<T>,
) -> Result<T, String> {
    let mut report = Report::new("file", text);
    let document = DeTable::parse(text).map_err(|error| error.to_string())?;
    let table = Table::read(section, document.get_ref(), 0..0, "server".to_owned(), &mut report);
    let value = check(&table, &mut report);
    if report.has_errors() {
        let all = report.into_diagnostics();
        return Err(all.iter().map(|d| format!("{}: {}; {}\n", d.key, d.message, d.help)).collect());
    }
    Ok(value.unwrap())
}

fn service(scheduler: Scheduler, protocol: Protocol, is_v4: bool, text: &str) -> Result<Scheduling, String> {
    read(&schema::VIRTUAL_SERVER, text, |table, report| {
        let raw = read_scheduling(table, report);
        scheduling(&raw, "server", None, (Some(scheduler), Some(protocol), Some(is_v4)), report)
    })
}

fn addresses(text: &str) -> Result<Vec<String>, String> {
    let text = format!("name = \"web\"\naddresses = [{text}]");
    let groups = read(&schema::VIRTUAL_SERVER_GROUP, &text, |table, report| {
        let raw = RawGroup {
            path: "group".to_owned(),
            span: 0..0,
            name: table.string("name", report),
            fwmark: table.integer("fwmark", report),
            addresses: table.strings("addresses", report),
        };
        Some(groups(vec![raw], report))
    })?;
    let (group, _) = &groups["web"];
    let name = |(ip, port): &(IpAddr, u16)| crate::config::address::with_port(*ip, *port);
    Ok(group.as_ref().unwrap().addresses.iter().map(name).collect())
}

#[test]
fn groups_have_addresses_ports_and_ranges() {
    assert_eq!(
        addresses("\"192.168.4.20-22:80\", \"192.168.4.15:8000-8001\"").unwrap(),
        ["192.168.4.15:8000", "192.168.4.15:8001", "192.168.4.20:80", "192.168.4.21:80", "192.168.4.22:80"]
    );
    assert_eq!(
        addresses("\"[2001:db8::1]:443\", \"[2001:db8::9-b]:80\"").unwrap(),
        ["[2001:db8::1]:443", "[2001:db8::9]:80", "[2001:db8::a]:80", "[2001:db8::b]:80"]
    );
    assert_eq!(addresses("\"192.168.4.15:0\"").unwrap(), ["192.168.4.15:0"]);
    for (text, expected) in [
        ("", "is empty"),
        ("\"192.168.4.15\"", "has no port"),
        ("\"2001:db8::1\"", "has no port"),
        ("\"192.168.4.30-20:80\"", "is no range"),
        ("\"192.168.4.30-256:80\"", "is no range"),
        ("\"192.168.4.15:80-70\"", "is no range"),
        ("\"192.168.4.15:0-80\"", "is no range"),
        ("\"192.168.4.15:1-65535\"", "is no range of at most 4096"),
        ("\"192.168.4.15:80-http\"", "is not a port"),
        ("\"web:80\"", "is a name"),
        ("\"127.0.0.1:80\"", "is a loopback address"),
        ("\"192.168.4.15:80\", \"[2001:db8::1]:80\"", "is not of the first address's family"),
        ("\"192.168.4.15:80\", \"192.168.4.10-20:80\"", "192.168.4.15:80 is listed twice"),
    ] {
        let error = addresses(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_mark_names_one_group_and_one_virtual_server() {
    let group = |name: &str, mark: &str, address: &str| {
        format!("[[virtual_server_group]]\nname = \"{name}\"\nfwmark = {mark}\naddresses = [\"{address}\"]\n")
    };
    let server = |group: &str, more: &str| format!("[[virtual_server]]\ngroup = \"{group}\"\n{more}\n");
    let web = group("web", "7", "192.168.4.15:80");
    let director = "[director]\nrouter_id = \"lvs1\"\ninterfaces = [\"eth0\"]\n";
    let check = |text: String| {
        crate::config::Config::parse("lbctl.toml", &format!("{director}{text}"))
            .map_err(|error| error.to_string())
    };
    let six = group("six", "7", "[2001:db8::15]:80");
    let good = check([web.clone(), six, server("web", ""), server("six", "")].concat()).unwrap();
    let marks: Vec<_> = good
        .virtual_servers
        .iter()
        .map(|server| server.scheduling.group.as_ref().unwrap().fwmark.unwrap().get())
        .collect();
    assert_eq!(marks, [7, 7], "once in each family");
    for (text, key, message) in [
        (
            [web.clone(), group("b", "7", "192.168.4.16:80")].concat(),
            "virtual_server_group[1].fwmark",
            "another group",
        ),
        (group("web", "0", "192.168.4.15:80"), "virtual_server_group[0].fwmark", "from 1 to 4294967295"),
        (
            [web, server("web", ""), server("web", "protocol = \"udp\"")].concat(),
            "virtual_server[1].group",
            "names one virtual server, and this is its second",
        ),
    ] {
        let error = check(text).unwrap_err();
        assert!(error.contains(key) && error.contains(message), "{error}");
    }
}

#[test]
fn what_is_not_written_is_not_wanted() {
    let empty = service(Scheduler::Wrr, Protocol::Tcp, true, "").unwrap();
    assert_eq!(empty, Scheduling::default());
}

#[test]
fn each_error_names_its_key() {
    let tcp = |text: &str| service(Scheduler::Wrr, Protocol::Tcp, true, text).unwrap_err();
    for (text, expected) in [
        (
            "scheduler_flags = [\"sh-port\"]",
            "server.scheduler_flags[0]: \"sh-port\" is a flag of sh, not of wrr",
        ),
        ("scheduler_flags = [\"flag-1\"]", "\"flag-1\" is not a flag; use some of \"sh-fallback\""),
        ("persistence_timeout = \"50\"", "server.persistence_timeout: \"50\" is not a duration"),
        ("persistence_timeout = \"25h\"", "is out of range"),
        ("persistence_granularity = 24", "is of no use without persistence_timeout"),
        ("persistence_timeout = \"6m\"\npersistence_granularity = \"255.0.255.0\"", "is no granularity"),
        ("persistence_timeout = \"6m\"\npersistence_granularity = 33", "from 1 to 32"),
        ("one_packet = true", "one-packet scheduling is only for UDP"),
        ("rate_limit = 0", "from 1 to 1000000"),
        ("rate_limit_burst = 5", "server.rate_limit_burst: is of no use without rate_limit"),
        ("rate_limit = 1\nrate_limit_burst = 3601", "from 1 to 3600"),
        ("rate_limit = 1\nrate_limit_prefix = 33", "from 1 to 32"),
        (
            "allow = [\"10.0.0.0/8\"]\ndeny = [\"10.0.0.0/8\"]",
            "server.deny: \"10.0.0.0/8\" is in `allow` too",
        ),
        ("allow = [\"10.0.0.1/8\"]", "has bits beyond its prefix; write \"10.0.0.0/8\""),
        (
            "deny = [\"2001:db8::/32\"]",
            "server.deny[0]: \"2001:db8::/32\" is not of the virtual server's family",
        ),
        ("deny = [\"ten\"]", "\"ten\" is not a network"),
        ("on_failure = \"rst\"", "did you mean \"reset\"?"),
    ] {
        let error = tcp(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_rate_has_a_burst_and_a_prefix() {
    let rate = |is_v4, text: &str| {
        let scheduling = service(Scheduler::Wrr, Protocol::Tcp, is_v4, text).unwrap();
        scheduling.rate_limit.map(|limit| (limit.rate, limit.burst, limit.prefix))
    };
    assert_eq!(rate(true, ""), None);
    assert_eq!(rate(true, "rate_limit = 7"), Some((7, 7, 32)));
    assert_eq!(rate(false, "rate_limit = 7"), Some((7, 7, 64)));
    let all = "rate_limit = 7\nrate_limit_burst = 9\nrate_limit_prefix = 24";
    assert_eq!(rate(true, all), Some((7, 9, 24)));
}

#[test]
fn thresholds_are_in_order() {
    let read = |text| {
        read(&schema::REAL_SERVER, text, |table, report| {
            let raw = read_thresholds(table, report);
            thresholds(&raw, "server", report)
        })
    };
    assert_eq!(read("").unwrap(), Thresholds::default());
    let error = read("upper_threshold = 3\nlower_threshold = 4").unwrap_err();
    assert!(error.contains("server.lower_threshold: 4 is above the upper threshold 3"), "{error}");
    assert!(read("lower_threshold = 1").is_err());
}

#[test]
fn timeouts_are_whole_seconds() {
    let read = |text| {
        read(&schema::DIRECTOR, text, |table, report| {
            let raw = read_connection_rules(table, report);
            connection_rules(&raw, report)
        })
    };
    assert_eq!(read("").unwrap(), ConnectionRules::default());
    let rules = read("tcp_timeout = \"20s\"\ntcp_fin_timeout = \"5500ms\"\nudp_timeout = \"10s\"").unwrap();
    let seconds = [rules.tcp_timeout, rules.tcp_fin_timeout, rules.udp_timeout].map(|t| t.as_secs());
    assert_eq!(seconds, [20, 6, 10]);
    assert!(read("udp_timeout = \"0s\"").unwrap_err().contains("director.udp_timeout"));
}

#[test]
fn full_nat_has_sources() {
    let sources =
        |text| service(Scheduler::Wrr, Protocol::Tcp, true, text).map(|scheduling| scheduling.sources);
    let default = sources("").unwrap();
    assert_eq!((default.addresses.len(), default.ports), (0, (1024, 32_767)));
    let given =
        sources("source_addresses = [\"192.168.4.3\", \"192.168.4.2\"]\nsource_ports = \"61000-65535\"")
            .unwrap();
    let addresses: Vec<String> = given.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.168.4.3", "192.168.4.2"], "in the order of the file");
    assert_eq!(given.ports, (61_000, 65_535));
    assert_eq!(sources("source_ports = \"5000\"").unwrap().ports, (5000, 5000));
}

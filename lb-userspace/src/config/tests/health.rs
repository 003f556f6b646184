//! The keys of health checks.

use std::time::Duration;

use super::refused::{Expected, refuses};
use super::{DIRECTOR, parse_here};
use crate::config::checks::*;
use crate::config::*;
use crate::process::Script;

fn with(service: &str, server: &str, check: &str) -> String {
    format!(
        "{DIRECTOR}[[virtual_server]]\naddress = \"192.168.4.15:80\"\n{service}\n\
         [[virtual_server.real_server]]\naddress = \"192.168.4.100\"\n{server}\n\
         [[virtual_server.real_server.check]]\n{check}\n"
    )
}

fn parsed(service: &str, server: &str, check: &str) -> VirtualServer {
    let config = parse_here(&with(service, server, check)).unwrap_or_else(|error| panic!("{error}"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    config.virtual_servers[0].clone()
}

fn check(service: &str, check: &str) -> Check {
    let server = parsed(service, "", check);
    let [check] = server.real_servers[0].health.checks.as_slice() else { panic!("{server:?}") };
    check.clone()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn what_is_not_written_is_as_in_keepalived() {
    let tcp = Timing {
        interval: seconds(60),
        timeout: seconds(5),
        retries: 1,
        retry_delay: seconds(1),
        warmup: seconds(5),
        rise: 1,
        fall: 1,
        fast_interval: None,
    };
    assert_eq!(check("", "type = \"tcp\"").timing, tcp);
    assert_eq!(check("", "type = \"http\"").timing, Timing { retry_delay: seconds(3), ..tcp });
    assert_eq!(check("", "type = \"dns\"").timing, Timing { retries: 3, retry_delay: seconds(60), ..tcp });
    let script = check("check_interval = \"6s\"", "type = \"script\"\ncommand = \"true\"").timing;
    assert_eq!(script, Timing { interval: seconds(6), timeout: seconds(6), retries: 0, ..tcp });
    let server = parsed("", "", "type = \"tcp\"");
    assert_eq!(server.health, ServiceHealth::default());
    assert_eq!((server.health.quorum, server.health.hysteresis, server.health.min_up), (1, 0, 0));
    let health = &server.real_servers[0].health;
    assert_eq!((health.inhibit_on_failure, health.alpha, health.slow_start), (false, false, seconds(0)));
}

#[test]
fn a_check_says_more_than_its_virtual_server_and_that_more_than_the_type() {
    let service = "check_interval = \"6s\"\ncheck_retries = 7\ncheck_retry_delay = \"500ms\"\nrise = 3\nfall = 4\n\
                   fast_interval = \"2s\"\ncheck_warmup = \"1s\"\ncheck_timeout = \"1s\"";
    let inherited = check(service, "type = \"dns\"").timing;
    let expected = Timing {
        interval: seconds(6),
        timeout: seconds(1),
        retries: 7,
        retry_delay: Duration::from_millis(500),
        warmup: seconds(1),
        rise: 3,
        fall: 4,
        fast_interval: Some(seconds(2)),
    };
    assert_eq!(inherited, expected);
    let own =
        check(service, "type = \"dns\"\ninterval = \"3s\"\nretries = 0\nfall = 1\nfast_interval = \"3s\"")
            .timing;
    assert_eq!(own, Timing { interval: seconds(3), retries: 0, fall: 1, fast_interval: None, ..expected });
}

#[test]
fn checks_of_the_virtual_server_come_first_and_are_of_every_real_server() {
    let text = format!(
        "{DIRECTOR}[[virtual_server]]\naddress = \"192.168.4.15:80\"\n\
         check = [{{ type = \"tcp\" }}, {{ type = \"ping\" }}]\n\
         inhibit_on_failure = true\nalpha = true\nslow_start = \"10s\"\n\
         [[virtual_server.real_server]]\naddress = \"192.168.4.100\"\nweight = 100\n\
         check = [{{ type = \"http\", connect = \":8080\", path = \"/a\" }}]\n\
         [[virtual_server.real_server]]\naddress = \"192.168.4.200\"\nweight = 100\n\
         inhibit_on_failure = false\nalpha = false\nslow_start = \"0s\"\n"
    );
    let config = parse_here(&text).unwrap();
    let [first, second] = config.virtual_servers[0].real_servers.as_slice() else { panic!() };
    let probes = |server: &RealServer| -> Vec<String> {
        server.health.checks.iter().map(|check| check.probe.to_string()).collect()
    };
    assert_eq!(probes(first), ["tcp 192.168.4.100:80", "ping 192.168.4.100", "http 192.168.4.100:8080/a"]);
    assert_eq!(probes(second), ["tcp 192.168.4.200:80", "ping 192.168.4.200"]);
    assert!(first.health.inhibit_on_failure && first.health.alpha && first.health.slow_start == seconds(10));
    assert!(!second.health.inhibit_on_failure && !second.health.alpha && second.health.slow_start.is_zero());
}

#[test]
fn every_type_with_all_its_keys() {
    let network = "connect = \"192.168.4.9:81\"\nsource_address = \"192.168.4.2\"\nfwmark = 7\nweight = -5\n";
    let found = check("", &format!("type = \"tcp\"\n{network}"));
    assert_eq!(found.weight, -5);
    assert_eq!(
        found.probe,
        Probe {
            kind: ProbeKind::Tcp,
            connect: "192.168.4.9:81".parse().unwrap(),
            source: Some("192.168.4.2".parse().unwrap()),
            fwmark: Some(7)
        }
    );
    let http = "type = \"https\"\nmethod = \"get\"\npath = \"/a?b=c\"\nhost = \"www.example.org:8443\"\n\
                status = [\"301-302\", 200]\ndigest = \"9B3A0C85A887A256D6939DA88AABD8CD\"\nbody = \"ok\"\n\
                body_regex = 'o[k]$'\nheaders = { B = \"2\", a = \"1\" }\nhttp_version = \"1.0\"\nverify = true\n\
                sni = \"www.example.org\"\nfollow = true";
    let ProbeKind::Http(http) = check("", http).probe.kind else { panic!() };
    let digest =
        [0x9b, 0x3a, 0x0c, 0x85, 0xa8, 0x87, 0xa2, 0x56, 0xd6, 0x93, 0x9d, 0xa8, 0x8a, 0xab, 0xd8, 0xcd];
    assert_eq!(
        *http,
        HttpProbe {
            tls: Some(Tls { verify: true, ca_file: None, sni: Some("www.example.org".to_owned()) }),
            method: HttpMethod::Get,
            path: "/a?b=c".to_owned(),
            host: Some("www.example.org:8443".to_owned()),
            version: HttpVersion::Http10,
            status: vec![(200, 200), (301, 302)],
            digest: Some(Digest::Md5(digest)),
            body: Some("ok".to_owned()),
            body_regex: Some("o[k]$".to_owned()),
            headers: vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())],
            follow: true,
        }
    );
    let ProbeKind::Http(http) = check("", "type = \"http\"\nmethod = \"HEAD\"\nstatus = 204").probe.kind
    else {
        panic!()
    };
    assert_eq!((http.tls, http.method, http.status), (None, HttpMethod::Head, vec![(204, 204)]));
    let kind = |text: &str| check("", text).probe.kind;
    assert_eq!(
        kind("type = \"udp\"\npayload = \"hex:00 ff\"\nexpect = \"hex:01XX\""),
        ProbeKind::Udp { payload: Bytes(vec![0, 255]), expect: Some(Pattern(vec![Some(1), None])) }
    );
    assert_eq!(
        kind("type = \"udp\"\npayload = \"hi\""),
        ProbeKind::Udp { payload: Bytes(b"hi".to_vec()), expect: None }
    );
    assert_eq!(kind("type = \"smtp\"\nhelo = \"lvs1\""), ProbeKind::Smtp { helo: "lvs1".to_owned() });
    assert_eq!(
        kind("type = \"dns\"\nrecord_type = \"a\"\nname = \"www.example.org\"\nexpect = \"192.0.2.1\""),
        ProbeKind::Dns(DnsProbe {
            record_type: "A".to_owned(),
            name: "www.example.org.".to_owned(),
            expect: Some("192.0.2.1".to_owned())
        })
    );
    assert_eq!(
        kind("type = \"script\"\ncommand = \"/bin/check 'a b'\"\nuser = \"nobody\"\nweight_by_exit = true"),
        ProbeKind::Script {
            script: Script {
                words: vec!["/bin/check".to_owned(), "a b".to_owned()],
                user: Some("nobody".to_owned())
            },
            weight_by_exit: true
        }
    );
    assert_eq!(kind("type = \"file\"\nfile = \"/run/a\""), ProbeKind::File { path: "/run/a".to_owned() });
    assert_eq!(kind("type = \"path\""), ProbeKind::Path);
    assert_eq!(kind("type = \"ping\""), ProbeKind::Ping);
}

#[test]
fn a_pattern_is_a_beginning() {
    let pattern = Pattern(vec![Some(1), None]);
    assert!(pattern.begins(&[1, 9]) && pattern.begins(&[1, 2, 3]));
    assert!(!pattern.begins(&[1]) && !pattern.begins(&[2, 2]));
    assert!(Pattern::default().begins(&[]));
}

#[test]
fn a_sorry_server_is_a_real_server() {
    let server =
        parsed("sorry_server = \"192.168.4.250\"\nsorry_server_inhibit = true", "", "type = \"tcp\"");
    let sorry = server.health.sorry_server.unwrap();
    assert_eq!((sorry.to_string().as_str(), sorry.weight), ("192.168.4.250:80", 1));
    assert!(server.health.sorry_server_inhibit);
}

#[test]
fn check_values() {
    let cases: &[(&str, &str, &str)] = &[
        ("", "type", "is missing; write type = \"tcp\""),
        ("type = \"TCP_CHECK\"", "type", "did you mean \"tcp\"?"),
        ("type = \"htps\"", "type", "did you mean \"https\"?"),
        ("type = \"tcp\"\ninterval = \"6\"", "interval", "\"6\" has no unit; write \"6s\" for seconds"),
        (
            "type = \"tcp\"\ninterval = \"soon\"",
            "interval",
            "is not a duration; write a duration from 50ms to 1day",
        ),
        ("type = \"tcp\"\ninterval = \"1ms\"", "interval", "is out of range"),
        ("type = \"tcp\"\ntimeout = \"25h\"", "timeout", "is out of range"),
        ("type = \"tcp\"\nretries = -1", "retries", "write a number from 0 to 1000"),
        ("type = \"tcp\"\nrise = 0", "rise", "write a number from 1 to 1000"),
        ("type = \"tcp\"\nweight = 65536", "weight", "write a number from -65535 to 65535"),
        (
            "type = \"tcp\"\npath = \"/\"",
            "path",
            "a tcp check has no such key; remove it; it is for checks of type http, https",
        ),
        ("type = \"http\"\nverify = true", "verify", "for checks of type https"),
        ("type = \"http\"\nca_file = \"/a\"", "ca_file", "for checks of type https"),
        ("type = \"https\"\nca_file = \"/a\"", "ca_file", "write verify = true beside it"),
        ("type = \"https\"\nverify = true\nca_file = \"a\"", "ca_file", "is not a whole path"),
        ("type = \"path\"\nfwmark = 1", "fwmark", "that use the network"),
        ("type = \"file\"\nfile = \"/a\"\nconnect = \":80\"", "connect", "that use the network"),
        ("type = \"tcp\"\nconnect = \"web1:80\"", "connect", "is a name, not an IP address"),
        ("type = \"tcp\"\nsource_address = \"::1\"", "source_address", "not of the address family"),
        ("type = \"tcp\"\nfwmark = 0", "fwmark", "from 1 to 4294967295"),
        ("type = \"http\"\npath = \"health\"", "path", "begin it with a slash"),
        ("type = \"http\"\npath = \"/a b\"", "path", "is not a path"),
        ("type = \"http\"\nstatus = [\"600\"]", "status", "\"600\" is neither a status nor a range"),
        ("type = \"http\"\nstatus = [\"299-200\"]", "status", "neither"),
        ("type = \"http\"\ndigest = \"abc\"", "digest", "is not a digest"),
        ("type = \"http\"\nbody_regex = \"(\"", "body_regex", "is not a regular expression"),
        ("type = \"http\"\nmethod = \"POST\"", "method", "use \"GET\" or \"HEAD\""),
        ("type = \"http\"\nmethod = \"HEAD\"\nbody = \"a\"", "body", "the answer to HEAD has no body"),
        ("type = \"http\"\nheaders = { \"a b\" = \"c\" }", "headers", "is not a header"),
        ("type = \"http\"\nhttp_version = \"2\"", "http_version", "use \"1.1\" or \"1.0\""),
        ("type = \"https\"\nsni = \"-\"", "sni", "is not a host name"),
        ("type = \"dns\"\nrecord_type = \"ANY\"", "record_type", "is not a record type"),
        ("type = \"dns\"\nname = \"a..b\"", "name", "is not a domain name"),
        ("type = \"udp\"\npayload = \"hex:0XX\"", "payload", "is not hexadecimal"),
        ("type = \"udp\"\npayload = \"hex:XX\"", "payload", "is not hexadecimal"),
        ("type = \"script\"", "command", "is missing"),
        ("type = \"script\"\ncommand = \"a 'b\"", "command", "ends within quotes"),
        ("type = \"file\"\nfile = \"a\"", "file", "is not a whole path"),
        ("type = \"file\"", "file", "is missing"),
        ("type = \"smtp\"\nhelo = \"a b\"", "helo", "is not a host name"),
        ("type = \"tcp\"\ninter = \"1s\"", "inter", "it is called `interval` here"),
    ];
    for (text, key, message) in cases {
        let text = with("", "", text);
        let error = parse_here(&text).expect_err(&text);
        let [found] = error.diagnostics() else { panic!("{text}\n{error}") };
        assert_eq!(found.key, format!("virtual_server[0].real_server[0].check[0].{key}"), "{text}");
        let said = format!("{}; {}", found.message, found.help);
        assert!(said.contains(message), "{text}\n{said}");
    }
}

#[test]
fn what_is_wrong_with_a_shared_check_is_said_once() {
    let text = format!(
        "{DIRECTOR}[[virtual_server]]\naddress = \"192.168.4.15:80\"\ncheck_interval = \"1\"\n\
         check = [{{ type = \"tcp\", rise = 0 }}]\n\
         real_server = [{{ address = \"192.168.4.1\" }}, {{ address = \"192.168.4.2\" }}]\n"
    );
    let expected: &[Expected<'_>] = &[
        (4, "virtual_server[0].check_interval", "has no unit"),
        (5, "virtual_server[0].check[0].rise", "out of range"),
    ];
    refuses(&text, expected);
}

#[test]
fn virtual_server_values() {
    let cases: &[(&str, &str, &str)] = &[
        ("hysteresis = 1", "hysteresis", "1 is not less than the quorum, which is 1"),
        ("quorum = 0", "quorum", "out of range"),
        ("min_up = 101", "min_up", "from 0 to 100"),
        ("sorry_server = \"192.168.4.15:80\"", "sorry_server", "is the address of the virtual server"),
        ("sorry_server = \"192.168.4.9:81\"", "sorry_server", "is not the virtual server's port"),
        ("sorry_server = \"sorry\"", "sorry_server", "is a name"),
        ("slow_start = \"1\"", "slow_start", "has no unit"),
    ];
    for (line, key, message) in cases {
        let key = format!("virtual_server[0].{key}");
        refuses(&with(line, "", "type = \"tcp\""), &[(4, key.as_str(), message)]);
    }
}

#[test]
fn what_is_probably_not_meant() {
    let cases = [
        ("quorum = 2", "quorum", "can never be gained"),
        ("slow_start = \"10s\"", "slow_start", "a weight of 1 grows in 1 steps only"),
        ("sorry_server_inhibit = true", "sorry_server_inhibit", "there is no sorry server"),
    ];
    for (line, key, message) in cases {
        let config = parse_here(&with(line, "", "type = \"tcp\"")).unwrap();
        let [warning] = config.warnings.as_slice() else { panic!("{line}: {:?}", config.warnings) };
        assert_eq!(warning.key, format!("virtual_server[0].{key}"));
        assert!(
            format!("{}; {}", warning.message, warning.help).contains(message),
            "{line}: {}",
            warning.message
        );
    }
}

#[test]
fn a_virtual_server_of_any_port_needs_a_port_to_check() {
    let text = |check: &str| {
        format!(
            "{DIRECTOR}[[virtual_server]]\naddress = \"192.168.4.15:0\"\n\
             real_server = [{{ address = \"192.168.4.1\", check = [{{ {check} }}] }}]\n"
        )
    };
    let key = "virtual_server[0].real_server[0].check[0].connect";
    refuses(&text("type = \"tcp\""), &[(4, key, "write connect = \"192.168.4.1:80\"")]);
    for (check, port) in [
        ("type = \"tcp\", connect = \":22\"", 22),
        ("type = \"smtp\"", 25),
        ("type = \"smtp\", connect = \"192.168.4.9\"", 25),
        ("type = \"dns\"", 53),
        ("type = \"dns\", connect = \"192.168.4.9:5353\"", 5353),
        ("type = \"ping\"", 0),
        ("type = \"path\"", 0),
    ] {
        let config = parse_here(&text(check)).unwrap();
        assert_eq!(
            config.virtual_servers[0].real_servers[0].health.checks[0].probe.connect.port(),
            port,
            "{check}"
        );
    }
}

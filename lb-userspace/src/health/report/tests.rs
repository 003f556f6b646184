use std::time::Duration;

use super::*;
use crate::config::Config;
use crate::health::check::Verdict;
use crate::health::core::{Action, Core, Event, Outcome};

const TEXT: &str = "director = { interfaces = [\"eth0\"], router_id = \"lvs1\" }
[[virtual_server]]
address = \"192.168.4.15:80\"
check_interval = \"1s\"
check_warmup = \"0s\"
check_retries = 0
sorry_server = \"192.168.4.250\"
quorum = 2
check = [{ type = \"http\", path = \"/health\", fall = 9 }]
  [[virtual_server.real_server]]
  address = \"192.168.4.100\"
  [[virtual_server.real_server]]
  address = \"192.168.4.200\"
  weight = 2
  check = [{ type = \"ping\" }]
[[virtual_server]]
address = \"[2001:db8::15]:53\"
protocol = \"udp\"
real_server = [{ address = \"2001:db8::100\" }]
";

/// After five seconds of these results; `result` is asked with the probe's words and the number of its run.
fn report(result: impl Fn(&str, u32) -> (Verdict, &'static str)) -> Report {
    let config = Config::parse("test.toml", TEXT).unwrap_or_else(|error| panic!("{error}"));
    let mut core = Core::new(1);
    let mut actions = core.step(Event::Configure { config: &config, tables: None }, Duration::ZERO);
    let mut now = Duration::ZERO;
    let end = Duration::from_secs(5);
    loop {
        for action in std::mem::take(&mut actions) {
            if let Action::Probe { check, probe, target } = action {
                let (verdict, text) = result(&target.check.probe.to_string(), probe);
                let outcome = Outcome {
                    verdict,
                    text: text.to_owned(),
                    latency: Duration::from_millis(2),
                    number: None,
                };
                actions.extend(core.step(Event::Finished { check, probe, outcome }, now));
            }
        }
        match core.deadline() {
            _ if !actions.is_empty() => {}
            Some(next) if next <= end => {
                now = next;
                actions = core.step(Event::Tick, now);
            }
            _ => break,
        }
    }
    of(&core, end)
}

/// The text, with every "for …" as it is, a minute later.
fn text(report: &Report) -> String {
    let since = humantime::parse_rfc3339(&report.virtual_servers[1].since).unwrap();
    report.text(since + Duration::from_secs(65))
}

#[test]
fn as_text() {
    let report = report(|probe, run| match probe {
        "http 192.168.4.200:80/health" if run > 3 => (Verdict::Failed, "HTTP 503 in 2 ms"),
        "ping 192.168.4.200" => (Verdict::Failed, "timed out after 5 s"),
        _ => (Verdict::Passed, "HTTP 200 in 2 ms"),
    });
    let shown = text(&report);
    let lines: Vec<&str> = shown.lines().collect();
    let begins = [
        "TCP  192.168.4.15:80 DOWN for ",
        "  -> 192.168.4.100:80             UP   for ",
        "       UP        http 192.168.4.100:80/health       HTTP 200 in 2 ms",
        "  -> 192.168.4.200:80             DOWN for ",
        "       UP ",
        "       DOWN      ping 192.168.4.200                 timed out after 5 s",
        "UDP  [2001:db8::15]:53 UP for 1m 5s, weight 1 of 1",
        "  -> [2001:db8::100]:53           UP   for 1m 5s        weight 1",
        "       no checks: taken as healthy",
    ];
    assert_eq!(lines.len(), begins.len(), "{shown}");
    for (line, begin) in lines.iter().zip(begins) {
        assert!(line.starts_with(begin), "{line:?} does not begin with {begin:?}\n{shown}");
    }
    assert!(
        lines[4].contains("/9 ") && lines[4].ends_with("http 192.168.4.200:80/health       HTTP 503 in 2 ms"),
        "{shown}"
    );
    assert!(lines[0].ends_with(", weight 1 of 2, sorry server 192.168.4.250:80 serves"), "{shown}");
    assert!(lines[3].ends_with(" weight 0 of 2"), "{shown}");
}

#[test]
fn as_json() {
    let report = report(|_, _| (Verdict::Passed, "connected in 2 ms"));
    let json = serde_json::to_value(&report).unwrap();
    let keys = |pointer: &str| -> Vec<String> {
        json.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
    };
    // Names are for ever: docs/checks.md.
    assert_eq!(keys(""), ["max_delay", "ready", "schema", "virtual_servers"]);
    assert_eq!(
        keys("/virtual_servers/0"),
        [
            "address",
            "panic",
            "port",
            "protocol",
            "quorum",
            "real_servers",
            "since",
            "sorry_server",
            "state",
            "weight"
        ]
    );
    assert_eq!(
        keys("/virtual_servers/0/real_servers/0"),
        ["address", "checks", "configured_weight", "port", "since", "state", "weight"]
    );
    assert_eq!(
        keys("/virtual_servers/0/real_servers/0/checks/0"),
        ["age", "check", "latency", "progress", "result", "since", "state", "type"]
    );
    assert_eq!(json["schema"], "lbctl/checks/v1");
    let documented =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/checks.md")).unwrap();
    for pointer in [
        "",
        "/virtual_servers/0",
        "/virtual_servers/0/real_servers/0",
        "/virtual_servers/0/real_servers/0/checks/0",
    ] {
        for key in keys(pointer) {
            assert!(documented.contains(&format!("`{key}`")), "{key} is not in docs/checks.md");
        }
    }
    let back: Report = serde_json::from_value(json).unwrap();
    assert_eq!(back, report);
}

#[test]
fn one_virtual_server() {
    let mut report = report(|_, _| (Verdict::Passed, ""));
    report.keep("192.168.4.15:80".parse().unwrap(), "udp");
    assert_eq!(report.text(SystemTime::now()), "no virtual servers\n");
}

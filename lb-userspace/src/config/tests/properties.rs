//! Whatever the text, parsing ends with a configuration that is right or with errors that can be drawn.

use std::collections::HashSet;

use proptest::prelude::*;

use super::parse_here;
use crate::config::*;

/// Parses, and holds the result to what `Config` and `ConfigError` promise.
fn hold_to_promises(text: &str) {
    let diagnostics = match parse_here(text) {
        Ok(config) => {
            let director = &config.director;
            assert!((1..=64).contains(&director.router_id.len()));
            assert!((1..=16).contains(&director.interfaces.len()));
            assert!((1024..=64_000_000).contains(&director.max_connections));
            assert!((256..=64_000_000).contains(&director.max_connections_ipv6));
            let mut virtual_servers = HashSet::new();
            for server in &config.virtual_servers {
                assert!(virtual_servers.insert((server.address, server.port, server.protocol)));
                let mut real_servers = HashSet::new();
                for real in &server.real_servers {
                    assert!(real_servers.insert(real.address));
                    assert_eq!((real.port, real.address.is_ipv4()), (server.port, server.address.is_ipv4()));
                    assert_ne!(real.address, server.address);
                    assert!(real.weight <= 65_535);
                }
            }
            assert!(config.warnings.iter().all(|warning| warning.severity == Severity::Warning));
            config.warnings
        }
        Err(error) => {
            assert!(error.diagnostics().iter().any(|d| d.severity == Severity::Error));
            assert!(!error.to_string().is_empty());
            error.diagnostics().to_vec()
        }
    };
    for diagnostic in diagnostics {
        assert!(!diagnostic.message.is_empty() && !diagnostic.help.is_empty(), "{diagnostic:?}");
        assert!(!diagnostic.message.ends_with('.') && !diagnostic.help.ends_with('.'), "{diagnostic:?}");
        assert!(!diagnostic.to_string().contains('\n'), "{diagnostic:?}");
        assert!(diagnostic.render(true).contains(&diagnostic.file));
        let lines = text.split('\n').count();
        assert!(diagnostic.line.is_some_and(|line| (1..=lines).contains(&line)), "{diagnostic:?}");
    }
}

const SAMPLE: &str = include_str!("../../../../config/dr-two-web-servers.toml");

/// Values of every type, right for some key and wrong for most.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "\"192.168.4.15:80\"",
            "\"192.168.4.15:0\"",
            "\"192.168.4.100\"",
            "\"[2001:db8::15]:80\"",
            "\"2001:db8::1:80\"",
            "\"127.0.0.1:80\"",
            "\"224.0.0.1:80\"",
            "\"wrr\"",
            "\"WLC\"",
            "\"dr\"",
            "\"nat\"",
            "\"udp\"",
            "\"sctp\"",
            "\"native\"",
            "[\"eth0\"]",
            "[\"eth0\", \"eth0\", 1]",
            "[]",
            "{}",
            "[{}]",
            "true",
            "1.5",
            "1979-05-27",
            "0x10",
            "-1",
            "4096",
            "99999999999999999999999999999999999999999999999999",
            "''",
            "\"\\u0000\"",
            "\"ä\\n\"",
        ])
        .prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| format!("{text:?}")),
    ]
}

fn line() -> impl Strategy<Value = String> {
    let header = prop::sample::select(vec![
        "[director]",
        "[[director]]",
        "[[virtual_server]]",
        "[virtual_server]",
        "[[virtual_servers]]",
        "[[virtual_server.real_server]]",
        "[virtual_server.real_server]",
        "[[real_server]]",
        "[vrrp_instance.VI_1]",
    ]);
    let key = prop::sample::select(vec![
        "router_id",
        "interfaces",
        "interface",
        "xdp_mode",
        "max_connections",
        "max_connections_ipv6",
        "manage_addresses",
        "address",
        "adress",
        "protocol",
        "scheduler",
        "lb_algo",
        "forwarding",
        "weight",
        "port",
        "persistence_timeout",
        "delay_loop",
        "real_server",
        "director.router_id",
        "\"a key\"",
        "\"\\n\"",
    ]);
    prop_oneof![
        1 => header.prop_map(str::to_owned),
        3 => (key, value()).prop_map(|(key, value)| format!("{key} = {value}")),
    ]
}

proptest! {
    #[test]
    fn arbitrary_text(text in any::<String>()) {
        hold_to_promises(&text);
    }

    #[test]
    fn lines_in_any_order(lines in prop::collection::vec(line(), 0..16)) {
        hold_to_promises(&lines.join("\n"));
        hold_to_promises(&lines.join("\r\n"));
    }

    #[test]
    fn one_value_of_a_good_file_replaced(choice in any::<prop::sample::Index>(), value in value()) {
        let mut lines: Vec<String> = SAMPLE.lines().map(str::to_owned).collect();
        let with_value: Vec<usize> =
            (0..lines.len()).filter(|i| !lines[*i].starts_with('#') && lines[*i].contains(" = ")).collect();
        let index = with_value[choice.index(with_value.len())];
        let key = lines[index].split(" = ").next().unwrap().to_owned();
        lines[index] = format!("{key} = {value}");
        hold_to_promises(&lines.join("\n"));
    }

    #[test]
    fn a_good_file_with_a_part_cut_or_overwritten(
        start in any::<prop::sample::Index>(), length in 0_usize..40, replacement in "\\PC{0,12}",
    ) {
        let mut chars: Vec<char> = SAMPLE.chars().collect();
        let start = start.index(chars.len());
        let end = (start + length).min(chars.len());
        chars.splice(start..end, replacement.chars());
        hold_to_promises(&chars.into_iter().collect::<String>());
    }
}

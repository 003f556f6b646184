//! What is refused, and what exactly is said: every error of a text, and no other.

use super::{DIRECTOR, parse_here};
use crate::config::*;

/// Line, key, part of the message or remedy.
pub(in crate::config) type Expected<'a> = (usize, &'a str, &'a str);

/// Asserts that `text` has exactly the `expected` errors. Warnings may come with them.
pub(in crate::config) fn refuses(text: &str, expected: &[Expected<'_>]) {
    let error = match parse_here(text) {
        Ok(config) => panic!("accepted:\n{text}\n{config:?}"),
        Err(error) => error,
    };
    let errors: Vec<_> = error.diagnostics().iter().filter(|d| d.severity == Severity::Error).collect();
    let fits = errors.len() == expected.len()
        && errors.iter().zip(expected).all(|(error, (line, key, part))| {
            error.line == Some(*line)
                && error.key == *key
                && format!("{}; {}", error.message, error.help).contains(part)
        });
    assert!(fits, "expected {expected:#?} of\n{text}\n\ngot\n{error}");
}

fn server(lines: &str) -> String {
    format!("{DIRECTOR}[[virtual_server]]\naddress = \"192.168.4.15:80\"\n{lines}\n")
}

fn real_server(lines: &str) -> String {
    server(&format!("[[virtual_server.real_server]]\n{lines}"))
}

#[test]
fn director_values() {
    let line = "director.max_connections";
    let cases: &[(&str, &str, &str)] = &[
        ("router_id = \"\"", "director.router_id", "is empty"),
        ("router_id = \"a\\tb\"", "director.router_id", "control characters"),
        ("router_id = 1", "director.router_id", "is an integer, not a string"),
        ("xdp_mode = \"natve\"", "director.xdp_mode", "did you mean \"native\"?"),
        ("xdp_mode = \"Native\"", "director.xdp_mode", "did you mean \"native\"?"),
        ("xdp_mode = \"skb\"", "director.xdp_mode", "did you mean \"generic\"?"),
        ("xdp_mode = \"offload\"", "director.xdp_mode", "is not supported by this version; use \"auto\""),
        (
            "xdp_mode = true",
            "director.xdp_mode",
            "is true, not a string; write it like this: xdp_mode = \"auto\"",
        ),
        ("max_connections = 1023", line, "1023 is out of range; write a number from 1024 to 64000000"),
        ("max_connections = 64_000_001", line, "64_000_001 is out of range"),
        ("max_connections = -1", line, "-1 is out of range"),
        ("max_connections = 0x1_0000_0000", line, "0x1_0000_0000 is out of range"),
        (
            "max_connections = 99999999999999999999999999999999999999999999",
            line,
            "the number is out of range",
        ),
        ("max_connections = 1e6", line, "is a fractional number, not an integer"),
        ("max_connections = \"1000000\"", line, "is a string, not an integer; write it like this"),
        ("max_connections_ipv6 = 255", "director.max_connections_ipv6", "from 256 to 64000000"),
        ("manage_addresses = \"yes\"", "director.manage_addresses", "is a string, not true or false"),
        ("lvs_id = \"lvs1\"", "director.lvs_id", "it is called `router_id` here"),
        ("vrrp_instance = {}", "director.vrrp_instance", "belongs in the top of the file"),
        (
            "notification_email = []",
            "director.notification_email",
            "belongs in [notifications], where it is called `email`",
        ),
        ("scheduler = \"rr\"", "director.scheduler", "belongs in [[virtual_server]], not in [director]"),
        ("max-connections = 5000", "director.max-connections", "did you mean `max_connections`?"),
        (
            "colour = \"red\"",
            "director.colour",
            "unknown key in [director]; remove it; the keys here are `router_id`",
        ),
        ("\"a key\" = 1", "director.\"a key\"", "unknown key"),
    ];
    for (text, key, message) in cases {
        refuses(&format!("[director]\ninterfaces = [\"eth0\"]\n{text}\n"), &[(3, key, message)]);
    }
}

#[test]
fn interfaces() {
    const KEY: &str = "director.interfaces";
    refuses("", &[(1, KEY, "is missing; write interfaces = [\"eth0\"] under [director]")]);
    refuses("\n[director]\n", &[(2, KEY, "is missing")]);
    let cases: &[(&str, &[Expected<'_>])] = &[
        ("[]", &[(2, KEY, "is empty")]),
        (
            "\"eth0\"",
            &[(2, KEY, "is a string, not an array of strings; write it like this: interfaces = [\"eth0\"]")],
        ),
        (
            "[\"eth0\", 1, \"eth0\"]",
            &[
                (2, "director.interfaces[1]", "is an integer, not a string"),
                (2, "director.interfaces[2]", "\"eth0\" is listed twice"),
            ],
        ),
        (
            "[\"\", \"sixteen-letters-\", \"a/b\", \"a b\", \"..\", \"eth0:1\"]",
            &[
                (2, "director.interfaces[0]", "it is empty"),
                (2, "director.interfaces[1]", "more than 15 bytes"),
                (2, "director.interfaces[2]", "slash"),
                (2, "director.interfaces[3]", "space"),
                (2, "director.interfaces[4]", "directory"),
                (2, "director.interfaces[5]", "colon"),
            ],
        ),
    ];
    for (value, expected) in cases {
        refuses(&format!("[director]\ninterfaces = {value}\n"), expected);
    }
    let many: Vec<_> = (0..17).map(|n| format!("\"eth{n}\"")).collect();
    refuses(
        &format!("director.interfaces = [{}]", many.join(",")),
        &[(1, KEY, "has 17 interfaces; name at most 16")],
    );
    let most: Vec<_> = (0..16).map(|n| format!("\"fifteen-letter{}\"", char::from(b'a' + n))).collect();
    assert!(parse_here(&format!("director.interfaces = [{}]", most.join(","))).is_ok());
}

#[test]
fn virtual_server_values() {
    let cases: &[(&str, &str, &str)] = &[
        ("protocol = \"TCP\"", "protocol", "\"TCP\" is not a protocol; did you mean \"tcp\"?"),
        (
            "protocol = \"sctp\"",
            "protocol",
            "\"sctp\" is not supported by this version; use \"tcp\" or \"udp\"",
        ),
        ("protocol = \"http\"", "protocol", "\"http\" is not a protocol"),
        ("scheduler = \"MH\"", "scheduler", "\"MH\" is not a scheduler; did you mean \"mh\"?"),
        ("scheduler = \"round-robin\"", "scheduler", "did you mean \"rr\"?"),
        ("scheduler = \"fastest\"", "scheduler", "\"fastest\" is not a scheduler; use \"rr\", "),
        ("forwarding = \"NAT\"", "forwarding", "\"NAT\" is not a forwarding method; did you mean \"nat\"?"),
        ("forwarding = \"gre\"", "forwarding", "\"gre\" is not supported by this version"),
        ("forwarding = \"masq\"", "forwarding", "did you mean \"nat\"?"),
        ("forwarding = \"DR\"", "forwarding", "is not a forwarding method; did you mean \"dr\"?"),
        ("lb_algo = \"rr\"", "lb_algo", "it is called `scheduler` here"),
        ("lb_kind = \"dr\"", "lb_kind", "it is called `forwarding` here"),
        ("persistence_timeout = 50", "persistence_timeout", "is an integer, not a string"),
        ("fwmark = 1", "fwmark", "name the addresses in a [[virtual_server_group]]"),
        ("bfd_instance = 6", "bfd_instance", "is not supported by this version"),
        ("sorry_server_lvs_method = \"NAT\"", "sorry_server_lvs_method", "is not supported by this version"),
        ("port = 80", "port", "write the port after the address"),
        ("ip_family = \"inet6\"", "ip_family", "the address says whether"),
        ("weight = 1", "weight", "belongs in [[virtual_server.real_server]]"),
        ("max_connections = 5000", "max_connections", "belongs in [director]"),
        ("sheduler = \"rr\"", "sheduler", "did you mean `scheduler`?"),
    ];
    for (text, key, message) in cases {
        refuses(&server(text), &[(4, &format!("virtual_server[0].{key}"), message)]);
    }
}

#[test]
fn virtual_server_addresses() {
    let cases = [
        ("", "is empty"),
        ("192.168.4.15", "has no port; write \"192.168.4.15:80\" for one port or \"192.168.4.15:0\""),
        ("2001:db8::15", "has no port; write \"[2001:db8::15]:80\""),
        ("2001:db8::15:80", "has no port; write \"[2001:db8::15:80]:80\""),
        ("[2001:db8::15]", "has no port"),
        ("192.168.4.15:65536", "\"65536\" in \"192.168.4.15:65536\" is not a port"),
        ("192.168.4.15:http", "\"http\" in"),
        ("192.168.4.15:+80", "is not a port"),
        ("192.168.4.15:", "\"\" in"),
        ("[2001:db8::15]:x", "\"x\" in"),
        ("[2001:db8::15]80", "is not an IP address"),
        ("[192.168.4.15]:80", "is not an IP address; write it like"),
        (" 192.168.4.15:80", "has spaces around it"),
        ("192.168.4.0/24", "is a network"),
        ("192.168.4.256:80", "is not an IPv4 address"),
        ("192.168.04.15:80", "without leading zeros"),
        ("www.example.org:80", "is a name, not an IP address"),
        ("fe80::1%eth0", "has an IPv6 zone"),
        ("[fe80::1%2]:80", "has an IPv6 zone"),
        ("[fe80::1]:80", "is a link-local address"),
        ("0.0.0.0:80", "is the unspecified address"),
        ("[::]:80", "is the unspecified address"),
        ("127.0.0.1:80", "is a loopback address"),
        ("[::1]:80", "is a loopback address"),
        ("224.0.0.18:80", "is a multicast address"),
        ("[ff02::12]:80", "is a multicast address"),
        ("255.255.255.255:80", "is the broadcast address"),
        ("[::ffff:192.168.4.15]:80", "is an IPv4 address in IPv6 form; write 192.168.4.15"),
    ];
    for (address, message) in cases {
        let text = format!("{DIRECTOR}[[virtual_server]]\naddress = \"{address}\"\n");
        refuses(&text, &[(3, "virtual_server[0].address", message)]);
    }
    refuses(
        &format!("{DIRECTOR}[[virtual_server]]\n"),
        &[(2, "virtual_server[0].address", "is missing; write address")],
    );
}

#[test]
fn real_server_values() {
    const ADDRESS: &str = "virtual_server[0].real_server[0].address";
    let cases = [
        ("", 4, "address", "is missing; write address = \"192.168.4.100:80\""),
        ("address = 1", 5, "address", "is an integer, not a string"),
        ("address = \"0.0.0.0\"", 5, "address", "is the unspecified address"),
        ("address = \"127.0.0.1:80\"", 5, "address", "is a loopback address"),
        ("address = \"web1\"", 5, "address", "is a name"),
        ("address = \"192.168.4.15:80\"", 5, "address", "is the address of the virtual server"),
        (
            "address = \"[2001:db8::1]:80\"",
            5,
            "address",
            "2001:db8::1 is IPv6, but virtual server 192.168.4.15 is IPv4",
        ),
        (
            "address = \"192.168.4.1:8080\"",
            5,
            "address",
            "direct routing cannot change it; write \"192.168.4.1:80\"",
        ),
        (
            "address = \"192.168.4.1\"\nweight = 65536",
            6,
            "weight",
            "65536 is out of range; write a number from 0 to 65535",
        ),
        ("address = \"192.168.4.1\"\nweight = -1", 6, "weight", "-1 is out of range"),
        ("address = \"192.168.4.1\"\nweight = \"1\"", 6, "weight", "is a string, not an integer"),
        ("address = \"192.168.4.1\"\nwieght = 1", 6, "wieght", "did you mean `weight`?"),
        ("address = \"192.168.4.1\"\nBFD_CHECK = {}", 6, "BFD_CHECK", "is not supported"),
        (
            "address = \"192.168.4.1\"\nscheduler = \"rr\"",
            6,
            "scheduler",
            "belongs in [[virtual_server]], not in [[virtual_server.real_server]]; move it above the first",
        ),
    ];
    for (text, line, key, message) in cases {
        refuses(&real_server(text), &[(line, &format!("virtual_server[0].real_server[0].{key}"), message)]);
    }

    let nat = |line: &str| {
        format!(
            "{DIRECTOR}[[virtual_server]]\naddress = \"192.168.4.15:80\"\nforwarding = \"nat\"\nreal_server = [{{ {line} }}]\n"
        )
    };
    refuses(&nat("address = \"2001:db8::1\""), &[(5, ADDRESS, "address translation keeps the family")]);
    refuses(&nat("address = \"192.168.4.1:0\""), &[(5, ADDRESS, "port 0 is not a port")]);
    refuses(
        &nat("address = \"192.168.4.1:81\", forwarding = \"tun\""),
        &[(5, ADDRESS, "a tunnel cannot change it")],
    );
    refuses(
        &nat("address = \"192.168.4.1:81\" }, { address = \"192.168.4.1:81\""),
        &[(5, "virtual_server[0].real_server[1].address", "192.168.4.1 is listed twice")],
    );
    refuses(
        &nat("address = \"192.168.4.1\", forwarding = \"natt\""),
        &[(5, "virtual_server[0].real_server[0].forwarding", "did you mean \"nat\"?")],
    );

    let any_port = |address: &str| {
        format!(
            "{DIRECTOR}[[virtual_server]]\naddress = \"192.168.4.15:0\"\nreal_server = [{{ address = \"{address}\" }}]\n"
        )
    };
    refuses(&any_port("192.168.4.1:80"), &[(4, ADDRESS, "port 80 under a virtual server of any port")]);
    assert!(parse_here(&any_port("192.168.4.1:0")).is_ok());

    let ipv6 = |address: &str| {
        format!(
            "{DIRECTOR}[[virtual_server]]\naddress = \"[2001:db8::15]:80\"\nreal_server = [{{ address = \"{address}\" }}]\n"
        )
    };
    refuses(&ipv6("192.168.4.1"), &[(4, ADDRESS, "192.168.4.1 is IPv4, but")]);
    refuses(&ipv6("2001:db8::1:80"), &[(4, ADDRESS, "write \"[2001:db8::1]:80\", or \"[2001:db8::1:80]\"")]);
    for right in ["[2001:db8::1:80]", "2001:db8::1:81", "2001:db8::1", "[2001:db8::1]:80"] {
        assert!(parse_here(&ipv6(right)).is_ok(), "{right}");
    }
}

#[test]
fn duplicates_point_at_both_places() {
    let text = server("[[virtual_server]]\naddress = \"192.168.4.15:80\"\nprotocol = \"tcp\"");
    refuses(&text, &[(5, "virtual_server[1].address", "virtual server 192.168.4.15:80/tcp is listed twice")]);
    let error = parse_here(&text).unwrap_err();
    let duplicate = error.diagnostics().iter().find(|d| d.severity == Severity::Error).unwrap();
    assert_eq!((duplicate.related[0].line, duplicate.related[0].column), (3, 11));

    let text = real_server(
        "address = \"192.168.4.100:80\"\n[[virtual_server.real_server]]\naddress = \"192.168.4.100\"\n\
         [[virtual_server.real_server]]\naddress = \"192.168.4.100\"",
    );
    refuses(
        &text,
        &[
            (7, "virtual_server[0].real_server[1].address", "real server 192.168.4.100 is listed twice"),
            (9, "virtual_server[0].real_server[2].address", "real server 192.168.4.100 is listed twice"),
        ],
    );
    let error = parse_here(&text).unwrap_err();
    assert!(error.diagnostics().iter().all(|duplicate| duplicate.related[0].line == 5), "{error}");
}

#[test]
fn sections_under_another_name_or_in_another_shape_are_read_all_the_same() {
    let bad = "address = \"192.168.4.15:80\"\nprotocol = \"icmp\"\n";
    let cases: &[(&str, &str, &str)] = &[
        ("[[virtual_servers]]", "virtual_servers", "did you mean `virtual_server`? write [[virtual_server]]"),
        ("[[virtual_service]]", "virtual_service", "it is called `virtual_server` here"),
        (
            "[virtual_server]",
            "virtual_server",
            "is a single section, not an array of sections; write it like this: [[",
        ),
    ];
    for (header, key, message) in cases {
        refuses(
            &format!("{DIRECTOR}{header}\n{bad}"),
            &[(2, key, message), (4, "virtual_server[0].protocol", "\"icmp\" is not a protocol")],
        );
    }
    refuses(
        &server("[[virtual_server.real_servers]]\naddress = \"web1\""),
        &[
            (4, "virtual_server[0].real_servers", "did you mean `real_server`?"),
            (5, "virtual_server[0].real_server[0].address", "is a name"),
        ],
    );
    refuses(
        &server("[[real_server]]\naddress = \"192.168.4.100\""),
        &[(4, "real_server", "belongs in [[virtual_server]]")],
    );
    refuses(
        "[[director]]\nxdp_mode = 1\n",
        &[
            (1, "director", "is an array of sections, not a section; write it like this: [director]"),
            (1, "director.interfaces", "is missing"),
            (2, "director.xdp_mode", "is an integer"),
        ],
    );
    refuses("director = 5\n", &[(1, "director", "is an integer, not a section")]);
    refuses(
        &format!(
            "{DIRECTOR}virtual_server = [1, {{ address = \"192.168.4.15:80\", real_server = [true] }}]\n"
        ),
        &[
            (2, "virtual_server[0]", "is an integer, not a section"),
            (2, "virtual_server[1].real_server[0]", "is true, not a section"),
        ],
    );
    refuses(
        &format!("{DIRECTOR}[lvs_sync_daemon.eth0]\nid = 1\n"),
        &[(2, "lvs_sync_daemon", "is not supported by this version")],
    );
}

#[test]
fn everything_wrong_is_said_in_one_run() {
    let text = "\
[director]
router_id = 5
interfaces = [\"eth0\", \"eth0\"]
max_conections = 10
[[virtual_server]]
address = \"192.168.4.15\"
scheduler = \"lcc\"
[[virtual_server.real_server]]
address = \"192.168.4.100:81\"
weight = 1.5
[[virtual_server]]
address = \"192.168.4.16:80\"
[[virtual_server.real_server]]
address = \"192.168.4.16:81\"
";
    refuses(
        text,
        &[
            (2, "director.router_id", "is an integer"),
            (3, "director.interfaces[1]", "is listed twice"),
            (4, "director.max_conections", "did you mean `max_connections`?"),
            (4, "director.max_connections", "10 is out of range"),
            (6, "virtual_server[0].address", "has no port"),
            (7, "virtual_server[0].scheduler", "\"lcc\" is not a scheduler"),
            (10, "virtual_server[0].real_server[0].weight", "is a fractional number"),
            (14, "virtual_server[1].real_server[0].address", "is the address of the virtual server"),
            (14, "virtual_server[1].real_server[0].address", "port 81 is not the virtual server's port 80"),
        ],
    );
}

#[test]
fn the_path_check_is_for_direct_routing() {
    let check = "[[virtual_server.check]]\ntype = \"path\"";
    let text = server(&format!(
        "{check}\n[[virtual_server.real_server]]\naddress = \"192.168.4.100\"\n\
         [[virtual_server.real_server]]\naddress = \"192.168.4.200\"\nforwarding = \"nat\""
    ));
    let line = text.lines().position(|line| line.contains("192.168.4.200")).unwrap();
    let message = "has a path check, but packets get to it by nat; use another type of check";
    refuses(&text, &[(line, "virtual_server[0].real_server[1]", message)]);
}

#[test]
fn sources_of_full_nat() {
    let server = |method: &str, keys: &str| {
        format!(
            "{DIRECTOR}[[virtual_server]]\naddress = \"192.168.4.15:80\"\nforwarding = \"{method}\"\n{keys}\nreal_server = [{{ address = \"192.168.9.1\" }}]\n"
        )
    };
    let cases: &[(&str, &str, &str)] = &[
        ("source_addresses = []", "source_addresses", "has 0 addresses"),
        (
            "source_addresses = [\"192.168.4.300\"]",
            "source_addresses[0]",
            "\"192.168.4.300\" is not an address",
        ),
        ("source_addresses = [\"192.168.4.2:80\"]", "source_addresses[0]", "without port and prefix"),
        ("source_addresses = [\"127.0.0.1\"]", "source_addresses[0]", "a loopback address"),
        (
            "source_addresses = [\"2001:db8::2\"]",
            "source_addresses[0]",
            "is not of the virtual server's family",
        ),
        (
            "source_addresses = [\"192.168.4.2\", \"192.168.4.2\"]",
            "source_addresses[1]",
            "192.168.4.2 is listed twice",
        ),
        ("source_ports = \"80-79\"", "source_ports", "\"80-79\" is no range of ports"),
        ("source_ports = \"0-79\"", "source_ports", "is no range of ports"),
        ("source_ports = 1024", "source_ports", "is an integer, not a string"),
    ];
    for (text, key, message) in cases {
        refuses(&server("full_nat", text), &[(5, &format!("virtual_server[0].{key}"), message)]);
    }
    let message = "is of no use: no real server is reached by full_nat";
    refuses(&server("nat", "source_ports = \"1-9\""), &[(5, "virtual_server[0].source_ports", message)]);
    let vip = server("full_nat", "source_addresses = [\"192.168.4.16\"]")
        + "[[virtual_server]]\naddress = \"192.168.4.16:8080\"\nreal_server = [{ address = \"192.168.4.1\" }]\n";
    let message = "192.168.4.16 has a virtual server on port 8080, which would take answers";
    refuses(&vip, &[(5, "virtual_server[0].source_addresses", message)]);
}

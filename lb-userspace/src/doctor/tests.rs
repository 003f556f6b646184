use std::net::IpAddr;

use super::facts::{ArpFacts, Facts, Filter, InterfaceFacts, NextHopFacts, Way};
use super::*;

const VIP: [u8; 4] = [192, 168, 4, 15];

/// A director that has nothing wrong with it.
fn healthy() -> Facts {
    Facts {
        kernel: "6.12.5".to_owned(),
        jit: Some(1),
        has_bpf_fs: true,
        cpus: 4,
        is_up: true,
        interfaces: vec![InterfaceFacts {
            name: "eth0".to_owned(),
            driver: "mlx5_core".to_owned(),
            is_running: true,
            xdp: Some("native".to_owned()),
            mtu: 1500,
            lro: Some(false),
            gro: Some(true),
            rx_vlan: Some(true),
            rx_queues: 4,
            rp_filter: Some(1),
            ..InterfaceFacts::default()
        }],
        next_hops: vec![NextHopFacts {
            address: [192, 168, 4, 100].into(),
            way: Way::Known { interface: "eth0".to_owned(), mtu: 1500 },
        }],
        arp: vec![ArpFacts {
            address: VIP.into(),
            interface: "eth0".to_owned(),
            is_here: true,
            answers: Vec::new(),
        }],
        filters: Some(vec![Filter { tool: "nft", text: String::new() }]),
        is_clock_synchronised: Some(true),
        ..Facts::default()
    }
}

fn vips() -> Vec<IpAddr> {
    vec![VIP.into()]
}

/// The findings that are not ok, as "check subject".
fn wrong(findings: &[Finding]) -> Vec<(String, Severity)> {
    findings
        .iter()
        .filter(|finding| finding.severity != Severity::Ok)
        .map(|finding| {
            assert!(finding.remedy.is_some(), "{finding:?} has a remedy");
            (format!("{} {}", finding.check, finding.subject).trim_end().to_owned(), finding.severity)
        })
        .collect()
}

#[test]
fn a_healthy_director_has_only_good_findings() {
    let findings = director(&healthy(), &vips());
    assert_eq!(wrong(&findings), []);
    assert_eq!(Report::new("director", findings).exit_code(), 0);
}

type Spoil = fn(&mut Facts);

#[test]
fn everything_that_is_wrong_with_a_director_is_found() {
    let cases: &[(Spoil, &str, Severity)] = &[
        (|facts| facts.kernel = "5.4.0-1".to_owned(), "kernel", Severity::Error),
        (|facts| facts.jit = Some(0), "jit", Severity::Warning),
        (|facts| facts.missing_capabilities = vec!["CAP_BPF"], "privileges", Severity::Error),
        (|facts| facts.has_bpf_fs = false, "bpffs /sys/fs/bpf", Severity::Note),
        (|facts| facts.missing_interfaces = vec!["eth7".to_owned()], "interface eth7", Severity::Error),
        (|facts| facts.interfaces[0].is_running = false, "interface eth0", Severity::Error),
        (|facts| facts.interfaces[0].xdp = None, "xdp-mode eth0", Severity::Error),
        (|facts| facts.interfaces[0].lro = Some(true), "lro eth0", Severity::Error),
        (|facts| facts.interfaces[0].vlans = vec!["eth0.7".to_owned()], "vlan eth0", Severity::Warning),
        (|facts| facts.interfaces[0].rx_queues = 1, "queues eth0", Severity::Warning),
        (|facts| facts.interfaces[0].is_blind_veth = true, "veth eth0", Severity::Error),
        (|facts| facts.interfaces[0].mtu = 9000, "mtu eth0", Severity::Warning),
        (
            |facts| facts.next_hops[0].way = Way::None("does not answer".to_owned()),
            "real-server 192.168.4.100",
            Severity::Error,
        ),
        (|facts| facts.arp[0].answers = vec![[2; 6]], "arp 192.168.4.15", Severity::Error),
        (|facts| facts.arp[0].is_here = false, "arp 192.168.4.15", Severity::Error),
        (
            |facts| {
                facts.arp[0].is_here = false;
                facts.arp[0].answers = vec![[2; 6], [4; 6]];
            },
            "arp 192.168.4.15",
            Severity::Error,
        ),
        (|facts| facts.filters = None, "firewall", Severity::Note),
        (
            |facts| {
                facts.has_vrrp = true;
                facts.filters = Some(vec![Filter {
                    tool: "iptables",
                    text: "*filter\n:INPUT DROP [0:0]\nCOMMIT\n".to_owned(),
                }]);
            },
            "firewall iptables chain INPUT",
            Severity::Error,
        ),
        (
            |facts| {
                let text = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -d 192.168.4.15/32 -j DROP\nCOMMIT\n";
                facts.filters = Some(vec![Filter { tool: "iptables", text: text.to_owned() }]);
            },
            "firewall iptables: INPUT -d 192.168.4.15/32 -j DROP",
            Severity::Note,
        ),
        (|facts| facts.is_clock_synchronised = Some(false), "clock", Severity::Note),
    ];
    for (spoil, what, severity) in cases {
        let mut facts = healthy();
        spoil(&mut facts);
        assert_eq!(wrong(&director(&facts, &vips())), [((*what).to_owned(), *severity)]);
    }
    let mut generic = healthy();
    generic.interfaces[0].xdp = Some("generic".to_owned());
    assert_eq!(
        wrong(&director(&generic, &vips())),
        [("xdp-mode eth0".to_owned(), Severity::Warning), ("gro eth0".to_owned(), Severity::Error)]
    );
    // Another director has the address.
    let mut backup = healthy();
    backup.arp[0] = ArpFacts { is_here: false, answers: vec![[2; 6]], ..backup.arp[0].clone() };
    assert_eq!(wrong(&director(&backup, &vips())), []);
    // A director that is not up has no program, and that is no fault.
    let mut down = healthy();
    (down.is_up, down.interfaces[0].xdp) = (false, None);
    assert_eq!(wrong(&director(&down, &vips())), []);
}

#[test]
fn everything_that_is_wrong_with_a_real_server_is_found() {
    let healthy = || Facts {
        arp: vec![ArpFacts {
            address: VIP.into(),
            interface: "eth0".to_owned(),
            is_here: false,
            answers: vec![[2; 6]],
        }],
        ports: vec![80],
        next_hops: Vec::new(),
        ..healthy()
    };
    assert_eq!(wrong(&realserver(&healthy(), &vips())), []);
    let cases: &[(Spoil, &str, Severity)] = &[
        (|facts| facts.kernel = "4.19".to_owned(), "kernel", Severity::Error),
        (
            |facts| {
                facts.interfaces[0].name = "tunl0".to_owned();
                facts.interfaces[0].driver = "ipip".to_owned();
            },
            "rp_filter tunl0",
            Severity::Error,
        ),
        (|facts| facts.arp[0].answers = Vec::new(), "arp 192.168.4.15", Severity::Warning),
        (|facts| facts.arp[0].answers = vec![[2; 6], [4; 6]], "arp 192.168.4.15", Severity::Error),
        (
            |facts| {
                facts.items = vec![crate::realserver::Item {
                    item: "net.ipv4.conf.all.arp_ignore".to_owned(),
                    ok: false,
                    found: "0, not 1".to_owned(),
                    remedy: Some("lbctl realserver start".to_owned()),
                }];
            },
            "realserver net.ipv4.conf.all.arp_ignore",
            Severity::Error,
        ),
        (
            |facts| {
                let text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n";
                facts.filters = Some(vec![Filter { tool: "iptables", text: text.to_owned() }]);
            },
            "firewall iptables chain INPUT",
            Severity::Warning,
        ),
        (
            |facts| {
                let text = "table ip t {\n chain i {\n type filter hook input priority 0; policy accept;\n \
                    ip daddr 192.168.4.15 drop\n }\n}\n";
                facts.filters = Some(vec![Filter { tool: "nft", text: text.to_owned() }]);
            },
            "firewall nft: ip daddr 192.168.4.15 drop",
            Severity::Error,
        ),
    ];
    for (spoil, what, severity) in cases {
        let mut facts = healthy();
        spoil(&mut facts);
        let found = wrong(&realserver(&facts, &vips()));
        assert!(found.contains(&((*what).to_owned(), *severity)), "{what}: {found:?}");
    }
}

#[test]
fn the_exit_code_is_the_worst_findings() {
    let with = |severity| {
        Report::new(
            "director",
            vec![Finding::new("x", "", "y"), Finding::new("x", "", "y").worse(severity, "z")],
        )
    };
    let codes =
        [Severity::Ok, Severity::Note, Severity::Warning, Severity::Error].map(|s| with(s).exit_code());
    assert_eq!(codes, [0, 0, 3, 1]);
}

#[test]
fn is_written_for_people_and_programs() {
    let mut facts = healthy();
    facts.interfaces[0].lro = Some(true);
    let mut findings = director(&facts, &vips());
    findings.retain(|finding| ["kernel", "lro"].contains(&finding.check));
    let report = Report::new("director", findings);
    let mut text = Vec::new();
    report.write(&mut text).unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "ok       kernel             6.12.5\n\
         ERROR    lro          eth0  on: merged packets cannot be forwarded\n\
         \x20                           remedy: ethtool -K eth0 lro off\n"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["worst"], "error");
    assert_eq!(json["findings"][1]["remedy"], "ethtool -K eth0 lro off");
}

use std::net::IpAddr;

use super::facts::{
    ArpFacts, DeviceFacts, Facts, Filter, InterfaceFacts, NextHopFacts, SettingFacts, VirtualMac,
    VirtualMacFacts, Way,
};
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

/// A master with a virtual MAC that has nothing wrong with it.
fn with_virtual_mac() -> Facts {
    let setting = |interface: &str, key, value| SettingFacts {
        directory: "net/ipv4/conf",
        interface: interface.to_owned(),
        key,
        wanted: value,
        found: Some(value),
        found_of_all: Some(0),
    };
    let (device, base, mac) = ("vrrp.51".to_owned(), "eth0".to_owned(), [0, 0, 0x5e, 0, 1, 51]);
    let instance = VirtualMacFacts {
        settings: vec![
            setting(&device, "arp_ignore", 1),
            setting(&device, "arp_filter", 0),
            setting(&device, "rp_filter", 2),
            setting(&base, "arp_ignore", 1),
            setting(&base, "arp_announce", 2),
        ],
        device: Some(DeviceFacts {
            kind: "macvlan".to_owned(),
            base: Some(base.clone()),
            mac: Some(mac),
            is_up: true,
        }),
        wanted: VirtualMac {
            instance: "VI_1".to_owned(),
            interface: device,
            base,
            mac,
            is_ipv6: false,
            is_balanced: true,
        },
        is_master: Some(true),
        has_base: true,
        without_program: None,
        can_be_made: None,
    };
    Facts { virtual_macs: vec![instance], has_vrrp: true, ..healthy() }
}

#[test]
fn everything_that_is_wrong_with_a_virtual_mac_is_found() {
    fn device(facts: &mut Facts) -> &mut DeviceFacts {
        facts.virtual_macs[0].device.as_mut().unwrap()
    }
    fn of_all(facts: &mut Facts, index: usize, value: u32) {
        facts.virtual_macs[0].settings[index].found_of_all = Some(value);
    }
    fn own(facts: &mut Facts, index: usize, value: u32) {
        facts.virtual_macs[0].settings[index].found = Some(value);
    }
    let delete = "ip link delete dev vrrp.51";
    let cases: &[(Spoil, &str, Severity, &str)] = &[
        (
            |facts| {
                facts.virtual_macs[0].device = None;
                facts.virtual_macs[0].can_be_made = Some(false);
            },
            "vmac vrrp.51",
            Severity::Error,
            "modprobe macvlan",
        ),
        (|facts| facts.virtual_macs[0].device = None, "vmac vrrp.51", Severity::Error, "lbctl reload"),
        (
            |facts| {
                facts.virtual_macs[0].device = None;
                facts.virtual_macs[0].has_base = false;
            },
            "vmac vrrp.51",
            Severity::Error,
            "make eth0",
        ),
        (|facts| device(facts).kind = "dummy".to_owned(), "vmac vrrp.51", Severity::Error, delete),
        (|facts| device(facts).base = Some("eth1".to_owned()), "vmac vrrp.51", Severity::Error, delete),
        (|facts| device(facts).mac = Some([2; 6]), "vmac vrrp.51", Severity::Error, delete),
        (|facts| device(facts).is_up = false, "vmac vrrp.51", Severity::Error, "ip link set dev vrrp.51 up"),
        (
            |facts| facts.virtual_macs[0].is_master = Some(false),
            "vmac vrrp.51",
            Severity::Error,
            "ip link set dev vrrp.51 down",
        ),
        (
            |facts| facts.virtual_macs[0].without_program = Some("eth0".to_owned()),
            "vmac eth0",
            Severity::Error,
            "`interfaces`",
        ),
        (
            |facts| own(facts, 0, 0),
            "arp_ignore vrrp.51",
            Severity::Warning,
            "sysctl -w net/ipv4/conf/vrrp.51/arp_ignore=1",
        ),
        (
            |facts| own(facts, 1, 1),
            "arp_filter vrrp.51",
            Severity::Error,
            "sysctl -w net/ipv4/conf/vrrp.51/arp_filter=0",
        ),
        (
            |facts| of_all(facts, 1, 1),
            "arp_filter vrrp.51",
            Severity::Error,
            "sysctl -w net/ipv4/conf/all/arp_filter=0",
        ),
        (
            |facts| {
                own(facts, 2, 0);
                of_all(facts, 2, 1);
            },
            "rp_filter vrrp.51",
            Severity::Warning,
            "sysctl -w net/ipv4/conf/vrrp.51/rp_filter=2",
        ),
        (|facts| own(facts, 3, 0), "arp_ignore eth0", Severity::Warning, "net/ipv4/conf/eth0/arp_ignore=1"),
        (
            |facts| own(facts, 4, 1),
            "arp_announce eth0",
            Severity::Warning,
            "net/ipv4/conf/eth0/arp_announce=2",
        ),
    ];
    assert_eq!(wrong(&director(&with_virtual_mac(), &vips())), []);
    for (spoil, what, severity, remedy) in cases {
        let mut facts = with_virtual_mac();
        spoil(&mut facts);
        let findings = director(&facts, &vips());
        assert_eq!(wrong(&findings), [((*what).to_owned(), *severity)]);
        let finding = findings.iter().find(|finding| finding.severity == *severity).unwrap();
        assert!(finding.remedy.as_ref().unwrap().contains(remedy), "{finding:?}");
    }
    // As it is on a director that is not up, on a backup, on one that does not answer, and by the settings of `all`.
    let fine: &[Spoil] = &[
        |facts| {
            (facts.is_up, facts.interfaces[0].xdp) = (false, None);
            facts.virtual_macs[0].device = None;
        },
        |facts| (facts.virtual_macs[0].is_master, device(facts).is_up) = (Some(false), false),
        |facts| (facts.virtual_macs[0].is_master, device(facts).is_up) = (None, false),
        |facts| {
            own(facts, 2, 0);
            own(facts, 3, 0);
            of_all(facts, 3, 2);
        },
    ];
    for change in fine {
        let mut facts = with_virtual_mac();
        change(&mut facts);
        assert_eq!(wrong(&director(&facts, &vips())), []);
    }
    // What is below two macvlans is told once.
    let mut two = with_virtual_mac();
    two.virtual_macs.push(two.virtual_macs[0].clone());
    for instance in &mut two.virtual_macs {
        instance.settings[4].found = Some(0);
    }
    assert_eq!(wrong(&director(&two, &vips())), [("arp_announce eth0".to_owned(), Severity::Warning)]);
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

//! What a statement means: keepalived's rules and defaults.

use super::*;

fn config(text: &str) -> crate::config::Config {
    let imported = imported(text);
    imported.config.unwrap_or_else(|error| panic!("{error}\n{}", imported.toml.text))
}

#[test]
fn what_is_left_out_is_keepalived_s_default() {
    let imported = imported(&service(""));
    let all = toml(&imported);
    for line in
        ["scheduler = \"wlc\"", "forwarding = \"nat\"", "protocol = \"udp\"", "check_interval = \"1m\""]
    {
        assert!(all.contains(line), "{line} not in\n{all}");
    }
    for word in ["lb_algo", "lb_kind", "protocol"] {
        assert_said(&imported, Fate::Changed, &[&format!("it has no {word}")]);
    }
    let with_check = service("lb_algo rr\nlb_kind DR").replace("weight 1", "weight 1\nTCP_CHECK {\n}");
    assert!(toml(&super::imported(&with_check)).contains("protocol = \"tcp\""));
    let instance = super::imported(
        "vrrp_instance a {\nstate MASTER\nvirtual_router_id 1\nvirtual_ipaddress {\n10.0.0.1\n}\n}",
    );
    let all = toml(&instance);
    for line in ["interface = \"eth0\"", "priority = 255", "advert_interval = \"1s\"", "version = 2"] {
        assert!(all.contains(line), "{line} not in\n{all}");
    }
}

#[test]
fn without_nat_the_port_is_the_virtual_server_s() {
    let text = "virtual_server 192.168.4.15 80 {\nlb_algo rr\nlb_kind DR\nprotocol TCP\nsorry_server 192.168.4.150 8080\nreal_server 192.168.4.100 8080 {\n}\n}\n";
    let imported = imported(text);
    assert_said(&imported, Fate::Changed, &["real_server 192.168.4.100 8080", "cannot change the port: 80"]);
    assert_said(&imported, Fate::Changed, &["sorry_server", "cannot change the port: 80"]);
    let nat = config(&text.replace("DR", "NAT"));
    assert_eq!(nat.virtual_servers[0].real_servers[0].port, 8080);
}

#[test]
fn persistence_is_keepalived_s() {
    let persistence = |inner: &str| {
        let config = config(&service(&format!("lb_algo rr\nlb_kind DR\nprotocol TCP\n{inner}")));
        let found = config.virtual_servers[0].scheduling.persistence;
        found.map(|persistence| (persistence.timeout.as_secs(), persistence.prefix))
    };
    assert_eq!(persistence(""), None);
    assert_eq!(persistence("persistence_timeout"), Some((360, 32)));
    assert_eq!(persistence("persistence_timeout 50"), Some((50, 32)));
    assert_eq!(persistence("persistence_timeout 50\npersistence_granularity 255.255.255.0"), Some((50, 24)));
    assert_eq!(persistence("persistence_granularity 255.255.255.0"), Some((360, 24)));
    assert_eq!(persistence("persistence_timeout 0"), None);
    assert_eq!(persistence("persistence_timeout 2678400"), Some((86_400, 32)));
    let any = "virtual_server 192.168.4.15 {\nlb_algo rr\nlb_kind DR\nprotocol TCP\nreal_server 192.168.4.100 {\n}\n}";
    assert_eq!(config(any).virtual_servers[0].scheduling.persistence.unwrap().timeout.as_secs(), 360);
}

#[test]
fn checks_inherit_from_the_real_and_the_virtual_server() {
    let text = "virtual_server 192.168.4.15 80 {\ndelay_loop 10\nretry 4\nconnect_timeout 2\nvirtualhost www.example.org\nlb_algo rr\nlb_kind DR\nprotocol TCP\n\
                real_server 192.168.4.100 80 {\ndelay_before_retry 7\nTCP_CHECK {\n}\nHTTP_GET {\nretry 1\nurl {\npath /a\n}\nurl {\npath /b\nstatus_code 200 301-302\nvirtualhost b.example.org\n}\n}\n\
                MISC_CHECK {\nmisc_path \"/bin/check 'a b'\"\nmisc_dynamic\nuser nobody\n}\n}\n}\n";
    let config = config(text);
    let checks = &config.virtual_servers[0].real_servers[0].health.checks;
    let timing: Vec<_> = checks
        .iter()
        .map(|check| {
            let timing = &check.timing;
            let seconds = [timing.interval, timing.timeout, timing.retry_delay].map(|time| time.as_secs());
            (check.probe.kind.as_str(), seconds, timing.retries)
        })
        .collect();
    assert_eq!(
        timing,
        [
            ("tcp", [10, 2, 7], 4),
            ("http", [10, 2, 7], 1),
            ("http", [10, 2, 7], 1),
            ("script", [10, 10, 7], 4)
        ]
    );
    let all = toml(&imported(text));
    for line in [
        "host = \"www.example.org\"",
        "host = \"b.example.org\"",
        "status = [\"200\", \"301-302\"]",
        "http_version = \"1.0\"",
        "command = \"/bin/check 'a b'\"",
        "user = \"nobody\"",
        "weight_by_exit = true",
    ] {
        assert!(all.contains(line), "{line} not in\n{all}");
    }
}

#[test]
fn every_checker_has_its_keys() {
    let all = toml(&imported(&format!(
        "track_file load {{\nfile /run/load\n}}\n{}",
        checked(
            "SSL_GET {\nenable_sni\nsni_name a.example.org\nurl {\npath /\ndigest 9b3a0c85a887a256d6939da88aabd8cd\n}\nconnect_ip 192.168.4.7\nconnect_port 8443\n}\n\
             SMTP_CHECK {\nhelo_name me.example.org\nconnect_port 25\n}\nDNS_CHECK {\ntype a\nname www.example.org\n}\n\
             UDP_CHECK {\npayload Ab12f 3\nrequire_reply 0aXX\n}\nPING_CHECK {\nretry 4\n}\nFILE_CHECK {\ntrack_file load\nweight 2 reverse\n}\n\
             TCP_CHECK {\nbindto 192.168.4.2\nfwmark 7\nwarmup 0\n}"
        )
    )));
    for line in [
        "type = \"https\"",
        "sni = \"a.example.org\"",
        "digest = \"9b3a0c85a887a256d6939da88aabd8cd\"",
        "status = [\"100-599\"]",
        "connect = \"192.168.4.7:8443\"",
        "helo = \"me.example.org\"",
        "connect = \":25\"",
        "record_type = \"A\"",
        "name = \"www.example.org\"",
        "payload = \"hex:ab120f03\"",
        "expect = \"hex:0aXX\"",
        "type = \"ping\"",
        "file = \"/run/load\"",
        "weight = -2",
        "source_address = \"192.168.4.2\"",
        "fwmark = 7",
        "warmup = \"0s\"",
    ] {
        assert!(all.contains(line), "{line} not in\n{all}");
    }
}

#[test]
fn quorum_never_exceeds_the_weights() {
    let imported = imported(&service("lb_algo rr\nlb_kind DR\nprotocol TCP\nquorum 5\nhysteresis 3"));
    assert_said(&imported, Fate::Changed, &["quorum 5", "sum up to 1"]);
    assert_said(&imported, Fate::Changed, &["hysteresis 3", "less than the quorum: 0"]);
}

#[test]
fn groups_stand_for_several_addresses() {
    let text = "virtual_server_group web {\n192.168.4.15 80\n192.168.4.20-22 80\n}\n\
                virtual_server group web {\nlb_algo rr\nlb_kind DR\nprotocol TCP\npersistence_timeout 60\nreal_server 192.168.4.100 80 {\nweight 1\n}\n}\n";
    let imported = imported(text);
    let all = toml(&imported);
    assert!(all.contains("addresses = [\"192.168.4.15:80\", \"192.168.4.20-22:80\"]"), "{all}");
    assert!(all.contains("group = \"web\""), "{all}");
}

#[test]
fn what_cannot_be_served_is_left_out_whole() {
    for (text, why) in [
        (
            "virtual_server fwmark 1 {\nprotocol TCP\nreal_server 10.0.0.2 80 {\nweight 1\n}\n}",
            "--marks FILE",
        ),
        ("virtual_server 10.0.0.1 80 {\nprotocol SCTP\nreal_server 10.0.0.2 80 {\nweight 1\n}\n}", "SCTP"),
        (
            "virtual_server www.example.org 80 {\nprotocol TCP\nreal_server 10.0.0.2 80 {\n}\n}",
            "not an address",
        ),
        (
            "virtual_server group none {\nprotocol TCP\nreal_server 10.0.0.2 80 {\n}\n}",
            "no virtual_server_group",
        ),
    ] {
        let imported = imported(text);
        assert_said(&imported, Fate::NotSupported, &[why]);
        assert!(!toml(&imported).contains("[[virtual_server]]"), "{text}");
    }
}

#[test]
fn strict_mode_does_not_drop_packets() {
    let text = format!(
        "global_defs {{\nvrrp_strict\n}}\n{}",
        instance("authentication {\nauth_type PASS\nauth_pass 1111\n}")
    );
    let imported = imported(&text);
    assert_said(&imported, Fate::Changed, &["vrrp_strict", "nothing is dropped here"]);
    let instance = &imported.config.unwrap().vrrp.instances[0];
    assert_eq!(instance.auth_pass, None);
    assert!(instance.accept);
}

#[test]
fn authentication_is_what_is_on_the_wire() {
    let pass = |inner: &str| {
        let imported = imported(&instance(&format!("authentication {{\n{inner}\n}}")));
        (imported.report.worst(), imported.config.unwrap().vrrp.instances[0].auth_pass.clone())
    };
    assert_eq!(pass("auth_type PASS\nauth_pass 1111"), (Fate::Taken, Some("1111".to_owned())));
    assert_eq!(pass("auth_type PASS\nauth_pass 123456789"), (Fate::Changed, Some("12345678".to_owned())));
    assert_eq!(pass("auth_pass 1111"), (Fate::Changed, Some("1111".to_owned())));
    assert_eq!(pass("auth_type PASS"), (Fate::Changed, None));
    assert_eq!(pass("auth_type AH\nauth_pass 1111"), (Fate::NotSupported, None));
}

#[test]
fn an_instance_takes_over_all_its_keys() {
    let text = "vrrp_script chk {\nscript \"/bin/check x\"\ninterval 2.5\ntimeout 1\nrise 2\nfall 3\nweight -20 reverse\nuser nobody\ninit_fail\n}\n\
        vrrp_track_process nginx {\nprocess nginx\nquorum 2\ndelay 0.5\n}\ntrack_file stop {\nfile /run/stop\ninit_file 3\n}\n\
        vrrp_instance VI_6 {\nstate BACKUP\ninterface eth0\nvirtual_router_id 6\npriority 90\nadvert_int 0.25\nversion 3\nnopreempt\n\
        virtual_ipaddress {\n2001:db8::15/64 dev eth1 scope global\n192.168.4.15 label eth0:1\n}\n\
        virtual_ipaddress_excluded {\n2001:db8::16 dev eth1\n}\nunicast_src_ip 2001:db8::2\nunicast_peer {\n2001:db8::3\n}\nunicast_ttl 64\n\
        track_interface {\neth0\neth1 weight 10\n}\ntrack_script {\nchk\n}\ntrack_process {\nnginx weight 0\n}\ntrack_file {\nstop\n}\n\
        garp_master_delay 2\ngarp_master_refresh 60\ngarp_lower_prio_repeat 1\nsmtp_alert\nno_accept\n\
        notify_master \"/bin/n m\"\nnotify_stop /bin/n\n}\n\
        vrrp_instance VI_7 {\nstate BACKUP\ninterface eth0\nvirtual_router_id 7\npriority 90\nvirtual_ipaddress {\n192.168.4.7\n}\n}\n\
        vrrp_sync_group G {\ngroup {\nVI_6\nVI_7\n}\nsync_group_tracking_weight\nnotify /bin/n\n}\n";
    let all = lines(text);
    for line in [
        "command = \"/bin/check x\"",
        "interval = \"2s 500ms\"",
        "user = \"nobody\"",
        "init_fail = true",
        "process = \"nginx\"",
        "quorum = 2",
        "delay = \"500ms\"",
        "file = \"/run/stop\"",
        "init = 3",
        "advert_interval = \"250ms\"",
        "version = 3",
        "nopreempt = true",
        "virtual_addresses = [{ address = \"2001:db8::15/64\", interface = \"eth1\", scope = \"global\" }]",
        "source_address = \"2001:db8::2\"",
        "unicast_peers = [\"2001:db8::3\"]",
        "unicast_ttl = 64",
        "track_interfaces = [{ name = \"eth1\", weight = 10 }]",
        "track_scripts = [{ name = \"chk\", weight = -20, reverse = true }]",
        "track_processes = [{ name = \"nginx\", weight = 0 }]",
        "track_files = [\"stop\"]",
        "garp_delay = \"2s\"",
        "garp_refresh = \"1m\"",
        "garp_lower_priority_repeat = 1",
        "email_alert = true",
        "accept = false",
        "notify_master = \"/bin/n m\"",
        "members = [\"VI_6\", \"VI_7\"]",
        "weighted_tracking = true",
    ] {
        assert!(all.contains(&line.to_owned()), "{line} not in\n{all:#?}");
    }
    assert!(
        all.iter().any(|line| line.starts_with("excluded_addresses")
            && line.contains("192.168.4.15/32")
            && line.contains("eth0:1")),
        "{all:#?}"
    );
}

#[test]
fn the_interfaces_of_vrrp_are_where_packets_arrive() {
    let text = format!("{}{}", instance("virtual_ipaddress {\n192.168.4.15 dev eth2\n}"), checked(""));
    assert_eq!(config(&text).director.interfaces, ["eth0", "eth2"]);
    assert_eq!(imported(&text).report.worst(), Fate::Taken);
    let nat = imported(&text.replace("DR", "NAT"));
    assert!(
        nat.report
            .findings
            .iter()
            .any(|f| f.fate == Fate::Changed && f.message.contains("towards the real servers"))
    );
    let guessed = imported(&checked(""));
    assert!(guessed.toml.text.contains("a guess"), "{}", guessed.toml.text);
    let options = Options { interfaces: vec!["bond0".to_owned()], ..Options::default() };
    assert_eq!(import_text("k", &text, &options, &[]).config.unwrap().director.interfaces, ["bond0"]);
    let alone = imported(&instance("virtual_ipaddress {\n192.168.4.15\n}"));
    assert!(!toml(&alone).contains("interfaces"), "VRRP without balancing needs none");
}

#[test]
fn a_virtual_mac_keeps_its_interface_s_name() {
    let instance = |lines: &str| {
        imported(&format!(
            "vrrp_instance a {{\ninterface eth0\nvirtual_router_id 51\n{lines}\nvirtual_ipaddress {{\n10.0.0.1\n}}\n}}"
        ))
    };
    let all = toml(&instance("use_vmac vip0\nvmac_xmit_base"));
    for line in ["use_vmac = true", "vmac_name = \"vip0\"", "vmac_xmit_base = true"] {
        assert!(all.contains(line), "{line} not in\n{all}");
    }
    let by_default = instance("use_vmac");
    let config = by_default.config.as_ref().unwrap();
    let own = config.vrrp.instances[0].virtual_mac.as_ref().unwrap();
    assert_eq!((own.interface.as_str(), own.sends_from_base), ("vrrp.51", false));
    let unicast = instance("use_vmac\nunicast_peer {\n10.0.0.3\n}");
    assert_said(&unicast, Fate::Changed, &["use_vmac", "vmac_xmit_base"]);
    assert!(unicast.config.unwrap().vrrp.instances[0].virtual_mac.as_ref().unwrap().sends_from_base);
    let own_mac = instance("use_vmac vip0 02:00:00:00:00:01");
    assert_said(&own_mac, Fate::NotSupported, &["use_vmac", "another MAC"]);
}

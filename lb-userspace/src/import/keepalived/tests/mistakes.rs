//! What keepalived ignores or only warns of, and what is made of it.

use super::*;

#[test]
fn a_tutorials_old_words_are_explained() {
    let text = "virtual_server 192.168.11.200 80 {\ndelay_loop 6\nlb_algo wrr\nlb_kind DR\nnat_mask 255.255.255.0\npersistence_timeout 0\nprotocol TCP\n\
                real_server 192.168.11.135 80 {\nweight 1\nTCP_CHECK {\nconnect_timeout 10\nnb_get_retry 3\ndelay_before_retry 3\nconnect_port 80\n}\n}\n}\n\
                global_defs {\nnotification_email {\n}\nsmtp_connect_timeout 30\nrouter_id LVS_DEVEL}\n";
    let imported = imported(text);
    assert_eq!(said(&imported, Fate::NotSupported), [""; 0]);
    assert_said(&imported, Fate::Changed, &["keepalived.conf:5:1", "nat_mask", "not known it"]);
    assert_said(&imported, Fate::Changed, &["persistence_timeout 0", "no persistence"]);
    assert_said(&imported, Fate::Changed, &["keepalived.conf:12:1", "nb_get_retry", "ignores it"]);
    assert_said(&imported, Fate::Changed, &["notification_email", "nobody is written to"]);
    let config = imported.config.unwrap();
    assert_eq!(config.director.router_id, "LVS_DEVEL");
    assert_eq!(config.virtual_servers[0].real_servers[0].health.checks[0].timing.retries, 3);
    assert!(config.virtual_servers[0].scheduling.persistence.is_none());
}

#[test]
fn words_in_the_wrong_case_are_taken_as_meant() {
    let text = "virtual_server 192.168.4.15 80 {\nlb_algo WRR\nlb_kind dr\nprotocol tcp\nreal_server 192.168.4.100 80 {\nweight 1\ntcp_check {\n}\n}\n}\n\
                vrrp_instance VI_1 {\nstate master\ninterface eth0\nvirtual_router_id 50\npriority 100\nauthentication {\nauth_type pass\nauth_pass 1111\n}\nvirtual_ipaddress {\n192.168.4.15\n}\n}\n";
    let imported = imported(text);
    for words in [
        ["lb_algo WRR", "small letters"],
        ["lb_kind dr", "capital letters"],
        ["tcp_check", "`TCP_CHECK` only"],
        ["state master", "capital letters"],
        ["auth_type pass", "authenticates nothing"],
    ] {
        assert_said(&imported, Fate::Changed, &words);
    }
    assert_eq!(said(&imported, Fate::NotSupported), [""; 0]);
    let all = toml(&imported);
    for line in [
        "scheduler = \"wrr\"",
        "forwarding = \"dr\"",
        "state = \"master\"",
        "auth_pass = \"1111\"",
        "type = \"tcp\"",
    ] {
        assert!(all.contains(line), "{line} not in\n{all}");
    }
    imported.config.unwrap();
}

#[test]
fn characters_from_web_pages_are_mended() {
    let text = "global_defs {\u{a0}//设置\n  router_id lvs1 //名字\n  notification_email {\n    root@localhost.localdomain //收件人\n  }\n  smtp_server 127.0.0.1\n}\n\
                vrrp\\_script chk {\n　script “/bin/true”\n interval 2；\n}\n\
                vrrp_instance VI_1 ｛\n state BACKUP\n interface eth0\n virtual_router_id ５１\n priority 100\n notify_master &quot;/bin/a b&quot;\n track_script { chk }\n virtual_ipaddress { 192.168.4.15 }\n}\n";
    let imported = imported(text);
    assert_eq!(said(&imported, Fate::NotSupported), [""; 0]);
    for words in [
        vec!["//设置", "comments with ! and #"],
        vec!["keepalived.conf:8", "backslash"],
        vec!["\u{3000}", "space"],
        vec!["typographic"],
        vec!["；", "full-width"],
        vec!["｛", "full-width"],
        vec!["HTML"],
    ] {
        assert_said(&imported, Fate::Changed, &words);
    }
    let config = imported.config.unwrap();
    let instance = &config.vrrp.instances[0];
    assert_eq!((instance.virtual_router_id, instance.track_scripts.len()), (51, 1));
    assert_eq!(instance.notify.master.as_ref().unwrap().words, ["/bin/a", "b"]);
    assert_eq!(config.vrrp.scripts[0].command.words, ["/bin/true"]);
    assert_eq!(config.director.router_id, "lvs1");
}

#[test]
fn several_statements_in_a_line_are_all_taken() {
    let text = "virtual_server 192.168.4.15 80 { delay_loop 6 lb_algo wrr lb_kind DR persistence_timeout 50 protocol TCP\n\
                real_server 192.168.4.100 80 { weight 1 inhibit_on_failure TCP_CHECK { connect_timeout 3 retry 3 delay_before_retry 3 } } }\n\
                vrrp_instance VI_1 { state BACKUP interface eth0 virtual_router_id 50 priority 100 advert_int 1\n\
                authentication { auth_type PASS auth_pass 1111 } virtual_ipaddress { 192.168.4.15 192.168.4.16 } }\n";
    let imported = imported(text);
    assert_eq!(said(&imported, Fate::NotSupported), [""; 0]);
    assert_said(&imported, Fate::Changed, &["keepalived.conf:1:47", "lb_algo", "reads only `delay_loop`"]);
    let config = imported.config.unwrap();
    let server = &config.virtual_servers[0];
    assert_eq!((server.scheduler.as_str(), server.forwarding.as_str()), ("wrr", "dr"));
    let real = &server.real_servers[0];
    assert!(real.health.inhibit_on_failure);
    assert_eq!(real.health.checks[0].timing.retries, 3);
    let instance = &config.vrrp.instances[0];
    assert_eq!((instance.priority, instance.virtual_addresses.len()), (100, 2));
    assert_eq!(instance.auth_pass.as_deref(), Some("1111"));
}

#[test]
fn missing_braces_are_put_where_they_belong() {
    let service = |inner: &str| {
        format!("virtual_server 192.168.4.15 80 {{\nprotocol TCP\nlb_algo rr\nlb_kind DR\n{inner}\n")
    };
    let cases = [
        // The brace of a check, and so of everything around it.
        service(
            "real_server 192.168.4.100 80 {\nTCP_CHECK {\nretry 2\nreal_server 192.168.4.200 80 {\nweight 2\n}\n}",
        ),
        // The end of the file.
        service("real_server 192.168.4.100 80 {\n}\nreal_server 192.168.4.200 80 {\nweight 2"),
        // The opening one.
        service(
            "real_server 192.168.4.100 80\nTCP_CHECK {\n}\n}\nreal_server 192.168.4.200 80 {\nweight 2\n}\n}",
        ),
        // One too many.
        service("real_server 192.168.4.100 80 {\n}\n}\nreal_server 192.168.4.200 80 {\nweight 2\n}\n}"),
    ];
    for text in cases {
        let text = format!("{text}\nvrrp_script s {{\nscript /bin/true\n}}\n");
        let imported = imported(&text);
        assert_eq!(said(&imported, Fate::NotSupported), [""; 0], "{text}");
        assert!(!said(&imported, Fate::Changed).is_empty(), "{text}");
        let config = imported.config.unwrap();
        let weights: Vec<_> = config.virtual_servers[0].real_servers.iter().map(|real| real.weight).collect();
        assert_eq!(weights, [1, 2], "{text}");
        assert_eq!(config.vrrp.scripts.len(), 1, "{text}");
    }
}

#[test]
fn unknown_words_are_named_with_what_was_probably_meant() {
    let text =
        instance("prioriti 120\nvirtual_ipadress {\n192.168.4.15\n}\nnonsense {\na {\nb\n}\n}\naccept");
    let imported = imported(&text);
    assert_said(&imported, Fate::NotSupported, &["prioriti 120", "did you mean `priority`?"]);
    assert_said(&imported, Fate::NotSupported, &["virtual_ipadress", "did you mean `virtual_ipaddress`?"]);
    assert_said(&imported, Fate::NotSupported, &["virtual_ipadress {", "up to line 10"]);
    assert_said(&imported, Fate::NotSupported, &["nonsense {", "up to line 15"]);
    assert!(toml(&imported).contains("accept = true"), "what follows is read");
}

#[test]
fn a_statement_in_the_wrong_block_goes_where_it_belongs() {
    let imported = imported(&checked("HTTP_GET {\nurl {\npath /\nconnect_timeout 7\n}\n}"));
    assert_said(&imported, Fate::Changed, &["connect_timeout 7", "belongs in HTTP_GET"]);
    assert!(toml(&imported).contains("timeout = \"7s\""), "{}", imported.toml.text);
}

#[test]
fn a_script_that_nothing_tracks_because_its_name_differs_is_tracked() {
    let text = format!(
        "vrrp_script nginx_check {{\nscript /bin/true\n}}\n{}",
        instance("track_script {\nchk_nginx\n}")
    );
    let imported = imported(&text);
    assert_said(&imported, Fate::Changed, &["chk_nginx", "nothing is tracked", "nginx_check"]);
    assert_eq!(imported.config.unwrap().vrrp.instances[0].track_scripts[0].name, "nginx_check");
    // With a choice nothing is guessed.
    let scripts = "vrrp_script a1 {\nscript /bin/true\n}\nvrrp_script b1 {\nscript /bin/true\n}\n";
    let imported = super::imported(&format!("{scripts}{}", instance("track_script {\nc1\n}")));
    assert_said(&imported, Fate::NotSupported, &["c1", "did you mean"]);
}

#[test]
fn a_missing_value_is_named() {
    let imported = imported(&instance("priority\nnotify"));
    assert_said(&imported, Fate::NotSupported, &["priority", "its value is missing", "keepalived ends"]);
    assert_said(&imported, Fate::NotSupported, &["notify", "its value is missing"]);
}

#[test]
fn arguments_outside_quotation_marks_are_arguments() {
    let text =
        format!("vrrp_script s {{\nscript /bin/check a 'b c'\n}}\n{}", instance("track_script {\ns\n}"));
    let imported = imported(&text);
    assert_said(&imported, Fate::Changed, &["a 'b c'", "in quotation marks"]);
}

#[test]
fn a_script_that_stops_keepalived_is_looked_into() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chk_haproxy.sh");
    std::fs::write(
        &path,
        "#!/bin/sh\n# or: systemctl stop keepalived\npgrep haproxy || systemctl stop keepalived\n",
    )
    .unwrap();
    let path = path.display();
    let script = format!("vrrp_script s {{\nscript \"{path}\"\n}}\n{}", instance("track_script {\ns\n}"));
    assert_said(
        &imported(&script),
        Fate::Changed,
        &[&format!("{path}:3 stops keepalived"), "systemctl stop lbctl"],
    );
    let notify = imported(&instance("notify_fault \"/usr/bin/systemctl stop keepalived\""));
    assert_said(&notify, Fate::Changed, &["notify_fault", "it stops keepalived"]);
    let misc = imported(&checked(&format!("MISC_CHECK {{\nmisc_path \"/bin/sh {path}\"\n}}")));
    assert_said(&misc, Fate::Changed, &["misc_path", "stops keepalived"]);
}

#[test]
fn the_last_of_two_counts() {
    let imported = imported(&instance("nopreempt\npriority 120"));
    assert_said(&imported, Fate::Changed, &["priority 100", "line 8"]);
    assert_eq!(imported.config.unwrap().vrrp.instances[0].priority, 120);
}

#[test]
fn wrong_numbers_are_left_out_as_keepalived_does() {
    let imported = imported(&format!(
        "global_defs {{\nvrrp_garp_interval 0\n}}\n{}",
        instance("garp_master_delay 5s\nadvert_int 300")
    ));
    assert_said(&imported, Fate::Changed, &["vrrp_garp_interval 0", "means the same"]);
    assert_said(&imported, Fate::NotSupported, &["garp_master_delay 5s", "not a number"]);
    assert_said(&imported, Fate::NotSupported, &["advert_int 300", "0.01 to 255"]);
}

#[test]
fn a_keepalived_conf_that_is_given_as_toml_is_recognised() {
    let error = Config::parse("lbctl.toml", &checked("")).unwrap_err();
    assert!(error.diagnostics()[0].message.contains("keepalived.conf"), "{error}");
    assert!(error.diagnostics()[0].help.contains("--keepalived FILE"), "{error}");
}

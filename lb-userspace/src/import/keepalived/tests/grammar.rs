//! What keepalived's parser understands.

use super::*;

#[test]
fn braces_may_stand_anywhere() {
    let forms = [
        "global_defs {\nrouter_id a\n}",
        "global_defs\n{\nrouter_id a\n}",
        "global_defs\n\n{ router_id a }",
        "global_defs{router_id a}",
        "global_defs { # first\n! second\nrouter_id a # third\n}",
    ];
    for text in forms {
        let imported = imported(text);
        assert_eq!(said(&imported, Fate::Changed), [""; 0], "{text}");
        assert!(toml(&imported).contains("router_id = \"a\""), "{text}: {}", imported.toml.text);
    }
}

#[test]
fn comments_end_words_but_for_escapes_and_quotes() {
    let text =
        instance("notify_master \"/bin/say a#b!\" # to all\nnotify_backup /bin/say\\#it\nnotify /bin/x#y");
    let lines = lines(&text);
    assert!(lines.contains(&"notify_master = \"/bin/say 'a#b!'\"".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"notify_backup = \"'/bin/say#it'\"".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"notify = \"/bin/x\"".to_owned()), "{lines:#?}");
}

#[test]
fn commands_have_quotations_and_escapes() {
    let cases = [
        (r#""/bin/a b 'c d' e""#, vec!["/bin/a", "b", "c d", "e"]),
        (r#"/bin/a"#, vec!["/bin/a"]),
        (r#""/bin/a \"q\" \x41\102\tz""#, vec!["/bin/a", "\"q\"", "AB", "z"]),
        (r#"abc" efg h"jk"#, vec!["abc", "efg", "hjk"]),
    ];
    for (written, words) in cases {
        let imported = imported(&instance(&format!("notify_master {written}")));
        let config = imported.config.unwrap();
        let script = config.vrrp.instances[0].notify.master.clone().unwrap();
        assert_eq!(script.words, words, "{written}");
    }
}

#[test]
fn conditions_choose_lines() {
    let text = "global_defs {\n@lvs1 router_id one\n@lvs2 router_id two\n@^lvs2 smtp_server 10.0.0.1\n@^lvs1 smtp_server 10.0.0.2\n}";
    let lines = lines(text);
    assert!(lines.contains(&"router_id = \"one\"".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"smtp_server = \"10.0.0.1:25\"".to_owned()), "{lines:#?}");
    let imported = imported(text);
    let left_out =
        imported.report.findings.iter().filter(|finding| finding.message.contains("left out: this is"));
    assert_eq!(left_out.count(), 2);
}

#[test]
fn definitions_are_replaced_late_and_recursively() {
    let text = "$BASE=10.2.${SUB}\n$SUB=0\n$IF=@lvs1\nvirtual_server_group a {\n${BASE}.100 80\n$SUB=10\n${BASE}.100 80\n$IF ${BASE}.7 80\n${UNDEFINED}x 80\n}\n\
                virtual_server group a {\nprotocol TCP\nlb_algo rr\nlb_kind DR\nreal_server 10.0.0.9 {\n}\n}";
    let all = lines(text);
    assert!(
        all.contains(&r#"addresses = ["10.2.0.100:80", "10.2.10.100:80", "10.2.10.7:80"]"#.to_owned()),
        "{all:#?}"
    );
    assert_said(&imported(text), Fate::NotSupported, &["${UNDEFINED}x 80"]);
}

#[test]
fn definitions_of_several_lines_may_nest() {
    let text = "$RS= \\\nreal_server 10.1.${VS}.${N} 80 { \\\n  weight ${N} \\\n\n}\n\
                $SERVICE= \\\nvirtual_server 10.0.${VS}.4 80 { \\\nlb_algo rr \\\nlb_kind DR \\\nprotocol TCP \\\n$N=1 \\\n$RS \\\n$N=2 \\\n$RS \\\n}\n\
                ~SEQ(VS, 0, 1) $SERVICE\n";
    let config = imported(text).config.unwrap();
    let shown: Vec<_> = config
        .virtual_servers
        .iter()
        .map(|server| {
            format!(
                "{server}: {}",
                server.real_servers.iter().map(|r| format!("{r}*{}", r.weight)).collect::<Vec<_>>().join(" ")
            )
        })
        .collect();
    assert_eq!(
        shown,
        ["10.0.0.4:80/tcp: 10.1.0.1:80*1 10.1.0.2:80*2", "10.0.1.4:80/tcp: 10.1.1.1:80*1 10.1.1.2:80*2"]
    );
    let place =
        imported(text).report.findings.iter().find(|f| f.subject.starts_with("weight")).unwrap().place;
    assert_eq!((place.line, place.column), (3, 3), "a definition's lines stand where they are defined");
}

#[test]
fn sequences_and_lists_combine() {
    let text =
        instance("virtual_ipaddress {\n~LST({A, B}, {10,1},{20,4}) ~SEQ(C,168,2,170) 192.${C}.${A}.${B}\n}");
    let all = lines(&text);
    let expected =
        r#"virtual_addresses = ["192.168.10.1/32", "192.170.10.1/32", "192.168.20.4/32", "192.170.20.4/32"]"#;
    assert!(all.contains(&expected.to_owned()), "{all:#?}");
}

#[test]
fn what_leads_back_to_itself_ends() {
    for text in ["$A=${A}x\nrouter_id ${A}\n", "$A= \\\n$A \\\n$A\n$A\n", "~SEQ(I, 1, 0, 2) x\n"] {
        let imported = imported(text);
        assert_eq!(imported.report.worst(), Fate::NotSupported, "{text}");
    }
}

#[test]
fn included_files_are_read_where_they_stand() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let main = write(
        "keepalived.conf",
        "global_defs {\nrouter_id a\n}\ninclude conf.d/*.conf\ninclude none.conf\nincludea {missing,conf.d/b}.conf\n",
    );
    write("conf.d/a.conf", &format!("include inner/c.conf\n{}", instance("")));
    write("conf.d/b.conf", "global_defs {\nnotification_email_from ${_PWD}\n}\n");
    write("conf.d/inner/c.conf", "vrrp_script s {\nscript /bin/true\n}\n");
    let imported = import(&main, &Options::default()).unwrap();
    let names: Vec<_> = imported
        .report
        .sources
        .iter()
        .map(|source| std::path::Path::new(&source.name).file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["keepalived.conf", "a.conf", "c.conf", "b.conf", "b.conf"]);
    assert!(imported.toml.text.contains("/conf.d/inner/c.conf:1"), "{}", imported.toml.text);
    assert_said(&imported, Fate::Changed, &["include none.conf", "no file matches"]);
    assert_said(&imported, Fate::NotSupported, &["includea {missing,conf.d/b}.conf", "missing.conf"]);
    let missing = import(&directory.path().join("no.conf"), &Options::default()).unwrap_err();
    assert!(missing.to_string().contains("no.conf"), "{missing}");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(96))]

    /// Whatever a file has, reading it ends, and what comes out is accepted by our own parser.
    #[test]
    fn any_text_makes_a_configuration(words in proptest::collection::vec(
        proptest::sample::select(vec![
            "virtual_server", "10.0.0.1", "80", "{", "}", "\n", "\n", "real_server", "weight", "1", "vrrp_instance", "VI",
            "virtual_router_id", "interface", "eth0", "virtual_ipaddress", "TCP_CHECK", "HTTP_GET", "url", "path", "/",
            "track_script", "vrrp_script", "script", "\"", "$A=", "$A", "~SEQ(I,1,3)", "@lvs1", "#", "protocol", "TCP",
            "include", "global_defs", "notify", "lb_kind", "DR", "lb_algo", "rr", "quorum", "\\", "sorry_server", "；", "priority",
        ]), 0..60)) {
        let text = words.join(" ");
        let imported = imported(&text);
        if let Err(error) = &imported.config {
            panic!("{text}\n{error}\n{}", imported.toml.text);
        }
    }
}

//! A `keepalived.conf` with the mistakes that tutorials spread, imported and then running: forwarding, removal and return
//! of a real server, fail-over and fail-back.

mod as_root {
    use std::net::IpAddr;

    use anyhow::ensure;
    use lb_tests::director::{Director, patience, run_lbctl, start_real_servers};
    use lb_tests::failover::has;
    use lb_tests::{Family, Lab, MailServer, Node, isolated, nginx, wait_until};

    /// What keepalived ignores or stumbles over is in nearly every line.
    const TEXT: &str = "! Configuration File for keepalived\n\
        global_defs {\n\
        \x20  notification_email {\n\
        \x20    ops@example.net //收件人\n\
        \x20  }\n\
        \x20  notification_email_from lvs@example.net\n\
        \x20  smtp_server 127.0.0.1\n\
        \x20  smtp_connect_timeout 30\n\
        \x20  router\\_id LVS_DEVEL}\n\
        vrrp_instance VI_1 {\n\
        \x20   state master\n\
        \x20   interface eth0\n\
        \x20   virtual_router_id ５１\n\
        \x20   priority 100\n\
        \x20   advert_int 1\n\
        \x20   authentication { auth_type pass auth_pass 1111 }\n\
        \x20   virtual_ipaddress { #设置VIP\n\
        \x20       192.168.4.15\n\
        \x20   }\n\
        virtual_server 192.168.4.15 80 {\n\
        \x20   delay_loop 2 lb_algo wrr\n\
        \x20   lb_kind dr\n\
        \x20   nat_mask 255.255.255.0\n\
        \x20   persistence_timeout 0\n\
        \x20   protocol TCP\n\
        \x20   real_server 192.168.4.100 80{\n\
        \x20       weight 1\n\
        \x20       tcp_check {\n\
        \x20           connect_timeout 1\n\
        \x20           nb_get_retry 1\n\
        \x20           delay_before_retry 1\n\
        \x20           connect_port 80\n\
        \x20       }\n\
        \x20   }\n\
        \x20   real_server 192.168.4.200 80 ｛\n\
        \x20       weight 2；\n\
        \x20       TCP_CHECK {\n\
        \x20           connect_timeout 1\n\
        \x20       }\n\
        \x20   }\n\
        }\n";

    /// What the report says of it, one for each mistake.
    const SAID: &[&str] = &[
        "keepalived.conf:4:22: //收件人: ",
        "keepalived.conf:9:10: \\_: ",
        "keepalived.conf:10:1: vrrp_instance VI_1 {: there is no }",
        "keepalived.conf:11:5: state master: ",
        "keepalived.conf:13:23: ５: ",
        "keepalived.conf:16:22: auth_type pass: ",
        "keepalived.conf:21:18: lb_algo: ",
        "keepalived.conf:22:5: lb_kind dr: ",
        "keepalived.conf:23:5: nat_mask 255.255.255.0: ",
        "keepalived.conf:24:5: persistence_timeout 0: ",
        "keepalived.conf:28:9: tcp_check: ",
        "keepalived.conf:30:13: nb_get_retry 1: ",
        "keepalived.conf:35:34: ｛: ",
        "keepalived.conf:36:17: ；: ",
    ];

    fn divided(
        lab: &Lab,
        vip: IpAddr,
        wanted: (usize, usize),
        director: &Director<'_>,
    ) -> anyhow::Result<()> {
        let answers = || -> anyhow::Result<(usize, usize)> {
            let answers = lab.curl_sequence(&format!("http://{vip}/"), wanted.0 + wanted.1)?;
            let of = |name: &str| answers.iter().filter(|answer| answer.contains(name)).count();
            Ok((of("web1"), of("web2")))
        };
        let is_so = wait_until(patience(40), || answers().is_ok_and(|found| found == wanted));
        ensure!(is_so, "{wanted:?}: {:?}\n{}", answers(), director.log());
        Ok(())
    }

    #[test]
    fn are_named_and_mended() {
        isolated("as_root::are_named_and_mended", || {
            let lab = Lab::builder().up()?;
            let vip = lab.vip(Family::V4);
            start_real_servers(&lab, &[vip])?;
            let mails = MailServer::start(&lab, Node::Lvs1)?;
            let file = lab.write("keepalived.conf", TEXT)?;
            let result = lab.dir().join("imported.toml");
            let words = [
                "import".as_ref(),
                "keepalived".as_ref(),
                file.as_os_str(),
                "-o".as_ref(),
                result.as_os_str(),
            ];
            let output = run_lbctl(&lab, Node::Lvs1, words)?;
            let report = String::from_utf8_lossy(&output.stdout);
            ensure!(output.status.code() == Some(3), "{output:?}");
            for words in SAID {
                ensure!(report.contains(words), "{words} is not in:\n{report}");
            }
            ensure!(report.contains(" 0 not supported"), "{report}");

            let mut one = Director::up_by(&lab, Node::Lvs1, "-c", &result)?;
            let second = TEXT.replace("state master", "state BACKUP").replace("priority 100", "priority 99");
            let two = Director::up_by_keepalived(&lab, Node::Lvs2, &second)?;
            has(&lab, vip, Node::Lvs1, &[&one, &two])?;
            divided(&lab, vip, (4, 8), &one)?;

            nginx::stop(&lab, Node::Web1)?;
            divided(&lab, vip, (0, 6), &one)?;
            let told = |what: &str| mails.lines().iter().any(|line| line.starts_with(what));
            let subject = "Subject: [LVS_DEVEL] Realserver [192.168.4.100]:tcp:80";
            ensure!(
                wait_until(patience(20), || told(subject) && told("To: ops@example.net")),
                "{:?}",
                mails.lines()
            );
            nginx::start_again(&lab, Node::Web1)?;
            divided(&lab, vip, (2, 4), &one)?;

            one.down()?;
            has(&lab, vip, Node::Lvs2, &[&two])?;
            divided(&lab, vip, (4, 8), &two)?;
            one.up_again()?;
            has(&lab, vip, Node::Lvs1, &[&one, &two])?;
            divided(&lab, vip, (4, 8), &one)?;
            lab.down()
        });
    }
}

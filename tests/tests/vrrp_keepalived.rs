//! VRRP between directors on the wire: with a real keepalived in each role, with addresses that somebody else removes,
//! and with a daemon that is killed and comes back.

mod as_root_waiting {
    use std::fs;

    use anyhow::Context;
    use lb_tests::director::{Configuration, Director, patience, run_lbctl, start_real_servers, stderr, web};
    use lb_tests::keepalived::Keepalived;
    use lb_tests::{Family, Lab, Node, isolated, wait_until};
    use serde_json::Value;

    const VIP: &str = "192.168.4.15";

    /// The virtual router of the lab's VIP on a director of ours.
    fn ours(lab: &Lab, priority: u8, lines: &str) -> anyhow::Result<Configuration> {
        let config = web(lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 1)])?;
        Ok(config.append(&format!(
            "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\n\
             priority = {priority}\nvirtual_addresses = [\"{VIP}/24\"]\n{lines}\n"
        )))
    }

    /// The same virtual router in keepalived's words.
    fn theirs(priority: u8, lines: &str) -> String {
        format!(
            "global_defs {{\n router_id peer\n}}\nvrrp_instance VI_1 {{\n state BACKUP\n interface eth0\n \
             virtual_router_id 51\n priority {priority}\n {lines}\n virtual_ipaddress {{\n {VIP}/24\n }}\n}}\n"
        )
    }

    fn has_vip(lab: &Lab, node: Node) -> bool {
        let shown = lab.exec(node, ["ip", "-o", "addr", "show", "to", VIP]);
        shown.is_ok_and(|text| text.contains(&format!("{VIP}/")))
    }

    fn status(lab: &Lab, node: Node) -> anyhow::Result<Value> {
        let output = run_lbctl(lab, node, ["vrrp", "--json"])?;
        serde_json::from_slice(&output.stdout).with_context(|| stderr(&output))
    }

    fn field(lab: &Lab, node: Node, path: &str) -> Value {
        status(lab, node).ok().and_then(|status| status.pointer(path).cloned()).unwrap_or(Value::Null)
    }

    /// Whether the director's only instance is in this state, and its address fits that.
    fn is(lab: &Lab, node: Node, state: &str) -> bool {
        field(lab, node, "/instances/0/state") == state && has_vip(lab, node) == (state == "MASTER")
    }

    /// Ours is backup of a keepalived, takes over when that dies without a word, and gives way when it is back.
    fn follows_keepalived(ours_lines: &str, theirs_lines: &str) -> anyhow::Result<()> {
        let lab = Lab::builder().up()?;
        let mut peer = Keepalived::start(&lab, Node::Lvs1, &theirs(150, theirs_lines))?;
        peer.await_log("Entering MASTER STATE", patience(20))?;
        let config = ours(&lab, 100, ours_lines)?;
        start_real_servers(&lab, &config.vips())?;
        let director = Director::up(&lab, Node::Lvs2, &config)?;
        let follows = || {
            field(&lab, Node::Lvs2, "/instances/0/master/priority") == 150 && is(&lab, Node::Lvs2, "BACKUP")
        };
        assert!(wait_until(patience(10), follows), "{}\n{}", director.log(), peer.log());
        let heard = || field(&lab, Node::Lvs2, "/instances/0/adverts_received").as_u64() > Some(3);
        assert!(wait_until(patience(20), heard) && follows(), "{}", director.log());

        peer.kill()?;
        assert!(wait_until(patience(20), || is(&lab, Node::Lvs2, "MASTER")), "{}", director.log());
        assert_eq!(field(&lab, Node::Lvs2, "/instances/0/transitions/0/reason"), "silence");
        // What the dead keepalived left; keepalived removes it when it starts.
        assert!(has_vip(&lab, Node::Lvs1));

        let peer = Keepalived::start(&lab, Node::Lvs1, &theirs(150, theirs_lines))?;
        peer.await_log("Entering MASTER STATE", patience(20))?;
        assert!(wait_until(patience(10), || is(&lab, Node::Lvs2, "BACKUP")), "{}", director.log());
        assert_eq!(field(&lab, Node::Lvs2, "/instances/0/transitions/0/reason"), "outranked");
        assert!(has_vip(&lab, Node::Lvs1));
        for word in ["checksum", "length", "auth_type", "password", "ttl", "version", "address_list"] {
            assert_eq!(field(&lab, Node::Lvs2, &format!("/instances/0/checks/{word}")), 0, "{word}");
        }
        lab.down()
    }

    /// A keepalived is backup of ours, takes over at once when ours is stopped, gives way when ours is back, and takes
    /// over when ours dies without a word.
    fn is_followed_by_keepalived(ours_lines: &str, theirs_lines: &str) -> anyhow::Result<()> {
        let lab = Lab::builder().up()?;
        let config = ours(&lab, 150, ours_lines)?;
        start_real_servers(&lab, &config.vips())?;
        let mut director = Director::up(&lab, Node::Lvs1, &config)?;
        assert!(wait_until(patience(20), || is(&lab, Node::Lvs1, "MASTER")), "{}", director.log());
        let peer = Keepalived::start(&lab, Node::Lvs2, &theirs(100, theirs_lines))?;
        peer.await_log("Entering BACKUP STATE", patience(20))?;
        let url = format!("http://{}/", lab.web(Family::V4));
        assert_eq!(lab.curl_sequence(&url, 4)?, ["web2", "web1", "web2", "web1"]);
        assert!(!peer.log().contains("MASTER STATE"), "{}", peer.log());

        director.down()?;
        peer.await_log("Entering MASTER STATE", patience(20))?;
        assert!(wait_until(patience(10), || has_vip(&lab, Node::Lvs2)) && !has_vip(&lab, Node::Lvs1));

        director.up_again()?;
        assert!(wait_until(patience(20), || is(&lab, Node::Lvs1, "MASTER")), "{}", director.log());
        assert_eq!(field(&lab, Node::Lvs1, "/instances/0/transitions/0/reason"), "preempts");
        peer.await_log(
            "Master received advert from 192.168.4.2 with higher priority 150, ours 100",
            patience(10),
        )?;
        assert!(wait_until(patience(10), || !has_vip(&lab, Node::Lvs2)));

        director.kill()?;
        let again = || peer.log().matches("Entering MASTER STATE").count() == 2;
        assert!(wait_until(patience(20), again), "{}", peer.log());
        for wrong in ["received an invalid", "bogus", "mismatch", "invalid", "expect"] {
            assert!(!peer.log().contains(wrong), "{wrong:?}:\n{}", peer.log());
        }
        lab.down()
    }

    #[test]
    fn backup_of_keepalived_with_version_2_and_a_password() {
        isolated("as_root_waiting::backup_of_keepalived_with_version_2_and_a_password", || {
            follows_keepalived(
                "version = 2\nauth_pass = \"lvs1234\"",
                "version 2\n authentication {\n auth_type PASS\n auth_pass lvs1234\n }",
            )
        });
    }

    #[test]
    fn backup_of_keepalived_with_version_3() {
        isolated("as_root_waiting::backup_of_keepalived_with_version_3", || {
            follows_keepalived("version = 3\nadvert_interval = \"200ms\"", "version 3\n advert_int 0.2")
        });
    }

    #[test]
    fn backup_of_keepalived_by_unicast() {
        isolated("as_root_waiting::backup_of_keepalived_by_unicast", || {
            follows_keepalived(
                "version = 3\nadvert_interval = \"200ms\"\nsource_address = \"192.168.4.3\"\n\
                 unicast_peers = [\"192.168.4.2\"]",
                "version 3\n advert_int 0.2\n unicast_src_ip 192.168.4.2\n unicast_peer {\n 192.168.4.3\n }",
            )
        });
    }

    #[test]
    fn master_of_keepalived_with_version_2_and_a_password() {
        isolated("as_root_waiting::master_of_keepalived_with_version_2_and_a_password", || {
            is_followed_by_keepalived(
                "version = 2\nauth_pass = \"lvs1234\"",
                "version 2\n authentication {\n auth_type PASS\n auth_pass lvs1234\n }",
            )
        });
    }

    #[test]
    fn master_of_keepalived_with_version_3() {
        isolated("as_root_waiting::master_of_keepalived_with_version_3", || {
            is_followed_by_keepalived(
                "version = 3\nadvert_interval = \"200ms\"",
                "version 3\n advert_int 0.2",
            )
        });
    }

    #[test]
    fn a_wrong_password_is_counted_and_named() {
        isolated("as_root_waiting::a_wrong_password_is_counted_and_named", || {
            let lab = Lab::builder().up()?;
            let lines = "version 2\n authentication {\n auth_type PASS\n auth_pass other\n }";
            let peer = Keepalived::start(&lab, Node::Lvs1, &theirs(150, lines))?;
            peer.await_log("Entering MASTER STATE", patience(20))?;
            let director =
                Director::up(&lab, Node::Lvs2, &ours(&lab, 100, "version = 2\nauth_pass = \"mine\"")?)?;
            let counted = || field(&lab, Node::Lvs2, "/instances/0/checks/password").as_u64() > Some(1);
            assert!(wait_until(patience(20), counted));
            let log = director.log();
            assert_eq!(log.matches("advert of 192.168.4.2 ignored: another password").count(), 1, "{log}");
            lab.down()
        });
    }

    #[test]
    fn an_address_that_somebody_removes_is_put_back_and_reported() {
        isolated("as_root_waiting::an_address_that_somebody_removes_is_put_back_and_reported", || {
            let lab = Lab::builder().up()?;
            let config = ours(&lab, 100, "version = 3\nadvert_interval = \"100ms\"")?;
            let director = Director::up(&lab, Node::Lvs1, &config)?;
            assert!(wait_until(patience(20), || is(&lab, Node::Lvs1, "MASTER")), "{}", director.log());
            lab.exec(Node::Lvs1, ["ip", "addr", "del", &format!("{VIP}/24"), "dev", "eth0"])?;
            let put_back = || field(&lab, Node::Lvs1, "/instances/0/put_back") == 1;
            assert!(wait_until(patience(10), put_back) && has_vip(&lab, Node::Lvs1), "{}", director.log());
            assert!(director.log().contains("was removed by somebody else; put back"));
            assert_eq!(field(&lab, Node::Lvs1, "/instances/0/became_master"), 1);
            director.down()?;
            assert!(!has_vip(&lab, Node::Lvs1));
            lab.down()
        });
    }

    /// While the other director has taken over, a killed daemon's address is still there; when the daemon is back and
    /// hears the other, it is not.
    #[test]
    fn a_restart_after_a_crash_leaves_no_duplicate() {
        isolated("as_root_waiting::a_restart_after_a_crash_leaves_no_duplicate", || {
            let lab = Lab::builder().up()?;
            let lines = "version = 3\nadvert_interval = \"100ms\"\nnopreempt = true";
            let config = ours(&lab, 150, lines)?;
            start_real_servers(&lab, &config.vips())?;
            let mut one = Director::up(&lab, Node::Lvs1, &config)?;
            assert!(wait_until(patience(20), || is(&lab, Node::Lvs1, "MASTER")), "{}", one.log());
            let two = Director::up(&lab, Node::Lvs2, &ours(&lab, 100, lines)?)?;
            assert!(wait_until(patience(10), || is(&lab, Node::Lvs2, "BACKUP")), "{}", two.log());
            one.kill()?;
            assert!(wait_until(patience(20), || is(&lab, Node::Lvs2, "MASTER")), "{}", two.log());
            assert!(has_vip(&lab, Node::Lvs1), "nobody has cleaned up yet");
            one.up_again()?;
            assert!(wait_until(patience(10), || is(&lab, Node::Lvs1, "BACKUP")), "{}", one.log());
            assert!(is(&lab, Node::Lvs2, "MASTER"));
            one.down()?;
            two.down()?;
            assert!(!has_vip(&lab, Node::Lvs1) && !has_vip(&lab, Node::Lvs2));
            lab.down()
        });
    }

    /// A daemon that comes back before anybody missed it goes on with the address that is still there.
    #[test]
    fn a_quick_restart_keeps_the_address() {
        isolated("as_root_waiting::a_quick_restart_keeps_the_address", || {
            let lab = Lab::builder().up()?;
            let config = ours(&lab, 150, "")?;
            start_real_servers(&lab, &config.vips())?;
            let mut one = Director::up(&lab, Node::Lvs1, &config)?;
            assert!(wait_until(patience(20), || is(&lab, Node::Lvs1, "MASTER")), "{}", one.log());
            one.kill()?;
            one.up_again()?;
            let url = format!("http://{}/", lab.web(Family::V4));
            assert_eq!(field(&lab, Node::Lvs1, "/instances/0/state"), "BACKUP");
            let served = lab.curl_sequence(&url, 4)?;
            assert!(served.iter().all(|who| who.starts_with("web")), "{served:?}\n{}", one.log());
            assert!(wait_until(patience(20), || is(&lab, Node::Lvs1, "MASTER")), "{}", one.log());
            lab.down()
        });
    }

    /// What a daemon that was killed has put on the host is removed by `lbctl down`.
    #[test]
    fn down_removes_what_a_killed_daemon_left() {
        isolated("as_root_waiting::down_removes_what_a_killed_daemon_left", || {
            let lab = Lab::builder().up()?;
            let lines = "version = 3\nadvert_interval = \"100ms\"\n\
                         virtual_routes = [\"10.99.0.0/16 via 192.168.4.10\", \"blackhole 10.98.0.0/16\"]\n\
                         virtual_rules = [\"from 192.168.4.15 lookup 100 priority 1000\"]\n\
                         excluded_addresses = [\"2001:db8:4::99/64\"]";
            let director = Director::up(&lab, Node::Lvs1, &ours(&lab, 100, lines)?)?;
            assert!(wait_until(patience(20), || is(&lab, Node::Lvs1, "MASTER")), "{}", director.log());
            let shown = || -> anyhow::Result<String> {
                let routes = lab.exec(Node::Lvs1, ["ip", "route", "show"])?;
                let rules = lab.exec(Node::Lvs1, ["ip", "rule", "show"])?;
                Ok(routes + &rules + &lab.exec(Node::Lvs1, ["ip", "-6", "addr", "show"])?)
            };
            let parts = [
                "10.99.0.0/16 via 192.168.4.10 dev eth0",
                "blackhole 10.98.0.0/16",
                "from 192.168.4.15 lookup 100",
                "2001:db8:4::99/64",
            ];
            let has_all = || shown().is_ok_and(|text| parts.iter().all(|part| text.contains(part)));
            assert!(wait_until(patience(10), has_all), "{}\n{}", shown()?, director.log());
            director.kill()?;
            director.down()?;
            let left = shown()?;
            assert!(parts.iter().all(|part| !left.contains(part)), "{left}");
            assert!(!has_vip(&lab, Node::Lvs1));
            assert!(!fs::exists("/run/lbctl/lvs1/vrrp.json")?);
            lab.down()
        });
    }

    /// A director that reaches no real server any more hands over to one that does, and takes over again after it.
    #[test]
    fn a_director_without_real_servers_hands_over() {
        isolated("as_root_waiting::a_director_without_real_servers_hands_over", || {
            let lab = Lab::builder().up()?;
            let lines = "version = 3\nadvert_interval = \"100ms\"\n\
                         track_virtual_servers = [\"192.168.4.15:80/tcp\"]";
            let config = ours(&lab, 150, lines)?;
            start_real_servers(&lab, &config.vips())?;
            let one = Director::up(&lab, Node::Lvs1, &config)?;
            let two = Director::up(&lab, Node::Lvs2, &ours(&lab, 100, lines)?)?;
            let first = || is(&lab, Node::Lvs1, "MASTER") && is(&lab, Node::Lvs2, "BACKUP");
            assert!(wait_until(patience(20), first), "{}\n{}", one.log(), two.log());
            let routes = |word: &str| -> anyhow::Result<()> {
                for server in ["192.168.4.100", "192.168.4.200"] {
                    lab.exec(Node::Lvs1, ["ip", "route", word, "unreachable", server])?;
                }
                Ok(())
            };
            routes("add")?;
            let moved = || is(&lab, Node::Lvs1, "BACKUP") && is(&lab, Node::Lvs2, "MASTER");
            assert!(wait_until(patience(20), moved), "{}\n{}", one.log(), two.log());
            assert_eq!(field(&lab, Node::Lvs1, "/instances/0/effective_priority"), 1);
            assert_eq!(field(&lab, Node::Lvs1, "/is_ready"), false);
            let url = format!("http://{}/", lab.web(Family::V4));
            let served = lab.curl_sequence(&url, 4)?;
            assert!(served.iter().all(|who| who.starts_with("web")), "{served:?}");
            routes("del")?;
            assert!(wait_until(patience(30), first), "{}\n{}", one.log(), two.log());
            lab.down()
        });
    }

    #[test]
    fn release_and_take_switch_by_hand() {
        isolated("as_root_waiting::release_and_take_switch_by_hand", || {
            let lab = Lab::builder().up()?;
            let lines = "version = 3\nadvert_interval = \"100ms\"";
            let config = ours(&lab, 150, lines)?;
            start_real_servers(&lab, &config.vips())?;
            let one = Director::up(&lab, Node::Lvs1, &config)?;
            let two = Director::up(&lab, Node::Lvs2, &ours(&lab, 100, lines)?)?;
            assert!(wait_until(patience(20), || is(&lab, Node::Lvs1, "MASTER")), "{}", one.log());
            let order = |node, word| -> anyhow::Result<()> {
                let output = run_lbctl(&lab, node, ["vrrp", word, "VI_1"])?;
                assert!(output.status.success(), "{}", stderr(&output));
                Ok(())
            };
            order(Node::Lvs1, "release")?;
            let switched = || is(&lab, Node::Lvs1, "BACKUP") && is(&lab, Node::Lvs2, "MASTER");
            assert!(wait_until(patience(10), switched), "{}\n{}", one.log(), two.log());
            order(Node::Lvs1, "take")?;
            let back = || is(&lab, Node::Lvs1, "MASTER") && is(&lab, Node::Lvs2, "BACKUP");
            assert!(wait_until(patience(10), back), "{}\n{}", one.log(), two.log());
            let output = run_lbctl(&lab, Node::Lvs1, ["vrrp", "release", "VI_9"])?;
            assert!(
                !output.status.success() && stderr(&output).contains("there are: VI_1"),
                "{}",
                stderr(&output)
            );
            lab.down()
        });
    }
}

//! What VRRP tracks, and VRRP without balancing.

mod as_root {
    use std::fs;

    use anyhow::Context;
    use lb_tests::director::{Configuration, Director, patience, run_lbctl, stderr};
    use lb_tests::{Family, Lab, Node, isolated, wait_until};
    use serde_json::Value;

    const VIP: &str = "192.168.4.15";

    /// VRRP alone, for the lab's VIP.
    fn alone(priority: u8, lines: &str, sections: &str) -> Configuration {
        Configuration::new(&[]).append(&format!(
            "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\nversion = 3\n\
             advert_interval = \"100ms\"\npriority = {priority}\nvirtual_addresses = [\"{VIP}/24\"]\n{lines}\n{sections}\n"
        ))
    }

    fn has_vip(lab: &Lab, node: Node) -> bool {
        let shown = lab.exec(node, ["ip", "-o", "addr", "show", "to", VIP]);
        shown.is_ok_and(|text| text.contains(&format!("{VIP}/")))
    }

    fn field(lab: &Lab, node: Node, path: &str) -> Value {
        let output = run_lbctl(lab, node, ["vrrp", "--json"]);
        let status: Option<Value> =
            output.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok());
        status.and_then(|status| status.pointer(path).cloned()).unwrap_or(Value::Null)
    }

    fn is(lab: &Lab, node: Node, state: &str) -> bool {
        field(lab, node, "/instances/0/state") == state && has_vip(lab, node) == (state == "MASTER")
    }

    /// Two web servers that stand in for each other: the address goes where nginx runs. No program is attached.
    #[test]
    fn the_address_follows_a_process() {
        isolated("as_root::the_address_follows_a_process", || {
            let lab = Lab::builder().nginx(false).up()?;
            let sections = "[[vrrp_track_process]]\nname = \"worker\"\nprocess = \"sleep\"\n";
            let lines = "track_processes = [\"worker\"]";
            let mut worker = lab.spawn(Node::Lvs1, ["sleep", "1000"])?;
            let one = Director::up(&lab, Node::Lvs1, &alone(100, lines, sections))?;
            assert!(wait_until(patience(10), || is(&lab, Node::Lvs1, "MASTER")), "{}", one.log());
            assert_eq!(one.program("eth0")?, None);
            // Both directors see the same processes in a sandbox.
            let two = Director::up(&lab, Node::Lvs2, &alone(50, "", ""))?;
            assert!(wait_until(patience(10), || is(&lab, Node::Lvs2, "BACKUP")), "{}", two.log());
            worker.kill()?;
            let moved = || is(&lab, Node::Lvs1, "FAULT") && is(&lab, Node::Lvs2, "MASTER");
            assert!(wait_until(patience(10), moved), "{}\n{}", one.log(), two.log());
            let _worker = lab.spawn(Node::Lvs1, ["sleep", "1000"])?;
            let back = || is(&lab, Node::Lvs1, "MASTER") && is(&lab, Node::Lvs2, "BACKUP");
            assert!(wait_until(patience(10), back), "{}\n{}", one.log(), two.log());
            let output = run_lbctl(&lab, Node::Lvs1, ["drain", "192.168.4.15:80", "192.168.4.100:80"])?;
            assert!(stderr(&output).contains("balances nothing"), "{}", stderr(&output));
            one.down()?;
            two.down()?;
            assert!(!has_vip(&lab, Node::Lvs1) && !has_vip(&lab, Node::Lvs2));
            assert!(!fs::exists("/run/lbctl/lvs1")?);
            lab.down()
        });
    }

    #[test]
    fn a_script_changes_the_priority_and_a_file_is_a_fault() {
        isolated("as_root::a_script_changes_the_priority_and_a_file_is_a_fault", || {
            let lab = Lab::builder().nginx(false).up()?;
            let healthy = lab.write("healthy", "")?;
            let maintenance = lab.dir().join("maintenance");
            let sections = format!(
                "[[vrrp_script]]\nname = \"check\"\ncommand = \"test -e {}\"\ninterval = \"100ms\"\nfall = 2\nrise = 2\n\
                 weight = -60\n[[vrrp_track_file]]\nname = \"maintenance\"\nfile = \"{}\"\nweight = 0\ninit = 0\n",
                healthy.display(),
                maintenance.display()
            );
            let lines = "track_scripts = [\"check\"]\ntrack_files = [\"maintenance\"]";
            let one = Director::up(&lab, Node::Lvs1, &alone(100, lines, &sections))?;
            let two = Director::up(&lab, Node::Lvs2, &alone(50, "", ""))?;
            let first = || is(&lab, Node::Lvs1, "MASTER") && is(&lab, Node::Lvs2, "BACKUP");
            assert!(wait_until(patience(10), first), "{}\n{}", one.log(), two.log());
            assert_eq!(fs::read_to_string(&maintenance)?, "0\n");

            fs::remove_file(&healthy)?;
            let second = || is(&lab, Node::Lvs1, "BACKUP") && is(&lab, Node::Lvs2, "MASTER");
            assert!(wait_until(patience(10), second), "{}\n{}", one.log(), two.log());
            assert_eq!(field(&lab, Node::Lvs1, "/instances/0/effective_priority"), 40);
            fs::write(&healthy, "")?;
            assert!(wait_until(patience(10), first), "{}\n{}", one.log(), two.log());

            fs::write(&maintenance, "1\n")?;
            let fault = || is(&lab, Node::Lvs1, "FAULT") && is(&lab, Node::Lvs2, "MASTER");
            assert!(wait_until(patience(10), fault), "{}\n{}", one.log(), two.log());
            fs::write(&maintenance, "0\n")?;
            assert!(wait_until(patience(10), first), "{}\n{}", one.log(), two.log());
            lab.down()
        });
    }

    #[test]
    fn a_link_that_goes_down_is_a_fault_and_comes_back() {
        isolated("as_root::a_link_that_goes_down_is_a_fault_and_comes_back", || {
            let lab = Lab::builder().nginx(false).up()?;
            let one = Director::up(&lab, Node::Lvs1, &alone(100, "", ""))?;
            let two = Director::up(&lab, Node::Lvs2, &alone(50, "", ""))?;
            let first = || is(&lab, Node::Lvs1, "MASTER") && is(&lab, Node::Lvs2, "BACKUP");
            assert!(wait_until(patience(10), first), "{}\n{}", one.log(), two.log());
            lab.exec(Node::Lvs1, ["ip", "link", "set", "eth0", "down"])?;
            let moved = || is(&lab, Node::Lvs1, "FAULT") && is(&lab, Node::Lvs2, "MASTER");
            assert!(wait_until(patience(10), moved), "{}\n{}", one.log(), two.log());
            assert_eq!(field(&lab, Node::Lvs1, "/instances/0/transitions/0/reason"), "link_down");
            lab.exec(Node::Lvs1, ["ip", "link", "set", "eth0", "up"])?;
            assert!(wait_until(patience(20), first), "{}\n{}", one.log(), two.log());
            lab.down()
        });
    }

    #[test]
    fn ipv6_addresses_fail_over() {
        isolated("as_root::ipv6_addresses_fail_over", || {
            let lab = Lab::builder().nginx(false).up()?;
            let config = |priority: u8| {
                Configuration::new(&[]).append(&format!(
                    "[[vrrp_instance]]\nname = \"VI_6\"\ninterface = \"eth0\"\nvirtual_router_id = 51\n\
                     advert_interval = \"100ms\"\npriority = {priority}\n\
                     virtual_addresses = [\"2001:db8:4::15/64\", \"2001:db8:4::16/128\"]\n"
                ))
            };
            let has = |node, address: &str| {
                lab.exec(node, ["ip", "-6", "-o", "addr", "show", "dev", "eth0"])
                    .is_ok_and(|text| text.contains(address))
            };
            let one = Director::up(&lab, Node::Lvs1, &config(100))?;
            let two = Director::up(&lab, Node::Lvs2, &config(50))?;
            let on = |node| has(node, "2001:db8:4::15/64") && has(node, "2001:db8:4::16/128");
            assert!(wait_until(patience(20), || on(Node::Lvs1)), "{}", one.log());
            let heard = || field(&lab, Node::Lvs2, "/instances/0/adverts_received").as_u64() > Some(2);
            assert!(wait_until(patience(10), heard), "{}", two.log());
            assert!(!has(Node::Lvs2, "2001:db8:4::15"));
            // The client learns who has the address, without asking.
            let ping = ["ping", "-6", "-c", "1", "-W", "5", "2001:db8:4::15"];
            lab.exec(Node::Client, ping)?;
            one.kill()?;
            assert!(wait_until(patience(20), || on(Node::Lvs2)), "{}", two.log());
            let learnt = || {
                lab.exec(Node::Client, ["ip", "-6", "neigh", "show", "2001:db8:4::15"])
                    .is_ok_and(|text| text.contains("02:00:00:00:04:03"))
            };
            assert!(wait_until(patience(10), learnt));
            lab.down()
        });
    }

    /// A group whose one member has a fault moves as a whole.
    #[test]
    fn a_sync_group_moves_together() {
        isolated("as_root::a_sync_group_moves_together", || {
            let lab = Lab::builder().nginx(false).up()?;
            let stop = lab.dir().join("stop");
            let config = |priority: u8, lines: &str, sections: &str| {
                alone(priority, lines, "").append(&format!(
                    "[[vrrp_instance]]\nname = \"VI_2\"\ninterface = \"eth0\"\nvirtual_router_id = 52\nversion = 3\n\
                     advert_interval = \"100ms\"\npriority = {priority}\nvirtual_addresses = [\"192.168.4.16/24\"]\n\
                     [[vrrp_sync_group]]\nname = \"VG\"\nmembers = [\"VI_1\", \"VI_2\"]\n{sections}\n"
                ))
            };
            let file =
                format!("[[vrrp_track_file]]\nname = \"stop\"\nfile = \"{}\"\nweight = 0\n", stop.display());
            let one = Director::up(&lab, Node::Lvs1, &config(100, "track_files = [\"stop\"]", &file))?;
            let two = Director::up(&lab, Node::Lvs2, &config(50, "", ""))?;
            let states = |node| {
                let state = |index: u8| field(&lab, node, &format!("/instances/{index}/state"));
                (state(0), state(1), field(&lab, node, "/groups/0/state"))
            };
            let all = |node, state: &str| states(node) == (state.into(), state.into(), state.into());
            let first = || all(Node::Lvs1, "MASTER") && all(Node::Lvs2, "BACKUP");
            assert!(wait_until(patience(20), first), "{}\n{}", one.log(), two.log());
            fs::write(&stop, "1")?;
            let moved = || all(Node::Lvs1, "FAULT") && all(Node::Lvs2, "MASTER");
            assert!(wait_until(patience(20), moved), "{}\n{}", one.log(), two.log());
            fs::write(&stop, "0")?;
            assert!(wait_until(patience(20), first), "{}\n{}", one.log(), two.log());
            lab.down()
        });
    }

    #[test]
    fn directors_that_are_configured_otherwise_say_so() {
        isolated("as_root::directors_that_are_configured_otherwise_say_so", || {
            let lab = Lab::builder().nginx(false).up()?;
            let one = Director::up(&lab, Node::Lvs1, &alone(100, "", "").option("router_id = \"lvs1\""))?;
            let other = alone(50, "nopreempt = true", "").option("router_id = \"lvs2\"");
            let mut two = Director::up(&lab, Node::Lvs2, &other)?;
            let differs = |node| field(&lab, node, "/peers/0/differs");
            let expected = serde_json::json!(["VI_1 nopreempt"]);
            let both = || differs(Node::Lvs1) == expected && differs(Node::Lvs2) == expected;
            assert!(wait_until(patience(20), both), "{}\n{}", one.log(), two.log());
            assert!(
                one.log().contains("director lvs2 (192.168.4.3) is configured otherwise: VI_1 nopreempt")
            );
            two.reload(&alone(50, "", "").option("router_id = \"lvs2\""))?;
            let alike = || differs(Node::Lvs1) == serde_json::json!([]);
            assert!(wait_until(patience(30), alike), "{}", one.log());
            lab.down()
        });
    }

    /// A reload changes what is changed, and nothing else: the master stays master.
    #[test]
    fn a_reload_moves_nothing() {
        isolated("as_root::a_reload_moves_nothing", || {
            let lab = Lab::builder().nginx(false).up()?;
            let mut one = Director::up(&lab, Node::Lvs1, &alone(100, "", ""))?;
            assert!(wait_until(patience(20), || is(&lab, Node::Lvs1, "MASTER")), "{}", one.log());
            one.reload(&alone(120, "excluded_addresses = [\"192.168.4.17/24\"]", ""))?;
            let has_more = || {
                lab.exec(Node::Lvs1, ["ip", "-o", "addr", "show", "dev", "eth0"])
                    .is_ok_and(|text| text.contains("192.168.4.17/24"))
            };
            assert!(wait_until(patience(10), has_more), "{}", one.log());
            assert!(is(&lab, Node::Lvs1, "MASTER"));
            assert_eq!(field(&lab, Node::Lvs1, "/instances/0/priority"), 120);
            one.reload(&alone(120, "", ""))?;
            assert!(
                wait_until(patience(10), || !has_more()) && is(&lab, Node::Lvs1, "MASTER"),
                "{}",
                one.log()
            );
            assert_eq!(field(&lab, Node::Lvs1, "/instances/0/became_master"), 1);
            lab.down()
        });
    }

    /// Commands get keepalived's arguments, in the order of what happened.
    #[test]
    fn commands_are_told_of_transitions() {
        isolated("as_root::commands_are_told_of_transitions", || {
            let lab = Lab::builder().nginx(false).up()?;
            let told = lab.dir().join("told");
            let script = lab.write("told.sh", &format!("#!/bin/sh\necho \"$@\" >> {}\n", told.display()))?;
            fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            let lines = format!("notify = \"{}\"", script.display());
            let one = Director::up(&lab, Node::Lvs1, &alone(100, &lines, ""))?;
            assert!(wait_until(patience(20), || is(&lab, Node::Lvs1, "MASTER")), "{}", one.log());
            one.down()?;
            let said = fs::read_to_string(&told).context("nothing was told")?;
            let expected = "INSTANCE VI_1 BACKUP 100\nINSTANCE VI_1 MASTER 100\nINSTANCE VI_1 STOP 100\n";
            assert_eq!(said, expected);
            assert!(lab.vip(Family::V4).is_ipv4());
            lab.down()
        });
    }
}

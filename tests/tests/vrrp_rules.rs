//! What the configuration says of addresses, intervals and priorities, on the hosts and between directors.

mod as_root {
    use anyhow::{Context as _, ensure};
    use lb_tests::director::{Configuration, Director, VirtualServer, patience, run_lbctl};
    use lb_tests::failover::{FAST, VIP, has, instance, is};
    use lb_tests::{Family, Lab, Node, Topology, isolated, wait_until};
    use serde_json::Value;

    fn alone(priority: u8, lines: &str) -> Configuration {
        Configuration::new(&[]).append(&instance("VI_1", 51, VIP, priority, lines))
    }

    fn field(lab: &Lab, node: Node, name: &str) -> Value {
        let output = run_lbctl(lab, node, ["vrrp", "--json"]);
        let status: Option<Value> =
            output.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok());
        let path = format!("/instances/0/{name}");
        status.and_then(|status| status.pointer(&path).cloned()).unwrap_or(Value::Null)
    }

    /// Each with its prefix, label, scope and interface, those that adverts do not name too; none is left.
    #[test]
    fn addresses_are_put_as_they_are_written() {
        isolated("as_root::addresses_are_put_as_they_are_written", || {
            let lab = Lab::builder().topology(Topology::TwoArmed).nginx(false).up()?;
            let config = Configuration::new(&[]).append(&format!(
                "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\n{FAST}\n\
                 virtual_addresses = [\n  {{ address = \"{VIP}/24\", label = \"eth0:vip\" }},\n  \
                 {{ address = \"10.77.0.1\", interface = \"eth1\", scope = \"link\" }},\n]\n\
                 excluded_addresses = [\"10.88.0.1/25\", \"2001:db8:77::15/64\"]\n"
            ));
            let director = Director::up(&lab, Node::Lvs1, &config)?;
            let shown = || lab.exec(Node::Lvs1, ["ip", "-o", "address", "show"]).unwrap_or_default();
            for (interface, address, rest) in [
                ("eth0", "192.168.4.15/24", "eth0:vip"),
                ("eth1", "10.77.0.1/32", "scope link"),
                ("eth0", "10.88.0.1/25", "scope global"),
                ("eth0", "2001:db8:77::15/64", "scope global nodad"),
            ] {
                let is_it = |line: &str| {
                    line.contains(&format!(" {interface} "))
                        && line.contains(&format!(" {address} "))
                        && line.contains(rest)
                };
                ensure!(
                    wait_until(patience(10), || shown().lines().any(is_it)),
                    "{address}: {}\n{}",
                    shown(),
                    director.log()
                );
            }
            director.down()?;
            let left: Vec<_> = ["192.168.4.15", "10.77.0.1", "10.88.0.1", "2001:db8:77::15"]
                .into_iter()
                .filter(|address| shown().contains(&format!(" {address}/")))
                .collect();
            ensure!(left.is_empty(), "{left:?} are left");
            lab.down()
        });
    }

    /// With keepalived both would be master of version 2.
    #[test]
    fn another_interval_makes_no_second_master_and_is_named() {
        isolated("as_root::another_interval_makes_no_second_master_and_is_named", || {
            let lab = Lab::builder().nginx(false).up()?;
            let of = |priority, interval: &str| {
                alone(priority, &format!("version = 2\nadvert_interval = \"{interval}\""))
            };
            let one = Director::up(&lab, Node::Lvs1, &of(100, "2s"))?;
            has(&lab, VIP, Node::Lvs1, &[&one])?;
            let two = Director::up(&lab, Node::Lvs2, &of(50, "1s"))?;
            is(
                &two,
                "192.168.4.2 sends an advert each 2s, this director each 1s; set `advert_interval` alike",
            )?;
            // Longer than it would wait by its own interval.
            let heard = || field(&lab, Node::Lvs2, "adverts_received").as_u64() >= Some(4);
            ensure!(wait_until(patience(20), heard), "{}", two.log());
            ensure!(!two.log().contains("to MASTER"), "{}", two.log());
            ensure!(field(&lab, Node::Lvs2, "checks/interval_differs").as_u64() >= Some(4), "{}", two.log());
            has(&lab, VIP, Node::Lvs1, &[&one, &two])?;
            lab.down()
        });
    }

    #[test]
    fn another_interface_that_goes_down_lowers_the_priority() {
        isolated("as_root::another_interface_that_goes_down_lowers_the_priority", || {
            let lab = Lab::builder().topology(Topology::TwoArmed).nginx(false).up()?;
            let tracks = format!("{FAST}\ntrack_interfaces = [{{ name = \"eth1\", weight = -60 }}]");
            let one = Director::up(&lab, Node::Lvs1, &alone(100, &tracks))?;
            has(&lab, VIP, Node::Lvs1, &[&one])?;
            let two = Director::up(&lab, Node::Lvs2, &alone(50, FAST))?;
            is(&two, "is master, with priority 100")?;
            lab.exec(Node::Lvs1, ["ip", "link", "set", "eth1", "down"])?;
            has(&lab, VIP, Node::Lvs2, &[&one, &two])?;
            is(&one, "has the higher priority 50 (here 40)")?;
            lab.exec(Node::Lvs1, ["ip", "link", "set", "eth1", "up"])?;
            has(&lab, VIP, Node::Lvs1, &[&one, &two])?;
            lab.down()
        });
    }

    /// Priority 255: it waits for nobody, at the start and when it comes back.
    #[test]
    fn the_owner_of_the_address_has_it_whenever_it_runs() {
        isolated("as_root::the_owner_of_the_address_has_it_whenever_it_runs", || {
            let lab = Lab::builder().nginx(false).up()?;
            // Longer than this test waits: who begins as backup would not get there in time.
            let slow = "version = 3\nadvert_interval = \"40s\"";
            let other = Director::up(&lab, Node::Lvs2, &alone(254, slow))?;
            is(&other, "INIT to BACKUP")?;
            let mut owner =
                Director::up(&lab, Node::Lvs1, &alone(255, &format!("{slow}\nstate = \"master\"")))?;
            has(&lab, VIP, Node::Lvs1, &[&owner, &other])?;
            is(&owner, "INIT to MASTER")?;
            // Its end is announced with priority 0: the other one takes over.
            owner.down()?;
            has(&lab, VIP, Node::Lvs2, &[&owner, &other])?;
            owner.up_again()?;
            has(&lab, VIP, Node::Lvs1, &[&owner, &other])?;
            is(&other, "MASTER to BACKUP")?;
            lab.down()
        });
    }

    /// One whose checks have not all run once might send packets to real servers that are down: it leaves the addresses
    /// to who has them, whatever its priority.
    #[test]
    fn who_is_not_ready_does_not_preempt() {
        isolated("as_root::who_is_not_ready_does_not_preempt", || {
            let lab = Lab::builder().nginx(false).up()?;
            let other = Director::up(&lab, Node::Lvs2, &alone(50, FAST))?;
            has(&lab, VIP, Node::Lvs2, &[&other])?;
            // The answers of web1 do not reach lvs1: its check ends after its time only.
            let [director, server] = [Node::Lvs1, Node::Web1].map(|node| lab.address(node, Family::V4));
            let director = director.context("no lvs1")?.to_string();
            lab.exec(Node::Web1, ["ip", "route", "add", "blackhole", &director])?;
            let web = VirtualServer::new((VIP, 80).into())
                .option("check_retries = 0\ncheck = [{ type = \"tcp\", timeout = \"4s\" }]")
                .real_server(server.context("no web1")?, 1);
            let config =
                Configuration::new(&["eth0"]).with(web).append(&instance("VI_1", 51, VIP, 150, FAST));
            let one = Director::up(&lab, Node::Lvs1, &config)?;
            has(&lab, VIP, Node::Lvs1, &[&one, &other])?;
            let log = one.log();
            let [not_ready, ready, master] =
                ["this director is not ready", "this director is ready", "to MASTER"]
                    .map(|words| log.find(words));
            ensure!(
                not_ready.is_none_or(|not| Some(not) < ready) && ready.is_some() && ready < master,
                "{log}"
            );
            lab.down()
        });
    }
}

//! What follows from checks: weights, panic, slow start, alpha, omega, a suspended director; and what hangs delays nobody.

mod as_root_waiting {
    use std::fs;
    use std::net::SocketAddr;
    use std::path::PathBuf;

    use anyhow::Context as _;
    use lb_tests::checks::{checked, lbctl, report, states, until, until_weights, weights};
    use lb_tests::director::{
        Configuration, Director, VirtualServer, patience, run_lbctl, start_real_servers, stderr,
    };
    use lb_tests::failover::{has, instance};
    use lb_tests::visit::{Visit, served_in_turn};
    use lb_tests::{Family, Lab, Node, isolated, wait_until};

    const BOTH: [Node; 2] = [Node::Web1, Node::Web2];
    /// A check of each real server's page /health, which [`healthy`] makes.
    const HEALTH: &str = "check = [{ type = \"http\", path = \"/health\" }]\ncheck_retries = 0";

    fn page(lab: &Lab, node: Node) -> PathBuf {
        lab.dir().join(node.name()).join("html/health")
    }

    fn healthy(lab: &Lab, nodes: &[Node]) -> anyhow::Result<()> {
        nodes.iter().try_for_each(|node| Ok(fs::write(page(lab, *node), "fine\n")?))
    }

    fn fails(lab: &Lab, node: Node) -> anyhow::Result<()> {
        fs::remove_file(page(lab, node)).context("it fails already")
    }

    #[test]
    fn who_is_inhibited_keeps_its_connections() {
        isolated("as_root_waiting::who_is_inhibited_keeps_its_connections", || {
            let lab = Lab::builder().up()?;
            healthy(&lab, &BOTH)?;
            let (_director, _) = checked(&lab, &BOTH, &format!("{HEALTH}\ninhibit_on_failure = true"))?;
            until(&lab, &["up", "up"])?;
            let client = lab.address(Node::Client, Family::V4).context("no client")?;
            let mut visits = (0..4)
                .map(|_| Visit::open(&lab, SocketAddr::new(client, 0), lab.web(Family::V4)))
                .collect::<anyhow::Result<Vec<_>>>()?;
            fails(&lab, Node::Web1)?;
            until(&lab, &["down", "up"])?;
            until_weights(&lab, &[(Node::Web1, 0), (Node::Web2, 1)])?;
            assert_eq!(served_in_turn(&lab, client, lab.web(Family::V4), 4)?, ["web2"; 4]);
            let mut kept = 0;
            for visit in &mut visits {
                let server = visit.server().to_owned();
                assert_eq!(visit.again()?, server);
                kept += u32::from(server == "web1");
            }
            assert!(kept > 0);
            healthy(&lab, &[Node::Web1])?;
            until_weights(&lab, &[(Node::Web1, 1), (Node::Web2, 1)])?;
            lab.down()
        });
    }

    #[test]
    fn checks_with_weights_change_the_weight() {
        isolated("as_root_waiting::checks_with_weights_change_the_weight", || {
            let lab = Lab::builder().up()?;
            let file = lab.write("number", "4")?;
            let options = format!(
                "check = [{{ type = \"file\", file = \"{}\", weight = 3, retries = 0 }}, \
                 {{ type = \"http\", path = \"/health\", weight = -5, retries = 0 }}]",
                file.display()
            );
            let server = VirtualServer::new(lab.web(Family::V4))
                .option("check_interval = \"200ms\"\ncheck_timeout = \"2s\"")
                .option(&options)
                .real_server(lab.address(Node::Web1, Family::V4).context("no web1")?, 10);
            healthy(&lab, &[Node::Web1])?;
            let _director = Director::start(&lab, Node::Lvs1, &Configuration::new(&["eth0"]).with(server))?;
            // 10 + 4 × 3.
            until_weights(&lab, &[(Node::Web1, 22)])?;
            fs::write(&file, "-2")?;
            until_weights(&lab, &[(Node::Web1, 4)])?;
            fs::remove_file(&file)?;
            until_weights(&lab, &[(Node::Web1, 10)])?;
            // A check that fails and has a weight takes nobody out.
            fails(&lab, Node::Web1)?;
            until_weights(&lab, &[(Node::Web1, 5)])?;
            assert_eq!(states(&lab)?.1[0].0, "up");
            // Lower than 0 there is nothing, and then it gets no connections.
            fs::write(&file, "-2")?;
            until_weights(&lab, &[(Node::Web1, 0)])?;
            lab.down()
        });
    }

    #[test]
    fn when_too_few_are_healthy_all_are_kept() {
        isolated("as_root_waiting::when_too_few_are_healthy_all_are_kept", || {
            let lab = Lab::builder().up()?;
            healthy(&lab, &BOTH)?;
            let (_director, _) = checked(&lab, &BOTH, &format!("{HEALTH}\nmin_up = 50"))?;
            until(&lab, &["up", "up"])?;
            fails(&lab, Node::Web1)?;
            until_weights(&lab, &[(Node::Web2, 1)])?;
            fails(&lab, Node::Web2)?;
            until(&lab, &["down", "down"])?;
            until_weights(&lab, &[(Node::Web1, 1), (Node::Web2, 1)])?;
            let text = lbctl(&lab, "list --checks")?;
            assert!(text.contains("too few are up: all are kept in rotation"), "{text}");
            let client = lab.address(Node::Client, Family::V4).context("no client")?;
            let mut served = served_in_turn(&lab, client, lab.web(Family::V4), 4)?;
            served.sort();
            assert_eq!(served, ["web1", "web1", "web2", "web2"]);
            lab.down()
        });
    }

    #[test]
    fn after_a_recovery_the_weight_grows() {
        isolated("as_root_waiting::after_a_recovery_the_weight_grows", || {
            let lab = Lab::builder().up()?;
            healthy(&lab, &BOTH)?;
            let server = BOTH.iter().try_fold(
                VirtualServer::new(lab.web(Family::V4))
                    .option("check_interval = \"200ms\"\ncheck_timeout = \"2s\"\nslow_start = \"4s\"")
                    .option(HEALTH),
                |server, node| {
                    let address = lab.address(*node, Family::V4).context("no such node")?;
                    anyhow::Ok(server.real_server(address, 100))
                },
            )?;
            let _director = Director::start(&lab, Node::Lvs1, &Configuration::new(&["eth0"]).with(server))?;
            until(&lab, &["up", "up"])?;
            until_weights(&lab, &[(Node::Web1, 100), (Node::Web2, 100)])?;
            fails(&lab, Node::Web1)?;
            until_weights(&lab, &[(Node::Web2, 100)])?;
            healthy(&lab, &[Node::Web1])?;
            let web1 = lab.address(Node::Web1, Family::V4).context("no web1")?;
            let mut seen = Vec::new();
            let is_whole = || {
                let weight = weights(&lab).ok().and_then(|all| all.into_iter().find(|(it, _)| *it == web1));
                let Some((_, weight)) = weight else { return false };
                if seen.last() != Some(&weight) {
                    seen.push(weight);
                }
                weight == 100
            };
            anyhow::ensure!(wait_until(patience(60), is_whole), "it does not grow: {:?}", weights(&lab)?);
            assert!(seen.is_sorted() && seen.len() > 2 && seen[0] < 50, "{seen:?}");
            lab.down()
        });
    }

    /// The checks run for the first time after the test: what the tables have is what the restart left.
    #[test]
    fn with_alpha_nobody_is_in_unseen_and_a_restart_takes_nobody_out() {
        isolated("as_root_waiting::with_alpha_nobody_is_in_unseen_and_a_restart_takes_nobody_out", || {
            let lab = Lab::builder().up()?;
            healthy(&lab, &BOTH)?;
            let options = format!("{HEALTH}\nalpha = true\nmin_up = 60");
            let never = format!("{options}\ncheck_warmup = \"24h\"");
            let (mut director, _) = checked(&lab, &BOTH, &never)?;
            until_weights(&lab, &[])?;
            assert_eq!(states(&lab)?.0, "down");
            director.down()?;
            let (soon, _) = checked(&lab, &BOTH, &options)?;
            until_weights(&lab, &[(Node::Web1, 1), (Node::Web2, 1)])?;
            assert_eq!(states(&lab)?.0, "up");
            soon.kill()?;
            let (after, _) = checked(&lab, &BOTH, &never)?;
            assert_eq!(weights(&lab)?.len(), 2, "{:?}", weights(&lab)?);
            assert_eq!(states(&lab)?.0, "up");
            assert!(!after.log().contains("lost its quorum"), "{}", after.log());
            director = after;
            director.down()?;
            lab.down()
        });
    }

    #[test]
    fn with_omega_the_end_is_told() {
        isolated("as_root_waiting::with_omega_the_end_is_told", || {
            let lab = Lab::builder().up()?;
            healthy(&lab, &BOTH)?;
            let log = lab.dir().join("told");
            let script = lab.write("tell", &format!("echo \"$1\" >> {}\n", log.display()))?;
            let web = |node| lab.address(node, Family::V4).context("no such node");
            let tell = |word: &str| format!("\"sh {} {word}\"", script.display());
            let server = VirtualServer::new(lab.web(Family::V4))
                .option("check_interval = \"200ms\"\nomega = true")
                .option(&format!(
                    "{HEALTH}\nquorum_down = {}\nsorry_server = \"{}\"",
                    tell("quorum"),
                    web(Node::Web2)?
                ))
                .option("sorry_server_inhibit = true");
            // The keys of the last real server are at the file's end.
            let config = Configuration::new(&["eth0"])
                .option("[notifications]\nscript_user = \"root\"")
                .with(server.real_server(web(Node::Web1)?, 1))
                .append(&format!("notify_down = {}", tell("down")));
            let director = Director::start(&lab, Node::Lvs1, &config)?;
            until(&lab, &["up"])?;
            until_weights(&lab, &[(Node::Web1, 1), (Node::Web2, 0)])?;
            director.down()?;
            let told = || {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            assert!(wait_until(patience(20), || told() == ["down", "quorum"]), "{:?}", told());
            lab.down()
        });
    }

    #[test]
    fn with_ha_suspend_only_the_master_checks() {
        isolated("as_root_waiting::with_ha_suspend_only_the_master_checks", || {
            let lab = Lab::builder().up()?;
            healthy(&lab, &BOTH)?;
            let vip = lab.vip(Family::V4);
            let server = VirtualServer::new(lab.web(Family::V4))
                .option("check_interval = \"200ms\"\ncheck_timeout = \"2s\"\nha_suspend = true")
                .option(HEALTH)
                .real_server(lab.address(Node::Web1, Family::V4).context("no web1")?, 1);
            let config = Configuration::new(&["eth0"]).with(server);
            let of = |priority| config.clone().append(&instance("VI_1", 51, vip, priority, ""));
            start_real_servers(&lab, &[vip])?;
            let one = Director::up(&lab, Node::Lvs1, &of(150))?;
            has(&lab, vip, Node::Lvs1, &[&one])?;
            let two = Director::up(&lab, Node::Lvs2, &of(100))?;
            let state = |node| -> Option<String> {
                let output = run_lbctl(&lab, node, ["list", "--checks", "--json"]).ok()?;
                let report: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
                let check = &report["virtual_servers"][0]["real_servers"][0]["checks"][0];
                Some(check["state"].as_str()?.to_owned())
            };
            let becomes = |node, expected: &str| {
                let is_so = || state(node).as_deref() == Some(expected);
                anyhow::ensure!(wait_until(patience(30), is_so), "{node}: {expected}: {:?}", state(node));
                anyhow::Ok(())
            };
            becomes(Node::Lvs1, "up")?;
            becomes(Node::Lvs2, "suspended")?;
            one.down()?;
            has(&lab, vip, Node::Lvs2, &[&two])?;
            becomes(Node::Lvs2, "up")?;
            fails(&lab, Node::Web1)?;
            becomes(Node::Lvs2, "down")?;
            lab.down()
        });
    }

    /// With as many scripts that do not end, and as many questions without an answer, as there may be of a real server:
    /// who else fails is noticed all the same.
    #[test]
    fn what_hangs_delays_nobody() {
        isolated("as_root_waiting::what_hangs_delays_nobody", || {
            let lab = Lab::builder().up()?;
            healthy(&lab, &BOTH)?;
            let hang = "{ type = \"script\", command = \"sleep 600\", timeout = \"60s\", weight = -1 }, ";
            let silent =
                "{ type = \"udp\", connect = \":7\", expect = \"\", timeout = \"60s\", weight = -1 }, ";
            let options = format!(
                "check = [{{ type = \"http\", path = \"/health\" }}, {}{}]\ncheck_retries = 0",
                hang.repeat(15),
                silent.repeat(15)
            );
            let listening = lab.enter(Node::Web1, || std::net::UdpSocket::bind("0.0.0.0:7"))??;
            let server = BOTH.iter().try_fold(
                VirtualServer::new(lab.web(Family::V4)).option("check_interval = \"200ms\"").option(&options),
                |server, node| {
                    let address = lab.address(*node, Family::V4).context("no such node")?;
                    anyhow::Ok(server.real_server(address, 100))
                },
            )?;
            let _director = Director::start(&lab, Node::Lvs1, &Configuration::new(&["eth0"]).with(server))?;
            until(&lab, &["up", "up"])?;
            fails(&lab, Node::Web1)?;
            until(&lab, &["down", "up"])?;
            healthy(&lab, &[Node::Web1])?;
            until(&lab, &["up", "up"])?;
            let report = report(&lab)?;
            let checks =
                report["virtual_servers"][0]["real_servers"][0]["checks"].as_array().context("no checks")?;
            let waiting = checks.iter().filter(|check| check["result"].is_null()).count();
            assert_eq!(waiting, 30, "they hang still: {checks:?}");
            drop(listening);
            lab.down()
        });
    }

    /// Clients that persistence binds to a drained real server stay with it if they may, and go elsewhere if not.
    #[test]
    fn a_drain_takes_persistent_clients_along_or_not() {
        isolated("as_root_waiting::a_drain_takes_persistent_clients_along_or_not", || {
            let lab = Lab::builder().up()?;
            let client = lab.address(Node::Client, Family::V4).context("no client")?;
            let (vip, options) = (lab.web(Family::V4), "persistence_timeout = \"300s\"");
            let (mut director, config) = checked(&lab, &BOTH, options)?;
            let served = |count| served_in_turn(&lab, client, vip, count);
            let bound = served(1)?.remove(0);
            let (node, other) = if bound == "web1" { (Node::Web1, "web2") } else { (Node::Web2, "web1") };
            assert_eq!(served(3)?, [bound.as_str(); 3]);
            let real = lab.address(node, Family::V4).context("no such node")?;
            lbctl(&lab, &format!("drain {vip} {real} --keep-persistent"))?;
            let stays = |what: &str, expected: &str| {
                let found = served(3)?;
                anyhow::ensure!(found == [expected; 3], "{what}: {found:?}");
                anyhow::Ok(())
            };
            stays("drained but for persistent clients", &bound)?;
            director.reload(&config)?;
            stays("after a reload", &bound)?;
            director.kill()?;
            director.up_again()?;
            stays("after a restart", &bound)?;
            assert!(lbctl(&lab, "list --checks")?.contains("drained but for persistent clients"));
            lbctl(&lab, &format!("drain {vip} {real}"))?;
            stays("drained", other)?;
            director.kill()?;
            director.up_again()?;
            stays("drained, after a restart", other)?;
            // Nobody is connected any more.
            let wait = format!("drain {vip} {real} --wait --timeout 120s");
            let output = run_lbctl(&lab, Node::Lvs1, wait.split(' '))?;
            assert!(output.status.success(), "{}", stderr(&output));
            lbctl(&lab, &format!("set-weight {vip} {real} 7"))?;
            lbctl(&lab, &format!("enable {vip} {real}"))?;
            let weight = || weights(&lab).is_ok_and(|all| all.contains(&(real, 7)));
            assert!(weight(), "{:?}", weights(&lab)?);
            director.kill()?;
            director.up_again()?;
            assert!(weight(), "after a restart: {:?}", weights(&lab)?);
            lab.down()
        });
    }
}

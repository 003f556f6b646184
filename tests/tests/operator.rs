//! What an operator orders at run time, under load: no request fails, and the orders stand until they are lifted.

mod as_root {
    use anyhow::Context;
    use lb_tests::director::{Configuration, Director, VirtualServer, patience, run_lbctl, stderr, web};
    use lb_tests::{Connections, Family, Lab, Load, LoadPlan, Node, isolated, wait_until};

    /// Requests that pass between two steps.
    const SOME: u64 = 200;

    fn load(lab: &Lab, connections: Connections) -> anyhow::Result<Load> {
        let plan = LoadPlan { connections, senders: 4, ..LoadPlan::new(lab.web(Family::V4)) };
        let load = Load::start(lab, Node::Client, plan)?;
        anyhow::ensure!(load.pass(SOME, patience(60)), "too few requests pass: {:?}", load.so_far());
        Ok(load)
    }

    fn by(load: &Load, server: &str) -> u64 {
        load.so_far().by_server.get(server).copied().unwrap_or(0)
    }

    fn pass(load: &Load) -> anyhow::Result<()> {
        anyhow::ensure!(load.pass(SOME, patience(60)), "too few requests pass: {:?}", load.so_far());
        Ok(())
    }

    /// Runs `lbctl` on lvs1 and returns what it printed on either output, if it succeeds.
    fn lbctl(lab: &Lab, words: &str) -> anyhow::Result<String> {
        let output = run_lbctl(lab, Node::Lvs1, words.split(' '))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        anyhow::ensure!(output.status.success(), "lbctl {words}: {text}");
        Ok(text)
    }

    fn refused(lab: &Lab, words: &str) -> anyhow::Result<String> {
        let output = run_lbctl(lab, Node::Lvs1, words.split(' '))?;
        anyhow::ensure!(!output.status.success(), "lbctl {words} succeeds");
        Ok(stderr(&output))
    }

    /// What the director has counted for a real server.
    fn real_server(lab: &Lab, address: &str) -> anyhow::Result<serde_json::Value> {
        let json: serde_json::Value = serde_json::from_str(&lbctl(lab, "list --json")?)?;
        let servers = json.pointer("/virtual_servers/0/real_servers").and_then(|servers| servers.as_array());
        let found = servers.into_iter().flatten().find(|server| server["address"] == address);
        found.cloned().with_context(|| format!("no {address} in {json}"))
    }

    #[test]
    fn a_drain_loses_nothing_and_its_wait_returns() {
        isolated("as_root::a_drain_loses_nothing_and_its_wait_returns", || {
            let lab = Lab::builder().up()?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 1)])?;
            let _director = Director::start(&lab, Node::Lvs1, &config)?;
            let (new, kept) = (load(&lab, Connections::New)?, load(&lab, Connections::KeepAlive)?);
            anyhow::ensure!(by(&new, "web1") > 0 && by(&kept, "web1") > 0, "web1 is in use");

            let said = lbctl(&lab, "drain 192.168.4.15:80 192.168.4.100")?;
            assert_eq!(said, "192.168.4.100:80 of 192.168.4.15:80/tcp: drained\n");
            let connections = || anyhow::Ok(real_server(&lab, "192.168.4.100")?["connections"].clone());
            let before = connections()?;
            // What had been placed before answers; after that web1 answers kept connections only.
            pass(&new)?;
            let answered = [by(&new, "web1"), by(&kept, "web1")];
            pass(&new)?;
            pass(&kept)?;
            assert_eq!(connections()?, before, "a new connection came to a drained real server");
            assert_eq!(by(&new, "web1"), answered[0]);
            assert!(by(&kept, "web1") > answered[1], "its connections went on: {:?}", kept.so_far());
            assert_eq!(real_server(&lab, "192.168.4.100")?["weight"], 0);
            let listed = lbctl(&lab, "list")?;
            assert!(
                listed.contains("real server 192.168.4.100:80 of 192.168.4.15:80/tcp: drained, by order"),
                "{listed}"
            );

            let listed = lbctl(&lab, "list --checks")?;
            let line = "By order: real server 192.168.4.100:80 of 192.168.4.15:80/tcp is drained";
            assert!(listed.contains(line), "{listed}");

            let error = refused(&lab, "drain 192.168.4.15:80 192.168.4.100 --wait --timeout 500ms")?;
            assert!(error.contains("left; it stays drained, `lbctl enable "), "{error}");
            // The client closes its connections, and the wait ends.
            let wait = ["drain", "192.168.4.15:80", "192.168.4.100", "--wait", "--timeout", "60s"];
            let report = std::thread::scope(|scope| {
                let waiting = scope.spawn(|| run_lbctl(&lab, Node::Lvs1, wait));
                let report = kept.stop()?;
                let output =
                    waiting.join().map_err(|_panic| anyhow::anyhow!("the waiting thread panicked"))??;
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(output.status.success(), "{}", stderr(&output));
                assert!(said.ends_with("its last connection is gone\n"), "{said}");
                anyhow::Ok(report)
            })?;
            assert_eq!((report.failed, report.errors), (0, vec![]));

            lbctl(&lab, "enable 192.168.4.15:80 192.168.4.100")?;
            let back = wait_until(patience(20), || by(&new, "web1") > answered[0]);
            assert!(back, "it gets none again: {:?}", new.so_far());
            let report = new.stop()?;
            assert_eq!((report.failed, report.errors), (0, vec![]));
            lab.down()
        });
    }

    #[test]
    fn orders_stand_until_they_are_lifted() {
        isolated("as_root::orders_stand_until_they_are_lifted", || {
            let lab = Lab::builder().up()?;
            let config = |weights: &[(Node, u16)]| web(&lab, Family::V4, weights);
            let both = config(&[(Node::Web1, 1), (Node::Web2, 1)])?;
            let mut director = Director::start(&lab, Node::Lvs1, &both)?;
            let url = format!("http://{}/", lab.web(Family::V4));
            lbctl(&lab, "disable 192.168.4.15:80/tcp 192.168.4.100:80")?;
            let only_web2 = |what: &str| {
                let answers = lab.curl_sequence(&url, 6)?;
                anyhow::ensure!(answers == ["web2"; 6], "{what}: {answers:?}");
                anyhow::Ok(())
            };
            only_web2("disabled")?;
            director.reload(&config(&[(Node::Web1, 5), (Node::Web2, 1)])?)?;
            only_web2("after a reload")?;
            director.kill()?;
            director.up_again()?;
            only_web2("after a crash")?;
            director.down()?;
            director.up_again()?;
            only_web2("after down and up")?;
            director.reload(&config(&[(Node::Web2, 1)])?)?;
            assert!(
                director.said().contains("there is an order about real server 192.168.4.100:80 of"),
                "{}",
                director.said()
            );
            director.reload(&both)?;
            only_web2("after it was gone from the configuration")?;
            lbctl(&lab, "enable 192.168.4.15:80 192.168.4.100")?;
            lbctl(&lab, "set-weight 192.168.4.15:80 192.168.4.100 3")?;
            let share = |expected: usize| {
                let answers = lab.curl_sequence(&url, 8)?;
                let count = answers.iter().filter(|answer| *answer == "web1").count();
                anyhow::ensure!(count == expected, "{answers:?}");
                anyhow::Ok(())
            };
            share(6)?;
            lbctl(&lab, "set-weight 192.168.4.15:80 192.168.4.100 configured")?;
            share(4)?;
            director.down()?;
            assert!(
                !std::path::Path::new("/run/lbctl/lvs1").exists(),
                "nothing is ordered, so nothing is left"
            );
            lab.down()
        });
    }

    /// Disabled is as failed: without any real server left, the sorry server serves.
    #[test]
    fn the_sorry_server_serves_while_all_are_disabled() {
        isolated("as_root::the_sorry_server_serves_while_all_are_disabled", || {
            let lab = Lab::builder().up()?;
            let server = VirtualServer::new(lab.web(Family::V4))
                .option("sorry_server = \"192.168.4.200\"")
                .option("[[virtual_server.check]]\ntype = \"tcp\"\ninterval = \"200ms\"\n")
                .real_server(lab.address(Node::Web1, Family::V4).context("no web1")?, 1);
            let _director = Director::start(&lab, Node::Lvs1, &Configuration::new(&["eth0"]).with(server))?;
            let url = format!("http://{}/", lab.web(Family::V4));
            assert_eq!(lab.curl_sequence(&url, 3)?, ["web1"; 3]);
            lbctl(&lab, "disable 192.168.4.15:80 192.168.4.100")?;
            assert_eq!(lab.curl_sequence(&url, 3)?, ["web2"; 3], "the sorry server");
            lbctl(&lab, "enable 192.168.4.15:80 192.168.4.100")?;
            assert_eq!(lab.curl_sequence(&url, 3)?, ["web1"; 3]);
            lab.down()
        });
    }

    #[test]
    fn an_error_names_what_there_is() {
        isolated("as_root::an_error_names_what_there_is", || {
            let lab = Lab::builder().nginx(false).up()?;
            let error = refused(&lab, "drain 192.168.4.15:80 192.168.4.100")?;
            assert!(
                error.contains("no daemon that could carry this out; start it with `lbctl up -d`"),
                "{error}"
            );
            let _director = Director::start(&lab, Node::Lvs1, &web(&lab, Family::V4, &[(Node::Web1, 1)])?)?;
            for (words, expected) in [
                ("drain 192.168.4.16:80 192.168.4.100", "there is only 192.168.4.15:80/tcp"),
                ("disable 192.168.4.15:80 192.168.4.101", "there is only 192.168.4.100:80"),
                ("enable 192.168.4.15:80/udp 192.168.4.100", "there is only 192.168.4.15:80/tcp"),
                ("set-weight 192.168.4.15:80 192.168.4.100 65536", "write 0 to 65535 or \"configured\""),
                ("drain web web1", "write 192.168.4.15:80"),
            ] {
                let error = refused(&lab, words)?;
                assert!(error.contains(expected), "{words}: {error}");
            }
            lab.down()
        });
    }
}

//! `lbctl explain` says what then happens, changes nothing, and needs no daemon.

mod as_root {
    use anyhow::Context;
    use lb_tests::director::{Configuration, Director, VirtualServer, run_lbctl, web};
    use lb_tests::{Family, Lab, Node, Topology, isolated};
    use serde_json::Value as Json;

    fn explain(lab: &Lab, words: &[&str]) -> anyhow::Result<Json> {
        let output = run_lbctl(lab, Node::Lvs1, [&["explain", "--json"], words].concat())?;
        anyhow::ensure!(output.status.success(), "lbctl explain {words:?}: {output:?}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Everything that a balanced packet changes: counters, connections, and reasons but for what is not balanced.
    fn listing(lab: &Lab) -> anyhow::Result<String> {
        let list = run_lbctl(lab, Node::Lvs1, ["list", "--json"])?;
        let connections = run_lbctl(lab, Node::Lvs1, ["list", "-c"])?;
        let drops = run_lbctl(lab, Node::Lvs1, ["list", "--drops", "--all"])?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes);
        let mut all = text(list.stdout)?;
        // Without the seconds that pass.
        all.extend(text(connections.stdout)?.lines().filter_map(|line| line.get(10..)));
        all.extend(text(drops.stdout)?.lines().filter(|line| !line.contains(" pass ")));
        Ok(all)
    }

    #[test]
    fn says_what_then_happens() {
        isolated("as_root::says_what_then_happens", || {
            let lab = Lab::builder().up()?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 2)])?;
            let director = Director::start(&lab, Node::Lvs1, &config)?;
            // The tables and the program are all that it needs; and nobody else changes the counters meanwhile.
            director.kill()?;
            let vip = lab.web(Family::V4);
            let client = lab.address(Node::Client, Family::V4).context("no client")?;
            for port in 40_001..40_007 {
                let from = format!("{client}:{port}");
                let before = listing(&lab)?;
                let said = explain(&lab, &[&from, &vip.to_string()])?;
                assert_eq!(listing(&lab)?, before, "asking changes nothing");
                assert_eq!(said["packet"], "TCP SYN", "{said}");
                let real: std::net::SocketAddr =
                    said["real_server"]["address"].as_str().context("no real server")?.parse()?;
                let node = [Node::Web1, Node::Web2]
                    .into_iter()
                    .find(|node| lab.address(*node, Family::V4) == Some(real.ip()))
                    .context("nobody's address")?;
                let url = format!("http://{vip}/");
                let port = port.to_string();
                let curl = ["curl", "-sS", "--max-time", "20", "--local-port", &port, &url];
                assert_eq!(lab.exec(Node::Client, curl)?.trim(), node.name(), "{said}");
                let after = explain(&lab, &[&from, &vip.to_string()])?;
                assert_eq!(after["packet"], "TCP ACK", "there is an entry now: {after}");
                assert!(after["choice"]["connection"]["state"].is_string(), "{after}");
                assert_eq!(after["real_server"], said["real_server"]);
            }
            let elsewhere = explain(&lab, &[&client.to_string(), &format!("{}:81", vip.ip())])?;
            assert_eq!(elsewhere["reasons"][0], "no-virtual-server", "{elsewhere}");
            director.down()?;
            lab.down()
        });
    }

    /// NAT: the packet to the real server and its answer, each with the addresses that it goes out with.
    #[test]
    fn both_ways_of_nat_are_explained() {
        isolated("as_root::both_ways_of_nat_are_explained", || {
            let lab = Lab::builder().topology(Topology::TwoArmed).up()?;
            lab.exec(Node::Web1, ["ip", "route", "replace", "10.0.0.0/24", "via", "192.168.4.2"])?;
            let vip = std::net::SocketAddr::new(lab.vip(Family::V4), 8080);
            let web1 = std::net::SocketAddr::new(lab.address(Node::Web1, Family::V4).context("web1")?, 80);
            let server = VirtualServer::new(vip).forwarding("nat").real_server_at(web1, 1);
            let director =
                Director::up(&lab, Node::Lvs1, &Configuration::new(&["eth0", "eth1"]).with(server))?;
            let client = lab.address(Node::Client, Family::V4).context("no client")?;
            let answers = lab.curl_sequence(&format!("http://{vip}/"), 1)?;
            assert_eq!(answers, ["web1"], "{}", director.log());

            let (vip, web1) = (vip.to_string(), web1.to_string());
            let client = format!("{client}:40001");
            let there = explain(&lab, &[&client, &vip])?;
            assert_eq!(there["out"]["translated"], serde_json::json!([client, web1]), "{there}");
            let back = explain(&lab, &[&web1, &client, "-i", "eth1"])?;
            assert_eq!(back["packet"], "TCP ACK", "{back}");
            assert_eq!(back["choice"], "answer", "{back}");
            assert_eq!(back["virtual_server"]["address"], vip, "{back}");
            assert_eq!(back["real_server"]["address"], web1, "{back}");
            assert_eq!(back["out"]["translated"], serde_json::json!([vip, client]), "{back}");
            let link = lab.exec(Node::Client, ["ip", "-json", "link", "show", "dev", "eth0"])?;
            let link: Json = serde_json::from_str(&link)?;
            assert_eq!(back["out"]["destination_mac"], link[0]["address"], "the client's own MAC");
            let persistent = run_lbctl(
                &lab,
                Node::Lvs1,
                ["service", "edit", &vip, "--persistence", "360s", "--scheduler", "wlc"],
            )?;
            anyhow::ensure!(persistent.status.success(), "{persistent:?}");
            let first = explain(&lab, &[&client, &vip])?;
            assert_eq!(first["choice"], "scheduler", "{first}");
            assert_eq!(first["compared"][0]["address"], web1, "{first}");
            assert_eq!(lab.curl_sequence(&format!("http://{vip}/"), 1)?, ["web1"]);
            let second = explain(&lab, &[&client, &vip])?;
            assert_eq!(second["choice"], "persistence", "{second}");
            director.down()?;
            lab.down()
        });
    }
}

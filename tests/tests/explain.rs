//! `lbctl explain` says what then happens, changes nothing, and needs no daemon.

mod as_root {
    use anyhow::Context;
    use lb_tests::director::{Director, run_lbctl, web};
    use lb_tests::{Family, Lab, Node, isolated};
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
}

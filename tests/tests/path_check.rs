//! Does a real server take the VIP's packets? A check of its own address cannot tell; the path check can.

mod as_root {
    use std::net::{IpAddr, SocketAddr, TcpStream};

    use anyhow::Context;
    use lb_tests::director::{Configuration, Director, VirtualServer, patience, run_lbctl, stderr, web};
    use lb_tests::{Echo, Family, Lab, Node, isolated, wait_until};
    use serde_json::Value;

    /// What the director knows of the way to a real server.
    fn path(lab: &Lab, real_server: &str) -> anyhow::Result<Value> {
        let curl =
            ["curl", "-sS", "--fail", "--unix-socket", "/run/lbctl/lvs1/api.sock", "http://lbctl/v1/paths"];
        let report: Value = serde_json::from_str(&lab.exec(Node::Lvs1, curl)?)?;
        let paths = report["paths"].as_array().context("no paths")?;
        let found = paths.iter().find(|path| path["real_server"].as_str() == Some(real_server));
        found.cloned().with_context(|| format!("no {real_server} in {report}"))
    }

    fn becomes(lab: &Lab, real_server: &str, good: bool) -> anyhow::Result<Value> {
        let mut last = Value::Null;
        let is_so = wait_until(patience(40), || {
            last = path(lab, real_server).unwrap_or_default();
            last["good"] == good
        });
        anyhow::ensure!(is_so, "{last}");
        Ok(last)
    }

    fn realserver(lab: &Lab, node: Node, words: &[&str]) -> anyhow::Result<()> {
        let output = run_lbctl(lab, node, ["realserver"].iter().chain(words))?;
        anyhow::ensure!(output.status.success(), "{}", stderr(&output));
        Ok(())
    }

    fn forgotten_vip(family: Family) -> anyhow::Result<()> {
        let lab = Lab::builder().up()?;
        let config = web(&lab, family, &[(Node::Web1, 1), (Node::Web2, 1)])?;
        let director = Director::start(&lab, Node::Lvs1, &config)?;
        let name = |node| -> anyhow::Result<String> {
            Ok(SocketAddr::new(lab.address(node, family).context("no address")?, 80).to_string())
        };
        let (web1, web2) = (name(Node::Web1)?, name(Node::Web2)?);
        for server in [&web1, &web2] {
            let found = becomes(&lab, server, true)?;
            let text = found["finding"].as_str().unwrap_or_default();
            assert!(text.starts_with("the VIP answers in "), "{found}");
        }
        realserver(&lab, Node::Web1, &["stop"])?;
        // To its own address, all is well.
        let endpoint: SocketAddr = web1.parse()?;
        lab.enter(Node::Lvs1, || TcpStream::connect_timeout(&endpoint, patience(5)))??;
        let found = becomes(&lab, &web1, false)?;
        let text = found["finding"].as_str().unwrap_or_default();
        assert!(text.contains("it is not on its lo"), "{found}");
        let vip = lab.vip(family);
        let remedy = format!("run `lbctl realserver start --vip {vip}` there");
        assert_eq!(found["remedy"], remedy.as_str());
        assert!(director.log().contains(&remedy), "{}", director.log());
        assert_eq!(path(&lab, &web2)?["good"], true);
        realserver(&lab, Node::Web1, &["start", &format!("--vip={vip}")])?;
        becomes(&lab, &web1, true)?;
        assert!(director.log().contains("takes its packets again"), "{}", director.log());
        lab.down()
    }

    #[test]
    fn a_real_server_without_its_vip_is_reported() {
        isolated("as_root::a_real_server_without_its_vip_is_reported", || forgotten_vip(Family::V4));
    }

    #[test]
    fn a_real_server_without_its_vip_is_reported_ipv6() {
        isolated("as_root::a_real_server_without_its_vip_is_reported_ipv6", || forgotten_vip(Family::V6));
    }

    /// Without the VIP, a host that forwards would send the packet round again; it says so instead.
    #[test]
    fn a_real_server_that_forwards_is_reported() {
        isolated("as_root::a_real_server_that_forwards_is_reported", || {
            let lab = Lab::builder().up()?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1)])?;
            lab.exec(Node::Web1, ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])?;
            let _director = Director::up(&lab, Node::Lvs1, &config)?;
            let found = becomes(&lab, "192.168.4.100:80", false)?;
            assert_eq!(found["finding"], "the VIP is not on its lo: it would forward the VIP's packets");
            lab.down()
        });
    }

    /// The VIP is there, the service is not; over UDP, that is only known from the ICMP error.
    #[test]
    fn a_service_that_does_not_listen_is_reported() {
        isolated("as_root::a_service_that_does_not_listen_is_reported", || {
            let lab = Lab::builder().nginx(false).up()?;
            let vip = lab.vip(Family::V4);
            let server = |protocol: &str| {
                let server = VirtualServer::new(SocketAddr::new(vip, 7));
                let server = if protocol == "udp" { server.udp() } else { server };
                server.real_server(IpAddr::from([192, 168, 4, 100]), 1)
            };
            for protocol in ["tcp", "udp"] {
                let config = Configuration::new(&["eth0"]).with(server(protocol));
                let director = Director::start(&lab, Node::Lvs1, &config)?;
                let found = becomes(&lab, "192.168.4.100:7", false)?;
                let text = found["finding"].as_str().unwrap_or_default();
                assert!(text.starts_with("the VIP is there, but its port is closed"), "{protocol}: {found}");
                let echo = Echo::start(&lab, Node::Web1, vip)?;
                becomes(&lab, "192.168.4.100:7", true).context(protocol)?;
                drop(echo);
                director.down()?;
                let is_free = || Echo::start(&lab, Node::Web1, vip).is_ok();
                anyhow::ensure!(wait_until(patience(10), is_free), "the echo server does not end");
            }
            lab.down()
        });
    }
}

//! Does a real server take the VIP's packets? A check of its own address cannot tell; the path check can.

mod as_root_waiting {
    use std::net::{IpAddr, SocketAddr, TcpStream};

    use anyhow::Context;
    use lb_tests::director::{Configuration, Director, VirtualServer, patience, run_lbctl, stderr, web};
    use lb_tests::{Echo, Family, Lab, Node, isolated, wait_until};
    use serde_json::Value;

    fn lbctl(lab: &Lab, words: &str) -> anyhow::Result<String> {
        let output = run_lbctl(lab, Node::Lvs1, words.split(' '))?;
        anyhow::ensure!(output.status.success(), "lbctl {words}: {}", stderr(&output));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn report(lab: &Lab) -> anyhow::Result<Value> {
        Ok(serde_json::from_str::<Value>(&lbctl(lab, "list --checks --json")?)?["paths"].take())
    }

    /// What the director knows of the way to a real server.
    fn path(lab: &Lab, real_server: &str) -> anyhow::Result<Value> {
        let report = report(lab)?;
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
        isolated("as_root_waiting::a_real_server_without_its_vip_is_reported", || forgotten_vip(Family::V4));
    }

    #[test]
    fn a_real_server_without_its_vip_is_reported_ipv6() {
        isolated("as_root_waiting::a_real_server_without_its_vip_is_reported_ipv6", || {
            forgotten_vip(Family::V6)
        });
    }

    /// Without the VIP, a host that forwards would send the packet round again; it says so instead.
    #[test]
    fn a_real_server_that_forwards_is_reported() {
        isolated("as_root_waiting::a_real_server_that_forwards_is_reported", || {
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
        isolated("as_root_waiting::a_service_that_does_not_listen_is_reported", || {
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

    /// As a check of its own it decides: who is without the VIP gets nobody, though his own address answers.
    #[test]
    fn a_path_check_takes_part_in_rotation() {
        isolated("as_root_waiting::a_path_check_takes_part_in_rotation", || {
            let lab = Lab::builder().up()?;
            let often = "interval = \"200ms\"\ntimeout = \"1s\"\nretries = 1\nretry_delay = \"100ms\"\n";
            let checks =
                ["tcp", "path"].map(|kind| format!("[[virtual_server.check]]\ntype = \"{kind}\"\n{often}"));
            let server = [Node::Web1, Node::Web2].into_iter().try_fold(
                VirtualServer::new(lab.web(Family::V4)).option(&checks.concat()),
                |server, node| {
                    let address = lab.address(node, Family::V4).context("no such node")?;
                    anyhow::Ok(server.real_server(address, 1))
                },
            )?;
            let _director = Director::start(&lab, Node::Lvs1, &Configuration::new(&["eth0"]).with(server))?;
            let url = format!("http://{}/", lab.web(Family::V4));
            let answers = |expected: &[&str]| {
                let mut last = Vec::new();
                let is_so = wait_until(patience(30), || {
                    last = lab.curl_sequence(&url, 4).unwrap_or_default();
                    last.sort();
                    last == expected
                });
                anyhow::ensure!(is_so, "not {expected:?}: {last:?}");
                anyhow::Ok(())
            };
            answers(&["web1", "web1", "web2", "web2"])?;
            realserver(&lab, Node::Web1, &["stop"])?;
            answers(&["web2"; 4])?;
            let listed = lbctl(&lab, "list --checks")?;
            assert!(listed.contains("run `lbctl realserver start --vip 192.168.4.15` there"), "{listed}");
            realserver(&lab, Node::Web1, &["start", "--vip=192.168.4.15"])?;
            answers(&["web1", "web1", "web2", "web2"])?;
            lab.down()
        });
    }

    /// Waits until exactly these MACs are known to answer for a VIP wrongly; returns what is said of them.
    fn claimants(lab: &Lab, macs: &[&str]) -> anyhow::Result<Vec<Value>> {
        let mut last = Vec::new();
        let is_so = wait_until(patience(80), || {
            last =
                report(lab).ok().and_then(|mut r| r["claims"].take().as_array().cloned()).unwrap_or_default();
            let found: Vec<_> = last.iter().filter_map(|claim| claim["mac"].as_str()).collect();
            found == macs
        });
        anyhow::ensure!(is_so, "not {macs:?}: {last:?}");
        Ok(last)
    }

    const WEB1: &str = "02:00:00:00:04:64";
    const CLIENT: &str = "02:00:00:00:04:0a";

    /// A real server that answers ARP for the VIP is named, and so is another host that has it.
    #[test]
    fn whoever_answers_arp_for_the_vip_is_named() {
        isolated("as_root_waiting::whoever_answers_arp_for_the_vip_is_named", || {
            let lab = Lab::builder().up()?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 1)])?;
            let director = Director::start(&lab, Node::Lvs1, &config)?;
            becomes(&lab, "192.168.4.100:80", true)?;
            let arp_ignore = |value: u8| {
                let all = format!(
                    "for i in all lo eth0; do echo {value} >/proc/sys/net/ipv4/conf/$i/arp_ignore; done"
                );
                lab.exec(Node::Web1, ["sh", "-c", &all])
            };
            arp_ignore(0)?;
            let found = claimants(&lab, &[WEB1])?;
            assert_eq!(found[0]["addresses"][0], "192.168.4.100");
            assert_eq!((&found[0]["real_server"], &found[0]["interface"]), (&true.into(), &"eth0".into()));
            let text = "real server 192.168.4.100 (02:00:00:00:04:64) answers ARP for virtual address 192.168.4.15 \
                        on eth0: clients that hear it go past this director";
            assert_eq!(found[0]["finding"], text);
            assert_eq!(found[0]["remedy"], "run `lbctl realserver start --vip 192.168.4.15` there");
            assert!(director.log().contains(text), "{}", director.log());
            let listed = lbctl(&lab, "list --checks")?;
            assert!(listed.contains(text), "{listed}");
            assert_eq!(path(&lab, "192.168.4.100:80")?["good"], true, "it serves all the same");
            realserver(&lab, Node::Web1, &["start", "--vip=192.168.4.15"])?;
            arp_ignore(1)?;
            lab.exec(Node::Client, ["ip", "address", "add", "192.168.4.15/32", "dev", "eth0"])?;
            let found = claimants(&lab, &[CLIENT])?;
            assert_eq!(found[0]["real_server"], false);
            let text = found[0]["finding"].as_str().unwrap_or_default();
            assert!(text.starts_with("host ") && text.contains(CLIENT), "{text}");
            assert!(director.log().contains("02:00:00:00:04:64 does not answer"), "{}", director.log());
            lab.down()
        });
    }

    /// Another director may have the VIP: it is known by the adverts that it sends, without a list of peers.
    #[test]
    fn a_director_that_is_heard_may_answer_for_the_vip() {
        isolated("as_root_waiting::a_director_that_is_heard_may_answer_for_the_vip", || {
            let lab = Lab::builder().up()?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1)])?;
            let mut director = Director::start(&lab, Node::Lvs1, &config)?;
            for node in [Node::Client, Node::Lvs2] {
                lab.exec(node, ["ip", "address", "add", "192.168.4.15/32", "dev", "eth0"])?;
            }
            claimants(&lab, &["02:00:00:00:04:03", CLIENT])?;
            let router = |priority: u8| {
                format!(
                    "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\n\
                     priority = {priority}\nvirtual_addresses = [\"192.168.4.16/24\"]\n"
                )
            };
            director.reload(&config.append(&router(150)))?;
            let _peer = Director::up(&lab, Node::Lvs2, &Configuration::new(&[]).append(&router(200)))?;
            let found = claimants(&lab, &[CLIENT])?;
            assert_eq!(found[0]["real_server"], false);
            lab.down()
        });
    }

    #[test]
    fn whoever_advertises_the_vip_is_named_ipv6() {
        isolated("as_root_waiting::whoever_advertises_the_vip_is_named_ipv6", || {
            let lab = Lab::builder().up()?;
            let config = web(&lab, Family::V6, &[(Node::Web1, 1), (Node::Web2, 1)])?;
            let _director = Director::start(&lab, Node::Lvs1, &config)?;
            becomes(&lab, "[2001:db8:4::100]:80", true)?;
            let vip = format!("{}/128", lab.vip(Family::V6));
            lab.exec(Node::Web1, ["ip", "address", "add", &vip, "dev", "eth0", "nodad"])?;
            let found = claimants(&lab, &[WEB1])?;
            let text = found[0]["finding"].as_str().unwrap_or_default();
            assert!(
                text.contains("answers neighbour discovery for virtual address 2001:db8:4::15"),
                "{text}"
            );
            lab.exec(Node::Web1, ["ip", "address", "del", &vip, "dev", "eth0"])?;
            claimants(&lab, &[])?;
            lab.down()
        });
    }
}

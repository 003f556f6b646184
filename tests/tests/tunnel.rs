//! Tunnels to real servers behind a router, unpacked by what `lbctl realserver start --tunnel` sets up. Tier 4 runs this
//! under the kernels that have the modules.
//!
//! ```text
//!   client 10.0.0.10   lvs1 10.0.0.1   router 10.0.0.254 | 192.168.4.254   web1 .100   web2 .200
//! ```

mod as_root {
    mod with_modules {
        use std::net::{IpAddr, SocketAddr};

        use anyhow::{Context, ensure};
        use lb_tests::director::{Configuration, Director, VirtualServer, run_lbctl, stderr};
        use lb_tests::{Echo, Family, Lab, Node, Topology, echo_back, isolated};

        const WEBS: [Node; 2] = [Node::Web1, Node::Web2];

        /// The director is on the clients' network alone.
        fn lab() -> anyhow::Result<Lab> {
            let lab = Lab::builder().topology(Topology::TwoArmed).up()?;
            lab.exec(Node::Lvs1, ["ip", "link", "set", "dev", "eth1", "down"])?;
            for (net, router) in [("192.168.4.0/24", "10.0.0.254"), ("2001:db8:4::/64", "2001:db8:10::254")] {
                lab.exec(Node::Lvs1, ["ip", "route", "add", net, "via", router])?;
            }
            Ok(lab)
        }

        /// Ports 80 and 7 of the VIP of one family, on real servers' addresses of another or the same.
        fn services(
            lab: &Lab,
            config: Configuration,
            vip: Family,
            real: Family,
        ) -> anyhow::Result<Configuration> {
            [80, 7].into_iter().try_fold(config, |config, port| {
                let server = VirtualServer::new(SocketAddr::new(lab.vip(vip), port));
                let server = server.scheduler("rr").forwarding("tun");
                let server = WEBS.into_iter().try_fold(server, |server, node| {
                    anyhow::Ok(server.real_server(lab.address(node, real).context("a node of the lab")?, 1))
                })?;
                Ok(config.with(server))
            })
        }

        /// `lbctl realserver WORDS` on both; what it said.
        fn real_servers(lab: &Lab, words: &str) -> anyhow::Result<Vec<String>> {
            let one = |node| {
                let output = run_lbctl(lab, node, format!("realserver {words}").split(' '))?;
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                ensure!(output.status.success(), "{node}: realserver {words}: {said}{}", stderr(&output));
                Ok(said)
            };
            WEBS.into_iter().map(one).collect()
        }

        /// What `realserver` may change on web1; the modules' own devices come with the modules.
        fn host(lab: &Lab) -> anyhow::Result<Vec<String>> {
            let show = "ip -o address; ip -o link | cut -d: -f2-3; \
                        cd /proc/sys/net/ipv4/conf; grep . all/rp_filter eth0/rp_filter lo/rp_filter \
                        all/arp_ignore lo/arp_ignore all/arp_announce lo/arp_announce";
            let text = lab.exec(Node::Web1, ["sh", "-c", show])?;
            let is_of_modules = |line: &&str| line.contains("tunl0") || line.contains("ip6tnl0");
            Ok(text.lines().filter(|line| !is_of_modules(line)).map(str::to_owned).collect())
        }

        /// Both pages in turn, also to curl whose request takes several packets of full length, and an upload of 1 MiB
        /// that comes back.
        fn works(lab: &Lab, family: Family) -> anyhow::Result<()> {
            let url = format!("http://{}/", lab.web(family));
            let answers = lab.curl_sequence(&url, 4)?;
            ensure!(answers == ["web2", "web1", "web2", "web1"], "{family:?}: {answers:?}");
            let header = format!("x-long: {}", "x".repeat(6000));
            for web in ["web2", "web1"] {
                let curl = ["curl", "--silent", "--show-error", "--fail", "--globoff", "--max-time", "10"];
                let answer = lab.exec(Node::Client, curl.into_iter().chain(["--header", &header, &url]))?;
                ensure!(answer.trim() == web, "{family:?}: {answer}");
            }
            let vip = lab.vip(family);
            let _echoes = [Echo::start(lab, Node::Web1, vip)?, Echo::start(lab, Node::Web2, vip)?];
            lab.enter(Node::Client, || echo_back(SocketAddr::new(vip, 7), 1 << 20))?.map(drop)
        }

        /// The path MTU that the client has learnt.
        fn learnt_mtu(lab: &Lab, vip: IpAddr) -> anyhow::Result<Option<u32>> {
            let route = lab.exec(Node::Client, ["ip", "route", "get", &vip.to_string()])?;
            let mut words = route.split_whitespace().skip_while(|word| *word != "mtu").skip(1);
            words.next().map(|mtu| mtu.parse().context("the MTU")).transpose()
        }

        #[test]
        fn real_servers_behind_a_router_serve_by_tunnels() {
            isolated("as_root::with_modules::real_servers_behind_a_router_serve_by_tunnels", || {
                let lab = lab()?;
                // As some distributions set it: what must not be lost for the other interfaces.
                lab.exec(Node::Web1, ["sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=1"])?;
                let found = host(&lab)?;
                let [v4, v6] = [Family::V4, Family::V6].map(|family| lab.vip(family));
                let start = format!("start --vip {v4} --vip {v6} --tunnel");
                let said = real_servers(&lab, &start)?;
                for line in [
                    "lbctl-ipip: added, of kind ipip",
                    "lbctl-ip6tnl: added, of kind ip6tnl",
                    "net.ipv4.conf.eth0.rp_filter: 0 -> 1",
                    "net.ipv4.conf.all.rp_filter: 1 -> 0",
                    "lbctl-ipip: up",
                ] {
                    ensure!(said[0].contains(line), "{line}: {}", said[0]);
                }
                ensure!(
                    real_servers(&lab, &start)? == ["nothing to do\n"; 2],
                    "the second start does nothing"
                );
                real_servers(&lab, "status")?;

                let mut config = Configuration::new(&["eth0"]);
                for family in [Family::V4, Family::V6] {
                    config = services(&lab, config, family, family)?;
                }
                let mut director = Director::up(&lab, Node::Lvs1, &config)?;
                // The outer header's 20 or 40 bytes are missing: the director says so, and the client sends less.
                for (family, mtu) in [(Family::V4, 1480), (Family::V6, 1460)] {
                    works(&lab, family).with_context(|| director.log())?;
                    assert_eq!(learnt_mtu(&lab, lab.vip(family))?, Some(mtu), "{family:?}");
                }
                let list = run_lbctl(&lab, Node::Lvs1, ["list"])?;
                ensure!(String::from_utf8_lossy(&list.stdout).contains("Tunnel"), "{list:?}");

                // Somebody sets a device down, and the filter back: it is said, and put right by the same command.
                lab.exec(Node::Web1, ["ip", "link", "set", "dev", "lbctl-ipip", "down"])?;
                lab.exec(Node::Web1, ["sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=2"])?;
                let status = run_lbctl(&lab, Node::Web1, ["realserver", "status"])?;
                let text = String::from_utf8_lossy(&status.stdout).into_owned();
                let wrong: Vec<&str> = text.lines().filter(|line| line.starts_with("WRONG")).collect();
                assert_eq!(wrong.len(), 2, "{text}");
                assert!(text.contains("2, not 0") && text.contains("down"), "{text}");
                real_servers(&lab, &start)?;
                real_servers(&lab, "status")?;
                real_servers(&lab, "stop")?;
                assert_eq!(host(&lab)?, found, "as it was");

                // IPv4 in IPv6.
                real_servers(&lab, &format!("start --vip {v4} --tunnel=ipv6"))?;
                director.reload(&services(&lab, Configuration::new(&["eth0"]), Family::V4, Family::V6)?)?;
                lab.exec(Node::Client, ["ip", "route", "flush", "cache"])?;
                works(&lab, Family::V4).with_context(|| director.log())?;
                assert_eq!(learnt_mtu(&lab, v4)?, Some(1460));
                real_servers(&lab, "stop")?;

                // IPv6 in IPv4, which a device of the administrator's unpacks.
                real_servers(&lab, &format!("start --vip {v6}"))?;
                for node in WEBS {
                    // The module's own sit0 has no address: one with the same is refused.
                    let local = lab.address(node, Family::V4).context("a node of the lab")?.to_string();
                    lab.exec(node, ["ip", "link", "add", "sit1", "type", "sit", "local", &local])?;
                    lab.exec(node, ["ip", "link", "set", "dev", "sit1", "up"])?;
                }
                director.reload(&services(&lab, Configuration::new(&["eth0"]), Family::V6, Family::V4)?)?;
                lab.exec(Node::Client, ["ip", "-6", "route", "flush", "cache"])?;
                works(&lab, Family::V6).with_context(|| director.log())?;
                assert_eq!(learnt_mtu(&lab, v6)?, Some(1480));
                real_servers(&lab, "stop")?;
                lab.down()
            });
        }
    }
}

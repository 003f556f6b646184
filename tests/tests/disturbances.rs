//! What happens to running traffic when something happens to the director or to a real server: no request fails.

mod as_root {
    use std::fs;
    use std::net::{SocketAddr, UdpSocket};

    use anyhow::Context;
    use lb_tests::director::{Director, patience, web};
    use lb_tests::{Connections, Echo, Family, Lab, Load, LoadPlan, LoadReport, Node, isolated, wait_until};

    /// Requests that pass before and after what a test does.
    const SOME: u64 = 300;

    /// Two loads at once: a connection for each request, and connections that are kept.
    struct Loads([Load; 2]);

    impl Loads {
        fn start(lab: &Lab) -> anyhow::Result<Self> {
            let load = |connections| {
                let plan = LoadPlan { connections, senders: 4, ..LoadPlan::new(lab.web(Family::V4)) };
                Load::start(lab, Node::Client, plan)
            };
            let loads = Self([load(Connections::New)?, load(Connections::KeepAlive)?]);
            loads.pass()?;
            Ok(loads)
        }

        fn pass(&self) -> anyhow::Result<()> {
            for load in &self.0 {
                anyhow::ensure!(load.pass(SOME, patience(60)), "too few requests pass: {:?}", load.so_far());
            }
            Ok(())
        }

        /// Lets some more pass; then none of all must have failed. Returns both reports.
        fn stop_without_failures(self) -> anyhow::Result<[LoadReport; 2]> {
            self.pass()?;
            let [new, kept] = self.0;
            let reports = [new.stop()?, kept.stop()?];
            for report in &reports {
                anyhow::ensure!(report.failed == 0, "{report:?}");
            }
            Ok(reports)
        }
    }

    #[test]
    fn killed_daemon_is_restarted_under_load() {
        isolated("as_root::killed_daemon_is_restarted_under_load", || {
            let lab = Lab::builder().up()?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 2)])?;
            let mut director = Director::start(&lab, Node::Lvs1, &config)?;
            let (before, _) = director.program("eth0")?.context("no program")?;
            let loads = Loads::start(&lab)?;
            let first = director.pid()?;
            director.kill()?;
            loads.pass().context("while no daemon runs")?;
            director.up_again()?;
            assert_ne!(director.pid()?, first);
            loads.stop_without_failures()?;
            let (after, _) = director.program("eth0")?.context("no program")?;
            assert_ne!(before, after, "the new daemon brings its own program");
            assert!(director.log().contains("taken over"), "{}", director.log());
            lab.down()
        });
    }

    /// A connection that is idle meanwhile, to a server that a new connection would not get.
    #[test]
    fn idle_connection_survives_a_restart() {
        isolated("as_root::idle_connection_survives_a_restart", || {
            use std::io::{Read, Write};
            let lab = Lab::builder().nginx(false).up()?;
            let vip = SocketAddr::new(lab.vip(Family::V4), 7);
            let config = |weights: [u16; 2]| -> anyhow::Result<_> {
                let server = [Node::Web1, Node::Web2].into_iter().zip(weights).try_fold(
                    lb_tests::director::VirtualServer::new(vip),
                    |server, (node, weight)| {
                        let address = lab.address(node, Family::V4).context("no such node")?;
                        anyhow::Ok(server.real_server(address, weight))
                    },
                )?;
                Ok(lb_tests::director::Configuration::new(&["eth0"]).with(server))
            };
            let mut director = Director::start(&lab, Node::Lvs1, &config([1, 0])?)?;
            let _echoes =
                [Echo::start(&lab, Node::Web1, vip.ip())?, Echo::start(&lab, Node::Web2, vip.ip())?];
            let stream =
                lab.enter(Node::Client, || std::net::TcpStream::connect_timeout(&vip, patience(5)))?;
            let mut stream = stream.context("echo server at the VIP")?;
            stream.set_read_timeout(Some(patience(5)))?;
            let mut greeting = [0; 5];
            stream.read_exact(&mut greeting)?;
            assert_eq!(&greeting, b"web1\n");
            director.reload(&config([0, 1])?)?;
            director.kill()?;
            director.up_again()?;
            stream.write_all(b"still there")?;
            let mut echoed = [0; 11];
            stream.read_exact(&mut echoed).context("the connection did not survive")?;
            assert_eq!(&echoed, b"still there");
            lab.down()
        });
    }

    /// Their entries go to the main part of the connection table.
    #[test]
    fn many_connections_begin_under_load() {
        isolated("as_root::many_connections_begin_under_load", || {
            let lab = Lab::builder().up()?;
            let vip = SocketAddr::new(lab.vip(Family::V4), 9);
            let address = lab.address(Node::Web1, Family::V4).context("no such node")?;
            let datagrams = lb_tests::director::VirtualServer::new(vip).udp().real_server(address, 1);
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 2)])?.with(datagrams);
            let director = Director::start(&lab, Node::Lvs1, &config)?;
            let loads = Loads::start(&lab)?;
            let client = lab.address(Node::Client, Family::V4).context("no such node")?;
            let ports = 10_000..28_000;
            let count = ports.len();
            lab.enter(Node::Client, || -> anyhow::Result<()> {
                for port in ports {
                    // One that the load has just then is left out.
                    if let Ok(socket) = UdpSocket::bind((client, port)) {
                        socket.send_to(b"one", vip)?;
                    }
                }
                Ok(())
            })??;
            let moved = || {
                let log = director.log();
                let told = log.lines().find(|line| line.contains("connections are in the other part"));
                told.map(ToOwned::to_owned)
            };
            anyhow::ensure!(wait_until(patience(20), || moved().is_some()), "{}", director.log());
            let told = moved().unwrap_or_default();
            anyhow::ensure!(told.contains("lost=0") && told.contains("main"), "{told}");
            let listing = lb_tests::checks::lbctl(&lab, "list --connections")?;
            let listed = listing.lines().filter(|line| line.starts_with("UDP ")).count();
            anyhow::ensure!((count - 100..=count).contains(&listed), "{listed} of {count}");
            loads.stop_without_failures()?;
            lab.down()
        });
    }

    #[test]
    fn servers_are_added_removed_and_reweighted_under_load() {
        isolated("as_root::servers_are_added_removed_and_reweighted_under_load", || {
            let lab = Lab::builder().web3(true).up()?;
            let config = |weights: &[(Node, u16)]| web(&lab, Family::V4, weights);
            let mut director =
                Director::start(&lab, Node::Lvs1, &config(&[(Node::Web1, 1), (Node::Web2, 2)])?)?;
            let url = format!("http://{}/", lab.web(Family::V4));
            let loads = Loads::start(&lab)?;
            director.reload(&config(&[(Node::Web1, 1), (Node::Web2, 2), (Node::Web3, 5)])?)?;
            loads.pass().context("with web3")?;
            assert!(loads.0[0].so_far().by_server.contains_key("web3"));
            director.reload(&config(&[(Node::Web1, 4), (Node::Web2, 1), (Node::Web3, 1)])?)?;
            loads.pass().context("with other weights")?;
            director.reload(&config(&[(Node::Web1, 1), (Node::Web3, 1)])?)?;
            let answers = lab.curl_sequence(&url, 12)?;
            assert!(!answers.contains(&"web2".to_owned()), "nobody new comes: {answers:?}");
            loads.pass().context("without web2")?;
            director.reload(&config(&[(Node::Web2, 1)])?)?;
            assert_eq!(lab.curl_sequence(&url, 6)?, ["web2"; 6]);
            loads.stop_without_failures()?;
            lab.down()
        });
    }

    /// Nothing of a faulty configuration comes into force.
    #[test]
    fn refused_reload_changes_nothing_under_load() {
        isolated("as_root::refused_reload_changes_nothing_under_load", || {
            let lab = Lab::builder().up()?;
            let good = web(&lab, Family::V4, &[(Node::Web1, 1)])?;
            let mut director = Director::start(&lab, Node::Lvs1, &good)?;
            let loads = Loads::start(&lab)?;
            for bad in [
                web(&lab, Family::V4, &[(Node::Web2, 1)])?.option("no_such_key = 1"),
                lb_tests::director::Configuration::new(&["eth0", "eth9"]),
            ] {
                let error = director.reload(&bad).unwrap_err().to_string();
                assert!(error.contains("old configuration stays in force"), "{error}");
            }
            let reports = loads.stop_without_failures()?;
            for report in reports {
                assert_eq!(report.by_server.keys().collect::<Vec<_>>(), ["web1"]);
            }
            lab.down()
        });
    }

    /// A host announces its new MAC address (a bond that fails over, a migrated guest): no request fails.
    #[test]
    fn real_server_announces_another_mac_under_load() {
        isolated("as_root::real_server_announces_another_mac_under_load", || {
            let lab = Lab::builder().up()?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 1)])?;
            let _director = Director::start(&lab, Node::Lvs1, &config)?;
            lab.exec(Node::Web1, ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_notify"])?;
            let loads = Loads::start(&lab)?;
            let served = change_mac(&lab, &loads)?;
            let is_back = || loads.0.iter().zip(served).all(|(load, before)| by_web1(load) > before + 50);
            assert!(wait_until(patience(5), is_back), "{:?}", loads.0.each_ref().map(Load::so_far));
            loads.stop_without_failures()?;
            lab.down()
        });
    }

    fn by_web1(load: &Load) -> u64 {
        load.so_far().by_server.get("web1").copied().unwrap_or(0)
    }

    /// Returns what web1 had served by then.
    fn change_mac(lab: &Lab, loads: &Loads) -> anyhow::Result<[u64; 2]> {
        lab.exec(Node::Web1, ["ip", "link", "set", "dev", "eth0", "address", "02:00:00:00:99:99"])?;
        Ok(loads.0.each_ref().map(by_web1))
    }

    /// The director's own MAC address changes: it knows frames to the new one as its own.
    #[test]
    fn director_changes_its_mac() {
        isolated("as_root::director_changes_its_mac", || {
            let lab = Lab::builder().up()?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 1)])?;
            let director = Director::start(&lab, Node::Lvs1, &config)?;
            let url = format!("http://{}/", lab.web(Family::V4));
            assert_eq!(lab.curl_sequence(&url, 2)?, ["web2", "web1"]);
            lab.exec(Node::Lvs1, ["ip", "link", "set", "dev", "eth0", "address", "02:00:00:00:99:98"])?;
            lab.exec(Node::Client, ["ip", "neigh", "flush", "dev", "eth0"])?;
            let answers = || lab.curl_sequence(&url, 2).unwrap_or_default();
            let mut last = Vec::new();
            let is_back = wait_until(patience(10), || {
                last = answers();
                last.iter().all(|answer| answer.starts_with("web"))
            });
            assert!(is_back, "{last:?}\n{}", director.log());
            lab.down()
        });
    }

    /// SIGTERM is `down`: see `leaves_nothing.rs` for what remains. The process ends by itself.
    #[test]
    fn hangup_reloads() {
        isolated("as_root::hangup_reloads", || {
            let lab = Lab::builder().up()?;
            let config = |node| web(&lab, Family::V4, &[(node, 1)]);
            let director = Director::start(&lab, Node::Lvs1, &config(Node::Web1)?)?;
            let url = format!("http://{}/", lab.web(Family::V4));
            assert_eq!(lab.curl_sequence(&url, 2)?, ["web1"; 2]);
            fs::write(lab.dir().join("lvs1.toml"), config(Node::Web2)?.to_string())?;
            nix::sys::signal::kill(director.pid()?, nix::sys::signal::Signal::SIGHUP)?;
            let is_reloaded = || lab.curl_sequence(&url, 1).is_ok_and(|answers| answers == ["web2"]);
            assert!(wait_until(patience(10), is_reloaded), "{}", director.log());
            lab.down()
        });
    }
}

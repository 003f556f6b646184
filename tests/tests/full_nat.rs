//! Full NAT: real servers whose way to the clients does not lead through the director, on a host that does not
//! forward. The lab's web servers have a plain router as their gateway; nothing about them is changed.

mod as_root {
    use std::net::{SocketAddr, UdpSocket};

    use anyhow::{Context, ensure};
    use lb_tests::director::{Configuration, Director, VirtualServer, patience, run_lbctl, stderr};
    use lb_tests::{Connections, Echo, Family, Lab, Load, LoadPlan, Node, Topology, isolated, wait_until};

    const WEBS: [Node; 2] = [Node::Web1, Node::Web2];
    const BOTH: [Family; 2] = [Family::V4, Family::V6];
    /// Datagrams of one client that need a port each, where there are [`FEW`].
    const MANY: usize = 40;
    const FEW: &str = "source_ports = \"2000-2003\"";

    fn lab(topology: Topology, nginx: bool) -> anyhow::Result<Lab> {
        let lab = Lab::builder().topology(topology).nginx(nginx).up()?;
        // Checksums are left to network cards that are none.
        for node in [Node::Client, Node::Web1, Node::Web2] {
            lab.exec(node, ["ethtool", "-K", "eth0", "tx", "on", "gso", "on", "tso", "on"])?;
        }
        // The kernel's default, which the machine of the lab may have changed.
        let range = "echo 32768 60999 >/proc/sys/net/ipv4/ip_local_port_range";
        lab.exec(Node::Lvs1, ["sh", "-c", range])?;
        let forwards = lab.exec(Node::Lvs1, ["cat", "/proc/sys/net/ipv4/ip_forward"])?;
        ensure!(forwards.trim() == "0", "the director forwards by itself");
        Ok(lab)
    }

    fn interfaces(topology: Topology) -> Configuration {
        match topology {
            Topology::OneArmed => Configuration::new(&["eth0"]),
            Topology::TwoArmed => Configuration::new(&["eth0", "eth1"]),
        }
    }

    fn at(lab: &Lab, node: Node, family: Family, port: u16) -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::new(lab.address(node, family).context("a node of the lab")?, port))
    }

    /// This port of the VIP on port 80 of both web servers, in turn.
    fn web_service(lab: &Lab, family: Family, port: u16) -> anyhow::Result<VirtualServer> {
        let vip = SocketAddr::new(lab.vip(family), port);
        let server = VirtualServer::new(vip).scheduler("rr").forwarding("full_nat");
        WEBS.into_iter()
            .try_fold(server, |server, node| Ok(server.real_server_at(at(lab, node, family, 80)?, 1)))
    }

    /// Ports 80 and 8080 of both families on both web servers.
    fn web_services(lab: &Lab) -> anyhow::Result<Configuration> {
        let all = BOTH.into_iter().flat_map(|family| [80, 8080].map(|port| (family, port)));
        all.into_iter().try_fold(interfaces(lab.topology()), |config, (family, port)| {
            Ok(config.with(web_service(lab, family, port)?))
        })
    }

    fn list(lab: &Lab, arguments: &[&str]) -> anyhow::Result<String> {
        let output = run_lbctl(lab, Node::Lvs1, ["list"].iter().chain(arguments))?;
        ensure!(output.status.success(), "{}", stderr(&output));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// One datagram and its answer, which must come from where the datagram was sent to.
    fn ask(address: SocketAddr, text: &[u8]) -> anyhow::Result<String> {
        let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(patience(5)))?;
        socket.connect(address)?;
        socket.send(text)?;
        let mut buffer = vec![0; 4096];
        let count = socket.recv(&mut buffer).context("no answer")?;
        Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
    }

    fn requests_are_answered(topology: Topology) -> anyhow::Result<()> {
        let lab = lab(topology, true)?;
        let director = Director::up(&lab, Node::Lvs1, &web_services(&lab)?)?;
        for (family, port) in BOTH.into_iter().flat_map(|family| [80, 8080].map(|port| (family, port))) {
            let url = format!("http://{}/", SocketAddr::new(lab.vip(family), port));
            let answers = lab.curl_sequence(&url, 6)?;
            assert_eq!(answers, ["web2", "web1", "web2", "web1", "web2", "web1"], "{}", director.log());
        }
        let listed = list(&lab, &["-n"])?;
        let rows: Vec<&str> = listed.lines().filter(|line| line.contains("FullNat")).collect();
        ensure!(rows.len() == 8, "{listed}");
        let stats = list(&lab, &["-n", "--stats"])?;
        for line in stats.lines().filter(|line| line.contains("->") && line.contains(':')).skip(1) {
            let counts: Vec<&str> = line.split_whitespace().skip(2).collect();
            ensure!(counts.len() == 5 && counts.iter().all(|count| *count != "0"), "{stats}");
        }
        director.down()?;
        lab.down()
    }

    mod every_kernel {
        use super::*;

        #[test]
        fn real_servers_with_another_gateway_answer() {
            isolated("as_root::every_kernel::real_servers_with_another_gateway_answer", || {
                requests_are_answered(Topology::TwoArmed)
            });
        }
    }

    #[test]
    fn real_servers_on_the_clients_own_network_answer() {
        isolated("as_root::real_servers_on_the_clients_own_network_answer", || {
            requests_are_answered(Topology::OneArmed)
        });
    }

    #[test]
    fn datagrams_fragments_and_errors_are_translated() {
        isolated("as_root::datagrams_fragments_and_errors_are_translated", || {
            let lab = lab(Topology::TwoArmed, false)?;
            let mut config = interfaces(lab.topology());
            let mut echoes = Vec::new();
            for family in BOTH {
                let echo = at(&lab, Node::Web1, family, 7)?;
                echoes.push(Echo::start(&lab, Node::Web1, echo.ip())?);
                for (port, server) in [(53, echo), (54, at(&lab, Node::Web1, family, 9)?)] {
                    let vip = SocketAddr::new(lab.vip(family), port);
                    let server =
                        VirtualServer::new(vip).udp().forwarding("full_nat").real_server_at(server, 1);
                    config = config.with(server);
                }
            }
            let _director = Director::up(&lab, Node::Lvs1, &config)?;
            for family in BOTH {
                let vip = lab.vip(family);
                lab.enter(Node::Client, || -> anyhow::Result<()> {
                    ensure!(ask(SocketAddr::new(vip, 53), b"hello")? == "web1 hello");
                    // Three fragments there, three back.
                    let long = "x".repeat(3900);
                    ensure!(ask(SocketAddr::new(vip, 53), long.as_bytes())? == format!("web1 {long}"));
                    let error = ask(SocketAddr::new(vip, 54), b"hello").err().context("somebody answers")?;
                    let error = error.root_cause().to_string();
                    ensure!(error.contains("refused"), "the real server's ICMP error did not come: {error}");
                    Ok(())
                })??;
            }
            lab.down()
        });
    }

    #[test]
    fn no_request_fails_while_the_daemon_is_killed() {
        isolated("as_root::no_request_fails_while_the_daemon_is_killed", || {
            let lab = lab(Topology::TwoArmed, true)?;
            let mut director = Director::up(&lab, Node::Lvs1, &web_services(&lab)?)?;
            let load = |family, connections| {
                let address = SocketAddr::new(lab.vip(family), 8080);
                Load::start(
                    &lab,
                    Node::Client,
                    LoadPlan { connections, senders: 4, ..LoadPlan::new(address) },
                )
            };
            let loads = [load(Family::V4, Connections::New)?, load(Family::V6, Connections::KeepAlive)?];
            let pass = || -> anyhow::Result<()> {
                for load in &loads {
                    ensure!(load.pass(300, patience(60)), "too few requests pass: {:?}", load.so_far());
                }
                Ok(())
            };
            pass()?;
            director.kill()?;
            pass().context("while no daemon runs")?;
            director.up_again()?;
            pass().context("after the daemon has come back")?;
            for load in loads {
                let report = load.stop()?;
                ensure!(report.failed == 0, "{report:?}");
            }
            lab.down()
        });
    }

    #[test]
    fn exhausted_ports_are_counted_and_logged() {
        isolated("as_root::exhausted_ports_are_counted_and_logged", || {
            let lab = lab(Topology::TwoArmed, false)?;
            let echo = at(&lab, Node::Web1, Family::V4, 7)?;
            let _echo = Echo::start(&lab, Node::Web1, echo.ip())?;
            let vip = SocketAddr::new(lab.vip(Family::V4), 53);
            let service = |option: &str| {
                let server = VirtualServer::new(vip).udp().forwarding("full_nat").real_server_at(echo, 1);
                interfaces(lab.topology()).with(server.option(option))
            };
            let mut director = Director::up(&lab, Node::Lvs1, &service(FEW))?;
            let answered = lab.enter(Node::Client, || -> anyhow::Result<usize> {
                let sockets: Vec<UdpSocket> = (0..MANY)
                    .map(|_| {
                        let socket = UdpSocket::bind("0.0.0.0:0")?;
                        socket.connect(vip)?;
                        socket.send(b"hello")?;
                        Ok(socket)
                    })
                    .collect::<std::io::Result<_>>()?;
                let mut answered = 0;
                for socket in &sockets[..4] {
                    socket.set_read_timeout(Some(patience(5)))?;
                    answered += usize::from(socket.recv(&mut [0; 64]).is_ok());
                }
                Ok(answered)
            })??;
            ensure!(answered == 4, "{answered} of the first four were answered");
            let drops = list(&lab, &["--drops"])?;
            let line =
                drops.lines().find(|line| line.starts_with("no-source-port")).context(drops.clone())?;
            let counted = line.split_whitespace().last().and_then(|count| count.parse().ok());
            ensure!(counted == Some(MANY - 4), "{drops}");
            // The daemon looks every half minute.
            let told = || director.log().contains("full_nat: 36 packets were dropped");
            ensure!(wait_until(patience(90), told), "{}", director.log());
            // More ports, and everyone is served.
            director.reload(&service("source_ports = \"2000-2999\""))?;
            let answer = lab.enter(Node::Client, || ask(vip, b"again"))??;
            assert_eq!(answer, "web1 again");
            lab.down()
        });
    }

    /// What the host cannot do is said before anything is changed.
    #[test]
    fn sources_that_are_not_the_hosts_are_refused() {
        isolated("as_root::sources_that_are_not_the_hosts_are_refused", || {
            let lab = lab(Topology::TwoArmed, false)?;
            let service = |option: &str| -> anyhow::Result<Configuration> {
                Ok(interfaces(lab.topology()).with(web_service(&lab, Family::V4, 80)?.option(option)))
            };
            let refused = |option: &str| -> anyhow::Result<String> {
                let path = lab.write("refused.toml", &service(option)?.to_string())?;
                let output = run_lbctl(&lab, Node::Lvs1, ["up", "-d", "-c", &path.to_string_lossy()])?;
                ensure!(!output.status.success(), "{option} is accepted");
                Ok(stderr(&output))
            };
            let said = refused("source_addresses = [\"192.168.4.77\"]")?;
            ensure!(said.contains("192.168.4.77 is no address of this host"), "{said}");
            let said = refused("source_ports = \"32000-33000\"")?;
            ensure!(said.contains("`source_ports` has 32768"), "{said}");
            lab.exec(Node::Lvs1, ["ip", "address", "add", "192.168.4.77/32", "dev", "eth1"])?;
            let _director =
                Director::up(&lab, Node::Lvs1, &service("source_addresses = [\"192.168.4.77\"]")?)?;
            lab.down()
        });
    }
}

//! NAT between two networks, through a director that is the real servers' gateway and does not forward.
//!
//! Clients and real servers leave their checksums to their network cards, as they do unless somebody forbids it: on a
//! veth nobody finishes them but the director.

mod as_root {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
    use std::thread;

    use anyhow::{Context, ensure};
    use lb_tests::director::{Configuration, Director, VirtualServer, patience};
    use lb_tests::{Echo, Family, Lab, Node, Topology, isolated};

    const WEBS: [Node; 2] = [Node::Web1, Node::Web2];
    const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// Two networks, the director between them, checksums left to the cards.
    fn lab(nginx: bool) -> anyhow::Result<Lab> {
        let lab = Lab::builder().topology(Topology::TwoArmed).nginx(nginx).up()?;
        for node in WEBS {
            lab.exec(node, ["ip", "route", "replace", "10.0.0.0/24", "via", "192.168.4.2"])?;
            lab.exec(node, ["ip", "route", "replace", "2001:db8:10::/64", "via", "2001:db8:4::2"])?;
        }
        for node in [Node::Client, Node::Web1, Node::Web2] {
            lab.exec(node, ["ethtool", "-K", "eth0", "tx", "on", "gso", "on", "tso", "on"])?;
        }
        Ok(lab)
    }

    fn web(lab: &Lab, node: Node, family: Family, port: u16) -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::new(lab.address(node, family).context("a node of the lab")?, port))
    }

    /// Port 8080 of the VIP on port 80 of both web servers, in turn.
    fn web_service(lab: &Lab, family: Family) -> anyhow::Result<VirtualServer> {
        let vip = SocketAddr::new(lab.vip(family), 8080);
        let server = VirtualServer::new(vip).scheduler("rr").forwarding("nat");
        WEBS.into_iter()
            .try_fold(server, |server, node| Ok(server.real_server_at(web(lab, node, family, 80)?, 1)))
    }

    fn service(lab: &Lab, port: u16, server: SocketAddr) -> VirtualServer {
        let vip = SocketAddr::new(lab.vip(Family::V4), port);
        VirtualServer::new(vip).forwarding("nat").real_server_at(server, 1)
    }

    fn configuration() -> Configuration {
        Configuration::new(&["eth0", "eth1"])
    }

    /// What the server of [`Echo`] says when a connection opens, and to `text`.
    fn dialogue(address: SocketAddr, text: &str) -> anyhow::Result<String> {
        let stream = TcpStream::connect_timeout(&address, patience(5)).context("no connection")?;
        stream.set_read_timeout(Some(patience(5)))?;
        let mut writer = stream.try_clone()?;
        thread::scope(|scope| {
            // The answer comes while this is being written, and must be read meanwhile.
            let writing = scope.spawn(move || writer.write_all(text.as_bytes()));
            let mut greeting = String::new();
            let mut reader = BufReader::new(stream);
            reader.read_line(&mut greeting)?;
            let mut answer = vec![0; text.len()];
            reader.read_exact(&mut answer)?;
            writing.join().ok().context("the writer panicked")??;
            Ok(format!("{} {}", greeting.trim(), String::from_utf8_lossy(&answer)))
        })
    }

    mod every_kernel {
        use super::*;

        #[test]
        fn requests_go_to_another_port_and_are_answered_by_the_virtual_server() {
            isolated(
                "as_root::every_kernel::requests_go_to_another_port_and_are_answered_by_the_virtual_server",
                || {
                    let lab = lab(true)?;
                    let config = BOTH.into_iter().try_fold(configuration(), |config, family| {
                        anyhow::Ok(config.with(web_service(&lab, family)?))
                    })?;
                    let director = Director::up(&lab, Node::Lvs1, &config)?;
                    for family in BOTH {
                        let url = format!("http://{}/", SocketAddr::new(lab.vip(family), 8080));
                        let answers = lab.curl_sequence(&url, 6)?;
                        assert_eq!(
                            answers,
                            ["web2", "web1", "web2", "web1", "web2", "web1"],
                            "{}",
                            director.log()
                        );
                    }
                    let list = lb_tests::director::run_lbctl(&lab, Node::Lvs1, ["list", "-n", "--stats"])?;
                    let list = String::from_utf8_lossy(&list.stdout).into_owned();
                    for line in list.lines().filter(|line| line.contains("->") && line.contains(':')).skip(1)
                    {
                        let counts: Vec<&str> = line.split_whitespace().skip(2).collect();
                        ensure!(counts.len() == 5 && counts.iter().all(|count| *count != "0"), "{list}");
                    }
                    director.down()?;
                    lab.down()
                },
            );
        }
    }

    #[test]
    fn two_virtual_servers_share_the_port_of_a_real_server() {
        isolated("as_root::two_virtual_servers_share_the_port_of_a_real_server", || {
            let lab = lab(false)?;
            let echo = web(&lab, Node::Web1, Family::V4, 7)?;
            let _echo = Echo::start(&lab, Node::Web1, echo.ip())?;
            let config = configuration()
                .with(service(&lab, 1007, echo))
                .with(service(&lab, 2007, echo))
                .with(service(&lab, 1007, echo).udp())
                .with(service(&lab, 2007, echo).udp());
            let _director = Director::up(&lab, Node::Lvs1, &config)?;
            let vip = lab.vip(Family::V4);
            lab.enter(Node::Client, || -> anyhow::Result<()> {
                for port in [1007, 2007, 1007] {
                    let address = SocketAddr::new(vip, port);
                    ensure!(dialogue(address, "hello")? == "web1 hello");
                    ensure!(ask(address, b"hello")? == "web1 hello");
                }
                Ok(())
            })??;
            lab.down()
        });
    }

    /// One datagram and its answer, which must come from where the datagram was sent to.
    fn ask(address: SocketAddr, text: &[u8]) -> anyhow::Result<String> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(patience(5)))?;
        socket.connect(address)?;
        socket.send(text)?;
        let mut buffer = vec![0; 4096];
        let count = socket.recv(&mut buffer).context("no answer")?;
        Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
    }

    #[test]
    fn datagrams_fragments_and_errors_are_translated() {
        isolated("as_root::datagrams_fragments_and_errors_are_translated", || {
            let lab = lab(false)?;
            let echo = web(&lab, Node::Web1, Family::V4, 7)?;
            let _echo = Echo::start(&lab, Node::Web1, echo.ip())?;
            let nobody = web(&lab, Node::Web1, Family::V4, 9)?;
            let config =
                configuration().with(service(&lab, 53, echo).udp()).with(service(&lab, 54, nobody).udp());
            let _director = Director::up(&lab, Node::Lvs1, &config)?;
            let vip = lab.vip(Family::V4);
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
            lab.down()
        });
    }

    /// A server of datagrams asks others from its own port. Here the director forwards, for what it does not balance.
    #[test]
    fn what_a_real_server_sends_of_itself_is_not_translated() {
        isolated("as_root::what_a_real_server_sends_of_itself_is_not_translated", || {
            let lab = lab(false)?;
            lab.exec(Node::Lvs1, ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])?;
            let echo = web(&lab, Node::Web1, Family::V4, 5353)?;
            let config = configuration().with(service(&lab, 53, echo).udp());
            let _director = Director::up(&lab, Node::Lvs1, &config)?;
            let client: IpAddr = lab.address(Node::Client, Family::V4).context("the client")?;
            let receiver = lab.enter(Node::Client, || UdpSocket::bind((client, 5300)))??;
            receiver.set_read_timeout(Some(patience(5)))?;
            lab.enter(Node::Web1, || -> anyhow::Result<()> {
                let own = UdpSocket::bind(echo)?;
                own.send_to(b"of my own", (client, 5300))?;
                Ok(())
            })??;
            let mut buffer = [0; 64];
            let (count, from) = receiver.recv_from(&mut buffer).context("nothing came")?;
            assert_eq!((&buffer[..count], from), (&b"of my own"[..], echo));
            lab.down()
        });
    }

    #[test]
    fn a_long_transfer_arrives_whole() {
        isolated("as_root::a_long_transfer_arrives_whole", || {
            let lab = lab(false)?;
            let echo = web(&lab, Node::Web1, Family::V4, 7)?;
            let _echo = Echo::start(&lab, Node::Web1, echo.ip())?;
            let _director = Director::up(&lab, Node::Lvs1, &configuration().with(service(&lab, 7, echo)))?;
            let vip = SocketAddr::new(lab.vip(Family::V4), 7);
            lab.enter(Node::Client, || -> anyhow::Result<()> {
                let text: String = (0..40_000).map(|number| format!("{number:06}\n")).collect();
                ensure!(dialogue(vip, &text)? == format!("web1 {text}"));
                Ok(())
            })??;
            lab.down()
        });
    }
}

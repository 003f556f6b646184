//! Direct routing through a real director to real web servers. What the real IPVS did is in `data/`.

mod as_root {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
    use std::time::Instant;

    use anyhow::Context;
    use lb_tests::director::{Configuration, Director, VirtualServer, patience, start_real_servers, web};
    use lb_tests::visit::captured;
    use lb_tests::{Connections, Echo, Family, Lab, Load, LoadPlan, Node, isolated, wait_until};

    fn url(lab: &Lab, family: Family) -> String {
        format!("http://{}/", lab.web(family))
    }

    #[expect(clippy::expect_used, reason = "a test fails by panicking")]
    fn address(lab: &Lab, node: Node) -> IpAddr {
        lab.address(node, Family::V4).expect("a node of the lab")
    }

    /// The names in their order, and how often each.
    fn counts(answers: &[String]) -> Vec<(&str, usize)> {
        let mut names: Vec<&str> = answers.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.chunk_by(|a, b| a == b).map(|same| (same[0], same.len())).collect()
    }

    mod every_kernel {
        use super::*;

        #[test]
        fn weights_one_and_two_are_served_in_the_order_of_ipvs() {
            isolated("as_root::every_kernel::weights_one_and_two_are_served_in_the_order_of_ipvs", || {
                let lab = Lab::builder().up()?;
                let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 2)])?;
                let director = Director::start(&lab, Node::Lvs1, &config)?;
                let expected = captured(include_str!("data/ipvs-wrr-1-2.txt"));
                assert_eq!(expected.len(), 24);
                assert_eq!(lab.curl_sequence(&url(&lab, Family::V4), 24)?, expected);
                director.down()?;
                let after = lab.curl_sequence(&url(&lab, Family::V4), 1)?;
                assert!(after[0].starts_with("failed"), "nobody has the address any more: {after:?}");
                lab.down()
            });
        }

        #[test]
        fn ipv6_is_served_in_the_order_of_ipvs() {
            isolated("as_root::every_kernel::ipv6_is_served_in_the_order_of_ipvs", || {
                let lab = Lab::builder().up()?;
                let config = web(&lab, Family::V6, &[(Node::Web1, 1), (Node::Web2, 2)])?;
                let _director = Director::start(&lab, Node::Lvs1, &config)?;
                let expected = captured(include_str!("data/ipvs-ipv6-wrr-1-2.txt"));
                assert_eq!(expected.len(), 12);
                assert_eq!(lab.curl_sequence(&url(&lab, Family::V6), expected.len())?, expected);
                lab.down()
            });
        }

        #[test]
        fn datagrams_of_a_client_stay_on_their_server() {
            isolated("as_root::every_kernel::datagrams_of_a_client_stay_on_their_server", || {
                let lab = Lab::builder().nginx(false).up()?;
                let vip = SocketAddr::new(lab.vip(Family::V4), 7);
                let server = [Node::Web1, Node::Web2]
                    .into_iter()
                    .fold(VirtualServer::new(vip).udp(), |server, node| {
                        server.real_server(address(&lab, node), 1)
                    });
                let config = Configuration::new(&["eth0"]).with(server);
                let _director = Director::start(&lab, Node::Lvs1, &config)?;
                let _echoes =
                    [Echo::start(&lab, Node::Web1, vip.ip())?, Echo::start(&lab, Node::Web2, vip.ip())?];
                let answers = lab.enter(Node::Client, || -> anyhow::Result<Vec<String>> {
                    let client = || -> anyhow::Result<String> {
                        let socket = UdpSocket::bind("0.0.0.0:0")?;
                        socket.connect(vip)?;
                        socket.set_read_timeout(Some(patience(5)))?;
                        let mut answers = Vec::new();
                        for _ in 0..5 {
                            socket.send(b"hello")?;
                            let mut buffer = [0; 64];
                            let count = socket.recv(&mut buffer).context("no answer")?;
                            answers.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
                        }
                        answers.dedup();
                        Ok(answers.join(", then "))
                    };
                    (0..6).map(|_| client()).collect()
                })??;
                let [one, two] = ["web1 hello", "web2 hello"];
                assert_eq!(answers, [two, one, two, one, two, one]);
                lab.down()
            });
        }
    }

    #[test]
    fn weights_five_three_one_are_served_in_the_order_of_ipvs() {
        isolated("as_root::weights_five_three_one_are_served_in_the_order_of_ipvs", || {
            let lab = Lab::builder().web3(true).up()?;
            let weights = [(Node::Web1, 5), (Node::Web2, 3), (Node::Web3, 1)];
            let _director = Director::start(&lab, Node::Lvs1, &web(&lab, Family::V4, &weights)?)?;
            let expected = captured(include_str!("data/ipvs-wrr-5-3-1.txt"));
            assert_eq!(lab.curl_sequence(&url(&lab, Family::V4), 24)?, expected);
            lab.down()
        });
    }

    /// Round robin does not look at weights.
    #[test]
    fn round_robin_is_served_in_the_order_of_ipvs() {
        isolated("as_root::round_robin_is_served_in_the_order_of_ipvs", || {
            let lab = Lab::builder().web3(true).up()?;
            let nodes = [(Node::Web1, 7), (Node::Web2, 1), (Node::Web3, 2)];
            let server = nodes
                .into_iter()
                .fold(VirtualServer::new(lab.web(Family::V4)).scheduler("rr"), |server, (node, weight)| {
                    server.real_server(address(&lab, node), weight)
                });
            let config = Configuration::new(&["eth0"]).with(server);
            let _director = Director::start(&lab, Node::Lvs1, &config)?;
            let expected = captured(include_str!("data/ipvs-rr-1-1-1.txt"));
            assert_eq!(lab.curl_sequence(&url(&lab, Family::V4), 24)?, expected);
            lab.down()
        });
    }

    /// Port 0 takes every port that has no virtual server of its own.
    #[test]
    fn any_port_goes_to_the_same_port() {
        isolated("as_root::any_port_goes_to_the_same_port", || {
            let lab = Lab::builder().up()?;
            let vip = lab.vip(Family::V4);
            let [one, two] = [address(&lab, Node::Web1), address(&lab, Node::Web2)];
            let any = VirtualServer::new(SocketAddr::new(vip, 0)).real_server(one, 1);
            let web = VirtualServer::new(SocketAddr::new(vip, 80)).real_server(two, 1);
            let config = Configuration::new(&["eth0"]).with(any).with(web);
            let _director = Director::start(&lab, Node::Lvs1, &config)?;
            let _echoes = [Echo::start(&lab, Node::Web1, vip)?, Echo::start(&lab, Node::Web2, vip)?];
            assert_eq!(lab.curl_sequence(&url(&lab, Family::V4), 4)?, ["web2"; 4]);
            let mut greeting = String::new();
            let stream = lab
                .enter(Node::Client, || TcpStream::connect_timeout(&SocketAddr::new(vip, 7), patience(5)))?;
            let stream = stream.context("echo server at the VIP")?;
            stream.set_read_timeout(Some(patience(5)))?;
            let mut reader = BufReader::new(stream);
            reader.read_line(&mut greeting)?;
            assert_eq!(greeting, "web1\n");
            reader.get_mut().write_all(b"ping")?;
            let mut echoed = [0; 4];
            reader.read_exact(&mut echoed)?;
            assert_eq!(&echoed, b"ping");
            // Where nobody listens, the real server says so.
            let answer = lab.curl_sequence(&format!("http://{vip}:81/"), 1)?;
            assert!(answer[0].starts_with("failed: curl: (7)"), "{answer:?}");
            lab.down()
        });
    }

    #[test]
    fn connection_stays_on_its_server() {
        isolated("as_root::connection_stays_on_its_server", || {
            let lab = Lab::builder().up()?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 1)])?;
            let _director = Director::start(&lab, Node::Lvs1, &config)?;
            let one =
                |connections| LoadPlan { senders: 1, connections, ..LoadPlan::new(lab.web(Family::V4)) };
            let kept = Load::start(&lab, Node::Client, one(Connections::KeepAlive))?;
            let new = Load::start(&lab, Node::Client, one(Connections::New))?;
            assert!(kept.pass(200, patience(30)) && new.pass(200, patience(30)));
            let (kept, new) = (kept.stop()?, new.stop()?);
            assert_eq!((kept.failed, kept.by_server.len()), (0, 1), "{kept:?}");
            assert_eq!((new.failed, new.by_server.len()), (0, 2), "{new:?}");
            lab.down()
        });
    }

    /// Weight 0: what is connected goes on, nobody new comes.
    #[test]
    fn quiesced_server_keeps_its_connections() {
        isolated("as_root::quiesced_server_keeps_its_connections", || {
            let lab = Lab::builder().up()?;
            let weights = |two| web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, two)]);
            let mut director = Director::start(&lab, Node::Lvs1, &weights(1)?)?;
            let plan = LoadPlan { connections: Connections::KeepAlive, ..LoadPlan::new(lab.web(Family::V4)) };
            let load = Load::start(&lab, Node::Client, plan)?;
            assert!(wait_until(patience(20), || load.so_far().by_server.len() == 2), "{:?}", load.so_far());
            director.reload(&weights(0)?)?;
            let before = load.so_far().by_server["web2"];
            assert_eq!(lab.curl_sequence(&url(&lab, Family::V4), 12)?, ["web1"; 12]);
            assert!(load.pass(400, patience(30)));
            let report = load.stop()?;
            assert_eq!((report.failed, &report.errors), (0, &vec![]));
            assert!(report.by_server["web2"] >= before + 100, "{before} and then {report:?}");
            lab.down()
        });
    }

    #[test]
    fn nobody_with_weight_refuses_at_once() {
        isolated("as_root::nobody_with_weight_refuses_at_once", || {
            let lab = Lab::builder().up()?;
            for family in [Family::V4, Family::V6] {
                let config = web(&lab, family, &[(Node::Web1, 0), (Node::Web2, 0)])?;
                let director = Director::start(&lab, Node::Lvs1, &config)?;
                let started = Instant::now();
                let answer = lab.curl_sequence(&url(&lab, family), 1)?;
                assert!(answer[0].starts_with("failed: curl: (7)"), "{answer:?}");
                assert!(started.elapsed() < patience(1), "refused, not given up: {:?}", started.elapsed());
                director.down()?;
            }
            lab.down()
        });
    }

    /// The director is a real server too: its share stays in its own stack.
    #[test]
    fn director_serves_its_own_share() {
        isolated("as_root::director_serves_its_own_share", || {
            let lab = Lab::builder().up()?;
            let vip = lab.vip(Family::V4);
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Lvs1, 1)])?;
            let _director = Director::start(&lab, Node::Lvs1, &config)?;
            let dir = lab.dir().display();
            let nginx = format!(
                "user root;\ndaemon off;\npid {dir}/lvs1.pid;\nevents {{}}\nhttp {{ access_log off; \
                 client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; \
                 uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5; \
                 server {{ listen {vip}:80; return 200 \"lvs1\\n\"; }} }}\n"
            );
            let path = lab.write("lvs1-nginx.conf", &nginx)?.display().to_string();
            let log = format!("{dir}/lvs1-error.log");
            let server = lab.spawn(Node::Lvs1, ["nginx", "-c", &path, "-e", &log])?;
            let url = url(&lab, Family::V4);
            let local = ["curl", "-s", "--max-time", "2", &url];
            let is_up =
                || lab.output(Node::Lvs1, local).is_ok_and(|output| output.stdout == b"lvs1\n".as_slice());
            assert!(wait_until(patience(20), is_up), "{}", server.log());
            let answers = lab.curl_sequence(&url, 12)?;
            assert_eq!(counts(&answers), [("lvs1", 6), ("web1", 6)], "{answers:?}");
            lab.down()
        });
    }

    /// Echo requests are nobody's connection: the director's own stack answers them.
    #[test]
    fn director_answers_echo_requests_to_the_vip() {
        isolated("as_root::director_answers_echo_requests_to_the_vip", || {
            let lab = Lab::builder().nginx(false).up()?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 1)])?;
            let config = config.with(
                VirtualServer::new(lab.web(Family::V6))
                    .real_server(lab.address(Node::Web1, Family::V6).context("web1")?, 1),
            );
            let _director = Director::start(&lab, Node::Lvs1, &config)?;
            for (family, file, counter) in
                [(Family::V4, "snmp", "Icmp"), (Family::V6, "snmp6", "Icmp6InEchos")]
            {
                let echoes = |node| -> anyhow::Result<u64> {
                    let text = lab
                        .enter(node, || std::fs::read_to_string(format!("/proc/thread-self/net/{file}")))??;
                    echo_requests(&text, counter).with_context(|| format!("{counter} in {text}"))
                };
                let before = echoes(Node::Lvs1)?;
                let vip = lab.vip(family).to_string();
                let wait = patience(5).as_secs().to_string();
                let said =
                    lab.exec(Node::Client, ["ping", "-n", "-c", "3", "-i", "0.2", "-W", &wait, &vip])?;
                assert!(said.contains(" 0% packet loss"), "{said}");
                assert_eq!(echoes(Node::Lvs1)?, before + 3);
                assert_eq!((echoes(Node::Web1)?, echoes(Node::Web2)?), (0, 0));
            }
            lab.down()
        });
    }

    /// /proc/net/snmp has a line of names and one of numbers, /proc/net/snmp6 one line for each.
    fn echo_requests(text: &str, counter: &str) -> Option<u64> {
        if counter != "Icmp" {
            let line = text.lines().find(|line| line.starts_with(counter))?;
            return line.split_whitespace().nth(1)?.parse().ok();
        }
        let mut lines = text.lines().filter(|line| line.starts_with("Icmp:"));
        let at = lines.next()?.split_whitespace().position(|name| name == "InEchos")?;
        lines.next()?.split_whitespace().nth(at)?.parse().ok()
    }

    #[test]
    fn two_directors_run_side_by_side() {
        isolated("as_root::two_directors_run_side_by_side", || {
            let lab = Lab::builder().up()?;
            let vips: [IpAddr; 2] = [lab.vip(Family::V4), "192.168.4.16".parse()?];
            start_real_servers(&lab, &vips)?;
            let config = |vip, weights: [u16; 2]| {
                let server = VirtualServer::new(SocketAddr::new(vip, 80))
                    .real_server(address(&lab, Node::Web1), weights[0])
                    .real_server(address(&lab, Node::Web2), weights[1]);
                Configuration::new(&["eth0"]).with(server)
            };
            let first = Director::up(&lab, Node::Lvs1, &config(vips[0], [1, 2]))?;
            let second = Director::up(&lab, Node::Lvs2, &config(vips[1], [2, 1]))?;
            let twelve =
                |vip| -> anyhow::Result<Vec<String>> { lab.curl_sequence(&format!("http://{vip}/"), 12) };
            let (one, two) = (twelve(vips[0])?, twelve(vips[1])?);
            assert_eq!(counts(&one), [("web1", 4), ("web2", 8)]);
            assert_eq!(counts(&two), [("web1", 8), ("web2", 4)]);
            first.down()?;
            let two = twelve(vips[1])?;
            assert_eq!(counts(&two), [("web1", 8), ("web2", 4)], "the other's end is none of its concern");
            second.down()?;
            lab.down()
        });
    }
}

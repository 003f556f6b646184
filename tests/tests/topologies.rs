//! Two arms, both XDP modes, large transfers, fragments, and real servers that are not there yet.

mod as_root {
    use std::net::{IpAddr, SocketAddr, UdpSocket};

    use anyhow::Context;
    use lb_tests::director::{Configuration, Director, VirtualServer, patience, web};
    use lb_tests::{Echo, Family, Lab, Node, Topology, echo_back, isolated, wait_until};

    /// The web server on port 80 and the echo servers on port 7 behind the VIP, one real server each by turns.
    fn services(lab: &Lab, interfaces: &[&str], family: Family) -> anyhow::Result<Configuration> {
        let vip = lab.vip(family);
        let with_both = |server: VirtualServer| {
            [Node::Web1, Node::Web2].into_iter().try_fold(server, |server, node| {
                let address = lab.address(node, family).context("no such node")?;
                anyhow::Ok(server.real_server(address, 1))
            })
        };
        Ok(Configuration::new(interfaces)
            .with(with_both(VirtualServer::new(lab.web(family)))?)
            .with(with_both(VirtualServer::new(SocketAddr::new(vip, 7)))?)
            .with(with_both(VirtualServer::new(SocketAddr::new(vip, 7)).udp())?))
    }

    fn echoes(lab: &Lab, family: Family) -> anyhow::Result<[Echo; 2]> {
        let vip = lab.vip(family);
        Ok([Echo::start(lab, Node::Web1, vip)?, Echo::start(lab, Node::Web2, vip)?])
    }

    /// Requests, a download of 64 MiB and an upload of several, to each server.
    fn works(lab: &Lab, family: Family) -> anyhow::Result<()> {
        let url = format!("http://{}/", lab.web(family));
        assert_eq!(lab.curl_sequence(&url, 6)?, ["web2", "web1", "web2", "web1", "web2", "web1"]);
        let wait = patience(30).as_secs().to_string();
        let big = format!("{url}big");
        let size = ["curl", "-sSg", "--max-time", &wait, "-o", "/dev/null", "-w", "%{size_download}", &big];
        for _ in 0..2 {
            assert_eq!(lab.exec(Node::Client, size)?, (64 << 20).to_string());
        }
        let vip = SocketAddr::new(lab.vip(family), 7);
        let upload = || lab.enter(Node::Client, || echo_back(vip, 8 << 20))?;
        let mut names = [upload()?, upload()?];
        names.sort();
        assert_eq!(names, ["web1", "web2"]);
        Ok(())
    }

    #[test]
    fn two_armed_director_forwards_between_its_interfaces() {
        isolated("as_root::two_armed_director_forwards_between_its_interfaces", || {
            for interfaces in [&["eth0"][..], &["eth0", "eth1"]] {
                let lab = Lab::builder().topology(Topology::TwoArmed).up()?;
                for family in [Family::V4, Family::V6] {
                    let config = services(&lab, interfaces, family)?;
                    let director = Director::start(&lab, Node::Lvs1, &config)?;
                    let echoes = echoes(&lab, family)?;
                    assert_eq!(director.program("eth0")?.context("no program")?.1, "native");
                    works(&lab, family)?;
                    drop(echoes);
                    director.down()?;
                }
                lab.down()?;
            }
            Ok(())
        });
    }

    #[test]
    fn two_armed_director_falls_back_and_forwards() {
        isolated("as_root::two_armed_director_falls_back_and_forwards", || {
            let lab = Lab::builder().topology(Topology::TwoArmed).pass_program(false).up()?;
            let config = services(&lab, &["eth0"], Family::V4)?;
            let director = Director::start(&lab, Node::Lvs1, &config)?;
            let _echoes = echoes(&lab, Family::V4)?;
            assert_eq!(director.program("eth0")?.context("no program")?.1, "generic");
            works(&lab, Family::V4)?;
            lab.down()
        });
    }

    /// On a veth whose other end takes no frames from XDP, `auto` says so and uses generic mode.
    #[test]
    fn auto_falls_back_to_generic_with_a_warning() {
        isolated("as_root::auto_falls_back_to_generic_with_a_warning", || {
            let lab = Lab::builder().pass_program(false).up()?;
            for family in [Family::V4, Family::V6] {
                let director = Director::start(&lab, Node::Lvs1, &services(&lab, &["eth0"], family)?)?;
                let _echoes = echoes(&lab, family)?;
                assert_eq!(director.program("eth0")?.context("no program")?.1, "generic");
                let said = director.said();
                assert!(said.contains("eth0") && said.contains("using generic XDP"), "{said}");
                works(&lab, family)?;
                director.down()?;
            }
            lab.down()
        });
    }

    #[test]
    fn auto_is_native_without_a_warning_where_it_works() {
        isolated("as_root::auto_is_native_without_a_warning_where_it_works", || {
            let lab = Lab::builder().up()?;
            let director = Director::start(&lab, Node::Lvs1, &services(&lab, &["eth0"], Family::V4)?)?;
            let _echoes = echoes(&lab, Family::V4)?;
            assert_eq!(director.program("eth0")?.context("no program")?.1, "native");
            assert!(!director.said().contains("WARN"), "{}", director.said());
            works(&lab, Family::V4)?;
            lab.down()
        });
    }

    /// Generic mode sees what the stack has merged: a client that leaves segmentation and checksums to the hardware,
    /// and a director that merges what it receives.
    #[test]
    fn generic_mode_forwards_merged_packets() {
        isolated("as_root::generic_mode_forwards_merged_packets", || {
            let lab = Lab::builder().pass_program(false).up()?;
            let config = services(&lab, &["eth0"], Family::V4)?.option("xdp_mode = \"generic\"");
            let director = Director::start(&lab, Node::Lvs1, &config)?;
            let _echoes = echoes(&lab, Family::V4)?;
            assert_eq!(director.program("eth0")?.context("no program")?.1, "generic");
            assert!(!director.said().contains("WARN"), "{}", director.said());
            lab.exec(Node::Client, ["ethtool", "-K", "eth0", "tx", "on", "tso", "on", "gso", "on"])?;
            works(&lab, Family::V4)?;
            lab.exec(Node::Client, ["ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off"])?;
            lab.exec(Node::Lvs1, ["ethtool", "-K", "eth0", "gro", "on"])?;
            works(&lab, Family::V4)?;
            lab.down()
        });
    }

    /// A datagram that takes three frames, to both servers, there and back.
    #[test]
    fn fragments_go_where_the_first_one_went() {
        isolated("as_root::fragments_go_where_the_first_one_went", || {
            let lab = Lab::builder().nginx(false).up()?;
            for family in [Family::V4, Family::V6] {
                let director = Director::start(&lab, Node::Lvs1, &services(&lab, &["eth0"], family)?)?;
                let _echoes = echoes(&lab, family)?;
                let vip = SocketAddr::new(lab.vip(family), 7);
                let sent: Vec<u8> = (0..4000u32).map(|i| (i % 251) as u8).collect();
                let mut names = lab.enter(Node::Client, || -> anyhow::Result<Vec<String>> {
                    (0..8).map(|_| datagram_back(vip, &sent)).collect()
                })??;
                names.sort();
                names.dedup();
                assert_eq!(names, ["web1", "web2"]);
                director.down()?;
            }
            lab.down()
        });
    }

    fn datagram_back(vip: SocketAddr, sent: &[u8]) -> anyhow::Result<String> {
        let any: IpAddr = if vip.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(vip)?;
        socket.set_read_timeout(Some(patience(5)))?;
        socket.send(sent)?;
        let mut buffer = vec![0; 8192];
        let count = socket.recv(&mut buffer).context("no answer")?;
        let space = buffer.iter().position(|byte| *byte == b' ').context("no name")?;
        anyhow::ensure!(buffer[space + 1..count] == *sent, "{count} bytes came back otherwise");
        Ok(String::from_utf8_lossy(&buffer[..space]).into_owned())
    }

    /// A real server that is not there at `up` is named, does not keep the others from being served, and gets traffic
    /// when it comes.
    #[test]
    fn absent_real_server_is_named_and_found_when_it_comes() {
        isolated("as_root::absent_real_server_is_named_and_found_when_it_comes", || {
            let lab = Lab::builder().up()?;
            lab.exec(Node::Web2, ["ip", "link", "set", "dev", "eth0", "down"])?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 1)])?;
            let director = Director::start(&lab, Node::Lvs1, &config)?;
            let said = director.said();
            assert!(said.contains("WARN") && said.contains("192.168.4.200"), "{said}");
            let url = format!("http://{}/", lab.web(Family::V4));
            lab.exec(Node::Web2, ["ip", "link", "set", "dev", "eth0", "up"])?;
            let is_served =
                || lab.curl_sequence(&url, 2).is_ok_and(|two| two.iter().any(|one| one == "web2"));
            assert!(wait_until(patience(10), is_served), "{}", director.log());
            assert!(director.log().contains("192.168.4.200 is reachable"), "{}", director.log());
            lab.down()
        });
    }
}

//! What each scheduler promises, with real clients and web servers. Where IPVS leaves nothing to chance, the answers
//! are those of IPVS, one by one: captured from it (`data/`), or by its tables.

mod as_root {
    use std::fs;
    use std::net::{IpAddr, SocketAddr};

    use anyhow::{Context, ensure};
    use lb_tests::director::{Configuration, Director, VirtualServer, patience, run_lbctl};
    use lb_tests::visit::{Visit, captured, more_clients, served, served_in_turn};
    use lb_tests::{Family, Lab, Node, isolated, wait_until};
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    const WEBS: [Node; 3] = [Node::Web1, Node::Web2, Node::Web3];

    fn lab() -> anyhow::Result<Lab> {
        Lab::builder().web3(true).up()
    }

    /// Each virtual server of a test has a VIP of its own: 192.168.4.16 is number 1.
    fn web(number: u8) -> SocketAddr {
        SocketAddr::from(([192, 168, 4, 15 + number], 80))
    }

    fn client(lab: &Lab) -> anyhow::Result<IpAddr> {
        lab.address(Node::Client, Family::V4).context("the client")
    }

    /// web1, web2 and web3 with these weights.
    fn service(
        lab: &Lab,
        number: u8,
        scheduler: &'static str,
        weights: [u16; 3],
    ) -> anyhow::Result<VirtualServer> {
        let server = VirtualServer::new(web(number)).scheduler(scheduler);
        WEBS.into_iter().zip(weights).try_fold(server, |server, (node, weight)| {
            Ok(server.real_server(lab.address(node, Family::V4).context("a node of the lab")?, weight))
        })
    }

    fn configuration(servers: impl IntoIterator<Item = VirtualServer>) -> Configuration {
        servers.into_iter().fold(Configuration::new(&["eth0"]), Configuration::with)
    }

    /// Opens so many connections, one after the other.
    fn hold(lab: &Lab, to: SocketAddr, count: usize) -> anyhow::Result<Vec<Visit>> {
        let from = SocketAddr::new(client(lab)?, 0);
        (0..count).map(|_| Visit::open(lab, from, to)).collect()
    }

    fn names(visits: &[Visit]) -> Vec<&str> {
        visits.iter().map(Visit::server).collect()
    }

    /// How many of the answers came from web1, web2 and web3.
    fn shares<S: AsRef<str>>(answers: &[S]) -> [usize; 3] {
        WEBS.map(|node| answers.iter().filter(|answer| answer.as_ref() == node.name()).count())
    }

    #[test]
    fn in_turn() {
        isolated("as_root::in_turn", || {
            let lab = lab()?;
            let config = configuration([
                service(&lab, 1, "rr", [7, 1, 2])?,
                service(&lab, 2, "wrr", [5, 3, 1])?,
                service(&lab, 3, "wrr", [5, 0, 1])?,
            ]);
            let mut director = Director::start(&lab, Node::Lvs1, &config)?;
            let client = client(&lab)?;
            let turn = captured(include_str!("data/ipvs-rr-1-1-1.txt"));
            assert_eq!(served_in_turn(&lab, client, web(1), 24)?, turn);
            let turn = captured(include_str!("data/ipvs-wrr-5-3-1.txt"));
            assert_eq!(served_in_turn(&lab, client, web(2), 24)?, turn);
            let twelve = served_in_turn(&lab, client, web(3), 12)?;
            assert_eq!(shares(&twelve), [10, 0, 2], "quiesced: {twelve:?}");

            // Who is quiesced is left out, the others go on in their order.
            let config = configuration([service(&lab, 1, "rr", [7, 0, 2])?]);
            director.reload(&config)?;
            let after = served_in_turn(&lab, client, web(1), 6)?;
            assert_eq!(after, ["web3", "web1", "web3", "web1", "web3", "web1"]);
            lab.down()
        });
    }

    /// Connections that stay open, opened one by one, are placed as IPVS placed them; and when a real server has lost
    /// its own, the next ones go there.
    #[test]
    fn by_connections() {
        isolated("as_root::by_connections", || {
            let lab = lab()?;
            let schedulers = [
                ("lc", [1, 1, 1], include_str!("data/ipvs-held-lc-1-1-1.txt")),
                ("wlc", [5, 3, 1], include_str!("data/ipvs-held-wlc-5-3-1.txt")),
                ("sed", [5, 3, 1], include_str!("data/ipvs-held-sed-5-3-1.txt")),
                ("nq", [5, 3, 1], include_str!("data/ipvs-held-nq-5-3-1.txt")),
            ];
            let servers = (1..)
                .zip(schedulers)
                .map(|(number, (name, weights, _))| service(&lab, number, name, weights));
            let config = configuration(servers.collect::<anyhow::Result<Vec<_>>>()?);
            let _director = Director::start(&lab, Node::Lvs1, &config)?;
            for (number, (name, _, capture)) in (1..).zip(schedulers) {
                let mut held = hold(&lab, web(number), 24)?;
                assert_eq!(names(&held), captured(capture), "{name}");
                for visit in &mut held {
                    let who = visit.server().to_owned();
                    assert_eq!(visit.again()?, who, "{name}: a connection stays");
                }
                // web2 had 8 of them each time; only then are the others as loaded as it is.
                held.retain(|visit| visit.server() != "web2");
                let next = hold(&lab, web(number), 6)?;
                assert_eq!(names(&next), ["web2"; 6], "{name}: to the real server without connections");
            }
            lab.down()
        });
    }

    /// `fo` goes down the weights as real servers fail, `ovf` as they are full.
    #[test]
    fn by_priority() {
        isolated("as_root::by_priority", || {
            let lab = lab()?;
            let often = "check_interval = \"200ms\"\ncheck_timeout = \"2s\"\ncheck_retry_delay = \"100ms\"";
            let fo = |weights| -> anyhow::Result<VirtualServer> {
                Ok(service(&lab, 1, "fo", weights)?.option(often).option("check = [{ type = \"tcp\" }]"))
            };
            let ovf = || service(&lab, 2, "ovf", [3, 2, 1]);
            let mut director = Director::start(&lab, Node::Lvs1, &configuration([fo([3, 2, 1])?, ovf()?]))?;
            let client = client(&lab)?;
            let four = |who: &str| -> anyhow::Result<()> {
                let answers = served_in_turn(&lab, client, web(1), 4)?;
                ensure!(answers == [who; 4], "{answers:?}, not {who}");
                Ok(())
            };
            four("web1")?;
            director.reload(&configuration([fo([0, 2, 1])?, ovf()?]))?;
            four("web2")?;
            director.reload(&configuration([fo([3, 2, 1])?, ovf()?]))?;
            four("web1")?;

            // nginx on web1 ends: who asks meets web2 as soon as the check has seen it.
            let pid = fs::read_to_string(lab.dir().join("web1/nginx.pid"))?;
            kill(Pid::from_raw(pid.trim().parse()?), Signal::SIGTERM)?;
            assert!(wait_until(patience(20), || four("web2").is_ok()), "{}", director.log());
            four("web2")?;

            // IPVS: a real server takes as many as its weight and one more; then nobody is left.
            lab.exec(Node::Web1, ["nginx", "-p", "/run/lbctl-lab/web1", "-c", "nginx.conf", "-e", "stderr"])?;
            let mut held = hold(&lab, web(2), 9)?;
            let order = ["web1", "web1", "web1", "web1", "web2", "web2", "web2", "web3", "web3"];
            assert_eq!(names(&held), order);
            let refused = served(&lab, SocketAddr::new(client, 0), web(2))?;
            assert!(refused.contains("refused"), "{refused}");
            drop(held.remove(5));
            held.extend(hold(&lab, web(2), 1)?);
            assert_eq!(held[8].server(), "web2", "in the place that became free");
            drop(held);
            lab.down()
        });
    }

    /// The kernel's `hash_32(value, 8)` (`include/linux/hash.h`), by which `sh` and `dh` pick one of 256 places.
    fn place(address: IpAddr, port: u16) -> usize {
        let IpAddr::V4(address) = address else { return 0 };
        let value = address.to_bits().wrapping_add(u32::from(port));
        (value.wrapping_mul(0x61C8_8647) >> 24) as usize
    }

    /// `sh` fills its places with web3, the first of IPVS's list, as often as its weight says, then web2, then web1.
    const LAPS: [&str; 6] = ["web3", "web3", "web3", "web2", "web2", "web1"];

    fn by_source(address: IpAddr, port: u16) -> &'static str {
        LAPS[place(address, port) % LAPS.len()]
    }

    /// Who serves each of the clients at this virtual server; two requests of each from different ports.
    fn of_each(lab: &Lab, clients: &[IpAddr], to: SocketAddr) -> anyhow::Result<Vec<String>> {
        let of = |client: &IpAddr| -> anyhow::Result<String> {
            let first = served(lab, SocketAddr::new(*client, 0), to)?;
            let second = served(lab, SocketAddr::new(*client, 0), to)?;
            ensure!(first == second, "{client} at {to} meets {first}, then {second}");
            Ok(first)
        };
        clients.iter().map(of).collect()
    }

    /// Who serves one client at this virtual server from each of these ports.
    fn of_ports(
        lab: &Lab,
        from: IpAddr,
        ports: impl Iterator<Item = u16>,
        to: SocketAddr,
    ) -> anyhow::Result<Vec<String>> {
        ports.map(|port| served(lab, SocketAddr::new(from, port), to)).collect()
    }

    const FALLBACK: &str = "scheduler_flags = [\"sh-fallback\"]";

    #[test]
    fn by_the_clients_address() {
        isolated("as_root::by_the_clients_address", || {
            let lab = lab()?;
            let clients = more_clients(&lab)?;
            let services = |weights| -> anyhow::Result<Configuration> {
                Ok(configuration([
                    service(&lab, 1, "sh", weights)?,
                    service(&lab, 2, "sh", weights)?.option(FALLBACK),
                    service(&lab, 3, "sh", weights)?.option("scheduler_flags = [\"sh-port\"]"),
                    service(&lab, 4, "mh", weights)?,
                    service(&lab, 5, "mh", weights)?.option("scheduler_flags = [\"mh-fallback\"]"),
                    service(&lab, 6, "mh", weights)?.option("scheduler_flags = [\"mh-port\"]"),
                ]))
            };
            let mut director = Director::start(&lab, Node::Lvs1, &services([1, 2, 3])?)?;
            let table: Vec<&str> = clients.iter().map(|client| by_source(*client, 0)).collect();
            assert_eq!(of_each(&lab, &clients, web(1))?, table);
            assert_eq!(of_each(&lab, &clients, web(2))?, table);
            let mh = of_each(&lab, &clients, web(4))?;
            assert_eq!(of_each(&lab, &clients, web(5))?, mh);
            // Always the same draws: nothing is left to chance here, and none of the three is left out.
            assert!(shares(&mh).iter().all(|share| *share > 0), "{mh:?}");

            let (from, ports) = (clients[0], 50_000..50_024);
            let table: Vec<&str> = ports.clone().map(|port| by_source(from, port)).collect();
            assert_eq!(of_ports(&lab, from, ports.clone(), web(3))?, table, "by address and port");
            let mh_ports = of_ports(&lab, from, ports.clone(), web(6))?;
            assert!(shares(&mh_ports).iter().all(|share| *share > 0), "{mh_ports:?}");
            assert_eq!(of_ports(&lab, from, ports, web(6))?, mh_ports, "the same port, the same real server");

            // web2 is quiesced: its clients are refused, or with the flag meet others; the other clients notice nothing.
            director.reload(&services([1, 0, 3])?)?;
            let of_mh: Vec<&str> = mh.iter().map(String::as_str).collect();
            let of_sh: Vec<&str> = {
                // IPVS gives a quiesced real server one place in each lap.
                let laps = ["web3", "web3", "web3", "web2", "web1"];
                clients.iter().map(|client| laps[place(*client, 0) % laps.len()]).collect()
            };
            for (before, plain, with_fallback) in [(of_sh, 1, 2), (of_mh, 4, 5)] {
                let refused = of_each(&lab, &clients, web(plain))?;
                let moved = of_each(&lab, &clients, web(with_fallback))?;
                for ((before, plain), fallback) in before.into_iter().zip(&refused).zip(&moved) {
                    if before == "web2" {
                        assert!(plain.contains("refused"), "{plain}");
                        assert!(fallback == "web1" || fallback == "web3", "{fallback}");
                    } else {
                        assert_eq!((plain.as_str(), fallback.as_str()), (before, before));
                    }
                }
            }
            lab.down()
        });
    }

    /// One virtual server on sixteen addresses: each address has its real server, whoever asks.
    #[test]
    fn by_the_virtual_address() {
        isolated("as_root::by_the_virtual_address", || {
            let lab = lab()?;
            let group = "[[virtual_server_group]]\nname = \"caches\"\naddresses = [\"192.168.4.64-79:80\"]\n\
                         [[virtual_server]]\ngroup = \"caches\"\nscheduler = \"dh\"\n\
                         real_server = [{ address = \"192.168.4.100\" }, { address = \"192.168.4.200\" }, \
                         { address = \"192.168.4.150\", weight = 9 }]\n";
            let vips: Vec<IpAddr> = (64..80).map(|host| IpAddr::from([192, 168, 4, host])).collect();
            lb_tests::director::start_real_servers(&lab, &vips)?;
            let _director = Director::up(&lab, Node::Lvs1, &Configuration::new(&["eth0"]).append(group))?;
            let clients = more_clients(&lab)?;
            for vip in vips {
                // Each in turn, from the first of IPVS's list: weights do not count.
                let expected = ["web3", "web2", "web1"][place(vip, 0) % 3];
                let answers: Vec<String> = clients[..3]
                    .iter()
                    .map(|client| served(&lab, SocketAddr::new(*client, 0), SocketAddr::new(vip, 80)))
                    .collect::<anyhow::Result<_>>()?;
                assert_eq!(answers, [expected; 3], "{vip}");
            }
            lab.down()
        });
    }

    /// One virtual server on eight addresses: each address stays with a real server until that is overloaded while
    /// another is idle. `lblc` then moves the address, `lblcr` shares it. A reload changes nothing.
    #[test]
    fn by_locality() {
        isolated("as_root::by_locality", || {
            let lab = lab()?;
            let group = |name: &str, first: u8, more: &str| {
                let last = first + 3;
                format!(
                    "[[virtual_server_group]]\nname = \"{name}\"\naddresses = [\"192.168.4.{first}-{last}:80\"]\n\
                     [[virtual_server]]\ngroup = \"{name}\"\nscheduler = \"{name}\"\n\
                     real_server = [{{ address = \"192.168.4.100\", weight = 2 }}, \
                     {{ address = \"192.168.4.200\", weight = 2 }}{more}]\n"
                )
            };
            let both = |more: &str| {
                let text = group("lblc", 64, more) + &group("lblcr", 68, more);
                Configuration::new(&["eth0"]).append(&text)
            };
            let vip = |number: u8| SocketAddr::from(([192, 168, 4, 64 + number], 80));
            let vips: Vec<IpAddr> = (0..8).map(|number| vip(number).ip()).collect();
            lb_tests::director::start_real_servers(&lab, &vips)?;
            let mut director = Director::up(&lab, Node::Lvs1, &both(""))?;
            let mut held = Vec::new();
            for first in [0, 4] {
                // Nobody has connections: web2, the first of IPVS's list. Then web1 has none.
                held.extend(hold(&lab, vip(first), 1)?);
                held.extend(hold(&lab, vip(first + 1), 1)?);
                assert_eq!(names(&held)[held.len() - 2..], ["web2", "web1"], "each address has its own");
                let again = hold(&lab, vip(first), 2)?;
                assert_eq!(names(&again), ["web2"; 2], "where its first connection went");
                held.extend(again);
                held.retain(|visit| visit.server() != "web1");
                // web2 has three with a weight of two, and web1 none.
                let next = hold(&lab, vip(first), 3)?;
                assert_eq!(names(&next), ["web1"; 3], "web2 is overloaded");
                held.extend(next);
            }
            // `lblc` moved the address to web1. Under `lblcr` both have it, with three connections each.
            director.reload(&both(", { address = \"192.168.4.150\", weight = 0 }"))?;
            held.extend(hold(&lab, vip(0), 2)?);
            assert_eq!(names(&held)[held.len() - 2..], ["web1"; 2], "lblc, after a reload");
            held.extend(hold(&lab, vip(4), 2)?);
            assert_eq!(names(&held)[held.len() - 2..], ["web2", "web1"], "lblcr, after a reload");
            let asked = [client(&lab)?.to_string(), vip(0).to_string()];
            let said = run_lbctl(&lab, Node::Lvs1, ["explain", &asked[0], &asked[1]])?;
            let said = String::from_utf8(said.stdout)?;
            assert!(said.contains("it serves this virtual address"), "{said}");
            drop(held);
            lab.down()
        });
    }

    /// Of two that are drawn the less loaded one: that is never far from even.
    #[test]
    fn of_two_the_better_one() {
        isolated("as_root::of_two_the_better_one", || {
            let lab = lab()?;
            let config =
                configuration([service(&lab, 1, "twos", [1, 1, 1])?, service(&lab, 2, "twos", [1, 0, 3])?]);
            let _director = Director::start(&lab, Node::Lvs1, &config)?;
            let even = hold(&lab, web(1), 60)?;
            let [one, two, three] = shares(&names(&even));
            assert!([one, two, three].iter().all(|share| (12..=28).contains(share)), "{one} {two} {three}");
            let by_weight = hold(&lab, web(2), 60)?;
            let [one, two, three] = shares(&names(&by_weight));
            assert!(two == 0 && (8..=24).contains(&one) && one + three == 60, "{one} {two} {three}");
            drop((even, by_weight));
            lab.down()
        });
    }
}

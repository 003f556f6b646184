//! The same connections through the kernel's IPVS and through `lbctl`, by the same commands of ipvsadm: the same real
//! servers serve them, one by one. Tier 4 runs this under the kernels that have IPVS.

mod as_root {
    mod with_modules {
        use std::ffi::OsString;
        use std::net::{IpAddr, SocketAddr};

        use anyhow::{Context, ensure};
        use lb_tests::director::{Configuration, Director, lbctl, patience, start_real_servers};
        use lb_tests::visit::{Visit, more_clients, served, served_in_turn};
        use lb_tests::{Lab, Node, isolated, wait_until};

        /// One of the two directors. Both are in one lab, each with VIPs of its own.
        struct Side<'lab> {
            lab: &'lab Lab,
            node: Node,
            /// `ipvsadm`, and the words before its own.
            ipvsadm: Vec<OsString>,
            /// The last number of its first VIP.
            first_vip: u8,
        }

        /// The kernel's on lvs1 and ours on lvs2, with 16 VIPs each.
        struct Pair<'lab> {
            ipvs: Side<'lab>,
            ours: Side<'lab>,
            director: Director<'lab>,
        }

        impl<'lab> Pair<'lab> {
            fn up(lab: &'lab Lab) -> anyhow::Result<Self> {
                let ipvs = Side { lab, node: Node::Lvs1, ipvsadm: vec!["ipvsadm".into()], first_vip: 64 };
                let words = vec![lbctl()?.into(), "ipvsadm".into()];
                let ours = Side { lab, node: Node::Lvs2, ipvsadm: words, first_vip: 80 };
                ipvs.command("-Ln").context(
                    "the module ip_vs or the program ipvsadm is missing; `cargo xtask test --tier 4` has both",
                )?;
                let vips: Vec<IpAddr> = (0..32).map(|n| ipvs.vip(n).ip()).collect();
                start_real_servers(lab, &vips)?;
                // The VIPs of IPVS; `lbctl` adds its own.
                lab.exec(Node::Lvs1, ["ip", "route", "add", "local", "192.168.4.64/28", "dev", "eth0"])?;
                let director = Director::up(lab, Node::Lvs2, &configuration())?;
                Ok(Self { ipvs, ours, director })
            }

            /// Each line on both, `VIP` being the address and port of virtual server `number`.
            fn rules(&self, number: u8, lines: &[&str]) -> anyhow::Result<()> {
                for side in [&self.ipvs, &self.ours] {
                    let rules = lines.join("\n").replace("VIP", &side.vip(number).to_string());
                    let file = self.ours.lab.write("rules", &rules)?.display().to_string();
                    let shell = [OsString::from("sh"), "-c".into(), "exec \"$@\" -R <$0".into(), file.into()];
                    side.lab.exec(side.node, shell.into_iter().chain(side.ipvsadm.iter().cloned()))?;
                }
                Ok(())
            }

            /// Has the same done on both sides; what comes of it must be the same, and is returned.
            fn same(
                &self,
                number: u8,
                what: &str,
                work: impl Fn(SocketAddr) -> anyhow::Result<Vec<String>>,
            ) -> anyhow::Result<Vec<String>> {
                let theirs = work(self.ipvs.vip(number)).with_context(|| format!("{what}: IPVS"))?;
                let ours = work(self.ours.vip(number)).with_context(|| format!("{what}: lbctl"))?;
                ensure!(ours == theirs, "{what}:\nIPVS  {}\nlbctl {}", theirs.join(" "), ours.join(" "));
                Ok(theirs)
            }
        }

        impl Pair<'_> {
            fn lab(&self) -> &Lab {
                self.ipvs.lab
            }

            /// One request of each client, from any port.
            fn ask(&self, number: u8, what: &str, clients: &[IpAddr]) -> anyhow::Result<Vec<String>> {
                self.same(number, what, |vip| {
                    clients
                        .iter()
                        .map(|client| served(self.lab(), SocketAddr::new(*client, 0), vip))
                        .collect()
                })
            }
        }

        impl Side<'_> {
            fn vip(&self, number: u8) -> SocketAddr {
                SocketAddr::from(([192, 168, 4, self.first_vip + number], 80))
            }

            fn command(&self, line: &str) -> anyhow::Result<String> {
                let words = line.split_whitespace().map(OsString::from);
                self.lab.exec(self.node, self.ipvsadm.iter().cloned().chain(words))
            }
        }

        const CLIENT: [u8; 4] = [192, 168, 4, 10];
        const WEB1: &str = "-r 192.168.4.100 -g";
        const WEB2: &str = "-r 192.168.4.200 -g";
        const WEB3: &str = "-r 192.168.4.150 -g";

        fn configuration() -> Configuration {
            Configuration::new(&["eth0"])
        }

        /// Commands that make a virtual server of web1, web2 and web3, in this order.
        fn three(service: &str, weights: [u16; 3]) -> Vec<String> {
            let servers = [WEB1, WEB2, WEB3].into_iter().zip(weights);
            std::iter::once(format!("-A -t VIP {service}"))
                .chain(servers.map(|(server, weight)| format!("-a -t VIP {server} -w {weight}")))
                .collect()
        }

        fn lines(lines: &[String]) -> Vec<&str> {
            lines.iter().map(String::as_str).collect()
        }

        fn hold(lab: &Lab, to: SocketAddr, count: usize) -> anyhow::Result<Vec<Visit>> {
            (0..count).map(|_| Visit::open(lab, SocketAddr::from((CLIENT, 0)), to)).collect()
        }

        fn names(visits: &[Visit]) -> Vec<String> {
            visits.iter().map(|visit| visit.server().to_owned()).collect()
        }

        #[test]
        fn who_serves_is_the_same() {
            isolated("as_root::with_modules::who_serves_is_the_same", || {
                let lab = Lab::builder().web3(true).up()?;
                let clients = more_clients(&lab)?;
                let mut pair = Pair::up(&lab)?;
                in_turn(&pair)?;
                by_connections(&pair)?;
                by_client(&pair, &clients)?;
                persistent(&mut pair, &clients)?;
                lab.down()
            });
        }

        #[test]
        fn who_has_an_address_is_the_same() {
            isolated("as_root::with_modules::who_has_an_address_is_the_same", || {
                let lab = Lab::builder().web3(true).up()?;
                by_locality(&Pair::up(&lab)?)?;
                lab.down()
            });
        }

        fn in_turn(pair: &Pair<'_>) -> anyhow::Result<()> {
            let ask = |number, what: &str, count| {
                pair.same(number, what, |vip| served_in_turn(pair.lab(), CLIENT.into(), vip, count))
            };
            pair.rules(0, &lines(&three("-s rr", [1, 1, 1])))?;
            let turn = ask(0, "rr", 7)?;
            assert_eq!(turn[..4], ["web3", "web2", "web1", "web3"], "what IPVS does");
            pair.rules(0, &[&format!("-e -t VIP {WEB2} -w 0")])?;
            assert!(!ask(0, "rr, web2 quiesced", 5)?.contains(&"web2".to_owned()));
            pair.rules(0, &[&format!("-e -t VIP {WEB2} -w 1")])?;
            ask(0, "rr, web2 back", 5)?;

            pair.rules(1, &lines(&three("-s wrr", [1, 2, 0])))?;
            ask(1, "wrr 1 2", 8)?;
            pair.rules(2, &lines(&three("-s wrr", [5, 3, 1])))?;
            ask(2, "wrr 5 3 1", 13)?;
            for (what, change) in [
                ("web1 of weight 2", format!("-e -t VIP {WEB1} -w 2")),
                ("web2 quiesced", format!("-e -t VIP {WEB2} -w 0")),
                ("web2 of weight 4", format!("-e -t VIP {WEB2} -w 4")),
                ("web3 removed", "-d -t VIP -r 192.168.4.150".to_owned()),
                ("web3 added with weight 3", format!("-a -t VIP {WEB3} -w 3")),
            ] {
                pair.rules(2, &[&change])?;
                ask(2, &format!("wrr, {what}"), 9)?;
            }
            Ok(())
        }

        /// Connections that have ended count a little, those that are held much.
        fn by_connections(pair: &Pair<'_>) -> anyhow::Result<()> {
            let (from, lab) = (IpAddr::from(CLIENT), pair.lab());
            for (number, scheduler, weights) in
                [(3, "wlc", [1, 2, 0]), (4, "wlc", [5, 3, 1]), (5, "sed", [5, 3, 1]), (6, "lc", [1, 1, 1])]
            {
                pair.rules(number, &lines(&three(&format!("-s {scheduler}"), weights)))?;
                pair.same(number, scheduler, |vip| {
                    let mut order = served_in_turn(lab, from, vip, 5)?;
                    let mut held = hold(lab, vip, 10)?;
                    order.extend(names(&held));
                    held.retain(|visit| visit.server() != "web2");
                    order.extend(names(&hold(lab, vip, 6)?));
                    order.extend(served_in_turn(lab, from, vip, 3)?);
                    Ok(order)
                })?;
            }
            Ok(())
        }

        /// One address: who has it, who has it too, and who takes it over when he is overloaded, quiesced or removed.
        fn by_locality(pair: &Pair<'_>) -> anyhow::Result<()> {
            let lab = pair.lab();
            for (number, scheduler, weights) in [(0, "lblc", [3, 2, 1]), (1, "lblcr", [3, 2, 1])] {
                pair.rules(number, &lines(&three(&format!("-s {scheduler}"), weights)))?;
                // They hold on to the first connections of either side until both have been asked.
                let held = std::cell::RefCell::new(Vec::new());
                let more = |what: &str, count| {
                    pair.same(number, &format!("{scheduler} {weights:?}, {what}"), |vip| {
                        let visits = hold(lab, vip, count)?;
                        let order = names(&visits);
                        held.borrow_mut().extend(visits);
                        Ok(order)
                    })
                };
                let first = more("connections held", 10)?;
                assert_eq!(first[0], first[1], "what IPVS does");
                held.borrow_mut().retain(|visit: &Visit| visit.server() != "web2");
                more("web2 without connections", 4)?;
                pair.rules(number, &[&format!("-e -t VIP {WEB2} -w 0")])?;
                let quiesced = more("web2 quiesced", 4)?;
                assert!(!quiesced.contains(&"web2".to_owned()), "{quiesced:?}");
                pair.rules(number, &[&format!("-e -t VIP {WEB2} -w 4")])?;
                more("web2 of weight 4", 5)?;
                // IPVS drops what goes to a removed real server: closing would wait for an answer.
                held.borrow_mut().retain(|visit: &Visit| visit.server() != "web3");
                pair.rules(number, &["-d -t VIP -r 192.168.4.150"])?;
                let removed = more("web3 removed", 4)?;
                assert!(!removed.contains(&"web3".to_owned()), "{removed:?}");
            }
            Ok(())
        }

        fn by_client(pair: &Pair<'_>, clients: &[IpAddr]) -> anyhow::Result<()> {
            // Each refusal is sent, not only one a second.
            pair.lab().exec(Node::Lvs1, ["sysctl", "-q", "-w", "net.ipv4.icmp_ratelimit=0"])?;
            for (first, name) in [(7, "sh"), (10, "mh")] {
                let plain = format!("-s {name}");
                let fallback = format!("-s {name} -b {name}-fallback");
                let port = format!("-s {name} -b {name}-port");
                for (number, service) in (first..).zip([&plain, &fallback, &port]) {
                    // From the lowest address to the highest: the order of our mh, whatever the configuration's.
                    let mut rules = three(service, [1, 2, 3]);
                    rules.swap(2, 3);
                    pair.rules(number, &lines(&rules))?;
                }
                let all = pair.ask(first, &plain, clients)?;
                assert!(["web1", "web2", "web3"].iter().all(|web| all.iter().any(|one| one == web)));
                pair.same(first + 2, &port, |vip| {
                    (50_000..50_016)
                        .map(|port| served(pair.lab(), SocketAddr::from((CLIENT, port)), vip))
                        .collect()
                })?;
                for number in [first, first + 1] {
                    pair.rules(number, &[&format!("-e -t VIP {WEB2} -w 0")])?;
                }
                let refused = pair.ask(first, &format!("{plain}, web2 quiesced"), &clients[..16])?;
                assert!(refused.iter().any(|one| one.contains("refused")), "{refused:?}");
                let moved = pair.ask(first + 1, &format!("{fallback}, web2 quiesced"), &clients[..16])?;
                assert!(moved.iter().all(|one| one == "web1" || one == "web3"), "{moved:?}");
            }
            Ok(())
        }

        fn persistent(pair: &mut Pair<'_>, clients: &[IpAddr]) -> anyhow::Result<()> {
            let of = |those: &[usize]| -> Vec<IpAddr> { those.iter().map(|n| clients[*n]).collect() };
            pair.rules(13, &lines(&three("-s wrr -p 300", [1, 2, 1])))?;
            let bound = pair.ask(13, "wrr, persistent", &of(&[0, 1, 2, 3, 1, 0, 3, 2]))?;
            assert_eq!([&bound[0], &bound[1], &bound[2]], [&bound[5], &bound[4], &bound[7]]);
            pair.rules(13, &[&format!("-e -t VIP {WEB2} -w 0")])?;
            let quiesced = pair.ask(13, "wrr, persistent, web2 quiesced", &of(&[0, 1, 2, 3, 4, 5, 6]))?;
            assert_eq!(quiesced[..4], bound[..4], "who is bound stays bound");
            assert!(!quiesced[4..].contains(&"web2".to_owned()), "{quiesced:?}");
            pair.rules(13, &["-d -t VIP -r 192.168.4.200"])?;
            pair.ask(13, "wrr, persistent, web2 removed", &of(&[0, 1, 2, 3, 4, 5]))?;

            // 192.168.4.32 to .47 count as one client, .48 to .63 as another.
            pair.rules(14, &lines(&three("-s rr -p 300 -M 255.255.255.240", [1, 1, 1])))?;
            let blocks = pair.ask(14, "rr, persistent by netmask", &of(&[0, 16, 15, 31, 8, 24]))?;
            assert_eq!([&blocks[0], &blocks[1]], [&blocks[2], &blocks[3]]);
            assert_ne!(blocks[0], blocks[1]);

            // A binding ends when its time without new connections is over and its connections have ended.
            pair.ipvs.command("--set 900 1 300")?;
            pair.director.reload(&configuration().option("tcp_fin_timeout = \"1s\""))?;
            pair.rules(15, &lines(&three("-s rr -p 2", [1, 1, 1])))?;
            let first = pair.ask(15, "rr, bound for 2 s", &of(&[0, 1]))?;
            assert_eq!(first, ["web3", "web2"], "what IPVS does");
            for side in [&pair.ipvs, &pair.ours] {
                let vip = side.vip(15).to_string();
                let has_ended = || side.command("-Lcn").is_ok_and(|listing| !listing.contains(&vip));
                ensure!(wait_until(patience(90), has_ended), "{}", side.command("-Lcn")?);
            }
            let after = pair.ask(15, "rr, bound for 2 s, later", &of(&[0, 1]))?;
            assert_eq!(after[0], "web1", "scheduled anew: {after:?}");
            Ok(())
        }
    }
}

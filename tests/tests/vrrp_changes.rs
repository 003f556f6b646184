//! Fail-over in the middle of something else: a reload, an open connection, somebody who tidies up routes.

mod as_root_waiting {
    use std::fs;
    use std::net::IpAddr;
    use std::time::Duration;

    use anyhow::{Context, ensure};
    use lb_tests::director::{
        Configuration, Director, VirtualServer, patience, run_lbctl, start_real_servers,
    };
    use lb_tests::failover::{FAST, VIP, Wire, gets, has, instance, is, wall_clock};
    use lb_tests::{Family, Lab, Load, LoadPlan, LoadReport, Node, Process, isolated, wait_until};

    fn real(lab: &Lab, node: Node) -> anyhow::Result<IpAddr> {
        lab.address(node, Family::V4).with_context(|| format!("{node} is not in the lab"))
    }

    /// The two directors of a virtual server, `lvs1` master.
    fn pair<'lab>(
        lab: &'lab Lab,
        server: &VirtualServer,
    ) -> anyhow::Result<(Director<'lab>, Director<'lab>)> {
        start_real_servers(lab, &[VIP])?;
        let of = |priority| {
            let config = Configuration::new(&["eth0"]).with(server.clone());
            config.append(&instance("VI_1", 51, VIP, priority, FAST))
        };
        let one = Director::up(lab, Node::Lvs1, &of(150))?;
        has(lab, VIP, Node::Lvs1, &[&one])?;
        let two = Director::up(lab, Node::Lvs2, &of(100))?;
        is(&two, "INIT to BACKUP")?;
        Ok((one, two))
    }

    /// The backup is given one configuration after the other, each with a real server that nobody has, while the master
    /// dies: it takes over when it would have.
    #[test]
    fn a_reload_does_not_put_a_takeover_off() {
        isolated("as_root_waiting::a_reload_does_not_put_a_takeover_off", || {
            let lab = Lab::builder().up()?;
            let server = VirtualServer::new(lab.web(Family::V4)).real_server(real(&lab, Node::Web1)?, 1);
            let (mut one, mut two) = pair(&lab, &server)?;
            let wire = Wire::listen(&lab, Node::Client)?;
            let load = Load::start(&lab, Node::Client, LoadPlan::new(lab.web(Family::V4)))?;
            let config =
                |number: u8| {
                    let nobody = IpAddr::from([192, 168, 4, 180 + number]);
                    Configuration::new(&["eth0"])
                        .with(server.clone().real_server(nobody, 0))
                        .append(&instance("VI_1", 51, VIP, 100 + number % 2, FAST))
                };
            assert!(load.pass(50, patience(20)), "{:?}", load.so_far());
            let killed = wall_clock();
            one.kill()?;
            let mut reloads = 0;
            while !lab.exec(Node::Lvs2, ["ip", "address", "show", "dev", "eth0"])?.contains("192.168.4.15/") {
                two.reload(&config(reloads % 40))?;
                reloads += 1;
                ensure!(reloads < 40, "no takeover while it is reloaded: {}", two.log());
            }
            gets(&lab, VIP, &two, Node::Lvs2)?;
            let announced =
                || wire.announcements(&lab, Node::Lvs2, VIP).ok()?.into_iter().find(|at| *at > killed);
            ensure!(wait_until(patience(10), || announced().is_some()), "{}", wire.log());
            let took = announced().unwrap_or_default().saturating_sub(killed);
            // Three intervals, the skew, and what a slow machine adds.
            let limit = Duration::from_millis(361 + 100) * u32::try_from(patience(1).as_secs())?;
            ensure!(took <= limit, "{took:?} is more than {limit:?}: {}", two.log());
            eprintln!("announced after {took:?}, during {reloads} reloads");
            assert!(load.pass(50, patience(20)), "{:?}", load.so_far());
            let report = load.stop()?;
            ensure!(report.failed == 0, "{report:?}");
            one.up_again()?;
            lab.down()
        });
    }

    /// Downloads that go on while the VIP moves to a director that has never seen them, and back.
    fn open_connections(scheduler: &'static str, flag: &str) -> anyhow::Result<()> {
        let lab = Lab::builder().up()?;
        let server = [Node::Web1, Node::Web2].into_iter().try_fold(
            VirtualServer::new(lab.web(Family::V4))
                .scheduler(scheduler)
                .option(&format!("scheduler_flags = [\"{flag}\"]")),
            |server, node| anyhow::Ok(server.real_server(real(&lab, node)?, 1)),
        )?;
        let (mut one, two) = pair(&lab, &server)?;
        let url = format!("http://{}/slow", lab.web(Family::V4));
        let into = |number: usize| lab.dir().join(format!("download{number}"));
        // A minute each, at one megabyte a second.
        let download = |number| -> anyhow::Result<Process> {
            let file = into(number).display().to_string();
            lab.spawn(Node::Client, ["curl", "-sSf", "-o", &file, "-D", "-", "-r", "0-60000000", &url])
        };
        let downloads = (0..12).map(download).collect::<anyhow::Result<Vec<_>>>()?;
        let begun = || downloads.iter().all(|it| it.log().contains("X-Server"));
        ensure!(wait_until(patience(20), begun), "a download does not begin");
        let of = |name: &str| downloads.iter().filter(|it| it.log().contains(name)).count();
        ensure!(of("web1") > 0 && of("web2") > 0, "one real server has all of them");
        let sizes = || (0..12).map(|number| fs::metadata(into(number)).map_or(0, |it| it.len()));
        let go_on = |downloads: &[Process]| -> anyhow::Result<()> {
            let before: Vec<u64> = sizes().collect();
            let grow = || sizes().zip(&before).all(|(now, before)| now > before + 500_000);
            let grown = wait_until(patience(20), grow);
            let logs = || downloads.iter().map(Process::log).collect::<Vec<_>>().join("---\n");
            ensure!(
                grown,
                "a download does not go on: {before:?}, {:?}\n{}",
                sizes().collect::<Vec<_>>(),
                logs()
            );
            Ok(())
        };

        one.kill()?;
        gets(&lab, VIP, &two, Node::Lvs2)?;
        go_on(&downloads)?;
        one.up_again()?;
        has(&lab, VIP, Node::Lvs1, &[&one, &two])?;
        go_on(&downloads)?;
        let switched = run_lbctl(&lab, Node::Lvs1, ["vrrp", "release", "VI_1"])?;
        ensure!(switched.status.success(), "{switched:?}");
        has(&lab, VIP, Node::Lvs2, &[&one, &two])?;
        go_on(&downloads)?;
        lab.down()
    }

    #[test]
    fn connections_placed_by_sh_survive_the_director() {
        isolated("as_root_waiting::connections_placed_by_sh_survive_the_director", || {
            open_connections("sh", "sh-port")
        });
    }

    #[test]
    fn connections_placed_by_mh_survive_the_director() {
        isolated("as_root_waiting::connections_placed_by_mh_survive_the_director", || {
            open_connections("mh", "mh-port")
        });
    }

    /// Requests on new connections to two real servers while the VIP is handed over ten times: by a release on each
    /// director in turn, or by a release and a take on one.
    fn hand_over(scheduler: &'static str, options: &str, takes: bool) -> anyhow::Result<LoadReport> {
        let lab = Lab::builder().up()?;
        let server = [Node::Web1, Node::Web2].into_iter().try_fold(
            VirtualServer::new(lab.web(Family::V4)).scheduler(scheduler).option(options),
            |server, node| anyhow::Ok(server.real_server(real(&lab, node)?, 1)),
        )?;
        let (mut one, two) = pair(&lab, &server)?;
        let load = Load::start(&lab, Node::Client, LoadPlan::new(lab.web(Family::V4)))?;
        let back = if takes { (Node::Lvs1, "take") } else { (Node::Lvs2, "release") };
        let orders = [(Node::Lvs1, "release", Node::Lvs2), (back.0, back.1, Node::Lvs1)];
        for (at, order, next) in orders.into_iter().cycle().take(10) {
            ensure!(load.pass(100, patience(20)), "{:?}", load.so_far());
            let switched = run_lbctl(&lab, at, ["vrrp", order, "VI_1"])?;
            ensure!(switched.status.success(), "{switched:?}");
            has(&lab, VIP, next, &[&one, &two])?;
        }
        ensure!(load.pass(100, patience(20)), "{:?}", load.so_far());
        // And a clean stop, and a return that preempts.
        one.down()?;
        has(&lab, VIP, Node::Lvs2, &[&two])?;
        ensure!(load.pass(100, patience(20)), "{:?}", load.so_far());
        one.up_again()?;
        has(&lab, VIP, Node::Lvs1, &[&one, &two])?;
        ensure!(load.pass(100, patience(20)), "{:?}", load.so_far());
        let report = load.stop()?;
        eprintln!("{scheduler}: {} of {} requests failed", report.failed, report.ok + report.failed);
        lab.down()?;
        Ok(report)
    }

    /// A director that hands over places what begins then as the next one will place its packets.
    #[test]
    fn a_switch_by_hand_costs_no_request_to_two_real_servers() {
        isolated("as_root_waiting::a_switch_by_hand_costs_no_request_to_two_real_servers", || {
            for (scheduler, takes) in [("wrr", true), ("lc", false)] {
                let report = hand_over(scheduler, "", takes)?;
                ensure!(report.failed == 0 && report.by_server.len() == 2, "{report:?}");
            }
            Ok(())
        });
    }

    /// Both directors compute the same real server always.
    #[test]
    fn no_switch_costs_a_request_with_mh() {
        isolated("as_root_waiting::no_switch_costs_a_request_with_mh", || {
            let report = hand_over("mh", "scheduler_flags = [\"mh-port\"]", true)?;
            ensure!(report.failed == 0 && report.by_server.len() == 2, "{report:?}");
            Ok(())
        });
    }

    #[test]
    fn a_route_or_rule_that_somebody_removes_is_put_back_and_reported() {
        isolated("as_root_waiting::a_route_or_rule_that_somebody_removes_is_put_back_and_reported", || {
            let lab = Lab::builder().nginx(false).up()?;
            let lines = "virtual_routes = [\"10.99.0.0/16 via 192.168.4.10\"]\n\
                         virtual_rules = [\"from 10.99.0.0/16 table 99 priority 1099\"]";
            let config =
                Configuration::new(&[]).append(&instance("VI_1", 51, VIP, 100, &format!("{FAST}\n{lines}")));
            let director = Director::up(&lab, Node::Lvs1, &config)?;
            has(&lab, VIP, Node::Lvs1, &[&director])?;
            let shows = |words: &str, text: &str| {
                lab.exec(Node::Lvs1, words.split(' ')).is_ok_and(|shown| shown.contains(text))
            };
            for (remove, show, said) in [
                ("ip route del 10.99.0.0/16", "ip route show", "virtual route 10.99.0.0/16 via 192.168.4.10"),
                (
                    "ip rule del priority 1099",
                    "ip rule show",
                    "virtual rule from 10.99.0.0/16 table 99 priority 1099",
                ),
            ] {
                ensure!(wait_until(patience(10), || shows(show, "10.99.0.0/16")), "{}", director.log());
                lab.exec(Node::Lvs1, remove.split(' '))?;
                let words = format!("VI_1: {said} was removed by somebody else; put back");
                is(&director, &words)?;
                ensure!(wait_until(patience(10), || shows(show, "10.99.0.0/16")), "{}", director.log());
            }
            lab.down()
        });
    }
}

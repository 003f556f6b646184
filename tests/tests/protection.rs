//! Who may connect, and how often: prefix lists and rates of virtual servers, against clients of several addresses.

mod as_root {
    use std::net::{IpAddr, SocketAddr, TcpStream};
    use std::time::{Duration, Instant};

    use anyhow::{Context, ensure};
    use lb_tests::director::{Configuration, Director, VirtualServer, patience, run_lbctl, web};
    use lb_tests::{Family, Lab, Load, LoadPlan, Node, isolated, wait_until};
    use serde_json::Value as Json;

    /// The client's own address, and another one that it is given.
    fn sources(lab: &Lab, family: Family) -> anyhow::Result<[IpAddr; 2]> {
        let own = lab.address(Node::Client, family).context("no client")?;
        let (other, length): (IpAddr, _) = match own {
            IpAddr::V4(own) => ((own.to_bits() ^ 0x40).to_be_bytes().into(), 24),
            IpAddr::V6(own) => ((own.to_bits() ^ 0x4000).to_be_bytes().into(), 64),
        };
        let mut command =
            vec!["ip".to_owned(), "addr".to_owned(), "add".to_owned(), format!("{other}/{length}")];
        command.extend(["dev", "eth0"].map(str::to_owned));
        if family == Family::V6 {
            // Nobody uses it who does not ask for it.
            command.extend(["nodad", "preferred_lft", "0"].map(str::to_owned));
        }
        lab.exec(Node::Client, command)?;
        Ok([own, other])
    }

    /// Who answers a request from this address; `None` if the connection is not answered at all.
    fn ask(lab: &Lab, from: IpAddr, to: SocketAddr, seconds: u64) -> anyhow::Result<Option<String>> {
        let seconds = seconds.to_string();
        let from = from.to_string();
        let url = format!("http://{to}/");
        let curl = ["curl", "-sSg", "--interface", &from, "--connect-timeout", &seconds, &url];
        let output = lab.output(Node::Client, curl)?;
        match output.status.code() {
            Some(0) => Ok(Some(String::from_utf8(output.stdout)?.trim().to_owned())),
            // It timed out: nobody even refused.
            Some(28) => Ok(None),
            _ => anyhow::bail!("curl from {from}: {output:?}"),
        }
    }

    fn is_served(lab: &Lab, from: IpAddr, to: SocketAddr) -> anyhow::Result<bool> {
        Ok(ask(lab, from, to, patience(10).as_secs())?.is_some())
    }

    fn is_refused(lab: &Lab, from: IpAddr, to: SocketAddr) -> anyhow::Result<bool> {
        Ok(ask(lab, from, to, 1)?.is_none())
    }

    fn counted(lab: &Lab, reason: &str) -> anyhow::Result<u64> {
        let output = run_lbctl(lab, Node::Lvs1, ["list", "--drops", "--all"])?;
        let text = String::from_utf8(output.stdout)?;
        let line = text.lines().find(|line| line.contains(reason)).with_context(|| text.clone())?;
        let number = line.split_whitespace().find_map(|word| word.replace(',', "").parse().ok());
        number.with_context(|| line.to_owned())
    }

    fn explain(lab: &Lab, from: IpAddr, to: SocketAddr) -> anyhow::Result<(Json, String)> {
        let words = [from.to_string(), to.to_string()];
        let json =
            run_lbctl(lab, Node::Lvs1, [&["explain".to_owned(), "--json".to_owned()], &words[..]].concat())?;
        let text = run_lbctl(lab, Node::Lvs1, [&["explain".to_owned()], &words[..]].concat())?;
        Ok((serde_json::from_slice(&json.stdout)?, String::from_utf8(text.stdout)?))
    }

    /// The web servers behind the VIP with further lines.
    fn guarded(lab: &Lab, family: Family, lines: &[String]) -> anyhow::Result<Configuration> {
        let server =
            lines.iter().fold(VirtualServer::new(lab.web(family)), |server, line| server.option(line));
        let address = lab.address(Node::Web1, family).context("no web server")?;
        Ok(Configuration::new(&["eth0"]).with(server.real_server(address, 1)))
    }

    #[test]
    fn lists_keep_sources_out_and_let_them_in() {
        isolated("as_root::lists_keep_sources_out_and_let_them_in", || {
            let lab = Lab::builder().up()?;
            for family in [Family::V4, Family::V6] {
                let [own, other] = sources(&lab, family)?;
                let vip = lab.web(family);
                let mut director = Director::start(
                    &lab,
                    Node::Lvs1,
                    &guarded(&lab, family, &[format!("deny = [\"{other}\"]")])?,
                )?;
                assert!(is_served(&lab, own, vip)?);
                assert!(is_refused(&lab, other, vip)?);
                assert!(counted(&lab, "denied-source")? > 0);
                let (json, text) = explain(&lab, other, vip)?;
                assert_eq!(json["reasons"][0], "denied-source", "{json}");
                assert!(text.contains(&format!("denied by prefix {other}/")), "{text}");
                // Without a daemon it is the same, and who comes next knows what there is.
                director.kill()?;
                assert!(is_refused(&lab, other, vip)? && is_served(&lab, own, vip)?);
                director.up_again()?;
                assert!(is_refused(&lab, other, vip)? && is_served(&lab, own, vip)?);
                let said = wait_until(patience(20), || director.log().contains("sources that are kept out"));
                assert!(said, "{}", director.log());
                director.reload(&guarded(&lab, family, &[format!("allow = [\"{other}\"]")])?)?;
                assert!(is_served(&lab, other, vip)?);
                assert!(is_refused(&lab, own, vip)?);
                director.reload(&guarded(&lab, family, &[])?)?;
                assert!(is_served(&lab, other, vip)? && is_served(&lab, own, vip)?);
                director.down()?;
            }
            lab.down()
        });
    }

    #[test]
    fn lists_change_under_load_without_a_failed_request() {
        isolated("as_root::lists_change_under_load_without_a_failed_request", || {
            let lab = Lab::builder().up()?;
            let [own, other] = sources(&lab, Family::V4)?;
            let vip = lab.web(Family::V4);
            // Thousands of others, the client's own network denied around it, or nobody else allowed.
            let many: Vec<String> =
                (0..5000).map(|n| format!("\"100.{}.{}.0/24\"", n / 256, n % 256)).collect();
            let network = "192.168.4.0/24";
            let lists = [
                vec![format!("deny = [{}, \"{other}\"]", many.join(", "))],
                vec![format!("allow = [\"{own}\"]")],
                vec![format!("allow = [\"0.0.0.0/0\", \"{own}\"]"), format!("deny = [\"{network}\"]")],
                vec![
                    format!("allow = [\"{network}\", {}]", many.join(", ")),
                    format!("deny = [\"{other}\"]"),
                ],
            ];
            let config = |number: usize| guarded(&lab, Family::V4, &lists[number % lists.len()]);
            let mut director = Director::start(&lab, Node::Lvs1, &config(0)?)?;
            let load = Load::start(&lab, Node::Client, LoadPlan { senders: 4, ..LoadPlan::new(vip) })?;
            for number in 1..=8 {
                ensure!(load.pass(50, patience(60)), "too few requests pass: {:?}", load.so_far());
                director.reload(&config(number)?)?;
                assert!(is_refused(&lab, other, vip)?, "lists {}", number % lists.len());
            }
            ensure!(load.pass(50, patience(60)), "too few requests pass: {:?}", load.so_far());
            let report = load.stop()?;
            ensure!(report.failed == 0, "{report:?}");
            lab.down()
        });
    }

    /// How many connections open one after the other until one does not, and how long that took.
    fn opened(lab: &Lab, to: SocketAddr, most: usize) -> anyhow::Result<(usize, Duration)> {
        lab.enter(Node::Client, || {
            let start = Instant::now();
            let connect = || TcpStream::connect_timeout(&to, Duration::from_millis(300)).is_ok();
            let count = (0..most).take_while(|_| connect()).count();
            (count, start.elapsed())
        })
    }

    #[test]
    fn a_burst_gets_through_and_no_more() {
        isolated("as_root::a_burst_gets_through_and_no_more", || {
            let lab = Lab::builder().up()?;
            for family in [Family::V4, Family::V6] {
                let [_, other] = sources(&lab, family)?;
                let vip = lab.web(family);
                let lines = ["rate_limit = 1", "rate_limit_burst = 20", "rate_limit_prefix = 128"];
                let lines = &lines[..if family == Family::V6 { 3 } else { 2 }];
                let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
                let mut director = Director::start(&lab, Node::Lvs1, &guarded(&lab, family, &lines)?)?;
                let (count, took) = opened(&lab, vip, 1000)?;
                let most = 21 + usize::try_from(took.as_secs())?;
                assert!((20..=most).contains(&count), "{count} in {took:?}");
                assert!(counted(&lab, "rate-limited")? > 0);
                let (_, text) = explain(&lab, other, vip)?;
                assert!(text.contains("20 of 20 left"), "{text}");
                assert!(is_served(&lab, other, vip)?, "another source");
                // A SYN that is sent again is let through once there is a connection left.
                let own = lab.address(Node::Client, family).context("no client")?;
                assert!(is_served(&lab, own, vip)?, "after a while");
                director.reload(&web(&lab, family, &[(Node::Web1, 1)])?)?;
                let (count, _) = opened(&lab, vip, 100)?;
                assert_eq!(count, 100, "without the limit");
                director.down()?;
            }
            lab.down()
        });
    }
}

//! Health checks of real nginx: who fails is out, who recovers is back, and nobody else notices.

mod as_root {
    use std::fs;
    use std::path::PathBuf;

    use anyhow::Context as _;
    use lb_tests::checks::{checked, lbctl, states, until, until_removed};
    use lb_tests::director::patience;
    use lb_tests::{Family, Lab, Load, LoadPlan, Node, Process, isolated, nginx, wait_until};

    /// Requests that pass between two steps.
    const SOME: u64 = 200;

    fn file(lab: &Lab, node: Node, name: &str) -> PathBuf {
        lab.dir().join(node.name()).join("html").join(name)
    }

    fn load(lab: &Lab) -> anyhow::Result<Load> {
        let load =
            Load::start(lab, Node::Client, LoadPlan { senders: 4, ..LoadPlan::new(lab.web(Family::V4)) })?;
        pass(&load)?;
        Ok(load)
    }

    fn pass(load: &Load) -> anyhow::Result<()> {
        anyhow::ensure!(load.pass(SOME, patience(60)), "too few requests pass: {:?}", load.so_far());
        Ok(())
    }

    fn by(load: &Load, server: &str) -> u64 {
        load.so_far().by_server.get(server).copied().unwrap_or(0)
    }

    #[test]
    fn who_stops_is_out_and_who_starts_is_back() {
        isolated("as_root::who_stops_is_out_and_who_starts_is_back", || {
            let lab = Lab::builder().up()?;
            let (_director, _) = checked(&lab, &[Node::Web1, Node::Web2], "check = [{ type = \"tcp\" }]")?;
            until(&lab, &["up", "up"])?;
            let load = load(&lab)?;
            assert!(by(&load, "web1") > 0 && by(&load, "web2") > 0);
            assert_eq!(load.so_far().failed, 0, "{:?}", load.so_far().errors);
            // Downloads that take four seconds, on either.
            let download = |_| -> anyhow::Result<Process> {
                let url = format!("http://{}/slow", lab.web(Family::V4));
                lab.spawn(
                    Node::Client,
                    ["curl", "-sSf", "-o", "/dev/null", "-D", "-", "-r", "0-4000000", &url],
                )
            };
            let mut downloads = (0..4).map(download).collect::<anyhow::Result<Vec<_>>>()?;
            let begun = || downloads.iter().all(|download| download.log().contains("X-Server"));
            anyhow::ensure!(wait_until(patience(20), begun), "a download does not begin");

            nginx::stop(&lab, Node::Web1)?;
            until(&lab, &["down", "up"])?;
            let (_, found) = states(&lab)?;
            assert_eq!(found[0].1, "connection refused");
            until_removed(&lab, Node::Web1)?;
            // Whatever was on its way has failed by now; nothing new goes there.
            pass(&load)?;
            let (failed, served) = (load.so_far().failed, by(&load, "web1"));
            pass(&load)?;
            pass(&load)?;
            assert_eq!(
                (load.so_far().failed, by(&load, "web1")),
                (failed, served),
                "{:?}",
                load.so_far().errors
            );
            let mut unharmed = 0;
            for download in &mut downloads {
                if download.log().contains("web2") {
                    assert!(download.wait(patience(60))?.success(), "{}", download.log());
                    unharmed += 1;
                }
            }
            assert!(unharmed > 0);

            nginx::start_again(&lab, Node::Web1)?;
            until(&lab, &["up", "up"])?;
            let before = by(&load, "web1");
            pass(&load)?;
            assert!(by(&load, "web1") > before, "it gets connections again");
            let report = load.stop()?;
            assert_eq!(report.failed, failed, "{:?}", report.errors);
            lab.down()
        });
    }

    #[test]
    fn a_wrong_body_or_status_is_out_before_anybody_meets_it() {
        isolated("as_root::a_wrong_body_or_status_is_out_before_anybody_meets_it", || {
            let lab = Lab::builder().up()?;
            for node in [Node::Web1, Node::Web2] {
                fs::write(file(&lab, node, "health"), "all is fine\n")?;
            }
            let check =
                "check = [{ type = \"http\", path = \"/health\", body = \"fine\" }]\ncheck_retries = 0";
            let (mut director, config) = checked(&lab, &[Node::Web1, Node::Web2], check)?;
            until(&lab, &["up", "up"])?;
            let load = load(&lab)?;

            // web1 goes on answering: whoever still came to it would be served by it.
            fs::write(file(&lab, Node::Web1, "health"), "nothing works\n")?;
            until(&lab, &["down", "up"])?;
            let (_, found) = states(&lab)?;
            let (text, wrong) = found[0].1.split_once(" ms, ").context("no latency")?;
            assert!(text.starts_with("HTTP 200 in ") && wrong == "but the body lacks \"fine\"", "{found:?}");
            until_removed(&lab, Node::Web1)?;
            pass(&load)?;
            let served = by(&load, "web1");
            pass(&load)?;
            assert_eq!(by(&load, "web1"), served, "a new connection came to it");

            fs::remove_file(file(&lab, Node::Web1, "health"))?;
            let says_404 = || states(&lab).is_ok_and(|(_, found)| found[0].1.starts_with("HTTP 404 in "));
            anyhow::ensure!(wait_until(patience(20), says_404), "{:?}", states(&lab)?);

            // Neither a reload nor a restart lets it in.
            director.reload(&config)?;
            pass(&load)?;
            director.kill()?;
            director.up_again()?;
            until(&lab, &["down", "up"])?;
            pass(&load)?;
            assert_eq!(by(&load, "web1"), served, "a reload or restart let it in");

            fs::write(file(&lab, Node::Web1, "health"), "fine again\n")?;
            until(&lab, &["up", "up"])?;
            pass(&load)?;
            assert!(by(&load, "web1") > served);
            let report = load.stop()?;
            assert_eq!(report.failed, 0, "{:?}", report.errors);
            lab.down()
        });
    }

    #[test]
    fn the_sorry_server_serves_until_the_quorum_is_back() {
        isolated("as_root::the_sorry_server_serves_until_the_quorum_is_back", || {
            let lab = Lab::builder().web3(true).up()?;
            for node in [Node::Web1, Node::Web2] {
                fs::write(file(&lab, node, "health"), "fine\n")?;
            }
            let sorry = lab.address(Node::Web3, Family::V4).context("no web3")?;
            let options = format!(
                "check = [{{ type = \"http\", path = \"/health\" }}]\ncheck_retries = 0\nquorum = 2\nhysteresis = 1\n\
                 sorry_server = \"{sorry}:80\""
            );
            let (_director, _) = checked(&lab, &[Node::Web1, Node::Web2], &options)?;
            until(&lab, &["up", "up"])?;
            let url = format!("http://{}/", lab.web(Family::V4));
            let who = || -> anyhow::Result<Vec<String>> {
                let mut names = lab.curl_sequence(&url, 6)?;
                names.sort();
                names.dedup();
                Ok(names)
            };
            let becomes = |expected: &[&str]| -> anyhow::Result<()> {
                let is_so = || who().is_ok_and(|names| names == expected);
                anyhow::ensure!(wait_until(patience(30), is_so), "{expected:?} never serve: {:?}", who()?);
                Ok(())
            };
            becomes(&["web1", "web2"])?;
            // One is enough to keep the quorum, and not to win it.
            fs::remove_file(file(&lab, Node::Web1, "health"))?;
            until(&lab, &["down", "up"])?;
            becomes(&["web2"])?;
            assert_eq!(states(&lab)?.0, "up");
            fs::remove_file(file(&lab, Node::Web2, "health"))?;
            until(&lab, &["down", "down"])?;
            becomes(&["web3"])?;
            assert_eq!(states(&lab)?.0, "down");
            let text = lbctl(&lab, "list --checks")?;
            assert!(
                text.contains("sorry server 192.168.4.220:80 serves")
                    || text.contains(&format!("sorry server {sorry}:80 serves")),
                "{text}"
            );
            fs::write(file(&lab, Node::Web2, "health"), "fine\n")?;
            until(&lab, &["down", "up"])?;
            becomes(&["web3"])?;
            fs::write(file(&lab, Node::Web1, "health"), "fine\n")?;
            until(&lab, &["up", "up"])?;
            becomes(&["web1", "web2"])?;
            assert_eq!(states(&lab)?.0, "up");
            lab.down()
        });
    }

    #[test]
    fn flapping_changes_nothing() {
        isolated("as_root::flapping_changes_nothing", || {
            let lab = Lab::builder().up()?;
            // Passes and fails by turns.
            let count = lab.dir().join("count");
            let script = lab.write("flap", &format!(
                "n=$(cat {0} 2>/dev/null || echo 0); n=$((n + 1)); echo $n > {0}.new; mv {0}.new {0}; exit $((n % 2 == 0))\n",
                count.display()
            ))?;
            let options = format!(
                "check = [{{ type = \"script\", command = \"sh {}\", interval = \"50ms\", fall = 2, rise = 2 }}]",
                script.display()
            );
            let (director, _) = checked(&lab, &[Node::Web1], &options)?;
            let load = load(&lab)?;
            let runs =
                || fs::read_to_string(&count).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0u32);
            let begin = runs();
            anyhow::ensure!(wait_until(patience(60), || runs() >= begin + 40), "the script does not run");
            let log = director.log();
            assert!(!log.contains(" is down"), "{log}");
            assert_eq!(load.stop()?.failed, 0);
            lab.down()
        });
    }
}

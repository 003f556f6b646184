//! Health checks of real nginx: who fails is out, who recovers is back, and nobody else notices.

mod as_root {
    use std::fs;
    use std::path::PathBuf;

    use anyhow::Context as _;
    use lb_tests::director::{Configuration, Director, VirtualServer, patience, run_lbctl, stderr};
    use lb_tests::{Family, Lab, Load, LoadPlan, Node, Process, isolated, wait_until};
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use serde_json::Value;

    /// Requests that pass between two steps.
    const SOME: u64 = 200;
    /// Often enough that a test is short.
    const OFTEN: &str = "check_interval = \"200ms\"\ncheck_timeout = \"2s\"\ncheck_retry_delay = \"100ms\"";

    fn director<'lab>(
        lab: &'lab Lab,
        nodes: &[Node],
        options: &str,
    ) -> anyhow::Result<(Director<'lab>, Configuration)> {
        let server = VirtualServer::new(lab.web(Family::V4)).option(OFTEN).option(options);
        let server = nodes.iter().try_fold(server, |server, node| {
            anyhow::Ok(server.real_server(lab.address(*node, Family::V4).context("no such node")?, 1))
        })?;
        let config = Configuration::new(&["eth0"]).with(server);
        Ok((Director::start(lab, Node::Lvs1, &config)?, config))
    }

    fn lbctl(lab: &Lab, words: &str) -> anyhow::Result<String> {
        let output = run_lbctl(lab, Node::Lvs1, words.split(' '))?;
        anyhow::ensure!(output.status.success(), "lbctl {words}: {}", stderr(&output));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn checks(lab: &Lab) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&lbctl(lab, "list --checks --json")?)?)
    }

    /// State of the virtual server, and of each real server with the last result of its first check.
    fn states(lab: &Lab) -> anyhow::Result<(String, Vec<(String, String)>)> {
        let report = checks(lab)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let service = report.pointer("/virtual_servers/0").context("no virtual server")?;
        let servers = service["real_servers"].as_array().context("no real servers")?;
        let states =
            servers.iter().map(|it| (text(&it["state"]), text(&it["checks"][0]["result"]))).collect();
        Ok((text(&service["state"]), states))
    }

    /// Waits until the real servers have these states, in the configuration's order, and all have been checked.
    fn until(lab: &Lab, expected: &[&str]) -> anyhow::Result<()> {
        let is_there = || {
            states(lab).is_ok_and(|(_, states)| {
                states.iter().map(|(state, _)| state.as_str()).eq(expected.iter().copied())
                    && states.iter().all(|(_, result)| !result.is_empty())
            })
        };
        anyhow::ensure!(wait_until(patience(60), is_there), "{expected:?} never comes: {:?}", states(lab)?);
        Ok(())
    }

    /// Waits until a real server is not in the tables any more.
    fn until_removed(lab: &Lab, node: Node) -> anyhow::Result<()> {
        let address = lab.address(node, Family::V4).context("no such node")?.to_string();
        let is_gone = || lbctl(lab, "list").is_ok_and(|text| !text.contains(&address));
        anyhow::ensure!(wait_until(patience(20), is_gone), "{node} stays: {}", lbctl(lab, "list")?);
        Ok(())
    }

    fn file(lab: &Lab, node: Node, name: &str) -> PathBuf {
        lab.dir().join(node.name()).join("html").join(name)
    }

    fn stop_nginx(lab: &Lab, node: Node) -> anyhow::Result<()> {
        let pid = fs::read_to_string(lab.dir().join(node.name()).join("nginx.pid"))?;
        kill(Pid::from_raw(pid.trim().parse()?), Signal::SIGTERM)?;
        let refuses = || {
            let url = format!(
                "http://{}/",
                lab.address(node, Family::V4).map(|it| it.to_string()).unwrap_or_default()
            );
            lab.output(Node::Lvs1, ["curl", "-s", "--max-time", "5", &url])
                .is_ok_and(|it| !it.status.success())
        };
        anyhow::ensure!(wait_until(patience(20), refuses), "nginx on {node} does not end");
        Ok(())
    }

    fn start_nginx(lab: &Lab, node: Node) -> anyhow::Result<()> {
        let dir = lab.dir().join(node.name());
        let (config, log) = (dir.join("nginx.conf"), dir.join("error.log"));
        let words = [
            "nginx".as_ref(),
            "-p".as_ref(),
            dir.as_os_str(),
            "-c".as_ref(),
            config.as_os_str(),
            "-e".as_ref(),
            log.as_os_str(),
        ];
        lab.exec(node, words).map(drop)
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
            let (_director, _) = director(&lab, &[Node::Web1, Node::Web2], "check = [{ type = \"tcp\" }]")?;
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

            stop_nginx(&lab, Node::Web1)?;
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

            start_nginx(&lab, Node::Web1)?;
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
            let (mut director, config) = director(&lab, &[Node::Web1, Node::Web2], check)?;
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
            let (_director, _) = director(&lab, &[Node::Web1, Node::Web2], &options)?;
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
            let (director, _) = director(&lab, &[Node::Web1], &options)?;
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

    #[test]
    fn a_script_sets_the_weight() {
        isolated("as_root::a_script_sets_the_weight", || {
            let lab = Lab::builder().up()?;
            let status = lab.write("status", "0")?;
            let script = lab.write(
                "check",
                &format!("echo \"server is $LBCTL_REAL_ADDRESS\"; exit $(cat {})\n", status.display()),
            )?;
            let options = format!(
                "check = [{{ type = \"script\", command = \"sh {}\", weight_by_exit = true }}]",
                script.display()
            );
            let (_director, _) = director(&lab, &[Node::Web1], &options)?;
            until(&lab, &["up"])?;
            let listed = |weight: &str| {
                lbctl(&lab, "list").is_ok_and(|text| {
                    text.lines().any(|line| {
                        line.contains("192.168.4.100:80") && line.split_whitespace().nth(3) == Some(weight)
                    })
                })
            };
            assert!(listed("1"), "{}", lbctl(&lab, "list")?);
            fs::write(&status, "52")?;
            anyhow::ensure!(wait_until(patience(20), || listed("50")), "{}", lbctl(&lab, "list")?);
            fs::write(&status, "1")?;
            until(&lab, &["down"])?;
            let (_, found) = states(&lab)?;
            assert!(
                found[0].1.starts_with("exit status 1 in ")
                    && found[0].1.ends_with(": server is 192.168.4.100"),
                "{found:?}"
            );
            fs::write(&status, "0")?;
            until(&lab, &["up"])?;
            anyhow::ensure!(wait_until(patience(20), || listed("1")), "{}", lbctl(&lab, "list")?);
            lab.down()
        });
    }

    #[test]
    fn https_is_checked_with_and_without_a_look_at_the_certificate() {
        isolated("as_root::https_is_checked_with_and_without_a_look_at_the_certificate", || {
            let lab = Lab::builder().up()?;
            let dir = lab.dir().join("tls");
            fs::create_dir_all(&dir)?;
            let path = |name: &str| dir.join(name).display().to_string();
            lab.exec(
                Node::Web1,
                [
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                    "-days",
                    "2",
                    "-subj",
                    "/CN=www.example.org",
                    "-addext",
                    "subjectAltName=DNS:www.example.org",
                    "-keyout",
                    &path("key.pem"),
                    "-out",
                    &path("cert.pem"),
                ],
            )?;
            let conf = lab.write("tls/nginx.conf", &format!(
                "user root; daemon off; pid {0}/pid; error_log {0}/error.log; events {{}}\n\
                 http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;\n\
                 uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
                 server {{ listen 8443 ssl; ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;\n\
                 location / {{ if ($ssl_server_name != www.example.org) {{ return 421; }} return 200 secure; }} }} }}\n",
                dir.display()
            ))?;
            let log = path("error.log");
            let _nginx = lab.spawn(
                Node::Web1,
                ["nginx", "-p", &path(""), "-c", &conf.display().to_string(), "-e", &log],
            )?;
            let check =
                "{ type = \"https\", connect = \":8443\", host = \"www.example.org\", body = \"secure\"";
            let (mut director, config) = director(&lab, &[Node::Web1], &format!("check = [{check} }}]"))?;
            until(&lab, &["up"])?;
            let text =
                config.to_string().replace(&format!("{check} }}"), &format!("{check}, verify = true }}"));
            fs::write(lab.dir().join("lvs1.toml"), text)?;
            lbctl(&lab, "reload")?;
            until(&lab, &["down"])?;
            let (_, found) = states(&lab)?;
            assert!(found[0].1.starts_with("TLS: invalid peer certificate"), "{found:?}");
            director.reload(&config)?;
            until(&lab, &["up"])?;
            lab.down()
        });
    }
}

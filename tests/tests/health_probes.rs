//! What checks ask, of real servers: scripts, TLS, marks; and real servers that come at run time.

mod as_root {
    use std::fs;
    use std::path::PathBuf;

    use anyhow::Context as _;
    use lb_tests::checks::{checked, lbctl, report, states, until, until_removed};
    use lb_tests::director::{Configuration, Director, VirtualServer, patience, run_lbctl, stderr};
    use lb_tests::{Family, Lab, Node, Process, isolated, wait_until};

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
            let (_director, _) = checked(&lab, &[Node::Web1], &options)?;
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

    /// An nginx on `web1` that serves HTTPS on port 8443 with a certificate of the lab's own authority; returns the
    /// directory of both.
    fn secure(lab: &Lab) -> anyhow::Result<(Process, PathBuf)> {
        let dir = lab.dir().join("tls");
        fs::create_dir_all(&dir)?;
        let openssl = |words: &str| {
            let words = words.replace("{}", &dir.display().to_string());
            lab.exec(Node::Web1, ["openssl"].into_iter().chain(words.split(' ')))
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
        for name in ["ca", "other"] {
            openssl(&format!("req -x509 {key} -subj /CN=lab -keyout {{}}/{name}.key -out {{}}/{name}.pem"))?;
        }
        openssl(&format!(
            "req -x509 {key} -CA {{}}/ca.pem -CAkey {{}}/ca.key -subj /CN=www.example.org -addext \
             subjectAltName=DNS:www.example.org -addext basicConstraints=critical,CA:FALSE -keyout {{}}/key.pem \
             -out {{}}/cert.pem"
        ))?;
        let conf = lab.write("tls/nginx.conf", &format!(
            "user root; daemon off; pid {0}/pid; error_log {0}/error.log; events {{}}\n\
             http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;\n\
             uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
             server {{ listen 8443 ssl; ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;\n\
             location / {{ if ($ssl_server_name = other.example.org) {{ return 421; }} return 200 secure; }} }} }}\n",
            dir.display()
        ))?;
        let (prefix, conf) = (dir.display().to_string(), conf.display().to_string());
        let log = format!("{prefix}/error.log");
        Ok((lab.spawn(Node::Web1, ["nginx", "-p", &prefix, "-c", &conf, "-e", &log])?, dir))
    }

    #[test]
    fn https_is_checked_with_and_without_a_look_at_the_certificate() {
        isolated("as_root::https_is_checked_with_and_without_a_look_at_the_certificate", || {
            let lab = Lab::builder().up()?;
            let (_nginx, dir) = secure(&lab)?;
            let plain =
                "type = \"https\", connect = \":8443\", host = \"www.example.org\", body = \"secure\"";
            let (_director, config) = checked(&lab, &[Node::Web1], &format!("check = [{{ {plain} }}]"))?;
            until(&lab, &["up"])?;
            let file = lab.dir().join("lvs1.toml");
            let ca = |name: &str| format!("verify = true, ca_file = \"{}\"", dir.join(name).display());
            let own = ca("ca.pem");
            let elsewhere = plain.replace("www", "mail");
            for (check, state, result) in [
                (
                    format!("{plain}, verify = true"),
                    "down",
                    "TLS: the certificate is signed by none of the system's",
                ),
                (format!("{plain}, {own}"), "up", "HTTP 200 in "),
                (
                    format!("{plain}, {}", ca("other.pem")),
                    "down",
                    "TLS: the certificate is signed by none of the authorities in /",
                ),
                (
                    format!("{elsewhere}, {own}"),
                    "down",
                    "TLS: the certificate is for www.example.org, not for mail.example.org",
                ),
                (format!("{plain}, sni = \"other.example.org\""), "down", "HTTP 421 in "),
                (format!("{elsewhere}, sni = \"www.example.org\", {own}"), "up", "HTTP 200 in "),
                (format!("{plain}, {own}"), "up", "HTTP 200 in "),
            ] {
                fs::write(&file, config.to_string().replace(plain, &check))?;
                lbctl(&lab, "reload")?;
                let is_so = || {
                    states(&lab).is_ok_and(|(_, found)| found[0].0 == state && found[0].1.starts_with(result))
                };
                anyhow::ensure!(
                    wait_until(patience(30), is_so),
                    "{check}: {state}, {result}: {:?}",
                    states(&lab)?
                );
            }

            // Authorities that are not there are refused, by name, and nothing changes.
            fs::write(&file, config.to_string().replace(plain, &format!("{plain}, {}", ca("none.pem"))))?;
            for words in [format!("check --config {}", file.display()), "reload".to_owned()] {
                let output = run_lbctl(&lab, Node::Lvs1, words.split(' '))?;
                let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
                assert!(
                    !output.status.success() && said.contains("none.pem: no such file"),
                    "{words}: {said}"
                );
            }
            until(&lab, &["up"])?;
            lab.down()
        });
    }

    /// A policy rule of the director's host sends packets of one mark nowhere: whose check has it fails, and only he.
    #[test]
    fn a_mark_is_on_every_packet_of_a_check() {
        isolated("as_root::a_mark_is_on_every_packet_of_a_check", || {
            let lab = Lab::builder().up()?;
            let types = ["tcp", "http", "ping", "smtp", "dns", "udp"];
            let check = |kind: &str, mark: u32| {
                let more = match kind {
                    "smtp" | "dns" => ", connect = \":80\", timeout = \"300ms\"",
                    _ => "",
                };
                format!("{{ type = \"{kind}\", fwmark = {mark}, retries = 0{more} }}")
            };
            lab.exec(Node::Lvs1, ["ip", "rule", "add", "fwmark", "7", "unreachable"])?;
            let results = |mark: u32| -> anyhow::Result<Vec<String>> {
                let all = types.map(|kind| check(kind, mark)).join(", ");
                let (director, _) = checked(&lab, &[Node::Web1], &format!("check = [{all}]"))?;
                let mut last = Vec::new();
                let are_there = || {
                    let text = report(&lab).unwrap_or_default();
                    let rows = text["virtual_servers"][0]["real_servers"][0]["checks"].as_array();
                    last = rows
                        .into_iter()
                        .flatten()
                        .filter_map(|row| Some(row["result"].as_str()?.to_owned()))
                        .collect();
                    last.len() == types.len()
                };
                anyhow::ensure!(wait_until(patience(20), are_there), "{last:?}");
                director.down()?;
                Ok(last)
            };
            assert_eq!(results(7)?, ["network unreachable"; 6]);
            let other = results(8)?;
            assert!(other.iter().all(|text| text != "network unreachable"), "{other:?}");
            assert!(
                other[0].starts_with("connected in ") && other[1].starts_with("HTTP 200 in "),
                "{other:?}"
            );
            lab.down()
        });
    }

    #[test]
    fn who_is_added_at_run_time_is_checked_too() {
        isolated("as_root::who_is_added_at_run_time_is_checked_too", || {
            let lab = Lab::builder().up()?;
            for node in [Node::Web1, Node::Web2] {
                fs::write(lab.dir().join(node.name()).join("html/health"), "fine\n")?;
            }
            let check = "check = [{ type = \"http\", path = \"/health\" }]\ncheck_retries = 0";
            let (mut director, _) = checked(&lab, &[Node::Web1], check)?;
            until(&lab, &["up"])?;
            let (vip, web2) = (lab.web(Family::V4), lab.address(Node::Web2, Family::V4).context("no web2")?);
            lbctl(&lab, &format!("server add {vip} {web2}"))?;
            until(&lab, &["up", "up"])?;
            fs::remove_file(lab.dir().join("web2/html/health"))?;
            until(&lab, &["up", "down"])?;
            until_removed(&lab, Node::Web2)?;
            assert_eq!(lab.curl_sequence(&format!("http://{vip}/"), 4)?, ["web1"; 4]);
            // A crash forgets neither that it was added nor that it is down.
            director.kill()?;
            director.up_again()?;
            until(&lab, &["up", "down"])?;
            fs::write(lab.dir().join("web2/html/health"), "fine\n")?;
            until(&lab, &["up", "up"])?;

            // A virtual server that came at run time has nothing to inherit, and says so.
            let other = format!("{}:8080", lab.vip(Family::V4));
            lbctl(&lab, &format!("service add {other}"))?;
            lbctl(&lab, &format!("server add {other} {web2}"))?;
            let text = lbctl(&lab, &format!("list --checks {other}"))?;
            assert!(text.contains("no checks: taken as healthy"), "{text}");
            lab.down()
        });
    }

    #[test]
    fn who_cannot_inherit_checks_is_named() {
        isolated("as_root::who_cannot_inherit_checks_is_named", || {
            let lab = Lab::builder().up()?;
            let vip = lab.web(Family::V4);
            let web1 = lab.address(Node::Web1, Family::V4).context("no web1")?;
            let web2 = lab.address(Node::Web2, Family::V4).context("no web2")?;
            let server = VirtualServer::new(vip).real_server(web1, 1);
            let config = Configuration::new(&["eth0"])
                .with(server)
                .append("[[virtual_server.real_server.check]]\ntype = \"tcp\"\n");
            let _director = Director::start(&lab, Node::Lvs1, &config)?;
            let words = format!("server add {vip} {web2}");
            let said = stderr(&run_lbctl(&lab, Node::Lvs1, words.split(' '))?);
            assert!(said.contains(&format!("real server {web2}:80: has no health checks")), "{said}");
            lab.down()
        });
    }
}

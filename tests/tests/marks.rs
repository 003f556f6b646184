//! Firewall marks: rules of ipvsadm and a keepalived.conf that name virtual servers by mark, imported with the
//! firewall's own rules beside them, served, changed at run time and saved.

mod as_root {
    use std::fs;
    use std::io::{BufRead as _, BufReader};
    use std::net::{SocketAddr, TcpStream};
    use std::os::unix::fs::symlink;
    use std::process::Output;

    use anyhow::ensure;
    use lb_tests::director::{Director, lbctl, patience, run_lbctl, start_real_servers, stderr};
    use lb_tests::{Echo, Family, Lab, Node, isolated};

    /// As `iptables-save -t mangle` prints them.
    const FIREWALL: &str = "*mangle\n\
        :PREROUTING ACCEPT [0:0]\n\
        -A PREROUTING -d 192.168.4.15/32 -p tcp -m multiport --dports 80,7 -j MARK --set-xmark 0x7/0xffffffff\n\
        COMMIT\n";
    const RULES: &str = "-A -f 7 -s rr -p 600\n\
                         -a -f 7 -r 192.168.4.100:0 -g -w 1\n\
                         -a -f 7 -r 192.168.4.200:0 -g -w 2\n";

    fn text(output: &Output) -> String {
        String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(output)
    }

    /// Who answers the client on each of the two marked ports.
    fn by_port(lab: &Lab) -> anyhow::Result<(String, String)> {
        let web = lab.curl_sequence("http://192.168.4.15/", 1)?.concat();
        let echo = SocketAddr::new(lab.vip(Family::V4), 7);
        let stream = lab.enter(Node::Client, || TcpStream::connect_timeout(&echo, patience(5)))??;
        stream.set_read_timeout(Some(patience(5)))?;
        let mut greeting = String::new();
        BufReader::new(stream).read_line(&mut greeting)?;
        Ok((web, greeting.trim_end().to_owned()))
    }

    fn real_servers(lab: &Lab) -> anyhow::Result<[Echo; 2]> {
        let vip = lab.vip(Family::V4);
        // As with ipvsadm, the address is somebody else's business.
        lab.exec(Node::Lvs1, ["ip", "address", "add", "192.168.4.15/32", "dev", "eth0"])?;
        start_real_servers(lab, &[vip])?;
        Ok([Echo::start(lab, Node::Web1, vip)?, Echo::start(lab, Node::Web2, vip)?])
    }

    #[test]
    fn rules_with_a_mark_are_imported_served_changed_and_saved() {
        isolated("as_root::rules_with_a_mark_are_imported_served_changed_and_saved", || {
            let lab = Lab::builder().up()?;
            let _echoes = real_servers(&lab)?;
            let (rules, marks) = (lab.write("rules", RULES)?, lab.write("marks", FIREWALL)?);
            let file = lab.dir().join("lvs1.toml");
            let import = |more: &[&str]| {
                let (rules, file) = (rules.display().to_string(), file.display().to_string());
                let words = ["import", "ipvsadm", &rules, "--interface=eth0", "-o", &file];
                run_lbctl(&lab, Node::Lvs1, [&words, more].concat())
            };
            let without = import(&[])?;
            ensure!(
                without.status.code() == Some(4) && text(&without).contains("--marks FILE"),
                "{without:?}"
            );
            let with = import(&["--marks", &marks.display().to_string()])?;
            ensure!(with.status.success(), "{with:?}");
            let director = Director::up_by(&lab, Node::Lvs1, "-c", &file)?;
            let (web, echo) = by_port(&lab)?;
            ensure!(web == echo, "one client, two ports, {web} and {echo}");

            let link = lab.dir().join("ipvsadm");
            symlink(lbctl()?, &link)?;
            let run = |line: &str| -> anyhow::Result<(Option<i32>, String)> {
                let output = lab.command(Node::Lvs1, &link).args(line.split_whitespace()).output()?;
                Ok((output.status.code(), text(&output)))
            };
            let ok = |line: &str| -> anyhow::Result<String> {
                let (code, said) = run(line)?;
                ensure!(code == Some(0), "ipvsadm {line}: {said}");
                Ok(said)
            };
            ensure!(ok("-Sn")? == RULES, "{}", ok("-Sn")?);
            let shown = |line: &str| -> anyhow::Result<Vec<String>> {
                Ok(ok(line)?.lines().map(|line| line.trim_end().to_owned()).collect())
            };
            let all = shown("-Ln")?;
            ensure!(all[3] == "FWM  7 rr persistent 600", "{all:?}");
            ensure!(all[4].starts_with("  -> 192.168.4.100:0              Route   1 "), "{all:?}");
            ensure!(shown("-Ln -f 7")? == all[1..], "{all:?}");
            let connections = ok("-Lcn")?;
            for port in [80, 7] {
                ensure!(connections.contains(&format!(" 192.168.4.15:{port} ")), "{connections}");
            }

            // Every verb on a group that is there.
            ok("-e -f 7 -r 192.168.4.200 -g -w 0")?;
            ok("-E -f 7 -s wrr")?;
            ok("-Z -f 7")?;
            ok("-d -f 7 -r 192.168.4.100")?;
            ok("-a -f 7 -r 192.168.4.100 -g -w 3")?;
            let now =
                "-A -f 7 -s wrr\n-a -f 7 -r 192.168.4.100:0 -g -w 3\n-a -f 7 -r 192.168.4.200:0 -g -w 0\n";
            ensure!(ok("-Sn")? == now, "{}", ok("-Sn")?);
            ensure!(by_port(&lab)? == ("web1".to_owned(), "web1".to_owned()), "{}", ok("-Ln")?);

            // As ipvsadm-restore does it, without a firewall.
            ok("-C")?;
            ensure!(ok("-Sn")?.is_empty(), "{}", ok("-Sn")?);
            let restored =
                lab.command(Node::Lvs1, &link).arg("-R").stdin(fs::File::open(&rules)?).output()?;
            ensure!(restored.status.success(), "{restored:?}");
            ensure!(ok("-Sn")? == RULES, "{}", ok("-Sn")?);
            let (web, echo) = by_port(&lab)?;
            ensure!(web == echo, "{web} and {echo}");

            // What is not there is said in ipvsadm's words, or with what to do.
            for (line, code, message) in [
                ("-A -f 7 -s rr", 255, "Service already exists"),
                ("-a -f 7 -r 192.168.4.100 -g", 255, "Destination already exists"),
                ("-d -f 7 -r 192.168.4.150", 255, "No such destination"),
                ("-A -f 8 -s rr", 255, "--marks FILE"),
                ("-a -f 7 -6 -r fd00:4::100 -g", 255, "firewall mark 7 of IPv6"),
                ("-a -f 7 -r 192.168.4.150:81 -m", 255, "port 81"),
            ] {
                let (found, said) = run(line)?;
                ensure!(found == Some(code) && said.contains(message), "ipvsadm {line}: {found:?} {said}");
            }
            ok("-D -f 7")?;
            let (found, said) = run("-a -f 7 -r 192.168.4.150 -g")?;
            ensure!((found, said.trim_end()) == (Some(255), "Service not defined"), "{said}");
            let lifted = run_lbctl(&lab, Node::Lvs1, ["clear", "--edits"])?;
            ensure!(lifted.status.success() && ok("-Sn")? == RULES, "{lifted:?}");

            // As a configuration it is the same.
            let saved = text(&run_lbctl(&lab, Node::Lvs1, ["save"])?);
            let path = lab.write("saved.toml", &saved)?.display().to_string();
            let diff = run_lbctl(&lab, Node::Lvs1, ["diff", "-c", &path])?;
            ensure!(diff.status.success(), "{}\n{saved}", text(&diff));
            director.down()?;
            lab.down()
        });
    }

    /// The firewall's rules are read again with each reload.
    #[test]
    fn a_keepalived_conf_with_a_mark_is_run_with_the_rules_of_the_firewall() {
        isolated("as_root::a_keepalived_conf_with_a_mark_is_run_with_the_rules_of_the_firewall", || {
            let lab = Lab::builder().up()?;
            let _echoes = real_servers(&lab)?;
            let conf = "virtual_server fwmark 7 {\ndelay_loop 6\nlb_algo rr\nlb_kind DR\nprotocol TCP\n\
                        persistence_timeout 600\nreal_server 192.168.4.100 80 {\nweight 1\n}\n\
                        real_server 192.168.4.200 80 {\nweight 1\n}\n}\n";
            let conf = lab.write("keepalived.conf", conf)?.display().to_string();
            let marks = lab.write("marks", FIREWALL)?.display().to_string();
            let up = ["up", "-d", "--keepalived", &conf, "--interface", "eth0"];
            let without = run_lbctl(&lab, Node::Lvs1, up)?;
            ensure!(
                without.status.code() == Some(1) && text(&without).contains("--marks FILE"),
                "{without:?}"
            );
            let with = run_lbctl(&lab, Node::Lvs1, [&up[..], &["--marks", &marks]].concat())?;
            ensure!(with.status.success(), "{with:?}");
            let saved = || Ok::<_, anyhow::Error>(text(&run_lbctl(&lab, Node::Lvs1, ["ipvsadm", "-Sn"])?));
            let rules = RULES.replace("-w 2", "-w 1");
            ensure!(saved()? == rules, "{}", saved()?);
            let (web, echo) = by_port(&lab)?;
            ensure!(web == echo, "one client, two ports, {web} and {echo}");
            let list = || Ok::<_, anyhow::Error>(text(&run_lbctl(&lab, Node::Lvs1, ["list", "--json"])?));
            ensure!(!list()?.contains("\"port\": 443"), "{}", list()?);
            lab.write("marks", &FIREWALL.replace("80,7", "80,7,443"))?;
            let reloaded = run_lbctl(&lab, Node::Lvs1, ["reload"])?;
            ensure!(reloaded.status.success(), "{reloaded:?}");
            ensure!(saved()? == rules && list()?.contains("\"port\": 443"), "{}", list()?);
            let down = run_lbctl(&lab, Node::Lvs1, ["down"])?;
            ensure!(down.status.success(), "{down:?}");
            lab.down()
        });
    }
}

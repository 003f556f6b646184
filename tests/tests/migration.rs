//! Configurations of keepalived and rules of ipvsadm, imported and then running: the files of `config/keepalived/` with
//! the paths of the lab's scripts in them.

mod as_root_waiting {
    use std::fs;
    use std::net::{IpAddr, Ipv4Addr};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};

    use anyhow::{Context, ensure};
    use lb_tests::director::{Director, lbctl, patience, run_lbctl, start_real_servers, stderr};
    use lb_tests::failover::holders;
    use lb_tests::{Family, Lab, MailServer, Node, Process, isolated, wait_until};

    fn vip(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 168, 4, last))
    }

    fn example(name: &str) -> anyhow::Result<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/keepalived").join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Waits until this director has the address and no other has.
    fn has(lab: &Lab, vip: IpAddr, node: Node, directors: &[&Director<'_>]) -> anyhow::Result<()> {
        let logs = || directors.iter().map(|director| director.log()).collect::<Vec<_>>().join("\n---\n");
        let has = wait_until(patience(20), || holders(lab, vip) == [node]);
        ensure!(has, "{vip} is not on {node} but {:?}:\n{}", holders(lab, vip), logs());
        Ok(())
    }

    /// Who answers `count` requests, one after the other.
    fn answers(lab: &Lab, vip: IpAddr, count: usize) -> anyhow::Result<Vec<String>> {
        lab.curl_sequence(&format!("http://{vip}/"), count)
    }

    fn counts(answers: &[String]) -> (usize, usize) {
        let of = |name: &str| answers.iter().filter(|answer| answer.contains(name)).count();
        (of("web1"), of("web2"))
    }

    /// A program that does nothing but be there under a name of its own.
    fn stand_in(lab: &Lab, node: Node, name: &str) -> anyhow::Result<Process> {
        let path = lab.dir().join(name);
        fs::copy("/usr/bin/sleep", &path).with_context(|| path.display().to_string())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let path = path.to_str().context("the lab's directory")?;
        lab.spawn(node, [path, "1000"])
    }

    fn script(lab: &Lab, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = lab.write(name, &format!("#!/bin/sh\n{text}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// One VIP, weights 1 and 2, a TCP check, mail: imported by hand on the one director, run directly on the other.
    #[test]
    fn a_web_pair_moves_over() {
        isolated("as_root_waiting::a_web_pair_moves_over", || {
            let lab = Lab::builder().up()?;
            start_real_servers(&lab, &[vip(15)])?;
            let mails = MailServer::start(&lab, Node::Lvs1)?;
            let first = example("web-pair-lvs1.conf")?;
            let second = first
                .replace("MASTER", "BACKUP")
                .replace("priority 100", "priority 50")
                .replace("lvs1", "lvs2");
            let file = lab.write("keepalived.conf", &first)?;
            let result = lab.dir().join("imported.toml");
            let arguments = [
                "import".as_ref(),
                "keepalived".as_ref(),
                file.as_os_str(),
                "-o".as_ref(),
                result.as_os_str(),
            ];
            let output = run_lbctl(&lab, Node::Lvs1, arguments)?;
            ensure!(output.status.success(), "{output:?}");
            let report = String::from_utf8_lossy(&output.stdout);
            ensure!(report.contains(" 0 changed in meaning, 0 not supported"), "{report}");
            let mut one = Director::up_by(&lab, Node::Lvs1, "-c", &result)?;
            let two = Director::up_by_keepalived(&lab, Node::Lvs2, &second)?;
            has(&lab, vip(15), Node::Lvs1, &[&one, &two])?;
            ensure!(counts(&answers(&lab, vip(15), 12)?) == (4, 8), "1:2");

            // The checks of the file: three more attempts, three seconds apart.
            lab.exec(Node::Web2, ["ip", "link", "set", "eth0", "down"])?;
            let out = || answers(&lab, vip(15), 3).is_ok_and(|all| counts(&all) == (3, 0));
            ensure!(wait_until(patience(60), out), "{}", one.log());
            // Who its `notification_email` names is told.
            let told = |what: &str| mails.lines().iter().any(|line| line.starts_with(what));
            let is_told =
                || told("Subject: [lvs1] Realserver [192.168.4.200]:tcp:80") && told("To: ops@example.net");
            ensure!(wait_until(patience(20), is_told), "{:?}", mails.lines());
            lab.exec(Node::Web2, ["ip", "link", "set", "eth0", "up"])?;
            let back = || answers(&lab, vip(15), 3).is_ok_and(|all| counts(&all) == (1, 2));
            ensure!(wait_until(patience(60), back), "{}", one.log());

            one.kill()?;
            ensure!(
                wait_until(patience(20), || holders(&lab, vip(15)).contains(&Node::Lvs2)),
                "{}",
                two.log()
            );
            one.up_again()?;
            has(&lab, vip(15), Node::Lvs1, &[&one, &two])?;
            one.down()?;
            has(&lab, vip(15), Node::Lvs2, &[&two])?;
            ensure!(counts(&answers(&lab, vip(15), 12)?) == (4, 8), "1:2 by the other");
            lab.down()
        });
    }

    /// Two VIPs, of which each director has one, persistence and a script: one file for both.
    #[test]
    fn a_dual_master_pair_moves_over() {
        isolated("as_root_waiting::a_dual_master_pair_moves_over", || {
            let lab = Lab::builder().up()?;
            start_real_servers(&lab, &[vip(131), vip(132)])?;
            let text = example("dual-master.conf")?;
            // Persistence keeps a client with the real server of its first request, longer than this takes.
            let text = text.replace("persistence_timeout 5 ", "persistence_timeout 600 ");
            let flag = |node: Node| lab.dir().join(format!("{node}.fails"));
            let of = |node| {
                let test = format!("/usr/bin/test ! -e {}", flag(node).display());
                text.replace("/etc/keepalived/check-web.sh", &test)
            };
            let one = Director::up_by_keepalived(&lab, Node::Lvs1, &of(Node::Lvs1))?;
            let two = Director::up_by_keepalived(&lab, Node::Lvs2, &of(Node::Lvs2))?;
            let apart = || -> anyhow::Result<()> {
                has(&lab, vip(131), Node::Lvs1, &[&one, &two])?;
                has(&lab, vip(132), Node::Lvs2, &[&one, &two])
            };
            apart()?;
            for last in [131, 132] {
                let answers = answers(&lab, vip(last), 6)?;
                ensure!(matches!(counts(&answers), (6, 0) | (0, 6)), "{answers:?}");
            }
            // 100 - 30 is less than 80.
            fs::write(flag(Node::Lvs1), "")?;
            has(&lab, vip(131), Node::Lvs2, &[&one, &two])?;
            has(&lab, vip(132), Node::Lvs2, &[&one, &two])?;
            let by_the_other = answers(&lab, vip(131), 4)?;
            ensure!(matches!(counts(&by_the_other), (4, 0) | (0, 4)), "{by_the_other:?}");
            fs::remove_file(flag(Node::Lvs1))?;
            apart()?;
            two.down()?;
            has(&lab, vip(132), Node::Lvs1, &[&one])?;
            let by_the_other = answers(&lab, vip(132), 4)?;
            ensure!(matches!(counts(&by_the_other), (4, 0) | (0, 4)), "{by_the_other:?}");
            lab.down()
        });
    }

    /// No virtual servers: VRRP follows a process, and tells scripts.
    #[test]
    fn a_pair_without_virtual_servers_moves_over() {
        isolated("as_root_waiting::a_pair_without_virtual_servers_moves_over", || {
            let lab = Lab::builder().up()?;
            let text = example("nginx-pair.conf")?;
            let notes = lab.dir().join("notes");
            let of = |node: Node| -> anyhow::Result<String> {
                let notify = script(
                    &lab,
                    &format!("notify-{node}.sh"),
                    &format!("echo {node} \"$1\" >> {}", notes.display()),
                )?;
                let text = text
                    .replace("process nginx", &format!("process web-{node}"))
                    .replace("/etc/keepalived/notify.sh", &notify.display().to_string());
                Ok(if node == Node::Lvs1 { text } else { text.replace("priority 100", "priority 90") })
            };
            let mut web = stand_in(&lab, Node::Lvs1, "web-lvs1")?;
            let _other = stand_in(&lab, Node::Lvs2, "web-lvs2")?;
            let one = Director::up_by_keepalived(&lab, Node::Lvs1, &of(Node::Lvs1)?)?;
            let two = Director::up_by_keepalived(&lab, Node::Lvs2, &of(Node::Lvs2)?)?;
            has(&lab, vip(111), Node::Lvs1, &[&one, &two])?;
            web.kill()?;
            has(&lab, vip(111), Node::Lvs2, &[&one, &two])?;
            let told = || {
                let notes = fs::read_to_string(&notes).unwrap_or_default();
                ["lvs1 master", "lvs1 backup", "lvs2 master"].iter().all(|note| notes.contains(note))
            };
            ensure!(wait_until(patience(10), told), "{}", fs::read_to_string(&notes).unwrap_or_default());
            let _web = stand_in(&lab, Node::Lvs1, "web-lvs1")?;
            has(&lab, vip(111), Node::Lvs1, &[&one, &two])?;
            lab.down()
        });
    }

    /// The script stops the director when its proxy is gone.
    #[test]
    fn a_proxy_pair_whose_script_stops_the_director_moves_over() {
        isolated("as_root_waiting::a_proxy_pair_whose_script_stops_the_director_moves_over", || {
            let lab = Lab::builder().up()?;
            let text = example("proxy-pair.conf")?;
            let of = |node: Node| -> anyhow::Result<String> {
                let stop = format!(
                    "pgrep -x proxy-{node} > /dev/null || {} down --instance {node}",
                    lbctl()?.display()
                );
                let check = script(&lab, &format!("chk-{node}.sh"), &stop)?;
                let text = text.replace("/etc/keepalived/chk_haproxy.sh", &check.display().to_string());
                Ok(if node == Node::Lvs1 { text } else { text.replace("priority 120", "priority 100") })
            };
            let mut proxy = stand_in(&lab, Node::Lvs1, "proxy-lvs1")?;
            let _other = stand_in(&lab, Node::Lvs2, "proxy-lvs2")?;
            let mut one = Director::up_by_keepalived(&lab, Node::Lvs1, &of(Node::Lvs1)?)?;
            let two = Director::up_by_keepalived(&lab, Node::Lvs2, &of(Node::Lvs2)?)?;
            has(&lab, vip(250), Node::Lvs1, &[&one, &two])?;
            proxy.kill()?;
            has(&lab, vip(250), Node::Lvs2, &[&one, &two])?;
            ensure!(wait_until(patience(20), || one.pid().is_err()), "it goes on:\n{}", one.log());
            let _proxy = stand_in(&lab, Node::Lvs1, "proxy-lvs1")?;
            one.up_again()?;
            has(&lab, vip(250), Node::Lvs1, &[&one, &two])?;
            lab.down()
        });
    }

    /// `ipvsadm -S` imported, served, saved: the same rules. `lbctl diff` before and after a reload.
    #[test]
    fn rules_come_back_as_they_went_in() {
        isolated("as_root_waiting::rules_come_back_as_they_went_in", || {
            let lab = Lab::builder().up()?;
            start_real_servers(&lab, &[lab.vip(Family::V4)])?;
            let rules = "-A -t 192.168.4.15:80 -s wrr\n\
                         -a -t 192.168.4.15:80 -r 192.168.4.100:80 -g -w 1\n\
                         -a -t 192.168.4.15:80 -r 192.168.4.200:80 -g -w 2\n\
                         -A -u 192.168.4.15:53 -s rr\n\
                         -a -u 192.168.4.15:53 -r 192.168.4.100:53 -g -w 1\n";
            let file = lab.write("rules", rules)?;
            let result = lab.dir().join("lvs1.toml");
            let import = [
                "import".as_ref(),
                "ipvsadm".as_ref(),
                file.as_os_str(),
                "--interface=eth0".as_ref(),
                "-o".as_ref(),
                result.as_os_str(),
            ];
            let output = run_lbctl(&lab, Node::Lvs1, import)?;
            ensure!(output.status.success(), "{output:?}");
            let mut one = Director::up_by(&lab, Node::Lvs1, "-c", &result)?;
            let said = |arguments: &[&str]| -> anyhow::Result<(Option<i32>, String)> {
                let output = run_lbctl(&lab, Node::Lvs1, arguments)?;
                Ok((
                    output.status.code(),
                    String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output),
                ))
            };
            ensure!(said(&["save", "--format", "ipvsadm"])? == (Some(0), rules.to_owned()), "{}", one.log());
            ensure!(said(&["ipvsadm", "-Sn"])? == (Some(0), rules.to_owned()), "ipvsadm -Sn");
            ensure!(said(&["diff"])? == (Some(0), String::new()), "{:?}", said(&["diff"])?);

            // What was saved is a configuration of the same rules.
            let (_, toml) = said(&["save"])?;
            let saved = lab.write("saved.toml", &toml)?;
            let saved = saved.to_str().context("the lab's directory")?;
            ensure!(said(&["diff", "-c", saved])?.0 == Some(0), "{:?}", said(&["diff", "-c", saved])?);

            let changed = fs::read_to_string(&result)?.replace("weight = 2", "weight = 5");
            fs::write(&result, changed)?;
            let expected =
                "~ virtual_server 192.168.4.15:80/tcp: real_server 192.168.4.200:80: weight: 2 -> 5\n"
                    .to_owned();
            ensure!(said(&["diff"])? == (Some(1), expected), "{:?}", said(&["diff"])?);
            ensure!(said(&["reload"])?.0 == Some(0), "reload");
            ensure!(said(&["diff"])?.0 == Some(0), "after the reload");
            ensure!(said(&["save", "--format", "ipvsadm"])?.1.contains("-w 5"), "the new weight");

            // What is served is known without a daemon too, in every form.
            let (_, with_daemon) = said(&["save", "--format", "ipvsadm"])?;
            one.kill()?;
            ensure!(said(&["diff"])?.0 == Some(2), "without a daemon");
            ensure!(said(&["save", "--format", "ipvsadm"])? == (Some(0), with_daemon), "without a daemon");
            let (code, toml) = said(&["save"])?;
            ensure!(code == Some(0) && toml.contains("# The daemon does not run"), "{toml}");
            ensure!(toml.contains("weight = 5") && toml.contains("interfaces = [\"eth0\"]"), "{toml}");
            one.up_again()?;
            one.down()?;
            ensure!(said(&["save"])?.0 == Some(1), "nothing is up");
            lab.down()
        });
    }

    /// What is not supported keeps a director from starting, unless it is told to go on; every finding points into the
    /// file.
    #[test]
    fn what_is_not_supported_is_refused_by_its_line() {
        isolated("as_root_waiting::what_is_not_supported_is_refused_by_its_line", || {
            let lab = Lab::builder().up()?;
            let text = example("proxy-pair.conf")?
                .replace("    track_script {", "    use_ipvlan\n    track_script {")
                .replace("/etc/keepalived/chk_haproxy.sh", "/bin/true");
            let file = lab.write("keepalived.conf", &text)?;
            let path = file.to_str().context("the lab's directory")?;
            for command in [["check", "--keepalived", path].as_slice(), &["up", "-d", "--keepalived", path]] {
                let output = run_lbctl(&lab, Node::Lvs1, command)?;
                let all = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
                ensure!(output.status.code() == Some(1), "{command:?}: {all}");
                ensure!(all.contains("keepalived.conf:27:5") && all.contains("use_ipvlan"), "{all}");
            }
            for command in [
                ["check", "--keepalived", path, "--partial"].as_slice(),
                &["up", "-d", "--keepalived", path, "--partial"],
            ] {
                let output = run_lbctl(&lab, Node::Lvs1, command)?;
                ensure!(output.status.success(), "{command:?}: {}", stderr(&output));
            }
            ensure!(wait_until(patience(20), || holders(&lab, vip(250)) == [Node::Lvs1]), "it is master");
            lab.down()
        });
    }
}

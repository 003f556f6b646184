//! What is told when a real server fails and comes back: scripts, FIFO and mail, in keepalived's words.

mod as_root {
    use std::fs;
    use std::path::Path;

    use anyhow::Context;
    use lb_tests::director::{Configuration, Director, VirtualServer, patience};
    use lb_tests::{Family, Lab, MailServer, Node, isolated, wait_until};

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_failure_and_a_recovery_are_told() {
        isolated("as_root::a_failure_and_a_recovery_are_told", || {
            let lab = Lab::builder().up()?;
            let mails = MailServer::start(&lab, Node::Lvs1)?;
            let (log, fifo_log) = (lab.dir().join("notified"), lab.dir().join("from-fifo"));
            let script = lab.write(
                "notify.sh",
                &format!("echo \"$1 $LBCTL_REAL_SERVER $LBCTL_REASON\" >> {}\n", log.display()),
            )?;
            let reader = lab.write(
                "reader.sh",
                &format!("while read line; do echo \"$line\" >> {}; done < \"$1\"\n", fifo_log.display()),
            )?;
            let (script, reader) = (script.display(), reader.display());
            let server = VirtualServer::new(lab.web(Family::V4))
                .option(&format!(
                    "quorum_up = \"sh {script} quorum-up\"\nquorum_down = \"sh {script} quorum-down\""
                ))
                .option("check_interval = \"200ms\"\ncheck_retry_delay = \"100ms\"")
                .option("[[virtual_server.check]]\ntype = \"tcp\"")
                .real_server(lab.address(Node::Web1, Family::V4).context("no web1")?, 1);
            let notifications = format!(
                "[notifications]\nemail = [\"root@localhost\"]\nemail_from = \"ka@localhost\"\nsmtp_server = \"127.0.0.1\"\n\
                 script_user = \"root\"\nlvs_fifo = \"{}\"\nlvs_fifo_script = \"sh {reader}\"\n",
                lab.dir().join("fifo").display()
            );
            let options = format!("notify_up = \"sh {script} up\"\nnotify_down = \"sh {script} down\"\n");
            let config = Configuration::new(&["eth0"])
                .option("router_id = \"lvs1\"")
                .option(&notifications)
                .with(server);
            // The keys of the last real server are at the file's end.
            let path = lab.write("lvs1.toml", &format!("{config}{options}"))?;
            let _director = Director::start(&lab, Node::Lvs1, &config)?;
            fs::write(&path, format!("{config}{options}"))?;
            lab.exec(Node::Lvs1, ["sh", "-c", "kill -HUP $(cat /run/lbctl/lvs1/lock)"])?;

            lab.exec(Node::Web1, ["ip", "link", "set", "dev", "eth0", "down"])?;
            let told = |word: &str| lines(&log).iter().any(|line| line.starts_with(word));
            let all = |what: &[&str]| wait_until(patience(60), || what.iter().all(|word| told(word)));
            anyhow::ensure!(all(&["down 192.168.4.100:80 ", "quorum-down "]), "{:?}", lines(&log));
            lab.exec(Node::Web1, ["ip", "link", "set", "dev", "eth0", "up"])?;
            anyhow::ensure!(all(&["up 192.168.4.100:80 ", "quorum-up "]), "{:?}", lines(&log));
            let expected = [
                "RS [192.168.4.100]:tcp:80 [192.168.4.15]:tcp:80 DOWN",
                "VS [192.168.4.15]:tcp:80 DOWN",
                "RS [192.168.4.100]:tcp:80 [192.168.4.15]:tcp:80 UP",
                "VS [192.168.4.15]:tcp:80 UP",
            ];
            let all_lines = || expected.iter().all(|line| lines(&fifo_log).iter().any(|found| found == line));
            anyhow::ensure!(wait_until(patience(20), all_lines), "{:?}", lines(&fifo_log));
            let subjects = [
                // Long lines are folded at a space.
                "Subject: [lvs1] Realserver [192.168.4.100]:tcp:80 of virtual server",
                "Subject: [lvs1] Virtualserver [192.168.4.15]:tcp:80 - DOWN",
                "Subject: [lvs1] Virtualserver [192.168.4.15]:tcp:80 - UP",
            ];
            let arrived = || {
                let mails = mails.lines();
                subjects.iter().all(|subject| mails.iter().any(|line| line.starts_with(subject)))
            };
            anyhow::ensure!(wait_until(patience(20), arrived), "{mails:?}");
            lab.down()
        });
    }
}

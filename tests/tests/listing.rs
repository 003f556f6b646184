//! `lbctl list` as one reads it: on a terminal and in a pipe, with names, again and again.

mod as_root {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use anyhow::{Context, ensure};
    use lb_tests::director::{Director, lbctl, run_lbctl, stderr, web};
    use lb_tests::{Family, Lab, Node, isolated};

    fn up(lab: &Lab) -> anyhow::Result<Director<'_>> {
        let config = web(lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 2)])?;
        Director::start(lab, Node::Lvs1, &config)
    }

    /// Runs `lbctl list` on a terminal.
    fn on_a_terminal(lab: &Lab, variable: (&str, &str)) -> anyhow::Result<String> {
        let line = format!("{} list -n", lbctl()?.display());
        let mut command: Command = lab.command(Node::Lvs1, "script");
        command
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::null());
        let output =
            command.env_remove("NO_COLOR").env(variable.0, variable.1).output().context("script(1)")?;
        ensure!(output.status.success(), "{}", stderr(&output));
        Ok(String::from_utf8_lossy(&output.stdout).replace('\r', ""))
    }

    #[test]
    fn colour_is_for_terminals() {
        isolated("as_root::colour_is_for_terminals", || {
            let lab = Lab::builder().up()?;
            let director = up(&lab)?;
            let piped = run_lbctl(&lab, Node::Lvs1, ["list", "-n"])?.stdout;
            let piped = String::from_utf8_lossy(&piped);
            ensure!(piped.contains("TCP  192.168.4.15:80 wrr\n") && !piped.contains('\x1b'), "{piped:?}");
            let shown = on_a_terminal(&lab, ("LANG", "C"))?;
            ensure!(shown.contains('\x1b'), "{shown:?}");
            for off in [("NO_COLOR", "1"), ("TERM", "dumb")] {
                let plain = on_a_terminal(&lab, off)?;
                ensure!(plain == piped, "{off:?}: {plain:?}");
            }
            director.down()?;
            lab.down()
        });
    }

    #[test]
    fn names_are_those_of_the_system() {
        isolated("as_root::names_are_those_of_the_system", || {
            let lab = Lab::builder().up()?;
            let director = up(&lab)?;
            let hosts = lab.write("hosts", "192.168.4.15 shop.example\n192.168.4.100 web1.example\n")?;
            let services = lab.write("services", "http 80/tcp\n")?;
            let line = format!(
                "mount --bind {} /etc/hosts && mount --bind {} /etc/services && exec {} list --resolve",
                hosts.display(),
                services.display(),
                lbctl()?.display()
            );
            let listing = lab.exec(Node::Lvs1, ["unshare", "--mount", "sh", "-c", &line])?;
            lab.curl_sequence("http://192.168.4.15/", 3)?;
            let line = format!("{line} -c");
            let connections = lab.exec(Node::Lvs1, ["unshare", "--mount", "sh", "-c", &line])?;
            ensure!(
                connections.contains(" shop.example:http  web1.example:http\n")
                    && connections.contains(" shop.example:http  192.168.4.200:http\n"),
                "{connections}"
            );
            for row in ["TCP  shop.example:http wrr\n", "  -> web1.example:http ", "  -> 192.168.4.200:http "]
            {
                ensure!(listing.contains(row), "no {row:?} in:\n{listing}");
            }
            director.down()?;
            lab.down()
        });
    }

    /// In a pipe one listing follows the other, each of its moment, until nobody reads.
    #[test]
    fn a_watch_goes_on_until_nobody_reads() {
        isolated("as_root::a_watch_goes_on_until_nobody_reads", || {
            let lab = Lab::builder().up()?;
            let director = up(&lab)?;
            let mut command = lab.command(Node::Lvs1, lbctl()?);
            let mut child =
                command.args(["list", "-n", "--stats", "--watch", "1"]).stdout(Stdio::piped()).spawn()?;
            let mut lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
            let mut next = || -> anyhow::Result<u64> {
                let line = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("TCP "));
                let line = line.context("it ended")?;
                Ok(line.split_whitespace().nth(2).context("no counter")?.parse()?)
            };
            ensure!(next()? == 0, "nobody has connected yet");
            lab.curl_sequence("http://192.168.4.15/", 3)?;
            let mut seen = next()?;
            while seen == 0 {
                seen = next()?;
            }
            ensure!(seen <= 3, "{seen}");
            drop(lines);
            ensure!(child.wait()?.success(), "a reader that goes away is no failure");
            director.down()?;
            lab.down()
        });
    }
}

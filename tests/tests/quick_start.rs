//! docs/quick-start.md, followed as it is written: its files, its commands, and what it says that one will see.

mod as_root {
    use std::fs;
    use std::net::IpAddr;
    use std::path::{Path, PathBuf};

    use anyhow::{Context, ensure};
    use lb_tests::director::{Director, lbctl, patience, run_lbctl, stderr};
    use lb_tests::failover::holders;
    use lb_tests::{Family, Lab, Node, isolated, nginx, wait_until};

    /// The page.
    struct Page(String);

    impl Page {
        fn read() -> anyhow::Result<Self> {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/quick-start.md");
            fs::read_to_string(&path).with_context(|| path.display().to_string()).map(Self)
        }

        /// The file for lvs1.
        fn file(&self) -> anyhow::Result<&str> {
            let (_, rest) = self.0.split_once("```toml\n").context("no configuration")?;
            Ok(rest.split_once("```").context("no end")?.0)
        }

        /// The file for lvs2, by the sentence that says what differs.
        fn other_file(&self) -> anyhow::Result<String> {
            let mut file = self.file()?.to_owned();
            for (one, two) in
                [("router_id = \"lvs1\"", "router_id = \"lvs2\""), ("priority = 100", "priority = 50")]
            {
                ensure!(
                    self.0.contains(&format!("`{two}`")) && file.matches(one).count() == 1,
                    "{one}, {two}"
                );
                file = file.replace(one, two);
            }
            Ok(file)
        }

        /// Types a command that the page has, on `node`; the director's file is where the lab has it.
        fn type_on(&self, lab: &Lab, node: Node, command: &str) -> anyhow::Result<(i32, String)> {
            ensure!(self.0.contains(command), "the page has no {command}");
            let mut lbctl = lab.command(node, lbctl()?);
            lbctl.args(command.split_whitespace().skip(1)).env("LBCTL_CONFIG", file_of(lab, node));
            let output = lbctl.output()?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
            Ok((output.status.code().context("killed")?, said))
        }

        /// The variable that the page writes to the real servers' environment file.
        fn vips(&self) -> anyhow::Result<&str> {
            let (_, rest) = self.0.split_once("# echo LBCTL_VIPS=").context("no LBCTL_VIPS")?;
            rest.split_whitespace().next().context("no address")
        }
    }

    fn file_of(lab: &Lab, node: Node) -> PathBuf {
        lab.dir().join(format!("{node}.toml"))
    }

    fn answers(lab: &Lab, vip: IpAddr, count: usize) -> anyhow::Result<(usize, usize)> {
        let answers = lab.curl_sequence(&format!("http://{vip}/"), count)?;
        let of = |name: &str| answers.iter().filter(|answer| answer.contains(name)).count();
        Ok((of("web1"), of("web2")))
    }

    /// Waits until `count` answers are divided so.
    fn divided(lab: &Lab, vip: IpAddr, wanted: (usize, usize), why: &str) -> anyhow::Result<()> {
        let count = wanted.0 + wanted.1;
        let is_so = || answers(lab, vip, count).is_ok_and(|found| found == wanted);
        ensure!(wait_until(patience(30), is_so), "{why}: {:?}", answers(lab, vip, count));
        Ok(())
    }

    fn moves(lab: &Lab, vip: IpAddr, node: Node) -> anyhow::Result<()> {
        ensure!(wait_until(patience(30), || holders(lab, vip) == [node]), "{:?}", holders(lab, vip));
        Ok(())
    }

    #[test]
    fn is_true() {
        isolated("as_root::is_true", || {
            let (page, lab) = (Page::read()?, Lab::builder().up()?);
            let vip = lab.vip(Family::V4);
            ensure!(page.vips()? == vip.to_string(), "{}", page.vips()?);

            // The web servers, by what the unit runs.
            for node in [Node::Web1, Node::Web2] {
                let mut start = lab.command(node, lbctl()?);
                let output = start.args(["realserver", "start"]).env("LBCTL_VIPS", page.vips()?).output()?;
                ensure!(output.status.success(), "{}", stderr(&output));
                let (code, said) = page.type_on(&lab, node, "lbctl doctor --realserver")?;
                ensure!(code == 3 && said.contains("nobody"), "{code}: {said}");
            }

            // The directors.
            let mut directors = Vec::new();
            for (node, file) in [(Node::Lvs1, page.file()?.to_owned()), (Node::Lvs2, page.other_file()?)] {
                lab.write(&format!("{node}.toml"), &file)?;
                let (code, said) = page.type_on(&lab, node, "lbctl check")?;
                ensure!(code == 0, "{said}");
                directors.push(Director::up_by(&lab, node, "-c", &file_of(&lab, node))?);
            }
            moves(&lab, vip, Node::Lvs1)?;
            for node in [Node::Lvs1, Node::Lvs2] {
                let (code, said) = page.type_on(&lab, node, "lbctl doctor")?;
                ensure!(code != 1, "{node}: {said}");
                let (code, said) = page.type_on(&lab, node, "lbctl list -n")?;
                ensure!(code == 0 && said.contains("TCP  192.168.4.15:80 wrr\n"), "{said}");
            }
            divided(&lab, vip, (4, 8), "web1 once and web2 twice in turn")?;

            // `systemctl stop nginx` on web1.
            nginx::stop(&lab, Node::Web1)?;
            divided(&lab, vip, (0, 6), "after the next checks all answers are web2's")?;
            let (_, said) = page.type_on(&lab, Node::Lvs1, "lbctl list --checks")?;
            ensure!(said.contains("192.168.4.100:80") && said.contains("refused"), "{said}");
            nginx::start_again(&lab, Node::Web1)?;
            divided(&lab, vip, (2, 4), "it is back")?;

            let (code, said) = page.type_on(&lab, Node::Lvs1, "lbctl drain 192.168.4.15:80 192.168.4.100")?;
            ensure!(code == 0, "{said}");
            divided(&lab, vip, (0, 6), "new connections go to web2")?;
            let enabled = run_lbctl(&lab, Node::Lvs1, ["enable", "192.168.4.15:80", "192.168.4.100"])?;
            ensure!(page.0.contains("`lbctl enable …`") && enabled.status.success(), "{}", stderr(&enabled));
            divided(&lab, vip, (2, 4), "`lbctl enable` ends it")?;

            let (code, said) =
                page.type_on(&lab, Node::Lvs1, "lbctl explain 192.168.4.10 192.168.4.15:80")?;
            ensure!(code == 0 && said.contains("real server     192.168.4."), "{said}");

            // Pull lvs1's cable, and plug it in again.
            lab.exec(Node::Lvs1, ["ip", "link", "set", "eth0", "down"])?;
            moves(&lab, vip, Node::Lvs2)?;
            divided(&lab, vip, (4, 8), "by the other director")?;
            lab.exec(Node::Lvs1, ["ip", "link", "set", "eth0", "up"])?;
            moves(&lab, vip, Node::Lvs1)?;

            // Traffic goes on without the daemon. The unit starts the next at once.
            directors[0].kill()?;
            ensure!(answers(&lab, vip, 6)? == (2, 4), "without the daemon");
            directors[0].up_again()?;
            moves(&lab, vip, Node::Lvs1)?;
            divided(&lab, vip, (2, 4), "with the next")?;
            for director in &directors {
                director.down()?;
            }
            lab.down()
        });
    }
}

//! `lbctl doctor` on the nodes of a lab: what is right is said to be, and what is broken is found.

mod as_root_waiting {
    use anyhow::Context;
    use lb_tests::director::{Director, run_lbctl, web};
    use lb_tests::{Family, Lab, Node, Topology, failover, isolated};
    use serde_json::Value as Json;

    /// Runs it; returns the exit code and the findings.
    fn doctor(lab: &Lab, node: Node, words: &[&str]) -> anyhow::Result<(i32, Vec<Json>)> {
        let output = run_lbctl(lab, node, [&["doctor", "--json"], words].concat())?;
        let report: Json =
            serde_json::from_slice(&output.stdout).with_context(|| format!("lbctl doctor: {output:?}"))?;
        assert_eq!(report["schema"], "lbctl/doctor/v1");
        let findings = report["findings"].as_array().context("no findings")?.clone();
        Ok((output.status.code().context("killed")?, findings))
    }

    fn find<'f>(findings: &'f [Json], check: &str, subject: &str) -> anyhow::Result<&'f Json> {
        let is_it = |finding: &&Json| finding["check"] == check && finding["subject"] == subject;
        findings.iter().find(is_it).with_context(|| format!("no {check} {subject} in {findings:#?}"))
    }

    #[test]
    fn finds_what_is_broken_on_a_director() {
        isolated("as_root_waiting::finds_what_is_broken_on_a_director", || {
            let lab = Lab::builder().nginx(false).up()?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 2)])?;
            let director = Director::start(&lab, Node::Lvs1, &config)?;
            let path = lab.dir().join("lvs1.toml");
            let words = ["-c", path.to_str().context("path")?];
            let vip = lab.vip(Family::V4).to_string();
            let web1 = lab.address(Node::Web1, Family::V4).context("no web1")?.to_string();

            let (code, findings) = doctor(&lab, Node::Lvs1, &words)?;
            let is_error = |finding: &&Json| finding["severity"] == "error";
            assert_eq!(findings.iter().find(is_error), None);
            assert_ne!(code, 1);
            assert_eq!(find(&findings, "xdp-mode", "eth0")?["found"], "native");
            assert_eq!(find(&findings, "real-server", &web1)?["severity"], "ok");
            let arp = find(&findings, "arp", &vip)?;
            assert!(arp["found"].as_str().context("text")?.starts_with("only this host"), "{arp}");

            // A real server that answers ARP for the VIP: the mistake of direct routing.
            let address = format!("{vip}/32");
            lab.exec(Node::Web1, ["ip", "address", "add", &address, "dev", "eth0"])?;
            lab.exec(Node::Web1, ["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=0"])?;
            lab.exec(Node::Web1, ["sysctl", "-qw", "net.ipv4.conf.eth0.arp_ignore=0"])?;
            // And one that is gone.
            lab.exec(Node::Web2, ["ip", "link", "set", "eth0", "down"])?;
            let web2 = lab.address(Node::Web2, Family::V4).context("no web2")?.to_string();
            lab.exec(Node::Lvs1, ["ip", "neighbour", "flush", "all"])?;
            let (code, findings) = doctor(&lab, Node::Lvs1, &words)?;
            assert_eq!(code, 1);
            let link = lab.exec(Node::Web1, ["ip", "-br", "link", "show", "dev", "eth0"])?;
            let mac = link.split_whitespace().nth(2).context("no MAC address")?;
            let arp = find(&findings, "arp", &vip)?;
            assert_eq!(arp["severity"], "error");
            assert!(arp["found"].as_str().context("text")?.contains(mac), "{arp}, not {mac}");
            assert!(arp["remedy"].as_str().context("remedy")?.contains("lbctl realserver start"), "{arp}");
            assert_eq!(find(&findings, "real-server", &web2)?["severity"], "error");
            director.down()?;
            lab.down()
        });
    }

    /// A host whose role cannot be told says how to name it; a keepalived.conf is a configuration too.
    #[test]
    fn looks_at_what_it_is_told_to() {
        isolated("as_root_waiting::looks_at_what_it_is_told_to", || {
            let lab = Lab::builder().nginx(false).up()?;
            let conf = "virtual_server 192.168.4.15 80 {\nlb_algo rr\nlb_kind DR\nprotocol TCP\ndelay_loop 6\n\
                        real_server 192.168.4.200 80 {\nweight 1\n}\n}\n";
            let conf = lab.write("keepalived.conf", conf)?.display().to_string();
            let absent = lab.dir().join("absent").display().to_string();
            for option in ["-c", "--keepalived"] {
                let output = run_lbctl(&lab, Node::Lvs1, ["doctor", option, &absent])?;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                let is_right =
                    said.contains(&format!("{absent}: no such file")) && said.contains("--realserver --vip");
                assert!(output.status.code() == Some(1) && is_right, "{said}");
            }
            let words = ["--silent", "--keepalived", &conf, "--interface", "eth0"];
            let (_, findings) = doctor(&lab, Node::Lvs1, &words)?;
            find(&findings, "interface", "eth0")?;
            find(&findings, "real-server", "192.168.4.200")?;
            let up = ["up", "-d", "--keepalived", &conf, "--interface", "eth0"];
            assert!(run_lbctl(&lab, Node::Lvs1, up)?.status.success());
            let output = run_lbctl(&lab, Node::Lvs1, ["doctor", "-c", &absent])?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("the one that the director was started with"), "{said}");
            assert!(run_lbctl(&lab, Node::Lvs1, ["down"])?.status.success());
            lab.down()
        });
    }

    #[test]
    fn finds_what_is_broken_on_a_real_server() {
        isolated("as_root_waiting::finds_what_is_broken_on_a_real_server", || {
            let lab = Lab::builder().nginx(false).up()?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 2)])?;
            let director = Director::start(&lab, Node::Lvs1, &config)?;
            let vip = lab.vip(Family::V4).to_string();
            let (code, findings) = doctor(&lab, Node::Web1, &["--realserver"])?;
            assert_ne!(code, 1, "{findings:#?}");
            let arp = find(&findings, "arp", &vip)?;
            assert!(arp["found"].as_str().context("text")?.ends_with("the director"), "{arp}");
            lab.exec(Node::Web1, ["sysctl", "-qw", "net.ipv4.conf.all.arp_announce=0"])?;
            let (code, findings) = doctor(&lab, Node::Web1, &["--realserver", "--vip", &vip])?;
            assert_eq!(code, 1);
            let finding = find(&findings, "realserver", "net.ipv4.conf.all.arp_announce")?;
            assert_eq!(finding["remedy"], "lbctl realserver start", "{finding}");
            director.down()?;
            let (_, findings) = doctor(&lab, Node::Web1, &["--realserver", "--vip", &vip])?;
            assert_eq!(find(&findings, "arp", &vip)?["severity"], "warning", "nobody has the VIP now");
            lab.down()
        });
    }

    /// Warnings and errors: check and subject, severity, remedy.
    fn wrong(lab: &Lab, node: Node, words: &[&str]) -> anyhow::Result<Vec<(String, String, String)>> {
        let (_, findings) = doctor(lab, node, words)?;
        let text = |finding: &Json, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        Ok(findings
            .iter()
            .filter(|finding| finding["severity"] != "ok" && finding["severity"] != "note")
            .map(|finding| {
                let what = format!("{} {}", text(finding, "check"), text(finding, "subject"));
                (what, text(finding, "severity"), text(finding, "remedy"))
            })
            .collect())
    }

    /// Breaks something, finds exactly that, and mends it by the remedy as it is printed.
    fn breaks(
        lab: &Lab,
        node: Node,
        words: &[&str],
        (how, what, severity): (&str, &str, &str),
    ) -> anyhow::Result<()> {
        let before = wrong(lab, node, words)?;
        lab.exec(node, ["sh", "-c", how])?;
        let mut found = wrong(lab, node, words)?;
        found.retain(|finding| !before.contains(finding));
        let [(found_what, found_severity, remedy)] = found.as_slice() else {
            anyhow::bail!("{how}: {found:?}, before {before:?}")
        };
        anyhow::ensure!(
            (found_what.as_str(), found_severity.as_str()) == (what, severity),
            "{how}: {found:?}"
        );
        let remedy = remedy.rsplit(": ").next().unwrap_or(remedy);
        lab.exec(node, ["sh", "-c", remedy]).with_context(|| format!("the remedy of {what}"))?;
        let after = wrong(lab, node, words)?;
        anyhow::ensure!(after == before, "{remedy} is no remedy: {after:?}");
        Ok(())
    }

    /// What cards, links and packet filters do to a director, each with a remedy that works.
    #[test]
    fn its_remedies_mend_a_director() {
        isolated("as_root_waiting::its_remedies_mend_a_director", || {
            let lab = Lab::builder().topology(Topology::TwoArmed).nginx(false).up()?;
            let instance = failover::instance("VI_1", 51, lab.vip(Family::V4), 100, "");
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 2)])?
                .option("xdp_mode = \"generic\"")
                .append(&instance);
            let director = Director::start(&lab, Node::Lvs1, &config)?;
            failover::is(&director, "MASTER")?;
            let path = lab.dir().join("lvs1.toml");
            let words = ["-c", path.to_str().context("path")?];
            let (_, findings) = doctor(&lab, Node::Lvs1, &words)?;
            assert_eq!(find(&findings, "xdp-mode", "eth0")?["severity"], "warning");
            for case in [
                ("ethtool -K eth0 gro on", "gro eth0", "error"),
                ("ip link set dev eth1 mtu 1400", "mtu eth1", "warning"),
                (
                    "nft 'add table inet filter; add chain inet filter input { type filter hook input priority 0; \
                     policy drop; }'",
                    "firewall nft chain inet filter input",
                    "error",
                ),
            ] {
                breaks(&lab, Node::Lvs1, &words, case)?;
            }
            director.down()?;
            lab.down()
        });
    }

    /// What becomes of the macvlan of `use_vmac`, and of the settings that it needs, each with a remedy that works.
    #[test]
    fn its_remedies_mend_a_virtual_mac() {
        isolated("as_root_waiting::its_remedies_mend_a_virtual_mac", || {
            let lab = Lab::builder().nginx(false).up()?;
            let vip = lab.vip(Family::V4);
            let of = |priority| -> anyhow::Result<_> {
                let instance = failover::instance("VI_1", 51, vip, priority, "use_vmac = true");
                Ok(web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 2)])?.append(&instance))
            };
            let path = |node| format!("{}/{node}.toml", lab.dir().display());
            let (one_file, two_file) = (path(Node::Lvs1), path(Node::Lvs2));
            let (one_words, two_words) = (["-c", &one_file], ["-c", &two_file]);
            let one = Director::start(&lab, Node::Lvs1, &of(150)?)?;
            failover::is(&one, "to MASTER")?;
            failover::has(&lab, vip, Node::Lvs1, &[&one])?;
            let two = Director::start(&lab, Node::Lvs2, &of(100)?)?;
            failover::is(&two, "192.168.4.2 is master")?;

            let (_, findings) = doctor(&lab, Node::Lvs1, &one_words)?;
            assert_eq!(find(&findings, "vmac", "vrrp.51")?["found"], "00:00:5e:00:01:33 on eth0, up");
            assert_eq!(find(&findings, "arp", &vip.to_string())?["severity"], "ok", "the macvlan answers");
            let (_, findings) = doctor(&lab, Node::Lvs2, &two_words)?;
            assert_eq!(find(&findings, "vmac", "vrrp.51")?["found"], "00:00:5e:00:01:33 on eth0, down");
            for case in [
                ("sysctl -qw net/ipv4/conf/vrrp.51/rp_filter=1", "rp_filter vrrp.51", "warning"),
                ("sysctl -qw net/ipv4/conf/vrrp.51/arp_ignore=0", "arp_ignore vrrp.51", "warning"),
                ("sysctl -qw net/ipv4/conf/eth0/arp_announce=0", "arp_announce eth0", "warning"),
            ] {
                breaks(&lab, Node::Lvs1, &one_words, case)?;
            }
            // And hosts do not learn the address any more.
            let asks = || -> anyhow::Result<bool> {
                lab.exec(Node::Client, ["ip", "neighbour", "flush", "dev", "eth0"])?;
                let probe = ["arping", "-c", "1", "-w", "1", "-I", "eth0", &vip.to_string()];
                Ok(lab.exec(Node::Client, probe).is_ok())
            };
            anyhow::ensure!(asks()?);
            lab.exec(Node::Lvs1, ["sysctl", "-qw", "net/ipv4/conf/all/arp_filter=1"])?;
            anyhow::ensure!(!asks()?, "the kernel answers all the same");
            lab.exec(Node::Lvs1, ["sysctl", "-qw", "net/ipv4/conf/all/arp_filter=0"])?;
            let filter = ("sysctl -qw net/ipv4/conf/all/arp_filter=1", "arp_filter vrrp.51", "error");
            breaks(&lab, Node::Lvs1, &one_words, filter)?;
            anyhow::ensure!(asks()?);
            let raised = ("ip link set dev vrrp.51 up", "vmac vrrp.51", "error");
            breaks(&lab, Node::Lvs2, &two_words, raised)?;

            // Before the start: the name is taken.
            two.down()?;
            let (_, findings) = doctor(&lab, Node::Lvs2, &two_words)?;
            assert_eq!(find(&findings, "vmac", "vrrp.51")?["found"], "`lbctl up` makes it on eth0");
            let taken = ("ip link add vrrp.51 type veth peer name other", "vmac vrrp.51", "error");
            breaks(&lab, Node::Lvs2, &two_words, taken)?;
            let other = "ip link add vrrp.51 link eth0 address 02:00:00:00:00:07 type macvlan mode private";
            breaks(&lab, Node::Lvs2, &two_words, (other, "vmac vrrp.51", "error"))?;
            one.down()?;
            lab.down()
        });
    }

    /// A real server's packet filter.
    #[test]
    fn its_remedies_mend_a_real_server() {
        isolated("as_root_waiting::its_remedies_mend_a_real_server", || {
            let lab = Lab::builder().nginx(false).up()?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 2)])?;
            let director = Director::start(&lab, Node::Lvs1, &config)?;
            let path = lab.dir().join("lvs1.toml");
            let words = ["--realserver", "-c", path.to_str().context("path")?];
            let vip = lab.vip(Family::V4);
            let chain = "nft 'add table inet filter; add chain inet filter input { type filter hook input priority 0; \
                         policy drop; }'";
            breaks(&lab, Node::Web1, &words, (chain, "firewall nft chain inet filter input", "warning"))?;
            let rule = format!("nft add rule inet filter input ip daddr {vip} drop");
            lab.exec(Node::Web1, ["sh", "-c", &rule])?;
            let (code, findings) = doctor(&lab, Node::Web1, &words)?;
            let dropped = find(&findings, "firewall", &format!("nft: ip daddr {vip} drop"))?;
            assert_eq!((code, &dropped["severity"]), (1, &Json::from("error")), "{dropped}");
            director.down()?;
            lab.down()
        });
    }
}

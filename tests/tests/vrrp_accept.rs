//! `accept = false`: a master serves its virtual servers, and takes nothing else for the virtual addresses.

mod as_root_waiting {
    use std::net::IpAddr;

    use anyhow::{Context, ensure};
    use lb_tests::director::{Configuration, Director, patience, run_lbctl, start_real_servers, stderr, web};
    use lb_tests::failover::holders;
    use lb_tests::{Family, Lab, Node, isolated, wait_until};

    fn closed(lab: &Lab, family: Family, line: &str) -> anyhow::Result<Configuration> {
        let vip = lab.vip(family);
        let prefix = if vip.is_ipv4() { 24 } else { 64 };
        Ok(web(lab, family, &[(Node::Web1, 1)])?.append(&format!(
            "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\nversion = 3\n\
             advert_interval = \"100ms\"\nvirtual_addresses = [\"{vip}/{prefix}\"]\n{line}\n"
        )))
    }

    fn pings(lab: &Lab, address: IpAddr) -> anyhow::Result<bool> {
        let address = address.to_string();
        Ok(lab.output(Node::Client, ["ping", "-n", "-c", "1", "-W", "2", &address])?.status.success())
    }

    fn has_table(lab: &Lab) -> bool {
        lab.output(Node::Lvs1, ["nft", "list", "table", "inet", "lbctl-lvs1"])
            .is_ok_and(|it| it.status.success())
    }

    fn is_master(lab: &Lab, director: &Director<'_>, vip: IpAddr) -> anyhow::Result<()> {
        let is_so = wait_until(patience(15), || holders(lab, vip) == [Node::Lvs1]);
        ensure!(is_so, "{vip} never comes: {}", director.log());
        Ok(())
    }

    fn takes_nothing_else(family: Family) -> anyhow::Result<()> {
        let lab = Lab::builder().up()?;
        let vip = lab.vip(family);
        let own = lab.address(Node::Lvs1, family).context("no lvs1")?;
        let config = closed(&lab, family, "accept = false")?;
        start_real_servers(&lab, &config.vips())?;
        let mut director = Director::up(&lab, Node::Lvs1, &config)?;
        is_master(&lab, &director, vip)?;
        let url = format!("http://{}/", lab.web(family));
        assert_eq!(lab.curl_sequence(&url, 3)?, ["web1"; 3], "virtual servers serve");
        assert!(pings(&lab, own)?, "the director's own address answers");
        assert!(!pings(&lab, vip)?, "the virtual address does not");

        // Who has forgotten where it is finds it again.
        lab.exec(Node::Client, ["ip", "neigh", "flush", "dev", "eth0"])?;
        assert_eq!(lab.curl_sequence(&url, 1)?, ["web1"]);

        // A daemon that is killed leaves it closed, and so does somebody who flushes all rules, after a moment.
        director.kill()?;
        assert!(has_table(&lab) && !pings(&lab, vip)?);
        lab.exec(Node::Lvs1, ["nft", "flush", "ruleset"])?;
        director.up_again()?;
        is_master(&lab, &director, vip)?;
        ensure!(wait_until(patience(10), || has_table(&lab)), "the table never comes: {}", director.log());
        assert!(!pings(&lab, vip)?);

        director.reload(&closed(&lab, family, "accept = true")?)?;
        ensure!(wait_until(patience(10), || !has_table(&lab)), "the table stays: {}", director.log());
        assert!(pings(&lab, vip)?);
        director.reload(&config)?;
        ensure!(wait_until(patience(10), || has_table(&lab)), "the table never comes: {}", director.log());
        assert!(!pings(&lab, vip)?);
        director.down()?;
        assert!(!has_table(&lab), "down leaves nothing");
        lab.down()
    }

    #[test]
    fn a_master_takes_nothing_but_its_virtual_servers() {
        isolated("as_root_waiting::a_master_takes_nothing_but_its_virtual_servers", || {
            takes_nothing_else(Family::V4)
        });
    }

    #[test]
    fn a_master_takes_nothing_but_its_virtual_servers_ipv6() {
        isolated("as_root_waiting::a_master_takes_nothing_but_its_virtual_servers_ipv6", || {
            takes_nothing_else(Family::V6)
        });
    }

    /// What is left of a killed daemon is removed without one.
    #[test]
    fn down_removes_the_rules_of_a_killed_daemon() {
        isolated("as_root_waiting::down_removes_the_rules_of_a_killed_daemon", || {
            let lab = Lab::builder().nginx(false).up()?;
            let director = Director::up(&lab, Node::Lvs1, &closed(&lab, Family::V4, "accept = false")?)?;
            is_master(&lab, &director, lab.vip(Family::V4))?;
            director.kill()?;
            assert!(has_table(&lab));
            director.down()?;
            assert!(!has_table(&lab));
            lab.down()
        });
    }

    #[test]
    fn without_a_packet_filter_it_is_refused() {
        isolated("as_root_waiting::without_a_packet_filter_it_is_refused", || {
            let lab = Lab::builder().nginx(false).up()?;
            let file = lab.write("closed.toml", &closed(&lab, Family::V4, "accept = false")?.to_string())?;
            let file = file.display().to_string();
            let nft = lab.exec(Node::Lvs1, ["sh", "-c", "readlink -f $(command -v nft)"])?;
            lab.exec(Node::Lvs1, ["mount", "--bind", "/dev/null", nft.trim()])?;
            for words in [["check", "--config", &file], ["up", "--config", &file]] {
                let output = run_lbctl(&lab, Node::Lvs1, words)?;
                let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
                assert!(!output.status.success(), "{said}");
                assert!(said.contains("vrrp_instance VI_1: `accept = false` needs nft"), "{said}");
            }
            lab.down()
        });
    }
}

//! `use_vmac`: the virtual address keeps one Ethernet address, whoever is master, so clients have nothing to learn.

mod as_root {
    use std::net::IpAddr;
    use std::time::Duration;

    use anyhow::ensure;
    use lb_tests::director::{Director, patience, run_lbctl, start_real_servers, stderr};
    use lb_tests::failover::{FAST, VIP, Wire, gets, has, instance, is, pair_for, web};
    use lb_tests::keepalived::Keepalived;
    use lb_tests::{Lab, Load, LoadPlan, Node, isolated, wait_until};

    const MAC: &str = "00:00:5e:00:01:33";
    const MAC_6: &str = "00:00:5e:00:02:33";

    /// The client knows the virtual address for good: whatever is announced, it learns nothing.
    fn nail(lab: &Lab, vip: IpAddr, mac: &str) -> anyhow::Result<()> {
        let vip = vip.to_string();
        let words = ["ip", "neigh", "replace", &vip, "lladdr", mac, "dev", "eth0", "nud", "permanent"];
        lab.exec(Node::Client, words).map(drop)
    }

    fn setting(lab: &Lab, node: Node, name: &str) -> anyhow::Result<String> {
        let path = format!("/proc/sys/net/ipv4/conf/eth0/{name}");
        Ok(lab.exec(node, ["cat", &path])?.trim().to_owned())
    }

    fn has_device(lab: &Lab, node: Node, name: &str) -> bool {
        lab.exec(node, ["ip", "link", "show", "dev", name]).is_ok()
    }

    fn order(lab: &Lab, node: Node, word: &str) -> anyhow::Result<()> {
        let output = run_lbctl(lab, node, ["vrrp", word, "VI_1"])?;
        ensure!(output.status.success(), "lbctl vrrp {word}: {}", stderr(&output));
        Ok(())
    }

    /// Of two directors, one hands over, dies, and comes back, while clients that learn nothing go on asking.
    fn switches(vip: IpAddr, mac: &str, device: &str) -> anyhow::Result<()> {
        let lab = Lab::builder().up()?;
        let before = [setting(&lab, Node::Lvs1, "arp_ignore")?, setting(&lab, Node::Lvs1, "arp_announce")?];
        let wire = Wire::listen(&lab, Node::Client)?;
        let (mut one, two) = pair_for(&lab, vip, &format!("{FAST}\nuse_vmac = true"))?;
        let shown = String::from_utf8(run_lbctl(&lab, Node::Lvs1, ["vrrp"])?.stdout)?;
        ensure!(shown.contains(&format!("virtual MAC   {mac} on {device}")), "{shown}");
        nail(&lab, vip, mac)?;
        let load = Load::start(&lab, Node::Client, LoadPlan::new((vip, 80).into()))?;
        let pass = || load.pass(100, patience(20));
        ensure!(pass(), "{:?}\n{}", load.so_far(), one.log());

        order(&lab, Node::Lvs1, "release")?;
        has(&lab, vip, Node::Lvs2, &[&one, &two])?;
        ensure!(pass(), "released: {:?}\n{}", load.so_far(), two.log());
        order(&lab, Node::Lvs1, "take")?;
        has(&lab, vip, Node::Lvs1, &[&one, &two])?;
        ensure!(pass(), "taken: {:?}\n{}", load.so_far(), one.log());
        one.kill()?;
        gets(&lab, vip, &two, Node::Lvs2)?;
        ensure!(pass(), "killed: {:?}\n{}", load.so_far(), two.log());
        ensure!(has_device(&lab, Node::Lvs1, device), "nobody has cleaned up yet");
        one.up_again()?;
        has(&lab, vip, Node::Lvs1, &[&one, &two])?;
        ensure!(pass(), "back: {:?}\n{}", load.so_far(), one.log());
        one.down()?;
        has(&lab, vip, Node::Lvs2, &[&two])?;
        ensure!(pass(), "down: {:?}\n{}", load.so_far(), two.log());
        let report = load.stop()?;
        ensure!(report.failed == 0, "{report:?}");
        eprintln!("{} requests, the slowest took {:?}", report.ok, report.max_latency);

        // Nobody has said that the address is anywhere else.
        let address = vip.to_string();
        let says = |line: &&str| {
            let is_claim = ["is-at", "tell", "neighbor advertisement"].iter().any(|word| line.contains(word));
            let claims = [format!("tell {address}"), format!("{address} is-at"), format!("tgt is {address}")];
            is_claim && claims.iter().any(|claim| line.contains(claim.as_str()))
        };
        let log = wire.log();
        let claims: Vec<_> = log.lines().filter(says).collect();
        ensure!(!claims.is_empty(), "{log}");
        let others: Vec<_> = claims.iter().filter(|line| !line.contains(&format!(" {mac} > "))).collect();
        ensure!(others.is_empty(), "{others:#?}");
        let adverts = log.lines().filter(|line| line.contains("Advertisement, vrid 51"));
        let others: Vec<_> = adverts.filter(|line| !line.contains(&format!(" {mac} > "))).collect();
        ensure!(others.is_empty(), "{others:#?}");

        let after = [setting(&lab, Node::Lvs1, "arp_ignore")?, setting(&lab, Node::Lvs1, "arp_announce")?];
        ensure!(!has_device(&lab, Node::Lvs1, device) && after == before, "{after:?} {before:?}");
        // A killed daemon's, by `down`.
        two.kill()?;
        ensure!(has_device(&lab, Node::Lvs2, device), "it was killed");
        two.down()?;
        ensure!(!has_device(&lab, Node::Lvs2, device), "{}", two.log());
        lab.down()
    }

    #[test]
    fn clients_learn_nothing_when_directors_switch() {
        isolated("as_root::clients_learn_nothing_when_directors_switch", || switches(VIP, MAC, "vrrp.51"));
    }

    #[test]
    fn clients_learn_nothing_when_directors_switch_by_ipv6() {
        isolated("as_root::clients_learn_nothing_when_directors_switch_by_ipv6", || {
            switches("2001:db8:4::15".parse()?, MAC_6, "vrrp6.51")
        });
    }

    /// A keepalived with a virtual MAC is the other director: both know each other in each role, also when both are
    /// master for a moment, and clients learn nothing.
    #[test]
    fn keepalived_with_a_virtual_mac_is_the_other_director() {
        isolated("as_root::keepalived_with_a_virtual_mac_is_the_other_director", || {
            let lab = Lab::builder().up()?;
            let theirs = format!(
                "global_defs {{\n router_id peer\n}}\nvrrp_instance VI_1 {{\n state BACKUP\n interface eth0\n \
                 virtual_router_id 51\n priority 150\n version 3\n advert_int 0.1\n use_vmac\n virtual_ipaddress {{\n \
                 {VIP}/24\n }}\n}}\n"
            );
            start_real_servers(&lab, &[VIP])?;
            let ours = web(&lab, &[VIP])?;
            let ours = ours.append(&instance("VI_1", 51, VIP, 100, &format!("{FAST}\nuse_vmac = true")));
            let wire = Wire::listen(&lab, Node::Client)?;
            let director = Director::up(&lab, Node::Lvs2, &ours)?;
            has(&lab, VIP, Node::Lvs2, &[&director])?;
            nail(&lab, VIP, MAC)?;
            let load = Load::start(&lab, Node::Client, LoadPlan::new((VIP, 80).into()))?;
            ensure!(load.pass(100, patience(20)), "{:?}\n{}", load.so_far(), director.log());

            // It preempts: its advert has the MAC that our macvlan has, too.
            let mut peer = Keepalived::start(&lab, Node::Lvs1, &theirs)?;
            peer.await_log("Entering MASTER STATE", patience(20))?;
            has(&lab, VIP, Node::Lvs1, &[&director])?;
            is(&director, "has the higher priority 150")?;
            let ping = || lab.exec(Node::Client, ["ping", "-c", "1", "-W", "1", &VIP.to_string()]).is_ok();
            ensure!(wait_until(patience(10), ping), "{}", peer.log());

            // It goes, and requests are answered again, by a client that has learnt nothing.
            peer.stop()?;
            has(&lab, VIP, Node::Lvs2, &[&director])?;
            ensure!(load.pass(100, patience(20)), "{:?}\n{}", load.so_far(), director.log());
            let mut peer = Keepalived::start(&lab, Node::Lvs1, &theirs)?;
            peer.await_log("Entering MASTER STATE", patience(20))?;
            has(&lab, VIP, Node::Lvs1, &[&director])?;
            // Its macvlan and the address stay, with nobody behind them.
            peer.kill()?;
            gets(&lab, VIP, &director, Node::Lvs2)?;
            ensure!(load.pass(100, patience(20)), "{:?}\n{}", load.so_far(), director.log());
            drop(load.stop()?);
            for word in ["checksum", "length", "ttl", "version", "own_address"] {
                ensure!(!director.log().contains(&format!("ignored: {word}")), "{}", director.log());
            }
            let log = wire.log();
            let claim = format!("tell {VIP}");
            // keepalived asks for others in the name of the virtual address, from its interface's own MAC.
            let others: Vec<_> = log
                .lines()
                .filter(|line| line.contains(&claim) && !line.contains(&format!(" {MAC} > ")))
                .filter(|line| !line.contains(" 02:00:00:00:04:02 > "))
                .collect();
            ensure!(others.is_empty(), "{others:#?}");
            director.down()?;
            ensure!(
                wait_until(Duration::from_secs(5), || !has_device(&lab, Node::Lvs2, "vrrp.51")),
                "it is left"
            );
            lab.down()
        });
    }
}

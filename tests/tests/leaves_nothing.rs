//! `lbctl down` undoes everything, whatever became of the daemon before.

mod as_root {
    use anyhow::Context;
    use lb_tests::director::{Configuration, Director, VirtualServer, patience, run_lbctl, stderr, web};
    use lb_tests::{Family, Lab, Node, Snapshot, isolated, wait_until};
    use nix::sys::signal::{Signal, kill};

    /// IPv4 and IPv6, so that there is one of everything.
    fn both(lab: &Lab) -> anyhow::Result<Configuration> {
        let address = lab.address(Node::Web2, Family::V6).context("web2")?;
        Ok(web(lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 2)])?
            .with(VirtualServer::new(lab.web(Family::V6)).real_server(address, 1)))
    }

    fn unchanged(before: &Snapshot, lab: &Lab) -> anyhow::Result<()> {
        let changes = before.changes(&Snapshot::take(lab, Node::Lvs1)?);
        assert!(changes.is_empty(), "{changes}");
        Ok(())
    }

    /// In every mode, with and without traffic, after SIGKILL, SIGTERM, SIGINT, and twice.
    fn goes_without_trace(config: impl Fn(&Lab) -> anyhow::Result<Configuration>) -> anyhow::Result<()> {
        let lab = Lab::builder().up()?;
        let config = config(&lab)?;
        lb_tests::director::start_real_servers(&lab, &config.vips())?;
        let before = Snapshot::take(&lab, Node::Lvs1)?;

        let director = Director::up(&lab, Node::Lvs1, &config)?;
        assert!(!before.changes(&Snapshot::take(&lab, Node::Lvs1)?).is_empty(), "there is something to undo");
        let answers = lab.curl_sequence(&format!("http://{}/", lab.web(Family::V4)), 3)?;
        assert!(answers.iter().all(|answer| answer.starts_with("web")), "{answers:?}");
        director.down()?;
        unchanged(&before, &lab).context("after down")?;

        let again = run_lbctl(&lab, Node::Lvs1, ["down"])?;
        assert!(again.status.success(), "{}", stderr(&again));
        unchanged(&before, &lab).context("after down twice")?;

        let director = Director::up(&lab, Node::Lvs1, &config)?;
        director.kill()?;
        director.down()?;
        unchanged(&before, &lab).context("after SIGKILL and down")?;

        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let director = Director::up(&lab, Node::Lvs1, &config)?;
            kill(director.pid()?, signal)?;
            assert!(wait_until(patience(10), || director.pid().is_err()), "{signal} ends it");
            director.down()?;
            unchanged(&before, &lab).with_context(|| format!("after {signal}"))?;
        }
        lab.down()
    }

    #[test]
    fn native_mode_goes_without_trace() {
        isolated("as_root::native_mode_goes_without_trace", || goes_without_trace(both));
    }

    #[test]
    fn generic_mode_goes_without_trace() {
        isolated("as_root::generic_mode_goes_without_trace", || {
            goes_without_trace(|lab| Ok(both(lab)?.option("xdp_mode = \"generic\"")))
        });
    }

    /// What the operator put there is the operator's, before `up` or while the director runs.
    #[test]
    fn foreign_addresses_stay() {
        isolated("as_root::foreign_addresses_stay", || {
            let lab = Lab::builder().up()?;
            let vip = lab.vip(Family::V4);
            lab.exec(Node::Lvs1, ["ip", "addr", "add", &format!("{vip}/32"), "dev", "eth0"])?;
            let config = both(&lab)?;
            lb_tests::director::start_real_servers(&lab, &config.vips())?;
            let before = Snapshot::take(&lab, Node::Lvs1)?;
            let director = Director::up(&lab, Node::Lvs1, &config)?;
            director.down()?;
            unchanged(&before, &lab)?;
            lab.down()
        });
    }

    #[test]
    fn addresses_are_left_alone_where_not_wanted() {
        isolated("as_root::addresses_are_left_alone_where_not_wanted", || {
            let lab = Lab::builder().up()?;
            let show = || lab.exec(Node::Lvs1, ["ip", "addr", "show", "dev", "eth0"]);
            let config = both(&lab)?.option("manage_addresses = false");
            let director = Director::start(&lab, Node::Lvs1, &config)?;
            assert!(!show()?.contains(&format!("{}/", lab.vip(Family::V4))), "{}", show()?);
            director.down()?;
            lab.down()
        });
    }

    /// A reload that drops a virtual server drops its address; the other stays.
    #[test]
    fn address_goes_with_its_last_virtual_server() {
        isolated("as_root::address_goes_with_its_last_virtual_server", || {
            let lab = Lab::builder().up()?;
            let show = || lab.exec(Node::Lvs1, ["ip", "addr", "show", "dev", "eth0"]);
            let [four, six] = [Family::V4, Family::V6].map(|family| format!(" {}/", lab.vip(family)));
            let mut director = Director::start(&lab, Node::Lvs1, &both(&lab)?)?;
            assert!(show()?.contains(&four) && show()?.contains(&six), "{}", show()?);
            director.reload(&web(&lab, Family::V4, &[(Node::Web1, 1)])?)?;
            assert!(show()?.contains(&four) && !show()?.contains(&six), "{}", show()?);
            lab.down()
        });
    }
}

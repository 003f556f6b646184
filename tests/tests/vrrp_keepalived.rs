//! VRRP between directors, with a real keepalived as one of them.

mod as_root {
    use lb_tests::director::{Director, patience, start_real_servers, web};
    use lb_tests::{Family, Lab, Node, isolated, wait_until};

    /// A virtual router for the lab's VIP, appended to a director's configuration.
    fn instance(priority: u8, lines: &str) -> String {
        format!(
            "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\n\
             priority = {priority}\nvirtual_addresses = [\"192.168.4.15/24\"]\n{lines}\n"
        )
    }

    fn has_vip(lab: &Lab, node: Node) -> bool {
        let shown = lab.exec(node, ["ip", "-o", "addr", "show", "to", "192.168.4.15"]);
        shown.is_ok_and(|text| text.contains("192.168.4.15/"))
    }

    #[test]
    fn the_other_director_serves_when_one_is_killed() {
        isolated("as_root::the_other_director_serves_when_one_is_killed", || {
            let lab = Lab::builder().up()?;
            let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 1)])?;
            start_real_servers(&lab, &config.vips())?;
            let first = config.clone().append(&instance(100, "version = 3\nadvert_interval = \"100ms\""));
            let second = config.append(&instance(50, "version = 3\nadvert_interval = \"100ms\""));
            let one = Director::up(&lab, Node::Lvs1, &first)?;
            assert!(wait_until(patience(10), || has_vip(&lab, Node::Lvs1)), "{}", one.log());
            let mut two = Director::up(&lab, Node::Lvs2, &second)?;
            let url = format!("http://{}/", lab.web(Family::V4));
            assert_eq!(lab.curl_sequence(&url, 4)?, ["web2", "web1", "web2", "web1"]);
            assert!(!has_vip(&lab, Node::Lvs2));
            one.kill()?;
            assert!(wait_until(patience(10), || has_vip(&lab, Node::Lvs2)), "{}", two.log());
            assert_eq!(lab.curl_sequence(&url, 4)?.len(), 4);
            two.reload(&second)?;
            println!("{}\n---\n{}", one.log(), two.log());
            lab.down()
        });
    }
}

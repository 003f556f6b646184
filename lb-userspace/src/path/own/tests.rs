//! Which of many addresses.

use super::*;
use crate::net::netlink::Scope;
use crate::net::testing::{director_and_web, skip_without_root};

const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 4, 15));

fn question() -> Question {
    let real_server = IpAddr::from([192, 168, 4, 100]);
    Question { vip: VIP, port: 80, protocol: 6, real_server, timeout: Duration::from_secs(2) }
}

fn address(text: &str, prefix_len: u8) -> Address {
    let address = text.parse().unwrap();
    Address {
        ifindex: 2,
        address,
        network: address,
        prefix_len,
        label: None,
        scope: Scope::Global,
        tentative: false,
        dad_failed: false,
    }
}

#[test]
fn the_vip_is_never_the_source() {
    let all = [
        address("127.0.0.1", 8),
        address("10.0.0.2", 24),
        address("192.168.4.15", 32),
        address("192.168.4.15", 24),
        address("fe80::2", 64),
        address("2001:db8::2", 64),
        address("192.168.4.2", 24),
    ];
    assert_eq!(choose(&all, &question()), Some(IpAddr::from([192, 168, 4, 2])), "of the same network");
    assert_eq!(choose(&all[..5], &question()), Some(IpAddr::from([10, 0, 0, 2])), "another one");
    assert_eq!(choose(&all[2..5], &question()), None);
    let vip = "2001:db8::15".parse().unwrap();
    let six = Question { vip, real_server: "2001:db8::100".parse().unwrap(), ..question() };
    assert_eq!(choose(&all, &six), Some("2001:db8::2".parse().unwrap()));
    assert_eq!(choose(&all[..5], &six), None, "a link-local address is not routed back");
}

/// Other VIPs of this host are the real server's, too: what comes from them, it answers to itself.
#[test]
fn privileged_another_vip_is_not_the_source() {
    if skip_without_root("privileged_another_vip_is_not_the_source") {
        return;
    }
    let (director, _web) = director_and_web();
    for vip in ["192.168.4.14/32", "192.168.4.15/32", "198.51.100.1/32"] {
        director.ip(&format!("addr add {vip} dev lo"));
    }
    director.ip("route add 203.0.113.0/24 dev d0");
    let own = director.block_on(|| async {
        let far = Question { real_server: IpAddr::from([203, 0, 113, 9]), ..question() };
        let own = OwnAddresses::default();
        [own.to_ask(&question()).await.unwrap(), own.to_ask(&far).await.unwrap()]
    });
    assert_eq!(own, [Some(IpAddr::from([192, 168, 4, 1])); 2]);
}

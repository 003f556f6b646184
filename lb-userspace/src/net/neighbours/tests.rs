//! The keeper against the kernel: a director and a web node joined by a veth pair.

use super::*;
use crate::net::testing::{Namespace, PATIENCE, director_and_web, say, skip_without_root};

const DIRECTOR: [u8; 6] = [2, 0, 0, 0, 0, 1];
const WEB: [u8; 6] = [2, 0, 0, 0, 0, 0x64];

fn unresolved(reason: Reason) -> Resolution {
    Resolution::Unresolved { reason }
}

/// A keeper that wants these addresses, and how it may be watched.
struct Watch {
    _keeper: Neighbours,
    seen: watch::Receiver<Resolutions>,
}

impl Watch {
    fn start(wanted: &[&str]) -> Self {
        let keeper = Neighbours::start().unwrap();
        keeper.set_wanted(wanted.iter().map(|a| a.parse().unwrap()).collect());
        let seen = keeper.resolutions();
        Self { _keeper: keeper, seen }
    }

    /// Waits until the address is as expected.
    async fn until(&mut self, address: &str, expected: Resolution) {
        let address: IpAddr = address.parse().unwrap();
        let reached = self.seen.wait_for(|all| all.get(&address) == Some(&expected));
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!("{address}: wanted {expected:?}, still {:?}", self.seen.borrow().get(&address));
        }
    }
}

fn index(namespace: &Namespace, device: &str) -> u32 {
    let device = device.to_owned();
    namespace.block_on(|| async move {
        Netlink::open().unwrap().link_by_name(&device).await.unwrap().expect("the device exists").index
    })
}

/// Makes the kernel's timers short, so that silence is noticed in fractions of a second.
fn hasten(namespace: &Namespace, device: &str) {
    for family in ["ipv4", "ipv6"] {
        let set =
            |name: &str, value| namespace.set_sysctl(&format!("net/{family}/neigh/{device}/{name}"), value);
        set("retrans_time_ms", "50");
        set("base_reachable_time_ms", "200");
        set("delay_first_probe_time", "1");
        set("locktime", "0");
    }
}

#[test]
fn privileged_real_servers_are_resolved_in_both_families() {
    if skip_without_root("privileged_real_servers_are_resolved_in_both_families") {
        return;
    }
    let (director, _web) = director_and_web();
    let ifindex = index(&director, "d0");
    director.block_on(|| async move {
        let mut watch = Watch::start(&[
            "192.168.4.100",
            "fd00:4::100",
            "192.168.4.1",
            "fd00:4::1",
            "192.0.2.9",
            "2001:db8::9",
        ]);
        let resolved = Resolution::Resolved { dst_mac: WEB, src_mac: DIRECTOR, ifindex, vlan: 0 };
        watch.until("192.168.4.100", resolved).await;
        watch.until("fd00:4::100", resolved).await;
        watch.until("192.168.4.1", Resolution::Local).await;
        watch.until("fd00:4::1", Resolution::Local).await;
        watch.until("192.0.2.9", unresolved(Reason::NoRoute)).await;
        watch.until("2001:db8::9", unresolved(Reason::NoRoute)).await;
    });
}

#[test]
fn privileged_a_real_server_that_comes_up_late_is_found() {
    if skip_without_root("privileged_a_real_server_that_comes_up_late_is_found") {
        return;
    }
    let (director, web) = director_and_web();
    hasten(&director, "d0");
    let ifindex = index(&director, "d0");
    director.block_on(|| async move {
        let mut watch = Watch::start(&["192.168.4.77"]);
        watch.until("192.168.4.77", unresolved(Reason::NoAnswer)).await;
        web.ip("addr add 192.168.4.77/24 dev w0");
        watch
            .until("192.168.4.77", Resolution::Resolved { dst_mac: WEB, src_mac: DIRECTOR, ifindex, vlan: 0 })
            .await;
        web.ip("addr del 192.168.4.77/24 dev w0");
        watch.until("192.168.4.77", unresolved(Reason::NoAnswer)).await;
    });
}

#[test]
fn privileged_a_real_server_behind_a_router_is_named_so() {
    if skip_without_root("privileged_a_real_server_behind_a_router_is_named_so") {
        return;
    }
    let (director, _web) = director_and_web();
    let ifindex = index(&director, "d0");
    let outside = &director;
    director.block_on(|| async move {
        let mut watch = Watch::start(&["10.9.0.5", "2001:db8::5"]);
        watch.until("10.9.0.5", unresolved(Reason::NoRoute)).await;
        outside.ip("route add 10.9.0.0/16 via 192.168.4.100");
        outside.ip("route add 2001:db8::/32 via fd00:4::100");
        watch.until("10.9.0.5", unresolved(Reason::Gateway("192.168.4.100".parse().unwrap()))).await;
        watch.until("2001:db8::5", unresolved(Reason::Gateway("fd00:4::100".parse().unwrap()))).await;
        outside.ip("route add unreachable 10.9.0.0/24");
        watch.until("10.9.0.5", unresolved(Reason::NoRoute)).await;
        outside.ip("route add blackhole 10.9.0.0/28");
        watch.until("10.9.0.5", unresolved(Reason::NoRoute)).await;
        // On the segment after all: the web node answers for any address of its own.
        outside.ip("route add 10.9.0.5/32 dev d0");
        _web.ip("addr add 10.9.0.5/32 dev w0");
        watch
            .until("10.9.0.5", Resolution::Resolved { dst_mac: WEB, src_mac: DIRECTOR, ifindex, vlan: 0 })
            .await;
    });
}

#[test]
fn privileged_changed_ethernet_addresses_and_links_are_followed() {
    if skip_without_root("privileged_changed_ethernet_addresses_and_links_are_followed") {
        return;
    }
    let (director, web) = director_and_web();
    hasten(&director, "d0");
    let ifindex = index(&director, "d0");
    let outside = &director;
    director.block_on(|| async move {
        let mut watch = Watch::start(&["192.168.4.100", "fd00:4::100"]);
        let resolved = |dst_mac, src_mac| Resolution::Resolved { dst_mac, src_mac, ifindex, vlan: 0 };
        watch.until("192.168.4.100", resolved(WEB, DIRECTOR)).await;
        // Nothing but the keeper uses the entry, and the web node announces nothing.
        web.ip("link set w0 address 02:00:00:00:00:65");
        let changed = [2, 0, 0, 0, 0, 0x65];
        watch.until("192.168.4.100", resolved(changed, DIRECTOR)).await;
        watch.until("fd00:4::100", resolved(changed, DIRECTOR)).await;

        outside.ip("link set d0 address 02:00:00:00:00:02");
        watch.until("192.168.4.100", resolved(changed, [2, 0, 0, 0, 0, 2])).await;

        web.ip("link set w0 down");
        watch.until("192.168.4.100", unresolved(Reason::LinkDown)).await;
        web.ip("link set w0 up");
        watch.until("192.168.4.100", resolved(changed, [2, 0, 0, 0, 0, 2])).await;

        outside.ip("link set d0 down");
        watch.until("192.168.4.100", unresolved(Reason::NoRoute)).await;
        outside.ip("link set d0 up");
        watch.until("192.168.4.100", resolved(changed, [2, 0, 0, 0, 0, 2])).await;

        outside.ip("link del d0");
        watch.until("192.168.4.100", unresolved(Reason::NoRoute)).await;
    });
}

#[test]
fn privileged_a_vlan_is_resolved_to_the_device_below_it() {
    if skip_without_root("privileged_a_vlan_is_resolved_to_the_device_below_it") {
        return;
    }
    let (director, web) = director_and_web();
    if let Err(error) = director.command("ip", "link add link d0 name d0.100 type vlan id 100") {
        assert!(error.contains("Unknown device type"), "{error}");
        say(
            "SKIPPED privileged_a_vlan_is_resolved_to_the_device_below_it: this kernel has no 802.1Q devices",
        );
        return;
    }
    web.ip("link add link w0 name w0.100 type vlan id 100");
    for (namespace, device, host) in [(&director, "d0.100", 1), (&web, "w0.100", 100)] {
        namespace.ip(&format!("addr add 10.100.0.{host}/24 dev {device}"));
        namespace.ip(&format!("link set {device} up"));
    }
    director.ip("link set d0.100 address 02:00:00:00:01:00");
    let ifindex = index(&director, "d0");
    director.block_on(|| async move {
        let mut watch = Watch::start(&["10.100.0.100"]);
        let src_mac = [2, 0, 0, 0, 1, 0];
        watch.until("10.100.0.100", Resolution::Resolved { dst_mac: WEB, src_mac, ifindex, vlan: 100 }).await;
    });
}

#[test]
fn privileged_ten_thousand_real_servers_are_looked_up() {
    if skip_without_root("privileged_ten_thousand_real_servers_are_looked_up") {
        return;
    }
    let (director, _web) = director_and_web();
    director.ip("route add 10.0.0.0/8 via 192.168.4.100");
    let router = "192.168.4.100".parse().unwrap();
    director.block_on(|| async move {
        let keeper = Neighbours::start().unwrap();
        let began = Instant::now();
        keeper.set_wanted((0..10_000_u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes())).collect());
        let mut seen = keeper.resolutions();
        let all = seen.wait_for(|all| {
            all.len() == 10_000 && all.values().all(|r| *r == unresolved(Reason::Gateway(router)))
        });
        assert!(tokio::time::timeout(PATIENCE, all).await.is_ok(), "not all within {PATIENCE:?}");
        say(&format!("10,000 real servers looked up in {:?}", began.elapsed()));
    });
}

//! The layer against the kernel, in private network namespaces.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};

use super::*;
use crate::net::testing::{Namespace, PATIENCE, director_and_web, skip_without_root};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn privileged_links_are_found_by_name_and_index() {
    if skip_without_root("privileged_links_are_found_by_name_and_index") {
        return;
    }
    let (director, _web) = director_and_web();
    director.block_on(|| async {
        let netlink = Netlink::open().unwrap();
        let d0 = netlink.link_by_name("d0").await.unwrap().unwrap();
        assert_eq!(
            (d0.name.as_str(), d0.mac, d0.kind.as_deref()),
            ("d0", Some([2, 0, 0, 0, 0, 1]), Some("veth"))
        );
        assert!(d0.is_running() && !d0.loopback && d0.vlan.is_none() && d0.xdp.is_none());
        assert!(d0.peer_netnsid.is_some_and(|id| id >= 0), "{d0:?}");
        assert_eq!(netlink.link_by_index(d0.index).await.unwrap().as_ref(), Some(&d0));
        let all = netlink.links().await.unwrap();
        assert!(all.contains(&d0) && all.iter().any(|l| l.loopback && l.name == "lo"), "{all:?}");
        for absent in ["nosuch", "a-name-longer-than-fifteen"] {
            assert_eq!(netlink.link_by_name(absent).await.unwrap(), None);
        }
        assert_eq!(netlink.link_by_index(4711).await.unwrap(), None);
    });
}

#[test]
fn privileged_a_macvlan_is_private_and_its_address_brings_no_route() {
    if skip_without_root("privileged_a_macvlan_is_private_and_its_address_brings_no_route") {
        return;
    }
    let (director, _web) = director_and_web();
    director.block_on(|| async {
        let netlink = Netlink::open().unwrap();
        let d0 = netlink.link_by_name("d0").await.unwrap().unwrap().index;
        let mac = [0, 0, 0x5e, 0, 1, 51];
        assert_eq!(netlink.knows_macvlan().await, Some(true));
        assert_eq!(netlink.links().await.unwrap().len(), 2, "asking makes none");
        netlink.add_private_macvlan("vrrp.51", d0, mac).await.unwrap();
        let again = netlink.add_private_macvlan("vrrp.51", d0, mac).await;
        assert_eq!(again.unwrap_err().errno(), Some(libc::EEXIST));
        let made = netlink.link_by_name("vrrp.51").await.unwrap().unwrap();
        assert_eq!((made.mac, made.lower, made.kind.as_deref()), (Some(mac), Some(d0), Some("macvlan")));
        assert!(!made.up && director.ip("-d link show dev vrrp.51").contains("mode private"));
        netlink.set_link_up("vrrp.51").await.unwrap();
        let host = NewAddress::host(made.index, ip("10.51.0.15"));
        let new = NewAddress { prefix_len: 24, without_route: true, ..host };
        assert!(netlink.add_address(&new).await.unwrap());
        assert!(!director.ip("route show").contains("10.51.0.0/24"));
        netlink.set_link_down("vrrp.51").await.unwrap();
        assert!(!netlink.link_by_name("vrrp.51").await.unwrap().unwrap().up);
        assert!(netlink.remove_link(made.index).await.unwrap());
    });
}

#[test]
fn privileged_addresses_are_added_once_and_removed_once() {
    if skip_without_root("privileged_addresses_are_added_once_and_removed_once") {
        return;
    }
    let (director, _web) = director_and_web();
    let ip_addr = |arguments: &str| director.ip(arguments);
    director.block_on(|| async {
        let netlink = Netlink::open().unwrap();
        let d0 = netlink.link_by_name("d0").await.unwrap().unwrap().index;
        let v4 = NewAddress {
            label: Some("d0:vip0".into()),
            scope: Scope::Host,
            ..NewAddress::host(d0, ip("192.168.4.15"))
        };
        let v6 = NewAddress { deprecated: true, ..NewAddress::host(d0, ip("fd00:4::15")) };
        for new in [&v4, &v6] {
            assert!(netlink.add_address(new).await.unwrap());
            assert!(!netlink.add_address(new).await.unwrap(), "it is there already");
        }
        let shown = ip_addr("addr show dev d0");
        assert!(shown.contains("inet 192.168.4.15/32 scope host d0:vip0"), "{shown}");
        let v6_shown = shown.lines().find(|line| line.contains("inet6 fd00:4::15/128 scope global")).unwrap();
        assert!(v6_shown.contains("nodad") && v6_shown.contains("deprecated"), "{shown}");
        let all = netlink.addresses().await.unwrap();
        let found = all.iter().find(|a| a.address == v4.address).unwrap();
        assert_eq!(
            (found.prefix_len, found.label.as_deref(), found.scope),
            (32, Some("d0:vip0"), Scope::Host)
        );
        let found = all.iter().find(|a| a.address == v6.address).unwrap();
        assert!(found.prefix_len == 128 && !found.tentative && !found.dad_failed, "{found:?}");
        for new in [&v4, &v6] {
            assert!(netlink.remove_address(d0, new.address, new.prefix_len).await.unwrap());
            assert!(
                !netlink.remove_address(d0, new.address, new.prefix_len).await.unwrap(),
                "it is gone already"
            );
        }
        let error = netlink.add_address(&NewAddress::host(4711, ip("192.0.2.1"))).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENODEV), "{error}");
    });
}

#[test]
fn privileged_routes_say_how_or_that_there_is_none() {
    if skip_without_root("privileged_routes_say_how_or_that_there_is_none") {
        return;
    }
    let (director, _web) = director_and_web();
    director.ip("route add 10.0.0.0/8 via 192.168.4.100");
    director.ip("route add prohibit 10.1.0.0/16");
    director.ip("route add unreachable 2001:db8::/32");
    director.ip("route add 10.2.0.0/16 via inet6 fd00:4::100");
    director.block_on(|| async {
        let netlink = Netlink::open().unwrap();
        let d0 = netlink.link_by_name("d0").await.unwrap().unwrap().index;
        let here = Some(ip("192.168.4.1"));
        let segment = Route { ifindex: d0, gateway: None, local: false, source: here };
        assert_eq!(netlink.route_to(ip("192.168.4.200")).await.unwrap(), segment);
        let routed = Route { gateway: Some(ip("192.168.4.100")), ..segment };
        assert_eq!(netlink.route_to(ip("10.9.9.9")).await.unwrap(), routed);
        assert_eq!(netlink.route_to(ip("10.2.0.1")).await.unwrap().gateway, Some(ip("fd00:4::100")));
        assert!(netlink.route_to(ip("192.168.4.1")).await.unwrap().local);
        assert!(netlink.route_to(ip("fd00:4::1")).await.unwrap().local);
        for unreachable in ["10.1.0.1", "192.0.2.1", "2001:db8::1", "2001:db9::1"] {
            let error = netlink.route_to(ip(unreachable)).await.unwrap_err();
            assert!(matches!(error, NetlinkError::Unreachable { .. }), "{unreachable}: {error:?}");
        }
    });
}

#[test]
fn privileged_a_probe_resolves_and_events_tell() {
    if skip_without_root("privileged_a_probe_resolves_and_events_tell") {
        return;
    }
    let (director, _web) = director_and_web();
    let ip_addr = |arguments: &str| director.ip(arguments);
    director.block_on(|| async {
        let netlink = Netlink::open().unwrap();
        let d0 = netlink.link_by_name("d0").await.unwrap().unwrap().index;
        let mut events = Netlink::events().unwrap();
        netlink.probe(d0, ip("192.168.4.100")).await.unwrap();
        let known = until(&mut events, |event| {
            matches!(event, Event::Neighbour(n) if n.address == ip("192.168.4.100") && n.state.is_valid())
        });
        let Event::Neighbour(known) = known.await else { panic!("another event") };
        assert_eq!((known.ifindex, known.mac), (d0, Some([2, 0, 0, 0, 0, 0x64])));
        assert!(netlink.neighbours().await.unwrap().iter().any(|n| n.address == known.address && n.mac == known.mac));

        ip_addr("addr add 10.0.0.1/24 dev d0");
        until(&mut events, |e| matches!(e, Event::Address(a) if a.address == ip("10.0.0.1"))).await;
        until(&mut events, |e| *e == Event::Route("10.0.0.0/24".parse().unwrap())).await;
        ip_addr("addr del 10.0.0.1/24 dev d0");
        until(&mut events, |e| matches!(e, Event::AddressGone(a) if a.address == ip("10.0.0.1"))).await;
        ip_addr("rule add from 10.0.0.1 table 100");
        until(&mut events, |e| *e == Event::Rules).await;
        ip_addr("neigh flush dev d0");
        ip_addr("link set d0 mtu 1400");
        until(&mut events, |e| matches!(e, Event::Link(l) if l.index == d0 && l.mtu == 1400)).await;
        ip_addr("link del d0");
        until(&mut events, |e| *e == Event::LinkGone(d0)).await;
    });
}

/// The next event of which this holds.
async fn until(events: &mut Events, is_it: impl Fn(&Event) -> bool) -> Event {
    let found = async {
        loop {
            let event = events.next().await.unwrap();
            if is_it(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("the event arrives")
}

#[test]
fn privileged_an_overflow_is_told() {
    if skip_without_root("privileged_an_overflow_is_told") {
        return;
    }
    let namespace = Namespace::new();
    namespace.ip("link add b0 type bridge");
    let batch = (0..200_u32)
        .map(|n| {
            format!(
                "addr add 10.{}.{}.1/32 dev b0\naddr del 10.{}.{}.1/32 dev b0\n",
                n / 256,
                n % 256,
                n / 256,
                n % 256
            )
        })
        .collect::<String>();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), batch).unwrap();
    let outside = &namespace;
    namespace.block_on(|| async move {
        let mut events = Netlink::events().unwrap();
        events.shrink();
        outside.ip(&format!("-batch {}", file.path().display()));
        until(&mut events, |e| *e == Event::Overrun).await;
        // The stream goes on afterwards.
        outside.ip("link set b0 mtu 1400");
        until(&mut events, |e| matches!(e, Event::Link(l) if l.mtu == 1400)).await;
    });
}

#[test]
fn privileged_a_veth_peer_takes_frames_only_with_a_native_program() {
    if skip_without_root("privileged_a_veth_peer_takes_frames_only_with_a_native_program") {
        return;
    }
    let (director, web) = director_and_web();
    let check = || {
        director.block_on(|| async {
            let netlink = Netlink::open().unwrap();
            let d0 = netlink.link_by_name("d0").await.unwrap().unwrap();
            netlink.veth_peer_accepts_xdp(&d0).await
        })
    };
    assert_eq!(check(), PeerXdp::No);
    let program = pass_all();
    let attach = |program: i32, flags: u32| {
        web.block_on(|| async move {
            let netlink = Netlink::open().unwrap();
            let mut message = LinkMessage::default();
            message.header.index = netlink.link_by_name("w0").await.unwrap().unwrap().index;
            let xdp = vec![LinkXdp::Fd(program), LinkXdp::Flags(flags)];
            message.attributes.push(LinkAttribute::Xdp(xdp));
            netlink.change(RouteNetlinkMessage::SetLink(message), 0, "attach").await.unwrap();
            netlink.link_by_name("w0").await.unwrap().unwrap().xdp
        })
    };
    let (generic, native) = (1 << 1, 1 << 2); // XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE
    let shown = attach(program.as_raw_fd(), generic).unwrap();
    assert_eq!(shown.mode, XdpMode::Generic);
    assert_eq!(check(), PeerXdp::No);
    assert_eq!(attach(-1, generic), None);
    let shown = attach(program.as_raw_fd(), native).unwrap();
    assert!(shown.mode == XdpMode::Native && shown.prog_id != 0, "{shown:?}");
    assert_eq!(check(), PeerXdp::Yes);
    assert_eq!(attach(-1, native), None);
    assert_eq!(check(), PeerXdp::No);

    director.ip("link add v0 type veth peer name v1");
    director.ip("link add b0 type bridge");
    director.block_on(|| async {
        let netlink = Netlink::open().unwrap();
        let v0 = netlink.link_by_name("v0").await.unwrap().unwrap();
        assert_eq!(v0.peer_netnsid, None, "both ends are here");
        assert_eq!(netlink.veth_peer_accepts_xdp(&v0).await, PeerXdp::No);
        let bridge = netlink.link_by_name("b0").await.unwrap().unwrap();
        assert_eq!(netlink.veth_peer_accepts_xdp(&bridge).await, PeerXdp::Unknown);
    });
}

/// The XDP program `return XDP_PASS`.
fn pass_all() -> OwnedFd {
    /// The head of `union bpf_attr` for BPF_PROG_LOAD; the kernel takes the rest as zero.
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
    }
    // mov r0, 2; exit
    let program: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let (bpf_prog_load, prog_type_xdp) = (5, 6);
    let load = Load {
        prog_type: prog_type_xdp,
        insn_cnt: 2,
        insns: program.as_ptr().expose_provenance() as u64,
        license: c"GPL".as_ptr().expose_provenance() as u64,
    };
    // SAFETY: the pointer is to a live Load of the size given, and the pointers in it are to two live
    // instructions and a C string; the kernel only reads them, during the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, bpf_prog_load, &raw const load, size_of::<Load>()) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the kernel just returned this descriptor and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) }
}

//! The virtual servers, real servers and links that the tests run with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::layout::SchedulerCode;
use lb_common::net::MacAddress;
use lb_userspace::config::Forwarding;
use lb_userspace::net::routes::{Way, Ways};
use lb_userspace::plane::apply::{Hop, Hops};
use lb_userspace::plane::desired::{Desired, DesiredServer, DesiredService, ServerKey, ServiceKey};

use lb_userspace::plane::details::{Details, Near};

use super::frame::{TCP, UDP};

/// The interface that frames come in on: loopback, from which test runs come.
pub(crate) const INGRESS: u32 = 1;
/// Another interface.
pub(crate) const OTHER_INTERFACE: u32 = 7;
pub(crate) const DIRECTOR_MAC: MacAddress = [2, 0, 0, 0, 0, 1];
pub(crate) const CLIENT_MAC: MacAddress = [2, 0, 0, 0, 0, 0x10];

/// A real server and its link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) address: IpAddr,
    pub(crate) mac: MacAddress,
    pub(crate) from: MacAddress,
    pub(crate) interface: u32,
    pub(crate) vlan: u16,
}

const fn four(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn six(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last))
}

const fn server(address: IpAddr, last: u8) -> Server {
    let mac = [2, 0, 0, 0, 1, last];
    Server { address, mac, from: DIRECTOR_MAC, interface: INGRESS, vlan: 0 }
}

pub(crate) const WEB1: Server = server(four(192, 168, 4, 100), 1);
pub(crate) const WEB2: Server = server(four(192, 168, 4, 200), 2);
pub(crate) const WEB3: Server = server(four(192, 168, 4, 150), 3);
pub(crate) const WEB1_6: Server = server(six(0x100), 1);
pub(crate) const WEB2_6: Server = server(six(0x200), 2);
/// Behind another interface.
pub(crate) const FAR: Server =
    Server { from: [2, 0, 0, 0, 0, 7], interface: OTHER_INTERFACE, ..server(four(10, 9, 0, 1), 9) };
/// On VLAN 8.
pub(crate) const TAGGED: Server = Server { vlan: 8, ..server(four(10, 8, 0, 1), 8) };
/// On VLAN 8, IPv6.
pub(crate) const TAGGED_6: Server = Server { vlan: 8, ..server(six(0x8), 8) };
/// Behind NAT.
pub(crate) const NAT1: Server = server(four(172, 16, 0, 100), 0x21);
pub(crate) const NAT2: Server = server(four(172, 16, 0, 200), 0x22);
pub(crate) const NAT1_6: Server = server(six(0x1100), 0x21);
pub(crate) const NAT2_6: Server = server(six(0x1200), 0x22);
/// Behind NAT and another interface, on VLAN 8.
pub(crate) const NAT_FAR: Server = Server {
    from: [2, 0, 0, 0, 0, 7],
    interface: OTHER_INTERFACE,
    vlan: 8,
    ..server(four(172, 17, 0, 1), 0x29)
};
/// Behind a tunnel.
pub(crate) const TUN: Server = server(four(10, 44, 0, 1), 0x31);
pub(crate) const TUN_6: Server = server(six(0x4400), 0x32);
/// Behind a tunnel, on VLAN 8.
pub(crate) const TUN_TAGGED: Server = Server { vlan: 8, ..server(four(10, 44, 0, 2), 0x33) };
/// Behind a tunnel whose source address is not known.
pub(crate) const TUN_UNKNOWN: Server = server(four(10, 44, 0, 3), 0x34);
/// The director's addresses towards tunnels, and the MTU there.
pub(crate) const TUN_SOURCE: IpAddr = four(192, 168, 4, 2);
pub(crate) const TUN_SOURCE_6: IpAddr = six(2);
pub(crate) const TUN_MTU: u32 = 1400;
/// By full NAT.
pub(crate) const FULL: Server = server(four(10, 55, 0, 1), 0x41);
pub(crate) const FULL_6: Server = server(six(0x5500), 0x41);
/// By full NAT, and behind another interface, on VLAN 8.
pub(crate) const FULL_FAR: Server = Server { address: four(10, 56, 0, 1), ..NAT_FAR };
/// By full NAT; the director's address towards it is not known.
pub(crate) const FULL_UNKNOWN: Server = server(four(10, 55, 0, 3), 0x43);
/// The port that full NAT takes, but where there are several.
pub(crate) const SOURCE_PORT: u16 = 5000;
/// Addresses that it takes where it has two.
pub(crate) const SOURCES: [IpAddr; 2] = [four(192, 168, 4, 3), four(192, 168, 4, 4)];
/// The director itself.
pub(crate) const LOCAL: Server = server(four(192, 168, 4, 2), 0);
pub(crate) const LOCAL_6: Server = server(six(0x2), 0);
/// Does not answer ARP.
pub(crate) const SILENT: Server = server(four(192, 168, 4, 250), 0);
pub(crate) const SILENT_6: Server = server(six(0x250), 0);

/// A virtual server on the first VIP.
pub(crate) const fn vip(port: u16) -> SocketAddr {
    SocketAddr::new(four(192, 168, 4, 15), port)
}

/// A virtual server on the second VIP.
pub(crate) const fn second_vip(port: u16) -> SocketAddr {
    SocketAddr::new(four(192, 168, 4, 16), port)
}

/// A virtual server on the VIP of NAT.
pub(crate) const fn nat_vip(port: u16) -> SocketAddr {
    SocketAddr::new(four(192, 168, 4, 17), port)
}

/// A virtual server on the VIP of full NAT.
pub(crate) const fn full_vip(port: u16) -> SocketAddr {
    SocketAddr::new(four(192, 168, 4, 20), port)
}

/// As [`full_vip`], IPv6.
pub(crate) const fn full_vip6(port: u16) -> SocketAddr {
    SocketAddr::new(six(0x20), port)
}

/// As [`full_vip`], for any port.
pub(crate) const fn any_full_vip(port: u16) -> SocketAddr {
    SocketAddr::new(four(192, 168, 4, 21), port)
}

/// A virtual server on the VIP of tunnels.
pub(crate) const fn tun_vip(port: u16) -> SocketAddr {
    SocketAddr::new(four(192, 168, 4, 19), port)
}

/// As [`tun_vip`], IPv6.
pub(crate) const fn tun_vip6(port: u16) -> SocketAddr {
    SocketAddr::new(six(0x19), port)
}

/// As [`nat_vip`], for any port.
pub(crate) const fn any_nat_vip(port: u16) -> SocketAddr {
    SocketAddr::new(four(192, 168, 4, 18), port)
}

/// As [`nat_vip`], IPv6.
pub(crate) const fn nat_vip6(port: u16) -> SocketAddr {
    SocketAddr::new(six(0x17), port)
}

/// As [`any_nat_vip`], IPv6.
pub(crate) const fn any_nat_vip6(port: u16) -> SocketAddr {
    SocketAddr::new(six(0x18), port)
}

/// A virtual server on the first IPv6 VIP.
pub(crate) const fn vip6(port: u16) -> SocketAddr {
    SocketAddr::new(six(0x15), port)
}

/// A virtual server on the second IPv6 VIP.
pub(crate) const fn second_vip6(port: u16) -> SocketAddr {
    SocketAddr::new(six(0x16), port)
}

/// The client's address and this port.
pub(crate) const fn client(port: u16) -> SocketAddr {
    SocketAddr::new(four(198, 51, 100, 10), port)
}

/// As [`client`], IPv6.
pub(crate) const fn client6(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x10)), port)
}

/// A client on the director's segment, and this port.
pub(crate) const fn near(port: u16) -> SocketAddr {
    SocketAddr::new(four(192, 0, 2, 10), port)
}

/// As [`near`], IPv6.
pub(crate) const fn near6(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xeeee, 0, 0, 0, 0, 0x10)), port)
}

/// The MAC of a client on the director's segment.
pub(crate) const NEAR_MAC: MacAddress = [2, 0, 0, 0, 0, 0x44];

/// The router to most clients, whose MAC is [`CLIENT_MAC`].
const GATEWAY: IpAddr = four(192, 168, 4, 1);
const GATEWAY_6: IpAddr = six(1);

/// Where answers go: to the clients by a router, to those of 192.0.2.0/24 and 2001:db8:eeee::/48 on the segment, to
/// those of 10.66.0.0/16 by a router that does not answer; 10.77.0.0/16 is refused.
pub(crate) fn ways() -> Ways {
    let net = |text: &str| text.parse().unwrap();
    vec![
        (net("198.51.100.0/24"), Way::Router(GATEWAY)),
        (net("192.0.2.0/24"), Way::Segment),
        (net("10.66.0.0/16"), Way::Router(four(192, 168, 4, 9))),
        (net("10.77.0.0/16"), Way::Refused),
        (net("2001:db8:ffff::/48"), Way::Router(GATEWAY_6)),
        (net("2001:db8:eeee::/48"), Way::Segment),
        (net("203.0.113.0/24"), Way::Router(GATEWAY)),
    ]
}

/// The director's side of the tunnels.
pub(crate) fn details() -> Details {
    let near = |source| Near { source, mtu: TUN_MTU };
    let six = [(TUN_6, TUN_SOURCE_6), (FULL_6, TUN_SOURCE_6)];
    [(TUN, TUN_SOURCE), (TUN_TAGGED, TUN_SOURCE), (FULL, TUN_SOURCE), (FULL_FAR, TUN_SOURCE)]
        .into_iter()
        .chain(six)
        .map(|(server, source)| (server.address, near(source)))
        .collect()
}

/// A router between client and director.
pub(crate) const ROUTER: IpAddr = four(203, 0, 113, 1);
pub(crate) const ROUTER_6: IpAddr = six(0xfe);

/// A service's name.
pub(crate) fn name(protocol: u8, address: SocketAddr) -> ServiceKey {
    ServiceKey { protocol, address: address.ip(), port: address.port() }
}

/// A service.
pub(crate) fn service(scheduler: SchedulerCode, port: u16, servers: &[(Server, u32)]) -> DesiredService {
    let key = |server: &Server| ServerKey { address: server.address, port };
    let servers = servers.iter().map(|(server, weight)| DesiredServer::new(key(server), *weight)).collect();
    DesiredService::new(scheduler, servers)
}

/// A service behind NAT, all of whose real servers listen on this port.
pub(crate) fn nat_service(port: u16, servers: &[Server]) -> DesiredService {
    let key = |server: &Server| ServerKey { address: server.address, port };
    let server = |server| DesiredServer { forwarding: Forwarding::Nat, ..DesiredServer::new(key(server), 1) };
    DesiredService::new(SchedulerCode::Rr, servers.iter().map(server).collect())
}

/// A service by full NAT with one real server, which listens on this port, and one source port.
pub(crate) fn full_service(port: u16, server: Server) -> DesiredService {
    let key = ServerKey { address: server.address, port };
    let server = DesiredServer { forwarding: Forwarding::FullNat, ..DesiredServer::new(key, 1) };
    let mut service = DesiredService::new(SchedulerCode::Rr, vec![server]);
    service.sources.ports = (SOURCE_PORT, SOURCE_PORT);
    service
}

/// Every virtual server of the packet cases.
///
/// | port | scheduler | real servers          |
/// |------|-----------|-----------------------|
/// | 80   | rr        | web1                  |
/// | 8080 | wrr       | web1:1 web2:2         |
/// | 8081 | rr        | web1 web2             |
/// | 81   | rr        | behind another interface |
/// | 82   | rr        | on VLAN 8             |
/// | 83   | rr        | the director          |
/// | 84   | rr        | one that does not answer ARP |
/// | 85   | rr        | none                  |
/// | 86   | rr        | web1, weight 0        |
/// | udp 53 | rr      | web1                  |
/// | udp 5353 | rr    | web1 web2             |
///
/// The second VIP has port 80 on web1 and any other port on web2; for UDP any port on web1 and web2.
///
/// The VIP of NAT has port 80 on nat1:8080, 8081 on nat1:8081 and nat2:8081, 82 and 83 both on nat1:8082, udp 53 on
/// nat1:53, udp 54 and 55 both on nat1:54, and 81 on a real server behind another interface. Another one has any port
/// on nat2.
///
/// The VIP of full NAT has port 80 on full:8080, 81 on one behind another interface, 82 on one whose way is not known,
/// 83 and 84 both on full:8083 from two addresses, 85 on full:8085 from all ports, and udp 53 on full:53. Another one
/// has any port on full.
pub(crate) fn world() -> Desired {
    use SchedulerCode::{Rr, Wrr};
    let mut desired = Desired::default();
    let mut add = |protocol, address: SocketAddr, scheduler, servers: &[(Server, u32)]| {
        let old =
            desired.services.insert(name(protocol, address), service(scheduler, address.port(), servers));
        assert_eq!(old, None, "{address} twice");
    };
    let both = [
        (
            vip as fn(u16) -> SocketAddr,
            second_vip as fn(u16) -> SocketAddr,
            [WEB1, WEB2, TAGGED, LOCAL, SILENT],
        ),
        (vip6, second_vip6, [WEB1_6, WEB2_6, TAGGED_6, LOCAL_6, SILENT_6]),
    ];
    for (first, second, [web1, web2, tagged, local, silent]) in both {
        add(TCP, first(80), Rr, &[(web1, 1)]);
        add(TCP, first(8080), Wrr, &[(web1, 1), (web2, 2)]);
        add(TCP, first(8081), Rr, &[(web1, 1), (web2, 1)]);
        add(TCP, first(82), Rr, &[(tagged, 1)]);
        add(TCP, first(83), Rr, &[(local, 1)]);
        add(TCP, first(84), Rr, &[(silent, 1)]);
        add(TCP, first(85), Rr, &[]);
        add(TCP, first(86), Rr, &[(web1, 0)]);
        add(UDP, first(53), Rr, &[(web1, 1)]);
        add(UDP, first(5353), Rr, &[(web1, 1), (web2, 1)]);
        add(TCP, second(80), Rr, &[(web1, 1)]);
        add(TCP, second(0), Rr, &[(web2, 1)]);
        add(UDP, second(0), Rr, &[(web1, 1), (web2, 1)]);
    }
    add(TCP, vip(81), Rr, &[(FAR, 1)]);
    let both = [
        (nat_vip as fn(u16) -> SocketAddr, any_nat_vip as fn(u16) -> SocketAddr, [NAT1, NAT2]),
        (nat_vip6, any_nat_vip6, [NAT1_6, NAT2_6]),
    ];
    for (vip, any, [nat1, nat2]) in both {
        let services = [
            (TCP, vip(80), 8080, vec![nat1]),
            (TCP, vip(8081), 8081, vec![nat1, nat2]),
            (TCP, vip(82), 8082, vec![nat1]),
            (TCP, vip(83), 8082, vec![nat1]),
            (UDP, vip(53), 53, vec![nat1]),
            (UDP, vip(54), 54, vec![nat1]),
            (UDP, vip(55), 54, vec![nat1]),
            (TCP, any(0), 0, vec![nat2]),
        ];
        for (protocol, address, port, servers) in services {
            desired.services.insert(name(protocol, address), nat_service(port, &servers));
        }
    }
    desired.services.insert(name(TCP, nat_vip(81)), nat_service(80, &[NAT_FAR]));
    for (protocol, address, port, server) in [
        (TCP, full_vip(80), 8080, FULL),
        (TCP, full_vip(81), 80, FULL_FAR),
        (TCP, full_vip(82), 80, FULL_UNKNOWN),
        (TCP, full_vip(83), 8083, FULL),
        (TCP, full_vip(84), 8083, FULL),
        (TCP, full_vip(85), 8085, FULL),
        (UDP, full_vip(53), 53, FULL),
        (TCP, any_full_vip(0), 0, FULL),
        (TCP, full_vip6(80), 8080, FULL_6),
        (UDP, full_vip6(53), 53, FULL_6),
    ] {
        let mut service = full_service(port, server);
        match port {
            8083 => service.sources.addresses = SOURCES.to_vec(),
            8085 => service.sources.ports = (1024, 32_767),
            _ => {}
        }
        desired.services.insert(name(protocol, address), service);
    }
    let tunnels = [(80, TUN), (81, TUN_6), (82, TUN_TAGGED), (83, TUN_UNKNOWN)];
    for (port, server) in tunnels {
        let key = ServerKey { address: server.address, port };
        let server = DesiredServer { forwarding: Forwarding::Tun, ..DesiredServer::new(key, 1) };
        for (protocol, vip) in [(TCP, tun_vip(port)), (TCP, tun_vip6(port)), (UDP, tun_vip(port))] {
            desired
                .services
                .insert(name(protocol, vip), DesiredService::new(SchedulerCode::Rr, vec![server]));
        }
    }
    desired
}

/// The links of the real servers.
pub(crate) fn hops() -> Hops {
    let linked = [
        WEB1,
        WEB2,
        WEB3,
        WEB1_6,
        WEB2_6,
        FAR,
        TAGGED,
        TAGGED_6,
        NAT1,
        NAT2,
        NAT1_6,
        NAT2_6,
        NAT_FAR,
        TUN,
        TUN_6,
        TUN_TAGGED,
        TUN_UNKNOWN,
        FULL,
        FULL_6,
        FULL_FAR,
        FULL_UNKNOWN,
    ];
    let mut hops: Hops = linked.iter().map(|server| (server.address, link(server))).collect();
    let router = Hop::Link { to: CLIENT_MAC, from: DIRECTOR_MAC, interface: INGRESS, vlan: 0 };
    hops.insert(GATEWAY, router);
    hops.insert(GATEWAY_6, router);
    hops.insert(LOCAL.address, Hop::Local);
    hops.insert(LOCAL_6.address, Hop::Local);
    hops
}

/// A real server's link.
pub(crate) fn link(server: &Server) -> Hop {
    Hop::Link { to: server.mac, from: server.from, interface: server.interface, vlan: server.vlan }
}

//! Orders: what they are about, what they do, and that they stay.

use std::net::IpAddr;

use lb_common::layout::SchedulerCode;
use lb_common::net::protocol;

use super::*;
use crate::config::Persistence;
use crate::plane::desired::{DesiredServer, DesiredService};

fn service(protocol: u8, port: u16) -> ServiceKey {
    ServiceKey { protocol, address: IpAddr::from([192, 168, 4, 15]), port }
}

fn server(last: u8, port: u16) -> ServerKey {
    ServerKey { address: IpAddr::from([192, 168, 4, last]), port }
}

/// Two virtual servers on port 53, one on port 80 whose third real server is on a host of its own twice.
fn desired() -> Desired {
    let service_of = |servers: &[(ServerKey, u32)]| {
        let servers = servers.iter().map(|(key, weight)| DesiredServer::new(*key, *weight));
        DesiredService::new(SchedulerCode::Wrr, servers.collect())
    };
    let services = [
        (service(protocol::TCP, 53), service_of(&[(server(100, 53), 1)])),
        (service(protocol::UDP, 53), service_of(&[(server(100, 53), 1)])),
        (
            service(protocol::TCP, 80),
            service_of(&[(server(100, 80), 1), (server(200, 80), 2), (server(200, 81), 0)]),
        ),
    ];
    Desired { services: services.into_iter().collect(), ..Desired::default() }
}

fn find(virtual_server: &str, real_server: &str) -> Result<(ServiceKey, ServerKey), String> {
    let (virtual_server, real_server) = (virtual_server.parse().unwrap(), real_server.parse().unwrap());
    Orders::default()
        .find(&names(&desired()), &virtual_server, &real_server)
        .map_err(|error| error.to_string())
}

#[test]
fn names_are_as_short_as_they_are_clear() {
    let web = service(protocol::TCP, 80);
    assert_eq!(find("192.168.4.15:80", "192.168.4.100"), Ok((web, server(100, 80))));
    assert_eq!(find("192.168.4.15:80/tcp", "192.168.4.200:81"), Ok((web, server(200, 81))));
    let udp = service(protocol::UDP, 53);
    assert_eq!(find("192.168.4.15:53/udp", "192.168.4.100:53"), Ok((udp, server(100, 53))));
}

#[test]
fn an_error_names_what_there_is() {
    let cases = [
        (
            ("192.168.4.16:80", "192.168.4.100"),
            "virtual server 192.168.4.16:80: there is none; there are 192.168.4.15:53/tcp, \
             192.168.4.15:80/tcp, 192.168.4.15:53/udp",
        ),
        (
            ("192.168.4.15:53", "192.168.4.100"),
            "virtual server 192.168.4.15:53: it may be any of 192.168.4.15:53/tcp, 192.168.4.15:53/udp; \
             write one of them",
        ),
        (
            ("192.168.4.15:80", "192.168.4.1"),
            "real server 192.168.4.1 of virtual server 192.168.4.15:80/tcp: there is none; there are \
             192.168.4.100:80, 192.168.4.200:80, 192.168.4.200:81",
        ),
        (
            ("192.168.4.15:80", "192.168.4.200"),
            "real server 192.168.4.200 of virtual server 192.168.4.15:80/tcp: it may be any of \
             192.168.4.200:80, 192.168.4.200:81; write one of them",
        ),
        (
            ("192.168.4.15:53/udp", "192.168.4.1"),
            "real server 192.168.4.1 of virtual server 192.168.4.15:53/udp: there is none; \
             there is only 192.168.4.100:53",
        ),
    ];
    for ((virtual_server, real_server), error) in cases {
        assert_eq!(find(virtual_server, real_server), Err(error.to_owned()));
    }
    let many: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(listed(&many), "there are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 8 more");
    for bad in ["", "web1", "192.168.4.15:x", "2001:db8::15:80:x", "192.168.4.15:80/sctp"] {
        assert!(bad.parse::<VirtualServerName>().is_err(), "{bad:?}");
    }
    for good in ["2001:db8::15", "[2001:db8::15]", "[2001:db8::15]:80"] {
        assert!(good.parse::<VirtualServerName>().is_ok(), "{good:?}");
    }
}

fn weights(orders: &Orders) -> Vec<(ServerKey, u32)> {
    let mut desired = desired();
    orders.apply(&mut desired);
    let servers = &desired.services[&service(protocol::TCP, 80)].servers;
    // What has failed has no weight that would count.
    servers.iter().filter(|server| !server.failed).map(|server| (server.key, server.weight)).collect()
}

#[test]
fn what_orders_do_and_how_they_are_lifted() {
    let [one, two, three] = [server(100, 80), server(200, 80), server(200, 81)];
    let about = |server| (service(protocol::TCP, 80), server);
    let mut orders = Orders::default();
    let mut change = |server, change, expected: &[(ServerKey, u32)]| {
        assert_eq!(orders.change(about(server), change, 7), Ok(true), "{change:?}");
        assert_eq!(weights(&orders), expected, "{change:?}");
        assert_eq!(orders.change(about(server), change, 8), Ok(false), "{change:?} again");
    };
    change(one, Change::Drain { keep_persistent: false }, &[(one, 0), (two, 2), (three, 0)]);
    change(two, Change::Disable, &[(one, 0), (three, 0)]);
    change(one, Change::SetWeight { weight: Some(5) }, &[(one, 0), (three, 0)]);
    change(one, Change::Enable, &[(one, 5), (three, 0)]);
    change(two, Change::Drain { keep_persistent: true }, &[(one, 5), (two, 0), (three, 0)]);
    change(two, Change::Enable, &[(one, 5), (two, 2), (three, 0)]);
    change(one, Change::SetWeight { weight: None }, &[(one, 1), (two, 2), (three, 0)]);
    assert_eq!(orders, Orders::default(), "nothing is left of what was lifted");
    assert_eq!(orders.change(about(one), Change::Enable, 9), Ok(false));
    assert_eq!(
        orders.change(about(one), Change::SetWeight { weight: Some(65_536) }, 9),
        Err(OrderError::Weight(65_536))
    );
    assert_eq!(orders, Orders::default());
}

#[test]
fn a_drained_one_gets_no_persistent_clients_unless_it_may() {
    let (web, one) = (service(protocol::TCP, 80), server(100, 80));
    let keys = |keep_persistent, expire_nodest_conn| {
        let mut desired = desired();
        desired.rules.expire_nodest_conn = expire_nodest_conn;
        let timeout = std::time::Duration::from_secs(50);
        let persistence = Persistence { timeout, prefix: 32 };
        desired.services.get_mut(&web).unwrap().persistence = Some(persistence);
        let mut orders = Orders::default();
        orders.change((web, one), Change::Drain { keep_persistent }, 7).unwrap();
        orders.apply(&mut desired);
        let servers = &desired.services[&web].servers;
        servers.iter().find(|server| server.key == one).map(|server| server.weight)
    };
    assert_eq!(keys(false, false), None, "removed: no template binds to it, and its connections go on");
    assert_eq!(keys(true, false), Some(0));
    assert_eq!(keys(false, true), Some(0), "removed ones would lose their connections");
}

#[test]
fn orders_about_what_is_gone_wait_for_it() {
    let gone = (service(protocol::TCP, 80), server(1, 80));
    let mut orders = Orders::default();
    orders.change(gone, Change::Disable, 7).unwrap();
    assert_eq!(weights(&orders), weights(&Orders::default()));
    let names = names(&desired());
    assert_eq!(orders.idle(&names).collect::<Vec<_>>(), [(&gone.0, &gone.1)]);
    let found = orders.find(&names, &"192.168.4.15:80".parse().unwrap(), &"192.168.4.1".parse().unwrap());
    assert_eq!(found, Ok(gone), "so that it can be lifted");
}

#[test]
fn a_group_is_known_by_each_of_its_names() {
    let mut desired = desired();
    let [web, other] = [service(protocol::TCP, 80), service(protocol::TCP, 8080)];
    desired.services.get_mut(&web).unwrap().also = vec![other];
    let names = names(&desired);
    let find = |name: &str| {
        Orders::default().find(&names, &name.parse().unwrap(), &"192.168.4.100".parse().unwrap())
    };
    assert_eq!(find("192.168.4.15:80"), Ok((web, server(100, 80))));
    assert_eq!(find("192.168.4.15:8080"), Ok((web, server(100, 80))), "the order is about the whole group");
}

#[test]
fn the_file_has_them_all_and_goes_with_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders.json");
    assert_eq!(Orders::read(&path).unwrap(), Orders::default());
    let v6 = ServiceKey { address: "2001:db8::15".parse().unwrap(), ..service(protocol::UDP, 0) };
    let mut orders = Orders::default();
    orders.change((service(protocol::TCP, 80), server(100, 80)), Change::Disable, 7).unwrap();
    orders.change((v6, server(100, 0)), Change::SetWeight { weight: Some(0) }, 8).unwrap();
    orders.change((v6, server(200, 0)), Change::Drain { keep_persistent: true }, 9).unwrap();
    orders.write(&path).unwrap();
    assert_eq!(Orders::read(&path).unwrap(), orders);
    Orders::default().write(&path).unwrap();
    assert!(!path.exists());
    for bad in ["{", "{\"schema\":\"lbctl/orders/v9\",\"orders\":[]}"] {
        std::fs::write(&path, bad).unwrap();
        let error = Orders::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("orders.json: the operator's orders cannot be read; remove the file"),
            "{error}"
        );
    }
}

//! Persistence: clients that stay with a real server.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_common::conn::{State, Ticks};
use lb_userspace::config::Persistence;
use lb_userspace::plane::desired::{Desired, DesiredService, ServiceKey};

use crate::harness::case::{Before, Case, opens};
use crate::harness::frame::{ACK, Frame, RST, SYN, TCP};
use crate::harness::world::{WEB1, WEB1_6, WEB2, WEB2_6, client, client6, name, vip, vip6};

fn both(desired: &mut Desired, change: impl Fn(&mut DesiredService)) {
    for address in [vip(8081), vip6(8081)] {
        change(desired.services.get_mut(&name(TCP, address)).unwrap());
    }
}

fn persist(desired: &mut Desired, [four, six]: [u8; 2]) {
    let timeout = Duration::from_secs(100);
    for (address, prefix) in [(vip(8081), four), (vip6(8081), six)] {
        let service = desired.services.get_mut(&name(TCP, address)).unwrap();
        service.persistence = Some(Persistence { timeout, prefix });
    }
}

fn whole(desired: &mut Desired) {
    persist(desired, [32, 128]);
}

/// For less time than a template is prolonged by.
fn shortly(desired: &mut Desired) {
    whole(desired);
    both(desired, |service| {
        service.persistence =
            service.persistence.map(|all| Persistence { timeout: Duration::from_secs(20), ..all });
    });
}

fn networks(desired: &mut Desired) {
    persist(desired, [24, 64]);
}

/// Port 8081 and another are one virtual server.
fn group(desired: &mut Desired) {
    whole(desired);
    let service = desired.services.get_mut(&name(TCP, vip(8081))).unwrap();
    service.also = vec![ServiceKey { port: 8090, ..name(TCP, vip(8081)) }];
    for server in &mut service.servers {
        server.key.port = 0;
    }
}

fn quiesced(desired: &mut Desired) {
    both(desired, |service| service.servers[1].weight = 0);
}

fn quiesced_and_expired(desired: &mut Desired) {
    quiesced(desired);
    desired.rules.expire_quiescent_template = true;
}

fn removed(desired: &mut Desired) {
    both(desired, |service| service.servers.truncate(1));
}

fn syn(port: u16) -> Frame {
    Frame::tcp(client(port), vip(8081), SYN)
}

fn syn6(port: u16) -> Frame {
    Frame::tcp(client6(port), vip6(8081), SYN)
}

/// From another address of the client's network.
fn neighbour(port: u16) -> Frame {
    let IpAddr::V4(ip) = client(port).ip() else { panic!("IPv6") };
    let ip = IpAddr::from((ip.to_bits() ^ 1).to_be_bytes());
    Frame::tcp(SocketAddr::new(ip, port), vip(8081), SYN)
}

/// A connection that is established.
fn established(port: u16) -> [Frame; 2] {
    [SYN, ACK].map(|flags| Frame::tcp(client(port), vip(8081), flags))
}

fn established6(port: u16) -> [Frame; 2] {
    [SYN, ACK].map(|flags| Frame::tcp(client6(port), vip6(8081), flags))
}

/// It ends, and is gone ten seconds later.
fn reset(port: u16) -> Frame {
    Frame::tcp(client(port), vip(8081), RST)
}

fn ticks(seconds: u32) -> u32 {
    u32::try_from(Ticks::of_seconds(seconds)).unwrap()
}

const SR: State = State::SYN_RECEIVED;

/// So many ticks that the timeout has just not run out.
fn within() -> u32 {
    u32::try_from(Ticks::of_seconds(100)).unwrap() - 1
}

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    vec![
        opens("without persistence the next connection goes elsewhere", syn(1001), WEB1, SR).after([syn(1000)]),
        opens("a client's next connection goes to the same real server", syn(1001), WEB2, SR)
            .before(Before::Change(whole)).after([syn(1000)]),
        opens("IPv6: a client's next connection goes to the same real server", syn6(1001), WEB2_6, SR)
            .before(Before::Change(whole)).after([syn6(1000)]),
        opens("another client is scheduled", neighbour(1001), WEB1, SR).before(Before::Change(whole)).after([syn(1000)]),
        opens("another client of the same network is not", neighbour(1001), WEB2, SR)
            .before(Before::Change(networks)).after([syn(1000)]),
        opens("a template is good until its timeout", syn(1001), WEB2, SR)
            .before(Before::Change(whole)).after([syn(1000)]).idle(within()),
        opens("each new connection starts its time anew", syn(1002), WEB2, SR)
            .before(Before::Change(whole)).after([syn(1000)]).idle(within()).after([syn(1001)]).idle(within()),
        opens("it is not good long after its timeout", syn(1001), WEB1, SR)
            .before(Before::Change(whole)).after([syn(1000)]).idle(within() + 16),
        opens("IPv6: it is not good long after its timeout", syn6(1001), WEB1_6, SR)
            .before(Before::Change(whole)).after([syn6(1000)]).idle(within() + 16),
        // `ip_vs_conn_expire`: a template that controls a connection is looked at again after 60 s.
        opens("a template outlives its timeout while a connection by it exists", syn(1001), WEB2, SR)
            .before(Before::Change(whole)).after(established(1000))
            .idle(ticks(100)).before(Before::Sweep).idle(ticks(60) - 1),
        opens("IPv6: a template outlives its timeout while a connection by it exists", syn6(1001), WEB2_6, SR)
            .before(Before::Change(whole)).after(established6(1000))
            .idle(ticks(100)).before(Before::Sweep).idle(ticks(60) - 1),
        opens("and that again and again", syn(1001), WEB2, SR)
            .before(Before::Change(whole)).after(established(1000)).idle(ticks(100)).before(Before::Sweep)
            .idle(ticks(60)).before(Before::Sweep).idle(ticks(60)).before(Before::Sweep).idle(ticks(60) - 1),
        opens("when its connections have ended a template ends 60 s later", syn(1001), WEB1, SR)
            .before(Before::Change(whole)).after(established(1000)).idle(ticks(100)).before(Before::Sweep)
            .after([reset(1000)]).idle(ticks(60)).before(Before::Sweep),
        opens("but not before", syn(1001), WEB2, SR)
            .before(Before::Change(whole)).after(established(1000)).idle(ticks(100)).before(Before::Sweep)
            .after([reset(1000)]).idle(ticks(60) - 1).before(Before::Sweep),
        opens("also if its timeout is shorter", syn(1001), WEB2, SR)
            .before(Before::Change(shortly)).after(established(1000)).idle(ticks(20)).before(Before::Sweep)
            .after([reset(1000)]).idle(ticks(60) - 1).before(Before::Sweep),
        opens("and no longer if its timeout is shorter", syn(1001), WEB1, SR)
            .before(Before::Change(shortly)).after(established(1000)).idle(ticks(20)).before(Before::Sweep)
            .after([reset(1000)]).idle(ticks(60)).before(Before::Sweep),
        opens("a quiesced real server keeps its clients", syn(1001), WEB2, SR)
            .before(Before::Change(whole)).after([syn(1000)]).before(Before::Change(quiesced)),
        opens("expire_quiescent_template: it does not", syn(1001), WEB1, SR)
            .before(Before::Change(whole)).after([syn(1000)]).before(Before::Change(quiesced_and_expired)),
        opens("a removed real server loses its clients", syn(1001), WEB1, SR)
            .before(Before::Change(whole)).after([syn(1000)]).before(Before::Change(removed)),
        opens("the virtual servers of a group share it", Frame::tcp(client(1001), SocketAddr::new(vip(0).ip(), 8090), SYN), WEB2, SR)
            .before(Before::Change(group)).after([syn(1000)]),
    ]
}

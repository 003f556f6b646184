//! Sources that are let in or kept out, and those that connect too often.

use std::net::SocketAddr;

use lb_common::conn::State;
use lb_common::verdict::Reason;
use lb_userspace::config::SourceRate;
use lb_userspace::plane::desired::{Admission, Desired};

use crate::harness::case::{Before, Case, drops, follows, forwards, opens};
use crate::harness::frame::{ACK, Frame, SYN, TCP, UDP};
use crate::harness::world::{
    NAT1, WEB1, WEB1_6, WEB2, client, client6, name, nat_vip, near, near6, vip, vip6,
};

/// Everywhere the same, in each family's own words.
fn admit(desired: &mut Desired, allow: [&[&str]; 2], deny: [&[&str]; 2], rate: Option<[SourceRate; 2]>) {
    for (key, service) in &mut desired.services {
        let family = usize::from(key.address.is_ipv6());
        let networks =
            |list: [&[&str]; 2]| list[family].iter().map(|network| network.parse().unwrap()).collect();
        let rate_limit = rate.map(|rates| rates[family]);
        service.admission = Admission { rate_limit, allow: networks(allow), deny: networks(deny) };
    }
}

fn denied(desired: &mut Desired) {
    admit(desired, [&[]; 2], [&["198.51.100.0/24", "10.0.0.0/8"], &["2001:db8:ffff::/48"]], None);
}

fn elsewhere_denied(desired: &mut Desired) {
    admit(desired, [&[]; 2], [&["192.0.2.0/24"], &["2001:db8:eeee::/48"]], None);
}

fn allowed(desired: &mut Desired) {
    admit(desired, [&["198.51.100.10/32"], &["2001:db8:ffff::10/128"]], [&[]; 2], None);
}

fn hole(desired: &mut Desired) {
    let allow: [&[&str]; 2] = [&["198.51.100.10/32", "0.0.0.0/0"], &["2001:db8:ffff::/64", "::/0"]];
    admit(desired, allow, [&["198.51.100.0/24"], &["2001:db8:ffff::/48"]], None);
}

fn outpost(desired: &mut Desired) {
    let deny: [&[&str]; 2] = [&["198.51.100.8/29"], &["2001:db8:ffff::10/127"]];
    admit(desired, [&["198.51.100.0/24"], &["2001:db8:ffff::/48"]], deny, None);
}

fn open_again(desired: &mut Desired) {
    admit(desired, [&[]; 2], [&[]; 2], None);
}

fn rate(prefix: [u8; 2]) -> [SourceRate; 2] {
    prefix.map(|prefix| SourceRate { rate: 1, burst: 2, prefix })
}

fn rated(desired: &mut Desired) {
    admit(desired, [&[]; 2], [&[]; 2], Some(rate([32, 64])));
}

fn rated_networks(desired: &mut Desired) {
    admit(desired, [&[]; 2], [&[]; 2], Some(rate([24, 48])));
}

fn rated_datagrams(desired: &mut Desired) {
    rated(desired);
    desired.services.get_mut(&name(UDP, vip(53))).unwrap().one_packet = true;
}

fn syn(port: u16) -> Frame {
    Frame::tcp(client(port), vip(80), SYN)
}

fn syn6(port: u16) -> Frame {
    Frame::tcp(client6(port), vip6(80), SYN)
}

fn datagram(port: u16) -> Frame {
    Frame::udp(client(port), vip(53), b"query")
}

/// From another address of the client's networks: of its /24 and /48, in the same /64 or in another.
fn sister(mut of: SocketAddr, other_subnet: bool) -> SocketAddr {
    match &mut of {
        SocketAddr::V4(of) => of.set_ip((of.ip().to_bits() ^ 1).into()),
        SocketAddr::V6(of) => of.set_ip((of.ip().to_bits() ^ 1 ^ u128::from(other_subnet) << 64).into()),
    }
    of
}

const SR: State = State::SYN_RECEIVED;
const DENIED: Reason = Reason::DeniedSource;
const LIMITED: Reason = Reason::RateLimited;

#[rustfmt::skip]
fn lists() -> Vec<Case> {
    let ack = Frame::tcp(client(1000), vip(80), ACK);
    vec![
        drops("a source in a denied network is dropped", syn(1000), DENIED)
            .before(Before::Change(denied)).records_nothing(),
        drops("IPv6: a source in a denied network is dropped", syn6(1000), DENIED).before(Before::Change(denied)),
        opens("a source in no denied network is served", syn(1000), WEB1, SR).before(Before::Change(elsewhere_denied)),
        opens("IPv6: a source in no denied network is served", syn6(1000), WEB1_6, SR)
            .before(Before::Change(elsewhere_denied)),
        drops("a connection that is open is cut", ack.clone(), DENIED)
            .after([syn(1000), ack.clone()]).before(Before::Change(denied)),
        follows("it goes on once its source is let in again", ack.clone(), WEB1, State::ESTABLISHED)
            .after([syn(1000), ack.clone()]).before(Before::Change(denied)).after([ack.clone()])
            .before(Before::Change(open_again)),
        opens("a source that is allowed is served", syn(1000), WEB1, SR).before(Before::Change(allowed)),
        opens("IPv6: a source that is allowed is served", syn6(1000), WEB1_6, SR).before(Before::Change(allowed)),
        drops("with an allow list nobody else is", Frame::tcp(sister(client(1000), false), vip(80), SYN), DENIED)
            .before(Before::Change(allowed)),
        drops("IPv6: with an allow list nobody else is", Frame::tcp(near6(1000), vip6(80), SYN), DENIED)
            .before(Before::Change(allowed)),
        opens("of two networks the longer counts: a hole in a denied one", syn(1000), WEB1, SR)
            .before(Before::Change(hole)),
        drops("beside the hole it is denied", Frame::tcp(sister(client(1000), false), vip(80), SYN), DENIED)
            .before(Before::Change(hole)),
        opens("IPv6: a hole in a denied network", syn6(1000), WEB1_6, SR).before(Before::Change(hole)),
        drops("IPv6: beside the hole it is denied", Frame::tcp(sister(client6(1000), true), vip6(80), SYN), DENIED)
            .before(Before::Change(hole)),
        opens("a network of length 0 says what becomes of the rest", Frame::tcp(near(1000), vip(80), SYN), WEB1, SR)
            .before(Before::Change(hole)),
        drops("an outpost in an allowed network is denied", syn(1000), DENIED).before(Before::Change(outpost)),
        drops("IPv6: an outpost in an allowed network is denied", syn6(1000), DENIED).before(Before::Change(outpost)),
        drops("behind NAT too", Frame::tcp(client(1000), nat_vip(80), SYN), DENIED).before(Before::Change(denied)),
        drops("UDP too", datagram(1000), DENIED).before(Before::Change(denied)),
        drops("a virtual server that is removed with its lists and comes back with them", syn(1000), DENIED)
            .before(Before::Change(denied))
            .before(Before::Change(|desired| drop(desired.services.remove(&name(TCP, vip(80))))))
            .before(Before::Change(|desired| {
                let service = desired.services[&name(TCP, vip(8080))].clone();
                desired.services.insert(name(TCP, vip(80)), service);
            })),
    ]
}

#[rustfmt::skip]
fn rates() -> Vec<Case> {
    let rated = || Before::Change(rated);
    let ack = |port| Frame::tcp(client(port), vip(80), ACK);
    let opened = [syn(1000), syn(1001)];
    let opened6 = [syn6(1000), syn6(1001)];
    vec![
        opens("a burst gets through", syn(1001), WEB1, SR).before(rated()).after([syn(1000)]),
        drops("a connection more than the burst is dropped", syn(1002), LIMITED)
            .before(rated()).after(opened.clone()).records_nothing(),
        drops("IPv6: a connection more than the burst is dropped", syn6(1002), LIMITED)
            .before(rated()).after(opened6.clone()),
        follows("its SYN sent again is no new connection", syn(1001), WEB1, SR).before(rated()).after(opened.clone()),
        follows("what is open goes on", ack(1001), WEB1, State::ESTABLISHED)
            .before(rated()).after(opened.clone()).after([syn(1002)]),
        opens("a connection without an entry goes on", ack(1003), WEB1, State::MID_STREAM)
            .before(rated()).after(opened.clone()).counts(Reason::MidStream),
        opens("another source is not limited by it", Frame::tcp(sister(client(1000), false), vip(80), SYN), WEB1, SR)
            .before(rated()).after(opened.clone()),
        drops("IPv6: another address of the same /64 is the same source",
            Frame::tcp(sister(client6(1002), false), vip6(80), SYN), LIMITED).before(rated()).after(opened6.clone()),
        opens("IPv6: one of another /64 is not", Frame::tcp(sister(client6(1002), true), vip6(80), SYN), WEB1_6, SR)
            .before(rated()).after(opened6.clone()),
        drops("with a prefix the whole network is one source",
            Frame::tcp(sister(client(1000), false), vip(80), SYN), LIMITED)
            .before(Before::Change(rated_networks)).after(opened.clone()),
        drops("IPv6: with a prefix the whole network is one source",
            Frame::tcp(sister(client6(1002), true), vip6(80), SYN), LIMITED)
            .before(Before::Change(rated_networks)).after(opened6),
        opens("each virtual server counts for itself", Frame::tcp(client(1002), vip(81), SYN),
            crate::harness::world::FAR, SR).before(rated()).after(opened.clone()),
        opens("after a second there is one more", syn(1002), WEB1, SR).before(rated()).after(opened.clone()).idle(1),
        drops("and not two", syn(1003), LIMITED).before(rated()).after(opened.clone()).idle(1).after([syn(1002)]),
        opens("after long enough there is the whole burst", syn(1003), WEB1, SR)
            .before(rated()).after(opened.clone()).idle(50).after([syn(1002)]),
        drops("behind NAT too", Frame::tcp(client(1002), nat_vip(80), SYN), LIMITED).before(rated())
            .after([1000, 1001].map(|port| Frame::tcp(client(port), nat_vip(80), SYN))),
        forwards("behind NAT a burst gets through", Frame::tcp(client(1001), nat_vip(80), SYN), NAT1)
            .before(rated()).after([Frame::tcp(client(1000), nat_vip(80), SYN)])
            .out(Frame::tcp(client(1001), SocketAddr::new(NAT1.address, 8080), SYN).forwarded(&NAT1))
            .traffic(NAT1, 1),
        drops("UDP: a flow more than the burst is dropped", datagram(1002), LIMITED)
            .before(rated()).after([datagram(1000), datagram(1001)]),
        follows("UDP: a flow that is open goes on", datagram(1001), WEB1, State::UDP)
            .before(rated()).after([datagram(1000), datagram(1001)]),
        drops("one-packet scheduling: each datagram counts", datagram(1000), LIMITED)
            .before(Before::Change(rated_datagrams)).after([datagram(1000), datagram(1000)]),
        opens("without the limit all is well again", syn(1002), WEB1, SR)
            .before(rated()).after(opened).before(Before::Change(open_again)),
        opens("two real servers take turns as without a limit", Frame::tcp(client(1001), vip(8081), SYN), WEB1, SR)
            .before(rated()).after([Frame::tcp(client(1000), vip(8081), SYN)]),
        opens("the first of them is the last in the list", Frame::tcp(client(1000), vip(8081), SYN), WEB2, SR)
            .before(rated()),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    [lists(), rates()].concat()
}

//! `lblc` and `lblcr`: virtual addresses that stay with the real servers that serve them.
//!
//! web1 and web2 have weight 1, and web2 comes first in IPVS's list. What is expected was worked out from
//! `ip_vs_lblc.c` and `ip_vs_lblcr.c`; longer runs are compared with IPVS itself in `sequences.rs`.

use lb_common::conn::State;
use lb_common::layout::SchedulerCode::{self, Lblc, Lblcr, Wlc};
use lb_common::locality::EXPIRATION;
use lb_userspace::config::Thresholds;
use lb_userspace::plane::desired::{Desired, DesiredService};

use crate::harness::case::{Before, Case, opens};
use crate::harness::frame::{Frame, SYN, TCP};
use crate::harness::world::{
    Server, WEB1, WEB1_6, WEB2, WEB2_6, WEB3, client, client6, name, second_vip, second_vip6, vip, vip6,
};

fn both(desired: &mut Desired, change: impl Fn(&mut DesiredService)) {
    for address in [vip(8081), vip6(8081)] {
        change(desired.services.get_mut(&name(TCP, address)).unwrap());
    }
}

/// Ports 8081 and 8090 of the first address and 8091 of the second are one virtual server, which any port fits.
fn group(desired: &mut Desired, scheduler: SchedulerCode) {
    both(desired, |service| {
        service.scheduler = scheduler;
        service.servers.iter_mut().for_each(|server| server.key.port = 0);
    });
    let mut also = |first, others: [_; 2]| {
        let service = desired.services.get_mut(&name(TCP, first)).unwrap();
        service.also = others.map(|address| name(TCP, address)).to_vec();
    };
    also(vip(8081), [vip(8090), second_vip(8091)]);
    also(vip6(8081), [vip6(8090), second_vip6(8091)]);
}

fn lblc(desired: &mut Desired) {
    group(desired, Lblc);
}

fn lblcr(desired: &mut Desired) {
    group(desired, Lblcr);
}

fn wlc(desired: &mut Desired) {
    both(desired, |service| service.scheduler = Wlc);
}

/// The second of the list; web2.
fn weigh(desired: &mut Desired, weight: u32) {
    both(desired, |service| service.servers[1].weight = weight);
}

fn quiesced(desired: &mut Desired) {
    weigh(desired, 0);
}

fn back(desired: &mut Desired) {
    weigh(desired, 1);
}

fn heavier(desired: &mut Desired) {
    weigh(desired, 3);
}

fn limited(desired: &mut Desired) {
    both(desired, |service| service.servers[1].thresholds = Thresholds { upper: 1, lower: 0 });
}

fn removed(desired: &mut Desired) {
    both(desired, |service| service.servers.truncate(1));
}

/// A third one, so that what is remembered has to move.
fn grown(desired: &mut Desired) {
    both(desired, |service| {
        let mut server = service.servers[0];
        server.key.address = if server.key.address.is_ipv4() { WEB3.address } else { [0xfd; 8].into() };
        service.servers.push(server);
    });
}

fn syn(port: u16) -> Frame {
    Frame::tcp(client(port), vip(8081), SYN)
}

fn syns(count: u16) -> impl Iterator<Item = Frame> {
    (1000..1000 + count).map(syn)
}

/// To the second address.
fn second(port: u16) -> Frame {
    Frame::tcp(client(port), second_vip(8091), SYN)
}

fn other_port(port: u16) -> Frame {
    Frame::tcp(client(port), vip(8090), SYN)
}

fn syn6(port: u16) -> Frame {
    Frame::tcp(client6(port), vip6(8081), SYN)
}

fn second6(port: u16) -> Frame {
    Frame::tcp(client6(port), second_vip6(8091), SYN)
}

/// With these frames before it, a connection goes to this real server.
fn goes(
    sentence: &'static str,
    scheduler: fn(&mut Desired),
    frames: impl IntoIterator<Item = Frame>,
    packet: Frame,
    server: Server,
) -> Case {
    opens(sentence, packet, server, State::SYN_RECEIVED).before(Before::Change(scheduler)).after(frames)
}

/// A change after those frames.
trait Then {
    fn then(self, change: fn(&mut Desired)) -> Self;
}

impl Then for Case {
    fn then(self, change: fn(&mut Desired)) -> Self {
        self.before(Before::Change(change))
    }
}

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    let last = || syn(1100);
    vec![
        goes("lblc: the first connection is scheduled as by wlc", lblc, [], last(), WEB2),
        goes("lblc: the next one goes where the address's first went", lblc, syns(1), last(), WEB2),
        goes("lblc: one more than its weight and another is idle: that one", lblc, syns(2), last(), WEB1),
        goes("lblc: it has the address from then on", lblc, syns(3), last(), WEB1),
        goes("lblc: nobody is idle, so it keeps the address", lblc, syns(4), last(), WEB1),
        goes("lblc: and keeps it although the other one has less", lblc, syns(6), last(), WEB1),
        goes("lblc: each address has its own", lblc, syns(1), second(1100), WEB1),
        goes("lblc: and they do not disturb each other", lblc, [syn(1000), second(1001)], last(), WEB2),
        goes("lblc: another port is the same address", lblc, [syn(1000), second(1001)], other_port(1100), WEB2),
        goes("IPv6, lblc: the next one goes where the address's first went", lblc, [syn6(1000)], syn6(1100), WEB2_6),
        goes("IPv6, lblc: each address has its own", lblc, [syn6(1000)], second6(1100), WEB1_6),
        goes("lblc: a quiesced real server loses the address", lblc, syns(1), last(), WEB1).then(quiesced),
        goes("lblc: another one is heavier, which is not asked", lblc, syns(3), last(), WEB1).then(heavier),
        goes("lblc: a reload that changes nothing keeps it", lblc, syns(3), last(), WEB1).then(lblc),
        goes("lblc: a new real server does not have it", lblc, syns(3), last(), WEB1).then(grown),
        goes("lblc: a removed one does not have it", lblc, syns(1), last(), WEB1).then(removed),
        goes("lblc: nor one that is back, as another has it", lblc, syns(1), last(), WEB1)
            .then(quiesced).after([syn(1050)]).then(back),
        goes("lblc: nor one that has the id of the removed one", lblc, syns(1), last(), WEB1)
            .before(Before::Free).before(Before::Fill(name(TCP, vip(85)))).then(removed).before(Before::Free)
            .before(Before::Weight(name(TCP, vip(8080)), WEB3, 1)),
        goes("lblc: it does not ask for thresholds", lblc, syns(1), last(), WEB2).then(limited),
        goes("lblc: another scheduler in between, and it begins anew", lblc, syns(3), last(), WEB2)
            .then(wlc).then(lblc).idle(1000).before(Before::Sweep),
        goes("lblc: without connections the address is remembered for a day", lblc, syns(3), last(), WEB1)
            .idle(EXPIRATION - 1).before(Before::Sweep),
        goes("lblc: and no longer", lblc, syns(3), last(), WEB2).idle(EXPIRATION).before(Before::Sweep),

        goes("lblcr: the next one goes where the address's first went", lblcr, syns(1), last(), WEB2),
        goes("lblcr: one more than its weight and another is idle: that one too", lblcr, syns(2), last(), WEB1),
        goes("lblcr: the less loaded one of both", lblcr, syns(3), last(), WEB1),
        goes("lblcr: of two equal ones the newer", lblcr, syns(4), last(), WEB1),
        goes("lblcr: the less loaded one of both, again", lblcr, syns(5), last(), WEB2),
        goes("lblcr: each address has its own", lblcr, syns(1), second(1100), WEB1),
        goes("lblcr: and they do not disturb each other", lblcr, [syn(1000), second(1001)], last(), WEB2),
        goes("IPv6, lblcr: each address has its own", lblcr, [syn6(1000)], second6(1100), WEB1_6),
        goes("lblcr: a quiesced one is passed over", lblcr, syns(5), last(), WEB1).then(quiesced),
        goes("lblcr: and has not left", lblcr, syns(5), last(), WEB2).then(quiesced).after([syn(1050)]).then(back),
        goes("lblcr: one at its threshold is passed over", lblcr, syns(5), last(), WEB1).then(limited),
        goes("lblcr: a reload with another real server keeps them", lblcr, syns(1), last(), WEB2).then(grown),
        goes("lblcr: one that has the id of the removed one is another", lblcr, syns(5), last(), WEB1)
            .before(Before::Free).before(Before::Fill(name(TCP, vip(85)))).then(removed).before(Before::Free)
            .before(Before::Weight(name(TCP, vip(8080)), WEB3, 1)),
        // web1 has 3, web2 has 2.
        goes("lblcr: after a day in which none came the less loaded one is taken", lblcr, syns(5), last(), WEB2)
            .idle(EXPIRATION + 1),
        goes("lblcr: and the more loaded one goes", lblcr, syns(5), last(), WEB2)
            .idle(EXPIRATION + 1).after([syn(1050)]),
        goes("lblcr: but not within the day", lblcr, syns(5), last(), WEB1).idle(EXPIRATION).after([syn(1050)]),
        goes("lblcr: without connections all are forgotten after a day", lblcr, syns(3), last(), WEB2)
            .idle(EXPIRATION).before(Before::Sweep),
    ]
}

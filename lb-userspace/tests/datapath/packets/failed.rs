//! Connections of real servers that have failed, or were taken out where that ends connections; virtual servers on
//! standby; datagrams that are scheduled one by one; SCTP.

use lb_common::conn::State;
use lb_common::verdict::Reason;
use lb_userspace::config::OnFailure;
use lb_userspace::plane::desired::{Desired, DesiredService};

use crate::harness::case::{Before, Case, drops, follows, forwards, opens, passes};
use crate::harness::frame::{ACK, FIN, Frame, RST, SYN, TCP, UDP};
use crate::harness::world::{WEB1, WEB1_6, WEB2, WEB2_6, client, client6, name, vip, vip6};

fn both(desired: &mut Desired, change: impl Fn(&mut DesiredService)) {
    for address in [vip(8081), vip6(8081)] {
        change(desired.services.get_mut(&name(TCP, address)).unwrap());
    }
    change(desired.services.get_mut(&name(UDP, vip(5353))).unwrap());
}

fn fail(desired: &mut Desired, on_failure: OnFailure) {
    both(desired, |service| {
        service.on_failure = on_failure;
        let server = &mut service.servers[1];
        server.failed = true;
        server.weight = 0;
    });
}

fn kept(desired: &mut Desired) {
    fail(desired, OnFailure::Keep);
}

fn dropped(desired: &mut Desired) {
    fail(desired, OnFailure::Drop);
}

fn reset(desired: &mut Desired) {
    fail(desired, OnFailure::Reset);
}

/// As after the checks succeed again.
fn well(desired: &mut Desired) {
    both(desired, |service| {
        let server = &mut service.servers[1];
        server.failed = false;
        server.weight = 1;
    });
}

fn removed(desired: &mut Desired) {
    desired.rules.expire_nodest_conn = true;
    both(desired, |service| service.servers.truncate(1));
}

fn one_by_one(desired: &mut Desired) {
    desired.services.get_mut(&name(UDP, vip(5353))).unwrap().one_packet = true;
}

fn tcp(flags: u8) -> Frame {
    Frame::tcp(client(1000), vip(8081), flags)
}

fn tcp6(flags: u8) -> Frame {
    Frame::tcp(client6(1000), vip6(8081), flags)
}

fn udp() -> Frame {
    Frame::udp(client(1000), vip(5353), b"")
}

/// The sequence number of all frames, and the end of their data.
const SENT: u32 = 0x0102_0304;

/// The answer to a packet.
fn answers(sentence: &'static str, packet: Frame, reset: Frame) -> Case {
    drops(sentence, packet, Reason::FailedRealServer).answered(reset)
}

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    let from = (vip(8081), client(1000));
    let from6 = (vip6(8081), client6(1000));
    let open = || [tcp(SYN), tcp(ACK)];
    vec![
        follows("on_failure = keep: a connection stays", tcp(ACK), WEB2, State::ESTABLISHED)
            .after(open()).before(Before::Change(kept)),
        drops("on_failure = drop: a connection's packets are dropped", tcp(ACK), Reason::FailedRealServer)
            .after(open()).before(Before::Change(dropped)),
        answers("on_failure = reset: the number that the client expects", tcp(ACK), Frame::reset(from.0, from.1, 0, None))
            .after(open()).before(Before::Change(reset)),
        answers("IPv6: the number that the client expects", tcp6(ACK), Frame::reset(from6.0, from6.1, 0, None))
            .after([tcp6(SYN), tcp6(ACK)]).before(Before::Change(reset)),
        answers("without ACK what was sent is acknowledged", tcp(FIN), Frame::reset(from.0, from.1, 0, Some(SENT + 5)))
            .after(open()).before(Before::Change(reset)),
        answers("IPv6: without ACK what was sent is acknowledged", tcp6(0), Frame::reset(from6.0, from6.1, 0, Some(SENT + 4)))
            .after([tcp6(SYN), tcp6(ACK)]).before(Before::Change(reset)),
        drops("a reset is not answered", tcp(RST | ACK), Reason::FailedRealServer)
            .after(open()).before(Before::Change(reset)),
        drops("a packet with options is not answered", tcp(ACK).options(&[1; 4]), Reason::FailedRealServer)
            .after(open()).before(Before::Change(reset)),
        drops("UDP is dropped", udp(), Reason::FailedRealServer).after([udp(), udp()]).before(Before::Change(reset)),
        opens("a SYN of the same port gets another real server", tcp(SYN), WEB1, State::SYN_RECEIVED)
            .after(open()).before(Before::Change(reset)),
        opens("IPv6: a SYN of the same port gets another real server", tcp6(SYN), WEB1_6, State::SYN_RECEIVED)
            .after([tcp6(SYN), tcp6(ACK)]).before(Before::Change(reset)),
        follows("a real server that is well again has its connections", tcp(ACK), WEB2, State::ESTABLISHED)
            .after(open()).before(Before::Change(reset)).before(Before::Change(well)),
        follows("IPv6: a real server that is well again has its connections", tcp6(ACK), WEB2_6, State::ESTABLISHED)
            .after([tcp6(SYN), tcp6(ACK)]).before(Before::Change(dropped)).before(Before::Change(well)),
        passes("expire_nodest_conn: the kernel refuses what goes on", tcp(ACK), Reason::RemovedRealServer)
            .after(open()).before(Before::Change(removed)),
        opens("expire_nodest_conn: a SYN of the same port is scheduled anew", tcp(SYN), WEB1, State::SYN_RECEIVED)
            .after(open()).before(Before::Change(removed)),
        passes("standby: a new connection is the kernel's, and leaves no entry", tcp(SYN), Reason::Standby)
            .before(Before::Standby(Some(vip(8081).ip()))).records_nothing(),
        passes("IPv6 standby: a new connection is the kernel's, and leaves no entry", tcp6(SYN), Reason::Standby)
            .before(Before::Standby(Some(vip6(8081).ip()))).records_nothing(),
        passes("standby: a known connection is not followed, and its entry stays as it is", tcp(FIN | ACK), Reason::Standby)
            .after(open()).before(Before::Standby(Some(vip(8081).ip()))).keeps(State::ESTABLISHED, WEB2),
        follows("standby of the other address: this one is served", tcp(ACK), WEB2, State::ESTABLISHED)
            .after(open()).before(Before::Standby(Some(vip6(8081).ip()))),
        follows("taken over again: the connection goes on", tcp(ACK), WEB2, State::ESTABLISHED)
            .after(open()).before(Before::Standby(Some(vip(8081).ip()))).before(Before::Standby(None)),
        forwards("one packet: the second datagram of a flow goes elsewhere", udp(), WEB1)
            .before(Before::Change(one_by_one)).after([udp()]).traffic(WEB1, 1).records_nothing(),
        forwards("one packet: the third goes where the first did", udp(), WEB2)
            .before(Before::Change(one_by_one)).after([udp(), udp()]).traffic(WEB2, 1).records_nothing(),
    ]
}

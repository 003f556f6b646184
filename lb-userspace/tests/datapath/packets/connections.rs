//! The connection table: states as IPVS's for direct routing, timeouts, port reuse, real servers that go.

use lb_common::conn::{State, Ticks};
use lb_common::verdict::Reason;

use crate::harness::case::{Before, Case, drops, follows, forwards, opens, passes};
use crate::harness::frame::{ACK, FIN, Frame, RST, SYN, TCP};
use crate::harness::world::{SILENT, WEB1, WEB1_6, WEB2, WEB2_6, WEB3, client, client6, name, vip, vip6};

const SR: State = State::SYN_RECEIVED;
const ES: State = State::ESTABLISHED;
const FW: State = State::FIN_WAIT;
const TW: State = State::TIME_WAIT;
const CL: State = State::CLOSE;
const MS: State = State::MID_STREAM;
const UD: State = State::UDP;

/// A packet of a connection of rr web1 web2: the first one goes to web2.
fn tcp(flags: u8) -> Frame {
    Frame::tcp(client(1000), vip(8081), flags)
}

fn tcp6(flags: u8) -> Frame {
    Frame::tcp(client6(1000), vip6(8081), flags)
}

fn udp() -> Frame {
    Frame::udp(client(1000), vip(5353), b"")
}

/// So many ticks that a timeout of these seconds has just not run out.
fn just_within(seconds: u32) -> u32 {
    u32::try_from(Ticks::of_seconds(seconds)).unwrap() - 1
}

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    let rr = name(TCP, vip(8081));
    vec![
        // The states.
        follows("ACK confirms a connection", tcp(ACK), WEB2, ES).after([tcp(SYN)]),
        follows("IPv6: ACK confirms a connection", tcp6(ACK), WEB2_6, ES).after([tcp6(SYN)]),
        follows("a SYN again leaves SYN_RECV", tcp(SYN), WEB2, SR).after([tcp(SYN)]),
        follows("a SYN leaves an established connection", tcp(SYN), WEB2, ES).after([tcp(SYN), tcp(ACK)]),
        follows("RST in SYN_RECV leaves SYN_RECV", tcp(RST), WEB2, SR).after([tcp(SYN)]),
        follows("FIN of an established connection: FIN_WAIT", tcp(FIN | ACK), WEB2, FW).after([tcp(SYN), tcp(ACK)]),
        follows("IPv6: FIN of an established connection: FIN_WAIT", tcp6(FIN | ACK), WEB2_6, FW).after([tcp6(SYN), tcp6(ACK)]),
        follows("FIN after only a SYN: TIME_WAIT", tcp(FIN | ACK), WEB2, TW).after([tcp(SYN)]),
        follows("ACK in FIN_WAIT leaves it", tcp(ACK), WEB2, FW).after([tcp(SYN), tcp(ACK), tcp(FIN | ACK)]),
        follows("RST of an established connection: CLOSE", tcp(RST), WEB2, CL).after([tcp(SYN), tcp(ACK)]),
        follows("RST in FIN_WAIT: CLOSE", tcp(RST | ACK), WEB2, CL).after([tcp(SYN), tcp(ACK), tcp(FIN | ACK)]),
        follows("RST counts before SYN and FIN", tcp(RST | SYN | FIN), WEB2, CL).after([tcp(SYN), tcp(ACK)]),
        follows("SYN counts before FIN", tcp(SYN | FIN), WEB2, ES).after([tcp(SYN), tcp(ACK)]),
        follows("data after CLOSE leaves it", tcp(ACK), WEB2, CL).after([tcp(SYN), tcp(ACK), tcp(RST)]),
        follows("a second datagram confirms a UDP connection", udp(), WEB2, UD).after([udp()]),
        follows("a UDP connection goes on", udp(), WEB2, UD).after([udp(), udp()]),
        // Port reuse, as net.ipv4.vs.conn_reuse_mode=1.
        follows("a new SYN in FIN_WAIT keeps its real server", tcp(SYN), WEB2, SR)
            .after([tcp(SYN), tcp(ACK), tcp(FIN | ACK)]),
        opens("a new SYN in TIME_WAIT is scheduled anew", tcp(SYN), WEB1, SR).after([tcp(SYN), tcp(FIN)]),
        opens("a new SYN in CLOSE is scheduled anew", tcp(SYN), WEB1, SR).after([tcp(SYN), tcp(ACK), tcp(RST)]),
        // Timeouts: just within, and just out.
        follows("SYN_RECV lasts 60 s", tcp(ACK), WEB2, ES).after([tcp(SYN)]).idle(just_within(60)),
        opens("then a SYN is scheduled anew", tcp(SYN), WEB1, SR).after([tcp(SYN)]).idle(just_within(60) + 1),
        follows("an established connection lasts 900 s", tcp(ACK), WEB2, ES)
            .after([tcp(SYN), tcp(ACK)]).idle(just_within(900)),
        opens("then a SYN is scheduled anew: web1", tcp(SYN), WEB1, SR)
            .after([tcp(SYN), tcp(ACK)]).idle(just_within(900) + 1),
        follows("FIN_WAIT lasts 120 s", tcp(ACK), WEB2, FW)
            .after([tcp(SYN), tcp(ACK), tcp(FIN)]).idle(just_within(120)),
        opens("then a SYN is scheduled anew: after FIN_WAIT", tcp(SYN), WEB1, SR)
            .after([tcp(SYN), tcp(ACK), tcp(FIN)]).idle(just_within(120) + 1),
        follows("CLOSE lasts 10 s", tcp(ACK), WEB2, CL)
            .after([tcp(SYN), tcp(ACK), tcp(RST)]).idle(just_within(10)),
        follows("a UDP connection lasts 300 s", udp(), WEB2, UD).after([udp(), udp()]).idle(just_within(300)),
        opens("then a datagram is scheduled anew", udp(), WEB1, State::FIRST_DATAGRAM)
            .after([udp(), udp()]).idle(just_within(300) + 1),
        opens("IPv6: an expired connection's SYN is scheduled anew", tcp6(SYN), WEB1_6, SR)
            .after([tcp6(SYN)]).idle(just_within(60) + 1),
        follows("every packet starts the timeout anew", tcp(ACK), WEB2, ES)
            .after([tcp(SYN), tcp(ACK)]).idle(just_within(900)).after([tcp(ACK)]).idle(just_within(900)),
        // Mid-stream packets without an entry: the flow's hash. Which real server that is must not change: two
        // directors of different versions must agree.
        forwards_mid_stream("a mid-stream packet without an entry goes where its hash says", tcp(ACK), WEB1),
        forwards_mid_stream("another flow's hash says otherwise", Frame::tcp(client(1002), vip(8081), ACK), WEB2),
        forwards_mid_stream("IPv6: a mid-stream packet goes where its hash says", tcp6(ACK), WEB1_6),
        forwards_mid_stream("IPv6: and another flow's says otherwise", Frame::tcp(client6(1001), vip6(8081), ACK), WEB2_6),
        forwards_mid_stream("FIN of an unknown connection is mid-stream", tcp(FIN | ACK), WEB1),
        follows("the second mid-stream packet confirms", tcp(ACK), WEB1, ES).after([tcp(ACK)]),
        forwards_mid_stream("an expired connection goes on where its hash says", tcp(ACK), WEB1)
            .after([tcp(SYN), tcp(ACK)]).idle(just_within(900) + 1),
        forwards("RST of an unknown connection goes where its hash says, unrecorded", tcp(RST), WEB1).records_nothing(),
        // Real servers that go.
        follows("a quiesced real server keeps its connections", tcp(ACK), WEB2, ES)
            .after([tcp(SYN)]).before(Before::Weight(rr, WEB2, 0)),
        follows("a real server that was taken out keeps its connections", tcp(ACK), WEB2, ES)
            .after([tcp(SYN)]).before(Before::Remove(rr, WEB2)),
        follows("and one that comes back too", tcp(ACK), WEB2, ES)
            .after([tcp(SYN)]).before(Before::Remove(rr, WEB2)).before(Before::Weight(rr, WEB2, 1)),
        opens("a port that comes again in FIN_WAIT leaves a quiesced real server", tcp(SYN), WEB1, SR)
            .after([tcp(SYN), tcp(ACK), tcp(FIN)]).before(Before::Weight(rr, WEB2, 0)),
        follows("but a SYN sent again does not: a quiesced real server answers it", tcp(SYN), WEB2, SR)
            .after([tcp(SYN)]).before(Before::Weight(rr, WEB2, 0)),
        follows("and one with weight keeps a port that comes again in FIN_WAIT", tcp(SYN), WEB2, SR)
            .after([tcp(SYN), tcp(ACK), tcp(FIN)]),
        opens("a port that comes again in FIN_WAIT leaves a real server that was taken out", tcp(SYN), WEB1, SR)
            .after([tcp(SYN), tcp(ACK), tcp(FIN)]).before(Before::Remove(rr, WEB2)),
        opens("and so does a SYN sent again, which that real server has not answered", tcp(SYN), WEB1, SR)
            .after([tcp(SYN)]).before(Before::Remove(rr, WEB2)),
        opens("and a port that comes again after a reset that the director has not seen", tcp(SYN), WEB1, SR)
            .after([tcp(SYN), tcp(ACK)]).before(Before::Remove(rr, WEB2)),
        opens("a connection whose real server was freed is scheduled anew", tcp(SYN), WEB1, SR)
            .after([tcp(SYN)]).before(Before::Remove(rr, WEB2)).before(Before::Free),
        forwards_mid_stream("and its data goes where its hash says", tcp(ACK), WEB1)
            .after([tcp(SYN), tcp(ACK)]).before(Before::Remove(rr, WEB2)).before(Before::Free),
        opens("an id that was given out again is not taken for the old real server", tcp(SYN), WEB3, SR)
            .after([tcp(SYN)]).before(Before::Fill(name(TCP, vip(85))))
            .before(Before::Remove(rr, WEB2)).before(Before::Free).before(Before::Weight(rr, WEB3, 1)),
        passes("established, but no real server is left for a connection that expired", tcp(ACK), Reason::NoRealServer)
            .after([tcp(SYN), tcp(ACK)]).before(Before::Weight(rr, WEB1, 0)).before(Before::Weight(rr, WEB2, 0))
            .idle(just_within(900) + 1),
        drops("an unresolved real server keeps its entry", Frame::tcp(client(1000), vip(84), SYN), Reason::NeighbourUnresolved)
            .keeps(SR, SILENT),
    ]
}

/// A packet in mid-stream that is placed by its hash and recorded as such.
fn forwards_mid_stream(sentence: &'static str, packet: Frame, server: crate::harness::world::Server) -> Case {
    opens(sentence, packet, server, MS).counts(Reason::MidStream)
}

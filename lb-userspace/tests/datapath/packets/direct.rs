//! Direct routing, the schedulers' turns, and which virtual server a packet is for.

use lb_common::conn::State;
use lb_common::verdict::Reason;

use crate::harness::case::{Before, Case, drops, follows, forwards, opens, passes};
use crate::harness::frame::{ACK, Frame, PSH, SYN, TCP};
use crate::harness::world::{
    FAR, LOCAL, LOCAL_6, SILENT, SILENT_6, WEB1, WEB1_6, WEB2, WEB2_6, WEB3, client, client6, link, name,
    second_vip, second_vip6, vip, vip6,
};

const SR: State = State::SYN_RECEIVED;

fn syn(port: u16, service: u16) -> Frame {
    Frame::tcp(client(port), vip(service), SYN)
}

fn syn6(port: u16, service: u16) -> Frame {
    Frame::tcp(client6(port), vip6(service), SYN)
}

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    let web = name(TCP, vip(80));
    let wrr = name(TCP, vip(8080));
    let rr = name(TCP, vip(8081));
    vec![
        // What changes in a packet: MACs, TTL and its checksum, nothing else.
        opens("a TCP SYN goes to the real server", syn(1000, 80), WEB1, SR),
        opens("a UDP datagram goes to the real server", Frame::udp(client(1000), vip(53), b"query"), WEB1, State::FIRST_DATAGRAM),
        opens("an IPv6 TCP SYN goes to the real server", syn6(1000, 80), WEB1_6, SR),
        opens("an IPv6 UDP datagram goes to the real server", Frame::udp(client6(1000), vip6(53), b"query"), WEB1_6, State::FIRST_DATAGRAM),
        opens("an empty UDP datagram goes to the real server", Frame::udp(client(1000), vip(53), b""), WEB1, State::FIRST_DATAGRAM),
        opens("a datagram of 1472 bytes goes to the real server", Frame::udp(client(1000), vip(53), &[7; 1472]), WEB1, State::FIRST_DATAGRAM),
        opens("a UDP datagram without a checksum keeps none", Frame::udp(client(1000), vip(53), b"query").patch(14 + 20 + 6, &[0, 0]), WEB1, State::FIRST_DATAGRAM),
        opens("a wrong TCP checksum is the real server's affair", syn(1000, 80).patch(14 + 20 + 16, &[0xde, 0xad]), WEB1, SR),
        opens("a TTL of 2 is decremented to 1", syn(1000, 80).ttl(2), WEB1, SR),
        opens("a TTL of 255 is decremented", syn(1000, 80).ttl(255), WEB1, SR),
        opens("a hop limit of 2 is decremented to 1", syn6(1000, 80).ttl(2), WEB1_6, SR),
        opens("a header checksum that overflows carries", syn(1000, 80).identification(CARRY), WEB1, SR),
        // RFC 1624: the other zero; receivers take both.
        opens("a header checksum that becomes zero is 0xffff", syn(1000, 80).identification(ZERO), WEB1, SR)
            .out(syn(1000, 80).identification(ZERO).forwarded(&WEB1).patch(14 + 10, &[0xff, 0xff])),
        opens("IP options are kept", syn(1000, 80).options(&[1; 4]), WEB1, SR),
        opens("IP options of 40 bytes are kept", syn(1000, 80).options(&[1; 40]), WEB1, SR),
        opens("padding behind the IP packet is kept and not counted", syn(1000, 80).padding(6), WEB1, SR),
        opens("padding behind an IPv6 packet is kept and not counted", syn6(1000, 80).padding(6), WEB1_6, SR),
        opens("SYN with ACK starts a connection", Frame::tcp(client(1000), vip(80), SYN | ACK), WEB1, SR),
        // Whose turn it is. IPVS's list runs from the last added real server to the first.
        opens("rr begins with the real server added last", syn(1000, 8081), WEB2, SR),
        opens("rr goes on with the next one", syn(1001, 8081), WEB1, SR)
            .after([syn(1000, 8081)]),
        opens("rr comes round", syn(1002, 8081), WEB2, SR)
            .after([syn(1000, 8081), syn(1001, 8081)]),
        opens("wrr 1:2 gives its second connection to web1", syn(1001, 8080), WEB1, SR)
            .after([syn(1000, 8080)]),
        opens("wrr 1:2 gives its third connection to web2", syn(1002, 8080), WEB2, SR)
            .after([syn(1000, 8080), syn(1001, 8080)]),
        opens("IPv6 wrr 1:2 gives its second connection to web1", syn6(1001, 8080), WEB1_6, SR)
            .after([syn6(1000, 8080)]),
        opens("UDP takes its turns", Frame::udp(client(1001), vip(5353), b""), WEB1, State::FIRST_DATAGRAM)
            .after([Frame::udp(client(1000), vip(5353), b"")]),
        opens("a mid-stream packet takes nobody's turn", syn(1001, 8081), WEB2, SR)
            .after([Frame::tcp(client(1000), vip(8081), ACK)]),
        // The same real server as without an entry, on this director and on the next one.
        opens("rr: what another director makes of the flow", Frame::tcp(client(1003), vip(8081), ACK), WEB1, State::MID_STREAM)
            .counts(Reason::MidStream),
        opens("while it is handed over, a newcomer is placed by its hash", syn(1003, 8081), WEB1, SR)
            .before(Before::HandsOver),
        opens("a service of both families has two orders", syn6(1000, 8081), WEB2_6, SR)
            .after([syn(1000, 8081)]),
        opens("a weight set to 0 takes no new connections", syn(1000, 8081), WEB1, SR)
            .before(Before::Weight(rr, WEB2, 0)),
        opens("a changed weight counts at once", syn(1001, 8080), WEB2, SR)
            .after([syn(1000, 8080)]).before(Before::Weight(wrr, WEB1, 0)),
        opens("a real server that was added takes its turn first", syn(1000, 80), WEB2, SR)
            .before(Before::Weight(web, WEB2, 1)),
        opens("a real server that was taken out takes no new connections", syn(1000, 8081), WEB1, SR)
            .before(Before::Remove(rr, WEB2)),
        passes("without a real server the kernel refuses the connection", syn(1000, 85), Reason::NoRealServer)
            .records_nothing(),
        passes("with weights of 0 only the kernel refuses the connection", syn(1000, 86), Reason::NoRealServer)
            .records_nothing(),
        passes("without an IPv6 real server the kernel refuses the connection", syn6(1000, 85), Reason::NoRealServer)
            .records_nothing(),
        passes("the last real server taken out leaves the kernel to refuse", syn(1000, 80), Reason::NoRealServer)
            .before(Before::Remove(web, WEB1)),
        // Where a packet goes out.
        opens("a real server behind another interface is reached through it", syn(1000, 81), FAR, SR),
        passes("the director's own real server gets the packet through the kernel", syn(1000, 83), Reason::LocalRealServer)
            .traffic(LOCAL, 1),
        passes("the director's own IPv6 real server too", syn6(1000, 83), Reason::LocalRealServer)
            .traffic(LOCAL_6, 1),
        passes("an entry leads to the director's own real server", Frame::tcp(client(1000), vip(83), ACK), Reason::LocalRealServer)
            .after([syn(1000, 83)]).traffic(LOCAL, 0),
        drops("a real server without a MAC gets nothing, and that is counted", syn(1000, 84), Reason::NeighbourUnresolved),
        drops("an IPv6 real server without a MAC gets nothing", syn6(1000, 84), Reason::NeighbourUnresolved),
        drops("a real server whose MAC is lost gets nothing", Frame::tcp(client(1000), vip(80), ACK), Reason::NeighbourUnresolved)
            .after([syn(1000, 80)]).before(Before::Link(WEB1, None)),
        follows("a real server that is resolved meanwhile gets its connection", syn(1000, 84), with_mac(SILENT), SR)
            .after([syn(1000, 84)]).before(Before::Link(SILENT, Some(link(&with_mac(SILENT))))).idle(1),
        follows("an IPv6 real server too", syn6(1000, 84), with_mac(SILENT_6), SR)
            .after([syn6(1000, 84)]).before(Before::Link(SILENT_6, Some(link(&with_mac(SILENT_6))))).idle(1),
        follows("a real server's new MAC is used by its connections", Frame::tcp(client(1000), vip(80), ACK), with_mac(WEB1), State::ESTABLISHED)
            .after([syn(1000, 80)]).before(Before::Link(WEB1, Some(link(&with_mac(WEB1))))),
        // Which virtual server.
        opens("any port of an any-port service goes to its real server", Frame::tcp(client(1000), second_vip(443), SYN), WEB2, SR),
        opens("a service of the exact port comes before the any-port one", Frame::tcp(client(1000), second_vip(80), SYN), WEB1, SR),
        opens("port 0 itself is a port", Frame::tcp(client(1000), second_vip(0), SYN), WEB2, SR),
        opens("an IPv6 any-port service takes any port", Frame::tcp(client6(1000), second_vip6(443), SYN), WEB2_6, SR),
        opens("an exact IPv6 service comes before the any-port one", Frame::tcp(client6(1000), second_vip6(80), SYN), WEB1_6, SR),
        opens("a client's connections to two ports of an any-port service are two", Frame::udp(client(1000), second_vip(2000), b""), WEB1, State::FIRST_DATAGRAM)
            .after([Frame::udp(client(1000), second_vip(1000), b"")]),
        follows("and each keeps its real server", Frame::udp(client(1000), second_vip(1000), b""), WEB2, State::UDP)
            .after([Frame::udp(client(1000), second_vip(1000), b""), Frame::udp(client(1000), second_vip(2000), b"")]),
        opens("an IPv6 client's connections to two ports are two as well", Frame::udp(client6(1000), second_vip6(2000), b""), WEB1_6, State::FIRST_DATAGRAM)
            .after([Frame::udp(client6(1000), second_vip6(1000), b"")]),
        passes("the any-port service gone, its ports are the kernel's", Frame::tcp(client(1000), second_vip(443), SYN), Reason::NoVirtualServer)
            .before(Before::RemoveService(name(TCP, second_vip(0)))),
        passes("a port without a virtual server is the kernel's", syn(1000, 22), Reason::NoVirtualServer),
        passes("TCP to a UDP service is the kernel's", syn(1000, 53), Reason::NoVirtualServer),
        passes("UDP to a TCP service is the kernel's", Frame::udp(client(1000), vip(80), b""), Reason::NoVirtualServer),
        passes("a virtual server that was taken out is the kernel's", Frame::tcp(client(1000), vip(80), ACK), Reason::NoVirtualServer)
            .after([syn(1000, 80)]).before(Before::RemoveService(web)),
        forwards("data with PSH goes where its connection goes", Frame::tcp(client(1000), vip(80), ACK | PSH), WEB1)
            .after([syn(1000, 80), Frame::tcp(client(1000), vip(80), ACK)]),
        opens("a third real server joins rr at the head", syn(1000, 8081), WEB3, SR)
            .before(Before::Weight(rr, WEB3, 1)),
    ]
}

/// An identification with which the header checksum of `syn` is 0xff80, before the TTL is decremented.
const CARRY: u16 = 0x4c56;
/// An identification with which it is 0xfeff.
const ZERO: u16 = 0x4cd7;

/// The same real server with another network card.
fn with_mac(server: crate::harness::world::Server) -> crate::harness::world::Server {
    crate::harness::world::Server { mac: [2, 0, 0, 0, 9, 9], ..server }
}

//! Fragments follow their first one; IPv6 extension headers are looked through.

use lb_common::conn::State;
use lb_common::verdict::Reason;

use crate::harness::case::{Before, Case, drops, forwards, opens, passes};
use crate::harness::frame::{C_TAG, Frame, SYN, TCP, UDP};
use crate::harness::world::{TAGGED, WEB1_6, WEB2, WEB2_6, client, client6, name, vip, vip6};

const FD: State = State::FIRST_DATAGRAM;
const SR: State = State::SYN_RECEIVED;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const AUTHENTICATION: u8 = 51;
const NO_NEXT: u8 = 59;
const OPTIONS: u8 = 60;
/// The rest of an extension header of 8 bytes: no further units, PadN of 4.
const PAD: [u8; 7] = [0, 1, 4, 0, 0, 0, 0];

/// A datagram of udp 5353 (rr web1 web2), whose first connection goes to web2.
fn datagram() -> Frame {
    Frame::udp(client(1000), vip(5353), &[7; 56])
}

fn datagram6() -> Frame {
    Frame::udp(client6(1000), vip6(5353), &[7; 56])
}

fn first() -> Frame {
    datagram().first_fragment(32)
}

fn later() -> Frame {
    datagram().later_fragment(32, false)
}

fn first6() -> Frame {
    datagram6().first_fragment(32)
}

fn later6() -> Frame {
    datagram6().later_fragment(32, false)
}

/// A segment for the real server on VLAN 8.
fn segment() -> Frame {
    Frame::tcp(client(1000), vip(82), SYN)
}

fn syn6() -> Frame {
    Frame::tcp(client6(1000), vip6(80), SYN)
}

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    let dns = name(UDP, vip(5353));
    vec![
        opens("a first fragment has the ports and goes by them", first(), WEB2, FD),
        opens("IPv6: a first fragment goes by its ports", first6(), WEB2_6, FD),
        forwards("the last fragment follows the first", later(), WEB2).after([first()]),
        forwards("a middle fragment follows the first", datagram().later_fragment(32, true), WEB2).after([first()]),
        forwards("IPv6: the last fragment follows the first", later6(), WEB2_6).after([first6()]),
        forwards("IPv6: a middle fragment follows the first", datagram6().later_fragment(32, true), WEB2_6).after([first6()]),
        forwards("a fragment at the highest offset follows the first", datagram().later_fragment(65528, false), WEB2).after([first()]),
        forwards("fragments keep to the first one whatever comes between", later(), WEB2)
            .after([first(), Frame::udp(client(1001), vip(5353), b"")]),
        forwards("a later fragment behind IP options follows", later().options(&[1; 8]), WEB2).after([first()]),
        forwards("a TCP fragment follows too, with the VLAN tag it needs", segment().later_fragment(24, false), TAGGED)
            .after([segment().first_fragment(24)]).out(segment().later_fragment(24, false).forwarded(&TAGGED).tag(C_TAG, 8)),
        passes("a later fragment that comes before the first", later(), Reason::UnknownFragment),
        passes("IPv6: a later fragment that comes before the first", later6(), Reason::UnknownFragment),
        passes("another identification is another datagram", later().identification(7), Reason::UnknownFragment).after([first()]),
        passes("IPv6: another identification is another datagram", datagram6().identification(7).later_fragment(32, false), Reason::UnknownFragment)
            .after([first6()]),
        passes("another protocol is another datagram", later().protocol(TCP), Reason::UnknownFragment).after([first()]),
        passes("another client's identification is another datagram", Frame::udp("198.51.100.11:1000".parse().unwrap(), vip(5353), &[7; 56]).later_fragment(32, false), Reason::UnknownFragment)
            .after([first()]),
        forwards("a first fragment is remembered for 29 s", later(), WEB2).after([first()]).idle(27),
        passes("and not longer: identifications come again", later(), Reason::UnknownFragment).after([first()]).idle(28),
        passes("a fragment's real server was freed", later(), Reason::UnknownFragment)
            .after([first()]).before(Before::Remove(dns, WEB2)).before(Before::Free),
        forwards("a fragment's real server was only taken out", later(), WEB2)
            .after([first()]).before(Before::Remove(dns, WEB2)),
        passes("a fragment for another machine's MAC", later().to([2, 0, 0, 0, 0, 2]), Reason::OtherMac).after([first()]),
        passes("a fragment with TTL 1", later().ttl(1), Reason::TtlExceeded).after([first()]),
        passes("a fragment of what is not balanced", Frame::udp(client(1000), vip(99), &[7; 56]).later_fragment(32, false), Reason::UnknownFragment)
            .after([Frame::udp(client(1000), vip(99), &[7; 56]).first_fragment(32)]),
        passes("a first fragment too short for its ports' header", datagram().first_fragment(7), Reason::Malformed),
        drops("a first fragment to an unresolved real server", Frame::udp(client(1000), vip(5353), &[7; 56]).first_fragment(32), Reason::NeighbourUnresolved)
            .before(Before::Link(WEB2, None)),
        drops("and the one that follows it", later(), Reason::NeighbourUnresolved)
            .before(Before::Link(WEB2, None)).after([first()]),
        opens("IPv6: an atomic fragment is a whole packet", datagram6().extension(44, &[0, 0, 0, 0, 0, 0, 9]), WEB2_6, FD),
        // Extension headers.
        opens("hop-by-hop options are looked through", syn6().extension(HOP_BY_HOP, &PAD), WEB1_6, SR),
        opens("destination options are looked through", syn6().extension(OPTIONS, &PAD), WEB1_6, SR),
        opens("a routing header is looked through", syn6().extension(ROUTING, &[0, 4, 0, 0, 0, 0, 0]), WEB1_6, SR),
        opens("a header of 16 bytes is looked through", syn6().extension(OPTIONS, &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), WEB1_6, SR),
        opens("four headers are looked through", syn6().extension(HOP_BY_HOP, &PAD).extension(OPTIONS, &PAD)
            .extension(ROUTING, &[0, 4, 0, 0, 0, 0, 0]).extension(OPTIONS, &PAD), WEB1_6, SR),
        passes("five are not", syn6().extension(HOP_BY_HOP, &PAD).extension(OPTIONS, &PAD)
            .extension(ROUTING, &[0, 4, 0, 0, 0, 0, 0]).extension(OPTIONS, &PAD).extension(OPTIONS, &PAD), Reason::ExtensionHeader),
        passes("an authentication header hides the ports", syn6().extension(AUTHENTICATION, &[4; 23]), Reason::NoVirtualServer),
        passes("no next header: nothing to balance", Frame::ip(client6(1).ip(), vip6(80).ip(), NO_NEXT, vec![]), Reason::NoVirtualServer),
        passes("an extension header longer than the packet", syn6().extension(OPTIONS, &[9, 1, 4, 0, 0, 0, 0]), Reason::Malformed),
        passes("a packet that ends in an extension header", Frame::ip(client6(1).ip(), vip6(80).ip(), OPTIONS, vec![6]), Reason::Malformed),
        passes("a packet that ends in a fragment header", Frame::ip(client6(1).ip(), vip6(80).ip(), 44, vec![6, 0, 0, 1]), Reason::Malformed),
        passes("extension headers that leave too little for TCP", syn6().extension(OPTIONS, &PAD).payload(19), Reason::Malformed),
        forwards("options before a later fragment's header", datagram6().extension(HOP_BY_HOP, &PAD).later_fragment(32, false), WEB2_6)
            .after([first6()]),
    ]
}

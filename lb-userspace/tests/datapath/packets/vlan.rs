//! VLAN tags: kept where the real server is on the same VLAN, else changed, added or taken away.

use lb_common::conn::State;
use lb_common::verdict::Reason;

use crate::harness::case::{Before, Case, follows, opens, passes};
use crate::harness::frame::{ACK, C_TAG, Frame, S_TAG, SYN};
use crate::harness::world::{FAR, Server, TAGGED, TAGGED_6, WEB1, WEB1_6, client, client6, link, vip, vip6};

const SR: State = State::SYN_RECEIVED;

fn syn(port: u16) -> Frame {
    Frame::tcp(client(1000), vip(port), SYN)
}

fn syn6(port: u16) -> Frame {
    Frame::tcp(client6(1000), vip6(port), SYN)
}

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    let far_tagged = Server { vlan: 100, ..FAR };
    vec![
        opens("on the real server's VLAN the tag stays", syn(82).tag(C_TAG, 8), TAGGED, SR),
        opens("its priority bits stay", syn(82).tag(C_TAG, 0xa008), TAGGED, SR),
        opens("IPv6: on the real server's VLAN the tag stays", syn6(82).tag(C_TAG, 8), TAGGED_6, SR),
        opens("from another VLAN the id changes and the priority bits stay", syn(82).tag(C_TAG, 0xa009), TAGGED, SR)
            .out(syn(82).forwarded(&TAGGED).tag(C_TAG, 0xa008)),
        opens("IPv6: from another VLAN the id changes", syn6(82).tag(C_TAG, 9), TAGGED_6, SR)
            .out(syn6(82).forwarded(&TAGGED_6).tag(C_TAG, 8)),
        opens("an untagged frame to a real server on a VLAN gets a tag", syn(82), TAGGED, SR)
            .out(syn(82).forwarded(&TAGGED).tag(C_TAG, 8)),
        opens("IPv6: an untagged frame gets a tag", syn6(82), TAGGED_6, SR)
            .out(syn6(82).forwarded(&TAGGED_6).tag(C_TAG, 8)),
        opens("a tagged frame to an untagged real server loses its tag", syn(80).tag(C_TAG, 9), WEB1, SR)
            .out(syn(80).forwarded(&WEB1).untagged()),
        opens("IPv6: a tagged frame loses its tag", syn6(80).tag(C_TAG, 9), WEB1_6, SR)
            .out(syn6(80).forwarded(&WEB1_6).untagged()),
        opens("a priority tag (VLAN 0) stays for an untagged real server", syn(80).tag(C_TAG, 0xe000), WEB1, SR),
        opens("a priority tag becomes the real server's VLAN", syn(82).tag(C_TAG, 0xe000), TAGGED, SR)
            .out(syn(82).forwarded(&TAGGED).tag(C_TAG, 0xe008)),
        opens("a service tag (802.1ad) is a tag", syn(82).tag(S_TAG, 8), TAGGED, SR),
        opens("of two tags the outer one changes", syn(82).tag(C_TAG, 5).tag(S_TAG, 9), TAGGED, SR)
            .out(syn(82).forwarded(&TAGGED).tag(C_TAG, 5).tag(S_TAG, 8)),
        opens("of two tags the outer one goes", syn(80).tag(C_TAG, 5).tag(S_TAG, 9), WEB1, SR)
            .out(syn(80).forwarded(&WEB1).tag(C_TAG, 5)),
        follows("a connection's real server that moved to a VLAN", Frame::tcp(client(1000), vip(80), ACK), WEB1, State::ESTABLISHED)
            .after([syn(80)])
            .before(Before::Link(WEB1, Some(link(&Server { vlan: 4094, ..WEB1 }))))
            .out(Frame::tcp(client(1000), vip(80), ACK).forwarded(&WEB1).tag(C_TAG, 4094)),
        opens("another interface and a VLAN there", syn(81), FAR, SR)
            .before(Before::Link(FAR, Some(link(&far_tagged))))
            .out(syn(81).forwarded(&far_tagged).tag(C_TAG, 100)),
        opens("padding stays behind when a tag is added", syn(82).padding(6), TAGGED, SR)
            .out(syn(82).padding(6).forwarded(&TAGGED).tag(C_TAG, 8)),
        passes("three tags are more than are followed", syn(80).tag(C_TAG, 1).tag(C_TAG, 2).tag(C_TAG, 3), Reason::NotIp),
        passes("ARP on a VLAN", syn(80).ethertype(0x0806).tag(C_TAG, 8), Reason::NotIp),
        passes("a frame cut off in its tag", syn(80).tag(C_TAG, 8).cut(16), Reason::Malformed),
        passes("a frame cut off behind its tag's control field", syn(80).tag(C_TAG, 8).cut(17), Reason::Malformed),
        passes("a frame cut off behind its tag", syn(80).tag(C_TAG, 8).cut(18), Reason::Malformed),
        passes("a frame cut off in its second tag", syn(80).tag(C_TAG, 5).tag(S_TAG, 8).cut(21), Reason::Malformed),
        passes("a tagged frame for another machine", syn(80).tag(C_TAG, 8).to([2, 0, 0, 0, 0, 2]), Reason::OtherMac),
    ]
}

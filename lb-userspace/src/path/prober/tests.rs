//! What answers mean, and whose.

use super::*;

const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 4, 15));

fn question(protocol: u8) -> Question {
    let real_server = IpAddr::from([192, 168, 4, 100]);
    Question { vip: VIP, port: 80, protocol, real_server, timeout: Duration::from_secs(2) }
}

fn judged(answer: Answer, from: IpAddr, mac: u8) -> Judged {
    let from_mac = [2, 0, 0, 0, 4, mac];
    let to = IpAddr::from([192, 168, 4, 2]);
    let way = Way { to_mac: [2, 0, 0, 0, 4, 100], from_mac: [2, 0, 0, 0, 4, 2], vlan: 0, to: VIP, from: to };
    judge(&question(6), &way, &Heard { from_mac, from, to, token: 1, answer })
}

#[test]
fn only_the_real_server_itself_can_answer() {
    let accepted = Answer::SynAck { port: 80, reset_with: 9 };
    let rip = question(6).real_server;
    assert_eq!(judged(accepted, VIP, 100), Judged::Good { reset_with: Some(9) });
    assert_eq!(judged(accepted, VIP, 200), Judged::Nothing, "another real server answers for it");
    assert_eq!(judged(accepted, rip, 100), Judged::Nothing, "it answers as itself");
    assert_eq!(judged(Answer::SynAck { port: 81, reset_with: 9 }, VIP, 100), Judged::Nothing);
    assert_eq!(judged(Answer::Reset { port: 80 }, VIP, 100), Judged::PortClosed);
    assert_eq!(judged(Answer::Echo, VIP, 100), Judged::Good { reset_with: None });
    assert_eq!(judged(Answer::Echo, rip, 100), Judged::Nothing);
    assert_eq!(judged(Answer::TimeExceeded { about: VIP }, rip, 100), Judged::Bad(Finding::Forwards));
    assert_eq!(judged(Answer::Unreachable { about: VIP }, rip, 100), Judged::Bad(Finding::Unreachable));
    assert_eq!(judged(Answer::PortUnreachable { about: VIP }, VIP, 100), Judged::PortClosed);
    assert_eq!(
        judged(Answer::TimeExceeded { about: rip }, rip, 100),
        Judged::Nothing,
        "about something else"
    );
}

#[test]
fn findings_read_well() {
    let latency = Duration::from_micros(400);
    for (finding, text, good) in [
        (Finding::Answered(latency), "the VIP answers in 0.4 ms", Some(true)),
        (Finding::Refused(latency), "the VIP is there, but its port is closed (0.4 ms)", Some(false)),
        (
            Finding::Silent(Duration::from_secs(2)),
            "no answer from the VIP within 2s: it is not on its lo, or a filter drops its packets",
            Some(false),
        ),
        (Finding::Local, "is this director", Some(true)),
        (Finding::Unresolved(Reason::Incomplete), "is being resolved", None),
    ] {
        assert_eq!((finding.to_string().as_str(), finding.is_good()), (text, good));
    }
}

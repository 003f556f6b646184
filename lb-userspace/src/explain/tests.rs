use std::collections::BTreeMap;

use lb_common::conn::State;
use lb_common::layout::SchedulerCode;
use lb_common::memory::{MemoryTables, Sizes};

use super::*;
use crate::plane::applied::Applied;
use crate::plane::apply::{Hop, Hops, apply};
use crate::plane::desired::{Desired, DesiredServer, DesiredService, ServerKey};
use crate::plane::plan::{Limits, plan};

const MAC: MacAddress = [2, 0, 0, 0, 0, 0x15];

/// A director with a `wrr` virtual server 1:2, on interface 2.
fn director() -> MemoryTables {
    director_with(|_| {})
}

fn director_with(change: impl Fn(&mut DesiredService)) -> MemoryTables {
    let mut tables = MemoryTables::new(
        Sizes { services: 16, destinations: 64, ring_words: 1024, buckets: 64, ..Sizes::default() },
        1,
    );
    assert!(tables.add_interface(2, MAC));
    let key = |text: &str| {
        let address: SocketAddr = text.parse().unwrap();
        ServerKey { address: address.ip(), port: address.port() }
    };
    let servers =
        vec![DesiredServer::new(key("192.168.4.100:80"), 1), DesiredServer::new(key("192.168.4.200:80"), 2)];
    let mut service = DesiredService::new(SchedulerCode::Wrr, servers);
    change(&mut service);
    let name = ServiceKey { protocol: protocol::TCP, address: [192, 168, 4, 15].into(), port: 80 };
    let desired = Desired { services: BTreeMap::from([(name, service)]), ..Desired::default() };
    let mut hops = Hops::new();
    for (last, interface) in [(100, 2), (200, 3)] {
        let link = Hop::Link { to: [2, 0, 0, 0, 0, last], from: MAC, interface, vlan: 0 };
        hops.insert([192, 168, 4, last].into(), link);
    }
    let limits = Limits { servers: 64, services: 16, ring_words: 1024 };
    let steps = plan(&Applied::read(&tables), &desired, limits, 0).unwrap();
    apply(&mut tables, &steps, &hops).unwrap();
    tables
}

fn question(client: &str, address: &str) -> Question {
    Question {
        client: client.parse().unwrap(),
        virtual_server: address.parse().unwrap(),
        udp: false,
        midstream: None,
        interface: None,
    }
}

/// Everything that a packet could change.
fn state(tables: &MemoryTables) -> String {
    let MemoryTables { schedules, rings, destinations, connections4, .. } = tables;
    let traffic: Vec<_> = (0..64).map(|id| tables.traffic(id)).collect();
    let reasons: Vec<_> = Reason::ALL.iter().map(|reason| tables.reason(*reason)).collect();
    format!("{schedules:?}{rings:?}{destinations:?}{connections4:?}{traffic:?}{reasons:?}")
}

#[test]
fn says_what_then_happens_and_changes_nothing() {
    let tables = director();
    for turn in 0..7u16 {
        let client = format!("192.168.4.10:{}", 40_000 + turn);
        let asked = question(&client, "192.168.4.15:80");
        let before = state(&tables);
        let said = explain(&tables, &asked).unwrap();
        assert_eq!(explain(&tables, &asked).unwrap(), said, "asking twice");
        assert_eq!(state(&tables), before, "nothing has changed");
        assert!(matches!(said.choice, Some(Choice::Ring { slots: 3, .. })), "{said:?}");

        let frame =
            Frame { to: MAC, client: asked.client, virtual_server: asked.virtual_server, kind: Kind::Syn };
        let mut packet = MemoryPacket::new(frame.bytes(), 2);
        let verdict = forward(&mut packet, &tables);
        let out = said.out.clone().unwrap();
        assert_eq!(packet.bytes().first_chunk::<6>(), Some(&out.destination_mac));
        let last = *packet.bytes().get(5).unwrap();
        assert_eq!(said.real_server.unwrap().address.to_string(), format!("192.168.4.{last}:80"));
        assert_eq!(out.ttl, Some(63));
        match verdict {
            Verdict::Transmit => assert_eq!((said.verdict, out.interface, last), ("transmit", 2, 100)),
            Verdict::Redirect(index) => {
                assert_eq!((said.verdict, out.interface, last), ("redirect", index, 200))
            }
            Verdict::Pass(_) | Verdict::Drop(_) | Verdict::Next(_) => panic!("{verdict:?}"),
        }

        // From now on there is an entry.
        let said = explain(&tables, &asked).unwrap();
        assert_eq!(said.packet, "TCP ACK");
        let state = State::SYN_RECEIVED.as_str();
        assert!(
            matches!(said.choice, Some(Choice::Connection { state: found, expires_in_seconds: 59..=60 }) if found == state),
            "{said:?}"
        );
        assert_eq!(said.real_server.unwrap().address.to_string(), format!("192.168.4.{last}:80"));
    }
    // A port that is free is found without being told.
    let said = explain(&tables, &question("192.168.4.10:0", "192.168.4.15:80")).unwrap();
    assert_eq!((said.packet, said.client.port()), ("TCP SYN", 32_768));
}

#[test]
fn names_why_a_packet_goes_nowhere() {
    let tables = director();
    let said = explain(&tables, &question("192.168.4.10:1", "192.168.4.15:81")).unwrap();
    assert_eq!((said.verdict, &said.reasons[..]), ("pass", &["no-virtual-server"][..]));
    assert_eq!((said.virtual_server, said.real_server), (None, None));
    let unresolved = Hops::new();
    crate::plane::apply::follow_hops(
        &tables,
        &unresolved,
        &[[192, 168, 4, 100].into(), [192, 168, 4, 200].into()].into(),
    );
    let said = explain(&tables, &question("192.168.4.10:1", "192.168.4.15:80")).unwrap();
    assert_eq!((said.verdict, &said.reasons[..]), ("drop", &["neighbour-unresolved"][..]));
    assert!(said.real_server.is_some(), "{said:?}");
    assert_eq!(
        explain(&tables, &question("[fd00::1]:1", "192.168.4.15:80")).unwrap_err(),
        Unexplained::Families {
            client: "[fd00::1]:1".parse().unwrap(),
            virtual_server: "192.168.4.15:80".parse().unwrap()
        }
    );
    let elsewhere = Question { interface: Some(9), ..question("192.168.4.10:1", "192.168.4.15:80") };
    assert_eq!(explain(&tables, &elsewhere).unwrap_err(), Unexplained::NoInterface);
}

#[test]
fn is_written_for_people_and_programs() {
    let tables = director();
    let said = explain(&tables, &question("192.168.4.10:40000", "192.168.4.15:80")).unwrap();
    let mut text = Vec::new();
    write(&said, |index| format!("eth{index}"), &mut text).unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "packet          TCP SYN from 192.168.4.10:40000 to 192.168.4.15:80, in on eth2\n\
         virtual server  192.168.4.15:80/tcp wrr\n\
         chosen by       the scheduler: slot 2 of 3 in its round\n\
         real server     192.168.4.200:80 weight 2\n\
         frame           to 02:00:00:00:00:c8 from 02:00:00:00:00:15, TTL 63, out of eth3\n\
         verdict         redirect\n"
    );
    let json = serde_json::to_value(&said).unwrap();
    assert_eq!(json["out"]["destination_mac"], "02:00:00:00:00:c8");
    assert_eq!(json["choice"]["ring"]["slot"], 1);
    assert_eq!(json["choice"]["ring"]["by"], "round");
}

fn lines(said: &Explanation) -> Vec<String> {
    let mut text = Vec::new();
    write(said, |index| format!("eth{index}"), &mut text).unwrap();
    String::from_utf8(text).unwrap().lines().map(|line| line.replace("  ", "")).collect()
}

/// Lets the packet of a question through, as the datapath would.
fn send(tables: &MemoryTables, asked: &Question) {
    let frame =
        Frame { to: MAC, client: asked.client, virtual_server: asked.virtual_server, kind: Kind::Syn };
    let verdict = forward(&mut MemoryPacket::new(frame.bytes(), 2), tables);
    assert!(matches!(verdict, Verdict::Transmit | Verdict::Redirect(_)), "{verdict:?}");
}

#[test]
fn names_what_a_scheduler_compares() {
    let tables = director_with(|service| service.scheduler = SchedulerCode::Wlc);
    let asked = question("192.168.4.10:40000", "192.168.4.15:80");
    send(&tables, &asked);
    let said = explain(&tables, &question("192.168.4.10:40001", "192.168.4.15:80")).unwrap();
    assert_eq!(said.choice, Some(Choice::Scheduler));
    let compared: Vec<_> =
        said.compared.iter().map(|found| (found.address.to_string(), found.weight, found.active)).collect();
    // Nobody has answered: IPVS counts SYN_RECV as active.
    assert_eq!(
        compared,
        [("192.168.4.100:80".to_owned(), 1, 0), ("192.168.4.200:80".to_owned(), 2, 1)],
        "the heavier had the first"
    );
    assert_eq!(said.real_server.unwrap().address.to_string(), "192.168.4.100:80");
    let text = lines(&said).join("\n");
    assert!(text.contains("the least of (256 times active plus inactive) by weight"), "{text}");
    assert!(text.contains("192.168.4.200:80 weight 2, 1 active, 0 inactive"), "{text}");
}

#[test]
fn says_whether_a_real_server_serves_the_address_already() {
    let tables = director_with(|service| service.scheduler = SchedulerCode::Lblc);
    let asked = |port| question(&format!("192.168.4.10:{port}"), "192.168.4.15:80");
    let said = explain(&tables, &asked(1)).unwrap();
    assert_eq!(said.choice, Some(Choice::Scheduler));
    assert!(
        lines(&said).join("\n").contains("none that serves this virtual address can; the least"),
        "{said:?}"
    );
    // The heavier comes first; as the second of two connections it is not the least loaded any more.
    send(&tables, &asked(1));
    let before = format!("{:?}{:?}", tables.rings, tables.virtuals);
    let said = explain(&tables, &asked(2)).unwrap();
    assert_eq!(format!("{:?}{:?}", tables.rings, tables.virtuals), before, "nothing has changed");
    assert_eq!(said.choice, Some(Choice::Locality));
    let text = lines(&said).join("\n");
    assert!(text.contains("it serves this virtual address"), "{text}");
    assert!(text.contains("192.168.4.200:80 weight 2, 1 active, 0 inactive"), "{text}");
}

#[test]
fn tells_hashes_from_turns() {
    let hashed = director_with(|service| service.scheduler = SchedulerCode::Sh);
    let said = explain(&hashed, &question("192.168.4.10:1", "192.168.4.15:80")).unwrap();
    assert!(matches!(said.choice, Some(Choice::Ring { by: By::Client, slots: 256, .. })), "{said:?}");
    let midstream = Question { midstream: Some(true), ..question("192.168.4.10:1", "192.168.4.15:80") };
    let said = explain(&director(), &midstream).unwrap();
    assert_eq!(said.reasons, ["mid-stream"]);
    assert!(matches!(said.choice, Some(Choice::Ring { by: By::Flow, .. })), "{said:?}");
}

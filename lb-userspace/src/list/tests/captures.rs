//! Every listing that was captured from ipvsadm, read back into rows and written again: the layout is equal to the
//! last blank. (`golden` compares listings of tables; here are the kinds that the tables do not have.)

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use lb_common::layout::Traffic;

use super::super::rates::Rate;
use super::super::rows::{Entry, Row};
use super::super::text::{self, Look, Resolve};
use super::golden::{any_port, assert_same_connections, is_of_any_port, protocol_of};
use super::{Director, service_key};
use crate::edits::Origin;
use crate::ipvsadm::{self, Command, Forwarding, NoNames, Server, Service, ServiceKey, Transport, Tunnel};

/// The captures' virtual servers, and the limits that ipvsadm -S leaves out.
fn all_kinds() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in include_str!("../golden/captures/Sn__service-options__all-kinds.txt").lines() {
        let command = ipvsadm::parse(&ipvsadm::words(line), &NoNames).unwrap();
        if let Command::AddService(service) = command {
            entries.push(entry(service));
        } else if let Command::AddServer(key, server) = command {
            let entry = entries.iter_mut().find(|entry| entry.service.key == key).unwrap();
            entry.rows.push(row(server));
        } else {
            panic!("{command:?}");
        }
    }
    let limited =
        &mut entries.iter_mut().find(|entry| entry.service.persistent == Some(300)).unwrap().rows[0];
    (limited.server.upper_threshold, limited.server.lower_threshold) = (100, 80);
    entries
}

fn entry(service: Service) -> Entry {
    Entry {
        service,
        traffic: Traffic::default(),
        rate: Rate::default(),
        origin: Origin::File,
        rows: Vec::new(),
    }
}

fn row(server: Server) -> Row {
    Row {
        server,
        instead: None,
        is_unreachable: false,
        active: 0,
        inactive: 0,
        persistent: 0,
        traffic: Traffic::default(),
        rate: Rate::default(),
        origin: Origin::File,
    }
}

fn written(entries: &[Entry], kind: &str, exact: bool) -> String {
    listed(entries, kind, &Look { exact, color: false, marks: true, names: None })
}

fn listed(entries: &[Entry], kind: &str, look: &Look<'_>) -> String {
    let mut out = b"IP Virtual Server version 1.2.1 (size=4096)\n".to_vec();
    match kind {
        "Ln" | "Ln-nosort" => text::connections_per_server(entries, look, &mut out),
        "Ln-stats" => text::stats(entries, look, &mut out),
        "Ln-rate" => text::rates(entries, look, &mut out),
        "Ln-thresholds" => text::thresholds(entries, look, &mut out),
        "Ln-persistent-conn" => text::persistent(entries, look, &mut out),
        "Ln-tun-info" => text::tunnels(entries, look, &mut out),
        other => panic!("{other}"),
    }
    .unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn all_kinds_of_virtual_servers() {
    let mut seen = 0;
    for (name, capture) in captures() {
        let Some((kind, "all-kinds")) = name.split_once("__service-options__") else { continue };
        if kind == "Sn" || kind == "Ln-nosort" {
            continue;
        }
        let exact = kind.ends_with("-exact");
        assert_eq!(written(&all_kinds(), kind.trim_end_matches("-exact"), exact), capture, "{name}");
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn an_empty_table() {
    let capture = include_str!("../golden/captures/Ln__service-options__none.txt");
    assert_eq!(written(&[], "Ln", false), capture);
}

#[test]
fn unsorted_is_the_order_of_the_rows() {
    let (_, capture) = captures().into_iter().find(|(name, _)| name.starts_with("Ln-nosort__")).unwrap();
    let mut entries = all_kinds();
    // The kernel's order of virtual servers is that of its hash table.
    entries.sort_by_key(|entry| capture.find(&format!("{} ", shown_name(entry))));
    for entry in &mut entries {
        entry.rows.reverse();
    }
    assert_eq!(written(&entries, "Ln-nosort", false), capture);
}

fn shown_name(entry: &Entry) -> String {
    match entry.service.key {
        ServiceKey::Address(transport, address) => {
            format!("{:<4} {address}", transport.name().to_uppercase())
        }
        ServiceKey::Fwmark { mark, .. } => format!("FWM  {mark}"),
    }
}

/// The listings of the lab's two real servers.
#[test]
fn every_capture_of_the_lab() {
    let mut seen = 0;
    for (name, capture) in captures() {
        let Some((kind, _)) = name.split_once("__dr-wrr-1-2__") else { continue };
        if kind.starts_with("Lcn") {
            let mut director = Director::new();
            serve_all(&mut director, &capture);
            assert_same_connections(&mut director, &capture, kind == "Lcn-persistent-conn");
            seen += 1;
            continue;
        }
        let exact = kind.ends_with("-exact");
        let kind = kind.trim_end_matches("-exact");
        assert_eq!(written(&read(&capture, kind), kind, exact), capture, "{name}");
        seen += 1;
    }
    assert!(seen >= 39, "{seen}");
}

/// Reads a listing back. Those with counters do not name schedulers, methods and weights, nor do they show them again.
fn read(capture: &str, kind: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let is_row =
        |line: &&str| !["IP Virtual", "Prot ", "  -> Remote"].iter().any(|title| line.starts_with(title));
    for line in capture.lines().filter(is_row) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = |index: usize| number(words[index]);
        let (mut traffic, mut rate) = (Traffic::default(), Rate::default());
        if matches!(kind, "Ln-stats" | "Ln-rate") {
            let [connections, packets, out_packets, bytes, out_bytes] = [2, 3, 4, 5, 6].map(at);
            traffic = Traffic { connections, packets, bytes, out_packets, out_bytes };
            rate = Rate { connections, packets, bytes, out_packets, out_bytes };
        }
        if words[0] != "->" {
            entries.push(Entry { traffic, rate, ..entry(service(&words, kind)) });
            continue;
        }
        let narrow = |number: u64| u32::try_from(number).unwrap();
        let mut server = Server {
            address: words[1].replace(":http", ":80").parse().unwrap(),
            forwarding: Forwarding::DirectRouting,
            weight: 0,
            upper_threshold: 0,
            lower_threshold: 0,
        };
        let (mut active, mut inactive, mut persistent) = (0, 0, 0);
        match kind {
            "Ln-stats" | "Ln-rate" => {}
            "Ln-thresholds" => {
                (server.upper_threshold, server.lower_threshold) = (narrow(at(2)), narrow(at(3)));
                (active, inactive) = (at(4), at(5));
            }
            "Ln-persistent-conn" => {
                (server.weight, persistent, active, inactive) = (narrow(at(2)), at(3), at(4), at(5));
            }
            _ => {
                server.forwarding = match words[2] {
                    "Route" => Forwarding::DirectRouting,
                    "Masq" => Forwarding::Masquerading,
                    "Tunnel" => Forwarding::Tunnel(Tunnel::Ipip),
                    other => panic!("{other}"),
                };
                (server.weight, active, inactive) = (narrow(at(3)), at(4), at(5));
            }
        }
        let last = entries.last_mut().unwrap();
        last.rows.push(Row { active, inactive, persistent, traffic, rate, ..row(server) });
    }
    entries
}

/// The virtual server of a listed line: `TCP 192.168.4.15:80 wrr persistent 60 mask 255.255.255.0`.
fn service(words: &[&str], kind: &str) -> Service {
    let option = match words[0] {
        "TCP" => "-t",
        "UDP" => "-u",
        "FWM" => "-f",
        other => panic!("{other}"),
    };
    let mut rule = format!("-A {option} {}", words[1].replace(":http", ":80"));
    if !matches!(kind, "Ln-stats" | "Ln-rate") {
        rule += &format!(" -s {}", words[2]);
        let mut rest = words[3..].iter();
        while let Some(word) = rest.next() {
            rule += &match *word {
                "persistent" => format!(" -p {}", rest.next().unwrap()),
                "mask" => format!(" -M {}", rest.next().unwrap()),
                "ops" => " -o".to_owned(),
                flags => format!(" -b {}", flags.trim_matches(['(', ')'])),
            };
        }
    }
    match ipvsadm::parse(&ipvsadm::words(&rule), &NoNames) {
        Ok(Command::AddService(service)) => service,
        other => panic!("{rule}: {other:?}"),
    }
}

/// A number as it is listed, `400405K`: one that is listed so.
fn number(word: &str) -> u64 {
    let units = [('K', 1_000), ('M', 1_000_000), ('G', 1_000_000_000), ('T', 1_000_000_000_000)];
    let found = units.iter().find_map(|(unit, scale)| Some((word.strip_suffix(*unit)?, scale)));
    let (digits, scale) = found.unwrap_or((word, &1));
    digits.parse::<u64>().unwrap() * scale
}

/// Every other listing that was captured: NAT, tunnels, UDP, IPv6, marks, other schedulers, persistence, names.
#[test]
fn every_other_capture() {
    let mut seen = 0;
    for (command, capture) in listings() {
        let words: Vec<&str> = command.split_whitespace().collect();
        if words[1] == "-Lcn" {
            let mut director = Director::new();
            serve_all(&mut director, capture);
            assert_same_connections(&mut director, capture, words.contains(&"--persistent-conn"));
            seen += 1;
            continue;
        }
        let of_one = words.contains(&"-t");
        let option = words.iter().find(|word| word.starts_with("--") && **word != "--nosort");
        let kind = format!("Ln{}", option.map_or("", |option| option.strip_prefix('-').unwrap()));
        let look = Look {
            names: (words[1] == "-L").then_some(&PortNames as &dyn Resolve),
            ..Look { exact: false, color: false, marks: true, names: None }
        };
        let ours = listed(&read(capture, &kind), &kind, &look);
        let ours = if of_one { ours.split_once('\n').unwrap().1 } else { &ours };
        assert_eq!(ours, capture, "{command}");
        seen += 1;
    }
    assert_eq!(seen, 154);
}

/// The listings of `golden/listings.txt`, each with its command.
fn listings() -> Vec<(&'static str, &'static str)> {
    let all = include_str!("../golden/listings.txt");
    all.split("$ ").skip(1).map(|listing| listing.split_once('\n').unwrap()).collect()
}

/// Names of ports as in the lab's `/etc/services`; its hosts have none.
#[derive(Debug)]
struct PortNames;

impl Resolve for PortNames {
    fn name(&self, address: SocketAddr, _transport: Transport) -> String {
        match address.port() {
            80 => format!("{}:http", address.ip()),
            port => format!("{}:{port}", address.ip()),
        }
    }
}

/// Serves whatever the entries of a listing are of.
fn serve_all(director: &mut Director, capture: &str) {
    let mut services: BTreeMap<(u8, String), BTreeSet<String>> = BTreeMap::new();
    let is_any_port = is_of_any_port(capture);
    let name = |address: &str| if is_any_port { any_port(address) } else { address.to_owned() };
    for line in capture.lines().skip(2) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let key = (protocol_of(words[0]), name(words[4]));
        services.entry(key).or_default().insert(name(words[5]));
    }
    for ((protocol, service), servers) in services {
        let servers: Vec<_> = servers.iter().map(|server| (server.as_str(), 1)).collect();
        director.serve(protocol, &service, &servers);
        if capture.contains(" ASSURED ") {
            let timeout = std::time::Duration::from_secs(60);
            let service = director.desired.services.get_mut(&service_key(protocol, &service)).unwrap();
            service.persistence = Some(crate::config::Persistence { timeout, prefix: 32 });
        }
    }
    director.reach();
}

/// Name and contents of each capture.
fn captures() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/list/golden/captures");
    let mut captures: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    captures.sort();
    captures
}

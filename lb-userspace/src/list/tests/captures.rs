//! Every listing that was captured from ipvsadm, read back into rows and written again: the layout is equal to the
//! last blank. (`golden` compares listings of tables; here are the kinds that the tables do not have.)

use std::net::SocketAddr;
use std::path::Path;

use lb_common::layout::Traffic;

use super::super::rates::Rate;
use super::super::rows::{Entry, Row};
use super::super::text::{self, Look};
use crate::edits::Origin;
use crate::ipvsadm::{self, Command, Forwarding, NoNames, Server, Service, ServiceKey};

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
    let look = Look { exact, color: false, marks: true, names: None };
    let mut out = b"IP Virtual Server version 1.2.1 (size=4096)\n".to_vec();
    match kind {
        "Ln" | "Ln-nosort" => text::connections_per_server(entries, &look, &mut out),
        "Ln-stats" => text::stats(entries, &look, &mut out),
        "Ln-rate" => text::rates(entries, &look, &mut out),
        "Ln-thresholds" => text::thresholds(entries, &look, &mut out),
        "Ln-persistent-conn" => text::persistent(entries, &look, &mut out),
        "Ln-tun-info" => text::tunnels(entries, &look, &mut out),
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
            continue;
        }
        let exact = kind.ends_with("-exact");
        let kind = kind.trim_end_matches("-exact");
        assert_eq!(written(&read(&capture, kind), kind, exact), capture, "{name}");
        seen += 1;
    }
    assert!(seen >= 30, "{seen}");
}

/// Reads a listing back.
fn read(capture: &str, kind: &str) -> Vec<Entry> {
    let has_counters = kind == "Ln-stats" || kind == "Ln-rate";
    let mut entries: Vec<Entry> = Vec::new();
    for line in capture.lines().skip(3) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = |index: usize| number(words[index]);
        let (mut traffic, mut rate) = (Traffic::default(), Rate::default());
        if has_counters {
            let (connections, packets, bytes) = (at(2), at(3), at(5));
            traffic = Traffic { connections, packets, bytes, ..Traffic::default() };
            rate = Rate { connections, packets, bytes, ..Rate::default() };
        }
        if words[0] == "TCP" {
            let address: SocketAddr = words[1].parse().unwrap();
            let rule = format!("-A -t {address} -s wrr");
            let Ok(Command::AddService(service)) = ipvsadm::parse(&ipvsadm::words(&rule), &NoNames) else {
                panic!("{rule}")
            };
            entries.push(Entry { traffic, rate, ..entry(service) });
            continue;
        }
        let server = Server {
            address: words[1].parse().unwrap(),
            forwarding: Forwarding::DirectRouting,
            weight: if has_counters { 0 } else { u32::try_from(at(3)).unwrap() },
            upper_threshold: 0,
            lower_threshold: 0,
        };
        let [active, inactive] = if has_counters { [0, 0] } else { [at(4), at(5)] };
        entries.last_mut().unwrap().rows.push(Row { active, inactive, traffic, rate, ..row(server) });
    }
    entries
}

/// A number as it is listed, `400405K`: one that is listed so.
fn number(word: &str) -> u64 {
    let units = [('K', 1_000), ('M', 1_000_000), ('G', 1_000_000_000), ('T', 1_000_000_000_000)];
    let found = units.iter().find_map(|(unit, scale)| Some((word.strip_suffix(*unit)?, scale)));
    let (digits, scale) = found.unwrap_or((word, &1));
    digits.parse::<u64>().unwrap() * scale
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

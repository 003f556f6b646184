//! What run-time edits and `lbctl zero` do to a listing.

use serde_json::json;

use super::super::snapshot::Snapshot;
use super::super::zero::Baseline;
use super::*;
use crate::edits::Edits;

fn edited() -> Edits {
    serde_json::from_value(json!({"services": [
        {"name": {"protocol": "tcp", "address": "192.168.4.15:80"}, "change": {"edited": {"scheduler": "wrr"}},
         "servers": [{"address": "192.168.4.200:80", "change": {"edited": {"weight": 2}}},
                     {"address": "192.168.4.150:80", "change": "removed"}]},
        {"name": {"protocol": "tcp", "address": "192.168.4.15:7"}, "change": {"added": {}},
         "servers": [{"address": "192.168.4.100:7", "change": {"added": {"weight": 1}}}]},
        {"name": {"protocol": "udp", "address": "192.168.4.15:53"}, "change": "removed", "servers": []}]}))
    .unwrap()
}

#[test]
fn are_marked() {
    let mut director = Director::new();
    lab(&mut director, &[80, 7]);
    director.beside.edits = edited();
    let (listing, notes) = director.list_with(&["-n"], None);
    assert_eq!(
        listing.lines().skip(3).collect::<Vec<_>>(),
        [
            "TCP  192.168.4.15:7 wrr (added)",
            "  -> 192.168.4.100:7              Route   1      0          0          (added)",
            "  -> 192.168.4.200:7              Route   2      0          0         ",
            "TCP  192.168.4.15:80 wrr (changed)",
            "  -> 192.168.4.100:80             Route   1      0          0         ",
            "  -> 192.168.4.200:80             Route   2      0          0          (changed)",
        ]
    );
    assert_eq!(
        notes,
        "virtual server 192.168.4.15:53/udp is in the configuration, but was taken out at run time\n\
         virtual server 192.168.4.15:80/tcp: real server 192.168.4.150:80 is in the configuration, but was taken \
         out at run time\n"
    );
}

#[test]
fn are_in_the_json() {
    let mut director = Director::new();
    lab(&mut director, &[80, 7]);
    director.beside.edits = edited();
    let (listing, _) = director.list_with(&["--json"], None);
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    let at = |pointer: &str| listing.pointer(pointer).unwrap().clone();
    assert_eq!(at("/virtual_servers/0/origin"), "added");
    assert_eq!(at("/virtual_servers/0/real_servers/0/origin"), "added");
    assert_eq!(at("/virtual_servers/1/origin"), "changed");
    assert_eq!(at("/virtual_servers/1/real_servers/0/origin"), "file");
    assert_eq!(
        at("/taken_out"),
        json!({"virtual_servers": [{"protocol": "udp", "address": "192.168.4.15:53"}],
               "real_servers": [{"virtual_server": {"protocol": "tcp", "address": "192.168.4.15:80"},
                                 "address": "192.168.4.150:80"}]})
    );
}

/// As `ipvsadm -Z`: captured just before and just after.
#[test]
fn zero_subtracts_what_was_counted() {
    let mut director = Director::new();
    lab(&mut director, &[80, 7]);
    director.count(HTTP[0], 8, 47, 3268).count(HTTP[1], 16, 88, 6224).count(ECHO[0], 1, 6, 323);
    let snapshot = Snapshot::read(&director.tables).unwrap();
    director.beside.baseline.set(&snapshot, Some(&service_key(TCP, "192.168.4.15:80")));
    let listing = director.list(&["--stats"]);
    assert_eq!(rows(&listing)["192.168.4.15:80"], ["0"; 5]);
    assert_eq!(rows(&listing)["192.168.4.100:7"], ["1", "6", "0", "323", "0"], "only that one");
    director.count(HTTP[1], 1, 5, 300);
    assert_eq!(rows(&director.list(&["--stats"]))["192.168.4.200:80"], ["1", "5", "0", "300", "0"]);
    director.beside.baseline.set(&Snapshot::read(&director.tables).unwrap(), None);
    let listing = director.list(&["--stats"]);
    assert!(
        rows(&listing)
            .values()
            .filter(|row| row.len() == 5)
            .all(|row| row.iter().all(|number| *number == "0") || row.contains(&"Conns")),
        "{listing}"
    );

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("zero.json");
    assert_eq!(Baseline::read(&path), Baseline::default());
    director.beside.baseline.write(&path).unwrap();
    assert_eq!(Baseline::read(&path), director.beside.baseline);
}

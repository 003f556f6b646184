//! Nothing is dropped silently: every word of keepalived's grammar is known, in its block, and gets a line of the report.

use super::*;

/// The words of `vocabulary.txt`: the blocks around, the word, whether a block follows.
fn vocabulary() -> Vec<(Vec<&'static str>, &'static str, bool)> {
    let mut all = Vec::new();
    for line in include_str!("vocabulary.txt").lines() {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let (blocks, words) = line.split_once(':').unwrap_or_else(|| panic!("{line}"));
        let mut words = words.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let has_block = words.next_if_eq(&"{").is_some();
            all.push((blocks.split_whitespace().collect(), word, has_block));
        }
    }
    all
}

/// How a block is begun.
fn begun(block: &str) -> String {
    match block {
        "virtual_server" => "virtual_server 10.0.0.1 80 {\n".to_owned(),
        "real_server" => "real_server 10.0.0.2 80 {\n".to_owned(),
        "vrrp_script" | "vrrp_track_process" | "track_file" | "vrrp_sync_group" | "vrrp_instance"
        | "bfd_instance" | "garp_group" | "track_group" => format!("{block} a {{\n"),
        _ => format!("{block} {{\n"),
    }
}

#[test]
fn every_word_of_keepaliveds_grammar_gets_a_line() {
    let words = vocabulary();
    assert!(words.len() > 380, "{}", words.len());
    for (blocks, word, has_block) in words {
        let open: String = blocks.iter().map(|block| begun(block)).collect();
        let block = if has_block { " {\n}" } else { "" };
        let text = format!("{open}{word} 1 1{block}\n{}", "}\n".repeat(blocks.len()));
        let imported = imported(&text);
        let line = u32::try_from(blocks.len() + 1).unwrap();
        let of_it: Vec<_> =
            imported.report.findings.iter().filter(|found| found.place.line == line).collect();
        assert!(!of_it.is_empty(), "nothing is said of:\n{text}");
        for found in of_it {
            for wrong in [
                "does not know it",
                "belongs in",
                "must not come into force",
                "too many before",
                "no block can begin",
            ] {
                assert!(!found.message.contains(wrong), "{}\n{text}", imported.report.sentence(found));
            }
        }
    }
}

/// What follows a keyword is not lost either: each value of keepalived's grammar is taken, mended or refused by name.
#[test]
fn every_value_of_keepaliveds_grammar_is_known() {
    let in_service = |line: &str| service(line);
    for scheduler in
        ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "fo", "ovf", "sed", "nq", "twos"]
    {
        let imported = imported(&in_service(&format!("lb_algo {scheduler}\nlb_kind DR\nprotocol TCP")));
        let is_there = toml(&imported).contains(&format!("scheduler = \"{scheduler}\""));
        let is_refused = said(&imported, Fate::NotSupported)
            .iter()
            .any(|said| said.contains(&format!("lb_algo {scheduler}")));
        assert!(is_there != is_refused, "{scheduler}: {:#?}", imported.report.findings);
    }
    for (written, ours) in [
        ("lb_kind NAT", "forwarding = \"nat\""),
        ("lb_kind DR", "forwarding = \"dr\""),
        ("lb_kind TUN", "forwarding = \"tun\""),
        ("lb_kind TUN type ipip", "forwarding = \"tun\""),
        ("lvs_method DR", "forwarding = \"dr\""),
        ("lvs_sched sed", "scheduler = \"sed\""),
        ("protocol udp", "protocol = \"udp\""),
        ("persistence_timeout", "persistence_timeout = \"6m\""),
    ] {
        let imported = imported(&in_service(written));
        assert!(toml(&imported).contains(ours), "{written}:\n{}", imported.toml.text);
    }
    for (written, words) in [
        ("lb_kind TUN type gue port 6080", "gue"),
        ("lb_kind TUN type gre", "gre"),
        ("protocol SCTP", "SCTP"),
        ("persistence_engine sip", "persistence_engine sip"),
    ] {
        let imported = imported(&in_service(&format!("{written}\nlb_algo rr")));
        assert_said(&imported, Fate::NotSupported, &[words]);
    }
}

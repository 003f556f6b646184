//! The example files of `config/` and the reference of `docs/`.

use std::path::PathBuf;

use crate::config::notifications::SECTION as NOTIFICATIONS;
use crate::config::schema::{
    DIRECTOR, REAL_SERVER, ROOT, SECTIONS, Section, VIRTUAL_SERVER, VIRTUAL_SERVER_GROUP,
};
use crate::config::*;

fn repository() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), ".."].iter().collect()
}

fn example(name: &str) -> Config {
    let path = repository().join("config").join(name);
    Config::load(&path).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_example_is_accepted_without_a_warning() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(repository().join("config")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".toml") {
            continue;
        }
        let config = example(&name);
        assert!(config.warnings.is_empty(), "{name}: {:?}", config.warnings);
        let shows = !config.virtual_servers.is_empty() || !config.vrrp.instances.is_empty();
        assert!(shows, "{name} shows neither a virtual server nor a VRRP instance");
        names.push(name);
    }
    names.sort();
    assert_eq!(
        names,
        [
            "any-port.toml",
            "dr-ipv6.toml",
            "dr-two-web-servers.toml",
            "dr-udp-dns.toml",
            "full-nat.toml",
            "health-checks.toml",
            "public-web.toml",
            "vrrp-dual-master.toml",
            "vrrp-nginx-pair.toml",
            "vrrp-two-directors.toml",
        ]
    );
}

fn outline(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    for server in &config.virtual_servers {
        lines.push(format!("{server} {} {}", server.scheduler, server.forwarding));
        lines.extend(server.real_servers.iter().map(|real| format!("-> {real} {}", real.weight)));
    }
    lines
}

#[test]
fn the_examples_mean_what_their_names_say() {
    assert_eq!(
        outline(&example("dr-two-web-servers.toml")),
        ["192.168.4.15:80/tcp wrr dr", "-> 192.168.4.100:80 1", "-> 192.168.4.200:80 2"]
    );
    assert!(example("dr-ipv6.toml").virtual_servers.iter().any(|server| server.address.is_ipv6()));
    let dns = example("dr-udp-dns.toml");
    assert!(dns.virtual_servers.iter().any(|server| server.protocol == Protocol::Udp && server.port == 53));
    let checked = example("health-checks.toml");
    let checks: Vec<_> =
        checked.virtual_servers[0].real_servers.iter().map(|it| it.health.checks.len()).collect();
    assert_eq!(checks, [1, 3]);
    let full_nat = example("full-nat.toml");
    assert!(full_nat.virtual_servers.iter().all(|server| server.forwarding == Forwarding::FullNat));
    assert!(example("any-port.toml").virtual_servers.iter().any(|server| server.port == 0));
}

#[test]
fn the_reference_is_made_of_the_schema() {
    let text = std::fs::read_to_string(repository().join("docs/config.md")).unwrap();
    let made = crate::config::reference(&text);
    for (number, (committed, made)) in text.lines().zip(made.lines()).enumerate() {
        let remedy = "run `cargo run -p lb-userspace --example generate -- --reference docs/config.md`";
        assert_eq!(committed, made, "docs/config.md, line {}: {remedy}", number + 1);
    }
    assert_eq!(text, made);
    // Every section has its table, and every key but those that begin a section its row.
    for section in &SECTIONS[1..] {
        let heading = format!("## `{}`\n", section.header);
        let (_, below) = made.split_once(&heading).unwrap_or_else(|| panic!("{} is missing", section.header));
        let below = below.split("\n## ").next().unwrap();
        for key in section.keys.iter().filter(|key| !key.example.starts_with('[')) {
            assert!(below.contains(&format!("\n| `{}` | ", key.name)), "{}: {}", section.header, key.name);
        }
    }
    let headers: Vec<_> = SECTIONS[1..].iter().map(|section| section.header).collect();
    for key in ROOT.keys {
        assert!(headers.contains(&key.example), "{} has no section in docs/config.md", key.name);
    }
}

#[test]
fn the_examples_of_the_reference_are_accepted() {
    let text = std::fs::read_to_string(repository().join("docs/config.md")).unwrap();
    let blocks: Vec<_> =
        text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let config = Config::parse("docs/config.md", block).unwrap_or_else(|error| panic!("{error}"));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}

#[test]
fn the_example_line_of_every_key_is_accepted() {
    let line = |section: &Section| -> String {
        // What excludes something else that is there.
        let alone = ["group", "scheduler_flags", "one_packet", "source_addresses", "source_ports"];
        let keys = section.keys.iter().filter(|key| !alone.contains(&key.name));
        let lines: Vec<_> = keys.map(|key| key.example).filter(|example| !example.starts_with('[')).collect();
        format!("{}\n{}\n", section.header, lines.join("\n"))
    };
    let text = [
        line(&DIRECTOR),
        line(&NOTIFICATIONS),
        line(&VIRTUAL_SERVER),
        line(&REAL_SERVER),
        line(&VIRTUAL_SERVER_GROUP),
    ]
    .concat();
    let config = Config::parse("examples", &text).unwrap_or_else(|error| panic!("{error}"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn the_quick_start_is_accepted() {
    let text = std::fs::read_to_string(repository().join("docs/quick-start.md")).unwrap();
    let file = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = Config::parse("quick-start.toml", file).unwrap_or_else(|error| panic!("{error}"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!((config.virtual_servers.len(), config.vrrp.instances.len()), (1, 1));
}

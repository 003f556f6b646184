//! The example files of `config/keepalived/`, and the tables of the documentation.

use super::*;
use crate::import::keepalived::keywords::{BLOCKS, Becomes, Context, Keyword};

fn repository() -> std::path::PathBuf {
    [env!("CARGO_MANIFEST_DIR"), ".."].iter().collect()
}

fn example(name: &str, config_id: &str) -> Imported {
    let path = repository().join("config/keepalived").join(name);
    let options = Options { config_id: Some(config_id.to_owned()), ..Options::default() };
    import(&path, &options).unwrap()
}

#[test]
fn every_example_is_taken_over_whole() {
    let mut count = 0;
    for entry in std::fs::read_dir(repository().join("config/keepalived")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        for id in ["lvs1", "lvs2"] {
            let imported = example(&name, id);
            imported.config.as_ref().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(
                imported.report.count(Fate::NotSupported),
                0,
                "{name}: {:#?}",
                said(&imported, Fate::NotSupported)
            );
        }
        count += 1;
    }
    assert_eq!(count, 4);
}

#[test]
fn one_file_is_two_configurations() {
    let (one, two) = (example("dual-master.conf", "lvs1"), example("dual-master.conf", "lvs2"));
    let (one, two) = (one.config.unwrap(), two.config.unwrap());
    assert_eq!((one.director.router_id.as_str(), two.director.router_id.as_str()), ("lvs1", "lvs2"));
    let priorities = |config: &Config| config.vrrp.instances.iter().map(|i| i.priority).collect::<Vec<_>>();
    assert_eq!((priorities(&one), priorities(&two)), (vec![100, 80], vec![80, 100]));
    let names = |config: &Config| config.virtual_servers.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&one), ["192.168.4.131:80/tcp", "192.168.4.132:80/tcp"]);
    assert_eq!(names(&one), names(&two));
    let schedulers: Vec<_> = one.virtual_servers.iter().map(|server| server.scheduler.as_str()).collect();
    assert_eq!(schedulers, ["wrr", "rr"]);
}

#[test]
fn every_line_says_where_it_came_from() {
    let imported = example("web-pair-lvs1.conf", "lvs1");
    let text = &imported.toml.text;
    assert!(text.contains("\n    retries = 3  # ") && text.contains("web-pair-lvs1.conf:43\n"), "{text}");
    for (line, origin) in text.lines().zip(&imported.toml.origins) {
        assert_eq!(origin.is_some(), !line.is_empty() && !line.starts_with('#'), "{line}");
        assert!(origin.is_none() || line.contains("  # "), "{line}");
    }
}

/// The rows of the documentation's table for one block.
fn rows(context: Context) -> Vec<String> {
    let row = |keyword: &Keyword| {
        let mut names = vec![format!("`{}`", keyword.name)];
        names.extend(keyword.aliases.iter().map(|alias| format!("`{alias}`")));
        let becomes = match keyword.becomes {
            Becomes::Key(key) => format!("`{key}`"),
            Becomes::Otherwise("", why) => why.to_owned(),
            Becomes::Otherwise(key, why) => format!("`{key}`: {why}"),
            Becomes::Unneeded(why) => format!("not needed: {why}"),
            Becomes::NotSupported(why) => format!("**not supported**: {why}"),
        };
        format!("| {} | {becomes} |", names.join(", "))
    };
    context.all().map(row).collect()
}

/// `LBCTL_UPDATE_DOCS=1` writes the tables instead.
#[test]
fn the_documentation_has_every_keyword() {
    const BEGIN: &str = "<!-- keywords: written by the test of the importer -->\n";
    const END: &str = "<!-- end of keywords -->";
    let path = repository().join("docs/migrate-from-keepalived.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut tables = String::new();
    for (context, name) in BLOCKS {
        tables.push_str(&format!("\n### `{name}`\n\n| keyword | becomes |\n|---|---|\n"));
        for row in rows(*context) {
            tables.push_str(&row);
            tables.push('\n');
        }
    }
    tables.push('\n');
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    if std::env::var_os("LBCTL_UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{tables}{END}{after}")).unwrap();
        return;
    }
    assert!(written == tables, "run this test with LBCTL_UPDATE_DOCS=1");
}

/// Keywords whose value a word `1` is: any that can be left out without a missing brace is tried in its block.
#[test]
fn every_keyword_has_a_fate() {
    let head = |context: Context| match context {
        Context::GlobalDefs => ("global_defs {", "}"),
        Context::VrrpScript => ("vrrp_script s {", "}"),
        Context::TrackProcess => ("vrrp_track_process s {", "}"),
        Context::TrackFile => ("track_file s {", "}"),
        Context::SyncGroup => ("vrrp_sync_group g {", "}"),
        Context::Instance => ("vrrp_instance i {", "}"),
        Context::Authentication => ("vrrp_instance i { authentication {", "} }"),
        Context::VirtualServer => ("virtual_server 10.0.0.1 80 {", "}"),
        Context::RealServer => ("virtual_server 10.0.0.1 80 { real_server 10.0.0.2 80 {", "} }"),
        Context::TcpCheck => ("virtual_server 10.0.0.1 80 { real_server 10.0.0.2 80 { TCP_CHECK {", "} } }"),
        Context::HttpCheck => ("virtual_server 10.0.0.1 80 { real_server 10.0.0.2 80 { HTTP_GET {", "} } }"),
        Context::Url => {
            ("virtual_server 10.0.0.1 80 { real_server 10.0.0.2 80 { HTTP_GET { url {", "} } } }")
        }
        Context::SmtpCheck => {
            ("virtual_server 10.0.0.1 80 { real_server 10.0.0.2 80 { SMTP_CHECK {", "} } }")
        }
        Context::DnsCheck => ("virtual_server 10.0.0.1 80 { real_server 10.0.0.2 80 { DNS_CHECK {", "} } }"),
        Context::MiscCheck => {
            ("virtual_server 10.0.0.1 80 { real_server 10.0.0.2 80 { MISC_CHECK {", "} } }")
        }
        Context::UdpCheck => ("virtual_server 10.0.0.1 80 { real_server 10.0.0.2 80 { UDP_CHECK {", "} } }"),
        Context::FileCheck => {
            ("virtual_server 10.0.0.1 80 { real_server 10.0.0.2 80 { FILE_CHECK {", "} } }")
        }
        Context::Root
        | Context::GarpGroup
        | Context::TrackGroup
        | Context::AuthHmac
        | Context::Bfd
        | Context::Ssl
        | Context::SmtpHost
        | Context::PingCheck
        | Context::BfdCheck
        | Context::Addresses
        | Context::GroupAddresses
        | Context::Lines
        | Context::Words => ("", ""),
    };
    for (context, _) in BLOCKS {
        let (open, close) = head(*context);
        if open.is_empty() && *context != Context::Root {
            continue;
        }
        for keyword in context.all() {
            for value in ["1", "x", ""] {
                let words = vec![value; keyword.words.0.max(1)].join(" ");
                let block = if keyword.block.is_some() { "{\n}" } else { "" };
                let text = format!("{open}\n{} {words} {block}\n{close}\n", keyword.name);
                let imported = imported(&text);
                let has_fate = imported.report.findings.iter().any(|finding| finding.place.line == 2);
                assert!(has_fate, "nothing is said of:\n{text}{:#?}", imported.report.findings);
            }
        }
    }
}

mod examples;
mod grammar;
mod marks;
mod meaning;
mod mistakes;
mod vocabulary;

use super::*;
use crate::import::report::{Fate, Finding};

/// As the machine `lvs1` reads it.
fn imported(text: &str) -> Imported {
    marked(text, "")
}

/// The same, with `marks` as the firewall's rules, if there are any.
fn marked(text: &str, marks: &str) -> Imported {
    let options = Options { config_id: Some("lvs1".to_owned()), ..Options::default() };
    let source = Source { name: "marks.rules".to_owned(), text: marks.to_owned() };
    let marks = if marks.is_empty() { Vec::new() } else { vec![source] };
    import_text("keepalived.conf", text, &options, &marks)
}

/// The configuration, of which every line has lost its comment.
fn toml(imported: &Imported) -> String {
    let lines = imported.toml.text.lines().map(|line| line.split("  # ").next().unwrap().trim_end());
    lines.filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// The lines of the configuration that `text` becomes, without places.
fn lines(text: &str) -> Vec<String> {
    let imported = imported(text);
    if let Err(error) = &imported.config {
        panic!("{error}\n{}", imported.toml.text);
    }
    toml(&imported).lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// What became of the statements other than being taken, without the interfaces that are chosen.
fn said(imported: &Imported, fate: Fate) -> Vec<String> {
    let is_said = |finding: &&Finding| {
        finding.fate == fate && finding.subject != "interface" && finding.subject != "virtual_server"
    };
    imported.report.findings.iter().filter(is_said).map(|finding| imported.report.sentence(finding)).collect()
}

/// Asserts that some of what was said with this fate has all of `words` in one sentence.
fn assert_said(imported: &Imported, fate: Fate, words: &[&str]) {
    let all = said(imported, fate);
    let found = all.iter().any(|sentence| words.iter().all(|word| sentence.contains(word)));
    assert!(found, "{words:?} not in {all:#?}");
}

/// A virtual server with `inner` in it and one real server.
fn service(inner: &str) -> String {
    format!("virtual_server 192.168.4.15 80 {{\n{inner}\nreal_server 192.168.4.100 80 {{\nweight 1\n}}\n}}\n")
}

/// A virtual server that nothing is wrong with, with `inner` in its real server.
fn checked(inner: &str) -> String {
    format!(
        "virtual_server 192.168.4.15 80 {{\ndelay_loop 6\nlb_algo rr\nlb_kind DR\nprotocol TCP\n\
         real_server 192.168.4.100 80 {{\nweight 1\n{inner}\n}}\n}}\n"
    )
}

/// An instance that nothing is wrong with, with `inner` in it.
fn instance(inner: &str) -> String {
    let addresses =
        if inner.contains("virtual_ipaddress") { "" } else { "virtual_ipaddress {\n192.168.4.15\n}\n" };
    format!(
        "vrrp_instance VI_1 {{\nstate BACKUP\ninterface eth0\nvirtual_router_id 51\npriority 100\nadvert_int 1\n{inner}\n{addresses}}}\n"
    )
}

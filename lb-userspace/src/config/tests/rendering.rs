//! What people and programs read.

use super::parse_here;
use crate::config::*;

const FIVE_ERRORS: &str = include_str!("five-errors.toml");

#[test]
fn five_errors_read_well() {
    let error = parse_here(FIVE_ERRORS).unwrap_err();
    assert_eq!(error.to_string() + "\n", include_str!("five-errors.txt"));
}

#[test]
fn colour_adds_only_escape_sequences() {
    let error = parse_here(FIVE_ERRORS).unwrap_err();
    let colored = error.render(true);
    let mut plain = String::new();
    let mut rest = colored.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    assert!(colored.len() > plain.len());
    assert_eq!(plain, error.render(false));
}

#[test]
fn a_diagnostic_is_one_line_in_a_log() {
    let error = parse_here("[director]\ninterfaces = [\"eth0\"]\nxdp_mode = \"natve\"\n[[virtual_server]]\n")
        .unwrap_err();
    assert_eq!(
        error.diagnostics()[0].to_string(),
        "lbctl.toml:3:12: error: director.xdp_mode: \"natve\" is not an XDP mode; \
         did you mean \"native\"? use \"auto\", \"native\" or \"generic\""
    );
}

#[test]
fn a_diagnostic_serializes_with_its_places() {
    let text = "[director]\n  interfaces = [\"eth0\", \"eth0\"]\nvirtual_server = []\n[[virtual_server]]\n";
    let error = parse_here(&text.replace("virtual_server = []\n[[virtual_server]]\n", "")).unwrap_err();
    let diagnostic = error
        .diagnostics()
        .iter()
        .find(|d| d.severity == Severity::Error)
        .map(serde_json::to_value)
        .unwrap()
        .unwrap();
    assert_eq!(
        diagnostic,
        serde_json::json!({
            "severity": "error",
            "file": "lbctl.toml",
            "line": 2,
            "column": 25,
            "key": "director.interfaces[1]",
            "message": "\"eth0\" is listed twice",
            "help": "remove one of the two",
            "related": [{ "line": 2, "column": 17, "message": "first listed here" }],
        })
    );
}

#[test]
fn duplicates_far_apart_are_drawn_as_two_excerpts() {
    let mut text = super::DIRECTOR.to_owned();
    let server =
        "[[virtual_server]]\naddress = \"192.168.4.15:80\"\nreal_server = [{ address = \"192.168.4.1\" }]\n";
    text.push_str(server);
    text.push_str(&"# padding\n".repeat(2000));
    text.push_str(server);
    let rendered = parse_here(&text).unwrap_err().to_string();
    for expected in ["lbctl.toml:2006:11", "again here", "first listed here", "\n   3 | address"] {
        assert!(rendered.contains(expected), "{expected:?} is not in\n{rendered}");
    }
    assert!(rendered.lines().count() < 16, "{rendered}");
}

#[test]
fn columns_count_characters() {
    let error = parse_here("[director]\nrouter_id = \"Bär\"\ninterfaces = [\"ä\", 1]\n").unwrap_err();
    let diagnostic = &error.diagnostics()[1];
    assert_eq!((diagnostic.key.as_str(), diagnostic.column), ("director.interfaces[1]", Some(20)));
}

//! From what was typed to what is meant: what a check does. `checks_http` has the request of `http` and `https`.

use std::net::{IpAddr, SocketAddr};

use super::address::{self, Problem};
use super::checks::{Bytes, DnsProbe, Pattern, Probe, ProbeKind};
use super::checks_raw::RawCheck;
use super::checks_values::{bytes, flag, host_name, text};
use super::diagnostics::{Report, Span, quoted};
use super::raw::Field;
use super::schema::closest;
use crate::process::Script;

/// A check as typed, and the real server it is of (`None` if that is wrong).
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) raw: &'a RawCheck,
    pub(super) target: Option<(IpAddr, u16)>,
}

/// Every type, and the keys that only some types have.
const TYPES: [(&str, &[&str]); 10] = [
    ("tcp", &[]),
    ("http", HTTP),
    ("https", HTTPS),
    ("smtp", &["helo"]),
    ("dns", &["record_type", "name", "expect"]),
    ("udp", &["payload", "expect"]),
    ("ping", &[]),
    ("script", &["command", "user", "weight_by_exit"]),
    ("file", &["file"]),
    ("path", &[]),
];
const HTTP: &[&str] = &[
    "method",
    "path",
    "host",
    "status",
    "digest",
    "body",
    "body_regex",
    "headers",
    "http_version",
    "follow",
];
const HTTPS: &[&str] = &[
    "method",
    "path",
    "host",
    "status",
    "digest",
    "body",
    "body_regex",
    "headers",
    "http_version",
    "follow",
    "verify",
    "ca_file",
    "sni",
];
/// The keys that every type has.
const COMMON: &[&str] = &[
    "type",
    "interval",
    "timeout",
    "retries",
    "retry_delay",
    "warmup",
    "rise",
    "fall",
    "fast_interval",
    "weight",
];
/// The keys of types that use the network.
const NETWORK: &[&str] = &["connect", "source_address", "fwmark"];

/// keepalived's `DNS_CHECK` types and two more.
const RECORD_TYPES: [&str; 11] =
    ["A", "AAAA", "CNAME", "DNSKEY", "MX", "NS", "PTR", "RRSIG", "SOA", "SRV", "TXT"];
/// The greatest `SO_MARK`; 0 is none.
const MAX_MARK: u32 = u32::MAX;

/// A name that is nobody's (RFC 2606).
const HELO: &str = "lbctl.invalid";

pub(super) fn probe(asked: &Asked<'_>, report: &mut Report) -> Option<Probe> {
    let raw = asked.raw;
    let key = |name: &str| format!("{}.{name}", raw.path);
    let (word, span) = match &raw.kind {
        Field::Refused => return None,
        Field::Absent => {
            let names: Vec<_> = TYPES.iter().map(|(name, _)| *name).collect();
            report.error(
                &raw.span,
                key("type"),
                "is missing",
                format!("write type = \"tcp\", or another of: {}", names.join(", ")),
            );
            return None;
        }
        Field::Given(word, span) => (word.as_str(), span),
    };
    let Some((word, keys)) = TYPES.iter().find(|(name, _)| *name == word) else {
        unknown_type(word, span, &key("type"), report);
        return None;
    };
    let has_network = !matches!(*word, "script" | "file" | "path");
    for (given, place) in &raw.given {
        let fits = COMMON.contains(given) || keys.contains(given) || (has_network && NETWORK.contains(given));
        if !fits {
            let homes: Vec<_> =
                TYPES.iter().filter(|(_, keys)| keys.contains(given)).map(|(name, _)| *name).collect();
            let homes = if homes.is_empty() { "that use the network".to_owned() } else { homes.join(", ") };
            report.error(
                place,
                key(given),
                format!("a {word} check has no such key"),
                format!("remove it; it is for checks of type {homes}"),
            );
        }
    }
    let kind = kind(word, raw, report);
    let connect = connect(asked, word, report);
    let source = source(raw, connect.as_ref().ok().copied().flatten(), report);
    let fwmark = match &raw.fwmark {
        Field::Absent => Some(None),
        field @ (Field::Refused | Field::Given(..)) => {
            super::check::number(field, &key("fwmark"), (1, MAX_MARK), 1, report).map(Some)
        }
    };
    Some(Probe { kind: kind?, connect: connect.ok()??, source: source?, fwmark: fwmark? })
}

fn unknown_type(word: &str, span: &Span, key: &str, report: &mut Report) {
    const ALIASES: [(&str, &str); 12] = [
        ("tcp_check", "tcp"),
        ("http_get", "http"),
        ("ssl_get", "https"),
        ("ssl", "https"),
        ("smtp_check", "smtp"),
        ("dns_check", "dns"),
        ("udp_check", "udp"),
        ("ping_check", "ping"),
        ("icmp", "ping"),
        ("misc_check", "script"),
        ("exec", "script"),
        ("file_check", "file"),
    ];
    let lower = word.to_lowercase();
    let alias = ALIASES.iter().find(|(alias, _)| *alias == lower).map(|(_, ours)| *ours);
    let names: Vec<_> = TYPES.iter().map(|(name, _)| *name).collect();
    let help = match alias.or_else(|| closest(word, names.iter().copied())) {
        Some(meant) => format!("did you mean \"{meant}\"? use one of: {}", names.join(", ")),
        None => format!("use one of: {}", names.join(", ")),
    };
    report.error(span, key, format!("{} is not a type of check", quoted(word)), help);
}

/// Who is asked; `Err` if that is wrong, `Ok(None)` if it depends on something else that is wrong.
fn connect(asked: &Asked<'_>, word: &str, report: &mut Report) -> Result<Option<SocketAddr>, ()> {
    let raw = asked.raw;
    let key = format!("{}.connect", raw.path);
    let port = match word {
        "ping" | "script" | "file" => None,
        "smtp" => Some(25),
        "dns" => Some(53),
        _ => asked.target.map(|(_, port)| port),
    };
    let (ip, port, span) = match &raw.connect {
        Field::Refused => return Err(()),
        Field::Absent => {
            let Some((ip, server)) = asked.target else { return Ok(None) };
            // A mail or name server listens where the virtual server does, if that is one port.
            let port = match word {
                "smtp" | "dns" if server != 0 => server,
                _ => port.unwrap_or_default(),
            };
            (ip, port, &raw.span)
        }
        // keepalived's connect_port.
        Field::Given(text, span)
            if text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()) =>
        {
            let Some((ip, _)) = asked.target else { return Ok(None) };
            (ip, text.trim_start_matches(':').parse().unwrap_or_default(), span)
        }
        Field::Given(text, span) => match address::parse(text) {
            Ok(written) => {
                let same = asked.target.map(|(_, port)| port).filter(|port| *port != 0).or(port);
                (written.address, written.port.or(same).unwrap_or_default(), span)
            }
            Err(Problem { message, help }) => {
                report.error(span, key, message, help);
                return Err(());
            }
        },
    };
    let needs_port = !matches!(word, "ping" | "script" | "file" | "path");
    if needs_port && port == 0 {
        let message = "the virtual server has no one port that could be checked";
        report.error(span, key, message, format!("write connect = \"{}\"", address::with_port(ip, 80)));
        return Err(());
    }
    Ok(Some(SocketAddr::new(ip, if needs_port || word == "path" { port } else { 0 })))
}

fn source(raw: &RawCheck, connect: Option<SocketAddr>, report: &mut Report) -> Option<Option<IpAddr>> {
    let (text, span) = match &raw.source_address {
        Field::Absent => return Some(None),
        Field::Refused => return None,
        Field::Given(text, span) => (text, span),
    };
    let key = format!("{}.source_address", raw.path);
    let Ok(address) = text.parse::<IpAddr>() else {
        let help = "write one of this host's addresses without a port, such as 192.168.4.2";
        report.error(span, key, format!("{} is not an IP address", quoted(text)), help);
        return None;
    };
    if connect.is_some_and(|connect| connect.is_ipv4() != address.is_ipv4()) {
        let message = format!("{address} is not of the address family that is connected to");
        report.error(span, key, message, "write one of this host's addresses of the other family");
        return None;
    }
    Some(Some(address))
}

fn kind(word: &str, raw: &RawCheck, report: &mut Report) -> Option<ProbeKind> {
    let key = |name: &str| format!("{}.{name}", raw.path);
    match word {
        "tcp" => Some(ProbeKind::Tcp),
        "http" | "https" => {
            super::checks_http::http(word == "https", raw, report).map(|http| ProbeKind::Http(Box::new(http)))
        }
        "smtp" => Some(ProbeKind::Smtp { helo: host_name(&raw.helo, &key("helo"), HELO, report)? }),
        "dns" => dns(raw, report).map(ProbeKind::Dns),
        "udp" => {
            let payload = bytes(&raw.payload, &key("payload"), false, report);
            let expect = bytes(&raw.expect, &key("expect"), true, report);
            let payload = payload?.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect();
            Some(ProbeKind::Udp { payload: Bytes(payload), expect: expect?.map(Pattern) })
        }
        "ping" => Some(ProbeKind::Ping),
        "script" => script(raw, report),
        "file" => match &raw.file {
            Field::Refused => None,
            Field::Given(path, _) if path.starts_with('/') && !path.contains('\0') => {
                Some(ProbeKind::File { path: path.clone() })
            }
            Field::Given(path, span) => {
                report.error(
                    span,
                    key("file"),
                    format!("{} is not a whole path", quoted(path)),
                    "begin it with a slash",
                );
                None
            }
            Field::Absent => {
                report.error(&raw.span, key("file"), "is missing", "write file = \"/run/web1.weight\"");
                None
            }
        },
        _ => Some(ProbeKind::Path),
    }
}

fn script(raw: &RawCheck, report: &mut Report) -> Option<ProbeKind> {
    let key = |name: &str| format!("{}.{name}", raw.path);
    let user = text(&raw.user)?;
    let (command, span) = match &raw.command {
        Field::Refused => return None,
        Field::Absent => {
            report.error(
                &raw.span,
                key("command"),
                "is missing",
                "write command = \"/usr/local/bin/check-web\"",
            );
            return None;
        }
        Field::Given(command, span) => (command, span),
    };
    match Script::parse(command, user) {
        Ok(script) => Some(ProbeKind::Script { script, weight_by_exit: flag(&raw.weight_by_exit)? }),
        Err(error) => {
            let help = "write a program and its arguments; quotes work as in a shell, nothing else does";
            report.error(span, key("command"), error.to_string(), help);
            None
        }
    }
}

fn dns(raw: &RawCheck, report: &mut Report) -> Option<DnsProbe> {
    let key = |name: &str| format!("{}.{name}", raw.path);
    let record_type = match &raw.record_type {
        Field::Absent => Some("SOA".to_owned()),
        Field::Refused => None,
        Field::Given(word, span) => {
            let upper = word.to_uppercase();
            let known = RECORD_TYPES.contains(&upper.as_str());
            if !known {
                let help = format!("use one of: {}", RECORD_TYPES.join(", "));
                report.error(
                    span,
                    key("record_type"),
                    format!("{} is not a record type", quoted(word)),
                    help,
                );
            }
            known.then_some(upper)
        }
    };
    let name = match &raw.name {
        Field::Absent => Some(".".to_owned()),
        Field::Refused => None,
        Field::Given(name, span) => {
            let bare = name.strip_suffix('.').unwrap_or(name);
            let fits = bare.len() <= 253 && bare.split('.').all(|label| (1..=63).contains(&label.len()));
            let fits = fits && bare.chars().all(|c| c.is_ascii_graphic());
            if bare.is_empty() || fits {
                Some(format!("{bare}."))
            } else {
                let message = format!("{} is not a domain name", quoted(name));
                report.error(
                    span,
                    key("name"),
                    message,
                    "write a name such as www.example.org; the root is \".\"",
                );
                None
            }
        }
    };
    Some(DnsProbe { record_type: record_type?, name: name?, expect: text(&raw.expect)? })
}

//! The keys of health checks as they were typed.

use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use toml::de::DeValue;

use super::diagnostics::{Report, Span};
use super::raw::{Field, Table};
use super::schema::{self, Section};

/// The keys of a virtual server that are about health.
#[derive(Debug, Default)]
pub(super) struct RawServiceHealth {
    /// `virtual_server[0]`
    pub(super) path: String,
    pub(super) defaults: RawTiming,
    pub(super) alpha: Field<bool>,
    pub(super) omega: Field<bool>,
    pub(super) quorum: Field<i128>,
    pub(super) hysteresis: Field<i128>,
    pub(super) sorry_server: Field<String>,
    pub(super) sorry_server_inhibit: Field<bool>,
    pub(super) min_up: Field<i128>,
    pub(super) slow_start: Field<String>,
    pub(super) ha_suspend: Field<bool>,
    pub(super) inhibit_on_failure: Field<bool>,
    pub(super) checks: Vec<RawCheck>,
    /// [`INHERITED`], as lines of TOML.
    pub(super) inherited_keys: String,
}

/// The keys of a virtual server that say how its real servers are checked.
const INHERITED: [&str; 12] = [
    "check_interval",
    "check_timeout",
    "check_retries",
    "check_retry_delay",
    "check_warmup",
    "rise",
    "fall",
    "fast_interval",
    "alpha",
    "slow_start",
    "inhibit_on_failure",
    "check",
];

/// The keys of a real server that are about health.
#[derive(Debug, Default)]
pub(super) struct RawServerHealth {
    pub(super) inhibit_on_failure: Field<bool>,
    pub(super) alpha: Field<bool>,
    pub(super) slow_start: Field<String>,
    pub(super) checks: Vec<RawCheck>,
}

/// When checks run.
#[derive(Debug, Default)]
pub(super) struct RawTiming {
    pub(super) interval: Field<String>,
    pub(super) timeout: Field<String>,
    pub(super) retries: Field<i128>,
    pub(super) retry_delay: Field<String>,
    pub(super) warmup: Field<String>,
    pub(super) rise: Field<i128>,
    pub(super) fall: Field<i128>,
    pub(super) fast_interval: Field<String>,
}

/// One `[[….check]]`.
#[derive(Debug, Default)]
pub(super) struct RawCheck {
    /// `virtual_server[0].check[0]`
    pub(super) path: String,
    /// The header.
    pub(super) span: Span,
    /// The keys that are given, with their places.
    pub(super) given: Vec<(&'static str, Span)>,
    pub(super) kind: Field<String>,
    pub(super) timing: RawTiming,
    pub(super) connect: Field<String>,
    pub(super) source_address: Field<String>,
    pub(super) fwmark: Field<i128>,
    pub(super) weight: Field<i128>,
    pub(super) method: Field<String>,
    /// `path` of the file; the check's own path is above.
    pub(super) url_path: Field<String>,
    pub(super) host: Field<String>,
    pub(super) status: Field<Vec<Field<String>>>,
    pub(super) digest: Field<String>,
    pub(super) body: Field<String>,
    pub(super) body_regex: Field<String>,
    pub(super) headers: Field<Vec<(String, Field<String>)>>,
    pub(super) http_version: Field<String>,
    pub(super) verify: Field<bool>,
    pub(super) ca_file: Field<String>,
    pub(super) sni: Field<String>,
    pub(super) follow: Field<bool>,
    pub(super) helo: Field<String>,
    pub(super) record_type: Field<String>,
    pub(super) name: Field<String>,
    pub(super) expect: Field<String>,
    pub(super) payload: Field<String>,
    pub(super) command: Field<String>,
    pub(super) user: Field<String>,
    pub(super) weight_by_exit: Field<bool>,
    pub(super) file: Field<String>,
}

/// Reads what a virtual server says.
pub(super) fn service(table: &Table<'_>, report: &mut Report) -> RawServiceHealth {
    RawServiceHealth {
        path: table.path.clone(),
        defaults: RawTiming {
            interval: table.string("check_interval", report),
            timeout: table.string("check_timeout", report),
            retries: table.integer("check_retries", report),
            retry_delay: table.string("check_retry_delay", report),
            warmup: table.string("check_warmup", report),
            rise: table.integer("rise", report),
            fall: table.integer("fall", report),
            fast_interval: table.string("fast_interval", report),
        },
        alpha: table.boolean("alpha", report),
        omega: table.boolean("omega", report),
        quorum: table.integer("quorum", report),
        hysteresis: table.integer("hysteresis", report),
        sorry_server: table.string("sorry_server", report),
        sorry_server_inhibit: table.boolean("sorry_server_inhibit", report),
        min_up: table.integer("min_up", report),
        slow_start: table.string("slow_start", report),
        ha_suspend: table.boolean("ha_suspend", report),
        inhibit_on_failure: table.boolean("inhibit_on_failure", report),
        checks: checks(table, &schema::VIRTUAL_SERVER_CHECK, report),
        inherited_keys: inherited_keys(table),
    }
}

/// What cannot be read has been reported, or will be, by whoever reads the key itself.
fn inherited_keys(table: &Table<'_>) -> String {
    let keys = INHERITED.into_iter().filter_map(|name| {
        let value = table.get(name)?.clone().into_deserializer();
        Some((name.to_owned(), toml::Value::deserialize(value).ok()?))
    });
    toml::to_string(&keys.collect::<toml::Table>()).unwrap_or_default()
}

/// Reads what a real server says.
pub(super) fn server(table: &Table<'_>, report: &mut Report) -> RawServerHealth {
    RawServerHealth {
        inhibit_on_failure: table.boolean("inhibit_on_failure", report),
        alpha: table.boolean("alpha", report),
        slow_start: table.string("slow_start", report),
        checks: checks(table, &schema::REAL_SERVER_CHECK, report),
    }
}

fn checks(table: &Table<'_>, section: &'static Section, report: &mut Report) -> Vec<RawCheck> {
    let tables = table.tables("check", report);
    tables
        .into_iter()
        .map(|(path, inner, span)| check(&Table::read(section, inner, span, path, report), report))
        .collect()
}

fn check(table: &Table<'_>, report: &mut Report) -> RawCheck {
    RawCheck {
        path: table.path.clone(),
        span: table.span.clone(),
        given: table.given(),
        kind: table.string("type", report),
        timing: RawTiming {
            interval: table.string("interval", report),
            timeout: table.string("timeout", report),
            retries: table.integer("retries", report),
            retry_delay: table.string("retry_delay", report),
            warmup: table.string("warmup", report),
            rise: table.integer("rise", report),
            fall: table.integer("fall", report),
            fast_interval: table.string("fast_interval", report),
        },
        connect: table.string("connect", report),
        source_address: table.string("source_address", report),
        fwmark: table.integer("fwmark", report),
        weight: table.integer("weight", report),
        method: table.string("method", report),
        url_path: table.string("path", report),
        host: table.string("host", report),
        status: statuses(table, report),
        digest: table.string("digest", report),
        body: table.string("body", report),
        body_regex: table.string("body_regex", report),
        headers: headers(table, report),
        http_version: table.string("http_version", report),
        verify: table.boolean("verify", report),
        ca_file: table.string("ca_file", report),
        sni: table.string("sni", report),
        follow: table.boolean("follow", report),
        helo: table.string("helo", report),
        record_type: table.string("record_type", report),
        name: table.string("name", report),
        expect: table.string("expect", report),
        payload: table.string("payload", report),
        command: table.string("command", report),
        user: table.string("user", report),
        weight_by_exit: table.boolean("weight_by_exit", report),
        file: table.string("file", report),
    }
}

/// Strings and numbers alike, and a single one without brackets.
fn statuses(table: &Table<'_>, report: &mut Report) -> Field<Vec<Field<String>>> {
    let text = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    };
    table.field("status", "an array of strings", report, |value| {
        if let Some(single) = text(value) {
            return Some(vec![Field::Given(single, 0..0)]);
        }
        let elements = value.as_array()?.iter();
        elements.map(|element| Some(Field::Given(text(element.get_ref())?, element.span()))).collect()
    })
}

fn headers(table: &Table<'_>, report: &mut Report) -> Field<Vec<(String, Field<String>)>> {
    table.field("headers", "a table of strings", report, |value| {
        let entries = value.as_table()?.iter();
        entries
            .map(|(name, value)| {
                let text = value.get_ref().as_str()?.to_owned();
                Some((name.get_ref().to_string(), Field::Given(text, value.span())))
            })
            .collect()
    })
}

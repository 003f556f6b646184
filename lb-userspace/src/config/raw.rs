//! The configuration as it was typed: TOML values of the right type with their places in the file.
//!
//! Reading goes on after an error. An unknown key whose meaning can be guessed is reported and then read as that key,
//! so that errors below it are found in the same run. Values are not judged here: see [`check`](super::check).

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::checks_raw::{self, RawServerHealth, RawServiceHealth};
use super::diagnostics::{Report, Span, quoted};
use super::notifications::{self, RawNotifications};
use super::scheduling::{
    RawConnectionRules, RawGroup, RawScheduling, RawThresholds, read_connection_rules, read_groups,
    read_scheduling, read_thresholds,
};
use super::schema::{self, Section, UnknownKey};
use super::vrrp;

/// The value of a key.
#[derive(Debug, Default)]
pub(super) enum Field<T> {
    /// The file has no such key.
    #[default]
    Absent,
    /// The value has a wrong type; this has been reported.
    Refused,
    /// The value, and its place.
    Given(T, Span),
}

/// A whole file.
#[derive(Debug)]
pub(super) struct RawConfig {
    pub(super) director: RawDirector,
    pub(super) notifications: RawNotifications,
    pub(super) groups: Vec<RawGroup>,
    pub(super) virtual_servers: Vec<RawVirtualServer>,
    /// Whether the file has any, readable or not.
    pub(super) has_virtual_servers: bool,
    pub(super) vrrp: vrrp::Draft,
}

/// `[director]`, empty if the file has none.
#[derive(Debug, Default)]
pub(super) struct RawDirector {
    /// The header.
    pub(super) span: Span,
    pub(super) router_id: Field<String>,
    pub(super) interfaces: Field<Vec<Field<String>>>,
    pub(super) xdp_mode: Field<String>,
    pub(super) max_connections: Field<i128>,
    pub(super) max_connections_ipv6: Field<i128>,
    pub(super) max_full_nat_connections: Field<i128>,
    pub(super) manage_addresses: Field<bool>,
    pub(super) connection_rules: RawConnectionRules,
}

/// One `[[virtual_server]]`.
#[derive(Debug)]
pub(super) struct RawVirtualServer {
    /// `virtual_server[0]`
    pub(super) path: String,
    /// The header.
    pub(super) span: Span,
    pub(super) address: Field<String>,
    pub(super) protocol: Field<String>,
    pub(super) scheduler: Field<String>,
    pub(super) forwarding: Field<String>,
    pub(super) quorum_up: Field<String>,
    pub(super) quorum_down: Field<String>,
    pub(super) scheduling: RawScheduling,
    pub(super) health: RawServiceHealth,
    pub(super) real_servers: Vec<RawRealServer>,
    /// Whether the virtual server has any, readable or not.
    pub(super) has_real_servers: bool,
}

/// One `[[virtual_server.real_server]]`.
#[derive(Debug)]
pub(super) struct RawRealServer {
    /// `virtual_server[0].real_server[0]`
    pub(super) path: String,
    /// The header.
    pub(super) span: Span,
    pub(super) address: Field<String>,
    pub(super) weight: Field<i128>,
    pub(super) forwarding: Field<String>,
    pub(super) notify_up: Field<String>,
    pub(super) notify_down: Field<String>,
    pub(super) thresholds: RawThresholds,
    pub(super) health: RawServerHealth,
}

/// Reads a file's top table.
pub(super) fn read(root: &DeTable<'_>, report: &mut Report) -> RawConfig {
    let table = Table::read(&schema::ROOT, root, 0..0, String::new(), report);
    let director = match table.table("director", report) {
        Some((inner, span)) => {
            director(&Table::read(&schema::DIRECTOR, inner, span, "director".to_owned(), report), report)
        }
        // One that cannot be read lacks nothing.
        None if table.get("director").is_some() => {
            RawDirector { interfaces: Field::Refused, ..RawDirector::default() }
        }
        None => RawDirector::default(),
    };
    let groups = table.tables("virtual_server_group", report);
    let groups = read_groups(groups, report);
    let tables = table.tables("virtual_server", report);
    let virtual_servers = tables
        .into_iter()
        .map(|(path, inner, span)| {
            virtual_server(&Table::read(&schema::VIRTUAL_SERVER, inner, span, path, report), report)
        })
        .collect();
    let notifications = notifications::read(&table, report);
    let vrrp = vrrp::read(&table, report);
    let has_virtual_servers = table.has("virtual_server");
    RawConfig { director, notifications, groups, virtual_servers, has_virtual_servers, vrrp }
}

fn director(table: &Table<'_>, report: &mut Report) -> RawDirector {
    RawDirector {
        span: table.span.clone(),
        router_id: table.string("router_id", report),
        interfaces: table.strings("interfaces", report),
        xdp_mode: table.string("xdp_mode", report),
        max_connections: table.integer("max_connections", report),
        max_connections_ipv6: table.integer("max_connections_ipv6", report),
        max_full_nat_connections: table.integer("max_full_nat_connections", report),
        manage_addresses: table.boolean("manage_addresses", report),
        connection_rules: read_connection_rules(table, report),
    }
}

fn virtual_server(table: &Table<'_>, report: &mut Report) -> RawVirtualServer {
    let tables = table.tables("real_server", report);
    RawVirtualServer {
        path: table.path.clone(),
        span: table.span.clone(),
        address: table.string("address", report),
        protocol: table.string("protocol", report),
        scheduler: table.string("scheduler", report),
        forwarding: table.string("forwarding", report),
        quorum_up: table.string("quorum_up", report),
        quorum_down: table.string("quorum_down", report),
        scheduling: read_scheduling(table, report),
        health: checks_raw::service(table, report),
        has_real_servers: table.has("real_server"),
        real_servers: tables
            .into_iter()
            .map(|(path, inner, span)| {
                let table = Table::read(&schema::REAL_SERVER, inner, span, path, report);
                RawRealServer {
                    address: table.string("address", report),
                    weight: table.integer("weight", report),
                    forwarding: table.string("forwarding", report),
                    notify_up: table.string("notify_up", report),
                    notify_down: table.string("notify_down", report),
                    thresholds: read_thresholds(&table, report),
                    health: checks_raw::server(&table, report),
                    path: table.path,
                    span: table.span,
                }
            })
            .collect(),
    }
}

/// A table of the file with its keys found in a section.
#[derive(Debug)]
pub(super) struct Table<'t> {
    pub(super) section: &'static Section,
    pub(super) path: String,
    /// The header.
    pub(super) span: Span,
    values: Vec<(&'static str, &'t Spanned<DeValue<'t>>)>,
}

impl<'t> Table<'t> {
    pub(super) fn read(
        section: &'static Section,
        table: &'t DeTable<'t>,
        span: Span,
        path: String,
        report: &mut Report,
    ) -> Table<'t> {
        let mut values = Vec::with_capacity(table.len());
        let mut guessed = Vec::new();
        for (key, value) in table {
            if let Some(known) = section.find(key.get_ref()) {
                values.push((known.name, value));
                continue;
            }
            let UnknownKey { message, help, meant } = schema::unknown_key(section, key.get_ref());
            report.error(&key.span(), join(&path, &shown_key(key.get_ref())), message, help);
            guessed.extend(meant.map(|name| (name, value)));
        }
        for (name, value) in guessed {
            if !values.iter().any(|(known, _)| *known == name) {
                values.push((name, value));
            }
        }
        Table { section, path, span, values }
    }

    /// The keys that are there, each with the place of its value.
    pub(super) fn given(&self) -> Vec<(&'static str, Span)> {
        self.values.iter().map(|(name, value)| (*name, value.span())).collect()
    }

    pub(super) fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.values.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// Whether the key is there with anything but an empty array.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.get_ref().as_array().is_none_or(|array| !array.is_empty()))
    }

    /// How an operator writes the section.
    pub(super) fn header(&self) -> &'static str {
        self.section.header
    }

    /// A valid line for a key.
    pub(super) fn example(&self, key: &str) -> &'static str {
        self.section.find(key).map_or("", |key| key.example)
    }

    /// Where the key's value stands, whatever it is.
    pub(super) fn place(&self, key: &str) -> Option<Span> {
        self.get(key).map(Spanned::span)
    }

    /// The elements of an array, whatever they are, with their paths; none if the key is absent.
    pub(super) fn elements(&self, key: &str, report: &mut Report) -> Vec<(String, &'t Spanned<DeValue<'t>>)> {
        let Field::Given(array, _) = self.field(key, "an array", report, DeValue::as_array) else {
            return Vec::new();
        };
        let path = |index: usize| format!("{}[{index}]", join(&self.path, key));
        array.iter().enumerate().map(|(index, element)| (path(index), element)).collect()
    }

    pub(super) fn field<T>(
        &self,
        key: &str,
        expected: &str,
        report: &mut Report,
        convert: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Field<T> {
        let Some(value) = self.get(key) else { return Field::Absent };
        match convert(value.get_ref()) {
            Some(converted) => Field::Given(converted, value.span()),
            None => {
                self.wrong_type(key, &join(&self.path, key), value, expected, report);
                Field::Refused
            }
        }
    }

    pub(super) fn string(&self, key: &str, report: &mut Report) -> Field<String> {
        self.field(key, "a string", report, |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn boolean(&self, key: &str, report: &mut Report) -> Field<bool> {
        self.field(key, "true or false", report, DeValue::as_bool)
    }

    /// An integer beyond 128 bits becomes the nearest one that is not: out of every range alike.
    pub(super) fn integer(&self, key: &str, report: &mut Report) -> Field<i128> {
        self.field(key, "an integer", report, |value| {
            let integer = value.as_integer()?;
            let limit = if integer.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
            Some(i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(limit))
        })
    }

    pub(super) fn strings(&self, key: &str, report: &mut Report) -> Field<Vec<Field<String>>> {
        let array = match self.field(key, "an array of strings", report, DeValue::as_array) {
            Field::Absent => return Field::Absent,
            Field::Refused => return Field::Refused,
            Field::Given(array, span) => (array, span),
        };
        let mut strings = Vec::with_capacity(array.0.len());
        for (index, element) in array.0.iter().enumerate() {
            strings.push(match element.get_ref().as_str() {
                Some(string) => Field::Given(string.to_owned(), element.span()),
                None => {
                    let path = format!("{}[{index}]", join(&self.path, key));
                    self.wrong_type(key, &path, element, "a string", report);
                    Field::Refused
                }
            });
        }
        Field::Given(strings, array.1)
    }

    /// A section that may stand once. One that stands more often is reported, and the first is read.
    pub(super) fn table(&self, key: &str, report: &mut Report) -> Option<(&'t DeTable<'t>, Span)> {
        let value = self.get(key)?;
        if let Some(table) = value.get_ref().as_table() {
            return Some((table, value.span()));
        }
        self.wrong_type(key, &join(&self.path, key), value, "a section", report);
        let first = value.get_ref().as_array()?.first()?;
        Some((first.get_ref().as_table()?, first.span()))
    }

    /// The sections of a key that may stand any number of times, each with its path. A single one in `[]` is
    /// reported, and read.
    pub(super) fn tables(&self, key: &str, report: &mut Report) -> Vec<(String, &'t DeTable<'t>, Span)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let path = join(&self.path, key);
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, &path, value, "an array of sections", report);
            let table = value.get_ref().as_table();
            return table.map(|table| (format!("{path}[0]"), table, value.span())).into_iter().collect();
        };
        let mut tables = Vec::with_capacity(array.len());
        for (index, element) in array.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match element.get_ref().as_table() {
                Some(table) => tables.push((path, table, element.span())),
                None => self.wrong_type(key, &path, element, "a section", report),
            }
        }
        tables
    }

    pub(super) fn wrong_type(
        &self,
        key: &str,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
        report: &mut Report,
    ) {
        let example = self.section.find(key).map_or("", |key| key.example);
        let message = format!("is {}, not {expected}", type_name(value.get_ref()));
        report.error(&value.span(), path, message, format!("write it like this: {example}"));
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fractional number",
        DeValue::Boolean(true) => "true",
        DeValue::Boolean(false) => "false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(array) if array.iter().any(|element| element.get_ref().is_table()) => {
            "an array of sections"
        }
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a single section",
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A key as it can stand in a path: quoted if TOML would need it quoted.
fn shown_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.len() <= 60 && key.chars().all(bare) { key.to_owned() } else { quoted(key) }
}

//! Single keys, of whatever section.

use std::net::IpAddr;
use std::time::Duration;

use super::super::super::check::{interface_name_problem, number};
use super::super::super::diagnostics::{Span, quoted};
use super::super::super::raw::Field;
use super::super::super::values::duration;
use super::super::model::{Garp, Notify, VrrpVersion};
use super::{DAY, Keys, MAX_DELAY, MAX_NAME, MAX_WEIGHT, Placed};
use crate::process::Script;

impl Keys<'_, '_> {
    pub(super) fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.table.path)
    }

    pub(super) fn header(&self) -> Span {
        self.table.span.clone()
    }

    pub(super) fn number(&mut self, key: &str, range: (u32, u32), default: u32) -> u32 {
        let field = self.table.integer(key, self.report);
        number(&field, &self.path(key), range, default, self.report).unwrap_or(default)
    }

    pub(super) fn byte(&mut self, key: &str, (min, max): (u8, u8), default: u8) -> u8 {
        u8::try_from(self.number(key, (min.into(), max.into()), default.into())).unwrap_or(default)
    }

    pub(super) fn boolean(&mut self, key: &str, default: bool) -> bool {
        match self.table.boolean(key, self.report) {
            Field::Given(value, _) => value,
            Field::Absent | Field::Refused => default,
        }
    }

    pub(super) fn duration(&mut self, key: &str, range: (Duration, Duration), default: Duration) -> Duration {
        let field = self.table.string(key, self.report);
        duration(&field, &self.path(key), range, default, self.report).unwrap_or(default)
    }

    /// A string, and its place; the header's where there is none.
    pub(super) fn string(&mut self, key: &str) -> (Option<String>, Span) {
        match self.table.string(key, self.report) {
            Field::Given(text, span) => (Some(text), span),
            Field::Absent | Field::Refused => (None, self.header()),
        }
    }

    /// A string that must be there.
    pub(super) fn required(&mut self, key: &str) -> (String, Span) {
        let field = self.table.string(key, self.report);
        match field {
            Field::Given(text, span) => {
                if text.trim().is_empty() {
                    let example = self.table.example(key);
                    self.report.error(&span, self.path(key), "is empty", format!("write {example}"));
                }
                (text, span)
            }
            Field::Refused => (String::new(), self.header()),
            Field::Absent => {
                self.missing(key);
                (String::new(), self.header())
            }
        }
    }

    pub(super) fn missing(&mut self, key: &str) {
        let help = format!("write {} under {}", self.table.example(key), self.table.header());
        self.report.error(&self.header(), self.path(key), "is missing", help);
    }

    pub(super) fn name(&mut self) -> (String, Span) {
        let (name, span) = self.required("name");
        if name.len() > MAX_NAME || name.chars().any(|c| c.is_control() || c == '"') {
            let help = "write 1 to 64 bytes without control characters and quotes";
            self.report.error(&span, self.path("name"), format!("{} is no name", quoted(&name)), help);
        }
        (name, span)
    }

    pub(super) fn interface(&mut self, name: &str, span: &Span, path: String) {
        if let Some(problem) = interface_name_problem(name) {
            let message = format!("{} is not an interface name: {problem}", quoted(name));
            self.report.error(span, path, message, "correct it; `ip -br link` lists the interfaces");
        }
    }

    pub(super) fn version(&mut self) -> Option<VrrpVersion> {
        let field = self.table.integer("version", self.report);
        if matches!(field, Field::Absent) {
            return None;
        }
        let number = number(&field, &self.path("version"), (2, 3), 2, self.report);
        number.map(|number| if number == 3 { VrrpVersion::V3 } else { VrrpVersion::V2 })
    }

    pub(super) fn garp(&mut self, default: Garp) -> Garp {
        let delay = self.duration("garp_delay", (Duration::ZERO, MAX_DELAY), default.delay);
        let repeat = self.number("garp_repeat", (1, 100), default.repeat);
        // As keepalived's: what concerns lower priorities follows the other unless it is written.
        let lower_delay =
            if default.lower_priority_delay == default.delay { delay } else { default.lower_priority_delay };
        let lower_repeat = if default.lower_priority_repeat == default.repeat {
            repeat
        } else {
            default.lower_priority_repeat
        };
        Garp {
            delay,
            repeat,
            refresh: self.duration("garp_refresh", (Duration::ZERO, DAY), default.refresh),
            refresh_repeat: self.number("garp_refresh_repeat", (1, 100), default.refresh_repeat),
            lower_priority_delay: self.duration(
                "garp_lower_priority_delay",
                (Duration::ZERO, MAX_DELAY),
                lower_delay,
            ),
            lower_priority_repeat: self.number("garp_lower_priority_repeat", (0, 100), lower_repeat),
        }
    }

    /// A command line; whatever is wrong with it, something is returned.
    pub(super) fn command(&mut self, text: &str, user: Option<String>, key: &str, span: &Span) -> Script {
        Script::parse(text, user).unwrap_or_else(|error| {
            let help = "write the program's path and its arguments; quotes keep spaces";
            self.report.error(span, self.path(key), error.to_string(), help);
            Script { words: Vec::new(), user: None }
        })
    }

    pub(super) fn notify(&mut self) -> Notify {
        let mut command = |key: &str| {
            let (text, span) = self.string(key);
            Some(self.command(text.as_deref()?, None, key, &span))
        };
        Notify {
            any: command("notify"),
            master: command("notify_master"),
            backup: command("notify_backup"),
            fault: command("notify_fault"),
            stop: command("notify_stop"),
        }
    }

    pub(super) fn ip(&mut self, text: &str, span: &Span, path: String) -> Option<IpAddr> {
        let address = text.parse().ok();
        if address.is_none() {
            let message = format!("{} is not an IP address", quoted(text));
            self.report.error(span, path, message, "write it like 192.168.4.2 or fe80::2");
        }
        address
    }

    pub(super) fn lines<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Field::Given(fields, _) = self.table.strings(key, self.report) else { return Vec::new() };
        let mut values = Vec::new();
        for (index, field) in fields.into_iter().enumerate() {
            let Field::Given(text, span) = field else { continue };
            match parse(&text) {
                Ok(value) => values.push(value),
                Err(wrong) => {
                    let help = format!("write it like this: {}", self.table.example(key));
                    self.report.error(&span, self.path(&format!("{key}[{index}]")), wrong, help);
                }
            }
        }
        values
    }

    pub(super) fn weight(&mut self, default: i16) -> i16 {
        let Field::Given(value, span) = self.table.integer("weight", self.report) else { return default };
        match i16::try_from(value).ok().filter(|_| value.abs() <= MAX_WEIGHT) {
            Some(weight) => weight,
            None => {
                let help = format!("write a number from -{MAX_WEIGHT} to {MAX_WEIGHT}");
                self.report.error(&span, self.path("weight"), "is out of range", help);
                default
            }
        }
    }

    pub(super) fn placed<T, P>(&self, name: Span, value: T, places: P) -> Placed<T, P> {
        Placed { path: self.table.path.clone(), header: self.header(), name, value, places }
    }
}

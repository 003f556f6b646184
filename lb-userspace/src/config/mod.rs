//! The configuration file of the director.
//!
//! Text becomes a [`Config`] in three steps, each of which reports all it finds and goes on:
//! - `raw`: TOML with places; unknown keys and wrong types are found here (`schema` has the words).
//! - `check` and `check_servers`: ranges, addresses and what must hold between them.
//! - `model`: a [`Config`] exists only if there was no error.
//!
//! Nothing here looks at the machine but for the file itself and the host name: whether an interface exists is not a
//! question of configuration. The reference for operators is `docs/config.md`; start reading at [`Config::parse`].

mod address;
mod check;
mod check_servers;
pub mod checks;
mod checks_check;
mod checks_http;
mod checks_probe;
mod checks_raw;
mod checks_values;
mod command;
mod diagnostics;
mod model;
pub mod notifications;
mod raw;
mod scheduling;
mod schema;
#[cfg(test)]
mod tests;
mod values;
pub mod vrrp;
mod words;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use toml::de::DeTable;

pub(crate) use diagnostics::Sources;
pub use diagnostics::{ConfigError, Diagnostic, Related, Severity, wants_color};
pub use model::{
    Config, Director, Forwarding, Protocol, RealServer, Scheduler, UpDown, VirtualServer, XdpMode,
};
pub use scheduling::{
    ConnectionRules, Group, LeaseRange, OnFailure, Persistence, SchedulerFlags, Scheduling, SourceRate,
    Thresholds,
};
pub use schema::reference::fill as reference;

use diagnostics::{Report, quoted};

/// A file of the most virtual servers and real servers takes about 10 MiB.
const MAX_FILE_BYTES: u64 = 64 << 20;

impl Config {
    /// Reads and parses the file at `path`.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is larger than 64 MiB or is not UTF-8: one diagnostic that names it. Else as
    /// [`Config::parse`].
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let name = path.display().to_string();
        let bytes = read_file(path).map_err(|error| unreadable(&name, &error))?;
        match String::from_utf8(bytes) {
            Ok(text) => Config::parse(&name, &text),
            Err(error) => Err(not_utf8(&name, &error)),
        }
    }

    /// Parses `text`; `file_name` is for messages. A missing `router_id` becomes this machine's host name.
    ///
    /// # Errors
    ///
    /// Every error in `text` at once, and with them the warnings. Where the text stops being TOML, nothing after it can
    /// be read: then only that and lesser errors of syntax before it are reported.
    pub fn parse(file_name: &str, text: &str) -> Result<Config, ConfigError> {
        parse(file_name, text, host_name)
    }
}

fn parse(file_name: &str, text: &str, host_name: fn() -> Option<String>) -> Result<Config, ConfigError> {
    let mut report = Report::new(file_name, text);
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    for error in &syntax_errors {
        if is_syntax_lost(error, text.len(), &mut report) {
            return Err(report.into_error());
        }
    }
    let mut raw = raw::read(document.get_ref(), &mut report);
    let notifications = notifications::check(std::mem::take(&mut raw.notifications), host_name, &mut report);
    match check::check(raw, host_name, &mut report).zip(notifications) {
        Some(((director, virtual_servers, vrrp), notifications)) if !report.has_errors() => {
            let warnings = report.into_diagnostics();
            Ok(Config { director, notifications, virtual_servers, vrrp, warnings })
        }
        Some(_) | None => Err(report.into_error()),
    }
}

/// Reports an error of the TOML parser. Returns whether what it makes of the rest of the file is guesswork.
fn is_syntax_lost(error: &toml::de::Error, end: usize, report: &mut Report) -> bool {
    let span = error.span().unwrap_or(end..end);
    let message = error.message();
    if message == "duplicate key" {
        let key = report.text(&span).to_owned();
        report.error(&span, key, "is given twice", "remove one of the two");
        return false;
    }
    if message.starts_with("string values must be quoted") {
        let value = quoted(report.text(&span));
        report.error(&span, "", "this is no value: strings need quotes", format!("write {value}"));
        return false;
    }
    let is_keepalived = ["vrrp_instance", "virtual_server", "global_defs"].iter().any(|block| {
        report.text(&(0..end)).lines().any(|line| line.starts_with(block) && line.trim_end().ends_with('{'))
    });
    if is_keepalived {
        let message = "this is a keepalived.conf";
        let help = "`lbctl import keepalived FILE` makes a configuration of it, and --keepalived FILE takes it as it is";
        report.error(&span, "", message, help);
        return true;
    }
    let message = format!("this is not TOML: {}", message.replace('\n', ", "));
    let help = "write `key = value` lines under headers such as [director] or [[virtual_server]]; \
                strings need quotes, numbers and true/false none";
    report.error(&span, "", message, help);
    true
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

fn unreadable(name: &str, error: &io::Error) -> ConfigError {
    let kind = error.kind();
    let (message, help) = if kind == io::ErrorKind::NotFound {
        (
            "no such file".to_owned(),
            "create it (docs/config.md has an example), or name another file with -c FILE",
        )
    } else if kind == io::ErrorKind::PermissionDenied {
        ("permission denied".to_owned(), "run as root, or make the file readable")
    } else if kind == io::ErrorKind::IsADirectory {
        ("is a directory".to_owned(), "name a file with -c FILE")
    } else if kind == io::ErrorKind::FileTooLarge {
        ("is larger than 64 MiB".to_owned(), "name a configuration file with -c FILE")
    } else {
        (format!("cannot be read: {error}"), "make the file readable, or name another file with -c FILE")
    };
    ConfigError::without_place(name, message, help)
}

fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> ConfigError {
    let offset = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes());
    let end = text.char_indices().find(|(start, _)| *start > offset).map_or(text.len(), |(start, _)| start);
    let byte = error.as_bytes().get(offset).copied().unwrap_or(0);
    let mut report = Report::new(name, &text);
    let message = format!("byte {byte:#04x} is not UTF-8");
    report.error(&(offset..end), "", message, "save the file in UTF-8, or correct the character");
    report.into_error()
}

/// The host name in this process's UTS namespace.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty() && name != "(none)").then(|| name.to_owned())
}

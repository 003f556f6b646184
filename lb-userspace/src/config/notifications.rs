//! `[notifications]`: who is told of what happens, and by what.

mod check;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::raw::{Field, Table};
use super::schema::{Key, Section};
use super::{diagnostics::Report, diagnostics::Span};
use crate::process::Script;

pub(super) use check::check;

/// `[notifications]`: mail, FIFOs, and how scripts run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notifications {
    /// Mail; `None` if nobody is to be written to.
    pub mail: Option<Mail>,
    /// Lines about everything.
    pub fifo: Fifo,
    /// Lines about VRRP instances and groups.
    pub vrrp_fifo: Fifo,
    /// Lines about virtual servers and real servers.
    pub lvs_fifo: Fifo,
    /// The account that scripts run as; `None`: `keepalived_script` if there is one, else the daemon's.
    pub script_user: Option<String>,
    /// A script that takes longer is killed.
    pub script_timeout: Duration,
}

/// A named pipe that lines are written to, and who reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fifo {
    /// Absolute; made if it is not there.
    pub path: Option<PathBuf>,
    /// Started with the path as its last argument. Only with a path.
    pub script: Option<Script>,
}

/// How mail is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mail {
    /// At least one address.
    pub to: Vec<String>,
    /// One address.
    pub from: String,
    /// The mail server: a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How we call ourselves.
    pub helo: String,
    /// Whether the connection is encrypted.
    pub security: Security,
    /// User, and the file that has the password.
    pub login: Option<(String, PathBuf)>,
    /// PEM certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The longest wait for the server's answer to a command.
    pub timeout: Duration,
    /// More are left out.
    pub rate_limit: RateLimit,
}

/// How a connection to the mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Not at all.
    #[default]
    None,
    /// From the STARTTLS command on, which is required (RFC 3207).
    Starttls,
    /// From the start (RFC 8314).
    Tls,
}

impl Security {
    /// The word of the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Starttls => "starttls",
            Self::Tls => "tls",
        }
    }

    /// The port that is usual for it.
    pub fn port(self) -> u16 {
        match self {
            Self::None => 25,
            Self::Starttls => 587,
            Self::Tls => 465,
        }
    }
}

impl super::words::Word for Security {
    const WHAT: &'static str = "a kind of encryption";
    const ALL: &'static [Self] = &[Self::None, Self::Starttls, Self::Tls];
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("start_tls", "starttls"), ("ssl", "tls"), ("smtps", "tls"), ("off", "none"), ("plain", "none")];

    fn name(self) -> &'static str {
        self.as_str()
    }
}

/// So many in such a time; as many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// 1 to 10,000.
    pub count: u32,
    /// A second, a minute, an hour or a day.
    pub period: Duration,
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = PERIODS.iter().find(|(_, seconds)| Duration::from_secs(*seconds) == self.period);
        write!(f, "{}/{}", self.count, unit.map_or("?", |(unit, _)| unit))
    }
}

/// Units of a rate, in seconds.
const PERIODS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

impl Default for Notifications {
    fn default() -> Self {
        Self {
            mail: None,
            fifo: Fifo::default(),
            vrrp_fifo: Fifo::default(),
            lvs_fifo: Fifo::default(),
            script_user: None,
            script_timeout: check::SCRIPT_TIMEOUT,
        }
    }
}

pub(super) const SECTION: Section = Section {
    header: "[notifications]",
    keys: &[
        Key { name: "email", example: "email = [\"admin@example.com\"]" },
        Key { name: "email_from", example: "email_from = \"lvs1@example.com\"" },
        Key { name: "smtp_server", example: "smtp_server = \"mail.example.com:587\"" },
        Key { name: "smtp_helo", example: "smtp_helo = \"lvs1.example.com\"" },
        Key { name: "smtp_security", example: "smtp_security = \"starttls\"" },
        Key { name: "smtp_user", example: "smtp_user = \"lvs1\"" },
        Key { name: "smtp_password_file", example: "smtp_password_file = \"/etc/lbctl/smtp-password\"" },
        Key { name: "smtp_ca_file", example: "smtp_ca_file = \"/etc/lbctl/mail-ca.pem\"" },
        Key { name: "smtp_timeout", example: "smtp_timeout = \"30s\"" },
        Key { name: "rate_limit", example: "rate_limit = \"10/m\"" },
        Key { name: "fifo", example: "fifo = \"/run/lbctl/notify\"" },
        Key { name: "fifo_script", example: "fifo_script = \"/usr/local/bin/on-notify\"" },
        Key { name: "vrrp_fifo", example: "vrrp_fifo = \"/run/lbctl/notify-vrrp\"" },
        Key { name: "vrrp_fifo_script", example: "vrrp_fifo_script = \"/usr/local/bin/on-vrrp\"" },
        Key { name: "lvs_fifo", example: "lvs_fifo = \"/run/lbctl/notify-lvs\"" },
        Key { name: "lvs_fifo_script", example: "lvs_fifo_script = \"/usr/local/bin/on-lvs\"" },
        Key { name: "script_user", example: "script_user = \"nobody\"" },
        Key { name: "script_timeout", example: "script_timeout = \"5m\"" },
    ],
};

/// `[notifications]` as it was typed, empty if the file has none.
#[derive(Debug, Default)]
pub(super) struct RawNotifications {
    span: Span,
    email: Field<Vec<Field<String>>>,
    email_from: Field<String>,
    smtp_server: Field<String>,
    smtp_helo: Field<String>,
    smtp_security: Field<String>,
    smtp_user: Field<String>,
    smtp_password_file: Field<String>,
    smtp_ca_file: Field<String>,
    smtp_timeout: Field<String>,
    rate_limit: Field<String>,
    /// `fifo`, `vrrp_fifo`, `lvs_fifo`, each with its script.
    fifos: [(Field<String>, Field<String>); 3],
    script_user: Field<String>,
    script_timeout: Field<String>,
}

pub(super) fn read(root: &Table<'_>, report: &mut Report) -> RawNotifications {
    let Some((inner, span)) = root.table("notifications", report) else {
        return RawNotifications::default();
    };
    let table = Table::read(&SECTION, inner, span, "notifications".to_owned(), report);
    RawNotifications {
        span: table.span.clone(),
        email: table.strings("email", report),
        email_from: table.string("email_from", report),
        smtp_server: table.string("smtp_server", report),
        smtp_helo: table.string("smtp_helo", report),
        smtp_security: table.string("smtp_security", report),
        smtp_user: table.string("smtp_user", report),
        smtp_password_file: table.string("smtp_password_file", report),
        smtp_ca_file: table.string("smtp_ca_file", report),
        smtp_timeout: table.string("smtp_timeout", report),
        rate_limit: table.string("rate_limit", report),
        fifos: [("fifo", "fifo_script"), ("vrrp_fifo", "vrrp_fifo_script"), ("lvs_fifo", "lvs_fifo_script")]
            .map(|(path, script)| (table.string(path, report), table.string(script, report))),
        script_user: table.string("script_user", report),
        script_timeout: table.string("script_timeout", report),
    }
}

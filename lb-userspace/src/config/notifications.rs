//! `[notifications]`: who is told of what happens, and by what.

mod check;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::raw::{Field, Table};
use super::schema::{Section, key};
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
        key(
            "email",
            "email = [\"admin@example.com\"]",
            "array of strings",
            "none",
            "mail addresses",
            "Who is written to.",
        ),
        key(
            "email_from",
            "email_from = \"lvs1@example.com\"",
            "string",
            "`lbctl@` and the host name",
            "a mail address",
            "The sender.",
        ),
        key(
            "smtp_server",
            "smtp_server = \"mail.example.com:587\"",
            "string",
            "required with `email`",
            "`\"mail.example.com:587\"`, `\"192.0.2.1\"`, `\"[2001:db8::1]:25\"`",
            "The mail server; the port is 25, 587 with `\"starttls\"`, 465 with `\"tls\"` if left out.",
        ),
        key(
            "smtp_helo",
            "smtp_helo = \"lvs1.example.com\"",
            "string",
            "the host name",
            "a host name",
            "The name to greet it with.",
        ),
        key(
            "smtp_security",
            "smtp_security = \"starttls\"",
            "string",
            "`\"none\"`",
            "`\"none\"`, `\"starttls\"`, `\"tls\"`",
            "`\"starttls\"`: encrypted after STARTTLS, or not sent. `\"tls\"`: encrypted from the start. \
             The server's certificate is verified in both.",
        ),
        key("smtp_user", "smtp_user = \"lvs1\"", "string", "none", "", "The account to log in as."),
        key(
            "smtp_password_file",
            "smtp_password_file = \"/etc/lbctl/smtp-password\"",
            "string",
            "none",
            "a full path",
            "The file that has its password in its first line.",
        ),
        key(
            "smtp_ca_file",
            "smtp_ca_file = \"/etc/lbctl/mail-ca.pem\"",
            "string",
            "none",
            "a full path",
            "Certificates (PEM) that are trusted besides the system's.",
        ),
        key(
            "smtp_timeout",
            "smtp_timeout = \"30s\"",
            "string",
            "`\"30s\"`",
            "1 s to 10 min",
            "The longest wait for the server.",
        ),
        key(
            "rate_limit",
            "rate_limit = \"10/m\"",
            "string",
            "`\"10/m\"`",
            "1 to 10,000 per `s`, `m`, `h`, `d`",
            "So many mails; what is beyond is listed in one mail afterwards.",
        ),
        key(
            "fifo",
            "fifo = \"/run/lbctl/notify\"",
            "string",
            "none",
            "a full path",
            "A named pipe that gets a line for everything that happens.",
        ),
        key(
            "fifo_script",
            "fifo_script = \"/usr/local/bin/on-notify\"",
            "string",
            "none",
            "a command",
            "Started with the path of `fifo` as its last argument.",
        ),
        key(
            "vrrp_fifo",
            "vrrp_fifo = \"/run/lbctl/notify-vrrp\"",
            "string",
            "none",
            "a full path",
            "As `fifo`, for VRRP instances and groups only.",
        ),
        key(
            "vrrp_fifo_script",
            "vrrp_fifo_script = \"/usr/local/bin/on-vrrp\"",
            "string",
            "none",
            "a command",
            "Started with the path of `vrrp_fifo`.",
        ),
        key(
            "lvs_fifo",
            "lvs_fifo = \"/run/lbctl/notify-lvs\"",
            "string",
            "none",
            "a full path",
            "As `fifo`, for virtual servers and real servers only.",
        ),
        key(
            "lvs_fifo_script",
            "lvs_fifo_script = \"/usr/local/bin/on-lvs\"",
            "string",
            "none",
            "a command",
            "Started with the path of `lvs_fifo`.",
        ),
        key(
            "script_user",
            "script_user = \"nobody\"",
            "string",
            "`keepalived_script` if it exists, else root",
            "a local account",
            "Who runs all the scripts that are told of something.",
        ),
        key(
            "script_timeout",
            "script_timeout = \"5m\"",
            "string",
            "`\"5m\"`",
            "1 s to 1 day",
            "A script that takes longer is killed.",
        ),
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

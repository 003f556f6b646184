//! What `[notifications]` means.

use std::path::PathBuf;
use std::time::Duration;

use super::{Fifo, Mail, Notifications, PERIODS, RateLimit, RawNotifications, Security};
use crate::config::command::command;
use crate::config::diagnostics::{Report, Span, quoted};
use crate::config::raw::Field;
use crate::config::values::{duration, text};
use crate::config::words::word;

pub(super) const SCRIPT_TIMEOUT: Duration = Duration::from_secs(300);
const SMTP_TIMEOUT: Duration = Duration::from_secs(30);
const RATE_LIMIT: RateLimit = RateLimit { count: 10, period: Duration::from_secs(60) };
const MAX_RATE: u32 = 10_000;

type Problem = Option<(String, String)>;

/// Checks the section. `host_name` is asked only if mail is sent and the file does not say as whom.
pub(in crate::config) fn check(
    raw: RawNotifications,
    host_name: fn() -> Option<String>,
    report: &mut Report,
) -> Option<Notifications> {
    let limits = (Duration::from_secs(1), Duration::from_secs(86_400));
    let script_timeout =
        duration(&raw.script_timeout, "notifications.script_timeout", limits, SCRIPT_TIMEOUT, report);
    let script_user = text(raw.script_user, "notifications.script_user", account_problem, report);
    let [fifo, vrrp_fifo, lvs_fifo] = raw.fifos;
    let fifos = [
        fifo_of(fifo, "fifo", report),
        fifo_of(vrrp_fifo, "vrrp_fifo", report),
        fifo_of(lvs_fifo, "lvs_fifo", report),
    ];
    let is_distinct = distinct(&fifos, report);
    let mail = mail(
        RawMail {
            span: raw.span,
            email: raw.email,
            from: raw.email_from,
            server: raw.smtp_server,
            helo: raw.smtp_helo,
            security: raw.smtp_security,
            user: raw.smtp_user,
            password_file: raw.smtp_password_file,
            ca_file: raw.smtp_ca_file,
            timeout: raw.smtp_timeout,
            rate_limit: raw.rate_limit,
        },
        host_name,
        report,
    );
    let [fifo, vrrp_fifo, lvs_fifo] = fifos.map(|found| found.map(|(fifo, _)| fifo));
    is_distinct.then_some(Notifications {
        mail: mail?,
        fifo: fifo?,
        vrrp_fifo: vrrp_fifo?,
        lvs_fifo: lvs_fifo?,
        script_user: script_user?,
        script_timeout: script_timeout?,
    })
}

fn fifo_of(
    (path, script): (Field<String>, Field<String>),
    name: &str,
    report: &mut Report,
) -> Option<(Fifo, Span)> {
    let key = format!("notifications.{name}");
    let script_key = format!("notifications.{name}_script");
    let span = match (&path, &script) {
        (Field::Absent, Field::Given(_, span)) => {
            let help = format!("write {name} = \"/run/lbctl/{}\" too", name.replace('_', "-"));
            report.error(span, &script_key, format!("there is no {name} that it could read"), help);
            return None;
        }
        (Field::Given(_, span), _) => span.clone(),
        _ => Span::default(),
    };
    let path = text(path, &key, absolute_problem, report);
    let script = command(script, &script_key, report);
    Some((Fifo { path: path?.map(PathBuf::from), script: script? }, span))
}

/// Two FIFOs of one path would mix their lines.
fn distinct(fifos: &[Option<(Fifo, Span)>; 3], report: &mut Report) -> bool {
    let mut is_distinct = true;
    let given: Vec<_> = [("fifo", 0), ("vrrp_fifo", 1), ("lvs_fifo", 2)]
        .into_iter()
        .filter_map(|(name, index)| {
            let (fifo, span) = fifos.get(index)?.as_ref()?;
            Some((name, fifo.path.as_ref()?, span))
        })
        .collect();
    for (index, (name, path, span)) in given.iter().enumerate() {
        let Some((_, _, first)) = given.iter().take(index).find(|(_, other, _)| other == path) else {
            continue;
        };
        let message = format!("{} is another FIFO's path", quoted(&path.display().to_string()));
        report
            .error(span, format!("notifications.{name}"), message, "give each FIFO a path of its own")
            .label("again here")
            .related(first, "first used here");
        is_distinct = false;
    }
    is_distinct
}

/// What concerns mail, as it was typed.
struct RawMail {
    span: Span,
    email: Field<Vec<Field<String>>>,
    from: Field<String>,
    server: Field<String>,
    helo: Field<String>,
    security: Field<String>,
    user: Field<String>,
    password_file: Field<String>,
    ca_file: Field<String>,
    timeout: Field<String>,
    rate_limit: Field<String>,
}

/// `Some(None)`: no mail is wanted.
fn mail(raw: RawMail, host_name: fn() -> Option<String>, report: &mut Report) -> Option<Option<Mail>> {
    let to = recipients(raw.email, report);
    let has_server = matches!(raw.server, Field::Given(..));
    let security: Option<Security> = word(&raw.security, "notifications.smtp_security", report);
    let server_span = if let Field::Given(_, span) = &raw.server { span.clone() } else { raw.span.clone() };
    let server = text(raw.server, "notifications.smtp_server", |text| server(text).err(), report);
    let from = text(raw.from, "notifications.email_from", address_problem, report);
    let helo = text(raw.helo, "notifications.smtp_helo", host_problem, report);
    let limits = (Duration::from_secs(1), Duration::from_secs(600));
    let timeout = duration(&raw.timeout, "notifications.smtp_timeout", limits, SMTP_TIMEOUT, report);
    let rate_limit = rate_limit(&raw.rate_limit, report);
    let ca_file = text(raw.ca_file, "notifications.smtp_ca_file", absolute_problem, report);
    let login = login(raw.user, raw.password_file, security, report);
    let to = to?;
    if to.is_empty() {
        if has_server {
            let message = "nobody is written to: there is no email";
            report.warning(
                &server_span,
                "notifications.smtp_server",
                message,
                "write email = [\"admin@example.com\"]",
            );
        }
        // Whatever was wrong has been reported.
        return Some(None);
    }
    let (from, server) = (from?, server?);
    let Some(server_text) = server else {
        let help = "write smtp_server = \"127.0.0.1:25\" under [notifications]";
        report.error(
            &raw.span,
            "notifications.smtp_server",
            "is missing, and there is an email to write to",
            help,
        );
        return None;
    };
    let host = host_name().filter(|name| host_problem(name).is_none());
    let from = from.or_else(|| {
        Some(format!("lbctl@{}", host.as_deref()?)).filter(|text| address_problem(text).is_none())
    });
    let Some(from) = from else {
        let message = "is missing, and the host name cannot be part of a mail address";
        report.error(
            &raw.span,
            "notifications.email_from",
            message,
            "write email_from = \"lvs1@example.com\"",
        );
        return None;
    };
    let security = security?;
    let (name, port) = super::check::server(&server_text).ok()?;
    Some(Some(Mail {
        to,
        from,
        host: name,
        port: port.unwrap_or(security.port()),
        helo: helo?.or(host).unwrap_or_else(|| "localhost".to_owned()),
        security,
        login: login?,
        ca_file: ca_file?.map(PathBuf::from),
        timeout: timeout?,
        rate_limit: rate_limit?,
    }))
}

fn recipients(field: Field<Vec<Field<String>>>, report: &mut Report) -> Option<Vec<String>> {
    let fields = match field {
        Field::Absent => return Some(Vec::new()),
        Field::Refused => return None,
        Field::Given(fields, _) => fields,
    };
    let addresses: Vec<_> = fields
        .into_iter()
        .enumerate()
        .map(|(index, field)| text(field, &format!("notifications.email[{index}]"), address_problem, report)?)
        .collect();
    addresses.into_iter().collect()
}

fn login(
    user: Field<String>,
    password_file: Field<String>,
    security: Option<Security>,
    report: &mut Report,
) -> Option<Option<(String, PathBuf)>> {
    const USER: &str = "notifications.smtp_user";
    const FILE: &str = "notifications.smtp_password_file";
    let spans = (span_of(&user), span_of(&password_file));
    let user = text(
        user,
        USER,
        |text| text.is_empty().then(|| ("is empty".to_owned(), "write the account's name".to_owned())),
        report,
    );
    let file = text(password_file, FILE, absolute_problem, report);
    match (user?, file?, spans) {
        (Some(user), Some(file), (Some(span), _)) => {
            if security == Some(Security::None) {
                let message = "the password goes over the network as it is";
                report.warning(&span, USER, message, "write smtp_security = \"starttls\" or \"tls\"");
            }
            Some(Some((user, PathBuf::from(file))))
        }
        (Some(_), None, (Some(span), _)) => {
            let help =
                "write smtp_password_file = \"/etc/lbctl/smtp-password\", a file that only root can read";
            report.error(&span, USER, "there is no password for it", help);
            None
        }
        (None, Some(_), (_, Some(span))) => {
            report.error(&span, FILE, "there is no user for it", "write smtp_user = \"lvs1\" too");
            None
        }
        _ => Some(None),
    }
}

fn span_of<T>(field: &Field<T>) -> Option<Span> {
    match field {
        Field::Given(_, span) => Some(span.clone()),
        Field::Absent | Field::Refused => None,
    }
}

fn rate_limit(field: &Field<String>, report: &mut Report) -> Option<RateLimit> {
    let (text, span) = match field {
        Field::Absent => return Some(RATE_LIMIT),
        Field::Refused => return None,
        Field::Given(text, span) => (text, span),
    };
    let read = || {
        let (count, unit) = text.split_once('/')?;
        let (_, seconds) = PERIODS.iter().find(|(name, _)| *name == unit.trim())?;
        let count = count.trim().parse().ok().filter(|count| (1..=MAX_RATE).contains(count))?;
        Some(RateLimit { count, period: Duration::from_secs(*seconds) })
    };
    let rate = read();
    if rate.is_none() {
        let help = format!("write a number up to {MAX_RATE} per s, m, h or d, such as \"10/m\"");
        report.error(span, "notifications.rate_limit", format!("{} is not a rate", quoted(text)), help);
    }
    rate
}

/// Splits `mail.example.com:587`, `192.0.2.1`, `[2001:db8::1]:25`.
fn server(text: &str) -> Result<(String, Option<u16>), (String, String)> {
    let problem = || {
        let message = format!("{} is not a host with or without a port", quoted(text));
        (message, "write \"mail.example.com:587\", \"192.0.2.1\" or \"[2001:db8::1]:25\"".to_owned())
    };
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((text.to_owned(), None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(problem)?;
            (host, Some(port))
        }
        _ => (text, None),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => Ok((address.to_owned(), port)),
        None if host_problem(host).is_none() => Ok((host.to_owned(), port)),
        _ => Err(problem()),
    }
}

fn host_problem(text: &str) -> Problem {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_host =
        !text.is_empty() && text.len() <= 253 && text.chars().all(fits) && !text.starts_with(['-', '.']);
    (!is_host).then(|| {
        (
            format!("{} is not a host name", quoted(text)),
            "write a name such as \"lvs1.example.com\"".to_owned(),
        )
    })
}

fn address_problem(text: &str) -> Problem {
    let is_address = text.parse::<lettre::Address>().is_ok();
    let help = match text.contains('@') {
        true => "write it like this: \"admin@example.com\"".to_owned(),
        false => format!("write its domain too: {}", quoted(&format!("{}@localhost", text.trim()))),
    };
    (!is_address).then(|| (format!("{} is not a mail address", quoted(text)), help))
}

fn absolute_problem(text: &str) -> Problem {
    let message = if text.contains('\0') {
        format!("{} has a zero byte", quoted(text))
    } else if text.starts_with('/') && !text.ends_with('/') {
        return None;
    } else {
        format!("{} is not the full path of a file", quoted(text))
    };
    Some((message, "write a path that begins with / and names a file".to_owned()))
}

fn account_problem(text: &str) -> Problem {
    let fits = !text.is_empty() && text.len() <= 32 && !text.contains([':', '/', '\0', ' ', '\n']);
    (!fits).then(|| {
        (format!("{} is not an account", quoted(text)), "write the name of a local account".to_owned())
    })
}

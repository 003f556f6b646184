//! `[notifications]`: what is accepted, and what is said about the rest.

use std::time::Duration;

use super::*;
use crate::config::tests::DIRECTOR;
use crate::config::tests::parse_here;
use crate::config::tests::refused::refuses;

fn section(lines: &str) -> String {
    format!("{DIRECTOR}[[virtual_server]]\naddress = \"192.168.4.15:80\"\n[notifications]\n{lines}\n")
}

fn accepted(lines: &str) -> Notifications {
    parse_here(&section(lines)).unwrap_or_else(|error| panic!("{error}")).notifications
}

#[test]
fn nothing_is_sent_by_default() {
    assert_eq!(accepted(""), Notifications::default());
    assert_eq!(accepted("email = []").mail, None);
}

#[test]
fn the_mail_of_the_tutorials() {
    let mail = accepted(
        "email = [\"root@localhost\", \"admin@example.com\"]\nemail_from = \"ka@localhost\"\nsmtp_server = \"127.0.0.1\"\nsmtp_timeout = \"30s\"",
    )
    .mail
    .unwrap();
    assert_eq!(mail.to, ["root@localhost", "admin@example.com"]);
    assert_eq!((mail.from.as_str(), mail.host.as_str(), mail.port), ("ka@localhost", "127.0.0.1", 25));
    assert_eq!((mail.security, mail.login, mail.timeout), (Security::None, None, Duration::from_secs(30)));
    assert_eq!(mail.rate_limit.to_string(), "10/m");
}

#[test]
fn a_submission_server() {
    let of = |server: &str, security: &str| {
        let mail = accepted(&format!(
            "email = [\"a@b.example\"]\nemail_from = \"c@d.example\"\nsmtp_server = \"{server}\"\nsmtp_security = \"{security}\"\nsmtp_user = \"u\"\nsmtp_password_file = \"/etc/p\""
        ));
        mail.mail.map(|mail| (mail.host, mail.port)).unwrap()
    };
    assert_eq!(of("mail.example.com", "starttls"), ("mail.example.com".to_owned(), 587));
    assert_eq!(of("mail.example.com", "tls"), ("mail.example.com".to_owned(), 465));
    assert_eq!(of("[2001:db8::1]:2525", "tls"), ("2001:db8::1".to_owned(), 2525));
    assert_eq!(of("2001:db8::1", "tls"), ("2001:db8::1".to_owned(), 465));
}

#[test]
fn pipes_and_their_scripts() {
    let found = accepted("fifo = \"/run/a\"\nfifo_script = \"/bin/read 'a b'\"\nlvs_fifo = \"/run/b\"");
    assert_eq!(found.fifo.path, Some(PathBuf::from("/run/a")));
    assert_eq!(found.fifo.script.unwrap().words, ["/bin/read", "a b"]);
    assert_eq!(found.lvs_fifo, Fifo { path: Some(PathBuf::from("/run/b")), script: None });
    assert_eq!(found.vrrp_fifo, Fifo::default());
}

#[test]
fn what_is_wrong_is_said() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "email = [\"root\"]\nsmtp_server = \"a\"",
            "notifications.email[0]",
            "write its domain too: \"root@localhost\"",
        ),
        ("email = [\"a@b@c\"]\nsmtp_server = \"a\"", "notifications.email[0]", "is not a mail address"),
        ("email_from = \"\"", "notifications.email_from", "is not a mail address"),
        ("smtp_server = \"a:b\"", "notifications.smtp_server", "is not a host with or without a port"),
        ("smtp_server = \"a:0\"", "notifications.smtp_server", "is not a host with or without a port"),
        ("smtp_server = \"[::1\"", "notifications.smtp_server", "is not a host"),
        ("smtp_helo = \"a b\"", "notifications.smtp_helo", "is not a host name"),
        ("smtp_security = \"ssl\"", "notifications.smtp_security", "did you mean \"tls\"?"),
        ("smtp_timeout = \"0s\"", "notifications.smtp_timeout", "is out of range"),
        (
            "rate_limit = \"10\"",
            "notifications.rate_limit",
            "\"10\" is not a rate; write a number up to 10000",
        ),
        ("rate_limit = \"0/m\"", "notifications.rate_limit", "is not a rate"),
        ("smtp_password_file = \"/a\"", "notifications.smtp_password_file", "there is no user for it"),
        ("smtp_user = \"a\"", "notifications.smtp_user", "there is no password for it"),
        ("fifo = \"a\"", "notifications.fifo", "is not the full path of a file"),
        ("fifo_script = \"a\"", "notifications.fifo_script", "there is no fifo that it could read"),
        ("script_user = \"a:b\"", "notifications.script_user", "is not an account"),
        ("notification_email = []", "notifications.notification_email", "it is called `email` here"),
    ];
    for (lines, key, part) in cases {
        refuses(&section(lines), &[(DIRECTOR.lines().count() + 4, key, part)]);
    }
    let first = DIRECTOR.lines().count() + 3;
    refuses(
        &section("email = [\"a@b.example\"]"),
        &[(first, "notifications.smtp_server", "is missing, and there is an email to write to")],
    );
    refuses(
        &section("fifo = \"/a\"\nlvs_fifo = \"/a\""),
        &[(first + 2, "notifications.lvs_fifo", "is another FIFO's path")],
    );
}

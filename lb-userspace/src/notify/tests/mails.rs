//! Mail through a server.

use super::server::{Manner, Server};
use super::*;
use crate::config::notifications::{Mail, RateLimit, Security};

struct Lab {
    dir: tempfile::TempDir,
    server: Server,
    config: Config,
}

impl Lab {
    async fn new(manner: Manner) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca_file = dir.path().join("ca.pem");
        let security = manner.security;
        let server = Server::start(manner, &ca_file).await;
        let mut config = quiet(config());
        config.notifications.mail = Some(Mail {
            to: vec!["admin@example.com".to_owned(), "root@localhost".to_owned()],
            from: "ka@localhost".to_owned(),
            host: "localhost".to_owned(),
            port: server.port,
            helo: "lvs1.example.com".to_owned(),
            security,
            login: None,
            ca_file: Some(ca_file),
            timeout: PATIENCE,
            rate_limit: RateLimit { count: 10, period: Duration::from_secs(3600) },
        });
        Self { dir, server, config }
    }

    fn mail(&mut self) -> &mut Mail {
        self.config.notifications.mail.as_mut().unwrap()
    }
}

#[tokio::test]
async fn a_mail_is_keepalived_s() {
    let lab = Lab::new(Manner::default()).await;
    let service = Service::start(&lab.config);
    service.notifier().send(real_server(false, "connection refused", UpDown::default()));
    service.close(PATIENCE).await;
    let arrived = lab.server.arrived();
    assert_eq!(arrived.len(), 1);
    let mail = &arrived[0];
    assert_eq!(mail.helo, "lvs1.example.com");
    assert_eq!(mail.from, "FROM:<ka@localhost>");
    assert_eq!(mail.to, ["TO:<admin@example.com>", "TO:<root@localhost>"]);
    let header = |name: &str| {
        let start = format!("{name}: ");
        let at = mail.lines.iter().position(|line| line.starts_with(&start)).unwrap();
        // Long ones go on in lines that begin with a space.
        let rest = mail.lines[at + 1..].iter().take_while(|line| line.starts_with(' '));
        let text: String = std::iter::once(&mail.lines[at]).chain(rest).map(String::as_str).collect();
        text[start.len()..].to_owned()
    };
    assert_eq!(
        header("Subject"),
        "[lvs1] Realserver [192.168.4.100]:tcp:8080 of virtual server [192.168.4.15]:tcp:80 - DOWN"
    );
    assert_eq!(header("To"), "admin@example.com, root@localhost");
    assert_eq!(header("From"), "ka@localhost");
    assert_eq!(header("Auto-Submitted"), "auto-generated");
    assert!(header("Date").len() > 20 && header("Message-ID").ends_with("@lvs1.example.com>"));
    let body: Vec<_> = mail.lines.iter().skip_while(|line| !line.is_empty()).skip(1).collect();
    assert_eq!(body, ["=> CHECK failed on service : connection refused <="]);
}

#[tokio::test]
async fn a_submission_server_is_spoken_to_encrypted_and_with_a_password() {
    for security in [Security::Starttls, Security::Tls] {
        // base64 of "\0lvs1\0secret"
        let login = Some("AGx2czEAc2VjcmV0".to_owned());
        let mut lab = Lab::new(Manner { security, login, ..Manner::default() }).await;
        let file = lab.dir.path().join("password");
        std::fs::write(&file, "secret\n").unwrap();
        lab.mail().login = Some(("lvs1".to_owned(), file));
        let service = Service::start(&lab.config);
        service.notifier().send(quorum(false, false, 0));
        service.close(PATIENCE).await;
        let arrived = lab.server.arrived();
        assert_eq!(arrived.len(), 1, "{security:?}");
        assert!(arrived[0].encrypted, "{security:?}");
    }
}

#[tokio::test]
async fn nothing_is_sent_in_the_clear_or_to_a_stranger() {
    // The server offers no STARTTLS.
    let mut lab = Lab::new(Manner::default()).await;
    lab.mail().security = Security::Starttls;
    let service = Service::start(&lab.config);
    service.notifier().send(quorum(false, false, 0));
    service.close(PATIENCE).await;
    assert_eq!((lab.server.arrived().len(), lab.server.connections() > 0), (0, true));
    // Nobody has signed its certificate.
    let mut lab = Lab::new(Manner { security: Security::Tls, ..Manner::default() }).await;
    lab.mail().ca_file = None;
    let service = Service::start(&lab.config);
    service.notifier().send(quorum(false, false, 0));
    service.close(PATIENCE).await;
    assert_eq!((lab.server.arrived().len(), lab.server.connections() > 0), (0, true));
}

#[tokio::test]
async fn one_unknown_recipient_does_not_cost_the_others_their_mail() {
    let lab = Lab::new(Manner { unknown: Some("admin@".to_owned()), ..Manner::default() }).await;
    let service = Service::start(&lab.config);
    service.notifier().send(quorum(true, false, 9));
    service.close(PATIENCE).await;
    let to: Vec<_> = lab.server.arrived().into_iter().map(|mail| mail.to).collect();
    assert_eq!(to, [["TO:<root@localhost>"]]);
}

#[tokio::test]
async fn a_storm_is_summed_up() {
    let lab = Lab::new(Manner::default()).await;
    let service = Service::start(&lab.config);
    for _ in 0..100 {
        service.notifier().send(real_server(false, "", UpDown::default()));
    }
    until(|| lab.server.arrived().len() == 10).await;
    service.close(PATIENCE).await;
    let arrived = lab.server.arrived();
    assert_eq!(arrived.len(), 11);
    assert!(arrived[10].lines.iter().any(|line| line == "Subject: [lvs1] 90 notifications in one"));
}

#[tokio::test]
async fn mail_waits_for_a_busy_server_and_nothing_waits_for_mail() {
    let lab = Lab::new(Manner { busy: 1, ..Manner::default() }).await;
    let done = lab.dir.path().join("done");
    let service = Service::start(&lab.config);
    let commands = UpDown { up: Some(shell(&format!("echo x > {}", done.display()))), down: None };
    service.notifier().send(real_server(true, "", commands));
    until(|| done.exists() && lab.server.connections() == 1).await;
    assert_eq!(lab.server.arrived().len(), 0);
    service.close(PATIENCE).await;
    assert_eq!(lab.server.arrived().len(), 1, "the end does not wait for the next attempt");
}

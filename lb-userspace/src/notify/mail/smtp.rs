//! One mail to the server.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use super::Sender;
use super::queue::Mail;
use crate::config::notifications::{Mail as Settings, Security};

/// A whole mail may take so many times the wait for one answer.
const ANSWERS: u32 = 4;

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{server}: {source_chain}")]
    Smtp {
        server: String,
        source_chain: String,
        /// It would be refused again.
        is_final: bool,
    },
    #[error("{server}: no answer within {}", humantime::format_duration(*.within))]
    Timeout { server: String, within: Duration },
    #[error("{path}: {source}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{0}")]
    Message(String),
}

impl Failure {
    /// Whether trying again is of no use.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Smtp { is_final, .. } => *is_final,
            Self::Message(_) => true,
            Self::Timeout { .. } | Self::File { .. } => false,
        }
    }
}

/// Sends a mail about something that happened at `when`.
pub(super) async fn send(sender: &Sender, mail: &Mail, when: SystemTime) -> Result<(), Failure> {
    let settings = &sender.settings;
    let message = message(sender, mail, when)?;
    let transport = transport(settings).await?;
    let server = || format!("{}:{}", settings.host, settings.port);
    let within = settings.timeout.saturating_mul(ANSWERS);
    match tokio::time::timeout(within, transport.send(message)).await {
        Ok(Ok(_response)) => Ok(()),
        Ok(Err(error)) => Err(failure(server(), &error)),
        Err(_elapsed) => Err(Failure::Timeout { server: server(), within }),
    }
}

fn failure(server: String, error: &lettre::transport::smtp::Error) -> Failure {
    // 530 to 538 are about the log-in (RFC 4954): the account is at fault, not the mail.
    let code = error.status().map(u16::from);
    let is_login = code.is_some_and(|code| (530..=538).contains(&code));
    let mut source_chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !source_chain.contains(&text) {
            source_chain = format!("{source_chain}: {text}");
        }
        source = cause.source();
    }
    Failure::Smtp { server, source_chain, is_final: error.is_permanent() && !is_login }
}

fn message(sender: &Sender, mail: &Mail, when: SystemTime) -> Result<Message, Failure> {
    let settings = &sender.settings;
    let mailbox = |text: &str| {
        let address: Address = text.parse().map_err(|error| Failure::Message(format!("{text}: {error}")))?;
        Ok::<_, Failure>(Mailbox::new(None, address))
    };
    let since_epoch = when.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let id = format!("<{}.{}@{}>", since_epoch.as_nanos(), std::process::id(), settings.helo);
    let mut builder = Message::builder()
        .date(when)
        .message_id(Some(id))
        .from(mailbox(&settings.from)?)
        .subject(format!("[{}] {}", sender.router_id, mail.letter.subject))
        .user_agent(concat!("lbctl/", env!("CARGO_PKG_VERSION")).to_owned());
    // So that nobody's absence is answered (RFC 3834).
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    builder = builder.raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
    for to in mail.only.as_ref().map_or(settings.to.as_slice(), std::slice::from_ref) {
        builder = builder.to(mailbox(to)?);
    }
    let body = mail.letter.body.trim_end().replace('\n', "\r\n");
    builder.body(body).map_err(|error| Failure::Message(error.to_string()))
}

async fn transport(settings: &Settings) -> Result<AsyncSmtpTransport<Tokio1Executor>, Failure> {
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
        .port(settings.port)
        .timeout(Some(settings.timeout))
        .hello_name(ClientId::Domain(settings.helo.clone()));
    builder = match settings.security {
        Security::None => builder,
        Security::Starttls => builder.tls(Tls::Required(tls(settings).await?)),
        Security::Tls => builder.tls(Tls::Wrapper(tls(settings).await?)),
    };
    if let Some((user, file)) = &settings.login {
        let text = tokio::fs::read_to_string(file)
            .await
            .map_err(|source| Failure::File { path: file.display().to_string(), source })?;
        let password = text.lines().next().unwrap_or_default().to_owned();
        builder = builder.credentials(Credentials::new(user.clone(), password));
    }
    Ok(builder.build())
}

/// Reads the system's certificates, which may take its time.
async fn tls(settings: &Settings) -> Result<TlsParameters, Failure> {
    let Settings { host, port, ca_file, .. } = settings.clone();
    let parameters = tokio::task::spawn_blocking(move || {
        let failed = |error: &lettre::transport::smtp::Error| failure(format!("{host}:{port}"), error);
        let mut builder = TlsParameters::builder(host.clone());
        if let Some(path) = ca_file {
            let pem = std::fs::read(&path)
                .map_err(|source| Failure::File { path: path.display().to_string(), source })?;
            builder =
                builder.add_root_certificate(Certificate::from_pem(&pem).map_err(|error| failed(&error))?);
        }
        builder.build().map_err(|error| failed(&error))
    });
    parameters.await.map_err(|error| Failure::Message(error.to_string()))?
}

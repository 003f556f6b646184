//! A mail server that does what a test wants and keeps what it was given.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::config::notifications::Security;

/// What the server is like.
#[derive(Clone, Debug, Default)]
pub(super) struct Manner {
    pub(super) security: Security,
    /// The only log-in it takes, base64 of "\0user\0password"; it takes no mail without.
    pub(super) login: Option<String>,
    /// So many connections get a 421 instead of a greeting.
    pub(super) busy: usize,
    /// A recipient that it does not know.
    pub(super) unknown: Option<String>,
}

/// A mail that arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) helo: String,
    pub(super) from: String,
    pub(super) to: Vec<String>,
    pub(super) lines: Vec<String>,
    pub(super) encrypted: bool,
}

#[derive(Clone, Debug, Default)]
struct State {
    arrived: Arc<Mutex<Vec<Arrived>>>,
    connections: Arc<Mutex<usize>>,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) port: u16,
    state: State,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts one on a port of the loopback; its certificate is written to `certificate`.
    pub(super) async fn start(manner: Manner, certificate: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(certificate, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(
            tokio_rustls::rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State::default();
        let task = tokio::spawn(serve(listener, manner, acceptor, state.clone()));
        Self { port, state, task }
    }

    pub(super) fn arrived(&self) -> Vec<Arrived> {
        self.state.arrived.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }
}

async fn serve(listener: TcpListener, manner: Manner, acceptor: TlsAcceptor, state: State) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let count = {
            let mut connections = state.connections.lock().unwrap();
            *connections += 1;
            *connections
        };
        let (manner, acceptor, state) = (manner.clone(), acceptor.clone(), state.clone());
        // A client may go away in the middle of anything.
        tokio::spawn(async move { drop(talk(stream, count, &manner, acceptor, &state).await) });
    }
}

async fn talk(
    mut stream: TcpStream,
    count: usize,
    manner: &Manner,
    acceptor: TlsAcceptor,
    state: &State,
) -> std::io::Result<()> {
    if count <= manner.busy {
        return stream.write_all(b"421 busy\r\n").await;
    }
    if manner.security == Security::Tls {
        let stream = acceptor.accept(stream).await?;
        return session(stream, true, true, manner, state).await.map(drop);
    }
    match session(stream, true, false, manner, state).await? {
        None => Ok(()),
        Some(stream) => {
            let stream = acceptor.accept(stream).await?;
            session(stream, false, true, manner, state).await.map(drop)
        }
    }
}

/// Returns the stream where encryption begins.
async fn session<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    greet: bool,
    encrypted: bool,
    manner: &Manner,
    state: &State,
) -> std::io::Result<Option<S>> {
    let mut stream = BufStream::new(stream);
    if greet {
        say(&mut stream, "220 test").await?;
    }
    let mut mail = Arrived { encrypted, ..Arrived::default() };
    let mut is_known = manner.login.is_none();
    let offers_tls = manner.security == Security::Starttls && !encrypted;
    loop {
        let line = read(&mut stream).await?;
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match verb {
            "EHLO" => {
                mail.helo = rest.to_owned();
                if offers_tls {
                    say(&mut stream, "250-STARTTLS").await?;
                }
                if manner.login.is_some() {
                    say(&mut stream, "250-AUTH PLAIN").await?;
                }
                "250 test"
            }
            "STARTTLS" if offers_tls => {
                say(&mut stream, "220 go").await?;
                return Ok(Some(stream.into_inner()));
            }
            "AUTH" => {
                is_known = rest.strip_prefix("PLAIN ") == manner.login.as_deref();
                if is_known { "235 welcome" } else { "535 wrong" }
            }
            "MAIL" if !is_known => "530 who are you?",
            "MAIL" => {
                mail.from = rest.to_owned();
                mail.to.clear();
                "250 ok"
            }
            "RCPT" if manner.unknown.as_ref().is_some_and(|unknown| rest.contains(unknown)) => {
                "550 no such user"
            }
            "RCPT" => {
                mail.to.push(rest.to_owned());
                "250 ok"
            }
            "DATA" => {
                say(&mut stream, "354 go").await?;
                mail.lines.clear();
                loop {
                    let line = read(&mut stream).await?;
                    if line == "." {
                        break;
                    }
                    mail.lines.push(line);
                }
                state.arrived.lock().unwrap().push(mail.clone());
                "250 kept"
            }
            "QUIT" => return say(&mut stream, "221 bye").await.map(|()| None),
            "RSET" | "NOOP" => "250 ok",
            _ => "500 what?",
        };
        say(&mut stream, answer).await?;
    }
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufStream<S>,
    line: &str,
) -> std::io::Result<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    stream.flush().await
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufStream<S>) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

//! Health checks as they are meant: what is checked, when, and what follows from the results.
//!
//! Defaults are keepalived's unless a field says otherwise (`queue_checker` in its `check_api.c`).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::model::RealServer;
use crate::process::Script;

/// What a virtual server does about the health of its real servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceHealth {
    /// A new virtual server starts without quorum and its real servers start down, until their checks pass.
    pub alpha: bool,
    /// When the director stops, the notifications of real servers going down and of the lost quorum are sent.
    pub omega: bool,
    /// The sum of the weights of healthy real servers at which the virtual server is up; at least 1.
    pub quorum: u32,
    /// The quorum is gained at `quorum + hysteresis` and lost below `quorum - hysteresis`.
    pub hysteresis: u32,
    /// Who serves when the quorum is lost. Its own `health` is not used.
    pub sorry_server: Option<Box<RealServer>>,
    /// The sorry server stays in the table with weight 0 while there is a quorum.
    pub sorry_server_inhibit: bool,
    /// Percentage from 0 to 100: with fewer healthy real servers than this, all are kept in rotation. 0: never.
    pub min_up: u8,
    /// Nothing is checked while the virtual server's address is not on this host.
    pub ha_suspend: bool,
    /// The keys that its real servers inherit, as lines of TOML: those that come at run time are read with them.
    #[serde(skip)]
    pub inherited_keys: String,
}

impl Default for ServiceHealth {
    fn default() -> Self {
        Self {
            alpha: false,
            omega: false,
            quorum: 1,
            hysteresis: 0,
            sorry_server: None,
            sorry_server_inhibit: false,
            min_up: 0,
            ha_suspend: false,
            inherited_keys: String::new(),
        }
    }
}

/// What is done about the health of one real server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ServerHealth {
    /// A failed real server stays in the table with weight 0 instead of being removed.
    pub inhibit_on_failure: bool,
    /// It starts down, until all its checks pass.
    pub alpha: bool,
    /// How long its weight takes to grow to the configured one after a recovery; zero: at once.
    #[serde(serialize_with = "seconds")]
    pub slow_start: Duration,
    /// All must pass: those of the virtual server first, then its own.
    pub checks: Vec<Check>,
}

/// One check of one real server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is done, and what is expected of it.
    pub probe: Probe,
    /// When.
    pub timing: Timing,
    /// 0: a failure takes the real server out of rotation. Below 0: a failure lowers its weight by so much. Above 0: a
    /// success raises it. For a file: the factor of its number. As keepalived's `weight` of trackers.
    pub weight: i32,
}

/// What a check does: two checks with equal probes ask the same question.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Probe {
    /// What is done.
    pub kind: ProbeKind,
    /// Who is asked. The port is 0 where none is used.
    pub connect: SocketAddr,
    /// The local address; else the kernel chooses.
    pub source: Option<IpAddr>,
    /// `SO_MARK` of its packets.
    pub fwmark: Option<u32>,
}

/// The types of checks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// A connection can be opened.
    Tcp,
    /// An HTTP request is answered as expected, over TLS or not.
    Http(Box<HttpProbe>),
    /// A mail server greets, and takes HELO.
    Smtp {
        /// The name we give.
        helo: String,
    },
    /// A name server answers a query without an error.
    Dns(DnsProbe),
    /// A datagram is not refused, and is answered if an answer is expected.
    Udp {
        /// What is sent.
        payload: Bytes,
        /// How an answer must begin; `None`: no answer is needed.
        expect: Option<Pattern>,
    },
    /// An ICMP echo request is answered.
    Ping,
    /// A command exits with 0.
    Script {
        /// The command.
        script: Script,
        /// An exit status of 2 to 255 is a success and sets the weight to itself less 2.
        weight_by_exit: bool,
    },
    /// A file has the number 0, or is missing.
    File {
        /// Its path.
        path: String,
    },
    /// The real server takes the virtual server's packets and answers them with the VIP.
    Path,
}

impl ProbeKind {
    /// The word of the configuration file.
    pub fn as_str(&self) -> &'static str {
        match self {
            ProbeKind::Tcp => "tcp",
            ProbeKind::Http(http) if http.tls.is_some() => "https",
            ProbeKind::Http(_) => "http",
            ProbeKind::Smtp { .. } => "smtp",
            ProbeKind::Dns(_) => "dns",
            ProbeKind::Udp { .. } => "udp",
            ProbeKind::Ping => "ping",
            ProbeKind::Script { .. } => "script",
            ProbeKind::File { .. } => "file",
            ProbeKind::Path => "path",
        }
    }
}

/// A request and the answer that is expected.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct HttpProbe {
    /// Over TLS.
    pub tls: Option<Tls>,
    /// GET or HEAD.
    pub method: HttpMethod,
    /// Path and query, from the slash on.
    pub path: String,
    /// The `Host` header; else the address that is connected to.
    pub host: Option<String>,
    /// HTTP/1.1 unless 1.0 is asked for.
    pub version: HttpVersion,
    /// First and last of each range, sorted; 200 to 299 if none is configured.
    pub status: Vec<(u16, u16)>,
    /// What the body's digest must be.
    pub digest: Option<Digest>,
    /// What the body must contain.
    pub body: Option<String>,
    /// What must match somewhere in the body (crate `regex`, on bytes).
    pub body_regex: Option<String>,
    /// Further headers, sorted by name.
    pub headers: Vec<(String, String)>,
    /// Redirections are followed, on the same real server.
    pub follow: bool,
}

/// How a server's certificate is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Tls {
    /// It must be valid for the name. keepalived's never is verified.
    pub verify: bool,
    /// A file of PEM certificates: the authorities that count instead of the system's.
    pub ca_file: Option<String>,
    /// The server name that is sent; else the host's name if it is no address.
    pub sni: Option<String>,
}

/// GET or HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// With a body.
    #[default]
    Get,
    /// Without.
    Head,
}

/// HTTP/1.1 or 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub enum HttpVersion {
    /// RFC 9112.
    #[default]
    #[serde(rename = "1.1")]
    Http11,
    /// RFC 1945, as keepalived's default.
    #[serde(rename = "1.0")]
    Http10,
}

/// The digest of a body.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Digest {
    /// As `genhash` of keepalived prints it.
    Md5([u8; 16]),
    /// As `sha256sum` prints it.
    Sha256([u8; 32]),
}

/// A query.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct DnsProbe {
    /// A record type's mnemonic in capitals.
    pub record_type: String,
    /// The name, absolute; "." is the root.
    pub name: String,
    /// What one of the answers must say, as zone files write it.
    pub expect: Option<String>,
}

/// Bytes of a datagram.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Bytes(pub Vec<u8>);

/// How bytes must begin; `None` is any byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Pattern(pub Vec<Option<u8>>);

impl Pattern {
    /// Whether `bytes` begin like this.
    pub fn begins(&self, bytes: &[u8]) -> bool {
        self.0.len() <= bytes.len()
            && self.0.iter().zip(bytes).all(|(want, byte)| want.is_none_or(|want| want == *byte))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hex = |byte: &Option<u8>| byte.map_or_else(|| "XX".to_owned(), |byte| format!("{byte:02x}"));
        serializer.serialize_str(&self.0.iter().map(hex).collect::<String>())
    }
}

/// When a check runs, and how many results make a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Timing {
    /// From the start of one run to the start of the next. keepalived's `delay_loop`.
    #[serde(serialize_with = "seconds")]
    pub interval: Duration,
    /// A run that takes longer has failed.
    #[serde(serialize_with = "seconds")]
    pub timeout: Duration,
    /// A run that fails while the check is up is repeated up to so many times.
    pub retries: u32,
    /// From a failure to its repetition. keepalived's `delay_before_retry`.
    #[serde(serialize_with = "seconds")]
    pub retry_delay: Duration,
    /// The first run starts at a random time within this one.
    #[serde(serialize_with = "seconds")]
    pub warmup: Duration,
    /// So many runs in a row must pass for a failed check to be up again; at least 1.
    pub rise: u32,
    /// So many runs in a row, repetitions included in each, must fail for the check to fail; at least 1.
    pub fall: u32,
    /// The interval while `rise` or `fall` is being counted. HAProxy's `fastinter`.
    #[serde(serialize_with = "maybe_seconds")]
    pub fast_interval: Option<Duration>,
}

/// Of a duration with serde: seconds with a fraction.
fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn maybe_seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => seconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}

/// `tcp 192.168.4.100:80`, `http 192.168.4.100:80/health`, `script check-db`.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.kind.as_str();
        match &self.kind {
            ProbeKind::Tcp | ProbeKind::Smtp { .. } | ProbeKind::Udp { .. } => {
                write!(f, "{word} {}", self.connect)
            }
            ProbeKind::Http(http) => write!(f, "{word} {}{}", self.connect, http.path),
            ProbeKind::Dns(dns) => write!(f, "{word} {} {} {}", self.connect, dns.record_type, dns.name),
            ProbeKind::Ping => write!(f, "{word} {}", self.connect.ip()),
            ProbeKind::Script { script, .. } => write!(f, "{word} {}", script.name()),
            ProbeKind::File { path } => write!(f, "{word} {path}"),
            ProbeKind::Path => write!(f, "{word} {}", self.connect),
        }
    }
}

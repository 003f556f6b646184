//! Asks a real server as a client of the VIP would.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use lb_common::net::{ethertype, protocol};
use socket2::{Domain, Socket, Type};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::advice::remedy;
use super::packet::{Answer, FILTER4, FILTER6, Heard, Say, Way, frame, read};
use crate::health::core::Target;
use crate::health::probe::{Found, Passed, PathProbe, Problem};
use crate::net::frames::Frames;
use crate::net::neighbours::{Reason, Resolution, Resolutions};
use crate::net::netlink::{Address, Netlink, NetlinkError};

/// A packet that nothing answers is sent again after so long.
const REPEAT: Duration = Duration::from_secs(1);
/// The host's addresses are read again after so long.
const ADDRESSES_LAST: Duration = Duration::from_secs(5);

/// Which real server, as whose client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The VIP.
    pub vip: IpAddr,
    /// Its port; 0: any, and only the VIP itself is asked.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// The real server's own address, by which its Ethernet address is known.
    pub real_server: IpAddr,
    /// How long to wait for an answer.
    pub timeout: Duration,
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It answers as the VIP.
    Answered(Duration),
    /// It is this director itself.
    Local,
    /// The VIP is there; the port is not.
    Refused(Duration),
    /// It would forward what it should take.
    Forwards,
    /// It says that it may not or cannot be reached.
    Unreachable,
    /// Nothing came back within this time.
    Silent(Duration),
    /// The way to it is not known.
    Unresolved(Reason),
    /// The question could not be asked, and not because of it.
    Unable(String),
}

impl Finding {
    /// Whether it takes the VIP's packets and answers them; `None` if that could not be found out.
    pub fn is_good(&self) -> Option<bool> {
        match self {
            Self::Answered(_) | Self::Local => Some(true),
            Self::Refused(_) | Self::Forwards | Self::Unreachable | Self::Silent(_) => Some(false),
            Self::Unresolved(_) | Self::Unable(_) => None,
        }
    }

    /// Whether it is the VIP that is missing, so that `lbctl realserver start` there is the remedy.
    pub fn lacks_vip(&self) -> bool {
        matches!(self, Self::Forwards | Self::Silent(_) | Self::Unreachable)
    }
}

/// For lists: "the VIP answers in 0.4 ms".
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |latency: &Duration| latency.as_secs_f64() * 1000.0;
        match self {
            Self::Answered(latency) => write!(f, "the VIP answers in {:.1} ms", milliseconds(latency)),
            Self::Local => f.write_str("is this director"),
            Self::Refused(latency) => {
                write!(f, "the VIP is there, but its port is closed ({:.1} ms)", milliseconds(latency))
            }
            Self::Forwards => f.write_str("the VIP is not on its lo: it would forward the VIP's packets"),
            Self::Unreachable => f.write_str("the VIP is not on its lo, or a filter rejects its packets"),
            Self::Silent(waited) => write!(
                f,
                "no answer from the VIP within {}: it is not on its lo, or a filter drops its packets",
                humantime::format_duration(*waited)
            ),
            Self::Unresolved(reason) => reason.fmt(f),
            Self::Unable(why) => f.write_str(why),
        }
    }
}

/// Asks; cheap to clone. Its socket is open only while something is asked.
#[derive(Clone, Debug)]
pub struct Prober {
    resolutions: watch::Receiver<Resolutions>,
    /// IPv4, IPv6.
    listeners: Arc<Mutex<[Weak<Listener>; 2]>>,
    own: Arc<tokio::sync::Mutex<Own>>,
}

/// This host's addresses, and who reads them.
#[derive(Debug, Default)]
struct Own {
    netlink: Option<Netlink>,
    addresses: Option<(Instant, Arc<[Address]>)>,
}

impl Prober {
    /// One that finds Ethernet addresses in `resolutions`.
    pub fn new(resolutions: watch::Receiver<Resolutions>) -> Self {
        Self { resolutions, listeners: Arc::default(), own: Arc::default() }
    }

    /// Another one, for a thread with a runtime of its own, that shares nothing but what is known of the neighbours.
    pub fn apart(&self) -> Self {
        Self::new(self.resolutions.clone())
    }

    /// Asks once. Must be called in the network namespace of the director. If it is dropped, nothing is left.
    pub async fn ask(&self, question: &Question) -> Finding {
        let resolution = self.resolutions.borrow().get(&question.real_server).copied();
        let (to_mac, from_mac, interface, vlan) = match resolution {
            Some(Resolution::Resolved { dst_mac, src_mac, ifindex, vlan }) => {
                (dst_mac, src_mac, ifindex, vlan)
            }
            Some(Resolution::Local) => return Finding::Local,
            Some(Resolution::Unresolved { reason }) => return Finding::Unresolved(reason),
            None => return Finding::Unresolved(Reason::Incomplete),
        };
        let from = match self.own_address(question).await {
            Ok(Some(from)) => from,
            Ok(None) => {
                return Finding::Unable(format!(
                    "this host has no address of its own to ask {} from",
                    question.real_server
                ));
            }
            Err(error) => return Finding::Unable(error),
        };
        let way = Way { to_mac, from_mac, vlan, to: question.vip, from };
        match self.exchange(question, &way, interface).await {
            Ok(finding) => finding,
            Err(error) => Finding::Unable(format!("this host cannot ask: {error}")),
        }
    }

    async fn exchange(&self, question: &Question, way: &Way, interface: u32) -> io::Result<Finding> {
        let begun = Instant::now();
        let is_tcp = question.protocol == protocol::TCP && question.port != 0;
        let held = Held::port(way.from, is_tcp)?;
        let listener = self.listener(way.from)?;
        let mut asked = listener.register(way.from, held.port);
        let deadline = begun + question.timeout;
        let (from_port, to_port) = (held.port, question.port);
        let mut sequence = 0u16;
        let mut is_closed = false;
        loop {
            sequence = sequence.wrapping_add(1);
            let says: &[Say] = &match (is_tcp, to_port) {
                (true, _) => vec![Say::Syn { from_port, to_port, sequence: initial_sequence(from_port) }],
                (false, 0) => vec![Say::Echo { identifier: from_port, sequence }],
                (false, _) => {
                    vec![Say::Datagram { from_port, to_port }, Say::Echo { identifier: from_port, sequence }]
                }
            };
            for say in says {
                listener.frames.send(interface, &frame(way, *say))?;
            }
            let until = deadline.min(Instant::now() + REPEAT);
            while let Ok(heard) = tokio::time::timeout_at(until.into(), asked.answers.recv()).await {
                let Some(heard) = heard else { return Err(io::Error::other("the packet socket is closed")) };
                let latency = begun.elapsed();
                match judge(question, way, &heard) {
                    Judged::Good { reset_with } => {
                        if let Some(sequence) = reset_with {
                            let say = Say::Reset { from_port, to_port, sequence };
                            listener.frames.send(interface, &frame(way, say))?;
                        }
                        return Ok(match is_closed {
                            true => Finding::Refused(latency),
                            false => Finding::Answered(latency),
                        });
                    }
                    Judged::PortClosed => {
                        // It comes before the echo, which then shows that it is the VIP that says so.
                        is_closed = true;
                        if is_tcp {
                            return Ok(Finding::Refused(latency));
                        }
                    }
                    Judged::Bad(finding) => return Ok(finding),
                    Judged::Nothing => {}
                }
            }
            if Instant::now() >= deadline {
                return Ok(match is_closed {
                    true => Finding::Refused(begun.elapsed()),
                    false => Finding::Silent(question.timeout),
                });
            }
        }
    }

    /// The director's own address that the real server can answer to: not the VIP.
    async fn own_address(&self, question: &Question) -> Result<Option<IpAddr>, String> {
        let addresses = self.addresses().await?;
        Ok(choose(&addresses, question))
    }

    async fn addresses(&self) -> Result<Arc<[Address]>, String> {
        // One at a time: the kernel refuses a second dump on the same socket, and the first one's answer serves all.
        let mut own = self.own.lock().await;
        if let Some((read, addresses)) = &own.addresses
            && read.elapsed() < ADDRESSES_LAST
        {
            return Ok(Arc::clone(addresses));
        }
        let in_words = |error: NetlinkError| format!("{:#}", anyhow::Error::new(error));
        let netlink = match own.netlink.take() {
            Some(netlink) => netlink,
            None => Netlink::open().map_err(in_words)?,
        };
        let addresses: Arc<[Address]> = netlink.addresses().await.map_err(in_words)?.into();
        // One that has failed is not used again.
        own.netlink = Some(netlink);
        own.addresses = Some((Instant::now(), Arc::clone(&addresses)));
        Ok(addresses)
    }

    fn listener(&self, family: IpAddr) -> io::Result<Arc<Listener>> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::from(family.is_ipv6());
        if let Some(listener) = listeners.get(index).and_then(Weak::upgrade)
            && !listener.task.is_finished()
        {
            return Ok(listener);
        }
        let listener = Listener::start(family)?;
        if let Some(slot) = listeners.get_mut(index) {
            *slot = Arc::downgrade(&listener);
        }
        Ok(listener)
    }
}

impl PathProbe for Prober {
    fn probe<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Found> {
        let question = Question {
            vip: target.service.address,
            port: target.service.port,
            protocol: target.service.protocol,
            real_server: target.server.address,
            timeout: target.check.timing.timeout,
        };
        Box::pin(async move {
            let finding = self.ask(&question).await;
            let text = finding.to_string();
            match finding.is_good() {
                Some(true) => Ok(Passed::new(text)),
                Some(false) => Err(Problem::Failed(match remedy(&target.service, &finding) {
                    Some(remedy) => format!("{text}; {remedy}"),
                    None => text,
                })),
                // A real server without a way to it is not reachable, as for any other check.
                None if matches!(finding, Finding::Unresolved(_)) => Err(Problem::Failed(text)),
                None => Err(Problem::Inconclusive(text)),
            }
        })
    }
}

/// An initial sequence number that differs from the last one of the same port.
fn initial_sequence(port: u16) -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.subsec_nanos().wrapping_mul(0x9e37_79b1) ^ (u32::from(port) << 16)
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    Good {
        reset_with: Option<u32>,
    },
    PortClosed,
    Bad(Finding),
    /// Not about this.
    Nothing,
}

/// Only what comes from that real server counts; else another director's real server could answer for it.
fn judge(question: &Question, way: &Way, heard: &Heard) -> Judged {
    if heard.from_mac != way.to_mac {
        return Judged::Nothing;
    }
    let is_vip = heard.from == question.vip;
    let is_about = |about: IpAddr| about == question.vip;
    match heard.answer {
        Answer::SynAck { port, reset_with } if is_vip && port == question.port => {
            Judged::Good { reset_with: Some(reset_with) }
        }
        Answer::Reset { port } if is_vip && port == question.port => Judged::PortClosed,
        Answer::Echo if is_vip => Judged::Good { reset_with: None },
        Answer::PortUnreachable { about } if is_about(about) => Judged::PortClosed,
        Answer::Unreachable { about } if is_about(about) => Judged::Bad(Finding::Unreachable),
        Answer::TimeExceeded { about } if is_about(about) => Judged::Bad(Finding::Forwards),
        Answer::SynAck { .. }
        | Answer::Reset { .. }
        | Answer::Echo
        | Answer::PortUnreachable { .. }
        | Answer::Unreachable { .. }
        | Answer::TimeExceeded { .. } => Judged::Nothing,
    }
}

/// An address of the real server's network if there is one, else any that is not only for one link or host.
fn choose(addresses: &[Address], question: &Question) -> Option<IpAddr> {
    let is_usable = |own: &&Address| {
        let is_local = match own.address {
            IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
            IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
        };
        own.address.is_ipv4() == question.vip.is_ipv4()
            && own.address != question.vip
            && !own.tentative
            && !own.dad_failed
            && !is_local
    };
    let is_near = |own: &&Address| own.subnet().is_some_and(|net| net.contains(&question.real_server));
    let usable = || addresses.iter().filter(is_usable);
    usable().find(is_near).or_else(|| usable().next()).map(|own| own.address)
}

/// A port that nobody else gets while we use it. What answers to a datagram, this socket takes, and nobody reads.
struct Held {
    port: u16,
    _socket: Socket,
}

impl Held {
    fn port(address: IpAddr, is_tcp: bool) -> io::Result<Self> {
        let address = SocketAddr::new(address, 0);
        let socket = match is_tcp {
            true => {
                let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
                socket.bind(&address.into())?;
                socket
            }
            false => Socket::from(UdpSocket::bind(address)?),
        };
        let own = socket.local_addr()?.as_socket();
        Ok(Self { port: own.map_or(0, |own| own.port()), _socket: socket })
    }
}

type Asked = HashMap<(IpAddr, u16), mpsc::Sender<Heard>>;

/// Reads answers for all who ask, as long as anybody does.
#[derive(Debug)]
struct Listener {
    frames: Arc<Frames>,
    asked: Arc<Mutex<Asked>>,
    task: JoinHandle<()>,
}

impl Listener {
    fn start(family: IpAddr) -> io::Result<Arc<Self>> {
        let (kind, filter) = match family {
            IpAddr::V4(_) => (ethertype::IPV4, FILTER4),
            IpAddr::V6(_) => (ethertype::IPV6, FILTER6),
        };
        let frames = Arc::new(Frames::open(kind, 0, filter)?);
        let asked: Arc<Mutex<Asked>> = Arc::default();
        let task = tokio::spawn(listen(Arc::clone(&frames), Arc::clone(&asked)));
        Ok(Arc::new(Self { frames, asked, task }))
    }

    fn register(self: &Arc<Self>, address: IpAddr, port: u16) -> Registered {
        let (sender, answers) = mpsc::channel(16);
        lock(&self.asked).insert((address, port), sender);
        Registered { listener: Arc::clone(self), key: (address, port), answers }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Registered {
    listener: Arc<Listener>,
    key: (IpAddr, u16),
    answers: mpsc::Receiver<Heard>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.listener.asked).remove(&self.key);
    }
}

fn lock(asked: &Mutex<Asked>) -> std::sync::MutexGuard<'_, Asked> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(frames: Arc<Frames>, asked: Arc<Mutex<Asked>>) {
    loop {
        match frames.receive().await {
            Ok(received) => {
                let Some(heard) = read(&received.bytes) else { continue };
                if let Some(sender) = lock(&asked).get(&(heard.to, heard.token)) {
                    // Who has sixteen answers needs no more.
                    sender.try_send(heard).unwrap_or_default();
                }
            }
            // An interface went down: the others go on.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
            Err(error) => {
                tracing::warn!("path checks get no answers: {error}");
                // Who asks next opens another.
                lock(&asked).clear();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Asks a real server as a client of the VIP would.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use lb_common::net::protocol;
use tokio::sync::watch;

use super::advice::remedy;
use super::listener::{Held, Listeners};
use super::own::OwnAddresses;
use super::packet::{Answer, Heard, Say, Way, frame};
use crate::health::core::Target;
use crate::health::probe::{Found, Passed, PathProbe, Problem};
use crate::net::neighbours::{Reason, Resolution, Resolutions};

/// A packet that nothing answers is sent again after so long.
const REPEAT: Duration = Duration::from_secs(1);

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
    listeners: Listeners,
    own: OwnAddresses,
}

impl Prober {
    /// One that finds Ethernet addresses in `resolutions`.
    pub fn new(resolutions: watch::Receiver<Resolutions>) -> Self {
        Self { resolutions, listeners: Listeners::default(), own: OwnAddresses::default() }
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
        let from = match self.own.to_ask(question).await {
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
        let listener = self.listeners.get(way.from)?;
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

#[cfg(test)]
mod tests;

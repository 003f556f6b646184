//! Directors tell each other what must be the same on them, and each says what is not.
//!
//! An own UDP datagram, never a part of an advert: to the group of the adverts, or to the unicast peers. keepalived
//! neither sends nor answers it. It carries digests, and what a director intends ([`Intent`]): whoever can send it can
//! cause a warning, and that new connections are placed by their hash for some seconds.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::Message;
use super::member::ms;
use crate::config::Config;
use crate::config::vrrp::VrrpInstance;
use crate::vrrp::packet::{GROUP_V4, GROUP_V6};
use crate::vrrp::status::PeerStatus;

const PERIOD: Duration = Duration::from_secs(10);
/// A director that was silent for so long is forgotten.
const FORGET: Duration = Duration::from_secs(60);
/// Others are not remembered.
const MAX_PEERS: usize = 64;
/// Larger datagrams are nobody's.
const LARGEST: usize = 16 << 10;

/// What is sent, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Announcement {
    /// 1.
    lbctl: u32,
    router_id: String,
    instances: Vec<Described>,
    /// Of all virtual servers.
    virtual_servers: u64,
    /// What it is about to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    takes: Vec<Intent>,
}

/// A director will be master of a virtual router whose master is another one. That one places new connections by their
/// hash from now on, as this one will place their packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) virtual_router_id: u8,
    pub(super) is_ipv6: bool,
    /// In so many milliseconds at the latest.
    pub(super) within_ms: u64,
}

/// The comparison's way to the protocol's thread and back.
#[derive(Debug, Clone)]
pub(super) struct Ways {
    /// What this director intends.
    pub(super) intents: broadcast::Sender<Intent>,
    /// Who is told what others intend.
    pub(super) messages: mpsc::UnboundedSender<Message>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Described {
    virtual_router_id: u8,
    is_ipv6: bool,
    name: String,
    priority: u8,
    /// Digests by key of the configuration.
    parts: BTreeMap<String, u64>,
}

/// FNV-1a: enough to tell configurations apart that people wrote.
fn digest(value: &impl Serialize) -> u64 {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn sorted(addresses: &[crate::config::vrrp::VirtualAddress]) -> Vec<String> {
    let mut sorted: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    sorted.sort_unstable();
    sorted
}

fn describe(instance: &VrrpInstance) -> Described {
    let texts = |all: Vec<&str>| digest(&all);
    let parts = [
        ("name", digest(&instance.name)),
        ("version", digest(&instance.version)),
        ("advert_interval", digest(&instance.advert_interval)),
        ("virtual_addresses", digest(&sorted(&instance.virtual_addresses))),
        ("excluded_addresses", digest(&sorted(&instance.excluded_addresses))),
        ("nopreempt", digest(&instance.nopreempt)),
        ("accept", digest(&instance.accept)),
        ("use_vmac", digest(&instance.virtual_mac.is_some())),
        ("virtual_routes", texts(instance.virtual_routes.iter().map(|route| route.text.as_str()).collect())),
        ("virtual_rules", texts(instance.virtual_rules.iter().map(|rule| rule.text.as_str()).collect())),
    ];
    Described {
        virtual_router_id: instance.virtual_router_id,
        is_ipv6: instance.is_ipv6(),
        name: instance.name.clone(),
        priority: instance.priority,
        parts: parts.map(|(key, value)| (key.to_owned(), value)).into(),
    }
}

fn announcement(config: &Config) -> Announcement {
    Announcement {
        lbctl: 1,
        router_id: config.director.router_id.clone(),
        instances: config.vrrp.instances.iter().map(describe).collect(),
        virtual_servers: digest(&config.virtual_servers),
        takes: Vec::new(),
    }
}

/// What is not as it should be between ours and theirs, in words.
fn differences(ours: &Announcement, theirs: &Announcement) -> Vec<String> {
    let mut differs = Vec::new();
    let mut shares_one = false;
    for own in &ours.instances {
        let same = |other: &&Described| {
            (other.virtual_router_id, other.is_ipv6) == (own.virtual_router_id, own.is_ipv6)
        };
        let Some(other) = theirs.instances.iter().find(same) else { continue };
        shares_one = true;
        for (key, value) in &own.parts {
            if other.parts.get(key).is_some_and(|other| other != value) {
                differs.push(format!("{} {key}", own.name));
            }
        }
        if own.priority == other.priority {
            differs
                .push(format!("{} priority, which is {} on both and should not be", own.name, own.priority));
        }
    }
    if shares_one {
        if ours.virtual_servers != theirs.virtual_servers {
            differs.push("virtual servers".to_owned());
        }
        if ours.router_id == theirs.router_id {
            differs.push("router_id, which is the same on both and should not be".to_owned());
        }
    }
    differs
}

#[derive(Debug, Clone)]
struct Peer {
    router_id: String,
    heard: Instant,
    differs: Vec<String>,
}

type Peers = Arc<Mutex<BTreeMap<IpAddr, Peer>>>;

/// The running comparison; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Comparison {
    peers: Peers,
    task: Option<JoinHandle<()>>,
}

impl Drop for Comparison {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Comparison {
    /// Starts it on the current runtime, if it is configured.
    pub(super) fn start(config: &Config, ways: &Ways) -> Self {
        let peers = Peers::default();
        let task = config.vrrp.compare_port.filter(|_| !config.vrrp.instances.is_empty()).map(|port| {
            let places = places(&config.vrrp.instances);
            tokio::spawn(run(announcement(config), places, port, Arc::clone(&peers), ways.clone()))
        });
        Self { peers, task }
    }

    pub(super) fn status(&self) -> Vec<PeerStatus> {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers
            .iter()
            .map(|(address, peer)| PeerStatus {
                address: address.to_string(),
                router_id: peer.router_id.clone(),
                heard_ago_ms: ms(peer.heard.elapsed()),
                differs: peer.differs.clone(),
            })
            .collect()
    }
}

/// Where to speak and listen: interface, family, and whom to.
type Place = (String, bool, Vec<IpAddr>);

fn places(instances: &[VrrpInstance]) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for instance in instances {
        let group = if instance.is_ipv6() { IpAddr::V6(GROUP_V6) } else { IpAddr::V4(GROUP_V4) };
        let to = if instance.unicast_peers.is_empty() { vec![group] } else { instance.unicast_peers.clone() };
        let known = places
            .iter_mut()
            .find(|(name, is_ipv6, _)| (name, *is_ipv6) == (&instance.interface, instance.is_ipv6()));
        match known {
            Some((_, _, all)) => all.extend(to),
            None => places.push((instance.interface.clone(), instance.is_ipv6(), to)),
        }
    }
    for (_, _, all) in &mut places {
        all.sort_unstable();
        all.dedup();
    }
    places
}

async fn run(ours: Announcement, places: Vec<Place>, port: u16, peers: Peers, ways: Ways) {
    let ours = Arc::new(ours);
    let tasks = places.into_iter().map(|place| serve(Arc::clone(&ours), place, port, &peers, &ways));
    futures_util::future::join_all(tasks).await;
}

/// Speaks and listens on one interface.
async fn serve(ours: Arc<Announcement>, (name, is_ipv6, to): Place, port: u16, peers: &Peers, ways: &Ways) {
    let mut intents = ways.intents.subscribe();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut socket: Option<(u32, UdpSocket)> = None;
    let mut buffer = vec![0; LARGEST];
    loop {
        let received = async {
            match &socket {
                Some((_, socket)) => socket.recv_from(&mut buffer).await,
                None => std::future::pending().await,
            }
        };
        let happened = tokio::select! {
            received = received => Happened::Received(received),
            // Some may have been missed; there is always a sender.
            intent = intents.recv() => Happened::Intends(intent.ok()),
            _ = ticks.tick() => Happened::Ticked,
        };
        let mut takes = Vec::new();
        let speaks = match happened {
            Happened::Intends(intent) => {
                takes.extend(intent);
                intent.is_some()
            }
            Happened::Ticked => {
                forget(peers);
                // The interface may be another of the same name.
                let index = nix::net::if_::if_nametoindex(name.as_str()).ok();
                if socket.as_ref().map(|(index, _)| *index) != index {
                    socket = index.and_then(|index| match open(&name, index, is_ipv6, port) {
                        Ok(socket) => Some((index, socket)),
                        Err(error) => {
                            tracing::warn!("{name}: configurations are not compared, port {port}: {error}");
                            None
                        }
                    });
                }
                true
            }
            Happened::Received(Ok((length, from))) => {
                let text = buffer.get(..length).unwrap_or_default();
                serde_json::from_slice(text)
                    .is_ok_and(|theirs| hear(&ours, theirs, (&name, from.ip()), peers, &ways.messages))
            }
            // Errors of what was sent to peers that are down.
            Happened::Received(Err(_)) => false,
        };
        if speaks && let Some((index, socket)) = &socket {
            let said = Announcement { takes, ..Announcement::clone(&ours) };
            let text = serde_json::to_vec(&said).unwrap_or_default();
            for to in &to {
                let to = match to {
                    IpAddr::V4(_) => SocketAddr::new(*to, port),
                    IpAddr::V6(v6) => SocketAddr::V6(std::net::SocketAddrV6::new(*v6, port, 0, *index)),
                };
                // A peer that is down says so in an error, and says the rest when it is up.
                drop(socket.send_to(&text, to).await);
            }
        }
    }
}

/// What [`serve`] waits for.
enum Happened {
    Received(io::Result<(usize, SocketAddr)>),
    Intends(Option<Intent>),
    Ticked,
}

/// Notes what another director says on an interface, and passes on what it intends. Returns whether it is new, and
/// should be told about this one at once.
fn hear(
    ours: &Announcement,
    mut theirs: Announcement,
    (interface, from): (&str, IpAddr),
    peers: &Peers,
    messages: &mpsc::UnboundedSender<Message>,
) -> bool {
    let takes = std::mem::take(&mut theirs.takes);
    // A director that hears itself is no other.
    if theirs.lbctl != 1 || theirs == *ours {
        return false;
    }
    for intent in takes {
        // Its end is reported where something is asked of it.
        drop(messages.send(Message::Intended { interface: interface.to_owned(), intent }));
    }
    let router_id: String = theirs.router_id.chars().filter(|c| !c.is_control()).take(64).collect();
    let differs = differences(ours, &theirs);
    let mut peers = peers.lock().unwrap_or_else(PoisonError::into_inner);
    let before = peers.get(&from).cloned();
    if before.is_none() && peers.len() >= MAX_PEERS {
        return false;
    }
    if before.as_ref().is_none_or(|before| before.differs != differs) {
        if !differs.is_empty() {
            tracing::warn!(
                "director {router_id} ({from}) is configured otherwise: {}; let both be the same",
                differs.join(", ")
            );
        } else if before.is_some() {
            tracing::info!("director {router_id} ({from}) is configured alike now");
        }
    }
    peers.insert(from, Peer { router_id, heard: Instant::now(), differs });
    before.is_none()
}

fn forget(peers: &Peers) {
    peers.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, peer| peer.heard.elapsed() < FORGET);
}

fn open(name: &str, index: u32, is_ipv6: bool, port: u16) -> io::Result<UdpSocket> {
    let domain = if is_ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(name.as_bytes()))?;
    if is_ipv6 {
        socket.set_only_v6(true)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
        socket.join_multicast_v6(&GROUP_V6, index)?;
        socket.set_multicast_if_v6(index)?;
        socket.set_multicast_loop_v6(false)?;
    } else {
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
        socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index))?;
        socket.set_multicast_loop_v4(false)?;
    }
    UdpSocket::from_std(StdSocket::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(router_id: &str, lines: &str) -> Announcement {
        let text = format!(
            "[director]\nrouter_id = \"{router_id}\"\n[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\n\
             virtual_router_id = 51\nvirtual_addresses = [\"192.168.4.15\", \"192.168.4.16\"]\n{lines}\n"
        );
        announcement(&Config::parse("test", &text).unwrap_or_else(|error| panic!("{error}")))
    }

    #[test]
    fn what_must_differ_and_what_must_not() {
        let ours = config("lvs1", "priority = 100");
        assert!(differences(&ours, &config("lvs2", "priority = 50")).is_empty());
        let reversed = config("lvs2", "priority = 50\nsource_address = \"192.168.4.3\"\nauth_pass = \"x\"");
        assert!(differences(&ours, &reversed).is_empty());
        assert_eq!(
            differences(&ours, &config("lvs2", "priority = 50\nadvert_interval = \"2s\"\nnopreempt = true")),
            ["VI_1 advert_interval", "VI_1 nopreempt"]
        );
        assert_eq!(
            differences(&ours, &config("lvs1", "priority = 100\naccept = true")),
            [
                "VI_1 priority, which is 100 on both and should not be",
                "router_id, which is the same on both and should not be"
            ]
        );
    }

    #[test]
    fn other_virtual_routers_are_nobodys_business() {
        let ours = config("lvs1", "");
        let mut theirs = config("lvs1", "");
        theirs.instances[0].virtual_router_id = 52;
        theirs.virtual_servers = 7;
        assert!(differences(&ours, &theirs).is_empty());
    }

    #[test]
    fn a_new_director_is_answered_once() {
        let (ours, theirs, peers) = (config("lvs1", ""), config("lvs2", "priority = 50"), Peers::default());
        let (messages, _inbox) = mpsc::unbounded_channel();
        let from = ("eth0", IpAddr::from([192, 168, 4, 3]));
        let heard = |said: &Announcement| hear(&ours, said.clone(), from, &peers, &messages);
        assert!(!heard(&ours));
        assert!(heard(&theirs));
        assert!(!heard(&theirs));
    }

    #[test]
    fn an_intent_is_told_and_makes_no_difference() {
        let (ours, theirs, peers) = (config("lvs1", ""), config("lvs2", "priority = 50"), Peers::default());
        let intent = Intent { virtual_router_id: 51, is_ipv6: false, within_ms: 500 };
        let said = Announcement { takes: vec![intent], ..theirs.clone() };
        let (messages, mut inbox) = mpsc::unbounded_channel();
        let from = ("eth0", IpAddr::from([192, 168, 4, 3]));
        let heard = |said: &Announcement| {
            let text = serde_json::to_vec(said).unwrap();
            hear(&ours, serde_json::from_slice(&text).unwrap(), from, &peers, &messages)
        };
        assert!(heard(&said));
        let told = inbox.try_recv().unwrap();
        assert!(
            matches!(told, Message::Intended { interface, intent: found } if interface == "eth0" && found == intent)
        );
        assert!(peers.lock().unwrap().values().all(|peer| peer.differs.is_empty()));
        // Who is known is not answered; its own words are nobody's.
        assert!(!heard(&said));
        inbox.try_recv().unwrap();
        let own = Announcement { takes: vec![intent], ..ours.clone() };
        assert!(!heard(&own));
        inbox.try_recv().unwrap_err();
        // One that knows of no intents is understood.
        let before = serde_json::to_vec(&theirs).unwrap();
        assert!(!String::from_utf8_lossy(&before).contains("takes"));
        assert!(!heard(&theirs));
    }
}

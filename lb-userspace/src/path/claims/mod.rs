//! Who answers for a VIP that is not his: the ARP problem of direct routing, seen from the director.
//!
//! A real server has the VIP on its `lo` and must be silent about it. If it is not, clients and routers that hear it
//! first go past the director. So the [`Watcher`] listens to all that is said (ARP, neighbour advertisements), and
//! asks in rounds who has each VIP ([`wire`]). What is wrong of it is [`core`]'s to decide.

mod core;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lb_common::net::{MacAddress, ethertype};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::core::{Core, Network, News, Wrong};
use self::wire::Claim;
use crate::config::Config;
use crate::net::colons;
use crate::net::frames::{Frames, Received};
use crate::net::neighbours::{Resolution, Resolutions};
use crate::net::netlink::{Address, Link, Netlink, NetlinkError};

/// From one round of asking to the next.
const PERIOD: Duration = Duration::from_secs(30);
/// While one is wrong, so that it is seen when it is put right.
const WHILE_WRONG: Duration = Duration::from_secs(10);
/// To the next, if a claim may be wrong.
const SOON: Duration = Duration::from_secs(3);
/// To the first, so that what is set up at the same time is there.
const FIRST: Duration = Duration::from_secs(2);
/// Between two questions of a round.
const PACE: Duration = Duration::from_millis(10);
/// From the last question of a round to its end.
const ANSWERED: Duration = Duration::from_secs(1);
/// What cannot be done is tried again after so long.
const RETRY: Duration = Duration::from_secs(10);

/// Senders of adverts that are remembered, those of other networks' virtual routers included.
const MAX_ADVERTISERS: usize = 256;

/// A wrong claim, for lists. Part of `lbctl/paths/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRow {
    /// The VIP.
    pub address: IpAddr,
    /// Who claims it, as `02:00:00:00:04:64`.
    pub mac: String,
    /// His own addresses, as far as they are known.
    pub addresses: Vec<IpAddr>,
    /// Whether he is a real server.
    pub real_server: bool,
    /// Where he was heard.
    pub interface: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// What that means.
    pub finding: String,
    /// What to do about it.
    pub remedy: String,
}

/// The running watcher; it ends when dropped.
#[derive(Debug)]
pub struct Watcher {
    wanted: watch::Sender<Wanted>,
    rows: Arc<Mutex<Vec<ClaimRow>>>,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    vips: BTreeSet<IpAddr>,
    /// The other directors' addresses: configured ones, and those that good adverts came from.
    peers: BTreeSet<IpAddr>,
    heard: BTreeSet<IpAddr>,
}

impl Wanted {
    fn of(config: &Config) -> Self {
        Self {
            vips: config.vips(),
            peers: config.vrrp.instances.iter().flat_map(|one| one.unicast_peers.iter().copied()).collect(),
            heard: BTreeSet::new(),
        }
    }

    fn has_peer(&self, address: &IpAddr) -> bool {
        self.peers.contains(address) || self.heard.contains(address)
    }
}

impl Watcher {
    /// Starts watching the VIPs of `config` in the calling thread's network namespace.
    pub fn start(config: &Config, resolutions: watch::Receiver<Resolutions>) -> Self {
        let (sender, wanted) = watch::channel(Wanted::of(config));
        let rows = Arc::default();
        let shell = Shell {
            wanted,
            resolutions,
            core: Core::default(),
            origin: Instant::now(),
            interfaces: BTreeMap::new(),
            advertisers: BTreeMap::new(),
            rows: Arc::clone(&rows),
        };
        Self { wanted: sender, rows, task: tokio::spawn(shell.run_for_ever()) }
    }

    /// Goes over to another configuration.
    pub fn reconfigure(&self, config: &Config) {
        let new = Wanted::of(config);
        self.wanted.send_if_modified(|old| {
            let is_new = (&old.vips, &old.peers) != (&new.vips, &new.peers);
            (old.vips, old.peers) = (new.vips, new.peers);
            is_new
        });
    }

    /// Another director was heard at this address.
    pub fn add_director(&self, address: IpAddr) {
        self.wanted.send_if_modified(|wanted| wanted.heard.insert(address));
    }

    /// All that is wrong now.
    pub fn report(&self) -> Vec<ClaimRow> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the shell needs of the system.
struct Sockets {
    arp: Frames,
    /// Neighbour advertisements, and adverts of VRRP over IPv6.
    ipv6: Frames,
    /// Adverts of VRRP over IPv4.
    ipv4: Frames,
    netlink: Netlink,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

struct Shell {
    wanted: watch::Receiver<Wanted>,
    resolutions: watch::Receiver<Resolutions>,
    core: Core,
    origin: Instant,
    /// Names by index.
    interfaces: BTreeMap<u32, String>,
    /// Whose adverts came from which Ethernet address last, whoever they are.
    advertisers: BTreeMap<IpAddr, MacAddress>,
    rows: Arc<Mutex<Vec<ClaimRow>>>,
}

/// A question to ask.
struct Question {
    interface: u32,
    mac: MacAddress,
    from: IpAddr,
    vip: IpAddr,
}

impl Shell {
    async fn run_for_ever(mut self) {
        loop {
            let Err(error) = self.run().await else { return };
            tracing::warn!(
                "nobody watches who answers for virtual addresses: {:#}",
                anyhow::Error::new(error)
            );
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Ends without an error when the watcher is gone.
    async fn run(&mut self) -> Result<(), Problem> {
        let sockets = Sockets {
            arp: Frames::open(wire::ARP, 0, &[])?,
            ipv6: Frames::open(ethertype::IPV6, 0, wire::IPV6)?,
            ipv4: Frames::open(ethertype::IPV4, 0, wire::IPV4)?,
            netlink: Netlink::open()?,
        };
        let mut next = Instant::now() + FIRST;
        let mut questions: Vec<Question> = Vec::new();
        let mut round_ends = None;
        loop {
            let wake = match (questions.is_empty(), round_ends) {
                (false, _) => Instant::now() + PACE,
                (true, Some(end)) => end,
                (true, None) => next,
            };
            let received = tokio::select! {
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    next = Instant::now() + FIRST;
                    None
                }
                received = sockets.arp.receive() => alive(received)?,
                received = sockets.ipv6.receive() => alive(received)?,
                received = sockets.ipv4.receive() => alive(received)?,
                () = tokio::time::sleep_until(wake.into()) => {
                    if let Some(question) = questions.pop() {
                        ask(&sockets, &question);
                        round_ends = questions.is_empty().then(|| Instant::now() + ANSWERED);
                    } else if round_ends.take().is_some() {
                        let news = self.core.round(self.origin.elapsed());
                        next = Instant::now() + self.tell(news);
                    } else {
                        questions = self.look(&sockets.netlink).await?;
                        round_ends = Some(Instant::now() + ANSWERED);
                    }
                    None
                }
            };
            let Some(received) = received else { continue };
            let now = self.origin.elapsed();
            if let Some(claim) = wire::read(&received.bytes) {
                let news = self.core.heard(claim.address, claim.mac, received.interface, now);
                next = next.min(Instant::now() + self.tell(news));
            } else if let Some(advert) = wire::advert(&received.bytes) {
                self.learn(advert, now);
            }
        }
    }

    /// Learns where a director is. Whose adverts are good is not known here; `wanted` has those.
    fn learn(&mut self, advert: Claim, now: Duration) {
        let Claim { address, mac } = advert;
        let is_known = self.advertisers.contains_key(&address);
        if is_known || self.advertisers.len() < MAX_ADVERTISERS {
            self.advertisers.insert(address, mac);
        }
        if self.wanted.borrow().has_peer(&address) {
            let news = self.core.peer(mac, now);
            self.tell(news);
        }
    }

    /// Learns what the network is like now, and whom to ask where.
    async fn look(&mut self, netlink: &Netlink) -> Result<Vec<Question>, Problem> {
        let links = netlink.links().await?;
        let addresses = netlink.addresses().await?;
        let mut neighbours: BTreeMap<MacAddress, BTreeSet<IpAddr>> = BTreeMap::new();
        for neighbour in netlink.neighbours().await?.iter().filter(|neighbour| neighbour.state.is_valid()) {
            if let Some(mac) = neighbour.mac {
                neighbours.entry(mac).or_default().insert(neighbour.address);
            }
        }
        let mut real_servers: BTreeMap<MacAddress, BTreeSet<IpAddr>> = BTreeMap::new();
        for (address, resolution) in self.resolutions.borrow().iter() {
            if let Resolution::Resolved { dst_mac, .. } = resolution {
                real_servers.entry(*dst_mac).or_default().insert(*address);
            }
        }
        let wanted = self.wanted.borrow().clone();
        let is_peer = |(mac, known): (&MacAddress, &BTreeSet<IpAddr>)| {
            known.iter().any(|address| wanted.has_peer(address)).then_some(*mac)
        };
        let advertisers = self.advertisers.iter().filter(|(address, _)| wanted.has_peer(address));
        let peers = neighbours.iter().filter_map(is_peer).chain(advertisers.map(|(_, mac)| *mac)).collect();
        let vips = wanted.vips;
        let network = Network {
            held: addresses.iter().map(|own| own.address).filter(|own| vips.contains(own)).collect(),
            own: links.iter().filter_map(|link| link.mac).collect(),
            peers,
            real_servers,
            neighbours,
            vips,
        };
        self.interfaces = links.iter().map(|link| (link.index, link.name.clone())).collect();
        let questions = network.vips.iter().filter_map(|vip| question(*vip, &links, &addresses)).collect();
        let news = self.core.network(network, self.origin.elapsed());
        self.tell(news);
        Ok(questions)
    }

    /// Logs what is new, and says when the next round shall be.
    fn tell(&self, news: Vec<News>) -> Duration {
        let mut wait = if self.core.wrong().next().is_some() { WHILE_WRONG } else { PERIOD };
        let mut has_changed = false;
        for one in news {
            match one {
                News::Suspected => wait = SOON,
                News::Found(wrong) => {
                    let row = self.row(&wrong);
                    tracing::error!("{}; {}", row.finding, row.remedy);
                    has_changed = true;
                }
                News::Gone(wrong) => {
                    tracing::info!(
                        "{} does not answer for virtual address {} any more",
                        colons(wrong.mac),
                        wrong.vip
                    );
                    has_changed = true;
                }
            }
        }
        if has_changed {
            let rows = self.core.wrong().map(|wrong| self.row(wrong)).collect();
            *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
        }
        wait
    }

    fn row(&self, wrong: &Wrong) -> ClaimRow {
        let Wrong { vip, mac, interface, since, is_real_server, addresses } = wrong;
        let interface =
            self.interfaces.get(interface).cloned().unwrap_or_else(|| format!("number {interface}"));
        let addresses: Vec<IpAddr> = addresses.iter().copied().collect();
        let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let who = match (is_real_server, list.as_str()) {
            (true, list) => format!("real server {list} ({})", colons(*mac)),
            (false, "") => format!("host {}", colons(*mac)),
            (false, list) => format!("host {list} ({})", colons(*mac)),
        };
        let how = if vip.is_ipv4() { "ARP" } else { "neighbour discovery" };
        let remedy = match is_real_server {
            true => format!("run `lbctl realserver start --vip {vip}` there"),
            false => format!("remove {vip} from it, or answer from one director only"),
        };
        // How long ago, then when.
        let ago = self.origin.elapsed().saturating_sub(*since).as_secs();
        ClaimRow {
            address: *vip,
            mac: colons(*mac),
            addresses,
            real_server: *is_real_server,
            finding: format!(
                "{who} answers {how} for virtual address {vip} on {interface}: clients that hear it go past this director"
            ),
            interface,
            since: crate::orders::now().saturating_sub(ago),
            remedy,
        }
    }
}

/// Of an interface that went down there is nothing to hear; the others go on.
fn alive(received: io::Result<Received>) -> io::Result<Option<Received>> {
    match received {
        Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => Ok(None),
        received => received.map(Some),
    }
}

/// Where to ask who has a VIP: on the interface of the network that it is part of. A VIP of no network is routed to the
/// director; nobody asks for it by ARP.
fn question(vip: IpAddr, links: &[Link], addresses: &[Address]) -> Option<Question> {
    let full = if vip.is_ipv4() { 32 } else { 128 };
    let own = addresses.iter().find(|own| {
        own.address != vip
            && own.prefix_len < full
            && !own.tentative
            && own.subnet().is_some_and(|net| net.contains(&vip))
    })?;
    let link = links.iter().find(|link| link.index == own.ifindex && link.is_running() && !link.loopback)?;
    Some(Question { interface: link.index, mac: link.mac?, from: own.address, vip })
}

fn ask(sockets: &Sockets, question: &Question) {
    let Question { interface, mac, from, vip } = *question;
    let sent = match (from, vip) {
        (_, IpAddr::V4(vip)) => sockets.arp.send(interface, &wire::arp_probe(mac, vip)),
        (IpAddr::V6(from), IpAddr::V6(vip)) => {
            sockets.ipv6.send(interface, &wire::solicitation(mac, from, vip))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) => Ok(()),
    };
    if let Err(error) = sent {
        tracing::debug!("nobody could be asked who has {vip}: {error}");
    }
}

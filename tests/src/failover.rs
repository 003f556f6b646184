//! What a fail-over looks like from outside: on the wire, and to a client that tries again and again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail, ensure};

use crate::director::{Configuration, Director, VirtualServer, patience, start_real_servers};
use crate::http::Connection;
use crate::lab::Lab;
use crate::process::Process;
use crate::topology::{Family, Node};
use crate::{netns, wait_until};

/// The VIP of most tests.
pub const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 4, 15));
/// Version 2 with a password, an advert each second.
pub const CLASSIC: &str = "version = 2\nauth_pass = \"lvs1234\"\nadvert_interval = \"1s\"";
/// Ten adverts each second.
pub const FAST: &str = "version = 3\nadvert_interval = \"100ms\"";

/// A request of a [`Probe`] that takes longer has failed.
const LIMIT: Duration = Duration::from_millis(40);
/// Between two requests of one thread of a [`Probe`].
const PAUSE: Duration = Duration::from_millis(10);
/// Of a [`Probe`].
const THREADS: usize = 4;

/// What `tcpdump` hears of ARP and VRRP on a node's `eth0`, with the kernel's time of each packet.
#[derive(Debug)]
pub struct Wire {
    tcpdump: Process,
}

/// Time since the epoch, as `tcpdump -tt` has it.
#[must_use]
pub fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Wire {
    /// Begins to listen.
    ///
    /// # Errors
    /// `tcpdump` does not start.
    pub fn listen(lab: &Lab, node: Node) -> anyhow::Result<Self> {
        // ICMPv6 type 136: neighbour advertisements.
        let filter = "arp or ip proto 112 or ip6 proto 112 or (icmp6 and ip6[40] == 136)";
        let command = ["tcpdump", "-tt", "-n", "-e", "-l", "--immediate-mode", "-i", "eth0", filter];
        let tcpdump = lab.spawn(node, command)?;
        if !wait_until(Duration::from_secs(20), || tcpdump.log().contains("listening on")) {
            bail!("tcpdump does not listen: {}", tcpdump.log());
        }
        Ok(Self { tcpdump })
    }

    fn times(&self, mut is_wanted: impl FnMut(&str) -> bool) -> Vec<Duration> {
        let time = |line: &str| line.split(' ').next()?.parse().ok().map(Duration::from_secs_f64);
        self.tcpdump.log().lines().filter(|line| is_wanted(line)).filter_map(time).collect()
    }

    /// When a director announced an address, by gratuitous ARP requests or unsolicited neighbour advertisements.
    ///
    /// # Errors
    /// The director is not in the lab.
    pub fn announcements(&self, lab: &Lab, director: Node, vip: IpAddr) -> anyhow::Result<Vec<Duration>> {
        let mac = mac(lab, director)?;
        let words = match vip {
            IpAddr::V4(vip) => format!("who-has {vip} (ff:ff:ff:ff:ff:ff) tell {vip}"),
            IpAddr::V6(vip) => format!("> ff02::1: ICMP6, neighbor advertisement, tgt is {vip},"),
        };
        Ok(self.times(|line| line.contains(&format!(" {mac} > ")) && line.contains(&words)))
    }

    /// When a director sent adverts of this virtual router and priority.
    ///
    /// # Errors
    /// The director is not in the lab.
    pub fn adverts(
        &self,
        lab: &Lab,
        director: Node,
        router: u8,
        priority: u8,
    ) -> anyhow::Result<Vec<Duration>> {
        let mac = mac(lab, director)?;
        let words = format!("Advertisement, vrid {router}, prio {priority},");
        Ok(self.times(|line| line.contains(&format!(" {mac} > ")) && line.contains(&words)))
    }

    /// All of it.
    #[must_use]
    pub fn log(&self) -> String {
        self.tcpdump.log()
    }
}

/// The node's Ethernet address on `eth0`, as tcpdump writes it.
fn mac(lab: &Lab, node: Node) -> anyhow::Result<String> {
    let interfaces = lab.topology().interfaces(node);
    let interface = interfaces.iter().find(|interface| interface.name == "eth0");
    let mac = interface.with_context(|| format!("{node} has no eth0"))?.mac();
    Ok(mac.map(|byte| format!("{byte:02x}")).join(":"))
}

/// A client that opens a new connection every few milliseconds, and gives each up soon.
#[derive(Debug)]
pub struct Probe {
    is_stopping: Arc<AtomicBool>,
    /// When a request was answered.
    answered: Arc<Mutex<Vec<Instant>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Probe {
    /// Begins.
    ///
    /// # Errors
    /// The client's namespace cannot be entered.
    pub fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let (is_stopping, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let (inside, entered) = mpsc::channel();
        let one = |_| {
            let inside = inside.clone();
            let (stop, answers): (_, Arc<Mutex<Vec<Instant>>>) =
                (Arc::clone(&is_stopping), Arc::clone(&answered));
            thread::spawn(move || {
                let result = netns::enter_here(Node::Client.name());
                let is_inside = result.is_ok();
                if inside.send(result).is_ok() && is_inside {
                    while !stop.load(Ordering::Relaxed) {
                        let deadline = Instant::now() + LIMIT;
                        let answer = Connection::open(address, deadline)
                            .and_then(|mut connection| connection.get("/", true, deadline));
                        if answer.is_ok_and(|response| response.status == 200) {
                            answers.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                        }
                        thread::sleep(PAUSE);
                    }
                }
            })
        };
        let probe = Self { threads: (0..THREADS).map(one).collect(), is_stopping, answered };
        for _ in &probe.threads {
            entered.recv().context("the probe ended at once")??;
        }
        Ok(probe)
    }

    /// Waits for so many more answers; false if that takes too long.
    #[must_use]
    pub fn pass(&self, count: usize, timeout: Duration) -> bool {
        let answers = || self.answered.lock().unwrap_or_else(PoisonError::into_inner).len();
        let target = answers() + count;
        wait_until(timeout, || answers() >= target)
    }

    /// The longest time between two answers that ended after `since`.
    ///
    /// # Errors
    /// The probe panicked.
    pub fn longest_gap(mut self, since: Instant) -> anyhow::Result<Duration> {
        self.is_stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|cause| anyhow!("the probe panicked: {cause:?}"))?;
        }
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let gaps = answered.windows(2).filter_map(|pair| match pair {
            [before, after] if *after > since => Some(*after - *before),
            _ => None,
        });
        gaps.max().context("nothing was answered")
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}

/// Which of the directors have this address on an interface.
#[must_use]
pub fn holders(lab: &Lab, vip: IpAddr) -> Vec<Node> {
    let has = |node: &Node| {
        let prefix = if vip.is_ipv4() { 32 } else { 128 };
        let shown = lab.exec(*node, ["ip", "-o", "addr", "show", "to", &format!("{vip}/{prefix}")]);
        shown.is_ok_and(|text| !text.trim().is_empty())
    };
    [Node::Lvs1, Node::Lvs2].into_iter().filter(has).collect()
}

/// A virtual router with one address, on `eth0`.
#[must_use]
pub fn instance(name: &str, router: u8, vip: IpAddr, priority: u8, lines: &str) -> String {
    format!(
        "[[vrrp_instance]]\nname = \"{name}\"\ninterface = \"eth0\"\nvirtual_router_id = {router}\n\
         priority = {priority}\nvirtual_addresses = [\"{vip}/{prefix}\"]\n{lines}\n\n",
        prefix = if vip.is_ipv4() { 24 } else { 64 }
    )
}

/// One web server behind each of these VIPs: connections that are open while the director changes meet the same
/// server, which here is not the directors' doing.
///
/// # Errors
/// It cannot be had, or not in time.
pub fn web(lab: &Lab, vips: &[IpAddr]) -> anyhow::Result<Configuration> {
    let nodes = [Node::Web1, Node::Web2];
    vips.iter().zip(nodes).try_fold(Configuration::new(&["eth0"]), |config, (vip, node)| {
        let family = if vip.is_ipv4() { Family::V4 } else { Family::V6 };
        let real = lab.address(node, family).with_context(|| format!("{node} is not in the lab"))?;
        Ok(config.with(VirtualServer::new((*vip, 80).into()).real_server(real, 1)))
    })
}

/// The two directors of a test, `lvs1` with priority 150 and `lvs2` with 100, both running, `lvs1` master.
///
/// # Errors
/// It cannot be had, or not in time.
pub fn pair<'lab>(lab: &'lab Lab, lines: &str) -> anyhow::Result<(Director<'lab>, Director<'lab>)> {
    pair_for(lab, VIP, lines)
}

/// As [`pair`], for another VIP.
///
/// # Errors
/// It cannot be had, or not in time.
pub fn pair_for<'lab>(
    lab: &'lab Lab,
    vip: IpAddr,
    lines: &str,
) -> anyhow::Result<(Director<'lab>, Director<'lab>)> {
    let config = web(lab, &[vip])?;
    start_real_servers(lab, &[vip])?;
    let of = |priority| config.clone().append(&instance("VI_1", 51, vip, priority, lines));
    let one = Director::up(lab, Node::Lvs1, &of(150))?;
    has(lab, vip, Node::Lvs1, &[&one])?;
    let two = Director::up(lab, Node::Lvs2, &of(100))?;
    is(&two, "INIT to BACKUP")?;
    Ok((one, two))
}

/// Waits until the director's log says so.
///
/// # Errors
/// It cannot be had, or not in time.
pub fn is(director: &Director<'_>, words: &str) -> anyhow::Result<()> {
    ensure!(wait_until(patience(10), || director.log().contains(words)), "{words}:\n{}", director.log());
    Ok(())
}

/// Waits until this director has the address and no other has.
///
/// # Errors
/// It cannot be had, or not in time.
pub fn has(lab: &Lab, vip: IpAddr, node: Node, directors: &[&Director<'_>]) -> anyhow::Result<()> {
    let logs = || directors.iter().map(|director| director.log()).collect::<Vec<_>>().join("\n---\n");
    ensure!(wait_until(patience(15), || holders(lab, vip) == [node]), "{vip} is not on {node}:\n{}", logs());
    Ok(())
}

/// Waits until this director has the address, whoever else has it.
///
/// # Errors
/// It cannot be had, or not in time.
pub fn gets(lab: &Lab, vip: IpAddr, director: &Director<'_>, node: Node) -> anyhow::Result<()> {
    let gets = wait_until(patience(15), || holders(lab, vip).contains(&node));
    ensure!(gets, "{vip} is not on {node}:\n{}", director.log());
    Ok(())
}

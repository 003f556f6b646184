//! What `lbctl vrrp` shows, as JSON (schema `lbctl/vrrp/v1`) and as text. Times are in milliseconds.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// All virtual routers of a director.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VrrpStatus {
    /// "lbctl/vrrp/v1".
    pub schema: String,
    /// In the order of the configuration.
    pub instances: Vec<InstanceStatus>,
    /// In the order of the configuration.
    pub groups: Vec<GroupStatus>,
    /// Whether this director could serve.
    pub is_ready: bool,
    /// Whether the protocol's thread has precedence over ordinary ones.
    pub has_precedence: bool,
    /// How often the protocol's thread ran later than it should, by more than a tenth of an advert interval.
    pub delays: u64,
    /// The longest of those.
    pub longest_delay_ms: u64,
    /// Packets that belong to no instance, by interface and reason.
    pub refused: BTreeMap<String, BTreeMap<String, u64>>,
    /// Directors that told what their configuration is.
    pub peers: Vec<PeerStatus>,
}

/// A virtual router.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Its name.
    pub name: String,
    /// MASTER, BACKUP, FAULT, INIT or STOP.
    pub state: String,
    /// The interface of its adverts.
    pub interface: String,
    /// The virtual router's MAC, if it is in use.
    #[serde(default)]
    pub virtual_mac: Option<String>,
    /// The interface that has it.
    #[serde(default)]
    pub virtual_mac_interface: Option<String>,
    /// 1 to 255.
    pub virtual_router_id: u8,
    /// 2 or 3.
    pub version: u8,
    /// As configured.
    pub priority: u8,
    /// After tracking.
    pub effective_priority: u8,
    /// What is, or would be, advertised.
    pub advertised_priority: u8,
    /// Between two adverts.
    pub advert_interval_ms: u64,
    /// Where adverts come from; absent if the interface has no address.
    pub source: Option<String>,
    /// The multicast group, or the unicast peers.
    pub destinations: Vec<String>,
    /// The virtual addresses, excluded ones last.
    pub addresses: Vec<String>,
    /// The other director that is master.
    pub master: Option<MasterStatus>,
    /// A master's next advert; how long a backup waits for the master's.
    pub due_in_ms: Option<u64>,
    /// How long a silent master is waited for.
    pub master_down_interval_ms: u64,
    /// The skew time.
    pub skew_ms: u64,
    /// When a master of lower priority is not left alone any more.
    pub preempts_in_ms: Option<u64>,
    /// The operator's order in effect.
    pub order: Option<String>,
    /// What keeps it from being master.
    pub faults: Vec<String>,
    /// What is tracked, its sync group's included.
    pub tracked: Vec<TrackedStatus>,
    /// The last ones, the latest first.
    pub transitions: Vec<TransitionStatus>,
    /// Adverts sent, those of priority 0 included.
    pub adverts_sent: u64,
    /// Adverts of priority 0 sent.
    pub zero_priority_sent: u64,
    /// Adverts accepted.
    pub adverts_received: u64,
    /// Adverts of priority 0 accepted.
    pub zero_priority_received: u64,
    /// Adverts that could not be sent.
    pub send_failures: u64,
    /// Became master so often.
    pub became_master: u64,
    /// Addresses that somebody else removed, put back.
    pub put_back: u64,
    /// Adverts refused, or accepted with a remark, by check.
    pub checks: BTreeMap<String, u64>,
}

/// The other director.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MasterStatus {
    /// Its address.
    pub address: String,
    /// Its priority.
    pub priority: u8,
    /// Its interval.
    pub advert_interval_ms: u64,
    /// Since its last advert.
    pub heard_ago_ms: u64,
}

/// Something tracked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrackedStatus {
    /// interface, script, process, file or virtual server.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// up, down, unknown, or a file's number.
    pub state: String,
    /// Its weight.
    pub weight: i16,
    /// Whether up and down change places.
    pub reverse: bool,
}

/// A change of state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransitionStatus {
    /// Seconds since 1970.
    pub at: f64,
    /// Before.
    pub from: String,
    /// After.
    pub to: String,
    /// One word.
    pub reason: String,
    /// For people.
    pub why: String,
}

/// A sync group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// As an instance's.
    pub state: String,
    /// Its instances.
    pub members: Vec<String>,
}

/// Another director's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its address.
    pub address: String,
    /// Its `router_id`.
    pub router_id: String,
    /// Since it was heard.
    pub heard_ago_ms: u64,
    /// What is not as here; empty if all is.
    pub differs: Vec<String>,
}

struct Ms(u64);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(Duration::from_millis(self.0)).fmt(f)
    }
}

/// 2026-11-21 07:43:15
fn time(at: f64) -> String {
    let since = Duration::try_from_secs_f64(at).unwrap_or_default();
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string().replace('T', " ")
}

impl VrrpStatus {
    /// For people.
    ///
    /// # Errors
    /// `out` does.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if self.instances.is_empty() {
            return writeln!(out, "no VRRP instances");
        }
        for instance in &self.instances {
            instance.write(out)?;
        }
        for group in &self.groups {
            writeln!(out, "group {}: {} ({})", group.name, group.state, group.members.join(", "))?;
        }
        for peer in &self.peers {
            let PeerStatus { address, router_id, heard_ago_ms, differs } = peer;
            let how = if differs.is_empty() {
                "configured alike".to_owned()
            } else {
                format!("configured otherwise: {}", differs.join(", "))
            };
            writeln!(out, "director {router_id} ({address}): {how}, heard {} ago", Ms(*heard_ago_ms))?;
        }
        if !self.is_ready {
            writeln!(out, "this director is not ready: it takes over only if nobody else does")?;
        }
        if !self.has_precedence {
            writeln!(out, "adverts have no precedence over other work here: CAP_SYS_NICE is missing")?;
        }
        if self.delays > 0 {
            let (delays, longest) = (self.delays, Ms(self.longest_delay_ms));
            writeln!(out, "{delays} times later than it should have been, at most {longest}")?;
        }
        for (interface, reasons) in &self.refused {
            for (reason, count) in reasons {
                writeln!(out, "{interface}: {count} packets of no instance here: {reason}")?;
            }
        }
        Ok(())
    }
}

impl InstanceStatus {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { name, state, interface, virtual_router_id, version, priority, .. } = self;
        write!(out, "{name}: {state}, priority {}", self.advertised_priority)?;
        if self.advertised_priority != *priority {
            write!(out, " (configured {priority})")?;
        }
        writeln!(
            out,
            ", {interface} router {virtual_router_id} version {version}, an advert each {}",
            Ms(self.advert_interval_ms)
        )?;
        writeln!(out, "  addresses     {}", self.addresses.join(" "))?;
        if let (Some(mac), Some(interface)) = (&self.virtual_mac, &self.virtual_mac_interface) {
            writeln!(out, "  virtual MAC   {mac} on {interface}")?;
        }
        match &self.source {
            Some(source) => writeln!(out, "  adverts       {source} to {}", self.destinations.join(" "))?,
            None => writeln!(out, "  adverts       to {}", self.destinations.join(" "))?,
        }
        if let Some(master) = &self.master {
            writeln!(
                out,
                "  master        {} priority {}, heard {} ago",
                master.address,
                master.priority,
                Ms(master.heard_ago_ms)
            )?;
        }
        if self.state == "BACKUP"
            && let Some(due) = self.due_in_ms
        {
            writeln!(out, "  master here   in {} without an advert", Ms(due))?;
        }
        if let Some(delay) = self.preempts_in_ms {
            writeln!(out, "  preempts      in {}", Ms(delay))?;
        }
        if let Some(order) = &self.order {
            writeln!(out, "  order         {order}")?;
        }
        for fault in &self.faults {
            writeln!(out, "  fault         {fault}")?;
        }
        for tracked in &self.tracked {
            let TrackedStatus { kind, name, state, weight, reverse } = tracked;
            let reverse = if *reverse { ", reversed" } else { "" };
            writeln!(out, "  tracks        {kind} {name}: {state}, weight {weight}{reverse}")?;
        }
        for transition in self.transitions.iter().take(5) {
            let TransitionStatus { at, from, to, why, .. } = transition;
            writeln!(out, "  {}  {from} to {to}: {why}", time(*at))?;
        }
        write!(out, "  sent {}, received {}", self.adverts_sent, self.adverts_received)?;
        for (count, what) in [(self.send_failures, "not sent"), (self.put_back, "addresses put back")] {
            if count > 0 {
                write!(out, ", {what} {count}")?;
            }
        }
        for (check, count) in self.checks.iter().filter(|(_, count)| **count > 0) {
            write!(out, ", {check} {count}")?;
        }
        writeln!(out)
    }
}

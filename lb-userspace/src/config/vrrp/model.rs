//! What is meant: values in range, names that exist.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use crate::process::Script;

/// Everything about VRRP. Without instances nothing of it happens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Vrrp {
    /// In the order of the file; names differ pairwise, and so do virtual router ids of one family on one interface.
    pub instances: Vec<VrrpInstance>,
    /// Names differ pairwise, and no instance is in two.
    pub sync_groups: Vec<SyncGroup>,
    /// Names differ pairwise.
    pub scripts: Vec<TrackScript>,
    /// Names differ pairwise.
    pub processes: Vec<TrackProcess>,
    /// Names differ pairwise.
    pub files: Vec<TrackFile>,
    /// The time between two gratuitous ARPs or neighbour advertisements on one interface.
    pub garp_interval: Duration,
    /// After the daemon's start, adverts are neither sent nor is anyone's silence counted for so long.
    pub startup_delay: Duration,
    /// The UDP port on which directors compare their configuration; `None`: they do not.
    pub compare_port: Option<u16>,
}

/// The version of the protocol that adverts are sent and expected in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum VrrpVersion {
    /// RFC 3768, IPv4 only; whole seconds; PASS authentication.
    V2,
    /// RFC 9568, IPv4 and IPv6; hundredths of a second.
    V3,
}

/// `state`: what keepalived calls the initial state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InitialState {
    /// Cancels `nopreempt` and `preempt_delay`; otherwise as backup, unless the priority is 255.
    Master,
    /// Waits for the master's silence.
    #[default]
    Backup,
}

/// One `[[vrrp_instance]]`: a virtual router that this director takes part in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VrrpInstance {
    /// 1 to 64 printable bytes.
    pub name: String,
    /// Where adverts are sent and received.
    pub interface: String,
    /// 1 to 255.
    pub virtual_router_id: u8,
    /// As written.
    pub state: InitialState,
    /// 1 to 255; 255 is the owner of the addresses.
    pub priority: u8,
    /// Version 2: whole seconds, 1 to 255. Version 3: hundredths of a second, 10 ms to 40.95 s.
    pub advert_interval: Duration,
    /// Of sent and accepted adverts.
    pub version: VrrpVersion,
    /// Version 2 only: 1 to 8 bytes.
    #[serde(skip)]
    pub auth_pass: Option<String>,
    /// In adverts; all of one family, 1 to 255.
    pub virtual_addresses: Vec<VirtualAddress>,
    /// Not in adverts; of either family.
    pub excluded_addresses: Vec<VirtualAddress>,
    /// Of adverts; `None`: the interface's first address of the family.
    pub source_address: Option<IpAddr>,
    /// Empty: adverts are sent to the multicast group.
    pub unicast_peers: Vec<IpAddr>,
    /// TTL or hop limit of adverts to unicast peers.
    pub unicast_ttl: u8,
    /// A master of lower priority is left alone. Never set for owners or `state = "master"`.
    pub nopreempt: bool,
    /// How long a master of lower priority is left alone. Never with `nopreempt`, owners or `state = "master"`.
    pub preempt_delay: Duration,
    /// Whether the virtual addresses take part in local communication though this director does not own them.
    pub accept: bool,
    /// The virtual addresses have the virtual router's MAC, on an interface of their own.
    pub virtual_mac: Option<VirtualMac>,
    /// Gratuitous ARPs and unsolicited neighbour advertisements.
    pub garp: Garp,
    /// Weight 0: the instance is in fault while the interface is down.
    pub track_interfaces: Vec<Tracked>,
    /// Names of `scripts`.
    pub track_scripts: Vec<Tracked>,
    /// Names of `processes`.
    pub track_processes: Vec<Tracked>,
    /// Names of `files`.
    pub track_files: Vec<Tracked>,
    /// Virtual servers as they are shown: `192.168.4.15:80/tcp`.
    pub track_virtual_servers: Vec<Tracked>,
    /// Set while master.
    pub virtual_routes: Vec<VirtualRoute>,
    /// Set while master.
    pub virtual_rules: Vec<VirtualRule>,
    /// Commands run at transitions.
    pub notify: Notify,
    /// Whether transitions are mailed.
    pub email_alert: bool,
}

impl VrrpInstance {
    /// Whether adverts are IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.virtual_addresses.first().is_some_and(|first| first.address.is_ipv6())
    }

    /// The virtual router's MAC (RFC 9568 section 7.3), if it is in use.
    pub fn mac(&self) -> Option<[u8; 6]> {
        let family = if self.is_ipv6() { 2 } else { 1 };
        self.virtual_mac.as_ref().map(|_| [0, 0, 0x5e, 0, family, self.virtual_router_id])
    }

    /// Whether adverts have the virtual router's MAC as their source.
    pub fn sends_from_virtual_mac(&self) -> bool {
        self.virtual_mac.as_ref().is_some_and(|own| !own.sends_from_base) && self.unicast_peers.is_empty()
    }

    /// All addresses that the master has.
    pub fn addresses(&self) -> impl Iterator<Item = &VirtualAddress> {
        self.virtual_addresses.iter().chain(&self.excluded_addresses)
    }
}

/// `use_vmac`: a macvlan with the virtual router's MAC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VirtualMac {
    /// The interface that has it, and on it the addresses of the instance's family. Differ pairwise.
    pub interface: String,
    /// Adverts have the MAC of the instance's interface all the same.
    pub sends_from_base: bool,
}

/// An address that the master has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VirtualAddress {
    /// The VIP.
    pub address: IpAddr,
    /// Of the connected network; 32 or 128 if none was written.
    pub prefix_len: u8,
    /// The instance's, unless another was written.
    pub interface: String,
    /// `RT_SCOPE_*`: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// IPv4 only.
    pub label: Option<String>,
}

impl fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// How other hosts are told who has the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Garp {
    /// After becoming master, the second burst is sent so much later; 0: there is none.
    pub delay: Duration,
    /// Per address and burst.
    pub repeat: u32,
    /// How often the master repeats it; 0: never.
    pub refresh: Duration,
    /// Per address and refresh.
    pub refresh_repeat: u32,
    /// After an advert of lower priority, the second burst is sent so much later.
    pub lower_priority_delay: Duration,
    /// Per address, after an advert of lower priority; 0: none.
    pub lower_priority_repeat: u32,
}

/// What a tracked object does to the priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Weight {
    /// -253 to 253. 0: failure is a fault. Positive: added while good. Negative: subtracted while failed.
    pub weight: i16,
    /// Good and failed change places.
    pub reverse: bool,
}

/// A tracked object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tracked {
    /// Of the object.
    pub name: String,
    /// The entry's, or the object's own.
    pub weight: Weight,
}

/// Commands run at transitions, with keepalived's arguments appended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Notify {
    /// After each transition.
    pub any: Option<Script>,
    /// On becoming master.
    pub master: Option<Script>,
    /// On becoming backup.
    pub backup: Option<Script>,
    /// On a fault.
    pub fault: Option<Script>,
    /// When the daemon ends.
    pub stop: Option<Script>,
}

/// One `[[vrrp_sync_group]]`: instances that are master together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SyncGroup {
    /// 1 to 64 printable bytes.
    pub name: String,
    /// Names of instances.
    pub members: Vec<String>,
    /// What is tracked for all members.
    pub tracking: GroupTracking,
    /// Whether weights of members' trackers count. keepalived's `sync_group_tracking_weight`.
    pub weighted_tracking: bool,
    /// Commands run at the group's transitions.
    pub notify: Notify,
    /// Whether transitions are mailed.
    pub email_alert: bool,
}

/// As the keys of the same names of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GroupTracking {
    /// `track_interfaces`.
    pub interfaces: Vec<Tracked>,
    /// `track_scripts`.
    pub scripts: Vec<Tracked>,
    /// `track_processes`.
    pub processes: Vec<Tracked>,
    /// `track_files`.
    pub files: Vec<Tracked>,
    /// `track_virtual_servers`.
    pub virtual_servers: Vec<Tracked>,
}

/// One `[[vrrp_script]]`: a command whose exit code says whether something is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrackScript {
    /// 1 to 64 printable bytes.
    pub name: String,
    /// What is run, and as whom.
    pub command: Script,
    /// From one start to the next.
    pub interval: Duration,
    /// After this it is ended and has failed.
    pub timeout: Duration,
    /// Successes in a row until good.
    pub rise: u32,
    /// Failures in a row until failed.
    pub fall: u32,
    /// Where an entry has none of its own.
    pub weight: i16,
    /// Failed until it has been good.
    pub init_fail: bool,
}

/// One `[[vrrp_track_process]]`: good while enough processes of a name run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrackProcess {
    /// 1 to 64 printable bytes.
    pub name: String,
    /// The program's file name (of `/proc/PID/exe` or `argv[0]`), or its whole path.
    pub process: String,
    /// Where an entry has none of its own.
    pub weight: i16,
    /// Fewer processes are a failure.
    pub quorum: u32,
    /// A change counts when it has lasted so long.
    pub delay: Duration,
}

/// One `[[vrrp_track_file]]`: a number in a file; 0 is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrackFile {
    /// 1 to 64 printable bytes.
    pub name: String,
    /// Absolute.
    pub file: PathBuf,
    /// Times the number is added to the priority; 0: any other number than 0 is a fault.
    pub weight: i16,
    /// Written to the file at the start if the file is not there.
    pub init: Option<i32>,
}

/// A route that the master has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VirtualRoute {
    /// Destination; all zeroes is the default route.
    pub to: IpNet,
    /// Router.
    pub via: Option<IpAddr>,
    /// `None`: the instance's, unless `via` leads elsewhere.
    pub interface: Option<String>,
    /// Preferred source.
    pub source: Option<IpAddr>,
    /// `None`: the kernel's.
    pub metric: Option<u32>,
    /// 254 is `main`.
    pub table: u32,
    /// `RT_SCOPE_*`; `None`: by whether there is a router.
    pub scope: Option<u8>,
    /// An answer instead of a way: `blackhole`, `unreachable`, `prohibit`.
    pub kind: RouteKind,
    /// As it was written.
    pub text: String,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum RouteKind {
    /// Forwards.
    #[default]
    Unicast,
    /// Drops.
    Blackhole,
    /// Answers that the destination cannot be reached.
    Unreachable,
    /// Answers that it is not allowed.
    Prohibit,
}

/// A policy rule that the master has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VirtualRule {
    /// Source of matching packets.
    pub from: Option<IpNet>,
    /// Destination of matching packets.
    pub to: Option<IpNet>,
    /// Incoming interface.
    pub iif: Option<String>,
    /// Mark.
    pub fwmark: Option<u32>,
    /// Where matching packets are looked up.
    pub table: u32,
    /// Lower is earlier; `None`: the kernel's choice.
    pub priority: Option<u32>,
    /// Whether it is an IPv6 rule.
    pub is_ipv6: bool,
    /// As it was written.
    pub text: String,
}

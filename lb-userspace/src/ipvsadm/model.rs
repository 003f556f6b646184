//! A command line as it is meant, and rules as `ipvsadm -S` prints them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// One invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `-A`.
    AddService(Service),
    /// `-E`: replaces everything but the address; what is not given gets its default.
    EditService(Service),
    /// `-D`.
    DeleteService(ServiceKey),
    /// `-C`.
    Clear,
    /// `-a`.
    AddServer(ServiceKey, Server),
    /// `-e`: replaces everything but the address; what is not given gets its default.
    EditServer(ServiceKey, Server),
    /// `-d`.
    DeleteServer(ServiceKey, SocketAddr),
    /// `-L`, and no argument at all.
    List(Listing),
    /// `-Z`: of one virtual server, or of all.
    Zero(Option<ServiceKey>),
    /// `--set`: seconds; 0 leaves a value as it is.
    SetTimeouts {
        /// Of established TCP connections.
        tcp: u32,
        /// Of TCP connections after a FIN.
        tcp_fin: u32,
        /// Of UDP.
        udp: u32,
    },
    /// `--start-daemon`.
    StartDaemon(Daemon),
    /// `--stop-daemon`.
    StopDaemon(Daemon),
    /// `-R`: rules from standard input.
    Restore,
    /// `-S`.
    Save {
        /// Numbers instead of names.
        numeric: bool,
    },
    /// `-h` in the first place.
    Help,
    /// `-v` in the first place.
    Version,
}

impl Command {
    /// The virtual server that it changes.
    pub fn service(&self) -> Option<&ServiceKey> {
        match self {
            Self::AddService(service) | Self::EditService(service) => Some(&service.key),
            Self::DeleteService(key)
            | Self::AddServer(key, _)
            | Self::EditServer(key, _)
            | Self::DeleteServer(key, _) => Some(key),
            Self::Clear
            | Self::List(_)
            | Self::Zero(_)
            | Self::SetTimeouts { .. }
            | Self::StartDaemon(_)
            | Self::StopDaemon(_)
            | Self::Restore
            | Self::Save { .. }
            | Self::Help
            | Self::Version => None,
        }
    }
}

/// The transport protocol of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// `-t`.
    Tcp,
    /// `-u`.
    Udp,
    /// `--sctp-service`.
    Sctp,
}

impl Transport {
    /// The IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The name in `/etc/services`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// What names a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceKey {
    /// `-t`, `-u`, `--sctp-service`. Port 0: every port.
    Address(Transport, SocketAddr),
    /// `-f`, above 0; `-6`.
    Fwmark {
        /// The mark that the packets carry.
        mark: u32,
        /// Packets of IPv6.
        ipv6: bool,
    },
}

impl ServiceKey {
    /// Whether its packets are IPv6's.
    pub fn is_ipv6(&self) -> bool {
        match self {
            Self::Address(_, address) => address.is_ipv6(),
            Self::Fwmark { ipv6, .. } => *ipv6,
        }
    }
}

/// As options: `-t 192.168.4.15:80`, `-f 3 -6`.
impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(Transport::Tcp, address) => write!(f, "-t {address}"),
            Self::Address(Transport::Udp, address) => write!(f, "-u {address}"),
            Self::Address(Transport::Sctp, address) => write!(f, "--sctp-service {address}"),
            Self::Fwmark { mark, ipv6: false } => write!(f, "-f {mark}"),
            Self::Fwmark { mark, ipv6: true } => write!(f, "-f {mark} -6"),
        }
    }
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What names it.
    pub key: ServiceKey,
    /// `-s`; at most 15 bytes, as the kernel keeps them; known to the kernel or not.
    pub scheduler: String,
    /// `-b`.
    pub flags: SchedulerFlags,
    /// `-p`: seconds, 1 to 2,678,400; ipvsadm's default is 360.
    pub persistent: Option<u32>,
    /// `-M`.
    pub granularity: Option<Granularity>,
    /// `-o`.
    pub one_packet: bool,
    /// `--pe`.
    pub persistence_engine: Option<String>,
}

/// What is the same in the addresses of clients that count as one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// Of IPv4, or given before an IPv6 address. Not checked to be contiguous.
    Mask(Ipv4Addr),
    /// Of IPv6, 1 to 128.
    Prefix(u8),
}

/// `-b`: the kernel's `IP_VS_SVC_F_SCHED1` to `3` as bits 0 to 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerFlags(pub u8);

impl SchedulerFlags {
    /// The names that a scheduler's flags have: [fallback, port, none].
    pub fn names(self, scheduler: &str) -> Vec<&'static str> {
        let names = match scheduler {
            "sh" => ["sh-fallback", "sh-port", "flag-3"],
            "mh" => ["mh-fallback", "mh-port", "flag-3"],
            _ => ["flag-1", "flag-2", "flag-3"],
        };
        names
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| self.0 & (1 << bit) != 0)
            .map(|(_, name)| name)
            .collect()
    }
}

/// A rule: `-A …`.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-A {} -s {}", self.key, self.scheduler)?;
        if let Some(seconds) = self.persistent {
            write!(f, " -p {seconds}")?;
            match self.granularity {
                Some(Granularity::Mask(mask)) if mask != Ipv4Addr::BROADCAST => write!(f, " -M {mask}")?,
                Some(Granularity::Prefix(length)) if length != 128 => write!(f, " -M {length}")?,
                _ => {}
            }
        }
        if let Some(engine) = &self.persistence_engine {
            write!(f, " --pe {engine}")?;
        }
        if self.one_packet {
            f.write_str(" -o")?;
        }
        match self.flags.names(&self.scheduler).join(",") {
            none if none.is_empty() => Ok(()),
            names => write!(f, " -b {names}"),
        }
    }
}

/// A real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its address; direct routing and tunnels have the virtual server's port, but for firewall marks.
    pub address: SocketAddr,
    /// `-g`, `-i`, `-m`.
    pub forwarding: Forwarding,
    /// `-w`, 0 to 2,147,483,647.
    pub weight: u32,
    /// `-x`, 0: none.
    pub upper_threshold: u32,
    /// `-y`, 0: none.
    pub lower_threshold: u32,
}

/// How packets get to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// `-g`, the default.
    DirectRouting,
    /// `-m`.
    Masquerading,
    /// `-i`.
    Tunnel(Tunnel),
}

/// What packets to a real server are wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// IP in IP, the default.
    Ipip,
    /// Generic UDP encapsulation.
    Gue {
        /// The UDP port of the real server.
        port: u16,
        /// Of the outer header.
        checksum: Checksum,
    },
    /// Generic routing encapsulation; its checksum is never remote.
    Gre {
        /// Of the outer header.
        checksum: Checksum,
    },
}

/// A tunnel's checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// `--tun-nocsum`, the default.
    #[default]
    None,
    /// `--tun-csum`.
    Full,
    /// `--tun-remcsum`.
    Remote,
}

impl Checksum {
    fn option(self) -> &'static str {
        match self {
            Self::None => "--tun-nocsum",
            Self::Full => "--tun-csum",
            Self::Remote => "--tun-remcsum",
        }
    }
}

impl Server {
    /// The rule: `-a …`. Thresholds are left out, as `ipvsadm -S` does, unless `thresholds`.
    pub fn rule(&self, service: &ServiceKey, thresholds: bool) -> String {
        let method = match self.forwarding {
            Forwarding::DirectRouting => "-g",
            Forwarding::Masquerading => "-m",
            Forwarding::Tunnel(_) => "-i",
        };
        let mut rule = format!("-a {service} -r {} {method} -w {}", self.address, self.weight);
        match self.forwarding {
            Forwarding::Tunnel(Tunnel::Gue { port, checksum }) => {
                rule += &format!(" --tun-type gue --tun-port {port} {}", checksum.option());
            }
            Forwarding::Tunnel(Tunnel::Gre { checksum }) => {
                rule += &format!(" --tun-type gre {}", checksum.option());
            }
            Forwarding::Tunnel(Tunnel::Ipip) => rule += " --tun-type ipip",
            Forwarding::DirectRouting | Forwarding::Masquerading => {}
        }
        if thresholds && self.upper_threshold > 0 {
            rule += &format!(" -x {}", self.upper_threshold);
        }
        if thresholds && self.lower_threshold > 0 {
            rule += &format!(" -y {}", self.lower_threshold);
        }
        rule
    }
}

/// What `-L` shows, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Which table.
    pub show: Show,
    /// Only this virtual server.
    pub service: Option<ServiceKey>,
    /// `-n`.
    pub numeric: bool,
    /// `-X`.
    pub exact: bool,
    /// `--nosort`.
    pub unsorted: bool,
    /// `--stats`.
    pub stats: bool,
    /// `--rate`.
    pub rate: bool,
    /// `--thresholds`.
    pub thresholds: bool,
    /// `--persistent-conn`.
    pub persistent_connections: bool,
    /// `--tun-info`.
    pub tunnels: bool,
}

/// A table of `-L`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Show {
    /// Virtual servers and real servers.
    #[default]
    Services,
    /// `-c`.
    Connections,
    /// `--timeout`.
    Timeouts,
    /// `--daemon`.
    Daemons,
}

/// Which half of connection synchronisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaemonRole {
    /// Sends.
    Master,
    /// Receives.
    Backup,
}

/// `--start-daemon` and `--stop-daemon`. What is `None` is left to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// Which half.
    pub role: DaemonRole,
    /// `--syncid`.
    pub syncid: u8,
    /// `--mcast-interface`; `eth0` by default.
    pub interface: String,
    /// `--mcast-group`.
    pub group: Option<IpAddr>,
    /// `--mcast-port`.
    pub port: Option<u16>,
    /// `--mcast-ttl`.
    pub ttl: Option<u8>,
    /// `--sync-maxlen`, bytes.
    pub max_length: Option<u16>,
}

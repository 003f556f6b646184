//! What is found on a host.

use std::net::IpAddr;

/// Everything that is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Of the running kernel, as `uname -r` prints it.
    pub kernel: String,
    /// `net.core.bpf_jit_enable`; `None` where the kernel always compiles.
    pub jit: Option<u32>,
    /// Capabilities that a director needs and this process lacks.
    pub missing_capabilities: Vec<&'static str>,
    /// Whether `/sys/fs/bpf` is a BPF file system.
    pub has_bpf_fs: bool,
    /// CPUs that packets can be spread over.
    pub cpus: usize,
    /// Whether a daemon of the instance runs.
    pub is_up: bool,
    /// Interfaces of the configuration that there are not.
    pub missing_interfaces: Vec<String>,
    /// Those that there are; on a real server, all but `lo`.
    pub interfaces: Vec<InterfaceFacts>,
    /// The real servers' addresses.
    pub next_hops: Vec<NextHopFacts>,
    /// Who answers for each IPv4 VIP; empty if nobody was asked.
    pub arp: Vec<ArpFacts>,
    /// The packet filters; `None` if none can be listed.
    pub filters: Option<Vec<Filter>>,
    /// Whether the clock is synchronised; `None` if that cannot be found out.
    pub is_clock_synchronised: Option<bool>,
    /// Whether VRRP runs, so that another director's adverts must get in.
    pub has_vrrp: bool,
    /// Ports that clients connect to.
    pub ports: Vec<u16>,
    /// What [`crate::realserver::status`] says, on a real server.
    pub items: Vec<crate::realserver::Item>,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// Its name.
    pub name: String,
    /// The driver's name, or the kind of a virtual device.
    pub driver: String,
    /// Is it up, and has it a carrier?
    pub is_running: bool,
    /// "native", "generic", "offload" or "several"; `None` without a program.
    pub xdp: Option<String>,
    /// Bytes.
    pub mtu: u32,
    /// Large receive offload; `None` if it cannot be asked.
    pub lro: Option<bool>,
    /// Generic receive offload; likewise.
    pub gro: Option<bool>,
    /// VLAN tags are taken off by the hardware; likewise.
    pub rx_vlan: Option<bool>,
    /// VLAN devices on it.
    pub vlans: Vec<String>,
    /// Receive queues; 0 if they cannot be counted.
    pub rx_queues: usize,
    /// `rp_filter` in force: the larger of the interface's own and `all`'s.
    pub rp_filter: Option<u32>,
    /// It is a veth pair's end whose other end takes no frames from XDP.
    pub is_blind_veth: bool,
}

/// The way to a real server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHopFacts {
    /// RIP.
    pub address: IpAddr,
    /// Where packets to it go.
    pub way: Way,
}

/// See [`NextHopFacts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is this host.
    Local,
    /// Its MAC, or its gateway's, is known.
    Known {
        /// Out of which interface.
        interface: String,
        /// Of that interface.
        mtu: u32,
    },
    /// It cannot be reached, for this reason.
    None(String),
}

/// Who answers ARP for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArpFacts {
    /// VIP.
    pub address: IpAddr,
    /// Which interface was asked on.
    pub interface: String,
    /// Whether this host has the address on an interface that answers.
    pub is_here: bool,
    /// The MACs of those that answered, this host not among them; each once.
    pub answers: Vec<[u8; 6]>,
}

/// A packet filter: `nft` or `iptables-save`, as it lists itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// "nft", "iptables" or "ip6tables".
    pub tool: &'static str,
    /// Its listing.
    pub text: String,
}

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
    /// Of instances with a virtual MAC.
    pub virtual_macs: Vec<VirtualMacFacts>,
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

/// An instance with a virtual MAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualMacFacts {
    /// The instance.
    pub wanted: VirtualMac,
    /// Whether this director is master of it; `None` if that is not known.
    pub is_master: Option<bool>,
    /// Whether the interface below is there.
    pub has_base: bool,
    /// Where its frames arrive, if no program sees them there though virtual servers have its addresses.
    pub without_program: Option<String>,
    /// The interface of the macvlan's name.
    pub device: Option<DeviceFacts>,
    /// Whether the kernel can make a macvlan; `None` if it was not asked.
    pub can_be_made: Option<bool>,
    /// What the macvlan and the interface below need, and have.
    pub settings: Vec<SettingFacts>,
}

/// An instance with a virtual MAC, as it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualMac {
    /// The instance's name.
    pub instance: String,
    /// The macvlan's name.
    pub interface: String,
    /// The interface below it.
    pub base: String,
    /// The virtual MAC.
    pub mac: [u8; 6],
    /// Whether its addresses are IPv6.
    pub is_ipv6: bool,
    /// Whether a virtual server has one of its addresses.
    pub is_balanced: bool,
}

/// An interface that should be a macvlan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The kind of a virtual device, else "a card".
    pub kind: String,
    /// The name of the interface below it.
    pub base: Option<String>,
    /// Its Ethernet address.
    pub mac: Option<[u8; 6]>,
    /// Whether it is up.
    pub is_up: bool,
}

/// A setting of the kernel for one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingFacts {
    /// The file's directory below `/proc/sys`: `net/ipv4/conf`.
    pub directory: &'static str,
    /// The interface.
    pub interface: String,
    /// The file's name.
    pub key: &'static str,
    /// What it should be.
    pub wanted: u32,
    /// What it is; `None` if there is none of this name.
    pub found: Option<u32>,
    /// The same of `all`.
    pub found_of_all: Option<u32>,
}

/// A packet filter: `nft` or `iptables-save`, as it lists itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// "nft", "iptables" or "ip6tables".
    pub tool: &'static str,
    /// Its listing.
    pub text: String,
}

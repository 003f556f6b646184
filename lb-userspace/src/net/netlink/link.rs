//! Network devices, as RTM_GETLINK shows them (`net/core/rtnetlink.c`, `rtnl_fill_ifinfo`).

use std::fmt;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        InfoData, InfoIpTunnel, InfoKind, InfoMacVlan, InfoVlan, LinkAttribute, LinkFlags, LinkInfo,
        LinkLayerType, LinkMessage, LinkXdp, MacVlanMode, XdpAttached,
    },
};

use super::{Netlink, NetlinkError};

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Index, unique in its network namespace, never 0.
    pub index: u32,
    /// Name, at most 15 bytes.
    pub name: String,
    /// Ethernet address; `None` where the device has none (tunnels, PPP).
    pub mac: Option<[u8; 6]>,
    /// Largest payload of a frame, in bytes.
    pub mtu: u32,
    /// Is the device administratively up (`IFF_UP`)?
    pub up: bool,
    /// Does it have a carrier (`IFF_LOWER_UP`)? Without it frames go nowhere.
    pub carrier: bool,
    /// Is it a loopback device?
    pub loopback: bool,
    /// Kind of a virtual device (`veth`, `vlan`, `bridge`, …); `None` for hardware.
    pub kind: Option<String>,
    /// 802.1Q identifier (1–4094) of a VLAN device.
    pub vlan: Option<u16>,
    /// `IFLA_LINK`: the device below, or a veth's peer. In the namespace [`peer_netnsid`](Self::peer_netnsid)
    /// if that is set.
    pub lower: Option<u32>,
    /// `IFLA_LINK_NETNSID`: this namespace's number for the namespace of `lower`; `None` if it is this one,
    /// negative if it has no number here.
    pub peer_netnsid: Option<i32>,
    /// The XDP program on it.
    pub xdp: Option<XdpAttachment>,
}

impl Link {
    /// Can frames leave through the device now?
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.up && self.carrier
    }
}

/// An XDP program on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XdpAttachment {
    /// Where the program runs.
    pub mode: XdpMode,
    /// Identifier of the program (that of `bpftool prog`); 0 if several are attached in different modes.
    pub prog_id: u32,
}

/// Where an XDP program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver (`xdpdrv`).
    Native,
    /// In the network stack (`xdpgeneric`).
    Generic,
    /// On the card (`xdpoffload`).
    Offload,
    /// Several programs in different modes.
    Several,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offload => "offload",
            Self::Several => "several",
        })
    }
}

/// Does the other end of a veth pair take frames that XDP transmits?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerXdp {
    /// A native XDP program is attached to it, so `veth_xdp_xmit` delivers.
    Yes,
    /// None is attached: `XDP_TX` and redirects in native mode are counted as sent and lost.
    No,
    /// The device is no veth, or the peer's namespace cannot be asked.
    Unknown,
}

impl Netlink {
    /// All devices of the namespace.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let answers =
            self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), "list network devices").await?;
        Ok(answers.iter().filter_map(from_answer).collect())
    }

    /// The device of that name, `None` if there is none.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn link_by_name(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.get_link(message, &format!("network device {name}")).await
    }

    /// The device of that index, `None` if there is none.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn link_by_index(&self, index: u32) -> Result<Option<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.get_link(message, &format!("network device {index}")).await
    }

    /// Does the peer of a veth device take what native XDP transmits?
    ///
    /// `veth_xdp_xmit` (`drivers/net/veth.c`) drops frames unless the receiving end runs NAPI, which a native
    /// XDP program switches on; a generic one does not. Since Linux 5.13 `ethtool -K PEER gro on` switches it
    /// on as well; that cannot be seen from here, so such a peer is reported as [`PeerXdp::No`], which at
    /// worst costs speed (generic mode), never frames. Asking into another namespace takes `CAP_NET_ADMIN`
    /// there; without it the answer is [`PeerXdp::Unknown`].
    pub async fn veth_peer_accepts_xdp(&self, link: &Link) -> PeerXdp {
        let (Some("veth"), Some(peer)) = (link.kind.as_deref(), link.lower) else { return PeerXdp::Unknown };
        let mut message = LinkMessage::default();
        message.header.index = peer;
        if let Some(netns) = link.peer_netnsid {
            // NETNSA_NSID_NOT_ASSIGNED is -1.
            if netns < 0 {
                return PeerXdp::Unknown;
            }
            // IFLA_TARGET_NETNSID is the newer name of IFLA_IF_NETNSID.
            message.attributes.push(LinkAttribute::IfNetnsId(netns));
        }
        match self.get_link(message, &format!("peer of {}", link.name)).await {
            Ok(Some(peer)) => match peer.xdp {
                Some(XdpAttachment { mode: XdpMode::Native | XdpMode::Several, .. }) => PeerXdp::Yes,
                Some(XdpAttachment { mode: XdpMode::Generic | XdpMode::Offload, .. }) | None => PeerXdp::No,
            },
            Ok(None) | Err(_) => PeerXdp::Unknown,
        }
    }

    /// Makes a device of kind `ipip` or `ip6tnl` that takes every tunnel's packets (`ip link add … external`), down.
    ///
    /// # Errors
    /// EEXIST: there is a device of this name, or another one that takes every tunnel's packets. EOPNOTSUPP: the
    /// kernel has no such kind. Else see [`NetlinkError`].
    pub async fn add_tunnel(&self, name: &str, kind: &str) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::from(kind)),
            LinkInfo::Data(InfoData::IpTunnel(vec![InfoIpTunnel::CollectMetadata])),
        ]));
        let operation = format!("add device {name} of kind {kind}");
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, &operation).await
    }

    /// Makes a macvlan upon the device of index `lower`, private (it talks to no other macvlan of this host), with
    /// this Ethernet address and no IPv6 address of its own, down.
    ///
    /// # Errors
    /// EEXIST: there is a device of this name. EBUSY: the device below has a macvlan of this Ethernet address that is
    /// up, or is part of a bridge. EOPNOTSUPP: the kernel has no such kind. Else see [`NetlinkError`].
    pub async fn add_private_macvlan(
        &self,
        name: &str,
        lower: u32,
        mac: [u8; 6],
    ) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(LinkAttribute::Link(lower));
        message.attributes.push(LinkAttribute::Address(mac.to_vec()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::MacVlan),
            LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Private)])),
        ]));
        let operation = format!("add macvlan {name} upon device {lower}");
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, &operation).await
    }

    /// Whether the kernel can make macvlans, if need be by a module that it loads; `None` if it does not say.
    ///
    /// Asks for one without a device below, which is refused, but for another reason where there is no such kind
    /// (`macvlan_common_newlink`).
    pub async fn knows_macvlan(&self) -> Option<bool> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::MacVlan)]));
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let refused =
            self.change(RouteNetlinkMessage::NewLink(message), flags, "ask for macvlan").await.err()?;
        match refused.errno()? {
            libc::EINVAL => Some(true),
            libc::EOPNOTSUPP => Some(false),
            _ => None,
        }
    }

    /// Sets a device up (`IFF_UP`).
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn set_link_up(&self, name: &str) -> Result<(), NetlinkError> {
        self.set_link(name, true).await
    }

    /// Sets a device down. It keeps its IPv4 addresses, and loses its IPv6 ones and its routes.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn set_link_down(&self, name: &str) -> Result<(), NetlinkError> {
        self.set_link(name, false).await
    }

    async fn set_link(&self, name: &str, is_up: bool) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        if is_up {
            message.header.flags = LinkFlags::Up;
        }
        message.header.change_mask = LinkFlags::Up;
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let operation = format!("set device {name} {}", if is_up { "up" } else { "down" });
        self.change(RouteNetlinkMessage::SetLink(message), 0, &operation).await
    }

    /// Removes a device. `Ok(false)` if there is none of that index.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub async fn remove_link(&self, index: u32) -> Result<bool, NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        match self.change(RouteNetlinkMessage::DelLink(message), 0, &format!("remove device {index}")).await {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn get_link(&self, message: LinkMessage, operation: &str) -> Result<Option<Link>, NetlinkError> {
        match self.get(RouteNetlinkMessage::GetLink(message), operation).await {
            Ok(answer) => Ok(answer.as_ref().and_then(from_answer)),
            // ERANGE and EINVAL: a name longer than a device name can be.
            Err(error) if matches!(error.errno(), Some(libc::ENODEV | libc::ERANGE | libc::EINVAL)) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn from_answer(answer: &RouteNetlinkMessage) -> Option<Link> {
    if let RouteNetlinkMessage::NewLink(message) = answer { Some(from_message(message)) } else { None }
}

pub(super) fn from_message(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
        kind: None,
        vlan: None,
        lower: None,
        peer_netnsid: None,
        xdp: None,
    };
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            link.name.clone_from(name);
        } else if let LinkAttribute::Address(bytes) = attribute {
            if message.header.link_layer_type == LinkLayerType::Ether {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok();
            }
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            link.mtu = *mtu;
        } else if let LinkAttribute::Link(lower) = attribute {
            // 0 says "none", for example for a veth whose peer is going away.
            link.lower = Some(*lower).filter(|&lower| lower != 0);
        } else if let LinkAttribute::LinkNetNsId(netns) = attribute {
            link.peer_netnsid = Some(*netns);
        } else if let LinkAttribute::Xdp(xdp) = attribute {
            link.xdp = attachment(xdp);
        } else if let LinkAttribute::LinkInfo(infos) = attribute {
            for info in infos {
                if let LinkInfo::Kind(kind) = info {
                    link.kind = Some(kind.to_string());
                } else if let LinkInfo::Data(InfoData::Vlan(vlan)) = info {
                    link.vlan =
                        vlan.iter().find_map(|v| if let InfoVlan::Id(id) = v { Some(*id) } else { None });
                }
            }
        }
    }
    link
}

fn attachment(attributes: &[LinkXdp]) -> Option<XdpAttachment> {
    let mut mode = None;
    let mut prog_id = 0;
    for attribute in attributes {
        if let LinkXdp::Attached(attached) = attribute {
            mode = if *attached == XdpAttached::Driver {
                Some(XdpMode::Native)
            } else if *attached == XdpAttached::SocketBuffer {
                Some(XdpMode::Generic)
            } else if *attached == XdpAttached::Hardware {
                Some(XdpMode::Offload)
            } else if *attached == XdpAttached::Multiple {
                Some(XdpMode::Several)
            } else {
                None
            };
        } else if let LinkXdp::ProgId(id) = attribute {
            prog_id = *id;
        }
    }
    mode.map(|mode| XdpAttachment { mode, prog_id })
}

//! Raw sockets of protocol 112, one for each interface and family.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, SocketAddrV6, UdpSocket as StdSocket};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::vrrp::packet::{GROUP_V4, GROUP_V6, PROTOCOL, TRAFFIC_CLASS};

/// More than the longest advert: 255 IPv6 addresses.
const LONGEST: usize = 8 << 10;
/// Room for bursts while the thread waits for a processor.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Authentication headers (RFC 4302): what a keepalived with `auth_type AH` sends.
const AH: u8 = 51;

/// The two sockets of an interface and a family.
#[derive(Debug)]
pub(super) struct Sockets {
    interface: u32,
    is_ipv6: bool,
    adverts: UdpSocket,
    /// IPv4 only. Heard to be refused in words.
    authenticated: Option<UdpSocket>,
}

/// An advert as it was read, and what the IP header said where the kernel took that away.
#[derive(Debug)]
pub(super) enum Read {
    /// With its IP header.
    Ipv4Packet(Vec<u8>),
    /// Without.
    Ipv6 { from: IpAddr, to: IpAddr, hop_limit: u8, payload: Vec<u8> },
}

impl Sockets {
    /// Opens them on the device of this name and index, and joins the group.
    pub(super) fn open(name: &str, interface: u32, is_ipv6: bool) -> io::Result<Self> {
        let adverts = open(name, interface, is_ipv6, PROTOCOL)?;
        let authenticated = if is_ipv6 { None } else { Some(open(name, interface, is_ipv6, AH)?) };
        Ok(Self { interface, is_ipv6, adverts, authenticated })
    }

    pub(super) fn is(&self, interface: u32, is_ipv6: bool) -> bool {
        (self.interface, self.is_ipv6) == (interface, is_ipv6)
    }

    pub(super) fn interface(&self) -> u32 {
        self.interface
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.is_ipv6
    }

    /// Returns when something may be there to be read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match &self.authenticated {
            None => self.adverts.readable().await,
            Some(other) => {
                tokio::select! {
                    biased;
                    readable = self.adverts.readable() => readable,
                    readable = other.readable() => readable,
                }
            }
        }
    }

    /// The next packet; `None` if there is none now.
    pub(super) fn read(&self) -> io::Result<Option<Read>> {
        for socket in std::iter::once(&self.adverts).chain(&self.authenticated) {
            let read = || if self.is_ipv6 { read_v6(socket) } else { read_v4(socket) };
            // Clears the readiness when nothing is left.
            let tried = socket.try_io(tokio::io::Interest::READABLE, read);
            match tried {
                // Readiness that the runtime has not been told of yet counts as well.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match read() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => return other.map(Some),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(Some),
            }
        }
        Ok(None)
    }

    /// Sends the payload of an advert.
    pub(super) fn send(&self, payload: &[u8], from: IpAddr, to: IpAddr, ttl: u8) -> io::Result<()> {
        let fd = self.adverts.as_raw_fd();
        let bytes = [IoSlice::new(payload)];
        let hops = i32::from(ttl);
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: i32::try_from(self.interface).map_err(io::Error::other)?,
                    ipi_spec_dst: in_addr(from),
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let words = [ControlMessage::Ipv4PacketInfo(&info), ControlMessage::Ipv4Ttl(&hops)];
                let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                sendmsg(fd, &bytes, &words, MsgFlags::empty(), Some(&to))?;
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: from.octets() },
                    ipi6_ifindex: self.interface,
                };
                let words = [ControlMessage::Ipv6PacketInfo(&info), ControlMessage::Ipv6HopLimit(&hops)];
                let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, self.interface));
                sendmsg(fd, &bytes, &words, MsgFlags::empty(), Some(&to))?;
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                return Err(io::Error::other("source and destination are of different families"));
            }
        }
        Ok(())
    }
}

fn in_addr(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) }
}

fn open(name: &str, interface: u32, is_ipv6: bool, protocol: u8) -> io::Result<UdpSocket> {
    let domain = if is_ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol))))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(name.as_bytes()))?;
    // Without it a burst has less room; nothing else.
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).unwrap_or_default();
    if is_ipv6 {
        socket.join_multicast_v6(&GROUP_V6, interface)?;
        socket.set_multicast_if_v6(interface)?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_tclass_v6(TRAFFIC_CLASS.into())?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
    } else {
        socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(interface))?;
        socket.set_multicast_loop_v4(false)?;
        socket.set_tos_v4(TRAFFIC_CLASS.into())?;
        socket.set_freebind_v4(true)?;
    }
    UdpSocket::from_std(StdSocket::from(std::os::fd::OwnedFd::from(socket)))
}

fn read_v4(socket: &UdpSocket) -> io::Result<Read> {
    let mut buffer = vec![0; LONGEST];
    let length = nix::sys::socket::recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
    buffer.truncate(length);
    Ok(Read::Ipv4Packet(buffer))
}

fn read_v6(socket: &UdpSocket) -> io::Result<Read> {
    let mut buffer = vec![0; LONGEST];
    let mut words = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
    let (length, from, to, hop_limit) = {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<SockaddrIn6>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut words),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let (mut to, mut hop_limit) = (None, None);
        for word in message.cmsgs()? {
            if let ControlMessageOwned::Ipv6PacketInfo(info) = word {
                to = Some(IpAddr::from(info.ipi6_addr.s6_addr));
            } else if let ControlMessageOwned::Ipv6HopLimit(hops) = word {
                hop_limit = u8::try_from(hops).ok();
            }
        }
        (message.bytes, message.address.map(|from| from.ip()), to, hop_limit)
    };
    buffer.truncate(length);
    match (from, to, hop_limit) {
        (Some(from), Some(to), Some(hop_limit)) => {
            Ok(Read::Ipv6 { from: from.into(), to, hop_limit, payload: buffer })
        }
        _ => Err(io::Error::other("the kernel does not tell where a packet comes from")),
    }
}

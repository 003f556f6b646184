//! Changes as the kernel announces them to its multicast groups.
//!
//! The socket is read directly, not through rtnetlink's connection, so that its kernel buffer is the only
//! queue: it has a bound, and overflowing it is reported as [`Event::Overrun`].

use std::{collections::VecDeque, io, net::IpAddr};

use ipnet::IpNet;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::io::unix::AsyncFd;

use super::{Address, Link, Neighbour, Netlink, NetlinkError, address, link, neighbour, route};

/// Groups are joined by their bit (group number − 1), `linux/rtnetlink.h`: LINK 1, NEIGH 3, IPV4_IFADDR 5,
/// IPV4_ROUTE 7, IPV4_RULE 8, IPV6_IFADDR 9, IPV6_ROUTE 11, IPV6_RULE 19.
const GROUPS: u32 = 1 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 18;

/// Room for some ten thousand neighbour events (the kernel counts about 1 KiB for each). Without
/// `CAP_NET_ADMIN` in the first namespace the kernel caps it at `net.core.rmem_max`.
const KERNEL_BUFFER: usize = 8 << 20;

/// The kernel fills at most this much of a datagram with events.
const DATAGRAM: usize = 64 << 10;

/// A change in the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A device is new or changed.
    Link(Link),
    /// A device is gone.
    LinkGone(u32),
    /// A neighbour entry is new or changed.
    Neighbour(Neighbour),
    /// A neighbour entry is gone.
    NeighbourGone {
        /// Index of the device.
        ifindex: u32,
        /// The neighbour's IP address.
        address: IpAddr,
    },
    /// An address is new or changed.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// Routes to this network changed.
    Route(IpNet),
    /// A policy rule changed: any route may be another now.
    Rules,
    /// Events were lost or could not be read; the state must be read anew.
    Overrun,
}

/// A stream of [`Event`]s.
#[derive(Debug)]
pub struct Events {
    socket: AsyncFd<Socket>,
    buffer: Vec<u8>,
    pending: VecDeque<Event>,
}

impl Netlink {
    /// Starts listening. What changes after this returns is seen, so subscribe first, then read the tables.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn events() -> Result<Events, NetlinkError> {
        let open = || -> io::Result<AsyncFd<Socket>> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.set_non_blocking(true)?;
            if nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &KERNEL_BUFFER)
                .is_err()
            {
                socket.set_rx_buf_sz(KERNEL_BUFFER)?;
            }
            socket.bind(&SocketAddr::new(0, GROUPS))?;
            // SAFETY: `Socket` owns its descriptor: it was opened above, `as_raw_fd` always returns that one,
            // and only dropping the `Socket` closes it, which the `AsyncFd` it moves into does after itself.
            Ok(unsafe { AsyncFd::register(socket) }?)
        };
        let socket = open().map_err(|source| NetlinkError::Open { source })?;
        Ok(Events { socket, buffer: Vec::with_capacity(DATAGRAM), pending: VecDeque::new() })
    }
}

impl Events {
    /// The next event. Cancel-safe.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`] if the socket fails for another reason than an overflow.
    pub async fn next(&mut self) -> Result<Event, NetlinkError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(event);
            }
            let mut guard = self.socket.readable().await.map_err(failure)?;
            self.buffer.clear();
            let buffer = &mut self.buffer;
            match guard.try_io(|socket| socket.get_ref().recv(buffer, 0)) {
                Ok(Ok(_length)) => self.pending.extend(decode(&self.buffer)),
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.drain()?;
                    return Ok(Event::Overrun);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(failure(error)),
                Err(_would_block) => {}
            }
        }
    }

    /// Discards what is queued. After an overflow the kernel drops all further events, without another
    /// error, until the queue was empty once (`NETLINK_S_CONGESTED` in `net/netlink/af_netlink.c`); tables
    /// read before that could miss changes for good.
    fn drain(&mut self) -> Result<(), NetlinkError> {
        loop {
            self.buffer.clear();
            match self.socket.get_ref().recv(&mut self.buffer, 0) {
                Ok(_length) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failure(error)),
            }
        }
    }
}

#[cfg(test)]
impl Events {
    /// Makes the kernel's buffer so small that some dozen events overflow it.
    pub(super) fn shrink(&self) {
        let socket = self.socket.get_ref();
        nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::RcvBufForce, &8192).unwrap();
    }
}

fn failure(source: io::Error) -> NetlinkError {
    NetlinkError::Refused { operation: "read netlink events".to_owned(), source }
}

/// The events of a datagram. One that cannot be decoded may have been any, so it counts as lost.
fn decode(datagram: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut rest = datagram;
    while let Some((message, next)) = split(rest) {
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) {
            Ok(message) => {
                if let NetlinkPayload::InnerMessage(inner) = message.payload {
                    events.extend(event(&inner));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "netlink event not understood");
                events.push(Event::Overrun);
            }
        }
        rest = next;
    }
    if !rest.is_empty() {
        events.push(Event::Overrun);
    }
    events
}

/// The first message and what follows it; `None` at the end, or where the length makes no sense.
fn split(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*datagram.first_chunk::<4>()?)).ok()?;
    if length < 16 {
        return None; // struct nlmsghdr
    }
    let message = datagram.get(..length)?;
    Some((message, datagram.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn event(message: &RouteNetlinkMessage) -> Option<Event> {
    if let RouteNetlinkMessage::NewLink(message) = message {
        // A bridge announces its ports' settings in messages of family AF_BRIDGE, which lack most attributes.
        is_of_device(message).then(|| Event::Link(link::from_message(message)))
    } else if let RouteNetlinkMessage::DelLink(message) = message {
        is_of_device(message).then_some(Event::LinkGone(message.header.index))
    } else if let RouteNetlinkMessage::NewNeighbour(message) = message {
        neighbour::from_message(message).map(Event::Neighbour)
    } else if let RouteNetlinkMessage::DelNeighbour(message) = message {
        let Neighbour { ifindex, address, .. } = neighbour::from_message(message)?;
        Some(Event::NeighbourGone { ifindex, address })
    } else if let RouteNetlinkMessage::NewAddress(message) = message {
        address::from_message(message).map(Event::Address)
    } else if let RouteNetlinkMessage::DelAddress(message) = message {
        address::from_message(message).map(Event::AddressGone)
    } else if let RouteNetlinkMessage::NewRoute(message) | RouteNetlinkMessage::DelRoute(message) = message {
        route::destination(message).map(Event::Route)
    } else if let RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_) = message {
        Some(Event::Rules)
    } else {
        None
    }
}

fn is_of_device(message: &netlink_packet_route::link::LinkMessage) -> bool {
    message.header.interface_family == netlink_packet_route::AddressFamily::Unspec
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::NetlinkHeader;
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};

    use super::*;

    fn link_message(name: &str) -> Vec<u8> {
        let mut link = LinkMessage::default();
        link.header.index = 4;
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let mut message = NetlinkMessage::new(
            NetlinkHeader::default(),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)),
        );
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    #[test]
    fn every_message_of_a_datagram_is_read() {
        let mut datagram = link_message("eth0");
        datagram.extend(link_message("eth10"));
        let names: Vec<String> = decode(&datagram)
            .into_iter()
            .map(|event| if let Event::Link(link) = event { link.name } else { format!("{event:?}") })
            .collect();
        assert_eq!(names, ["eth0", "eth10"]);
    }

    #[test]
    fn what_cannot_be_read_counts_as_lost() {
        let mut cut = link_message("eth0");
        cut.truncate(cut.len() - 2);
        assert_eq!(decode(&cut), [Event::Overrun]);

        let mut nonsense = link_message("eth0");
        nonsense[0..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(decode(&nonsense), [Event::Overrun]);

        let whole = link_message("eth0");
        let mut attribute_too_long = whole.clone();
        // The first attribute's length stands after nlmsghdr (16 bytes) and ifinfomsg (16 bytes).
        attribute_too_long[32..34].copy_from_slice(&200_u16.to_ne_bytes());
        assert_eq!(decode(&attribute_too_long), [Event::Overrun]);
        assert!(matches!(decode(&whole)[..], [Event::Link(_)]));
    }
}

//! Ethernet frames as they are, in and out (`packet(7)`).
//!
//! What an XDP program transmits, redirects or drops is not seen here: it comes before. What it passes is.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{LinkAddr, MsgFlags, SockaddrLike as _, bind, recvfrom, sendto};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The longest frame that is looked at; of longer ones, the beginning is.
const LONGEST: usize = 2048;

/// A socket for frames of one EtherType, on one interface or all of them.
#[derive(Debug)]
pub struct Frames {
    socket: AsyncFd<OwnedFd>,
}

/// A frame that arrived. VLAN tags have been taken off by the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The index of the interface that it arrived on: of a VLAN device if it was tagged.
    pub interface: u32,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
}

impl Frames {
    /// Opens one in the calling thread's network namespace, for frames that `filter` (a classic BPF program; an empty
    /// one takes all) takes. `interface` 0 means all.
    ///
    /// # Errors
    /// CAP_NET_RAW is missing, or there is no such interface.
    pub fn open(ethertype: u16, interface: u32, filter: &[(u16, u8, u8, u32)]) -> io::Result<Self> {
        // Without a protocol it receives nothing until it is bound.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(Protocol::from(0)))?;
        if !filter.is_empty() {
            let filter: Vec<_> =
                filter.iter().map(|&(code, yes, no, k)| SockFilter::new(code, yes, no, k)).collect();
            socket.attach_filter(&filter)?;
        }
        bind(socket.as_raw_fd(), &address(interface, ethertype)?)?;
        // SAFETY: an `OwnedFd` always returns the descriptor that it owns, and only dropping it closes that, which the
        // `AsyncFd` that it moves into does after itself.
        let socket = unsafe { AsyncFd::register(OwnedFd::from(socket)) };
        Ok(Self { socket: socket? })
    }

    /// Sends a whole frame out of an interface, at once or not at all.
    ///
    /// # Errors
    /// The interface is gone or down, or its queue is full.
    pub fn send(&self, interface: u32, frame: &[u8]) -> io::Result<()> {
        let to = address(interface, 0)?;
        let sent = sendto(self.socket.as_raw_fd(), frame, &to, MsgFlags::MSG_DONTWAIT)?;
        if sent == frame.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Returns when something may be there to be read.
    ///
    /// # Errors
    /// The runtime is ending.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await.map(drop)
    }

    /// A frame that somebody else sent, if one is there.
    ///
    /// # Errors
    /// The interface went down or away.
    pub fn try_receive(&self) -> io::Result<Option<Received>> {
        loop {
            let mut bytes = vec![0; LONGEST];
            // Clears the readiness when nothing is left.
            let tried = self.socket.try_io(Interest::READABLE, |socket| {
                Ok(recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut bytes)?)
            });
            match tried {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                tried => {
                    if let Some(received) = from_somebody(tried?, bytes) {
                        return Ok(Some(received));
                    }
                }
            }
        }
    }

    /// The next frame that somebody else sent.
    ///
    /// # Errors
    /// The interface went down or away.
    pub async fn receive(&self) -> io::Result<Received> {
        loop {
            let mut ready = self.socket.readable().await?;
            let mut bytes = vec![0; LONGEST];
            let result = ready.try_io(|socket| Ok(recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut bytes)?));
            let Ok(result) = result else { continue };
            if let Some(received) = from_somebody(result?, bytes) {
                return Ok(received);
            }
        }
    }
}

/// What was read, unless this host sent it.
fn from_somebody((length, from): (usize, Option<LinkAddr>), mut bytes: Vec<u8>) -> Option<Received> {
    let from = from?;
    if i32::from(from.pkttype()) == i32::from(libc::PACKET_OUTGOING) {
        return None;
    }
    bytes.truncate(length);
    Some(Received { interface: u32::try_from(from.ifindex()).unwrap_or(0), bytes })
}

fn address(interface: u32, ethertype: u16) -> io::Result<LinkAddr> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: i32::try_from(interface).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: `address` is a whole `sockaddr_ll` of the family that `LinkAddr` is for, it lives until after the call,
    // `length` is its size, and its bytes are copied.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) };
    address.ok_or_else(|| io::Error::other("not an address of the packet family"))
}

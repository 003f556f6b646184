//! Ethernet frames as they are, out of a device (`packet(7)`).
#![expect(unsafe_code, reason = "an address of the packet family is made of its bytes")]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike as _, sendto, socket,
};

/// A socket that sends frames. It receives none: it is bound to no protocol.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens one in the calling thread's network namespace.
    ///
    /// # Errors
    /// CAP_NET_RAW is missing.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        Ok(Self(socket(AddressFamily::Packet, SockType::Raw, flags, None)?))
    }

    /// Sends a whole frame, Ethernet header included, out of the device with this index.
    ///
    /// # Errors
    /// The device is gone or down, or its queue is full.
    pub fn send(&self, interface: u32, frame: &[u8]) -> io::Result<()> {
        let index = i32::try_from(interface).map_err(io::Error::other)?;
        let family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
        let to = libc::sockaddr_ll {
            sll_family: family,
            sll_protocol: 0,
            sll_ifindex: index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [0; 8],
        };
        let length = libc::socklen_t::try_from(size_of_val(&to)).map_err(io::Error::other)?;
        // SAFETY: `to` is a whole `sockaddr_ll` of the family that `LinkAddr` takes, it lives until after the call, and
        // `length` is its size; the bytes are copied.
        let to = unsafe { LinkAddr::from_raw((&raw const to).cast(), Some(length)) };
        let to = to.ok_or_else(|| io::Error::other("not an address of the packet family"))?;
        let sent = sendto(self.0.as_raw_fd(), frame, &to, MsgFlags::empty())?;
        if sent == frame.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

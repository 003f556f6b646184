//! Adverts that a macvlan keeps from the interface below it.
//!
//! A private macvlan that is up takes multicast frames whose source is its own MAC for itself, and the interface below
//! never sees them (`macvlan_handle_frame`, `drivers/net/macvlan.c`). They are those of another master of the same
//! virtual router, which must be heard.

use std::io;

use crate::net::frames::Frames;
use crate::vrrp::packet::{PROTOCOL, frame};

use super::sockets::Read;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Listens on a macvlan.
#[derive(Debug)]
pub(super) struct Overheard {
    /// The macvlan's index.
    device: u32,
    /// That of the interface below, whose adverts these are.
    base: u32,
    is_ipv6: bool,
    frames: Frames,
}

impl Overheard {
    /// Begins to listen on the macvlan of index `device` upon `base`, which has this MAC.
    pub(super) fn open(device: u32, base: u32, is_ipv6: bool, mac: [u8; 6]) -> io::Result<Self> {
        let frames = Frames::open(if is_ipv6 { IPV6 } else { IPV4 }, device, &filter(is_ipv6, mac))?;
        Ok(Self { device, base, is_ipv6, frames })
    }

    pub(super) fn is(&self, device: u32, base: u32, is_ipv6: bool) -> bool {
        (self.device, self.base, self.is_ipv6) == (device, base, is_ipv6)
    }

    pub(super) fn base(&self) -> u32 {
        self.base
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.is_ipv6
    }

    /// Returns when something may be there to be read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.frames.readable().await
    }

    /// The next advert; `None` if there is none now.
    pub(super) fn read(&self) -> io::Result<Option<Read>> {
        let Some(received) = self.frames.try_receive()? else { return Ok(None) };
        let packet = frame::packet(&received.bytes);
        if !self.is_ipv6 {
            return Ok(Some(Read::Ipv4Packet(packet.to_vec())));
        }
        Ok(frame::from_ipv6_packet(packet).map(|(from, to, hop_limit, payload)| Read::Ipv6 {
            from: from.into(),
            to: to.into(),
            hop_limit,
            payload: payload.to_vec(),
        }))
    }
}

/// Frames from this MAC with an advert in them.
fn filter(is_ipv6: bool, mac: [u8; 6]) -> [(u16, u8, u8, u32); 8] {
    let [a, b, c, d, e, f] = mac;
    // Classic BPF: load a word, a half word, a byte at an offset; compare; return so many bytes.
    const WORD: u16 = 0x20;
    const HALF: u16 = 0x28;
    const BYTE: u16 = 0x30;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    [
        (WORD, 0, 0, 6),
        (EQUAL, 0, 5, u32::from_be_bytes([a, b, c, d])),
        (HALF, 0, 0, 10),
        (EQUAL, 0, 3, u32::from_be_bytes([0, 0, e, f])),
        (BYTE, 0, 0, if is_ipv6 { 14 + 6 } else { 14 + 9 }),
        (EQUAL, 0, 1, PROTOCOL.into()),
        (RETURN, 0, 0, u32::MAX),
        (RETURN, 0, 0, 0),
    ]
}

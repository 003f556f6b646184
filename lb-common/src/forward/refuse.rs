//! The director's own answer to a packet that is too big for the way to its real server: ICMP fragmentation needed
//! (RFC 1191) or packet too big (RFC 4443 section 3.2), made of the packet itself and sent back where it came from.
//!
//! The kernel cannot do it, for the virtual address is its own: it would take the packet for itself. One without the
//! DF bit is refused too, although a router would fragment it: XDP cannot make two packets of one, and a sender that
//! is told fragments the next one itself.

use crate::csum::Sum;
use crate::net::{Be32, Be128};
use crate::packet::Packet;
use crate::parse::Link;
use crate::verdict::{Reason, Verdict};

use super::version::{Arrived, Version};

/// Turns the packet into the error that says how long packets may be, and sends it back.
#[inline(always)]
pub(super) fn too_big<P: Packet, A: Version>(
    packet: &mut P,
    link: &Link,
    ip: &Arrived<A>,
    mtu: u16,
) -> Result<Verdict, Verdict> {
    let quoted = if ip.length > A::QUOTED { A::QUOTED } else { ip.length };
    let cut = link.payload + quoted;
    packet.shrink(cut).ok_or(Reason::Malformed)?;
    let to = packet.load::<6>(6).ok_or(Reason::Malformed)?;
    let tags = packet.load::<10>(12).ok_or(Reason::Malformed)?;
    let length = packet.length();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "the size of two headers"
    )]
    let by = A::ERROR as i32;
    packet.grow_front(by).ok_or(Verdict::Drop(Reason::NoHeadroom))?;
    packet.store(0, to).ok_or(Reason::Malformed)?;
    packet.store(6, link.destination).ok_or(Reason::Malformed)?;
    // What of this is behind the link header is written over.
    packet.store(12, tags).ok_or(Reason::Malformed)?;
    A::write_error(packet, link.payload, ip, length - link.payload, mtu).ok_or(Reason::Malformed)?;
    Ok(Verdict::Transmit)
}

/// The headers of an ICMP error about `quoted` bytes behind them, the link header of which ends at `at`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "576 bytes at most")]
pub(super) fn write4<P: Packet>(
    packet: &mut P,
    at: usize,
    source: Be32,
    destination: Be32,
    quoted: usize,
    mtu: u16,
) -> Option<()> {
    let [l0, l1] = ((quoted + 28) as u16).to_be_bytes();
    let sum = Sum::default()
        .add16(u16::from_ne_bytes([0x45, 0xc0]))
        .add16(u16::from_ne_bytes([l0, l1]))
        .add16(u16::from_ne_bytes([64, 1]))
        .add_v4(source)
        .add_v4(destination);
    let [c0, c1] = sum.checksum().to_ne_bytes();
    let ([a, b, c, d], [e, f, g, h]) = (source.wire(), destination.wire());
    packet.store(at, [0x45, 0xc0, l0, l1, 0, 0, 0, 0])?;
    packet.store(at + 8, [64, 1, c0, c1, a, b, c, d])?;
    packet.store(at + 16, [e, f, g, h])?;
    let [m0, m1] = mtu.to_be_bytes();
    packet.store(at + 20, [3, 4, 0, 0, 0, 0, m0, m1])?;
    let sum = Sum::from_bits(packet.sum(at + 20, quoted + 8)?);
    packet.store(at + 22, sum.checksum().to_ne_bytes())
}

/// As [`write4`]. Nobody has to take less than 1,280 bytes (RFC 8200 section 5).
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "1,280 bytes at most")]
pub(super) fn write6<P: Packet>(
    packet: &mut P,
    at: usize,
    source: Be128,
    destination: Be128,
    quoted: usize,
    mtu: u16,
) -> Option<()> {
    let length = (quoted + 8) as u16;
    let [l0, l1] = length.to_be_bytes();
    packet.store(at, [0x60, 0, 0, 0, l0, l1, 58, 64])?;
    let ([a, b], [c, d]) = (source.words(), destination.words());
    packet.store(at + 8, a.to_ne_bytes())?;
    packet.store(at + 16, b.to_ne_bytes())?;
    packet.store(at + 24, c.to_ne_bytes())?;
    packet.store(at + 32, d.to_ne_bytes())?;
    let [m0, m1] = (if mtu < 1280 { 1280 } else { mtu }).to_be_bytes();
    packet.store(at + 40, [2, 0, 0, 0, 0, 0, m0, m1])?;
    let sum = Sum::from_bits(packet.sum(at + 40, quoted + 8)?)
        .add_v6(source)
        .add_v6(destination)
        .add16(length.to_be())
        .add16(u16::from_ne_bytes([0, 58]));
    packet.store(at + 42, sum.checksum().to_ne_bytes())
}

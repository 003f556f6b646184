//! Packets of connections whose real server has failed, or was taken out for good: dropped, left to the kernel, or
//! answered with a reset.

use crate::csum;
use crate::layout::NextHop;
use crate::net::{Be16, protocol};
use crate::packet::Packet;
use crate::verdict::{Reason, Verdict};

use super::nat::{Ends, Segment};
use super::version::{Arrived, Version};

/// FIN, SYN, RST and ACK in a TCP header's flag byte.
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What becomes of a packet to a real server whose next hop has these flags, of [`NextHop::FAILED`].
#[inline(always)]
pub(super) fn failed<P: Packet, A: Version>(
    packet: &mut P,
    ip: &Arrived<A>,
    flags: u8,
) -> Result<Verdict, Verdict> {
    if flags & NextHop::FAILED == NextHop::FAILED {
        return Err(Reason::RemovedRealServer.into());
    }
    if flags & NextHop::FAILED_RESET == 0 || ip.segment.protocol != protocol::TCP || !ip.segment.whole {
        return Err(Verdict::Drop(Reason::FailedRealServer));
    }
    reset(packet, ip)
}

/// Answers a TCP packet with a reset from the virtual server (RFC 9293 section 3.10.7.1): with the number that the
/// client expects if it says so, else acknowledging what it sent.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "lengths of an IP packet are 16 bits")]
fn reset<P: Packet, A: Version>(packet: &mut P, ip: &Arrived<A>) -> Result<Verdict, Verdict> {
    const DROPPED: Verdict = Verdict::Drop(Reason::FailedRealServer);
    let at = ip.segment.at;
    let header = packet.load::<20>(at).ok_or(Reason::Malformed)?;
    let [a, b, c, d, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags, ..] = header;
    if flags & RST != 0 {
        // A reset is not answered.
        return Err(DROPPED);
    }
    let header_length = usize::from(offset >> 4) * 4;
    let payload = ip.segment.length.saturating_sub(header_length) as u32;
    let phantom = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let (sequence, acknowledged, flags) = if flags & ACK != 0 {
        (u32::from_be_bytes([a0, a1, a2, a3]), 0, RST)
    } else {
        let received = u32::from_be_bytes([s0, s1, s2, s3]).wrapping_add(payload).wrapping_add(phantom);
        (0, received, RST | ACK)
    };
    let [s0, s1, s2, s3] = sequence.to_be_bytes();
    let [a0, a1, a2, a3] = acknowledged.to_be_bytes();
    let answer = [c, d, a, b, s0, s1, s2, s3, a0, a1, a2, a3, 5 << 4, flags, 0, 0, 0, 0, 0, 0];
    A::turn_round(packet, ip).ok_or(DROPPED)?;
    packet.store(at, answer).ok_or(DROPPED)?;
    let segment = Segment { at, length: 20, protocol: protocol::TCP, whole: true };
    let ends = Ends {
        source: ip.destination,
        destination: ip.source,
        source_port: Be16::default(),
        destination_port: Be16::default(),
    };
    let sum = csum::sum(packet, at, 20).ok_or(DROPPED)?.add(ends.pseudo(segment));
    packet.store(at + 16, sum.checksum().to_ne_bytes()).ok_or(DROPPED)?;
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = packet.load::<12>(0).ok_or(DROPPED)?;
    packet.store(0, [s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5]).ok_or(DROPPED)?;
    // What is left behind the packet is padding to everybody who reads its length.
    let _is_cut = packet.shrink(at + 20);
    Ok(Verdict::Transmit)
}

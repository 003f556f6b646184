//! `ping`: an ICMP echo request (RFC 792, RFC 4443) is answered.
//!
//! Through an ICMP datagram socket where the system allows it (`net.ipv4.ping_group_range`), else a raw one, which
//! takes `CAP_NET_RAW`. Either is connected, so that answers of others do not come in.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use lb_common::csum;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{Found, Passed, shown};
use crate::config::checks::Probe;

/// ICMP types of request and reply.
const ECHO_V4: (u8, u8) = (8, 0);
const ECHO_V6: (u8, u8) = (128, 129);

pub(super) async fn ask(probe: &Probe) -> Found {
    static SEQUENCE: AtomicU16 = AtomicU16::new(0);

    let begun = Instant::now();
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    let (socket, is_raw) = open(probe)?;
    let socket = UdpSocket::from_std(socket.into())?;
    let (request, reply) = if probe.connect.is_ipv4() { ECHO_V4 } else { ECHO_V6 };
    // The kernel replaces the identifier of datagram sockets by one that is theirs alone, and keeps that of raw ones.
    let identifier = sequence ^ 0x4c42;
    let message = echo(request, identifier, sequence);
    socket.send(&message).await?;
    let mut buffer = [0; 1500];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let bytes = buffer.get(..length).unwrap_or_default();
        // A raw socket of IPv4 receives the IP header, too.
        let skipped = match bytes.first() {
            Some(first) if is_raw && probe.connect.is_ipv4() => usize::from(first & 0xf) * 4,
            _ => 0,
        };
        let Some([kind, 0, _, _, id @ .., s0, s1]) = bytes.get(skipped..skipped + 8) else { continue };
        let is_ours = !is_raw || *id == identifier.to_be_bytes();
        if *kind == reply && is_ours && [*s0, *s1] == sequence.to_be_bytes() {
            return Ok(Passed::new(format!("answered in {}", shown(begun.elapsed()))));
        }
    }
}

/// A request with 32 bytes of data.
fn echo(kind: u8, identifier: u16, sequence: u16) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(0..32u8);
    let sum = csum::full(&message);
    if let Some(place) = message.get_mut(2..4) {
        // The kernel fills in ICMPv6's, which includes the addresses.
        place.copy_from_slice(&sum.to_be_bytes());
    }
    message
}

fn open(probe: &Probe) -> io::Result<(Socket, bool)> {
    let (domain, protocol) = match probe.connect {
        SocketAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        SocketAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let (socket, is_raw) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
        Ok(socket) => (socket, false),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            (Socket::new(domain, Type::RAW, Some(protocol))?, true)
        }
        Err(error) => return Err(error),
    };
    socket.set_nonblocking(true)?;
    if let Some(mark) = probe.fwmark {
        socket.set_mark(mark)?;
    }
    if let Some(source) = probe.source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect(&probe.connect.into())?;
    Ok((socket, is_raw))
}

//! Connections of probes, and the probe that is no more than one.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::{Found, Passed};
use crate::config::checks::Probe;

/// Opens a connection as the probe asks for. When it is closed it is gone at once: a check leaves no socket behind
/// that waits out old packets (TIME-WAIT), of which thousands of checks would make too many.
pub(super) async fn connect(probe: &Probe) -> io::Result<TcpStream> {
    open(probe, false).await
}

async fn open(probe: &Probe, is_silent: bool) -> io::Result<TcpStream> {
    let socket = if probe.connect.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    let options = SockRef::from(&socket);
    if let Some(mark) = probe.fwmark {
        options.set_mark(mark)?;
    }
    options.set_linger(Some(Duration::ZERO))?;
    if is_silent {
        options.set_tcp_quickack(false)?;
    } else {
        options.set_tcp_nodelay(true)?;
    }
    if let Some(source) = probe.source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(probe.connect).await
}

/// A UDP socket that talks to nobody else, and hears when a datagram is refused.
pub(super) async fn datagrams(probe: &Probe) -> io::Result<UdpSocket> {
    let any: std::net::IpAddr = match (probe.source, probe.connect) {
        (Some(source), _) => source,
        (None, SocketAddr::V4(_)) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        (None, SocketAddr::V6(_)) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    if let Some(mark) = probe.fwmark {
        SockRef::from(&socket).set_mark(mark)?;
    }
    socket.connect(probe.connect).await?;
    Ok(socket)
}

/// `tcp`: a connection is opened and reset. As with HAProxy's checks of this kind, the last packet of the handshake is
/// the reset, so that the service need not take the connection.
pub(super) async fn tcp(probe: &Probe) -> Found {
    let begun = Instant::now();
    let stream = open(probe, true).await?;
    drop(stream);
    Ok(Passed::new(format!("connected in {}", super::shown(begun.elapsed()))))
}

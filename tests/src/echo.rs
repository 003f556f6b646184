//! Echo servers on port 7, TCP and UDP, that also say where they run.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::director::patience;
use crate::lab::Lab;
use crate::topology::Node;

/// How often a server looks whether it shall stop.
const STOP_IS_SEEN_WITHIN: Duration = Duration::from_millis(100);

/// The well-known port of RFC 862.
const PORT: u16 = 7;

/// Both servers on one address of one node. They stop when this is dropped.
///
/// UDP answers each datagram with the node's name, a space and the datagram. TCP sends the node's name and a line feed
/// when a connection opens, then what it receives.
#[derive(Debug)]
pub struct Echo {
    is_stopping: Arc<AtomicBool>,
}

impl Echo {
    /// Listens on port 7 of `address`, which `node` must have already: `lbctl realserver start` comes first if it is
    /// the VIP. Datagrams are answered from the address they came to only because the socket is bound to it.
    ///
    /// # Errors
    /// The node does not have the address, or the port is taken.
    pub fn start(lab: &Lab, node: Node, address: IpAddr) -> anyhow::Result<Self> {
        let address = SocketAddr::new(address, PORT);
        let sockets = lab.enter(node, || -> io::Result<_> {
            Ok((TcpListener::bind(address)?, UdpSocket::bind(address)?))
        })?;
        let (tcp, udp) = sockets.with_context(|| format!("echo server on {node}, {address}"))?;
        setsockopt(&tcp, ReceiveTimeout, &TimeVal::milliseconds(100))?;
        udp.set_read_timeout(Some(STOP_IS_SEEN_WITHIN))?;
        let is_stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_stopping);
        thread::spawn(move || serve_tcp(node, &tcp, &stop));
        let stop = Arc::clone(&is_stopping);
        thread::spawn(move || serve_udp(node, &udp, &stop));
        Ok(Self { is_stopping })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}

/// Sends `bytes` bytes to an echo server from the calling thread's namespace while what comes back is read, and compares.
/// Returns who answered.
///
/// # Errors
/// No connection, nothing for `patience(10)`, or something else came back.
pub fn echo_back(to: SocketAddr, bytes: u32) -> anyhow::Result<String> {
    let sent: Vec<u8> = (0..bytes).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let mut stream =
        TcpStream::connect_timeout(&to, patience(5)).with_context(|| format!("echo server at {to}"))?;
    stream.set_read_timeout(Some(patience(10)))?;
    stream.set_write_timeout(Some(patience(10)))?;
    let mut writer = stream.try_clone()?;
    let mut received = Vec::new();
    thread::scope(|scope| -> anyhow::Result<()> {
        let sender = scope.spawn(|| writer.write_all(&sent).and_then(|()| writer.shutdown(Shutdown::Write)));
        stream.read_to_end(&mut received).context("reading back")?;
        sender.join().ok().context("the sender panicked")?.context("sending")
    })?;
    let end = received.iter().position(|byte| *byte == b'\n').context("no greeting")?;
    let (name, back) = received.split_at(end);
    ensure!(back.get(1..) == Some(&sent[..]), "{} bytes came back otherwise", back.len());
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// Sockets stay in the namespace that they were made in; the threads need not be there.
fn serve_tcp(node: Node, listener: &TcpListener, stop: &Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        // Also ends with an error every 100 ms, to look at `stop`.
        let Ok((stream, _)) = listener.accept() else { continue };
        let stop = Arc::clone(stop);
        thread::spawn(move || echo(node, stream, &stop));
    }
}

/// Ends with the client's close, an error or `stop`; each is the connection's end and nobody's concern.
fn echo(node: Node, mut stream: TcpStream, stop: &AtomicBool) -> io::Result<()> {
    stream.set_read_timeout(Some(STOP_IS_SEEN_WITHIN))?;
    writeln!(stream, "{node}")?;
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => stream.write_all(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn serve_udp(node: Node, socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        let Ok((count, from)) = socket.recv_from(&mut buffer) else { continue };
        let mut reply = format!("{node} ").into_bytes();
        reply.extend_from_slice(buffer.get(..count).unwrap_or_default());
        // An answer that cannot be sent is a lost datagram, as anywhere.
        socket.send_to(&reply, from).ok();
    }
}

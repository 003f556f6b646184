//! As much HTTP/1.1 as it takes to ask nginx for a file and know that all of it came.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sys::socket::sockopt::{Linger, ReuseAddr, SendTimeout};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
};
use nix::sys::time::TimeVal;

/// The longest response header that is read, in bytes.
const MAX_HEADER: usize = 16 * 1024;

/// A connection with its buffer.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The header `X-Server`; empty without it.
    pub(crate) server: String,
    content_length: u64,
    /// The server will close the connection.
    pub(crate) is_last: bool,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr, deadline: Instant) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, remaining(deadline)?)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; MAX_HEADER] })
    }

    /// From this address and port; 0 is one that this process has not used yet: where a port comes again within
    /// minutes, a director knows it and does not schedule it (FIN_WAIT). Closing the connection waits until the other side has its end.
    pub(crate) fn open_from(mut from: SocketAddr, to: SocketAddr, deadline: Instant) -> io::Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(10_000);
        if from.port() == 0 {
            from.set_port(NEXT.fetch_add(1, Relaxed));
        }
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, ReuseAddr, &true)?;
        let left = remaining(deadline)?;
        // Bounds connect(), too.
        let seconds = i64::try_from(left.as_secs()).map_err(io::Error::other)?;
        setsockopt(&socket, SendTimeout, &TimeVal::new(seconds, left.subsec_micros().into()))?;
        let l_linger = i32::try_from(left.as_secs()).map_err(io::Error::other)?;
        setsockopt(&socket, Linger, &linger { l_onoff: 1, l_linger })?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(from))?;
        connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; MAX_HEADER] })
    }

    /// Asks for `path`, reads the whole response and, if this was the last one, waits for the server to close, so that
    /// the side that waits out the connection's old packets (TIME-WAIT) is not the client, whose ports are few.
    pub(crate) fn get(&mut self, path: &str, is_last: bool, deadline: Instant) -> io::Result<Response> {
        let connection = if is_last { "close" } else { "keep-alive" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: {connection}\r\n\r\n");
        self.stream.set_write_timeout(Some(remaining(deadline)?))?;
        self.stream.write_all(request.as_bytes())?;

        let mut filled = 0;
        let (response, header_len) = loop {
            let header = self.buffer.get(..filled).unwrap_or_default();
            if let Some(end) = header.windows(4).position(|four| four == b"\r\n\r\n") {
                break (parse(header.get(..end).unwrap_or_default())?, end + 4);
            }
            if filled == self.buffer.len() {
                return Err(io::Error::other("response header too long"));
            }
            filled += match self.read(filled, deadline)? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the response")),
                count => count,
            };
        };
        let mut missing = response.content_length.checked_sub((filled - header_len) as u64);
        while let Some(left @ 1..) = missing {
            let count = self.read(0, deadline)?;
            if count == 0 {
                let error = format!("closed with {left} bytes of the body missing");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
            }
            missing = left.checked_sub(count as u64);
        }
        if missing.is_none() || (response.is_last && self.read(0, deadline)? != 0) {
            return Err(io::Error::other("more bytes than the response announced"));
        }
        Ok(response)
    }

    fn read(&mut self, from: usize, deadline: Instant) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(remaining(deadline)?))?;
        let space = self.buffer.get_mut(from..).unwrap_or_default();
        match self.stream.read(space) {
            // What a read that timed out reports on Linux.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(timed_out()),
            // With a timeout the kernel does not go on by itself after the process was stopped and continued.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.read(from, deadline),
            result => result,
        }
    }
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(timed_out()),
        left => Ok(left),
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no complete response in time")
}

/// `header` is the status line and the fields, without the empty line.
fn parse(header: &[u8]) -> io::Result<Response> {
    let header = std::str::from_utf8(header).map_err(io::Error::other)?;
    let mut lines = header.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status in {status_line:?}")))?;
    let mut response = Response { status, server: String::new(), content_length: 0, is_last: false };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "x-server" => value.clone_into(&mut response.server),
            "connection" => response.is_last = value.eq_ignore_ascii_case("close"),
            "content-length" => response.content_length = value.parse().map_err(io::Error::other)?,
            _ => {}
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What `get` says when the server answers with `answer` and closes.
    fn get(answer: &'static [u8]) -> io::Result<Response> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(answer).unwrap();
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        let response = Connection::open(address, deadline)?.get("/", true, deadline);
        server.join().unwrap();
        response
    }

    #[test]
    fn complete_response_is_understood() {
        let response =
            get(b"HTTP/1.1 200 OK\r\nX-Server: web1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nweb1\n");
        let expected = Response { status: 200, server: "web1".to_owned(), content_length: 5, is_last: true };
        assert_eq!(response.unwrap(), expected);
    }

    #[test]
    fn missing_or_surplus_bytes_are_errors() {
        let error = get(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nweb").unwrap_err();
        assert!(error.to_string().contains("2 bytes"), "{error}");
        let error = get(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nweb").unwrap_err();
        assert!(error.to_string().contains("more bytes"), "{error}");
        assert!(get(b"").is_err());
        assert!(get(b"nonsense\r\n\r\n").is_err());
    }
}

//! Who hears the answers to path probes: a packet socket for each family, open only while something is asked.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use lb_common::net::ethertype;
use socket2::{Domain, Socket, Type};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::packet::{FILTER4, FILTER6, Heard, read};
use crate::net::frames::Frames;

/// The sockets that are open; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Listeners {
    /// IPv4, IPv6.
    all: Arc<Mutex<[Weak<Listener>; 2]>>,
}

impl Listeners {
    /// The listener of a family: the one that is there, or a new one.
    pub(super) fn get(&self, family: IpAddr) -> io::Result<Arc<Listener>> {
        let mut listeners = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::from(family.is_ipv6());
        if let Some(listener) = listeners.get(index).and_then(Weak::upgrade)
            && !listener.task.is_finished()
        {
            return Ok(listener);
        }
        let listener = Listener::start(family)?;
        if let Some(slot) = listeners.get_mut(index) {
            *slot = Arc::downgrade(&listener);
        }
        Ok(listener)
    }
}

/// A port that nobody else gets while we use it. What answers to a datagram, this socket takes, and nobody reads.
pub(super) struct Held {
    pub(super) port: u16,
    _socket: Socket,
}

impl Held {
    pub(super) fn port(address: IpAddr, is_tcp: bool) -> io::Result<Self> {
        let address = SocketAddr::new(address, 0);
        let socket = match is_tcp {
            true => {
                let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
                socket.bind(&address.into())?;
                socket
            }
            false => Socket::from(UdpSocket::bind(address)?),
        };
        let own = socket.local_addr()?.as_socket();
        Ok(Self { port: own.map_or(0, |own| own.port()), _socket: socket })
    }
}

type Asked = HashMap<(IpAddr, u16), mpsc::Sender<Heard>>;

/// Reads answers for all who ask, as long as anybody does.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) frames: Arc<Frames>,
    asked: Arc<Mutex<Asked>>,
    task: JoinHandle<()>,
}

impl Listener {
    fn start(family: IpAddr) -> io::Result<Arc<Self>> {
        let (kind, filter) = match family {
            IpAddr::V4(_) => (ethertype::IPV4, FILTER4),
            IpAddr::V6(_) => (ethertype::IPV6, FILTER6),
        };
        let frames = Arc::new(Frames::open(kind, 0, filter)?);
        let asked: Arc<Mutex<Asked>> = Arc::default();
        let task = tokio::spawn(listen(Arc::clone(&frames), Arc::clone(&asked)));
        Ok(Arc::new(Self { frames, asked, task }))
    }

    pub(super) fn register(self: &Arc<Self>, address: IpAddr, port: u16) -> Registered {
        let (sender, answers) = mpsc::channel(16);
        lock(&self.asked).insert((address, port), sender);
        Registered { listener: Arc::clone(self), key: (address, port), answers }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) struct Registered {
    listener: Arc<Listener>,
    key: (IpAddr, u16),
    pub(super) answers: mpsc::Receiver<Heard>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.listener.asked).remove(&self.key);
    }
}

fn lock(asked: &Mutex<Asked>) -> std::sync::MutexGuard<'_, Asked> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(frames: Arc<Frames>, asked: Arc<Mutex<Asked>>) {
    loop {
        match frames.receive().await {
            Ok(received) => {
                let Some(heard) = read(&received.bytes) else { continue };
                if let Some(sender) = lock(&asked).get(&(heard.to, heard.token)) {
                    // Who has sixteen answers needs no more.
                    sender.try_send(heard).unwrap_or_default();
                }
            }
            // An interface went down: the others go on.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
            Err(error) => {
                tracing::warn!("path checks get no answers: {error}");
                // Who asks next opens another.
                lock(&asked).clear();
                return;
            }
        }
    }
}

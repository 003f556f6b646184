//! From which of this host's addresses a real server is asked.
//!
//! It must be one that the real server does not have itself, else its answer never leaves it. So it is none of the VIPs,
//! which are on its `lo`, also if several are on this host: it is the one by which the kernel would go to the real server
//! itself, as any other check does.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::Question;
use crate::net::netlink::{Address, Netlink, NetlinkError};

/// The host's addresses are read again after so long.
const ADDRESSES_LAST: Duration = Duration::from_secs(5);
/// The well-known port of RFC 863, which is sent nothing.
const DISCARD: u16 = 9;

/// This host's addresses; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnAddresses {
    own: Arc<tokio::sync::Mutex<Own>>,
}

/// Who reads them, and what was read.
#[derive(Debug, Default)]
struct Own {
    netlink: Option<Netlink>,
    addresses: Option<(Instant, Arc<[Address]>)>,
}

impl OwnAddresses {
    /// The director's own address that the real server can answer to; `None`: there is none.
    ///
    /// # Errors
    /// The addresses cannot be read; in words.
    pub(super) async fn to_ask(&self, question: &Question) -> Result<Option<IpAddr>, String> {
        // A real server of the other family says nothing of the way of an answer.
        if question.real_server.is_ipv4() == question.vip.is_ipv4()
            && let Ok(preferred) = preferred(question.real_server)
            && is_routed(preferred)
            && preferred != question.vip
        {
            return Ok(Some(preferred));
        }
        Ok(choose(&self.addresses().await?, question))
    }

    async fn addresses(&self) -> Result<Arc<[Address]>, String> {
        // One at a time: the kernel refuses a second dump on the same socket, and the first one's answer serves all.
        let mut own = self.own.lock().await;
        if let Some((read, addresses)) = &own.addresses
            && read.elapsed() < ADDRESSES_LAST
        {
            return Ok(Arc::clone(addresses));
        }
        let in_words = |error: NetlinkError| format!("{:#}", anyhow::Error::new(error));
        let netlink = match own.netlink.take() {
            Some(netlink) => netlink,
            None => Netlink::open().map_err(in_words)?,
        };
        let addresses: Arc<[Address]> = netlink.addresses().await.map_err(in_words)?.into();
        // One that has failed is not used again.
        own.netlink = Some(netlink);
        own.addresses = Some((Instant::now(), Arc::clone(&addresses)));
        Ok(addresses)
    }
}

/// The address by which the kernel would send to `to`. Nothing is sent.
fn preferred(to: IpAddr) -> io::Result<IpAddr> {
    let to = SocketAddr::new(to, DISCARD);
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
    socket.connect(&to.into())?;
    let own = socket.local_addr()?.as_socket();
    own.map(|own| own.ip()).filter(|own| !own.is_unspecified()).ok_or(io::ErrorKind::AddrNotAvailable.into())
}

/// An address of the real server's network if there is one, else any that is not only for one link or host.
fn choose(addresses: &[Address], question: &Question) -> Option<IpAddr> {
    let is_usable = |own: &&Address| {
        own.address.is_ipv4() == question.vip.is_ipv4()
            && own.address != question.vip
            && !own.tentative
            && !own.dad_failed
            && is_routed(own.address)
    };
    let is_near = |own: &&Address| own.subnet().is_some_and(|net| net.contains(&question.real_server));
    let usable = || addresses.iter().filter(is_usable);
    usable().find(is_near).or_else(|| usable().next()).map(|own| own.address)
}

/// Whether answers to it come back from anywhere.
fn is_routed(own: IpAddr) -> bool {
    match own {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;

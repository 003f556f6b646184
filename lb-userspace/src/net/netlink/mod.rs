//! A thin asynchronous layer on rtnetlink: links, addresses, routes, neighbours and their change events.
//!
//! It owns the sockets and the translation between netlink messages and plain structs; it keeps no state and
//! takes no decisions. A [`Netlink`] belongs to the network namespace of the thread that opened it.
//! Needs a tokio runtime with I/O and time enabled.

mod address;
mod events;
mod link;
mod neighbour;
mod policy;
mod route;

use std::{io, net::IpAddr, time::Duration};

use futures_util::StreamExt;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

pub use self::{
    address::{Address, NewAddress, Scope, covering},
    events::{Event, Events},
    link::{Link, PeerXdp, XdpAttachment, XdpMode},
    neighbour::{Neighbour, NeighbourState},
    policy::{NewRoute, NewRule, RouteAction},
    route::{Route, TableHop, TableRoute},
};

/// How long the kernel may take to answer one request. It answers at once; only a message that this program
/// cannot decode leaves a request without an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a dump that the kernel marked as inconsistent (`NLM_F_DUMP_INTR`) is asked for again before the
/// inconsistent one is taken: changes keep arriving as events, so nothing is lost for long.
const DUMP_ATTEMPTS: usize = 4;

/// Why a request to the kernel's routing socket failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// The socket could not be made or bound.
    #[error("netlink socket cannot be opened")]
    Open {
        /// What the system call said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the request for want of a privilege.
    #[error("{operation}: not permitted; run as root (sudo) or grant CAP_NET_ADMIN")]
    NotPermitted {
        /// What was asked.
        operation: String,
    },
    /// The kernel refused the request.
    #[error("{operation}")]
    Refused {
        /// What was asked.
        operation: String,
        /// The kernel's error number.
        #[source]
        source: io::Error,
    },
    /// The routing table has no way to the address, or an `unreachable`, `prohibit` or `blackhole` route.
    #[error("{address}: no route; add one, or bring up the interface of its network")]
    Unreachable {
        /// The address asked for.
        address: IpAddr,
    },
    /// The kernel's neighbour table is full.
    #[error(
        "{address}: neighbour table is full; raise net.ipv4.neigh.default.gc_thresh3 (net.ipv6 for IPv6) above the number of neighbours"
    )]
    NeighbourTableFull {
        /// The address that found no room.
        address: IpAddr,
    },
    /// No answer that this program understands arrived in time.
    #[error("{operation}: no answer from the kernel within {} s", ANSWER_TIMEOUT.as_secs())]
    NoAnswer {
        /// What was asked.
        operation: String,
    },
    /// The task that serves the socket is gone.
    #[error("{operation}: netlink socket closed")]
    Closed {
        /// What was asked.
        operation: String,
    },
}

impl NetlinkError {
    /// The kernel's error number, if it is the kernel that said no.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::NotPermitted { .. } => Some(libc::EPERM),
            Self::Open { source } | Self::Refused { source, .. } => source.raw_os_error(),
            Self::Unreachable { .. }
            | Self::NeighbourTableFull { .. }
            | Self::NoAnswer { .. }
            | Self::Closed { .. } => None,
        }
    }
}

/// A handle on the kernel's routing socket; cheap to clone. The socket closes with the last clone.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: rtnetlink::Handle,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace and serves it from a task of the current
    /// tokio runtime.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn open() -> Result<Self, NetlinkError> {
        let (mut connection, handle, _unsolicited) =
            rtnetlink::new_connection().map_err(|source| NetlinkError::Open { source })?;
        // The end of a dump carries NLM_F_DUMP_INTR when the change fell after its last entry.
        connection.set_forward_done(true);
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Asks for a whole table.
    async fn dump(
        &self,
        message: RouteNetlinkMessage,
        operation: &str,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (answers, is_consistent) = self.exchange(message.clone(), NLM_F_DUMP, operation).await?;
            if is_consistent || attempts == DUMP_ATTEMPTS {
                return Ok(answers);
            }
        }
    }

    /// Asks for one object.
    async fn get(
        &self,
        message: RouteNetlinkMessage,
        operation: &str,
    ) -> Result<Option<RouteNetlinkMessage>, NetlinkError> {
        Ok(self.exchange(message, 0, operation).await?.0.into_iter().next())
    }

    /// Asks for a change and waits until the kernel has made it.
    async fn change(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        operation: &str,
    ) -> Result<(), NetlinkError> {
        self.exchange(message, flags | NLM_F_ACK, operation).await.map(drop)
    }

    async fn exchange(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        operation: &str,
    ) -> Result<(Vec<RouteNetlinkMessage>, bool), NetlinkError> {
        let closed = || NetlinkError::Closed { operation: operation.to_owned() };
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut stream = self.handle.clone().request(request).map_err(|_closed| closed())?;
        let mut answers = Vec::new();
        let mut is_consistent = true;
        let mut is_answered = flags & NLM_F_ACK != 0;
        loop {
            let next = tokio::time::timeout(ANSWER_TIMEOUT, stream.next());
            let Some(answer) =
                next.await.map_err(|_elapsed| NetlinkError::NoAnswer { operation: operation.to_owned() })?
            else {
                // The stream of a change ends without a message: acknowledgements are not forwarded.
                return if is_answered { Ok((answers, is_consistent)) } else { Err(closed()) };
            };
            is_answered = true;
            is_consistent &= answer.header.flags & NLM_F_DUMP_INTR == 0;
            if let NetlinkPayload::InnerMessage(inner) = answer.payload {
                answers.push(inner);
            } else if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some()
            {
                return Err(refusal(operation, error.to_io()));
            }
        }
    }
}

fn refusal(operation: &str, source: io::Error) -> NetlinkError {
    let operation = operation.to_owned();
    match source.raw_os_error() {
        Some(libc::EPERM) => NetlinkError::NotPermitted { operation },
        _ => NetlinkError::Refused { operation, source },
    }
}

fn family_of(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// Bits of an address: 32 or 128.
#[must_use]
pub fn full_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

#[cfg(test)]
mod tests;

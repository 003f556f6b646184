//! What becomes of a frame, and why.

use crate::forward::Stage;

/// What the XDP program does with a frame.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To the kernel, unchanged.
    Pass(Reason),
    /// Thrown away.
    Drop(Reason),
    /// Out of the interface it came in on.
    Transmit,
    /// Out of the interface with this index.
    Redirect(u32),
    /// Nothing is decided yet: this stage comes next. Never of a frame in plain memory, which goes through it at once.
    Next(Stage),
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $kind:ident, $text:literal;)*) => {
        /// Why a frame was passed or dropped, or what else is worth counting; the index of its counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Reason { $($(#[$doc])* $name = $number,)* }

        impl Reason {
            /// Every reason, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name an operator reads in `lbctl list --drops`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What happens to a frame that is counted here.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }
        }
    };
}

/// What happens to the frames a [`Reason`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The kernel gets them.
    Pass,
    /// They are thrown away.
    Drop,
    /// They are forwarded all the same; the counter is a warning.
    Note,
}

impl Kind {
    /// The word an operator reads.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Note => "note",
        }
    }
}

reasons! {
    /// Neither IPv4 nor IPv6: ARP, LLDP, spanning tree.
    NotIp = 0, Pass, "not-ip";
    /// IP, but no virtual server has this address, protocol and port.
    NoVirtualServer = 1, Pass, "no-virtual-server";
    /// A header is cut off, or its lengths contradict each other or the frame.
    Malformed = 2, Pass, "malformed";
    /// To a virtual server's address, but to another machine's MAC, or to many.
    OtherMac = 3, Pass, "other-mac";
    /// TTL or hop limit would reach 0: the kernel answers.
    TtlExceeded = 4, Pass, "ttl-exceeded";
    /// A later fragment whose first fragment was not seen (or not balanced).
    UnknownFragment = 5, Pass, "unknown-fragment";
    /// No real server with a weight above 0: the kernel refuses the connection for the virtual address.
    NoRealServer = 6, Pass, "no-real-server";
    /// The real server is this director.
    LocalRealServer = 7, Pass, "local-real-server";
    /// More IPv6 extension headers than are followed, or one that hides the ports.
    ExtensionHeader = 8, Pass, "extension-header";
    /// The real server's MAC is not known yet; user space is asking for it.
    NeighbourUnresolved = 9, Drop, "neighbour-unresolved";
    /// A table look-up failed that cannot fail: the tables contradict each other.
    Inconsistent = 10, Drop, "inconsistent-tables";
    /// The frame could not be given the room for a VLAN tag.
    NoHeadroom = 11, Drop, "no-headroom";
    /// Forwarded by the flow's hash without a connection entry: the table had no room for it.
    Unrecorded = 12, Note, "unrecorded";
    /// An unconfirmed connection entry was overwritten by a newer connection.
    Evicted = 13, Note, "evicted-unconfirmed";
    /// A TCP packet in mid-stream without a connection entry was placed by the flow's hash.
    MidStream = 14, Note, "mid-stream";
    /// An answer to a client to whom no route leads.
    NoRoute = 15, Drop, "no-route-to-client";
    /// An answer to a client whose MAC, or whose router's, is not known (yet).
    ClientUnresolved = 16, Drop, "client-unresolved";
    /// A local sender left the checksum to a network card, and the segment is too long to sum it up here.
    Unfinished = 17, Drop, "unfinished-checksum";
    /// Too long for the way to its real server; the sender was told so.
    TooBig = 18, Note, "too-big";
    /// Another director serves the virtual server now.
    Standby = 19, Pass, "standby";
    /// SCTP, which is not balanced.
    Sctp = 20, Pass, "sctp";
    /// To a connection of a real server that was taken out of the configuration, which ends with it.
    RemovedRealServer = 21, Pass, "removed-real-server";
    /// To a connection of a real server that has failed.
    FailedRealServer = 22, Drop, "failed-real-server";
    /// By full NAT: all of the director's ports that the flow may have towards its real server are taken.
    NoSourcePort = 23, Drop, "no-source-port";
    /// By full NAT: of a connection that has no port of the director's and does not get one by this packet.
    NoLease = 24, Drop, "no-lease";
    /// From a source that the virtual server's lists of networks keep out.
    DeniedSource = 25, Drop, "denied-source";
    /// A new connection of a source that opens more than the virtual server's rate.
    RateLimited = 26, Drop, "rate-limited";
    /// More sources at once than are remembered: what one of them had used of its rate was forgotten.
    SourceForgotten = 27, Note, "source-forgotten";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_numbered_without_gaps_and_named_once() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
        let mut names: Vec<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}

//! The states of a connection, what changes them, and the word that an entry has of it.

use super::Ticks;
use crate::layout::DestinationRef;
use crate::net::Be16;
use crate::word::Blur;

/// Where a connection stands, as the director sees it: the client's packets only
/// (`ip_vs_proto_tcp.c`, table INPUT_ONLY). A number of four bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State(pub(super) u8);

impl State {
    /// No connection.
    pub const NONE: Self = Self(0);
    /// TCP: only SYNs were seen. Unconfirmed.
    pub const SYN_RECEIVED: Self = Self(1);
    /// TCP: one packet in mid-stream was seen. Unconfirmed; shown as ESTABLISHED.
    pub const MID_STREAM: Self = Self(2);
    /// UDP: one datagram was seen. Unconfirmed; shown as UDP.
    pub const FIRST_DATAGRAM: Self = Self(3);
    /// TCP.
    pub const ESTABLISHED: Self = Self(4);
    /// TCP: the client has sent FIN.
    pub const FIN_WAIT: Self = Self(5);
    /// TCP: FIN came after only a SYN.
    pub const TIME_WAIT: Self = Self(6);
    /// TCP: the client has sent RST.
    pub const CLOSE: Self = Self(7);
    /// UDP.
    pub const UDP: Self = Self(8);
    /// No connection, but where persistence sends a client's next ones; one of them is confirmed.
    pub const TEMPLATE: Self = Self(9);
    /// As [`State::TEMPLATE`] while none is. Unconfirmed.
    pub const NEW_TEMPLATE: Self = Self(10);

    /// All but [`State::NONE`].
    pub const ALL: [Self; 10] = [
        Self::SYN_RECEIVED,
        Self::MID_STREAM,
        Self::FIRST_DATAGRAM,
        Self::ESTABLISHED,
        Self::FIN_WAIT,
        Self::TIME_WAIT,
        Self::CLOSE,
        Self::UDP,
        Self::TEMPLATE,
        Self::NEW_TEMPLATE,
    ];

    /// Its number: the index of its timeout.
    #[inline(always)]
    pub const fn number(self) -> usize {
        self.0 as usize
    }

    /// May a newcomer evict the entry?
    #[inline(always)]
    pub const fn unconfirmed(self) -> bool {
        (0b100_0000_1110 >> self.0) & 1 != 0
    }

    /// Is it a template rather than a connection?
    #[inline(always)]
    pub const fn template(self) -> bool {
        (0b110_0000_0000 >> self.0) & 1 != 0
    }

    /// Does IPVS count it as an active connection? (`ip_vs_proto_tcp.c`, `tcp_state_active_table`)
    #[inline(always)]
    pub const fn active(self) -> bool {
        (0b1_0110 >> self.0) & 1 != 0
    }

    /// The name in `ipvsadm -Lc`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SYN_RECEIVED => "SYN_RECV",
            Self::MID_STREAM | Self::ESTABLISHED => "ESTABLISHED",
            Self::FIRST_DATAGRAM | Self::UDP => "UDP",
            Self::FIN_WAIT => "FIN_WAIT",
            Self::TIME_WAIT => "TIME_WAIT",
            Self::CLOSE => "CLOSE",
            Self::TEMPLATE => "ASSURED",
            _ => "NONE",
        }
    }
}

/// Ticks that a template outlives its timeout in the table, so that user space finds it, and leaves it if a connection
/// of the client's lives on.
pub const TEMPLATE_GRACE: u64 = 8;

/// Idle timeouts in seconds by [`State`] number: `ip_vs_proto_tcp.c` and `ip_vs_proto_udp.c`.
pub const TIMEOUT_SECONDS: [u32; 16] = [0, 60, 60, 300, 900, 120, 120, 10, 300, 0, 0, 0, 0, 0, 0, 0];

/// What a packet says about its connection. Of several TCP flags the first of RST, SYN, FIN, ACK counts.
///
/// A number rather than an enum, and decided by tables rather than by `match`: see [`Blur`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event(pub(super) u8);

impl Event {
    /// Any other TCP packet.
    pub const ACK: Self = Self(0);
    /// TCP with FIN.
    pub const FIN: Self = Self(1);
    /// TCP with SYN.
    pub const SYN: Self = Self(2);
    /// TCP with RST.
    pub const RESET: Self = Self(3);
    /// UDP.
    pub const DATAGRAM: Self = Self(4);

    /// From a TCP header's flag byte, of which FIN, SYN and RST are the low bits.
    #[inline(always)]
    pub const fn from_tcp_flags(flags: u8) -> Self {
        Self(((0x3333_2210u32 >> ((flags & 7) * 4)) & 15) as u8)
    }

    /// Its number.
    #[inline(always)]
    pub(crate) const fn number(self) -> u8 {
        self.0
    }

    /// The inverse of [`Event::number`]; of other numbers an event that no packet is.
    #[inline(always)]
    pub(crate) const fn from_number(number: u8) -> Self {
        Self(number & 7)
    }

    /// The same event, unknown to the verifier.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "masked")]
    pub(crate) const fn blurred(self, blur: Blur) -> Self {
        Self(blur.index::<7>(self.0 as usize) as u8)
    }

    /// Does the packet begin something, so that it is the scheduler's turn?
    #[inline(always)]
    pub const fn starts(self) -> bool {
        (0b1_0100 >> self.0) & 1 != 0
    }

    /// The state of a connection that starts with this packet; [`State::NONE`] if it is not worth recording.
    #[inline(always)]
    pub const fn opens(self) -> State {
        State(((0x3_0122u32 >> (self.0 as u32 * 4)) & 15) as u8)
    }
}

/// The next state (`ip_vs_proto_tcp.c`, INPUT_ONLY). [`State::MID_STREAM`] acts as ESTABLISHED would.
#[inline(always)]
pub const fn next_state(state: State, event: Event) -> State {
    // Each table has the next state's number at four times the state's number.
    let table: u64 = match event {
        Event::FIN => 0x8_7655_8560,
        Event::SYN => 0x8_1114_8410,
        Event::RESET => 0x8_7777_8710,
        Event::DATAGRAM => 0x8_8888_8880,
        _ => 0x8_7654_8440,
    };
    State(((table >> (state.0 as u32 * 4)) & 15) as u8)
}

/// Does a SYN end the entry's hold on its real server, so that the connection is scheduled anew?
///
/// On a finished connection it does (`net.ipv4.vs.conn_reuse_mode=1`: TIME_WAIT and CLOSE). In direct routing a
/// connection that both sides have closed still looks like FIN_WAIT, and keeps its server, as in IPVS. Not so with a
/// `quiesced` one (weight 0), to which IPVS sends it: the client has closed, this is a new connection, and busy clients
/// use a port again at once. A `gone` one, which has failed or was taken out, gets nothing new in any state: what it
/// closed or refused itself the director has not seen, so a SYN means that the client's port came again.
#[inline(always)]
pub const fn reschedules(state: State, gone: bool, quiesced: bool) -> bool {
    let ended = 0b1100_0000_u32 | (quiesced as u32) << State::FIN_WAIT.0;
    gone || (ended >> state.0) & 1 != 0
}

/// The value word of an entry; the module's picture shows its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(pub(super) u64);

impl Value {
    /// A new value.
    #[inline(always)]
    pub const fn new(destination: DestinationRef, state: State, seen: Ticks, port: Be16) -> Self {
        Self(
            destination.to_word()
                | (state.0 as u64) << 26
                | (seen.0 as u64) << 30
                | (port.bits() as u64) << 48,
        )
    }

    /// From the word.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.0
    }

    /// Where the flow goes.
    #[inline(always)]
    pub const fn destination(self) -> DestinationRef {
        DestinationRef::from_word(self.0)
    }

    /// The state.
    #[inline(always)]
    pub const fn state(self) -> State {
        State(((self.0 >> 26) & 15) as u8)
    }

    /// When the last packet that counted was seen.
    #[inline(always)]
    pub const fn seen(self) -> Ticks {
        #[expect(clippy::cast_possible_truncation, reason = "the mask cuts first")]
        Ticks(((self.0 >> 30) & Ticks::MASK as u64) as u32)
    }

    /// The packet's destination port.
    #[inline(always)]
    pub const fn port(self) -> Be16 {
        Be16::from_bits((self.0 >> 48) as u16)
    }

    /// The same with another state and time.
    #[inline(always)]
    pub const fn with(self, state: State, seen: Ticks) -> Self {
        Self::new(self.destination(), state, seen, self.port())
    }
}

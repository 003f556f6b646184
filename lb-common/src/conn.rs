//! The connection table: which real server a flow goes to.
//!
//! One 64-byte bucket holds four IPv4 entries of a key and a value (IPv6: 128 bytes), so an established
//! packet costs one cache line. A flow may lie in either of two
//! buckets, which are in the same page. All writes are single words:
//! - a slot is taken by compare-and-swap of its key to [`CLAIMED`], then gets its value, then its key;
//! - an entry is changed by compare-and-swap of its value, and a change that loses the race is dropped.
//!
//! A reader reads key, value and key again (IPv6: value, key, value), so what it returns belonged together.
//!
//! ```text
//! value   63       48 47               30 29  26 25      20 19            0
//!        +-----------+------------------+------+----------+---------------+
//!        | port      | last seen, ticks |state |generation| destination id|
//!        +-----------+------------------+------+----------+---------------+
//! ```
//! `port` is the packet's destination port: it tells flows of an any-port service apart.
//!
//! Who may take which slot ([`Candidate`]): an empty one, else an expired one, else the longest idle
//! *unconfirmed* one (one packet seen) that has been idle for [`PROTECTED_TICKS`]. A confirmed connection is
//! never evicted, and a handshake in progress is not either, so a flood of SYNs leaves both alone. The flow
//! that finds no slot, or one only by eviction, is placed by its hash, and every packet of it finds the same
//! place, recorded or not.

use crate::word::{Blur, Word};

use crate::layout::DestinationRef;
use crate::net::{Be16, Be32, Be128};

/// A time of 2^30 ns (1.07 s), from the monotonic clock; 18 bits are kept, of which half tell the past from the future: 39 hours.
/// An entry that was not seen for longer must have been removed by user space, which looks every minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ticks(u32);

impl Ticks {
    const BITS: u32 = 18;
    const MASK: u32 = (1 << Self::BITS) - 1;
    /// Nanoseconds of one tick.
    pub const NANOSECONDS: u64 = 1 << 30;

    /// The tick of a monotonic clock's reading.
    #[inline(always)]
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the mask cuts first")]
        Self(((nanoseconds >> 30) & Self::MASK as u64) as u32)
    }

    /// Ticks since `earlier`; 0 if that is later, as for an entry written after this clock was read.
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> u32 {
        let ticks = self.0.wrapping_sub(earlier.0) & Self::MASK;
        if ticks > Self::MASK / 2 { 0 } else { ticks }
    }

    /// This many ticks later.
    pub const fn later(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks) & Self::MASK)
    }

    /// This many ticks earlier.
    pub const fn earlier(self, ticks: u32) -> Self {
        Self(self.0.wrapping_sub(ticks) & Self::MASK)
    }

    /// The number, 18 bits.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From the number, of which 18 bits count.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::MASK)
    }

    /// The ticks that last at least `seconds`.
    pub const fn of_seconds(seconds: u32) -> u64 {
        (seconds as u64 * 1_000_000_000).div_ceil(Self::NANOSECONDS)
    }
}

/// An unconfirmed entry that was seen within so many ticks (5.4 s) is not evicted: its handshake may be on
/// its way, and a retransmitted SYN (after 1, 2 and 4 s) counts as seen.
pub const PROTECTED_TICKS: u32 = 5;

/// Where a connection stands, as the director sees it: the client's packets only
/// (`ip_vs_proto_tcp.c`, table INPUT_ONLY). A number of four bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State(u8);

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
pub struct Event(u8);

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
pub struct Value(u64);

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

/// Marks a slot whose new owner is being written: no flow has this key.
pub const CLAIMED: u64 = u64::MAX;

/// An IPv4 entry. A zero key is an empty slot.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Entry4 {
    /// [`Key4`] as a word.
    pub key: Word,
    /// [`Value`] as a word.
    pub value: Word,
}

/// An IPv6 entry. A zero value is an empty slot, a value of [`CLAIMED`] one that is being written.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Entry6 {
    /// The client's address, network order.
    pub address: [Word; 2],
    /// Client port in the low 16 bits, then the service id.
    pub tag: Word,
    /// [`Value`] as a word.
    pub value: Word,
}

/// Entries in a bucket.
pub const BUCKET_ENTRIES: usize = 4;

/// One cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Bucket4(pub [Entry4; BUCKET_ENTRIES]);

/// Two cache lines.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Bucket6(pub [Entry6; BUCKET_ENTRIES]);

const _: () = assert!(size_of::<Bucket4>() == 64 && size_of::<Bucket6>() == 128);

/// The IPv4 buckets for `max_connections`: two slots for each, so that its full number finds room.
pub const fn buckets_for(max_connections: u32) -> u32 {
    max_connections.div_ceil(2)
}

/// Who an IPv4 flow is: its client and its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key4(u64);

impl Key4 {
    /// From the client's address and port and the service's id.
    #[inline(always)]
    pub const fn new(client: Be32, port: Be16, service: u16) -> Self {
        Self(client.bits() as u64 | (port.bits() as u64) << 32 | (service as u64) << 48)
    }

    /// From a slot's word; `None` for an empty or claimed slot.
    pub const fn from_word(word: u64) -> Option<Self> {
        if word == 0 || word == CLAIMED { None } else { Some(Self(word)) }
    }

    /// The client's address, the client's port and the service's id.
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn parts(self) -> (Be32, Be16, u16) {
        (Be32::from_bits(self.0 as u32), Be16::from_bits((self.0 >> 32) as u16), (self.0 >> 48) as u16)
    }
}

/// Who an IPv6 flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key6 {
    address: [u64; 2],
    tag: u64,
}

impl Key6 {
    /// From the client's address and port and the service's id.
    #[inline(always)]
    pub const fn new(client: Be128, port: Be16, service: u16) -> Self {
        Self { address: client.words(), tag: port.bits() as u64 | (service as u64) << 16 }
    }

    /// From a slot's words.
    pub const fn from_words(address: [u64; 2], tag: u64) -> Self {
        Self { address, tag }
    }

    /// The client's address, the client's port and the service's id.
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    pub const fn parts(self) -> (Be128, Be16, u16) {
        (Be128::from_words(self.address), Be16::from_bits(self.tag as u16), (self.tag >> 16) as u16)
    }
}

/// Mixes a word so that every input bit reaches every output bit (the finaliser of `MurmurHash3`).
#[inline(always)]
pub const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let word = (word ^ (word >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}

/// `hash` scaled to `0..n`.
#[inline(always)]
pub const fn scale(hash: u32, n: u32) -> u32 {
    ((hash as u64 * n as u64) >> 32) as u32
}

/// The two buckets, of `count`, that an entry with this hash may be in. Both are in the same page of memory (but at
/// the table's end): a new connection looks at both, and the second then costs a cache line but no page walk.
/// `near` is how many buckets a page has.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "each half of the hash chooses one bucket")]
pub const fn buckets_of(hash: u64, count: u32, near: u32) -> (u32, u32) {
    let first = scale(hash as u32, count);
    let second = first ^ (1 + scale((hash >> 32) as u32, near - 1));
    (first, if second < count { second } else { scale((hash >> 32) as u32, count) })
}

/// A key of either family, the hash of which says where its entry may be.
pub trait Key: Copy {
    /// Its bucket.
    type Bucket;

    /// Buckets in a page of 4,096 bytes of memory.
    const NEAR: u32;

    /// A hash that who does not know `seed` cannot aim.
    fn hash(self, seed: u64) -> u64;

    /// The entry `slot` of `bucket`, if it is this key's and its value names `port`.
    fn find(self, bucket: &Self::Bucket, port: Be16, blur: Blur) -> Option<(usize, Value)>;

    /// What slot `slot` holds now: the word to claim it by, and its value; `None` while it is being written.
    fn inspect(bucket: &Self::Bucket, slot: usize) -> Option<(u64, Option<Value>)>;

    /// Takes the slot if it still holds the word that [`Key::inspect`] gave.
    fn claim(bucket: &Self::Bucket, slot: usize, expected: u64) -> bool;

    /// The value of the entry that was in a slot when it was claimed by `expected`.
    fn overwritten(bucket: &Self::Bucket, slot: usize, expected: u64) -> Option<Value>;

    /// Makes a claimed slot this key's.
    fn publish(self, bucket: &Self::Bucket, slot: usize, value: Value);

    /// Gives a claimed slot back, empty.
    fn release(bucket: &Self::Bucket, slot: usize);

    /// Changes the value of an entry if it still is `old`.
    fn update(bucket: &Self::Bucket, slot: usize, old: Value, new: Value) -> bool;
}

impl Key for Key4 {
    type Bucket = Bucket4;

    const NEAR: u32 = 64;

    #[inline(always)]
    fn hash(self, seed: u64) -> u64 {
        mix(self.0 ^ seed)
    }

    #[inline(always)]
    fn find(self, bucket: &Bucket4, port: Be16, blur: Blur) -> Option<(usize, Value)> {
        let mut slot = 0;
        while slot < BUCKET_ENTRIES {
            let entry = &bucket.0[slot & 3];
            if entry.key.load() == self.0 {
                let value = Value::from_word(entry.value.load());
                if value.port() == port && entry.key.load() == self.0 {
                    return Some((blur.index::<3>(slot), value));
                }
            }
            slot += 1;
        }
        None
    }

    #[inline(always)]
    fn inspect(bucket: &Bucket4, slot: usize) -> Option<(u64, Option<Value>)> {
        let entry = &bucket.0[slot & 3];
        match entry.key.load() {
            CLAIMED => None,
            0 => Some((0, None)),
            key => Some((key, Some(Value::from_word(entry.value.load())))),
        }
    }

    #[inline(always)]
    fn claim(bucket: &Bucket4, slot: usize, expected: u64) -> bool {
        bucket.0[slot & 3].key.replace(expected, CLAIMED)
    }

    #[inline(always)]
    fn overwritten(bucket: &Bucket4, slot: usize, expected: u64) -> Option<Value> {
        if expected == 0 { None } else { Some(Value::from_word(bucket.0[slot & 3].value.load())) }
    }

    #[inline(always)]
    fn publish(self, bucket: &Bucket4, slot: usize, value: Value) {
        let entry = &bucket.0[slot & 3];
        entry.value.store(value.to_word());
        // The value is there before the key.
        entry.key.publish(self.0);
    }

    #[inline(always)]
    fn release(bucket: &Bucket4, slot: usize) {
        bucket.0[slot & 3].key.store(0);
    }

    #[inline(always)]
    fn update(bucket: &Bucket4, slot: usize, old: Value, new: Value) -> bool {
        bucket.0[slot & 3].value.replace(old.to_word(), new.to_word())
    }
}

impl Key for Key6 {
    type Bucket = Bucket6;

    const NEAR: u32 = 32;

    #[inline(always)]
    fn hash(self, seed: u64) -> u64 {
        mix(mix(mix(self.address[0] ^ seed) ^ self.address[1]) ^ self.tag)
    }

    #[inline(always)]
    fn find(self, bucket: &Bucket6, port: Be16, blur: Blur) -> Option<(usize, Value)> {
        let mut slot = 0;
        while slot < BUCKET_ENTRIES {
            let entry = &bucket.0[slot & 3];
            let before = entry.value.load();
            if entry.tag.load() == self.tag
                && entry.address[1].load() == self.address[1]
                && entry.address[0].load() == self.address[0]
                && before != 0
                && before != CLAIMED
            {
                let value = Value::from_word(entry.value.load());
                if value.port() == port && value.destination() == Value::from_word(before).destination() {
                    return Some((blur.index::<3>(slot), value));
                }
            }
            slot += 1;
        }
        None
    }

    #[inline(always)]
    fn inspect(bucket: &Bucket6, slot: usize) -> Option<(u64, Option<Value>)> {
        match bucket.0[slot & 3].value.load() {
            CLAIMED => None,
            0 => Some((0, None)),
            value => Some((value, Some(Value::from_word(value)))),
        }
    }

    #[inline(always)]
    fn claim(bucket: &Bucket6, slot: usize, expected: u64) -> bool {
        bucket.0[slot & 3].value.replace(expected, CLAIMED)
    }

    #[inline(always)]
    fn overwritten(_bucket: &Bucket6, _slot: usize, expected: u64) -> Option<Value> {
        if expected == 0 { None } else { Some(Value::from_word(expected)) }
    }

    #[inline(always)]
    fn publish(self, bucket: &Bucket6, slot: usize, value: Value) {
        let entry = &bucket.0[slot & 3];
        entry.address[0].store(self.address[0]);
        entry.address[1].store(self.address[1]);
        entry.tag.store(self.tag);
        entry.value.publish(value.to_word());
    }

    #[inline(always)]
    fn release(bucket: &Bucket6, slot: usize) {
        bucket.0[slot & 3].value.store(0);
    }

    #[inline(always)]
    fn update(bucket: &Bucket6, slot: usize, old: Value, new: Value) -> bool {
        bucket.0[slot & 3].value.replace(old.to_word(), new.to_word())
    }
}

/// A slot that a newcomer may take, if there is one.
#[derive(Debug)]
pub struct Candidate<'b, K: Key> {
    /// The bucket it is in.
    pub bucket: &'b K::Bucket,
    /// Which of its entries.
    pub slot: usize,
    /// What [`Key::claim`] must find there.
    pub expected: u64,
    // Not an `Option` around all of it: LLVM reads what is not there before it asks, which the verifier refuses.
    rank: u32,
}

impl<'b, K: Key> Candidate<'b, K> {
    /// None so far.
    #[inline(always)]
    pub const fn none(bucket: &'b K::Bucket) -> Self {
        Self { bucket, slot: 0, expected: 0, rank: WORST }
    }

    /// The flow's own slot, whose entry is of no use any more; none while it is being written.
    #[inline(always)]
    pub fn own(bucket: &'b K::Bucket, slot: usize) -> Self {
        match K::inspect(bucket, slot) {
            Some((expected, _)) => Self { bucket, slot, expected, rank: EMPTY },
            None => Self::none(bucket),
        }
    }

    /// The better of this one and the slots of `bucket`, by the order in the module's text.
    /// `timeout` gives a state's idle timeout in ticks.
    #[inline(always)]
    pub fn or_better(
        self,
        bucket: &'b K::Bucket,
        now: Ticks,
        blur: Blur,
        timeout: impl Fn(State) -> u64,
    ) -> Self {
        let mut best = self;
        let mut slot = 0;
        while slot < BUCKET_ENTRIES && best.rank < EMPTY {
            if let Some((expected, value)) = K::inspect(bucket, slot) {
                let rank = value.map_or(EMPTY, |value| rank(value, now, timeout(value.state())));
                if rank > best.rank {
                    best = Self { bucket, slot: blur.index::<3>(slot), expected, rank };
                }
            }
            slot += 1;
        }
        best
    }

    /// Takes the slot, if there is one and it still is as it was.
    #[inline(always)]
    pub fn claim(&self) -> bool {
        self.rank > WORST && K::claim(self.bucket, self.slot, self.expected)
    }

    /// The value of the entry that was in the slot when it was claimed.
    #[inline(always)]
    pub fn overwritten(&self) -> Option<Value> {
        K::overwritten(self.bucket, self.slot, self.expected)
    }

    /// Is there none, or would taking it evict an unconfirmed connection that has not expired?
    #[inline(always)]
    pub const fn crowded(&self) -> bool {
        self.rank < EXPIRED
    }
}

/// Rank of a slot that must not be taken.
pub(crate) const WORST: u32 = 0;
/// Rank of an expired entry; unconfirmed ones rank below by their age.
pub(crate) const EXPIRED: u32 = Ticks::MASK + 1;
/// Rank of an empty slot.
pub(crate) const EMPTY: u32 = EXPIRED + 1;

/// How readily the slot of an entry is taken.
#[inline(always)]
pub(crate) fn rank(value: Value, now: Ticks, timeout: u64) -> u32 {
    let age = now.since(value.seen());
    if u64::from(age) >= timeout {
        EXPIRED
    } else if value.state().unconfirmed() && age >= PROTECTED_TICKS {
        age
    } else {
        WORST
    }
}

#[cfg(test)]
mod tests;

//! Access to the tables that decide where packets go.

use crate::word::{Blur, Word};

use crate::admission::Sources;
use crate::conn::{Bucket4, Bucket6, Ticks};
use crate::forward::pick::{self, Asked};
use crate::forward::{self, full_nat, locality, place, sticky};
use crate::layout::{
    Destination, Detail, FragmentKey, FragmentOwner, Load, Neighbour, Route, Schedule, Service, Settings,
    Virtual,
};
use crate::lease::Lease;
use crate::net::{Be32, Be128};
use crate::services;
use crate::verdict::Reason;

/// The tables, the clock and the counters. A look-up that finds nothing says `None`; an array look-up does so
/// only beyond the array's end.
pub trait Tables {
    /// The coarse monotonic clock, in nanoseconds.
    fn nanoseconds(&self, settings: &Settings) -> u64;
    /// The same in ticks.
    #[inline(always)]
    fn now(&self, settings: &Settings) -> Ticks {
        Ticks::from_nanoseconds(self.nanoseconds(settings))
    }
    /// The settings.
    fn settings(&self) -> Option<&Settings>;
    /// A bucket of the IPv4 virtual servers.
    fn services4(&self, index: u32) -> Option<&services::Bucket4>;
    /// A bucket of the IPv6 virtual servers.
    fn services6(&self, index: u32) -> Option<&services::Bucket6>;
    /// A schedule by its id.
    fn schedule(&self, id: u16) -> Option<&Schedule>;
    /// A word of the rings.
    fn ring(&self, index: u32) -> Option<&Word>;
    /// A destination by its id.
    fn destination(&self, id: u32) -> Option<&Destination>;
    /// A destination's connections.
    fn load(&self, id: u32) -> Option<&Load>;
    /// A bucket of the IPv4 connection table.
    fn bucket4(&self, index: u32) -> Option<&Bucket4>;
    /// A bucket of the IPv6 connection table.
    fn bucket6(&self, index: u32) -> Option<&Bucket6>;
    /// Where a datagram's first fragment went.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentOwner>;
    /// Keeps where a datagram's first fragment went; may forget others, may fail silently when overloaded.
    fn remember_fragment(&self, key: &FragmentKey, owner: &FragmentOwner);
    /// What tunnels need to know of a destination.
    fn detail(&self, id: u32) -> Option<&Detail>;
    /// A virtual server's own address.
    fn virtual_server(&self, service: u16) -> Option<&Virtual>;
    /// A route for answers.
    fn route(&self, index: u32) -> Option<&Route>;
    /// The index of the route to the address of these words: [`forward::way::find`], here or in a function of its own.
    #[inline(always)]
    fn find_route(&self, first: u32, count: u32, a: u64, b: u64) -> u32
    where
        Self: Sized,
    {
        forward::way::find(self, first, count, a, b)
    }
    /// Whose the answers of a real server are: [`forward::translate::find_answers`], here or in a function of its own.
    #[inline(always)]
    fn answers(&self, a: u64, b: u64, key: u32, is_ipv6: bool) -> u64
    where
        Self: Sized,
    {
        forward::translate::find_answers(self, a, b, key, is_ipv6)
    }
    /// Whose an answer is: [`forward::translate::owner`], here or in a function of its own.
    #[inline(always)]
    fn owner(&self, a: u64, b: u64, ports: u32, answers: u64, is_ipv6: bool) -> u64
    where
        Self: Sized,
    {
        forward::translate::owner(self, a, b, ports, answers, is_ipv6)
    }
    /// The scheduler's choice: [`forward::pick::pick`], here or in a function of its own. As the others below.
    #[inline(always)]
    fn pick(&self, service: Service, asked: &Asked) -> u64
    where
        Self: Sized,
    {
        match pick::pick(self, service, asked) {
            pick::LOCAL => locality::local(self, service.to_word()),
            word => word,
        }
    }
    /// [`locality::near`].
    #[inline(always)]
    fn near(&self, about: u64) -> u64
    where
        Self: Sized,
    {
        locality::near(self, about)
    }
    /// [`locality::shrink`].
    #[inline(always)]
    fn near_shrink(&self, about: u64)
    where
        Self: Sized,
    {
        locality::shrink(self, about);
    }
    /// [`locality::count`].
    #[inline(always)]
    fn near_count(&self, place: u64, about: u64, start: u32) -> u32
    where
        Self: Sized,
    {
        locality::count(self, place, about, start)
    }
    /// [`locality::settle`].
    #[inline(always)]
    fn settle(&self, about: u64, word: u64)
    where
        Self: Sized,
    {
        locality::settle(self, about, word);
    }
    /// [`locality::among`].
    #[inline(always)]
    fn near_among(&self, place: u64, about: u64, start: u32, best: u64) -> u64
    where
        Self: Sized,
    {
        locality::among(self, place, about, start, best)
    }
    /// [`locality::room`].
    #[inline(always)]
    fn near_room(&self, place: u64, about: u64, start: u32, word: u64) -> u32
    where
        Self: Sized,
    {
        locality::room(self, place, about, start, word)
    }
    /// [`locality::idle`].
    #[inline(always)]
    fn near_idle(&self, list: u64, start: u32) -> u32
    where
        Self: Sized,
    {
        locality::idle(self, list, start)
    }
    /// [`forward::pick::best`].
    #[inline(always)]
    fn pick_best(&self, list: u64, code: u8) -> u64
    where
        Self: Sized,
    {
        pick::best(self, list, code)
    }
    /// [`forward::pick::drawn`].
    #[inline(always)]
    fn pick_drawn(&self, list: u64, drawn: u64) -> u64
    where
        Self: Sized,
    {
        pick::drawn(self, list, drawn)
    }
    /// [`forward::pick::relieved`].
    #[inline(always)]
    fn pick_relieved(&self, ring: u64) -> u64
    where
        Self: Sized,
    {
        pick::relieved(self, ring)
    }
    /// [`forward::pick::other`].
    #[inline(always)]
    fn pick_other(&self, ring: u64, number: u32, place: u32, flags: u32) -> u64
    where
        Self: Sized,
    {
        pick::other(self, ring, number, place, flags)
    }
    /// [`forward::pick::among`].
    #[inline(always)]
    fn pick_among(&self, list: u64, start: u32, code: u8) -> u64
    where
        Self: Sized,
    {
        pick::among(self, list, start, code)
    }
    /// [`forward::pick::up_to`].
    #[inline(always)]
    fn pick_up_to(&self, list: u64, start: u32, drawn: u64, sum: u64) -> u64
    where
        Self: Sized,
    {
        pick::up_to(self, list, start, drawn, sum)
    }
    /// [`forward::sticky::bound`].
    #[inline(always)]
    fn bound(&self, client: [u64; 2], rest: u64) -> u64
    where
        Self: Sized,
    {
        sticky::bound(self, client, rest, Blur::new(0))
    }
    /// [`forward::sticky::bind`].
    #[inline(always)]
    fn bind(&self, client: [u64; 2], rest: u64, word: u64)
    where
        Self: Sized,
    {
        sticky::bind(self, client, rest, word, Blur::new(0));
    }
    /// [`forward::admission::listed`].
    #[inline(always)]
    fn listed(&self, client: [u64; 2], rest: u64) -> u32
    where
        Self: Sized,
    {
        forward::admission::listed(self, client, rest)
    }
    /// [`forward::admission::connects`].
    #[inline(always)]
    fn connects(&self, client: [u64; 2], rest: u64) -> u32
    where
        Self: Sized,
    {
        forward::admission::connects(self, client, rest)
    }
    /// The value of the longest network that has an IPv4 source's address, of those of a schedule; see
    /// [`crate::admission::Listing`].
    fn network4(&self, schedule: u16, source: Be32) -> Option<u32>;
    /// The same for IPv6.
    fn network6(&self, schedule: u16, source: Be128) -> Option<u32>;
    /// A line of sources, of [`crate::maps::SOURCES_LINES`].
    fn sources(&self, index: u32) -> Option<&Sources>;
    /// [`forward::place::weigh`].
    #[inline(always)]
    fn weigh(&self, value: u64, change: i64)
    where
        Self: Sized,
    {
        place::weigh(self, value, change);
    }
    /// A lease.
    fn lease(&self, index: u32) -> Option<&Lease>;
    /// [`full_nat::lease`].
    #[inline(always)]
    fn find_lease(&self, client: [u64; 2], rest: u64, what: u64) -> u64
    where
        Self: Sized,
    {
        full_nat::lease(self, client, rest, what)
    }
    /// [`full_nat::among`].
    #[inline(always)]
    fn lease_among(&self, client: [u64; 2], rest: u64, what: u64, place: u32) -> u64
    where
        Self: Sized,
    {
        full_nat::among(self, client, rest, what, place, Blur::new(0))
    }
    /// [`full_nat::lease_of`].
    #[inline(always)]
    fn lease_of(&self, source: [u64; 2], server: [u64; 2], ports: u64) -> u64
    where
        Self: Sized,
    {
        full_nat::lease_of(self, source, server, ports)
    }
    /// A client on a segment of the director's; [`neighbour_key4`] makes the address of an IPv4 one.
    fn neighbour(&self, address: &[u64; 2]) -> Option<Neighbour>;
    /// Keeps where a client is; may forget others, may fail silently when overloaded.
    fn learn(&self, address: &[u64; 2], neighbour: &Neighbour);
    /// Counts an answer of `bytes` from a destination.
    fn count_answer(&self, destination: u32, bytes: u64);
    /// Counts a packet of `bytes` for a destination, and a connection if it is a `new` one.
    fn count_traffic(&self, destination: u32, new: bool, bytes: u64);
    /// Counts a reason.
    fn count(&self, reason: Reason);
}

/// An IPv4 client's key for [`Tables::neighbour`]: no IPv6 address has it.
#[inline(always)]
pub const fn neighbour_key4(address: crate::net::Be32) -> [u64; 2] {
    [address.bits() as u64, u64::MAX]
}

//! The names and default capacities of the maps, for `#[map]` in the BPF program and for the loader.

/// IPv4 virtual servers: [`crate::services::Bucket4`].
pub const SERVICES4: &str = "SERVICES4";
/// IPv6 virtual servers: [`crate::services::Bucket6`].
pub const SERVICES6: &str = "SERVICES6";
/// By schedule id: [`crate::layout::Schedule`].
pub const SCHEDULES: &str = "SCHEDULES";
/// Every scheduler's order: words, see [`crate::layout::RING_HEADER`].
pub const RINGS: &str = "RINGS";
/// By destination id: [`crate::layout::Destination`].
pub const DESTINATIONS: &str = "DESTINATIONS";
/// By destination id: [`crate::layout::Load`].
pub const LOADS: &str = "LOADS";
/// By destination id, per CPU: [`crate::layout::Traffic`].
pub const TRAFFIC: &str = "TRAFFIC";
/// IPv4 connections: [`crate::conn::Bucket4`].
pub const CONNECTIONS4: &str = "CONNECTIONS4";
/// IPv6 connections: [`crate::conn::Bucket6`].
pub const CONNECTIONS6: &str = "CONNECTIONS6";
/// First fragments: [`crate::layout::FragmentKey`] → [`crate::layout::FragmentOwner`].
pub const FRAGMENTS: &str = "FRAGMENTS";
/// One element: [`crate::layout::Settings`].
pub const SETTINGS: &str = "SETTINGS";
/// By destination id: [`crate::layout::Detail`].
pub const DETAILS: &str = "DETAILS";
/// By service id: [`crate::layout::Virtual`].
pub const VIRTUALS: &str = "VIRTUALS";
/// Where answers go: [`crate::layout::Route`], in two halves of [`ROUTES_HALF`], of which one is in use.
pub const ROUTES: &str = "ROUTES";
/// Clients on the director's segments, by address: [`crate::layout::Neighbour`].
pub const NEIGHBOURS: &str = "NEIGHBOURS";
/// Addresses and ports that flows by full NAT have: [`crate::lease::Lease`].
pub const LEASES: &str = "LEASES";
/// IPv4 networks that are let in or kept out: a schedule's id and an address, to [`crate::admission::Listing`].
pub const NETWORKS4: &str = "NETWORKS4";
/// The same of IPv6.
pub const NETWORKS6: &str = "NETWORKS6";
/// Sources that have connected lately: [`crate::admission::Sources`].
pub const SOURCES: &str = "SOURCES";
/// By [`crate::verdict::Reason`], per CPU: packets, u64.
pub const REASONS: &str = "REASONS";

/// All of them; each is pinned under its name.
pub const ALL: [&str; 20] = [
    SERVICES4,
    SERVICES6,
    SCHEDULES,
    RINGS,
    DESTINATIONS,
    LOADS,
    TRAFFIC,
    CONNECTIONS4,
    CONNECTIONS6,
    FRAGMENTS,
    SETTINGS,
    DETAILS,
    VIRTUALS,
    ROUTES,
    NEIGHBOURS,
    LEASES,
    NETWORKS4,
    NETWORKS6,
    SOURCES,
    REASONS,
];

/// The XDP program's name in the object.
pub const PROGRAM: &str = "director";

/// The program that is run once to compare the clocks.
pub const CLOCK_PROGRAM: &str = "clock";

/// Virtual servers of each family. Service ids are 16 bits.
pub const SERVICES: u32 = 65_535;
/// Pairs of virtual server and real server. Destination ids are 20 bits; this many are allotted.
pub const DESTINATIONS_MAX: u32 = 65_536;
/// Words for the schedulers' rings (16 MiB); a ring takes its length and two, and its replacement as much again.
pub const RING_WORDS: u32 = 1 << 21;
/// Routes of both families.
pub const ROUTES_HALF: u32 = 2 * crate::layout::Route::MOST;
/// Clients remembered at a time that are on the director's own segments.
pub const NEIGHBOURS_MAX: u32 = 16_384;
/// Networks of each family that are let in or kept out, of all virtual servers together. The kernel takes memory for
/// those that there are.
pub const NETWORKS_MAX: u32 = 1 << 18;
/// Lines of sources (2 MiB); a power of two. Of 262,144 sources at a time it is known that they have used up part of
/// their allowance.
pub const SOURCES_LINES: u32 = 1 << 15;
/// First fragments remembered at a time.
pub const FRAGMENTS_MAX: u32 = 8192;

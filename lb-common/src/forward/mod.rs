//! The datapath, in the order a packet goes through it: [`forward`] → `ip4` or `ip6` → [`place`] (which real
//! server) → [`send`] (direct routing: rewrite and out) or [`translate`] (NAT, and the answers that come back).
//!
//! Direct routing changes the two MACs, the TTL and its checksum, and the VLAN tag where the real server is on
//! another VLAN. A packet that is passed or dropped is not changed at all.

pub mod admission;
mod failed;
mod fragment;
pub mod full_nat;
mod icmp;
pub mod locality;
pub mod nat;
pub mod pick;
pub mod place;
mod refuse;
mod send;
pub mod sticky;
pub mod translate;
mod tunnel;
mod version;
pub mod way;

use core::hint;

use crate::layout::{
    Addresses, DestinationRef, FragmentOwner, INTERFACE_PROBES, INTERFACE_SLOTS, Method, NextHop, Owner,
    Service, Settings, from_mac_word,
};
use crate::net::{Be16, Be32, Be128, ethertype};
use crate::packet::Packet;
use crate::parse::{self, Link, Part};
use crate::services::{self, Name4, Name6};
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};

use fragment::{first_fragment, remember};
use icmp::icmp;
use place::place;
use send::send;
use version::{Arrived, Version};

/// Decides about one frame, changes it for its way out, and counts what happened.
#[inline(always)]
pub fn forward<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    counted(tables, ended(decide(packet, tables)))
}

/// Counts a verdict.
#[inline(always)]
fn counted<T: Tables>(tables: &T, verdict: Verdict) -> Verdict {
    if let Verdict::Pass(reason) | Verdict::Drop(reason) = verdict {
        hint::cold_path();
        tables.count(reason);
    }
    verdict
}

/// What only some packets come to. The verifier checks each stage by itself, so that what it costs there does not
/// multiply with the ways that lead to it; so a stage begins with the frame alone, and reads it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A frame that is not as nearly all are.
    Uncommon,
    /// For no virtual server; it may be the answer of a real server.
    Answer,
    /// ICMP.
    Error,
    /// A fragment that is not the first.
    Rest,
    /// Of a connection whose real server has failed; the flags of its next hop.
    Failed(u8),
    /// For this destination by NAT; `true` for a new connection.
    Translate(DestinationRef, bool),
    /// For this destination by full NAT; `true` for a new connection.
    FullNat(DestinationRef, bool),
    /// For the real server of the lease in this slot; `true` for a new connection.
    ToServer(u32, bool),
    /// For the client of the lease in this slot.
    ToClient(u32),
    /// ICMP about a flow by full NAT to this destination.
    ErrorOfLease(DestinationRef),
    /// ICMP for the real server of the lease in this slot.
    ErrorToServer(u32),
    /// For this destination through a tunnel; `true` for a new connection.
    Encapsulate(DestinationRef, bool),
}

impl Stage {
    /// Do all packets of a connection come to it?
    #[inline(always)]
    const fn is_common(self) -> bool {
        matches!(self, Self::Answer | Self::Translate(..))
    }
}

/// Goes on with a stage and counts what happened.
#[inline(always)]
pub fn stage<P: Packet, T: Tables>(packet: &mut P, tables: &T, stage: Stage) -> Verdict {
    counted(tables, ended(staged(packet, tables, stage)))
}

/// Goes on with a stage, and leaves counting to who called.
#[inline(always)]
pub fn uncounted<P: Packet, T: Tables>(packet: &mut P, tables: &T, stage: Stage) -> Verdict {
    ended(staged(packet, tables, stage))
}

#[inline(always)]
fn staged<P: Packet, T: Tables>(packet: &mut P, tables: &T, stage: Stage) -> Result<Verdict, Verdict> {
    if stage == Stage::Uncommon {
        return uncommon(packet, tables);
    }
    if stage.is_common() {
        if let Some((link, ip)) = parse::plain4(packet) {
            return staged_ip(packet, tables, stage, &link, &Arrived::plain4(&ip));
        }
        if let Some((link, ip)) = parse::plain6(packet) {
            return staged_ip(packet, tables, stage, &link, &Arrived::plain6(&ip));
        }
        hint::cold_path();
    }
    let link = parse::link(packet).ok_or(Reason::Malformed)?;
    if link.ethertype == ethertype::IPV4 {
        let ip = parse::ipv4(packet, link.payload, true).ok_or(Reason::Malformed)?;
        let ip = Arrived::new4(packet.blur(), &link, &ip);
        staged_ip(packet, tables, stage, &link, &ip)
    } else {
        let ip = parse::ipv6(packet, link.payload, true)?;
        let ip = Arrived::new6(packet.blur(), &link, &ip);
        staged_ip(packet, tables, stage, &link, &ip)
    }
}

#[inline(always)]
fn staged_ip<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    stage: Stage,
    link: &Link,
    ip: &Arrived<A>,
) -> Result<Verdict, Verdict> {
    let ports = |packet: &P| parse::ports(packet, ip.segment.protocol, ip.segment.at, ip.segment.length);
    match stage {
        Stage::Uncommon => Err(BROKEN),
        Stage::Answer => {
            let ports = ports(packet)?;
            translate::answer(packet, tables, link, ip, &ports)
        }
        Stage::Translate(reference, new) => {
            let ports = ports(packet)?;
            let chosen = place::live(tables, reference, new).ok_or(BROKEN)?;
            translate::to_server(packet, tables, link, ip, &ports, &chosen)
        }
        Stage::FullNat(reference, new) => {
            let ports = ports(packet)?;
            let chosen = place::live(tables, reference, new).ok_or(BROKEN)?;
            full_nat::take(packet, tables, ip, &ports, &chosen)
        }
        Stage::ToServer(index, new) => {
            let ports = ports(packet)?;
            full_nat::to_server(packet, tables, link, ip, &ports, (index, new))
        }
        Stage::ToClient(index) => {
            let ports = ports(packet)?;
            full_nat::to_client(packet, tables, link, ip, &ports, index)
        }
        Stage::ErrorOfLease(reference) => {
            let chosen = place::live(tables, reference, false).ok_or(BROKEN)?;
            icmp::of_lease(packet, tables, ip, &chosen)
        }
        Stage::ErrorToServer(index) => icmp::to_server_of_lease(packet, tables, link, ip, index),
        Stage::Encapsulate(reference, new) => {
            let ports = if ip.segment.whole && tunnel::has_ports(ip.segment.protocol) {
                Some(ports(packet)?)
            } else {
                None
            };
            let chosen = place::live(tables, reference, new).ok_or(BROKEN)?;
            tunnel::encapsulate(packet, tables, link, ip, ports, &chosen)
        }
        Stage::Failed(flags) => failed::failed(packet, ip, flags),
        Stage::Error => icmp(packet, tables, link, ip),
        Stage::Rest => rest(packet, tables, link, ip),
    }
}

/// A reason alone means that the frame goes to the kernel.
impl From<Reason> for Verdict {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self::Pass(reason)
    }
}

/// What cannot be: the tables contradict each other.
const BROKEN: Verdict = Verdict::Drop(Reason::Inconsistent);

/// Nearly all frames are as [`parse::plain4`] and [`parse::plain6`] say; the others have a stage of their own.
#[inline(always)]
fn decide<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<Verdict, Verdict> {
    if let Some((link, ip)) = parse::plain4(packet) {
        return balance(packet, tables, &link, &Arrived::plain4(&ip), true);
    }
    if let Some((link, ip)) = parse::plain6(packet) {
        return balance(packet, tables, &link, &Arrived::plain6(&ip), true);
    }
    hint::cold_path();
    let kind = parse::kind(packet).ok_or(Reason::Malformed)?;
    if !ethertype::is_vlan(kind) && kind != ethertype::IPV4 && kind != ethertype::IPV6 {
        return Err(Reason::NotIp.into());
    }
    Err(packet.stage(tables, Stage::Uncommon))
}

/// As [`decide`], of any frame.
#[inline(always)]
fn uncommon<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(Reason::Malformed)?;
    match link.ethertype {
        ethertype::IPV4 => {
            let ip = parse::ipv4(packet, link.payload, true).ok_or(Reason::Malformed)?;
            if let Part::Later(_) = ip.part {
                return Err(packet.stage(tables, Stage::Rest));
            }
            let ip = Arrived::new4(packet.blur(), &link, &ip);
            balance(packet, tables, &link, &ip, false)
        }
        ethertype::IPV6 => {
            let ip = parse::ipv6(packet, link.payload, true)?;
            if let Part::Later(_) = ip.part {
                return Err(packet.stage(tables, Stage::Rest));
            }
            let ip = Arrived::new6(packet.blur(), &link, &ip);
            balance(packet, tables, &link, &ip, false)
        }
        _ => Err(Reason::NotIp.into()),
    }
}

/// Sends a client's packet to its real server. Where it `is_plain`, NAT costs little and is not left to its stage.
#[inline(always)]
fn balance<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    ip: &Arrived<A>,
    is_plain: bool,
) -> Result<Verdict, Verdict> {
    if ip.segment.protocol == A::ICMP {
        hint::cold_path();
        return Err(packet.stage(tables, Stage::Error));
    }
    let ports = parse::ports(packet, ip.segment.protocol, ip.segment.at, ip.segment.length)?;
    let settings = tables.settings().ok_or(BROKEN)?;
    let service = match A::service(tables, settings, ip.destination, ports.destination, ip.segment.protocol) {
        Some(service) => service,
        None => match settings.flags.load() & (Settings::NAT | Settings::FULL_NAT) {
            0 => return Err(Reason::NoVirtualServer.into()),
            Settings::NAT => {
                return translate::answered(packet, tables, settings, link, ip, &ports, is_plain);
            }
            _ => {
                hint::cold_path();
                return Err(packet.stage(tables, Stage::Answer));
            }
        },
    };
    accept(packet, settings, link, ip.ttl)?;
    let flow = ip.source.flow(ports.source, service.id);
    let chosen = place(tables, settings, flow, service, &ports, packet.blur(), || {
        ip.source.asked(ports.source, ip.destination, ports.destination)
    })?;
    if ip.is_first {
        hint::cold_path();
        remember(tables, settings, &A::fragment_key(ip), chosen.reference);
    }
    match chosen.flags() & (NextHop::METHOD | NextHop::FAILED) {
        0 => send(packet, tables, link, &chosen, ip.length),
        NAT if is_plain && !chosen.new => translate::to_server(packet, tables, link, ip, &ports, &chosen),
        _ => {
            hint::cold_path();
            Err(packet.stage(tables, chosen.stage()))
        }
    }
}

/// What the flags of a next hop say of NAT.
const NAT: u8 = Method::Nat as u8;

/// The verdict either way.
#[inline(always)]
fn ended(result: Result<Verdict, Verdict>) -> Verdict {
    match result {
        Ok(verdict) | Err(verdict) => verdict,
    }
}

/// A later fragment goes where the first one went.
#[inline(always)]
fn rest<P: Packet, A: Version, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    ip: &Arrived<A>,
) -> Result<Verdict, Verdict> {
    let first = first_fragment(packet, tables, link, &A::fragment_key(ip), ip.ttl)?;
    if first & FragmentOwner::LEASE != 0 {
        return full_nat::rest(packet, tables, link, ip, first);
    }
    let destination = DestinationRef::from_word(first);
    if first & FragmentOwner::ANSWER != 0 {
        let settings = tables.settings().ok_or(BROKEN)?;
        #[expect(clippy::cast_possible_truncation, reason = "16 bits were stored")]
        let owner = Owner { service: (first >> 32) as u16, destination };
        return translate::rest_of_answer(packet, tables, settings, link, ip, owner);
    }
    let chosen = place::live(tables, destination, false).ok_or(Reason::UnknownFragment)?;
    if chosen.is_tunnelled() {
        return Err(packet.stage(tables, chosen.stage()));
    }
    if chosen.flags() & NextHop::METHOD == Method::FullNat as u8 {
        // The first one got no lease.
        return Err(Verdict::Drop(Reason::NoLease));
    }
    if chosen.flags() & NextHop::METHOD != 0 {
        return translate::rest_to_server(packet, tables, link, ip, &chosen);
    }
    send(packet, tables, link, &chosen, ip.length)
}

/// The virtual server of an address, port and protocol; one for any port comes second.
#[inline(always)]
fn service4<T: Tables>(
    tables: &T,
    settings: &Settings,
    address: Be32,
    port: Be16,
    protocol: u8,
) -> Option<Service> {
    if !settings.addresses.may_have(Addresses::bit4(address)) {
        return None;
    }
    let found = services::find(Name4::new(address, port, protocol), |index| tables.services4(index));
    if found.is_some() || settings.flags.load() & Settings::ANY_PORT == 0 {
        return found;
    }
    hint::cold_path();
    services::find(Name4::new(address, Be16::default(), protocol), |index| tables.services4(index))
}

/// As [`service4`].
#[inline(always)]
fn service6<T: Tables>(
    tables: &T,
    settings: &Settings,
    address: Be128,
    port: Be16,
    protocol: u8,
) -> Option<Service> {
    if !settings.addresses.may_have(Addresses::bit6(address)) {
        return None;
    }
    let found = services::find(Name6::new(address, port, protocol), |index| tables.services6(index));
    if found.is_some() || settings.flags.load() & Settings::ANY_PORT == 0 {
        return found;
    }
    hint::cold_path();
    services::find(Name6::new(address, Be16::default(), protocol), |index| tables.services6(index))
}

/// Is the frame meant for this machine, and may it go another hop?
#[inline(always)]
fn accept<P: Packet>(packet: &P, settings: &Settings, link: &Link, ttl: u8) -> Result<(), Reason> {
    let index = packet.ingress();
    let mut probe = 0;
    while probe < INTERFACE_PROBES {
        let slot = (index % INTERFACE_SLOTS + probe) as usize;
        let interface = &settings.interfaces[slot];
        if interface.is(index) {
            let (mac, _) = from_mac_word(interface.mac.load());
            if mac != link.destination {
                hint::cold_path();
                if !settings.virtual_macs[slot].has(link.destination) {
                    return Err(Reason::OtherMac);
                }
            }
            return if ttl <= 1 { Err(Reason::TtlExceeded) } else { Ok(()) };
        }
        hint::cold_path();
        probe += 1;
    }
    Err(Reason::OtherMac)
}

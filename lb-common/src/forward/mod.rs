//! The datapath, in the order a packet goes through it: [`forward`] → `ip4` or `ip6` → [`place`] (which real
//! server) → [`send`] (direct routing: rewrite and out) or [`translate`] (NAT, and the answers that come back).
//!
//! Direct routing changes the two MACs, the TTL and its checksum, and the VLAN tag where the real server is on
//! another VLAN. A packet that is passed or dropped is not changed at all.

mod failed;
mod fragment;
mod icmp;
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

use crate::conn::{Key4, Key6};
use crate::layout::{
    DestinationRef, FragmentOwner, INTERFACE_PROBES, INTERFACE_SLOTS, NextHop, Owner, Service, Settings,
    from_mac_word,
};
use crate::net::{Be16, Be32, Be128, ethertype, protocol};
use crate::packet::Packet;
use crate::parse::{self, Link, Part};
use crate::services::{self, Name4, Name6};
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};

use fragment::{first_fragment, fragment_key4, fragment_key6, identification, remember};
use icmp::icmp;
use place::{Chosen, asked4, asked6, place};
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
    /// For this destination through a tunnel; `true` for a new connection.
    Encapsulate(DestinationRef, bool),
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
        Stage::Answer => {
            let ports = ports(packet)?;
            translate::answer(packet, tables, link, ip, &ports)
        }
        Stage::Translate(reference, new) => {
            let ports = ports(packet)?;
            let chosen = place::live(tables, reference, new).ok_or(BROKEN)?;
            translate::to_server(packet, tables, link, ip, &ports, &chosen)
        }
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

#[inline(always)]
fn decide<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(Reason::Malformed)?;
    let (chosen, length) = match link.ethertype {
        ethertype::IPV4 => ip4(packet, tables, &link)?,
        ethertype::IPV6 => ip6(packet, tables, &link)?,
        _ => return Err(Reason::NotIp.into()),
    };
    send(packet, tables, &link, &chosen, length)
}

/// Where a packet goes by direct routing, and its length from the IP header on; or what became of it elsewhere.
type Destined<'t> = Result<(Chosen<'t>, usize), Verdict>;

#[inline(always)]
fn ip4<'t, P: Packet, T: Tables>(packet: &mut P, tables: &'t T, link: &Link) -> Destined<'t> {
    let ip = if link.is_plain() {
        parse::ipv4(packet, Link::PLAIN, true)
    } else {
        hint::cold_path();
        parse::ipv4(packet, link.payload, true)
    };
    let ip = ip.ok_or(Reason::Malformed)?;
    if let Part::Later(_) = ip.part {
        hint::cold_path();
        return Err(packet.stage(tables, Stage::Rest));
    }
    if ip.protocol == protocol::ICMP {
        hint::cold_path();
        return Err(packet.stage(tables, Stage::Error));
    }
    let ports = parse::ports(packet, ip.protocol, ip.payload, ip.payload_length)?;
    let service = match service4(tables, ip.destination, ports.destination, ip.protocol) {
        Ok(service) => service,
        Err(_) => return Err(packet.stage(tables, Stage::Answer)),
    };
    let settings = tables.settings().ok_or(BROKEN)?;
    accept(packet, settings, link, ip.ttl)?;
    let flow = Key4::new(ip.source, ports.source, service.id);
    let chosen = place(tables, settings, flow, service, &ports, packet.blur(), || {
        asked4(ip.source, ports.source, ip.destination, ports.destination)
    })?;
    if let Part::First(_) = ip.part {
        hint::cold_path();
        remember(
            tables,
            settings,
            &fragment_key4(ip.source, ip.destination, ip.protocol, identification(ip.part)),
            chosen.reference,
        );
    }
    if chosen.flags() & (NextHop::METHOD | NextHop::FAILED) != 0 {
        hint::cold_path();
        return Err(packet.stage(tables, chosen.stage()));
    }
    Ok((chosen, ip.length))
}

#[inline(always)]
fn ip6<'t, P: Packet, T: Tables>(packet: &mut P, tables: &'t T, link: &Link) -> Destined<'t> {
    let ip = parse::ipv6(packet, link.payload, true)?;
    if let Part::Later(_) = ip.part {
        hint::cold_path();
        return Err(packet.stage(tables, Stage::Rest));
    }
    if ip.protocol == protocol::ICMPV6 {
        hint::cold_path();
        return Err(packet.stage(tables, Stage::Error));
    }
    let ports = parse::ports(packet, ip.protocol, ip.payload, ip.payload_length)?;
    let service = match service6(tables, ip.destination, ports.destination, ip.protocol) {
        Ok(service) => service,
        Err(_) => return Err(packet.stage(tables, Stage::Answer)),
    };
    let settings = tables.settings().ok_or(BROKEN)?;
    accept(packet, settings, link, ip.hop_limit)?;
    let flow = Key6::new(ip.source, ports.source, service.id);
    let chosen = place(tables, settings, flow, service, &ports, packet.blur(), || {
        asked6(ip.source, ports.source, ip.destination, ports.destination)
    })?;
    if let Part::First(_) = ip.part {
        hint::cold_path();
        remember(
            tables,
            settings,
            &fragment_key6(ip.source, ip.destination, identification(ip.part)),
            chosen.reference,
        );
    }
    if chosen.flags() & (NextHop::METHOD | NextHop::FAILED) != 0 {
        hint::cold_path();
        return Err(packet.stage(tables, chosen.stage()));
    }
    Ok((chosen, ip.length))
}

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
    if chosen.flags() & NextHop::METHOD != 0 {
        return translate::rest_to_server(packet, tables, link, ip, &chosen);
    }
    send(packet, tables, link, &chosen, ip.length)
}

/// The virtual server of an address, port and protocol; one for any port comes second.
#[inline(always)]
fn service4<T: Tables>(tables: &T, address: Be32, port: Be16, protocol: u8) -> Result<Service, Reason> {
    if let Some(service) =
        services::find(Name4::new(address, port, protocol), |index| tables.services4(index))
    {
        return Ok(service);
    }
    hint::cold_path();
    any_port(tables)?;
    services::find(Name4::new(address, Be16::default(), protocol), |index| tables.services4(index))
        .ok_or(Reason::NoVirtualServer)
}

/// As [`service4`].
#[inline(always)]
fn service6<T: Tables>(tables: &T, address: Be128, port: Be16, protocol: u8) -> Result<Service, Reason> {
    if let Some(service) =
        services::find(Name6::new(address, port, protocol), |index| tables.services6(index))
    {
        return Ok(service);
    }
    hint::cold_path();
    any_port(tables)?;
    services::find(Name6::new(address, Be16::default(), protocol), |index| tables.services6(index))
        .ok_or(Reason::NoVirtualServer)
}

/// Is there a virtual server for any port?
#[inline(always)]
fn any_port<T: Tables>(tables: &T) -> Result<(), Reason> {
    let settings = tables.settings().ok_or(Reason::NoVirtualServer)?;
    if settings.flags.load() & Settings::ANY_PORT == 0 { Err(Reason::NoVirtualServer) } else { Ok(()) }
}

/// Is the frame meant for this machine, and may it go another hop?
#[inline(always)]
fn accept<P: Packet>(packet: &P, settings: &Settings, link: &Link, ttl: u8) -> Result<(), Reason> {
    let index = packet.ingress();
    let mut probe = 0;
    while probe < INTERFACE_PROBES {
        let interface = &settings.interfaces[(index % INTERFACE_SLOTS + probe) as usize];
        if interface.is(index) {
            let (mac, _) = from_mac_word(interface.mac.load());
            if mac != link.destination {
                return Err(Reason::OtherMac);
            }
            return if ttl <= 1 { Err(Reason::TtlExceeded) } else { Ok(()) };
        }
        hint::cold_path();
        probe += 1;
    }
    Err(Reason::OtherMac)
}

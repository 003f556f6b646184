//! The datapath, in the order a packet goes through it: [`forward`] → `ip4` or `ip6` → [`place`] (which real
//! server) → [`send`] (rewrite and out).
//!
//! Direct routing changes the two MACs, the TTL and its checksum, and the VLAN tag where the real server is on
//! another VLAN. A packet that is passed or dropped is not changed at all.

mod fragment;
mod icmp;
mod place;
mod send;

use core::hint;

use crate::conn::{Key4, Key6};
use crate::layout::{INTERFACE_PROBES, INTERFACE_SLOTS, Service, Settings, from_mac_word};
use crate::net::{Be16, Be32, Be128, ethertype, protocol};
use crate::packet::Packet;
use crate::parse::{self, Link, Part};
use crate::services::{self, Name4, Name6};
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};

use fragment::{fragment_key4, fragment_key6, later_fragment, remember};
use icmp::{icmp4, icmp6};
use place::{Chosen, place, placement4, placement6};
use send::send;

/// Decides about one frame, changes it for its way out, and counts what happened.
#[inline(always)]
pub fn forward<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let verdict = match decide(packet, tables) {
        Ok(verdict) | Err(verdict) => verdict,
    };
    if let Verdict::Pass(reason) | Verdict::Drop(reason) = verdict {
        hint::cold_path();
        tables.count(reason);
    }
    verdict
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

/// Where a packet goes, and its length from the IP header on.
type Destined<'t> = Result<(Chosen<'t>, usize), Verdict>;

#[inline(always)]
fn ip4<'t, P: Packet, T: Tables>(packet: &P, tables: &'t T, link: &Link) -> Destined<'t> {
    let ip = if link.is_plain() {
        parse::ipv4(packet, Link::PLAIN, true)
    } else {
        hint::cold_path();
        parse::ipv4(packet, link.payload, true)
    };
    let ip = ip.ok_or(Reason::Malformed)?;
    if let Part::Later(_) = ip.part {
        hint::cold_path();
        return Ok((later_fragment(packet, tables, link, &fragment_key4(&ip), ip.ttl)?, ip.length));
    }
    if ip.protocol == protocol::ICMP {
        hint::cold_path();
        return Ok((icmp4(packet, tables, link, &ip)?, ip.length));
    }
    let ports = parse::ports(packet, ip.protocol, ip.payload, ip.payload_length)?;
    let service = service4(tables, ip.destination, ports.destination, ip.protocol)?;
    let settings = tables.settings().ok_or(BROKEN)?;
    accept(packet, settings, link, ip.ttl)?;
    let flow = Key4::new(ip.source, ports.source, service.id);
    let chosen = place(tables, settings, flow, service, &ports, packet.blur(), || {
        placement4(ip.source, ports.source, ports.destination)
    })?;
    if let Part::First(_) = ip.part {
        hint::cold_path();
        remember(tables, settings, &fragment_key4(&ip), chosen.reference);
    }
    Ok((chosen, ip.length))
}

#[inline(always)]
fn ip6<'t, P: Packet, T: Tables>(packet: &P, tables: &'t T, link: &Link) -> Destined<'t> {
    let ip = parse::ipv6(packet, link.payload, true)?;
    if let Part::Later(_) = ip.part {
        hint::cold_path();
        return Ok((later_fragment(packet, tables, link, &fragment_key6(&ip), ip.hop_limit)?, ip.length));
    }
    if ip.protocol == protocol::ICMPV6 {
        hint::cold_path();
        return Ok((icmp6(packet, tables, link, &ip)?, ip.length));
    }
    let ports = parse::ports(packet, ip.protocol, ip.payload, ip.payload_length)?;
    let service = service6(tables, ip.destination, ports.destination, ip.protocol)?;
    let settings = tables.settings().ok_or(BROKEN)?;
    accept(packet, settings, link, ip.hop_limit)?;
    let flow = Key6::new(ip.source, ports.source, service.id);
    let chosen = place(tables, settings, flow, service, &ports, packet.blur(), || {
        placement6(ip.source, ports.source, ports.destination)
    })?;
    if let Part::First(_) = ip.part {
        hint::cold_path();
        remember(tables, settings, &fragment_key6(&ip), chosen.reference);
    }
    Ok((chosen, ip.length))
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

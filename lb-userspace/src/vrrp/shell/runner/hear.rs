//! What arrives: adverts, and what is none.

use std::net::IpAddr;

use super::super::sockets::Read;
use super::super::{News, settings};
use super::Runner;
use crate::vrrp::machine::{Event, Sighting, State};
use crate::vrrp::packet::{Advert, Check, Datagram, PRIORITY_LEAVING, Refusal, peek, receive};

/// So many packets of a socket are read before time is looked at again: a flood must not stop the clock.
const BATCH: usize = 64;

impl Runner {
    pub(super) fn read_sockets(&mut self) {
        self.read_overheard();
        for index in 0..self.sockets.len() {
            for _ in 0..BATCH {
                let Some(sockets) = self.sockets.get(index) else { break };
                let (interface, is_ipv6) = (sockets.interface(), sockets.is_ipv6());
                match sockets.read() {
                    Ok(Some(read)) => self.hear(interface, is_ipv6, &read),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!("adverts cannot be read: {error}");
                        break;
                    }
                }
            }
        }
    }

    fn read_overheard(&mut self) {
        for index in 0..self.overheard.len() {
            for _ in 0..BATCH {
                let Some(open) = self.overheard.get(index) else { break };
                let (interface, is_ipv6) = (open.base(), open.is_ipv6());
                match open.read() {
                    Ok(Some(read)) => self.hear(interface, is_ipv6, &read),
                    // A macvlan that is set down says so once.
                    Ok(None) | Err(_) => break,
                }
            }
        }
    }

    pub(super) fn hear(&mut self, interface: u32, is_ipv6: bool, read: &Read) {
        let datagram = match read {
            Read::Ipv4Packet(packet) => match Datagram::from_ipv4_packet(packet) {
                Ok(datagram) => datagram,
                Err(refusal) => {
                    let octets = packet.get(12..16).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
                    let from = IpAddr::from(octets.unwrap_or_default());
                    return self.refuse_all(interface, from, &refusal);
                }
            },
            Read::Ipv6 { from, to, hop_limit, payload } => {
                Datagram { from: *from, to: *to, ttl: *hop_limit, payload }
            }
        };
        let number = peek(datagram.payload);
        let found = self.members.iter_mut().find(|member| {
            Some(member.router.number()) == number
                && member.interface == Some(interface)
                && member.is_ipv6() == is_ipv6
        });
        let Some(member) = found else {
            let refusal = Refusal::UnknownRouter(number.unwrap_or(0));
            return self.refuse_all(interface, datagram.from, &refusal);
        };
        let own = member.source.unwrap_or_else(|| settings::settings(&member.config, None).address);
        let expected = settings::expected(&member.config, member.router, &member.addresses, own);
        let received = receive(&datagram, &expected);
        let (id, name, from) = (member.id, member.config.name.clone(), datagram.from);
        match received {
            Err(refusal) => {
                member.counters.count(refusal.check());
                if member.is_news(from, refusal.check()) {
                    tracing::warn!("{name}: advert of {from} ignored: {refusal}");
                }
            }
            Ok(received) => {
                member.counters.received += 1;
                if member.is_new_peer(from) {
                    drop(self.outlets.news.send(News::Peer(from)));
                }
                for remark in &received.remarks {
                    member.counters.count(remark.check());
                    // A backup is told of other intervals by the state machine.
                    if remark.check() != Check::IntervalDiffers && member.is_news(from, remark.check()) {
                        tracing::warn!("{name}: {from}: {remark}");
                    }
                }
                let Advert { priority, interval, .. } = received.advert;
                if priority == PRIORITY_LEAVING {
                    member.counters.zero_received += 1;
                }
                let has_leftovers = member.has_leftovers && priority != PRIORITY_LEAVING;
                self.step(id, Event::Advert(Sighting { from, priority, interval }));
                self.announce_preemption(id);
                if has_leftovers && self.state(id) != State::Master {
                    tracing::info!("{name}: {from} is master; what an earlier daemon left here is removed");
                    self.release(id);
                }
            }
        }
    }

    /// A packet that no instance here is meant by.
    pub(super) fn refuse_all(&mut self, interface: u32, from: IpAddr, refusal: &Refusal) {
        let name = self.interface_name(interface);
        let check = refusal.check();
        *self.refused.entry(name.clone()).or_default().entry(check.name()).or_insert(0) += 1;
        // Other virtual routers of the network are nobody's fault.
        let is_new = self.refused_told.len() < 64 && self.refused_told.insert((name.clone(), from, check));
        if is_new && check == Check::UnknownRouter {
            tracing::debug!("{name}: advert of {from} ignored: {refusal}");
        } else if is_new {
            tracing::warn!("{name}: advert of {from} ignored: {refusal}");
        }
    }
}

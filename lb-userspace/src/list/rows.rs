//! A snapshot as `ipvsadm` would have it: rules, and what they carry.

use std::cmp::Reverse;

use lb_common::layout::{Method, Traffic};

use super::Beside;
use super::connections::transport;
use super::rates::Rate;
use super::snapshot::{Link, RealServer, Snapshot, VirtualServer};
use crate::edits::Origin;
use crate::ipvsadm::{Forwarding, Granularity, SchedulerFlags, Server, Service, ServiceKey, Tunnel};

/// A virtual server.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its rule.
    pub service: Service,
    /// Its counters.
    pub traffic: Traffic,
    /// Its rates.
    pub rate: Rate,
    /// How it came to be.
    pub origin: Origin,
    /// Its real servers.
    pub rows: Vec<Row>,
}

/// A real server.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its rule.
    pub server: Server,
    /// What stands in the place of its forwarding method: "Local", "Removed".
    pub instead: Option<&'static str>,
    /// It takes no packets now: its MAC is not known.
    pub is_unreachable: bool,
    /// Active connections.
    pub active: u64,
    /// All others.
    pub inactive: u64,
    /// Clients that persistence binds to it.
    pub persistent: u64,
    /// Its counters.
    pub traffic: Traffic,
    /// Its rates.
    pub rate: Rate,
    /// How it came to be.
    pub origin: Origin,
}

/// All of a snapshot: retired real servers only if `all`; as in the tables if `unsorted`. Those of firewall marks come
/// last, as in `ipvsadm`.
pub fn entries(snapshot: &Snapshot, beside: &Beside, all: bool, unsorted: bool) -> Vec<Entry> {
    let all = snapshot.virtual_servers.iter().map(|service| entry(service, beside, all, unsorted));
    let mut entries: Vec<Entry> = all.collect();
    entries.sort_by_key(|entry| match entry.service.key {
        ServiceKey::Address(..) => (0, false),
        ServiceKey::Fwmark { mark, ipv6 } => (mark, ipv6),
    });
    entries
}

fn entry(service: &VirtualServer, beside: &Beside, all: bool, unsorted: bool) -> Entry {
    let name = service.key.name();
    let attributes = beside.attributes.service(&service.key);
    let transport = transport(&service.key);
    let is_ipv6 = service.key.address.is_ipv6();
    let mut servers: Vec<&RealServer> =
        service.real_servers.iter().filter(|server| all || !server.retired).collect();
    if unsorted {
        servers.sort_by_key(|server| Reverse(server.order));
    }
    let rates = beside.rates.as_ref();
    let rows = servers.into_iter().map(|server| {
        let own = attributes.server(server.key.socket());
        Row {
            server: Server {
                address: server.key.socket(),
                forwarding: match server.method {
                    Method::DirectRouting => Forwarding::DirectRouting,
                    Method::Nat | Method::FullNat => Forwarding::Masquerading,
                    Method::Tunnel => Forwarding::Tunnel(Tunnel::Ipip),
                },
                weight: server.weight,
                upper_threshold: own.upper_threshold,
                lower_threshold: own.lower_threshold,
            },
            instead: match server.link {
                // `ipvsadm` has no word for it; it fits the column.
                _ if server.retired => Some("Removed"),
                Link::Local => Some("Local"),
                // Nor for this: the word is that of its variant with FULLNAT.
                Link::Resolved | Link::Unresolved => (server.method == Method::FullNat).then_some("FullNat"),
            },
            is_unreachable: server.link == Link::Unresolved,
            active: server.active,
            inactive: server.inactive,
            persistent: server.persistent,
            traffic: server.traffic,
            rate: rates.map(|rates| rates.of_server(&service.key, &server.key)).unwrap_or_default(),
            origin: beside.edits.origin_of_server(&name, server.key.socket()),
        }
    });
    Entry {
        service: Service {
            key: match attributes.mark {
                0 => ServiceKey::Address(transport, name.address),
                mark => ServiceKey::Fwmark { mark, ipv6: is_ipv6 },
            },
            scheduler: service.scheduler_name().unwrap_or("unknown").to_owned(),
            flags: SchedulerFlags(u8::from(attributes.fallback) | u8::from(attributes.port) << 1),
            persistent: attributes.persistent,
            granularity: attributes.persistent.map(|_| match is_ipv6 {
                true => Granularity::Prefix(attributes.prefix),
                false => Granularity::Mask(mask(attributes.prefix)),
            }),
            one_packet: attributes.one_packet,
            persistence_engine: None,
        },
        traffic: service.traffic(),
        rate: rates.map(|rates| rates.of_service(&service.key)).unwrap_or_default(),
        origin: beside.edits.origin_of_service(&name),
        rows: rows.collect(),
    }
}

fn mask(prefix: u8) -> std::net::Ipv4Addr {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0).into()
}

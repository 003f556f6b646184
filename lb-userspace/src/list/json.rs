//! `--json`. The schema is described in docs/list.md; a field, once there, stays and keeps its meaning.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use lb_common::layout::Method;
use lb_common::net::protocol;
use serde::Serialize;

use super::connections::{Names, real_port, seconds_left, virtual_port};
use super::drops::Counter;
use super::rates::Rate;
use super::snapshot::{Link, MaxConnections, Snapshot, live_connections, timeout};
use super::{Beside, ListArgs, ListError, Source};
use crate::edits::{Edits, Origin, ServiceName};
use crate::ipvsadm::SchedulerFlags;
use crate::orders::Held;
use crate::plane::desired::ServiceKey;

#[derive(Serialize)]
struct List {
    schema: &'static str,
    version: &'static str,
    max_connections: MaxConnections,
    virtual_servers: Vec<VirtualServer>,
    orders: Vec<Ordered>,
    taken_out: TakenOut,
}

/// What an operator has ordered about a real server.
#[derive(Serialize)]
struct Ordered {
    protocol: &'static str,
    virtual_server: Endpoint,
    real_server: Endpoint,
    held: Option<Held>,
    weight: Option<u32>,
    since: u64,
}

/// What the configuration has, but run-time edits have taken out.
#[derive(Serialize)]
struct TakenOut {
    virtual_servers: Vec<ServiceName>,
    real_servers: Vec<TakenOutServer>,
}

#[derive(Serialize)]
struct TakenOutServer {
    virtual_server: ServiceName,
    address: SocketAddr,
}

#[derive(Serialize)]
struct VirtualServer {
    protocol: &'static str,
    address: IpAddr,
    port: u16,
    /// All its addresses.
    addresses: Vec<Endpoint>,
    fwmark: Option<u32>,
    scheduler: Option<&'static str>,
    scheduler_flags: Vec<&'static str>,
    persistence_seconds: Option<u32>,
    persistence_prefix: Option<u8>,
    one_packet: bool,
    origin: Origin,
    #[serde(flatten)]
    load: Load,
    real_servers: Vec<RealServer>,
}

#[derive(Serialize)]
struct RealServer {
    address: IpAddr,
    port: u16,
    forwarding: &'static str,
    weight: u32,
    upper_threshold: u32,
    lower_threshold: u32,
    link: Link,
    retired: bool,
    origin: Origin,
    #[serde(flatten)]
    load: Load,
}

#[derive(Serialize)]
struct Load {
    active_connections: u64,
    inactive_connections: u64,
    persistent_connections: u64,
    connections: u64,
    packets: u64,
    bytes: u64,
    rate: Option<Rate>,
}

/// Virtual servers, real servers, counters, and rates if they are known.
pub(super) fn virtual_servers(
    args: &ListArgs,
    snapshot: &Snapshot,
    beside: &Beside,
    out: &mut impl Write,
) -> Result<(), ListError> {
    let rates = beside.rates.as_ref();
    let edits = &beside.edits;
    let virtual_servers = snapshot.virtual_servers.iter().map(|service| {
        let traffic = service.traffic();
        let sum =
            |count: fn(&super::snapshot::RealServer) -> u64| service.real_servers.iter().map(count).sum();
        let name = service.key.name();
        let of_service = beside.attributes.service(&service.key);
        let real_servers = service.real_servers.iter().map(|server| RealServer {
            origin: edits.origin_of_server(&name, server.key.socket()),
            address: server.key.address,
            port: server.key.port,
            forwarding: match server.method {
                Method::DirectRouting => "dr",
                Method::Nat => "nat",
                Method::Tunnel => "tun",
                Method::FullNat => "full_nat",
            },
            upper_threshold: of_service.server(server.key.socket()).upper_threshold,
            lower_threshold: of_service.server(server.key.socket()).lower_threshold,
            weight: server.weight,
            link: server.link,
            retired: server.retired,
            load: Load {
                active_connections: server.active,
                inactive_connections: server.inactive,
                persistent_connections: server.persistent,
                connections: server.traffic.connections,
                packets: server.traffic.packets,
                bytes: server.traffic.bytes,
                rate: rates.map(|rates| rates.of_server(&service.key, &server.key)),
            },
        });
        VirtualServer {
            protocol: protocol_word(service.key.protocol),
            address: service.key.address,
            port: service.key.port,
            addresses: service
                .names()
                .map(|(key, _)| Endpoint { address: key.address, port: key.port })
                .collect(),
            fwmark: Some(of_service.mark).filter(|mark| *mark > 0),
            scheduler: service.scheduler_name(),
            scheduler_flags: SchedulerFlags(u8::from(of_service.fallback) | u8::from(of_service.port) << 1)
                .names(service.scheduler_name().unwrap_or_default()),
            persistence_seconds: of_service.persistent,
            persistence_prefix: of_service.persistent.map(|_| of_service.prefix),
            one_packet: of_service.one_packet,
            origin: edits.origin_of_service(&name),
            load: Load {
                active_connections: sum(|server| server.active),
                inactive_connections: sum(|server| server.inactive),
                persistent_connections: sum(|server| server.persistent),
                connections: traffic.connections,
                packets: traffic.packets,
                bytes: traffic.bytes,
                rate: rates.map(|rates| rates.of_service(&service.key)),
            },
            real_servers: real_servers.collect(),
        }
    });
    let (removed_services, removed_servers) = edits.removed();
    let list = List {
        schema: "lbctl/list/v1",
        version: env!("CARGO_PKG_VERSION"),
        max_connections: snapshot.max_connections,
        virtual_servers: virtual_servers.collect(),
        orders: orders(args, snapshot),
        taken_out: TakenOut {
            virtual_servers: removed_services,
            real_servers: removed_servers
                .into_iter()
                .map(|(virtual_server, address)| TakenOutServer { virtual_server, address })
                .collect(),
        },
    };
    pretty(&list, out)
}

/// Those about virtual servers that are listed.
fn orders(args: &ListArgs, snapshot: &Snapshot) -> Vec<Ordered> {
    let is_listed = |key: &ServiceKey| {
        args.virtual_server.is_none() || snapshot.virtual_servers.iter().any(|service| service.key == *key)
    };
    let orders = args.orders.iter().filter(|(service, ..)| is_listed(service));
    orders
        .map(|(service, server, order)| Ordered {
            protocol: protocol_word(service.protocol),
            virtual_server: Endpoint { address: service.address, port: service.port },
            real_server: Endpoint { address: server.address, port: server.port },
            held: order.held,
            weight: order.weight,
            since: order.since,
        })
        .collect()
}

#[derive(Serialize)]
struct Connection {
    protocol: &'static str,
    state: &'static str,
    expires_in_seconds: u64,
    client: Endpoint,
    virtual_server: Endpoint,
    real_server: Endpoint,
}

#[derive(Serialize)]
struct Endpoint {
    address: IpAddr,
    port: u16,
}

/// Connection entries, one a line.
pub(super) fn connections<S: Source>(
    snapshot: &Snapshot,
    source: &S,
    out: &mut impl Write,
) -> Result<(), ListError> {
    write!(out, "{{\"schema\":\"lbctl/connections/v1\",\"connections\":[")?;
    let names = Names::new(snapshot, |_, _| ());
    let now = source.now();
    let mut separator = "\n";
    for entry in live_connections(source, now) {
        let Some(((name, ()), (server, ()))) = names.of(&entry) else { continue };
        let connection = Connection {
            protocol: protocol_word(name.protocol),
            state: entry.value.state().as_str(),
            expires_in_seconds: seconds_left(timeout(source, &entry), entry.value, now),
            client: Endpoint { address: entry.client.ip(), port: entry.client.port() },
            virtual_server: Endpoint { address: name.address, port: virtual_port(name, entry.value) },
            real_server: Endpoint { address: server.key.address, port: real_port(server, entry.value) },
        };
        out.write_all(separator.as_bytes())?;
        serde_json::to_writer(&mut *out, &connection).map_err(io::Error::from)?;
        separator = ",\n";
    }
    writeln!(out, "\n]}}")?;
    Ok(())
}

#[derive(Serialize)]
struct Drops {
    schema: &'static str,
    counters: Vec<DropCounter>,
}

#[derive(Serialize)]
struct DropCounter {
    reason: &'static str,
    effect: &'static str,
    packets: u64,
}

/// All reasons' counters.
pub(super) fn drops(counters: &[Counter], out: &mut impl Write) -> Result<(), ListError> {
    let counters = counters.iter().map(|Counter { reason, packets }| DropCounter {
        reason: reason.as_str(),
        effect: reason.kind().as_str(),
        packets: *packets,
    });
    pretty(&Drops { schema: "lbctl/drops/v1", counters: counters.collect() }, out)
}

#[derive(Serialize)]
struct Timeouts {
    schema: &'static str,
    tcp: u128,
    tcp_fin: u128,
    udp: u128,
    /// The keys of those that were set at run time.
    edited: Vec<&'static str>,
}

/// Timeouts in seconds.
pub(super) fn timeouts(
    [tcp, tcp_fin, udp]: [u128; 3],
    edits: &Edits,
    out: &mut impl Write,
) -> Result<(), ListError> {
    let edited = edits.timeouts().named().map(|(name, _)| name).collect();
    pretty(&Timeouts { schema: "lbctl/timeouts/v1", tcp, tcp_fin, udp, edited }, out)
}

fn pretty(value: &impl Serialize, out: &mut impl Write) -> Result<(), ListError> {
    // Its io errors stay io errors, a closed pipe among them.
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

fn protocol_word(number: u8) -> &'static str {
    if number == protocol::UDP { "udp" } else { "tcp" }
}

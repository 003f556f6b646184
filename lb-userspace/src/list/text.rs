//! The tables for people and scripts, in `ipvsadm`'s columns (its `print_*` functions, version 1.31).

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;

use lb_common::layout::{Method, Traffic};

use super::ListArgs;
use super::rates::{Rate, Rates};
use super::snapshot::{Link, RealServer, Snapshot, VirtualServer};
use crate::edits::{Edits, Origin};
use crate::orders::Orders;
use crate::plane::desired::ServiceKey;

/// The only line that differs from `ipvsadm`'s. Its size is the number of buckets, ours of connections (IPv4).
pub(super) fn banner(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "lbctl {} (size={})", env!("CARGO_PKG_VERSION"), snapshot.max_connections.ipv4)
}

/// The default listing.
pub(super) fn connections_per_server(
    args: &ListArgs,
    snapshot: &Snapshot,
    edits: &Edits,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "Prot LocalAddress:Port Scheduler Flags")?;
    writeln!(out, "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn")?;
    for service in &snapshot.virtual_servers {
        let name = service.key.name();
        let mark = mark(edits.origin_of_service(&name));
        writeln!(out, "{} {}{mark}", service_name(service), service.scheduler_name().unwrap_or("unknown"))?;
        for server in shown(args, service) {
            let RealServer { weight, active, inactive, .. } = server;
            let (real, forward) = (server_name(server), forward(server));
            let mark = super::text::mark(edits.origin_of_server(&name, server.key.socket()));
            writeln!(out, "  -> {real:<28} {forward:<7} {weight:<6} {active:<10} {inactive:<10}{mark}")?;
        }
    }
    Ok(())
}

/// `--stats`.
pub(super) fn stats(args: &ListArgs, snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    titles(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"], out)?;
    // A director sees the answers of translated connections only.
    let counters = |Traffic { connections, packets, bytes, out_packets, out_bytes }| {
        [connections, packets, out_packets, bytes, out_bytes]
    };
    for service in &snapshot.virtual_servers {
        write!(out, "{:<33}", service_name(service))?;
        large_numbers(args, counters(service.traffic()), out)?;
        for server in shown(args, service) {
            write!(out, "  -> {:<28}", server_name(server))?;
            large_numbers(args, counters(server.traffic), out)?;
        }
    }
    Ok(())
}

/// `--rate`.
pub(super) fn rates(
    args: &ListArgs,
    snapshot: &Snapshot,
    rates: &Rates,
    out: &mut impl Write,
) -> io::Result<()> {
    titles(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"], out)?;
    for service in &snapshot.virtual_servers {
        let Rate { connections, packets, bytes, out_packets, out_bytes } = rates.of_service(&service.key);
        write!(out, "{:<33}", service_name(service))?;
        large_numbers(args, [connections, packets, out_packets, bytes, out_bytes], out)?;
        for server in shown(args, service) {
            let Rate { connections, packets, bytes, out_packets, out_bytes } =
                rates.of_server(&service.key, &server.key);
            // The first three are never shortened, unlike their sums.
            write!(out, "  -> {:<28} {connections:>8} {packets:>8} {out_packets:>8}", server_name(server))?;
            large_numbers(args, [bytes, out_bytes], out)?;
        }
    }
    Ok(())
}

/// Says how many connections removed real servers still have, if any; the listing does not show them, as
/// `ipvsadm`'s does not.
pub(super) fn note_on_retired(snapshot: &Snapshot, notes: &mut dyn Write) -> io::Result<()> {
    let retired = snapshot.virtual_servers.iter().flat_map(|service| &service.real_servers);
    let counts = retired.filter(|server| server.retired).map(|server| server.active + server.inactive);
    let (servers, connections) = counts
        .filter(|connections| *connections > 0)
        .fold((0u64, 0), |(servers, sum), connections| (servers + 1, sum + connections));
    if servers == 0 {
        return Ok(());
    }
    let plural = |count: u64| if count == 1 { "" } else { "s" };
    writeln!(
        notes,
        "{connections} connection{} on {servers} removed real server{} not listed; --all lists them",
        plural(connections),
        plural(servers),
    )
}

/// Says what an operator has ordered, and how it is lifted.
pub(super) fn note_on_orders(
    orders: &Orders,
    filter: Option<ServiceKey>,
    notes: &mut dyn Write,
) -> io::Result<()> {
    let shown = |service: &ServiceKey| filter.is_none_or(|filter| filter == *service);
    for (service, server, order) in orders.iter().filter(|(service, ..)| shown(service)) {
        writeln!(notes, "real server {server} of {service}: {order}, by order")?;
    }
    Ok(())
}

/// What a run-time edit adds to a line.
fn mark(origin: Origin) -> &'static str {
    match origin {
        Origin::File => "",
        Origin::Changed => " (changed)",
        Origin::Added => " (added)",
    }
}

/// Names what run-time edits have taken out, as no line can be marked for it.
pub(super) fn note_on_edits(edits: &Edits, notes: &mut dyn Write) -> io::Result<()> {
    let (services, servers) = edits.removed();
    for service in services {
        writeln!(notes, "virtual server {service} is in the configuration, but was taken out at run time")?;
    }
    for (service, server) in servers {
        writeln!(
            notes,
            "virtual server {service}: real server {server} is in the configuration, but was taken out at run time"
        )?;
    }
    Ok(())
}

fn titles(columns: [&str; 5], out: &mut impl Write) -> io::Result<()> {
    write!(out, "{:<33}", "Prot LocalAddress:Port")?;
    for column in columns {
        write!(out, " {column:>8}")?;
    }
    writeln!(out, "\n  -> RemoteAddress:Port")
}

fn shown<'s>(args: &ListArgs, service: &'s VirtualServer) -> impl Iterator<Item = &'s RealServer> {
    let all = args.all;
    service.real_servers.iter().filter(move |server| all || !server.retired)
}

fn service_name(service: &VirtualServer) -> String {
    let key = &service.key;
    format!("{:<4} {}", key.protocol_name(), SocketAddr::new(key.address, key.port))
}

fn server_name(server: &RealServer) -> String {
    server.key.to_string()
}

fn forward(server: &RealServer) -> &'static str {
    match server.link {
        // `ipvsadm` has no word for it; it fits the column.
        _ if server.retired => "Removed",
        Link::Local => "Local",
        Link::Resolved | Link::Unresolved => match server.method {
            Method::DirectRouting => "Route",
            Method::Nat => "Masq",
            Method::Tunnel => "Tunnel",
            // `ipvsadm` has no word for it.
            Method::FullNat => "FullNAT",
        },
    }
}

fn large_numbers<const N: usize>(args: &ListArgs, numbers: [u64; N], out: &mut impl Write) -> io::Result<()> {
    for number in numbers {
        write!(out, "{}", LargeNumber { number, exact: args.exact })?;
    }
    writeln!(out)
}

/// A number in nine columns, the first of which is blank: from 100 million on in thousands (K), from 1,000
/// million on in millions (M), from 100,000 million on in G, from 100 million million on in T, cut off rather
/// than rounded; `exact`: in full, with a blank before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LargeNumber {
    pub(super) number: u64,
    pub(super) exact: bool,
}

impl fmt::Display for LargeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number;
        if self.exact {
            return write!(f, " {number:>8}");
        }
        let (divisor, unit) = match number {
            0..100_000_000 => return write!(f, "{number:>9}"),
            100_000_000..1_000_000_000 => (1_000, 'K'),
            1_000_000_000..100_000_000_000 => (1_000_000, 'M'),
            100_000_000_000..100_000_000_000_000 => (1_000_000_000, 'G'),
            _ => (1_000_000_000_000, 'T'),
        };
        write!(f, "{:>8}{unit}", number / divisor)
    }
}

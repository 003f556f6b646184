//! The tables for people and scripts, in `ipvsadm`'s columns (its `print_*` functions, version 1.31).

use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};

use lb_common::layout::Traffic;

use super::rates::Rate;
use super::rows::{Entry, Row};
use super::snapshot::Snapshot;
use crate::edits::{Edits, Origin};
use crate::ipvsadm::{
    Checksum, Forwarding, Granularity, Server, Service, ServiceKey as Name, Transport, Tunnel,
};
use crate::orders::Orders;
use crate::plane::desired::ServiceKey;

/// The only line that differs from `ipvsadm`'s. Its size is the number of buckets, ours of connections (IPv4).
pub(super) fn banner(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "lbctl {} (size={})", env!("CARGO_PKG_VERSION"), snapshot.max_connections.ipv4)
}

/// How a table is written.
pub(super) struct Look<'n> {
    /// Large numbers in full.
    pub(super) exact: bool,
    /// In colour.
    pub(super) color: bool,
    /// Marks of run-time edits.
    pub(super) marks: bool,
    /// Names for addresses and ports, if they are wanted.
    pub(super) names: Option<&'n dyn Resolve>,
}

/// Names of addresses and ports.
pub(super) trait Resolve {
    /// Of an address and a port of a protocol: `web1.example:http`.
    fn name(&self, address: SocketAddr, transport: Transport) -> String;
}

/// The default listing.
pub(super) fn connections_per_server(
    entries: &[Entry],
    look: &Look<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    look.title(out, "Prot LocalAddress:Port Scheduler Flags")?;
    look.title(out, "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn")?;
    for entry in entries {
        look.service(entry, out)?;
        for row in &entry.rows {
            let (name, forward, Row { active, inactive, .. }) = (look.server(entry, row), forward(row), row);
            let weight = row.server.weight;
            let text = format!("  -> {name:<28} {forward:<7} {weight:<6} {active:<10} {inactive:<10}");
            look.row(row, &text, out)?;
        }
    }
    Ok(())
}

/// `--thresholds`.
pub(super) fn thresholds(entries: &[Entry], look: &Look<'_>, out: &mut impl Write) -> io::Result<()> {
    let title = "Prot LocalAddress:Port";
    look.title(
        out,
        &format!(
            "{title:<33} {:<10} {:<10} {:<10} {:<10}",
            "Uthreshold", "Lthreshold", "ActiveConn", "InActConn"
        ),
    )?;
    look.title(out, "  -> RemoteAddress:Port")?;
    for entry in entries {
        look.service(entry, out)?;
        for row in &entry.rows {
            let (name, Row { active, inactive, .. }) = (look.server(entry, row), row);
            let (upper, lower) = (row.server.upper_threshold, row.server.lower_threshold);
            let text = format!("  -> {name:<28} {upper:<10} {lower:<10} {active:<10} {inactive:<10}");
            look.row(row, &text, out)?;
        }
    }
    Ok(())
}

/// `--persistent-conn`.
pub(super) fn persistent(entries: &[Entry], look: &Look<'_>, out: &mut impl Write) -> io::Result<()> {
    let title = "Prot LocalAddress:Port";
    look.title(
        out,
        &format!(
            "{title:<33} {:<9} {:<11} {:<10} {:<10}",
            "Weight", "PersistConn", "ActiveConn", "InActConn"
        ),
    )?;
    look.title(out, "  -> RemoteAddress:Port")?;
    for entry in entries {
        look.service(entry, out)?;
        for row in &entry.rows {
            let (name, Row { active, inactive, persistent, .. }) = (look.server(entry, row), row);
            let weight = row.server.weight;
            let text = format!("  -> {name:<28} {weight:<9} {persistent:<11} {active:<10} {inactive:<10}");
            look.row(row, &text, out)?;
        }
    }
    Ok(())
}

/// `--tun-info`.
pub(super) fn tunnels(entries: &[Entry], look: &Look<'_>, out: &mut impl Write) -> io::Result<()> {
    look.title(out, "Prot LocalAddress:Port Scheduler Flags")?;
    look.title(out, "  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn")?;
    for entry in entries {
        look.service(entry, out)?;
        for row in &entry.rows {
            let (name, forward, Row { active, inactive, .. }) = (look.server(entry, row), forward(row), row);
            let (tunnel, weight) = (tunnel(row), row.server.weight);
            let text =
                format!("  -> {name:<28} {forward:<7} {tunnel:<13} {weight:<6} {active:<10} {inactive:<10}");
            look.row(row, &text, out)?;
        }
    }
    Ok(())
}

/// `--stats`.
pub(super) fn stats(entries: &[Entry], look: &Look<'_>, out: &mut impl Write) -> io::Result<()> {
    look.counters(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"], out)?;
    // A director sees the answers of translated connections only.
    let counters = |Traffic { connections, packets, bytes, out_packets, out_bytes }| {
        [connections, packets, out_packets, bytes, out_bytes]
    };
    for entry in entries {
        write!(out, "{:<33}", look.name(entry))?;
        look.large_numbers(counters(entry.traffic), out)?;
        for row in &entry.rows {
            write!(out, "  -> {:<28}", look.server(entry, row))?;
            look.large_numbers(counters(row.traffic), out)?;
        }
    }
    Ok(())
}

/// `--rate`.
pub(super) fn rates(entries: &[Entry], look: &Look<'_>, out: &mut impl Write) -> io::Result<()> {
    look.counters(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"], out)?;
    for entry in entries {
        let Rate { connections, packets, bytes, out_packets, out_bytes } = entry.rate;
        write!(out, "{:<33}", look.name(entry))?;
        look.large_numbers([connections, packets, out_packets, bytes, out_bytes], out)?;
        for row in &entry.rows {
            let Rate { connections, packets, bytes, out_packets, out_bytes } = row.rate;
            // The first three are never shortened, unlike their sums.
            write!(
                out,
                "  -> {:<28} {connections:>8} {packets:>8} {out_packets:>8}",
                look.server(entry, row)
            )?;
            look.large_numbers([bytes, out_bytes], out)?;
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
    note_on_timeouts(edits, notes)
}

/// Says on standard error which timeouts are not those of the file.
pub(super) fn note_on_timeouts(edits: &Edits, notes: &mut dyn Write) -> io::Result<()> {
    for (name, seconds) in edits.timeouts().named() {
        writeln!(notes, "{name} was set to {seconds} s at run time; the configuration has another")?;
    }
    Ok(())
}

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

impl Look<'_> {
    fn title(&self, out: &mut impl Write, text: &str) -> io::Result<()> {
        match self.color {
            true => writeln!(out, "{DIM}{text}{PLAIN}"),
            false => writeln!(out, "{text}"),
        }
    }

    /// Titles of columns of counters.
    fn counters(&self, columns: [&str; 5], out: &mut impl Write) -> io::Result<()> {
        let mut text = format!("{:<33}", "Prot LocalAddress:Port");
        for column in columns {
            text += &format!(" {column:>8}");
        }
        self.title(out, &text)?;
        self.title(out, "  -> RemoteAddress:Port")
    }

    /// Protocol and address: at most 33 columns if it is IPv4, as `ipvsadm` cuts names off.
    fn name(&self, entry: &Entry) -> String {
        match entry.service.key {
            Name::Address(transport, address) => {
                let protocol = transport.name().to_uppercase();
                let name = self.endpoint(address, transport);
                cut(format!("{protocol:<4} {name}"), 33, address)
            }
            Name::Fwmark { mark, ipv6: false } => format!("FWM  {mark}"),
            Name::Fwmark { mark, ipv6: true } => format!("FWM  {mark} IPv6"),
        }
    }

    fn server(&self, entry: &Entry, row: &Row) -> String {
        let transport = match entry.service.key {
            Name::Address(transport, _) => transport,
            Name::Fwmark { .. } => Transport::Tcp,
        };
        cut(self.endpoint(row.server.address, transport), 28, row.server.address)
    }

    fn endpoint(&self, address: SocketAddr, transport: Transport) -> String {
        self.names.map_or_else(|| address.to_string(), |names| names.name(address, transport))
    }

    /// The line of a virtual server, with everything that is said of it.
    fn service(&self, entry: &Entry, out: &mut impl Write) -> io::Result<()> {
        let Service { scheduler, flags, persistent, granularity, one_packet, persistence_engine, .. } =
            &entry.service;
        let mut text = format!("{} {scheduler}", self.name(entry));
        match flags.names(scheduler).join(",") {
            none if none.is_empty() => {}
            names => text += &format!(" ({names})"),
        }
        if let Some(seconds) = persistent {
            text += &format!(" persistent {seconds}");
            match granularity {
                Some(Granularity::Mask(mask)) if *mask != Ipv4Addr::BROADCAST => {
                    text += &format!(" mask {mask}")
                }
                Some(Granularity::Prefix(length)) if *length != 128 => text += &format!(" mask {length}"),
                _ => {}
            }
        }
        if let Some(engine) = persistence_engine {
            text += &format!(" pe {engine}");
        }
        if *one_packet {
            text += " ops";
        }
        text += self.mark(entry.origin);
        match self.color {
            true => writeln!(out, "{BOLD}{text}{PLAIN}"),
            false => writeln!(out, "{text}"),
        }
    }

    /// The line of a real server.
    fn row(&self, row: &Row, text: &str, out: &mut impl Write) -> io::Result<()> {
        let mark = self.mark(row.origin);
        let color = match row {
            _ if !self.color => return writeln!(out, "{text}{mark}"),
            Row { is_unreachable: true, .. } => RED,
            Row { server: Server { weight: 0, .. }, .. } => DIM,
            _ => "",
        };
        writeln!(out, "{color}{text}{mark}{PLAIN}")
    }

    /// What a run-time edit adds to a line.
    fn mark(&self, origin: Origin) -> &'static str {
        match origin {
            Origin::Changed if self.marks => " (changed)",
            Origin::Added if self.marks => " (added)",
            Origin::File | Origin::Changed | Origin::Added => "",
        }
    }

    fn large_numbers<const N: usize>(&self, numbers: [u64; N], out: &mut impl Write) -> io::Result<()> {
        for number in numbers {
            write!(out, "{}", LargeNumber { number, exact: self.exact })?;
        }
        writeln!(out)
    }
}

fn cut(mut text: String, columns: usize, address: SocketAddr) -> String {
    if address.is_ipv4()
        && let Some((end, _)) = text.char_indices().nth(columns)
    {
        text.truncate(end);
    }
    text
}

fn forward(row: &Row) -> &'static str {
    row.instead.unwrap_or(match row.server.forwarding {
        Forwarding::DirectRouting => "Route",
        Forwarding::Masquerading => "Masq",
        Forwarding::Tunnel(_) => "Tunnel",
    })
}

fn tunnel(row: &Row) -> String {
    let word = |checksum| match checksum {
        Checksum::None => "-c",
        Checksum::Full => "+c",
        Checksum::Remote => "r+c",
    };
    match row.server.forwarding {
        Forwarding::DirectRouting | Forwarding::Masquerading => "n/a".to_owned(),
        Forwarding::Tunnel(Tunnel::Ipip) => "ipip".to_owned(),
        Forwarding::Tunnel(Tunnel::Gue { port, checksum }) => format!("gue:{port}:{}", word(checksum)),
        Forwarding::Tunnel(Tunnel::Gre { checksum }) => format!("gre:{}", word(checksum)),
    }
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

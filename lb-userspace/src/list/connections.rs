//! `--connections`: the entries, in `ipvsadm -Lc`'s columns.
//!
//! A million lines in well under a second: one buffer, names of servers formatted once, no `format!` per line.

use std::io::{self, Write};
use std::net::SocketAddr;

use lb_common::conn::{Ticks, Value};
use lb_common::layout::DestinationRef;
use lb_common::net::protocol;

use super::snapshot::{RealServer, Snapshot, live_connections, timeout};
use super::text::Resolve;
use super::{ListArgs, ListError, Source};
use crate::dataplane::connections::Connection;
use crate::ipvsadm::Transport;
use crate::plane::desired::ServiceKey;

/// Who an entry's ids stand for.
#[derive(Debug)]
pub(super) struct Names<'s, N> {
    /// By service id, of which a group's virtual server has one for each address.
    services: Vec<Option<(&'s ServiceKey, N)>>,
    /// The first name of a virtual server by its schedule's id.
    schedules: Vec<Option<(&'s ServiceKey, N)>>,
    /// By destination id.
    servers: Vec<Option<(&'s RealServer, N)>>,
}

impl<'s, N> Names<'s, N> {
    /// Of the virtual servers in `snapshot`; `name` makes what a line needs of an address and its protocol.
    pub(super) fn new(snapshot: &'s Snapshot, name: impl Fn(SocketAddr, Transport) -> N) -> Self {
        let mut names = Self { services: Vec::new(), schedules: Vec::new(), servers: Vec::new() };
        let socket = |key: &ServiceKey| SocketAddr::new(key.address, key.port);
        for service in &snapshot.virtual_servers {
            let transport = transport(&service.key);
            let first = name(socket(&service.key), transport);
            put(&mut names.schedules, service.schedule.into(), (&service.key, first));
            for (key, id) in service.names() {
                put(&mut names.services, id.into(), (key, name(socket(key), transport)));
            }
            for server in &service.real_servers {
                let address = SocketAddr::new(server.key.address, server.key.port);
                put(&mut names.servers, server.reference.id() as usize, (server, name(address, transport)));
            }
        }
        names
    }

    /// The virtual server's name and the real server of an entry. `None` if either has been removed (or was not
    /// asked for): no packet follows such an entry.
    #[expect(clippy::type_complexity, reason = "two names and what they name")]
    pub(super) fn of(&self, connection: &Connection) -> Option<(&(&'s ServiceKey, N), &(&'s RealServer, N))> {
        let reference: DestinationRef = connection.value.destination();
        let is_template = connection.value.state().template();
        let by_id = if is_template { &self.schedules } else { &self.services };
        let service = by_id.get(usize::from(connection.service))?.as_ref()?;
        let server = self.servers.get(reference.id() as usize)?.as_ref()?;
        (server.0.reference == reference).then_some((service, server))
    }
}

/// The protocol of a virtual server, as ipvsadm has it.
pub(super) fn transport(service: &ServiceKey) -> Transport {
    if service.protocol == protocol::UDP { Transport::Udp } else { Transport::Tcp }
}

fn put<N>(names: &mut Vec<Option<N>>, index: usize, name: N) {
    if names.len() <= index {
        names.resize_with(index + 1, || None);
    }
    if let Some(place) = names.get_mut(index) {
        *place = Some(name);
    }
}

/// The virtual address of an entry: an any-port service's has the port that the client asked for.
pub(super) fn virtual_port(service: &ServiceKey, value: Value) -> u16 {
    if service.port == 0 { value.port().host() } else { service.port }
}

/// The real server's port of an entry: direct routing leaves the client's when the server has none of its own.
pub(super) fn real_port(server: &RealServer, value: Value) -> u16 {
    if server.key.port == 0 { value.port().host() } else { server.key.port }
}

/// Whole seconds until an entry that has not expired does, if no packet comes.
pub(crate) fn seconds_left(timeout: u64, value: Value, now: Ticks) -> u64 {
    let ticks = timeout.saturating_sub(u64::from(now.since(value.seen())));
    // In 128 bits, as a timeout may be any word.
    let seconds = u128::from(ticks) * u128::from(Ticks::NANOSECONDS) / 1_000_000_000;
    u64::try_from(seconds).unwrap_or(u64::MAX)
}

/// Writes the table, with names of hosts and services from `resolver` if there is one.
pub(super) fn write<S: Source>(
    args: &ListArgs,
    snapshot: &Snapshot,
    source: &S,
    resolver: Option<&dyn Resolve>,
    out: &mut impl Write,
) -> Result<(), ListError> {
    writeln!(out, "IPVS connection entries")?;
    write!(out, "pro expire {:<11} {:<18} {:<18} ", "state", "source", "virtual")?;
    match args.persistent_conn {
        // Titles of a persistence engine's columns, of which there is none.
        true => writeln!(out, "{:<18} {:<16} pe_data", "destination", "pe name")?,
        false => writeln!(out, "destination")?,
    }
    let shown = |address: SocketAddr, transport| match resolver {
        Some(resolver) => resolver.name(address, transport),
        None => address.to_string(),
    };
    let names = Names::new(snapshot, shown);
    let now = source.now();
    let mut line = Line(Vec::with_capacity(256));
    for connection in live_connections(source, now) {
        let Some(((service, virtual_name), (server, real_name))) = names.of(&connection) else { continue };
        let value = connection.value;
        let transport = transport(service);
        line.0.clear();
        line.column(3, |line| line.text(service.protocol_name()));
        line.column(6, |line| line.minutes(seconds_left(timeout(source, &connection), value, now)));
        line.column(11, |line| line.text(value.state().as_str()));
        line.column(18, |line| line.endpoint(connection.client, transport, resolver))?;
        line.column(18, |line| match service.port {
            0 => {
                let address = SocketAddr::new(service.address, virtual_port(service, value));
                line.endpoint(address, transport, resolver)
            }
            _ => {
                line.text(virtual_name);
                Ok(())
            }
        })?;
        match server.key.port {
            0 => {
                let address = SocketAddr::new(server.key.address, real_port(server, value));
                line.endpoint(address, transport, resolver)?;
            }
            _ => line.text(real_name),
        }
        line.0.push(b'\n');
        out.write_all(&line.0)?;
    }
    Ok(())
}

/// A line being written.
struct Line(Vec<u8>);

impl Line {
    /// What `write` appends, filled up to `width`, and a blank.
    fn column<R>(&mut self, width: usize, write: impl FnOnce(&mut Self) -> R) -> R {
        let end = self.0.len() + width;
        let result = write(self);
        self.0.resize(self.0.len().max(end) + 1, b' ');
        result
    }

    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn minutes(&mut self, seconds: u64) {
        let two_digits = |line: &mut Self, number: u64| {
            if number < 10 {
                line.0.push(b'0');
            }
            line.number(number);
        };
        two_digits(self, seconds / 60);
        self.0.push(b':');
        two_digits(self, seconds % 60);
    }

    fn endpoint(
        &mut self,
        address: SocketAddr,
        transport: Transport,
        resolver: Option<&dyn Resolve>,
    ) -> io::Result<()> {
        let Some(resolver) = resolver else { return self.address(address) };
        self.text(&resolver.name(address, transport));
        Ok(())
    }

    fn address(&mut self, address: SocketAddr) -> io::Result<()> {
        match address {
            SocketAddr::V4(address) => {
                for (index, octet) in address.ip().octets().into_iter().enumerate() {
                    if index > 0 {
                        self.0.push(b'.');
                    }
                    self.number(u64::from(octet));
                }
                self.0.push(b':');
                self.number(u64::from(address.port()));
                Ok(())
            }
            SocketAddr::V6(address) => write!(self.0, "{address}"),
        }
    }

    fn number(&mut self, number: u64) {
        let start = self.0.len();
        let mut rest = number;
        loop {
            let [digit, ..] = (rest % 10).to_le_bytes();
            self.0.push(b'0' + digit);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if let Some(digits) = self.0.get_mut(start..) {
            digits.reverse();
        }
    }
}

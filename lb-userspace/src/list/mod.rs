//! `lbctl list`: what `ipvsadm -L` shows, in its layout, read from the tables alone.
//!
//! [`snapshot`] reads the tables into a model; `text`, `connections`, `drops` and `json` write it. Nothing here
//! changes a table or needs the daemon, but for the rates of `--rate`, which only someone who watches over
//! time can know ([`rates`]).

pub mod attributes;
mod connections;
mod drops;
mod json;
pub mod rates;
mod resolve;
pub mod rows;
pub mod snapshot;
mod text;
pub mod zero;

#[cfg(test)]
mod tests;

use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, SocketAddr};

use aya::maps::MapError;
use lb_common::conn::{State, Ticks};
use lb_common::layout::Neighbour;
use lb_common::memory::MemoryTables;
use lb_common::net::{Be32, Be128, protocol};
use lb_common::tables::Tables as Datapath;
use lb_common::verdict::Reason;
use nix::time::{ClockId, clock_gettime};

use crate::dataplane::tables::Tables;
use crate::edits::Edits;
use crate::plane::desired::ServiceKey;
use crate::plane::store::{Store, StoreError};
use attributes::Attributes;
pub(crate) use connections::seconds_left;
use rates::Rates;
use snapshot::Snapshot;
pub(crate) use snapshot::timeout;
use text::Look;

/// List virtual servers, real servers, connections and counters.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(group = clap::ArgGroup::new("listing").multiple(false))]
pub struct ListArgs {
    /// Only this virtual server; without a port: the any-port one. IPv6 with a port is written `[ADDR]:PORT`.
    #[arg(value_name = "VIP[:PORT]", value_parser = parse_endpoint, conflicts_with = "drops")]
    pub virtual_server: Option<SocketAddr>,

    /// The virtual server's protocol is UDP, not TCP.
    #[arg(long, requires = "virtual_server")]
    pub udp: bool,

    /// Print numbers instead of names. This is always so; the option is taken for ipvsadm's sake.
    #[arg(short = 'n', long)]
    pub numeric: bool,

    /// Connections, packets and bytes since the real servers were added.
    #[arg(long, group = "listing")]
    pub stats: bool,

    /// Connections, packets and bytes per second, averaged over about 8 seconds; needs the daemon.
    #[arg(long, group = "listing")]
    pub rate: bool,

    /// Connection entries.
    #[arg(short = 'c', long, group = "listing")]
    pub connections: bool,

    /// How many connections each real server takes.
    #[arg(long, group = "listing")]
    pub thresholds: bool,

    /// How many clients persistence binds to each real server.
    #[arg(long, group = "listing")]
    pub persistent_conn: bool,

    /// What packets to each real server are wrapped in.
    #[arg(long, group = "listing")]
    pub tun_info: bool,

    /// Timeouts of connections: established TCP, TCP after a FIN, UDP; in seconds.
    #[arg(long, group = "listing", conflicts_with = "virtual_server")]
    pub timeout: bool,

    /// The state of connection synchronisation; nothing is printed where there is none.
    #[arg(long, group = "listing", conflicts_with = "virtual_server")]
    pub daemon: bool,

    /// Real servers in the scheduler's order, the last added first, instead of sorted by address.
    #[arg(long)]
    pub nosort: bool,

    /// Sorted. This is always so without --nosort; the option is taken for ipvsadm's sake.
    #[arg(long, conflicts_with = "nosort")]
    pub sort: bool,

    /// Names of hosts and services instead of addresses and ports; asks DNS.
    #[arg(long, conflicts_with = "numeric")]
    pub resolve: bool,

    /// Why packets were dropped, passed to the kernel, or forwarded with a remark.
    #[arg(long, group = "listing")]
    pub drops: bool,

    /// Health checks: state, since when, and what was found last; needs the daemon.
    #[arg(long, group = "listing")]
    pub checks: bool,

    /// Print large numbers in full instead of with K, M, G or T.
    #[arg(short = 'X', long)]
    pub exact: bool,

    /// Also list real servers that were removed but still serve connections, and counters that are zero.
    #[arg(long)]
    pub all: bool,

    /// Print JSON instead; docs/list.md describes it.
    #[arg(long)]
    pub json: bool,

    /// In colour.
    #[arg(skip)]
    pub color: bool,

    /// Without marks and remarks: what `ipvsadm` would print.
    #[arg(skip)]
    pub plain: bool,

    /// What an operator has ordered.
    #[arg(skip)]
    pub orders: crate::orders::Orders,
}

/// Reads an address with or without a port; without one it is 0.
pub(crate) fn parse_endpoint(text: &str) -> Result<SocketAddr, String> {
    text.parse().or_else(|_not_with_port| {
        text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 0)).map_err(|_not_an_address| {
            "not an IP address with or without a port; write 192.168.4.15:80 or [2001:db8::15]:80".to_owned()
        })
    })
}

/// Why there is no listing.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A table.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The counters of reasons.
    #[error("the counters of dropped and passed packets cannot be read")]
    Reasons(#[source] MapError),
    /// The filter names nothing.
    #[error("virtual server {0}: no such virtual server; `lbctl list` without an address shows them all")]
    NoSuchService(ServiceKey),
    /// No estimator.
    #[error(
        "rates are measured by the daemon, which does not answer; start it with `lbctl up`, \
         or use --stats, which works without it"
    )]
    NoRates,
    /// Where the listing goes to.
    #[error("the listing cannot be written")]
    Output(#[source] io::Error),
}

impl From<io::Error> for ListError {
    fn from(source: io::Error) -> Self {
        Self::Output(source)
    }
}

/// Tables that can be listed.
pub trait Source: Store {
    /// The clock that connections' last-seen times are in.
    fn now(&self) -> Ticks {
        Ticks::from_nanoseconds(self.nanoseconds())
    }
    /// The same clock's nanoseconds.
    fn nanoseconds(&self) -> u64;
    /// The value of the longest network of a schedule that has an IPv4 source.
    fn network4(&self, schedule: u16, source: Be32) -> Option<u32>;
    /// The same for IPv6.
    fn network6(&self, schedule: u16, source: Be128) -> Option<u32>;
    /// The packets counted for a reason.
    fn reason(&self, reason: Reason) -> Result<u64, MapError>;
    /// Where a client on a segment of the director's is ([`lb_common::tables::Tables::neighbour`]).
    fn neighbour(&self, address: &[u64; 2]) -> Option<Neighbour>;
}

impl Source for Tables {
    fn nanoseconds(&self) -> u64 {
        // What bpf_ktime_get_coarse_ns reads. It fails for unknown clocks only.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map(std::time::Duration::from);
        now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
    }

    fn network4(&self, schedule: u16, source: Be32) -> Option<u32> {
        Tables::network4(self, schedule, source)
    }

    fn network6(&self, schedule: u16, source: Be128) -> Option<u32> {
        Tables::network6(self, schedule, source)
    }

    fn reason(&self, reason: Reason) -> Result<u64, MapError> {
        Tables::reason(self, reason)
    }

    fn neighbour(&self, address: &[u64; 2]) -> Option<Neighbour> {
        Tables::neighbour(self, address)
    }
}

impl Source for MemoryTables {
    fn nanoseconds(&self) -> u64 {
        Datapath::nanoseconds(self, &self.settings)
    }

    fn network4(&self, schedule: u16, source: Be32) -> Option<u32> {
        Datapath::network4(self, schedule, source)
    }

    fn network6(&self, schedule: u16, source: Be128) -> Option<u32> {
        Datapath::network6(self, schedule, source)
    }

    fn reason(&self, reason: Reason) -> Result<u64, MapError> {
        Ok(MemoryTables::reason(self, reason))
    }

    fn neighbour(&self, address: &[u64; 2]) -> Option<Neighbour> {
        lb_common::tables::Tables::neighbour(self, address)
    }
}

/// What is known besides the tables.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// Those of the daemon's [`rates::Estimators`], if it answers.
    pub rates: Option<Rates>,
    /// Since when counters count.
    pub baseline: zero::Baseline,
    /// What was changed at run time.
    pub edits: Edits,
    /// What the tables do not say of the configuration in force.
    pub attributes: Attributes,
}

/// Writes the listing that `args` ask for to `out`, and remarks for people (without `--json`) to `notes`,
/// which is standard error.
///
/// A reader that closes `out` early has seen enough: no error.
///
/// # Errors
///
/// A table cannot be read, the virtual server does not exist, `--rate` without rates, `out` cannot be written.
pub fn run<S: Source>(
    args: &ListArgs,
    source: &S,
    beside: &Beside,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> Result<(), ListError> {
    let mut buffered = BufWriter::with_capacity(1 << 16, out);
    let result = write(args, source, beside, &mut buffered, notes)
        .and_then(|()| buffered.flush().map_err(ListError::Output));
    match result {
        Err(ListError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            // What is left in the buffer is not wanted either.
            drop(buffered.into_parts());
            Ok(())
        }
        result => result,
    }
}

fn write<S: Source>(
    args: &ListArgs,
    source: &S,
    beside: &Beside,
    out: &mut impl Write,
    notes: &mut dyn Write,
) -> Result<(), ListError> {
    if args.drops {
        return drops::write(args, source, out);
    }
    if args.timeout {
        let ticks = [State::ESTABLISHED, State::FIN_WAIT, State::UDP].map(|state| {
            let ticks = source.settings().timeout(state);
            (u128::from(ticks) * u128::from(Ticks::NANOSECONDS) + 500_000_000) / 1_000_000_000
        });
        let known = beside.attributes.timeouts();
        let [tcp, tcp_fin, udp] =
            known.map_or(ticks, |known| [known.tcp, known.tcp_fin, known.udp].map(u128::from));
        if args.json {
            return json::timeouts([tcp, tcp_fin, udp], &beside.edits, out);
        }
        writeln!(out, "Timeout (tcp tcpfin udp): {tcp} {tcp_fin} {udp}")?;
        if !args.plain {
            out.flush()?;
            text::note_on_timeouts(&beside.edits, notes)?;
        }
        return Ok(());
    }
    if args.daemon {
        return Ok(());
    }
    let filter = args.virtual_server.map(|endpoint| ServiceKey {
        protocol: if args.udp { protocol::UDP } else { protocol::TCP },
        address: endpoint.ip(),
        port: endpoint.port(),
    });
    let resolver = args.resolve.then(resolve::System::default);
    let names = resolver.as_ref().map(|names| -> &dyn text::Resolve { names });
    if args.connections {
        let snapshot = Snapshot::read_names(source)?.only(filter)?;
        return match args.json {
            true => json::connections(&snapshot, source, out),
            false => connections::write(args, &snapshot, source, names, out),
        };
    }
    if args.rate && beside.rates.is_none() {
        return Err(ListError::NoRates);
    }
    let mut snapshot = Snapshot::read(source)?.only(filter)?;
    beside.baseline.subtract_from(&mut snapshot);
    if args.json {
        return json::virtual_servers(args, &snapshot, beside, out);
    }
    if filter.is_none() {
        text::banner(&snapshot, out)?;
    }
    let entries = rows::entries(&snapshot, beside, args.all, args.nosort);
    let look = Look { exact: args.exact, color: args.color, marks: !args.plain, names };
    match () {
        // In the order of precedence that `ipvsadm` gives them.
        () if args.stats => text::stats(&entries, &look, out)?,
        () if args.rate => text::rates(&entries, &look, out)?,
        () if args.thresholds => text::thresholds(&entries, &look, out)?,
        () if args.persistent_conn => text::persistent(&entries, &look, out)?,
        () if args.tun_info => text::tunnels(&entries, &look, out)?,
        () => text::connections_per_server(&entries, &look, out)?,
    }
    if !args.all && !args.plain {
        // After the listing, also where both go to one terminal.
        out.flush()?;
        text::note_on_retired(&snapshot, notes)?;
        text::note_on_orders(&args.orders, filter, notes)?;
        text::note_on_edits(&beside.edits, notes)?;
    }
    Ok(())
}

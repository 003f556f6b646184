//! The tables as a listing needs them: who is there, what it carries, how many connections it has.

use lb_common::conn::{Key as _, Key4, Key6, TEMPLATE_GRACE, Ticks, Value, buckets_for};
use lb_common::layout::{DestinationRef, Method, NextHop, Rules, SchedulerCode, Settings, Traffic};

use lb_common::net::protocol;

use super::{ListError, Source};
use crate::dataplane::connections::{self, Connection};
use crate::plane::applied::{Applied, AppliedServer, AppliedService};
use crate::plane::desired::{ServerKey, ServiceKey};

/// What is known of the way to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// Its MAC and interface are known.
    Resolved,
    /// It is this director: packets go up to the kernel.
    Local,
    /// Its MAC is not known yet: packets to it are dropped and counted.
    Unresolved,
}

/// A real server of one virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealServer {
    /// Its address and port.
    pub key: ServerKey,
    /// Its destination.
    pub reference: DestinationRef,
    /// Its configured weight.
    pub weight: u32,
    /// Its place in IPVS's list: the highest comes first.
    pub order: u32,
    /// The way to it.
    pub link: Link,
    /// Taken out of the configuration, still serving what it has.
    pub retired: bool,
    /// How packets get to it.
    pub method: Method,
    /// Connections in a state that IPVS counts as active.
    pub active: u64,
    /// All its other connections that have not expired.
    pub inactive: u64,
    /// Templates: clients, or networks of them, that persistence binds to it.
    pub persistent: u64,
    /// Its counters.
    pub traffic: Traffic,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualServer {
    /// Protocol, address and port.
    pub key: ServiceKey,
    /// Its id, which connections name it by.
    pub id: u16,
    /// Its other names, as the virtual server of a group, and their ids.
    pub also: Vec<(ServiceKey, u16)>,
    /// The id of its schedule, by which templates name it.
    pub schedule: u16,
    /// `None` if another version's.
    pub scheduler: Option<SchedulerCode>,
    /// By address and port, numerically, as `ipvsadm` sorts them; the retired ones among them.
    pub real_servers: Vec<RealServer>,
}

impl VirtualServer {
    /// All its names and their ids.
    pub fn names(&self) -> impl Iterator<Item = (&ServiceKey, u16)> {
        std::iter::once((&self.key, self.id)).chain(self.also.iter().map(|(key, id)| (key, *id)))
    }

    /// The sum of all real servers' counters, of retired ones too.
    pub fn traffic(&self) -> Traffic {
        self.real_servers.iter().map(|server| server.traffic).fold(Traffic::default(), |sum, one| Traffic {
            connections: sum.connections.wrapping_add(one.connections),
            packets: sum.packets.wrapping_add(one.packets),
            bytes: sum.bytes.wrapping_add(one.bytes),
            out_packets: sum.out_packets.wrapping_add(one.out_packets),
            out_bytes: sum.out_bytes.wrapping_add(one.out_bytes),
        })
    }

    /// The scheduler's name in `ipvsadm` and in the configuration.
    pub fn scheduler_name(&self) -> Option<&'static str> {
        self.scheduler.map(SchedulerCode::as_str)
    }
}

/// How many connections a table is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MaxConnections {
    /// In the IPv4 table.
    pub ipv4: u64,
    /// In the IPv6 table.
    pub ipv6: u64,
}

impl MaxConnections {
    fn of(settings: &Settings) -> Self {
        const SAMPLE: u32 = 64;
        const PER_BUCKET: u64 = (SAMPLE / buckets_for(SAMPLE)) as u64;
        let connections = |family| u64::from(settings.main_buckets(family)) * PER_BUCKET;
        Self { ipv4: connections(Key4::FAMILY), ipv6: connections(Key6::FAMILY) }
    }
}

/// Everything `lbctl list` shows but connection entries and reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// How many connections there may be.
    pub max_connections: MaxConnections,
    /// By family, protocol, address and port, numerically, as `ipvsadm` sorts them.
    pub virtual_servers: Vec<VirtualServer>,
}

impl Snapshot {
    /// Reads the tables. One pass over both connection tables, one system call for each real server.
    pub fn read<S: Source>(source: &S) -> Result<Self, ListError> {
        let mut snapshot = Self::read_traffic(source)?;
        let counts = Counts::of(source);
        for server in snapshot.virtual_servers.iter_mut().flat_map(|service| &mut service.real_servers) {
            [server.active, server.inactive, server.persistent] = counts.get(server.reference);
        }
        Ok(snapshot)
    }

    /// Reads who is there and its counters, without the pass over the connections.
    pub fn read_traffic<S: Source>(source: &S) -> Result<Self, ListError> {
        let mut snapshot = Self::read_names(source)?;
        for server in snapshot.virtual_servers.iter_mut().flat_map(|service| &mut service.real_servers) {
            server.traffic = source.traffic(server.reference.id())?;
        }
        Ok(snapshot)
    }

    /// Reads who is there, not what it carries: counters and connection counts are 0.
    pub(super) fn read_names<S: Source>(source: &S) -> Result<Self, ListError> {
        let applied = Applied::read(source);
        let virtual_servers = applied.services.into_iter().map(|(key, service)| {
            let mut real_servers: Vec<_> =
                service.servers.iter().map(|server| real_server(source, server)).collect();
            real_servers.sort_by_key(|server| (server.key, server.retired));
            let AppliedService { id, also, schedule, scheduler, .. } = service;
            VirtualServer { key, id, also, schedule, scheduler, real_servers }
        });
        Ok(Self {
            max_connections: MaxConnections::of(source.settings()),
            virtual_servers: virtual_servers.collect(),
        })
    }

    /// Leaves one virtual server, if one is asked for.
    pub(super) fn only(mut self, filter: Option<ServiceKey>) -> Result<Self, ListError> {
        if let Some(key) = filter {
            self.virtual_servers.retain(|service| service.names().any(|(name, _)| *name == key));
            if self.virtual_servers.is_empty() {
                return Err(ListError::NoSuchService(key));
            }
        }
        Ok(self)
    }
}

fn real_server<S: Source>(source: &S, server: &AppliedServer) -> RealServer {
    let destination = source.destinations().get(server.reference.id() as usize);
    let flags = destination.map_or(0, |found| NextHop::from_word(found.next_hop.load()).flags);
    RealServer {
        key: server.key,
        reference: server.reference,
        weight: server.weight,
        order: server.order,
        link: if flags & NextHop::LOCAL != 0 {
            Link::Local
        } else if flags & NextHop::RESOLVED != 0 {
            Link::Resolved
        } else {
            Link::Unresolved
        },
        retired: server.retired,
        method: server.method,
        active: 0,
        inactive: 0,
        persistent: 0,
        traffic: Traffic::default(),
    }
}

/// All entries that decide about a packet still, of both tables, IPv4 first, in the tables' order: templates bind their
/// clients a little beyond their time, see [`TEMPLATE_GRACE`].
pub(crate) fn live_connections<S: Source>(source: &S, now: Ticks) -> impl Iterator<Item = Connection> {
    let settings = source.settings();
    connections::ipv4(settings.part(Key4::FAMILY).of(source.connections4()))
        .chain(connections::ipv6(settings.part(Key6::FAMILY).of(source.connections6())))
        .filter(move |entry| {
            let timeout = timeout(source, entry);
            let grace = if entry.value.state().template() && timeout > 0 { TEMPLATE_GRACE } else { 0 };
            u64::from(now.since(entry.value.seen())) < timeout + grace
        })
}

/// How many ticks after its latest packet an entry expires; a template's are those of its virtual server's persistence.
pub(crate) fn timeout<S: Source>(source: &S, connection: &Connection) -> u64 {
    let state = connection.value.state();
    if state.template() {
        let schedule = source.schedules().get(usize::from(connection.service));
        return schedule.map_or(0, |found| Rules::from_word(found.scheduler.load()).persistence.into());
    }
    source.settings().timeout(state)
}

/// How many connections a real server has that a client may still use: active ones, and whatever is not TCP. TCP
/// connections that are being closed are not counted, nor are those that have expired.
///
/// # Errors
///
/// A table cannot be read.
pub fn open_connections<S: Source>(
    source: &S,
    service: &ServiceKey,
    server: &ServerKey,
) -> Result<u64, ListError> {
    let names = Snapshot::read_names(source)?;
    let servers = names.virtual_servers.iter().filter(|found| found.key == *service);
    // One that was removed and added again is there twice.
    let own: Vec<_> = servers
        .flat_map(|service| &service.real_servers)
        .filter(|found| found.key == *server)
        .map(|found| found.reference)
        .collect();
    let is_tcp = service.protocol == protocol::TCP;
    let open = live_connections(source, source.now()).filter(|connection| {
        own.contains(&connection.value.destination()) && (!is_tcp || connection.value.state().active())
    });
    Ok(u64::try_from(open.count()).unwrap_or(u64::MAX))
}

/// Active and inactive connections and templates by destination id, of the destination's present generation only.
struct Counts {
    generations: Vec<u8>,
    counts: Vec<[u64; 3]>,
}

impl Counts {
    fn of<S: Source>(source: &S) -> Self {
        let generations: Vec<u8> = source
            .destinations()
            .iter()
            .map(|destination| NextHop::from_word(destination.next_hop.load()).generation)
            .collect();
        let mut counts = Self { counts: vec![[0; 3]; generations.len()], generations };
        live_connections(source, source.now()).for_each(|connection| counts.add(connection.value));
        counts
    }

    fn add(&mut self, value: Value) {
        let reference = value.destination();
        let id = reference.id() as usize;
        if self.generations.get(id) == Some(&reference.generation())
            && let Some([active, inactive, templates]) = self.counts.get_mut(id)
        {
            let state = value.state();
            *(if state.template() {
                templates
            } else if state.active() {
                active
            } else {
                inactive
            }) += 1;
        }
    }

    fn get(&self, reference: DestinationRef) -> [u64; 3] {
        self.counts.get(reference.id() as usize).copied().unwrap_or_default()
    }
}

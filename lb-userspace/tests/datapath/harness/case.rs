//! One packet, and everything that must come of it.

use lb_common::conn::{Key as _, Key4, Key6, State, Value};
use lb_common::layout::Traffic;
use lb_common::memory;
use lb_common::net::{Be16, Be32, Be128, MacAddress};
use lb_common::verdict::{Reason, Verdict};
use lb_userspace::plane::applied::Applied;
use lb_userspace::plane::apply::{Hop, follow_hops};
use lb_userspace::plane::desired::{Desired, DesiredServer, ServerKey, ServiceKey};
use lb_userspace::plane::janitor;
use lb_userspace::plane::standby;
use lb_userspace::plane::store::Store;
use std::net::{IpAddr, SocketAddr};

use super::frame::Frame;
use super::sides::{Action, LIMITS, Side, entry};
use super::world::{self, INGRESS, OTHER_INTERFACE, Server};

/// Buckets of the connection tables in packet cases.
pub(crate) const BUCKETS: u32 = 64;

/// What happens before the packet comes.
#[derive(Clone, Debug)]
pub(crate) enum Before {
    /// Another frame went through.
    Frame(Frame),
    /// So many ticks passed.
    Idle(u32),
    /// A real server was added to this virtual server or its weight was changed.
    Weight(ServiceKey, Server, u32),
    /// A real server was taken out of this virtual server.
    Remove(ServiceKey, Server),
    /// A virtual server was taken out.
    RemoveService(ServiceKey),
    /// Expired connections and what else is old were removed.
    Sweep,
    /// Retired real servers were freed although entries name them.
    Free,
    /// As many real servers were added elsewhere as there is room for, so that the next one gets a freed id.
    Fill(ServiceKey),
    /// The configuration changed.
    Change(fn(&mut Desired)),
    /// Another director took this virtual address over, or with `None` this one has all of them again.
    Standby(Option<IpAddr>),
    /// This director hands over to another one.
    HandsOver,
    /// These are the virtual MACs that this director answers for.
    VirtualMacs(&'static [MacAddress]),
    /// All entries of connections were lost.
    ForgetConnections,
    /// A real server's link changed, or is not known any more.
    Link(Server, Option<Hop>),
}

/// A packet case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    sentence: &'static str,
    before: Vec<Before>,
    packet: Frame,
    verdict: Verdict,
    out: Frame,
    counts: Vec<Reason>,
    /// The real server that the packet is counted for.
    traffic: Option<(Server, Traffic)>,
    /// The entry of the packet's flow afterwards; the outer `None`: not looked at.
    entry: Option<Option<(State, Server)>>,
}

/// The packet goes to the kernel as it came, for this reason, and changes nothing else.
pub(crate) fn passes(sentence: &'static str, packet: Frame, reason: Reason) -> Case {
    Case {
        sentence,
        before: Vec::new(),
        out: packet.clone(),
        packet,
        verdict: Verdict::Pass(reason),
        counts: vec![reason],
        traffic: None,
        entry: None,
    }
}

/// The packet is thrown away, for this reason.
pub(crate) fn drops(sentence: &'static str, packet: Frame, reason: Reason) -> Case {
    Case { verdict: Verdict::Drop(reason), ..passes(sentence, packet, reason) }
}

/// The packet goes to a real server and leaves no entry to look at.
pub(crate) fn forwards(sentence: &'static str, packet: Frame, server: Server) -> Case {
    let verdict = if server.interface == OTHER_INTERFACE {
        Verdict::Redirect(OTHER_INTERFACE)
    } else {
        Verdict::Transmit
    };
    let bytes = packet.ip_length();
    Case {
        sentence,
        before: Vec::new(),
        out: packet.clone().forwarded(&server),
        packet,
        verdict,
        counts: Vec::new(),
        traffic: Some((server, Traffic { packets: 1, bytes, ..Traffic::default() })),
        entry: None,
    }
}

/// The packet goes to a real server by its connection's entry, which is in this state afterwards.
pub(crate) fn follows(sentence: &'static str, packet: Frame, server: Server, state: State) -> Case {
    Case { entry: Some(Some((state, server))), ..forwards(sentence, packet, server) }
}

/// The packet starts a connection with a real server and an entry in this state.
pub(crate) fn opens(sentence: &'static str, packet: Frame, server: Server, state: State) -> Case {
    let mut case = follows(sentence, packet, server, state);
    if let Some((_, traffic)) = &mut case.traffic {
        traffic.connections = 1;
    }
    case
}

/// The packet is an answer of a real server, and goes to the client as this frame.
pub(crate) fn answers(sentence: &'static str, packet: Frame, server: Server, out: Frame) -> Case {
    let traffic = Traffic { out_packets: 1, out_bytes: packet.ip_length(), ..Traffic::default() };
    Case {
        out,
        verdict: Verdict::Transmit,
        traffic: Some((server, traffic)),
        ..forwards(sentence, packet, server)
    }
}

impl Case {
    pub(crate) fn before(mut self, before: Before) -> Self {
        self.before.push(before);
        self
    }

    /// Frames that went through before.
    pub(crate) fn after(mut self, frames: impl IntoIterator<Item = Frame>) -> Self {
        self.before.extend(frames.into_iter().map(Before::Frame));
        self
    }

    pub(crate) fn idle(self, ticks: u32) -> Self {
        self.before(Before::Idle(ticks))
    }

    /// A counter moves beside those of the verdict.
    pub(crate) fn counts(mut self, reason: Reason) -> Self {
        self.counts.push(reason);
        self
    }

    /// It is not thrown away, but comes out as this answer.
    pub(crate) fn answered(mut self, out: Frame) -> Self {
        self.counts.clear();
        Self { verdict: Verdict::Transmit, out, ..self }
    }

    /// The frame that comes out, if it is not the usual one.
    pub(crate) fn out(self, out: Frame) -> Self {
        Self { out, ..self }
    }

    /// What becomes of the frame, if it is not the usual.
    pub(crate) fn verdict(self, verdict: Verdict) -> Self {
        Self { verdict, ..self }
    }

    /// The packet is counted for this real server although it does not go out.
    pub(crate) fn traffic(self, server: Server, connections: u64) -> Self {
        let traffic =
            Traffic { connections, packets: 1, bytes: self.packet.ip_length(), ..Traffic::default() };
        Self { traffic: Some((server, traffic)), ..self }
    }

    /// The flow's entry afterwards.
    pub(crate) fn keeps(self, state: State, server: Server) -> Self {
        Self { entry: Some(Some((state, server))), ..self }
    }

    /// The flow has no entry afterwards.
    pub(crate) fn records_nothing(self) -> Self {
        Self { entry: Some(None), ..self }
    }

    /// Runs it; says what is wrong.
    pub(crate) fn check<S: Side>(&self, side: &mut S) -> Result<(), String> {
        self.run(side).map_err(|error| format!("{}: {error}", self.sentence))
    }

    fn run<S: Side>(&self, side: &mut S) -> Result<(), String> {
        side.clear(BUCKETS);
        let mut desired = world::world();
        let mut hops = world::hops();
        side.configure(&desired, &hops);
        standby::mark(side.store(), &[].into()).unwrap();
        for before in &self.before {
            match before {
                Before::Frame(frame) => drop(side.run(&frame.bytes())),
                Before::ForgetConnections => side.forget_connections(),
                Before::VirtualMacs(macs) => {
                    let macs: Vec<_> = macs.iter().map(|mac| (INGRESS, *mac)).collect();
                    memory::place_virtual_macs(side.store().settings(), &macs);
                }
                Before::HandsOver => standby::agree(side.store(), true),
                Before::Idle(ticks) => side.idle(*ticks),
                Before::Sweep => {
                    janitor::sweep(side.store(), side.now());
                }
                Before::Free => {
                    assert_ne!(janitor::free_retired(side.store(), &[].into()).unwrap(), 0);
                }
                Before::Standby(address) => {
                    standby::mark(side.store(), &(*address).into_iter().collect()).unwrap();
                }
                Before::Link(server, link) => {
                    match link {
                        Some(link) => hops.insert(server.address, *link),
                        None => hops.remove(&server.address),
                    };
                    follow_hops(side.store(), &hops, &[server.address].into());
                }
                Before::Change(how) => {
                    how(&mut desired);
                    side.configure(&desired, &hops);
                }
                Before::Weight(..) | Before::Remove(..) | Before::RemoveService(..) | Before::Fill(..) => {
                    change(&mut desired, before);
                    side.configure(&desired, &hops);
                }
            }
        }
        let before = counters(side);
        let (action, out) = side.run(&self.packet.bytes());
        self.compare(side, before, action, &out)
    }

    fn compare<S: Side>(
        &self,
        side: &S,
        before: (Vec<u64>, Vec<Traffic>),
        action: Action,
        out: &[u8],
    ) -> Result<(), String> {
        let (reasons_before, traffic_before) = before;
        let (reasons_after, traffic_after) = counters(side);
        same("action", &action, &Action::from(self.verdict))?;
        if let Some(verdict) = side.verdict() {
            same("verdict", &verdict, &self.verdict)?;
        }
        same("frame", &out, &self.out.bytes().as_slice())?;
        for ((reason, before), after) in Reason::ALL.iter().zip(reasons_before).zip(reasons_after) {
            let expected = self.counts.iter().filter(|counted| *counted == reason).count() as u64;
            same(reason.as_str(), &(after - before), &expected)?;
        }
        let applied = Applied::read(side.store());
        let servers = applied.services.values().flat_map(|service| &service.servers).chain(&applied.orphans);
        let addresses: std::collections::HashMap<u32, IpAddr> =
            servers.map(|server| (server.reference.id(), server.key.address)).collect();
        let moved: Vec<_> = (0u32..)
            .zip(traffic_before.iter().zip(traffic_after))
            .filter(|(_, (before, after))| *before != after)
            .map(|(id, (before, after))| {
                let moved = Traffic {
                    connections: after.connections - before.connections,
                    packets: after.packets - before.packets,
                    bytes: after.bytes - before.bytes,
                    out_packets: after.out_packets - before.out_packets,
                    out_bytes: after.out_bytes - before.out_bytes,
                };
                (addresses.get(&id).copied(), moved)
            })
            .collect();
        let expected: Vec<_> =
            self.traffic.iter().map(|(server, traffic)| (Some(server.address), *traffic)).collect();
        same("traffic", &moved, &expected)?;
        if let Some(expected) = &self.entry {
            let found = self.packet.ports().and_then(|(from, to, protocol)| {
                let value = find(side.store(), &applied, from, to, protocol)?;
                // In these cases every packet writes the time into its entry.
                let age = side.now().since(value.seen());
                Some((value.state(), addresses.get(&value.destination().id()).copied(), age))
            });
            let expected = expected.map(|(state, server)| (state, Some(server.address), 0));
            same("entry", &found, &expected)?;
        }
        Ok(())
    }
}

/// Those of all reasons, and of all real servers.
fn counters<S: Side>(side: &S) -> (Vec<u64>, Vec<Traffic>) {
    let reasons = Reason::ALL.iter().map(|reason| side.reason(*reason)).collect();
    let servers = (0..).take(LIMITS.servers);
    (reasons, servers.map(|id| side.store().traffic(id).unwrap()).collect())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}\n     found {found:02x?}\n  expected {expected:02x?}"))
    }
}

/// The entry of a flow.
pub(crate) fn find(
    store: &impl Store,
    applied: &Applied,
    from: SocketAddr,
    to: SocketAddr,
    protocol: u8,
) -> Option<Value> {
    let exact = world::name(protocol, to);
    let service =
        applied.names.get(&exact).or_else(|| applied.names.get(&ServiceKey { port: 0, ..exact }))?;
    let port = Be16::new(from.port());
    let settings = store.settings();
    match from.ip() {
        IpAddr::V4(address) => {
            let flow = Key4::new(Be32::from_wire(address.octets()), port, service.id);
            entry(store.connections4(), settings.part(Key4::FAMILY), flow, to.port())
        }
        IpAddr::V6(address) => {
            let flow = Key6::new(Be128::from_wire(address.octets()), port, service.id);
            entry(store.connections6(), settings.part(Key6::FAMILY), flow, to.port())
        }
    }
}

fn change(desired: &mut Desired, before: &Before) {
    let key =
        |service: &ServiceKey, server: &Server| ServerKey { address: server.address, port: service.port };
    match before {
        Before::Weight(name, server, weight) => {
            let servers = &mut desired.services.get_mut(name).unwrap().servers;
            match servers.iter_mut().find(|other| other.key == key(name, server)) {
                Some(old) => old.weight = *weight,
                None => servers.push(DesiredServer::new(key(name, server), *weight)),
            }
        }
        Before::Remove(name, server) => {
            let servers = &mut desired.services.get_mut(name).unwrap().servers;
            servers.retain(|other| other.key != key(name, server));
        }
        Before::RemoveService(name) => {
            desired.services.remove(name).unwrap();
        }
        Before::Fill(name) => {
            let used: usize = desired.services.values().map(|service| service.servers.len()).sum();
            let servers = &mut desired.services.get_mut(name).unwrap().servers;
            for number in (0..).take(LIMITS.servers - used) {
                let key = ServerKey { address: [10, 7, 0, number].into(), port: name.port };
                servers.push(DesiredServer::new(key, 0));
            }
        }
        Before::Frame(_)
        | Before::Idle(_)
        | Before::Sweep
        | Before::Free
        | Before::Link(..)
        | Before::Standby(_)
        | Before::HandsOver
        | Before::Change(_)
        | Before::VirtualMacs(_)
        | Before::ForgetConnections => {
            panic!("{before:?} changes no configuration")
        }
    }
}

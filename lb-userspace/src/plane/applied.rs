//! What the tables say now.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use lb_common::layout::{
    Answers, Destination, DestinationRef, Identity, Method, NextHop, Owner, RING_HEADER, RingPlace,
    SchedulerCode,
};
use lb_common::sched::Progress;

use super::answers::AppliedAnswers;
use super::desired::{ServerKey, ServiceKey};
use super::store::{Store, answers, virtual_servers};

/// A destination as the tables have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedServer {
    /// Its id and generation.
    pub reference: DestinationRef,
    /// Its name.
    pub key: ServerKey,
    /// Its weight.
    pub weight: u32,
    /// Its place in IPVS's list: the highest comes first.
    pub order: u32,
    /// Taken out of the configuration, still serving what it has.
    pub retired: bool,
    /// How packets get to it.
    pub method: Method,
}

/// A virtual server as the tables have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedService {
    /// Its id.
    pub id: u16,
    /// Its scheduler; `None` if the tables name one that is not known here.
    pub scheduler: Option<SchedulerCode>,
    /// Its real servers in the list's order.
    pub servers: Vec<AppliedServer>,
    /// Where its ring is.
    pub place: RingPlace,
    /// The ring's slots.
    pub slots: Vec<DestinationRef>,
    /// How far the ring has been used.
    pub progress: Progress,
}

impl AppliedService {
    /// The real servers that are in the configuration, in the list's order.
    pub fn listed(&self) -> impl Iterator<Item = &AppliedServer> {
        self.servers.iter().filter(|server| !server.retired)
    }
}

/// All tables, read.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// By name.
    pub services: BTreeMap<ServiceKey, AppliedService>,
    /// Whose the answers of real servers are, by protocol, address and port of these.
    pub answers: BTreeMap<ServiceKey, AppliedAnswers>,
    /// The flags of the settings.
    pub flags: u64,
    /// Destinations of services that are no more, by id.
    pub orphans: Vec<AppliedServer>,
    /// Service ids that must not be given out: of services and of orphans.
    pub service_ids: std::collections::BTreeSet<u16>,
    /// For each destination id that is free and has been used: its last generation.
    pub free: BTreeMap<u32, u8>,
}

fn scheduler(word: u64) -> Option<SchedulerCode> {
    SchedulerCode::from_number(word)
}

/// The address of a destination.
pub(crate) fn address_of(destination: &Destination) -> IpAddr {
    let [first, second] = [destination.address[0].load(), destination.address[1].load()];
    let bytes = lb_common::net::Be128::from_words([first, second]).wire();
    let [a, b, c, d, ..] = bytes;
    if (destination.order.load() >> 32) & 0xff == 4 {
        IpAddr::from([a, b, c, d])
    } else {
        IpAddr::from(bytes)
    }
}

impl Applied {
    /// Reads the tables.
    pub fn read(store: &impl Store) -> Self {
        let mut by_service: HashMap<u16, Vec<AppliedServer>> = HashMap::new();
        let mut free = BTreeMap::new();
        for (id, destination) in (0u32..).zip(store.destinations()) {
            let word = destination.next_hop.load();
            if word == 0 {
                continue;
            }
            let hop = NextHop::from_word(word);
            if hop.flags & NextHop::IN_USE == 0 {
                free.insert(id, hop.generation);
                continue;
            }
            let identity = Identity::from_word(destination.identity.load());
            #[expect(clippy::cast_possible_truncation, reason = "the low half")]
            let order = destination.order.load() as u32;
            by_service.entry(identity.service).or_default().push(AppliedServer {
                reference: DestinationRef::new(id, hop.generation),
                key: ServerKey { address: address_of(destination), port: identity.port.host() },
                weight: identity.weight,
                order,
                retired: hop.flags & NextHop::RETIRED != 0,
                method: hop.method(),
            });
        }
        let mut services = BTreeMap::new();
        let mut service_ids = std::collections::BTreeSet::new();
        for (key, service) in virtual_servers(store) {
            let id = service.id;
            let mut servers = by_service.remove(&id).unwrap_or_default();
            servers.sort_by_key(|server| std::cmp::Reverse(server.order));
            service_ids.insert(id);
            services.insert(key, read_service(store, id, servers));
        }
        service_ids.extend(by_service.keys());
        let answers = answers(store).map(|(key, answers)| {
            let owners = match answers {
                Answers::One(owner) => [owner].into(),
                Answers::Several { offset, count } => {
                    let words = store.rings().iter().skip(offset as usize).take(count.into());
                    words.map(|word| Owner::from_word(word.load())).collect()
                }
            };
            (key, AppliedAnswers { answers, owners })
        });
        Self {
            services,
            answers: answers.collect(),
            flags: store.settings().flags.load(),
            orphans: by_service.into_values().flatten().collect(),
            service_ids,
            free,
        }
    }
}

fn read_service(store: &impl Store, id: u16, servers: Vec<AppliedServer>) -> AppliedService {
    let schedule = store.schedules().get(usize::from(id));
    let place =
        schedule.map_or_else(RingPlace::default, |schedule| RingPlace::from_word(schedule.ring.load()));
    let ring = |index: u32| store.rings().get(index as usize).map_or(0, lb_common::word::Word::load);
    let base = place.offset.saturating_add(RING_HEADER);
    AppliedService {
        id,
        scheduler: schedule.and_then(|schedule| scheduler(schedule.scheduler.load())),
        servers,
        place,
        slots: (0..place.slots)
            .map(|slot| DestinationRef::from_word(ring(base.saturating_add(slot))))
            .collect(),
        progress: if place.slots == 0 {
            Progress { start: 0, cursor: 0 }
        } else {
            Progress { cursor: ring(place.offset), start: ring(place.offset.saturating_add(1)) }
        },
    }
}

//! What the tables say now.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use lb_common::admission::Rate;
use lb_common::layout::{
    Answers, Destination, DestinationRef, Identity, Method, NextHop, Owner, RING_HEADER, RingPlace, Rules,
    Schedule, SchedulerCode, Service, Settings,
};
use lb_common::sched::Progress;
use lb_common::word::Word;

use super::admission::Networks;
use super::answers::AppliedAnswers;
use super::desired::{ServerKey, ServiceKey};
use super::plan::ScheduleWords;
use super::sources::AppliedSources;
use super::store::{Store, answers, virtual_servers};
use crate::config::Thresholds;

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
    /// How many connections it takes.
    pub limits: Thresholds,
    /// What becomes of its connections as it has failed: [`NextHop::FAILED_DROP`], [`NextHop::FAILED_RESET`] or 0.
    pub failed: u8,
    /// Its latest weight above 0.
    pub lasting: u32,
}

/// A virtual server as the tables have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedService {
    /// Its id, under its first name.
    pub id: u16,
    /// Its other names, as the virtual server of a group, and their ids.
    pub also: Vec<(ServiceKey, u16)>,
    /// The id of its schedule.
    pub schedule: u16,
    /// The flags of [`Service`].
    pub flags: u16,
    /// How it chooses, and where its rings are.
    pub words: ScheduleWords,
    /// Its scheduler; `None` if the tables name one that is not known here.
    pub scheduler: Option<SchedulerCode>,
    /// Its real servers in the list's order.
    pub servers: Vec<AppliedServer>,
    /// The ring's slots: see [`lb_common::layout::UNAVAILABLE`].
    pub slots: Vec<u64>,
    /// The list's slots.
    pub list: Vec<u64>,
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
    /// By name; those of a group by the first.
    pub services: BTreeMap<ServiceKey, AppliedService>,
    /// All names.
    pub names: BTreeMap<ServiceKey, Service>,
    /// Timeouts by state, in ticks.
    pub timeouts: Vec<u64>,
    /// Whose the answers of real servers are, by protocol, address and port of these.
    pub answers: BTreeMap<ServiceKey, AppliedAnswers>,
    /// Where packets to real servers by full NAT come from.
    pub sources: BTreeMap<DestinationRef, AppliedSources>,
    /// Where virtual addresses remember real servers, by the ids of their virtual servers.
    pub locality: BTreeMap<u16, RingPlace>,
    /// The same of those that do not remember any more.
    pub locality_left: BTreeMap<u16, RingPlace>,
    /// Networks that are let in or kept out.
    pub networks: Networks,
    /// The flags of the settings, but for that of a fail-over.
    pub flags: u64,
    /// Destinations of services that are no more, by id.
    pub orphans: Vec<AppliedServer>,
    /// Ids that must not be given out: of services, of their schedules and of those of orphans.
    pub service_ids: std::collections::BTreeSet<u16>,
    /// For each destination id that is free and has been used: its last generation.
    pub free: BTreeMap<u32, u8>,
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
                limits: limits_of(destination),
                failed: hop.flags & (NextHop::FAILED_DROP | NextHop::FAILED_RESET),
                lasting: lasting_of(destination),
            });
        }
        let names: BTreeMap<ServiceKey, Service> = virtual_servers(store).collect();
        let mut by_schedule: BTreeMap<u16, Vec<(ServiceKey, Service)>> = BTreeMap::new();
        for (key, service) in &names {
            by_schedule.entry(service.schedule).or_default().push((*key, *service));
        }
        let mut services = BTreeMap::new();
        let mut service_ids: std::collections::BTreeSet<u16> =
            names.values().flat_map(|service| [service.id, service.schedule]).collect();
        for (schedule, names) in by_schedule {
            let Some(((key, first), also)) = names.split_first() else { continue };
            let mut servers = by_service.remove(&schedule).unwrap_or_default();
            servers.sort_by_key(|server| std::cmp::Reverse(server.order));
            let also = also.iter().map(|(key, service)| (*key, service.id)).collect();
            services.insert(*key, read_service(store, *first, also, servers));
        }
        service_ids.extend(by_service.keys());
        // What a crash left of a virtual server's lists is removed before its id is given out again.
        let networks = store.networks();
        service_ids.extend(networks.keys());
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
        let [locality, locality_left] = super::locality::read(store, &names);
        Self {
            services,
            locality,
            locality_left,
            names,
            timeouts: store.settings().timeouts.iter().map(Word::load).collect(),
            answers: answers.collect(),
            sources: super::sources::read(store),
            networks,
            flags: store.settings().flags.load() & !Settings::BY_HASH,
            orphans: by_service.into_values().flatten().collect(),
            service_ids,
            free,
        }
    }
}

fn read_service(
    store: &impl Store,
    service: Service,
    also: Vec<(ServiceKey, u16)>,
    servers: Vec<AppliedServer>,
) -> AppliedService {
    let schedule = store.schedules().get(usize::from(service.schedule));
    let word = |pick: fn(&Schedule) -> &Word| schedule.map_or(0, |schedule| pick(schedule).load());
    let words = ScheduleWords {
        ring: RingPlace::from_word(word(|schedule| &schedule.ring)),
        rules: Rules::from_word(word(|schedule| &schedule.scheduler)),
        list: RingPlace::from_word(word(|schedule| &schedule.list)),
        rate: Rate::from_word(word(|schedule| &schedule.rate)),
    };
    let ring = |index: u32| store.rings().get(index as usize).map_or(0, Word::load);
    let slots = |place: RingPlace| -> Vec<u64> {
        let base = place.offset.saturating_add(RING_HEADER);
        (0..place.slots).map(|slot| ring(base.saturating_add(slot))).collect()
    };
    AppliedService {
        id: service.id,
        also,
        schedule: service.schedule,
        flags: service.flags,
        words,
        scheduler: SchedulerCode::from_number(words.rules.code),
        servers,
        slots: slots(words.ring),
        list: slots(words.list),
        progress: if words.ring.slots == 0 {
            Progress { start: 0, cursor: 0 }
        } else {
            let place = words.ring;
            Progress { cursor: ring(place.offset), start: ring(place.offset.saturating_add(1)) }
        },
    }
}

/// How many connections a destination takes.
#[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
fn limits_of(destination: &Destination) -> Thresholds {
    let word = destination.limits.load();
    Thresholds { upper: word as u32, lower: (word >> 32) as u32 }
}

/// A destination's latest weight above 0.
fn lasting_of(destination: &Destination) -> u32 {
    u32::try_from(destination.order.load() >> 48).unwrap_or(0)
}

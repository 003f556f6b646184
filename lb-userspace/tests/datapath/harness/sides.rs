//! The two instances of the datapath behind one trait.

use std::collections::BTreeSet;
use std::iter::successors;
use std::sync::atomic::Ordering::Relaxed;

use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use lb_common::conn::{BUCKET_ENTRIES, Key, Key4, Key6, Part, Ticks, Value};
use lb_common::layout::{FragmentKey, FragmentOwner, Neighbour};
use lb_common::lease::Lease;
use lb_common::locality::Changed;
use lb_common::memory::{self, MemoryTables, Sizes};
use lb_common::packet::MemoryPacket;
use lb_common::services::{Name, Name4, Name6, Slot4, Slot6};
use lb_common::verdict::{Reason, Verdict};
use lb_common::{conn, maps, word};
use lb_userspace::dataplane::loader::{Capacity, Loaded, load};
use lb_userspace::plane::applied::Applied;
use lb_userspace::plane::apply::{Hops, apply};
use lb_userspace::plane::desired::Desired;
use lb_userspace::plane::details::write_details;
use lb_userspace::plane::plan::{Limits, plan};
use lb_userspace::plane::routes::write_routes;
use lb_userspace::plane::store::Store;

use super::window::Window;
use super::world::{self, DIRECTOR_MAC, INGRESS};

/// What a test may use of the tables; both sides have at least this much.
pub(crate) const LIMITS: Limits = Limits { servers: 96, services: 80, ring_words: 1 << 15 };
/// Slots for leases.
const LEASES: u32 = 1024;
/// What the clocks of both sides show. They stand still: a test says itself how time passes.
const START: u32 = 100_000;
/// Seed of the connection tables.
pub(crate) const SEED: u64 = 0x5eed;

/// What the kernel does with a frame, as the program's return value says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Drop,
    Pass,
    Transmit,
    Redirect,
}

impl From<Verdict> for Action {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass(_) => Self::Pass,
            Verdict::Drop(_) => Self::Drop,
            Verdict::Transmit => Self::Transmit,
            Verdict::Redirect(_) => Self::Redirect,
            Verdict::Next(_) => panic!("no verdict of a frame in plain memory"),
        }
    }
}

/// An instance of the datapath with its tables.
pub(crate) trait Side {
    type Store: Store;
    fn store(&self) -> &Self::Store;
    fn store_mut(&mut self) -> &mut Self::Store;
    fn now(&self) -> Ticks;
    fn run(&mut self, frame: &[u8]) -> (Action, Vec<u8>);
    /// The verdict of the latest frame, where it can be known.
    fn verdict(&self) -> Option<Verdict>;
    fn reason(&self, reason: Reason) -> u64;
    /// Clients on the segment that were learnt.
    fn neighbours(&self) -> Vec<([u64; 2], Neighbour)>;
    fn forget_neighbours(&mut self);
    fn fragments(&self) -> Vec<(FragmentKey, FragmentOwner)>;
    fn set_fragment(&mut self, key: &FragmentKey, owner: Option<&FragmentOwner>);

    /// Empties every table and gives the director its interface and `buckets` buckets of each connection table.
    fn clear(&mut self, buckets: u32) {
        let has_rates = has_rates(self.store());
        for Slot4 { key, value } in slots::<Name4>(self.store().services4()).flat_map(|bucket| &bucket.0) {
            [key, value].into_iter().for_each(|word| word.store(0));
        }
        let six = slots::<Name6>(self.store().services6()).flat_map(|bucket| &bucket.0);
        for Slot6 { address: [a, b], key, value } in six {
            [a, b, key, value].into_iter().for_each(|word| word.store(0));
        }
        for (schedule, lists) in self.store().networks() {
            for network in lists.keys() {
                self.store_mut().set_network(schedule, *network, None).unwrap();
            }
        }
        if has_rates {
            self.store().sources().iter().for_each(|line| word::clear(&line.0));
        }
        self.forget_neighbours();
        for (key, _) in self.fragments() {
            self.set_fragment(&key, None);
        }
        for id in (0..).take(LIMITS.servers) {
            self.store_mut().clear_traffic(id).unwrap();
        }
        let store = self.store();
        for destination in &store.destinations()[..LIMITS.servers] {
            let words = [&destination.next_hop, &destination.source, &destination.interface];
            words.into_iter().for_each(|word| word.store(0));
        }
        word::clear(&store.rings()[..LIMITS.ring_words as usize]);
        for schedule in &store.schedules()[..LIMITS.services] {
            let words = [&schedule.ring, &schedule.scheduler, &schedule.list, &schedule.rate];
            words.into_iter().for_each(|word| word.store(0));
        }
        for own in &store.virtuals()[..LIMITS.services] {
            own.locality.store(0);
        }
        self.forget_connections();
        let store = self.store();
        for detail in &store.details()[..LIMITS.servers] {
            [&detail.source[0], &detail.source[1], &detail.mtu, &detail.sources]
                .into_iter()
                .for_each(|word| word.store(0));
        }
        for Lease { value, tag, client: [a, b], source: [c, d], server: [e, f] } in store.leases() {
            [value, tag, a, b, c, d, e, f].into_iter().for_each(|word| word.store(0));
        }
        memory::initialise(store.settings(), SEED, [buckets; 2], LEASES);
        store.settings().flags.store(0);
        store.settings().routes.store(0);
        word::clear(&store.settings().addresses.0);
        for interface in &store.settings().interfaces {
            interface.index.store(0);
            interface.mac.store(0);
        }
        assert!(memory::place_interface(&store.settings().interfaces, INGRESS, DIRECTOR_MAC));
        memory::place_virtual_macs(store.settings(), &[]);
    }

    /// Empties the connection tables.
    fn forget_connections(&self) {
        for entry in self.store().connections4().iter().flat_map(|bucket| &bucket.0) {
            entry.key.store(0);
            entry.value.store(0);
        }
        for entry in self.store().connections6().iter().flat_map(|bucket| &bucket.0) {
            [&entry.value, &entry.tag, &entry.address[0], &entry.address[1]]
                .into_iter()
                .for_each(|word| word.store(0));
        }
    }

    /// Brings the tables to what is desired, as the daemon does.
    fn configure(&mut self, desired: &Desired, hops: &Hops) {
        let applied = Applied::read(self.store());
        let steps = plan(&applied, desired, LIMITS, 0).unwrap();
        apply(self.store_mut(), &steps, hops).unwrap();
        assert!(write_routes(self.store(), &world::ways(), hops));
        write_details(self.store(), &world::details());
    }

    /// Lets time pass: everything was seen `ticks` earlier.
    fn idle(&mut self, ticks: u32) {
        let store = self.store();
        for bucket in store.connections4() {
            (0..BUCKET_ENTRIES).for_each(|slot| age::<Key4>(bucket, slot, ticks));
        }
        for bucket in store.connections6() {
            (0..BUCKET_ENTRIES).for_each(|slot| age::<Key6>(bucket, slot, ticks));
        }
        for lease in store.leases().iter().filter(|lease| lease.value.load() != 0) {
            let value = Value::from_word(lease.value.load());
            lease.value.store(value.with(value.state(), earlier(value.seen(), ticks)).to_word());
        }
        let sources = if has_rates(store) { store.sources() } else { &[] };
        for source in sources.iter().filter(|line| !word::are_clear(&line.0)).flat_map(|line| &line.0) {
            let entry = source.load();
            if entry != 0 {
                let time = entry.wrapping_sub(u64::from(ticks) * (Ticks::NANOSECONDS >> 8)) & SOURCE_TIME;
                source.store(entry & !SOURCE_TIME | time);
            }
        }
        let places: BTreeSet<u32> =
            Applied::read(store).locality.values().map(|place| place.offset).collect();
        for word in places.into_iter().flat_map(|offset| store.rings().iter().skip(offset as usize).take(2)) {
            let Changed { at, count } = Changed::from_word(word.load());
            word.store(Changed { at: earlier(at, ticks), count }.to_word());
        }
        for (key, owner) in self.fragments() {
            let seen = earlier(Ticks::default().later(u32::try_from(owner.seen).unwrap()), ticks);
            let owner = FragmentOwner { seen: u64::from(seen.bits()), ..owner };
            self.set_fragment(&key, Some(&owner));
        }
    }
}

/// The buckets of virtual servers that are not empty.
fn slots<N: Name>(buckets: &[N::Bucket]) -> impl Iterator<Item = &N::Bucket> {
    let used = successors(N::used(buckets, 0), |at| N::used(buckets, at + 1));
    used.map(|at| &buckets[at])
}

/// May a source have an entry? There is room for so many that looking through them all takes a while in emulation.
fn has_rates(store: &impl Store) -> bool {
    store.schedules()[..LIMITS.services].iter().any(|schedule| schedule.rate.load() != 0)
}

/// The bits of a source's entry that are its time, in units of 256 ns.
const SOURCE_TIME: u64 = (1 << 40) - 1;

fn earlier(time: Ticks, ticks: u32) -> Ticks {
    Ticks::default().later(time.bits().wrapping_sub(ticks))
}

fn age<K: Key>(bucket: &K::Bucket, slot: usize, ticks: u32) {
    if let Some((_, Some(value))) = K::inspect(bucket, slot) {
        let older = value.with(value.state(), earlier(value.seen(), ticks));
        assert!(K::update(bucket, slot, value, older), "nobody else writes");
    }
}

/// The entry of an IPv4 or IPv6 flow.
pub(crate) fn entry<K: Key>(buckets: &[K::Bucket], part: Part, flow: K, port: u16) -> Option<Value> {
    let (first, second) = conn::buckets_of(flow.hash(SEED), part, K::NEAR);
    [first, second].into_iter().find_map(|bucket| {
        let bucket = &buckets[bucket as usize];
        let port = lb_common::net::Be16::new(port);
        flow.find(bucket, port, lb_common::word::Blur::new(0)).map(|(_, value)| value)
    })
}

/// The datapath on plain memory.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) tables: MemoryTables,
    verdict: Option<Verdict>,
}

impl Host {
    pub(crate) fn new(buckets: u32) -> Self {
        let sizes = Sizes {
            services: LIMITS.services,
            destinations: LIMITS.servers,
            ring_words: LIMITS.ring_words as usize,
            buckets,
            leases: LEASES,
        };
        let tables = MemoryTables::new(sizes, SEED);
        tables.advance(START);
        let mut host = Self { tables, verdict: None };
        host.clear(buckets);
        host
    }
}

impl Side for Host {
    type Store = MemoryTables;

    fn store(&self) -> &MemoryTables {
        &self.tables
    }

    fn store_mut(&mut self) -> &mut MemoryTables {
        &mut self.tables
    }

    fn now(&self) -> Ticks {
        Ticks::default().later(self.tables.clock.load(Relaxed))
    }

    fn run(&mut self, frame: &[u8]) -> (Action, Vec<u8>) {
        let mut packet = MemoryPacket::new(frame.to_vec(), INGRESS);
        let verdict = self.tables.forward(&mut packet);
        self.verdict = Some(verdict);
        (verdict.into(), packet.bytes().to_vec())
    }

    fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    fn reason(&self, reason: Reason) -> u64 {
        self.tables.reason(reason)
    }

    fn neighbours(&self) -> Vec<([u64; 2], Neighbour)> {
        self.tables.neighbours.lock().unwrap().iter().map(|(key, value)| (*key, *value)).collect()
    }

    fn forget_neighbours(&mut self) {
        self.tables.neighbours.lock().unwrap().clear();
    }

    fn fragments(&self) -> Vec<(FragmentKey, FragmentOwner)> {
        self.tables.fragments.lock().unwrap().iter().map(|(key, owner)| (*key, *owner)).collect()
    }

    fn set_fragment(&mut self, key: &FragmentKey, owner: Option<&FragmentOwner>) {
        let mut fragments = self.tables.fragments.lock().unwrap();
        match owner {
            Some(owner) => fragments.insert(*key, *owner),
            None => fragments.remove(key),
        };
    }
}

/// May a BPF program be loaded? Fails where that must not be skipped.
pub(crate) fn may_load() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| value == "1");
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    let may_skip = set("LBCTL_SKIP_PRIVILEGED") && !set("LBCTL_REQUIRE_PRIVILEGES");
    assert!(may_skip, "this test loads a BPF program: run it as root, or set LBCTL_SKIP_PRIVILEGED=1");
    eprintln!("SKIPPED for LBCTL_SKIP_PRIVILEGED: not root");
    false
}

/// The program in the kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    ebpf: Ebpf,
    tables: Window,
    fragments: HashMap<MapData, FragmentKey, FragmentOwner>,
    out: Vec<u8>,
}

impl Kernel {
    /// As [`Kernel::running`], but its clock stands still.
    pub(crate) fn new(buckets: u32) -> Option<Self> {
        let kernel = Self::running(buckets)?;
        let settings = kernel.tables.settings();
        settings.jiffy.store(0);
        settings.epoch.store(u64::from(START) * Ticks::NANOSECONDS);
        Some(kernel)
    }

    /// Loads the program with `buckets` buckets in each connection table. `None` if the test is to be skipped.
    pub(crate) fn running(buckets: u32) -> Option<Self> {
        if !may_load() {
            return None;
        }
        let connections = buckets * 2;
        let capacity = Capacity { ipv4: connections, ipv6: connections, full_nat: LEASES / 2 };
        let Loaded { mut ebpf, tables } = load(None, capacity).unwrap();
        let fragments = HashMap::try_from(ebpf.take_map(maps::FRAGMENTS).unwrap()).unwrap();
        let mut kernel = Self { ebpf, tables: Window(tables), fragments, out: vec![0; 4096] };
        kernel.clear(buckets);
        Some(kernel)
    }
}

impl Side for Kernel {
    type Store = Window;

    fn store(&self) -> &Window {
        &self.tables
    }

    fn store_mut(&mut self) -> &mut Window {
        &mut self.tables
    }

    fn now(&self) -> Ticks {
        Ticks::from_nanoseconds(self.tables.settings().epoch.load())
    }

    fn run(&mut self, frame: &[u8]) -> (Action, Vec<u8>) {
        let program: &Xdp = self.ebpf.program(maps::PROGRAM).unwrap().try_into().unwrap();
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut self.out), ..Default::default() };
        let result = program.test_run(options).unwrap();
        let action = match result.return_value {
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Transmit,
            4 => Action::Redirect,
            other => panic!("the program returned {other}"),
        };
        (action, self.out[..result.data_size_out as usize].to_vec())
    }

    fn verdict(&self) -> Option<Verdict> {
        None
    }

    fn reason(&self, reason: Reason) -> u64 {
        self.tables.0.reason(reason).unwrap()
    }

    fn neighbours(&self) -> Vec<([u64; 2], Neighbour)> {
        self.tables.0.neighbours.iter().map(Result::unwrap).collect()
    }

    fn forget_neighbours(&mut self) {
        for (key, _) in self.neighbours() {
            self.tables.0.neighbours.remove(&key).unwrap();
        }
    }

    fn fragments(&self) -> Vec<(FragmentKey, FragmentOwner)> {
        self.fragments.iter().map(Result::unwrap).collect()
    }

    fn set_fragment(&mut self, key: &FragmentKey, owner: Option<&FragmentOwner>) {
        match owner {
            Some(owner) => self.fragments.insert(key, owner, 0).unwrap(),
            None => self.fragments.remove(key).unwrap(),
        }
    }
}

//! Connections keep their real servers while their entries go from one part of the table to the other and back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

use lb_common::conn::{Key as _, Key4, Part, State, Ticks};
use lb_common::layout::{Load, SchedulerCode, Settings};
use lb_common::memory::MemoryTables;
use lb_common::packet::MemoryPacket;
use lb_common::verdict::Verdict;
use lb_common::word::Word;
use lb_userspace::dataplane::connections;
use lb_userspace::plane::applied::Applied;
use lb_userspace::plane::desired::Desired;
use lb_userspace::plane::parts::Parts;
use lb_userspace::plane::store::Store;

use crate::harness::case::find;
use crate::harness::frame::{ACK, FIN, Frame, RST, SYN, TCP, UDP};
use crate::harness::sides::{Action, Host, Kernel, Side};
use crate::harness::world::{
    INGRESS, NAT1, NAT1_6, WEB1, WEB1_6, WEB2, WEB2_6, client, client6, hops, name, nat_service, nat_vip,
    nat_vip6, service, vip, vip6,
};

/// The smallest main part of IPv4 that has a compact one beside it.
const BUCKETS: u32 = 3 * lb_common::conn::COMPACT_BUCKETS;
const MAIN: Part = Part::main(BUCKETS);
/// More than the compact part should have, which is an eighth of its slots.
const MANY: u16 = 17_000;
const FIRST_PORT: u16 = 1024;

fn compact() -> Part {
    Part::compact(BUCKETS, Key4::NEAR).unwrap()
}

fn desired() -> Desired {
    let services = [
        (name(TCP, vip(80)), service(SchedulerCode::Wrr, 80, &[(WEB1, 1), (WEB2, 2)])),
        (name(TCP, vip6(80)), service(SchedulerCode::Wrr, 80, &[(WEB1_6, 1), (WEB2_6, 2)])),
    ];
    Desired { services: services.into(), ..Desired::default() }
}

fn in_use(store: &impl Store) -> Part {
    store.settings().part(Key4::FAMILY)
}

fn is_moving(store: &impl Store) -> bool {
    store.settings().flags.load() & Settings::MOVING != 0
}

fn entries(store: &impl Store, part: Part) -> usize {
    connections::ipv4(part.of(store.connections4())).count()
}

/// The MAC that a client's packet goes to.
fn sent(side: &mut impl Side, address: SocketAddr, flags: u8) -> [u8; 6] {
    let to = if address.is_ipv4() { vip(80) } else { vip6(80) };
    let (action, out) = side.run(&Frame::tcp(address, to, flags).bytes());
    assert_eq!(action, Action::Transmit, "{address}");
    out[..6].try_into().unwrap()
}

/// Clients and the real servers that they were given.
#[derive(Debug, Default)]
struct Clients(Vec<(SocketAddr, [u8; 6])>);

impl Clients {
    fn begin(&mut self, side: &mut impl Side, address: SocketAddr) {
        self.0.push((address, sent(side, address, SYN)));
    }

    /// Of each a packet, which must go where the others went.
    fn go_on(&self, side: &mut impl Side, flags: u8) {
        for (address, server) in &self.0 {
            assert_eq!(sent(side, *address, flags), *server, "{address}: another real server");
        }
    }
}

/// `side` with `MANY` connections, and those of the other family, in its compact part.
fn prepare(side: &mut impl Side) -> Clients {
    side.clear(BUCKETS);
    side.configure(&desired(), &hops());
    let mut clients = Clients::default();
    (0..MANY).for_each(|number| clients.begin(side, client(FIRST_PORT + number)));
    (0..200).for_each(|number| clients.begin(side, client6(FIRST_PORT + number)));
    clients.go_on(side, ACK);
    assert_eq!((in_use(side.store()), entries(side.store(), MAIN)), (compact(), 0));
    clients
}

fn look(side: &impl Side, parts: &mut Parts) {
    parts.look(side.store(), side.now());
}

/// As [`look`], so many ticks later, until the main part has been looked at, which is not each time, or something is begun.
fn look_often(side: &impl Side, parts: &mut Parts, later: u32) {
    for _ in 0..10 {
        if !parts.is_moving() {
            parts.look(side.store(), side.now().later(later));
        }
    }
}

fn move_there_and_back(side: &mut impl Side) {
    let mut clients = prepare(side);
    let mut parts = Parts::default();
    let mut next = FIRST_PORT + MANY;
    let mut newcomers = |side: &mut _, clients: &mut Clients, count| {
        for _ in 0..count {
            clients.begin(side, client(next));
            next += 1;
        }
    };

    look(side, &mut parts);
    assert!(is_moving(side.store()) && parts.is_moving());
    assert_eq!(in_use(side.store()), compact());
    newcomers(side, &mut clients, 100);
    let closing = Clients(clients.0[..50].to_vec());
    closing.go_on(side, FIN | ACK);

    look(side, &mut parts);
    assert_eq!(in_use(side.store()), MAIN);
    newcomers(side, &mut clients, 100);
    clients.go_on(side, ACK);

    look(side, &mut parts);
    assert!(!is_moving(side.store()) && !parts.is_moving());
    assert_eq!((in_use(side.store()), entries(side.store(), compact())), (MAIN, 0));
    assert_eq!(entries(side.store(), MAIN), usize::from(MANY) + 200);
    clients.go_on(side, ACK);
    let applied = Applied::read(side.store());
    for (address, _) in closing.0 {
        let entry = find(side.store(), &applied, address, vip(80), TCP).unwrap();
        assert_eq!(entry.state(), State::FIN_WAIT, "{address}");
    }
    // By turns again: one and two of three.
    let before = clients.0.len();
    newcomers(side, &mut clients, 30);
    let to_web1 = clients.0[before..].iter().filter(|(_, server)| *server == WEB1.mac).count();
    assert_eq!(to_web1, 10);
    clients.go_on(side, ACK);

    // All but a few expire: 900 s without a packet.
    let few = Clients(clients.0[100..600].iter().chain(&clients.0[usize::from(MANY)..]).copied().collect());
    for _ in 0..2 {
        side.idle(430);
        few.go_on(side, ACK);
    }
    look_often(side, &mut parts, 0);
    assert!(!parts.is_moving(), "there may soon be many again");
    look_often(side, &mut parts, 60);
    assert!(parts.is_moving());
    for moving in [true, false] {
        look(side, &mut parts);
        assert_eq!(parts.is_moving(), moving);
        few.go_on(side, ACK);
    }
    assert_eq!((in_use(side.store()), entries(side.store(), MAIN)), (compact(), 0));
    let left = few.0.iter().filter(|(address, _)| address.is_ipv4()).count();
    assert_eq!(entries(side.store(), compact()), left);
    few.go_on(side, ACK);
}

#[test]
fn connections_keep_their_real_servers_on_the_host() {
    move_there_and_back(&mut Host::new(BUCKETS));
}

#[test]
fn connections_keep_their_real_servers_in_the_kernel() {
    let Some(mut kernel) = Kernel::new(BUCKETS) else { return };
    move_there_and_back(&mut kernel);
}

/// A request whose entry has not been copied yet: its answer by NAT finds it in the part that was left.
fn answer_in_between(side: &mut impl Side) {
    side.clear(BUCKETS);
    let services = [
        (name(UDP, nat_vip(53)), nat_service(53, &[NAT1])),
        (name(UDP, nat_vip6(53)), nat_service(53, &[NAT1_6])),
    ];
    side.configure(&Desired { services: services.into(), ..Desired::default() }, &hops());
    let pairs = [(client(1000), nat_vip(53), NAT1), (client6(1000), nat_vip6(53), NAT1_6)];
    let parts: Vec<u64> = side.store().settings().parts.iter().map(Word::load).collect();
    for (client, vip, server) in pairs {
        let answer = Frame::udp(SocketAddr::new(server.address, 53), client, b"answer").bytes();
        let settings = side.store().settings();
        settings.parts.iter().zip(&parts).for_each(|(word, part)| word.store(*part));
        assert_eq!(side.run(&Frame::udp(client, vip, b"query").bytes()).0, Action::Transmit);
        assert_eq!(side.run(&answer).0, Action::Transmit);
        let settings = side.store().settings();
        settings.parts.iter().for_each(|word| word.store(MAIN.to_word()));
        assert_eq!(side.run(&answer).0, Action::Pass, "nobody's: the entry is in the other part");
        side.store().settings().flags.store(side.store().settings().flags.load() | Settings::MOVING);
        assert_eq!(side.run(&answer).0, Action::Transmit);
        side.store().settings().flags.store(side.store().settings().flags.load() & !Settings::MOVING);
    }
}

#[test]
fn answers_find_what_is_not_copied_yet_on_the_host() {
    answer_in_between(&mut Host::new(BUCKETS));
}

#[test]
fn answers_find_what_is_not_copied_yet_in_the_kernel() {
    let Some(mut kernel) = Kernel::new(BUCKETS) else { return };
    answer_in_between(&mut kernel);
}

/// Numbers of connections decide about new ones: they are right after each move.
#[test]
fn every_connection_counts_once() {
    let mut host = Host::new(BUCKETS);
    host.clear(BUCKETS);
    let counted = service(SchedulerCode::Wlc, 80, &[(WEB1, 1), (WEB2, 1)]);
    let services = [(name(TCP, vip(80)), counted)];
    host.configure(&Desired { services: services.into(), ..Desired::default() }, &hops());
    let mut clients = Clients::default();
    (0..MANY).for_each(|number| clients.begin(&mut host, client(FIRST_PORT + number)));
    // The last ones end before the move: they expire, and nobody has swept them.
    let ended = Clients(clients.0.split_off(usize::from(MANY) - 300));
    clients.go_on(&mut host, ACK);
    ended.go_on(&mut host, ACK);
    ended.go_on(&mut host, RST);
    host.tables.advance(20);
    let mut parts = Parts::default();
    for moving in [true, true, false] {
        look(&host, &mut parts);
        assert_eq!(parts.is_moving(), moving);
        let next = FIRST_PORT + MANY + u16::try_from(clients.0.len()).unwrap();
        clients.begin(&mut host, client(next));
    }
    let sum = |count: fn(&Load) -> u64| host.tables.loads.iter().map(count).sum::<u64>();
    let alive = u64::try_from(clients.0.len()).unwrap();
    assert_eq!(sum(|load| load.active.load()) + sum(|load| load.inactive.load()), alive);
}

/// The daemon dies after any of its steps, and the next one goes on.
#[test]
fn a_daemon_that_died_over_it_is_followed_by_one_that_ends_it() {
    let mut host = Host::new(BUCKETS);
    for looks in 0..4 {
        let mut clients = prepare(&mut host);
        let mut parts = Parts::default();
        (0..looks).for_each(|_| look(&host, &mut parts));
        clients.begin(&mut host, client(FIRST_PORT + MANY));
        Parts::recover(host.store(), host.now());
        assert!(!is_moving(host.store()));
        let (used, left) = if looks < 2 { (compact(), MAIN) } else { (MAIN, compact()) };
        assert_eq!((in_use(host.store()), entries(host.store(), left)), (used, 0), "after {looks} looks");
        assert_eq!(entries(host.store(), used), usize::from(MANY) + 1);
        clients.go_on(&mut host, ACK);
    }
}

/// Packets in other threads while entries move there and back.
#[test]
fn connections_keep_their_real_servers_while_packets_run() {
    const THREADS: u8 = 2;
    const FLOWS: u16 = 150;
    let mut host = Host::new(BUCKETS);
    prepare(&mut host);
    let tables = &host.tables;
    let ended = AtomicBool::new(false);
    let passes = [AtomicU64::new(0), AtomicU64::new(0)];
    // Every thread sends of all of its flows after a look has ended, as the daemon's looks are far apart.
    let grace = || {
        let before: Vec<u64> = passes.iter().map(|passes| passes.load(SeqCst)).collect();
        while !passes.iter().zip(&before).all(|(passes, before)| passes.load(SeqCst) > before + 1) {
            assert!(!ended.load(SeqCst), "a thread has ended");
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        for (number, passes) in (1..=THREADS).zip(&passes) {
            let ended = &ended;
            scope.spawn(move || {
                let _ends = Ends(ended);
                let mut port = 1024;
                let mut open = move || {
                    port = if port == u16::MAX { 1024 } else { port + 1 };
                    let address = SocketAddr::from(([10, 1, 0, number], port));
                    (address, through(tables, address, SYN))
                };
                let mut flows: Vec<_> = (0..FLOWS).map(|_| open()).collect();
                for oldest in (0..usize::from(FLOWS)).cycle() {
                    for (address, server) in &flows {
                        assert_eq!(through(tables, *address, ACK), *server, "{address}: another real server");
                    }
                    through(tables, flows[oldest].0, RST);
                    flows[oldest] = open();
                    passes.fetch_add(1, SeqCst);
                    if ended.load(SeqCst) {
                        return;
                    }
                }
            });
        }
        let _ends = Ends(&ended);
        let mut parts = Parts::default();
        let now = || Ticks::default().later(tables.clock.load(SeqCst));
        let move_to = |parts: &mut Parts, part| {
            while parts.is_moving() {
                parts.look(tables, now());
                grace();
            }
            assert_eq!((in_use(tables), parts.is_moving()), (part, false));
        };
        for _ in 0..4 {
            for number in 0..MANY {
                through(tables, client(FIRST_PORT + number), SYN);
                through(tables, client(FIRST_PORT + number), ACK);
            }
            parts.look(tables, now());
            grace();
            move_to(&mut parts, MAIN);
            // All but the threads' end, and for a minute there are few. A handshake may last as long.
            for number in 0..MANY {
                through(tables, client(FIRST_PORT + number), RST);
            }
            for _ in 0..4 {
                tables.advance(20);
                grace();
                for _ in 0..10 {
                    if !parts.is_moving() {
                        parts.look(tables, now());
                        grace();
                    }
                }
            }
            move_to(&mut parts, compact());
        }
    });
}

/// Says so when its thread ends, however it does.
struct Ends<'e>(&'e AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

fn through(tables: &MemoryTables, address: SocketAddr, flags: u8) -> [u8; 6] {
    let mut packet = MemoryPacket::new(Frame::tcp(address, vip(80), flags).bytes(), INGRESS);
    assert_eq!(tables.forward(&mut packet), Verdict::Transmit, "{address}");
    packet.bytes()[..6].try_into().unwrap()
}

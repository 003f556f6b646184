use proptest::prelude::*;

use super::*;
use crate::net::netlink::Event as Kernel;

const MS: Duration = Duration::from_millis(1);
const DIRECTOR: [u8; 6] = [2, 0, 0, 0, 0, 1];
const WEB: [u8; 6] = [2, 0, 0, 0, 0, 100];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 200];
const ETH0: u32 = 2;
const VLAN7: u32 = 7;

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 168, 4, last])
}

fn device(index: u32) -> Link {
    Link {
        index,
        name: format!("eth{index}"),
        mac: Some(DIRECTOR),
        mtu: 1500,
        up: true,
        carrier: true,
        loopback: false,
        kind: None,
        vlan: None,
        lower: None,
        peer_netnsid: None,
        xdp: None,
    }
}

fn vlan_device() -> Link {
    Link { kind: Some("vlan".into()), vlan: Some(100), lower: Some(ETH0), ..device(VLAN7) }
}

fn on_link(ifindex: u32) -> Route {
    Route { ifindex, gateway: None, local: false, source: None }
}

fn entry(state: NeighbourState, mac: Option<[u8; 6]>) -> Neighbour {
    Neighbour { ifindex: ETH0, address: ip(100), mac, state }
}

fn change(core: &mut Core, event: Kernel, now: Duration) -> Vec<Action> {
    core.step(Event::Kernel(event), now)
}

fn resolved(mac: [u8; 6]) -> Resolution {
    Resolution::Resolved { dst_mac: mac, src_mac: DIRECTOR, ifindex: ETH0, vlan: 0 }
}

fn unresolved(reason: Reason) -> Resolution {
    Resolution::Unresolved { reason }
}

/// A core that wants 192.168.4.100 over `route`, with these devices and no neighbours, at time zero.
fn wanting(links: Vec<Link>, route: Option<Route>) -> (Core, Vec<Action>) {
    let mut core = Core::new();
    assert_eq!(core.step(Event::Started, Duration::ZERO), [Action::ReadTables]);
    assert_eq!(core.step(Event::Tables { links, neighbours: vec![] }, Duration::ZERO), []);
    let actions = core.step(Event::Wanted([ip(100)].into()), Duration::ZERO);
    assert_eq!(
        actions,
        [Action::LookUpRoutes(vec![ip(100)]), Action::Publish(vec![(ip(100), Some(UNKNOWN))])]
    );
    let actions = core.step(Event::Routes(vec![(ip(100), route)]), Duration::ZERO);
    (core, actions)
}

fn probes(actions: &[Action]) -> usize {
    actions.iter().map(|a| if let Action::Probe(probes) = a { probes.len() } else { 0 }).sum()
}

#[test]
fn an_unknown_neighbour_is_probed_at_once_and_every_half_second() {
    let (mut core, actions) = wanting(vec![device(ETH0)], Some(on_link(ETH0)));
    assert_eq!(actions, [Action::Probe(vec![(ETH0, ip(100))])]);
    assert_eq!(core.step(Event::Timer, 499 * MS), []);
    assert_eq!(core.next_deadline(), 500 * MS);
    assert_eq!(probes(&core.step(Event::Timer, 500 * MS)), 1);
    assert_eq!(core.next_deadline(), 1000 * MS);
}

#[test]
fn what_each_route_means() {
    let router = ip(1);
    let table = [
        ("none", None, unresolved(Reason::NoRoute)),
        ("own address", Some(Route { local: true, ..on_link(1) }), Resolution::Local),
        (
            "router",
            Some(Route { gateway: Some(router), ..on_link(ETH0) }),
            unresolved(Reason::Gateway(router)),
        ),
        ("unknown device", Some(on_link(99)), unresolved(Reason::LinkDown)),
        ("on the segment", Some(on_link(ETH0)), UNKNOWN),
    ];
    for (name, route, expected) in table {
        let (core, actions) = wanting(vec![device(ETH0)], route);
        assert_eq!(core.resolution(ip(100)), Some(expected), "{name}");
        assert_eq!(probes(&actions), usize::from(name == "on the segment"), "{name}: probes");
    }
}

#[test]
fn what_each_device_means() {
    let eth0 = device(ETH0);
    let through = |ifindex, vlan| Resolution::Resolved { dst_mac: WEB, src_mac: DIRECTOR, ifindex, vlan };
    let table: Vec<(&str, Vec<Link>, u32, Resolution)> = vec![
        ("Ethernet", vec![eth0.clone()], ETH0, through(ETH0, 0)),
        ("down", vec![Link { up: false, ..eth0.clone() }], ETH0, unresolved(Reason::LinkDown)),
        ("no carrier", vec![Link { carrier: false, ..eth0.clone() }], ETH0, unresolved(Reason::LinkDown)),
        (
            "no Ethernet address",
            vec![Link { mac: None, ..eth0.clone() }],
            ETH0,
            unresolved(Reason::Device(ETH0)),
        ),
        ("VLAN", vec![eth0.clone(), vlan_device()], VLAN7, through(ETH0, 100)),
        (
            "VLAN with its own Ethernet address",
            vec![eth0.clone(), Link { mac: Some(OTHER), ..vlan_device() }],
            VLAN7,
            Resolution::Resolved { dst_mac: WEB, src_mac: OTHER, ifindex: ETH0, vlan: 100 },
        ),
        (
            "VLAN over a device that is down",
            vec![Link { up: false, ..eth0.clone() }, vlan_device()],
            VLAN7,
            unresolved(Reason::LinkDown),
        ),
        ("VLAN over a device unknown", vec![vlan_device()], VLAN7, unresolved(Reason::LinkDown)),
        (
            "VLAN over a device of another namespace",
            vec![eth0.clone(), Link { peer_netnsid: Some(0), ..vlan_device() }],
            VLAN7,
            unresolved(Reason::Device(VLAN7)),
        ),
        (
            "VLAN on a VLAN",
            vec![
                Link { kind: Some("vlan".into()), vlan: Some(5), lower: Some(3), ..eth0.clone() },
                vlan_device(),
            ],
            VLAN7,
            unresolved(Reason::Device(VLAN7)),
        ),
        (
            "VLAN of unknown identifier",
            vec![eth0, Link { vlan: None, ..vlan_device() }],
            VLAN7,
            unresolved(Reason::Device(VLAN7)),
        ),
    ];
    for (name, links, ifindex, expected) in table {
        let (mut core, _) = wanting(links, Some(on_link(ifindex)));
        let known = Neighbour { ifindex, ..entry(NeighbourState::Reachable, Some(WEB)) };
        drop(change(&mut core, Kernel::Neighbour(known), MS));
        assert_eq!(core.resolution(ip(100)), Some(expected), "{name}");
    }
}

/// Every pair of states: what is known after `to`, having been in `from`, and when the next probe is due.
#[test]
fn every_transition_of_a_neighbour() {
    let mac = |state: NeighbourState| state.is_valid().then_some(WEB);
    for from in NeighbourState::ALL {
        for to in NeighbourState::ALL {
            let (mut core, _) = wanting(vec![device(ETH0)], Some(on_link(ETH0))); // probed at 0
            drop(change(&mut core, Kernel::Neighbour(entry(from, mac(from))), 100 * MS));
            let actions = change(&mut core, Kernel::Neighbour(entry(to, mac(to))), 200 * MS);
            let expected = match to {
                NeighbourState::Reachable
                | NeighbourState::Stale
                | NeighbourState::Delay
                | NeighbourState::Probe
                | NeighbourState::NoArp
                | NeighbourState::Permanent => resolved(WEB),
                NeighbourState::Failed => unresolved(Reason::NoAnswer),
                NeighbourState::None | NeighbourState::Incomplete if from == NeighbourState::Failed => {
                    unresolved(Reason::NoAnswer)
                }
                NeighbourState::None | NeighbourState::Incomplete => UNKNOWN,
            };
            assert_eq!(core.resolution(ip(100)), Some(expected), "{from:?} → {to:?}");
            assert_eq!(probes(&actions), 0, "{from:?} → {to:?}: nothing is due 200 ms after a probe");
            let probe_at = match to {
                NeighbourState::None | NeighbourState::Failed => RETRY,
                NeighbourState::Incomplete => GIVE_UP_WAITING,
                NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe => KEEP_ALIVE,
                NeighbourState::Reachable | NeighbourState::NoArp | NeighbourState::Permanent => RE_READ,
            };
            assert_eq!(core.next_deadline(), probe_at, "{from:?} → {to:?}: deadline");
        }
    }
}

#[test]
fn a_neighbour_that_becomes_stale_is_refreshed_at_once() {
    let (mut core, _) = wanting(vec![device(ETH0)], Some(on_link(ETH0)));
    drop(change(&mut core, Kernel::Neighbour(entry(NeighbourState::Reachable, Some(WEB))), MS));
    let stale = Kernel::Neighbour(entry(NeighbourState::Stale, Some(WEB)));
    assert_eq!(change(&mut core, stale, 30_000 * MS), [Action::Probe(vec![(ETH0, ip(100))])]);
    assert_eq!(core.next_deadline(), 30_000 * MS + KEEP_ALIVE);
}

#[test]
fn a_dead_one_is_asked_for_again_as_soon_as_the_kernel_gives_up() {
    let (mut core, _) = wanting(vec![device(ETH0)], Some(on_link(ETH0)));
    drop(change(&mut core, Kernel::Neighbour(entry(NeighbourState::Incomplete, None)), MS));
    assert_eq!(core.step(Event::Timer, 2999 * MS), []);
    let actions = change(&mut core, Kernel::Neighbour(entry(NeighbourState::Failed, None)), 3000 * MS);
    assert_eq!(
        actions,
        [
            Action::Probe(vec![(ETH0, ip(100))]),
            Action::Publish(vec![(ip(100), Some(unresolved(Reason::NoAnswer)))])
        ]
    );
}

#[test]
fn changes_of_the_ethernet_addresses_are_followed() {
    let (mut core, _) = wanting(vec![device(ETH0)], Some(on_link(ETH0)));
    let reachable = |mac| Kernel::Neighbour(entry(NeighbourState::Reachable, Some(mac)));
    let published = |resolution| Action::Publish(vec![(ip(100), Some(resolution))]);
    assert_eq!(change(&mut core, reachable(WEB), MS), [published(resolved(WEB))]);
    assert_eq!(change(&mut core, reachable(WEB), 2 * MS), [], "no change, nothing told");
    assert_eq!(change(&mut core, reachable(OTHER), 3 * MS), [published(resolved(OTHER))]);
    let renumbered = Link { mac: Some(WEB), ..device(ETH0) };
    let expected = Resolution::Resolved { dst_mac: OTHER, src_mac: WEB, ifindex: ETH0, vlan: 0 };
    assert_eq!(change(&mut core, Kernel::Link(renumbered), 4 * MS), [published(expected)]);
}

#[test]
fn a_link_that_goes_down_and_comes_back() {
    let (mut core, _) = wanting(vec![device(ETH0)], Some(on_link(ETH0)));
    drop(change(&mut core, Kernel::Neighbour(entry(NeighbourState::Reachable, Some(WEB))), MS));
    drop(change(&mut core, Kernel::Link(Link { up: false, ..device(ETH0) }), 1000 * MS));
    assert_eq!(core.resolution(ip(100)), Some(unresolved(Reason::LinkDown)));
    assert_eq!(core.next_deadline(), 1000 * MS + SETTLE, "routes are looked up again");
    assert_eq!(core.step(Event::Timer, 1000 * MS + SETTLE), [Action::LookUpRoutes(vec![ip(100)])]);
    drop(core.step(Event::Routes(vec![(ip(100), None)]), 1021 * MS));
    drop(change(&mut core, Kernel::NeighbourGone { ifindex: ETH0, address: ip(100) }, 1022 * MS));
    assert_eq!(core.resolution(ip(100)), Some(unresolved(Reason::NoRoute)));

    drop(change(&mut core, Kernel::Link(device(ETH0)), 2000 * MS));
    assert_eq!(core.step(Event::Timer, 2000 * MS + SETTLE), [Action::LookUpRoutes(vec![ip(100)])]);
    let actions = core.step(Event::Routes(vec![(ip(100), Some(on_link(ETH0)))]), 2021 * MS);
    assert_eq!(probes(&actions), 1);
    drop(change(&mut core, Kernel::LinkGone(ETH0), 3000 * MS));
    assert_eq!(core.resolution(ip(100)), Some(unresolved(Reason::LinkDown)));
}

#[test]
fn only_routes_that_cover_a_wanted_address_are_looked_up_again() {
    let (mut core, _) = wanting(vec![device(ETH0)], Some(on_link(ETH0)));
    drop(change(&mut core, Kernel::Neighbour(entry(NeighbourState::Reachable, Some(WEB))), MS));
    let quiet = core.next_deadline();
    for elsewhere in ["192.168.4.0/26", "10.0.0.0/8", "::/0"] {
        assert_eq!(change(&mut core, Kernel::Route(elsewhere.parse().unwrap()), 2 * MS), []);
        assert_eq!(core.next_deadline(), quiet, "{elsewhere}");
    }
    for (n, covering) in ["192.168.4.100/32", "192.168.4.0/24", "0.0.0.0/0"].into_iter().enumerate() {
        let at = 1000 * MS * u32::try_from(n).unwrap();
        drop(change(&mut core, Kernel::Route(covering.parse().unwrap()), at));
        assert_eq!(core.step(Event::Timer, at + SETTLE), [Action::LookUpRoutes(vec![ip(100)])], "{covering}");
    }
}

#[test]
fn a_burst_of_changes_makes_one_look_up() {
    let (mut core, _) = wanting(vec![device(ETH0)], None);
    for n in 0..10 {
        assert_eq!(change(&mut core, Kernel::Rules, n * MS), []);
    }
    assert_eq!(core.step(Event::Timer, SETTLE), [Action::LookUpRoutes(vec![ip(100)])]);
    assert_eq!(core.next_deadline(), RE_READ);
}

#[test]
fn another_device_is_probed_at_once() {
    let (mut core, _) = wanting(vec![device(ETH0), device(3)], Some(on_link(ETH0)));
    let actions = core.step(Event::Routes(vec![(ip(100), Some(on_link(3)))]), 10 * MS);
    assert_eq!(actions, [Action::Probe(vec![(3, ip(100))])]);
}

#[test]
fn lost_events_make_the_tables_be_read_again_but_not_in_a_rush() {
    let (mut core, _) = wanting(vec![device(ETH0)], Some(on_link(ETH0)));
    drop(change(&mut core, Kernel::Neighbour(entry(NeighbourState::Reachable, Some(WEB))), MS));
    assert_eq!(change(&mut core, Kernel::Overrun, 10 * MS), []);
    assert_eq!(core.next_deadline(), RE_READ_SPACING);
    assert_eq!(core.step(Event::Timer, RE_READ_SPACING), [Action::ReadTables]);
    let known = entry(NeighbourState::Reachable, Some(OTHER));
    let actions = core.step(Event::Tables { links: vec![device(ETH0)], neighbours: vec![known] }, 251 * MS);
    assert_eq!(actions, [Action::Publish(vec![(ip(100), Some(resolved(OTHER)))])]);
    assert_eq!(core.step(Event::Timer, 251 * MS + SETTLE), [Action::LookUpRoutes(vec![ip(100)])]);
    assert_eq!(change(&mut core, Kernel::Overrun, 1000 * MS), [Action::ReadTables]);
}

#[test]
fn an_address_no_longer_wanted_is_withdrawn_and_left_alone() {
    let (mut core, _) = wanting(vec![device(ETH0)], Some(on_link(ETH0)));
    assert_eq!(core.step(Event::Wanted(BTreeSet::new()), MS), [Action::Publish(vec![(ip(100), None)])]);
    assert_eq!(core.step(Event::Timer, 10_000 * MS), []);
    assert_eq!(core.next_deadline(), RE_READ);
}

#[test]
fn ten_thousand_addresses_take_one_batch_each() {
    let all: Vec<IpAddr> = (0..10_000_u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes())).collect();
    let mut core = Core::new();
    drop(core.step(Event::Started, Duration::ZERO));
    drop(core.step(Event::Tables { links: vec![device(ETH0)], neighbours: vec![] }, Duration::ZERO));
    let actions = core.step(Event::Wanted(all.iter().copied().collect()), Duration::ZERO);
    assert_eq!(actions.first(), Some(&Action::LookUpRoutes(all.clone())));
    let routes = all.iter().map(|&address| (address, Some(on_link(ETH0)))).collect();
    let actions = core.step(Event::Routes(routes), Duration::ZERO);
    assert_eq!((actions.len(), probes(&actions)), (1, 10_000));
}

/// Any order of events: what is published is what [`Core::resolution`] says, deadlines lie ahead, and an
/// address on a working segment without answer is probed again within the promised time.
#[derive(Debug, Clone)]
enum Random {
    Want(u8),
    Unwant(u8),
    State(u8, usize),
    Route(u8, bool, bool),
    Link(bool, bool),
    Overrun,
    Wait(u64),
}

fn random() -> impl Strategy<Value = Random> {
    prop_oneof![
        (0..4_u8).prop_map(Random::Want),
        (0..4_u8).prop_map(Random::Unwant),
        (0..4_u8, 0..NeighbourState::ALL.len()).prop_map(|(a, s)| Random::State(a, s)),
        (0..4_u8, any::<bool>(), any::<bool>()).prop_map(|(a, r, g)| Random::Route(a, r, g)),
        (any::<bool>(), any::<bool>()).prop_map(|(u, c)| Random::Link(u, c)),
        Just(Random::Overrun),
        (0..3000_u64).prop_map(Random::Wait),
    ]
}

proptest! {
    #[test]
    fn in_any_order_what_is_published_is_so_and_time_moves_on(steps in prop::collection::vec(random(), 1..80)) {
        let mut core = Core::new();
        let mut now = Duration::ZERO;
        let mut wanted = BTreeSet::new();
        let mut told = BTreeMap::new();
        for step in steps {
            let event = match step {
                Random::Want(a) => { wanted.insert(ip(a)); Event::Wanted(wanted.clone()) }
                Random::Unwant(a) => { wanted.remove(&ip(a)); Event::Wanted(wanted.clone()) }
                Random::State(a, s) => {
                    let state = NeighbourState::ALL[s];
                    let mac = state.is_valid().then_some(WEB);
                    Event::Kernel(Kernel::Neighbour(Neighbour { ifindex: ETH0, address: ip(a), mac, state }))
                }
                Random::Route(a, exists, through_router) => {
                    let gateway = through_router.then(|| ip(254));
                    Event::Routes(vec![(ip(a), exists.then_some(Route { gateway, ..on_link(ETH0) }))])
                }
                Random::Link(up, carrier) => Event::Kernel(Kernel::Link(Link { up, carrier, ..device(ETH0) })),
                Random::Overrun => Event::Kernel(Kernel::Overrun),
                Random::Wait(ms) => { now += Duration::from_millis(ms); Event::Timer }
            };
            for action in core.step(event, now) {
                if let Action::Publish(changes) = action {
                    for (address, resolution) in changes {
                        match resolution {
                            Some(resolution) => { told.insert(address, resolution); }
                            None => { told.remove(&address); }
                        }
                    }
                }
            }
            let known: BTreeMap<_, _> = wanted.iter().filter_map(|&a| Some((a, core.resolution(a)?))).collect();
            prop_assert_eq!(&told, &known);
            prop_assert_eq!(told.len(), wanted.len());
            prop_assert!(core.next_deadline() > now, "a deadline passed: {:?} ≤ {:?}", core.next_deadline(), now);
        }
    }
}

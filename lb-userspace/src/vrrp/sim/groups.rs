//! Sync groups: two virtual routers on two networks.

use super::{super::machine::FaultCause, *};

fn pair(seed: u64, version: Version) -> Sim {
    let settings = |(index, priority)| {
        let of = |third| {
            let last = 2 + u8::try_from(index).expect("few");
            Settings::new(version, Ipv4Addr::new(192, 168, third, last).into(), priority)
        };
        vec![of(4), of(5)]
    };
    let mut sim = Sim::new(seed, [150, 100].into_iter().enumerate().map(settings).collect());
    sim.network = Network { lost: 0, doubled: 100, delay: millis(20) };
    sim
}

/// Never one network here and the other there, but while adverts are under way.
fn together(sim: &Sim) {
    for index in 0..sim.directors.len() {
        assert_eq!(sim.state(index, 0), sim.state(index, 1), "at {:?}", sim.now);
    }
}

#[test]
fn members_become_master_and_fail_together() {
    for seed in 0..30 {
        for version in [Version::V2, Version::V3] {
            let mut sim = pair(seed, version);
            sim.start_all();
            sim.run_until(secs(6), together);
            assert_eq!((sim.masters(0), sim.masters(1)), (vec![0], vec![0]));

            // One interface of the master fails.
            let failed = sim.random.index(2);
            sim.tell(0, failed, Event::Fault(FaultCause::LinkDown));
            assert_eq!((sim.state(0, 0), sim.state(0, 1)), (Some(State::Fault), Some(State::Fault)));
            sim.run_until(sim.now + secs(10), together);
            assert_eq!((sim.masters(0), sim.masters(1)), (vec![1], vec![1]));

            sim.tell(0, failed, Event::FaultCleared(FaultCause::LinkDown));
            sim.run_until(sim.now + secs(10), together);
            assert_eq!((sim.masters(0), sim.masters(1)), (vec![0], vec![0]));
            let settled = sim.now;
            sim.run_until(settled + secs(300), together);
            assert_eq!(sim.happened_since(settled + millis(1)), []);

            // The whole machine.
            sim.kill(0);
            sim.run(secs(4));
            assert_eq!((sim.masters(0), sim.masters(1)), (vec![1], vec![1]));
        }
    }
}

#[test]
fn a_fault_of_each_must_be_over() {
    let mut sim = pair(1, Version::V2);
    sim.start_all();
    sim.run(secs(6));
    sim.tell(0, 0, Event::Fault(FaultCause::LinkDown));
    sim.tell(0, 1, Event::Fault(FaultCause::Tracked));
    sim.tell(0, 0, Event::FaultCleared(FaultCause::LinkDown));
    together(&sim);
    assert_eq!(sim.state(0, 0), Some(State::Fault));
    sim.tell(0, 1, Event::FaultCleared(FaultCause::Tracked));
    together(&sim);
    assert_eq!(sim.state(0, 0), Some(State::Backup));
}

#[test]
fn one_network_alone_does_not_move_a_group() {
    let mut sim = pair(1, Version::V2);
    sim.start_all();
    sim.run(secs(6));
    // The second director hears nothing of network 0 any more, but still of network 1.
    let (routers, ids) = sim.directors[1].running.as_mut().expect("it lives");
    let (silent, heard) = (ids[0], ids[1]);
    let mut outputs = Vec::new();
    let start = sim.now;
    for second in 0..20 {
        let now = start + secs(second);
        let sighting = Sighting { from: [192, 168, 5, 2].into(), priority: 150, interval: Interval::DEFAULT };
        outputs.extend(routers.step(heard, Event::Advert(sighting), now));
        outputs.extend(routers.timer(now));
    }
    assert_eq!(outputs, []);
    let wants = |id| routers.get(id).is_some_and(|instance| instance.wants_master());
    assert!(wants(silent) && !wants(heard));
}

#[test]
fn orders_by_hand_are_for_the_whole_group() {
    let mut sim = pair(5, Version::V2);
    sim.start_all();
    sim.run(secs(6));
    sim.tell(0, 1, Event::Release);
    sim.run(secs(20));
    assert_eq!((sim.masters(0), sim.masters(1)), (vec![1], vec![1]));
    sim.tell(0, 0, Event::Take);
    together(&sim);
    sim.run(secs(20));
    assert_eq!((sim.masters(0), sim.masters(1)), (vec![0], vec![0]));
    // Not halfway: one member of the other cannot.
    sim.tell(1, 0, Event::Fault(FaultCause::Tracked));
    sim.tell(1, 1, Event::Take);
    sim.run(secs(1));
    assert_eq!((sim.masters(0), sim.masters(1)), (vec![0], vec![0]));
}

#[test]
fn the_state_of_a_group_is_told_once() {
    let mut routers = Routers::new();
    let settings = |third| Settings::new(Version::V2, Ipv4Addr::new(192, 168, third, 2).into(), 100);
    let ids = [routers.add(settings(4)), routers.add(settings(5))];
    routers.set_groups([ids.to_vec()]);
    let mut told = Vec::new();
    let mut note = |outputs: Vec<Output>| {
        told.extend(outputs.into_iter().filter_map(|output| match output {
            Output::Group { from, to, .. } => Some((from, to)),
            Output::Instance(..) => None,
        }));
    };
    for id in ids {
        note(routers.step(id, Event::Ready(true), Duration::ZERO));
    }
    for id in ids {
        note(routers.step(id, Event::Start, Duration::ZERO));
    }
    note(routers.timer(millis(3610)));
    note(routers.step(ids[1], Event::Fault(FaultCause::LinkDown), secs(4)));
    note(routers.step(ids[1], Event::FaultCleared(FaultCause::LinkDown), secs(5)));
    for id in ids {
        note(routers.step(id, Event::Shutdown, secs(6)));
    }
    use State::{Backup, Fault, Initialize, Master, Stopped};
    let states = [Initialize, Backup, Master, Fault, Backup, Stopped];
    assert!(told.iter().copied().eq(states.windows(2).map(|pair| (pair[0], pair[1]))), "{told:?}");
}

#[test]
fn a_reload_may_change_the_groups() {
    let mut routers = Routers::new();
    let settings = |third| Settings::new(Version::V2, Ipv4Addr::new(192, 168, third, 2).into(), 100);
    let ids = [routers.add(settings(4)), routers.add(settings(5))];
    routers.set_groups([ids.to_vec(), vec![ids[0]]]);
    for event in [Event::Ready(true), Event::Start] {
        for id in ids {
            drop(routers.step(id, event, Duration::ZERO));
        }
    }
    // Out of the group, each goes its own way.
    routers.set_groups([]);
    drop(routers.step(ids[1], Event::Fault(FaultCause::LinkDown), secs(1)));
    drop(routers.timer(secs(4)));
    let state = |id| routers.get(id).map(|instance| instance.state());
    assert_eq!(ids.map(state), [Some(State::Master), Some(State::Fault)]);
    routers.remove(ids[1]);
    assert_eq!(routers.iter().count(), 1);
    assert_eq!(routers.step(ids[1], Event::Start, secs(5)), []);
}

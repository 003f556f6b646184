//! Timers, priorities, delays and orders, one rule each.

use super::*;

/// What happens at each deadline from `now` until `until`.
fn run(instance: &mut Instance, until: Duration) -> Vec<(Duration, String)> {
    let mut happened = Vec::new();
    while let Some(at) = instance.next_deadline().filter(|at| *at <= until) {
        let actions = instance.step(Event::Timer, at);
        assert!(instance.next_deadline().is_none_or(|next| next > at), "a timer does not go off twice");
        happened.push((at, words(&actions)));
    }
    happened
}

fn silent_for(version: Version, priority: u8, interval: u16) -> Duration {
    let interval = Interval::from_centiseconds(interval);
    let settings = Settings { interval, ..Settings::new(version, host(2), priority) };
    master(Settings { starts_as_master: false, ..settings }).1
}

#[test]
fn skew_is_of_a_second_in_version_2_and_of_the_interval_in_version_3() {
    let micros = Duration::from_micros;
    assert_eq!(silent_for(Version::V2, 100, 100), micros(3_609_375));
    assert_eq!(silent_for(Version::V2, 100, 300), micros(9_609_375));
    assert_eq!(silent_for(Version::V3, 100, 100), micros(3_609_375));
    assert_eq!(silent_for(Version::V3, 100, 10), micros(360_937) + Duration::from_nanos(500));
    assert_eq!(silent_for(Version::V3, 254, 1), Duration::from_nanos(30_078_125));
    assert_eq!(silent_for(Version::V3, 1, 1), Duration::from_nanos(39_960_937));
    assert_eq!(silent_for(Version::V2, 255, 100), micros(3_003_906) + Duration::from_nanos(250));
}

#[test]
fn a_master_advertises_in_step() {
    let (mut instance, at) = master(settings());
    let advert = (at + millis(1000), "advert 100".to_owned());
    assert_eq!(run(&mut instance, at + millis(1500)), [advert]);
    // A little late: the next one is in time again.
    assert_eq!(words(&instance.step(Event::Timer, at + millis(2400))), "advert 100");
    assert_eq!(instance.next_deadline(), Some(at + millis(3000)));
    // Very late: told, and a whole interval to the next one.
    assert_eq!(words(&instance.step(Event::Timer, at + millis(4500))), "say Late, advert 100");
    assert_eq!(instance.next_deadline(), Some(at + millis(5000)), "the second round of ARP");
    assert_eq!(words(&instance.step(Event::Timer, at + millis(5000))), "garp 5");
    assert_eq!(instance.next_deadline(), Some(at + millis(5500)));
}

#[test]
fn addresses_are_announced_at_once_then_after_a_delay_then_at_each_refresh() {
    let garp = Garp {
        repeat: 3,
        delay: millis(2500),
        refresh: Some(millis(4200)),
        refresh_repeat: 2,
        ..Garp::default()
    };
    let (mut instance, at) = master(Settings { garp, ..settings() });
    let garps: Vec<_> = run(&mut instance, at + millis(9000))
        .into_iter()
        .filter(|(_, words)| words != "advert 100")
        .collect();
    let expected = [(2500, "garp 3"), (4200, "garp 2"), (8400, "garp 2")];
    assert_eq!(garps, expected.map(|(after, words)| (at + millis(after), words.to_owned())));
    // Not any more as backup.
    told(&mut instance, &[advert(3, 200)], at + millis(9000));
    assert_eq!(run(&mut instance, at + millis(12_000)), []);
}

#[test]
fn without_repeats_one_is_sent() {
    let garp = Garp { repeat: 0, delay: Duration::ZERO, ..Garp::default() };
    let mut instance = backup(Settings { garp, ..settings() });
    let at = instance.next_deadline().expect("a timer");
    let actions = instance.step(Event::Timer, at);
    assert_eq!(words(&actions), "advert 100, add, garp 1, BACKUP→MASTER silence");
    assert_eq!(instance.next_deadline(), Some(at + millis(1000)), "an advert, no ARP");
}

#[test]
fn a_second_master_of_lower_precedence_is_answered_and_outcried() {
    let garp = Garp { lower_priority_repeat: 2, lower_priority_delay: millis(700), ..Garp::default() };
    let (mut instance, at) = master(Settings { garp, ..settings() });
    let first = told(&mut instance, &[advert(3, 50)], at + millis(100));
    assert_eq!(words(&first), "advert 100, garp 2, say TwoMasters");
    assert_eq!(words(&told(&mut instance, &[advert(3, 50)], at + millis(200))), "", "half an interval apart");
    let again = told(&mut instance, &[advert(3, 50)], at + millis(600));
    assert_eq!(words(&again), "advert 100, garp 2", "told once");
    let happened = run(&mut instance, at + millis(1400));
    assert_eq!(
        happened,
        [(1000, "advert 100"), (1300, "garp 2")].map(|(after, words)| (at + millis(after), words.to_owned()))
    );

    let quiet = Garp { lower_priority_repeat: 0, ..garp };
    let (mut instance, at) = master(Settings { garp: quiet, ..settings() });
    assert_eq!(words(&told(&mut instance, &[advert(3, 50)], at)), "advert 100, say TwoMasters");
    assert_eq!(instance.next_deadline(), Some(at + millis(1000)));
}

#[test]
fn a_backup_waits_by_the_interval_of_the_master() {
    for version in [Version::V2, Version::V3] {
        let mut instance = backup(Settings::new(version, host(2), 100));
        let slow = Sighting { interval: Interval::from_centiseconds(500), ..sighting(3, 150) };
        let heard = told(&mut instance, &[Event::Advert(slow)], millis(1000));
        assert_eq!(words(&heard), "say NewMaster, say IntervalDiffers");
        assert_eq!(words(&told(&mut instance, &[Event::Advert(slow)], millis(6000))), "", "told once");
        let skew = match version {
            Version::V2 => Duration::from_micros(609_375),
            Version::V3 => Duration::from_micros(3_046_875),
        };
        assert_eq!(instance.next_deadline(), Some(millis(21_000) + skew));
        // As master its own counts again.
        let at = instance.next_deadline().expect("a timer");
        told(&mut instance, &[Event::Timer], at);
        assert_eq!(instance.next_deadline(), Some(at + millis(1000)));
    }
}

#[test]
fn a_leaving_master_is_followed_after_the_skew_time() {
    let mut instance = backup(settings());
    told(&mut instance, &[advert(3, 150), advert(3, 0)], millis(1000));
    let skew = Duration::from_micros(609_375);
    assert_eq!(instance.next_deadline(), Some(millis(1000) + skew));
    // Said again, it does not take longer.
    told(&mut instance, &[advert(3, 0)], millis(1500));
    let happened = run(&mut instance, millis(1700));
    assert_eq!(
        happened,
        [(millis(1000) + skew, "advert 100, add, garp 5, BACKUP→MASTER master_left".to_owned())]
    );
}

#[test]
fn a_lower_master_is_preempted_when_the_timer_runs_out() {
    let mut instance = backup(settings());
    let due = instance.next_deadline();
    for second in 1..=3 {
        told(&mut instance, &[advert(3, 99)], millis(1000 * second));
        assert_eq!(instance.next_deadline(), due);
    }
    let happened = run(&mut instance, millis(3700));
    assert_eq!(happened.len(), 1);
    assert!(happened[0].1.ends_with("BACKUP→MASTER preempts"), "{happened:?}");
}

#[test]
fn nopreempt_leaves_every_living_master_alone() {
    let mut instance = backup(Settings { nopreempt: true, ..settings() });
    for second in 1..10 {
        told(&mut instance, &[advert(3, 1)], millis(1000 * second));
    }
    assert_eq!(instance.state(), State::Backup);
    let happened = run(&mut instance, millis(20_000));
    assert!(happened[0].1.ends_with("BACKUP→MASTER silence"), "{happened:?}");
    // As a master it does not step down for a lower one either.
    assert_eq!(
        words(&told(&mut instance, &[advert(3, 1)], millis(20_000))),
        "advert 100, garp 5, say TwoMasters"
    );
}

#[test]
fn an_owner_preempts_whatever_its_settings() {
    let owner = Settings {
        priority: 255,
        nopreempt: true,
        preempt_delay: millis(60_000),
        starts_as_master: false,
        ..settings()
    };
    let mut instance = backup(owner);
    for second in 1..=3 {
        told(&mut instance, &[advert(3, 254)], millis(1000 * second));
    }
    assert!(run(&mut instance, millis(3100))[0].1.ends_with("preempts"));
    told(&mut instance, &[Event::Priority(7)], millis(3100));
    assert_eq!(instance.advertised(), 255);
}

#[test]
fn a_ready_owner_begins_as_master() {
    let mut instance = Instance::new(Settings::new(Version::V2, host(2), 255));
    let actions = told(&mut instance, &[Event::Ready(true), Event::Start], millis(0));
    assert_eq!(words(&actions), "remove, advert 255, add, garp 5, INIT→MASTER owner");

    let mut instance = Instance::new(Settings::new(Version::V2, host(2), 255));
    assert_eq!(words(&told(&mut instance, &[Event::Start], millis(0))), "remove, INIT→BACKUP started");

    let mut instance = Instance::new(Settings { starts_as_master: true, ..settings() });
    let actions = told(&mut instance, &[Event::Ready(true), Event::Start], millis(0));
    assert_eq!(words(&actions), "remove, INIT→BACKUP started", "the state alone gives no head start");
}

#[test]
fn preempting_is_delayed_from_the_first_advert_of_a_lower_master() {
    let mut instance = backup(Settings { preempt_delay: millis(5000), ..settings() });
    let first = told(&mut instance, &[advert(3, 50)], millis(1000));
    assert_eq!(words(&first), "say PreemptDelayed, say NewMaster");
    for second in 2..=5 {
        assert_eq!(words(&told(&mut instance, &[advert(3, 50)], millis(1000 * second))), "");
    }
    assert_eq!(words(&told(&mut instance, &[advert(3, 50)], millis(6000))), "say LowerPriority");
    // 3.609 s after the last one that was followed.
    let happened = run(&mut instance, millis(9000));
    assert_eq!(happened[0].0, Duration::from_micros(8_609_375));

    // A higher one in between begins it anew.
    let mut instance = backup(Settings { preempt_delay: millis(5000), ..settings() });
    told(&mut instance, &[advert(3, 50)], millis(1000));
    told(&mut instance, &[advert(3, 150)], millis(5000));
    let again = told(&mut instance, &[advert(3, 50)], millis(6500));
    assert_eq!(words(&again), "say PreemptDelayed");

    // A silent master is not waited for any longer.
    let happened = run(&mut instance, millis(11_000));
    assert_eq!(happened[0].0, Duration::from_micros(10_109_375));
}

#[test]
fn a_lower_master_is_not_waited_for_as_long_as_another_with_a_longer_interval() {
    let mut instance = backup(Settings { preempt_delay: millis(1), ..settings() });
    let rare = Sighting { interval: Interval::from_centiseconds(2500), ..sighting(3, 50) };
    assert_eq!(
        words(&told(&mut instance, &[Event::Advert(rare)], millis(1000)))[..18],
        *"say PreemptDelayed"
    );
    assert_eq!(words(&told(&mut instance, &[advert(4, 50)], millis(2000))), "say LowerPriority");
    assert_eq!(run(&mut instance, millis(9000))[0].0, Duration::from_micros(5_609_375));
}

#[test]
fn a_director_that_is_not_ready_preempts_nobody() {
    let mut instance = Instance::new(settings());
    told(&mut instance, &[Event::Start], millis(0));
    assert_eq!(words(&told(&mut instance, &[advert(3, 50)], millis(1000))), "say NotReady, say NewMaster");
    for second in 2..10 {
        told(&mut instance, &[advert(3, 50)], millis(1000 * second));
    }
    assert_eq!(instance.state(), State::Backup);
    // Once it is, the ordinary rule holds.
    told(&mut instance, &[Event::Ready(true)], millis(9500));
    told(&mut instance, &[advert(3, 50)], millis(10_000));
    let happened = run(&mut instance, millis(13_000));
    assert_eq!(happened[0].0, Duration::from_micros(12_609_375));
}

#[test]
fn a_director_that_is_not_ready_lets_all_others_go_first_but_serves_if_there_is_none() {
    for priority in [1, 100, 254] {
        let (mut ready, mut waiting) = (
            backup(Settings { priority: 1, ..settings() }),
            Instance::new(Settings { priority, ..settings() }),
        );
        told(&mut waiting, &[Event::Start], millis(0));
        for instance in [&mut ready, &mut waiting] {
            told(instance, &[advert(3, 254), advert(3, 0)], millis(1000));
        }
        assert!(ready.next_deadline() < waiting.next_deadline());
        assert!(run(&mut waiting, millis(3000))[0].1.ends_with("BACKUP→MASTER master_left"));
    }
}

#[test]
fn a_release_keeps_the_addresses_until_another_master_is_heard() {
    let (mut instance, at) = master(settings());
    assert_eq!(words(&told(&mut instance, &[Event::Release], at)), "advert 0, say Releasing");
    assert_eq!(run(&mut instance, at + millis(1500)), [(at + millis(1000), "advert 0".to_owned())], "again");
    let heard = told(&mut instance, &[advert(3, 50)], at + millis(1600));
    assert_eq!(words(&heard), "remove, MASTER→BACKUP handed_over");
    // And leaves that one alone.
    for second in 2..20 {
        told(&mut instance, &[advert(3, 50)], at + millis(1000 * second));
    }
    assert_eq!((instance.state(), instance.status(at).hand), (State::Backup, Some(Hand::Released)));
    // Until it is gone.
    let happened = run(&mut instance, at + millis(30_000));
    assert!(happened[0].1.ends_with("BACKUP→MASTER silence"), "{happened:?}");
    assert_eq!(instance.status(at).hand, None);
}

#[test]
fn a_release_that_nobody_takes_changes_nothing() {
    let (mut instance, at) = master(settings());
    told(&mut instance, &[Event::Release], at);
    let happened = run(&mut instance, at + millis(4500));
    let expected = [
        (1000, "advert 0"),
        (2000, "advert 0"),
        (3000, "advert 0"),
        (4000, "say ReleaseUntaken, advert 100"),
    ];
    assert_eq!(happened, expected.map(|(after, words)| (at + millis(after), words.to_owned())));
    assert_eq!((instance.state(), instance.status(at).hand), (State::Master, None));
}

#[test]
fn what_was_released_is_not_preempted_after_a_fault_either() {
    let (mut instance, at) = master(settings());
    told(&mut instance, &[Event::Release, Event::Fault(FaultCause::Tracked)], at);
    told(&mut instance, &[Event::FaultCleared(FaultCause::Tracked), advert(3, 50)], at + millis(100));
    assert_eq!(instance.status(at).hand, Some(Hand::Released));
    assert_eq!(words(&told(&mut instance, &[advert(3, 50)], at + millis(1100))), "");
}

#[test]
fn taking_outbids_the_master() {
    let take = |own: u8, master: Option<(u8, u8)>| {
        let mut instance = backup(Settings { priority: own, starts_as_master: false, ..settings() });
        if let Some((from, priority)) = master {
            told(&mut instance, &[advert(from, priority)], millis(500));
        }
        words(&told(&mut instance, &[Event::Take], millis(600)))
    };
    assert_eq!(take(100, None), "advert 100, add, garp 5, BACKUP→MASTER taken");
    assert_eq!(take(100, Some((3, 50))), "advert 100, add, garp 5, BACKUP→MASTER taken");
    assert_eq!(take(100, Some((3, 100))), "advert 101, add, garp 5, BACKUP→MASTER taken");
    assert_eq!(take(100, Some((3, 200))), "advert 201, add, garp 5, BACKUP→MASTER taken");
    assert_eq!(take(100, Some((3, 253))), "advert 254, add, garp 5, BACKUP→MASTER taken");
    assert_eq!(take(100, Some((1, 254))), "advert 254, add, garp 5, BACKUP→MASTER taken", "by address");
    assert_eq!(take(100, Some((3, 254))), "say TakeRefused");
    assert_eq!(take(100, Some((3, 255))), "say TakeRefused");
    assert_eq!(take(255, Some((3, 254))), "advert 255, add, garp 5, BACKUP→MASTER taken");
}

#[test]
fn what_is_taken_stays_taken_until_it_is_released_or_outranked() {
    let mut instance = backup(settings());
    told(&mut instance, &[advert(3, 150), Event::Take], millis(500));
    told(&mut instance, &[Event::Priority(90)], millis(600));
    assert_eq!(instance.advertised(), 151);
    assert_eq!(
        words(&told(&mut instance, &[advert(3, 150)], millis(700))),
        "advert 151, garp 5, say TwoMasters"
    );
    let outranked = told(&mut instance, &[advert(3, 152)], millis(800));
    assert_eq!(words(&outranked), "remove, MASTER→BACKUP outranked");
    assert_eq!((instance.advertised(), instance.status(millis(800)).hand), (90, None));
}

#[test]
fn a_director_that_is_not_ready_takes_from_nobody() {
    let mut instance = Instance::new(settings());
    told(&mut instance, &[Event::Start, advert(3, 50)], millis(0));
    let refused = Action::Report(Report::TakeRefused(TakeRefusal::NotReady));
    assert_eq!(told(&mut instance, &[Event::Take], millis(100)), [refused]);
    let mut alone = Instance::new(settings());
    told(&mut alone, &[Event::Start, Event::Take], millis(0));
    assert_eq!(alone.state(), State::Master);
}

#[test]
fn all_faults_must_be_over() {
    let mut instance = backup(settings());
    told(&mut instance, &[Event::Fault(FaultCause::LinkDown), Event::Fault(FaultCause::Tracked)], millis(0));
    assert_eq!(words(&told(&mut instance, &[Event::FaultCleared(FaultCause::LinkDown)], millis(100))), "");
    assert_eq!(instance.next_deadline(), None);
    let over = told(&mut instance, &[Event::FaultCleared(FaultCause::Tracked)], millis(200));
    assert_eq!(words(&over), "FAULT→BACKUP faults_over");
    assert_eq!(instance.next_deadline(), Some(millis(200) + Duration::from_micros(3_609_375)));
}

#[test]
fn a_fault_before_the_start_is_a_fault_at_the_start() {
    let mut instance = Instance::new(settings());
    let actions = told(&mut instance, &[Event::Fault(FaultCause::LinkDown), Event::Start], millis(0));
    assert_eq!(words(&actions), "remove, INIT→FAULT link_down");
}

#[test]
fn an_owner_is_back_one_interval_after_its_fault() {
    let (mut instance, at) = {
        let mut instance = Instance::new(Settings::new(Version::V2, host(2), 255));
        told(&mut instance, &[Event::Ready(true), Event::Start], millis(0));
        (instance, millis(5000))
    };
    let down = told(&mut instance, &[Event::Fault(FaultCause::LinkDown)], at);
    assert_eq!(words(&down), "advert 0, remove, MASTER→FAULT link_down");
    told(&mut instance, &[Event::FaultCleared(FaultCause::LinkDown)], at);
    assert_eq!(instance.next_deadline(), Some(at + Duration::from_nanos(1_003_906_250)));
}

#[test]
fn a_changed_priority_is_advertised_at_once() {
    let (mut instance, at) = master(settings());
    assert_eq!(words(&told(&mut instance, &[Event::Priority(80)], at + millis(300))), "advert 80");
    assert_eq!(instance.next_deadline(), Some(at + millis(1300)));
    assert_eq!(words(&told(&mut instance, &[Event::Priority(80)], at + millis(400))), "");
    assert_eq!(
        words(&told(&mut instance, &[Event::Priority(0)], at + millis(400))),
        "advert 1",
        "0 would leave"
    );
    assert_eq!(words(&told(&mut instance, &[Event::Priority(255)], at + millis(400))), "advert 254");
}

#[test]
fn a_backup_that_stood_still_listens_before_it_acts() {
    let mut instance = backup(settings());
    told(&mut instance, &[advert(3, 150)], millis(500));
    // Due at 4.109 s; the machine was paused.
    let late = instance.step(Event::Timer, millis(9000));
    assert_eq!(late, [Action::Report(Report::Late(Duration::from_nanos(4_890_625_000)))]);
    assert_eq!(instance.next_deadline(), Some(millis(10_000)));
    let mut heard = instance.clone();
    told(&mut heard, &[advert(3, 150)], millis(9900));
    assert_eq!(heard.next_deadline(), Some(Duration::from_micros(13_509_375)));
    // Once only: it may be late again.
    let actions = instance.step(Event::Timer, millis(15_000));
    assert_eq!(words(&actions), "advert 100, add, garp 5, BACKUP→MASTER silence");
}

#[test]
fn only_the_master_can_leave() {
    let mut instance = backup(settings());
    told(&mut instance, &[advert(3, 150)], millis(500));
    let due = instance.next_deadline();
    assert_eq!(words(&told(&mut instance, &[advert(9, 0)], millis(600))), "say StrangerLeft");
    assert_eq!(instance.next_deadline(), due);
}

#[test]
fn two_living_masters_are_told_of_once() {
    let mut instance = backup(settings());
    let mut reports = 0;
    for round in 0..50 {
        let now = millis(1000 * round);
        reports += told(&mut instance, &[advert(3, 150)], now).len();
        reports += told(&mut instance, &[advert(4, 160)], now + millis(300)).len();
    }
    assert_eq!(reports, 2);
    assert_eq!(instance.state(), State::Backup);
}

#[test]
fn a_reload_keeps_the_state() {
    let (mut instance, at) = master(settings());
    let before = instance.next_deadline();
    assert_eq!(words(&told(&mut instance, &[Event::Reconfigured(settings(), 100)], at)), "");
    assert_eq!(instance.next_deadline(), before, "nothing changed");
    let faster = Settings { interval: Interval::from_centiseconds(10), priority: 120, ..settings() };
    assert_eq!(words(&told(&mut instance, &[Event::Reconfigured(faster, 110)], at)), "advert 110");
    assert_eq!(instance.next_deadline(), Some(at + millis(100)));
    assert_eq!(instance.state(), State::Master);
}

/// Reloads come as they like, also while a takeover is under way.
#[test]
fn a_reload_does_not_put_a_takeover_off() {
    let other = |priority| Settings { priority, ..settings() };
    // The master is silent: it is missed when it would have been without the reloads.
    let mut instance = backup(settings());
    told(&mut instance, &[advert(3, 150)], millis(10_000));
    let due = instance.next_deadline().unwrap();
    for (count, at) in (10_100..13_600).step_by(100).enumerate() {
        let priority = if count.is_multiple_of(2) { 101 } else { 100 };
        let actions = told(&mut instance, &[Event::Reconfigured(other(priority), priority)], millis(at));
        assert_eq!(words(&actions), "");
    }
    assert!(instance.next_deadline().unwrap().abs_diff(due) < millis(10), "{:?}", instance.next_deadline());
    // It said that it leaves: only the skew is waited.
    let mut instance = backup(settings());
    told(&mut instance, &[advert(3, 150), advert(3, 0)], millis(10_000));
    let due = instance.next_deadline();
    told(&mut instance, &[Event::Reconfigured(other(101), 101)], millis(10_100));
    assert_eq!(instance.next_deadline(), due);
    // A master of lower priority is not waited for, unless it is not lower any more.
    let mut instance = backup(settings());
    told(&mut instance, &[advert(3, 150), advert(3, 90)], millis(10_000));
    let due = instance.next_deadline();
    told(&mut instance, &[Event::Reconfigured(other(95), 95), advert(3, 90)], millis(11_000));
    assert_eq!(instance.next_deadline(), due);
    told(&mut instance, &[Event::Reconfigured(other(80), 80)], millis(11_000));
    assert!(instance.next_deadline() > due);
    // What is long due is due now, not in the past.
    let mut instance = backup(settings());
    told(&mut instance, &[advert(3, 150)], millis(10_000));
    let faster = Settings { version: Version::V2, interval: Interval::from_centiseconds(10), ..settings() };
    told(&mut instance, &[Event::Reconfigured(faster, 100)], millis(60_000));
    assert!(instance.next_deadline() >= Some(millis(60_000)));
}

#[test]
fn nothing_happens_after_the_end() {
    let (mut instance, at) = master(settings());
    let stopped = told(&mut instance, &[Event::Shutdown], at);
    assert_eq!(words(&stopped), "advert 0, remove, MASTER→STOP stopped");
    for event in [Event::Start, Event::Shutdown, Event::Timer, advert(3, 0), Event::Take] {
        let actions = told(&mut instance, &[event], at);
        assert!(matches!(*actions, [] | [Action::Report(Report::TakeRefused(_))]), "{actions:?}");
    }
    assert_eq!(instance.next_deadline(), None);
}

#[test]
fn reasons_are_words() {
    let why = Why::Silence { master: Some(host(3)), silent: Duration::from_micros(3_609_375) };
    let transition = Transition { from: State::Backup, to: State::Master, why };
    assert_eq!(transition.to_string(), "BACKUP to MASTER: no advert from 192.168.4.3 for 3.609s");
    let why = Why::Outranked { by: host(3), theirs: 150, ours: 100 };
    assert_eq!(why.to_string(), "192.168.4.3 has the higher priority 150 (here 100)");
    let report = Report::IntervalDiffers {
        master: Sighting { interval: Interval::from_centiseconds(50), ..sighting(3, 150) },
        ours: Interval::DEFAULT,
    };
    assert_eq!(
        report.to_string(),
        "192.168.4.3 sends an advert each 500ms, this director each 1s; set `advert_interval` alike"
    );
}

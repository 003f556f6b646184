//! Every state × every event: what is done, and when the next timer is due. The table is `transitions.txt` beside.

use super::*;

const NOW: Duration = Duration::from_secs(100);

/// Each state, and what was ordered by hand, in a virtual router that entered it half a second before [`NOW`].
fn states() -> Vec<(&'static str, Instance)> {
    let before = NOW - millis(500);
    let after = |events: &[Event]| {
        let mut instance = Instance::new(settings());
        told(&mut instance, &[Event::Ready(true)], before);
        told(&mut instance, events, before);
        instance
    };
    let master = |events: &[Event]| {
        let mut instance = Instance::new(settings());
        told(&mut instance, &[Event::Ready(true)], Duration::ZERO);
        let start = before - instance.status(Duration::ZERO).master_down_interval;
        told(&mut instance, &[Event::Start], start);
        told(&mut instance, &[Event::Timer], before);
        assert_eq!(instance.state(), State::Master);
        told(&mut instance, events, before);
        instance
    };
    vec![
        ("INIT", after(&[])),
        ("BACKUP", after(&[Event::Start, advert(3, 150)])),
        ("BACKUP of a lower master", after(&[Event::Start, advert(3, 50)])),
        ("BACKUP released", after(&[Event::Start, Event::Release, advert(3, 50)])),
        ("MASTER", master(&[])),
        ("MASTER releasing", master(&[Event::Release])),
        ("MASTER taken", after(&[Event::Start, advert(3, 150), Event::Take])),
        ("FAULT", after(&[Event::Start, Event::Fault(FaultCause::LinkDown)])),
        ("STOP", after(&[Event::Start, Event::Shutdown])),
    ]
}

fn events() -> Vec<(&'static str, Event, Duration)> {
    let slower = Settings { interval: Interval::from_centiseconds(200), ..settings() };
    vec![
        ("start", Event::Start, NOW),
        ("advert 200 of .3", advert(3, 200), NOW),
        ("advert 100 of .3, the higher address", advert(3, 100), NOW),
        ("advert 100 of .1, the lower address", advert(1, 100), NOW),
        ("advert 50 of .3", advert(3, 50), NOW),
        ("advert 0 of .3", advert(3, 0), NOW),
        ("advert 0 of .9", advert(9, 0), NOW),
        ("timer, nothing due", Event::Timer, NOW),
        ("timer, due", Event::Timer, NOW + millis(500)),
        ("timer, long due", Event::Timer, NOW + Duration::from_secs(7)),
        ("link down", Event::Fault(FaultCause::LinkDown), NOW),
        ("link up", Event::FaultCleared(FaultCause::LinkDown), NOW),
        ("priority 120", Event::Priority(120), NOW),
        ("not ready", Event::Ready(false), NOW),
        ("ready, as before", Event::Ready(true), NOW),
        ("release", Event::Release, NOW),
        ("take", Event::Take, NOW),
        ("another interval", Event::Reconfigured(slower, 100), NOW),
        ("all of the group want it", Event::Group(Order::Master), NOW),
        ("a member of the group is backup", Event::Group(Order::Backup), NOW),
        ("a member of the group asserts itself", Event::Group(Order::Assert), NOW),
        ("shut down", Event::Shutdown, NOW),
    ]
}

fn table() -> String {
    let mut table = String::new();
    for (event_name, event, now) in events() {
        table += &format!("{event_name}\n");
        for (state_name, mut instance) in states() {
            let actions = instance.step(event, now);
            let due = match instance.next_deadline() {
                Some(at) if at >= now => format!("+{:.3}", (at - now).as_secs_f64()),
                Some(at) => format!("-{:.3}", (now - at).as_secs_f64()),
                None => "never".to_owned(),
            };
            let line = format!("    {state_name:24} {due:>7}  {}", words(&actions));
            table += line.trim_end();
            table.push('\n');
        }
    }
    table
}

/// To change the table, change the file, and say in the commit why.
#[test]
fn every_state_takes_every_event() {
    let (found, expected) = (table(), include_str!("transitions.txt"));
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found, expected);
}

#[test]
fn each_state_is_in_the_table() {
    let there: Vec<_> = states().iter().map(|(_, instance)| instance.state()).collect();
    assert!(State::ALL.iter().all(|state| there.contains(state)));
}

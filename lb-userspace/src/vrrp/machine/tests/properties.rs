//! What holds after any events at any times.

use proptest::prelude::*;

use super::*;

fn settings_of_any_kind() -> impl Strategy<Value = Settings> {
    let timing = (1..=4095_u16, 0..3000_u64, 0..3000_u64, proptest::option::of(0..3000_u64));
    (any::<bool>(), 1..=255_u8, any::<bool>(), any::<bool>(), timing).prop_map(
        |(is_v2, priority, starts_as_master, nopreempt, (interval, preempt_delay, delay, refresh))| {
            Settings {
                version: if is_v2 { Version::V2 } else { Version::V3 },
                address: host(2),
                priority,
                starts_as_master,
                interval: Interval::from_centiseconds(if is_v2 {
                    (interval % 255 + 1) * 100
                } else {
                    interval
                }),
                down_adverts: 3,
                nopreempt,
                preempt_delay: millis(preempt_delay),
                garp: Garp {
                    delay: millis(delay),
                    refresh: refresh.map(millis),
                    lower_priority_delay: millis(delay / 2),
                    ..Garp::default()
                },
            }
        },
    )
}

fn any_event() -> impl Strategy<Value = Event> {
    let sighting = (1..=5_u8, any::<u8>(), 1..=4095_u16)
        .prop_filter("not from itself", |(from, ..)| *from != 2)
        .prop_map(|(from, priority, interval)| Sighting {
            from: host(from),
            priority,
            interval: Interval::from_centiseconds(interval),
        });
    let cause = proptest::sample::select(FaultCause::ALL.to_vec());
    prop_oneof![
        6 => sighting.prop_map(Event::Advert),
        10 => Just(Event::Timer),
        1 => cause.clone().prop_map(Event::Fault),
        3 => cause.prop_map(Event::FaultCleared),
        1 => any::<u8>().prop_map(Event::Priority),
        2 => any::<bool>().prop_map(Event::Ready),
        1 => Just(Event::Release),
        1 => Just(Event::Take),
        1 => (settings_of_any_kind(), any::<u8>()).prop_map(|(settings, now)| Event::Reconfigured(settings, now)),
        1 => proptest::sample::select(vec![Order::Master, Order::Backup, Order::Assert]).prop_map(Event::Group),
    ]
}

/// When an event comes, as seen from the one before.
#[derive(Debug, Clone, Copy)]
enum When {
    After(u64),
    AtDeadline,
}

proptest! {
    #[test]
    fn the_addresses_are_there_exactly_while_it_is_master(
        settings in settings_of_any_kind(),
        is_grouped: bool,
        events in proptest::collection::vec(
            (
                any_event(),
                prop_oneof![(0..5000_u64).prop_map(When::After), Just(When::AtDeadline)],
            ),
            1..120,
        ),
        ends: bool,
    ) {
        let mut instance = Instance::new(settings);
        instance.set_grouped(is_grouped);
        let start = [(Event::Start, When::After(0))];
        let end = ends.then_some((Event::Shutdown, When::After(1)));
        let (mut now, mut has_addresses, mut last_advert) = (Duration::ZERO, true, None);
        for (event, when) in start.into_iter().chain(events).chain(end) {
            now = match when {
                When::After(after) => now + millis(after),
                When::AtDeadline => instance.next_deadline().map_or(now, |at| at.max(now)),
            };
            let before = instance.state();
            let mut state = before;
            for action in instance.step(event, now) {
                match action {
                    Action::SendAdvert { priority } => {
                        last_advert = Some(priority);
                    }
                    Action::AddAddresses => {
                        prop_assert!(last_advert.is_some_and(|priority| priority > 0), "the advert comes first");
                        has_addresses = true;
                    }
                    Action::RemoveAddresses => has_addresses = false,
                    Action::SendGarp { repeat } => {
                        prop_assert!(has_addresses, "announced only while it has them");
                        prop_assert!(repeat > 0);
                    }
                    Action::Transition(Transition { from, to, .. }) => {
                        prop_assert_eq!(from, state);
                        prop_assert_ne!(from, to);
                        state = to;
                    }
                    Action::Report(_) => {}
                    Action::Want => prop_assert!(is_grouped),
                }
            }
            prop_assert_eq!(state, instance.state(), "every change is told");
            prop_assert_eq!(has_addresses, state == State::Master);
            if before == State::Master && matches!(state, State::Fault | State::Stopped) {
                prop_assert_eq!(last_advert, Some(0), "leaving is said");
            }
            let waits = matches!(state, State::Backup | State::Master);
            prop_assert_eq!(instance.next_deadline().is_some(), waits);
            if matches!(event, Event::Timer) && waits {
                prop_assert!(instance.next_deadline().is_some_and(|next| next > now), "no timer goes off twice");
            }
            if waits && state == State::Backup {
                prop_assert!(instance.advertised() > 0);
            }
        }
    }

    /// Without a single further event but its timer, every backup without a fault becomes master.
    #[test]
    fn silence_always_ends_in_a_master(
        settings in settings_of_any_kind(),
        events in proptest::collection::vec((any_event(), 0..5000_u64), 0..60),
    ) {
        let mut instance = Instance::new(settings);
        let mut now = Duration::ZERO;
        told(&mut instance, &[Event::Start], now);
        for (event, after) in events {
            now += millis(after);
            told(&mut instance, &[event], now);
        }
        for cause in FaultCause::ALL {
            told(&mut instance, &[Event::FaultCleared(cause)], now);
        }
        let patience = now + instance.status(now).master_down_interval * 2 + Duration::from_secs(45);
        while instance.state() == State::Backup {
            now = now.max(instance.next_deadline().expect("a timer"));
            prop_assert!(now <= patience);
            told(&mut instance, &[Event::Timer], now);
        }
        prop_assert_eq!(instance.state(), State::Master);
    }
}

use proptest::prelude::*;

use super::*;
use crate::config::checks::{Probe, Timing};
use crate::process::Script;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn check(kind: ProbeKind, weight: i32) -> Check {
    let timing = Timing {
        interval: ms(1000),
        timeout: ms(1000),
        retries: 0,
        retry_delay: ms(0),
        warmup: ms(0),
        rise: 1,
        fall: 1,
        fast_interval: None,
    };
    let probe = Probe { kind, connect: "192.0.2.1:80".parse().unwrap(), source: None, fwmark: None };
    Check { probe, timing, weight }
}

fn health(checks: Vec<Check>, slow_start: u64) -> ServerHealth {
    ServerHealth { slow_start: ms(slow_start), checks, ..ServerHealth::default() }
}

fn input(standing: Standing) -> Input {
    Input { standing, number: None }
}

const UP: Standing = Standing::Up;
const DOWN: Standing = Standing::Down;
const UNKNOWN: Standing = Standing::Unknown;

#[test]
fn up_is_when_every_check_that_decides_passes() {
    // Whether it is assumed up, standings of two checks, whether it is up.
    let table = [
        (true, [UNKNOWN, UNKNOWN], true),
        (true, [UNKNOWN, UP], true),
        (true, [UNKNOWN, DOWN], false),
        (true, [UP, UP], true),
        (true, [UP, DOWN], false),
        (true, [DOWN, DOWN], false),
        (false, [UNKNOWN, UNKNOWN], false),
        (false, [UNKNOWN, UP], false),
        (false, [UNKNOWN, DOWN], false),
        (false, [UP, UP], true),
        (false, [UP, DOWN], false),
        (false, [DOWN, DOWN], false),
    ];
    let health = health(vec![check(ProbeKind::Tcp, 0), check(ProbeKind::Ping, 0)], 0);
    for (assumed, standings, up) in table {
        for order in [[0, 1], [1, 0]] {
            let mut state = State::new(2, assumed);
            assert_eq!(state.is_up(), assumed);
            let mut turns = 0;
            for index in order {
                let event = Event::Check(index, input(standings[index]));
                let (next, actions) = state.step(event, &health, 1, ms(0));
                turns += u32::from(actions.turned.is_some());
                state = next;
            }
            assert_eq!(state.is_up(), up, "{assumed} {standings:?}");
            assert_eq!(turns, u32::from(up != assumed), "{assumed} {standings:?}");
        }
    }
}

#[test]
fn who_is_not_checked_is_up() {
    assert!(State::new(0, false).is_up());
}

#[test]
fn weights_of_checks_add_up_and_take_nobody_out() {
    let script = || ProbeKind::Script {
        script: Script { words: vec!["x".to_owned()], user: None },
        weight_by_exit: true,
    };
    let file = || ProbeKind::File { path: "/x".to_owned() };
    let number = |number| Input { standing: UP, number: Some(number) };
    // Check, what it says, the weight that a configured one of 10 becomes.
    let table = [
        (check(ProbeKind::Tcp, -4), input(UP), 10),
        (check(ProbeKind::Tcp, -4), input(DOWN), 6),
        (check(ProbeKind::Tcp, -4), input(UNKNOWN), 10),
        (check(ProbeKind::Tcp, -40), input(DOWN), 0),
        (check(ProbeKind::Tcp, 4), input(UP), 14),
        (check(ProbeKind::Tcp, 4), input(DOWN), 10),
        (check(ProbeKind::Tcp, 65_535), input(UP), MAX_WEIGHT),
        (check(file(), 2), number(3), 16),
        (check(file(), -1), number(3), 7),
        (check(file(), 0), number(3), 10),
        (check(script(), 0), number(250), 250),
        (check(script(), 0), number(0), 0),
        (check(script(), 0), input(UP), 10),
        (check(script(), -3), input(DOWN), 7),
    ];
    for (check, said, expected) in table {
        let shown = format!("{check:?} {said:?}");
        let health = health(vec![check], 0);
        let (state, actions) = State::new(1, true).step(Event::Check(0, said), &health, 10, ms(0));
        assert!(state.is_up(), "{shown}");
        assert_eq!(state.share().of(10), expected, "{shown}");
        assert_eq!(actions.reweighted, expected != 10, "{shown}");
        assert_eq!(state.share().of(0), 0, "a weight of 0 is an order");
    }
}

#[test]
fn after_a_failure_the_weight_grows_in_steps() {
    let health = health(vec![check(ProbeKind::Tcp, 0)], 10_000);
    let down = Event::Check(0, input(DOWN));
    let (state, _) = State::new(1, true).step(down, &health, 100, ms(0));
    assert_eq!(state.deadline(&health), None);
    let up = Event::Check(0, input(UP));
    let (mut state, actions) = state.step(up, &health, 100, ms(1000));
    assert_eq!((actions.turned, state.share().of(100), state.share().whole(100)), (Some(true), 5, 100));
    let mut weights = Vec::new();
    while let Some(due) = state.deadline(&health) {
        let (next, actions) = state.step(Event::Tick, &health, 100, due);
        state = next;
        assert_eq!(actions.turned, None);
        weights.push((u64::try_from(due.as_millis()).unwrap() - 1000, state.share().of(100)));
    }
    let expected: Vec<(u64, u32)> =
        (1..=20u32).map(|step| (500 * u64::from(step), (5 * step).max(5))).collect();
    assert_eq!(weights, expected);
    assert_eq!(state.share(), Share::default());
}

#[test]
fn a_failure_ends_the_growth() {
    let health = health(vec![check(ProbeKind::Tcp, 0)], 10_000);
    let (state, _) = State::new(1, true).step(Event::Check(0, input(DOWN)), &health, 100, ms(0));
    let (state, _) = state.step(Event::Check(0, input(UP)), &health, 100, ms(0));
    let (state, actions) = state.step(Event::Check(0, input(DOWN)), &health, 100, ms(700));
    assert_eq!((actions.turned, state.deadline(&health)), (Some(false), None));
    let (state, _) = state.step(Event::Check(0, input(UP)), &health, 100, ms(9000));
    assert_eq!((state.share().of(100), state.deadline(&health)), (5, Some(ms(9500))));
}

#[test]
fn who_begins_does_not_grow() {
    let health = health(vec![check(ProbeKind::Tcp, 0)], 10_000);
    let (state, actions) = State::new(1, false).step(Event::Check(0, input(UP)), &health, 100, ms(0));
    assert_eq!((actions.turned, state.share().of(100), state.deadline(&health)), (Some(true), 100, None));
}

#[test]
fn growing_slowly_never_means_nothing() {
    let part = |twentieths, weight| Share { change: 0, twentieths }.of(weight);
    assert_eq!([part(1, 1), part(1, 3), part(10, 3), part(20, 3), part(1, 0)], [1, 1, 1, 3, 0]);
}

proptest! {
    #[test]
    fn the_weight_only_grows_until_it_is_whole(slow_start in 1u64..100_000, weight in 1u32..=MAX_WEIGHT) {
        let health = health(vec![check(ProbeKind::Tcp, 0)], slow_start);
        let (state, _) = State::new(1, true).step(Event::Check(0, input(DOWN)), &health, weight, ms(0));
        let (mut state, _) = state.step(Event::Check(0, input(UP)), &health, weight, ms(0));
        let (mut last, mut steps) = (0, 0);
        while let Some(due) = state.deadline(&health) {
            let (next, _) = state.step(Event::Tick, &health, weight, due);
            let now = next.share().of(weight);
            prop_assert!(now >= last && now <= weight);
            prop_assert!(due <= ms(slow_start));
            (state, last, steps) = (next, now, steps + 1);
            prop_assert!(steps <= STEPS);
        }
        prop_assert_eq!(state.share().of(weight), weight);
    }
}

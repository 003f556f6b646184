use proptest::prelude::*;

use super::*;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// No randomness: all of it is a part of `warmup` and of periods.
fn timing() -> Timing {
    Timing {
        interval: ms(6000),
        timeout: ms(1000),
        retries: 0,
        retry_delay: ms(1000),
        warmup: ms(0),
        rise: 1,
        fall: 1,
        fast_interval: None,
    }
}

/// Drives a check by its own deadlines.
struct Driven {
    state: State,
    now: Now,
    probe: u32,
}

impl Driven {
    fn new(timing: Timing) -> Self {
        Self { state: State::new(timing, 7, ms(0)), now: ms(0), probe: 0 }
    }

    fn step(&mut self, event: Event) -> Actions {
        let (state, actions) = self.state.clone().step(event, self.now);
        self.state = state;
        actions
    }

    /// Waits for the next probe; returns how long that took.
    fn start(&mut self) -> Duration {
        let before = self.now;
        self.now = self.state.deadline().expect("it waits");
        self.probe = self.step(Event::Tick).probe.expect("a probe");
        self.now - before
    }

    fn end(&mut self, verdict: Verdict) -> bool {
        self.step(Event::Finished { probe: self.probe, verdict }).changed
    }

    /// A whole probe without duration.
    fn run(&mut self, verdict: Verdict) -> bool {
        self.start();
        self.end(verdict)
    }

    /// One that has this standing.
    fn standing(timing: Timing, standing: Standing) -> Self {
        let mut driven = Self::new(timing);
        match standing {
            Standing::Unknown => {}
            Standing::Up => assert!(driven.run(Verdict::Passed)),
            Standing::Down => assert!(driven.run(Verdict::Failed)),
        }
        driven
    }
}

#[test]
fn what_a_result_makes_of_a_standing() {
    use Standing::{Down, Unknown, Up};
    use Verdict::{Failed, Inconclusive, Passed};

    // Standing, results in a row, standing afterwards; with rise 2, fall 3, retries 0.
    let table: &[(Standing, &[Verdict], Standing)] = &[
        (Unknown, &[Passed], Up),
        (Unknown, &[Failed], Down),
        (Unknown, &[Inconclusive], Unknown),
        (Up, &[Passed], Up),
        (Up, &[Failed], Up),
        (Up, &[Failed, Failed], Up),
        (Up, &[Failed, Failed, Failed], Down),
        (Up, &[Failed, Failed, Passed, Failed, Failed], Up),
        (Up, &[Failed, Failed, Inconclusive, Failed], Down),
        (Up, &[Inconclusive, Inconclusive, Inconclusive], Up),
        (Down, &[Failed], Down),
        (Down, &[Passed], Down),
        (Down, &[Passed, Passed], Up),
        (Down, &[Passed, Failed, Passed], Down),
        (Down, &[Passed, Inconclusive, Passed], Up),
        (Down, &[Inconclusive, Inconclusive], Down),
    ];
    for (before, verdicts, after) in table {
        let mut check = Driven::standing(Timing { rise: 2, fall: 3, ..timing() }, *before);
        let changed: Vec<bool> = verdicts.iter().map(|verdict| check.run(*verdict)).collect();
        assert_eq!(check.state.standing(), *after, "{before:?} {verdicts:?}");
        assert_eq!(changed.contains(&true), before != after, "{before:?} {verdicts:?}");
        assert!(!changed[..changed.len() - 1].contains(&true), "changed early: {before:?} {verdicts:?}");
    }
}

#[test]
fn every_event_in_every_phase() {
    let waiting = Driven::standing(timing(), Standing::Up);
    let mut probing = Driven::standing(timing(), Standing::Up);
    probing.start();
    let mut suspended = Driven::standing(timing(), Standing::Up);
    suspended.step(Event::Suspend);
    let finished = |probe| Event::Finished { probe, verdict: Verdict::Failed };
    let nothing = Actions::default();
    // Phase, event, what is done, whether the state is another afterwards.
    let probe = probing.probe;
    let early = waiting.now;
    let late = waiting.state.deadline().unwrap();
    let down = Actions { changed: true, ..nothing };
    let ask = Actions { probe: Some(waiting.probe + 1), ..nothing };
    let table = [
        ("waiting", &waiting.state, Event::Tick, early, nothing, false),
        ("waiting", &waiting.state, Event::Tick, late, ask, true),
        ("waiting", &waiting.state, finished(waiting.probe), late, nothing, false),
        ("waiting", &waiting.state, Event::Suspend, late, nothing, true),
        ("waiting", &waiting.state, Event::Resume, late, nothing, false),
        ("probing", &probing.state, Event::Tick, late, nothing, false),
        ("probing", &probing.state, finished(probe), late, down, true),
        ("probing", &probing.state, finished(probe - 1), late, nothing, false),
        ("probing", &probing.state, Event::Suspend, late, nothing, true),
        ("probing", &probing.state, Event::Resume, late, nothing, false),
        ("suspended", &suspended.state, Event::Tick, late, nothing, false),
        ("suspended", &suspended.state, finished(suspended.probe), late, nothing, false),
        ("suspended", &suspended.state, Event::Suspend, late, nothing, false),
        ("suspended", &suspended.state, Event::Resume, late, nothing, true),
    ];
    for (phase, state, event, now, expected, differs) in table {
        let (after, actions) = state.clone().step(event, now);
        assert_eq!(actions, expected, "{phase} {event:?}");
        assert_eq!(after != *state, differs, "{phase} {event:?}");
    }
}

#[test]
fn a_failed_run_is_repeated_before_it_counts() {
    let timing = Timing { retries: 2, fall: 2, ..timing() };
    let mut check = Driven::standing(timing, Standing::Up);
    for run in 0..2 {
        check.start();
        assert!(!check.end(Verdict::Failed));
        for repetition in 0..2 {
            assert_eq!(check.start(), ms(1000), "run {run}, repetition {repetition}");
            let changed = check.end(Verdict::Failed);
            assert_eq!(changed, (run, repetition) == (1, 1));
        }
    }
    assert_eq!(check.state.standing(), Standing::Down);
    // Down, there are no repetitions.
    check.start();
    assert!(!check.end(Verdict::Failed));
    assert!(check.start() > ms(5000));
    assert!(check.end(Verdict::Passed));
}

#[test]
fn a_repetition_that_passes_ends_the_run() {
    let mut check = Driven::standing(Timing { retries: 1, ..timing() }, Standing::Up);
    let begun = check.now + check.start();
    assert!(!check.end(Verdict::Failed));
    check.start();
    assert!(!check.end(Verdict::Passed));
    // The next run counts from the first probe of this one.
    check.start();
    assert!(check.now <= begun + ms(6000) && check.now >= begun + ms(5700), "{:?}", check.now - begun);
    assert!(!check.end(Verdict::Failed));
    assert_eq!(check.state.progress(), None);
}

#[test]
fn the_first_result_decides_alone() {
    let timing = Timing { retries: 5, fall: 5, rise: 5, ..timing() };
    for (verdict, standing) in [(Verdict::Passed, Standing::Up), (Verdict::Failed, Standing::Down)] {
        let mut check = Driven::new(timing);
        assert!(check.state.is_awaited());
        assert!(check.run(verdict));
        assert_eq!(check.state.standing(), standing);
        assert!(!check.state.is_awaited());
    }
}

#[test]
fn while_counting_the_interval_is_the_fast_one() {
    let timing = Timing { fall: 3, rise: 3, fast_interval: Some(ms(500)), ..timing() };
    let mut check = Driven::standing(timing, Standing::Up);
    check.run(Verdict::Failed);
    assert_eq!(check.state.progress(), Some((1, 3)));
    assert!(check.start() <= ms(500));
    check.end(Verdict::Passed);
    assert_eq!(check.state.progress(), None);
    assert!(check.start() >= ms(5700));
}

#[test]
fn suspension_forgets_what_was_counted_and_keeps_what_is_known() {
    let mut check = Driven::standing(Timing { fall: 2, ..timing() }, Standing::Up);
    check.run(Verdict::Failed);
    check.step(Event::Suspend);
    assert!(check.state.is_suspended() && !check.state.is_awaited());
    assert_eq!(check.state.deadline(), None);
    assert_eq!((check.state.standing(), check.state.progress()), (Standing::Up, None));
    check.step(Event::Resume);
    assert!(!check.run(Verdict::Failed));
    assert_eq!(check.state.progress(), Some((1, 2)));
}

#[test]
fn another_timing_keeps_what_is_known() {
    let mut check = Driven::standing(timing(), Standing::Down);
    check.state.retime(Timing { interval: ms(100), rise: 2, ..timing() }, check.now);
    assert!(check.start() <= ms(100));
    assert!(!check.end(Verdict::Passed));
    check.start();
    assert!(check.end(Verdict::Passed));
}

fn any_timing() -> impl Strategy<Value = Timing> {
    let fast = proptest::option::of(50u64..2000);
    (50u64..10_000, 0u32..4, 0u64..3000, 0u64..10_000, 1u32..5, 1u32..5, fast).prop_map(
        |(interval, retries, retry_delay, warmup, rise, fall, fast)| Timing {
            interval: ms(interval),
            timeout: ms(1000),
            retries,
            retry_delay: ms(retry_delay),
            warmup: ms(warmup),
            rise,
            fall,
            fast_interval: fast.filter(|fast| *fast < interval).map(ms),
        },
    )
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![4 => Just(Verdict::Passed), 4 => Just(Verdict::Failed), 1 => Just(Verdict::Inconclusive)]
}

proptest! {
    /// Against a plain model: a list of verdicts of runs, and counting at its end.
    #[test]
    fn standing_is_what_counting_says(
        timing in any_timing(),
        verdicts in proptest::collection::vec(any_verdict(), 1..60),
        seed: u64,
    ) {
        let mut check = Driven { state: State::new(timing, seed, ms(0)), now: ms(0), probe: 0 };
        let mut up: Option<bool> = None;
        let (mut against, mut repeated) = (0, 0);
        for verdict in verdicts {
            check.run(verdict);
            let passed = verdict == Verdict::Passed;
            match (up, verdict) {
                (_, Verdict::Inconclusive) => repeated = 0,
                (None, _) => up = Some(passed),
                (Some(standing), _) if standing == passed => (against, repeated) = (0, 0),
                (Some(true), _) if repeated < timing.retries => repeated += 1,
                (Some(standing), _) => {
                    (against, repeated) = (against + 1, 0);
                    if against >= (if standing { timing.fall } else { timing.rise }) {
                        (up, against) = (Some(passed), 0);
                    }
                }
            }
            let expected = match up {
                None => Standing::Unknown,
                Some(true) => Standing::Up,
                Some(false) => Standing::Down,
            };
            prop_assert_eq!(check.state.standing(), expected);
        }
    }

    /// From run to run it takes at most an interval, and at least nineteen twentieths of the shorter one.
    #[test]
    fn runs_keep_their_interval(timing in any_timing(), seed: u64, runs in 2usize..30) {
        let timing = Timing { retries: 0, ..timing };
        let mut check = Driven { state: State::new(timing, seed, ms(0)), now: ms(0), probe: 0 };
        prop_assert!(check.start() <= timing.warmup);
        check.end(Verdict::Passed);
        for run in 0..runs {
            let took = check.start();
            prop_assert!(took <= timing.interval);
            prop_assert!(run == 0 || took >= timing.interval * 19 / 20);
            check.end(Verdict::Passed);
        }
    }
}

#[test]
fn second_runs_spread_over_the_interval() {
    let mut tenths = [0u32; 10];
    for seed in 0..10_000u64 {
        let mut check = Driven { state: State::new(timing(), seed, ms(0)), now: ms(0), probe: 0 };
        check.run(Verdict::Passed);
        let second = check.start();
        tenths[usize::try_from(second.as_millis() / 600).unwrap().min(9)] += 1;
    }
    // From a quarter of the interval on, evenly: each full tenth has 10,000 / 7.5.
    assert_eq!(tenths[..2], [0, 0], "{tenths:?}");
    assert!(tenths[3..].iter().all(|count| (1150..1520).contains(count)), "{tenths:?}");
}

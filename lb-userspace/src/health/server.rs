//! One real server: what its checks together make of it, and how its weight comes back.
//!
//! It is up while every check is that decides (those without a weight of their own). The others only change its
//! weight. After a failure the weight grows from a little to all in steps, over `slow_start`.

use std::time::Duration;

use super::check::{Now, Standing};
use crate::config::checks::{Check, ProbeKind, ServerHealth};

#[cfg(test)]
mod tests;

/// In so many steps a weight comes back; each is a change of the tables.
const STEPS: u32 = 20;
/// Steps are not shorter.
const SHORTEST_STEP: Duration = Duration::from_millis(250);
/// The greatest weight.
pub const MAX_WEIGHT: u32 = 65_535;

/// What a check says of its real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// Whether it passes.
    pub standing: Standing,
    /// A number that the probe found: a file's, or the weight that a script asks for.
    pub number: Option<i64>,
}

impl Default for Input {
    fn default() -> Self {
        Self { standing: Standing::Unknown, number: None }
    }
}

/// What happens to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The check of this index says this now.
    Check(usize, Input),
    /// Time has passed.
    Tick,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// It went up or down.
    pub turned: Option<bool>,
    /// Its weight is another.
    pub reweighted: bool,
}

/// The state of one real server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    inputs: Vec<Input>,
    /// What a check without a result counts as.
    assumed: bool,
    up: bool,
    /// Whether it has ever been up, or began so.
    was_up: bool,
    /// Whether a result has ever taken it down.
    fell: bool,
    /// Since when its weight grows, and the steps that are over.
    rising: Option<(Now, u32)>,
    /// How much of the weight it has, of [`STEPS`].
    part: u32,
    change: i64,
}

/// How much of its weight it has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// What checks add to or take from the configured weight.
    pub change: i64,
    /// Twentieths of it, 1 to 20.
    pub twentieths: u32,
}

impl Default for Share {
    fn default() -> Self {
        Self { change: 0, twentieths: STEPS }
    }
}

impl Share {
    /// What becomes of a configured weight. One of 0 stays: who was quiesced is. Nobody who is not gets less than 1 by
    /// growing slowly.
    pub fn of(self, weight: u32) -> u32 {
        let whole = self.whole(weight);
        let part = whole.saturating_mul(self.twentieths.min(STEPS)) / STEPS;
        part.max(whole.min(1))
    }

    /// As [`Share::of`] when the weight has grown.
    pub fn whole(self, weight: u32) -> u32 {
        if weight == 0 {
            return 0;
        }
        let sum = i64::from(weight).saturating_add(self.change).clamp(0, i64::from(MAX_WEIGHT));
        u32::try_from(sum).unwrap_or(0)
    }
}

impl State {
    /// A real server with so many checks. Until there are results, it is what is `assumed`.
    pub fn new(checks: usize, assumed: bool) -> Self {
        // Who is not checked is up.
        let up = assumed || checks == 0;
        Self {
            inputs: vec![Input::default(); checks],
            assumed,
            up,
            was_up: up,
            fell: false,
            rising: None,
            part: STEPS,
            change: 0,
        }
    }

    /// The same real server with other checks: each with what is known of it. What follows from them comes with the
    /// next step.
    pub fn with_inputs(self, inputs: Vec<Input>) -> Self {
        Self { inputs, ..self }
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Whether it has ever been up, or began so: only then it can be kept in rotation.
    pub fn was_up(&self) -> bool {
        self.was_up
    }

    /// How much of its weight it has.
    pub fn share(&self) -> Share {
        Share { change: self.change, twentieths: self.part }
    }

    /// When it wants the next [`Event::Tick`].
    pub fn deadline(&self, health: &ServerHealth) -> Option<Now> {
        let (since, over) = self.rising?;
        let (length, _) = steps(health.slow_start);
        Some(since.saturating_add(length.saturating_mul(over.saturating_add(1))))
    }

    /// What `event` makes of it.
    pub fn step(mut self, event: Event, health: &ServerHealth, weight: u32, now: Now) -> (Self, Actions) {
        if let Event::Check(index, input) = event
            && let Some(place) = self.inputs.get_mut(index)
        {
            *place = input;
        }
        let before = (self.up, self.share());
        self.up =
            self.inputs.iter().zip(&health.checks).filter(|(_, check)| decides(check)).all(|(input, _)| {
                match input.standing {
                    Standing::Unknown => self.assumed,
                    Standing::Up => true,
                    Standing::Down => false,
                }
            });
        self.was_up |= self.up;
        self.change =
            self.inputs.iter().zip(&health.checks).map(|(input, check)| change(input, check, weight)).sum();
        if !self.up {
            self.fell |= self.inputs.iter().any(|input| input.standing == Standing::Down);
            (self.rising, self.part) = (None, STEPS);
        } else if !before.0 && self.fell && !health.slow_start.is_zero() {
            self.rising = Some((now, 0));
        }
        self.grow(health, now);
        let actions = Actions {
            turned: (self.up != before.0).then_some(self.up),
            reweighted: self.up && before.0 && self.share() != before.1,
        };
        (self, actions)
    }

    fn grow(&mut self, health: &ServerHealth, now: Now) {
        let Some((since, _)) = self.rising else { return };
        let (length, count) = steps(health.slow_start);
        let over = now.saturating_sub(since).as_nanos() / length.as_nanos().max(1);
        let over = u32::try_from(over).unwrap_or(u32::MAX);
        if over >= count {
            (self.rising, self.part) = (None, STEPS);
        } else {
            (self.rising, self.part) = (Some((since, over)), (STEPS * over / count).max(1));
        }
    }
}

/// The length and the number of the steps of a slow start.
fn steps(slow_start: Duration) -> (Duration, u32) {
    let count = slow_start.as_nanos() / SHORTEST_STEP.as_nanos();
    let count = u32::try_from(count).unwrap_or(u32::MAX).clamp(1, STEPS);
    (slow_start / count, count)
}

/// Whether a check takes its real server out when it fails.
fn decides(check: &Check) -> bool {
    check.weight == 0
}

/// What a check adds to the weight.
fn change(input: &Input, check: &Check, weight: u32) -> i64 {
    let own = i64::from(check.weight);
    match (&check.probe.kind, input.number) {
        (ProbeKind::File { .. }, Some(number)) => number.saturating_mul(own),
        (ProbeKind::File { .. }, None) => 0,
        (ProbeKind::Script { .. }, Some(asked)) if own == 0 => asked.saturating_sub(i64::from(weight)),
        _ => match input.standing {
            Standing::Up => own.max(0),
            Standing::Down => own.min(0),
            Standing::Unknown => 0,
        },
    }
}

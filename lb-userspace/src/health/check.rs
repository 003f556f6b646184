//! One check: when it runs, and what its results make of it.
//!
//! ```text
//!            passed                    `retries` and `fall` used up
//! Unknown ───────────► Up ────────────────────────────────────────────► Down
//!    │                 ▲                                                 │ ▲
//!    │                 └───────────────────── `rise` passed ─────────────┘ │
//!    └───────────────────────────────────────────────────────── failed ────┘
//! ```
//!
//! The first result decides alone, as in keepalived. A run is a probe and, if it fails while the check is up, up to
//! `retries` repetitions of it. A probe that could not be made for lack of this host's resources says nothing.
//! Results of probes that were given up (suspended, reconfigured) are not looked at: each probe has a number.

use std::time::Duration;

use crate::config::checks::Timing;

#[cfg(test)]
mod tests;

/// Time since whoever counts it began.
pub type Now = Duration;

/// What a probe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is as it should be.
    Passed,
    /// Something is not.
    Failed,
    /// It could not be found out, and not because of who was asked.
    Inconclusive,
}

/// What is known from results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There was no result yet.
    Unknown,
    /// It passes.
    Up,
    /// It fails.
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The next probe starts then.
    Waiting { due: Now },
    /// A probe is being made.
    Probing,
    /// Nothing is asked.
    Suspended,
}

/// What happens to a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// The probe of this number has ended.
    Finished {
        /// Its number.
        probe: u32,
        /// What it says.
        verdict: Verdict,
    },
    /// No more probes.
    Suspend,
    /// Probes again, the first one soon.
    Resume,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Make the probe of this number.
    pub probe: Option<u32>,
    /// The standing has changed.
    pub changed: bool,
}

/// The state of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    timing: Timing,
    phase: Phase,
    standing: Standing,
    /// Runs in a row that speak against the standing.
    against: u32,
    /// Repetitions made in this run.
    repeated: u32,
    /// When this run began.
    begun: Now,
    /// The latest probe.
    probe: u32,
    /// Whether a probe has ended since the start, with whatever result.
    has_run: bool,
    random: Random,
}

impl State {
    /// A check whose first probe comes at a random time within `warmup`. `seed` differs from check to check.
    pub fn new(timing: Timing, seed: u64, now: Now) -> Self {
        let mut random = Random(seed);
        let due = now.saturating_add(random.within(timing.warmup));
        Self {
            timing,
            phase: Phase::Waiting { due },
            standing: Standing::Unknown,
            against: 0,
            repeated: 0,
            begun: now,
            probe: 0,
            has_run: false,
            random,
        }
    }

    /// The next time at which it wants a [`Event::Tick`].
    pub fn deadline(&self) -> Option<Now> {
        match self.phase {
            Phase::Waiting { due } => Some(due),
            Phase::Probing | Phase::Suspended => None,
        }
    }

    /// What is known.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether nothing is asked.
    pub fn is_suspended(&self) -> bool {
        self.phase == Phase::Suspended
    }

    /// Whether a first probe is still to come or has not ended.
    pub fn is_awaited(&self) -> bool {
        !self.has_run && !self.is_suspended()
    }

    /// Whether the probe of this number is being made.
    pub fn is_probing(&self, probe: u32) -> bool {
        self.phase == Phase::Probing && self.probe == probe
    }

    /// Of a change under way: runs that spoke for it, and runs that it takes.
    pub fn progress(&self) -> Option<(u32, u32)> {
        let needed = if self.standing == Standing::Up { self.timing.fall } else { self.timing.rise };
        (self.against > 0).then_some((self.against, needed))
    }

    /// Takes on another timing, from the next probe on; what is known stays.
    pub fn retime(&mut self, timing: Timing, now: Now) {
        if let Phase::Waiting { due } = &mut self.phase {
            *due = (*due).min(now.saturating_add(timing.interval));
        }
        self.timing = timing;
    }

    /// What `event` makes of it.
    pub fn step(mut self, event: Event, now: Now) -> (Self, Actions) {
        let mut actions = Actions::default();
        match (event, self.phase) {
            (Event::Tick, Phase::Waiting { due }) if due <= now => {
                if self.repeated == 0 {
                    self.begun = now;
                }
                self.probe = self.probe.wrapping_add(1);
                self.phase = Phase::Probing;
                actions.probe = Some(self.probe);
            }
            (Event::Finished { probe, verdict }, Phase::Probing) if probe == self.probe => {
                let before = self.standing;
                let due = self.judge(verdict, now);
                self.has_run = true;
                self.phase = Phase::Waiting { due };
                actions.changed = self.standing != before;
            }
            (Event::Suspend, Phase::Waiting { .. } | Phase::Probing) => {
                self.phase = Phase::Suspended;
                (self.against, self.repeated) = (0, 0);
            }
            (Event::Resume, Phase::Suspended) => {
                self.phase =
                    Phase::Waiting { due: now.saturating_add(self.random.within(self.timing.warmup)) };
            }
            // Too early, given up, or already so.
            (Event::Tick | Event::Finished { .. } | Event::Suspend | Event::Resume, _) => {}
        }
        (self, actions)
    }

    /// Takes a result; returns when the next probe is due.
    fn judge(&mut self, verdict: Verdict, now: Now) -> Now {
        let is_first = !self.has_run;
        match (verdict, self.standing) {
            (Verdict::Inconclusive, _) => {}
            (Verdict::Passed, Standing::Unknown) => self.settle(Standing::Up),
            (Verdict::Failed, Standing::Unknown) => self.settle(Standing::Down),
            (Verdict::Passed, Standing::Up) | (Verdict::Failed, Standing::Down) => self.against = 0,
            (Verdict::Passed, Standing::Down) => self.speak_against(self.timing.rise, Standing::Up),
            (Verdict::Failed, Standing::Up) => {
                if self.repeated < self.timing.retries {
                    self.repeated += 1;
                    return now.saturating_add(self.timing.retry_delay);
                }
                self.speak_against(self.timing.fall, Standing::Down);
            }
        }
        self.repeated = 0;
        let period = match self.timing.fast_interval {
            Some(fast) if self.against > 0 => fast,
            _ => self.timing.interval,
        };
        // The first runs come soon and so close together; the second ones spread over the interval. Later runs
        // come up to a twentieth early, so that what fell into step gets out of it.
        let early = if is_first { period.saturating_mul(3) / 4 } else { period / 20 };
        let next = self.begun.saturating_add(period).saturating_sub(self.random.within(early));
        next.max(now)
    }

    fn speak_against(&mut self, needed: u32, other: Standing) {
        self.against = self.against.saturating_add(1);
        if self.against >= needed {
            self.settle(other);
        }
    }

    fn settle(&mut self, standing: Standing) {
        self.standing = standing;
        self.against = 0;
    }
}

/// Numbers that look random, the same for the same seed: SplitMix64.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly from zero up to, but not including, `limit`; zero if that is zero.
    fn within(&mut self, limit: Duration) -> Duration {
        let nanoseconds = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let scaled = (u128::from(self.next()) * u128::from(nanoseconds)) >> 64;
        Duration::from_nanos(u64::try_from(scaled).unwrap_or(u64::MAX))
    }
}

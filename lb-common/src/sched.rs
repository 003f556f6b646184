//! The schedulers' sequences, worked out in user space: a ring of real servers and where in it to start.
//!
//! IPVS keeps a service's real servers in a list to whose head each new one is added, and its schedulers walk
//! that list (`ip_vs_rr.c`, `ip_vs_wrr.c`). Both sequences repeat after one round, so a round is all that the
//! datapath needs; it counts picks in the ring's cursor. When the list or a weight changes, the next round
//! starts where IPVS's state would be: [`Progress`] is read off the cursor for that.

mod hashing;

pub use hashing::{Hashed, dh, mh, sh};

/// A real server in a scheduler's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<D> {
    /// Who.
    pub server: D,
    /// Its weight; 0 takes no new connections.
    pub weight: u32,
}

/// A round-trip of a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring<D> {
    /// The order of one round. Empty if no real server has a weight.
    pub slots: Vec<D>,
    /// The cursor's first value, an index into `slots`.
    pub start: u64,
}

/// How far a ring has been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The ring's first cursor value.
    pub start: u64,
    /// The cursor now: the first value and one for each pick.
    pub cursor: u64,
}

impl Progress {
    /// The index of the latest pick in a ring of `slots`.
    fn latest(self, slots: u64) -> Option<usize> {
        if self.cursor <= self.start || slots == 0 {
            return None;
        }
        usize::try_from((self.cursor - 1) % slots).ok()
    }
}

/// Rings longer than this are not built: the weights are scaled down first.
pub const MAX_SLOTS: u64 = 65_536;

/// `rr`: the servers with a weight, in the list's order.
pub fn rr_slots<D: Copy>(list: &[Candidate<D>]) -> Vec<D> {
    list.iter().filter(|candidate| candidate.weight > 0).map(|candidate| candidate.server).collect()
}

/// `rr` after a change: `ip_vs_rr.c` keeps a pointer to the server that was served last, and moves it back by
/// one when that server is deleted. `before` is the list before the change, `list` the one after.
pub fn rr<D: Copy + PartialEq>(
    before: &[Candidate<D>],
    old_slots: &[D],
    progress: Option<Progress>,
    list: &[Candidate<D>],
) -> Ring<D> {
    let slots = rr_slots(list);
    let served = progress.and_then(|progress| {
        let count = old_slots.len() as u64;
        let index = match progress.latest(count) {
            Some(index) => index,
            // Nothing was picked since the last change: the server before the start is the one served last.
            None if progress.start > 0 => usize::try_from((progress.start - 1) % count.max(1)).ok()?,
            None => return None,
        };
        old_slots.get(index).copied()
    });
    let Some(served) = served else { return Ring { slots, start: 0 } };
    // The pointer: the served server, else the nearest one before it that is still listed, else the head.
    let position = before.iter().position(|candidate| candidate.server == served);
    let pointer = position.and_then(|position| {
        before
            .get(..=position)?
            .iter()
            .rev()
            .find_map(|old| list.iter().position(|new| new.server == old.server))
    });
    // The next one with a weight comes first; how many with a weight stand up to the pointer?
    let passed = pointer.map_or(0, |pointer| list.iter().take(pointer + 1).filter(|c| c.weight > 0).count());
    let start = if slots.is_empty() { 0 } else { (passed % slots.len()) as u64 };
    Ring { slots, start }
}

/// The state of `wrr` between picks: the current weight of `ip_vs_wrr.c`. The list position need not be kept,
/// for every change moves it to the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrrState {
    current: u64,
}

/// What of a list's weights `wrr` goes by: `ip_vs_wrr_gcd_weight` and `ip_vs_wrr_max_weight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrrBounds {
    divisor: u64,
    heaviest: u64,
}

impl WrrBounds {
    /// Of a list.
    pub fn of<D>(list: &[Candidate<D>]) -> Self {
        list.iter().fold(Self::default(), |bounds, candidate| bounds.with(candidate.weight))
    }

    /// With one more server.
    #[must_use]
    pub fn with(self, weight: u32) -> Self {
        let weight = u64::from(weight);
        Self { divisor: gcd(self.divisor, weight), heaviest: self.heaviest.max(weight) }
    }

    /// How far the current weight goes down at a time.
    fn step(self) -> u64 {
        self.divisor.max(1)
    }

    /// The largest current weight.
    fn most(self) -> u64 {
        if self.heaviest == 0 { 0 } else { self.heaviest - (self.step() - 1) }
    }
}

impl WrrState {
    /// After a server was added, changed or deleted (`ip_vs_wrr_dest_changed`), which made the bounds these.
    #[must_use]
    pub fn changed(self, bounds: WrrBounds) -> Self {
        let (step, most) = (bounds.step(), bounds.most());
        let current = if self.current > most || self.current == 0 {
            most
        } else if step > 1 {
            self.current / step * step + 1
        } else {
            self.current
        };
        Self { current }
    }

    /// After the picks that `progress` tells of, from the ring that this list gave.
    #[must_use]
    pub fn advanced<D: Copy>(list: &[Candidate<D>], progress: Progress) -> Self {
        let rounds = wrr_rounds(list);
        let slots = rounds.iter().map(|(_, servers)| servers.len() as u64).sum();
        let index = match progress.latest(slots) {
            Some(index) => index as u64,
            None if slots > 0 => progress.start % slots,
            None => return Self::default(),
        };
        let mut passed = 0;
        for (current, servers) in rounds {
            passed += servers.len() as u64;
            if index < passed {
                return Self { current };
            }
        }
        Self::default()
    }
}

/// One round of `wrr` by its levels: the current weight from the largest down to 1, and the servers served at
/// each. As much work as the round is long.
fn wrr_rounds<D: Copy>(list: &[Candidate<D>]) -> Vec<(u64, Vec<D>)> {
    let bounds = WrrBounds::of(list);
    let mut waiting: Vec<usize> = (0..list.len()).collect();
    let weight = |index: &usize| list.get(*index).map_or(0, |candidate| u64::from(candidate.weight));
    waiting.sort_by_key(weight);
    let mut served = std::collections::BTreeSet::new();
    let mut rounds = Vec::new();
    let mut current = bounds.most();
    while current > 0 {
        while let Some(index) = waiting.pop_if(|index| weight(index) >= current) {
            served.insert(index);
        }
        let servers = served.iter().filter_map(|index| list.get(*index)).map(|candidate| candidate.server);
        rounds.push((current, servers.collect()));
        current = current.saturating_sub(bounds.step());
    }
    rounds
}

/// `wrr`: one round, started where `state` stands (`ip_vs_wrr_schedule`).
pub fn wrr<D: Copy>(list: &[Candidate<D>], state: WrrState) -> Ring<D> {
    let mut slots = Vec::new();
    let mut start = 0;
    for (current, servers) in wrr_rounds(list) {
        if current > state.current {
            start += servers.len() as u64;
        }
        slots.extend(servers);
    }
    let count = slots.len() as u64;
    Ring { start: if count == 0 { 0 } else { start % count }, slots }
}

/// The weights such that a round of them is not longer than [`MAX_SLOTS`]; the same weights if it is not.
/// A weight above 0 stays above 0.
pub fn scaled(weights: &[u32]) -> Vec<u32> {
    let divisor = weights.iter().fold(0, |g, w| gcd(g, u64::from(*w))).max(1);
    let total: u64 = weights.iter().map(|w| u64::from(*w) / divisor).sum();
    if total <= MAX_SLOTS {
        return weights.to_vec();
    }
    let positive = weights.iter().filter(|w| **w > 0).count() as u64;
    let room = MAX_SLOTS.saturating_sub(positive).max(1);
    weights
        .iter()
        .map(|weight| match *weight {
            0 => 0,
            weight => {
                let scaled = u64::from(weight) / divisor * room / total;
                u32::try_from(scaled.max(1)).unwrap_or(u32::MAX)
            }
        })
        .collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;

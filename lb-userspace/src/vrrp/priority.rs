//! The priority in effect: the configured one and what tracked things add to it, by keepalived's rules.
//!
//! - Something tracked with weight 0 that fails puts the virtual router into FAULT.
//! - A positive weight is added while all is well; a negative one (that is, its amount taken away) while it fails.
//!   `reverse` swaps the two, weight 0 included.
//! - The sum is held within 1 and 254. An owner's 255 never changes.
//! - A tracked file adds its value times the weight; with weight 0 a value other than 0 is a failure, and a product of
//!   −254 or less is one too.

use super::packet::PRIORITY_OWNER;

/// The highest priority of what does not own the addresses.
pub const MAX: u8 = PRIORITY_OWNER - 1;
/// The lowest priority of a virtual router that takes part.
pub const MIN: u8 = 1;

/// What is known of something tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// It is as it should be.
    Up,
    /// It is not.
    Down,
    /// Nothing is known yet. A weight counts as if it were down, which gives no head start; a weight of 0 waits in
    /// FAULT, as in keepalived, until something is known.
    Unknown,
}

/// Something tracked by a virtual router, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracked {
    /// An interface, script, process or virtual server.
    Condition {
        /// −253 to 253.
        weight: i16,
        /// Up and down change places.
        is_reversed: bool,
        /// How it is.
        health: Health,
    },
    /// A file.
    Value {
        /// −254 to 254.
        weight: i16,
        /// The number in the file; 0 if there is none.
        value: i64,
    },
}

/// What the tracked things make of a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effective {
    /// 1 to 254, or 255 of an owner. Meant for when there is no fault too.
    pub priority: u8,
    /// Something that must be well is not, or is not known to be.
    pub is_fault: bool,
}

impl Tracked {
    /// What it adds to the priority; `Err` for a failure that is FAULT.
    fn contribution(self) -> Result<i64, ()> {
        match self {
            Self::Condition { weight, is_reversed, health } => {
                let is_up = match health {
                    Health::Up => !is_reversed,
                    Health::Down => is_reversed,
                    Health::Unknown => false,
                };
                match (weight, is_up) {
                    (0, true) => Ok(0),
                    (0, false) => Err(()),
                    (weight, true) => Ok(i64::from(weight.max(0))),
                    (weight, false) => Ok(i64::from(weight.min(0))),
                }
            }
            Self::Value { weight: 0, value } => {
                if value == 0 {
                    Ok(0)
                } else {
                    Err(())
                }
            }
            Self::Value { weight, value } => {
                let product = value.saturating_mul(i64::from(weight));
                if product <= -i64::from(MAX) { Err(()) } else { Ok(product) }
            }
        }
    }
}

impl Effective {
    /// For a member of a sync group: what the group tracks counts in full, what the member tracks only as far as it is
    /// FAULT (keepalived without `sync_group_tracking_weight`). A member whose priority fell alone would be wanted by
    /// the other director, but the rest of its group would not.
    #[must_use]
    pub fn of_member(
        base: u8,
        by_group: impl IntoIterator<Item = Tracked>,
        by_member: impl IntoIterator<Item = Tracked>,
    ) -> Self {
        let Self { priority, is_fault } = effective(base, by_group);
        Self { priority, is_fault: is_fault || effective(base, by_member).is_fault }
    }
}

/// The priority in effect of a virtual router with priority `base` that tracks these, and is in no sync group.
#[must_use]
pub fn effective(base: u8, tracked: impl IntoIterator<Item = Tracked>) -> Effective {
    let (mut sum, mut is_fault) = (i64::from(base), false);
    for tracked in tracked {
        match tracked.contribution() {
            Ok(contribution) => sum = sum.saturating_add(contribution),
            Err(()) => is_fault = true,
        }
    }
    let held = u8::try_from(sum.clamp(i64::from(MIN), i64::from(MAX))).unwrap_or(MAX);
    Effective { priority: if base == PRIORITY_OWNER { PRIORITY_OWNER } else { held }, is_fault }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn condition(weight: i16, health: Health) -> Tracked {
        Tracked::Condition { weight, is_reversed: false, health }
    }

    fn reversed(weight: i16, health: Health) -> Tracked {
        Tracked::Condition { weight, is_reversed: true, health }
    }

    fn file(weight: i16, value: i64) -> Tracked {
        Tracked::Value { weight, value }
    }

    #[test]
    fn tracked_things_change_the_priority() {
        use Health::{Down, Unknown, Up};
        let cases: &[(u8, &[Tracked], u8, bool)] = &[
            (100, &[], 100, false),
            (100, &[condition(20, Up)], 120, false),
            (100, &[condition(20, Down)], 100, false),
            (100, &[condition(20, Unknown)], 100, false),
            (100, &[condition(-20, Up)], 100, false),
            (100, &[condition(-20, Down)], 80, false),
            (100, &[condition(-20, Unknown)], 80, false),
            (100, &[condition(0, Up)], 100, false),
            (100, &[condition(0, Down)], 100, true),
            (100, &[condition(0, Unknown)], 100, true),
            (100, &[reversed(20, Up)], 100, false),
            (100, &[reversed(20, Down)], 120, false),
            (100, &[reversed(-20, Up)], 80, false),
            (100, &[reversed(-20, Down)], 100, false),
            (100, &[reversed(0, Up)], 100, true),
            (100, &[reversed(0, Down)], 100, false),
            (100, &[reversed(0, Unknown)], 100, true),
            // Several add up, and a fault does not hide them.
            (100, &[condition(20, Up), condition(-30, Down), condition(0, Down)], 90, true),
            // 1 and 254 are the bounds, applied once, to the sum.
            (100, &[condition(-253, Down)], 1, false),
            (200, &[condition(253, Up)], 254, false),
            (200, &[condition(253, Up), condition(-253, Down)], 200, false),
            (255, &[condition(-253, Down)], 255, false),
            (255, &[condition(0, Down)], 255, true),
            (100, &[file(1, 0)], 100, false),
            (100, &[file(1, 7)], 107, false),
            (100, &[file(-2, 7)], 86, false),
            (100, &[file(0, 0)], 100, false),
            (100, &[file(0, 1)], 100, true),
            (100, &[file(1, -253)], 1, false),
            (100, &[file(1, -254)], 100, true),
            (100, &[file(-254, i64::MAX)], 100, true),
        ];
        for &(base, tracked, priority, is_fault) in cases {
            let found = effective(base, tracked.iter().copied());
            assert_eq!(found, Effective { priority, is_fault }, "{base} {tracked:?}");
        }
    }

    #[test]
    fn a_member_of_a_sync_group_ignores_its_own_weights() {
        let found = Effective::of_member(100, [condition(-30, Health::Down)], [condition(-50, Health::Down)]);
        assert_eq!(found, Effective { priority: 70, is_fault: false });
        let found = Effective::of_member(100, [], [condition(0, Health::Down)]);
        assert_eq!(found, Effective { priority: 100, is_fault: true });
    }

    proptest! {
        #[test]
        fn a_priority_is_never_that_of_leaving_or_owning(
            base in 1..=254_u8,
            weights in proptest::collection::vec((-254..=254_i16, any::<i64>()), 0..6),
        ) {
            let tracked = weights.into_iter().map(|(weight, value)| file(weight, value));
            let found = effective(base, tracked).priority;
            prop_assert!((MIN..=MAX).contains(&found));
        }
    }
}

//! Keys about who gets a new connection and for how long: groups, scheduler flags, persistence, limits, timeouts,
//! admission, and what becomes of connections whose real server has failed.

mod check;
mod groups;
mod model;
mod raw;
mod sources;
#[cfg(test)]
mod tests;

pub use model::{
    ConnectionRules, Group, LeaseRange, OnFailure, Persistence, SchedulerFlags, Scheduling, SourceRate,
    Thresholds,
};

pub(super) use check::{connection_rules, scheduling, thresholds};
pub(super) use groups::{Groups, groups, marks_name_one, members};
pub(super) use raw::{RawConnectionRules, RawGroup, RawScheduling, RawThresholds};
pub(super) use raw::{read_connection_rules, read_groups, read_scheduling, read_thresholds};
pub(super) use sources::{Places, fit};

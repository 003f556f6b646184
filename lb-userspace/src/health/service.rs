//! One virtual server: whether enough of its real servers are up.
//!
//! ```text
//!         weight ≥ quorum + hysteresis
//! lost ──────────────────────────────────► held
//!      ◄──────────────────────────────────
//!         weight < quorum − hysteresis, or 0
//! ```
//!
//! `weight` is the sum of the weights of the real servers that are up; one that grows slowly counts in full. A quorum
//! that all weights together cannot reach is reduced to what they can, as in keepalived.

use crate::config::checks::ServiceHealth;

#[cfg(test)]
mod tests;

/// What a virtual server's real servers are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// All of them.
    pub servers: u32,
    /// Those that are up.
    pub up: u32,
    /// The sum of the weights of those that are up.
    pub weight: u64,
    /// The sum of all configured weights.
    pub configured: u64,
}

/// Whether there is a quorum, given whether there was one.
pub fn quorum(held: bool, health: &ServiceHealth, census: Census) -> bool {
    let quorum = u64::from(health.quorum);
    let hysteresis = u64::from(health.hysteresis);
    if held {
        census.weight > 0 && census.weight >= quorum.min(census.configured).saturating_sub(hysteresis)
    } else {
        census.weight > 0 && census.weight >= quorum.saturating_add(hysteresis).min(census.configured)
    }
}

/// Whether so few are up that all are kept in: what is left would break down, or the checks are wrong.
pub fn panics(health: &ServiceHealth, census: Census) -> bool {
    u64::from(census.up) * 100 < u64::from(census.servers) * u64::from(health.min_up)
}

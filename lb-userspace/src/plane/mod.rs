//! What the tables should say, and how to get there.
//!
//! The configuration, with the health of the real servers and the operator's orders, gives a [`desired::Desired`] state;
//! [`applied::Applied`] is what the tables say now; [`plan::plan`] compares the two, without touching
//! anything, and gives the steps in an order in which packets meet nothing half done; [`apply::apply`] takes
//! them. What a step leaves behind when the process dies after it is a state that the next plan starts from:
//! the tables themselves are the only record.

pub mod admission;
pub mod answers;
pub mod applied;
pub mod apply;
pub mod desired;
pub mod details;
pub mod janitor;
mod locality;
pub mod parts;
pub mod plan;
pub mod routes;
pub mod sources;
pub mod standby;
pub mod store;

#[cfg(test)]
mod tests;

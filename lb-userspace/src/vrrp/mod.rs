//! The Virtual Router Redundancy Protocol: which of several directors has the VIPs.
//!
//! The pure half, which has no socket, clock, log or random number:
//!
//! - [`packet`]: adverts as bytes, and every check of a received one.
//! - [`machine`]: one virtual router on this director: events in, actions out. Start reading here.
//! - [`sync`]: all virtual routers of a director, and the sync groups in which they go together.
//! - [`garp`]: the frames that tell a network who has an address.
//! - [`priority`]: the priority in effect, from the configured one and what is tracked.

pub mod garp;
pub mod machine;
pub mod packet;
pub mod priority;
pub mod shell;
#[cfg(test)]
mod sim;
pub mod status;
pub mod sync;

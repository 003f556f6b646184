//! The director: the daemon behind `lbctl up`, and what undoes it.
//!
//! [`daemon`] is the event loop; [`state::Director`] is what it loops over: the configuration in force, the
//! tables, the links and the host's addresses. The datapath does not need the daemon: it goes on when the
//! daemon is killed, and the next `lbctl up` takes it over as it is.

pub mod addresses;
pub mod alone;
pub mod api;
pub mod client;
pub mod daemon;
mod failover;
pub mod instance;
pub mod interfaces;
pub mod lock;
pub mod preflight;
pub mod record;
mod refused;
mod sources;
pub mod state;
pub mod teardown;

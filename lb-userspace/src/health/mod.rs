//! Health checks: which real servers get new connections, and what is told about it.
//!
//! The core decides and does nothing else: [`check`] is one check, [`server`] one real server, [`service`] the quorum
//! of a virtual server, [`core`] all of them with their deadlines. It knows no clock, socket or random number.
//! [`shell`] is the thread that runs it: probes ([`probe`]) are its tasks, each bounded by its own timeout, so that
//! one that hangs delays no other. What is found goes to the director as a [`view::View`], which changes the desired
//! tables and nothing else; [`report`] is what `lbctl list --checks` shows.

pub mod check;
pub mod core;
pub mod probe;
pub mod report;
pub mod server;
pub mod service;
pub mod shell;
pub mod view;

pub use shell::Health;
pub use view::View;

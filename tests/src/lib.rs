//! The lab: network namespaces with a client, directors and web servers.
//!
//! What it owns: the namespaces, the wires between them, real nginx on the web nodes, helpers that run commands, load
//! and echo servers inside them, and [`isolated`], which gives a test a kernel-enforced sandbox. [`director`] runs
//! `lbctl` there, as an operator would. What it must not do: touch the network namespace it was started in, or know
//! anything about how `lbctl` works inside.
//!
//! Start reading at [`Lab::builder`]; [`topology`] has the address plan.
//!
//! ```no_run
//! use lb_tests::{Lab, Node, isolated};
//!
//! isolated("web_servers_answer", || {
//!     let lab = Lab::builder().up()?;
//!     assert_eq!(lab.exec(Node::Client, ["curl", "-s", "http://192.168.4.100/"])?, "web1\n");
//!     Ok(())
//! });
//! ```

pub mod checks;
pub mod director;
mod echo;
pub mod failover;
mod http;
mod isolated;
pub mod keepalived;
mod lab;
mod load;
mod mail;
mod netns;
pub mod nginx;
mod process;
mod snapshot;
mod state;
pub mod topology;
pub mod visit;
mod wait;
mod wiring;
mod xdp_pass;

pub use echo::{Echo, echo_back};
pub use isolated::{MAX_DURATION, isolated, may_run_privileged};
pub use lab::{Lab, LabBuilder};
pub use load::{Connections, Load, LoadPlan, LoadReport};
pub use mail::MailServer;
pub use process::Process;
pub use snapshot::Snapshot;
pub use state::{LAB_DIR, Remains};
pub use topology::{Family, Node, Topology};
pub use wait::wait_until;

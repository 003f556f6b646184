//! What `lbctl` is made of: the configuration, what the tables should say ([`plane`]), the kernel's side of it
//! ([`dataplane`]), the host's network ([`net`]), and the real-server helper.

pub mod cli;
pub mod config;
pub mod dataplane;
pub mod diff;
pub mod director;
pub mod doctor;
pub mod edits;
pub mod explain;
pub mod health;
pub mod import;
pub mod ipvsadm;
pub mod list;
pub mod net;
pub mod notify;
pub mod orders;
pub mod path;
pub mod plane;
pub mod process;
pub mod realserver;
pub mod save;
pub mod turns;
pub mod vrrp;

//! What `lbctl` is made of: the configuration, what the tables should say ([`plane`]), and the kernel's side
//! of it ([`dataplane`]).

pub mod config;
pub mod dataplane;
pub mod list;
pub mod plane;

//! lbctl.

pub mod net;
pub mod realserver;

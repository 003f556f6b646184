//! The director: what `lbctl` is made of.

pub mod dataplane;
//! lbctl.

pub mod config;

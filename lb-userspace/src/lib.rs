//! lbctl.

pub mod config;

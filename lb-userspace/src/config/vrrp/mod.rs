//! What the file says of VRRP: instances, sync groups and what is tracked.
//!
//! `read` turns each section into its part of the model and reports what is wrong with its values; `check` then looks
//! at what must hold between sections. A value that was refused becomes the default: the report has an error then, so
//! no [`Config`](super::Config) is ever made of it.

mod check;
mod model;
mod read;
mod routes;
pub(super) mod schema;
#[cfg(test)]
mod tests;
mod virtual_mac;

pub use model::{
    Garp, GroupTracking, InitialState, Notify, RouteKind, SyncGroup, TrackFile, TrackProcess, TrackScript,
    Tracked, VirtualAddress, VirtualMac, VirtualRoute, VirtualRule, Vrrp, VrrpInstance, VrrpVersion, Weight,
};

pub(crate) use routes::{parse_route, parse_rule};

pub(super) use check::check;
pub(super) use read::{Draft, read};

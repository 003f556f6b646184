//! Other programs' configurations, read and made into this one's.
//!
//! [`keepalived`] reads `keepalived.conf`, [`ipvsadm`] what `ipvsadm -S` prints. Each makes TOML of which every line says where it came from, and a
//! [`report::Report`] in which every statement of the file has its fate: nothing is dropped silently.

mod accept;
pub mod document;
pub mod ipvsadm;
pub mod keepalived;
pub mod marks;
mod ranges;
pub mod report;
pub mod source;

pub use accept::Imported;

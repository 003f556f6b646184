//! `ipvsadm`'s own command line (version 1.31): what it accepts, what it refuses, in which words and with which
//! exit code.
//!
//! [`parse`] turns words into a [`Command`], or into the [`UsageError`] that `ipvsadm` would print; it changes
//! nothing and asks nobody but the given [`Names`]. `popt` splits words into options as the library of that name
//! does, `options` has the options and which command takes which, `address` reads addresses. Where ipvsadm
//! would crash (`-b ,`), there is an ordinary error.

mod address;
mod model;
mod options;
mod parse;
mod popt;
#[cfg(test)]
mod tests;
pub mod translate;
mod usage;
mod values;

pub use address::{Names, NoNames, SystemNames};
pub use model::{
    Checksum, Command, Daemon, DaemonRole, Forwarding, Granularity, Listing, SchedulerFlags, Server, Service,
    ServiceKey, Show, Transport, Tunnel,
};
pub use parse::{parse, words};
pub use usage::{HELP, VERSION};

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    /// In ipvsadm's words; without a final line feed.
    pub message: String,
    /// The process's exit code: 255 where the line cannot be split into options, else 2.
    pub exit_code: u8,
}

impl UsageError {
    /// A wrong value or combination.
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 2 }
    }

    /// Words that are no options.
    fn syntax(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 255 }
    }

    /// Nothing that could be understood at all.
    fn try_help() -> Self {
        Self::syntax("Try `ipvsadm -h' or 'ipvsadm --help' for more information.")
    }
}

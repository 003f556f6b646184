//! The direct-routing path check: does a real server take the VIP's packets, and answer them as the VIP?
//!
//! A check that connects to a real server's own address says nothing about that: without the VIP on its `lo` it looks
//! well and loses every client. So the [`Prober`] sends what the datapath would send: a packet to the VIP and its port,
//! to that real server's Ethernet address, past the director's own routing (`packet`). The answer must come from
//! the VIP and from that Ethernet address.
//!
//! - TCP: a SYN, which a SYN-ACK must answer; a reset then ends the connection before anybody accepts it.
//! - UDP: an empty datagram, which must not be answered with "port unreachable", and an echo request, whose answer shows
//!   that the VIP is there and that the datagram was taken.
//!
//! Answers go to the director's own address, where the kernel does not know of them; where the VIP is on this host it
//! drops them as martians, else it resets the connection once more. They are read before either, from a packet socket.
//! The ports are the kernel's: a socket that does nothing else holds them.
//!
//! [`claims`] watches who answers for a VIP that is not his. [`advice`] asks about all real servers by itself, so that a forgotten `lbctl realserver start` is seen.

pub mod advice;
pub mod claims;
mod listener;
mod own;
mod packet;
mod prober;
mod report;

pub use prober::{Finding, Prober, Question};
pub use report::{Report, write as write_report};

use std::net::IpAddr;

use tokio::sync::watch;

use self::advice::Adviser;
use self::claims::Watcher;
use crate::config::Config;
use crate::net::neighbours::Resolutions;

/// What asks about the ways of direct routing.
#[derive(Debug)]
pub struct Paths {
    prober: Prober,
    adviser: Adviser,
    watcher: Watcher,
}

impl Paths {
    /// Starts asking, in the calling thread's network namespace.
    pub fn start(config: &Config, resolutions: watch::Receiver<Resolutions>) -> Self {
        let watcher = Watcher::start(config, resolutions.clone());
        let prober = Prober::new(resolutions);
        Self { watcher, adviser: Adviser::start(config, prober.clone()), prober }
    }

    /// Goes over to another configuration.
    pub fn reconfigure(&self, config: &Config) {
        self.adviser.reconfigure(config);
        self.watcher.reconfigure(config);
    }

    /// Another director has been heard at this address: it may answer for the VIPs.
    pub fn add_director(&self, address: IpAddr) {
        self.watcher.add_director(address);
    }

    /// Who asks single questions.
    pub fn prober(&self) -> &Prober {
        &self.prober
    }

    /// What is known.
    pub fn report(&self) -> Report {
        Report {
            schema: report::SCHEMA.to_owned(),
            paths: self.adviser.report(),
            claims: self.watcher.report(),
        }
    }
}

//! Timeouts of connections that were set at run time, as `ipvsadm --set` does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Config, ConnectionRules};

/// A day, as in the file.
const LONGEST: u32 = 86_400;

/// In seconds; `None` is the file's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// `tcp_timeout`.
    pub tcp: Option<u32>,
    /// `tcp_fin_timeout`.
    pub tcp_fin: Option<u32>,
    /// `udp_timeout`.
    pub udp: Option<u32>,
}

impl Timeouts {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Each that is set, under its name in the file.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let all = [("tcp_timeout", self.tcp), ("tcp_fin_timeout", self.tcp_fin), ("udp_timeout", self.udp)];
        all.into_iter().filter_map(|(name, seconds)| Some((name, seconds?)))
    }

    /// Whether the file could have them; else the key and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        match self.named().find(|(_, seconds)| !(1..=LONGEST).contains(seconds)) {
            None => Ok(()),
            Some((name, _)) => {
                Err((name, "out of range; give 1 to 86400 seconds, or 0 to leave it as it is"))
            }
        }
    }

    /// Sets them in a configuration.
    pub(super) fn apply(&self, config: &mut Config) {
        let rules = &mut config.director.connection_rules;
        for (own, place) in [
            (self.tcp, &mut rules.tcp_timeout),
            (self.tcp_fin, &mut rules.tcp_fin_timeout),
            (self.udp, &mut rules.udp_timeout),
        ] {
            if let Some(seconds) = own {
                *place = Duration::from_secs(seconds.into());
            }
        }
    }

    /// Takes over those that are set; one that is as in the file is none.
    pub(super) fn set(&mut self, new: Self, file: &Config) {
        let ConnectionRules { tcp_timeout, tcp_fin_timeout, udp_timeout, .. } =
            file.director.connection_rules;
        for (own, new, file) in [
            (&mut self.tcp, new.tcp, tcp_timeout),
            (&mut self.tcp_fin, new.tcp_fin, tcp_fin_timeout),
            (&mut self.udp, new.udp, udp_timeout),
        ] {
            *own = new.or(*own).filter(|seconds| file != Duration::from_secs((*seconds).into()));
        }
    }
}

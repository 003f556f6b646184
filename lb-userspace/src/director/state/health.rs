//! What the director does about the health of its real servers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tokio::sync::oneshot;

use super::Director;
use crate::config::Config;
use crate::health::report::Report;
use crate::health::shell::News;
use crate::plane::desired::Desired;

impl Director {
    /// Where news of health come from.
    pub fn health_news(&self) -> News {
        self.health.news()
    }

    /// Whether every check has run at least once.
    pub fn is_checked(&self) -> bool {
        self.health.ready()
    }

    /// Has what the checks found sent to `answer`.
    pub fn report_health(&self, answer: oneshot::Sender<Report>) {
        self.health.report(answer);
    }

    /// Changes the tables to what health now allows.
    pub fn follow_health(&mut self) {
        let desired = self.desired(&self.config);
        if let Err(error) = self.reach(&desired) {
            tracing::error!("the tables do not follow the health checks: {error:#}");
        }
    }

    /// Tells the checks which addresses this host has.
    pub async fn follow_addresses(&mut self) {
        match self.netlink.addresses().await {
            Ok(all) => self.health.addresses(all.into_iter().map(|found| found.address).collect()),
            Err(error) => tracing::error!("no news of this host's addresses: {error}"),
        }
    }

    /// The addresses of everyone who may come into rotation at any time: their MACs are known before they are needed.
    pub(super) fn candidates(config: &Config) -> BTreeSet<IpAddr> {
        let mut all = Desired::from_config(config).real_addresses();
        let sorry = config.virtual_servers.iter().filter_map(|server| server.health.sorry_server.as_ref());
        all.extend(sorry.map(|sorry| sorry.address));
        all
    }
}

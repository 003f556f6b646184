//! What operators order about real servers.

use super::Director;
use crate::config::Config;
use crate::orders;
use crate::plane::desired::Desired;

impl Director {
    /// Carries out an operator's order, and writes it down first. Returns what it is about and whether it changes
    /// anything.
    ///
    /// # Errors
    ///
    /// There is no such real server, or it cannot be written down: then nothing has changed. Or the tables cannot be
    /// changed: then the order stands, and is tried again.
    pub fn order(&mut self, request: &orders::Request) -> anyhow::Result<orders::Done> {
        let names = orders::names(&Desired::from_config(&self.config));
        let about = self.orders.find(&names, &request.virtual_server, &request.real_server)?;
        let mut orders = self.orders.clone();
        let changed = orders.change(about, request.change, orders::now())?;
        let order = orders.of(&about.0, &about.1).copied();
        if changed {
            orders.write(&self.instance.orders_file())?;
            self.orders = orders;
            let state = order.map_or("as configured".to_owned(), |order| order.to_string());
            tracing::info!("real server {} of {}: {state}, by order", about.1, about.0);
            self.reach(&self.desired(&self.config))?;
        }
        Ok(orders::Done { virtual_server: about.0.into(), real_server: about.1.into(), order, changed })
    }

    /// What to say about orders that no real server is there for.
    pub(super) fn idle_orders(&self, config: &Config) -> Vec<String> {
        let names = orders::names(&Desired::from_config(config));
        let note = |(service, server)| {
            format!(
                "there is an order about real server {server} of {service}, which is not configured; \
                 `lbctl enable {service} {server}` lifts it"
            )
        };
        self.orders.idle(&names).map(note).collect()
    }
}

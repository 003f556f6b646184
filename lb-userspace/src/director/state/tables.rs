//! The tables: what they are to be, and that they become so.

use lb_common::verdict::Reason as VerdictReason;

use super::Director;
use crate::config::Config;
use crate::list::Source;
use crate::plane::applied::Applied;
use crate::plane::apply::apply;
use crate::plane::desired::Desired;
use crate::plane::janitor;
use crate::plane::plan::{Limits, Step, plan, ring_space_after};
use crate::plane::store::Store;

impl Director {
    /// What `config` asks for, as everything else that is known changes it.
    pub(super) fn desired(&self, config: &Config) -> Desired {
        let mut desired = Desired::from_config(config);
        let disabled = self.orders.disabled();
        match disabled.is_empty() {
            true => self.health.view().apply(config, &mut desired),
            false => self.health.view().without(config, &disabled).apply(config, &mut desired),
        }
        self.orders.apply(&mut desired);
        desired
    }

    /// What the configuration in force asks for now.
    pub(in crate::director) fn desired_now(&self) -> Desired {
        self.desired(&self.config)
    }

    pub(super) fn plan(&self, desired: &Desired) -> anyhow::Result<Vec<Step>> {
        let tables = &self.loaded.tables;
        let applied = Applied::read(tables);
        let limits = Limits {
            servers: tables.destinations().len(),
            services: usize::from(u16::MAX),
            ring_words: u32::try_from(tables.rings().len()).unwrap_or(u32::MAX),
        };
        Ok(plan(&applied, desired, limits, self.ring_space)?)
    }

    /// Changes the tables to what is desired.
    pub(super) fn reach(&mut self, desired: &Desired) -> anyhow::Result<()> {
        let steps = self.plan(desired)?;
        self.ring_space = ring_space_after(&steps).unwrap_or(self.ring_space);
        let result = apply(&mut self.loaded.tables, &steps, &self.hops);
        self.write_ways();
        self.mark_standby();
        self.pending = result.as_ref().err().map(ToString::to_string);
        if !steps.is_empty() {
            tracing::info!(steps = steps.len(), "tables changed");
        }
        Ok(result?)
    }

    /// What was not applied is tried again.
    pub fn retry(&mut self) {
        if self.pending.is_some() {
            let desired = self.desired(&self.config);
            match self.reach(&desired) {
                Ok(()) => tracing::info!("the tables are as configured again"),
                Err(error) => tracing::error!("the tables are not as configured: {error:#}"),
            }
        }
    }

    /// As [`Director::sweep`], where numbers of connections or templates decide about new ones.
    pub fn keep_counts(&self) {
        let tables = &self.loaded.tables;
        if janitor::is_urgent(tables) && !self.parts.is_moving() {
            janitor::sweep(tables, Source::now(tables));
        }
    }

    /// Has the connection tables use the part that suits the number of their connections. To be called regularly, a tenth
    /// of a second apart.
    pub fn keep_parts(&mut self) {
        let tables = &self.loaded.tables;
        self.parts.look(tables, Source::now(tables));
    }

    /// Drops expired connections and frees what nobody uses.
    pub fn sweep(&mut self) {
        if self.parts.is_moving() {
            return;
        }
        self.warn_of_exhaustion();
        let tables = &self.loaded.tables;
        let used = janitor::sweep(tables, Source::now(tables));
        match janitor::free_retired(tables, &used) {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(count, "removed real servers have no connections any more");
                let desired = self.desired(&self.config);
                self.want_neighbours(&desired);
                // Their answers are nobody's now.
                if let Err(error) = self.reach(&desired) {
                    tracing::error!("the tables are not as configured: {error:#}");
                }
            }
            Err(error) => tracing::error!("removed real servers cannot be freed: {error}"),
        }
    }

    /// Says how many packets found no source port since it was last asked.
    pub(super) fn warn_of_exhaustion(&mut self) {
        let Ok(refused) = self.loaded.tables.reason(VerdictReason::NoSourcePort) else { return };
        let new = refused.saturating_sub(self.exhausted);
        self.exhausted = refused;
        if new > 0 {
            tracing::warn!(
                "full_nat: {new} packets were dropped as all source ports towards their real servers were taken; \
                 add source_addresses, or widen source_ports"
            );
        }
    }
}

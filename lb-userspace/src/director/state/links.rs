//! The program and the virtual addresses on the interfaces.

use super::super::{addresses, interfaces};
use super::Director;
use crate::dataplane::attach::{self, Mode};
use crate::net::ethtool;
use crate::net::netlink::Link;

impl Director {
    pub(super) async fn put_program_on(&mut self, links: &[Link]) -> anyhow::Result<()> {
        let mut problems = Vec::new();
        for link in links {
            if !interfaces::introduce(&self.loaded.tables, link) {
                problems.push(format!("interface {}: no slot is free for index {}", link.name, link.index));
                continue;
            }
            if self.attached.contains(&link.index) && self.instance.link_pin(link.index).exists() {
                continue;
            }
            let mode = self.config.director.xdp_mode;
            let program = self.loaded.program()?;
            match interfaces::attach(program, &self.instance, &self.netlink, link, mode).await {
                Ok(Some(Mode::Native)) => tracing::info!("interface {}: native XDP", link.name),
                Ok(Some(Mode::Generic)) => {
                    tracing::info!("interface {}: generic XDP", link.name);
                    self.receive_unmerged(&link.name)?;
                }
                Ok(None) => tracing::info!("interface {}: program replaced, traffic taken over", link.name),
                Err(error) => {
                    problems.push(format!("{:#}", anyhow::Error::new(error)));
                    continue;
                }
            }
            self.attached.insert(link.index);
        }
        anyhow::ensure!(problems.is_empty(), "{}", problems.join("\n"));
        Ok(())
    }

    /// Generic XDP cannot redirect what GRO has merged.
    pub(super) fn receive_unmerged(&mut self, name: &str) -> anyhow::Result<()> {
        if !ethtool::gro(name).unwrap_or(false) {
            return Ok(());
        }
        self.record.gro_off.push(name.to_owned());
        self.record.write(&self.instance.record_file())?;
        match ethtool::set_gro(name, false) {
            Ok(()) => tracing::info!("interface {name}: generic receive offload switched off"),
            Err(error) => tracing::warn!("interface {name}: generic receive offload stays on: {error}"),
        }
        Ok(())
    }

    /// Takes the program off the interfaces that are not among `links`.
    pub(super) fn leave_interfaces(&self, links: &[Link]) {
        for index in self.instance.pinned_links() {
            if links.iter().all(|link| link.index != index) {
                attach::detach(&self.instance.link_pin(index));
                interfaces::forget(&self.loaded.tables, index);
            }
        }
    }

    /// An interface got another MAC, or one that was gone is there again under another index: the program must
    /// know the one and be put on the other.
    pub async fn follow_interfaces(&mut self) {
        let Ok(mut links) = self.netlink.links().await else { return };
        self.answering.look_up_again(&self.netlink).await;
        self.write_ways();
        links.retain(|link| self.config.director.interfaces.contains(&link.name));
        for link in &links {
            interfaces::introduce(&self.loaded.tables, link);
        }
        self.look_up_bases().await;
        self.mark_standby();
        let on = self.instance.pinned_links();
        let new: Vec<Link> =
            links.iter().filter(|link| link.up && !on.contains(&link.index)).cloned().collect();
        if new.is_empty() {
            return;
        }
        self.leave_interfaces(&links);
        let result = match self.put_program_on(&new).await {
            Ok(()) => self.put_addresses(&links).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::error!("an interface that came back is not in use: {error:#}");
        }
    }

    /// Puts the wanted VIPs on the host and removes those of ours that are not wanted any more.
    pub(super) async fn put_addresses(&mut self, links: &[Link]) -> anyhow::Result<()> {
        let wanted = addresses::wanted(&self.config);
        let missing = addresses::missing(&self.netlink, &wanted, links).await?;
        // The intention first: whatever is added is known to be ours, even if the process dies now.
        self.record.addresses.extend(missing.iter().cloned());
        self.record.write(&self.instance.record_file())?;
        for own in &missing {
            addresses::add(&self.netlink, own).await?;
            tracing::info!("virtual address {} added", own.address);
        }
        let (kept, unwanted): (Vec<_>, Vec<_>) =
            self.record.addresses.drain(..).partition(|own| wanted.contains(&own.address));
        for own in &unwanted {
            addresses::remove(&self.netlink, own).await?;
            tracing::info!("virtual address {} removed", own.address);
        }
        self.record.addresses = kept;
        self.record.write(&self.instance.record_file())?;
        Ok(())
    }
}

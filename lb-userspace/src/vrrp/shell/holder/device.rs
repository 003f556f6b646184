//! The macvlans that have virtual MACs.
//!
//! They are there from start to stop, but up only on the master: one that is down takes no frames, and says nothing that
//! would draw the virtual MAC's packets here.

use std::collections::BTreeSet;

use super::super::record::{HeldDevice, HeldSetting};
use super::super::settle;
use super::Holder;
use crate::config::vrrp::VrrpInstance;
use crate::net::netlink::{Link, NetlinkError};
use crate::net::sysctl;

/// A macvlan that should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::vrrp::shell) struct Device {
    name: String,
    base: String,
    mac: [u8; 6],
    is_ipv6: bool,
}

impl Device {
    /// Those of these instances.
    pub(in crate::vrrp::shell) fn of<'i>(instances: impl IntoIterator<Item = &'i VrrpInstance>) -> Vec<Self> {
        let device = |instance: &VrrpInstance| {
            Some(Self {
                name: instance.virtual_mac.as_ref()?.interface.clone(),
                base: instance.interface.clone(),
                mac: instance.mac()?,
                is_ipv6: instance.is_ipv6(),
            })
        };
        instances.into_iter().filter_map(device).collect()
    }

    fn record(&self) -> HeldDevice {
        HeldDevice { name: self.name.clone(), mac: self.mac }
    }
}

impl Holder {
    /// From now on these are the macvlans that should be there; others of ours go.
    pub(super) async fn have_devices(&mut self, wanted: Vec<Device>) {
        self.devices = wanted;
        self.devices_told.clear();
        if let Err(error) = self.drop_devices().await {
            tracing::error!("interfaces of virtual MACs that are not needed any more: {error}");
        }
        self.is_prepared = true;
        self.look().await;
    }

    /// Removes the macvlans, and takes back the settings, that are not needed any more.
    async fn drop_devices(&mut self) -> Result<(), NetlinkError> {
        let (kept, gone): (Vec<_>, Vec<_>) = {
            let held = self.shared.borrow().record.devices.clone();
            held.into_iter().partition(|held| self.devices.iter().any(|device| device.record() == *held))
        };
        let links = if gone.is_empty() { Vec::new() } else { self.netlink.links().await? };
        for device in &gone {
            if let Some(link) = links.iter().find(|link| settle::is_ours(link, device)) {
                self.netlink.remove_link(link.index).await?;
            }
        }
        self.record_devices(kept);
        let of_ipv4 = self.devices.iter().filter(|device| !device.is_ipv6);
        let needed: BTreeSet<String> =
            of_ipv4.flat_map(|device| settle::OF_BASE.map(|setting| setting.path(&device.base))).collect();
        let (kept, gone): (Vec<_>, Vec<_>) = {
            let held = self.shared.borrow().record.settings.clone();
            held.into_iter().partition(|held| needed.contains(&held.path))
        };
        for setting in &gone {
            if let Err(problem) = settle::put_back(setting) {
                tracing::error!("{problem}");
            }
        }
        self.record_settings(kept);
        Ok(())
    }

    /// Makes the macvlans that are not there, if the interfaces below them are.
    pub(super) async fn make_devices(&mut self) {
        if self.devices.is_empty() {
            return;
        }
        let links = match self.netlink.links().await {
            Ok(links) => links,
            Err(error) => return tracing::error!("the interfaces cannot be read: {error}"),
        };
        for device in self.devices.clone() {
            let made = self.make_device(&device, &links).await;
            match made {
                Ok(()) => drop(self.devices_told.remove(&device.name)),
                Err(problem) => {
                    if self.devices_told.insert(device.name.clone()) {
                        tracing::error!("{problem}");
                    }
                }
            }
        }
    }

    async fn make_device(&mut self, device: &Device, links: &[Link]) -> Result<(), String> {
        let Device { name, base, mac, is_ipv6 } = device;
        // Without it there is no address either, and the fault is told there.
        let Some(lower) = links.iter().find(|link| link.name == *base) else { return Ok(()) };
        if !is_ipv6 {
            self.settle_base(base);
        }
        let record = device.record();
        let found = links.iter().find(|link| link.name == *name);
        match found {
            Some(found) if settle::is_ours(found, &record) && found.lower == Some(lower.index) => {
                // Perhaps of a killed daemon, or of keepalived, in whose place this one is.
                let mut held = self.shared.borrow().record.devices.clone();
                if !held.contains(&record) {
                    held.push(record);
                    self.record_devices(held);
                    self.settle_device(device)?;
                }
                return Ok(());
            }
            Some(_) => {
                return Err(format!(
                    "interface {name}: is there, and is no macvlan on {base} with the virtual MAC; remove it, or set \
                     vmac_name"
                ));
            }
            None => {}
        }
        let mut held = self.shared.borrow().record.devices.clone();
        if !held.contains(&record) {
            held.push(record);
            self.record_devices(held);
        }
        let made = self.netlink.add_private_macvlan(name, lower.index, *mac).await;
        made.map_err(|error| {
            format!("interface {name}: {error}; use_vmac needs macvlan on {base} (`modprobe macvlan`)")
        })?;
        tracing::info!("interface {name} made, with the virtual MAC");
        self.settle_device(device)
    }

    fn settle_device(&self, device: &Device) -> Result<(), String> {
        for setting in settle::of_device(device.is_ipv6) {
            let path = setting.path(&device.name);
            match sysctl::write(&path, &setting.value.to_string()) {
                // A kernel without IPv6 has none of these.
                Err(_absent) if path.starts_with("net/ipv6") && sysctl::read(&path).is_err() => {}
                written => written.map_err(|error| format!("/proc/sys/{path}: {error}"))?,
            }
        }
        Ok(())
    }

    fn settle_base(&self, base: &str) {
        let new = settle::missing([base], &self.shared.borrow().record.settings);
        if new.is_empty() {
            return;
        }
        let all = self.shared.borrow().record.settings.iter().cloned().chain(new.iter().cloned()).collect();
        self.record_settings(all);
        for setting in &new {
            if let Err(error) = sysctl::write(&setting.path, &setting.now) {
                tracing::error!("/proc/sys/{}: {error}", setting.path);
            }
        }
    }

    fn record_devices(&self, devices: Vec<HeldDevice>) {
        if let Err(error) = self.shared.borrow_mut().record.set_devices(devices) {
            tracing::error!("the interfaces of virtual MACs cannot be recorded: {error}");
        }
    }

    fn record_settings(&self, settings: Vec<HeldSetting>) {
        if let Err(error) = self.shared.borrow_mut().record.set_settings(settings) {
            tracing::error!("changed settings cannot be recorded: {error}");
        }
    }

    /// Sets the instance's macvlan up; it is made if somebody has removed it.
    pub(super) async fn raise(&mut self, instance: &VrrpInstance) {
        let Some(own) = &instance.virtual_mac else { return };
        let is_known = self.shared.borrow().interfaces.contains_key(&own.interface);
        if !is_known {
            self.look().await;
        }
        if let Err(error) = self.netlink.set_link_up(&own.interface).await {
            tracing::error!("{}: {error}", instance.name);
        }
    }

    /// Sets the instance's macvlan down, before its addresses go: so their end is not told to the network in the name
    /// of a MAC that is another director's by now.
    pub(super) async fn lower(&self, instance: &VrrpInstance) {
        let Some(own) = &instance.virtual_mac else { return };
        if let Err(error) = self.netlink.set_link_down(&own.interface).await
            && error.errno() != Some(libc::ENODEV)
        {
            tracing::error!("{}: {error}", instance.name);
        }
    }

    /// Macvlans of masters that somebody has set down are up again.
    pub(super) async fn raise_again(&mut self) {
        for instance in self.instances() {
            let Some(own) = &instance.virtual_mac else { continue };
            let is_down = {
                let shared = self.shared.borrow();
                let is_running = |name: &str| shared.interfaces.get(name).map(|known| known.is_running);
                is_running(&own.interface) == Some(false) && is_running(&instance.interface) == Some(true)
            };
            if is_down {
                tracing::warn!(
                    "{}: {} was set down by somebody else; set up again",
                    instance.name,
                    own.interface
                );
                self.put(&instance).await;
                self.look().await;
                self.announce(&instance, instance.garp.repeat).await;
            }
        }
    }
}

//! VRRP and the tables: who has the VIPs decides which virtual servers are served here.
//!
//! On becoming master the tables come first, then the addresses, then the announcement to the network; the addresses
//! wait for [`Director::follow_vrrp`]. On leaving, the reverse.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_common::memory::place_virtual_macs;
use lb_common::net::MacAddress;

use super::state::Director;
use crate::config::Config;
use crate::config::vrrp::{Notify, VrrpInstance};
use crate::health::view::service_key;
use crate::notify::{self, VrrpChange, VrrpEvent, VrrpObject, VrrpScripts};
use crate::plane::desired::{DesiredServer, ServiceKey};
use crate::plane::standby;
use crate::vrrp::machine::State;
use crate::vrrp::priority::Health;
use crate::vrrp::shell::track::Observation;
use crate::vrrp::shell::{Carried, Handle, News, record_file};
use crate::vrrp::status::VrrpStatus;

/// How long packets are served for an address that has gone to another director: until the last host has learnt it.
const LINGER: Duration = Duration::from_secs(1);

/// VRRP's part of a director.
#[derive(Debug, Default)]
pub(super) struct Failover {
    handle: Option<Handle>,
    carried: Carried,
    /// Addresses that were here until then. Packets that still come are served for a moment.
    lingering: BTreeMap<IpAddr, Instant>,
    /// What was told last.
    is_ready: Option<bool>,
    /// By the name of an instance's interface, the index of the one that has the program.
    bases: BTreeMap<String, u32>,
    served: BTreeMap<String, Health>,
}

/// The addresses that instances carry: nobody else puts them on the host or takes them away.
pub(super) fn carried_addresses(config: &Config) -> BTreeSet<IpAddr> {
    let instances = config.vrrp.instances.iter();
    instances.flat_map(|instance| instance.addresses()).map(|own| own.address).collect()
}

impl Failover {
    /// The addresses of `config` that another director has, or nobody yet.
    pub(super) fn elsewhere(&self, config: &Config) -> BTreeSet<IpAddr> {
        let is_here = |address: &IpAddr| {
            self.carried.here.contains(address)
                || self.lingering.get(address).is_some_and(|since| since.elapsed() < LINGER)
        };
        carried_addresses(config).into_iter().filter(|address| !is_here(address)).collect()
    }

    /// The virtual MACs that packets are served for: each with the index of the interface that they arrive on.
    fn virtual_macs(&self, config: &Config) -> Vec<(u32, MacAddress)> {
        let elsewhere = self.elsewhere(config);
        let is_here =
            |instance: &&VrrpInstance| instance.addresses().any(|own| !elsewhere.contains(&own.address));
        let instances = config.vrrp.instances.iter().filter(is_here);
        instances.filter_map(|it| Some((*self.bases.get(&it.interface)?, it.mac()?))).collect()
    }

    /// Whether new connections will soon be another director's: also those that still come where addresses were.
    fn hands_over(&self) -> bool {
        self.carried.hands_over || self.lingering.values().any(|since| since.elapsed() < LINGER)
    }

    /// Waits until VRRP has changed something.
    pub(super) async fn changed(&mut self) -> Option<News> {
        match &mut self.handle {
            Some(handle) => handle.changed().await,
            None => std::future::pending().await,
        }
    }

    fn carry(&mut self, carried: Carried) {
        let now = Instant::now();
        self.lingering.retain(|_, since| since.elapsed() < LINGER);
        let gone = self.carried.here.difference(&carried.here);
        self.lingering.extend(gone.map(|address| (*address, now)));
        self.carried = carried;
    }
}

/// What people and programs are told of it; nothing of the state before the start.
pub(super) fn notification(news: &News) -> Option<VrrpEvent> {
    let change = |to: State| match to {
        State::Master => Some(VrrpChange::Master),
        State::Backup => Some(VrrpChange::Backup),
        State::Fault => Some(VrrpChange::Fault),
        State::Stopped => Some(VrrpChange::Stop),
        State::Initialize => None,
    };
    let scripts = |notify: &Notify| {
        Arc::new(VrrpScripts {
            master: notify.master.clone(),
            backup: notify.backup.clone(),
            fault: notify.fault.clone(),
            stop: notify.stop.clone(),
            master_received_lower_priority: None,
            any: notify.any.clone(),
        })
    };
    let of_instance = |instance: &VrrpInstance, change, priority| VrrpEvent {
        object: VrrpObject::Instance,
        name: instance.name.clone(),
        change,
        priority,
        scripts: scripts(&instance.notify),
        mail: instance.email_alert,
    };
    Some(match news {
        News::Instance { instance, to, priority } => of_instance(instance, change(*to)?, *priority),
        News::Ended | News::Peer(_) => return None,
        News::LowerPriority { instance, priority } => {
            of_instance(instance, VrrpChange::MasterReceivedLowerPriority, *priority)
        }
        News::Group { group, to } => VrrpEvent {
            object: VrrpObject::Group,
            name: group.name.clone(),
            change: change(*to)?,
            priority: 0,
            scripts: scripts(&group.notify),
            mail: group.email_alert,
        },
    })
}

impl Director {
    /// What an earlier daemon carried is carried until VRRP knows better: its connections go on.
    pub(super) async fn assume_carried(&mut self) {
        if let Ok(present) = self.netlink().addresses().await {
            let carried = carried_addresses(self.config());
            let is_here = |address: &IpAddr| present.iter().any(|known| known.address == *address);
            self.failover.carried.here = carried.into_iter().filter(is_here).collect();
        }
    }

    /// Starts the instances of the configuration, if there are any. The tables are as they should be by now.
    pub(super) fn start_vrrp(&mut self) -> anyhow::Result<()> {
        if self.config().vrrp.instances.is_empty() {
            return Ok(());
        }
        let record = record_file(&self.instance().run_dir());
        self.failover.handle = Some(Handle::start(self.config(), record)?);
        self.failover.is_ready = None;
        self.tell_vrrp();
        Ok(())
    }

    /// After a reload.
    pub(super) async fn reconfigure_vrrp(&mut self) -> anyhow::Result<()> {
        let config = self.config().clone();
        match &mut self.failover.handle {
            // With no instances left it goes on, and does nothing.
            Some(handle) => handle.configure(&config).await?,
            None => self.start_vrrp()?,
        }
        Ok(())
    }

    /// Makes the tables fit the addresses that are carried now, and tells people of transitions.
    pub fn follow_vrrp(&mut self, news: Option<News>) {
        match news {
            Some(News::Ended) => self.restart_vrrp(),
            Some(News::Peer(address)) => self.paths().add_director(address),
            Some(news) => self.notify_vrrp(&news),
            None => self.follow_carried(),
        }
    }

    /// Without it the addresses would stay here, and another director would take them too.
    fn restart_vrrp(&mut self) {
        tracing::error!("the VRRP thread has ended; starting another");
        self.failover.handle = None;
        if let Err(error) = self.start_vrrp() {
            tracing::error!("vrrp: {error:#}");
        }
    }

    fn follow_carried(&mut self) {
        let Some(handle) = &mut self.failover.handle else { return };
        let carried = handle.carried();
        let generation = carried.generation;
        self.failover.carry(carried);
        self.mark_standby();
        if let Some(handle) = &self.failover.handle {
            handle.tables_are(generation);
        }
    }

    /// Runs commands, writes to FIFOs, sends mail, as it is configured.
    fn notify_vrrp(&self, news: &News) {
        if let Some(event) = notification(news) {
            self.notifier().send(notify::Event::Vrrp(event));
        }
    }

    /// Looks up which interfaces frames for virtual MACs arrive on: those of the instances, or of a VLAN the one below.
    pub(super) async fn look_up_bases(&mut self) {
        let instances = self.config().vrrp.instances.iter();
        let names: BTreeSet<String> = instances
            .filter(|instance| instance.virtual_mac.is_some())
            .map(|instance| instance.interface.clone())
            .collect();
        if !names.is_empty() {
            let Ok(links) = self.netlink().links().await else { return };
            let base = |name: &String| {
                let own = links.iter().find(|link| link.name == *name)?;
                let index = if own.vlan.is_some() { own.lower? } else { own.index };
                Some((name.clone(), index))
            };
            self.failover.bases = names.iter().filter_map(base).collect();
        }
    }

    /// Virtual servers of other directors' addresses pass their packets on to the kernel, and so do their MACs.
    pub(super) fn mark_standby(&mut self) {
        let elsewhere = self.failover.elsewhere(self.config());
        let virtual_macs = self.failover.virtual_macs(self.config());
        place_virtual_macs(self.tables().settings(), &virtual_macs);
        standby::agree(self.tables(), self.failover.hands_over());
        match standby::mark(self.tables(), &elsewhere) {
            Ok(0) => {}
            Ok(count) => {
                tracing::debug!(count, ?elsewhere, "virtual servers changed between serving and standing by")
            }
            Err(error) => tracing::error!("the virtual servers do not follow the addresses: {error}"),
        }
    }

    /// Tells VRRP whether this director could serve, and what.
    pub fn tell_vrrp(&mut self) {
        let is_ready = self.is_ready();
        let served = self.served();
        let failover = &mut self.failover;
        let Some(handle) = &failover.handle else { return };
        if failover.is_ready != Some(is_ready) {
            failover.is_ready = Some(is_ready);
            handle.set_ready(is_ready);
        }
        if failover.served != served {
            failover.served.clone_from(&served);
            handle.observer().tell(Observation::VirtualServers(served));
        }
    }

    /// Whether this director could serve: its tables are as configured, every check has run once, and not every real
    /// server is out of reach.
    fn is_ready(&self) -> bool {
        let wanted = self.real_addresses();
        self.pending().is_none()
            && self.is_checked()
            && (wanted.is_empty() || wanted.iter().any(|address| !self.unresolved().contains(address)))
    }

    /// The virtual servers of the configuration, and whether they have a real server that could get a connection.
    fn served(&self) -> BTreeMap<String, Health> {
        let desired = self.desired_now();
        let view = self.health.view();
        let health = |server: &crate::config::VirtualServer| {
            let can_serve = |real: &DesiredServer| {
                real.weight > 0 && !real.failed && !self.unresolved().contains(&real.key.address)
            };
            let is_served = server.endpoints().into_iter().any(|(address, port)| {
                let key = ServiceKey::new(server.protocol, address, port);
                desired.services.get(&key).is_some_and(|service| service.servers.iter().any(can_serve))
            });
            // A sorry server that answers is none of the real servers.
            let has_quorum = view.has_quorum(&service_key(server)) != Some(false);
            if is_served && has_quorum { Health::Up } else { Health::Down }
        };
        let tracked =
            self.config().vrrp.instances.iter().flat_map(|instance| &instance.track_virtual_servers);
        let of_groups =
            self.config().vrrp.sync_groups.iter().flat_map(|group| &group.tracking.virtual_servers);
        let tracked: BTreeSet<&str> = tracked.chain(of_groups).map(|entry| entry.name.as_str()).collect();
        let servers = self.config().virtual_servers.iter();
        servers
            .map(|server| (server.to_string(), server))
            .filter(|(name, _)| tracked.contains(name.as_str()))
            .map(|(name, server)| (name, health(server)))
            .collect()
    }

    /// How VRRP is.
    ///
    /// # Errors
    /// Its thread has ended.
    pub async fn vrrp_status(&self) -> anyhow::Result<VrrpStatus> {
        Ok(match &self.failover.handle {
            Some(handle) => handle.status().await?,
            None => VrrpStatus { schema: "lbctl/vrrp/v1".to_owned(), ..VrrpStatus::default() },
        })
    }

    /// Hands an instance over, or takes it.
    ///
    /// # Errors
    /// Why not.
    pub fn order_vrrp(
        &self,
        name: &str,
        takes: bool,
    ) -> impl Future<Output = Result<String, String>> + Send + use<> {
        let said = self.failover.handle.as_ref().map(|handle| handle.order(name, takes));
        async move {
            match said {
                Some(said) => said.await,
                None => Err("there are no VRRP instances".to_owned()),
            }
        }
    }

    /// Hands everything over and takes the addresses off the host.
    pub(super) async fn stop_vrrp(&mut self) {
        if let Some(mut handle) = self.failover.handle.take() {
            // Nobody follows what is carried any more.
            standby::agree(self.tables(), true);
            handle.stop().await;
            for news in handle.remaining_news() {
                self.notify_vrrp(&news);
            }
        }
    }
}

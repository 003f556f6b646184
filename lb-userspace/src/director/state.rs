//! The director's state, and the changes that it can undergo.

mod answers;
mod edit;
mod health;
mod links;
mod neighbours;
mod orders;
mod saved;
mod tables;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lb_common::conn::{Key as _, Key4};
use lb_common::verdict::Reason as VerdictReason;

use super::failover::Failover;
use super::instance::Instance;
use super::preflight;
use super::record::Record;
use crate::config::Config;
use crate::dataplane::loader::{self, Capacity, Loaded};
use crate::edits::Edits;
use crate::health::probe::PathProbe;
use crate::health::{Health, core::Tables as Left};
use crate::import::source::ConfigSource;
use crate::list::Source as _;
use crate::net::neighbours::{Neighbours, Resolutions};
use crate::net::netlink::{Link, Netlink};
use crate::notify;
use crate::orders::Orders;
use crate::path;
use crate::plane::applied::Applied;
use crate::plane::apply::Hops;
use crate::plane::parts::Parts;
use crate::vrrp::shell::News;

/// How long `up` and `reload` wait for the MACs of real servers before they go on without.
const RESOLVE_FOR: Duration = Duration::from_millis(1500);

/// How long the last scripts and mails may take when the director stops; as long as keepalived waits for its own.
const LAST_NOTIFICATIONS: Duration = Duration::from_secs(5);

/// A running director.
#[derive(Debug)]
pub struct Director {
    instance: Instance,
    source: ConfigSource,
    /// What the file said when it was read last.
    file: Config,
    /// What was changed at run time.
    edits: Edits,
    /// What is in force: the file with the edits.
    config: Config,
    loaded: Loaded,
    netlink: Netlink,
    neighbours: Neighbours,
    resolutions: tokio::sync::watch::Receiver<Resolutions>,
    hops: Hops,
    answering: answers::Answering,
    unresolved: BTreeSet<IpAddr>,
    /// Interfaces that have this process's program.
    attached: BTreeSet<u32>,
    record: Record,
    ring_space: u32,
    parts: Parts,
    /// Packets that had found no source port when the operator was last told.
    exhausted: u64,
    pending: Option<String>,
    notifications: notify::Service,
    orders: Orders,
    paths: path::Paths,
    pub(super) failover: Failover,
    pub(super) health: Health,
}

/// What [`Director::changed`] waited for.
#[derive(Debug)]
pub enum Changed {
    /// The real servers' MACs.
    Neighbours,
    /// What VRRP does; without news, which addresses are carried here.
    Vrrp(Option<News>),
}

impl Director {
    /// Starts forwarding: tables, then the program on the interfaces, then the VIPs. Tables and links that an
    /// earlier daemon left are taken over as they are.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from forwarding. What had been done is undone, unless it was taken over.
    pub async fn start(instance: Instance, source: ConfigSource, file: Config) -> anyhow::Result<Self> {
        let edits = Edits::read(&instance.edits_file())?;
        let config = edit::edited(&edits, &file);
        let netlink = Netlink::open()?;
        let links = preflight::interfaces(&config, netlink.links().await)?;
        check_sources(&config, &netlink).await?;
        let taken_over = !instance.pinned_links().is_empty();
        let capacity = Capacity {
            ipv4: config.director.max_connections,
            ipv6: config.director.max_connections_ipv6,
            full_nat: config.director.max_full_nat_connections,
        };
        let loaded = loader::load(Some(&instance.pin_dir()), capacity)?;
        let neighbours = Neighbours::start()?;
        let mut record =
            Record::read(&instance.record_file()).context("what an earlier daemon did is not known")?;
        record.pid = std::process::id();
        let orders = Orders::read(&instance.orders_file())?;
        record.config = source.path().to_owned();
        let resolutions = neighbours.resolutions();
        let notifications = notify::Service::start(&config);
        let paths = path::Paths::start(&config, resolutions.clone());
        let asks: Arc<dyn PathProbe> = Arc::new(paths.prober().apart());
        let health = Health::start(notifications.notifier().clone(), Some(asks)).context("health checks")?;
        let left = Left::of(&Applied::read(&loaded.tables)).but_for(&orders);
        health.configure(&config, Some(left)).await;
        let mut director = Self {
            source,
            netlink,
            neighbours,
            resolutions,
            hops: Hops::new(),
            answering: answers::Answering::default(),
            unresolved: BTreeSet::new(),
            attached: BTreeSet::new(),
            record,
            ring_space: 0,
            parts: Parts::default(),
            exhausted: loaded.tables.reason(VerdictReason::NoSourcePort).unwrap_or(0),
            loaded,
            pending: None,
            notifications,
            orders,
            failover: Failover::default(),
            health,
            paths,
            instance,
            file,
            edits,
            config,
        };
        if let Err(error) = director.bring_up(&links).await {
            if !taken_over {
                super::teardown::undo(&director.instance, &director.netlink).await.unwrap_or_else(
                    |problems| {
                        tracing::error!("not everything could be undone: {problems}");
                    },
                );
            }
            return Err(error);
        }
        Ok(director)
    }

    async fn bring_up(&mut self, links: &[Link]) -> anyhow::Result<()> {
        self.check_capacity();
        Parts::recover(&self.loaded.tables, self.loaded.tables.now());
        self.assume_carried().await;
        self.look_up_bases().await;
        for note in self.idle_orders(&self.config) {
            tracing::warn!("{note}");
        }
        let desired = self.desired(&self.config);
        self.resolve(&desired, RESOLVE_FOR).await;
        self.reach(&desired)?;
        self.record_saved();
        self.record.write(&self.instance.record_file())?;
        self.put_program_on(links).await?;
        self.leave_interfaces(links);
        self.put_addresses(links).await?;
        self.start_vrrp()
    }

    fn check_capacity(&self) {
        let buckets = self.loaded.tables.settings().main_buckets(Key4::FAMILY);
        let wanted = lb_common::conn::buckets_for(self.config.director.max_connections);
        if buckets != wanted {
            tracing::warn!(
                "max_connections: the connection table keeps its size until `lbctl down` and `lbctl up`"
            );
        }
    }

    /// Reads the configuration again and goes over to it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it; then nothing has changed.
    pub async fn reload(&mut self) -> anyhow::Result<Vec<String>> {
        let file = self.source.load()?;
        let mut notes: Vec<String> = file.warnings.iter().map(ToString::to_string).collect();
        let config = edit::edited_with_notes(&self.edits, &file, &mut notes);
        notes.extend(self.change_to(config, RESOLVE_FOR).await?);
        self.file = file;
        Ok(notes)
    }

    /// Goes over to another configuration, waiting so long for MACs that are new.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it; then nothing has changed.
    async fn change_to(&mut self, config: Config, patience: Duration) -> anyhow::Result<Vec<String>> {
        let links = preflight::interfaces(&config, self.netlink.links().await)?;
        check_sources(&config, &self.netlink).await?;
        let desired = self.desired(&config);
        self.plan(&desired)?;
        let mut notes = Vec::new();
        let old = &self.config.director;
        let sizes = |director: &crate::config::Director| {
            (director.max_connections, director.max_connections_ipv6, director.max_full_nat_connections)
        };
        if sizes(old) != sizes(&config.director) {
            notes.push("max_connections: takes effect with `lbctl down` and `lbctl up`".to_owned());
        }
        if old.xdp_mode != config.director.xdp_mode {
            notes.push("xdp_mode: takes effect with `lbctl down` and `lbctl up`".to_owned());
        }
        notes.extend(self.idle_orders(&config));
        // From here on only the kernel can refuse; a program that cannot be attached is the likeliest, so first.
        let before = std::mem::replace(&mut self.config, config);
        if let Err(error) = self.put_program_on(&links).await {
            self.config = before;
            let links = preflight::interfaces(&self.config, self.netlink.links().await)?;
            self.leave_interfaces(&links);
            return Err(error);
        }
        self.look_up_bases().await;
        self.health.configure(&self.config, None).await;
        let desired = self.desired(&self.config);
        self.resolve(&desired, patience).await;
        // VRRP may have brought addresses here meanwhile, or taken some away.
        let desired = self.desired(&self.config);
        self.reach(&desired)?;
        self.record_saved();
        self.put_addresses(&links).await?;
        self.leave_interfaces(&links);
        self.notifications.reconfigure(&self.config);
        self.reconfigure_vrrp().await?;
        self.paths.reconfigure(&self.config);
        let wanted = desired.real_addresses();
        for address in self.unresolved.intersection(&wanted) {
            notes.push(format!("real server {address}: its MAC address is not known yet"));
        }
        Ok(notes)
    }

    pub(super) fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Waits for news of VRRP, or of the real servers' MACs.
    pub async fn changed(&mut self) -> Changed {
        let Self { failover, resolutions, answering, .. } = self;
        tokio::select! {
            biased;
            news = failover.changed() => Changed::Vrrp(news),
            () = answering.changed() => Changed::Neighbours,
            changed = resolutions.changed() => match changed {
                Ok(()) => Changed::Neighbours,
                // The keeper restarts itself and does not end; if it does, there is no more news.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Stops forwarding and undoes everything.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop_vrrp().await;
        let Self { instance, netlink, loaded, neighbours, notifications, health, .. } = self;
        health.stop().await;
        drop((loaded, neighbours));
        let undone = super::teardown::undo(&instance, &netlink).await;
        notifications.close(LAST_NOTIFICATIONS).await;
        undone
    }

    /// The instance.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tables.
    pub fn tables(&self) -> &crate::dataplane::tables::Tables {
        &self.loaded.tables
    }

    /// Who asks about the ways of direct routing.
    pub(super) fn paths(&self) -> &path::Paths {
        &self.paths
    }

    /// What is known of the ways of direct routing.
    pub fn path_report(&self) -> path::Report {
        self.paths.report()
    }

    /// Where to tell what happens.
    pub fn notifier(&self) -> &notify::Notifier {
        self.notifications.notifier()
    }

    /// Real servers whose MAC is not known.
    pub fn unresolved(&self) -> &BTreeSet<IpAddr> {
        &self.unresolved
    }

    /// Why the tables are not as configured, if they are not.
    pub fn pending(&self) -> Option<&str> {
        self.pending.as_deref()
    }
}

/// Can this host send from where full NAT is to send?
async fn check_sources(config: &Config, netlink: &Netlink) -> anyhow::Result<()> {
    let own = netlink.addresses().await?.into_iter().map(|found| found.address).collect();
    Ok(super::sources::check(config, &own, &super::sources::KernelPorts::read())?)
}

//! The director's state, and the changes that it can undergo.

mod answers;
mod edit;
mod health;
mod saved;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lb_common::layout::{Destination, NextHop};
use lb_common::verdict::Reason as VerdictReason;

use super::addresses;
use super::failover::Failover;
use super::instance::Instance;
use super::interfaces;
use super::preflight;
use super::record::Record;
use crate::config::Config;
use crate::dataplane::attach::{self, Mode};
use crate::dataplane::loader::{self, Capacity, Loaded};
use crate::edits::Edits;
use crate::health::probe::PathProbe;
use crate::health::{Health, core::Tables as Left};
use crate::import::source::ConfigSource;
use crate::list::Source;
use crate::net::ethtool;
use crate::net::neighbours::{Neighbours, Reason, Resolution, Resolutions};
use crate::net::netlink::{Link, Netlink};
use crate::notify;
use crate::orders::{self, Orders};
use crate::path;
use crate::plane::applied::{Applied, address_of};
use crate::plane::apply::{Hop, Hops, apply, follow_hops};
use crate::plane::desired::Desired;
use crate::plane::plan::{Limits, Step, plan, ring_space_after};
use crate::plane::{janitor, store::Store};
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
        let buckets = self.loaded.tables.connections4.len();
        let wanted = lb_common::conn::buckets_for(self.config.director.max_connections) as usize;
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

    /// What `config` asks for, as everything else that is known changes it.
    fn desired(&self, config: &Config) -> Desired {
        let mut desired = Desired::from_config(config);
        let disabled = self.orders.disabled();
        match disabled.is_empty() {
            true => self.health.view().apply(config, &mut desired),
            false => self.health.view().without(config, &disabled).apply(config, &mut desired),
        }
        self.orders.apply(&mut desired);
        desired
    }

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
    fn idle_orders(&self, config: &Config) -> Vec<String> {
        let names = orders::names(&Desired::from_config(config));
        let note = |(service, server)| {
            format!(
                "there is an order about real server {server} of {service}, which is not configured; \
                 `lbctl enable {service} {server}` lifts it"
            )
        };
        self.orders.idle(&names).map(note).collect()
    }

    pub(super) fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// What the configuration in force asks for now.
    pub(super) fn desired_now(&self) -> Desired {
        self.desired(&self.config)
    }

    /// The addresses of the real servers that are configured.
    pub(super) fn real_addresses(&self) -> BTreeSet<IpAddr> {
        self.config
            .virtual_servers
            .iter()
            .flat_map(|server| &server.real_servers)
            .map(|real| real.address)
            .collect()
    }

    fn plan(&self, desired: &Desired) -> anyhow::Result<Vec<Step>> {
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
    fn reach(&mut self, desired: &Desired) -> anyhow::Result<()> {
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

    /// Has MACs followed of all real servers in the configuration, so that one that is taken back is reachable at
    /// once, and of those that were removed but still have connections.
    fn want_neighbours(&self, desired: &Desired) {
        let mut wanted = desired.real_addresses();
        wanted.extend(Self::candidates(&self.config));
        wanted.extend(self.answering.routers());
        let in_use = |destination: &&Destination| {
            NextHop::from_word(destination.next_hop.load()).flags & NextHop::IN_USE != 0
        };
        wanted.extend(self.loaded.tables.destinations().iter().filter(in_use).map(address_of));
        self.neighbours.set_wanted(wanted);
    }

    /// Asks for the MACs of all real servers, and waits a little for the answers.
    async fn resolve(&mut self, desired: &Desired, patience: Duration) {
        self.answering.prepare(desired, &self.netlink).await;
        let resolutions = self.resolutions.borrow().clone();
        self.follow_routers(&resolutions);
        let mut wanted = desired.real_addresses();
        wanted.extend(self.answering.routers());
        self.want_neighbours(desired);
        let known = |resolutions: &Resolutions| {
            wanted.iter().all(|address| {
                resolutions.get(address).is_some_and(|found| !matches!(found, Resolution::Unresolved { .. }))
            })
        };
        // Whether it times out or not, what is known by then is what counts.
        let deadline = tokio::time::Instant::now() + patience;
        while !known(&self.resolutions.borrow_and_update()) {
            let Self { failover, resolutions, .. } = self;
            tokio::select! {
                biased;
                // A takeover does not wait for real servers that are not there.
                news = failover.changed() => self.follow_vrrp(news),
                changed = resolutions.changed() => if changed.is_err() { break },
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        self.follow_neighbours();
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

    /// Writes what is known of the real servers' MACs into the tables, and reports what changed.
    pub fn follow_neighbours(&mut self) {
        let resolutions = self.resolutions.borrow_and_update().clone();
        self.follow_routers(&resolutions);
        let mut unresolved = BTreeSet::new();
        let mut unreachable = BTreeSet::new();
        self.hops.clear();
        for (address, resolution) in &resolutions {
            match resolution {
                Resolution::Resolved { dst_mac, src_mac, ifindex, vlan } => {
                    let hop = Hop::Link { to: *dst_mac, from: *src_mac, interface: *ifindex, vlan: *vlan };
                    self.hops.insert(*address, hop);
                }
                Resolution::Local => {
                    self.hops.insert(*address, Hop::Local);
                }
                Resolution::Unresolved { reason } => {
                    if let Some(hop) = self.answering.through_router(*address, &resolutions) {
                        self.hops.insert(*address, hop);
                        continue;
                    }
                    unresolved.insert(*address);
                    if *reason != Reason::Incomplete {
                        unreachable.insert(*address);
                    }
                    if !self.unresolved.contains(address) {
                        let who = self.answering.role(address);
                        tracing::warn!("{who} {address} {reason}");
                    }
                }
            }
        }
        for address in self.unresolved.difference(&unresolved).filter(|a| resolutions.contains_key(a)) {
            tracing::info!("{} {address} is reachable", self.answering.role(address));
        }
        self.unresolved = unresolved;
        follow_hops(&self.loaded.tables, &self.hops, &unreachable);
        self.write_ways();
    }

    async fn put_program_on(&mut self, links: &[Link]) -> anyhow::Result<()> {
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
    fn receive_unmerged(&mut self, name: &str) -> anyhow::Result<()> {
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
    fn leave_interfaces(&self, links: &[Link]) {
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
    async fn put_addresses(&mut self, links: &[Link]) -> anyhow::Result<()> {
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

    /// As [`Director::sweep`], where numbers of connections or templates decide about new ones.
    pub fn keep_counts(&self) {
        let tables = &self.loaded.tables;
        if janitor::is_urgent(tables) {
            janitor::sweep(tables, Source::now(tables));
        }
    }

    /// Drops expired connections and frees what nobody uses.
    pub fn sweep(&mut self) {
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
    fn warn_of_exhaustion(&mut self) {
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

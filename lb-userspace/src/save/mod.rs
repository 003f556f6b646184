//! What a director serves, as `lbctl save` prints it: TOML or the rules of `ipvsadm -S`.

mod record;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Config, ConnectionRules, Forwarding, LeaseRange, OnFailure, Protocol, VirtualServer};
use crate::import::document::{Section, Value, plain};
use crate::import::report::Place;
use crate::ipvsadm::{self, Granularity, SchedulerFlags, Server, Service, ServiceKey, Transport, Tunnel};

/// JSON schema `lbctl/saved/v1`.
pub const SCHEMA: &str = "lbctl/saved/v1";

/// Virtual servers, their real servers and what is set for both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// "lbctl/saved/v1".
    pub schema: String,
    /// `router_id`.
    pub router_id: String,
    /// `interfaces`.
    pub interfaces: Vec<String>,
    /// `manage_addresses`.
    pub manage_addresses: bool,
    /// Of all connections.
    pub timeouts: SavedTimeouts,
    /// `expire_quiescent_template`.
    pub expire_quiescent_template: bool,
    /// `expire_nodest_conn`.
    pub expire_nodest_conn: bool,
    /// As `ipvsadm` sorts them: those of firewall marks last, by mark, then by family, protocol, address and port.
    pub virtual_servers: Vec<SavedService>,
    /// The firewall marks of the file, taken out at run time or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<SavedMark>,
}

/// A firewall mark that a group of the file has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMark {
    /// The mark.
    pub fwmark: NonZeroU32,
    /// The name of the group.
    pub group: String,
    /// "tcp" or "udp": its virtual server's.
    pub protocol: String,
    /// Its lowest address, which its virtual server is known by.
    pub address: SocketAddr,
}

/// The group that a virtual server answers for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedGroup {
    /// Its name.
    pub name: String,
    /// Its firewall mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fwmark: Option<NonZeroU32>,
}

/// Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedTimeouts {
    /// `tcp_timeout`.
    pub tcp: u64,
    /// `tcp_fin_timeout`.
    pub tcp_fin: u64,
    /// `udp_timeout`.
    pub udp: u64,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedService {
    /// VIP and port; those of a group each have one of these.
    pub address: SocketAddr,
    /// "tcp" or "udp".
    pub protocol: String,
    /// `None` if it has one address of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<SavedGroup>,
    /// As IPVS calls it.
    pub scheduler: String,
    /// `sh-port` and the like.
    pub scheduler_flags: Vec<String>,
    /// Seconds.
    pub persistence_timeout: Option<u64>,
    /// Bits of the client's address that count.
    pub persistence_granularity: Option<u8>,
    /// Each datagram is scheduled on its own.
    pub one_packet: bool,
    /// "keep", "drop" or "reset".
    pub on_failure: String,
    /// Addresses of the director that full NAT is given; none: the director's own one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_addresses: Vec<IpAddr>,
    /// Ports that full NAT is given, "first-last".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ports: Option<String>,
    /// By address and port.
    pub real_servers: Vec<SavedServer>,
}

/// A real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedServer {
    /// RIP and port.
    pub address: SocketAddr,
    /// "dr", "nat", "tun" or "full_nat".
    pub forwarding: String,
    /// 0 to 65,535.
    pub weight: u32,
    /// 0: none.
    pub upper_threshold: u32,
    /// 0: none.
    pub lower_threshold: u32,
}

impl Saved {
    /// What a configuration has of it, which is `file` with what was changed at run time.
    pub fn of(config: &Config, file: &Config) -> Self {
        let mut virtual_servers: Vec<_> = config.virtual_servers.iter().flat_map(services).collect();
        virtual_servers.sort_by_key(|service| {
            let address = service.address;
            (service.mark(), address.is_ipv6(), service.protocol.clone(), address.ip(), address.port())
        });
        let rules = &config.director.connection_rules;
        Self {
            schema: SCHEMA.to_owned(),
            router_id: config.director.router_id.clone(),
            interfaces: config.director.interfaces.clone(),
            manage_addresses: config.director.manage_addresses,
            timeouts: SavedTimeouts::of(rules),
            expire_quiescent_template: rules.expire_quiescent_template,
            expire_nodest_conn: rules.expire_nodest_conn,
            virtual_servers,
            marks: file.virtual_servers.iter().filter_map(mark).collect(),
        }
    }

    /// As `ipvsadm -Sn` prints them. What that leaves out, thresholds and timeouts, only if `is_whole`.
    pub fn rules(&self, is_whole: bool) -> Vec<String> {
        let mut rules = Vec::new();
        let SavedTimeouts { tcp, tcp_fin, udp } = self.timeouts;
        if is_whole && self.timeouts != SavedTimeouts::of(&ConnectionRules::default()) {
            rules.push(format!("--set {tcp} {tcp_fin} {udp}"));
        }
        let mut marks = BTreeSet::new();
        for service in &self.virtual_servers {
            let rule = service.rule();
            // All addresses of a mark are one rule.
            if let ServiceKey::Fwmark { mark, ipv6 } = rule.key
                && !marks.insert((mark, ipv6))
            {
                continue;
            }
            rules.push(rule.to_string());
            rules.extend(service.real_servers.iter().map(|server| server.rule(&rule.key, is_whole)));
        }
        rules
    }

    /// What [`Saved::rules`] does not say.
    pub fn unsaid(&self) -> Vec<String> {
        let is_full_nat = |server: &&SavedServer| server.forwarding == Forwarding::FullNat.as_str();
        let all = self.virtual_servers.iter();
        all.filter_map(|service| service.real_servers.iter().find(is_full_nat).map(|_| service))
            .map(|service| {
                format!(
                    "{}/{}: ipvsadm has no word for full_nat, -m is written",
                    service.address, service.protocol
                )
            })
            .collect()
    }

    /// As our configuration. Timeouts and what is like them only where they differ from the defaults.
    pub fn toml(&self) -> String {
        let place = Place::default();
        let mut director = Section::new("[director]", place);
        director.set("router_id", Value::text(&self.router_id), place);
        if !self.interfaces.is_empty() {
            director.set("interfaces", Value::texts(&self.interfaces), place);
        }
        director.set("manage_addresses", Value::Flag(self.manage_addresses), place);
        let usual = ConnectionRules::default();
        let usual_timeouts = SavedTimeouts::of(&usual).named();
        for ((key, seconds), (_, usual)) in self.timeouts.named().into_iter().zip(usual_timeouts) {
            if seconds != usual {
                director.set(key, span(seconds), place);
            }
        }
        for (key, is_set, is_usual) in [
            ("expire_quiescent_template", self.expire_quiescent_template, usual.expire_quiescent_template),
            ("expire_nodest_conn", self.expire_nodest_conn, usual.expire_nodest_conn),
        ] {
            if is_set != is_usual {
                director.set(key, Value::Flag(is_set), place);
            }
        }
        let mut sections = vec![director];
        let (mut groups, mut servers) = (BTreeSet::new(), BTreeSet::new());
        for service in &self.virtual_servers {
            let Some(group) = &service.group else {
                sections.push(service.section());
                continue;
            };
            if groups.insert(&group.name) {
                sections.push(self.group(group));
            }
            if servers.insert((&group.name, &service.protocol)) {
                sections.push(service.section());
            }
        }
        plain(&sections)
    }

    fn group(&self, group: &SavedGroup) -> Section {
        let place = Place::default();
        let mut section = Section::new("[[virtual_server_group]]", place);
        section.set("name", Value::text(&group.name), place);
        if let Some(mark) = group.fwmark {
            section.set("fwmark", Value::Number(mark.get().into()), place);
        }
        let is_of = |service: &&SavedService| service.group.as_ref() == Some(group);
        let addresses: BTreeSet<_> = self.virtual_servers.iter().filter(is_of).map(|it| it.address).collect();
        let addresses = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>();
        section.set("addresses", Value::texts(&addresses), place);
        section
    }
}

impl SavedTimeouts {
    fn of(rules: &ConnectionRules) -> Self {
        Self {
            tcp: rules.tcp_timeout.as_secs(),
            tcp_fin: rules.tcp_fin_timeout.as_secs(),
            udp: rules.udp_timeout.as_secs(),
        }
    }

    fn named(self) -> [(&'static str, u64); 3] {
        [("tcp_timeout", self.tcp), ("tcp_fin_timeout", self.tcp_fin), ("udp_timeout", self.udp)]
    }
}

/// A duration as the configuration has it.
fn span(seconds: u64) -> Value {
    Value::text(humantime::format_duration(Duration::from_secs(seconds)).to_string())
}

/// The firewall mark that names a virtual server.
fn mark(server: &VirtualServer) -> Option<SavedMark> {
    let group = server.scheduling.group.as_ref()?;
    Some(SavedMark {
        fwmark: group.fwmark?,
        group: group.name.clone(),
        protocol: server.protocol.as_str().to_owned(),
        address: SocketAddr::new(server.address, server.port),
    })
}

/// One for each address of a virtual server.
fn services(server: &VirtualServer) -> Vec<SavedService> {
    let scheduling = &server.scheduling;
    let sources = &scheduling.sources;
    let scheduler = server.scheduler.as_str();
    let flags = scheduling.scheduler_flags;
    let bits = u8::from(flags.fallback) | u8::from(flags.port) << 1;
    let mut real_servers: Vec<_> = server
        .real_servers
        .iter()
        .map(|real| SavedServer {
            address: SocketAddr::new(real.address, real.port),
            forwarding: real.forwarding.as_str().to_owned(),
            weight: real.weight,
            upper_threshold: real.thresholds.upper,
            lower_threshold: real.thresholds.lower,
        })
        .collect();
    real_servers.sort_by_key(|real| real.address);
    let one = |(address, port): (IpAddr, u16)| SavedService {
        address: SocketAddr::new(address, port),
        protocol: server.protocol.as_str().to_owned(),
        group: scheduling
            .group
            .as_ref()
            .map(|group| SavedGroup { name: group.name.clone(), fwmark: group.fwmark }),
        scheduler: scheduler.to_owned(),
        scheduler_flags: SchedulerFlags(bits).names(scheduler).into_iter().map(str::to_owned).collect(),
        persistence_timeout: scheduling.persistence.map(|persistence| persistence.timeout.as_secs()),
        persistence_granularity: scheduling
            .persistence
            .map(|persistence| persistence.prefix)
            .filter(|prefix| *prefix != if address.is_ipv4() { 32 } else { 128 }),
        one_packet: scheduling.one_packet,
        on_failure: scheduling.on_failure.as_str().to_owned(),
        source_addresses: sources.addresses.clone(),
        source_ports: (sources.ports != LeaseRange::default().ports)
            .then(|| format!("{}-{}", sources.ports.0, sources.ports.1)),
        real_servers: real_servers.clone(),
    };
    server.endpoints().into_iter().map(one).collect()
}

impl SavedService {
    /// The firewall mark that names it; 0: none.
    pub fn mark(&self) -> u32 {
        self.group.as_ref().and_then(|group| group.fwmark).map_or(0, NonZeroU32::get)
    }

    fn rule(&self) -> Service {
        let transport = if self.protocol == Protocol::Udp.as_str() { Transport::Udp } else { Transport::Tcp };
        let has = |end: &str| self.scheduler_flags.iter().any(|flag| flag.ends_with(end));
        Service {
            key: match self.mark() {
                0 => ServiceKey::Address(transport, self.address),
                mark => ServiceKey::Fwmark { mark, ipv6: self.address.is_ipv6() },
            },
            scheduler: self.scheduler.clone(),
            flags: SchedulerFlags(u8::from(has("fallback")) | u8::from(has("port")) << 1),
            persistent: self.persistence_timeout.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
            granularity: self.persistence_granularity.map(|bits| match self.address {
                SocketAddr::V4(_) => {
                    Granularity::Mask(Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)))
                }
                SocketAddr::V6(_) => Granularity::Prefix(bits),
            }),
            one_packet: self.one_packet,
            persistence_engine: None,
        }
    }

    fn section(&self) -> Section {
        let place = Place::default();
        let mut section = Section::new("[[virtual_server]]", place);
        match &self.group {
            Some(group) => section.set("group", Value::text(&group.name), place),
            None => section.set("address", Value::text(self.address.to_string()), place),
        }
        section.set("protocol", Value::text(&self.protocol), place);
        section.set("scheduler", Value::text(&self.scheduler), place);
        if !self.scheduler_flags.is_empty() {
            section.set("scheduler_flags", Value::texts(&self.scheduler_flags), place);
        }
        let forwarding = self.real_servers.first().map_or("dr", |server| server.forwarding.as_str());
        section.set("forwarding", Value::text(forwarding), place);
        if let Some(seconds) = self.persistence_timeout {
            section.set("persistence_timeout", span(seconds), place);
        }
        if let Some(bits) = self.persistence_granularity {
            section.set("persistence_granularity", Value::Number(bits.into()), place);
        }
        if self.one_packet {
            section.set("one_packet", Value::Flag(true), place);
        }
        if self.on_failure != OnFailure::default().as_str() {
            section.set("on_failure", Value::text(&self.on_failure), place);
        }
        if !self.source_addresses.is_empty() {
            let addresses = self.source_addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>();
            section.set("source_addresses", Value::texts(&addresses), place);
        }
        if let Some(ports) = &self.source_ports {
            section.set("source_ports", Value::text(ports), place);
        }
        section.inner = self.real_servers.iter().map(|server| server.section(forwarding)).collect();
        section
    }
}

impl SavedServer {
    /// ipvsadm has no word for a translated source.
    fn rule(&self, service: &ServiceKey, thresholds: bool) -> String {
        let is = |forwarding: Forwarding| self.forwarding == forwarding.as_str();
        let forwarding = if is(Forwarding::Nat) || is(Forwarding::FullNat) {
            ipvsadm::Forwarding::Masquerading
        } else if is(Forwarding::Tun) {
            ipvsadm::Forwarding::Tunnel(Tunnel::Ipip)
        } else {
            ipvsadm::Forwarding::DirectRouting
        };
        let Self { mut address, weight, upper_threshold, lower_threshold, .. } = *self;
        // One of a group without a mark, of which each address is a rule: it gets the client's port, the rule's.
        if let (ServiceKey::Address(_, of), 0) = (service, address.port()) {
            address.set_port(of.port());
        }
        Server { address, forwarding, weight, upper_threshold, lower_threshold }.rule(service, thresholds)
    }

    fn section(&self, forwarding: &str) -> Section {
        let place = Place::default();
        let mut section = Section::new("[[virtual_server.real_server]]", place);
        let address = match (self.address, self.address.port()) {
            (SocketAddr::V4(v4), 0) => v4.ip().to_string(),
            (SocketAddr::V6(v6), 0) => format!("[{}]", v6.ip()),
            (address, _) => address.to_string(),
        };
        section.set("address", Value::text(address), place);
        section.set("weight", Value::Number(self.weight.into()), place);
        if self.forwarding != forwarding {
            section.set("forwarding", Value::text(&self.forwarding), place);
        }
        for (key, threshold) in
            [("upper_threshold", self.upper_threshold), ("lower_threshold", self.lower_threshold)]
        {
            if threshold > 0 {
                section.set(key, Value::Number(threshold.into()), place);
            }
        }
        section
    }
}

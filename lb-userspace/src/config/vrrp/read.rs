//! From what was typed to what is meant, one section at a time.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::super::check::interface_name_problem;
use super::super::diagnostics::{Report, Span, quoted};
use super::super::raw::{Field, Table};
use super::super::values::duration;
use super::super::words::{Word, word};
use super::model::{
    Garp, GroupTracking, InitialState, Notify, SyncGroup, TrackFile, TrackProcess, TrackScript,
    VirtualAddress, VrrpInstance, VrrpVersion, Weight,
};
use super::{routes, schema};
use crate::process::Script;

/// keepalived's `-253..253` (`vrrp_parser.c`).
const MAX_WEIGHT: i128 = 253;
const MAX_NAME: usize = 64;
/// `IFNAMSIZ` without the final zero.
const MAX_LABEL: usize = 15;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// keepalived's limit of its delays.
const MAX_DELAY: Duration = Duration::from_secs(1000);
/// VRRPv3 counts hundredths of a second in twelve bits.
const MAX_INTERVAL: Duration = Duration::from_secs(255);
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// Where directors compare their configuration.
const COMPARE_PORT: u32 = 3112;

/// The sections as far as they can be understood one by one.
#[derive(Debug, Default)]
pub(in crate::config) struct Draft {
    pub(super) instances: Vec<Placed<VrrpInstance, InstancePlaces>>,
    pub(super) groups: Vec<Placed<SyncGroup, GroupPlaces>>,
    pub(super) scripts: Vec<Placed<TrackScript, ()>>,
    pub(super) processes: Vec<Placed<TrackProcess, ()>>,
    pub(super) files: Vec<Placed<TrackFile, ()>>,
    pub(super) garp_interval: Duration,
    pub(super) startup_delay: Duration,
    pub(super) compare_port: Option<u16>,
    /// Whether the file has any instance, readable or not.
    pub(in crate::config) has_instances: bool,
}

/// A section's meaning and where it stands.
#[derive(Debug)]
pub(super) struct Placed<T, P> {
    /// `vrrp_instance[0]`
    pub(super) path: String,
    pub(super) header: Span,
    /// Of the name, or the header.
    pub(super) name: Span,
    pub(super) value: T,
    pub(super) places: P,
}

/// Where an instance's keys stand; the header for what is absent.
#[derive(Debug)]
pub(super) struct InstancePlaces {
    pub(super) router_id: Span,
    pub(super) address_list: Span,
    pub(super) addresses: Vec<Span>,
    pub(super) nopreempt: Span,
    pub(super) preempt_delay: Span,
    pub(super) state: Span,
    pub(super) auth_pass: Span,
    pub(super) interval: Span,
    pub(super) version: Span,
    pub(super) peers: Span,
    pub(super) accept: Span,
    pub(super) source: Span,
    pub(super) virtual_mac: VirtualMacDraft,
    /// What stands in for keys that are absent: the header.
    pub(super) unwritten: Span,
    pub(super) tracking: TrackingDraft,
}

/// What is said of the virtual MAC.
#[derive(Debug)]
pub(super) struct VirtualMacDraft {
    /// Of `use_vmac`, or the header.
    pub(super) place: Span,
    pub(super) is_used: bool,
    pub(super) name: Option<(String, Span)>,
    /// Of `vmac_xmit_base` where it is set.
    pub(super) from_base: Option<Span>,
}

/// Where a group's keys stand.
#[derive(Debug)]
pub(super) struct GroupPlaces {
    pub(super) members: Vec<Span>,
    pub(super) tracking: TrackingDraft,
}

/// A tracked object before its name is looked up.
#[derive(Debug)]
pub(super) struct TrackedDraft {
    /// `vrrp_instance[0].track_scripts[1]`
    pub(super) path: String,
    pub(super) span: Span,
    pub(super) name: String,
    pub(super) weight: Option<i16>,
    pub(super) reverse: bool,
}

/// The five `track_…` arrays.
#[derive(Debug, Default)]
pub(super) struct TrackingDraft {
    pub(super) interfaces: Vec<TrackedDraft>,
    pub(super) scripts: Vec<TrackedDraft>,
    pub(super) processes: Vec<TrackedDraft>,
    pub(super) files: Vec<TrackedDraft>,
    pub(super) virtual_servers: Vec<TrackedDraft>,
}

impl Word for InitialState {
    const WHAT: &'static str = "an initial state";
    const ALL: &'static [Self] = &[InitialState::Master, InitialState::Backup];
    const ALIASES: &'static [(&'static str, &'static str)] = &[("active", "master"), ("slave", "backup")];

    fn name(self) -> &'static str {
        match self {
            InitialState::Master => "master",
            InitialState::Backup => "backup",
        }
    }
}

/// Reads what the file's top table says of VRRP.
pub(in crate::config) fn read(root: &Table<'_>, report: &mut Report) -> Draft {
    let mut draft = Draft {
        has_instances: root.has("vrrp_instance"),
        compare_port: u16::try_from(COMPARE_PORT).ok(),
        ..Draft::default()
    };
    let mut garp = Garp {
        delay: Duration::from_secs(5),
        repeat: 5,
        refresh: Duration::ZERO,
        refresh_repeat: 1,
        lower_priority_delay: Duration::from_secs(5),
        lower_priority_repeat: 5,
    };
    let mut version = VrrpVersion::V2;
    if let Some((inner, span)) = root.table("vrrp", report) {
        let table = Table::read(&schema::VRRP, inner, span, "vrrp".to_owned(), report);
        let mut keys = Keys { table: &table, report };
        garp = keys.garp(garp);
        version = keys.version().unwrap_or(version);
        draft.garp_interval = keys.duration("garp_interval", (Duration::ZERO, SECOND), Duration::ZERO);
        draft.startup_delay = keys.duration("startup_delay", (Duration::ZERO, DAY), Duration::ZERO);
        let port = keys.number("compare_port", (1, 65_535), COMPARE_PORT);
        let compares = keys.boolean("compare_configuration", true);
        draft.compare_port = u16::try_from(port).ok().filter(|_| compares);
    }
    for (path, inner, span) in root.tables("vrrp_instance", report) {
        let table = Table::read(&schema::INSTANCE, inner, span, path, report);
        draft.instances.push(Keys { table: &table, report }.instance(version, garp));
    }
    for (path, inner, span) in root.tables("vrrp_sync_group", report) {
        let table = Table::read(&schema::SYNC_GROUP, inner, span, path, report);
        draft.groups.push(Keys { table: &table, report }.group());
    }
    for (path, inner, span) in root.tables("vrrp_script", report) {
        let table = Table::read(&schema::SCRIPT, inner, span, path, report);
        draft.scripts.push(Keys { table: &table, report }.script());
    }
    for (path, inner, span) in root.tables("vrrp_track_process", report) {
        let table = Table::read(&schema::PROCESS, inner, span, path, report);
        draft.processes.push(Keys { table: &table, report }.process());
    }
    for (path, inner, span) in root.tables("vrrp_track_file", report) {
        let table = Table::read(&schema::FILE, inner, span, path, report);
        draft.files.push(Keys { table: &table, report }.file());
    }
    draft
}

/// A section and where its faults are reported. What is refused becomes the default.
struct Keys<'k, 't> {
    table: &'k Table<'t>,
    report: &'k mut Report,
}

impl Keys<'_, '_> {
    fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.table.path)
    }

    fn header(&self) -> Span {
        self.table.span.clone()
    }

    fn number(&mut self, key: &str, range: (u32, u32), default: u32) -> u32 {
        let field = self.table.integer(key, self.report);
        super::super::check::number(&field, &self.path(key), range, default, self.report).unwrap_or(default)
    }

    fn byte(&mut self, key: &str, (min, max): (u8, u8), default: u8) -> u8 {
        u8::try_from(self.number(key, (min.into(), max.into()), default.into())).unwrap_or(default)
    }

    fn boolean(&mut self, key: &str, default: bool) -> bool {
        match self.table.boolean(key, self.report) {
            Field::Given(value, _) => value,
            Field::Absent | Field::Refused => default,
        }
    }

    fn duration(&mut self, key: &str, range: (Duration, Duration), default: Duration) -> Duration {
        let field = self.table.string(key, self.report);
        duration(&field, &self.path(key), range, default, self.report).unwrap_or(default)
    }

    /// A string, and its place; the header's where there is none.
    fn string(&mut self, key: &str) -> (Option<String>, Span) {
        match self.table.string(key, self.report) {
            Field::Given(text, span) => (Some(text), span),
            Field::Absent | Field::Refused => (None, self.header()),
        }
    }

    /// A string that must be there.
    fn required(&mut self, key: &str) -> (String, Span) {
        let field = self.table.string(key, self.report);
        match field {
            Field::Given(text, span) => {
                if text.trim().is_empty() {
                    let example = self.table.example(key);
                    self.report.error(&span, self.path(key), "is empty", format!("write {example}"));
                }
                (text, span)
            }
            Field::Refused => (String::new(), self.header()),
            Field::Absent => {
                self.missing(key);
                (String::new(), self.header())
            }
        }
    }

    fn missing(&mut self, key: &str) {
        let help = format!("write {} under {}", self.table.example(key), self.table.header());
        self.report.error(&self.header(), self.path(key), "is missing", help);
    }

    fn name(&mut self) -> (String, Span) {
        let (name, span) = self.required("name");
        if name.len() > MAX_NAME || name.chars().any(|c| c.is_control() || c == '"') {
            let help = "write 1 to 64 bytes without control characters and quotes";
            self.report.error(&span, self.path("name"), format!("{} is no name", quoted(&name)), help);
        }
        (name, span)
    }

    fn interface(&mut self, name: &str, span: &Span, path: String) {
        if let Some(problem) = interface_name_problem(name) {
            let message = format!("{} is not an interface name: {problem}", quoted(name));
            self.report.error(span, path, message, "correct it; `ip -br link` lists the interfaces");
        }
    }

    fn version(&mut self) -> Option<VrrpVersion> {
        let field = self.table.integer("version", self.report);
        if matches!(field, Field::Absent) {
            return None;
        }
        let number = super::super::check::number(&field, &self.path("version"), (2, 3), 2, self.report);
        number.map(|number| if number == 3 { VrrpVersion::V3 } else { VrrpVersion::V2 })
    }

    fn garp(&mut self, default: Garp) -> Garp {
        let delay = self.duration("garp_delay", (Duration::ZERO, MAX_DELAY), default.delay);
        let repeat = self.number("garp_repeat", (1, 100), default.repeat);
        // As keepalived's: what concerns lower priorities follows the other unless it is written.
        let lower_delay =
            if default.lower_priority_delay == default.delay { delay } else { default.lower_priority_delay };
        let lower_repeat = if default.lower_priority_repeat == default.repeat {
            repeat
        } else {
            default.lower_priority_repeat
        };
        Garp {
            delay,
            repeat,
            refresh: self.duration("garp_refresh", (Duration::ZERO, DAY), default.refresh),
            refresh_repeat: self.number("garp_refresh_repeat", (1, 100), default.refresh_repeat),
            lower_priority_delay: self.duration(
                "garp_lower_priority_delay",
                (Duration::ZERO, MAX_DELAY),
                lower_delay,
            ),
            lower_priority_repeat: self.number("garp_lower_priority_repeat", (0, 100), lower_repeat),
        }
    }

    /// A command line; whatever is wrong with it, something is returned.
    fn command(&mut self, text: &str, user: Option<String>, key: &str, span: &Span) -> Script {
        Script::parse(text, user).unwrap_or_else(|error| {
            let help = "write the program's path and its arguments; quotes keep spaces";
            self.report.error(span, self.path(key), error.to_string(), help);
            Script { words: Vec::new(), user: None }
        })
    }

    fn notify(&mut self) -> Notify {
        let mut command = |key: &str| {
            let (text, span) = self.string(key);
            Some(self.command(text.as_deref()?, None, key, &span))
        };
        Notify {
            any: command("notify"),
            master: command("notify_master"),
            backup: command("notify_backup"),
            fault: command("notify_fault"),
            stop: command("notify_stop"),
        }
    }

    fn ip(&mut self, text: &str, span: &Span, path: String) -> Option<IpAddr> {
        let address = text.parse().ok();
        if address.is_none() {
            let message = format!("{} is not an IP address", quoted(text));
            self.report.error(span, path, message, "write it like 192.168.4.2 or fe80::2");
        }
        address
    }

    fn instance(&mut self, version: VrrpVersion, garp: Garp) -> Placed<VrrpInstance, InstancePlaces> {
        let (name, name_span) = self.name();
        let (interface, interface_span) = self.required("interface");
        if !interface.is_empty() {
            self.interface(&interface, &interface_span, self.path("interface"));
        }
        let router_id = self.table.place("virtual_router_id");
        if router_id.is_none() {
            self.missing("virtual_router_id");
        }
        let header = self.header();
        let at = |place: Option<Span>| place.unwrap_or_else(|| header.clone());
        let (virtual_addresses, places) = self.addresses("virtual_addresses", &interface);
        if self.table.place("virtual_addresses").is_none() {
            self.missing("virtual_addresses");
        }
        let (excluded_addresses, excluded_places) = self.addresses("excluded_addresses", &interface);
        let is_ipv6 = virtual_addresses.first().is_some_and(|first| first.address.is_ipv6());
        let written = self.version();
        let version = written.unwrap_or(if is_ipv6 { VrrpVersion::V3 } else { version });
        let state = word(&self.table.string("state", self.report), &self.path("state"), self.report);
        let (source, source_span) = self.string("source_address");
        let source_address =
            source.and_then(|text| self.ip(&text, &source_span, self.path("source_address")));
        let mut unicast_peers = Vec::new();
        if let Field::Given(peers, _) = self.table.strings("unicast_peers", self.report) {
            for (index, peer) in peers.into_iter().enumerate() {
                let Field::Given(text, span) = peer else { continue };
                unicast_peers.extend(self.ip(&text, &span, self.path(&format!("unicast_peers[{index}]"))));
            }
        }
        let (auth_pass, auth_span) = self.string("auth_pass");
        let virtual_mac = self.virtual_mac();
        let value = VrrpInstance {
            name,
            virtual_router_id: self.byte("virtual_router_id", (1, 255), 1),
            state: state.unwrap_or_default(),
            priority: self.byte("priority", (1, 255), 100),
            advert_interval: self.duration("advert_interval", (MIN_INTERVAL, MAX_INTERVAL), SECOND),
            version,
            auth_pass,
            source_address,
            unicast_peers,
            unicast_ttl: self.byte("unicast_ttl", (1, 255), 255),
            nopreempt: self.boolean("nopreempt", false),
            preempt_delay: self.duration("preempt_delay", (Duration::ZERO, MAX_DELAY), Duration::ZERO),
            accept: self.boolean("accept", true),
            virtual_mac: None,
            garp: self.garp(garp),
            track_interfaces: Vec::new(),
            track_scripts: Vec::new(),
            track_processes: Vec::new(),
            track_files: Vec::new(),
            track_virtual_servers: Vec::new(),
            virtual_routes: self.lines("virtual_routes", |text| routes::route(text, is_ipv6)),
            virtual_rules: self.lines("virtual_rules", |text| routes::rule(text, is_ipv6)),
            notify: self.notify(),
            email_alert: self.boolean("email_alert", false),
            interface,
            virtual_addresses,
            excluded_addresses,
        };
        let places = InstancePlaces {
            router_id: at(router_id),
            address_list: at(self.table.place("virtual_addresses")),
            addresses: places.into_iter().chain(excluded_places).collect(),
            nopreempt: at(self.table.place("nopreempt")),
            preempt_delay: at(self.table.place("preempt_delay")),
            state: at(self.table.place("state")),
            auth_pass: auth_span,
            interval: at(self.table.place("advert_interval")),
            version: at(self.table.place("version")),
            peers: at(self.table.place("unicast_peers")),
            accept: at(self.table.place("accept")),
            source: source_span,
            virtual_mac,
            unwritten: header.clone(),
            tracking: self.tracking(),
        };
        Placed { path: self.table.path.clone(), header, name: name_span, value, places }
    }

    fn virtual_mac(&mut self) -> VirtualMacDraft {
        let is_used = self.boolean("use_vmac", false);
        let (name, name_span) = self.string("vmac_name");
        if let Some(name) = &name {
            self.interface(name, &name_span, self.path("vmac_name"));
        }
        let is_from_base = self.boolean("vmac_xmit_base", false);
        VirtualMacDraft {
            place: self.table.place("use_vmac").unwrap_or_else(|| self.header()),
            is_used,
            name: name.map(|name| (name, name_span)),
            from_base: is_from_base
                .then(|| self.table.place("vmac_xmit_base").unwrap_or_else(|| self.header())),
        }
    }

    /// Addresses, written as strings or tables, and their places.
    fn addresses(&mut self, key: &str, interface: &str) -> (Vec<VirtualAddress>, Vec<Span>) {
        let mut addresses = Vec::new();
        let mut places = Vec::new();
        for (path, element) in self.table.elements(key, self.report) {
            let span = element.span();
            let (text, at) = if let Some(text) = element.get_ref().as_str() {
                (text.to_owned(), None)
            } else if let Some(inner) = element.get_ref().as_table() {
                let table = Table::read(&schema::ADDRESS, inner, span.clone(), path.clone(), self.report);
                let (text, _) = Keys { table: &table, report: self.report }.required("address");
                (text, Some(table))
            } else {
                let help = format!("write it like this: {}", self.table.example(key));
                self.report.error(&span, path, "is neither a string nor a table", help);
                continue;
            };
            let Some(mut address) = self.virtual_address(&text, interface, &span, &path) else { continue };
            if let Some(table) = at {
                Keys { table: &table, report: self.report }.details(&mut address);
            }
            addresses.push(address);
            places.push(span);
        }
        (addresses, places)
    }

    fn virtual_address(
        &mut self,
        text: &str,
        interface: &str,
        span: &Span,
        path: &str,
    ) -> Option<VirtualAddress> {
        let parsed = text.parse::<IpNet>().ok().map(|net| (net.addr(), net.prefix_len())).or_else(|| {
            let host: IpAddr = text.parse().ok()?;
            Some((host, if host.is_ipv4() { 32 } else { 128 }))
        });
        let Some((address, prefix_len)) = parsed else {
            if !text.is_empty() {
                let message = format!("{} is not an IP address with a prefix length", quoted(text));
                self.report.error(span, path, message, "write it like 192.168.4.15/24 or 2001:db8::15/64");
            }
            return None;
        };
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
            let message = format!("{address} cannot be an address of a host");
            self.report.error(span, path, message, "write the address that clients connect to");
            return None;
        }
        Some(VirtualAddress { address, prefix_len, interface: interface.to_owned(), scope: 0, label: None })
    }

    /// The other keys of an address that is written as a table.
    fn details(&mut self, address: &mut VirtualAddress) {
        if let (Some(interface), span) = self.string("interface") {
            self.interface(&interface, &span, self.path("interface"));
            address.interface = interface;
        }
        if let (Some(text), span) = self.string("scope") {
            match routes::scope(&text) {
                Some(scope) => address.scope = scope,
                None => {
                    let message = format!("{} is not a scope", quoted(&text));
                    let help = "use \"global\", \"site\", \"link\", \"host\" or a number to 255";
                    self.report.error(&span, self.path("scope"), message, help);
                }
            }
        }
        if let (Some(label), span) = self.string("label") {
            let own = label == address.interface || label.starts_with(&format!("{}:", address.interface));
            if label.len() > MAX_LABEL || !own || address.address.is_ipv6() {
                let message = format!("{} cannot be the label of {address}", quoted(&label));
                let help = format!(
                    "only IPv4 addresses have labels: {}, a colon and more, at most 15 bytes in all",
                    address.interface
                );
                self.report.error(&span, self.path("label"), message, help);
            }
            address.label = Some(label);
        }
    }

    fn lines<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Field::Given(fields, _) = self.table.strings(key, self.report) else { return Vec::new() };
        let mut values = Vec::new();
        for (index, field) in fields.into_iter().enumerate() {
            let Field::Given(text, span) = field else { continue };
            match parse(&text) {
                Ok(value) => values.push(value),
                Err(wrong) => {
                    let help = format!("write it like this: {}", self.table.example(key));
                    self.report.error(&span, self.path(&format!("{key}[{index}]")), wrong, help);
                }
            }
        }
        values
    }

    fn tracking(&mut self) -> TrackingDraft {
        TrackingDraft {
            interfaces: self.tracked("track_interfaces"),
            scripts: self.tracked("track_scripts"),
            processes: self.tracked("track_processes"),
            files: self.tracked("track_files"),
            virtual_servers: self.tracked("track_virtual_servers"),
        }
    }

    fn tracked(&mut self, key: &str) -> Vec<TrackedDraft> {
        let mut all = Vec::new();
        for (path, element) in self.table.elements(key, self.report) {
            let span = element.span();
            if let Some(name) = element.get_ref().as_str() {
                all.push(TrackedDraft { path, span, name: name.to_owned(), weight: None, reverse: false });
            } else if let Some(inner) = element.get_ref().as_table() {
                let table = Table::read(&schema::TRACKED, inner, span.clone(), path.clone(), self.report);
                let mut keys = Keys { table: &table, report: self.report };
                let (name, _) = keys.required("name");
                let weight = table.has("weight").then(|| keys.weight(0));
                let reverse = keys.boolean("reverse", false);
                all.push(TrackedDraft { path, span, name, weight, reverse });
            } else {
                let help = format!("write it like this: {}", self.table.example(key));
                self.report.error(&span, path, "is neither a string nor a table", help);
            }
        }
        all
    }

    fn weight(&mut self, default: i16) -> i16 {
        let Field::Given(value, span) = self.table.integer("weight", self.report) else { return default };
        match i16::try_from(value).ok().filter(|_| value.abs() <= MAX_WEIGHT) {
            Some(weight) => weight,
            None => {
                let help = format!("write a number from -{MAX_WEIGHT} to {MAX_WEIGHT}");
                self.report.error(&span, self.path("weight"), "is out of range", help);
                default
            }
        }
    }

    fn group(&mut self) -> Placed<SyncGroup, GroupPlaces> {
        let (name, name_span) = self.name();
        let mut members = Vec::new();
        let mut places = Vec::new();
        match self.table.strings("members", self.report) {
            Field::Given(fields, _) => {
                for field in fields {
                    let Field::Given(member, span) = field else { continue };
                    members.push(member);
                    places.push(span);
                }
            }
            Field::Absent => self.missing("members"),
            Field::Refused => {}
        }
        let value = SyncGroup {
            name,
            members,
            tracking: GroupTracking::default(),
            weighted_tracking: self.boolean("weighted_tracking", false),
            notify: self.notify(),
            email_alert: self.boolean("email_alert", false),
        };
        let tracking = self.tracking();
        self.placed(name_span, value, GroupPlaces { members: places, tracking })
    }

    fn placed<T, P>(&self, name: Span, value: T, places: P) -> Placed<T, P> {
        Placed { path: self.table.path.clone(), header: self.header(), name, value, places }
    }

    fn script(&mut self) -> Placed<TrackScript, ()> {
        let (name, span) = self.name();
        let (text, command_span) = self.required("command");
        let user = self.string("user").0;
        let command = if text.trim().is_empty() {
            Script { words: Vec::new(), user }
        } else {
            self.command(&text, user, "command", &command_span)
        };
        let least = Duration::from_millis(10);
        let interval = self.duration("interval", (least, DAY), SECOND);
        let value = TrackScript {
            name,
            command,
            interval,
            timeout: self.duration("timeout", (least, DAY), interval),
            rise: self.number("rise", (1, 1_000_000), 1),
            fall: self.number("fall", (1, 1_000_000), 1),
            weight: self.weight(0),
            init_fail: self.boolean("init_fail", false),
        };
        self.placed(span, value, ())
    }

    fn process(&mut self) -> Placed<TrackProcess, ()> {
        let (name, span) = self.name();
        let (process, _) = self.required("process");
        let value = TrackProcess {
            name,
            process,
            weight: self.weight(0),
            quorum: self.number("quorum", (1, 65_535), 1),
            delay: self.duration("delay", (Duration::ZERO, Duration::from_secs(3600)), Duration::ZERO),
        };
        self.placed(span, value, ())
    }

    fn file(&mut self) -> Placed<TrackFile, ()> {
        let (name, span) = self.name();
        let (file, file_span) = self.required("file");
        if !file.is_empty() && !file.starts_with('/') {
            let message = format!("{} is not an absolute path", quoted(&file));
            self.report.error(&file_span, self.path("file"), message, "write it from the root: /run/…");
        }
        let init = match self.table.integer("init", self.report) {
            Field::Given(value, span) => {
                let init = i32::try_from(value).ok();
                if init.is_none() {
                    let help = "write a number of at most 32 bits";
                    self.report.error(&span, self.path("init"), "is out of range", help);
                }
                init
            }
            Field::Absent | Field::Refused => None,
        };
        let value = TrackFile { name, file: PathBuf::from(file), weight: self.weight(1), init };
        self.placed(span, value, ())
    }
}

impl TrackedDraft {
    /// With the object's own weight where the entry has none.
    pub(super) fn weight(&self, own: i16) -> Weight {
        Weight { weight: self.weight.unwrap_or(own), reverse: self.reverse }
    }
}

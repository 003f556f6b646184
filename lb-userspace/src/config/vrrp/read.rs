//! From what was typed to what is meant, one section at a time.

mod instance;
mod keys;
mod tracked;

use std::time::Duration;

use super::super::diagnostics::{Report, Span};
use super::super::raw::{Field, Table};
use super::super::words::Word;
use super::model::{
    Garp, GroupTracking, InitialState, SyncGroup, TrackFile, TrackProcess, TrackScript, VrrpInstance,
    VrrpVersion, Weight,
};
use super::schema;

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
}

impl TrackedDraft {
    /// With the object's own weight where the entry has none.
    pub(super) fn weight(&self, own: i16) -> Weight {
        Weight { weight: self.weight.unwrap_or(own), reverse: self.reverse }
    }
}

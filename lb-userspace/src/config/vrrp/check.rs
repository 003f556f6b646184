//! What must hold between the sections of VRRP, and between them and the rest of the file.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use super::super::diagnostics::{Report, Span, quoted};
use super::super::model::{Director, VirtualServer};
use super::super::schema::closest;
use super::model::{GroupTracking, InitialState, SyncGroup, Tracked, Vrrp, VrrpInstance, VrrpVersion};
use super::read::{Draft, GroupPlaces, InstancePlaces, Placed, TrackedDraft, TrackingDraft};
use super::virtual_mac;

/// RFC 3768, section 5.3.8.
const MAX_AUTH_PASS: usize = 8;
const OWNER: u8 = 255;
/// The advert's count of addresses is a byte.
const MAX_ADDRESSES: usize = 255;
/// A virtual server without real servers takes an instance to the lowest priority, and not into fault: if the other
/// director's are gone too, someone must still have the addresses.
const NO_REAL_SERVER: i16 = -253;

/// Checks what was read. `director` is absent if it is wrong itself.
pub(in crate::config) fn check(
    draft: Draft,
    director: Option<&Director>,
    virtual_servers: &[VirtualServer],
    report: &mut Report,
) -> Vrrp {
    unique(&draft.instances, |instance| &instance.name, report);
    unique(&draft.groups, |group| &group.name, report);
    unique(&draft.scripts, |script| &script.name, report);
    unique(&draft.processes, |process| &process.name, report);
    unique(&draft.files, |file| &file.name, report);
    router_ids(&draft.instances, report);
    addresses(&draft.instances, report);
    unused(&draft, report);
    let known = Known {
        scripts: draft.scripts.iter().map(|s| (s.value.name.clone(), s.value.weight)).collect(),
        processes: draft.processes.iter().map(|p| (p.value.name.clone(), p.value.weight)).collect(),
        files: draft.files.iter().map(|f| (f.value.name.clone(), f.value.weight)).collect(),
        virtual_servers: virtual_servers.iter().map(|vs| (vs.to_string(), NO_REAL_SERVER)).collect(),
    };
    groups(&draft.groups, &draft.instances, report);
    let sync_groups: Vec<SyncGroup> = draft
        .groups
        .into_iter()
        .map(|group| SyncGroup { tracking: known.look_up(&group.places.tracking, report), ..group.value })
        .collect();
    let mut instances = Vec::with_capacity(draft.instances.len());
    let places_of_names: Vec<_> =
        draft.instances.iter().map(|placed| virtual_mac::place_of_name(&placed.places)).collect();
    for placed in draft.instances {
        let tracking = known.look_up(&placed.places.tracking, report);
        let group = sync_groups.iter().find(|group| group.members.contains(&placed.value.name));
        instances.push(instance(placed, tracking, group, report));
    }
    virtual_mac::names(&instances, &places_of_names, director, report);
    carried(&instances, director, virtual_servers, report);
    Vrrp {
        instances,
        sync_groups,
        scripts: draft.scripts.into_iter().map(|script| script.value).collect(),
        processes: draft.processes.into_iter().map(|process| process.value).collect(),
        files: draft.files.into_iter().map(|file| file.value).collect(),
        garp_interval: draft.garp_interval,
        startup_delay: draft.startup_delay,
        compare_port: draft.compare_port,
    }
}

fn unique<T, P>(all: &[Placed<T, P>], name: impl Fn(&T) -> &String, report: &mut Report) {
    let mut seen: HashMap<&str, &Span> = HashMap::new();
    for placed in all {
        let own = name(&placed.value);
        if own.is_empty() {
            continue;
        }
        if let Some(first) = seen.insert(own, &placed.name) {
            let message = format!("{} is the name of two", quoted(own));
            report
                .error(&placed.name, format!("{}.name", placed.path), message, "name one of them otherwise")
                .label("again here")
                .related(first, "first here");
        }
    }
}

type Instance = Placed<VrrpInstance, InstancePlaces>;

fn router_ids(instances: &[Instance], report: &mut Report) {
    let mut seen: HashMap<(&str, u8, bool), &Span> = HashMap::new();
    for placed in instances {
        let own = &placed.value;
        let key = (own.interface.as_str(), own.virtual_router_id, own.is_ipv6());
        if let Some(first) = seen.insert(key, &placed.places.router_id) {
            let message = format!(
                "{} is used twice on {} by {} instances",
                own.virtual_router_id,
                own.interface,
                if own.is_ipv6() { "IPv6" } else { "IPv4" }
            );
            let help = "give one of them another; it must be the same on all directors, and in use by no other \
                        virtual router of the network";
            report
                .error(&placed.places.router_id, format!("{}.virtual_router_id", placed.path), message, help)
                .label("again here")
                .related(first, "first here");
        }
    }
}

/// An address belongs to one instance.
fn addresses(instances: &[Instance], report: &mut Report) {
    let mut seen: HashMap<IpAddr, (&str, &Span)> = HashMap::new();
    for placed in instances {
        for (address, place) in placed.value.addresses().zip(&placed.places.addresses) {
            if let Some((other, first)) = seen.insert(address.address, (&placed.value.name, place)) {
                let message = if other == placed.value.name {
                    format!("{} is listed twice", address.address)
                } else {
                    format!("{} is carried by instance {} too", address.address, quoted(other))
                };
                report
                    .error(place, &placed.path, message, "remove one of the two")
                    .label("again here")
                    .related(first, "first here");
            }
        }
    }
}

/// Trackers that nothing refers to are a mistyped name more often than not.
fn unused(draft: &Draft, report: &mut Report) {
    let trackings = || {
        let of_instances = draft.instances.iter().map(|instance| &instance.places.tracking);
        of_instances.chain(draft.groups.iter().map(|group| &group.places.tracking))
    };
    let names = |of: fn(&TrackingDraft) -> &Vec<TrackedDraft>| -> BTreeSet<&str> {
        trackings().flat_map(of).map(|tracked| tracked.name.as_str()).collect()
    };
    let mut warn = |name: &str, place: &Span, path: &str, key: &str, used: &BTreeSet<&str>| {
        if !name.is_empty() && !used.contains(name) {
            let help =
                format!("name it in {key} of a [[vrrp_instance]] or [[vrrp_sync_group]], or remove it");
            report.warning(place, path, "is not tracked by anything", help);
        }
    };
    for script in &draft.scripts {
        let used = names(|tracking| &tracking.scripts);
        warn(&script.value.name, &script.name, &script.path, "track_scripts", &used);
    }
    for process in &draft.processes {
        let used = names(|tracking| &tracking.processes);
        warn(&process.value.name, &process.name, &process.path, "track_processes", &used);
    }
    for file in &draft.files {
        let used = names(|tracking| &tracking.files);
        warn(&file.value.name, &file.name, &file.path, "track_files", &used);
    }
}

/// What can be tracked by name, and the weights where an entry has none.
struct Known {
    scripts: Vec<(String, i16)>,
    processes: Vec<(String, i16)>,
    files: Vec<(String, i16)>,
    virtual_servers: Vec<(String, i16)>,
}

impl Known {
    fn look_up(&self, draft: &TrackingDraft, report: &mut Report) -> GroupTracking {
        let interfaces = draft
            .interfaces
            .iter()
            .map(|entry| Tracked { name: entry.name.clone(), weight: entry.weight(0) })
            .collect();
        GroupTracking {
            interfaces,
            scripts: named(&draft.scripts, &self.scripts, "[[vrrp_script]]", report),
            processes: named(&draft.processes, &self.processes, "[[vrrp_track_process]]", report),
            files: named(&draft.files, &self.files, "[[vrrp_track_file]]", report),
            virtual_servers: named(
                &draft.virtual_servers,
                &self.virtual_servers,
                "[[virtual_server]]",
                report,
            ),
        }
    }
}

fn named(
    entries: &[TrackedDraft],
    known: &[(String, i16)],
    header: &str,
    report: &mut Report,
) -> Vec<Tracked> {
    let mut tracked: Vec<Tracked> = Vec::with_capacity(entries.len());
    for entry in entries {
        // A virtual server may be written without its protocol.
        let found =
            known.iter().find(|(name, _)| *name == entry.name || *name == format!("{}/tcp", entry.name));
        let Some((name, weight)) = found else {
            if entry.name.is_empty() {
                continue;
            }
            let help = match closest(&entry.name, known.iter().map(|(name, _)| name.as_str())) {
                Some(meant) => format!("did you mean {}?", quoted(meant)),
                None => format!("add a {header} of this name, or correct the name"),
            };
            let message = format!("there is no {header} {}", quoted(&entry.name));
            report.error(&entry.span, &entry.path, message, help);
            continue;
        };
        if tracked.iter().any(|before| before.name == *name) {
            let message = format!("{} is listed twice", quoted(name));
            report.error(&entry.span, &entry.path, message, "remove one of the two");
            continue;
        }
        tracked.push(Tracked { name: name.clone(), weight: entry.weight(*weight) });
    }
    tracked
}

fn groups(groups: &[Placed<SyncGroup, GroupPlaces>], instances: &[Instance], report: &mut Report) {
    let mut seen: HashMap<&str, &Span> = HashMap::new();
    for group in groups {
        let key = format!("{}.members", group.path);
        if group.value.members.is_empty() {
            report.error(&group.header, key, "has no members", "name the instances that belong together");
            continue;
        }
        if let ([_only], [place]) = (group.value.members.as_slice(), group.places.members.as_slice()) {
            let help = "add an instance, or remove the group";
            report.warning(place, &key, "has one member, which a group changes nothing for", help);
        }
        for (member, place) in group.value.members.iter().zip(&group.places.members) {
            if instances.iter().all(|instance| instance.value.name != *member) {
                let names = instances.iter().map(|instance| instance.value.name.as_str());
                let help = match closest(member, names) {
                    Some(meant) => format!("did you mean {}?", quoted(meant)),
                    None => "add a [[vrrp_instance]] of this name, or correct the name".to_owned(),
                };
                let message = format!("there is no [[vrrp_instance]] {}", quoted(member));
                report.error(place, &key, message, help);
            } else if let Some(first) = seen.insert(member, place) {
                report
                    .error(
                        place,
                        &key,
                        format!("{} is in two groups", quoted(member)),
                        "remove one of the two",
                    )
                    .label("again here")
                    .related(first, "first here");
            }
        }
    }
}

fn instance(
    placed: Instance,
    tracking: GroupTracking,
    group: Option<&SyncGroup>,
    report: &mut Report,
) -> VrrpInstance {
    let Placed { path, header, mut value, places, .. } = placed;
    let key = |name: &str| format!("{path}.{name}");
    families(&value, &places, &path, report);
    interval(&value, &places, &path, report);
    authentication(&mut value, &places, &path, report);
    peers(&value, &places, &path, report);
    value.track_interfaces = tracking.interfaces;
    value.track_scripts = tracking.scripts;
    value.track_processes = tracking.processes;
    value.track_files = tracking.files;
    value.track_virtual_servers = tracking.virtual_servers;
    if value.virtual_addresses.is_empty() && places.address_list != places.unwritten {
        report.error(&places.address_list, key("virtual_addresses"), "has no address", "name at least one");
    }
    virtual_mac::check(&mut value, &places, &path, report);
    let is_owner = value.priority == OWNER;
    if !value.accept && is_owner {
        let message = "false has no effect with priority = 255: the owner of the addresses accepts";
        report.warning(&places.accept, key("accept"), message, "remove it, or write a priority up to 254");
    }
    let first = value.state == InitialState::Master;
    if first && !is_owner {
        let message = "\"master\" gives no head start: the priority decides, after the other's silence";
        let help =
            "write state = \"backup\", or leave it out, and a higher priority where the addresses should be";
        report.warning(&places.state, key("state"), message, help);
    }
    let why = if is_owner { "priority = 255" } else { "state = \"master\"" };
    if value.nopreempt && (first || is_owner) {
        let message = format!("has no effect with {why}");
        report.warning(
            &places.nopreempt,
            key("nopreempt"),
            message,
            "write state = \"backup\" on all directors",
        );
        value.nopreempt = false;
    }
    if !value.preempt_delay.is_zero() && (first || is_owner || value.nopreempt) {
        let why = if value.nopreempt { "nopreempt" } else { why };
        let message = format!("has no effect with {why}");
        report.warning(&places.preempt_delay, key("preempt_delay"), message, "remove one of the two");
        value.preempt_delay = Duration::ZERO;
    }
    let weighted = |tracked: &&Tracked| tracked.weight.weight != 0;
    let trackers = value.track_interfaces.iter().chain(&value.track_scripts).chain(&value.track_processes);
    let trackers = trackers.chain(&value.track_files).chain(&value.track_virtual_servers);
    let first_weighted = trackers.filter(weighted).map(|tracked| tracked.name.clone()).next();
    if let Some(name) = first_weighted {
        if value.nopreempt {
            let message = format!(
                "with {} tracked by weight, a failure there never moves the addresses: it lowers the priority of a \
                 master whom nobody preempts",
                quoted(&name)
            );
            let help =
                "give it weight 0, so that its failure is a fault, or remove nopreempt on all directors";
            report.warning(&places.nopreempt, key("nopreempt"), message, help);
        }
        if let Some(group) = group.filter(|group| !group.weighted_tracking) {
            let message = format!(
                "the weight of {} does not count: the instance is in sync group {}",
                quoted(&name),
                quoted(&group.name)
            );
            let help = "set weighted_tracking = true in the group, or give it weight 0";
            report.warning(&header, &path, message, help);
        }
        if is_owner {
            let message =
                format!("priority 255 never changes: the weight of {} does not count", quoted(&name));
            report.warning(&header, &path, message, "write a priority of at most 254");
        }
    }
    value
}

fn families(value: &VrrpInstance, places: &InstancePlaces, path: &str, report: &mut Report) {
    let Some(first) = value.virtual_addresses.first() else { return };
    let family = |is_ipv6: bool| if is_ipv6 { "IPv6" } else { "IPv4" };
    let is_ipv6 = first.address.is_ipv6();
    for (address, place) in value.virtual_addresses.iter().zip(&places.addresses) {
        if address.address.is_ipv6() != is_ipv6 {
            let message = format!("{} among {} addresses", address.address, family(is_ipv6));
            let help =
                "adverts carry one family: move it to excluded_addresses, or to an instance of its own";
            report.error(place, format!("{path}.virtual_addresses"), message, help);
        }
    }
    if let Some(extra) = value.virtual_addresses.get(MAX_ADDRESSES).and(places.addresses.get(MAX_ADDRESSES)) {
        let message = format!("there are {} addresses", value.virtual_addresses.len());
        let help = format!("an advert carries {MAX_ADDRESSES}: move the others to excluded_addresses");
        report.error(extra, format!("{path}.virtual_addresses"), message, help);
    }
    let others = value.source_address.iter().map(|source| (source, &places.source, "source_address"));
    let peers = value.unicast_peers.iter().map(|peer| (peer, &places.peers, "unicast_peers"));
    for (address, place, key) in others.chain(peers) {
        if address.is_ipv6() != is_ipv6 {
            let message = format!("{address} is {}", family(address.is_ipv6()));
            let help = format!("write an {} address, as virtual_addresses are", family(is_ipv6));
            report.error(place, format!("{path}.{key}"), message, help);
        }
    }
}

fn interval(value: &VrrpInstance, places: &InstancePlaces, path: &str, report: &mut Report) {
    let interval = value.advert_interval;
    let key = format!("{path}.advert_interval");
    let written = quoted(&humantime::format_duration(interval).to_string());
    if value.version == VrrpVersion::V2 && value.is_ipv6() {
        let help = "write version = 3, or leave it out, on all directors";
        report.error(&places.version, format!("{path}.version"), "version 2 has IPv4 addresses only", help);
        return;
    }
    match value.version {
        VrrpVersion::V2 if interval.subsec_nanos() != 0 => {
            let message = format!("{written} is not whole seconds, which is what version 2 counts in");
            report.error(
                &places.interval,
                key,
                message,
                "write version = 3 on all directors, or whole seconds",
            );
        }
        VrrpVersion::V3 if !interval.subsec_nanos().is_multiple_of(10_000_000) => {
            let message = format!("{written} is not a multiple of 10ms");
            report.error(&places.interval, key, message, "version 3 counts hundredths of a second");
        }
        VrrpVersion::V3 if interval > Duration::from_millis(40_950) => {
            let message = format!("{written} is out of range");
            report.error(&places.interval, key, message, "version 3 counts up to 40.95 seconds");
        }
        VrrpVersion::V2 | VrrpVersion::V3 => {}
    }
}

fn authentication(value: &mut VrrpInstance, places: &InstancePlaces, path: &str, report: &mut Report) {
    let key = format!("{path}.auth_pass");
    let Some(pass) = value.auth_pass.take() else { return };
    if value.version == VrrpVersion::V3 {
        let help = "remove it, or write version = 2; guard the network that the directors share instead";
        report.error(&places.auth_pass, key, "version 3 has no authentication", help);
        return;
    }
    if pass.is_empty() {
        report.error(&places.auth_pass, key, "is empty", "write 1 to 8 bytes, or remove it");
        return;
    }
    if pass.len() > MAX_AUTH_PASS {
        let end = (0..=MAX_AUTH_PASS).rev().find(|end| pass.is_char_boundary(*end)).unwrap_or(0);
        let cut = pass.get(..end).unwrap_or_default().to_owned();
        let message =
            format!("has {} bytes, and an advert carries {MAX_AUTH_PASS}: the rest is cut off", pass.len());
        report.warning(
            &places.auth_pass,
            key.as_str(),
            message,
            "write at most 8 bytes, the same on all directors",
        );
        value.auth_pass = Some(cut);
    } else {
        value.auth_pass = Some(pass);
    }
    let message = "is no security: it is readable in every advert";
    let help = "it keeps virtual routers apart that were given one id by mistake; guard the network that the \
                directors share, or leave it out";
    report.warning(&places.auth_pass, key, message, help);
}

fn peers(value: &VrrpInstance, places: &InstancePlaces, path: &str, report: &mut Report) {
    let key = format!("{path}.unicast_peers");
    if places.peers != places.unwritten && value.unicast_peers.is_empty() {
        let help = "name the other directors' addresses, or remove it to use multicast";
        report.error(&places.peers, key.as_str(), "is empty: adverts would go to nobody", help);
    }
    let mut seen = BTreeSet::new();
    for peer in &value.unicast_peers {
        if !seen.insert(*peer) {
            report.error(
                &places.peers,
                key.as_str(),
                format!("{peer} is listed twice"),
                "remove one of the two",
            );
        }
        if value.source_address == Some(*peer) {
            let message = format!("{peer} is this director's own source_address");
            report.error(&places.peers, key.as_str(), message, "name the other directors only");
        }
        if value.addresses().any(|address| address.address == *peer) {
            let message = format!("{peer} is a virtual address, which moves");
            report.error(&places.peers, key.as_str(), message, "name the other directors' own addresses");
        }
    }
    if let Some(source) = value.source_address
        && value.addresses().any(|address| address.address == source)
        && value.priority != OWNER
    {
        let message = format!("{source} is a virtual address, which moves");
        let help = "name this director's own address";
        report.error(&places.source, format!("{path}.source_address"), message, help);
    }
}

/// Virtual servers whose address no instance carries are up on every director at once.
fn carried(
    instances: &[VrrpInstance],
    director: Option<&Director>,
    virtual_servers: &[VirtualServer],
    report: &mut Report,
) {
    if instances.is_empty() || director.is_none_or(|director| !director.manage_addresses) {
        return;
    }
    let carried: BTreeSet<IpAddr> =
        instances.iter().flat_map(VrrpInstance::addresses).map(|address| address.address).collect();
    let alone: BTreeSet<IpAddr> = virtual_servers
        .iter()
        .flat_map(|server| server.endpoints())
        .map(|(address, _port)| address)
        .filter(|address| !carried.contains(address))
        .collect();
    for address in alone {
        let message =
            format!("{address} is carried by no [[vrrp_instance]]: every director that is up has it");
        let help = "add it to virtual_addresses or excluded_addresses of an instance";
        report.warning(&(0..0), "virtual_server", message, help);
    }
}

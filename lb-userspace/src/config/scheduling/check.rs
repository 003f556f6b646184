//! From what was typed to what is meant.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use lb_common::admission::Rate;

use super::model::{
    ConnectionRules, Group, OnFailure, Persistence, SchedulerFlags, Scheduling, SourceRate, Thresholds,
};
use super::raw::{Granularity, RawConnectionRules, RawScheduling, RawThresholds};
use super::sources::sources;
use crate::config::check::number;
use crate::config::diagnostics::{Report, quoted};
use crate::config::model::{Protocol, Scheduler};
use crate::config::raw::Field;
use crate::config::values::{duration, flag, optional_duration};
use crate::config::words::word;

/// The clock of the connection table tells a day apart, not much more.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const SECOND: Duration = Duration::from_secs(1);
const MAX_THRESHOLD: u32 = i32::MAX.unsigned_abs();
const MAX_NETWORKS: usize = 16_384;

/// Checks the rest of a virtual server's keys. `is_v4` is its family.
pub(in crate::config) fn scheduling(
    raw: &RawScheduling,
    path: &str,
    group: Option<Group>,
    (scheduler, protocol, is_v4): (Option<Scheduler>, Option<Protocol>, Option<bool>),
    report: &mut Report,
) -> Option<Scheduling> {
    let key = |name: &str| format!("{path}.{name}");
    let flags = flags(&raw.scheduler_flags, &key("scheduler_flags"), scheduler, report);
    let timeout =
        optional_duration(&raw.persistence_timeout, &key("persistence_timeout"), (SECOND, LONGEST), report);
    let prefix = granularity(raw, &key("persistence_granularity"), is_v4, report);
    let one_packet = flag(&raw.one_packet, false);
    if let (Field::Given(true, span), Some(Protocol::Tcp)) = (&raw.one_packet, protocol) {
        let message = "one-packet scheduling is only for UDP";
        report.error(span, key("one_packet"), message, "remove it, or write protocol = \"udp\"");
    }
    let rate_limit = rate_limit(raw, path, is_v4, report);
    let allow = networks(&raw.allow, &key("allow"), is_v4, report);
    let deny = networks(&raw.deny, &key("deny"), is_v4, report);
    if let (Some(allow), Some(deny), Field::Given(_, span)) = (&allow, &deny, &raw.deny)
        && let Some(both) = deny.iter().find(|network| allow.binary_search(network).is_ok())
    {
        let message = format!("\"{both}\" is in `allow` too");
        report.error(
            span,
            key("deny"),
            message,
            "remove it from one of the two: of two networks, the longer counts",
        );
    }
    let on_failure: Option<OnFailure> = word(&raw.on_failure, &key("on_failure"), report);
    let sources = sources(&raw.sources, path, is_v4, report);
    let prefix = prefix?;
    Some(Scheduling {
        group,
        scheduler_flags: flags?,
        persistence: timeout?.map(|timeout| Persistence { timeout: whole(timeout), prefix }),
        one_packet: one_packet?,
        rate_limit: rate_limit?,
        allow: allow?,
        deny: deny?,
        on_failure: on_failure?,
        sources: sources?,
    })
}

/// The rate of new connections, and what says more about it.
fn rate_limit(
    raw: &RawScheduling,
    path: &str,
    is_v4: Option<bool>,
    report: &mut Report,
) -> Option<Option<SourceRate>> {
    let key = |name: &str| format!("{path}.{name}");
    let beside = [("rate_limit_burst", &raw.rate_limit_burst), ("rate_limit_prefix", &raw.rate_limit_prefix)];
    if let Field::Absent = raw.rate_limit {
        for (name, field) in beside {
            if let Field::Given(_, span) = field {
                let help = "add rate_limit = 100, or remove it";
                report.error(span, key(name), "is of no use without rate_limit", help);
            }
        }
        return Some(None);
    }
    let rate = number(&raw.rate_limit, &key("rate_limit"), (1, Rate::MOST), 1, report);
    let highest = rate.unwrap_or(1).saturating_mul(Rate::LONGEST_SECONDS).min(Rate::MOST);
    let burst =
        number(&raw.rate_limit_burst, &key("rate_limit_burst"), (1, highest), rate.unwrap_or(1), report);
    let (longest, usual) = if is_v4 == Some(false) { (128, 64) } else { (32, 32) };
    let prefix = number(&raw.rate_limit_prefix, &key("rate_limit_prefix"), (1, longest), usual, report);
    let prefix = prefix.and_then(|prefix| u8::try_from(prefix).ok());
    Some(Some(SourceRate { rate: rate?, burst: burst?, prefix: prefix? }))
}

/// Rounded up to seconds: what the tables count in is not finer.
fn whole(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
}

fn flags(
    field: &Field<Vec<Field<String>>>,
    key: &str,
    scheduler: Option<Scheduler>,
    report: &mut Report,
) -> Option<SchedulerFlags> {
    const NAMES: [(&str, Scheduler); 4] = [
        ("sh-fallback", Scheduler::Sh),
        ("sh-port", Scheduler::Sh),
        ("mh-fallback", Scheduler::Mh),
        ("mh-port", Scheduler::Mh),
    ];
    let fields = match field {
        Field::Absent => return Some(SchedulerFlags::default()),
        Field::Refused => return None,
        Field::Given(fields, _) => fields,
    };
    let mut flags = Some(SchedulerFlags::default());
    for (index, field) in fields.iter().enumerate() {
        let Field::Given(text, span) = field else {
            flags = None;
            continue;
        };
        let found = NAMES.iter().find(|(name, _)| name == text);
        match (found, scheduler, &mut flags) {
            (Some((name, owner)), Some(scheduler), flags) if scheduler != *owner => {
                let message = format!("{} is a flag of {owner}, not of {scheduler}", quoted(name));
                let help = format!("remove it, or write scheduler = \"{owner}\"");
                report.error(span, format!("{key}[{index}]"), message, help);
                *flags = None;
            }
            (Some((name, _)), _, Some(flags)) => {
                flags.fallback |= name.ends_with("fallback");
                flags.port |= name.ends_with("port");
            }
            (Some(_), _, None) => {}
            (None, _, flags) => {
                let names: Vec<_> = NAMES.iter().map(|(name, _)| quoted(name)).collect();
                let help = format!("use some of {}", names.join(", "));
                report.error(
                    span,
                    format!("{key}[{index}]"),
                    format!("{} is not a flag", quoted(text)),
                    help,
                );
                *flags = None;
            }
        }
    }
    flags
}

fn granularity(raw: &RawScheduling, key: &str, is_v4: Option<bool>, report: &mut Report) -> Option<u8> {
    let (value, span) = match &raw.persistence_granularity {
        Field::Absent => return Some(if is_v4 == Some(false) { 128 } else { 32 }),
        Field::Refused => return None,
        Field::Given(value, span) => (value, span),
    };
    if matches!(raw.persistence_timeout, Field::Absent) {
        let help = "add persistence_timeout = \"6m\", or remove it";
        report.error(span, key, "is of no use without persistence_timeout", help);
    }
    let longest = if is_v4? { 32 } else { 128 };
    let bits = match value {
        Granularity::Bits(bits) => u8::try_from(*bits).ok(),
        Granularity::Mask(mask) => match mask.parse() {
            Ok(mask @ IpAddr::V4(_)) if longest == 32 => ipnet::ip_mask_to_prefix(mask).ok(),
            Ok(_) | Err(_) => mask.parse().ok(),
        },
    };
    let bits = bits.filter(|bits| (1..=longest).contains(bits));
    if bits.is_none() {
        let help = if longest == 32 {
            "write a netmask such as \"255.255.255.0\", or a number of bits from 1 to 32"
        } else {
            "write a number of bits from 1 to 128"
        };
        let message = format!("{} is no granularity", report.text(span).to_owned());
        report.error(span, key, message, help);
    }
    bits
}

fn networks(
    field: &Field<Vec<Field<String>>>,
    key: &str,
    is_v4: Option<bool>,
    report: &mut Report,
) -> Option<Vec<IpNet>> {
    let (fields, span) = match field {
        Field::Absent => return Some(Vec::new()),
        Field::Refused => return None,
        Field::Given(fields, span) => (fields, span),
    };
    if fields.len() > MAX_NETWORKS {
        let message = format!("has {} networks", fields.len());
        report.error(span, key, message, format!("name at most {MAX_NETWORKS}"));
        return None;
    }
    let mut networks = Vec::with_capacity(fields.len());
    let mut is_right = true;
    for (index, field) in fields.iter().enumerate() {
        let Field::Given(text, span) = field else {
            is_right = false;
            continue;
        };
        let network = text.parse::<IpNet>().or_else(|_no_prefix| text.parse::<IpAddr>().map(IpNet::from));
        let message = match network {
            Ok(network) if network.addr() != network.network() => {
                let help = format!("write \"{}\"", network.trunc());
                let message = format!("{} has bits beyond its prefix", quoted(text));
                report.error(span, format!("{key}[{index}]"), message, help);
                is_right = false;
                continue;
            }
            Ok(network) if is_v4.is_none_or(|is_v4| network.addr().is_ipv4() == is_v4) => {
                networks.push(network);
                continue;
            }
            Ok(_) => format!("{} is not of the virtual server's family", quoted(text)),
            Err(_) => format!("{} is not a network", quoted(text)),
        };
        let help = if is_v4 == Some(false) {
            "write one such as \"2001:db8:1::/48\""
        } else {
            "write one such as \"10.0.0.0/8\""
        };
        report.error(span, format!("{key}[{index}]"), message, help);
        is_right = false;
    }
    networks.sort_unstable();
    networks.dedup();
    is_right.then_some(networks)
}

/// Checks a real server's thresholds.
pub(in crate::config) fn thresholds(
    raw: &RawThresholds,
    path: &str,
    report: &mut Report,
) -> Option<Thresholds> {
    let range = (0, MAX_THRESHOLD);
    let upper = number(&raw.upper, &format!("{path}.upper_threshold"), range, 0, report);
    let lower = number(&raw.lower, &format!("{path}.lower_threshold"), range, 0, report);
    let thresholds = Thresholds { upper: upper?, lower: lower? };
    if let Field::Given(_, span) = &raw.lower
        && thresholds.lower > thresholds.upper
    {
        let message = format!("{} is above the upper threshold {}", thresholds.lower, thresholds.upper);
        let help = "write a lower one, or leave it out for three quarters of upper_threshold";
        report.error(span, format!("{path}.lower_threshold"), message, help);
        return None;
    }
    Some(thresholds)
}

/// Checks the director's keys about connections.
pub(in crate::config) fn connection_rules(
    raw: &RawConnectionRules,
    report: &mut Report,
) -> Option<ConnectionRules> {
    let default = ConnectionRules::default();
    let mut timeout = |field: &Field<String>, name: &str, default| {
        duration(field, &format!("director.{name}"), (SECOND, LONGEST), default, report).map(whole)
    };
    let tcp_timeout = timeout(&raw.tcp_timeout, "tcp_timeout", default.tcp_timeout);
    let tcp_fin_timeout = timeout(&raw.tcp_fin_timeout, "tcp_fin_timeout", default.tcp_fin_timeout);
    let udp_timeout = timeout(&raw.udp_timeout, "udp_timeout", default.udp_timeout);
    Some(ConnectionRules {
        tcp_timeout: tcp_timeout?,
        tcp_fin_timeout: tcp_fin_timeout?,
        udp_timeout: udp_timeout?,
        expire_quiescent_template: flag(&raw.expire_quiescent_template, false)?,
        expire_nodest_conn: flag(&raw.expire_nodest_conn, false)?,
    })
}

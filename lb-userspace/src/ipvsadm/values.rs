//! Values of options, and what `ipvsadm` says against them.

use std::net::{IpAddr, Ipv6Addr};

use super::UsageError;
use super::address::number;
use super::model::{DaemonRole, SchedulerFlags};
use super::options::Verb;

/// 31 days.
const MAX_TIMEOUT: i64 = 31 * 24 * 3600;

pub(super) fn daemon_role(verb: Verb, word: &str) -> Result<DaemonRole, UsageError> {
    match word {
        "master" => Ok(DaemonRole::Master),
        "backup" => Ok(DaemonRole::Backup),
        _ if verb == Verb::StartDaemon => Err(UsageError::new("illegal start-daemon parameter specified")),
        _ => Err(UsageError::new("illegal start_daemon specified")),
    }
}

pub(super) fn seconds(text: &str, min: i64) -> Result<u32, UsageError> {
    let invalid = || UsageError::new(format!("invalid timeout value `{text}' specified"));
    number(text, min, MAX_TIMEOUT).and_then(|seconds| u32::try_from(seconds).ok()).ok_or_else(invalid)
}

/// A number of a type that holds every number of its range, or why not.
pub(super) fn ranged<T: TryFrom<i64>>(text: &str, min: i64, max: i64, name: &str) -> Result<T, UsageError> {
    let found = number(text, min, max).and_then(|number| T::try_from(number).ok());
    found.ok_or_else(|| UsageError::new(format!("illegal {name} specified")))
}

pub(super) fn cut(text: &str, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

pub(super) fn scheduler_flags(scheduler: &str, text: &str) -> Result<SchedulerFlags, UsageError> {
    let mut flags = SchedulerFlags::default();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let (wants, bit) = match word {
            "flag-1" => ("", 0),
            "flag-2" => ("", 1),
            "flag-3" => ("", 2),
            "sh-fallback" => ("sh", 0),
            "sh-port" => ("sh", 1),
            "mh-fallback" => ("mh", 0),
            "mh-port" => ("mh", 1),
            _ => return Err(UsageError::new(format!("invalid scheduler flag `{word}'"))),
        };
        if !wants.is_empty() && wants != scheduler {
            return Err(UsageError::new(format!("incompatible scheduler flag `{word}'")));
        }
        flags.0 |= 1 << bit;
    }
    Ok(flags)
}

pub(super) fn multicast(text: &str) -> Result<IpAddr, UsageError> {
    let (address, family) = if text.contains(':') {
        (text.parse::<Ipv6Addr>().ok().map(IpAddr::V6), "IPv6")
    } else {
        (text.parse().ok().map(IpAddr::V4), "IPv4")
    };
    address
        .filter(IpAddr::is_multicast)
        .ok_or_else(|| UsageError::new(format!("invalid {family} mcast-group `{text}'")))
}

//! From what was typed to what is meant: health. `checks_probe` has what is checked; this has when, and what follows.

use std::net::IpAddr;
use std::time::Duration;

use super::checks::{Check, ServerHealth, ServiceHealth, Timing};
use super::checks_probe::{Asked, probe};
use super::checks_raw::{RawCheck, RawServerHealth, RawServiceHealth, RawTiming};
use super::diagnostics::{Report, Span, quoted};
use super::model::RealServer;
use super::raw::Field;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// keepalived's `KEEPALIVED_DEFAULT_DELAY`.
const INTERVAL: Duration = Duration::from_secs(60);
const MIN_INTERVAL: Duration = Duration::from_millis(50);
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
/// keepalived's `connect_timeout`.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The first results are wanted soon; keepalived waits for up to an interval.
const MAX_DEFAULT_WARMUP: Duration = Duration::from_secs(5);
const MAX_COUNT: u32 = 1000;
const MAX_CHECKS: usize = 32;
/// The greatest weight of a real server.
const MAX_WEIGHT: i128 = 65_535;
/// A weight below this cannot grow in steps worth the name.
const MIN_RAMPED_WEIGHT: u32 = 4;

/// What the checks of one real server inherit.
#[derive(Debug)]
pub(super) struct Inherited<'a> {
    raw: &'a RawServiceHealth,
    alpha: bool,
    inhibit_on_failure: bool,
    slow_start: Duration,
}

/// The virtual server's own part, but for its sorry server, and what its real servers inherit.
pub(super) fn service<'a>(
    raw: &'a RawServiceHealth,
    report: &mut Report,
) -> (Option<ServiceHealth>, Inherited<'a>) {
    let key = |name: &str| format!("{}.{name}", raw.path);
    let alpha = flag(&raw.alpha);
    let default = ServiceHealth::default();
    let max = u32::MAX;
    let quorum = super::check::number(&raw.quorum, &key("quorum"), (1, max), default.quorum, report);
    let hysteresis = super::check::number(&raw.hysteresis, &key("hysteresis"), (0, max), 0, report);
    if let (Some(quorum), Some(hysteresis), Field::Given(_, span)) = (quorum, hysteresis, &raw.hysteresis)
        && hysteresis >= quorum
    {
        let message = format!("{hysteresis} is not less than the quorum, which is {quorum}");
        let help = format!("write a number from 0 to {}, or a greater quorum", quorum.saturating_sub(1));
        report.error(span, key("hysteresis"), message, help);
    }
    let min_up = super::check::number(&raw.min_up, &key("min_up"), (0, 100), 0, report);
    let slow_start =
        duration(&raw.slow_start, &key("slow_start"), (Duration::ZERO, DAY), Duration::ZERO, report);
    let timing = timing(&raw.defaults, None, &Keys::Service(&raw.path), "tcp", report);
    let inherited = Inherited {
        raw,
        alpha: alpha.unwrap_or_default(),
        inhibit_on_failure: flag(&raw.inhibit_on_failure).unwrap_or_default(),
        slow_start: slow_start.unwrap_or_default(),
    };
    let own = || {
        timing?;
        Some(ServiceHealth {
            alpha: alpha?,
            omega: flag(&raw.omega)?,
            quorum: quorum?,
            hysteresis: hysteresis?,
            sorry_server: None,
            sorry_server_inhibit: flag(&raw.sorry_server_inhibit)?,
            min_up: u8::try_from(min_up?).ok()?,
            ha_suspend: flag(&raw.ha_suspend)?,
            inherited_keys: raw.inherited_keys.clone(),
        })
    };
    (own(), inherited)
}

/// What a real server's checks are: the virtual server's and its own.
pub(super) fn server(
    raw: &RawServerHealth,
    inherited: &Inherited<'_>,
    target: Option<(IpAddr, u16)>,
    is_first: bool,
    path: &str,
    report: &mut Report,
) -> Option<ServerHealth> {
    let range = (Duration::ZERO, DAY);
    let slow_start =
        duration(&raw.slow_start, &format!("{path}.slow_start"), range, inherited.slow_start, report);
    let (shared, own) = (&inherited.raw.checks, &raw.checks);
    if let Some(surplus) = own.get(MAX_CHECKS.saturating_sub(shared.len())) {
        let message = format!("there are {} checks of one real server", shared.len() + own.len());
        report.error(
            &surplus.span,
            &surplus.path,
            message,
            format!("remove all after the first {MAX_CHECKS}"),
        );
    }
    let mut checks = Vec::with_capacity(shared.len() + own.len());
    for raw in shared {
        // What is wrong with a shared check is wrong once.
        let mut silent = Report::new("", "");
        let report: &mut Report = if is_first { report } else { &mut silent };
        checks.push(check(raw, inherited.raw, target, report));
    }
    for raw in own {
        checks.push(check(raw, inherited.raw, target, report));
    }
    Some(ServerHealth {
        inhibit_on_failure: flag_or(&raw.inhibit_on_failure, inherited.inhibit_on_failure)?,
        alpha: flag_or(&raw.alpha, inherited.alpha)?,
        slow_start: slow_start?,
        checks: checks.into_iter().collect::<Option<_>>()?,
    })
}

/// Warns of what is legal about health but probably not meant.
pub(super) fn warn(
    raw: &RawServiceHealth,
    health: &ServiceHealth,
    servers: &[RealServer],
    report: &mut Report,
) {
    let total = servers.iter().fold(0, |sum: u32, server| sum.saturating_add(server.weight));
    let needed = health.quorum.saturating_add(health.hysteresis);
    if let Field::Given(_, span) = &raw.quorum
        && needed > total
        && !servers.is_empty()
    {
        let message =
            format!("{needed} with hysteresis is more than all weights together, which are {total}");
        let help = "it can never be gained; write a smaller quorum, or greater weights";
        report.warning(span, format!("{}.quorum", raw.path), message, help);
    }
    let small = servers.iter().find(|server| {
        !server.health.slow_start.is_zero() && (1..MIN_RAMPED_WEIGHT).contains(&server.weight)
    });
    if let (Some(server), Field::Given(_, span)) = (small, &raw.slow_start) {
        let message = format!("a weight of {} grows in {} steps only", server.weight, server.weight);
        let help = "use greater weights of the same proportions, such as 100 instead of 1";
        report.warning(span, format!("{}.slow_start", raw.path), message, help);
    }
    if let Field::Given(true, span) = &raw.sorry_server_inhibit
        && matches!(raw.sorry_server, Field::Absent)
    {
        let key = format!("{}.sorry_server_inhibit", raw.path);
        report.warning(span, key, "there is no sorry server", "add sorry_server, or remove this");
    }
}

fn check(
    raw: &RawCheck,
    service: &RawServiceHealth,
    target: Option<(IpAddr, u16)>,
    report: &mut Report,
) -> Option<Check> {
    let asked = Asked { raw, target };
    let probe = probe(&asked, report);
    let kind = match &raw.kind {
        Field::Given(kind, _) => kind.as_str(),
        Field::Absent | Field::Refused => "tcp",
    };
    let timing = timing(&raw.timing, Some(&service.defaults), &Keys::Check(&raw.path), kind, report);
    let weight = match &raw.weight {
        Field::Absent => Some(0),
        Field::Refused => None,
        Field::Given(weight, span) => {
            let weight = Some(*weight).filter(|weight| (-MAX_WEIGHT..=MAX_WEIGHT).contains(weight));
            let weight = weight.and_then(|weight| i32::try_from(weight).ok());
            if weight.is_none() {
                let message = format!("{} is out of range", report.text(span));
                let help = format!("write a number from -{MAX_WEIGHT} to {MAX_WEIGHT}");
                report.error(span, format!("{}.weight", raw.path), message, help);
            }
            weight
        }
    };
    Some(Check { probe: probe?, timing: timing?, weight: weight? })
}

/// How the keys of a timing are called where they stand.
enum Keys<'a> {
    Service(&'a str),
    Check(&'a str),
}

impl Keys<'_> {
    fn name(&self, name: &str) -> String {
        match self {
            Keys::Check(path) => format!("{path}.{name}"),
            Keys::Service(path) if matches!(name, "rise" | "fall" | "fast_interval") => {
                format!("{path}.{name}")
            }
            Keys::Service(path) => format!("{path}.check_{name}"),
        }
    }
}

/// The timing of a check: its own keys, else the virtual server's, else the type's.
fn timing(
    raw: &RawTiming,
    inherited: Option<&RawTiming>,
    keys: &Keys<'_>,
    kind: &str,
    report: &mut Report,
) -> Option<Timing> {
    let mut length = |name: &str, pick: fn(&RawTiming) -> &Field<String>, min, default| {
        // What is wrong with the virtual server's own keys has been said.
        let default = inherited.and_then(|inherited| read(pick(inherited))).unwrap_or(default);
        duration(pick(raw), &keys.name(name), (min, DAY), default, report)
    };
    let interval = length("interval", |raw| &raw.interval, MIN_INTERVAL, INTERVAL);
    let period = interval.unwrap_or(INTERVAL);
    let timeout = if kind == "script" { period } else { TIMEOUT };
    let timeout = length("timeout", |raw| &raw.timeout, MIN_TIMEOUT, timeout);
    // `queue_checker` and `install_dns_check_keyword`, `install_http_check_keyword`, `misc_check_handler`.
    let (retries, retry_delay) = match kind {
        "http" | "https" => (1, Duration::from_secs(3)),
        "dns" => (3, period),
        "script" | "file" => (0, Duration::from_secs(1)),
        _ => (1, Duration::from_secs(1)),
    };
    let retry_delay = length("retry_delay", |raw| &raw.retry_delay, Duration::ZERO, retry_delay);
    let warmup = length("warmup", |raw| &raw.warmup, Duration::ZERO, period.min(MAX_DEFAULT_WARMUP));
    let fast = length("fast_interval", |raw| &raw.fast_interval, MIN_INTERVAL, period);
    let mut count = |name: &str, pick: fn(&RawTiming) -> &Field<i128>, min, default| {
        let inherited = inherited.and_then(|inherited| match pick(inherited) {
            Field::Given(count, _) => u32::try_from(*count).ok(),
            Field::Absent | Field::Refused => None,
        });
        super::check::number(
            pick(raw),
            &keys.name(name),
            (min, MAX_COUNT),
            inherited.unwrap_or(default),
            report,
        )
    };
    let retries = count("retries", |raw| &raw.retries, 0, retries);
    let rise = count("rise", |raw| &raw.rise, 1, 1);
    let fall = count("fall", |raw| &raw.fall, 1, 1);
    let fast = fast?;
    Some(Timing {
        interval: interval?,
        timeout: timeout?,
        retries: retries?,
        retry_delay: retry_delay?,
        warmup: warmup?,
        rise: rise?,
        fall: fall?,
        fast_interval: (fast < period).then_some(fast),
    })
}

fn flag(field: &Field<bool>) -> Option<bool> {
    flag_or(field, false)
}

fn flag_or(field: &Field<bool>, default: bool) -> Option<bool> {
    match field {
        Field::Absent => Some(default),
        Field::Refused => None,
        Field::Given(value, _) => Some(*value),
    }
}

/// A duration that is right, or nothing.
fn read(field: &Field<String>) -> Option<Duration> {
    match field {
        Field::Given(text, _) => humantime::parse_duration(text).ok(),
        Field::Absent | Field::Refused => None,
    }
}

/// A duration in a range, or its default if the key is absent.
pub(super) fn duration(
    field: &Field<String>,
    key: &str,
    (min, max): (Duration, Duration),
    default: Duration,
    report: &mut Report,
) -> Option<Duration> {
    let (text, span): (&String, &Span) = match field {
        Field::Absent => return Some(default),
        Field::Refused => return None,
        Field::Given(text, span) => (text, span),
    };
    let shown = |duration| humantime::format_duration(duration).to_string();
    let range = format!(
        "write a duration from {} to {}, such as \"{}\"",
        shown(min),
        shown(max),
        shown(default.max(min))
    );
    match humantime::parse_duration(text) {
        Ok(duration) if (min..=max).contains(&duration) => return Some(duration),
        Ok(_) => report.error(span, key, format!("{} is out of range", quoted(text)), range),
        Err(_) if text.parse::<f64>().is_ok() => report.error(
            span,
            key,
            format!("{} has no unit", quoted(text)),
            format!("write \"{text}s\" for seconds"),
        ),
        Err(_) => report.error(span, key, format!("{} is not a duration", quoted(text)), range),
    };
    None
}

//! The words that operators read.

use std::{fmt, time::Duration};

use super::{FaultCause, Report, Sighting, State, Transition, Why};

/// To the millisecond: `3.609s`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.0.as_secs_f64())
    }
}

impl State {
    /// All.
    pub const ALL: [Self; 5] = [Self::Initialize, Self::Backup, Self::Master, Self::Fault, Self::Stopped];

    /// keepalived's word for it, as its notifications have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initialize => "INIT",
            Self::Backup => "BACKUP",
            Self::Master => "MASTER",
            Self::Fault => "FAULT",
            Self::Stopped => "STOP",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for FaultCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::LinkDown => "the interface is down",
            Self::NoAddress => "the interface has no address to send adverts from",
            Self::Tracked => "something it tracks is not well",
            Self::NoVirtualMac => "the interface with its virtual MAC cannot be had",
            Self::Group => "another member of its sync group has a fault",
        })
    }
}

impl Why {
    /// Its name in JSON and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Owner => "owner",
            Self::Silence { .. } => "silence",
            Self::MasterLeft { .. } => "master_left",
            Self::Preempts { .. } => "preempts",
            Self::Outranked { .. } => "outranked",
            Self::TieLost { .. } => "tie_lost",
            Self::HandedOver { .. } => "handed_over",
            Self::Taken => "taken",
            Self::Fault(FaultCause::LinkDown) => "link_down",
            Self::Fault(FaultCause::NoAddress) => "no_address",
            Self::Fault(FaultCause::Tracked) => "tracked",
            Self::Fault(FaultCause::NoVirtualMac) => "no_virtual_mac",
            Self::Fault(FaultCause::Group) => "group_fault",
            Self::FaultsOver => "faults_over",
            Self::Group => "group",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Owner => f.write_str("it owns the addresses"),
            Self::Silence { master: Some(master), silent } => {
                write!(f, "no advert from {master} for {}", Seconds(*silent))
            }
            Self::Silence { master: None, silent } => write!(f, "no master heard for {}", Seconds(*silent)),
            Self::MasterLeft { master } => write!(f, "{master} left (priority 0)"),
            Self::Preempts { master, priority } => write!(f, "{master} has the lower priority {priority}"),
            Self::Outranked { by, theirs, ours } => {
                write!(f, "{by} has the higher priority {theirs} (here {ours})")
            }
            Self::TieLost { to } => write!(f, "{to} has the same priority and the higher address"),
            Self::HandedOver { to } => write!(f, "handed over to {to} by hand"),
            Self::Taken => f.write_str("taken by hand"),
            Self::Fault(cause) => cause.fmt(f),
            Self::FaultsOver => f.write_str("the fault is over"),
            Self::Group => f.write_str("with its sync group"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}: {}", self.from, self.to, self.why)
    }
}

impl Report {
    /// Whether the operator has something to do about it.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::TwoMasters(_)
                | Self::IntervalDiffers { .. }
                | Self::StrangerLeft(_)
                | Self::Late(_)
                | Self::ReleaseUntaken
                | Self::TakeRefused(_)
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewMaster(Sighting { from, priority, interval }) => {
                write!(f, "{from} is master, with priority {priority}, an advert each {interval}")
            }
            Self::LowerPriority(Sighting { from, priority, .. }) => {
                write!(f, "the master {from} has the lower priority {priority}; preempting it")
            }
            Self::NotReady(Sighting { from, priority, .. }) => write!(
                f,
                "the master {from} has the lower priority {priority}; left alone while this director is not ready"
            ),
            Self::Yields(Sighting { from, priority, .. }) => write!(
                f,
                "the master {from} has the lower priority {priority}; left alone because of the release by hand"
            ),
            Self::PreemptDelayed { master: Sighting { from, priority, .. }, delay } => write!(
                f,
                "the master {from} has the lower priority {priority}; preempting it in {}",
                Seconds(*delay)
            ),
            Self::TwoMasters(Sighting { from, priority, .. }) => write!(
                f,
                "{from} says it is master too, with priority {priority}; this director stays master. If it comes \
                 again, adverts from here do not reach {from}"
            ),
            Self::IntervalDiffers { master: Sighting { from, interval, .. }, ours } => write!(
                f,
                "{from} sends an advert each {interval}, this director each {ours}; set `advert_interval` alike"
            ),
            Self::StrangerLeft(from) => write!(f, "{from} left, but was not master; ignored"),
            Self::Late(late) => {
                write!(
                    f,
                    "this director stood still for {}; it may be short of processor time",
                    Seconds(*late)
                )
            }
            Self::Releasing => f.write_str("handing over; the addresses stay until another master is heard"),
            Self::ReleaseUntaken => f.write_str("nobody took over; this director stays master"),
            Self::TakeRefused(why) => write!(f, "not taken: {why}"),
        }
    }
}

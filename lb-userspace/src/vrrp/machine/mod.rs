//! One virtual router on this director.
//!
//! ```text
//!                            owner, ready
//!            ┌────────────────────────────────────────────────────┐
//!            │                                                    ▼    advert timer: advert
//!       Initialize ──start──► Backup ──no master, or lower one──► Master  lower priority: advert, GARP
//!            │                 │  ▲ ◄──higher priority, handed over──┘ │
//!            │ a fault         │  │                                   │
//!            │          fault  ▼  │ faults over                 fault │
//!            └───────────────► Fault ◄────────────────────────────────┘
//!                                     any ──shut down──► Stopped
//! ```
//!
//! Initialize, Backup and Master (RFC 9568: Active) are the RFC's; Fault and Stopped are keepalived's `FAULT` and
//! `STOP`. Where keepalived and the RFC differ, this does what keepalived does; where both hurt, it does better:
//! [`Event::Ready`], [`Event::Release`], the interval of [`Sighting`], [`Report::Late`].
//!
//! No clock: `now` is the time since an origin the caller chose, and never goes back. Actions are carried out in
//! their order. Read what the sockets hold before telling [`Event::Timer`]: an advert that waits there may be the
//! answer.

mod step;
#[cfg(test)]
mod tests;
mod words;

use std::{net::IpAddr, time::Duration};

pub use step::Instance;

use super::packet::{Interval, Version};

/// Where a virtual router is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Not started yet.
    Initialize,
    /// Another director has the addresses, or soon will.
    Backup,
    /// This director has the addresses.
    Master,
    /// It cannot have them.
    Fault,
    /// It takes part no more.
    Stopped,
}

/// When gratuitous ARP requests and unsolicited neighbour advertisements are sent, and how many for each address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garp {
    /// At once on becoming master, and once more after `delay`. 0 counts as 1.
    pub repeat: u32,
    /// 0: no second time.
    pub delay: Duration,
    /// As long as it is master, this often; `None`: never.
    pub refresh: Option<Duration>,
    /// How many at each refresh. 0 counts as 1.
    pub refresh_repeat: u32,
    /// At once when a master of lower priority is heard, and once more after `lower_priority_delay`. 0: none.
    pub lower_priority_repeat: u32,
    /// 0: no second time.
    pub lower_priority_delay: Duration,
}

impl Default for Garp {
    /// keepalived's: 5 at once, 5 after 5 s.
    fn default() -> Self {
        Self {
            repeat: 5,
            delay: Duration::from_secs(5),
            refresh: None,
            refresh_repeat: 1,
            lower_priority_repeat: 5,
            lower_priority_delay: Duration::from_secs(5),
        }
    }
}

/// The configuration of a virtual router, as far as it decides anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Decides how the skew time is reckoned.
    pub version: Version,
    /// The source address of its adverts; breaks ties between masters.
    pub address: IpAddr,
    /// As configured: 1 to 254, or 255 of the owner of the addresses.
    pub priority: u8,
    /// `state = "master"`. Only an owner begins as master; without a fault and when it is ready.
    pub starts_as_master: bool,
    /// Time between two adverts.
    pub interval: Interval,
    /// After how many missing adverts a master is gone; keepalived's `down_timer_adverts`, 3.
    pub down_adverts: u8,
    /// Whether a master of lower priority is left alone. An owner never does that.
    pub nopreempt: bool,
    /// For how long a master of lower priority is left alone. 0 of an owner.
    pub preempt_delay: Duration,
    /// Gratuitous ARP.
    pub garp: Garp,
}

impl Settings {
    /// keepalived's defaults for a virtual router of this version, address and priority.
    #[must_use]
    pub fn new(version: Version, address: IpAddr, priority: u8) -> Self {
        Self {
            version,
            address,
            priority,
            starts_as_master: priority == super::packet::PRIORITY_OWNER,
            interval: Interval::DEFAULT,
            down_adverts: 3,
            nopreempt: false,
            preempt_delay: Duration::ZERO,
            garp: Garp::default(),
        }
    }
}

/// An advert that passed [`receive`](super::packet::receive), as far as it decides anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// The sender.
    pub from: IpAddr,
    /// The sender's; 0 if it leaves.
    pub priority: u8,
    /// The sender's. In both versions it is what a backup waits by, so that a master with another interval is not
    /// taken for dead. (RFC 9568 section 6.4.2 says so of version 3. RFC 3768 and keepalived drop adverts of
    /// version 2 with another interval, which makes two masters.)
    pub interval: Interval,
}

/// What keeps a virtual router from having the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultCause {
    /// The interface is down, has no carrier, or is not there.
    LinkDown,
    /// The interface has no address to send adverts from.
    NoAddress,
    /// Something tracked with weight 0 is not well.
    Tracked,
    /// The interface with its virtual MAC is not there.
    NoVirtualMac,
    /// Another member of its sync group has a fault.
    Group,
}

impl FaultCause {
    /// All.
    pub const ALL: [Self; 5] =
        [Self::LinkDown, Self::NoAddress, Self::Tracked, Self::NoVirtualMac, Self::Group];
}

/// What a sync group makes its members do. Sent by [`Routers`](super::sync::Routers) alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// All members may be master: be it.
    Master,
    /// Another member is not master any more.
    Backup,
    /// Another member heard a master of lower priority.
    Assert,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Take part. Faults and readiness are told before, so that nothing is begun that cannot be done.
    Start,
    /// An advert.
    Advert(Sighting),
    /// Time has passed.
    Timer,
    /// This keeps it from having the addresses.
    Fault(FaultCause),
    /// This does not any more.
    FaultCleared(FaultCause),
    /// The priority in effect is this (see [`priority`](super::priority)). An owner's stays 255.
    Priority(u8),
    /// Whether this director could serve: tables applied, checks run once, neighbours resolved. One that is not ready
    /// leaves every living master alone, and lets every other backup go first.
    Ready(bool),
    /// The operator hands over. The master says so (priority 0), keeps the addresses until another master is heard,
    /// and then leaves that one alone until it is gone or this one is told to take.
    /// If none is heard for as long as a master would be waited for, it stays.
    Release,
    /// The operator wants this director to be master. If need be it advertises more than the master's priority, until
    /// it releases or is outranked.
    Take,
    /// Other settings and the priority in effect with them; the state stays.
    Reconfigured(Settings, u8),
    /// From the sync group.
    Group(Order),
    /// Take part no more.
    Shutdown,
}

/// What to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send an advert of this priority. A failure is not the end of anything.
    SendAdvert {
        /// 0 to leave.
        priority: u8,
    },
    /// Have the virtual addresses, excluded ones, routes and rules.
    AddAddresses,
    /// Have none of them, whoever added them. Asked for at the start, and by a backup that has a fault or stops, too:
    /// a crash may have left some.
    RemoveAddresses,
    /// Send gratuitous ARP requests and unsolicited neighbour advertisements.
    SendGarp {
        /// How many for each address.
        repeat: u32,
    },
    /// Record, log and notify.
    Transition(Transition),
    /// Log and count.
    Report(Report),
    /// It would be master if its sync group let it. Never leaves [`Routers`](super::sync::Routers).
    Want,
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// The reason; its words are for operators.
    pub why: Why,
}

/// Why the state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Taking part began.
    Started,
    /// It owns the addresses.
    Owner,
    /// No master was heard.
    Silence {
        /// The last one.
        master: Option<IpAddr>,
        /// Since when nothing was heard.
        silent: Duration,
    },
    /// The master said that it leaves.
    MasterLeft {
        /// The master.
        master: IpAddr,
    },
    /// The master has a lower priority.
    Preempts {
        /// The master.
        master: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// Another master has a higher priority.
    Outranked {
        /// The other.
        by: IpAddr,
        /// Its priority.
        theirs: u8,
        /// What this one advertised.
        ours: u8,
    },
    /// Another master has the same priority and the higher address.
    TieLost {
        /// The other.
        to: IpAddr,
    },
    /// Handed over by the operator.
    HandedOver {
        /// The new master.
        to: IpAddr,
    },
    /// Taken by the operator.
    Taken,
    /// A fault.
    Fault(FaultCause),
    /// No fault any more.
    FaultsOver,
    /// With its sync group.
    Group,
    /// Shut down.
    Stopped,
}

/// What an operator should know though the state did not change. Told once for each sender until the state or the
/// master changes, lateness apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// A backup has found a master, or another one.
    NewMaster(Sighting),
    /// A backup hears a master of lower priority, and will not wait for it any longer.
    LowerPriority(Sighting),
    /// A backup that would preempt does not, because it is not ready.
    NotReady(Sighting),
    /// A backup that would preempt does not, because it handed over by hand.
    Yields(Sighting),
    /// A backup will preempt after its delay.
    PreemptDelayed {
        /// The master.
        master: Sighting,
        /// From now.
        delay: Duration,
    },
    /// This master hears another one of lower precedence.
    TwoMasters(Sighting),
    /// The master's interval is not ours. It is waited for by its own.
    IntervalDiffers {
        /// The master.
        master: Sighting,
        /// Ours.
        ours: Interval,
    },
    /// Priority 0 from somebody who is not the master: ignored.
    StrangerLeft(IpAddr),
    /// This director did not run for this long after a timer was due. More than an interval of it makes others think
    /// that it is dead, or it of others.
    Late(Duration),
    /// The operator's order to hand over is being carried out.
    Releasing,
    /// The operator handed over, but nobody took it.
    ReleaseUntaken,
    /// The operator's order cannot be carried out.
    TakeRefused(TakeRefusal),
}

/// Why the operator's order to take is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TakeRefusal {
    /// A fault, not started, or stopped.
    #[error("it does not take part, or has a fault")]
    Unable,
    /// A living master, and this one is not ready.
    #[error("this director is not ready, and another master lives")]
    NotReady,
    /// Another member of the sync group cannot.
    #[error("another member of its sync group cannot be taken")]
    Group,
    /// The master owns the addresses, or has 254 and the higher address.
    #[error("the master {master} has priority {priority}, which cannot be outbid; release it there")]
    CannotOutbid {
        /// The master.
        master: IpAddr,
        /// Its priority.
        priority: u8,
    },
}

/// What the operator ordered, as long as it has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand {
    /// Handing over; until then at the latest.
    Releasing {
        /// When it stays master after all.
        until: Duration,
    },
    /// Handed over: every living master is left alone.
    Released,
    /// Taken, with this priority if it is higher than the one in effect.
    Taken {
        /// 0: the one in effect was enough.
        raised: u8,
    },
}

/// What is known of the other director that is master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Master {
    /// Its last advert.
    pub last: Sighting,
    /// When that came.
    pub heard: Duration,
}

/// A virtual router as an operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// The configured priority.
    pub priority: u8,
    /// The priority in effect, after tracking.
    pub effective: u8,
    /// What is, or would be, advertised.
    pub advertised: u8,
    /// Whether this director could serve.
    pub is_ready: bool,
    /// The operator's orders in effect.
    pub hand: Option<Hand>,
    /// The other director that is master; `None` if this one is, or none was heard.
    pub master: Option<Master>,
    /// A master waits this long for its next advert, a backup for the master's.
    pub due_in: Option<Duration>,
    /// How long a silent master is waited for.
    pub master_down_interval: Duration,
    /// The skew time.
    pub skew: Duration,
    /// When a master of lower priority is not left alone any more.
    pub preempts_in: Option<Duration>,
    /// It is master as soon as its timer runs out, though another one lives.
    pub preempts: bool,
}

//! The options, the commands among them, and which command takes which.

use super::UsageError;

/// Every option of 1.31.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opt {
    Command(Verb),
    Tcp,
    Udp,
    Sctp,
    Fwmark,
    Ipv6,
    Scheduler,
    Engine,
    Persistent,
    Netmask,
    RealServer,
    Masquerading,
    Ipip,
    Gatewaying,
    TunType,
    TunPort,
    TunNocsum,
    TunCsum,
    TunRemcsum,
    Weight,
    Upper,
    Lower,
    Numeric,
    Connection,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    TunInfo,
    NoSort,
    Sort,
    Exact,
    OnePacket,
    SchedFlags,
    SyncId,
    SyncMaxLen,
    Interface,
    Group,
    Port,
    Ttl,
}

/// What an invocation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Edit,
    Delete,
    Clear,
    Restore,
    Save,
    AddServer,
    EditServer,
    DeleteServer,
    List,
    Zero,
    Set,
    StartDaemon,
    StopDaemon,
    Help,
    Version,
}

/// Whether an option has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Value,
    /// One that does not begin with `-`.
    Maybe,
}

use Takes::{Maybe, Nothing, Value};

/// Long name, letter if any, option, value.
type Row = (&'static str, Option<char>, Opt, Takes);

const TABLE: &[Row] = &[
    ("add-service", Some('A'), Opt::Command(Verb::Add), Nothing),
    ("edit-service", Some('E'), Opt::Command(Verb::Edit), Nothing),
    ("delete-service", Some('D'), Opt::Command(Verb::Delete), Nothing),
    ("clear", Some('C'), Opt::Command(Verb::Clear), Nothing),
    ("restore", Some('R'), Opt::Command(Verb::Restore), Nothing),
    ("save", Some('S'), Opt::Command(Verb::Save), Nothing),
    ("add-server", Some('a'), Opt::Command(Verb::AddServer), Nothing),
    ("edit-server", Some('e'), Opt::Command(Verb::EditServer), Nothing),
    ("delete-server", Some('d'), Opt::Command(Verb::DeleteServer), Nothing),
    ("list", Some('L'), Opt::Command(Verb::List), Nothing),
    ("list", Some('l'), Opt::Command(Verb::List), Nothing),
    ("zero", Some('Z'), Opt::Command(Verb::Zero), Nothing),
    ("set", None, Opt::Command(Verb::Set), Nothing),
    ("start-daemon", None, Opt::Command(Verb::StartDaemon), Value),
    ("stop-daemon", None, Opt::Command(Verb::StopDaemon), Value),
    ("help", Some('h'), Opt::Command(Verb::Help), Nothing),
    ("version", Some('v'), Opt::Command(Verb::Version), Nothing),
    ("tcp-service", Some('t'), Opt::Tcp, Value),
    ("udp-service", Some('u'), Opt::Udp, Value),
    ("sctp-service", None, Opt::Sctp, Value),
    ("fwmark-service", Some('f'), Opt::Fwmark, Value),
    ("ipv6", Some('6'), Opt::Ipv6, Nothing),
    ("scheduler", Some('s'), Opt::Scheduler, Value),
    ("pe", None, Opt::Engine, Value),
    ("persistent", Some('p'), Opt::Persistent, Maybe),
    ("netmask", Some('M'), Opt::Netmask, Value),
    ("real-server", Some('r'), Opt::RealServer, Value),
    ("masquerading", Some('m'), Opt::Masquerading, Nothing),
    ("ipip", Some('i'), Opt::Ipip, Nothing),
    ("gatewaying", Some('g'), Opt::Gatewaying, Nothing),
    ("tun-type", None, Opt::TunType, Value),
    ("tun-port", None, Opt::TunPort, Value),
    ("tun-nocsum", None, Opt::TunNocsum, Nothing),
    ("tun-csum", None, Opt::TunCsum, Nothing),
    ("tun-remcsum", None, Opt::TunRemcsum, Nothing),
    ("weight", Some('w'), Opt::Weight, Value),
    ("u-threshold", Some('x'), Opt::Upper, Value),
    ("l-threshold", Some('y'), Opt::Lower, Value),
    ("numeric", Some('n'), Opt::Numeric, Nothing),
    ("connection", Some('c'), Opt::Connection, Nothing),
    ("timeout", None, Opt::Timeout, Nothing),
    ("daemon", None, Opt::Daemon, Nothing),
    ("stats", None, Opt::Stats, Nothing),
    ("rate", None, Opt::Rate, Nothing),
    ("thresholds", None, Opt::Thresholds, Nothing),
    ("persistent-conn", None, Opt::PersistentConn, Nothing),
    ("tun-info", None, Opt::TunInfo, Nothing),
    ("nosort", None, Opt::NoSort, Nothing),
    ("sort", None, Opt::Sort, Nothing),
    ("exact", Some('X'), Opt::Exact, Nothing),
    ("ops", Some('o'), Opt::OnePacket, Nothing),
    ("sched-flags", Some('b'), Opt::SchedFlags, Value),
    ("syncid", None, Opt::SyncId, Value),
    ("sync-maxlen", None, Opt::SyncMaxLen, Value),
    ("mcast-interface", None, Opt::Interface, Value),
    ("mcast-group", None, Opt::Group, Value),
    ("mcast-port", None, Opt::Port, Value),
    ("mcast-ttl", None, Opt::Ttl, Value),
];

impl Opt {
    pub(super) fn long(name: &str) -> Option<Self> {
        TABLE.iter().find(|(long, ..)| *long == name).map(|(.., option, _)| *option)
    }

    pub(super) fn short(letter: char) -> Option<Self> {
        TABLE.iter().find(|(_, short, ..)| *short == Some(letter)).map(|(.., option, _)| *option)
    }

    pub(super) fn takes(self) -> Takes {
        TABLE.iter().find(|(.., option, _)| *option == self).map_or(Nothing, |(.., takes)| *takes)
    }

    /// What errors call it, and what may be given once: the three protocols are one. None where repeating does
    /// no harm.
    fn kind(self) -> Option<&'static str> {
        Some(match self {
            Self::Tcp | Self::Udp | Self::Sctp | Self::Fwmark => "service-address",
            Self::Masquerading | Self::Ipip | Self::Gatewaying => "forwarding-method",
            Self::Scheduler => "scheduler",
            Self::Engine => "pe",
            Self::Persistent => "persistent",
            Self::Netmask => "netmask",
            Self::RealServer => "real-server",
            Self::TunType => "tun-type",
            Self::TunPort => "tun-port",
            Self::TunNocsum => "tun-nocsum",
            Self::TunCsum => "tun-csum",
            Self::TunRemcsum => "tun-remcsum",
            Self::Weight => "weight",
            Self::Upper => "u-threshold",
            Self::Lower => "l-threshold",
            Self::Numeric => "numeric",
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Daemon => "daemon",
            Self::Stats => "stats",
            Self::Rate => "rate",
            Self::Thresholds => "thresholds",
            Self::PersistentConn => "persistent-conn",
            Self::TunInfo => "tun-info",
            Self::NoSort => "nosort",
            Self::Exact => "exact",
            Self::OnePacket => "ops",
            Self::SchedFlags => "sched-flags",
            Self::SyncId => "syncid",
            Self::SyncMaxLen => "sync-maxlen",
            Self::Interface => "mcast-interface",
            Self::Group => "mcast-group",
            Self::Port => "mcast-port",
            Self::Ttl => "mcast-ttl",
            Self::Command(_) | Self::Ipv6 | Self::Sort => return None,
        })
    }
}

/// All kinds, in the order in which errors are looked for.
const KINDS: [&str; 34] = [
    "numeric",
    "connection",
    "service-address",
    "scheduler",
    "persistent",
    "netmask",
    "real-server",
    "forwarding-method",
    "weight",
    "u-threshold",
    "l-threshold",
    "mcast-interface",
    "timeout",
    "daemon",
    "stats",
    "rate",
    "thresholds",
    "persistent-conn",
    "nosort",
    "syncid",
    "exact",
    "ops",
    "pe",
    "sched-flags",
    "mcast-group",
    "mcast-port",
    "mcast-ttl",
    "sync-maxlen",
    "tun-info",
    "tun-type",
    "tun-port",
    "tun-nocsum",
    "tun-csum",
    "tun-remcsum",
];

/// What a command makes of kinds of options.
struct Rules {
    name: &'static str,
    required: &'static [&'static str],
    allowed: &'static [&'static str],
    /// At most one of these.
    one_of: &'static [&'static str],
}

impl Verb {
    fn rules(self) -> Rules {
        const SERVICE: &[&str] = &["service-address"];
        const SERVER: &[&str] = &["service-address", "real-server"];
        const SERVICE_OPTIONS: &[&str] = &["scheduler", "persistent", "netmask", "ops", "pe", "sched-flags"];
        const SERVER_OPTIONS: &[&str] = &[
            "forwarding-method",
            "weight",
            "u-threshold",
            "l-threshold",
            "tun-type",
            "tun-port",
            "tun-nocsum",
            "tun-csum",
            "tun-remcsum",
        ];
        const NONE: &[&str] = &[];
        let rules = |name, required, allowed| Rules { name, required, allowed, one_of: NONE };
        match self {
            Self::Add => rules("add-service", SERVICE, SERVICE_OPTIONS),
            Self::Edit => rules("edit-service", SERVICE, SERVICE_OPTIONS),
            Self::Delete => rules("delete-service", SERVICE, NONE),
            Self::Clear => rules("flush", NONE, NONE),
            Self::AddServer => rules("add-server", SERVER, SERVER_OPTIONS),
            Self::EditServer => rules("edit-server", SERVER, SERVER_OPTIONS),
            Self::DeleteServer => rules("delete-server", SERVER, NONE),
            Self::List => Rules {
                name: "list",
                required: NONE,
                allowed: &[
                    "numeric",
                    "stats",
                    "rate",
                    "thresholds",
                    "persistent-conn",
                    "nosort",
                    "syncid",
                    "exact",
                    "tun-info",
                ],
                one_of: &["connection", "service-address", "timeout", "daemon"],
            },
            Self::Set => rules("set", NONE, NONE),
            Self::StartDaemon => rules(
                "start-daemon",
                NONE,
                &["mcast-interface", "syncid", "mcast-group", "mcast-port", "mcast-ttl", "sync-maxlen"],
            ),
            Self::StopDaemon => rules("stop-daemon", NONE, &["syncid"]),
            Self::Restore => rules("restore", NONE, NONE),
            Self::Save => rules("save", NONE, &["numeric"]),
            Self::Zero => rules("zero", NONE, SERVICE),
            Self::Help => rules("help", NONE, NONE),
            Self::Version => rules("version", NONE, NONE),
        }
    }

    /// What is missing or not allowed.
    pub(super) fn check(self, given: &Given) -> Result<(), UsageError> {
        let Rules { name, required, allowed, one_of } = self.rules();
        let mut first: Option<&str> = None;
        for kind in KINDS {
            if !given.has(kind) {
                if required.contains(&kind) {
                    return Err(UsageError::new(format!(
                        "You need to supply the '{kind}' option for the '{name}' command"
                    )));
                }
            } else if one_of.contains(&kind) {
                if let Some(first) = first {
                    return Err(UsageError::new(format!(
                        "The option '{kind}' conflicts with the '{first}' option in the '{name}' command"
                    )));
                }
                first = Some(kind);
            } else if !required.contains(&kind) && !allowed.contains(&kind) {
                return Err(UsageError::new(format!("Illegal '{kind}' option with the '{name}' command")));
            }
        }
        Ok(())
    }
}

/// The kinds of options that were given.
#[derive(Debug, Default)]
pub(super) struct Given(Vec<&'static str>);

impl Given {
    /// Enters an option, once.
    pub(super) fn enter(&mut self, option: Opt) -> Result<(), UsageError> {
        let Some(kind) = option.kind() else { return Ok(()) };
        if self.has(kind) {
            return Err(UsageError::new(format!("multiple '{kind}' options specified")));
        }
        self.0.push(kind);
        Ok(())
    }

    pub(super) fn has(&self, kind: &str) -> bool {
        self.0.contains(&kind)
    }

    /// Checks the tunnel options of a real server behind a tunnel of this type.
    pub(super) fn check_tunnel(&self, tunnel: &str) -> Result<(), UsageError> {
        let (required, one_of): (&[&str], &[&str]) = match tunnel {
            "gue" => (&["tun-port"], &["tun-nocsum", "tun-csum", "tun-remcsum"]),
            "gre" => (&[], &["tun-nocsum", "tun-csum"]),
            _ => (&[], &[]),
        };
        let mut first: Option<&str> = None;
        for kind in ["tun-port", "tun-nocsum", "tun-csum", "tun-remcsum"] {
            if !self.has(kind) {
                if required.contains(&kind) {
                    return Err(UsageError::new(format!(
                        "You need to supply the '{kind}' option for the '{tunnel}' tunnel type"
                    )));
                }
            } else if one_of.contains(&kind) {
                if let Some(first) = first {
                    return Err(UsageError::new(format!(
                        "The option '{kind}' conflicts with the '{first}' option in the '{tunnel}' tunnel type"
                    )));
                }
                first = Some(kind);
            } else if !required.contains(&kind) {
                return Err(UsageError::new(format!(
                    "Illegal '{kind}' option with the '{tunnel}' tunnel type"
                )));
            }
        }
        Ok(())
    }
}

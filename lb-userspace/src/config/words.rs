//! Keys whose value is one of a few words.

use super::diagnostics::{Report, quoted};
use super::model::{Forwarding, Protocol, Scheduler, XdpMode};
use super::raw::Field;
use super::scheduling::OnFailure;
use super::schema::closest;

/// A value that is written as one of a few words.
pub(super) trait Word: Copy + Default + 'static {
    /// What the words name, with its article.
    const WHAT: &'static str;
    const ALL: &'static [Self];
    /// Other words for it elsewhere, and ours.
    const ALIASES: &'static [(&'static str, &'static str)] = &[];
    /// Words that are right elsewhere (IPVS, keepalived, ipvsadm), but name what this version does not have.
    const NOT_SUPPORTED: &'static [&'static str] = &[];

    fn name(self) -> &'static str;
}

impl Word for XdpMode {
    const WHAT: &'static str = "an XDP mode";
    const ALL: &'static [Self] = &[XdpMode::Auto, XdpMode::Native, XdpMode::Generic];
    // The words of `ip link`, libbpf and katran.
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("driver", "native"),
        ("drv", "native"),
        ("xdpdrv", "native"),
        ("skb", "generic"),
        ("xdpgeneric", "generic"),
    ];
    const NOT_SUPPORTED: &'static [&'static str] = &["offload", "xdpoffload", "hw"];

    fn name(self) -> &'static str {
        self.as_str()
    }
}

impl Word for Protocol {
    const WHAT: &'static str = "a protocol";
    const ALL: &'static [Self] = &[Protocol::Tcp, Protocol::Udp];
    const NOT_SUPPORTED: &'static [&'static str] = &["sctp"];

    fn name(self) -> &'static str {
        self.as_str()
    }
}

impl Word for Scheduler {
    const WHAT: &'static str = "a scheduler";
    // Linux 6.12 net/netfilter/ipvs/Kconfig.
    const ALL: &'static [Self] = &[
        Scheduler::Rr,
        Scheduler::Wrr,
        Scheduler::Lc,
        Scheduler::Wlc,
        Scheduler::Sed,
        Scheduler::Nq,
        Scheduler::Sh,
        Scheduler::Dh,
        Scheduler::Mh,
        Scheduler::Fo,
        Scheduler::Ovf,
        Scheduler::Lblc,
        Scheduler::Lblcr,
        Scheduler::Twos,
    ];
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("round_robin", "rr"),
        ("roundrobin", "rr"),
        ("weighted_round_robin", "wrr"),
        ("least_connections", "lc"),
        ("leastconn", "lc"),
        ("source_hash", "sh"),
        ("source", "sh"),
        ("maglev", "mh"),
        ("failover", "fo"),
    ];

    fn name(self) -> &'static str {
        self.as_str()
    }
}

impl Word for OnFailure {
    const WHAT: &'static str = "a way to treat connections";
    const ALL: &'static [Self] = &[OnFailure::Keep, OnFailure::Drop, OnFailure::Reset];
    const ALIASES: &'static [(&'static str, &'static str)] = &[("rst", "reset")];

    fn name(self) -> &'static str {
        self.as_str()
    }
}

impl Word for Forwarding {
    const WHAT: &'static str = "a forwarding method";
    const ALL: &'static [Self] = &[Forwarding::Dr, Forwarding::Nat, Forwarding::Tun, Forwarding::FullNat];
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("direct", "dr"),
        ("direct_routing", "dr"),
        ("route", "dr"),
        ("gate", "dr"),
        ("gatewaying", "dr"),
        ("masq", "nat"),
        ("masquerade", "nat"),
        ("masquerading", "nat"),
        ("dnat", "nat"),
        ("tunnel", "tun"),
        ("ipip", "tun"),
        ("fnat", "full_nat"),
        ("fullnat", "full_nat"),
        ("snat", "full_nat"),
    ];
    // Encapsulations of IPVS other than IPIP (`ipvsadm --tun-type`).
    const NOT_SUPPORTED: &'static [&'static str] = &["gre", "gue"];

    fn name(self) -> &'static str {
        self.as_str()
    }
}

/// The value of a key that is a word, or its default if the key is absent.
pub(super) fn word<T: Word>(field: &Field<String>, key: &str, report: &mut Report) -> Option<T> {
    let (text, span) = match field {
        Field::Absent => return Some(T::default()),
        Field::Refused => return None,
        Field::Given(text, span) => (text, span),
    };
    if let Some(value) = T::ALL.iter().find(|value| value.name() == text) {
        return Some(*value);
    }
    let names: Vec<_> = T::ALL.iter().map(|value| quoted(value.name())).collect();
    let names = match names.as_slice() {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        few => few.concat(),
    };
    let lower = text.to_lowercase();
    if T::NOT_SUPPORTED.contains(&lower.as_str()) {
        let message = format!("{} is not supported by this version", quoted(text));
        report.error(span, key, message, format!("use {names}"));
        return None;
    }
    let alias =
        T::ALIASES.iter().find(|(word, _)| *word == lower.replace(['-', ' '], "_")).map(|(_, ours)| *ours);
    let help = match alias.or_else(|| closest(text, T::ALL.iter().map(|value| value.name()))) {
        Some(meant) if T::ALL.len() > 1 => format!("did you mean {}? use {names}", quoted(meant)),
        Some(_) | None => format!("use {names}"),
    };
    report.error(span, key, format!("{} is not {}", quoted(text), T::WHAT), help);
    None
}

//! Virtual and real servers.

use super::Becomes::{Key, NotSupported, Otherwise, Unneeded};
use super::{ANY, Context, Keyword, key};

const SNMP: &str = "there is no SNMP agent; `lbctl list --json` has the numbers";

pub(in super::super) const VIRTUAL_SERVER: &[Keyword] = &[
    key("delay_loop", 1, 1, Key("virtual_server.check_interval")),
    key("lb_algo", 1, 1, Key("virtual_server.scheduler")).alias(&["lvs_sched"]),
    key("lb_kind", 1, ANY, Key("virtual_server.forwarding")).alias(&["lvs_method"]),
    key("protocol", 1, 1, Key("virtual_server.protocol")),
    key("persistence_timeout", 0, 1, Key("virtual_server.persistence_timeout")),
    key("persistence_granularity", 1, 1, Key("virtual_server.persistence_granularity")),
    key(
        "persistence_engine",
        1,
        1,
        NotSupported("persistence is by the client's address; SIP calls are not recognised"),
    ),
    key("ops", 0, 0, Key("virtual_server.one_packet")),
    key("hashed", 0, 0, Unneeded("virtual servers are always found by hash")),
    key("sh-port", 0, 0, Key("virtual_server.scheduler_flags")),
    key("sh-fallback", 0, 0, Key("virtual_server.scheduler_flags")),
    key("mh-port", 0, 0, Key("virtual_server.scheduler_flags")),
    key("mh-fallback", 0, 0, Key("virtual_server.scheduler_flags")),
    key("flag-1", 0, 0, Otherwise("virtual_server.scheduler_flags", "the flag is written by its name")),
    key("flag-2", 0, 0, Otherwise("virtual_server.scheduler_flags", "the flag is written by its name")),
    key("flag-3", 0, 0, NotSupported("no scheduler has a third flag")),
    key("sorry_server", 1, 2, Key("virtual_server.sorry_server")),
    key("sorry_server_inhibit", 0, 0, Key("virtual_server.sorry_server_inhibit")),
    key(
        "sorry_server_lvs_method",
        1,
        ANY,
        NotSupported("the sorry server is forwarded to like the real servers"),
    ),
    key("quorum", 1, 1, Key("virtual_server.quorum")),
    key("hysteresis", 1, 1, Key("virtual_server.hysteresis")),
    key("quorum_up", 1, 3, Key("virtual_server.quorum_up")).command(),
    key("quorum_down", 1, 3, Key("virtual_server.quorum_down")).command(),
    key("alpha", 0, 0, Key("virtual_server.alpha")),
    key("omega", 0, 0, Key("virtual_server.omega")),
    key("ha_suspend", 0, 0, Key("virtual_server.ha_suspend")),
    key("inhibit_on_failure", 0, 1, Key("virtual_server.inhibit_on_failure")),
    key(
        "smtp_alert",
        0,
        1,
        Otherwise(
            "notifications.email",
            "mail about real and virtual servers is sent to `notifications.email`",
        ),
    ),
    key("virtualhost", 1, 1, Otherwise("check.host", "each check has its own key")),
    key("snmp_name", 1, 1, NotSupported(SNMP)),
    key("ip_family", 1, 1, Unneeded("the address says whether it is IPv4 or IPv6")),
    key("weight", 1, 1, Otherwise("real_server.weight", "each real server has its own key")),
    key("retry", 1, 1, Key("virtual_server.check_retries")).alias(&["nb_get_retry"]),
    key("delay_before_retry", 1, 1, Key("virtual_server.check_retry_delay")),
    key("warmup", 1, 1, Key("virtual_server.check_warmup")),
    key("connect_timeout", 1, 1, Key("virtual_server.check_timeout")),
    key("real_server", 1, 2, Key("[[virtual_server.real_server]]")).block(Context::RealServer).many(),
    key("nat_mask", 1, 1, Unneeded("keepalived has not known it since 1.3, and forwarding does not need it")),
];

pub(in super::super) const REAL_SERVER: &[Keyword] = &[
    key("weight", 1, 1, Key("real_server.weight")),
    key("lvs_method", 1, ANY, Key("real_server.forwarding")).alias(&["lb_kind"]),
    key("uthreshold", 1, 1, Key("real_server.upper_threshold")),
    key("lthreshold", 1, 1, Key("real_server.lower_threshold")),
    key("inhibit_on_failure", 0, 1, Key("real_server.inhibit_on_failure")),
    key("notify_up", 1, 3, Key("real_server.notify_up")).command(),
    key("notify_down", 1, 3, Key("real_server.notify_down")).command(),
    key("alpha", 0, 1, Key("real_server.alpha")),
    key("retry", 1, 1, Otherwise("check.retries", "each check has its own key")).alias(&["nb_get_retry"]),
    key("delay_before_retry", 1, 1, Otherwise("check.retry_delay", "each check has its own key")),
    key("warmup", 1, 1, Otherwise("check.warmup", "each check has its own key")),
    key("connect_timeout", 1, 1, Otherwise("check.timeout", "each check has its own key")),
    key("delay_loop", 1, 1, Otherwise("check.interval", "each check has its own key")),
    key(
        "smtp_alert",
        0,
        1,
        Otherwise(
            "notifications.email",
            "mail about real and virtual servers is sent to `notifications.email`",
        ),
    ),
    key("virtualhost", 1, 1, Otherwise("check.host", "each check has its own key")),
    key("snmp_name", 1, 1, NotSupported(SNMP)),
];

const CERTIFICATES: &str = "checks have no client certificate";

pub(in super::super) const SSL: &[Keyword] = &[
    key("password", 1, 1, NotSupported(CERTIFICATES)),
    key("ca", 1, 1, NotSupported(CERTIFICATES)),
    key("certificate", 1, 1, NotSupported(CERTIFICATES)),
    key("key", 1, 1, NotSupported(CERTIFICATES)),
];

//! Health checks.

use super::Becomes::{Key, NotSupported, Otherwise, Unneeded};
use super::{ANY, Context, Keyword, key};

pub(in super::super) const CHECKERS: &[Keyword] = &[
    key("TCP_CHECK", 0, 0, Key("type = \"tcp\"")).block(Context::TcpCheck).many(),
    key("HTTP_GET", 0, 0, Key("type = \"http\"")).block(Context::HttpCheck).many(),
    key("SSL_GET", 0, 0, Key("type = \"https\"")).block(Context::HttpCheck).many(),
    key("SMTP_CHECK", 0, 0, Key("type = \"smtp\"")).block(Context::SmtpCheck).many(),
    key("DNS_CHECK", 0, 0, Key("type = \"dns\"")).block(Context::DnsCheck).many(),
    key("MISC_CHECK", 0, 0, Key("type = \"script\"")).block(Context::MiscCheck).many(),
    key("UDP_CHECK", 0, 0, Key("type = \"udp\"")).block(Context::UdpCheck).many(),
    key("PING_CHECK", 0, 0, Key("type = \"ping\"")).block(Context::PingCheck).many(),
    key("FILE_CHECK", 0, 0, Key("type = \"file\"")).block(Context::FileCheck).many(),
    key(
        "BFD_CHECK",
        0,
        0,
        NotSupported("there is no BFD; a tcp or ping check with a short interval is nearly as fast"),
    )
    .block(Context::BfdCheck)
    .many(),
];

pub(in super::super) const CONNECTION: &[Keyword] = &[
    key("connect_ip", 1, 1, Key("check.connect")),
    key("connect_port", 1, 1, Key("check.connect")),
    key("bindto", 1, 1, Key("check.source_address")),
    key("bind_port", 1, 1, NotSupported("a fixed source port cannot be used twice within a minute")),
    key(
        "bind_if",
        1,
        1,
        NotSupported("the route to the real server says which interface is used; use bindto"),
    ),
    key("connect_timeout", 1, 1, Key("check.timeout")),
    key("fwmark", 1, 1, Key("check.fwmark")),
];

pub(in super::super) const COMMON: &[Keyword] = &[
    key("retry", 1, 1, Key("check.retries")).alias(&["nb_get_retry"]),
    key("delay_before_retry", 1, 1, Key("check.retry_delay")),
    key("warmup", 1, 1, Key("check.warmup")),
    key("delay_loop", 1, 1, Key("check.interval")),
    key("alpha", 0, 1, Otherwise("real_server.alpha", "it is the real server that starts down")),
    key("log_all_failures", 0, 1, Unneeded("`lbctl list --checks` shows each check's last result")),
];

pub(in super::super) const HTTP: &[Keyword] = &[
    key("url", 0, 0, Otherwise("check.path", "each URL is a check of its own; all must pass"))
        .block(Context::Url)
        .many(),
    key("virtualhost", 1, 1, Key("check.host")),
    key("http_protocol", 1, 1, Key("check.http_version")),
    key("enable_sni", 0, 1, Key("check.sni")),
    key("sni_name", 1, 1, Key("check.sni")),
    key("fast_recovery", 0, 1, Unneeded("each URL is a check of its own, so that all are asked at once")),
    key("tls_compliant", 0, 1, Unneeded("a connection closed without notice does not fail a check")),
];

const PCRE: &str = "regular expressions have no such limit, and no backtracking that would need it";

pub(in super::super) const URL: &[Keyword] = &[
    key("path", 1, 1, Key("check.path")),
    key("digest", 1, 1, Key("check.digest")),
    key("status_code", 1, ANY, Key("check.status")),
    key("virtualhost", 1, 1, Key("check.host")),
    key("regex", 1, 1, Key("check.body_regex")),
    key("regex_no_match", 0, 0, NotSupported("a check cannot ask that a text be absent")),
    key("regex_options", 1, ANY, Otherwise("check.body_regex", "written into the expression")),
    key("regex_min_offset", 1, 1, NotSupported("the whole body is searched")),
    key("regex_max_offset", 1, 1, NotSupported("the whole body is searched")),
    key("regex_stack", 2, 2, Unneeded(PCRE)),
    key("tls_compliant", 0, 1, Unneeded("a connection closed without notice does not fail a check")),
];

pub(in super::super) const SMTP: &[Keyword] = &[
    key("helo_name", 1, 1, Key("check.helo")),
    key("host", 0, 0, Otherwise("check.connect", "the old block names where to connect to"))
        .block(Context::SmtpHost)
        .many(),
];

pub(in super::super) const DNS: &[Keyword] =
    &[key("type", 1, 1, Key("check.record_type")), key("name", 1, 1, Key("check.name"))];

pub(in super::super) const MISC: &[Keyword] = &[
    key("misc_path", 1, 1, Key("check.command")).command(),
    key("misc_timeout", 1, 1, Key("check.timeout")),
    key("misc_dynamic", 0, 0, Key("check.weight_by_exit")),
    key("user", 1, 2, Key("check.user")),
];

pub(in super::super) const UDP: &[Keyword] = &[
    key("payload", 1, ANY, Key("check.payload")),
    key("require_reply", 0, ANY, Key("check.expect")),
    key("min_reply_length", 1, 1, NotSupported("a reply is compared with `expect`, of whatever length")),
    key("max_reply_length", 1, 1, NotSupported("a reply is compared with `expect`, of whatever length")),
];

pub(in super::super) const FILE: &[Keyword] = &[
    key("track_file", 1, 1, Key("check.file")),
    key("weight", 1, 2, Key("check.weight")),
    key("dynamic", 0, 0, Unneeded("keepalived does not know it either, though its manual has it")),
];

pub(in super::super) const BFD: &[Keyword] = &[
    key("name", 1, 1, NotSupported("there is no BFD")),
    key("alpha", 0, 1, NotSupported("there is no BFD")),
];

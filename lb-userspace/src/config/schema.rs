//! The words of the configuration file: its sections and keys, and what to say about words that are none.

use super::vrrp::schema as vrrp;

/// A table of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// As an operator would write it.
    pub(super) header: &'static str,
    pub(super) keys: &'static [Key],
}

/// A key of a section.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// A valid line for it.
    pub(super) example: &'static str,
}

pub(super) const ROOT: Section = Section {
    header: "the top of the file",
    keys: &[
        Key { name: "director", example: "[director]" },
        Key { name: "notifications", example: "[notifications]" },
        Key { name: "virtual_server", example: "[[virtual_server]]" },
        Key { name: "vrrp", example: "[vrrp]" },
        Key { name: "vrrp_instance", example: "[[vrrp_instance]]" },
        Key { name: "vrrp_sync_group", example: "[[vrrp_sync_group]]" },
        Key { name: "vrrp_script", example: "[[vrrp_script]]" },
        Key { name: "vrrp_track_process", example: "[[vrrp_track_process]]" },
        Key { name: "vrrp_track_file", example: "[[vrrp_track_file]]" },
        Key { name: "virtual_server_group", example: "[[virtual_server_group]]" },
    ],
};

pub(super) const DIRECTOR: Section = Section {
    header: "[director]",
    keys: &[
        Key { name: "router_id", example: "router_id = \"lvs1\"" },
        Key { name: "interfaces", example: "interfaces = [\"eth0\"]" },
        Key { name: "xdp_mode", example: "xdp_mode = \"auto\"" },
        Key { name: "max_connections", example: "max_connections = 1_000_000" },
        Key { name: "max_connections_ipv6", example: "max_connections_ipv6 = 250_000" },
        Key { name: "manage_addresses", example: "manage_addresses = true" },
        Key { name: "tcp_timeout", example: "tcp_timeout = \"15m\"" },
        Key { name: "tcp_fin_timeout", example: "tcp_fin_timeout = \"2m\"" },
        Key { name: "udp_timeout", example: "udp_timeout = \"5m\"" },
        Key { name: "expire_quiescent_template", example: "expire_quiescent_template = true" },
        Key { name: "expire_nodest_conn", example: "expire_nodest_conn = true" },
    ],
};

pub(super) const VIRTUAL_SERVER: Section = Section {
    header: "[[virtual_server]]",
    keys: &[
        Key { name: "address", example: "address = \"192.168.4.15:80\"" },
        Key { name: "protocol", example: "protocol = \"tcp\"" },
        Key { name: "scheduler", example: "scheduler = \"wrr\"" },
        Key { name: "forwarding", example: "forwarding = \"dr\"" },
        Key { name: "quorum_up", example: "quorum_up = \"/usr/local/bin/announce 192.168.4.15\"" },
        Key { name: "quorum_down", example: "quorum_down = \"/usr/local/bin/withdraw 192.168.4.15\"" },
        Key { name: "group", example: "group = \"web\"" },
        Key { name: "scheduler_flags", example: "scheduler_flags = [\"mh-fallback\", \"mh-port\"]" },
        Key { name: "persistence_timeout", example: "persistence_timeout = \"6m\"" },
        Key { name: "persistence_granularity", example: "persistence_granularity = \"255.255.255.0\"" },
        Key { name: "one_packet", example: "one_packet = true" },
        Key { name: "rate_limit", example: "rate_limit = 100" },
        Key { name: "allow", example: "allow = [\"10.0.0.0/8\"]" },
        Key { name: "deny", example: "deny = [\"10.1.2.0/24\"]" },
        Key { name: "on_failure", example: "on_failure = \"reset\"" },
        Key { name: "real_server", example: "[[virtual_server.real_server]]" },
        Key { name: "check", example: "[[virtual_server.check]]" },
        Key { name: "check_interval", example: "check_interval = \"6s\"" },
        Key { name: "check_timeout", example: "check_timeout = \"3s\"" },
        Key { name: "check_retries", example: "check_retries = 1" },
        Key { name: "check_retry_delay", example: "check_retry_delay = \"1s\"" },
        Key { name: "check_warmup", example: "check_warmup = \"5s\"" },
        Key { name: "rise", example: "rise = 1" },
        Key { name: "fall", example: "fall = 1" },
        Key { name: "fast_interval", example: "fast_interval = \"1s\"" },
        Key { name: "alpha", example: "alpha = true" },
        Key { name: "omega", example: "omega = true" },
        Key { name: "quorum", example: "quorum = 1" },
        Key { name: "hysteresis", example: "hysteresis = 0" },
        Key { name: "sorry_server", example: "sorry_server = \"192.168.4.250:80\"" },
        Key { name: "sorry_server_inhibit", example: "sorry_server_inhibit = true" },
        Key { name: "min_up", example: "min_up = 50" },
        Key { name: "slow_start", example: "slow_start = \"30s\"" },
        Key { name: "ha_suspend", example: "ha_suspend = true" },
        Key { name: "inhibit_on_failure", example: "inhibit_on_failure = true" },
    ],
};

pub(super) const REAL_SERVER: Section = Section {
    header: "[[virtual_server.real_server]]",
    keys: &[
        Key { name: "address", example: "address = \"192.168.4.100:80\"" },
        Key { name: "weight", example: "weight = 100" },
        Key { name: "forwarding", example: "forwarding = \"nat\"" },
        Key { name: "notify_up", example: "notify_up = \"/usr/local/bin/web up\"" },
        Key { name: "notify_down", example: "notify_down = \"/usr/local/bin/web down\"" },
        Key { name: "upper_threshold", example: "upper_threshold = 1000" },
        Key { name: "lower_threshold", example: "lower_threshold = 750" },
        Key { name: "check", example: "[[virtual_server.real_server.check]]" },
        Key { name: "inhibit_on_failure", example: "inhibit_on_failure = true" },
        Key { name: "alpha", example: "alpha = true" },
        Key { name: "slow_start", example: "slow_start = \"30s\"" },
    ],
};

pub(super) const VIRTUAL_SERVER_GROUP: Section = Section {
    header: "[[virtual_server_group]]",
    keys: &[
        Key { name: "name", example: "name = \"web\"" },
        Key { name: "addresses", example: "addresses = [\"192.168.4.15:80\", \"192.168.4.20-30:80\"]" },
    ],
};

const CHECK: &[Key] = &[
    Key { name: "type", example: "type = \"http\"" },
    Key { name: "interval", example: "interval = \"6s\"" },
    Key { name: "timeout", example: "timeout = \"3s\"" },
    Key { name: "retries", example: "retries = 1" },
    Key { name: "retry_delay", example: "retry_delay = \"1s\"" },
    Key { name: "warmup", example: "warmup = \"5s\"" },
    Key { name: "rise", example: "rise = 1" },
    Key { name: "fall", example: "fall = 1" },
    Key { name: "fast_interval", example: "fast_interval = \"1s\"" },
    Key { name: "connect", example: "connect = \"192.168.4.100:8080\"" },
    Key { name: "source_address", example: "source_address = \"192.168.4.2\"" },
    Key { name: "fwmark", example: "fwmark = 1" },
    Key { name: "weight", example: "weight = -10" },
    Key { name: "method", example: "method = \"GET\"" },
    Key { name: "path", example: "path = \"/health\"" },
    Key { name: "host", example: "host = \"www.example.org\"" },
    Key { name: "status", example: "status = [\"200-299\"]" },
    Key { name: "digest", example: "digest = \"9b3a0c85a887a256d6939da88aabd8cd\"" },
    Key { name: "body", example: "body = \"all is well\"" },
    Key { name: "body_regex", example: "body_regex = \"load: [0-4]\\\\.\"" },
    Key { name: "headers", example: "headers = { accept = \"text/html\" }" },
    Key { name: "http_version", example: "http_version = \"1.1\"" },
    Key { name: "verify", example: "verify = true" },
    Key { name: "ca_file", example: "ca_file = \"/etc/lbctl/ca.pem\"" },
    Key { name: "sni", example: "sni = \"www.example.org\"" },
    Key { name: "follow", example: "follow = true" },
    Key { name: "helo", example: "helo = \"lvs1.example.org\"" },
    Key { name: "record_type", example: "record_type = \"A\"" },
    Key { name: "name", example: "name = \"www.example.org\"" },
    Key { name: "expect", example: "expect = \"192.0.2.1\"" },
    Key { name: "payload", example: "payload = \"hex:0aff\"" },
    Key { name: "command", example: "command = \"/usr/local/bin/check-web\"" },
    Key { name: "user", example: "user = \"nobody\"" },
    Key { name: "weight_by_exit", example: "weight_by_exit = true" },
    Key { name: "file", example: "file = \"/run/web1.weight\"" },
];

pub(super) const VIRTUAL_SERVER_CHECK: Section = Section { header: "[[virtual_server.check]]", keys: CHECK };

pub(super) const REAL_SERVER_CHECK: Section =
    Section { header: "[[virtual_server.real_server.check]]", keys: CHECK };

pub(super) const SECTIONS: &[&Section] = &[
    &ROOT,
    &DIRECTOR,
    &super::notifications::SECTION,
    &VIRTUAL_SERVER,
    &VIRTUAL_SERVER_GROUP,
    &REAL_SERVER,
    &VIRTUAL_SERVER_CHECK,
    &vrrp::VRRP,
    &vrrp::INSTANCE,
    &vrrp::SYNC_GROUP,
    &vrrp::SCRIPT,
    &vrrp::PROCESS,
    &vrrp::FILE,
];
impl Section {
    pub(super) fn find(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }
}

/// What to say about a key that its section does not have.
#[derive(Debug)]
pub(super) struct UnknownKey {
    pub(super) message: String,
    pub(super) help: String,
    /// The key that was meant, if it is of the same section.
    pub(super) meant: Option<&'static str>,
}

/// Words of keepalived, ipvsadm and other balancers, and our key of the same meaning in the section at hand.
const ALIASES: &[(&str, &str)] = &[
    ("global_defs", "director"),
    ("global", "director"),
    ("lvs_id", "router_id"),
    ("notification", "notifications"),
    ("notification_email", "email"),
    ("notification_email_from", "email_from"),
    ("smtp_helo_name", "smtp_helo"),
    ("smtp_connect_timeout", "smtp_timeout"),
    ("notify_fifo", "fifo"),
    ("notify_fifo_script", "fifo_script"),
    ("vrrp_notify_fifo", "vrrp_fifo"),
    ("vrrp_notify_fifo_script", "vrrp_fifo_script"),
    ("lvs_notify_fifo", "lvs_fifo"),
    ("lvs_notify_fifo_script", "lvs_fifo_script"),
    ("virtual_service", "virtual_server"),
    ("service", "virtual_server"),
    ("lb_algo", "scheduler"),
    ("lvs_sched", "scheduler"),
    ("algorithm", "scheduler"),
    ("lb_kind", "forwarding"),
    ("lvs_method", "forwarding"),
    ("server", "real_server"),
    ("servers", "real_server"),
    ("destination", "real_server"),
    ("ip", "address"),
    ("vip", "address"),
    ("rip", "address"),
    ("host", "address"),
    ("listen", "address"),
    ("uthreshold", "upper_threshold"),
    ("lthreshold", "lower_threshold"),
    ("ops", "one_packet"),
    ("persistent", "persistence_timeout"),
    ("netmask", "persistence_granularity"),
    ("vsg", "virtual_server_group"),
    ("delay_loop", "check_interval"),
    ("delay_loop", "interval"),
    ("inter", "interval"),
    ("retry", "check_retries"),
    ("retry", "retries"),
    ("nb_get_retry", "retries"),
    ("delay_before_retry", "check_retry_delay"),
    ("delay_before_retry", "retry_delay"),
    ("warmup", "check_warmup"),
    ("connect_timeout", "check_timeout"),
    ("connect_timeout", "timeout"),
    ("fastinter", "fast_interval"),
    ("connect_ip", "connect"),
    ("connect_port", "connect"),
    ("bindto", "source_address"),
    ("virtualhost", "host"),
    ("status_code", "status"),
    ("http_protocol", "http_version"),
    ("regex", "body_regex"),
    ("sni_name", "sni"),
    ("helo_name", "helo"),
    ("require_reply", "expect"),
    ("misc_path", "command"),
    ("misc_timeout", "timeout"),
    ("misc_dynamic", "weight_by_exit"),
    ("track_file", "file"),
    ("url", "path"),
    ("slowstart", "slow_start"),
    ("health_check", "check"),
    ("TCP_CHECK", "check"),
    ("HTTP_GET", "check"),
    ("SSL_GET", "check"),
    ("MISC_CHECK", "check"),
    ("SMTP_CHECK", "check"),
    ("DNS_CHECK", "check"),
    ("UDP_CHECK", "check"),
    ("PING_CHECK", "check"),
    ("FILE_CHECK", "check"),
];

/// Words of keepalived for what this version does not do, and what to do instead.
const NOT_SUPPORTED: &[(&str, &str)] = &[
    ("persistence_engine", "remove it: persistence goes by the client's address"),
    (
        "sorry_server_lvs_method",
        "remove it: a sorry server is reached as the virtual server's `forwarding` says",
    ),
    ("smtp_alert", "remove it: mail is sent about everything if [notifications] has an email"),
    ("fwmark", "name the addresses in a [[virtual_server_group]], and write `group` instead of `address`"),
    ("hashed", "write scheduler = \"sh\" or \"mh\""),
    ("flag-1", "write scheduler_flags = [\"sh-fallback\"], or \"mh-fallback\""),
    ("flag-2", "write scheduler_flags = [\"sh-port\"], or \"mh-port\""),
    ("sh-port", "write scheduler_flags = [\"sh-port\"]"),
    ("sh-fallback", "write scheduler_flags = [\"sh-fallback\"]"),
    ("mh-port", "write scheduler_flags = [\"mh-port\"]"),
    ("mh-fallback", "write scheduler_flags = [\"mh-fallback\"]"),
    ("lvs_sync_daemon", "remove it"),
    ("lvs_timeouts", "write tcp_timeout, tcp_fin_timeout and udp_timeout under [director]"),
    ("bfd_instance", "remove it"),
    ("BFD_CHECK", "remove it"),
    ("bind_port", "remove it: the kernel chooses the port"),
    ("bind_if", "remove it, and write source_address or fwmark instead"),
    ("static_ipaddress", "configure the address with the system's network configuration"),
    ("static_routes", "configure the route with the system's network configuration"),
    ("static_rules", "configure the rule with the system's network configuration"),
];

/// Finds out what `key`, which `section` does not have, was meant to be.
pub(super) fn unknown_key(section: &Section, key: &str) -> UnknownKey {
    let alias =
        ALIASES.iter().chain(vrrp::ALIASES).find(|(word, ours)| *word == key && section.find(ours).is_some());
    if let Some(&(_, ours)) = alias {
        let example = section.find(ours).map_or("", |key| key.example);
        return UnknownKey {
            message: format!("unknown key in {}", section.header),
            help: format!("it is called `{ours}` here: write {example}"),
            meant: Some(ours),
        };
    }
    if key == "port" && section.find("address").is_some() {
        return UnknownKey {
            message: format!("unknown key in {}", section.header),
            help: "remove it and write the port after the address: address = \"192.168.4.15:80\"".to_owned(),
            meant: None,
        };
    }
    if key == "ip_family" {
        return UnknownKey {
            message: format!("unknown key in {}", section.header),
            help: "remove it: the address says whether it is IPv4 or IPv6".to_owned(),
            meant: None,
        };
    }
    if let Some((_, instead)) = NOT_SUPPORTED.iter().chain(vrrp::NOT_SUPPORTED).find(|(word, _)| *word == key)
    {
        return UnknownKey {
            message: "is not supported by this version".to_owned(),
            help: (*instead).to_owned(),
            meant: None,
        };
    }
    let plural = section.names().find(|name| name.strip_suffix('s') == Some(key));
    if plural.is_none()
        && let Some((home, found)) =
            SECTIONS.iter().find_map(|home| home.find(key).map(|found| (home, found)))
    {
        return misplaced(section, home, found);
    }
    let alias = ALIASES.iter().filter(|(word, _)| *word == key);
    if let Some((home, ours)) = alias
        .filter_map(|(_, ours)| SECTIONS.iter().find_map(|home| Some((home, home.find(ours)?))))
        .find(|(home, _)| home.header != ROOT.header)
    {
        return UnknownKey {
            message: format!("belongs in {}, where it is called `{}`", home.header, ours.name),
            help: format!("write {} under {}", ours.example, home.header),
            meant: None,
        };
    }
    if let Some(meant) = plural.or_else(|| closest(key, section.names())) {
        let example = section.find(meant).map_or("", |key| key.example);
        return UnknownKey {
            message: format!("unknown key in {}", section.header),
            help: format!("did you mean `{meant}`? write {example}"),
            meant: Some(meant),
        };
    }
    let names: Vec<_> = section.names().map(|name| format!("`{name}`")).collect();
    UnknownKey {
        message: format!("unknown key in {}", section.header),
        help: format!("remove it; the keys here are {}", names.join(", ")),
        meant: None,
    }
}

/// `found` of the section `home` was written in `section`.
fn misplaced(section: &Section, home: &Section, found: &Key) -> UnknownKey {
    let help = if found.example.starts_with('[') {
        format!("write {} as a section of its own", found.example)
    } else if section.header == REAL_SERVER.header {
        // TOML gives every line after a header to that header: the usual cause.
        format!("move it above the first {} of its {}", section.header, home.header)
    } else {
        format!("move it under {}", home.header)
    };
    UnknownKey {
        message: format!("belongs in {}, not in {}", home.header, section.header),
        help,
        meant: None,
    }
}

/// The candidate that `word` is probably a misspelling of: at most a third of its letters differ, case and the
/// choice of `-` or `_` aside.
pub(super) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > 64 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= (length / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

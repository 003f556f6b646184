//! The sections of VRRP and their keys.

mod groups;
mod instance;

use super::super::schema::{Key, Section, key};
pub(in crate::config) use groups::{FILE, PROCESS, SCRIPT, SYNC_GROUP};
pub(in crate::config) use instance::INSTANCE;

pub(in crate::config) const VRRP: Section = Section {
    header: "[vrrp]",
    keys: &[
        key(
            "version",
            "version = 2",
            "integer",
            "`2`",
            "2, 3",
            "Of IPv4 instances that do not write theirs. IPv6 is version 3.",
        ),
        key(
            "garp_delay",
            "garp_delay = \"5s\"",
            "string",
            "`\"5s\"`",
            "to 1000 s",
            "After becoming master, the second burst of gratuitous ARPs (IPv6: unsolicited neighbour \
             advertisements) is sent so much later. `\"0s\"`: there is none.",
        ),
        key("garp_repeat", "garp_repeat = 5", "integer", "`5`", "1 to 100", "Per address and burst."),
        key(
            "garp_refresh",
            "garp_refresh = \"60s\"",
            "string",
            "`\"0s\"`",
            "to a day",
            "How often a master repeats them. `\"0s\"`: never.",
        ),
        key(
            "garp_refresh_repeat",
            "garp_refresh_repeat = 1",
            "integer",
            "`1`",
            "1 to 100",
            "Per address and repetition.",
        ),
        key(
            "garp_lower_priority_delay",
            "garp_lower_priority_delay = \"5s\"",
            "string",
            "`garp_delay`",
            "to 1000 s",
            "As `garp_delay`, after someone else was master too.",
        ),
        key(
            "garp_lower_priority_repeat",
            "garp_lower_priority_repeat = 5",
            "integer",
            "`garp_repeat`",
            "0 to 100",
            "As `garp_repeat`, after someone else was master too.",
        ),
        key(
            "garp_interval",
            "garp_interval = \"1ms\"",
            "string",
            "`\"0s\"`",
            "to 1 s",
            "Between two of them.",
        ),
        key(
            "startup_delay",
            "startup_delay = \"5s\"",
            "string",
            "`\"0s\"`",
            "to a day",
            "After the daemon's start this director stays out of every election for so long.",
        ),
        key(
            "compare_configuration",
            "compare_configuration = true",
            "boolean",
            "`true`",
            "",
            "Whether directors tell each other a digest of what must be the same on them, and warn when \
             it is not. keepalived does not take part.",
        ),
        key(
            "compare_port",
            "compare_port = 3112",
            "integer",
            "`3112`",
            "1 to 65,535",
            "The UDP port on which they do.",
        ),
    ],
};

/// An element of `virtual_addresses` or `excluded_addresses`, written as a table.
pub(in crate::config) const ADDRESS: Section = Section {
    header: "a virtual address",
    keys: &[
        Key::part("address", "{ address = \"192.168.4.15/24\" }"),
        Key::part("interface", "{ address = \"192.168.4.15/24\", interface = \"eth0\" }"),
        Key::part("scope", "{ address = \"192.168.4.15/24\", scope = \"global\" }"),
        Key::part("label", "{ address = \"192.168.4.15/24\", label = \"eth0:1\" }"),
    ],
};

/// An element of the `track_…` arrays, written as a table.
pub(in crate::config) const TRACKED: Section = Section {
    header: "what is tracked",
    keys: &[
        Key::part("name", "{ name = \"check_nginx\" }"),
        Key::part("weight", "{ name = \"check_nginx\", weight = -20 }"),
        Key::part("reverse", "{ name = \"check_nginx\", weight = -20, reverse = true }"),
    ],
};

/// Words of keepalived and our key of the same meaning.
pub(in crate::config) const ALIASES: &[(&str, &str)] = &[
    ("advert_int", "advert_interval"),
    ("virtual_ipaddress", "virtual_addresses"),
    ("virtual_ip", "virtual_addresses"),
    ("vips", "virtual_addresses"),
    ("virtual_ipaddress_excluded", "excluded_addresses"),
    ("vrid", "virtual_router_id"),
    ("unicast_src_ip", "source_address"),
    ("mcast_src_ip", "source_address"),
    ("unicast_peer", "unicast_peers"),
    ("dev", "interface"),
    ("track_interface", "track_interfaces"),
    ("track_script", "track_scripts"),
    ("track_process", "track_processes"),
    ("track_file", "track_files"),
    ("garp_master_delay", "garp_delay"),
    ("garp_master_repeat", "garp_repeat"),
    ("garp_master_refresh", "garp_refresh"),
    ("garp_master_refresh_repeat", "garp_refresh_repeat"),
    ("garp_lower_prio_delay", "garp_lower_priority_delay"),
    ("garp_lower_prio_repeat", "garp_lower_priority_repeat"),
    ("vrrp_garp_master_delay", "garp_delay"),
    ("vrrp_garp_master_repeat", "garp_repeat"),
    ("vrrp_garp_master_refresh", "garp_refresh"),
    ("vrrp_garp_master_refresh_repeat", "garp_refresh_repeat"),
    ("vrrp_garp_lower_prio_delay", "garp_lower_priority_delay"),
    ("vrrp_garp_lower_prio_repeat", "garp_lower_priority_repeat"),
    ("vrrp_garp_interval", "garp_interval"),
    ("vrrp_startup_delay", "startup_delay"),
    ("vrrp_version", "version"),
    ("smtp_alert", "email_alert"),
    ("script", "command"),
    ("group", "members"),
    ("init_file", "init"),
    ("sync_group_tracking_weight", "weighted_tracking"),
    ("track_file", "vrrp_track_file"),
];

/// Words of keepalived for what is not done, and what to do instead.
pub(in crate::config) const NOT_SUPPORTED: &[(&str, &str)] = &[
    ("authentication", "write auth_pass = \"…\"; auth_type AH is not supported"),
    ("auth_type", "remove it: with auth_pass it is PASS; AH is not supported"),
    ("auth_hmac", "remove it; guard the network that the directors share instead"),
    ("no_accept", "write accept = false"),
    ("preempt", "remove it: preemption is on unless nopreempt = true"),
    ("strict_mode", "remove it"),
    ("vrrp_strict", "remove it"),
    ("use_ipvlan", "remove it: the virtual addresses are on the interface itself"),
    ("track_bfd", "remove it; a short advert_interval with version = 3 finds a dead director as fast"),
    ("lvs_sync_daemon_interface", "remove it"),
    ("dont_track_primary", "remove it: an instance whose own interface is down cannot be master"),
    ("native_ipv6", "remove it: the addresses say whether it is IPv4 or IPv6"),
    ("promote_secondaries", "remove it"),
    ("vrrp_skip_check_adv_addr", "remove it: the address list is compared only when it changes"),
];

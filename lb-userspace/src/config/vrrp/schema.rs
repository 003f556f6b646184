//! The sections of VRRP and their keys.

use super::super::schema::{Key, Section};

const fn key(name: &'static str, example: &'static str) -> Key {
    Key { name, example }
}

pub(in crate::config) const VRRP: Section = Section {
    header: "[vrrp]",
    keys: &[
        key("version", "version = 2"),
        key("garp_delay", "garp_delay = \"5s\""),
        key("garp_repeat", "garp_repeat = 5"),
        key("garp_refresh", "garp_refresh = \"60s\""),
        key("garp_refresh_repeat", "garp_refresh_repeat = 1"),
        key("garp_lower_priority_delay", "garp_lower_priority_delay = \"5s\""),
        key("garp_lower_priority_repeat", "garp_lower_priority_repeat = 5"),
        key("garp_interval", "garp_interval = \"1ms\""),
        key("startup_delay", "startup_delay = \"5s\""),
        key("compare_configuration", "compare_configuration = true"),
        key("compare_port", "compare_port = 3112"),
    ],
};

pub(in crate::config) const INSTANCE: Section = Section {
    header: "[[vrrp_instance]]",
    keys: &[
        key("name", "name = \"VI_1\""),
        key("interface", "interface = \"eth0\""),
        key("virtual_router_id", "virtual_router_id = 51"),
        key("state", "state = \"backup\""),
        key("priority", "priority = 100"),
        key("advert_interval", "advert_interval = \"1s\""),
        key("version", "version = 2"),
        key("auth_pass", "auth_pass = \"1111\""),
        key("virtual_addresses", "virtual_addresses = [\"192.168.4.15/24\"]"),
        key("excluded_addresses", "excluded_addresses = [\"192.168.4.16/24\"]"),
        key("source_address", "source_address = \"192.168.4.2\""),
        key("unicast_peers", "unicast_peers = [\"192.168.4.3\"]"),
        key("unicast_ttl", "unicast_ttl = 255"),
        key("nopreempt", "nopreempt = false"),
        key("preempt_delay", "preempt_delay = \"0s\""),
        key("accept", "accept = true"),
        key("use_vmac", "use_vmac = false"),
        key("garp_delay", "garp_delay = \"5s\""),
        key("garp_repeat", "garp_repeat = 5"),
        key("garp_refresh", "garp_refresh = \"60s\""),
        key("garp_refresh_repeat", "garp_refresh_repeat = 1"),
        key("garp_lower_priority_delay", "garp_lower_priority_delay = \"5s\""),
        key("garp_lower_priority_repeat", "garp_lower_priority_repeat = 5"),
        key("track_interfaces", "track_interfaces = [\"eth1\"]"),
        key("track_scripts", "track_scripts = [\"check_nginx\"]"),
        key("track_processes", "track_processes = [\"nginx\"]"),
        key("track_files", "track_files = [\"maintenance\"]"),
        key("track_virtual_servers", "track_virtual_servers = [\"192.168.4.15:80/tcp\"]"),
        key("virtual_routes", "virtual_routes = [\"10.0.0.0/8 via 192.168.4.254\"]"),
        key("virtual_rules", "virtual_rules = [\"from 192.168.4.15 lookup 100 priority 1000\"]"),
        key("notify", "notify = \"/usr/local/bin/vrrp-changed\""),
        key("notify_master", "notify_master = \"/usr/local/bin/vrrp-master\""),
        key("notify_backup", "notify_backup = \"/usr/local/bin/vrrp-backup\""),
        key("notify_fault", "notify_fault = \"/usr/local/bin/vrrp-fault\""),
        key("notify_stop", "notify_stop = \"/usr/local/bin/vrrp-stop\""),
        key("email_alert", "email_alert = false"),
    ],
};

/// An element of `virtual_addresses` or `excluded_addresses`, written as a table.
pub(in crate::config) const ADDRESS: Section = Section {
    header: "a virtual address",
    keys: &[
        key("address", "{ address = \"192.168.4.15/24\" }"),
        key("interface", "{ address = \"192.168.4.15/24\", interface = \"eth0\" }"),
        key("scope", "{ address = \"192.168.4.15/24\", scope = \"global\" }"),
        key("label", "{ address = \"192.168.4.15/24\", label = \"eth0:1\" }"),
    ],
};

/// An element of the `track_…` arrays, written as a table.
pub(in crate::config) const TRACKED: Section = Section {
    header: "what is tracked",
    keys: &[
        key("name", "{ name = \"check_nginx\" }"),
        key("weight", "{ name = \"check_nginx\", weight = -20 }"),
        key("reverse", "{ name = \"check_nginx\", weight = -20, reverse = true }"),
    ],
};

pub(in crate::config) const SYNC_GROUP: Section = Section {
    header: "[[vrrp_sync_group]]",
    keys: &[
        key("name", "name = \"VG_1\""),
        key("members", "members = [\"VI_1\", \"VI_2\"]"),
        key("track_interfaces", "track_interfaces = [\"eth1\"]"),
        key("track_scripts", "track_scripts = [\"check_nginx\"]"),
        key("track_processes", "track_processes = [\"nginx\"]"),
        key("track_files", "track_files = [\"maintenance\"]"),
        key("track_virtual_servers", "track_virtual_servers = [\"192.168.4.15:80/tcp\"]"),
        key("weighted_tracking", "weighted_tracking = false"),
        key("notify", "notify = \"/usr/local/bin/vrrp-changed\""),
        key("notify_master", "notify_master = \"/usr/local/bin/vrrp-master\""),
        key("notify_backup", "notify_backup = \"/usr/local/bin/vrrp-backup\""),
        key("notify_fault", "notify_fault = \"/usr/local/bin/vrrp-fault\""),
        key("notify_stop", "notify_stop = \"/usr/local/bin/vrrp-stop\""),
        key("email_alert", "email_alert = false"),
    ],
};

pub(in crate::config) const SCRIPT: Section = Section {
    header: "[[vrrp_script]]",
    keys: &[
        key("name", "name = \"check_nginx\""),
        key("command", "command = \"/usr/local/bin/check-nginx\""),
        key("interval", "interval = \"1s\""),
        key("timeout", "timeout = \"1s\""),
        key("rise", "rise = 1"),
        key("fall", "fall = 1"),
        key("weight", "weight = 0"),
        key("user", "user = \"nobody\""),
        key("init_fail", "init_fail = false"),
    ],
};

pub(in crate::config) const PROCESS: Section = Section {
    header: "[[vrrp_track_process]]",
    keys: &[
        key("name", "name = \"nginx\""),
        key("process", "process = \"nginx\""),
        key("weight", "weight = 0"),
        key("quorum", "quorum = 1"),
        key("delay", "delay = \"0s\""),
    ],
};

pub(in crate::config) const FILE: Section = Section {
    header: "[[vrrp_track_file]]",
    keys: &[
        key("name", "name = \"maintenance\""),
        key("file", "file = \"/run/maintenance\""),
        key("weight", "weight = 1"),
        key("init", "init = 0"),
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
    ("vmac_xmit_base", "remove it"),
    ("track_bfd", "remove it; a short advert_interval with version = 3 finds a dead director as fast"),
    ("lvs_sync_daemon_interface", "remove it"),
    ("dont_track_primary", "remove it: an instance whose own interface is down cannot be master"),
    ("native_ipv6", "remove it: the addresses say whether it is IPv4 or IPv6"),
    ("promote_secondaries", "remove it"),
    ("vrrp_skip_check_adv_addr", "remove it: the address list is compared only when it changes"),
];

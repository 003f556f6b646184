//! Outside of blocks, and `global_defs`.

use super::Becomes::{Key, NotSupported, Otherwise, Unneeded};
use super::{ANY, Context, Keyword, key};

const NAMESPACE: &str = "start lbctl in that namespace: ip netns exec NAME lbctl up";
const HOST_NETWORK: &str =
    "configure it with the system's network configuration, which keeps it when lbctl is down";
const SNMP: &str = "there is no SNMP agent; `lbctl list --json` has the numbers";
const DBUS: &str = "there is no D-Bus interface; use `lbctl list --json`, notify scripts or a FIFO";

pub(in super::super) const ROOT: &[Keyword] = &[
    key("global_defs", 0, 0, Key("[director], [notifications]")).block(Context::GlobalDefs).many(),
    key("net_namespace", 1, 1, NotSupported(NAMESPACE)),
    key("net_namespace_ipvs", 0, 1, NotSupported(NAMESPACE)),
    key("namespace_with_ipsets", 0, 0, Unneeded("no ipsets are used")),
    key("use_pid_dir", 0, 0, Unneeded("runtime files have a directory of their own")),
    key("instance", 1, 1, NotSupported("name the instance on the command line: lbctl up --instance NAME")),
    key("child_wait_time", 1, 1, Unneeded("there is one process, which ends when it has undone everything")),
    key("linkbeat_use_polling", 0, 0, Unneeded("the kernel reports every change of a link")),
    key("linkbeat_interfaces", 0, 0, Unneeded("the kernel reports every change of a link"))
        .block(Context::Lines),
    key(
        "interface_up_down_delays",
        0,
        0,
        NotSupported(
            "an interface that goes down counts at once; use a larger advert_interval if links bounce",
        ),
    )
    .block(Context::Lines),
    key("track_group", 1, 1, NotSupported("it serves static addresses, which are not put on the host"))
        .block(Context::TrackGroup)
        .many(),
    key("static_ipaddress", 0, 0, NotSupported(HOST_NETWORK)).block(Context::Lines).many(),
    key("static_routes", 0, 0, NotSupported(HOST_NETWORK)).block(Context::Lines).many(),
    key("static_rules", 0, 0, NotSupported(HOST_NETWORK)).block(Context::Lines).many(),
    key("garp_group", 0, 0, NotSupported("gratuitous ARP is not held back; the kernel queues it"))
        .block(Context::GarpGroup)
        .many(),
    key("vrrp_script", 1, 1, Key("[[vrrp_script]]")).block(Context::VrrpScript).many(),
    key("vrrp_track_process", 1, 1, Key("[[vrrp_track_process]]")).block(Context::TrackProcess).many(),
    key("track_file", 1, 1, Key("[[vrrp_track_file]]"))
        .alias(&["vrrp_track_file"])
        .block(Context::TrackFile)
        .many(),
    key("vrrp_sync_group", 1, 1, Key("[[vrrp_sync_group]]")).block(Context::SyncGroup).many(),
    key("vrrp_instance", 1, 1, Key("[[vrrp_instance]]")).block(Context::Instance).many(),
    key(
        "bfd_instance",
        1,
        1,
        NotSupported("there is no BFD; VRRP with a short advert_interval notices a dead peer as fast"),
    )
    .block(Context::Bfd)
    .many(),
    key(
        "SSL",
        0,
        0,
        NotSupported(
            "checks have no client certificate; `verify` of a check says whether the server's is verified",
        ),
    )
    .block(Context::Ssl),
    key("virtual_server_group", 1, 1, Key("[[virtual_server_group]]")).block(Context::GroupAddresses).many(),
    key("virtual_server", 1, 2, Key("[[virtual_server]]")).block(Context::VirtualServer).many(),
];

pub(in super::super) const GLOBAL_DEFS: &[Keyword] = &[
    key("router_id", 1, 1, Key("director.router_id")).alias(&["lvs_id"]),
    key("notification_email", 0, 0, Key("notifications.email")).block(Context::Words),
    key("notification_email_from", 1, 1, Key("notifications.email_from")),
    key("smtp_server", 1, 2, Key("notifications.smtp_server")),
    key("smtp_helo_name", 1, 1, Key("notifications.smtp_helo")),
    key("smtp_connect_timeout", 1, 1, Key("notifications.smtp_timeout")),
    key(
        "smtp_alert",
        0,
        1,
        Otherwise("vrrp_instance.email_alert", "it is the default of every instance and group"),
    ),
    key(
        "smtp_alert_vrrp",
        0,
        1,
        Otherwise("vrrp_instance.email_alert", "it is the default of every instance and group"),
    ),
    key(
        "smtp_alert_checker",
        0,
        1,
        Otherwise(
            "notifications.email",
            "mail about real and virtual servers is sent to `notifications.email`",
        ),
    ),
    key("no_email_faults", 0, 1, NotSupported("mail about FAULT is sent like about other states")),
    key(
        "no_checker_emails",
        0,
        1,
        NotSupported("mail about real servers is sent if there is a `notifications.email`"),
    ),
    key("script_user", 1, 2, Key("notifications.script_user")),
    key(
        "enable_script_security",
        0,
        0,
        NotSupported(
            "scripts run whoever can write them: keep them and their directories writable by root only",
        ),
    ),
    key(
        "default_interface",
        1,
        1,
        Otherwise("vrrp_instance.interface", "it is written where an instance has none"),
    ),
    key("lvs_timeouts", 2, 6, Key("director.tcp_timeout, tcp_fin_timeout, udp_timeout")),
    key("lvs_flush", 0, 0, Unneeded("the tables are always exactly what the configuration says")),
    key(
        "lvs_flush_on_stop",
        0,
        1,
        Unneeded("`lbctl down` removes everything; a daemon that is killed leaves the traffic"),
    )
    .alias(&["lvs_flush_onstop"]),
    key(
        "lvs_sync_daemon",
        1,
        ANY,
        NotSupported("connections are not synchronised between directors by this version"),
    ),
    key("vrrp_version", 1, 1, Key("vrrp.version")),
    key("vrrp_mcast_group4", 1, 1, NotSupported("adverts go to 224.0.0.18, which RFC 9568 fixes")),
    key("vrrp_mcast_group6", 1, 1, NotSupported("adverts go to ff02::12, which RFC 9568 fixes")),
    key("vrrp_garp_master_delay", 1, 1, Key("vrrp.garp_delay")),
    key("vrrp_garp_master_repeat", 1, 1, Key("vrrp.garp_repeat")),
    key("vrrp_garp_master_refresh", 1, 1, Key("vrrp.garp_refresh")),
    key("vrrp_garp_master_refresh_repeat", 1, 1, Key("vrrp.garp_refresh_repeat")),
    key("vrrp_garp_lower_prio_delay", 1, 1, Key("vrrp.garp_lower_priority_delay")),
    key("vrrp_garp_lower_prio_repeat", 1, 1, Key("vrrp.garp_lower_priority_repeat")),
    key("vrrp_garp_interval", 1, 1, Key("vrrp.garp_interval")),
    key(
        "vrrp_gna_interval",
        1,
        1,
        Otherwise("vrrp.garp_interval", "one interval for gratuitous ARP and neighbour advertisements"),
    ),
    key(
        "vrrp_min_garp",
        0,
        1,
        Otherwise("vrrp.garp_repeat", "one gratuitous ARP, and one more after garp_delay"),
    ),
    key(
        "vrrp_garp_extra_if",
        1,
        2,
        NotSupported("gratuitous ARP is sent on the interface that has the address; use garp_refresh"),
    )
    .alias(&["vrrp_vmac_garp_intvl"]),
    key(
        "vrrp_down_timer_adverts",
        1,
        1,
        NotSupported("a master is taken for dead after three intervals, as RFC 9568 says"),
    ),
    key(
        "vrrp_lower_prio_no_advert",
        0,
        1,
        NotSupported("an advert of lower priority is answered at once, which ends a split"),
    ),
    key(
        "vrrp_higher_prio_send_advert",
        0,
        1,
        NotSupported("no advert is sent when a better master is heard; use garp_refresh on the other"),
    ),
    key(
        "vrrp_skip_check_adv_addr",
        0,
        1,
        Unneeded("a difference in the addresses is reported, and the advert counts"),
    ),
    key("vrrp_strict", 0, 1, Otherwise("", "no rules are made that drop packets to the virtual addresses")),
    key("vrrp_check_unicast_src", 0, 1, Unneeded("with unicast_peers only adverts of those count")),
    key("vrrp_owner_ignore_adverts", 0, 1, NotSupported("two owners of one address are reported")),
    key("v3_checksum_as_v2", 0, 1, NotSupported("version 3 has the checksum of RFC 9568")),
    key("vrrp_iptables", 0, 2, Unneeded("no firewall rules are made")),
    key("vrrp_ipsets", 0, ANY, Unneeded("no ipsets are used")),
    key("nftables", 0, 1, Unneeded("no firewall rules are made")),
    key("nftables_priority", 1, 1, Unneeded("no firewall rules are made")),
    key("nftables_ifindex", 0, 0, Unneeded("no firewall rules are made")),
    key("nftables_counters", 0, 0, Unneeded("no firewall rules are made; `lbctl list --stats` counts")),
    key("nftables_ipvs", 0, 1, Unneeded("groups need no firewall marks")),
    key("nftables_ipvs_priority", 1, 1, Unneeded("groups need no firewall marks")),
    key("nftables_ipvs_start_fwmark", 1, 1, Unneeded("groups need no firewall marks")),
    key("vrrp_startup_delay", 1, 1, Key("vrrp.startup_delay")),
    key(
        "vrrp_delay_after_boot",
        1,
        1,
        Unneeded("a director that is not ready to forward does not become master"),
    ),
    key("max_auto_priority", 0, 1, Unneeded("scheduling delays are reported instead")),
    key("min_auto_priority_delay", 1, 1, Unneeded("scheduling delays are reported instead")),
    key("startup_script", 1, 3, NotSupported("use ExecStartPre= of the systemd unit")).command(),
    key("startup_script_timeout", 1, 1, NotSupported("use TimeoutStartSec= of the systemd unit")),
    key("shutdown_script", 1, 3, NotSupported("use ExecStopPost= of the systemd unit")).command(),
    key("shutdown_script_timeout", 1, 1, NotSupported("use TimeoutStopSec= of the systemd unit")),
    key(
        "dynamic_interfaces",
        0,
        1,
        NotSupported("an interface must exist when the director starts; order the units"),
    ),
    key("disable_local_igmp", 0, 0, Unneeded("the kernel reports the membership on the interface only")),
    key("log_unknown_vrids", 0, 0, Unneeded("adverts of unknown virtual routers are counted")),
    key("notify_fifo", 1, 3, Key("notifications.fifo")),
    key("notify_fifo_script", 1, 3, Key("notifications.fifo_script")).command(),
    key("vrrp_notify_fifo", 1, 3, Key("notifications.vrrp_fifo")),
    key("vrrp_notify_fifo_script", 1, 3, Key("notifications.vrrp_fifo_script")).command(),
    key("lvs_notify_fifo", 1, 3, Key("notifications.lvs_fifo")),
    key("lvs_notify_fifo_script", 1, 3, Key("notifications.lvs_fifo_script")).command(),
    key(
        "vrrp_notify_priority_changes",
        0,
        1,
        NotSupported("changes of priority are in the log and in `lbctl vrrp`"),
    ),
    key(
        "fifo_write_vrrp_states_on_reload",
        0,
        1,
        NotSupported("a reload that changes no state writes nothing"),
    ),
    key(
        "rs_init_notifies",
        0,
        0,
        NotSupported("the first result of a check notifies only if it changes the state"),
    ),
    key("checker_log_all_failures", 0, 1, Unneeded("`lbctl list --checks` shows each check's last result")),
    key("linkbeat_use_polling", 0, 0, Unneeded("the kernel reports every change of a link")),
];

pub(in super::super) const PROCESSES: &[Keyword] = &[
    key("vrrp_priority", 1, 1, Unneeded(ONE_PROCESS)),
    key("checker_priority", 1, 1, Unneeded(ONE_PROCESS)),
    key("bfd_priority", 1, 1, Unneeded(ONE_PROCESS)),
    key("vrrp_no_swap", 0, 0, Unneeded(ONE_PROCESS)),
    key("checker_no_swap", 0, 0, Unneeded(ONE_PROCESS)),
    key("bfd_no_swap", 0, 0, Unneeded(ONE_PROCESS)),
    key("vrrp_rt_priority", 1, 1, Unneeded(ONE_PROCESS)),
    key("checker_rt_priority", 1, 1, Unneeded(ONE_PROCESS)),
    key("bfd_rt_priority", 1, 1, Unneeded(ONE_PROCESS)),
    key("vrrp_cpu_affinity", 1, ANY, Unneeded(ONE_PROCESS)),
    key("checker_cpu_affinity", 1, ANY, Unneeded(ONE_PROCESS)),
    key("bfd_cpu_affinity", 1, ANY, Unneeded(ONE_PROCESS)),
    key("vrrp_rlimit_rttime", 1, 1, Unneeded(ONE_PROCESS)).alias(&["vrrp_rlimit_rtime"]),
    key("checker_rlimit_rttime", 1, 1, Unneeded(ONE_PROCESS)).alias(&["checker_rlimit_rtime"]),
    key("bfd_rlimit_rttime", 1, 1, Unneeded(ONE_PROCESS)).alias(&["bfd_rlimit_rtime"]),
    key("process_names", 0, 0, Unneeded(ONE_PROCESS)),
    key("process_name", 0, 1, Unneeded(ONE_PROCESS)),
    key("vrrp_process_name", 0, 1, Unneeded(ONE_PROCESS)),
    key("checker_process_name", 0, 1, Unneeded(ONE_PROCESS)).alias(&["lvs_process_name"]),
    key("bfd_process_name", 0, 1, Unneeded(ONE_PROCESS)),
    key("vrrp_netlink_cmd_rcv_bufs", 1, 1, Unneeded(BUFFERS)),
    key("vrrp_netlink_cmd_rcv_bufs_force", 0, 1, Unneeded(BUFFERS)),
    key("vrrp_netlink_monitor_rcv_bufs", 1, 1, Unneeded(BUFFERS)),
    key("vrrp_netlink_monitor_rcv_bufs_force", 0, 1, Unneeded(BUFFERS)),
    key("lvs_netlink_cmd_rcv_bufs", 1, 1, Unneeded(BUFFERS)),
    key("lvs_netlink_cmd_rcv_bufs_force", 0, 1, Unneeded(BUFFERS)),
    key("lvs_netlink_monitor_rcv_bufs", 1, 1, Unneeded(BUFFERS)),
    key("lvs_netlink_monitor_rcv_bufs_force", 0, 1, Unneeded(BUFFERS)),
    key("process_monitor_rcv_bufs", 1, 1, Unneeded(BUFFERS)),
    key("process_monitor_rcv_bufs_force", 0, 1, Unneeded(BUFFERS)),
    key("vrrp_rx_bufs_policy", 1, ANY, Unneeded(BUFFERS)),
    key("vrrp_rx_bufs_multiplier", 1, 1, Unneeded(BUFFERS)),
    key(
        "vmac_prefix",
        1,
        1,
        NotSupported("interfaces with a virtual MAC address have keepalived's default names"),
    ),
    key(
        "vmac_addr_prefix",
        1,
        1,
        NotSupported("interfaces with a virtual MAC address have keepalived's default names"),
    ),
];

const ONE_PROCESS: &str =
    "there is one process; use Nice=, CPUSchedulingPolicy= or CPUAffinity= of the systemd unit";
const BUFFERS: &str = "what a full buffer lost is read again from the kernel";
const RELOADS: &str = "`lbctl reload` checks the configuration first and changes all or nothing";
const FILES: &str = "nothing is written there";

pub(in super::super) const DAEMON: &[Keyword] = &[
    key("enable_snmp_vrrp", 0, 0, NotSupported(SNMP)).alias(&["enable_snmp_keepalived"]),
    key("enable_snmp_checker", 0, 0, NotSupported(SNMP)),
    key("enable_snmp_rfc", 0, 0, NotSupported(SNMP)),
    key("enable_snmp_rfcv2", 0, 0, NotSupported(SNMP)),
    key("enable_snmp_rfcv3", 0, 0, NotSupported(SNMP)),
    key("enable_traps", 0, 0, NotSupported(SNMP)),
    key("snmp_socket", 1, 1, NotSupported(SNMP)),
    key("snmp_vs_stats_update_interval", 1, 1, NotSupported(SNMP)),
    key("snmp_rs_stats_update_interval", 1, 1, NotSupported(SNMP)),
    key("enable_dbus", 0, 0, NotSupported(DBUS)),
    key("dbus_service_name", 1, 1, NotSupported(DBUS)),
    key("dbus_no_interface_name", 0, 0, NotSupported(DBUS)),
    key("use_symlink_paths", 0, 1, Unneeded("a script's path is used as it is written")),
    key("set_supplementary_groups", 0, 0, Unneeded("a script runs with its user's groups")),
    key("umask", 1, ANY, Unneeded("use UMask= of the systemd unit")),
    key("random_seed", 1, 1, Unneeded("it serves keepalived's own tests")),
    key("reload_check_config", 0, 1, Unneeded(RELOADS)),
    key("reload_time_file", 1, 1, NotSupported("run `lbctl reload` from a systemd timer")),
    key("reload_repeat", 0, 0, NotSupported("run `lbctl reload` from a systemd timer")),
    key("reload_file", 0, 1, Unneeded(RELOADS)),
    key("include_check", 0, ANY, Unneeded("it concerns the reading of the file, which is done")),
    key("config_save_dir", 1, 1, Unneeded(FILES)),
    key("tmp_config_directory", 1, 1, Unneeded(FILES)),
    key("data_use_instance", 0, 1, Unneeded(FILES)),
    key("json_version", 1, 1, Unneeded("`--json` has a documented schema")),
    key("state_dump_file", 1, 1, Unneeded("use `lbctl list --json`")),
    key("stats_dump_file", 1, 1, Unneeded("use `lbctl list --stats`")),
    key("json_dump_file", 1, 1, Unneeded("use `lbctl list --json`")),
    key("iproute_usr_dir", 1, 1, Unneeded("routing tables are given by number")),
    key("iproute_etc_dir", 1, 1, Unneeded("routing tables are given by number")),
];

pub(in super::super) const TRACK_GROUP: &[Keyword] =
    &[key("group", 0, 0, NotSupported("it serves static addresses, which are not put on the host"))
        .block(Context::Words)];

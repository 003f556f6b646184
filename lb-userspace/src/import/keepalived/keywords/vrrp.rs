//! VRRP: instances, groups, and what they follow.

use super::Becomes::{Key, NotSupported, Otherwise, Unneeded};
use super::{ANY, Context, Keyword, key};

pub(in super::super) const GARP_GROUP: &[Keyword] = &[
    key("garp_interval", 1, 1, NotSupported("gratuitous ARP is not held back")),
    key("gna_interval", 1, 1, NotSupported("neighbour advertisements are not held back")),
    key("interface", 1, 1, NotSupported("gratuitous ARP is not held back")),
    key("interfaces", 0, 0, NotSupported("gratuitous ARP is not held back")).block(Context::Words),
];

pub(in super::super) const SCRIPT: &[Keyword] = &[
    key("script", 1, 1, Key("vrrp_script.command")).command(),
    key("interval", 1, 1, Key("vrrp_script.interval")),
    key("timeout", 1, 1, Key("vrrp_script.timeout")),
    key("weight", 1, 2, Key("vrrp_script.weight")),
    key("rise", 1, 1, Key("vrrp_script.rise")),
    key("fall", 1, 1, Key("vrrp_script.fall")),
    key("user", 1, 2, Key("vrrp_script.user")),
    key("init_fail", 0, 0, Key("vrrp_script.init_fail")),
];

pub(in super::super) const PROCESS: &[Keyword] = &[
    key("process", 1, ANY, Key("vrrp_track_process.process")),
    key("weight", 1, 2, Key("vrrp_track_process.weight")),
    key("quorum", 1, 1, Key("vrrp_track_process.quorum")),
    key("delay", 1, 1, Key("vrrp_track_process.delay")),
    key("quorum_max", 1, 1, NotSupported("more processes than wanted are no failure")),
    key("fork_delay", 1, 1, Otherwise("vrrp_track_process.delay", "one delay for both directions")),
    key("terminate_delay", 1, 1, Otherwise("vrrp_track_process.delay", "one delay for both directions")),
    key("param_match", 0, 1, NotSupported("processes are found by their name")),
    key("full_command", 0, 0, NotSupported("processes are found by their name")),
];

pub(in super::super) const FILE: &[Keyword] = &[
    key("file", 1, 1, Key("vrrp_track_file.file")),
    key("weight", 1, 2, Key("vrrp_track_file.weight")),
    key("init_file", 0, 2, Key("vrrp_track_file.init")),
];

const FOLLOWS_ALL: &str = "it is what happens always";

pub(in super::super) const SYNC_GROUP: &[Keyword] = &[
    key("group", 0, 0, Key("vrrp_sync_group.members")).block(Context::Words),
    key(
        "global_tracking",
        0,
        0,
        Unneeded("keepalived ignores it too; what a group tracks counts for all members"),
    ),
    key("sync_group_tracking_weight", 0, 0, Key("vrrp_sync_group.weighted_tracking")),
];

pub(in super::super) const TRACKS: &[Keyword] = &[
    key("track_interface", 0, 0, Key("track_interfaces")).block(Context::Lines),
    key("track_script", 0, 0, Key("track_scripts")).block(Context::Lines),
    key("track_process", 0, 0, Key("track_processes")).block(Context::Lines),
    key("track_file", 0, 0, Key("track_files")).alias(&["vrrp_track_file"]).block(Context::Lines),
    key("track_bfd", 0, 0, NotSupported("there is no BFD")).block(Context::Lines),
];

pub(in super::super) const NOTIFIES: &[Keyword] = &[
    key("notify", 1, 3, Key("notify")).command(),
    key("notify_master", 1, 3, Key("notify_master")).command(),
    key("notify_backup", 1, 3, Key("notify_backup")).command(),
    key("notify_fault", 1, 3, Key("notify_fault")).command(),
    key("notify_stop", 1, 3, Key("notify_stop")).command(),
    key("notify_deleted", 0, 3, NotSupported("an instance that a reload removes stops: use notify_stop"))
        .command(),
    key(
        "notify_master_rx_lower_pri",
        1,
        3,
        NotSupported("adverts of lower priority are in the log and counted"),
    )
    .command(),
    key(
        "notify_priority_changes",
        0,
        1,
        NotSupported("changes of priority are in the log and in `lbctl vrrp`"),
    ),
    key("smtp_alert", 0, 1, Key("email_alert")),
];

const RFC_CHECKSUM: &str = "version 3 has the checksum of RFC 9568";

pub(in super::super) const INSTANCE: &[Keyword] = &[
    key("state", 1, 1, Key("vrrp_instance.state")),
    key("interface", 1, 1, Key("vrrp_instance.interface")),
    key("virtual_router_id", 1, 1, Key("vrrp_instance.virtual_router_id")),
    key("priority", 1, 1, Key("vrrp_instance.priority")),
    key("advert_int", 1, 1, Key("vrrp_instance.advert_interval")),
    key("version", 1, 1, Key("vrrp_instance.version")).alias(&["vrrp_version"]),
    key("authentication", 0, 0, Key("vrrp_instance.auth_pass")).block(Context::Authentication),
    key("auth_hmac", 0, 0, NotSupported("it is in no RFC; all directors of the instance must do without"))
        .block(Context::AuthHmac),
    key("virtual_ipaddress", 0, 0, Key("vrrp_instance.virtual_addresses")).block(Context::Addresses),
    key("virtual_ipaddress_excluded", 0, 0, Key("vrrp_instance.excluded_addresses"))
        .block(Context::Addresses),
    key("no_virtual_ipaddress", 0, 0, NotSupported("an instance carries at least one address")),
    key("virtual_routes", 0, 0, Key("vrrp_instance.virtual_routes")).block(Context::Lines),
    key("virtual_rules", 0, 0, Key("vrrp_instance.virtual_rules")).block(Context::Lines),
    key("promote_secondaries", 0, 0, NotSupported("set sysctl net.ipv4.conf.INTERFACE.promote_secondaries")),
    key("unicast_src_ip", 1, 1, Key("vrrp_instance.source_address")).alias(&["mcast_src_ip"]),
    key("unicast_peer", 0, 0, Key("vrrp_instance.unicast_peers")).block(Context::Addresses),
    key("unicast_ttl", 1, 1, Key("vrrp_instance.unicast_ttl")),
    key("unicast_fault_no_peer", 0, 0, Unneeded("an instance without peers uses multicast, and says so")),
    key("check_unicast_src", 0, 1, Unneeded("with unicast_peers only adverts of those count")),
    key("old_unicast_checksum", 0, 1, NotSupported(RFC_CHECKSUM)),
    key("v3_checksum_as_v2", 0, 1, NotSupported(RFC_CHECKSUM)),
    key("mcast_dst_ip", 1, 1, NotSupported("adverts go to the group that RFC 9568 fixes")),
    key("track_src_ip", 0, 0, NotSupported("an instance without its source address is in FAULT anyhow")),
    key("native_ipv6", 0, 0, Unneeded("the addresses say whether it is IPv4 or IPv6")),
    key("vrf", 1, 1, NotSupported("start lbctl in the VRF: ip vrf exec NAME lbctl up")),
    key("nopreempt", 0, 0, Key("vrrp_instance.nopreempt")),
    key("preempt", 0, 0, Unneeded(FOLLOWS_ALL)),
    key("preempt_delay", 1, 1, Key("vrrp_instance.preempt_delay")),
    key("dont_track_primary", 0, 0, NotSupported("an instance whose interface is down is in FAULT")),
    key("linkbeat_use_polling", 0, 0, Unneeded("the kernel reports every change of a link")),
    key(
        "skip_check_adv_addr",
        0,
        1,
        Unneeded("a difference in the addresses is reported, and the advert counts"),
    ),
    key("strict_mode", 0, 1, Otherwise("", "no rules are made that drop packets to the virtual addresses")),
    key("accept", 0, 0, Key("vrrp_instance.accept")),
    key("no_accept", 0, 0, Key("vrrp_instance.accept")),
    key("debug", 1, 1, Unneeded("keepalived does not use it either; set RUST_LOG")),
    key("kernel_rx_buf_size", 1, 1, Unneeded("what a full buffer lost is read again from the kernel")),
    key("garp_master_delay", 1, 1, Key("vrrp_instance.garp_delay")),
    key("garp_master_repeat", 1, 1, Key("vrrp_instance.garp_repeat")),
    key("garp_master_refresh", 1, 1, Key("vrrp_instance.garp_refresh")),
    key("garp_master_refresh_repeat", 1, 1, Key("vrrp_instance.garp_refresh_repeat")),
    key("garp_lower_prio_delay", 1, 1, Key("vrrp_instance.garp_lower_priority_delay")),
    key("garp_lower_prio_repeat", 1, 1, Key("vrrp_instance.garp_lower_priority_repeat")),
    key(
        "garp_extra_if",
        1,
        2,
        NotSupported("gratuitous ARP is sent on the interface that has the address; use garp_refresh"),
    )
    .alias(&["vmac_garp_intvl"]),
    key(
        "down_timer_adverts",
        1,
        1,
        NotSupported("a master is taken for dead after three intervals, as RFC 9568 says"),
    ),
    key(
        "lower_prio_no_advert",
        0,
        1,
        NotSupported("an advert of lower priority is answered at once, which ends a split"),
    ),
    key(
        "higher_prio_send_advert",
        0,
        1,
        NotSupported("no advert is sent when a better master is heard; use garp_refresh on the other"),
    ),
    key("owner_ignore_adverts", 0, 1, NotSupported("two owners of one address are reported")),
    key(
        "timer_expired_backup",
        0,
        1,
        Unneeded("a late timer is reported, and adverts that wait are read first"),
    )
    .alias(&["thread_timer_expired"]),
    key("use_vmac", 0, 2, Key("vrrp_instance.use_vmac")),
    key(
        "use_vmac_addr",
        0,
        0,
        NotSupported("only addresses on the instance's own interface have the virtual MAC"),
    ),
    key("vmac_xmit_base", 0, 0, Key("vrrp_instance.vmac_xmit_base")),
    key(
        "use_ipvlan",
        0,
        ANY,
        NotSupported(
            "the addresses are on the interface itself, and gratuitous ARP tells the network where they are",
        ),
    ),
    key(
        "lvs_sync_daemon_interface",
        1,
        1,
        NotSupported("connections are not synchronised between directors by this version"),
    ),
];

pub(in super::super) const AUTHENTICATION: &[Keyword] = &[
    key("auth_type", 1, 1, Key("vrrp_instance.auth_pass")),
    key("auth_pass", 1, 1, Key("vrrp_instance.auth_pass")),
];

const HMAC: &str = "it is in no RFC; all directors of the instance must do without";

pub(in super::super) const AUTH_HMAC: &[Keyword] = &[
    key("key", 2, 2, NotSupported(HMAC)).many(),
    key("active_key", 1, 1, NotSupported(HMAC)),
    key("time_window", 1, 1, NotSupported(HMAC)),
    key("anti_replay", 1, 1, NotSupported(HMAC)),
    key("mode", 1, 1, NotSupported(HMAC)),
];

const NO_BFD: &str = "there is no BFD";

pub(in super::super) const BFD: &[Keyword] = &[
    key("neighbor_ip", 1, 1, NotSupported(NO_BFD)).alias(&["neighbour_ip"]),
    key("source_ip", 1, 1, NotSupported(NO_BFD)),
    key("min_rx", 1, 1, NotSupported(NO_BFD)),
    key("min_tx", 1, 1, NotSupported(NO_BFD)),
    key("idle_tx", 1, 1, NotSupported(NO_BFD)),
    key("multiplier", 1, 1, NotSupported(NO_BFD)),
    key("passive", 0, 0, NotSupported(NO_BFD)),
    key("ttl", 1, 1, NotSupported(NO_BFD)).alias(&["hoplimit"]),
    key("max_hops", 1, 1, NotSupported(NO_BFD)),
    key("multihop", 0, 0, NotSupported(NO_BFD)),
    key("weight", 1, 2, NotSupported(NO_BFD)),
    key("vrrp", 0, 0, NotSupported(NO_BFD)),
    key("checker", 0, 0, NotSupported(NO_BFD)),
];

//! The keys of real servers and of groups of virtual servers.

use super::{Key, Section, key};

pub(in crate::config) const REAL_SERVER: Section = Section {
    header: "[[virtual_server.real_server]]",
    keys: &[
        key(
            "address",
            "address = \"192.168.4.100:80\"",
            "string",
            "required",
            "`\"192.168.4.100:80\"`, `\"192.168.4.100\"`, `\"[2001:db8::100]:80\"`, `\"2001:db8::100\"`",
            "The server's own address. It may be the director's.",
        ),
        key(
            "weight",
            "weight = 100",
            "integer",
            "`1`",
            "0 to 65,535",
            "Its share of new connections under `wrr`. 0 quiesces it under every scheduler: it keeps the \
             connections it has and gets no new ones.",
        ),
        key(
            "forwarding",
            "forwarding = \"nat\"",
            "string",
            "the virtual server's",
            "as there",
            "How packets get to this one.",
        ),
        key(
            "notify_up",
            "notify_up = \"/usr/local/bin/web up\"",
            "string",
            "none",
            "a command",
            "Run when the real server has come up.",
        ),
        key(
            "notify_down",
            "notify_down = \"/usr/local/bin/web down\"",
            "string",
            "none",
            "a command",
            "Run when it has gone down.",
        ),
        key(
            "upper_threshold",
            "upper_threshold = 1000",
            "integer",
            "`0`",
            "0 to 2,147,483,647",
            "With so many connections, active and inactive, it gets no new ones; 0 is no limit. \
             [More](schedulers.md#thresholds).",
        ),
        key(
            "lower_threshold",
            "lower_threshold = 750",
            "integer",
            "`0`",
            "0 to `upper_threshold`",
            "With fewer than this it gets new ones again; 0: with fewer than three quarters of \
             `upper_threshold`.",
        ),
        Key::section("check", "[[virtual_server.real_server.check]]"),
        key(
            "inhibit_on_failure",
            "inhibit_on_failure = true",
            "boolean",
            "the virtual server's",
            "",
            "When it fails it stays in the table with weight 0, instead of being removed.",
        ),
        key("alpha", "alpha = true", "boolean", "the virtual server's", "", "It starts down."),
        key(
            "slow_start",
            "slow_start = \"30s\"",
            "duration",
            "the virtual server's",
            "up to `\"24h\"`",
            "How long its weight takes to grow to the configured one when it comes back.",
        ),
    ],
};

pub(in crate::config) const VIRTUAL_SERVER_GROUP: Section = Section {
    header: "[[virtual_server_group]]",
    keys: &[
        key(
            "name",
            "name = \"web\"",
            "string",
            "required",
            "1 to 64 bytes",
            "What a virtual server's `group` says.",
        ),
        key(
            "fwmark",
            "fwmark = 7",
            "integer",
            "none",
            "from 1",
            "What ipvsadm calls the group: firewall mark 7, `-f 7`. A name in listings, rules and commands; no packet \
             is asked for its mark. One virtual server at most may name such a group.",
        ),
        key(
            "addresses",
            "addresses = [\"192.168.4.15:80\", \"192.168.4.20-30:80\"]",
            "array of strings",
            "required",
            "1 to 4,096 of one family",
            "`\"192.168.4.15:80\"`; a range of addresses `\"192.168.4.20-30:80\"` or \
             `\"[2001:db8::20-3f]:80\"` (hexadecimal); of ports `\"192.168.4.15:8000-8010\"`; port 0 for \
             every port.",
        ),
    ],
};

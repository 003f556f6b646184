//! The keys of `[director]`.

use super::{Section, key};

pub(in crate::config) const DIRECTOR: Section = Section {
    header: "[director]",
    keys: &[
        key(
            "router_id",
            "router_id = \"lvs1\"",
            "string",
            "the host name",
            "1 to 64 bytes, no control characters",
            "The director's name in logs and lists.",
        ),
        key(
            "interfaces",
            "interfaces = [\"eth0\"]",
            "array of strings",
            "required with a virtual server",
            "1 to 16 distinct interface names",
            "The interfaces that packets for the virtual servers arrive on; XDP is attached to them.",
        ),
        key(
            "xdp_mode",
            "xdp_mode = \"auto\"",
            "string",
            "`\"auto\"`",
            "`\"auto\"`, `\"native\"`, `\"generic\"`",
            "`\"native\"`: in the driver, an error where it cannot. `\"generic\"`: in the network stack; \
             slower, works everywhere. `\"auto\"`: native where it works, else generic with a warning.",
        ),
        key(
            "max_connections",
            "max_connections = 1_000_000",
            "integer",
            "`1_000_000`",
            "1,024 to 64,000,000",
            "Entries of the IPv4 connection table. The memory is taken at the start.",
        ),
        key(
            "max_connections_ipv6",
            "max_connections_ipv6 = 250_000",
            "integer",
            "a quarter of `max_connections`",
            "256 to 64,000,000",
            "Entries of the IPv6 connection table.",
        ),
        key(
            "max_full_nat_connections",
            "max_full_nat_connections = 100_000",
            "integer",
            "`65_536`",
            "256 to 33,554,432",
            "Connections of both families by `\"full_nat\"` at a time: each takes 128 bytes, from the start on.",
        ),
        key(
            "manage_addresses",
            "manage_addresses = true",
            "boolean",
            "`true`",
            "",
            "Whether `up` puts the addresses of the virtual servers on this machine and `down` removes \
             them.",
        ),
        key(
            "tcp_timeout",
            "tcp_timeout = \"15m\"",
            "duration",
            "`\"15m\"`",
            "1 s to 1 day",
            "How long an established TCP connection may be silent before it is forgotten. `ipvsadm \
             --set`'s first number.",
        ),
        key(
            "tcp_fin_timeout",
            "tcp_fin_timeout = \"2m\"",
            "duration",
            "`\"2m\"`",
            "1 s to 1 day",
            "The same after the client's FIN. `ipvsadm --set`'s second number.",
        ),
        key(
            "udp_timeout",
            "udp_timeout = \"5m\"",
            "duration",
            "`\"5m\"`",
            "1 s to 1 day",
            "The same for UDP. `ipvsadm --set`'s third number.",
        ),
        key(
            "expire_quiescent_template",
            "expire_quiescent_template = true",
            "boolean",
            "`false`",
            "",
            "Whether a client that persistence binds to a real server of weight 0 gets another one with \
             its next connection. [More](persistence.md).",
        ),
        key(
            "expire_nodest_conn",
            "expire_nodest_conn = true",
            "boolean",
            "`false`",
            "",
            "Whether connections of a real server that was taken out of the configuration end at once; \
             otherwise it goes on serving them. [More](persistence.md).",
        ),
    ],
};

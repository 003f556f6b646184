//! These keys as they were typed.

use toml::de::DeTable;

use crate::config::diagnostics::{Report, Span};
use crate::config::raw::{Field, Table};
use crate::config::schema;

/// Part of a `[[virtual_server]]`.
#[derive(Debug)]
pub(in crate::config) struct RawScheduling {
    pub(super) group: Field<String>,
    pub(super) scheduler_flags: Field<Vec<Field<String>>>,
    pub(super) persistence_timeout: Field<String>,
    /// A netmask, or a number of bits.
    pub(super) persistence_granularity: Field<Granularity>,
    pub(super) one_packet: Field<bool>,
    pub(super) rate_limit: Field<i128>,
    pub(super) rate_limit_burst: Field<i128>,
    pub(super) rate_limit_prefix: Field<i128>,
    pub(super) allow: Field<Vec<Field<String>>>,
    pub(super) deny: Field<Vec<Field<String>>>,
    pub(super) on_failure: Field<String>,
    pub(in crate::config) sources: RawSources,
}

/// Part of a `[[virtual_server]]`: where packets by full NAT come from.
#[derive(Debug)]
pub(in crate::config) struct RawSources {
    pub(super) addresses: Field<Vec<Field<String>>>,
    pub(super) ports: Field<String>,
}

/// How `persistence_granularity` was written.
#[derive(Debug)]
pub(in crate::config) enum Granularity {
    Mask(String),
    Bits(i128),
}

/// Part of a `[[virtual_server.real_server]]`.
#[derive(Debug)]
pub(in crate::config) struct RawThresholds {
    pub(super) upper: Field<i128>,
    pub(super) lower: Field<i128>,
}

/// Part of `[director]`.
#[derive(Debug, Default)]
pub(in crate::config) struct RawConnectionRules {
    pub(super) tcp_timeout: Field<String>,
    pub(super) tcp_fin_timeout: Field<String>,
    pub(super) udp_timeout: Field<String>,
    pub(super) expire_quiescent_template: Field<bool>,
    pub(super) expire_nodest_conn: Field<bool>,
}

/// One `[[virtual_server_group]]`.
#[derive(Debug)]
pub(in crate::config) struct RawGroup {
    /// `virtual_server_group[0]`
    pub(super) path: String,
    pub(super) span: Span,
    pub(super) name: Field<String>,
    pub(super) fwmark: Field<i128>,
    pub(super) addresses: Field<Vec<Field<String>>>,
}

pub(in crate::config) fn read_scheduling(table: &Table<'_>, report: &mut Report) -> RawScheduling {
    RawScheduling {
        group: table.string("group", report),
        scheduler_flags: table.strings("scheduler_flags", report),
        persistence_timeout: table.string("persistence_timeout", report),
        persistence_granularity: table.field(
            "persistence_granularity",
            "a netmask or a number of bits",
            report,
            |value| match value.as_integer() {
                Some(bits) => i128::from_str_radix(bits.as_str(), bits.radix()).ok().map(Granularity::Bits),
                None => value.as_str().map(|mask| Granularity::Mask(mask.to_owned())),
            },
        ),
        one_packet: table.boolean("one_packet", report),
        rate_limit: table.integer("rate_limit", report),
        rate_limit_burst: table.integer("rate_limit_burst", report),
        rate_limit_prefix: table.integer("rate_limit_prefix", report),
        allow: table.strings("allow", report),
        deny: table.strings("deny", report),
        on_failure: table.string("on_failure", report),
        sources: RawSources {
            addresses: table.strings("source_addresses", report),
            ports: table.string("source_ports", report),
        },
    }
}

pub(in crate::config) fn read_thresholds(table: &Table<'_>, report: &mut Report) -> RawThresholds {
    RawThresholds {
        upper: table.integer("upper_threshold", report),
        lower: table.integer("lower_threshold", report),
    }
}

pub(in crate::config) fn read_connection_rules(table: &Table<'_>, report: &mut Report) -> RawConnectionRules {
    RawConnectionRules {
        tcp_timeout: table.string("tcp_timeout", report),
        tcp_fin_timeout: table.string("tcp_fin_timeout", report),
        udp_timeout: table.string("udp_timeout", report),
        expire_quiescent_template: table.boolean("expire_quiescent_template", report),
        expire_nodest_conn: table.boolean("expire_nodest_conn", report),
    }
}

pub(in crate::config) fn read_groups(
    tables: Vec<(String, &DeTable<'_>, Span)>,
    report: &mut Report,
) -> Vec<RawGroup> {
    let read = |(path, inner, span)| {
        let table = Table::read(&schema::VIRTUAL_SERVER_GROUP, inner, span, path, report);
        RawGroup {
            name: table.string("name", report),
            fwmark: table.integer("fwmark", report),
            addresses: table.strings("addresses", report),
            path: table.path,
            span: table.span,
        }
    };
    tables.into_iter().map(read).collect()
}

//! `vrrp_instance`, with its addresses.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::super::super::diagnostics::{Span, quoted};
use super::super::super::raw::{Field, Table};
use super::super::super::words::word;
use super::super::model::{Garp, VirtualAddress, VrrpInstance, VrrpVersion};
use super::super::{routes, schema};
use super::{
    InstancePlaces, Keys, MAX_DELAY, MAX_INTERVAL, MAX_LABEL, MIN_INTERVAL, Placed, SECOND, VirtualMacDraft,
};

impl Keys<'_, '_> {
    pub(super) fn instance(
        &mut self,
        version: VrrpVersion,
        garp: Garp,
    ) -> Placed<VrrpInstance, InstancePlaces> {
        let (name, name_span) = self.name();
        let (interface, interface_span) = self.required("interface");
        if !interface.is_empty() {
            self.interface(&interface, &interface_span, self.path("interface"));
        }
        let router_id = self.table.place("virtual_router_id");
        if router_id.is_none() {
            self.missing("virtual_router_id");
        }
        let header = self.header();
        let at = |place: Option<Span>| place.unwrap_or_else(|| header.clone());
        let (virtual_addresses, places) = self.addresses("virtual_addresses", &interface);
        if self.table.place("virtual_addresses").is_none() {
            self.missing("virtual_addresses");
        }
        let (excluded_addresses, excluded_places) = self.addresses("excluded_addresses", &interface);
        let is_ipv6 = virtual_addresses.first().is_some_and(|first| first.address.is_ipv6());
        let written = self.version();
        let version = written.unwrap_or(if is_ipv6 { VrrpVersion::V3 } else { version });
        let state = word(&self.table.string("state", self.report), &self.path("state"), self.report);
        let (source, source_span) = self.string("source_address");
        let source_address =
            source.and_then(|text| self.ip(&text, &source_span, self.path("source_address")));
        let mut unicast_peers = Vec::new();
        if let Field::Given(peers, _) = self.table.strings("unicast_peers", self.report) {
            for (index, peer) in peers.into_iter().enumerate() {
                let Field::Given(text, span) = peer else { continue };
                unicast_peers.extend(self.ip(&text, &span, self.path(&format!("unicast_peers[{index}]"))));
            }
        }
        let (auth_pass, auth_span) = self.string("auth_pass");
        let virtual_mac = self.virtual_mac();
        let value = VrrpInstance {
            name,
            virtual_router_id: self.byte("virtual_router_id", (1, 255), 1),
            state: state.unwrap_or_default(),
            priority: self.byte("priority", (1, 255), 100),
            advert_interval: self.duration("advert_interval", (MIN_INTERVAL, MAX_INTERVAL), SECOND),
            version,
            auth_pass,
            source_address,
            unicast_peers,
            unicast_ttl: self.byte("unicast_ttl", (1, 255), 255),
            nopreempt: self.boolean("nopreempt", false),
            preempt_delay: self.duration("preempt_delay", (Duration::ZERO, MAX_DELAY), Duration::ZERO),
            accept: self.boolean("accept", true),
            virtual_mac: None,
            garp: self.garp(garp),
            track_interfaces: Vec::new(),
            track_scripts: Vec::new(),
            track_processes: Vec::new(),
            track_files: Vec::new(),
            track_virtual_servers: Vec::new(),
            virtual_routes: self.lines("virtual_routes", |text| routes::route(text, is_ipv6)),
            virtual_rules: self.lines("virtual_rules", |text| routes::rule(text, is_ipv6)),
            notify: self.notify(),
            email_alert: self.boolean("email_alert", false),
            interface,
            virtual_addresses,
            excluded_addresses,
        };
        let places = InstancePlaces {
            router_id: at(router_id),
            address_list: at(self.table.place("virtual_addresses")),
            addresses: places.into_iter().chain(excluded_places).collect(),
            nopreempt: at(self.table.place("nopreempt")),
            preempt_delay: at(self.table.place("preempt_delay")),
            state: at(self.table.place("state")),
            auth_pass: auth_span,
            interval: at(self.table.place("advert_interval")),
            version: at(self.table.place("version")),
            peers: at(self.table.place("unicast_peers")),
            accept: at(self.table.place("accept")),
            source: source_span,
            virtual_mac,
            unwritten: header.clone(),
            tracking: self.tracking(),
        };
        Placed { path: self.table.path.clone(), header, name: name_span, value, places }
    }

    pub(super) fn virtual_mac(&mut self) -> VirtualMacDraft {
        let is_used = self.boolean("use_vmac", false);
        let (name, name_span) = self.string("vmac_name");
        if let Some(name) = &name {
            self.interface(name, &name_span, self.path("vmac_name"));
        }
        let is_from_base = self.boolean("vmac_xmit_base", false);
        VirtualMacDraft {
            place: self.table.place("use_vmac").unwrap_or_else(|| self.header()),
            is_used,
            name: name.map(|name| (name, name_span)),
            from_base: is_from_base
                .then(|| self.table.place("vmac_xmit_base").unwrap_or_else(|| self.header())),
        }
    }

    /// Addresses, written as strings or tables, and their places.
    pub(super) fn addresses(&mut self, key: &str, interface: &str) -> (Vec<VirtualAddress>, Vec<Span>) {
        let mut addresses = Vec::new();
        let mut places = Vec::new();
        for (path, element) in self.table.elements(key, self.report) {
            let span = element.span();
            let (text, at) = if let Some(text) = element.get_ref().as_str() {
                (text.to_owned(), None)
            } else if let Some(inner) = element.get_ref().as_table() {
                let table = Table::read(&schema::ADDRESS, inner, span.clone(), path.clone(), self.report);
                let (text, _) = Keys { table: &table, report: self.report }.required("address");
                (text, Some(table))
            } else {
                let help = format!("write it like this: {}", self.table.example(key));
                self.report.error(&span, path, "is neither a string nor a table", help);
                continue;
            };
            let Some(mut address) = self.virtual_address(&text, interface, &span, &path) else { continue };
            if let Some(table) = at {
                Keys { table: &table, report: self.report }.details(&mut address);
            }
            addresses.push(address);
            places.push(span);
        }
        (addresses, places)
    }

    pub(super) fn virtual_address(
        &mut self,
        text: &str,
        interface: &str,
        span: &Span,
        path: &str,
    ) -> Option<VirtualAddress> {
        let parsed = text.parse::<IpNet>().ok().map(|net| (net.addr(), net.prefix_len())).or_else(|| {
            let host: IpAddr = text.parse().ok()?;
            Some((host, if host.is_ipv4() { 32 } else { 128 }))
        });
        let Some((address, prefix_len)) = parsed else {
            if !text.is_empty() {
                let message = format!("{} is not an IP address with a prefix length", quoted(text));
                self.report.error(span, path, message, "write it like 192.168.4.15/24 or 2001:db8::15/64");
            }
            return None;
        };
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
            let message = format!("{address} cannot be an address of a host");
            self.report.error(span, path, message, "write the address that clients connect to");
            return None;
        }
        Some(VirtualAddress { address, prefix_len, interface: interface.to_owned(), scope: 0, label: None })
    }

    /// The other keys of an address that is written as a table.
    pub(super) fn details(&mut self, address: &mut VirtualAddress) {
        if let (Some(interface), span) = self.string("interface") {
            self.interface(&interface, &span, self.path("interface"));
            address.interface = interface;
        }
        if let (Some(text), span) = self.string("scope") {
            match routes::scope(&text) {
                Some(scope) => address.scope = scope,
                None => {
                    let message = format!("{} is not a scope", quoted(&text));
                    let help = "use \"global\", \"site\", \"link\", \"host\" or a number to 255";
                    self.report.error(&span, self.path("scope"), message, help);
                }
            }
        }
        if let (Some(label), span) = self.string("label") {
            let own = label == address.interface || label.starts_with(&format!("{}:", address.interface));
            if label.len() > MAX_LABEL || !own || address.address.is_ipv6() {
                let message = format!("{} cannot be the label of {address}", quoted(&label));
                let help = format!(
                    "only IPv4 addresses have labels: {}, a colon and more, at most 15 bytes in all",
                    address.interface
                );
                self.report.error(&span, self.path("label"), message, help);
            }
            address.label = Some(label);
        }
    }
}

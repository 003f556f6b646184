//! `use_vmac`: whether an instance has the virtual router's MAC, and on which interface.

use std::collections::HashMap;

use super::super::diagnostics::{Report, Span, quoted};
use super::super::model::Director;
use super::model::{VirtualMac, VrrpInstance};
use super::read::InstancePlaces;

/// Where an error about the interface's name points, and whether the name was written.
pub(super) fn place_of_name(places: &InstancePlaces) -> (Span, bool) {
    let draft = &places.virtual_mac;
    draft.name.as_ref().map_or_else(|| (draft.place.clone(), false), |(_, span)| (span.clone(), true))
}

/// Gives the instance its virtual MAC, and moves its addresses there: those of its family that are on its interface.
pub(super) fn check(value: &mut VrrpInstance, places: &InstancePlaces, path: &str, report: &mut Report) {
    let draft = &places.virtual_mac;
    if !draft.is_used {
        let name = draft.name.as_ref().map(|(_, span)| ("vmac_name", span));
        let base = draft.from_base.as_ref().map(|span| ("vmac_xmit_base", span));
        for (key, span) in name.into_iter().chain(base) {
            let message = "has no effect without use_vmac";
            report.warning(span, format!("{path}.{key}"), message, "write use_vmac = true, or remove it");
        }
        return;
    }
    if !value.unicast_peers.is_empty() && draft.from_base.is_none() {
        let message = "adverts to unicast_peers come from the interface's own MAC";
        let help = "write vmac_xmit_base = true, or remove unicast_peers";
        report.error(&draft.place, format!("{path}.use_vmac"), message, help);
    }
    let is_ipv6 = value.is_ipv6();
    let interface = draft.name.as_ref().map_or_else(
        || format!("vrrp{}.{}", if is_ipv6 { "6" } else { "" }, value.virtual_router_id),
        |(name, _)| name.clone(),
    );
    for address in value.virtual_addresses.iter_mut().chain(&mut value.excluded_addresses) {
        if address.address.is_ipv6() == is_ipv6 && address.interface == value.interface {
            address.interface.clone_from(&interface);
        }
    }
    value.virtual_mac = Some(VirtualMac { interface, sends_from_base: draft.from_base.is_some() });
}

/// Each virtual MAC has an interface for itself. `places` are those of the names, in the order of `instances`.
pub(super) fn names(
    instances: &[VrrpInstance],
    places: &[(Span, bool)],
    director: Option<&Director>,
    report: &mut Report,
) {
    let mut seen: HashMap<&str, &Span> = HashMap::new();
    for (index, (instance, (place, is_written))) in instances.iter().zip(places).enumerate() {
        let Some(own) = &instance.virtual_mac else { continue };
        let key = if *is_written { "vmac_name" } else { "use_vmac" };
        let path = format!("vrrp_instance[{index}].{key}");
        let help = "write vmac_name = \"…\" with a name that no other interface has";
        let name = own.interface.as_str();
        let is_another = instances.iter().any(|other| other.interface == name)
            || director.is_some_and(|director| director.interfaces.iter().any(|other| other == name));
        if is_another {
            let message = format!("{} is an interface of another kind", quoted(name));
            report.error(place, path, message, help);
        } else if let Some(first) = seen.insert(name, place) {
            let message = format!("the interface {} is another instance's already", quoted(name));
            report.error(place, path, message, help).label("again here").related(first, "first here");
        }
    }
}

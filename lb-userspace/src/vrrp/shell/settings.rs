//! From the configuration to what the core and the codec take.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::vrrp::{InitialState, VrrpInstance, VrrpVersion};
use crate::vrrp::machine::{Garp, Settings};
use crate::vrrp::packet::{
    Addresses, Authentication, Cast, Expected, Interval, Ipv4Checksum, Password, Version, VirtualRouterId,
};

pub(super) fn version(instance: &VrrpInstance) -> Version {
    match instance.version {
        VrrpVersion::V2 => Version::V2,
        VrrpVersion::V3 => Version::V3,
    }
}

pub(super) fn interval(instance: &VrrpInstance) -> Interval {
    // The configuration's check has refused what cannot be said.
    Interval::exact(instance.advert_interval, version(instance)).unwrap_or(Interval::DEFAULT)
}

/// `source`: the address that adverts come from, as far as it is known.
pub(super) fn settings(instance: &VrrpInstance, source: Option<IpAddr>) -> Settings {
    let garp = instance.garp;
    Settings {
        version: version(instance),
        address: source.unwrap_or(unspecified(instance.is_ipv6())),
        priority: instance.priority,
        starts_as_master: instance.state == InitialState::Master || instance.priority == 255,
        interval: interval(instance),
        down_adverts: 3,
        nopreempt: instance.nopreempt,
        preempt_delay: instance.preempt_delay,
        garp: Garp {
            repeat: garp.repeat,
            delay: garp.delay,
            refresh: (!garp.refresh.is_zero()).then_some(garp.refresh),
            refresh_repeat: garp.refresh_repeat,
            lower_priority_repeat: garp.lower_priority_repeat,
            lower_priority_delay: garp.lower_priority_delay,
        },
    }
}

fn unspecified(is_ipv6: bool) -> IpAddr {
    if is_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// The addresses that adverts carry.
pub(super) fn addresses(instance: &VrrpInstance) -> Addresses {
    let own = instance.virtual_addresses.iter().map(|own| own.address);
    if instance.is_ipv6() {
        Addresses::V6(own.filter_map(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None }).collect())
    } else {
        Addresses::V4(own.filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None }).collect())
    }
}

pub(super) fn authentication(instance: &VrrpInstance) -> Authentication {
    instance
        .auth_pass
        .as_deref()
        .and_then(Password::new)
        .map_or(Authentication::None, Authentication::Password)
}

/// `None` only for a number that the configuration does not let through.
pub(super) fn router(instance: &VrrpInstance) -> Option<VirtualRouterId> {
    VirtualRouterId::new(instance.virtual_router_id)
}

/// What adverts of others should be like.
pub(super) fn expected<'i>(
    instance: &'i VrrpInstance,
    router: VirtualRouterId,
    addresses: &'i Addresses,
    own: IpAddr,
) -> Expected<'i> {
    Expected {
        version: version(instance),
        router,
        authentication: authentication(instance),
        interval: interval(instance),
        addresses,
        cast: if instance.unicast_peers.is_empty() {
            Cast::Multicast
        } else {
            Cast::Unicast(&instance.unicast_peers)
        },
        own,
        checksum: Ipv4Checksum::PseudoHeader,
    }
}

//! What has to be so on the host for a virtual MAC to work, besides the macvlan itself.
//!
//! The virtual addresses are on the macvlan, but the interface below hears the same ARP requests. The kernel answers for
//! any address of the host on any interface, and names any of them as the sender of its own requests; so without these
//! settings hosts would learn the interface's MAC for a virtual address, and a fail-over would have to unteach them.

use crate::net::netlink::Link;
use crate::net::sysctl;

use super::record::{HeldDevice, HeldSetting};

/// Is it the macvlan that was recorded?
pub(super) fn is_ours(link: &Link, device: &HeldDevice) -> bool {
    link.name == device.name && link.kind.as_deref() == Some("macvlan") && link.mac == Some(device.mac)
}

/// Of a macvlan: it answers for its own addresses only, and takes packets whose answers go out of the interface below.
/// It has no IPv6 addresses but the virtual ones, for which nobody is asked, and says nothing by itself: whatever it
/// sends on a director that is not master would draw the virtual MAC's packets there.
pub(super) fn of_device(name: &str, is_ipv6: bool) -> Vec<(String, &'static str)> {
    let ipv4 = |key: &str| format!("net/ipv4/conf/{name}/{key}");
    let ipv6 = |key: &str| format!("net/ipv6/conf/{name}/{key}");
    if is_ipv6 {
        return vec![
            // No link-local address of its own: all directors would have the same.
            (ipv6("addr_gen_mode"), "1"),
            (ipv6("accept_ra"), "0"),
            (ipv6("autoconf"), "0"),
            (ipv6("dad_transmits"), "0"),
        ];
    }
    vec![
        (ipv4("arp_ignore"), "1"),
        // The larger of this and `all`'s counts; 2 lets packets in whose answers go out of another interface.
        (ipv4("rp_filter"), "2"),
        (ipv4("promote_secondaries"), "1"),
        (ipv6("disable_ipv6"), "1"),
    ]
}

/// Of the interface below: it answers for its own addresses only, and asks in their name only. Each with the least value
/// that does.
pub(super) fn of_base(name: &str) -> [(String, u32); 2] {
    [(format!("net/ipv4/conf/{name}/arp_ignore"), 1), (format!("net/ipv4/conf/{name}/arp_announce"), 2)]
}

/// What must be changed for these interfaces below macvlans, and was not yet.
pub(super) fn missing<'n>(
    bases: impl IntoIterator<Item = &'n str>,
    done: &[HeldSetting],
) -> Vec<HeldSetting> {
    let all = bases.into_iter().flat_map(of_base);
    let new = all.filter(|(path, _)| done.iter().all(|held| held.path != *path));
    new.filter_map(|(path, least)| {
        let before = sysctl::read(&path).ok()?;
        let is_enough = before.parse::<u32>().is_ok_and(|value| value >= least);
        (!is_enough).then(|| HeldSetting { path, before, now: least.to_string() })
    })
    .collect()
}

/// Puts a setting back, unless somebody has changed it since or its interface is gone.
///
/// # Errors
/// In words.
pub(super) fn put_back(setting: &HeldSetting) -> Result<(), String> {
    match sysctl::read(&setting.path) {
        Ok(value) if value == setting.now => sysctl::write(&setting.path, &setting.before)
            .map_err(|error| format!("/proc/sys/{}: {error}", setting.path)),
        Ok(_) | Err(_) => Ok(()),
    }
}

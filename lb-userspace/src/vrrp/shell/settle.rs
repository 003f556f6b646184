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

/// What one of the kernel's settings for an interface should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Below `/proc/sys`.
    pub(crate) directory: &'static str,
    /// The file's name.
    pub(crate) key: &'static str,
    pub(crate) value: u32,
}

impl Setting {
    const fn ipv4(key: &'static str, value: u32) -> Self {
        Self { directory: "net/ipv4/conf", key, value }
    }

    const fn ipv6(key: &'static str, value: u32) -> Self {
        Self { directory: "net/ipv6/conf", key, value }
    }

    /// Below `/proc/sys`.
    pub(crate) fn path(&self, interface: &str) -> String {
        let Self { directory, key, .. } = self;
        format!("{directory}/{interface}/{key}")
    }
}

const OF_IPV4_DEVICE: [Setting; 5] = [
    Setting::ipv4("arp_ignore", 1),
    // With 1 it would answer only hosts that it has a route to, and its routes are those of the interface below.
    Setting::ipv4("arp_filter", 0),
    // The larger of this and `all`'s counts; 2 lets packets in whose answers go out of another interface.
    Setting::ipv4("rp_filter", 2),
    Setting::ipv4("promote_secondaries", 1),
    Setting::ipv6("disable_ipv6", 1),
];
const OF_IPV6_DEVICE: [Setting; 5] = [
    // No link-local address of its own: all directors would have the same.
    Setting::ipv6("addr_gen_mode", 1),
    Setting::ipv6("accept_ra", 0),
    Setting::ipv6("autoconf", 0),
    Setting::ipv6("dad_transmits", 0),
    Setting::ipv6("disable_ipv6", 0),
];

/// Of a macvlan: it answers for its own addresses only, and takes packets whose answers go out of the interface below.
/// It has no IPv6 addresses but the virtual ones, for which nobody is asked, and says nothing by itself: whatever it
/// sends on a director that is not master would draw the virtual MAC's packets there.
pub(crate) const fn of_device(is_ipv6: bool) -> &'static [Setting] {
    if is_ipv6 { &OF_IPV6_DEVICE } else { &OF_IPV4_DEVICE }
}

/// Of the interface below a macvlan for IPv4: it answers for its own addresses only, and asks in their name only. Each
/// with the least value that does.
pub(crate) const OF_BASE: [Setting; 2] = [Setting::ipv4("arp_ignore", 1), Setting::ipv4("arp_announce", 2)];

/// What must be changed for these interfaces below macvlans, and was not yet.
pub(super) fn missing<'n>(
    bases: impl IntoIterator<Item = &'n str>,
    done: &[HeldSetting],
) -> Vec<HeldSetting> {
    let all = bases.into_iter().flat_map(|base| OF_BASE.map(|setting| (setting.path(base), setting.value)));
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

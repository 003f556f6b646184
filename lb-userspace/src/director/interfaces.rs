//! The program on the configured interfaces.

use std::path::PathBuf;

use aya::programs::Xdp;
use lb_common::memory::place_interface;

use super::instance::Instance;
use crate::config::XdpMode;
use crate::dataplane::attach::{self, AttachError, Mode};
use crate::dataplane::tables::Tables;
use crate::net::netlink::{Link, Netlink, PeerXdp};

/// Which modes to try on an interface, in order, and why not all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// In order.
    pub modes: Vec<Mode>,
    /// What an operator should know.
    pub warning: Option<String>,
}

/// `auto` must always end in something that forwards. A veth whose peer takes no transmitted XDP frames
/// would silently lose them in native mode.
pub fn choose(configured: XdpMode, name: &str, peer: Option<PeerXdp>) -> Choice {
    let lossy = matches!(peer, Some(PeerXdp::No | PeerXdp::Unknown));
    let remedy = "attach an XDP program that passes everything to the other end of the veth";
    match configured {
        XdpMode::Generic => Choice { modes: vec![Mode::Generic], warning: None },
        XdpMode::Native => Choice {
            modes: vec![Mode::Native],
            warning: lossy.then(|| {
                format!(
                    "interface {name}: is a veth whose other end has no XDP program, so what native XDP transmits is \
                     lost; {remedy}, or set xdp_mode = \"auto\""
                )
            }),
        },
        XdpMode::Auto if lossy => Choice {
            modes: vec![Mode::Generic],
            warning: Some(format!(
                "interface {name}: is a veth whose other end has no XDP program and would lose what native XDP \
                 transmits; using generic XDP, which is slower; {remedy}"
            )),
        },
        XdpMode::Auto => Choice { modes: vec![Mode::Native, Mode::Generic], warning: None },
    }
}

/// Is the peer of this interface to be asked?
pub async fn peer(netlink: &Netlink, link: &Link) -> Option<PeerXdp> {
    if link.kind.as_deref() == Some("veth") { Some(netlink.veth_peer_accepts_xdp(link).await) } else { None }
}

/// Makes the interface known to the program.
pub fn introduce(tables: &Tables, link: &Link) -> bool {
    link.mac.is_some_and(|mac| place_interface(&tables.settings().interfaces, link.index, mac))
}

/// Makes the program forget the interface.
pub fn forget(tables: &Tables, index: u32) {
    let settings = tables.settings();
    let slots = settings.interfaces.iter().zip(&settings.virtual_macs);
    for (slot, virtual_macs) in slots.filter(|(slot, _)| slot.is(index)) {
        slot.index.store(0);
        virtual_macs.0.iter().flatten().for_each(|word| word.store(0));
    }
}

/// Puts the program on an interface, or replaces an older one there that is ours. Returns the mode of a new
/// attachment.
pub async fn attach(
    program: &mut Xdp,
    instance: &Instance,
    netlink: &Netlink,
    link: &Link,
    configured: XdpMode,
) -> Result<Option<Mode>, AttachError> {
    let pin: PathBuf = instance.link_pin(link.index);
    if pin.exists() && attach::replace(program, &pin) {
        return Ok(None);
    }
    let choice = choose(configured, &link.name, peer(netlink, link).await);
    if let Some(warning) = &choice.warning {
        tracing::warn!("{warning}");
    }
    let mut last = None;
    for mode in choice.modes {
        match attach::attach(program, &link.name, link.index, mode, &pin) {
            Ok(()) => return Ok(Some(mode)),
            Err(error @ AttachError::Busy { .. }) => return Err(error),
            Err(error) => {
                if mode == Mode::Native && configured == XdpMode::Auto {
                    tracing::warn!("{error}; using generic XDP, which is slower");
                }
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or(AttachError::NoLink { interface: link.name.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_always_ends_in_something_that_forwards() {
        use Mode::{Generic, Native};
        for (configured, peer, modes, warns) in [
            (XdpMode::Auto, None, vec![Native, Generic], false),
            (XdpMode::Auto, Some(PeerXdp::Yes), vec![Native, Generic], false),
            (XdpMode::Auto, Some(PeerXdp::No), vec![Generic], true),
            (XdpMode::Auto, Some(PeerXdp::Unknown), vec![Generic], true),
            (XdpMode::Native, Some(PeerXdp::No), vec![Native], true),
            (XdpMode::Native, None, vec![Native], false),
            (XdpMode::Generic, Some(PeerXdp::No), vec![Generic], false),
        ] {
            let choice = choose(configured, "eth0", peer);
            assert_eq!((choice.modes, choice.warning.is_some()), (modes, warns), "{configured:?} {peer:?}");
        }
    }
}

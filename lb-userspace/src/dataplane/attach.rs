//! The program on interfaces, by links that are pinned, so that it stays when the daemon goes, and that take a
//! newer program without a packet lost.

use std::io;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};

/// Why the program is not on an interface.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Something else is there.
    #[error(
        "interface {interface}: another XDP program is attached; remove it (`ip link set dev {interface} xdp off`, or \
         `lbctl down` of the instance it belongs to)"
    )]
    Busy {
        /// The interface.
        interface: String,
    },
    /// The driver has no native XDP.
    #[error("interface {interface}: its driver has no native XDP; set xdp_mode = \"auto\" or \"generic\"")]
    NoNative {
        /// The interface.
        interface: String,
    },
    /// Anything else the kernel says.
    #[error("interface {interface}: the kernel refuses the XDP program")]
    Refused {
        /// The interface.
        interface: String,
        /// Its answer.
        #[source]
        source: Box<ProgramError>,
    },
    /// No link but the older attachment, which ends with the process.
    #[error("interface {interface}: this kernel has no links for XDP; 5.15 or newer is needed")]
    NoLink {
        /// The interface.
        interface: String,
    },
    /// The link cannot be kept.
    #[error("{path}: the XDP link cannot be pinned")]
    Pin {
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// Where XDP runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the stack, on socket buffers: slow, works everywhere.
    Generic,
}

fn errno(error: &ProgramError) -> Option<i32> {
    if let ProgramError::SyscallError(error) = error { error.io_error.raw_os_error() } else { None }
}

/// Puts the program on an interface and pins the link at `pin`.
///
/// # Errors
///
/// See [`AttachError`]; nothing stays attached.
pub fn attach(program: &mut Xdp, name: &str, index: u32, mode: Mode, pin: &Path) -> Result<(), AttachError> {
    let interface = || name.to_owned();
    let flags = match mode {
        Mode::Native => XdpMode::Driver,
        Mode::Generic => XdpMode::Skb,
    };
    let refused = |source: ProgramError| match errno(&source) {
        Some(libc::EBUSY | libc::EEXIST) => AttachError::Busy { interface: interface() },
        Some(libc::EOPNOTSUPP) if mode == Mode::Native => AttachError::NoNative { interface: interface() },
        _ => AttachError::Refused { interface: interface(), source: Box::new(source) },
    };
    let id = program.attach_to_if_index(index, flags).map_err(refused)?;
    let link = program.take_link(id).map_err(refused)?;
    let link =
        FdLink::try_from(link).map_err(|_not_a_link| AttachError::NoLink { interface: interface() })?;
    link.pin(pin)
        .map(drop)
        .map_err(|source| AttachError::Pin { path: pin.to_owned(), source: io::Error::other(source) })
}

/// Replaces the program of the link pinned at `pin`, between two packets. `false`, and the pin removed, if the
/// link is of no use: its interface is gone.
pub fn replace(program: &mut Xdp, pin: &Path) -> bool {
    let replaced = PinnedLink::from_pin(pin)
        .ok()
        .and_then(|link| XdpLink::try_from(FdLink::from(link)).ok())
        .and_then(|link| program.attach_to_link(link).ok())
        .is_some();
    if !replaced {
        detach(pin);
    }
    replaced
}

/// Takes the program off an interface, if it is there.
pub fn detach(pin: &Path) {
    // The link ends with its last reference, and the pin is one; what is not there need not be removed.
    std::fs::remove_file(pin).unwrap_or_default();
}

//! The program on interfaces, by links that are pinned, so that it stays when the daemon goes, and that take a
//! newer program without a packet lost.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
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
    // A link that is only unpinned ends some time later, when the kernel frees the pin.
    if let Some(link) = open_pin(pin) {
        let mut attributes = [0u64; 16];
        attributes[0] = u64::from(link.as_raw_fd().unsigned_abs()).to_le();
        bpf(BPF_LINK_DETACH, &attributes);
    }
    // The link ends with its last reference, and the pin is one; what is not there need not be removed.
    std::fs::remove_file(pin).unwrap_or_default();
}

/// `enum bpf_cmd` in include/uapi/linux/bpf.h.
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_DETACH: libc::c_int = 34;

/// The object pinned at `path`. aya has it too, but neither lends its descriptor nor detaches it.
fn open_pin(path: &Path) -> Option<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut attributes = [0u64; 16];
    attributes[0] = path.as_ptr().expose_provenance() as u64;
    let fd = i32::try_from(bpf(BPF_OBJ_GET, &attributes)).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just made this descriptor for this call, and nothing else knows it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// bpf(2). Its first field is a link's descriptor (32 bits, then nothing but zeros) or the address of a path that
/// outlives the call; either way it writes no memory of ours.
fn bpf(command: libc::c_int, attributes: &[u64; 16]) -> libc::c_long {
    // SAFETY: the attributes are readable for the length that is given, and a path in them is alive, see above.
    unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes)) }
}

//! Settings of the kernel, below `/proc/sys` of the calling thread's network namespace.

use std::fs;
use std::io;
use std::path::Path;

/// Reads one, without the line's end. `path` is as `net/ipv4/conf/eth0/arp_ignore`.
///
/// # Errors
/// There is none of this name.
pub fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(Path::new("/proc/sys").join(path)).map(|text| text.trim().to_owned())
}

/// Writes one.
///
/// # Errors
/// There is none of this name, or the file system is read-only.
pub fn write(path: &str, value: &str) -> io::Result<()> {
    fs::write(Path::new("/proc/sys").join(path), value)
}

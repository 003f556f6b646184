//! The archive that the kernel starts from: busybox, the modules that reach the host's root, and a script.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::guest;
use super::kernel::{decompress, only_entry};

/// What the guest needs before it has a root. Those that they depend on come along.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"];
const BUSYBOX: &str = "/bin/busybox";
/// The programs that the script calls busybox by.
const APPLETS: [&str; 9] =
    ["cat", "insmod", "mkdir", "mount", "reboot", "sh", "sleep", "switch_root", "umount"];

/// Builds the archive, or finds the one that was made of the same parts.
pub(super) fn prepare(directory: &Path, modules: &Path) -> anyhow::Result<PathBuf> {
    let busybox = fs::read(BUSYBOX).with_context(|| format!("{BUSYBOX}: cannot be read"))?;
    let mut hasher = DefaultHasher::new();
    (guest::FIRST_STAGE, MODULES, APPLETS, &busybox).hash(&mut hasher);
    let path = directory.join(format!("initramfs-{:016x}.cpio", hasher.finish()));
    if path.exists() {
        return Ok(path);
    }
    if has_interpreter(&busybox) {
        bail!("{BUSYBOX}: is linked dynamically; install the package busybox-static");
    }
    let version = only_entry(modules)?;
    let mut archive = Archive::default();
    for name in ["bin", "dev", "lower", "modules", "new", "proc", "rw", "sys"] {
        archive.directory(name);
    }
    archive.console("dev/console");
    archive.file("bin/busybox", &busybox);
    for applet in APPLETS {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    archive.file("init", guest::FIRST_STAGE.as_bytes());
    let mut list = String::new();
    for module in with_dependencies(directory, &version)? {
        let content = fs::read(&module).with_context(|| format!("{}: cannot be read", module.display()))?;
        let name = module.file_stem().context("a module without a name")?.to_string_lossy();
        // busybox may not know how to decompress.
        let (name, content) = match name.strip_suffix(".ko") {
            Some(stem) => (stem.to_owned(), decompress("xz", &content)?),
            None => (name.into_owned(), content),
        };
        archive.file(&format!("modules/{name}.ko"), &content);
        list.push_str(&name);
        list.push('\n');
    }
    archive.file("modules.list", list.as_bytes());
    let scratch = path.with_extension("new");
    fs::write(&scratch, archive.finish())
        .with_context(|| format!("{}: cannot be written", scratch.display()))?;
    fs::rename(&scratch, &path)?;
    Ok(path)
}

/// The files of [`MODULES`] and of those they need, each once, in the order they must be loaded in.
fn with_dependencies(directory: &Path, version: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for module in MODULES {
        let output = Command::new("modprobe")
            .arg("--dirname")
            .arg(directory)
            .args(["--set-version", version, "--show-depends", module])
            .output()
            .context("modprobe cannot be run")?;
        if !output.status.success() {
            bail!("modprobe: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        // Lines "insmod PATH [OPTION]…"; "builtin NAME" for what is in the kernel.
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in lines.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let file = PathBuf::from(line.split_whitespace().next().unwrap_or_default());
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// Does this ELF file name a dynamic linker?
fn has_interpreter(program: &[u8]) -> bool {
    // The name stands right after the headers.
    program.windows(9).take(4096).any(|window| window == b"/ld-linux")
}

/// An archive in the format `newc` of cpio (`Documentation/driver-api/early-userspace/buffer-format.rst`): each
/// entry a header of thirteen hexadecimal fields, the name and the content, both padded to four bytes.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn directory(&mut self, name: &str) {
        self.entry(name, 0o040_755, (0, 0), &[]);
    }

    fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, 0o100_755, (0, 0), content);
    }

    fn link(&mut self, name: &str, target: &str) {
        self.entry(name, 0o120_777, (0, 0), target.as_bytes());
    }

    /// The device that the kernel opens for the first process.
    fn console(&mut self, name: &str) {
        self.entry(name, 0o020_600, (5, 1), &[]);
    }

    fn entry(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.entries += 1;
        let size = content.len();
        let name_size = name.len() + 1;
        let header = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:08x}{:08x}{major:08x}{minor:08x}{name_size:08x}{:08x}",
            self.entries, 0, 0, 1, 0, 0, 0, 0
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_header_and_padded_name_and_content() {
        let mut archive = Archive::default();
        archive.file("a", b"hello");
        let bytes = &archive.bytes;
        assert_eq!(bytes.len(), 110 + 2 + 8, "header, name, content, all padded");
        assert!(bytes.starts_with(b"07070100000001000081ed"), "magic, inode 1, mode 100755");
        assert_eq!(&bytes[54..62], b"00000005", "size of the content");
        assert_eq!(&bytes[94..102], b"00000002", "size of the name with its end");
        assert_eq!(&bytes[110..], b"a\0hello\0\0\0");
    }
}

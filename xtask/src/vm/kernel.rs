//! Debian's kernels: the package from apt, taken apart once and kept in the user's cache.
//!
//! ```text
//! ~/.cache/lbctl-vm/6.1/vmlinux               the bare kernel
//!                      /initramfs-HASH.cpio   what it starts from
//!                      /lib/modules/VERSION/  its modules, without drivers of hardware that a guest cannot have
//!                      /ready                 is there when all the rest is
//! ```

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context as _, bail};

use super::initramfs;

/// A series of kernels that Debian 12 packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// Debian 12's own.
    Linux6_1,
    /// Debian 13's, for Debian 12.
    Linux6_12,
}

impl Kernel {
    pub(crate) const ALL: [Self; 2] = [Self::Linux6_1, Self::Linux6_12];

    /// The package that depends on the newest of the series.
    fn package(self) -> &'static str {
        match self {
            Self::Linux6_1 => "linux-image-amd64",
            Self::Linux6_12 => "linux-image-6.12-amd64",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linux6_1 => "6.1",
            Self::Linux6_12 => "6.12",
        })
    }
}

impl FromStr for Kernel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kernel| kernel.to_string() == text)
            .ok_or_else(|| format!("there are {}", Self::ALL.map(|kernel| kernel.to_string()).join(" and ")))
    }
}

/// A kernel that can be started.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) image: PathBuf,
    pub(super) initramfs: PathBuf,
    /// The guest's `/usr/lib/modules`.
    pub(super) modules: PathBuf,
}

/// Gets the kernel, or finds it in the cache.
pub(super) fn prepare(kernel: Kernel) -> anyhow::Result<Prepared> {
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("{}: cannot be made", cache.display()))?;
    // Two tests that start at once must not both unpack.
    let lock = cache.join("lock");
    let lock = File::create(&lock).with_context(|| format!("{}: cannot be written", lock.display()))?;
    lock.lock()?;
    let directory = cache.join(kernel.to_string());
    if !directory.join("ready").exists() {
        unpack(kernel, &directory).with_context(|| format!("the kernel {kernel} cannot be had"))?;
    }
    let modules = directory.join("lib/modules");
    Ok(Prepared {
        image: directory.join("vmlinux"),
        initramfs: initramfs::prepare(&directory, &modules)?,
        modules,
    })
}

fn cache() -> anyhow::Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set; set one of them")?.join("lbctl-vm"))
}

fn unpack(kernel: Kernel, directory: &Path) -> anyhow::Result<()> {
    let scratch = directory.with_extension("new");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    fs::create_dir_all(&scratch)?;
    let package = download(kernel, &scratch)?;
    extract(&package, &scratch)?;
    fs::remove_file(&package)?;

    let version = only_entry(&scratch.join("lib/modules"))?;
    succeed(Command::new("depmod").arg("-b").arg(&scratch).arg(&version))?;
    let image = scratch.join("boot").join(format!("vmlinuz-{version}"));
    let image = fs::read(&image).with_context(|| format!("{}: cannot be read", image.display()))?;
    fs::write(scratch.join("vmlinux"), bare(&image)?)?;
    fs::remove_dir_all(scratch.join("boot"))?;
    File::create(scratch.join("ready"))?;
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::rename(&scratch, directory)?;
    Ok(())
}

/// Has apt download the newest kernel of the series; needs no root.
fn download(kernel: Kernel, into: &Path) -> anyhow::Result<PathBuf> {
    let newest = || {
        let output = Command::new("apt-cache").args(["depends", kernel.package()]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        names.find(|name| name.starts_with("linux-image-")).map(str::to_owned)
    };
    let get = |name: &str| succeed(Command::new("apt-get").args(["download", "-q", name]).current_dir(into));
    let update = || succeed(Command::new("apt-get").args(["update", "-q"]));

    let name = newest().or_else(|| {
        // Never asked for packages, or not root: the missing name says enough.
        update().ok()?;
        newest()
    });
    let name = name.with_context(|| {
        format!("apt knows no package {}; run `apt-get update` with Debian 12's archives", kernel.package())
    })?;
    crate::progress(&format!("downloading {name}"));
    get(&name).or_else(|_| update().and_then(|()| get(&name)))?;
    let packages = fs::read_dir(into)?.flatten().map(|entry| entry.path());
    packages
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .context("apt downloaded nothing")
}

/// As `dpkg --extract`, without the drivers that make four fifths of it.
fn extract(package: &Path, into: &Path) -> anyhow::Result<()> {
    const DRIVERS: [&str; 9] = [
        "sound",
        "drivers/gpu",
        "drivers/iio",
        "drivers/infiniband",
        "drivers/media",
        "drivers/net/ethernet",
        "drivers/net/wireless",
        "drivers/scsi",
        "drivers/staging",
    ];
    let mut dpkg = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("dpkg-deb cannot be run")?;
    let mut tar = Command::new("tar");
    tar.arg("-x").arg("-C").arg(into).arg("--wildcards").arg("--no-same-owner");
    for drivers in DRIVERS {
        // Packages made for a merged /usr have usr/lib.
        tar.arg(format!("--exclude=./lib/modules/*/kernel/{drivers}"));
        tar.arg(format!("--exclude=./usr/lib/modules/*/kernel/{drivers}"));
    }
    let archive = dpkg.stdout.take().context("dpkg-deb has no output")?;
    let extracted = succeed(tar.stdin(archive));
    if !dpkg.wait()?.success() {
        bail!("dpkg-deb: {} is damaged; try again", package.display());
    }
    extracted?;
    if into.join("usr/lib/modules").exists() {
        fs::rename(into.join("usr/lib"), into.join("lib"))?;
    }
    Ok(())
}

/// The bare kernel in a `bzImage`.
///
/// Decompressing it is half a boot in emulation, and QEMU can start the bare kernel as well (PVH). The layout is
/// that of `Documentation/arch/x86/boot.rst`: the payload begins at `payload_offset` after the real-mode code of
/// `setup_sects` + 1 sectors, and ends with four bytes that are not part of the compressed stream.
fn bare(image: &[u8]) -> anyhow::Result<Vec<u8>> {
    const SETUP_SECTS: usize = 0x1f1;
    const PAYLOAD_OFFSET: usize = 0x248;
    const PAYLOAD_LENGTH: usize = 0x24c;
    let number = |at: usize| {
        let bytes = image.get(at..at + 4)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let payload = || {
        let start = (usize::from(*image.get(SETUP_SECTS)?) + 1) * 512 + number(PAYLOAD_OFFSET)?;
        image.get(start..start + number(PAYLOAD_LENGTH)?)
    };
    let payload = payload().context("the package's vmlinuz is no bzImage")?;
    let program = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x1f, 0x8b, ..] => "gzip",
        _ => bail!("the package's vmlinuz is compressed in an unknown way; xz, zstd and gzip are known"),
    };
    let kernel = decompress(program, payload)?;
    if !kernel.starts_with(b"\x7fELF") {
        bail!("the package's vmlinuz holds no ELF file");
    }
    Ok(kernel)
}

/// What a decompressing program makes of this. Complaints about what follows the stream are ignored.
pub(super) fn decompress(program: &str, compressed: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut child = Command::new(program)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{program} cannot be run; install it"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let output = std::thread::scope(|scope| {
        // It stops reading at the end of the stream; the rest cannot be written then.
        scope.spawn(move || stdin.write_all(compressed).unwrap_or_default());
        child.wait_with_output()
    })?;
    if output.stdout.is_empty() {
        bail!("{program}: {}", output.status);
    }
    Ok(output.stdout)
}

/// The name of a directory's only entry.
pub(super) fn only_entry(directory: &Path) -> anyhow::Result<String> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("{}: cannot be read", directory.display()))?;
    let names: Vec<_> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    match names.as_slice() {
        [name] => Ok(name.clone()),
        _ => bail!("{}: one entry is expected, there are {}", directory.display(), names.len()),
    }
}

/// Runs a command silently; what it said is in the error.
fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdout(Stdio::null()).output().with_context(|| format!("{program} cannot be run"))?;
    if !output.status.success() {
        bail!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

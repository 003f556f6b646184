//! Which file goes where.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::cargo;

/// A program and what it says about itself.
pub(super) struct Binary {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Binary {
    pub(super) fn read(path: PathBuf) -> anyhow::Result<Self> {
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, bytes })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The loader that it needs; `None` if it is static. (ELF64: program header of type `PT_INTERP`.)
    pub(super) fn interpreter(&self) -> Option<&str> {
        let number = |at: usize, width: usize| -> Option<usize> {
            let bytes = self.bytes.get(at..at.checked_add(width)?)?;
            usize::try_from(bytes.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))).ok()
        };
        let (table, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
        (0..count).find_map(|index| {
            let header = table + index * size;
            (number(header, 4)? == 3).then_some(())?;
            let (offset, length) = (number(header + 8, 8)?, number(header + 32, 8)?);
            std::str::from_utf8(self.bytes.get(offset..offset + length.checked_sub(1)?)?).ok()
        })
    }

    /// The newest version of glibc that it names, which is the oldest that it runs with.
    pub(super) fn glibc(&self) -> Option<(u32, u32)> {
        let text = String::from_utf8_lossy(&self.bytes);
        text.split("GLIBC_")
            .skip(1)
            .filter_map(|rest| {
                let version: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
                let mut numbers = version.split('.').map(str::parse::<u32>);
                Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
            })
            .max()
    }
}

/// What goes into a package besides the program.
pub(super) struct Tree<'g> {
    /// Manual pages and completions.
    pub(super) generated: &'g Path,
    pub(super) version: &'static str,
}

impl Tree<'_> {
    /// Below `root`, as Debian has it.
    pub(super) fn debian(&self, binary: &Binary, root: &Path) -> anyhow::Result<()> {
        program(binary, &root.join("usr/bin/lbctl"))?;
        self.completions(
            &root.join("usr/share/bash-completion/completions"),
            &root.join("usr/share/zsh/vendor-completions"),
            &root.join("usr/share/fish/vendor_completions.d"),
        )?;
        self.manual(&root.join("usr/share/man/man8"))?;
        let units = "usr/lib/systemd/system";
        each("config/systemd", "service", |from, name| copy(from, &root.join(units).join(name)))?;
        let doc = root.join("usr/share/doc/lbctl");
        Self::documents(&doc)?;
        compressed(&fs::read(cargo::workspace().join("CHANGELOG.md"))?, &doc.join("changelog.gz"))?;
        write(&root.join("usr/share/doc/lbctl/copyright"), &copyright()?)?;
        directory(&root.join("etc/lbctl"))
    }

    /// Below `root`, for any Linux.
    pub(super) fn tarball(&self, binary: &Binary, root: &Path) -> anyhow::Result<()> {
        program(binary, &root.join("bin/lbctl"))?;
        let completions = root.join("completions");
        self.completions(&completions.join("bash"), &completions.join("zsh"), &completions.join("fish"))?;
        self.manual(&root.join("man/man8"))?;
        each("config/systemd", "service", |from, name| copy(from, &root.join("systemd").join(name)))?;
        Self::documents(root)?;
        for name in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE", "LICENSE-GPL-2.0"] {
            copy(&cargo::workspace().join(name), &root.join(name))?;
        }
        Ok(())
    }

    fn completions(&self, bash: &Path, zsh: &Path, fish: &Path) -> anyhow::Result<()> {
        let from = self.generated.join("completions");
        copy(&from.join("lbctl.bash"), &bash.join("lbctl"))?;
        copy(&from.join("_lbctl"), &zsh.join("_lbctl"))?;
        copy(&from.join("lbctl.fish"), &fish.join("lbctl.fish"))
    }

    fn manual(&self, to: &Path) -> anyhow::Result<()> {
        let pages = fs::read_dir(self.generated.join("man"))?;
        for page in pages {
            let page = page?;
            let name = page.file_name().to_string_lossy().into_owned();
            compressed(&fs::read(page.path())?, &to.join(format!("{name}.gz")))?;
        }
        Ok(())
    }

    /// The documents, and the example configurations.
    fn documents(to: &Path) -> anyhow::Result<()> {
        each("docs", "md", |from, name| copy(from, &to.join(name)))?;
        each("config", "toml", |from, name| copy(from, &to.join("examples").join(name)))
    }
}

/// The licences, as Debian's copyright file has them (DEP 5).
fn copyright() -> anyhow::Result<Vec<u8>> {
    let mut text = String::from(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: lbctl\n\n\
         Files: *\nCopyright: the authors of lbctl\nLicense: MIT or Apache-2.0\n\n\
         Files: lb-ebpf/*\nCopyright: the authors of lbctl\nLicense: MIT or GPL-2\n\n",
    );
    let mit = fs::read_to_string(cargo::workspace().join("LICENSE-MIT"))?;
    text.push_str("License: MIT\n");
    for line in mit.lines() {
        text.push_str(&if line.is_empty() { " .\n".to_owned() } else { format!(" {line}\n") });
    }
    text.push_str(
        "\nLicense: Apache-2.0\n In Debian: /usr/share/common-licenses/Apache-2.0\n\n\
         License: GPL-2\n In Debian: /usr/share/common-licenses/GPL-2\n",
    );
    Ok(text.into_bytes())
}

/// Every file with this extension in a directory of the workspace.
fn each(
    directory: &str,
    extension: &str,
    mut visit: impl FnMut(&Path, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let directory = cargo::workspace().join(directory);
    for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_some_and(|found| found == extension) {
            visit(&path, &entry.file_name().to_string_lossy())?;
        }
    }
    Ok(())
}

/// A directory, and those above it, as everybody may read them.
pub(super) fn directory(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| path.display().to_string())?;
    for above in path.ancestors().take_while(|above| above.components().count() > 3) {
        // Those above the stage belong to others.
        fs::set_permissions(above, fs::Permissions::from_mode(0o755)).unwrap_or_default();
    }
    Ok(())
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        directory(parent)?;
    }
    fs::write(path, bytes).with_context(|| path.display().to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    write(to, &fs::read(from).with_context(|| from.display().to_string())?)
}

/// The program, without what only a debugger needs.
fn program(binary: &Binary, to: &Path) -> anyhow::Result<()> {
    write(to, &[])?;
    super::call(
        "strip",
        ["--strip-unneeded".as_ref(), "-o".as_ref(), to.as_os_str(), binary.path().as_os_str()],
    )?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// `gzip -9n`.
fn compressed(bytes: &[u8], to: &Path) -> anyhow::Result<()> {
    let mut gzip = Command::new("gzip")
        .args(["-9", "--no-name", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("gzip cannot be run; install it")?;
    let mut input = gzip.stdin.take().context("gzip takes no input")?;
    let bytes = bytes.to_vec();
    let feeder = std::thread::spawn(move || input.write_all(&bytes));
    let output = gzip.wait_with_output()?;
    feeder.join().map_err(|_panic| anyhow::anyhow!("gzip cannot be fed"))??;
    anyhow::ensure!(output.status.success(), "gzip: {}", output.status);
    write(to, &output.stdout)
}

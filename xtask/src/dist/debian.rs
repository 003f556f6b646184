//! The Debian package, by `dpkg-deb`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::call;
use super::tree::{Binary, Tree, directory, write};

/// After an upgrade the running daemon is killed, not stopped: systemd starts the new one, which takes the
/// datapath over without losing a packet. A package that is new starts nothing: there is no configuration yet.
const POSTINST: &str = r#"#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
    if [ -n "$2" ] && systemctl --quiet is-active lbctl.service; then
        systemctl kill --signal=KILL lbctl.service || true
    fi
fi
"#;

/// Removing the package takes the datapath down; upgrading it does not.
const PRERM: &str = r#"#!/bin/sh
set -e
if [ "$1" = remove ]; then
    if [ -d /run/systemd/system ]; then
        systemctl disable --now lbctl.service lbctl-realserver.service || true
    fi
    # Directors that were started without systemd.
    for record in /run/lbctl/*/director.json; do
        [ -e "$record" ] || continue
        lbctl down --instance "$(basename "$(dirname "$record")")" || true
    done
    # And real servers.
    for record in /run/lbctl/*/realserver.json; do
        [ -e "$record" ] || continue
        lbctl realserver stop --instance "$(basename "$(dirname "$record")")" || true
    done
fi
"#;

/// The configuration is the administrator's own file, and stays if it is there.
const POSTRM: &str = r#"#!/bin/sh
set -e
if [ "$1" = purge ]; then
    rm -rf /run/lbctl
    if [ -d /etc/lbctl ]; then
        rmdir --ignore-fail-on-non-empty /etc/lbctl
    fi
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
"#;

/// Builds the package in `out`, and returns where it is. One that is thrown away is packed fast, not small.
pub(super) fn build(tree: &Tree<'_>, binary: &Binary, out: &Path, is_kept: bool) -> anyhow::Result<PathBuf> {
    let stage = tempfile::tempdir()?;
    let root = stage.path().join("lbctl");
    tree.debian(binary, &root)?;
    let control = root.join("DEBIAN");
    directory(&control)?;
    for (name, text) in [("postinst", POSTINST), ("prerm", PRERM), ("postrm", POSTRM)] {
        write(&control.join(name), text.as_bytes())?;
        fs::set_permissions(control.join(name), fs::Permissions::from_mode(0o755))?;
    }
    write(&control.join("control"), fields(tree, binary, &root)?.as_bytes())?;
    write(&control.join("md5sums"), sums(&root)?.as_bytes())?;
    let path = out.join(format!("lbctl_{}_amd64.deb", tree.version));
    call(
        "dpkg-deb",
        [
            "--root-owner-group".as_ref(),
            OsStr::new(if is_kept { "-Zxz" } else { "-Znone" }),
            "--build".as_ref(),
            root.as_os_str(),
            path.as_os_str(),
        ],
    )?;
    Ok(path)
}

fn fields(tree: &Tree<'_>, binary: &Binary, root: &Path) -> anyhow::Result<String> {
    let depends = match binary.interpreter() {
        None => String::new(),
        Some(_) => {
            let (major, minor) = binary.glibc().context("which glibc lbctl needs cannot be found out")?;
            format!("Depends: libc6 (>= {major}.{minor}), libgcc-s1\n")
        }
    };
    let output = Command::new("du").args(["--summarize", "--block-size=1024"]).arg(root).output()?;
    let size = String::from_utf8_lossy(&output.stdout);
    let size = size.split_whitespace().next().unwrap_or("0");
    Ok(format!(
        "Package: lbctl\nVersion: {}\nArchitecture: amd64\nMaintainer: the authors of lbctl <root@localhost>\n\
         Installed-Size: {size}\n{depends}Recommends: iproute2, systemd\nSuggests: ethtool, nftables\n\
         Section: net\nPriority: optional\n\
         Description: layer-4 load balancer by XDP\n \
         Balances TCP and UDP connections over real servers, as Linux Virtual Server does: by direct routing\n \
         and other forwarding methods, with health checks and VRRP between directors. Packets are forwarded by\n \
         an XDP program in the network driver; a daemon keeps its tables. One program for directors and real\n \
         servers.\n",
        tree.version
    ))
}

/// Every file's MD5 sum, as dpkg checks them.
fn sums(root: &Path) -> anyhow::Result<String> {
    let script = "find . -path ./DEBIAN -prune -o -type f -printf '%P\\0' | sort -z | xargs -0 md5sum";
    let output = Command::new("sh").args(["-c", script]).current_dir(root).output()?;
    anyhow::ensure!(output.status.success(), "md5sum: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

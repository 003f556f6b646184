//! What must be so before anything is changed. Everything that is wrong is reported at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::instance::BPF_FS;
use crate::config::Config;
use crate::config::checks::ProbeKind;
use crate::config::vrrp::VrrpInstance;
use crate::health::probe::read_authorities;
use crate::net::netlink::{Link, NetlinkError};
use crate::vrrp::shell::filter;

/// The oldest kernel that is supported.
pub const OLDEST_KERNEL: (u32, u32) = (5, 15);

/// Everything that keeps the director from starting.
#[derive(Debug, Default, thiserror::Error)]
pub struct Refusal {
    /// One sentence each, with the remedy.
    pub problems: Vec<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

/// Linux capabilities by number (`include/uapi/linux/capability.h`).
const NEEDED: [(u32, &str); 4] =
    [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];
/// Has what CAP_BPF and CAP_PERFMON split off.
const SYS_ADMIN: u32 = 21;

/// The needed capabilities that the effective set in `/proc/self/status` lacks.
pub(crate) fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or(0);
    let has = |number: u32| effective >> number & 1 != 0;
    NEEDED
        .iter()
        .filter(|(number, _)| !(has(*number) || *number >= 38 && has(SYS_ADMIN)))
        .map(|(_, name)| *name)
        .collect()
}

/// Is "6.1.0-56-amd64" at least [`OLDEST_KERNEL`]? A release that cannot be read passes.
pub(crate) fn kernel_is_new_enough(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) >= OLDEST_KERNEL,
        _ => true,
    }
}

/// The needed capabilities for VRRP alone.
pub fn host_without_balancing() -> Result<(), Refusal> {
    let missing = missing_capabilities(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    let missing: Vec<_> = missing.into_iter().filter(|name| name.starts_with("CAP_NET_")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let problem = format!("missing {}; run it as root (`sudo lbctl up`)", missing.join(", "));
    Err(Refusal { problems: vec![problem] })
}

/// Checks the host; makes a BPF file system if there is none.
pub fn host() -> Result<(), Refusal> {
    let mut problems = Vec::new();
    let missing = missing_capabilities(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    if !missing.is_empty() {
        problems.push(format!("missing {}; run it as root (`sudo lbctl up`)", missing.join(", ")));
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if !kernel_is_new_enough(&release) {
        let (major, minor) = OLDEST_KERNEL;
        problems.push(format!("kernel {} is too old; {major}.{minor} or newer is needed", release.trim()));
    }
    if problems.is_empty()
        && let Err(problem) = mount_bpf_fs(Path::new(BPF_FS))
    {
        problems.push(problem);
    }
    if problems.is_empty() { Ok(()) } else { Err(Refusal { problems }) }
}

/// `BPF_FS_MAGIC` (`include/uapi/linux/magic.h`).
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

fn mount_bpf_fs(path: &Path) -> Result<(), String> {
    // The C libraries do not agree about the field's sign.
    let magic = |fs: nix::sys::statfs::Statfs| u32::try_from(fs.filesystem_type().0).ok();
    let is_bpf = || nix::sys::statfs::statfs(path).is_ok_and(|fs| magic(fs) == Some(BPF_FS_MAGIC));
    if is_bpf() {
        return Ok(());
    }
    let none: Option<&str> = None;
    nix::mount::mount(Some("bpf"), path, Some("bpf"), nix::mount::MsFlags::empty(), none).map_err(
        |error| format!("{}: no BPF file system, and mounting one failed: {error}", path.display()),
    )?;
    tracing::info!("mounted a BPF file system on {}", path.display());
    Ok(())
}

/// The configured interfaces, in the configuration's order.
pub fn interfaces(config: &Config, links: Result<Vec<Link>, NetlinkError>) -> Result<Vec<Link>, Refusal> {
    let links = links.map_err(|error| Refusal { problems: vec![error.to_string()] })?;
    let mut problems = Vec::new();
    let mut found = Vec::new();
    for name in &config.director.interfaces {
        match links.iter().find(|link| link.name == *name) {
            None => {
                let names: Vec<&str> =
                    links.iter().filter(|l| !l.loopback).map(|l| l.name.as_str()).collect();
                problems.push(format!(
                    "interface {name}: there is none of this name; set `interfaces` to some of: {}",
                    names.join(", ")
                ));
            }
            Some(link) if link.mac.is_none() => {
                problems.push(format!("interface {name}: is not Ethernet; balance on one that is"));
            }
            Some(link) if link.vlan.is_some() => problems.push(format!(
                "interface {name}: is a VLAN device, and XDP runs below it; name the device it is on"
            )),
            Some(link) if !link.up => {
                problems
                    .push(format!("interface {name}: is down; bring it up (`ip link set dev {name} up`)"));
            }
            Some(link) => found.push(link.clone()),
        }
    }
    problems.extend(authorities(config));
    problems.extend(packet_filter(config));
    if problems.is_empty() { Ok(found) } else { Err(Refusal { problems }) }
}

/// Instances whose packets are to be dropped, if there is nothing that could.
pub fn packet_filter(config: &Config) -> Vec<String> {
    let closed: Vec<_> = config.vrrp.instances.iter().filter(|it| filter::concerns(it)).collect();
    if closed.is_empty() || filter::find_tool().is_some() {
        return Vec::new();
    }
    let problem = |instance: &&VrrpInstance| {
        let tool = filter::TOOL;
        format!(
            "vrrp_instance {}: `accept = false` needs {tool}; install nftables, or remove it",
            instance.name
        )
    };
    closed.iter().map(problem).collect()
}

/// Files of certificate authorities that cannot be read, each once.
pub fn authorities(config: &Config) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for server in &config.virtual_servers {
        for real in &server.real_servers {
            for check in &real.health.checks {
                let ProbeKind::Http(http) = &check.probe.kind else { continue };
                let Some(path) = http.tls.as_ref().and_then(|tls| tls.ca_file.as_deref()) else { continue };
                if seen.insert(path)
                    && let Err(problem) = read_authorities(path)
                {
                    problems
                        .push(format!("virtual server {server}: real server {real}: `ca_file` {problem}"));
                }
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_named() {
        assert_eq!(missing_capabilities("CapEff:\t000001ffffffffff\n"), Vec::<&str>::new());
        assert_eq!(missing_capabilities("CapEff:\t0000000000000000\n").len(), 4);
        // NET_ADMIN, NET_RAW and SYS_ADMIN.
        assert_eq!(missing_capabilities("CapEff:\t0000000000203000\n"), Vec::<&str>::new());
        assert_eq!(missing_capabilities("CapEff:\t0000008000003000\n"), ["CAP_PERFMON"]);
    }

    #[test]
    fn kernels_are_compared_as_numbers() {
        assert!(kernel_is_new_enough("5.15.0\n") && kernel_is_new_enough("6.1.0-56-amd64"));
        assert!(kernel_is_new_enough("10.2") && kernel_is_new_enough("unknown"));
        assert!(!kernel_is_new_enough("5.4.0-1") && !kernel_is_new_enough("4.19.1"));
    }
}

//! `accept = false`: this director takes no packets for an instance's addresses (RFC 9568 section 6.4.3, item 645)
//! but those that XDP serves, which come past no packet filter.
//!
//! An nftables table of our own drops them in the input hook, which sees what is for this host only. So it is there
//! whether the addresses are or not, and a fail-over does not wait for it. It is replaced as a whole by `nft`, in one
//! transaction.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::config::vrrp::VrrpInstance;

/// The tool that writes rules.
pub(crate) const TOOL: &str = "nft";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The priority of an address's owner, who accepts always.
const OWNER: u8 = 255;

/// Whether packets for the instance's addresses are dropped.
pub(crate) fn concerns(instance: &VrrpInstance) -> bool {
    !instance.accept && instance.priority != OWNER
}

/// The addresses that accept nothing.
pub(super) fn closed<'i>(instances: impl IntoIterator<Item = &'i VrrpInstance>) -> BTreeSet<IpAddr> {
    let closed = instances.into_iter().filter(|instance| concerns(instance));
    closed.flat_map(VrrpInstance::addresses).map(|own| own.address).collect()
}

/// Where the tool is, if anywhere: in `PATH`, or where administrators' tools are.
pub(crate) fn find_tool() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(TOOL)).find(|tool| tool.is_file())
}

/// The table of the instance that has this record: `lbctl-NAME`.
fn table(record: &Path) -> String {
    let instance = record.parent().and_then(Path::file_name).unwrap_or_default();
    format!("lbctl-{}", instance.to_string_lossy())
}

/// Makes the rules those for these addresses; without any there is no table.
///
/// # Errors
/// In words.
pub(super) async fn apply(record: &Path, addresses: &BTreeSet<IpAddr>) -> Result<(), String> {
    let tool = find_tool().ok_or_else(|| format!("there is no {TOOL}; install nftables"))?;
    let rules = rules(&table(record), addresses);
    let output = match tokio::time::timeout(PATIENCE, run(&tool, &rules)).await {
        Ok(output) => output.map_err(|error| format!("{}: {error}", tool.display()))?,
        Err(_elapsed) => return Err(format!("{} takes longer than {PATIENCE:?}", tool.display())),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}", tool.display(), said.lines().next().unwrap_or("it fails")))
}

async fn run(tool: &Path, rules: &str) -> io::Result<Output> {
    let mut command = Command::new(tool);
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(rules.as_bytes()).await?;
    }
    child.wait_with_output().await
}

/// Neighbour discovery stays: without it nobody finds the addresses (the same section of the RFC).
fn rules(table: &str, addresses: &BTreeSet<IpAddr>) -> String {
    // Added first, because only what is there can be deleted.
    let text = format!("add table inet {table}\ndelete table inet {table}\n");
    if addresses.is_empty() {
        return text;
    }
    let list = |is_ipv4: bool| {
        let all = addresses.iter().filter(|address| address.is_ipv4() == is_ipv4);
        all.map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let mut chain = format!("table inet {table} {{\n chain input {{\n  type filter hook input priority -1\n");
    let (ipv4, ipv6) = (list(true), list(false));
    if !ipv4.is_empty() {
        writeln!(chain, "  ip daddr {{ {ipv4} }} counter drop").unwrap_or_default();
    }
    if !ipv6.is_empty() {
        let discovery = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept";
        writeln!(chain, "  ip6 daddr {{ {ipv6} }} {discovery}").unwrap_or_default();
        writeln!(chain, "  ip6 daddr {{ {ipv6} }} counter drop").unwrap_or_default();
    }
    text + &chain + " }\n}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_one_table() {
        let name = table(Path::new("/run/lbctl/lvs1/vrrp.json"));
        assert_eq!(
            rules(&name, &BTreeSet::new()),
            "add table inet lbctl-lvs1\ndelete table inet lbctl-lvs1\n"
        );
        let addresses = ["192.168.4.15", "192.168.4.16", "2001:db8:4::15"].map(|it| it.parse().unwrap());
        assert_eq!(
            rules(&name, &BTreeSet::from(addresses)),
            "add table inet lbctl-lvs1\ndelete table inet lbctl-lvs1\ntable inet lbctl-lvs1 {\n chain input {\n  \
             type filter hook input priority -1\n  ip daddr { 192.168.4.15, 192.168.4.16 } counter drop\n  \
             ip6 daddr { 2001:db8:4::15 } icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n  \
             ip6 daddr { 2001:db8:4::15 } counter drop\n }\n}\n"
        );
    }

    #[test]
    fn an_owner_accepts() {
        let text = |priority: u8| {
            format!(
                "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\n\
                 priority = {priority}\naccept = false\nvirtual_addresses = [\"192.168.4.15\"]\n\
                 excluded_addresses = [\"192.168.4.16\"]\n"
            )
        };
        let count = |priority| {
            let config = crate::config::Config::parse("lbctl.toml", &text(priority)).unwrap();
            closed(&config.vrrp.instances).len()
        };
        assert_eq!((count(100), count(255)), (2, 0));
    }
}

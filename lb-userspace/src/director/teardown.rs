//! Undoes what a director did, whether its daemon runs or not.

use std::fs;
use std::io;

use super::addresses;
use super::instance::Instance;
use super::lock::Lock;
use super::record::Record;
use crate::dataplane::{attach, loader};
use crate::net::ethtool;
use crate::net::netlink::Netlink;
use crate::vrrp::shell;

/// Removes the VIPs that were added, the program, the tables and the runtime files of an instance; what is not
/// there is no error.
///
/// # Errors
///
/// Everything that could not be undone, after everything else was.
pub async fn undo(instance: &Instance, netlink: &Netlink) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    match Record::read(&instance.record_file()) {
        Ok(record) => {
            for own in &record.addresses {
                if let Err(error) = addresses::remove(netlink, own).await {
                    problems.push(format!("virtual address {}: {error}", own.address));
                }
            }
            for name in &record.gro_off {
                // An interface that is gone needs nothing back.
                ethtool::set_gro(name, true).unwrap_or_default();
            }
        }
        Err(error) => problems.push(format!("{}: {error}", instance.record_file().display())),
    }
    let vrrp = shell::record_file(&instance.run_dir());
    problems.extend(shell::undo::undo(&vrrp, netlink).await);
    for index in instance.pinned_links() {
        attach::detach(&instance.link_pin(index));
    }
    loader::unpin_tables(&instance.pin_dir());
    if let Some(parent) = instance.pin_dir().parent() {
        // Another instance may be there; then the directory stays.
        fs::remove_dir(parent).unwrap_or_default();
    }
    anyhow::ensure!(problems.is_empty(), "{}", problems.join("\n"));
    for file in
        [instance.record_file(), vrrp, instance.socket(), instance.baseline_file(), instance.saved_file()]
    {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                problems.push(format!("{}: {error}", file.display()));
            }
            _ => {}
        }
    }
    anyhow::ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

/// Removes what an instance without daemon has left besides: its lock, its log, and directories that are empty then.
pub fn tidy(instance: &Instance) {
    if Lock::is_held(instance) {
        return;
    }
    for file in [instance.lock_file(), instance.log_file()] {
        fs::remove_file(file).unwrap_or_default();
    }
    let own = instance.run_dir();
    // Other instances and real servers have theirs beside it; then the parent stays.
    for directory in [Some(own.as_path()), own.parent()].into_iter().flatten() {
        fs::remove_dir(directory).unwrap_or_default();
    }
}

/// Is there anything to undo?
pub fn is_anything_left(instance: &Instance) -> bool {
    let vrrp = shell::record_file(&instance.run_dir());
    instance.pin_dir().exists() || instance.record_file().exists() || vrrp.exists()
}

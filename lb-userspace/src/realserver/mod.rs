//! Makes a host a real server for direct routing or tunnels, and undoes exactly that.
//!
//! In direct routing the real server receives packets addressed to the VIP, so it must own the VIP, but it
//! must not answer ARP for it: only the director does. So each VIP is put on `lo` as a host address, and for
//! IPv4 `arp_ignore=1` (answer only for addresses of the interface asked on) and `arp_announce=2` (never put
//! the VIP into our own ARP requests) are set for `all` and `lo`. IPv6 needs no setting: neighbour discovery
//! answers only for addresses of the interface asked on (`ndisc_recv_ns` in `net/ipv6/ndisc.c`).
//!
//! For tunnels it also needs what unpacks their packets: [`tunnel`].
//!
//! - [`plan`] decides: from what is found and what is recorded, an ordered list of steps. It touches nothing.
//! - [`host`] looks at the host, and changes one thing at a time.
//! - [`record`] remembers what was found, in a file that is written before anything is changed. So a crash at
//!   any point loses nothing: `start` or `stop` again finishes the work.
//!
//! No daemon is needed, and none must run.

pub mod cli;
pub mod host;
pub mod plan;
pub mod problem;
pub mod record;
pub mod status;
pub mod tunnel;

use std::{collections::BTreeSet, io, net::IpAddr, path::PathBuf};

use self::{
    host::Host,
    plan::{Plan, Step},
    record::{Directory, Recorded},
    tunnel::{Device, Outer},
};
pub use self::{
    problem::Problem,
    status::{Item, Status},
};
use crate::net::netlink::{Netlink, NetlinkError};

/// Where the records of all instances are by default.
pub const RUN_DIR: &str = "/run/lbctl";

/// What to work on.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the instance: letters, digits, `-`, `_`, `.`.
    pub instance: String,
    /// The directory that holds one directory per instance; [`RUN_DIR`].
    pub run_dir: PathBuf,
    /// The VIPs. `start` adds them to those started before, `stop` takes only these away (none: all).
    pub vips: BTreeSet<IpAddr>,
    /// `start`: packets for the VIPs come in tunnels; `None` as recorded.
    pub tunnel: Option<Outer>,
}

/// What was done, in sentences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// One line per change; empty if everything was as it should be.
    pub done: Vec<String>,
    /// What the administrator should know.
    pub notes: Vec<String>,
}

/// Why a command of the helper failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RealserverError {
    /// Something must be put right first. All of it is named, and nothing was changed.
    #[error("real server: cannot go on, nothing was changed:{}", problem::bullets(problems))]
    Refused {
        /// Everything that is in the way.
        problems: Vec<Problem>,
    },
    /// The kernel refused a request.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A file of the record cannot be used.
    #[error("{}: cannot {action}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The record is not one of ours.
    #[error("{}: is not a record of this version of lbctl; look at it, then remove it", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A kernel setting cannot be read or written.
    #[error("{name}: cannot {action}; is /proc/sys there and writable?")]
    Sysctl {
        /// Its name, as `sysctl` takes it.
        name: String,
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// There is no loopback device.
    #[error("network device lo: not found; a real server needs it for its VIPs")]
    NoLoopback,
    /// A test wants the work to end here, as if the process had been killed.
    #[cfg(test)]
    #[error("killed")]
    Killed,
}

/// Makes this host a real server for the VIPs, in addition to those started before. Doing it again does nothing.
///
/// # Errors
/// [`RealserverError::Refused`] names everything that is in the way.
pub async fn start(options: &Options) -> Result<Report, RealserverError> {
    let netlink = Netlink::open()?;
    start_with(options, &netlink, |_| Ok(())).await
}

/// Undoes what `start` did, and nothing else: all of it, or for the VIPs given. Without a record there is
/// nothing to undo.
///
/// # Errors
/// See [`RealserverError`].
pub async fn stop(options: &Options) -> Result<Report, RealserverError> {
    let netlink = Netlink::open()?;
    stop_with(options, &netlink, |_| Ok(())).await
}

/// What is right and what is wrong, for the VIPs given or else those started.
///
/// # Errors
/// See [`RealserverError`]. Something wrong with the real server is no error, but in the [`Status`].
pub async fn status(options: &Options) -> Result<Status, RealserverError> {
    let directory = Directory::new(options)?;
    let recorded = readable(&directory)?;
    let host = Host::observe(&Netlink::open()?).await?;
    Ok(status::status(&host, recorded.ours(), &options.vips, options.tunnel))
}

async fn start_with(
    options: &Options,
    netlink: &Netlink,
    before_step: impl FnMut(&Step) -> Result<(), RealserverError>,
) -> Result<Report, RealserverError> {
    let mut problems = plan::problems_of_arguments(options);
    if !host::has_net_admin() {
        problems.push(Problem::NotPrivileged);
    }
    if !problems.is_empty() {
        return Err(RealserverError::Refused { problems });
    }
    let directory = Directory::new(options)?;
    let _lock = directory.lock()?;
    let recorded = readable(&directory)?;
    let host = Host::observe(netlink).await?;
    let plan = plan::start(&host, recorded.ours(), directory.blank(), &options.vips, options.tunnel)
        .map_err(|problems| RealserverError::Refused { problems })?;
    let made: Vec<Device> = plan
        .steps
        .iter()
        .filter_map(|step| if let Step::AddTunnel(device) = step { Some(*device) } else { None })
        .collect();
    let result = carry_out(plan, &directory, &host, netlink, before_step).await;
    if matches!(result, Err(RealserverError::Refused { .. })) {
        // Only what comes first can be refused, so this is all.
        for device in made {
            if let Some(link) = netlink.link_by_name(device.name()).await? {
                netlink.remove_link(link.index).await?;
            }
        }
        match recorded.ours() {
            Some(record) => directory.write(record)?,
            None => directory.remove()?,
        }
    }
    result
}

/// Makes a device, unless there is one of its name.
async fn add_tunnel(device: Device, netlink: &Netlink) -> Result<(), RealserverError> {
    let problem = match netlink.add_tunnel(device.name(), device.kind()).await {
        Ok(()) => return Ok(()),
        Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => Problem::NoTunnel { device },
        Err(error) if error.errno() == Some(libc::EEXIST) => {
            if netlink.link_by_name(device.name()).await?.is_some() {
                return Ok(());
            }
            Problem::TunnelTaken { device }
        }
        Err(error) => return Err(error.into()),
    };
    Err(RealserverError::Refused { problems: vec![problem] })
}

async fn stop_with(
    options: &Options,
    netlink: &Netlink,
    before_step: impl FnMut(&Step) -> Result<(), RealserverError>,
) -> Result<Report, RealserverError> {
    let directory = Directory::new(options)?;
    if matches!(directory.read()?, Recorded::Nothing) {
        let notes = vec![format!("instance {}: nothing was started, so nothing is undone", options.instance)];
        return Ok(Report { done: vec![], notes });
    }
    if !host::has_net_admin() {
        return Err(RealserverError::Refused { problems: vec![Problem::NotPrivileged] });
    }
    let _lock = directory.lock()?;
    let recorded = readable(&directory)?;
    let host = Host::observe(netlink).await?;
    let plan = match &recorded {
        Recorded::Ours(record) => plan::stop(&host, record, &options.vips, &directory.others()?),
        Recorded::Outdated => {
            let notes =
                vec!["the record is of an earlier boot or a network namespace that is gone".to_owned()];
            Plan { steps: vec![Step::Forget], notes }
        }
        Recorded::Nothing | Recorded::Elsewhere => Plan::default(),
    };
    carry_out(plan, &directory, &host, netlink, before_step).await
}

/// The record, unless it is that of another network namespace that still lives.
fn readable(directory: &Directory) -> Result<Recorded, RealserverError> {
    match directory.read()? {
        Recorded::Elsewhere => {
            let problems = vec![Problem::OtherNamespace { path: directory.file() }];
            Err(RealserverError::Refused { problems })
        }
        recorded @ (Recorded::Nothing | Recorded::Outdated | Recorded::Ours(_)) => Ok(recorded),
    }
}

async fn carry_out(
    plan: Plan,
    directory: &Directory,
    host: &Host,
    netlink: &Netlink,
    mut before_step: impl FnMut(&Step) -> Result<(), RealserverError>,
) -> Result<Report, RealserverError> {
    let mut done = Vec::new();
    for step in &plan.steps {
        before_step(step)?;
        match step {
            Step::Record(record) => directory.write(record)?,
            Step::RecordOther { instance, record } => directory.of(instance).write(record)?,
            Step::Forget => directory.remove()?,
            Step::Set { name, value } => host::write_sysctl(name, value)?,
            Step::AddTunnel(device) => add_tunnel(*device, netlink).await?,
            Step::Up(device) => netlink.set_link_up(device.name()).await?,
            Step::RemoveTunnel { ifindex, .. } => drop(netlink.remove_link(*ifindex).await?),
            Step::Add(address) => drop(netlink.add_address(address).await?),
            Step::Remove { address, prefix_len } => {
                netlink.remove_address(host.loopback.index, *address, *prefix_len).await?;
            }
        }
        done.extend(plan::sentence(step, host));
    }
    Ok(Report { done, notes: plan.notes })
}

#[cfg(test)]
mod tests;

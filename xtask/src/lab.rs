//! `cargo xtask lab`: a lab that stays up between commands, for people to try things in.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use lb_tests::{Family, Lab, Node, Remains, Topology};

/// Arguments of `cargo xtask lab`.
#[derive(Args, Debug)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Make the namespaces client, lvs1, lvs2, web1, web2, connect them and start nginx; needs root
    Up {
        /// one-armed or two-armed
        #[arg(long, default_value_t)]
        topology: Topology,
        /// Add a third web server, web3
        #[arg(long)]
        web3: bool,
    },
    /// End what runs in the lab and remove all of it, also after a crash
    Down,
    /// Run a command on a node, with LBCTL_INSTANCE set to the node's name
    Exec {
        /// client, lvs1, lvs2, web1, web2, web3 or router
        node: Node,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Show the nodes and their addresses; fails if no lab is up
    Status,
}

/// Runs `cargo xtask lab`.
///
/// # Errors
/// What the library says about building, finding or removing a lab; standard output is closed.
pub(crate) fn run(args: LabArgs) -> anyhow::Result<()> {
    match args.command {
        LabCommand::Up { topology, web3 } => up(topology, web3),
        LabCommand::Down => down(),
        LabCommand::Exec { node, command } => exec(node, &command),
        LabCommand::Status => status(&attach()?),
    }
}

fn up(topology: Topology, has_web3: bool) -> anyhow::Result<()> {
    if let Some(lab) = Lab::attach()? {
        if lab.topology() != topology || lab.nodes() != topology.nodes(has_web3) {
            bail!("a different lab ({}) is up; remove it first: cargo xtask lab down", lab.topology());
        }
        return status(&lab);
    }
    let lab = Lab::builder().topology(topology).web3(has_web3).up()?;
    let shown = status(&lab);
    lab.keep();
    shown
}

fn down() -> anyhow::Result<()> {
    let remains = Remains::look()?;
    let text = match remains.namespaces.as_slice() {
        [] if remains.is_empty() => "no lab is up".to_owned(),
        [] => "removed the files of a lab".to_owned(),
        names => format!("removed {}", names.join(" ")),
    };
    remains.remove()?;
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

/// Becomes the command, so that its exit status, signals and terminal are its own.
fn exec(node: Node, command: &[OsString]) -> anyhow::Result<()> {
    let lab = attach()?;
    if !lab.nodes().contains(&node) {
        bail!("the {} lab has no node {node}", lab.topology());
    }
    let (program, arguments) = command.split_first().context("no command given")?;
    let error = lab.command(node, program).args(arguments).exec();
    Err(error).context("nsenter does not start; install util-linux")
}

fn status(lab: &Lab) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:16}{:20}{:17}IPv6", lab.topology(), "MAC", "IPv4")?;
    for node in lab.nodes() {
        for interface in lab.topology().interfaces(node) {
            let mac = interface.mac().map(|byte| format!("{byte:02x}")).join(":");
            let [v4, v6] = [Family::V4, Family::V6].map(|family| interface.address(family).to_string());
            writeln!(out, "{node:10}{:6}{mac:20}{v4:17}{v6}", interface.name)?;
        }
    }
    let [v4, v6] = [Family::V4, Family::V6].map(|family| lab.vip(family).to_string());
    writeln!(out, "{:36}{v4:17}{v6}", "VIP")?;
    Ok(())
}

fn attach() -> anyhow::Result<Lab> {
    Lab::attach()?.context("no lab is up; start one: cargo xtask lab up")
}

//! `lbctl realserver start|stop|status`.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::{Options, RUN_DIR, Report, Status, start, status, stop, tunnel::Outer};

/// Make this host a real server for direct routing or tunnels, undo that, or say what is wrong with it.
#[derive(Debug, Args)]
pub struct RealserverArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put the VIPs on lo, keep this host from answering ARP for them, and unpack what comes in tunnels
    Start {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        tunnel: TunnelArgs,
    },
    /// Undo exactly what `start` did, and return to the settings found then
    Stop(Selection),
    /// Say what is right and what is wrong; exit 1 if anything is wrong
    Status {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        tunnel: TunnelArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct TunnelArgs {
    /// The director reaches this host by tunnels (forwarding = "tun"): make the devices that unpack. `ipv6` if it packs
    /// IPv4 into IPv6, too
    #[arg(
        long,
        value_name = "OUTER",
        env = "LBCTL_TUNNEL",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "same"
    )]
    tunnel: Option<Outer>,
}

#[derive(Debug, Args)]
struct Selection {
    /// A VIP, IPv4 or IPv6; may be repeated [stop, status: default is all that were started]
    #[arg(long = "vip", value_name = "ADDR", env = "LBCTL_VIPS", value_delimiter = ',')]
    vips: Vec<IpAddr>,
    /// Take the VIPs of the virtual servers in this configuration
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name of this real server, where one host has several
    #[arg(long, value_name = "NAME", env = "LBCTL_INSTANCE", default_value = "default")]
    instance: String,
    /// Where the record of what was found is kept, in a directory of the instance's name
    #[arg(long, value_name = "DIR", env = "LBCTL_RUN_DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

/// Runs the command and returns the exit code: 0, or 1 if `status` found something wrong. `vips_of` reads the
/// VIPs of the virtual servers in a configuration file.
///
/// # Errors
/// Whatever keeps the command from doing its work, with the remedy.
pub async fn run(
    args: &RealserverArgs,
    vips_of: impl FnOnce(&Path) -> anyhow::Result<Vec<IpAddr>>,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let (selection, tunnel) = match &args.command {
        Command::Start { selection, tunnel } | Command::Status { selection, tunnel, .. } => {
            (selection, tunnel.tunnel)
        }
        Command::Stop(selection) => (selection, None),
    };
    let mut vips: BTreeSet<IpAddr> = selection.vips.iter().copied().collect();
    if let Some(file) = &selection.config {
        let more = vips_of(file)?;
        anyhow::ensure!(
            !more.is_empty() || !vips.is_empty(),
            "{}: has no virtual server, so there is no VIP; add one or use --vip ADDR",
            file.display()
        );
        vips.extend(more);
    }
    let (instance, run_dir) = (selection.instance.clone(), selection.run_dir.clone());
    let options = Options { instance, run_dir, vips, tunnel };
    match &args.command {
        Command::Start { .. } => print_report(&start(&options).await?, out).map(|()| 0),
        Command::Stop(_) => print_report(&stop(&options).await?, out).map(|()| 0),
        Command::Status { json, .. } => {
            let status = status(&options).await?;
            if *json {
                serde_json::to_writer_pretty(&mut *out, &status).map_err(io::Error::from)?;
                writeln!(out)?;
            } else {
                print_status(&status, out)?;
            }
            Ok(u8::from(!status.ok))
        }
    }
}

fn print_report(report: &Report, out: &mut dyn Write) -> anyhow::Result<()> {
    for line in &report.done {
        writeln!(out, "{line}").context("standard output")?;
    }
    for note in &report.notes {
        writeln!(out, "note: {note}").context("standard output")?;
    }
    if report.done.is_empty() && report.notes.is_empty() {
        writeln!(out, "nothing to do").context("standard output")?;
    }
    Ok(())
}

fn print_status(status: &Status, out: &mut dyn Write) -> anyhow::Result<()> {
    let width = status.items.iter().map(|item| item.item.len()).max().unwrap_or(0);
    for item in &status.items {
        let verdict = if item.ok { "ok   " } else { "WRONG" };
        writeln!(out, "{verdict}  {:width$}  {}", item.item, item.found)?;
        if let Some(remedy) = &item.remedy {
            writeln!(out, "       {:width$}  remedy: {remedy}", "")?;
        }
    }
    Ok(())
}

//! `lbctl save`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use hyper::Method;

use super::InstanceArgs;
use crate::director::client;
use crate::director::instance::Instance;
use crate::director::lock::Lock;
use crate::save::Saved;

/// Arguments of `lbctl save`.
#[derive(Debug, Args)]
pub(super) struct SaveArgs {
    /// In which form
    #[arg(long, value_enum, default_value_t = Format::Toml)]
    format: Format,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// As lbctl.toml: virtual servers and real servers, without checks and VRRP
    Toml,
    /// As `ipvsadm -S`, with the thresholds and timeouts that it leaves out
    Ipvsadm,
    /// As JSON
    Json,
}

pub(super) async fn run(args: &SaveArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let saved = saved(&args.instance.instance).await?;
    match args.format {
        Format::Toml => {
            writeln!(
                out,
                "# Saved by `lbctl save`. Checks, sorry servers, VRRP and notifications are in the director's own file."
            )?;
            if !Lock::is_held(&args.instance.instance) {
                writeln!(
                    out,
                    "# The daemon does not run: this is what the last one served. What checks found, only a daemon knows."
                )?;
            }
            writeln!(out)?;
            out.write_all(saved.toml().as_bytes())?;
        }
        Format::Ipvsadm => write_rules(&saved, true, out)?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &saved).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the daemon serves; without one, what the last one left in the tables.
pub(super) async fn saved(instance: &Instance) -> anyhow::Result<Saved> {
    // A daemon that does not answer, because it is ending or starting, has left it too.
    if Lock::is_held(instance)
        && let Ok(saved) = client::call(&instance.socket(), Method::GET, "/v1/saved").await
    {
        return Ok(saved);
    }
    Saved::read(&instance.saved_file()).with_context(|| {
        format!(
            "instance \"{instance}\" is not up, and no daemon has left what it served; start it with `lbctl up -d` \
             (root is needed to see it)"
        )
    })
}

/// Rules, one a line.
pub(super) fn write_rules(saved: &Saved, is_whole: bool, out: &mut impl Write) -> std::io::Result<()> {
    for note in saved.unsaid() {
        writeln!(std::io::stderr().lock(), "note: {note}")?;
    }
    saved.rules(is_whole).iter().try_for_each(|rule| writeln!(out, "{rule}"))
}

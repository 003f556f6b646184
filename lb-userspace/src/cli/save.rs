//! `lbctl save`.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use hyper::Method;

use super::InstanceArgs;
use crate::director::client;
use crate::director::instance::Instance;
use crate::save::Saved;

/// Print what the running director serves, as a configuration or as ipvsadm's rules.
///
/// That is the configuration file as it was read last with the changes made at run time, whatever checks say just
/// now: so a real server that has failed is not lost.
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
    /// As `ipvsadm -S`, with the thresholds that it leaves out
    Ipvsadm,
    /// As JSON
    Json,
}

pub(super) async fn run(args: &SaveArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let saved = saved(&args.instance.instance).await?;
    match args.format {
        Format::Toml => out.write_all(saved.toml().as_bytes())?,
        Format::Ipvsadm => write_rules(&saved, true, out)?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &saved).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the daemon serves.
pub(super) async fn saved(instance: &Instance) -> anyhow::Result<Saved> {
    anyhow::ensure!(
        crate::director::lock::Lock::is_held(instance),
        "instance \"{instance}\" has no daemon that could say what it serves; start it with `lbctl up -d`"
    );
    client::call(&instance.socket(), Method::GET, "/v1/saved").await
}

/// Rules, one a line.
pub(super) fn write_rules(saved: &Saved, thresholds: bool, out: &mut impl Write) -> std::io::Result<()> {
    saved.rules(thresholds).iter().try_for_each(|rule| writeln!(out, "{rule}"))
}

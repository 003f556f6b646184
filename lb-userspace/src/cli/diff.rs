//! `lbctl diff`. Exit codes as diff(1): 0 the same, 1 it differs, 2 trouble.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use hyper::Method;

use super::{InstanceArgs, KeepalivedArgs};
use crate::diff::{self, Change};
use crate::director::client;
use crate::import::source::ConfigSource;

/// Arguments of `lbctl diff`.
#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// Compare with this file instead of the director's own
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Compare with this keepalived.conf
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    keepalived: Option<PathBuf>,
    #[command(flatten)]
    options: KeepalivedArgs,
    /// Print the differences as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

/// It cannot be told whether they differ.
const TROUBLE: u8 = 2;

pub(super) async fn run(args: &DiffArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let changes = match changes(args).await {
        Ok(changes) => changes,
        Err(error) => {
            super::say(&error);
            return Ok(TROUBLE.into());
        }
    };
    if args.json {
        let shown = serde_json::json!({ "schema": diff::SCHEMA, "changes": changes });
        serde_json::to_writer_pretty(&mut *out, &shown).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        changes.iter().try_for_each(|change| writeln!(out, "{change}"))?;
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn changes(args: &DiffArgs) -> anyhow::Result<Vec<Change>> {
    let instance = &args.instance.instance;
    anyhow::ensure!(
        crate::director::lock::Lock::is_held(instance),
        "instance \"{instance}\" has no daemon to compare with; start it with `lbctl up -d`"
    );
    let source = match (&args.keepalived, &args.config) {
        (Some(path), _) => ConfigSource::keepalived(path, args.options.options(), true),
        (None, Some(path)) => ConfigSource::toml(path),
        (None, None) => return client::call(&instance.socket(), Method::GET, "/v1/diff").await,
    };
    let new = diff::picture(&source.load()?)?;
    let old: serde_json::Value = client::call(&instance.socket(), Method::GET, "/v1/configuration").await?;
    Ok(diff::compare(&old, &new))
}

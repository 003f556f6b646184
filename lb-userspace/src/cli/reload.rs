//! `lbctl reload`.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use hyper::Method;

use super::InstanceArgs;
use crate::director::api::Reloaded;
use crate::director::client;

pub(super) async fn run(args: &InstanceArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let instance = &args.instance;
    if !crate::director::lock::Lock::is_held(instance) {
        anyhow::bail!("instance \"{instance}\" has no daemon that could reload; start it with `lbctl up -d`");
    }
    let reloaded: Reloaded = client::call(&instance.socket(), Method::POST, "/v1/reload")
        .await
        .context("not reloaded, the old configuration stays in force")?;
    for note in &reloaded.notes {
        writeln!(io::stderr().lock(), "note: {note}")?;
    }
    writeln!(out, "reloaded")?;
    Ok(ExitCode::SUCCESS)
}

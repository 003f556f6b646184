//! `lbctl down`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::Method;

use super::InstanceArgs;
use crate::director::lock::Lock;
use crate::director::{client, teardown};
use crate::edits::Edits;
use crate::net::netlink::Netlink;

/// Arguments of `lbctl down`.
#[derive(Debug, Args)]
pub(super) struct DownArgs {
    #[command(flatten)]
    instance: InstanceArgs,
}

/// How long a daemon may take to let go of its lock.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(args: &DownArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let instance = &args.instance.instance;
    if Lock::is_held(instance) {
        client::call::<()>(&instance.socket(), Method::POST, "/v1/down").await?;
        let gone = async {
            while Lock::is_held(instance) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.map_err(|_elapsed| {
            anyhow::anyhow!("the daemon has undone everything but does not end; kill it")
        })?;
    } else if teardown::is_anything_left(instance) {
        teardown::undo(instance, &Netlink::open()?).await?;
    } else {
        writeln!(out, "instance \"{instance}\" is not up")?;
    }
    // Told to undo everything, also what was edited while no daemon ran.
    Edits::default().write(&instance.edits_file())?;
    teardown::tidy(instance);
    Ok(ExitCode::SUCCESS)
}

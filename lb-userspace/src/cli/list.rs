//! `lbctl list`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use hyper::Method;

use super::InstanceArgs;
use super::edit::open;
use crate::director::client;
use crate::director::instance::Instance;
use crate::edits::Edits;
use crate::list::zero::Baseline;
use crate::list::{self, Beside};

/// List virtual servers, real servers, connections and counters, as ipvsadm does.
///
/// Reads the tables themselves, so it works when the daemon is down; only --rate needs the daemon.
#[derive(Debug, Args)]
pub(super) struct ListCommand {
    #[command(flatten)]
    list: list::ListArgs,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(super) async fn run(command: &ListCommand, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let instance = &command.instance.instance;
    let tables = open(instance)?;
    let beside = beside(instance, command.list.rate || command.list.json).await?;
    let mut arguments = command.list.clone();
    arguments.orders = crate::orders::Orders::read(&instance.orders_file())?;
    list::run(&arguments, &tables, &beside, out, &mut io::stderr().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// What is known of an instance besides its tables; rates only if asked for.
///
/// # Errors
///
/// The record of edits cannot be read.
pub(super) async fn beside(instance: &Instance, with_rates: bool) -> anyhow::Result<Beside> {
    Ok(Beside {
        rates: match with_rates {
            // Without an answer there are no rates, and the listing says so.
            true => client::call(&instance.socket(), Method::GET, "/v1/rates").await.ok(),
            false => None,
        },
        baseline: Baseline::read(&instance.baseline_file()),
        edits: Edits::read(&instance.edits_file())?,
    })
}

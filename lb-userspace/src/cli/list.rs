//! `lbctl list`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use hyper::Method;

use super::InstanceArgs;
use crate::dataplane::tables::Tables;
use crate::director::client;
use crate::list;

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
    anyhow::ensure!(
        instance.pin_dir().exists(),
        "instance \"{instance}\" is not up; start it with `lbctl up -d` (root is needed to see it)"
    );
    let tables = Tables::open(&instance.pin_dir())?;
    let rates = match command.list.rate || command.list.json {
        // Without an answer there are no rates, and the listing says so.
        true => client::call(&instance.socket(), Method::GET, "/v1/rates").await.ok(),
        false => None,
    };
    let mut arguments = command.list.clone();
    arguments.orders = crate::orders::Orders::read(&instance.orders_file())?;
    list::run(&arguments, &tables, rates.as_ref(), out, &mut io::stderr().lock())?;
    Ok(ExitCode::SUCCESS)
}

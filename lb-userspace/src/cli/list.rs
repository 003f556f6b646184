//! `lbctl list`.

use std::io::{self, IsTerminal as _, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use hyper::Method;
use lb_common::net::protocol;
use serde::Serialize;

use super::InstanceArgs;
use super::edit::open;
use crate::config::wants_color;
use crate::director::client;
use crate::director::instance::Instance;
use crate::edits::Edits;
use crate::health::report::Report;
use crate::list::attributes::Attributes;
use crate::list::zero::Baseline;
use crate::list::{self, Beside};
use crate::orders::{Done, Order, Orders};
use crate::path;
use crate::plane::desired::{ServerKey, ServiceKey};

/// Arguments of `lbctl list`.
#[derive(Debug, Args)]
pub(super) struct ListCommand {
    #[command(flatten)]
    list: list::ListArgs,
    /// List again every so many seconds, until interrupted
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(super) async fn run(command: &ListCommand, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let instance = &command.instance.instance;
    if command.list.checks {
        return checks(command, out).await;
    }
    let Some(seconds) = command.watch else {
        once(command, instance, out).await?;
        return Ok(ExitCode::SUCCESS);
    };
    // A terminal shows one listing at a time; a file gets one after the other.
    let is_terminal = io::stdout().is_terminal();
    let mut ticks = tokio::time::interval(Duration::from_secs(seconds));
    loop {
        ticks.tick().await;
        if is_terminal {
            write!(out, "\x1b[H\x1b[2J")?;
        }
        once(command, instance, out).await?;
        if !is_terminal {
            writeln!(out)?;
        }
        out.flush()?;
    }
}

async fn once(command: &ListCommand, instance: &Instance, out: &mut impl Write) -> anyhow::Result<()> {
    let tables = open(instance)?;
    let beside = beside(instance, command.list.rate || command.list.json).await?;
    let mut arguments = command.list.clone();
    arguments.orders = crate::orders::Orders::read(&instance.orders_file())?;
    arguments.color = wants_color(&io::stdout());
    list::run(&arguments, &tables, &beside, out, &mut io::stderr().lock())?;
    Ok(())
}

/// `lbctl list --checks --json`.
#[derive(Serialize)]
struct Checks {
    #[serde(flatten)]
    report: Report,
    /// Of the ways of direct routing; null: the daemon does not say.
    paths: Option<path::Report>,
    /// What an operator has ordered.
    orders: Vec<Done>,
}

/// `lbctl list --checks`.
async fn checks(command: &ListCommand, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let socket = command.instance.instance.socket();
    let mut report: Report = client::call(&socket, Method::GET, "/v1/checks")
        .await
        .context("checks are made by the daemon, which does not answer; start it with `lbctl up`")?;
    // A daemon of another version may not know of them.
    let mut paths: Option<path::Report> = client::call(&socket, Method::GET, "/v1/paths").await.ok();
    if let Some(endpoint) = command.list.virtual_server {
        if let Some(paths) = &mut paths {
            let number = if command.list.udp { protocol::UDP } else { protocol::TCP };
            paths.keep(endpoint, number);
        }
        let protocol = if command.list.udp { "udp" } else { "tcp" };
        report.keep(endpoint, protocol);
        anyhow::ensure!(
            !report.virtual_servers.is_empty(),
            "virtual server {endpoint}/{protocol}: no such virtual server; `lbctl list --checks` without an \
             address shows them all"
        );
    }
    let orders = Orders::read(&command.instance.instance.orders_file())?;
    let is_shown = |service: &ServiceKey| {
        command
            .list
            .virtual_server
            .is_none_or(|endpoint| endpoint == SocketAddr::new(service.address, service.port))
    };
    let shown = orders.iter().filter(|(service, ..)| is_shown(service));
    if command.list.json {
        let done = |(service, server, order): (&ServiceKey, &ServerKey, &Order)| Done {
            virtual_server: (*service).into(),
            real_server: (*server).into(),
            order: Some(*order),
            changed: false,
        };
        let orders = shown.map(done).collect();
        serde_json::to_writer_pretty(&mut *out, &Checks { report, paths, orders })
            .map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        out.write_all(report.text(std::time::SystemTime::now()).as_bytes())?;
        if let Some(paths) = &paths {
            path::write_report(paths, out)?;
        }
        for (service, server, order) in shown {
            writeln!(out, "By order: real server {server} of {service} is {order}")?;
        }
    }
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
        attributes: Attributes::read(&instance.saved_file()),
    })
}

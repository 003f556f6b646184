//! `lbctl drain`, `disable`, `enable` and `set-weight`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::InstanceArgs;
use crate::dataplane::tables::Tables;
use crate::director::{client, lock::Lock};
use crate::list::snapshot::open_connections;
use crate::orders::{Change, Done, Held, Orders, RealServerName, Request, VirtualServerName};
use crate::plane::desired::{ServerKey, ServiceKey};

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(200);

/// Which real server.
#[derive(Debug, Args)]
pub(super) struct OrderArgs {
    /// The virtual server: 192.168.4.15:80, 192.168.4.15:53/udp, [2001:db8::15]:80
    virtual_server: VirtualServerName,
    /// One of its real servers: 192.168.4.100, or with its port
    real_server: RealServerName,
    #[command(flatten)]
    instance: InstanceArgs,
}

/// Arguments of `lbctl drain`.
#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// Let clients that the virtual server's persistence binds to it come back
    #[arg(long)]
    keep_persistent: bool,
    /// Return when its last connection is gone
    #[arg(short, long)]
    wait: bool,
    /// Wait no longer than this, and fail then; the real server stays drained
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

/// Arguments of `lbctl set-weight`.
#[derive(Debug, Args)]
pub(super) struct SetWeightArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// 0 to 65535, or "configured" for the weight of the configuration
    #[arg(value_parser = parse_weight)]
    weight: Weight,
}

#[derive(Clone, Copy, Debug)]
enum Weight {
    Configured,
    Of(u32),
}

fn parse_weight(text: &str) -> Result<Weight, String> {
    if text == "configured" {
        return Ok(Weight::Configured);
    }
    let weight = text.parse().ok().filter(|weight| *weight <= crate::orders::MAX_WEIGHT);
    weight
        .map(Weight::Of)
        .ok_or_else(|| format!("not a weight; write 0 to {} or \"configured\"", crate::orders::MAX_WEIGHT))
}

pub(super) async fn set_weight(args: &SetWeightArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let weight = match args.weight {
        Weight::Configured => None,
        Weight::Of(weight) => Some(weight),
    };
    order(&args.order, Change::SetWeight { weight }, out).await
}

pub(super) async fn order(
    args: &OrderArgs,
    change: Change,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    give(args, change, out).await?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn drain(args: &DrainArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let change = Change::Drain { keep_persistent: args.keep_persistent };
    let (service, server) = give(&args.order, change, out).await?;
    if args.wait {
        out.flush()?;
        wait(args, &service, &server).await?;
        writeln!(out, "{server} of {service}: its last connection is gone")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn give(
    args: &OrderArgs,
    change: Change,
    out: &mut impl Write,
) -> anyhow::Result<(ServiceKey, ServerKey)> {
    let instance = &args.instance.instance;
    anyhow::ensure!(
        Lock::is_held(instance),
        "instance \"{instance}\" has no daemon that could carry this out; start it with `lbctl up -d`"
    );
    let request = Request { virtual_server: args.virtual_server, real_server: args.real_server, change };
    let done: Done = client::post(&instance.socket(), "/v1/orders", &request).await?;
    let key = done.virtual_server.key().zip(done.real_server.key());
    let (service, server) = key.context("the daemon's answer is not understood; is it another version?")?;
    let state = done.order.map_or("as configured".to_owned(), |order| order.to_string());
    let already = if done.changed { "" } else { " already" };
    writeln!(out, "{server} of {service}: {state}{already}")?;
    Ok((service, server))
}

async fn wait(args: &DrainArgs, service: &ServiceKey, server: &ServerKey) -> anyhow::Result<()> {
    let instance = &args.order.instance.instance;
    let deadline = args.timeout.map(|timeout| tokio::time::Instant::now() + timeout);
    loop {
        // Looked up each time: another `lbctl up` may have brought other tables.
        let tables = Tables::open(&instance.pin_dir())?;
        let open = open_connections(&tables, service, server)?;
        if open == 0 {
            return Ok(());
        }
        let orders = Orders::read(&instance.orders_file())?;
        let held = orders.of(service, server).and_then(|order| order.held);
        anyhow::ensure!(
            matches!(held, Some(Held::Drained | Held::DrainedButPersistent | Held::Disabled)),
            "{server} of {service} has been enabled again; it has {open} connections"
        );
        let plural = if open == 1 { "" } else { "s" };
        anyhow::ensure!(
            deadline.is_none_or(|deadline| tokio::time::Instant::now() < deadline),
            "{server} of {service}: {open} connection{plural} left; it stays drained, `lbctl enable {service} {server}` \
             lifts that"
        );
        tokio::time::sleep(LOOK).await;
    }
}

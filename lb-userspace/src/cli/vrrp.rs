//! `lbctl vrrp`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;

use super::InstanceArgs;
use crate::director::api::Said;
use crate::director::client;
use crate::vrrp::status::VrrpStatus;

/// Show the VRRP instances, their peers, timers and last transitions; hand them over or take them by hand.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct VrrpArgs {
    #[command(subcommand)]
    order: Option<Order>,
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Hand an instance or group over to another director, and leave it alone from then on
    Release(OrderArgs),
    /// Be master of an instance or group, if need be with a priority above the master's
    Take(OrderArgs),
}

#[derive(Debug, Args)]
struct OrderArgs {
    /// The instance or sync group
    name: String,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(super) async fn run(args: &VrrpArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let (order, word) = match &args.order {
        None => return show(&args.show, out).await,
        Some(Order::Release(order)) => (order, "release"),
        Some(Order::Take(order)) => (order, "take"),
    };
    let path = format!("/v1/vrrp/{}/{word}", encoded(&order.name));
    let said: Said = client::call(&order.instance.instance.socket(), Method::POST, &path).await?;
    writeln!(out, "{}", said.said)?;
    Ok(ExitCode::SUCCESS)
}

async fn show(args: &ShowArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let status: VrrpStatus = client::call(&args.instance.instance.socket(), Method::GET, "/v1/vrrp").await?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &status).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        status.write(out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A name as a part of a path (RFC 3986 section 2.1).
fn encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_part_of_a_path() {
        assert_eq!(encoded("VI_1"), "VI_1");
        assert_eq!(encoded("a/b é?"), "a%2Fb%20%C3%A9%3F");
    }
}

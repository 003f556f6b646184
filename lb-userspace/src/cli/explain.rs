//! `lbctl explain`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use nix::net::if_::{if_indextoname, if_nametoindex};

use super::InstanceArgs;
use super::edit::open;
use crate::explain::{self, Question};
use crate::list::parse_endpoint;

/// Arguments of `lbctl explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Where the packet comes from; without a port: one that has no connection yet
    #[arg(value_name = "CLIENT[:PORT]", value_parser = parse_endpoint)]
    client: SocketAddr,
    /// Where it goes to
    #[arg(value_name = "VIP:PORT")]
    virtual_server: SocketAddr,
    /// UDP, not TCP
    #[arg(long)]
    udp: bool,
    /// A TCP packet that opens a connection, also where there is one
    #[arg(long, conflicts_with_all = ["udp", "midstream"])]
    syn: bool,
    /// A TCP packet in the middle of a connection, also where there is none
    #[arg(long, conflicts_with = "udp")]
    midstream: bool,
    /// The interface it comes in on; the first one of the director's if not given
    #[arg(short = 'i', long, value_name = "NAME")]
    interface: Option<String>,
    /// Print JSON instead; docs/json.md describes it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(super) fn run(args: &ExplainArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let interface = args.interface.as_deref().map(|name| {
        if_nametoindex(name).with_context(|| format!("interface {name}: there is none of this name"))
    });
    let question = Question {
        client: args.client,
        virtual_server: args.virtual_server,
        udp: args.udp,
        midstream: match (args.syn, args.midstream) {
            (true, _) => Some(false),
            (_, true) => Some(true),
            (false, false) => None,
        },
        interface: interface.transpose()?,
    };
    let tables = open(&args.instance.instance)?;
    let explanation = explain::explain(&tables, &question)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &explanation).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        let name = |index| match if_indextoname(index) {
            Ok(name) => name.to_string_lossy().into_owned(),
            Err(_gone) => format!("interface {index}"),
        };
        explain::write(&explanation, name, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

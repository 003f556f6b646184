//! `lbctl doctor`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use hyper::Method;

use super::{ConfigArgs, InstanceArgs};
use crate::config::Config;
use crate::config::vrrp::VrrpInstance;
use crate::director::client;
use crate::director::instance::Instance;
use crate::director::lock::Lock;
use crate::doctor::facts::VirtualMac;
use crate::doctor::{self, Asked, Report};
use crate::realserver;
use crate::vrrp::machine::State;
use crate::vrrp::status::VrrpStatus;

/// Arguments of `lbctl doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Look at this host as a real server; the default where there is no configuration, but a real server's record
    #[arg(short, long)]
    realserver: bool,
    /// A VIP of a real server; may be repeated [default: all that were started]
    #[arg(long = "vip", value_name = "ADDR", requires = "realserver")]
    vips: Vec<IpAddr>,
    /// Send no ARP probes
    #[arg(long)]
    silent: bool,
    /// Print JSON instead; docs/json.md describes it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(super) async fn run(args: &DoctorArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let is_up = Lock::is_held(&args.instance.instance);
    let has_record = Path::new(realserver::RUN_DIR).join(args.instance.instance.name()).exists();
    let source = args.config.source();
    let file = source.path();
    let is_real_server = args.realserver || !file.exists() && has_record && !is_up;
    if !is_real_server && !file.exists() {
        anyhow::bail!(
            "{}: no such file: {}",
            file.display(),
            match is_up {
                true => "name the one that the director was started with, with -c FILE or --keepalived FILE",
                false =>
                    "name a director's configuration with -c FILE or --keepalived FILE; to look at a real server, say \
                     --realserver --vip ADDR",
            }
        );
    }
    let report = match is_real_server {
        true => real_server(args).await?,
        false => director(args, is_up).await?,
    };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        report.write(out)?;
    }
    Ok(ExitCode::from(report.exit_code()))
}

async fn director(args: &DoctorArgs, is_up: bool) -> anyhow::Result<Report> {
    let config = args.config.source().load()?;
    let vips: Vec<IpAddr> = config.vips().into_iter().collect();
    let real = config.virtual_servers.iter().flat_map(|server| &server.real_servers);
    let asked = Asked {
        interfaces: config.director.interfaces.clone(),
        vips: vips.clone(),
        real_servers: real.map(|server| server.address).collect(),
        has_vrrp: !config.vrrp.instances.is_empty(),
        virtual_macs: virtual_macs(&config),
        mastered: if is_up { mastered(&args.instance.instance).await } else { None },
        is_up,
        is_silent: args.silent,
        ..Asked::default()
    };
    let facts = doctor::gather(&asked).await?;
    Ok(Report::new("director", doctor::director(&facts, &vips)))
}

/// The instances with a virtual MAC.
fn virtual_macs(config: &Config) -> Vec<VirtualMac> {
    let vips = config.vips();
    let one = |instance: &VrrpInstance| {
        Some(VirtualMac {
            instance: instance.name.clone(),
            interface: instance.virtual_mac.as_ref()?.interface.clone(),
            base: instance.interface.clone(),
            mac: instance.mac()?,
            is_ipv6: instance.is_ipv6(),
            is_balanced: instance.addresses().any(|own| vips.contains(&own.address)),
        })
    };
    config.vrrp.instances.iter().filter_map(one).collect()
}

/// The instances that the running director is master of; `None` if it does not answer.
async fn mastered(instance: &Instance) -> Option<BTreeSet<String>> {
    let status: VrrpStatus = client::call(&instance.socket(), Method::GET, "/v1/vrrp").await.ok()?;
    let masters = status.instances.into_iter().filter(|instance| instance.state == State::Master.name());
    Some(masters.map(|instance| instance.name).collect())
}

async fn real_server(args: &DoctorArgs) -> anyhow::Result<Report> {
    let options = realserver::Options {
        instance: args.instance.instance.name().to_owned(),
        run_dir: PathBuf::from(realserver::RUN_DIR),
        tunnel: None,
        vips: args.vips.iter().copied().collect(),
    };
    let status = realserver::status(&options).await?;
    let mut vips = args.vips.clone();
    if vips.is_empty() {
        // An item about a VIP is called after it, with its prefix.
        let names = status.items.iter().filter_map(|item| item.item.split_once('/'));
        vips = names.filter_map(|(address, _)| address.parse().ok()).collect();
        vips.dedup();
    }
    let config = args.config.source().load().ok();
    let ports = config.iter().flat_map(|config| &config.virtual_servers).map(|server| server.port);
    let asked = Asked {
        vips: vips.clone(),
        ports: ports.filter(|port| *port != 0).collect::<BTreeSet<_>>().into_iter().collect(),
        is_silent: args.silent,
        ..Asked::default()
    };
    let mut facts = doctor::gather(&asked).await?;
    facts.items = status.items;
    Ok(Report::new("realserver", doctor::realserver(&facts, &vips)))
}

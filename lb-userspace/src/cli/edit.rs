//! `lbctl service`, `lbctl server`, `lbctl clear`, `lbctl zero`: what is changed while the director runs.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use toml::Value;

use super::InstanceArgs;
use crate::config::Protocol;
use crate::dataplane::tables::Tables;
use crate::director::api::Edited;
use crate::director::client;
use crate::director::instance::Instance;
use crate::director::lock::Lock;
use crate::edits::{Keys, Operation, OperationError, ServiceName};
use crate::list::parse_endpoint;
use crate::list::snapshot::Snapshot;
use crate::list::zero::Baseline;
use crate::plane::desired::ServiceKey;

/// Arguments of `lbctl service`.
#[derive(Debug, Args)]
pub(super) struct ServiceArgs {
    #[command(subcommand)]
    verb: ServiceVerb,
}

#[derive(Debug, Subcommand)]
enum ServiceVerb {
    /// Add a virtual server without real servers
    Add(ServiceEdit),
    /// Change a virtual server; what is not given stays as it is
    Edit(ServiceEdit),
    /// Remove a virtual server; its connections go on to their real servers
    Delete(ServiceOnly),
}

#[derive(Debug, Args)]
struct ServiceOnly {
    #[command(flatten)]
    name: NameArgs,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
struct NameArgs {
    /// The virtual server. Without a port: the any-port one. IPv6 with a port is written `[ADDR]:PORT`
    #[arg(value_name = "VIP[:PORT]", value_parser = parse_endpoint)]
    virtual_server: SocketAddr,
    /// The virtual server's protocol is UDP, not TCP
    #[arg(long)]
    udp: bool,
}

impl NameArgs {
    fn name(&self) -> ServiceName {
        let protocol = if self.udp { Protocol::Udp } else { Protocol::Tcp };
        ServiceName { protocol, address: self.virtual_server }
    }
}

#[derive(Debug, Args)]
struct ServiceEdit {
    #[command(flatten)]
    name: NameArgs,
    /// How a new connection's real server is chosen, as in the file
    #[arg(short, long, value_name = "NAME")]
    scheduler: Option<String>,
    /// Flags of the scheduler, with commas between them: sh-fallback, sh-port, mh-fallback, mh-port; "" for none
    #[arg(short = 'b', long, value_name = "FLAGS", value_delimiter = ',')]
    scheduler_flags: Option<Vec<String>>,
    /// How long a client stays with its real server, such as 360s; 0 for not at all
    #[arg(short, long, value_name = "TIME")]
    persistence: Option<String>,
    /// Clients that agree in so many leading bits, or in this netmask, count as one
    #[arg(short = 'M', long, value_name = "PREFIX")]
    granularity: Option<String>,
    /// UDP: schedule each datagram on its own
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    one_packet: Option<bool>,
    #[command(flatten)]
    instance: InstanceArgs,
}

impl ServiceEdit {
    fn keys(&self) -> Keys {
        let mut keys = Keys::new();
        let mut give = |key: &str, value: Option<Value>| keys.insert(key.to_owned(), value);
        if let Some(scheduler) = &self.scheduler {
            give("scheduler", Some(Value::from(scheduler.as_str())));
        }
        if let Some(flags) = &self.scheduler_flags {
            let flags: Vec<_> = flags.iter().filter(|flag| !flag.is_empty()).collect();
            let value = flags.iter().map(|flag| Value::from(flag.as_str())).collect();
            give("scheduler_flags", (!flags.is_empty()).then_some(Value::Array(value)));
        }
        if let Some(time) = &self.persistence {
            give("persistence_timeout", (time != "0").then(|| Value::from(time.as_str())));
        }
        if let Some(granularity) = &self.granularity {
            let value =
                granularity.parse().map_or_else(|_mask| Value::from(granularity.as_str()), Value::Integer);
            give("persistence_granularity", Some(value));
        }
        if let Some(one_packet) = self.one_packet {
            give("one_packet", Some(Value::from(one_packet)));
        }
        keys
    }
}

/// Arguments of `lbctl server`.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    #[command(subcommand)]
    verb: ServerVerb,
}

#[derive(Debug, Subcommand)]
enum ServerVerb {
    /// Add a real server to a virtual server
    Add(ServerEdit),
    /// Change a real server; what is not given stays as it is
    Edit(ServerEdit),
    /// Remove a real server; its connections go on until they end
    Delete(ServerOnly),
}

#[derive(Debug, Args)]
struct ServerOnly {
    #[command(flatten)]
    service: NameArgs,
    /// The real server; without a port: the virtual server's
    #[arg(value_name = "RIP[:PORT]", value_parser = parse_endpoint)]
    real_server: SocketAddr,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Args)]
struct ServerEdit {
    #[command(flatten)]
    service: NameArgs,
    /// The real server; without a port: the virtual server's
    #[arg(value_name = "RIP[:PORT]", value_parser = parse_endpoint)]
    real_server: SocketAddr,
    /// 0 to 65535; 0 takes no new connections
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(0..))]
    weight: Option<i64>,
    /// How packets get to it, as in the file
    #[arg(short, long, value_name = "METHOD")]
    forwarding: Option<String>,
    /// With so many connections it gets no new ones; 0 for no such limit
    #[arg(short = 'x', long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(0..))]
    upper_threshold: Option<i64>,
    /// With fewer than this it gets new ones again
    #[arg(short = 'y', long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(0..))]
    lower_threshold: Option<i64>,
    #[command(flatten)]
    instance: InstanceArgs,
}

impl ServerEdit {
    fn keys(&self) -> Keys {
        let mut keys = Keys::new();
        let mut give = |key: &str, value: Option<Value>| {
            if value.is_some() {
                keys.insert(key.to_owned(), value);
            }
        };
        give("weight", self.weight.map(Value::from));
        give("forwarding", self.forwarding.as_deref().map(Value::from));
        give("upper_threshold", self.upper_threshold.map(Value::from));
        give("lower_threshold", self.lower_threshold.map(Value::from));
        keys
    }
}

/// Take all virtual servers out of service, or forget all changes made at run time.
#[derive(Debug, Args)]
pub(super) struct ClearArgs {
    /// Forget what was changed by service, server, clear and ipvsadm: the configuration file alone counts again
    #[arg(long)]
    edits: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

/// Arguments of `lbctl zero`.
#[derive(Debug, Args)]
pub(super) struct ZeroArgs {
    /// Only this virtual server
    #[arg(value_name = "VIP[:PORT]", value_parser = parse_endpoint)]
    virtual_server: Option<SocketAddr>,
    /// The virtual server's protocol is UDP, not TCP
    #[arg(long, requires = "virtual_server")]
    udp: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(super) async fn service(args: ServiceArgs) -> anyhow::Result<ExitCode> {
    let (instance, operation) = match args.verb {
        ServiceVerb::Add(edit) => {
            let (service, keys) = (edit.name.name(), edit.keys());
            // What is taken away is not there yet.
            let keys = keys.into_iter().filter(|(_, value)| value.is_some()).collect();
            (edit.instance, Operation::AddService { service, keys })
        }
        ServiceVerb::Edit(edit) => {
            let (service, keys) = (edit.name.name(), edit.keys());
            (edit.instance, Operation::EditService { service, keys })
        }
        ServiceVerb::Delete(ServiceOnly { name, instance }) => {
            (instance, Operation::DeleteService { service: name.name() })
        }
    };
    one(&instance.instance, operation).await
}

pub(super) async fn server(args: ServerArgs) -> anyhow::Result<ExitCode> {
    let (instance, operation) = match args.verb {
        ServerVerb::Add(edit) => {
            let (service, keys) = (edit.service.name(), edit.keys());
            (edit.instance, Operation::AddServer { service, server: edit.real_server, keys })
        }
        ServerVerb::Edit(edit) => {
            let (service, keys) = (edit.service.name(), edit.keys());
            (edit.instance, Operation::EditServer { service, server: edit.real_server, keys })
        }
        ServerVerb::Delete(ServerOnly { service, real_server, instance }) => {
            (instance, Operation::DeleteServer { service: service.name(), server: real_server })
        }
    };
    one(&instance.instance, operation).await
}

pub(super) async fn clear(args: ClearArgs) -> anyhow::Result<ExitCode> {
    let operation = if args.edits { Operation::Lift } else { Operation::Clear };
    one(&args.instance.instance, operation).await
}

async fn one(instance: &Instance, operation: Operation) -> anyhow::Result<ExitCode> {
    for result in edit(instance, &[operation]).await? {
        result?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Has the daemon perform operations; says its notes on standard error.
///
/// # Errors
///
/// No daemon, or it cannot carry out what the operations come to.
pub(super) async fn edit(
    instance: &Instance,
    operations: &[Operation],
) -> anyhow::Result<Vec<Result<(), OperationError>>> {
    if !Lock::is_held(instance) {
        anyhow::bail!(
            "instance \"{instance}\" has no daemon that could change it; start it with `lbctl up -d`"
        );
    }
    let Edited { results, notes } =
        client::post(&instance.socket(), "/v1/edits", &operations).await.context("nothing was changed")?;
    for note in notes {
        writeln!(io::stderr().lock(), "note: {note}")?;
    }
    Ok(results.into_iter().map(|error| error.map_or(Ok(()), Err)).collect())
}

pub(super) async fn zero(args: ZeroArgs) -> anyhow::Result<ExitCode> {
    let service = args.virtual_server.map(|address| ServiceName {
        protocol: if args.udp { Protocol::Udp } else { Protocol::Tcp },
        address,
    });
    set_to_zero(&args.instance.instance, service).await?;
    Ok(ExitCode::SUCCESS)
}

/// Begins counters and rates at zero. Works on the tables alone; a daemon is told, for its rates.
///
/// # Errors
///
/// The instance is not up, the virtual server is not there, or the runtime directory cannot be written.
pub(super) async fn set_to_zero(instance: &Instance, service: Option<ServiceName>) -> anyhow::Result<()> {
    let tables = open(instance)?;
    let snapshot = Snapshot::read_traffic(&tables)?;
    let key = service.map(ServiceKey::from);
    if let Some(name) = service
        && !snapshot.virtual_servers.iter().any(|server| Some(server.key) == key)
    {
        return Err(OperationError::NoSuchService { service: name }.into());
    }
    let path = instance.baseline_file();
    let mut baseline = Baseline::read(&path);
    baseline.set(&snapshot, key.as_ref());
    baseline.write(&path).with_context(|| path.display().to_string())?;
    if Lock::is_held(instance) {
        client::post::<()>(&instance.socket(), "/v1/zero", &service).await?;
    }
    Ok(())
}

/// The tables of an instance that is up.
///
/// # Errors
///
/// It is not, or they cannot be opened.
pub(super) fn open(instance: &Instance) -> anyhow::Result<Tables> {
    anyhow::ensure!(
        instance.pin_dir().exists(),
        "instance \"{instance}\" is not up; start it with `lbctl up -d` (root is needed to see it)"
    );
    Ok(Tables::open(&instance.pin_dir())?)
}

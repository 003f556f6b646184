//! The command line. Exit codes: 0 done; 1 refused or failed, with the reason on standard error; 2 the command
//! line itself is wrong. A reader that goes away (`lbctl list | head`) is no failure.

mod check;
mod diff;
mod doctor;
#[cfg(test)]
mod documented;
mod down;
mod edit;
mod explain;
mod import;
mod ipvsadm;
mod list;
mod orders;
mod reload;
mod save;
mod up;
mod vrrp;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, wants_color};
use crate::director::instance::Instance;
use crate::import::keepalived;
use crate::import::source::ConfigSource;
use crate::orders::Change;
use crate::realserver::cli::RealserverArgs;

/// A layer-4 load balancer: an XDP program forwards, a daemon keeps its tables.
#[derive(Debug, Parser)]
#[command(
    name = "lbctl",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the director: balance the configured virtual servers
    ///
    /// In the foreground until SIGTERM, SIGINT or `lbctl down`, which undo everything. SIGHUP reloads the
    /// configuration. If an earlier daemon was killed, its tables and connections are taken over as they are, and
    /// a program of this version replaces the running one without losing a packet.
    Up(up::UpArgs),
    /// Stop the director and undo everything it did
    ///
    /// Works too when the daemon was killed. To stop the daemon and leave the traffic, kill it (SIGKILL): the next
    /// `lbctl up` takes over.
    Down(down::DownArgs),
    /// Go over to the changed configuration without losing a packet or a connection
    Reload(InstanceArgs),
    /// Say what is wrong with a configuration, without touching anything
    Check(check::CheckArgs),
    /// Let a real server keep its connections and give it no new ones, until `enable`
    ///
    /// The order stands over reloads and restarts until `lbctl enable`.
    Drain(orders::DrainArgs),
    /// Take a real server out as if its checks failed, until `enable`
    Disable(orders::OrderArgs),
    /// Lift `drain` and `disable`
    Enable(orders::OrderArgs),
    /// Give a real server another weight, until `set-weight … configured`
    ///
    /// The order stands over reloads and restarts until `lbctl set-weight … configured`.
    SetWeight(orders::SetWeightArgs),
    /// Say what a reload would change
    ///
    /// Compares what the running director read last with its file as it is now, or with another file. Changes made at run
    /// time outlive a reload and are not shown. Exit codes: 0 the same, 1 it differs, 2 it cannot be told.
    Diff(diff::DiffArgs),
    /// Print what the director serves, as a configuration or as ipvsadm's rules
    ///
    /// That is the configuration file as it was read last with the changes made at run time, whatever checks and orders
    /// say just now: so a real server that has failed is not lost. It works when the daemon is down, as the traffic does.
    Save(save::SaveArgs),
    /// Make a configuration of keepalived's or ipvsadm's, and say what changes
    ///
    /// Every line of the result says where it came from. The report on standard error says what changed in meaning and
    /// what is not supported. Exit codes: 0 everything means the same, 3 something changed in meaning, 4 something is not
    /// supported, 1 there is no result.
    Import(import::ImportArgs),
    /// List virtual servers, real servers, connections and counters, as ipvsadm does
    ///
    /// Reads the tables themselves, so it works when the daemon is down; only --rate and --checks need the daemon.
    List(list::ListCommand),
    /// Show VRRP instances; hand them over or take them by hand
    Vrrp(vrrp::VrrpArgs),
    /// Add, change or remove virtual servers of the running director
    ///
    /// The configuration file stays as it is. What is changed here outlives restarts and reloads of the daemon, is
    /// marked by `lbctl list`, and ends with `lbctl clear --edits` or `lbctl down`.
    Service(edit::ServiceArgs),
    /// Add, change or remove real servers of the running director
    ///
    /// The configuration file stays as it is. What is changed here outlives restarts and reloads of the daemon, is
    /// marked by `lbctl list`, and ends with `lbctl clear --edits` or `lbctl down`.
    Server(edit::ServerArgs),
    /// Take all virtual servers out of service, or forget all changes made at run time
    Clear(edit::ClearArgs),
    /// Begin counters and rates at zero, as ipvsadm -Z does
    ///
    /// Listings count from then on; metrics go on as they were.
    Zero(edit::ZeroArgs),
    /// Look for what keeps this host from working well as a director or a real server
    ///
    /// Looks at the kernel, BPF, interfaces, real servers, packet filters and the clock, and asks who answers ARP for
    /// each VIP. Changes nothing. Exit code: 0, nothing worse than a note; 3, a warning; 1, an error.
    Doctor(doctor::DoctorArgs),
    /// Say which decision the director would take now about a packet, and why
    ///
    /// The datapath itself is run on a made-up packet and on the tables as they are, of which it changes copies only:
    /// no connection, counter or turn of a scheduler is touched. Works when the daemon is down.
    Explain(explain::ExplainArgs),
    /// Take ipvsadm's own options; a symbolic link `ipvsadm` to lbctl does the same
    #[command(disable_help_flag = true)]
    Ipvsadm {
        /// As `lbctl ipvsadm -h` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
        words: Vec<std::ffi::OsString>,
    },
    /// Make this host a real server for direct routing, undo that, or say what is wrong with it
    Realserver(RealserverArgs),
}

/// Which director on this host.
#[derive(Debug, Args)]
pub struct InstanceArgs {
    /// Name of the director, where one host has several
    #[arg(long, value_name = "NAME", env = "LBCTL_INSTANCE", default_value = "default")]
    pub instance: Instance,
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE", env = "LBCTL_CONFIG", default_value = "/etc/lbctl/lbctl.toml")]
    pub config: PathBuf,
    /// A keepalived.conf instead, which is read as `lbctl import keepalived` does
    #[arg(long, value_name = "FILE")]
    pub keepalived: Option<PathBuf>,
    #[command(flatten)]
    options: KeepalivedArgs,
    /// Go on without what the keepalived.conf has that is not supported
    #[arg(long, requires = "keepalived")]
    partial: bool,
}

/// How a keepalived.conf is read.
#[derive(Debug, Args)]
pub struct KeepalivedArgs {
    /// This machine's name for lines with @NAME in a keepalived.conf [default: the host name up to its first dot]
    #[arg(long, value_name = "NAME")]
    pub config_id: Option<String>,
    /// An interface that packets for the virtual servers of a keepalived.conf arrive on [default: those of VRRP]
    #[arg(long = "interface", value_name = "NAME")]
    pub interfaces: Vec<String>,
    #[command(flatten)]
    marks: MarksArgs,
}

/// What firewall marks stand for.
#[derive(Debug, Args)]
pub struct MarksArgs {
    /// The firewall's rules that set the marks of virtual servers, as iptables-save or ip6tables-save print them; may
    /// be given several times
    #[arg(long = "marks", value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl KeepalivedArgs {
    fn options(&self) -> keepalived::Options {
        keepalived::Options {
            config_id: self.config_id.clone(),
            interfaces: self.interfaces.clone(),
            marks: self.marks.files.clone(),
        }
    }

    /// As arguments.
    fn words(&self) -> Vec<OsString> {
        let id = self.config_id.iter().flat_map(|id| ["--config-id".into(), id.into()]);
        let interfaces = self.interfaces.iter().flat_map(|name| ["--interface".into(), name.into()]);
        let marks = self.marks.files.iter().flat_map(|file| ["--marks".into(), file.into()]);
        id.chain(interfaces).chain(marks).collect()
    }
}

impl ConfigArgs {
    /// The file, and how it is read.
    fn source(&self) -> ConfigSource {
        match &self.keepalived {
            Some(path) => ConfigSource::keepalived(path, self.options.options(), self.partial),
            None => ConfigSource::toml(&self.config),
        }
    }

    /// As arguments for another process.
    fn words(&self) -> Vec<OsString> {
        match &self.keepalived {
            Some(path) => {
                let mut words = vec!["--keepalived".into(), path.into()];
                words.extend(self.options.words());
                words.extend(self.partial.then(|| "--partial".into()));
                words
            }
            None => vec!["--config".into(), self.config.clone().into()],
        }
    }
}

/// The definition of all commands, for manual pages and completions.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs the program.
pub fn main() -> ExitCode {
    // Before clap, whose rules are not ipvsadm's.
    let command = match ipvsadm::words(std::env::args_os()) {
        Some(words) => Command::Ipvsadm { words },
        None => Cli::parse().command,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error)),
    };
    match runtime.block_on(run(command)) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    match command {
        Command::Up(args) => up::run(args).await,
        Command::Down(args) => down::run(&args, &mut out).await,
        Command::Reload(args) => reload::run(&args, &mut out).await,
        Command::Check(args) => check::run(&args, &mut out),
        Command::Drain(args) => orders::drain(&args, &mut out).await,
        Command::Disable(args) => orders::order(&args, Change::Disable, &mut out).await,
        Command::Enable(args) => orders::order(&args, Change::Enable, &mut out).await,
        Command::SetWeight(args) => orders::set_weight(&args, &mut out).await,
        Command::Vrrp(args) => vrrp::run(&args, &mut out).await,
        Command::Diff(args) => diff::run(&args, &mut out).await,
        Command::Save(args) => save::run(&args, &mut out).await,
        Command::Import(args) => import::run(&args, &mut out),
        Command::List(args) => list::run(&args, &mut out).await,
        Command::Service(args) => edit::service(args).await,
        Command::Server(args) => edit::server(args).await,
        Command::Clear(args) => edit::clear(args).await,
        Command::Zero(args) => edit::zero(args).await,
        Command::Doctor(args) => doctor::run(&args, &mut out).await,
        Command::Explain(args) => explain::run(&args, &mut out),
        Command::Ipvsadm { words } => ipvsadm::run(words, &mut out).await,
        Command::Realserver(args) => {
            let vips = |path: &std::path::Path| -> anyhow::Result<_> {
                Ok(Config::load(path)?.vips().into_iter().collect())
            };
            crate::realserver::cli::run(&args, vips, &mut out).await.map(ExitCode::from)
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

fn fail(error: &anyhow::Error) -> ExitCode {
    say(error);
    ExitCode::FAILURE
}

/// Says what went wrong.
fn say(error: &anyhow::Error) {
    let mut err = io::stderr().lock();
    let text = match error.downcast_ref::<ConfigError>() {
        Some(error) => error.render(wants_color(&io::stderr())),
        None => format!("lbctl: {error:#}"),
    };
    // Nobody is left to tell if standard error is gone.
    writeln!(err, "{}", text.trim_end()).unwrap_or_default();
}

/// Logs to the journal where systemd reads it, else to standard error, with times unless it is a terminal.
fn start_logging() {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let started = match journal {
        Some(journal) => registry.with(journal).try_init(),
        None => {
            let layer = tracing_subscriber::fmt::layer().with_target(false).with_writer(io::stderr);
            registry.with(layer.with_ansi(io::stderr().is_terminal())).try_init()
        }
    };
    // A second call in one process finds the first one's logging.
    started.unwrap_or_default();
}

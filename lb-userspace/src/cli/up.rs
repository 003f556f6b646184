//! `lbctl up`.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;
use clap::Args;

use super::{ConfigArgs, InstanceArgs, start_logging};
use crate::config::Config;
use crate::director::lock::Lock;
use crate::director::state::Director;
use crate::director::{alone, daemon, preflight, teardown};
use crate::import::source::ConfigSource;

/// Arguments of `lbctl up`.
#[derive(Debug, Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    instance: InstanceArgs,
    /// Return when traffic is being forwarded and leave a daemon behind, or fail with the reason
    #[arg(short, long)]
    detach: bool,
    /// Be that daemon
    #[arg(long, hide = true, conflicts_with = "detach")]
    detached: bool,
}

pub(super) async fn run(args: UpArgs) -> anyhow::Result<ExitCode> {
    let detached = args.detached;
    let source = args.config.source();
    let config = source.load()?;
    if args.detach {
        // Before anything is written; the daemon checks for itself again.
        check_host(&config)?;
        return detach(&args);
    }
    start_logging();
    check_host(&config)?;
    let instance = args.instance.instance.clone();
    let result = direct(args, source, config).await;
    // The parent of a detached daemon that could not start still reads its log, and tidies up then.
    if !detached || result.is_ok() {
        teardown::tidy(&instance);
    }
    result
}

fn check_host(config: &Config) -> Result<(), preflight::Refusal> {
    if alone::is_alone(config) { preflight::host_without_balancing() } else { preflight::host() }
}

/// Runs the director to its end.
async fn direct(args: UpArgs, source: ConfigSource, config: Config) -> anyhow::Result<ExitCode> {
    let lock = Lock::take(&args.instance.instance)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let source = source.absolute().context("the configuration's path")?;
    let detached = args.detached;
    let is_alone = alone::is_alone(&config);
    let ready = || {
        tracing::info!("{}", if is_alone { "vrrp runs" } else { "forwarding" });
        sd_notify::notify(&[sd_notify::NotifyState::Ready]).unwrap_or_default();
        if detached {
            say_ready();
        }
    };
    if is_alone {
        alone::run(args.instance.instance, source, config, ready).await?;
    } else {
        let director = Director::start(args.instance.instance, source, config).await?;
        daemon::run(director, ready).await?;
    }
    drop(lock);
    Ok(ExitCode::SUCCESS)
}

/// What a detached daemon writes to its parent when it forwards.
const READY: &str = "ready\n";

/// Tells the parent, and lets go of the pipe to it.
fn say_ready() {
    let mut out = io::stdout().lock();
    // A parent that was interrupted leaves a daemon that forwards; that is what it was asked for.
    out.write_all(READY.as_bytes()).and_then(|()| out.flush()).unwrap_or_default();
    if let Ok(null) = OpenOptions::new().write(true).open("/dev/null") {
        nix::unistd::dup2_stdout(null).unwrap_or_default();
    }
}

fn detach(args: &UpArgs) -> anyhow::Result<ExitCode> {
    let instance = &args.instance.instance;
    let log = instance.log_file();
    std::fs::create_dir_all(instance.run_dir()).with_context(|| instance.run_dir().display().to_string())?;
    // Each daemon's log starts anew, unless it would be another running daemon's.
    let running = Lock::is_held(instance);
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .append(running)
        .truncate(!running)
        .open(&log)
        .with_context(|| log.display().to_string())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["up", "--detached", "--instance", instance.name()]).args(args.config.words());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file.try_clone()?);
    command.process_group(0);
    let start = file.metadata()?.len();
    let mut child = command.spawn().context("the daemon cannot be started")?;
    let mut answer = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut answer)?;
    }
    if answer == READY {
        // What the daemon warned of while it started.
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let mut err = io::stderr().lock();
        for line in text.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")) {
            writeln!(err, "{line}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    child.wait()?;
    let text = std::fs::read(&log).unwrap_or_default();
    let own = text.get(usize::try_from(start).unwrap_or(0)..).unwrap_or_default();
    io::stderr().lock().write_all(own)?;
    teardown::tidy(instance);
    Ok(ExitCode::FAILURE)
}

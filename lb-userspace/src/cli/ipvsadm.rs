//! `lbctl ipvsadm …`, and `lbctl` under the name `ipvsadm`: ipvsadm's command line on a running director.

use std::ffi::OsString;
use std::io::{self, BufRead as _, Write};
use std::path::Path;
use std::process::ExitCode;

use super::edit;
use crate::director::instance::Instance;
use crate::edits::Operation;
use crate::ipvsadm::translate::{self, Marks};
use crate::ipvsadm::{self, Command, Listing, ServiceKey, Show, SystemNames, UsageError};
use crate::list::{self, ListArgs};

/// The words after `ipvsadm`, if that is what was called.
pub(super) fn words(mut args: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let program = args.next()?;
    if Path::new(&program).file_name().is_some_and(|name| name == "ipvsadm") {
        return Some(args.collect());
    }
    (args.next()? == "ipvsadm").then(|| args.collect())
}

/// Why a command ends with another exit code than 0.
enum Failure {
    /// In ipvsadm's words, and with its exit code.
    Said(UsageError),
    /// In ours: 255, as when the kernel refuses.
    Other(anyhow::Error),
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        Self::Said(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.into())
    }
}

/// Runs it, with its exit codes: 0 done, 1 no such virtual server to list, 2 the command line is wrong, 255
/// refused.
pub(super) async fn run(words: Vec<OsString>, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let words: Vec<String> = words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let instance: Instance = match std::env::var("LBCTL_INSTANCE") {
        Ok(name) => name.parse()?,
        Err(_unset) => "default".parse()?,
    };
    let result = match ipvsadm::parse(&words, &SystemNames) {
        Ok(command) => execute(&instance, command, false, out).await,
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(Failure::Other(error)) if super::is_closed_pipe(&error) => Err(error),
        Err(failure) => Ok(ExitCode::from(say(failure)?)),
    }
}

/// Says what went wrong; returns the exit code.
fn say(failure: Failure) -> io::Result<u8> {
    match failure {
        Failure::Said(error) => {
            writeln!(io::stderr().lock(), "{}", error.message)?;
            Ok(error.exit_code)
        }
        Failure::Other(error) => {
            writeln!(io::stderr().lock(), "{error:#}")?;
            Ok(255)
        }
    }
}

async fn execute(
    instance: &Instance,
    command: Command,
    is_restoring: bool,
    out: &mut impl Write,
) -> Result<u8, Failure> {
    match command {
        Command::List(listing) => return list(instance, &listing, out).await,
        Command::Save { numeric: _ } => {
            let saved = super::save::saved(instance).await?;
            super::save::write_rules(&saved, false, out)?;
        }
        Command::Restore if is_restoring => {
            return Err(UsageError {
                message: "Try `ipvsadm -h' or 'ipvsadm --help' for more information.".to_owned(),
                exit_code: 255,
            }
            .into());
        }
        Command::Restore => return Box::pin(restore(instance, out)).await,
        Command::Zero(key) => {
            let service = match key {
                Some(key) => Some(marks(instance, Some(&key)).await.name(&key)?),
                None => None,
            };
            if let Err(error) = edit::set_to_zero(instance, service).await {
                return match error.downcast_ref() {
                    Some(crate::edits::OperationError::NoSuchService { .. }) => {
                        Err(UsageError { message: "No such service".to_owned(), exit_code: 255 }.into())
                    }
                    _ => Err(error.into()),
                };
            }
        }
        Command::Help => out.write_all(ipvsadm::HELP.as_bytes())?,
        Command::Version => writeln!(out, "{}", ipvsadm::VERSION)?,
        Command::StartDaemon(_) | Command::StopDaemon(_) => {
            return Err(anyhow::anyhow!(
                "connections are not synchronised between directors by this command; leave it out"
            )
            .into());
        }
        Command::AddService(_)
        | Command::EditService(_)
        | Command::DeleteService(_)
        | Command::Clear
        | Command::AddServer(..)
        | Command::EditServer(..)
        | Command::DeleteServer(..)
        | Command::SetTimeouts { .. } => {
            let marks = marks(instance, command.service()).await;
            let operations: Vec<_> = operation(&command, &marks).into_iter().collect::<Result<_, _>>()?;
            return perform(instance, &operations).await;
        }
    }
    Ok(0)
}

/// What firewall marks stand for, if `key` is one.
async fn marks(instance: &Instance, key: Option<&ServiceKey>) -> Marks {
    match key {
        Some(ServiceKey::Fwmark { .. }) => all_marks(instance).await,
        Some(ServiceKey::Address(..)) | None => Marks::default(),
    }
}

/// Of an instance that is not up there are none; that it is not is said where it matters.
async fn all_marks(instance: &Instance) -> Marks {
    super::save::saved(instance).await.map(|saved| Marks::of(&saved)).unwrap_or_default()
}

/// What a command changes; `None` if it changes no virtual server.
fn operation(command: &Command, marks: &Marks) -> Option<Result<Operation, Failure>> {
    let operation = match command {
        Command::AddService(service) => marks.service(service, false),
        Command::EditService(service) => marks.service(service, true),
        Command::DeleteService(key) => marks.name(key).map(|service| Operation::DeleteService { service }),
        Command::Clear => Ok(Operation::Clear),
        Command::AddServer(key, server) => marks.server(key, server, false),
        Command::EditServer(key, server) => marks.server(key, server, true),
        Command::DeleteServer(key, server) => marks.delete_server(key, *server),
        Command::SetTimeouts { tcp, tcp_fin, udp } => Ok(translate::timeouts(*tcp, *tcp_fin, *udp)),
        Command::List(_)
        | Command::Zero(_)
        | Command::StartDaemon(_)
        | Command::StopDaemon(_)
        | Command::Restore
        | Command::Save { .. }
        | Command::Help
        | Command::Version => return None,
    };
    Some(operation.map_err(Failure::from))
}

/// Performs operations, and says what is wrong with each.
async fn perform(instance: &Instance, operations: &[Operation]) -> Result<u8, Failure> {
    let mut code = 0;
    let results = edit::edit(instance, operations).await?;
    for (operation, result) in operations.iter().zip(results) {
        if let Err(error) = result {
            writeln!(io::stderr().lock(), "{}", translate::words_for(operation, &error))?;
            code = 255;
        }
    }
    Ok(code)
}

/// `-R`: the rules on standard input. All that change anything are gone over to at once, where ipvsadm lets
/// traffic meet each in turn; what is refused is said, and the others are done. A line that is no command ends
/// it, after what stood before.
async fn restore(instance: &Instance, out: &mut impl Write) -> Result<u8, Failure> {
    let mut waiting = Vec::new();
    let mut code = 0;
    let marks = all_marks(instance).await;
    for line in io::stdin().lock().lines() {
        let words = ipvsadm::words(&line?);
        if words.is_empty() {
            continue;
        }
        let parsed = match ipvsadm::parse(&words, &SystemNames) {
            Ok(command) => command,
            Err(error) => {
                perform(instance, &waiting).await?;
                return Err(error.into());
            }
        };
        match operation(&parsed, &marks) {
            Some(Ok(operation)) => waiting.push(operation),
            Some(Err(failure)) => {
                // What a director cannot do is refused where the kernel would refuse; the rest goes on.
                code = code.max(say(failure)?);
            }
            None => {
                code = code.max(perform(instance, &std::mem::take(&mut waiting)).await?);
                code = code.max(execute(instance, parsed, true, out).await?);
            }
        }
    }
    Ok(code.max(perform(instance, &waiting).await?))
}

async fn list(instance: &Instance, listing: &Listing, out: &mut impl Write) -> Result<u8, Failure> {
    let service = match listing.service {
        Some(key) => Some(marks(instance, Some(&key)).await.name(&key)?),
        None => None,
    };
    let args = ListArgs {
        virtual_server: service.map(|name| name.address),
        udp: service.is_some_and(|name| name.protocol == crate::config::Protocol::Udp),
        numeric: listing.numeric,
        stats: listing.stats,
        rate: listing.rate && !listing.stats,
        thresholds: listing.thresholds,
        persistent_conn: listing.persistent_connections,
        tun_info: listing.tunnels,
        connections: listing.show == Show::Connections,
        timeout: listing.show == Show::Timeouts,
        daemon: listing.show == Show::Daemons,
        exact: listing.exact,
        nosort: listing.unsorted,
        resolve: !listing.numeric,
        plain: true,
        ..ListArgs::default()
    };
    let tables = edit::open(instance)?;
    let beside = super::list::beside(instance, args.rate).await?;
    match list::run(&args, &tables, &beside, out, &mut io::sink()) {
        Ok(()) => Ok(0),
        Err(list::ListError::NoSuchService(_)) => {
            Err(UsageError { message: "No such service".to_owned(), exit_code: 1 }.into())
        }
        Err(error) => Err(anyhow::Error::new(error).into()),
    }
}

//! `lbctl import`: other programs' configurations.
//!
//! Exit codes: 0 everything means the same; 3 something changed in meaning; 4 something is not supported; 1 the file
//! cannot be read or makes no configuration; 2 the command line is wrong.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::{KeepalivedArgs, MarksArgs};
use crate::import::report::Fate;
use crate::import::{Imported, ipvsadm, keepalived, marks};
use crate::ipvsadm::SystemNames;

/// Arguments of `lbctl import`.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// Of keepalived: keepalived.conf with all its includes
    ///
    /// Every line of the result says where it came from. Exit codes: 0 everything means the same, 3 something changed
    /// in meaning, 4 something is not supported, 1 there is no result.
    Keepalived(KeepalivedImport),
    /// Of ipvsadm: what `ipvsadm -S` or `ipvsadm -Sn` prints
    ///
    /// Every line of the result says where it came from. Exit codes: 0 everything means the same, 3 something changed
    /// in meaning, 4 something is not supported, 1 there is no result.
    Ipvsadm(IpvsadmImport),
}

#[derive(Debug, Args)]
struct KeepalivedImport {
    /// The keepalived.conf
    file: PathBuf,
    #[command(flatten)]
    options: KeepalivedArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct IpvsadmImport {
    /// The saved rules; `-` is standard input
    file: PathBuf,
    /// An interface that packets for the virtual servers arrive on
    #[arg(long = "interface", value_name = "NAME")]
    interfaces: Vec<String>,
    #[command(flatten)]
    marks: MarksArgs,
    #[command(flatten)]
    output: Output,
}

/// Where the result and the report go.
#[derive(Debug, Args)]
struct Output {
    /// Write the configuration here instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Report what was taken over too
    #[arg(short, long)]
    verbose: bool,
    /// Print the report as JSON, on standard output if the configuration goes to a file
    #[arg(long)]
    json: bool,
}

/// Something changed in meaning.
const CHANGED: u8 = 3;
/// Something is not supported.
const NOT_SUPPORTED: u8 = 4;

pub(super) fn run(args: &ImportArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match &args.from {
        From::Keepalived(args) => {
            finish(keepalived::import(&args.file, &args.options.options())?, &args.output, out)
        }
        From::Ipvsadm(args) => {
            let marks = marks::read(&args.marks.files)?;
            let imported = ipvsadm::import(&args.file, &args.interfaces, &marks, &SystemNames)
                .with_context(|| args.file.display().to_string())?;
            finish(imported, &args.output, out)
        }
    }
}

fn finish(imported: Imported, output: &Output, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Imported { toml, report, config } = imported;
    let mut err = io::stderr().lock();
    match &output.output {
        Some(path) => {
            std::fs::write(path, &toml.text).with_context(|| path.display().to_string())?;
            match output.json {
                true => report.write_json(out)?,
                false => report.write(out, output.verbose)?,
            }
        }
        None => {
            out.write_all(toml.text.as_bytes())?;
            match output.json {
                true => report.write_json(&mut err)?,
                false => report.write(&mut err, output.verbose)?,
            }
        }
    }
    config.context("the result is no configuration")?;
    Ok(match report.worst() {
        Fate::Taken => ExitCode::SUCCESS,
        Fate::Changed => CHANGED.into(),
        Fate::NotSupported => NOT_SUPPORTED.into(),
    })
}

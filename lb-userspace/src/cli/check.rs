//! `lbctl check`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::ConfigArgs;
use crate::config::wants_color;

/// Say what is wrong with a configuration, without touching anything.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CheckArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let source = args.config.source();
    let (findings, good) = match source.load() {
        Ok(config) => (config.warnings, true),
        Err(error) => (error.diagnostics().to_vec(), false),
    };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &findings).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        let color = wants_color(&io::stdout());
        for finding in &findings {
            writeln!(out, "{}", finding.render(color).trim_end())?;
        }
        if good {
            writeln!(out, "{}: good", source.path().display())?;
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

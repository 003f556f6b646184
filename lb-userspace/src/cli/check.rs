//! `lbctl check`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::ConfigArgs;
use crate::config::wants_color;
use crate::director::preflight::{authorities, packet_filter};

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
    let (findings, refused, good) = match source.load() {
        Ok(config) => {
            let refused = [authorities(&config), packet_filter(&config)].concat();
            let good = refused.is_empty();
            (config.warnings, refused, good)
        }
        Err(error) => (error.diagnostics().to_vec(), Vec::new(), false),
    };
    if args.json {
        let path = source.path().display().to_string();
        let whole = refused.iter().map(|message| {
            serde_json::json!({ "severity": "error", "file": path, "line": null, "column": null, "key": "",
                "message": message, "help": "", "related": [] })
        });
        let all: Vec<_> =
            findings.iter().map(serde_json::to_value).chain(whole.map(Ok)).collect::<Result<_, _>>()?;
        let report = serde_json::json!({ "schema": "lbctl/check/v1", "good": good, "findings": all });
        serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        let color = wants_color(&io::stdout());
        for finding in &findings {
            writeln!(out, "{}", finding.render(color).trim_end())?;
        }
        for problem in &refused {
            writeln!(out, "error: {problem}")?;
        }
        if good {
            writeln!(out, "{}: good", source.path().display())?;
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

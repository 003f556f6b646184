//! `cargo xtask`: what the project does to itself. One module per command; each installs what it needs, if it may.

mod bench;
mod cargo;
mod demo;
mod dist;
mod lab;
mod setup;
mod test;
mod toolchain;
mod vm;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Build, test, lab, demo, benchmarks")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

// A new command is a module above with `pub(crate) fn run(arguments) -> anyhow::Result<()>`, a variant here and a
// line in `main`.
#[derive(Debug, Subcommand)]
enum Command {
    /// Build `lbctl`, with the BPF programs in it
    Build(cargo::Arguments),
    /// Run the tests, tier by tier
    Test(test::Arguments),
    /// Run a command as root under one of Debian's kernels, in a virtual machine
    Vm(vm::Arguments),
    /// Measure the datapath and the control plane, against budgets
    Bench(bench::Arguments),
    /// Show what it does: real servers, a director, requests, a reload, a killed daemon, in namespaces
    Demo,
    /// Network namespaces with a client, two directors and two web servers
    Lab(lab::LabArgs),
    /// A Debian package and a release tarball
    Dist(dist::Arguments),
    /// Install what the build, the tests, the lab and the demo need
    Setup,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Build(arguments) => cargo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Vm(arguments) => return vm::run(arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Demo => demo::run(),
        Command::Lab(arguments) => lab::run(arguments),
        Command::Dist(arguments) => dist::run(&arguments),
        Command::Setup => setup::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a result to standard output.
fn say(line: &str) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{line}")?;
    Ok(())
}

/// Writes a line about what is going on to standard error; that nobody can read it is no reason to stop.
fn progress(line: &str) {
    writeln!(io::stderr().lock(), "{line}").unwrap_or_default();
}

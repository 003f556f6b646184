//! Writes the manual pages and shell completions of `lbctl` below a directory: `generate DIR`; or makes the tables of
//! the configuration's reference anew: `generate --reference docs/config.md`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap_complete::Shell;

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args_os().skip(1).map(PathBuf::from);
    let directory = words.next().context("usage: generate DIR | generate --reference FILE")?;
    if directory.as_os_str() == "--reference" {
        return reference(&words.next().context("usage: generate --reference FILE")?);
    }
    manual(&directory.join("man"))?;
    completions(&directory.join("completions")).context("completions")
}

fn reference(path: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    fs::write(path, lb_userspace::config::reference(&text)).with_context(|| path.display().to_string())
}

/// One page for `lbctl`, one for each command: `lbctl-server-add.8`.
fn manual(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory)?;
    let mut command = lb_userspace::cli::command();
    command.build();
    page(&command, "lbctl", directory)
}

fn page(command: &clap::Command, name: &str, directory: &Path) -> anyhow::Result<()> {
    // A name of a command lives as long as the program, which is short.
    let leaked: &'static str = name.to_owned().leak();
    let named = command.clone().name(leaked).bin_name(name.replace('-', " "));
    let mut text = Vec::new();
    let man = clap_mangen::Man::new(named).title(name.to_uppercase()).section("8").manual("lbctl");
    man.render(&mut text)?;
    let path = directory.join(format!("{name}.8"));
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help")
    {
        page(below, &format!("{name}-{}", below.get_name()), directory)?;
    }
    Ok(())
}

fn completions(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut lb_userspace::cli::command(), "lbctl", directory)?;
    }
    Ok(())
}

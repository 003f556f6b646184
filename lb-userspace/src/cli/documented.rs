//! What the documentation tells an operator to type is what the command line takes.

use std::path::PathBuf;

use clap::Parser as _;
use clap::error::ErrorKind;
use lb_common::verdict::Reason;

use super::Cli;
use crate::ipvsadm::{self, NoNames};

fn repository() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), ".."].iter().collect()
}

/// Name and text of every page for operators.
fn pages() -> Vec<(String, String)> {
    let docs = std::fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let root = ["README.md", "CHANGELOG.md"].map(|name| repository().join(name));
    docs.chain(root)
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

/// The commands of a line as one types it: without its prompt and comment, at `&&`, `||`, `|` and `;`.
fn commands(line: &str) -> Vec<Vec<String>> {
    let line = line.split("  #").next().unwrap_or(line);
    let mut commands = vec![Vec::new()];
    for word in shlex::split(line).unwrap_or_default() {
        match word.as_str() {
            "&&" | "||" | "|" => commands.push(Vec::new()),
            ">" | ">>" => break,
            word => {
                let (own, ends) = word.strip_suffix(';').map_or((word, false), |own| (own, true));
                commands.last_mut().unwrap().push(own.to_owned());
                if ends {
                    commands.push(Vec::new());
                }
            }
        }
    }
    commands
}

/// The words after `lbctl` of every command in the page's blocks for a terminal, and those of `ipvsadm`.
fn typed(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut in_console = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            in_console = line == "```console";
        } else if let (true, Some(line)) = (in_console, line.strip_prefix("# ").or(line.strip_prefix("$ "))) {
            found.extend(commands(line).into_iter().filter(|words| {
                words.first().is_some_and(|word| matches!(word.as_str(), "lbctl" | "ipvsadm"))
            }));
        }
    }
    found
}

#[test]
fn every_command_in_the_documentation_is_one() {
    let mut count = 0;
    for (page, text) in pages() {
        for words in typed(&text) {
            let shown = words.join(" ");
            if words[0] == "ipvsadm" {
                ipvsadm::parse(&words[1..], &NoNames)
                    .unwrap_or_else(|error| panic!("{page}: {shown}: {}", error.message));
            } else if let Err(error) = Cli::try_parse_from(&words)
                && error.kind() != ErrorKind::DisplayHelp
            {
                panic!("{page}: {shown}:\n{error}");
            }
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}

/// In running text values may be left out or stand for others; subcommands and options may not.
#[test]
fn every_command_that_the_documentation_names_is_one() {
    let mut count = 0;
    for (page, text) in pages() {
        for named in text.split('`').skip(1).step_by(2).filter(|named| named.starts_with("lbctl ")) {
            if named.contains(['|', '\n', '…', '*', '<', '['])
                || named.contains("...")
                || named.starts_with("lbctl ipvsadm ")
                || named.starts_with("lbctl COMMAND")
            {
                continue;
            }
            let Some(words) = shlex::split(named) else { continue };
            if let Err(error) = Cli::try_parse_from(&words) {
                let is_wrong =
                    matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand);
                assert!(!is_wrong, "{page}: {named}:\n{error}");
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn every_reason_is_explained() {
    let page = std::fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    for reason in Reason::ALL {
        let begin = format!("| `{}` | {} |", reason.as_str(), reason.kind().as_str());
        assert!(rows.iter().any(|row| row.starts_with(&begin)), "{begin} is missing in docs/operations.md");
    }
}

/// Every schema that a command prints has its place in docs/json.md.
#[test]
fn every_schema_is_described() {
    let page = std::fs::read_to_string(repository().join("docs/json.md")).unwrap();
    for name in [
        "list",
        "connections",
        "drops",
        "timeouts",
        "checks",
        "paths",
        "vrrp",
        "check",
        "import",
        "diff",
        "saved",
        "realserver",
        "explain",
        "doctor",
    ] {
        assert!(page.contains(&format!("`lbctl/{name}/v1`")), "{name}");
    }
}

/// A title as the end of a link: small letters, digits, `-` and `_`.
fn anchor(title: &str) -> String {
    let kept = title.trim().to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for (page, text) in pages() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            let (file, title) = link.split_once('#').unwrap_or((link, ""));
            let path = std::path::Path::new(&page);
            let target = if file.is_empty() { path.to_owned() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{page}: {link}");
            if !title.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                let titles = text.lines().filter(|line| line.starts_with('#'));
                let found =
                    titles.map(|line| anchor(line.trim_start_matches('#'))).any(|found| found == title);
                assert!(found, "{page}: {link}: there is no such title");
            }
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
}

/// What the manual says of a command is all that its comment says: clap takes a variant's in place of its arguments'.
#[test]
fn commands_that_end_with_other_codes_say_so() {
    let command = super::command();
    for name in ["diff", "doctor", "import"] {
        let about = command.find_subcommand(name).unwrap().get_long_about().unwrap().to_string();
        assert!(about.to_lowercase().contains("exit code"), "{name}: {about}");
    }
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        let about = below.get_about().unwrap().to_string();
        assert!(!about.starts_with("Arguments of"), "{}: {about}", below.get_name());
    }
}

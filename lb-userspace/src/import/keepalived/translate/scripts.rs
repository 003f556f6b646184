//! Scripts: what VRRP asks them, and what they are told.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use super::{Translation, lasting};
use crate::import::document::{Section, Value};
use crate::import::keepalived::tree::Statement;

/// Only so many bytes of a script are looked at.
const MAX_SCRIPT: u64 = 1 << 18;

impl Translation<'_> {
    pub(super) fn vrrp_script(&mut self, block: &Statement) {
        let mut section = Section::new("[[vrrp_script]]", block.place());
        section.set("name", Value::text(block.word(0).unwrap_or("")), block.place());
        let mut has_interval = false;
        for statement in self.statements(block) {
            match statement.keyword.name {
                "script" => {
                    let command = command(statement.word(0).unwrap_or(""));
                    self.stops_keepalived(statement);
                    self.set(&mut section, "command", Value::text(command), statement);
                }
                "interval" | "timeout" => {
                    let Some(seconds) = self.seconds(statement, (0.0, 1_000_000.0)) else { continue };
                    let is_interval = statement.keyword.name == "interval";
                    has_interval |= is_interval;
                    if seconds.is_zero() {
                        let message =
                            if is_interval { "0 means 1 s" } else { "left out: 0 means the interval" };
                        self.changed(statement, message);
                        if is_interval {
                            section.set("interval", lasting(Duration::from_secs(1)), statement.place());
                        }
                        continue;
                    }
                    let key = if is_interval { "interval" } else { "timeout" };
                    self.set(&mut section, key, lasting(seconds), statement);
                }
                "weight" => {
                    let Some(weight) = self.integer(statement, (-254, 254)) else { continue };
                    let weight = self.weight(statement, weight);
                    self.set(&mut section, "weight", Value::Number(weight), statement);
                }
                "rise" | "fall" => {
                    let Some(count) = self.integer(statement, (1, 1_000_000)) else { continue };
                    let key = if statement.keyword.name == "rise" { "rise" } else { "fall" };
                    self.set(&mut section, key, Value::Number(count), statement);
                }
                "user" => {
                    let user = self.user(statement, 0);
                    self.set(&mut section, "user", Value::text(user), statement);
                }
                "init_fail" => self.set(&mut section, "init_fail", Value::Flag(true), statement),
                _ => self.by_table(statement),
            }
        }
        if !has_interval {
            section.assume(
                "interval",
                lasting(Duration::from_secs(1)),
                block.place(),
                "keepalived's default",
            );
        }
        if let (None, Some(user)) = (section.get("user"), &self.globals.script_user) {
            section.assume("user", Value::text(user), block.place(), "script_user of global_defs");
        }
        if section.get("command").is_none() {
            return self.refused(block, "it names no script; keepalived leaves it out too");
        }
        self.by_table(block);
        self.scripts.push(section);
    }

    /// The user in word `index`; scripts run with the groups of their user.
    fn user(&mut self, statement: &Statement, index: usize) -> String {
        let user = statement.word(index).unwrap_or("").to_owned();
        if let Some(group) = statement.word(index + 1) {
            self.changed(statement, format!("it runs with the groups of {user}, not with group {group}"));
        }
        user
    }

    /// A `notify...` statement. Returns whether it is one.
    pub(super) fn notify(&mut self, section: &mut Section, statement: &Statement) -> bool {
        let key = match statement.keyword.name {
            "notify" => "notify",
            "notify_master" => "notify_master",
            "notify_backup" => "notify_backup",
            "notify_fault" => "notify_fault",
            "notify_stop" => "notify_stop",
            "notify_up" => "notify_up",
            "notify_down" => "notify_down",
            "quorum_up" => "quorum_up",
            "quorum_down" => "quorum_down",
            _ => return false,
        };
        self.command_key(section, key, statement);
        true
    }

    /// A command with the user it runs as, which is one for all notifications here.
    fn command_key(&mut self, section: &mut Section, key: &'static str, statement: &Statement) {
        let text = command(statement.word(0).unwrap_or(""));
        self.stops_keepalived(statement);
        section.set(key, Value::text(text), statement.place());
        match statement.word(1) {
            Some(user) if Some(user) != self.globals.script_user.as_deref() => {
                let message = format!(
                    "is now {key}, but runs as notifications.script_user, not as {user}: all notifications run as one \
                     user"
                );
                self.refused(statement, message);
            }
            _ => self.by_table(statement),
        }
    }

    /// Says so if the command of `statement`, or the script that it runs, stops or restarts keepalived: that stops
    /// nothing any more.
    pub(super) fn stops_keepalived(&mut self, statement: &Statement) {
        let text = statement.word(0).unwrap_or("");
        if stops(text) {
            return self.changed(statement, format!("it stops keepalived{INSTEAD}"));
        }
        // The script itself, or one that a shell runs.
        for path in text.split_whitespace().filter(|word| word.starts_with('/')) {
            let Some(script) = script(Path::new(path)) else { continue };
            let found = (1..).zip(script.lines()).find(|(_, line)| stops(line));
            if let Some((number, line)) = found {
                let message = format!("{path}:{number} stops keepalived: `{}`{INSTEAD}", line.trim());
                return self.changed(statement, message);
            }
        }
    }
}

const INSTEAD: &str = ": make it `systemctl stop lbctl` (without systemd `lbctl down`), or, so that the director goes on and \
                       only hands over, let the script fail and give it a weight";

/// The text of a script that can be read.
fn script(path: &Path) -> Option<String> {
    let file = std::fs::File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(MAX_SCRIPT).read_to_string(&mut text).ok()?;
    text.starts_with("#!").then_some(text)
}

/// Whether a line of a script, or a command, stops or restarts keepalived.
fn stops(line: &str) -> bool {
    let line = line.trim_start();
    if line.starts_with('#') {
        return false;
    }
    let words: Vec<&str> = line
        .split(|c: char| c.is_whitespace() || ";&|()`'\"$<>".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    let is_it = |word: &&str| {
        let name = word.rsplit('/').next().unwrap_or(word);
        matches!(name, "keepalived" | "keepalived.service" | "keepalived.pid")
    };
    // `killall -0` and `kill -0` only ask whether it runs.
    let is_deed =
        |word: &&str| matches!(*word, "stop" | "restart" | "try-restart" | "kill" | "killall" | "pkill");
    words.iter().any(is_it) && words.iter().any(is_deed) && !words.contains(&"-0")
}

/// A command as our configuration has it. keepalived splits it at spaces, but for those in single quotes, and takes
/// everything else literally; a command here is split as by a shell.
pub(super) fn command(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut in_quotes = false;
    for c in text.chars() {
        match c {
            '\'' => {
                in_quotes = !in_quotes;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !in_quotes => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_nul| text.replace('\0', ""))
}

#[cfg(test)]
mod tests {
    use super::{command, stops};

    #[test]
    fn commands_keep_their_words() {
        assert_eq!(command("/etc/keepalived/check.sh"), "/etc/keepalived/check.sh");
        assert_eq!(command("killall  -0 haproxy"), "killall -0 haproxy");
        for (text, words) in [
            ("/a 'b c' d", vec!["/a", "b c", "d"]),
            (r#"/a "b c""#, vec!["/a", "\"b", "c\""]),
            (r"/a b\c", vec!["/a", r"b\c"]),
        ] {
            let script = crate::process::Script::parse(&command(text), None).unwrap();
            assert_eq!(script.words, words, "{text}");
        }
    }

    #[test]
    fn what_stops_keepalived_is_seen() {
        for line in [
            "systemctl stop keepalived",
            "    /usr/bin/systemctl --no-block stop keepalived.service",
            "service keepalived stop; exit 1",
            "/etc/init.d/keepalived stop",
            "kill $(cat /var/run/keepalived.pid)",
            "[ $(ps -C nginx --no-header | wc -l) -eq 0 ] && killall keepalived",
            "kill -TERM `cat /run/keepalived.pid`",
        ] {
            assert!(stops(line), "{line}");
        }
        for line in [
            "# systemctl stop keepalived",
            "killall -0 keepalived",
            "/etc/keepalived/stop.sh",
            "systemctl status keepalived",
            "systemctl stop nginx",
            "/etc/keepalived/check.sh stop",
        ] {
            assert!(!stops(line), "{line}");
        }
    }
}

//! Health checks of a real server.

use std::net::IpAddr;
use std::time::Duration;

use super::{Translation, lasting};
use crate::import::document::{Section, Value};
use crate::import::keepalived::tree::Statement;

/// What a check inherits from its virtual server that our own inheritance does not know.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Defaults {
    /// `delay_loop` of the virtual server.
    pub(super) interval: Duration,
}

impl Translation<'_> {
    /// A checker block becomes one check, or one for each URL. `timing` is what the real server sets for all its
    /// checks, `host` what it or the virtual server calls itself.
    pub(super) fn checker(
        &mut self,
        server: &mut Section,
        block: &Statement,
        timing: &[&Statement],
        host: Option<&Statement>,
        defaults: Defaults,
    ) {
        let kind = match block.keyword.name {
            "TCP_CHECK" => "tcp",
            "HTTP_GET" => "http",
            "SSL_GET" => "https",
            "SMTP_CHECK" => "smtp",
            "DNS_CHECK" => "dns",
            "MISC_CHECK" => "script",
            "UDP_CHECK" => "udp",
            "PING_CHECK" => "ping",
            "FILE_CHECK" => "file",
            _ => {
                self.by_table(block);
                return;
            }
        };
        let mut check = Section::new("[[virtual_server.real_server.check]]", block.place());
        check.set("type", Value::text(kind), block.place());
        let statements = self.statements(block);
        let own = |name: &str| statements.iter().any(|statement| statement.keyword.name == name);
        for statement in timing {
            // The check's own timeout is misc_timeout, and a file has none of them.
            let is_used = match kind {
                "script" => statement.keyword.name != "connect_timeout",
                "file" => false,
                _ => true,
            };
            if is_used && !own(statement.keyword.name) {
                self.timing(&mut check, statement, false);
            }
        }
        let mut urls = Vec::new();
        let mut virtual_host = host;
        let mut connect: (Option<&Statement>, Option<&Statement>) = (None, None);
        for statement in &statements {
            match statement.keyword.name {
                "connect_ip" => connect.0 = Some(statement),
                "connect_port" => connect.1 = Some(statement),
                "host" => {
                    self.by_table(statement);
                    for inner in self.statements(statement) {
                        match inner.keyword.name {
                            "connect_ip" => connect.0 = Some(inner),
                            "connect_port" => connect.1 = Some(inner),
                            _ => self.check_key(&mut check, inner),
                        }
                    }
                }
                "url" => urls.push(*statement),
                "virtualhost" => {
                    virtual_host = Some(statement);
                    self.by_table(statement);
                }
                "alpha" => {
                    if self.flag(statement) == Some(true) {
                        server.set("alpha", Value::Flag(true), statement.place());
                        self.by_table(statement);
                    } else {
                        self.changed(statement, "left out: a real server starts up unless alpha is set");
                    }
                }
                _ => self.check_key(&mut check, statement),
            }
        }
        self.connect(&mut check, connect);
        if kind == "script" && check.get("timeout").is_none() {
            let value = lasting(defaults.interval);
            check.assume("timeout", value, block.place(), "keepalived's default: delay_loop");
        }
        if kind == "script"
            && check.get("user").is_none()
            && let Some(user) = &self.globals.script_user
        {
            check.assume("user", Value::text(user), block.place(), "script_user of global_defs");
        }
        let required = match kind {
            "script" => "command",
            "file" => "file",
            _ => "type",
        };
        if check.get(required).is_none() {
            return self.refused(block, "it does not say what to run or read; keepalived leaves it out too");
        }
        self.by_table(block);
        if matches!(kind, "http" | "https") {
            self.urls(server, check, &urls, virtual_host, block);
        } else {
            server.inner.push(check);
        }
    }

    /// A key about when. `is_said` reports it.
    fn timing(&mut self, check: &mut Section, statement: &Statement, is_said: bool) {
        let (key, value) = match statement.keyword.name {
            "retry" => {
                let Some(count) = self.integer(statement, (0, 10_000)) else { return };
                ("retries", Value::Number(count))
            }
            name => {
                let Some(seconds) = self.seconds(statement, (0.0, 86_400.0)) else { return };
                let key = match name {
                    "delay_before_retry" => "retry_delay",
                    "warmup" => "warmup",
                    "connect_timeout" => "timeout",
                    _ => "interval",
                };
                (key, lasting(seconds))
            }
        };
        check.set(key, value, statement.place());
        if is_said {
            self.by_table(statement);
        }
    }

    fn check_key(&mut self, check: &mut Section, statement: &Statement) {
        let text = statement.word(0).unwrap_or("").to_owned();
        match statement.keyword.name {
            "retry" if statement.name.text == "nb_get_retry" && check.header_kind() != Some("http") => {
                let Some(count) = self.integer(statement, (0, 10_000)) else { return };
                check.set("retries", Value::Number(count), statement.place());
                let message = "is now check.retries: keepalived knows nb_get_retry in HTTP_GET and SSL_GET only, ignores it \
                               here and tries once more; taken as `retry`";
                self.changed(statement, message);
            }
            "retry" | "delay_before_retry" | "warmup" | "connect_timeout" | "delay_loop" => {
                self.timing(check, statement, true);
            }
            "bindto" => match text.parse::<IpAddr>() {
                Ok(address) => self.set(check, "source_address", Value::text(address.to_string()), statement),
                Err(_) => self
                    .refused(statement, format!("{text:?} is not an address; left out, as keepalived does")),
            },
            "fwmark" => {
                let Some(mark) = self.integer(statement, (1, i64::from(u32::MAX))) else { return };
                self.set(check, "fwmark", Value::Number(mark), statement);
            }
            "helo_name" => self.set(check, "helo", Value::text(text), statement),
            "type" => self.set(check, "record_type", Value::text(text.to_ascii_uppercase()), statement),
            "name" => {
                let name = if text.is_empty() { ".".to_owned() } else { text };
                self.set(check, "name", Value::text(name), statement);
            }
            "misc_path" => {
                let command = super::scripts::command(&text);
                self.stops_keepalived(statement);
                self.set(check, "command", Value::text(command), statement);
            }
            "misc_timeout" => {
                let Some(seconds) = self.seconds(statement, (1.0, 86_400.0)) else { return };
                self.set(check, "timeout", lasting(seconds), statement);
            }
            "misc_dynamic" => self.set(check, "weight_by_exit", Value::Flag(true), statement),
            "user" => {
                check.set("user", Value::text(&text), statement.place());
                match statement.word(1) {
                    Some(group) => {
                        self.changed(
                            statement,
                            format!("is now check.user: with the groups of {text}, not {group}"),
                        );
                    }
                    None => self.by_table(statement),
                }
            }
            "payload" | "require_reply" => {
                let key = if statement.keyword.name == "payload" { "payload" } else { "expect" };
                let words: Vec<_> = statement.words.iter().map(|word| word.text.as_str()).collect();
                let hex = words.join(" ");
                match hexadecimal(&hex) {
                    Some(hex) => self.set(check, key, Value::text(format!("hex:{hex}")), statement),
                    None => {
                        self.refused(statement, format!("{hex:?} is not hexadecimal, byte by byte; left out"))
                    }
                }
            }
            "track_file" => match self.file_paths.iter().find(|(name, _)| *name == text) {
                Some((_, path)) => {
                    let path = Value::text(path);
                    self.set(check, "file", path, statement);
                }
                None => self.refused(statement, format!("there is no track_file {text:?}")),
            },
            "weight" => {
                let Some(weight) = self.integer(statement, (-i64::from(i32::MAX), i64::from(i32::MAX)))
                else {
                    return;
                };
                let weight = if statement.word(1) == Some("reverse") { -weight } else { weight };
                self.set(check, "weight", Value::Number(weight), statement);
            }
            "http_protocol" => match text.to_ascii_uppercase().as_str() {
                "1.0" | "1.0C" => self.set(check, "http_version", Value::text("1.0"), statement),
                "1.1" => self.set(check, "http_version", Value::text("1.1"), statement),
                _ => self.refused(statement, format!("{text:?} is none of 1.0, 1.0C and 1.1; 1.0 is taken")),
            },
            "enable_sni" => match self.flag(statement) {
                Some(true) => self.taken(statement, "check.sni"),
                Some(false) => self.changed(statement, "left out: it is so without it"),
                None => {}
            },
            "sni_name" => self.set(check, "sni", Value::text(text), statement),
            _ => self.by_table(statement),
        }
    }

    fn connect(&mut self, check: &mut Section, (ip, port): (Option<&Statement>, Option<&Statement>)) {
        let number = port.and_then(|statement| self.integer(statement, (1, 65_535)));
        let address = match ip.map(|statement| (statement, statement.word(0).unwrap_or("").parse::<IpAddr>()))
        {
            Some((statement, Ok(address))) => Some((statement, address)),
            Some((statement, Err(_))) => {
                self.refused(statement, "it is not an address; left out, as keepalived does");
                None
            }
            None => None,
        };
        let value = match (address, number) {
            (Some((_, address)), Some(port)) => {
                super::addresses::with_port(address, u16::try_from(port).unwrap_or_default())
            }
            (Some((_, IpAddr::V6(address))), None) => format!("[{address}]"),
            (Some((_, address)), None) => address.to_string(),
            (None, Some(port)) => format!(":{port}"),
            (None, None) => return,
        };
        for statement in
            [address.map(|(statement, _)| statement), port.filter(|_| number.is_some())].into_iter().flatten()
        {
            self.set(check, "connect", Value::text(&value), statement);
        }
    }
}

impl Section {
    /// The type of a check, "https" being "http".
    fn header_kind(&self) -> Option<&str> {
        match self.get("type") {
            Some(Value::Text(kind)) => Some(kind.strip_suffix('s').unwrap_or(kind)),
            _ => None,
        }
    }
}

/// keepalived's free form, `Ab12f 3 456` for ab 12 0f 03 45 06, with `X` for any half of a byte, as two digits each.
/// A byte of which only one half is free has no equivalent.
fn hexadecimal(text: &str) -> Option<String> {
    let mut hex = String::new();
    for group in text.split_whitespace() {
        let digits: Vec<char> = group.chars().collect();
        for pair in digits.chunks(2) {
            let byte: String = match pair {
                [one] => ['0', *one].iter().collect(),
                both => both.iter().collect(),
            };
            let is_any = |c: char| c.eq_ignore_ascii_case(&'x');
            let (high, low) = (byte.chars().next()?, byte.chars().nth(1)?);
            match (is_any(high), is_any(low)) {
                (true, true) => hex.push_str("XX"),
                (false, false) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    hex.push_str(&byte.to_ascii_lowercase());
                }
                _ => return None,
            }
        }
    }
    Some(hex)
}

#[cfg(test)]
mod tests {
    use super::hexadecimal;

    #[test]
    fn payloads_are_read_as_the_manual_says() {
        assert_eq!(hexadecimal("Ab12f 3 456 546443123").as_deref(), Some("ab120f0345065464431203"));
        assert_eq!(hexadecimal("0aXX").as_deref(), Some("0aXX"));
        assert_eq!(hexadecimal("").as_deref(), Some(""));
        assert_eq!(hexadecimal("0X"), None);
        assert_eq!(hexadecimal("zz"), None);
    }
}

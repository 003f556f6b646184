//! The URLs of `HTTP_GET` and `SSL_GET`.

use crate::import::document::{Section, Value};
use crate::import::keepalived::translate::Translation;
use crate::import::keepalived::tree::Statement;

impl Translation<'_> {
    pub(super) fn urls(
        &mut self,
        server: &mut Section,
        common: Section,
        urls: &[&Statement],
        host: Option<&Statement>,
        block: &Statement,
    ) {
        let mut common = common;
        if common.get("http_version").is_none() {
            common.assume("http_version", Value::text("1.0"), block.place(), "keepalived's default");
        }
        if urls.is_empty() {
            self.changed(block, "it has no url: keepalived reports that; / is asked for");
            self.host(&mut common, host);
            server.inner.push(common);
            return;
        }
        for url in urls {
            let mut check = common.clone();
            check.place = url.place();
            self.url(&mut check, url, host);
            match urls.len() {
                1 => self.taken(url, "check.path"),
                _ => self.by_table(url),
            }
            server.inner.push(check);
        }
    }

    pub(super) fn host(&mut self, check: &mut Section, host: Option<&Statement>) {
        if let Some(statement) = host {
            check.set("host", Value::text(statement.word(0).unwrap_or("")), statement.place());
        }
    }

    fn url(&mut self, check: &mut Section, url: &Statement, host: Option<&Statement>) {
        let statements = self.statements(url);
        let own = statements.iter().find(|statement| statement.keyword.name == "virtualhost").copied();
        self.host(check, own.or(host));
        let has_no_match = statements.iter().any(|statement| statement.keyword.name == "regex_no_match");
        let flags = self.regex_flags(&statements);
        let mut has_body = false;
        for statement in &statements {
            let text = statement.word(0).unwrap_or("");
            match statement.keyword.name {
                "path" => {
                    let path = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
                    self.set(check, "path", Value::text(path), statement);
                }
                "digest" => {
                    has_body = true;
                    self.set(check, "digest", Value::text(text), statement);
                }
                "status_code" => {
                    let codes: Vec<_> = statement.words.iter().map(|word| word.text.clone()).collect();
                    let is_code =
                        |text: &str| text.parse::<u16>().is_ok_and(|code| (100..=599).contains(&code));
                    let (good, bad): (Vec<_>, Vec<_>) = codes
                        .into_iter()
                        .partition(|code| code.split('-').all(is_code) && code.split('-').count() <= 2);
                    if !bad.is_empty() {
                        self.refused(
                            statement,
                            format!("no status from 100 to 599: {}; left out", bad.join(", ")),
                        );
                    }
                    if !good.is_empty() {
                        self.set(check, "status", Value::texts(good), statement);
                    }
                }
                "regex" if has_no_match => {
                    self.refused(statement, "a check cannot ask that a text be absent; left out");
                }
                "regex" => {
                    has_body = true;
                    let pattern =
                        if flags.is_empty() { text.to_owned() } else { format!("(?{flags}){text}") };
                    match regex::bytes::Regex::new(&pattern) {
                        Ok(_) => self.set(check, "body_regex", Value::text(pattern), statement),
                        Err(_) => {
                            let message = "the expression uses what only PCRE has; left out: write it anew as body_regex";
                            self.refused(statement, message);
                        }
                    }
                }
                "regex_options" => {}
                _ => self.by_table(statement),
            }
        }
        // Without a status keepalived looks at the body alone, if it does.
        if has_body && check.get("status").is_none() {
            check.assume(
                "status",
                Value::texts(["100-599"]),
                url.place(),
                "keepalived looks at the body only",
            );
        }
    }

    /// The options of a regular expression as flags in it.
    fn regex_flags(&mut self, statements: &[&Statement]) -> String {
        let mut flags = String::new();
        for statement in statements.iter().filter(|statement| statement.keyword.name == "regex_options") {
            let mut other = Vec::new();
            for word in &statement.words {
                match word.text.as_str() {
                    "caseless" => flags.push('i'),
                    "multiline" => flags.push('m'),
                    "dotall" => flags.push('s'),
                    "extended" => flags.push('x'),
                    "ungreedy" => flags.push('U'),
                    "utf" | "ucp" => flags.push('u'),
                    "no_auto_capture" | "no_auto_possess" | "no_dotstar_anchor" | "no_start_optimize"
                    | "never_utf" | "never_ucp" | "never_backslash_c" => {}
                    option => other.push(option),
                }
            }
            match other.is_empty() {
                true => self.by_table(statement),
                false => self.refused(
                    statement,
                    format!("regular expressions have no {}; left out", other.join(", ")),
                ),
            }
        }
        flags
    }
}

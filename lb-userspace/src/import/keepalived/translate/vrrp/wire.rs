//! What both directors must agree on: version, interval, password.

use std::time::Duration;

use super::Instance;
use crate::import::document::{Section, Value};
use crate::import::keepalived::translate::{Translation, lasting};
use crate::import::keepalived::tree::Statement;

impl Translation<'_> {
    /// The version and the interval, which depend on each other.
    pub(super) fn version(&mut self, section: &mut Section, instance: &Instance<'_>, block: &Statement) {
        let is_ipv6 = instance.is_ipv6 == Some(true);
        let default = if is_ipv6 || self.globals.is_version_3 { 3 } else { 2 };
        let version = match instance.version {
            Some((2, statement)) if is_ipv6 => {
                section.set("version", Value::Number(3), statement.place());
                self.changed(statement, "IPv6 needs version 3: write it on the other directors too");
                3
            }
            Some((version, statement)) => {
                self.set(section, "version", Value::Number(version), statement);
                version
            }
            None => {
                section.assume("version", Value::Number(default), block.place(), "keepalived's default");
                default
            }
        };
        let Some((interval, statement)) = instance.interval else {
            let second = lasting(Duration::from_secs(1));
            section.assume("advert_interval", second, block.place(), "keepalived's default");
            return;
        };
        // Version 2 counts seconds, version 3 hundredths of them, 4095 at most.
        let fits = if version == 2 {
            Duration::from_secs_f64(interval.as_secs_f64().round().max(1.0))
        } else {
            let hundredths = (interval.as_secs_f64() * 100.0).round().clamp(1.0, 4095.0);
            Duration::from_secs_f64((hundredths * 10.0).round() / 1000.0)
        };
        section.set("advert_interval", lasting(fits), statement.place());
        if fits == interval {
            self.by_table(statement);
        } else {
            let shown = humantime::format_duration(fits);
            self.changed(
                statement,
                format!("version {version} cannot carry this; {shown}, as in keepalived"),
            );
        }
    }

    pub(super) fn authentication(&mut self, section: &mut Section, instance: &Instance<'_>) {
        let Some(block) = instance.authentication else { return };
        let statements = self.statements(block);
        let find = |name: &str| statements.iter().find(|statement| statement.keyword.name == name).copied();
        let (kind, pass) = (find("auth_type"), find("auth_pass"));
        let all = [Some(block), kind, pass].into_iter().flatten();
        let why_not = if instance.is_strict {
            Some("left out: keepalived in strict mode sends no authentication")
        } else if section.get("version") == Some(&Value::Number(3)) {
            Some("left out: version 3 has no authentication, and keepalived ignores it")
        } else {
            None
        };
        if let Some(why) = why_not {
            for statement in all {
                self.changed(statement, why);
            }
            return;
        }
        let word = kind.and_then(|kind| kind.word(0)).unwrap_or("");
        if word.eq_ignore_ascii_case("AH") {
            for statement in all {
                let message = "AH is not supported: write PASS on all directors, or no authentication";
                self.refused(statement, message);
            }
            return;
        }
        let Some(pass) = pass else {
            for statement in all {
                self.changed(
                    statement,
                    "left out: there is no auth_pass, and keepalived authenticates nothing",
                );
            }
            return;
        };
        self.by_table(block);
        match kind {
            Some(kind) if word == "PASS" => self.by_table(kind),
            Some(kind) if word.eq_ignore_ascii_case("PASS") => {
                let message = "keepalived knows PASS in capital letters only, and with this authenticates nothing; \
                               taken as PASS: remove auth_pass if a director with this file goes on with keepalived";
                self.changed(kind, message);
            }
            Some(kind) => {
                self.refused(kind, "it is neither PASS nor AH; taken as PASS");
            }
            None => {
                let message = "there is no auth_type, and keepalived authenticates nothing; taken as PASS: remove \
                               auth_pass if a director with this file goes on with keepalived";
                self.changed(block, message);
            }
        }
        let text = pass.word(0).unwrap_or("");
        // RFC 2338 has eight bytes for it.
        let mut cut = text.len().min(8);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        let short = text.get(..cut).unwrap_or("");
        section.set("auth_pass", Value::text(short), pass.place());
        if short == text {
            self.by_table(pass);
        } else {
            self.changed(pass, format!("only the first eight bytes are sent, by keepalived too: {short}"));
        }
    }
}

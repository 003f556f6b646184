//! Keys whose value is a command.

use super::diagnostics::{Report, quoted};
use super::raw::Field;
use crate::process::Script;

/// A command that may be left out: `Some(None)` if the key is absent, `None` if its value is wrong.
pub(super) fn command(field: Field<String>, key: &str, report: &mut Report) -> Option<Option<Script>> {
    let (text, span) = match field {
        Field::Absent => return Some(None),
        Field::Refused => return None,
        Field::Given(text, span) => (text, span),
    };
    match Script::parse(&text, None) {
        Ok(script) => Some(Some(script)),
        Err(problem) => {
            let help = "write a program and its arguments: \"/usr/local/bin/notify 'two words'\"";
            report.error(&span, key, format!("{} {problem}", quoted(&text)), help);
            None
        }
    }
}

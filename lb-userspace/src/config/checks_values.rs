//! Values of checks' keys: what was typed, judged, or its default. `None` is what was wrong and has been said.

use super::diagnostics::{Report, quoted};
use super::raw::Field;

/// So many bytes fit into one packet.
const MAX_BYTES: usize = 1400;

/// Hexadecimal digits with or without blanks between bytes; `XX` is any byte.
pub(super) fn hex(text: &str) -> Option<Vec<Option<u8>>> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[char; 2]| {
        let text: String = pair.iter().collect();
        match text.as_str() {
            "XX" | "xx" => Some(None),
            _ if text.starts_with('+') => None,
            _ => u8::from_str_radix(&text, 16).ok().map(Some),
        }
    };
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

/// Text as it is, or what follows `hex:` in hexadecimal.
pub(super) fn bytes(
    field: &Field<String>,
    key: &str,
    may_have_any: bool,
    report: &mut Report,
) -> Option<Option<Vec<Option<u8>>>> {
    let (text, span) = match field {
        Field::Absent => return Some(None),
        Field::Refused => return None,
        Field::Given(text, span) => (text, span),
    };
    let bytes = match text.strip_prefix("hex:") {
        Some(digits) => hex(digits),
        None => Some(text.bytes().map(Some).collect()),
    };
    let bytes = bytes.filter(|bytes| may_have_any || bytes.iter().all(Option::is_some));
    match bytes {
        Some(bytes) if bytes.len() <= MAX_BYTES => Some(Some(bytes)),
        Some(bytes) => {
            let message = format!("has {} bytes", bytes.len());
            report.error(span, key, message, format!("write at most {MAX_BYTES}, which fit into one packet"));
            None
        }
        None => {
            let message = format!("{} is not hexadecimal", quoted(text));
            let any = if may_have_any { "; XX is any byte" } else { "" };
            report.error(
                span,
                key,
                message,
                format!("write two digits for each byte, such as \"hex:0aff\"{any}"),
            );
            None
        }
    }
}

pub(super) fn host_name(
    field: &Field<String>,
    key: &str,
    default: &str,
    report: &mut Report,
) -> Option<String> {
    if matches!(field, Field::Absent) {
        return Some(default.to_owned());
    }
    let fits = |text: &str| {
        (1..=255).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic() && c != '<' && c != '>')
    };
    checked(field, key, "a host name", "write a name such as lvs1.example.org", fits, report)
}

pub(super) fn checked(
    field: &Field<String>,
    key: &str,
    what: &str,
    help: &str,
    fits: impl Fn(&str) -> bool,
    report: &mut Report,
) -> Option<String> {
    match field {
        Field::Given(text, _) if fits(text) => Some(text.clone()),
        Field::Given(text, span) => {
            report.error(span, key, format!("{} is not {what}", quoted(text)), help);
            None
        }
        Field::Absent | Field::Refused => None,
    }
}

pub(super) fn choice<T: Copy + Default>(
    field: &Field<String>,
    key: &str,
    choices: &[(&str, T)],
    report: &mut Report,
) -> Option<T> {
    let (text, span) = match field {
        Field::Absent => return Some(T::default()),
        Field::Refused => return None,
        Field::Given(text, span) => (text, span),
    };
    let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value);
    if found.is_none() {
        let names: Vec<_> = choices.iter().map(|(word, _)| quoted(word)).collect();
        report.error(
            span,
            key,
            format!("{} is not known", quoted(text)),
            format!("use {}", names.join(" or ")),
        );
    }
    found
}

pub(super) fn text(field: &Field<String>) -> Option<Option<String>> {
    match field {
        Field::Absent => Some(None),
        Field::Refused => None,
        Field::Given(text, _) => Some(Some(text.clone())),
    }
}

pub(super) fn flag(field: &Field<bool>) -> Option<bool> {
    match field {
        Field::Absent => Some(false),
        Field::Refused => None,
        Field::Given(value, _) => Some(*value),
    }
}

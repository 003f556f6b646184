//! Keys whose value is a duration, a yes or no, or a text with rules of its own.

use std::time::Duration;

use super::diagnostics::{Report, quoted};
use super::raw::Field;

/// A duration in words, or its default if the key is absent: "1s", "100ms", "1m 30s".
pub(super) fn duration(
    field: &Field<String>,
    key: &str,
    (min, max): (Duration, Duration),
    default: Duration,
    report: &mut Report,
) -> Option<Duration> {
    optional_duration(field, key, (min, max), report).map(|given| given.unwrap_or(default))
}

/// A duration that may be left out: `Some(None)` if the key is absent, `None` if its value is wrong.
pub(super) fn optional_duration(
    field: &Field<String>,
    key: &str,
    (min, max): (Duration, Duration),
    report: &mut Report,
) -> Option<Option<Duration>> {
    let (text, span) = match field {
        Field::Absent => return Some(None),
        Field::Refused => return None,
        Field::Given(text, span) => (text, span),
    };
    let range = || format!("{} to {}", humantime::format_duration(min), humantime::format_duration(max));
    match humantime::parse_duration(text) {
        Ok(duration) if (min..=max).contains(&duration) => return Some(Some(duration)),
        Ok(_) => {
            let message = format!("{} is out of range", quoted(text));
            report.error(span, key, message, format!("write a duration from {}", range()));
        }
        Err(_) => {
            let message = format!("{} is not a duration", quoted(text));
            let seconds =
                text.trim().parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let help = match seconds {
                Some(seconds) => format!(
                    "write the unit too, \"{}\" for seconds",
                    humantime::format_duration(Duration::from_millis(
                        u64::try_from(seconds.as_millis()).unwrap_or(u64::MAX)
                    ))
                ),
                None => format!("write a number with its unit (ms, s, m, h, days), from {}", range()),
            };
            report.error(span, key, message, help);
        }
    }
    None
}

/// Yes or no, or its default if the key is absent.
pub(super) fn flag(field: &Field<bool>, default: bool) -> Option<bool> {
    match field {
        Field::Absent => Some(default),
        Field::Refused => None,
        Field::Given(value, _) => Some(*value),
    }
}

/// A text that may be left out, in which `problem` finds what is wrong and what to write instead.
pub(super) fn text(
    field: Field<String>,
    key: &str,
    problem: impl Fn(&str) -> Option<(String, String)>,
    report: &mut Report,
) -> Option<Option<String>> {
    match field {
        Field::Absent => Some(None),
        Field::Refused => None,
        Field::Given(text, span) => match problem(&text) {
            None => Some(Some(text)),
            Some((message, help)) => {
                report.error(&span, key, message, help);
                None
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Duration>, String) {
        let mut report = Report::new("file", text);
        let field = Field::Given(text.to_owned(), 0..text.len());
        let range = (Duration::from_millis(100), Duration::from_secs(3600));
        let value = duration(&field, "key", range, Duration::ZERO, &mut report);
        let error = report.into_diagnostics().first().map(|d| format!("{}; {}", d.message, d.help));
        (value, error.unwrap_or_default())
    }

    #[test]
    fn durations_have_units_and_ranges() {
        assert_eq!(read("1s").0, Some(Duration::from_secs(1)));
        assert_eq!(read("100ms").0, Some(Duration::from_millis(100)));
        assert_eq!(read("1m 30s").0, Some(Duration::from_secs(90)));
        for (text, expected) in [
            ("5", "\"5\" is not a duration; write the unit too, \"5s\" for seconds"),
            ("1.5", "\"1.5\" is not a duration; write the unit too, \"1s 500ms\" for seconds"),
            ("soon", "write a number with its unit (ms, s, m, h, days), from 100ms to 1h"),
            ("99ms", "\"99ms\" is out of range; write a duration from 100ms to 1h"),
            ("2h", "is out of range"),
            ("", "is not a duration"),
        ] {
            let (value, error) = read(text);
            assert_eq!(value, None, "{text}");
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}

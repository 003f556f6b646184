//! `~SEQ(name, start, step, end)`, `~SEQx(…)` and `~LST(name, value, …)`.

use super::line::Spot;

/// What a repetition goes through.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repetition {
    pub(super) names: Vec<String>,
    /// One value for each name, as often as the line is repeated.
    pub(super) values: Vec<Vec<String>>,
}

/// A sequence of more values is taken for a mistake.
const MAX_VALUES: u64 = 1_000_000;

/// The index after the parenthesis that closes the repetition at the start of `line`.
pub(super) fn end(line: &[Spot]) -> usize {
    line.iter().position(|spot| spot.c == ')').map_or(line.len(), |close| close + 1)
}

/// Reads a repetition without the rest of its line.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn parse(text: &str) -> Result<Repetition, String> {
    let inner = |prefix: &str| text.strip_prefix(prefix)?.trim_start().strip_prefix('(')?.strip_suffix(')');
    if let Some(inner) = inner("~SEQx") {
        sequence(inner, true)
    } else if let Some(inner) = inner("~SEQ") {
        sequence(inner, false)
    } else if let Some(inner) = inner("~LST") {
        list(inner)
    } else {
        Err("is no ~SEQ(name, start, step, end) and no ~LST(name, value, ...)".to_owned())
    }
}

fn sequence(inner: &str, is_hexadecimal: bool) -> Result<Repetition, String> {
    let mut parts = inner.split(',').map(str::trim);
    let name = parts.next().unwrap_or("").to_owned();
    let numbers: Vec<i64> = parts.map(number).collect::<Result<_, _>>()?;
    // keepalived.conf(5), "Sequence blocks": step and then start may be left out.
    let (start, step, end) = match numbers.as_slice() {
        [end] => (if *end < 0 { -1 } else { 1 }, if *end < 0 { -1 } else { 1 }, *end),
        [start, end] => (*start, if end < start { -1 } else { 1 }, *end),
        [start, step, end] => (*start, *step, *end),
        _ => return Err("needs a name and one to three numbers".to_owned()),
    };
    if step == 0 || (end - start).signum() * step.signum() < 0 {
        return Err("never ends: the step goes away from the end".to_owned());
    }
    if (end.abs_diff(start)) / step.unsigned_abs() >= MAX_VALUES {
        return Err(format!("has more than {MAX_VALUES} values"));
    }
    let mut values = Vec::new();
    let mut value = start;
    while if step > 0 { value <= end } else { value >= end } {
        let shown = match is_hexadecimal {
            true if value < 0 => format!("-{:x}", value.unsigned_abs()),
            true => format!("{value:x}"),
            false => value.to_string(),
        };
        values.push(vec![shown]);
        value += step;
    }
    Ok(Repetition { names: vec![name], values })
}

fn number(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => digits.parse::<u32>(),
    };
    value.map(|value| sign * i64::from(value)).map_err(|_not| format!("{text:?} is not a number"))
}

fn list(inner: &str) -> Result<Repetition, String> {
    let mut parts = split(inner).into_iter();
    let names = members(&parts.next().unwrap_or_default());
    let values: Vec<_> = parts.map(|value| members(&value)).collect();
    if names.iter().any(String::is_empty) || values.is_empty() {
        return Err("needs a name and at least one value".to_owned());
    }
    if let Some(value) = values.iter().find(|value| value.len() != names.len()) {
        return Err(format!("has {} names, but {{{}}} is {}", names.len(), value.join(","), value.len()));
    }
    Ok(Repetition { names, values })
}

/// At the commas outside braces.
fn split(text: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let mut parts = vec![String::new()];
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// `{a,b}` is `a` and `b`; `a` is itself.
fn members(part: &str) -> Vec<String> {
    match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        Some(inner) => inner.split(',').map(|member| member.trim().to_owned()).collect(),
        None => vec![part.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<String> {
        parse(text).unwrap().values.into_iter().map(|value| value.join("/")).collect()
    }

    #[test]
    fn sequences_count_as_the_manual_says() {
        assert_eq!(values("~SEQ(SUBNET, 0, 3)"), ["0", "1", "2", "3"]);
        assert_eq!(values("~SEQ(A, 3)"), ["1", "2", "3"]);
        assert_eq!(values("~SEQ(A, -2)"), ["-1", "-2"]);
        assert_eq!(values("~SEQ(A, 3, 1)"), ["3", "2", "1"]);
        assert_eq!(values("~SEQ(A, 168, 2, 172)"), ["168", "170", "172"]);
        assert_eq!(values("~SEQx(A, 0x90, 0x10, 0xc0)"), ["90", "a0", "b0", "c0"]);
        assert_eq!(values("~SEQx(A, 0x12, -1, 0x10)"), ["12", "11", "10"]);
        assert_eq!(values("~SEQ(A, 1, 2, 4)"), ["1", "3"]);
    }

    #[test]
    fn lists_may_set_several_names_at_once() {
        assert_eq!(values("~LST(IP, 1, 2)"), ["1", "2"]);
        let both = parse("~LST({IP,   IP1},  {10,1},{20,4})").unwrap();
        assert_eq!(both.names, ["IP", "IP1"]);
        assert_eq!(both.values, [["10", "1"], ["20", "4"]]);
    }

    #[test]
    fn what_would_never_end_is_refused() {
        for wrong in [
            "~SEQ(A, 1, 0, 3)",
            "~SEQ(A, 1, -1, 3)",
            "~SEQ(A)",
            "~SEQ(A, x)",
            "~LST(A)",
            "~LST({A,B}, 1)",
            "~X(1)",
        ] {
            parse(wrong).unwrap_err();
        }
        parse("~SEQ(A, 0, 4294967295)").unwrap_err();
    }
}

//! `$NAME=value` and what is put in the place of `$NAME` and `${NAME}`.

use super::line::{Line, Spot, starts_with, text};
use super::reader::Reader;
use crate::import::report::{Fate, Place};

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Definition {
    /// Part of a line; it stands where it is used.
    Word(Vec<char>),
    /// Whole lines; they stand where they are defined.
    Block(Vec<Line>),
}

/// A line after one name of it was replaced.
pub(super) enum Substituted {
    Nothing,
    Line(Line),
    Lines(Vec<Line>),
}

impl Reader<'_> {
    /// Replaces the first name that has a definition.
    pub(super) fn substitute(&mut self, line: &[Spot]) -> Substituted {
        let mut index = 0;
        while let Some(dollar) = line.iter().skip(index).position(|spot| spot.c == '$') {
            let start = index + dollar;
            index = start + 1;
            let Some((name, end)) = used_name(line, start) else { continue };
            let place = line.get(start).map(|spot| spot.place).unwrap_or_default();
            let Some(definition) = self.definition(&name, place) else { continue };
            let (before, after) = (line.get(..start).unwrap_or(&[]), line.get(end..).unwrap_or(&[]));
            return match definition {
                Definition::Word(value) => {
                    let mut new = before.to_vec();
                    new.extend(value.into_iter().map(|c| Spot { c, place }));
                    new.extend(after);
                    Substituted::Line(new)
                }
                Definition::Block(mut lines) => {
                    if let Some(first) = lines.first_mut() {
                        first.splice(0..0, before.iter().copied());
                    }
                    if let Some(last) = lines.last_mut() {
                        last.extend(after);
                    }
                    Substituted::Lines(lines)
                }
            };
        }
        Substituted::Nothing
    }

    /// What a name means; `None` leaves it as it stands.
    fn definition(&mut self, name: &str, place: Place) -> Option<Definition> {
        let (word, arguments) = name.split_once(char::is_whitespace).unwrap_or((name, ""));
        let value = match word {
            "_PWD" => std::path::absolute(&self.directory).unwrap_or_default().display().to_string(),
            "_INSTANCE" => self.config_id.to_owned(),
            "_HASH" => "#".to_owned(),
            "_BANG" => "!".to_owned(),
            "_RANDOM" => {
                let least = arguments.split_whitespace().next().unwrap_or("0").to_owned();
                let message = format!(
                    "a random number at each start of keepalived; written as {least}, choose one that suits"
                );
                self.report.add(Fate::Changed, place, format!("${{{name}}}"), message);
                least
            }
            "_ENV" => {
                let value = std::env::var(arguments.trim()).unwrap_or_default();
                let message = "keepalived asks its environment at each start; written as it is now";
                self.report.add(Fate::Changed, place, format!("${{{name}}}"), message);
                value
            }
            _ => return self.definitions.get(name).cloned(),
        };
        Some(Definition::Word(value.chars().collect()))
    }
}

/// The name that `line` defines: `$NAME=`.
pub(super) fn defined_name(line: &[Spot]) -> Option<String> {
    if !starts_with(line, "$") {
        return None;
    }
    let name: String = line.iter().skip(1).map(|spot| spot.c).take_while(|c| is_name(*c)).collect();
    let is_defined = line.get(name.len() + 1).is_some_and(|spot| spot.c == '=');
    (is_defined && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some(name)
}

/// The name used at the dollar sign at `start`, and the index after it: `${NAME}`, or `$NAME` before white space.
fn used_name(line: &[Spot], start: usize) -> Option<(String, usize)> {
    let rest = line.get(start + 1..)?;
    if rest.first()?.c == '{' {
        let close = rest.iter().position(|spot| spot.c == '}')?;
        return Some((text(rest.get(1..close)?), start + close + 2));
    }
    let name: String = rest.iter().map(|spot| spot.c).take_while(|c| is_name(*c)).collect();
    let ends = rest.get(name.len()).is_none_or(|spot| spot.c.is_whitespace());
    (ends && !name.is_empty()).then(|| (name.clone(), start + 1 + name.len()))
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

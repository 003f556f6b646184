//! From files to the lines that count: includes, conditions, definitions and repetitions are done here
//! (keepalived.conf(5), "Advanced configuration"; keepalived's lib/parser.c).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::definitions::{Definition, Substituted, defined_name};
use super::include;
use super::line::{Line, Spot, clean, first_word, physical, text, trimmed};
use super::repeat::{self, Repetition};
use crate::import::report::{Fate, Place, Report, Source};

/// Files in files, and definitions in definitions.
const MAX_DEPTH: u32 = 64;
/// Lines that definitions and repetitions may make.
const MAX_LINES: usize = 2_000_000;
/// Substitutions in one line.
const MAX_SUBSTITUTIONS: usize = 1000;
/// keepalived does not read lines of more bytes.
const KEEPALIVED_LINE: usize = 1024;

/// Reads files.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) report: &'a mut Report,
    pub(super) config_id: &'a str,
    pub(super) directory: PathBuf,
    pub(super) definitions: HashMap<String, Definition>,
    lines: Vec<Line>,
    is_too_long: bool,
}

/// A file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    source: std::io::Error,
}

/// The lines of `path` and of what it includes, for the machine called `config_id`.
///
/// # Errors
///
/// The file itself cannot be read. One that it includes is a finding instead.
pub(super) fn read(path: &Path, config_id: &str, report: &mut Report) -> Result<Vec<Line>, Unreadable> {
    let bytes = std::fs::read(path).map_err(|source| Unreadable { path: path.to_owned(), source })?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut reader = Reader::new(config_id, directory, report);
    reader.file(&path.display().to_string(), &bytes, 0);
    Ok(reader.lines)
}

/// The lines of a text that is in no file.
pub(super) fn read_text(name: &str, bytes: &[u8], config_id: &str, report: &mut Report) -> Vec<Line> {
    let mut reader = Reader::new(config_id, Path::new("."), report);
    reader.file(name, bytes, 0);
    reader.lines
}

impl<'a> Reader<'a> {
    fn new(config_id: &'a str, directory: &Path, report: &'a mut Report) -> Self {
        Self {
            report,
            config_id,
            directory: directory.to_owned(),
            definitions: HashMap::new(),
            lines: Vec::new(),
            is_too_long: false,
        }
    }

    fn file(&mut self, name: &str, bytes: &[u8], depth: u32) {
        let file = u32::try_from(self.report.sources.len()).unwrap_or(u32::MAX);
        let text = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
        let lossy = text.contains('\u{fffd}');
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
        self.report.sources.push(Source { name: name.to_owned(), text: text.clone() });
        if lossy {
            let line = text.lines().take_while(|line| !line.contains('\u{fffd}')).count();
            let place = Place { file, line: u32::try_from(line + 1).unwrap_or(u32::MAX), column: 1 };
            let message = "has bytes that are not UTF-8; they are shown as \u{fffd}";
            self.report.add(Fate::Changed, place, "a line", message);
        }
        let mut numbered = (1..).zip(text.lines());
        while let Some((number, physical_line)) = numbered.next() {
            let physical_line = physical_line.strip_suffix('\r').unwrap_or(physical_line);
            if physical_line.len() >= KEEPALIVED_LINE {
                let place = Place { file, line: number, column: 1 };
                let message = "has more than 1023 bytes: keepalived ignores it; taken over";
                self.report.add(Fate::Changed, place, "a line", message);
            }
            let mut line = clean(&physical(physical_line, file, number), self.report);
            let body = condition(trimmed(&line)).map_or(trimmed(&line), |(_, _, rest)| rest);
            if let (Some(name), true) = (defined_name(body), ends_in_backslash(&line)) {
                let block = self.block(&name, line.clone(), &mut numbered, file);
                let holds =
                    condition(trimmed(&line)).is_none_or(|(id, is_not, _)| (id == self.config_id) != is_not);
                if holds {
                    self.definitions.insert(name, Definition::Block(block));
                }
                continue;
            }
            while ends_in_backslash(&line) {
                let place = line.last().map(|spot| spot.place).unwrap_or_default();
                remove_backslash(&mut line);
                let message = "keepalived joins lines in definitions only; taken as one line";
                self.report.add(Fate::Changed, place, "\\ at the end", message);
                let Some((number, next)) = numbered.next() else { break };
                line.extend(clean(&physical(next, file, number), self.report));
            }
            if self.included(&line, depth) {
                continue;
            }
            self.line(&line, depth);
        }
    }

    /// The lines of a definition that goes over several, the first being `first`.
    fn block<'t>(
        &mut self,
        name: &str,
        first: Line,
        numbered: &mut impl Iterator<Item = (u32, &'t str)>,
        file: u32,
    ) -> Vec<Line> {
        let mut first = first;
        remove_backslash(&mut first);
        let body = condition(trimmed(&first)).map_or(trimmed(&first), |(_, _, rest)| rest);
        let mut lines = vec![trimmed(body.get(name.len() + 2..).unwrap_or(&[])).to_vec()];
        for (number, next) in numbered {
            let raw = next.trim_end();
            if raw.is_empty() {
                continue;
            }
            let mut line = clean(&physical(raw, file, number), self.report);
            // A comment takes the backslash with it.
            let goes_on = raw.ends_with('\\');
            remove_backslash(&mut line);
            lines.push(trimmed(&line).to_vec());
            if !goes_on {
                break;
            }
        }
        lines.retain(|line| !line.is_empty());
        lines
    }

    /// Takes one line: conditions, definitions and repetitions are carried out, everything else is kept.
    fn line(&mut self, line: &[Spot], depth: u32) {
        let mut line = trimmed(line).to_vec();
        let Some(place) = line.first().map(|spot| spot.place) else { return };
        if self.is_too_long {
            return;
        }
        if depth > MAX_DEPTH || self.lines.len() > MAX_LINES {
            self.is_too_long = true;
            let message = "definitions or repetitions make too many lines; all after this are left out";
            self.report.add(Fate::NotSupported, place, text(&line), message);
            return;
        }
        for _ in 0..MAX_SUBSTITUTIONS {
            if let Some((id, is_not, rest)) = condition(&line) {
                if (id == self.config_id) == is_not {
                    let message = format!("left out: this is \"{}\"", self.config_id);
                    self.report.add(Fate::Taken, place, text(&line), message);
                    return;
                }
                if is_include(rest) {
                    let message = "keepalived does not look for include after a condition; included";
                    self.report.add(Fate::Changed, place, text(&line), message);
                }
                let rest = rest.to_vec();
                self.line_or_include(&rest, depth);
                return;
            }
            if let Some(name) = defined_name(&line) {
                let value = trimmed(line.get(name.len() + 2..).unwrap_or(&[]));
                let value = value.iter().map(|spot| spot.c).collect();
                self.definitions.insert(name, Definition::Word(value));
                return;
            }
            if line.first().is_some_and(|spot| spot.c == '~') {
                self.repeat(&line, depth);
                return;
            }
            match self.substitute(&line) {
                Substituted::Nothing => {
                    self.lines.push(line);
                    return;
                }
                Substituted::Line(substituted) => line = trimmed(&substituted).to_vec(),
                Substituted::Lines(lines) => {
                    for line in lines {
                        self.line(&line, depth + 1);
                    }
                    return;
                }
            }
            if line.is_empty() {
                return;
            }
        }
        let message = "its definitions lead back to themselves; left out";
        self.report.add(Fate::NotSupported, place, text(&line), message);
    }

    fn line_or_include(&mut self, line: &[Spot], depth: u32) {
        if !self.included(line, depth) {
            self.line(line, depth + 1);
        }
    }

    /// `~SEQ`, `~SEQx` and `~LST`: the rest of the line once for each value.
    fn repeat(&mut self, line: &[Spot], depth: u32) {
        let place = line.first().map(|spot| spot.place).unwrap_or_default();
        let end = repeat::end(line);
        let (head, rest) = line.split_at(end);
        let mut head = head.to_vec();
        while let Substituted::Line(substituted) = self.substitute(&head) {
            head = substituted;
        }
        match repeat::parse(&text(&head)) {
            Ok(Repetition { names, values }) => {
                for value in values {
                    for (name, value) in names.iter().zip(value) {
                        self.definitions.insert(name.clone(), Definition::Word(value.chars().collect()));
                    }
                    self.line(rest, depth + 1);
                    if self.is_too_long {
                        return;
                    }
                }
            }
            Err(problem) => self.report.add(Fate::NotSupported, place, text(&head), problem),
        }
    }

    /// Reads the files that `line` includes. Returns whether it is an include line.
    fn included(&mut self, line: &[Spot], depth: u32) -> bool {
        let (word, rest) = first_word(line);
        let keyword = text(word);
        let Some(place) = word.first().map(|spot| spot.place).filter(|_| is_include(line)) else {
            return false;
        };
        let pattern = text(rest);
        let pattern = pattern.trim_matches('"');
        let subject = format!("{keyword} {pattern}");
        if depth >= MAX_DEPTH {
            self.report.add(
                Fate::NotSupported,
                place,
                subject,
                "the files include each other; not read again",
            );
            return true;
        }
        let found = include::find(&self.directory, pattern);
        for (path, why) in &found.skipped {
            let message =
                format!("{} {why}: keepalived does not read it, nor is it read here", path.display());
            let fate = if keyword == "include" { Fate::Changed } else { Fate::NotSupported };
            self.report.add(fate, place, &subject, message);
        }
        let must_match = match keyword.as_str() {
            "includem" => !found.has_wildcard && found.files.is_empty(),
            "includew" => found.files.is_empty(),
            "includeb" | "includea" => !found.unmatched.is_empty(),
            _ => false,
        };
        if must_match {
            let missing = found.unmatched.join(", ");
            let message = format!("nothing matches {missing}; keepalived reports that and goes on without");
            self.report.add(Fate::NotSupported, place, &subject, message);
        } else if found.files.is_empty() {
            let message = "no file matches; keepalived says nothing and goes on without, and so does this";
            self.report.add(Fate::Changed, place, &subject, message);
        }
        for path in found.files {
            match std::fs::read(&path) {
                Ok(bytes) => {
                    self.report.add(Fate::Taken, place, &subject, path.display().to_string());
                    // Relative names in it are relative to its own directory.
                    let inner = path.parent().unwrap_or(Path::new(".")).to_owned();
                    let outer = std::mem::replace(&mut self.directory, inner);
                    self.file(&path.display().to_string(), &bytes, depth + 1);
                    self.directory = outer;
                }
                Err(error) => {
                    let message = format!("{}: {error}", path.display());
                    self.report.add(Fate::NotSupported, place, &subject, message);
                }
            }
        }
        true
    }
}

fn is_include(line: &[Spot]) -> bool {
    let (word, rest) = first_word(line);
    !rest.is_empty() && include::KEYWORDS.contains(&text(word).as_str())
}

fn ends_in_backslash(line: &[Spot]) -> bool {
    trimmed(line).last().is_some_and(|spot| spot.c == '\\')
}

fn remove_backslash(line: &mut Line) {
    if ends_in_backslash(line) {
        *line = trimmed(line).to_vec();
        line.pop();
    }
}

/// `@id rest` or `@^id rest`: the id, whether it is negated, the rest.
fn condition(line: &[Spot]) -> Option<(String, bool, &[Spot])> {
    if line.first()?.c != '@' {
        return None;
    }
    let is_not = line.get(1).is_some_and(|spot| spot.c == '^');
    let (word, rest) = first_word(line.get(1 + usize::from(is_not)..)?);
    Some((text(word), is_not, rest))
}

//! What instances and groups follow.

use super::{Translation, is_entry, lasting};
use crate::import::document::{Section, Value};
use crate::import::keepalived::tree::Statement;
use crate::import::report::Place;

/// Something that can be tracked.
#[derive(Debug)]
struct Known {
    kind: &'static str,
    name: String,
    /// Its own weight, if that is the reverse of the usual.
    reversed: Option<i64>,
    /// Whether something tracks it.
    is_used: bool,
}

/// Everything that can be tracked.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Vec<Known>,
}

impl Translation<'_> {
    /// Learns what there is to be tracked, and what of it is tracked.
    pub(super) fn collect_names(&mut self, root: &[Statement]) {
        for statement in root {
            let kind = match statement.keyword.name {
                "vrrp_script" => "track_script",
                "vrrp_track_process" => "track_process",
                "track_file" => "track_file",
                _ => continue,
            };
            let weight = statement.block.iter().rev().find(|inner| inner.keyword.name == "weight");
            let reversed = weight
                .filter(|weight| weight.word(1) == Some("reverse"))
                .and_then(|weight| weight.word(0)?.parse().ok());
            let name = statement.word(0).unwrap_or("").to_owned();
            self.names.known.push(Known { kind, name, reversed, is_used: false });
        }
        let blocks = root.iter().flat_map(|statement| &statement.block);
        for block in blocks.filter(|block| block.keyword.name.starts_with("track_")) {
            for entry in block.block.iter().filter(|entry| is_entry(entry)) {
                for known in &mut self.names.known {
                    known.is_used |= known.kind == block.keyword.name && known.name == entry.name.text;
                }
            }
        }
    }

    /// A `track_...` block of `owner`, which has `interface` itself.
    pub(super) fn track(&mut self, section: &mut Section, block: &Statement, interface: Option<&str>) {
        let key = match block.keyword.name {
            "track_interface" => "track_interfaces",
            "track_script" => "track_scripts",
            "track_process" => "track_processes",
            "track_file" => "track_files",
            _ => return self.by_table(block),
        };
        let mut values: Vec<(String, Value)> = Vec::new();
        for entry in &block.block {
            if let Some((name, value)) = self.tracked(entry, block.keyword.name, key, interface) {
                if values.iter().any(|(other, _)| *other == name) {
                    self.changed(entry, "left out: it is tracked already");
                } else {
                    values.push((name, value));
                }
            }
        }
        self.by_table(block);
        if !values.is_empty() {
            let values = values.into_iter().map(|(_, value)| value).collect();
            section.set(key, Value::List(values), block.place());
        }
    }

    /// `NAME [weight N [reverse|noreverse]]`
    fn tracked(
        &mut self,
        entry: &Statement,
        kind: &'static str,
        key: &str,
        interface: Option<&str>,
    ) -> Option<(String, Value)> {
        let written = entry.name.text.clone();
        let mut name = written.clone();
        let mut own = None;
        if kind == "track_interface" {
            if interface == Some(written.as_str()) {
                self.changed(entry, "left out: the instance's own interface is tracked always");
                return None;
            }
        } else if let Some(known) =
            self.names.known.iter().find(|known| known.kind == kind && known.name == written)
        {
            own = known.reversed;
        } else {
            name = self.meant(entry, kind)?;
        }
        let mut words = entry.words.iter().skip(1).map(|word| word.text.as_str());
        let mut weight = own;
        let mut is_reversed = own.is_some();
        while let Some(word) = words.next() {
            match word {
                "weight" => {
                    let text = words.next().unwrap_or("");
                    let Ok(number) = text.parse::<i64>() else {
                        self.refused(entry, format!("{text:?} is not a weight; left out"));
                        return None;
                    };
                    is_reversed = false;
                    weight = Some(self.weight(entry, number));
                }
                "reverse" => is_reversed = true,
                "noreverse" => is_reversed = false,
                other => {
                    self.changed(
                        entry,
                        format!("nothing is known of {other:?}; left out, as keepalived does"),
                    );
                }
            }
        }
        self.taken(entry, key);
        let Some(weight) = weight else { return Some((name.clone(), Value::text(name))) };
        let mut table = vec![("name", Value::text(&name)), ("weight", Value::Number(weight))];
        if is_reversed {
            table.push(("reverse", Value::Flag(true)));
        }
        Some((name, Value::Table(table)))
    }

    pub(super) fn weight(&mut self, statement: &Statement, weight: i64) -> i64 {
        let within = weight.clamp(-253, 253);
        if within != weight {
            self.changed(statement, format!("a weight is from -253 to 253: {within}"));
        }
        within
    }

    /// The name that an unknown one probably is: the only one of its kind that nothing else tracks.
    fn meant(&mut self, entry: &Statement, kind: &'static str) -> Option<String> {
        let written = &entry.name.text;
        let of_kind = || self.names.known.iter().filter(|known| known.kind == kind);
        let mut unused = of_kind().filter(|known| !known.is_used);
        let only = unused.next().filter(|_| unused.next().is_none()).map(|known| known.name.clone());
        match only {
            Some(name) => {
                let message = format!(
                    "there is none of this name: keepalived ignores it, and nothing is tracked; taken as {name:?}, \
                     which nothing else tracks"
                );
                self.changed(entry, message);
                if let Some(known) =
                    self.names.known.iter_mut().find(|known| known.kind == kind && known.name == name)
                {
                    known.is_used = true;
                }
                Some(name)
            }
            None => {
                let names: Vec<_> = of_kind().map(|known| known.name.as_str()).collect();
                let close = names.iter().min_by_key(|name| strsim::damerau_levenshtein(name, written));
                let hint = close.map_or_else(String::new, |name| format!("; did you mean {name:?}?"));
                self.refused(entry, format!("there is none of this name; keepalived ignores it{hint}"));
                None
            }
        }
    }

    pub(super) fn track_process(&mut self, block: &Statement) {
        let mut section = Section::new("[[vrrp_track_process]]", block.place());
        section.set("name", Value::text(block.word(0).unwrap_or("")), block.place());
        let mut has_weight = false;
        for statement in self.statements(block) {
            match statement.keyword.name {
                "process" => {
                    let name = statement.word(0).unwrap_or("");
                    section.set("process", Value::text(name), statement.place());
                    if statement.words.len() > 1 {
                        let message =
                            "is now vrrp_track_process.process: the name only, whatever the arguments are";
                        self.changed(statement, message);
                    } else {
                        self.by_table(statement);
                    }
                }
                "weight" => {
                    let Some(weight) = self.integer(statement, (-254, 254)) else { continue };
                    let weight = self.weight(statement, weight);
                    has_weight = true;
                    self.set(&mut section, "weight", Value::Number(weight), statement);
                }
                "quorum" => {
                    let Some(count) = self.integer(statement, (1, 65_535)) else { continue };
                    self.set(&mut section, "quorum", Value::Number(count), statement);
                }
                "delay" | "fork_delay" | "terminate_delay" => {
                    let Some(seconds) = self.seconds(statement, (0.0, 3600.0)) else { continue };
                    self.set(&mut section, "delay", lasting(seconds), statement);
                }
                _ => self.by_table(statement),
            }
        }
        if !has_weight {
            section.assume("weight", Value::Number(1), block.place(), "keepalived's default");
        }
        self.by_table(block);
        self.processes.push(section);
    }

    pub(super) fn track_file(&mut self, block: &Statement) {
        let mut section = Section::new("[[vrrp_track_file]]", block.place());
        let name = block.word(0).unwrap_or("").to_owned();
        section.set("name", Value::text(&name), block.place());
        for statement in self.statements(block) {
            match statement.keyword.name {
                "file" => {
                    let path = statement.word(0).unwrap_or("").to_owned();
                    self.file_paths.push((name.clone(), path.clone()));
                    self.set(&mut section, "file", Value::text(path), statement);
                }
                "weight" => {
                    let Some(weight) = self.integer(statement, (-254, 254)) else { continue };
                    let weight = self.weight(statement, weight);
                    self.set(&mut section, "weight", Value::Number(weight), statement);
                }
                "init_file" => {
                    let words: Vec<_> = statement.words.iter().map(|word| word.text.as_str()).collect();
                    let value = words.iter().find_map(|word| word.parse::<i64>().ok()).unwrap_or(0);
                    section.set("init", Value::Number(value), statement.place());
                    if words.contains(&"overwrite") {
                        self.changed(
                            statement,
                            "is now vrrp_track_file.init: a file that is there is not overwritten",
                        );
                    } else {
                        self.by_table(statement);
                    }
                }
                _ => self.by_table(statement),
            }
        }
        self.by_table(block);
        // One that only a FILE_CHECK reads is no tracker of VRRP.
        let is_tracked = self
            .names
            .known
            .iter()
            .any(|known| known.kind == "track_file" && known.name == name && known.is_used);
        if is_tracked {
            self.files.push(section);
        }
    }

    /// Remembers an interface that VRRP uses.
    pub(super) fn uses(&mut self, interface: &str, place: Place) {
        if !self.interfaces.iter().any(|(name, _)| name == interface) {
            self.interfaces.push((interface.to_owned(), place));
        }
    }
}

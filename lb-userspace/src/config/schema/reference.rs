//! The reference of the configuration, `docs/config.md`: its tables are made of the schema.

use std::fmt::Write as _;

use super::{Key, SECTIONS, Section};

const TITLES: &str = "| Key | Type | Default | Range | Meaning |\n|---|---|---|---|---|\n";

/// The text of the reference with all its tables made anew: below the heading of a section, what begins with the
/// titles of the columns and ends before the next line that is no row. Of checks, which two sections have, the table
/// stands below the first.
pub fn fill(text: &str) -> String {
    let mut filled = String::new();
    let mut section: Option<&Section> = None;
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            let header = heading.trim().trim_matches('`');
            section = SECTIONS.iter().copied().find(|section| section.header == header);
        }
        match section {
            Some(found) if line.starts_with("| Key |") => {
                filled.push_str(TITLES);
                found.keys.iter().for_each(|key| filled.push_str(&key.row()));
                while lines.next_if(|line| line.starts_with('|')).is_some() {}
            }
            Some(_) | None => filled.push_str(line),
        }
    }
    filled
}

impl Key {
    /// Its row; empty for what has none.
    fn row(&self) -> String {
        let Self { name, kind, default, range, meaning, .. } = self;
        if kind.is_empty() {
            return String::new();
        }
        let mut row = format!("| `{name}` |");
        for cell in [kind, default, range, meaning] {
            // An empty cell is one blank wide.
            write!(row, "{}{cell} |", if cell.is_empty() { "" } else { " " }).unwrap_or_default();
        }
        row.push('\n');
        row
    }
}

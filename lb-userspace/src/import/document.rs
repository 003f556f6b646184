//! TOML in the making: every line knows where it came from.

use std::fmt::Write as _;

use super::report::{Place, Report};

/// A value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A number.
    Number(i64),
    /// `true` or `false`.
    Flag(bool),
    /// An array, in one line.
    List(Vec<Value>),
    /// An inline table.
    Table(Vec<(&'static str, Value)>),
}

impl Value {
    /// A string.
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    /// An array of strings.
    pub fn texts(texts: impl IntoIterator<Item = impl Into<String>>) -> Value {
        Value::List(texts.into_iter().map(Value::text).collect())
    }

    fn write(&self, out: &mut String) {
        match self {
            Value::Text(text) => out.push_str(&basic_string(text)),
            Value::Number(number) => {
                // Writing to a string cannot fail.
                write!(out, "{number}").unwrap_or_default();
            }
            Value::Flag(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Value::List(values) => {
                out.push('[');
                for (index, value) in values.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    value.write(out);
                }
                out.push(']');
            }
            Value::Table(pairs) => {
                out.push_str("{ ");
                for (index, (key, value)) in pairs.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    out.push_str(&shown_key(key));
                    out.push_str(" = ");
                    value.write(out);
                }
                out.push_str(" }");
            }
        }
    }
}

fn shown_key(key: &str) -> String {
    if !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        key.to_owned()
    } else {
        basic_string(key)
    }
}

/// A TOML string in one line, whatever is in it.
fn basic_string(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => string.extend(['\\', c]),
            '\n' => string.push_str("\\n"),
            '\t' => string.push_str("\\t"),
            '\r' => string.push_str("\\r"),
            c if c.is_control() => string.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => string.push(c),
        }
    }
    string.push('"');
    string
}

/// A key of a section.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
    /// Where the value stands, or the statement whose absence it stands for.
    pub place: Place,
    /// What to say beside it instead of its place.
    pub remark: Option<&'static str>,
}

/// A section.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// With its brackets: `[[virtual_server]]`.
    pub header: &'static str,
    /// Where its block begins.
    pub place: Place,
    /// Keys in order.
    pub entries: Vec<Entry>,
    /// Sections inside it, which TOML wants after its keys.
    pub inner: Vec<Section>,
}

impl Section {
    /// An empty section.
    pub fn new(header: &'static str, place: Place) -> Section {
        Section { header, place, entries: Vec::new(), inner: Vec::new() }
    }

    /// Sets a key to what stands at `place`. A key that was set before gets the new value: keepalived lets the last
    /// statement count.
    pub fn set(&mut self, key: &'static str, value: Value, place: Place) {
        self.put(Entry { key, value, place, remark: None });
    }

    /// Sets a key to what the file does not say, with a remark why.
    pub fn assume(&mut self, key: &'static str, value: Value, place: Place, remark: &'static str) {
        self.put(Entry { key, value, place, remark: Some(remark) });
    }

    fn put(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|old| old.key == entry.key) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }
}

/// Where a line of the text came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The section: its index, then that of the section inside it, and so on.
    pub section: Vec<usize>,
    /// The index of the entry; `None` for the header.
    pub entry: Option<usize>,
    /// Where that stands in the imported file.
    pub place: Place,
}

/// A TOML text, of which each line knows where it came from.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The text.
    pub text: String,
    /// For each line of the text; `None` for comments and blank lines.
    pub origins: Vec<Option<Origin>>,
}

impl Written {
    /// Adds comment lines.
    pub fn comment(&mut self, text: &str) {
        for line in text.lines() {
            self.line(format!("# {line}").trim_end(), None);
        }
    }

    fn line(&mut self, line: &str, origin: Option<Origin>) {
        // One line stays one, whatever was imported.
        self.text.extend(line.chars().map(|c| if c == '\n' { ' ' } else { c }));
        self.text.push('\n');
        self.origins.push(origin);
    }

    /// Adds sections, each line with its origin as a comment.
    pub fn sections(&mut self, sections: &[Section], report: &Report) {
        for (index, section) in sections.iter().enumerate() {
            self.section(section, report, &[index]);
        }
    }

    fn section(&mut self, section: &Section, report: &Report, path: &[usize]) {
        let indent = "  ".repeat(path.len() - 1);
        let origin = |entry, place| Some(Origin { section: path.to_vec(), entry, place });
        self.line("", None);
        let header = format!("{indent}{}  # {}", section.header, report.line(section.place));
        self.line(&header, origin(None, section.place));
        for (index, entry) in section.entries.iter().enumerate() {
            let mut line = format!("{indent}{} = ", shown_key(entry.key));
            entry.value.write(&mut line);
            match entry.remark {
                Some(remark) => line.push_str(&format!("  # {remark}")),
                None => line.push_str(&format!("  # {}", report.line(entry.place))),
            }
            self.line(&line, origin(Some(index), entry.place));
        }
        for (index, inner) in section.inner.iter().enumerate() {
            self.section(inner, report, &[path, &[index]].concat());
        }
    }
}

/// Sections without comments.
pub fn plain(sections: &[Section]) -> String {
    let mut text = String::new();
    let mut left: Vec<(&Section, usize)> = sections.iter().rev().map(|section| (section, 0)).collect();
    while let Some((section, depth)) = left.pop() {
        let indent = "  ".repeat(depth);
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{indent}{}\n", section.header));
        for entry in &section.entries {
            text.push_str(&format!("{indent}{} = ", shown_key(entry.key)));
            entry.value.write(&mut text);
            text.push('\n');
        }
        left.extend(section.inner.iter().rev().map(|inner| (inner, depth + 1)));
    }
    text
}

/// Takes out what `origin` names: an entry, or a section with all in it; of an entry that is a list only what `key`,
/// the path of a diagnostic, names: `virtual_addresses[1]`. Returns what was taken out.
pub fn remove(sections: &mut Vec<Section>, origin: &Origin, key: &str) -> Option<String> {
    let (&last, outer) = origin.section.split_last()?;
    let mut here = sections;
    for &index in outer {
        here = &mut here.get_mut(index)?.inner;
    }
    let Some(index) = origin.entry else {
        return (last < here.len()).then(|| here.remove(last).header.to_owned());
    };
    let entries = &mut here.get_mut(last)?.entries;
    let entry = entries.get_mut(index)?;
    if let (Value::List(values), Some(element)) = (&mut entry.value, element(key, entry.key))
        && values.len() > 1
        && element < values.len()
    {
        let mut shown = String::new();
        values.remove(element).write(&mut shown);
        return Some(format!("{} {shown}", entry.key));
    }
    Some(entries.remove(index).key.to_owned())
}

/// The index after `name` in the path `key`.
fn element(key: &str, name: &str) -> Option<usize> {
    let (_, after) = key.rsplit_once(&format!("{name}["))?;
    after.split_once(']')?.0.parse().ok()
}

//! Errors and warnings about a configuration file, and how people and programs read them.
//!
//! A [`Diagnostic`] keeps its part of the file, so that it can draw itself at any later time.
//! Nothing here knows what a configuration means.

use std::fmt;
use std::io::IsTerminal;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

/// A range of bytes of the file.
pub(super) type Span = Range<usize>;

/// Marks further apart than this many bytes are drawn as separate excerpts, to keep the cost of one diagnostic
/// independent of the size of the file.
const EXCERPT_BYTES: usize = 8 * 1024;

/// Whether a diagnostic keeps the configuration from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used, but probably does not do what was meant.
    Warning,
}

/// One error or warning. Serialized, it is an object with the public fields.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The file as it was named to us.
    pub file: String,
    /// From 1; `None` if the file could not be read.
    pub line: Option<usize>,
    /// In characters, from 1.
    pub column: Option<usize>,
    /// Path of the key, array elements counted from 0: `virtual_server[0].real_server[1].weight`. May be empty.
    pub key: String,
    /// What is wrong: lower case, no final stop.
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// Other places that take part, such as the first of two duplicates.
    pub related: Vec<Related>,
    #[serde(skip)]
    place: Option<Place>,
}

/// Another place in the same file that takes part in a diagnostic.
#[derive(Debug, Clone, Serialize)]
pub struct Related {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What stands there.
    pub message: String,
    #[serde(skip)]
    span: Span,
}

/// A configuration that cannot be used: every reason, in the order of the file, and the warnings among them.
#[derive(Debug)]
pub struct ConfigError {
    diagnostics: Vec<Diagnostic>,
}

#[derive(Debug, Clone)]
struct Place {
    source: Arc<SourceFile>,
    span: Span,
    label: Option<String>,
}

#[derive(Debug)]
struct SourceFile {
    name: String,
    text: String,
    /// Byte offsets; the first is 0.
    line_starts: Vec<usize>,
}

impl ConfigError {
    /// At least one, of which at least one is an error.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Every diagnostic with its lines of the file, then how many there are.
    pub fn render(&self, color: bool) -> String {
        let mut text = String::new();
        for diagnostic in &self.diagnostics {
            text.push_str(&diagnostic.render(color));
            text.push_str("\n\n");
        }
        let count = |severity| self.diagnostics.iter().filter(|d| d.severity == severity).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        let file = self.diagnostics.first().map_or("", |d| &d.file);
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        let mut summary = format!("{file} has {errors} error{}", plural(errors));
        if warnings > 0 {
            summary.push_str(&format!(" and {warnings} warning{}", plural(warnings)));
        }
        if errors + warnings > 1 {
            text.push_str(&renderer(color).render(&[Group::with_title(Level::ERROR.primary_title(summary))]));
        }
        text.truncate(text.trim_end().len());
        text
    }

    pub(super) fn without_place(file: &str, message: String, help: &str) -> ConfigError {
        ConfigError {
            diagnostics: vec![Diagnostic {
                severity: Severity::Error,
                file: file.to_owned(),
                line: None,
                column: None,
                key: String::new(),
                message,
                help: help.to_owned(),
                related: Vec::new(),
                place: None,
            }],
        }
    }
}

/// Files that a configuration was made from, for diagnostics with places in them.
#[derive(Debug)]
pub(crate) struct Sources {
    files: Vec<Arc<SourceFile>>,
}

impl Sources {
    /// Names and texts.
    pub(crate) fn new(files: Vec<(&str, &str)>) -> Sources {
        Sources {
            files: files.into_iter().map(|(name, text)| Arc::new(SourceFile::new(name, text))).collect(),
        }
    }

    /// A diagnostic about the word at line and column, both from 1, of a file; `None` if there is no such file.
    pub(crate) fn diagnostic(
        &self,
        severity: Severity,
        (file, line, column): (usize, usize, usize),
        key: &str,
        message: &str,
        help: &str,
    ) -> Option<Diagnostic> {
        let source = self.files.get(file)?;
        let start = source.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let rest = source.text.get(start..).unwrap_or("").lines().next().unwrap_or("");
        let begin = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(index, _)| index);
        let word = rest.get(begin..).unwrap_or("");
        let end = begin + word.find(char::is_whitespace).unwrap_or(word.len());
        Some(Diagnostic {
            severity,
            file: source.name.clone(),
            line: Some(line),
            column: Some(column),
            key: key.to_owned(),
            message: message.to_owned(),
            help: help.to_owned(),
            related: Vec::new(),
            place: Some(Place { source: Arc::clone(source), span: start + begin..start + end, label: None }),
        })
    }
}

impl ConfigError {
    /// At least one of `diagnostics` is an error.
    pub(crate) fn of(diagnostics: Vec<Diagnostic>) -> ConfigError {
        ConfigError { diagnostics }
    }

    /// A file that cannot be read.
    pub(crate) fn unreadable(file: &str, message: &str, help: &str) -> ConfigError {
        let message = message.strip_prefix(file).unwrap_or(message).trim_start_matches(": ");
        ConfigError::without_place(file, message.to_owned(), help)
    }
}

/// [`ConfigError::render`] without colour.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigError {}

impl Diagnostic {
    /// The diagnostic with its lines of the file, several lines without a final newline.
    pub fn render(&self, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = match (&self.place, self.key.as_str()) {
            (None, _) => format!("{}: {}", self.file, self.message),
            (Some(_), "") => self.message.clone(),
            (Some(_), key) => format!("{key}: {}", self.message),
        };
        let group = level
            .primary_title(title)
            .elements(self.excerpts())
            .element(Level::HELP.message(annotate_snippets::normalize_untrusted_str(&self.help)));
        renderer(color).render(&[group])
    }

    /// Names what stands at the place itself.
    pub(super) fn label(&mut self, label: impl Into<String>) -> &mut Self {
        if let Some(place) = &mut self.place {
            place.label = Some(label.into());
        }
        self
    }

    /// Adds another place of the same file.
    pub(super) fn related(&mut self, span: &Span, message: impl Into<String>) -> &mut Self {
        if let Some(place) = &self.place {
            let (line, column) = place.source.position(span.start);
            self.related.push(Related { line, column, message: message.into(), span: span.clone() });
        }
        self
    }

    fn excerpts(&self) -> Vec<Snippet<'_, Annotation<'_>>> {
        let Some(place) = &self.place else { return Vec::new() };
        let mut marks = vec![(AnnotationKind::Primary, &place.span, place.label.as_deref())];
        marks.extend(
            self.related.iter().map(|r| (AnnotationKind::Context, &r.span, Some(r.message.as_str()))),
        );
        let start = marks.iter().map(|(_, span, _)| span.start).min().unwrap_or(0);
        let end = marks.iter().map(|(_, span, _)| span.end).max().unwrap_or(0);
        if end.saturating_sub(start) <= EXCERPT_BYTES {
            vec![place.source.excerpt(start..end, &marks)]
        } else {
            marks
                .iter()
                .map(|mark| place.source.excerpt(mark.1.clone(), std::slice::from_ref(mark)))
                .collect()
        }
    }
}

/// One line for a log: `FILE:LINE:COLUMN: error: KEY: MESSAGE; HELP`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}:")?;
        }
        match self.severity {
            Severity::Error => f.write_str(" error: ")?,
            Severity::Warning => f.write_str(" warning: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.message, self.help)
    }
}

/// Whether diagnostics written to `stream` should be coloured: it is a terminal, and neither `NO_COLOR` nor
/// `TERM=dumb` says otherwise.
pub fn wants_color(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn renderer(color: bool) -> Renderer {
    if color { Renderer::styled() } else { Renderer::plain() }
}

impl SourceFile {
    fn new(name: &str, text: &str) -> SourceFile {
        let line_starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        SourceFile { name: name.to_owned(), text: text.to_owned(), line_starts }
    }

    /// Index into `line_starts`.
    fn line_index(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset).saturating_sub(1)
    }

    /// Line and column, both from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let index = self.line_index(offset);
        let start = self.line_starts.get(index).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        (index + 1, before.chars().count() + 1)
    }

    /// The whole lines that `span` touches, with `marks`, which lie inside it.
    fn excerpt<'a>(
        &'a self,
        span: Span,
        marks: &[(AnnotationKind, &Span, Option<&'a str>)],
    ) -> Snippet<'a, Annotation<'a>> {
        let first = self.line_index(span.start);
        let start = self.line_starts.get(first).copied().unwrap_or(0);
        let end = self.line_starts.get(self.line_index(span.end) + 1).copied().unwrap_or(self.text.len());
        let annotations = marks.iter().map(|(kind, span, label)| {
            kind.span(span.start.saturating_sub(start)..span.end.saturating_sub(start)).label(*label)
        });
        Snippet::source(self.text.get(start..end).unwrap_or(""))
            .path(&self.name)
            .line_start(first + 1)
            .annotations(annotations)
    }
}

/// Collects the diagnostics of one file.
#[derive(Debug)]
pub(super) struct Report {
    source: Arc<SourceFile>,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub(super) fn new(file: &str, text: &str) -> Report {
        Report { source: Arc::new(SourceFile::new(file, text)), diagnostics: Vec::new() }
    }

    pub(super) fn error(
        &mut self,
        span: &Span,
        key: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> &mut Diagnostic {
        self.push(Severity::Error, span, key.into(), message.into(), help.into())
    }

    pub(super) fn warning(
        &mut self,
        span: &Span,
        key: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> &mut Diagnostic {
        self.push(Severity::Warning, span, key.into(), message.into(), help.into())
    }

    /// The text of the file in `span`.
    pub(super) fn text(&self, span: &Span) -> &str {
        self.source.text.get(span.clone()).unwrap_or("")
    }

    pub(super) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    pub(super) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|d| (d.line, d.column));
        self.diagnostics
    }

    pub(super) fn into_error(self) -> ConfigError {
        ConfigError { diagnostics: self.into_diagnostics() }
    }

    fn push(
        &mut self,
        severity: Severity,
        span: &Span,
        key: String,
        message: String,
        help: String,
    ) -> &mut Diagnostic {
        let (line, column) = self.source.position(span.start);
        let place = Place { source: Arc::clone(&self.source), span: span.clone(), label: None };
        let diagnostic = Diagnostic {
            severity,
            file: self.source.name.clone(),
            line: Some(line),
            column: Some(column),
            key,
            message,
            help,
            related: Vec::new(),
            place: Some(place),
        };
        let index = self.diagnostics.len();
        self.diagnostics.push(diagnostic);
        &mut self.diagnostics[index]
    }
}

/// `text` in double quotes with control characters escaped, cut after 60 characters.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{:?}…", text.get(..cut).unwrap_or("")),
        None => format!("{text:?}"),
    }
}

//! From lines to blocks of statements. Braces may stand anywhere; where one is missing or too many, what was meant is
//! worked out from which keyword may stand where.

mod statements;

use super::keywords::{Context, ENTRY, Keyword};
use super::line::{Line, Spot, Word, trimmed};
use crate::import::report::{Fate, Place, Report};

/// A statement.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) keyword: &'static Keyword,
    /// The keyword as it is written, or the first word of an entry.
    pub(super) name: Word,
    /// The words after it; for an entry all of them.
    pub(super) words: Vec<Word>,
    /// What stands in its block.
    pub(super) block: Vec<Statement>,
}

impl Statement {
    /// Where it begins.
    pub(super) fn place(&self) -> Place {
        self.name.place
    }

    /// The text of a word after the keyword.
    pub(super) fn word(&self, index: usize) -> Option<&str> {
        self.words.get(index).map(|word| word.text.as_str())
    }

    /// The statement in one line.
    pub(super) fn shown(&self) -> String {
        let words = if std::ptr::eq(self.keyword, &raw const ENTRY) {
            self.words.get(1..)
        } else {
            Some(self.words.as_slice())
        };
        let mut shown = self.name.text.clone();
        for word in words.unwrap_or(&[]) {
            shown.push(' ');
            if word.text.is_empty() || word.text.contains(char::is_whitespace) {
                shown.push_str(&format!("{:?}", word.text));
            } else {
                shown.push_str(&word.text);
            }
        }
        shown
    }
}

/// An open block.
#[derive(Debug)]
struct Frame {
    context: Context,
    kind: Kind,
    /// What stands in it so far.
    statements: Vec<Statement>,
}

#[derive(Debug)]
enum Kind {
    /// Of a statement.
    Block(Statement),
    /// Braces around statements of the block they stand in.
    Flat,
    /// Of a keyword that is not known; nothing in it counts.
    Skipped { what: String, place: Place },
}

/// A keyword after which a block may open.
#[derive(Debug)]
enum Before {
    Nothing,
    /// Its block must open now.
    Block(Statement),
    /// Not known: if a block opens, it is left out.
    Unknown(Word),
}

#[derive(Debug)]
struct Parser<'a> {
    report: &'a mut Report,
    root: Vec<Statement>,
    frames: Vec<Frame>,
    before: Before,
}

/// The statements of `lines`.
pub(super) fn parse(lines: &[Line], report: &mut Report) -> Vec<Statement> {
    let mut parser = Parser { report, root: Vec::new(), frames: Vec::new(), before: Before::Nothing };
    for line in lines {
        parser.line(line);
    }
    parser.end()
}

impl Parser<'_> {
    fn line(&mut self, line: &[Spot]) {
        let mut start = 0;
        let mut in_quotes = false;
        // Braces of `${name}`, which had no definition, are part of the word.
        let mut is_name = false;
        let mut index = 0;
        while let Some(&Spot { c, place }) = line.get(index) {
            match c {
                '\\' if in_quotes => index += 1,
                '"' => in_quotes = !in_quotes,
                '{' if !in_quotes
                    && index > start
                    && line.get(index - 1).is_some_and(|spot| spot.c == '$') =>
                {
                    is_name = true;
                }
                '}' if is_name => is_name = false,
                '{' | '}' if !in_quotes => {
                    self.piece(line.get(start..index).unwrap_or(&[]));
                    if c == '{' {
                        self.open(place)
                    } else {
                        self.close(place)
                    }
                    start = index + 1;
                }
                _ => {}
            }
            index += 1;
        }
        self.piece(line.get(start..).unwrap_or(&[]));
    }

    fn context(&self) -> Context {
        self.frames.last().map_or(Context::Root, |frame| frame.context)
    }

    fn is_skipped(&self) -> bool {
        matches!(self.frames.last(), Some(Frame { kind: Kind::Skipped { .. }, .. }))
    }

    /// Words between braces: one statement, or several.
    fn piece(&mut self, piece: &[Spot]) {
        let mut rest = trimmed(piece).to_vec();
        while !rest.is_empty() {
            if self.is_skipped() {
                return;
            }
            if let Before::Block(statement) = std::mem::replace(&mut self.before, Before::Nothing) {
                self.missing_open(statement);
            }
            while rest.last().is_some_and(|spot| spot.c == ';') {
                let place = rest.pop().map(|spot| spot.place).unwrap_or_default();
                let message =
                    "statements end with the line; keepalived reads it as part of the word; left out";
                self.report.add(Fate::Changed, place, ";", message);
            }
            rest = if self.context().is_list() { self.entry(&rest) } else { self.statement(&rest) };
        }
    }

    fn missing_open(&mut self, statement: Statement) {
        let message = "there is no { after it; taken as if there were one, as keepalived does";
        self.report.add(Fate::Changed, statement.place(), statement.shown(), message);
        self.push_frame(statement);
    }

    fn push_frame(&mut self, statement: Statement) {
        let context = statement.keyword.block.unwrap_or(Context::Lines);
        self.frames.push(Frame { context, kind: Kind::Block(statement), statements: Vec::new() });
    }

    fn open(&mut self, place: Place) {
        match std::mem::replace(&mut self.before, Before::Nothing) {
            Before::Block(statement) => self.push_frame(statement),
            _ if self.is_skipped() => self.frames.push(Frame {
                context: Context::Lines,
                kind: Kind::Skipped { what: String::new(), place },
                statements: Vec::new(),
            }),
            Before::Unknown(word) => self.frames.push(Frame {
                context: Context::Lines,
                kind: Kind::Skipped { what: word.text, place: word.place },
                statements: Vec::new(),
            }),
            Before::Nothing => {
                let message = "no block can begin here; keepalived ignores it, and then takes the } for that of \
                               the block around; taken as if both were not there";
                self.report.add(Fate::Changed, place, "{", message);
                let context = self.context();
                self.frames.push(Frame { context, kind: Kind::Flat, statements: Vec::new() });
            }
        }
    }

    fn close(&mut self, place: Place) {
        if let Before::Block(statement) = std::mem::replace(&mut self.before, Before::Nothing) {
            self.missing_open(statement);
        }
        match self.frames.pop() {
            Some(frame) => self.pop(frame, Some(place)),
            None => self.report.add(Fate::Changed, place, "}", "no block is open; keepalived ignores it too"),
        }
    }

    /// Puts what a closed block holds where it belongs.
    fn pop(&mut self, frame: Frame, end: Option<Place>) {
        match frame.kind {
            Kind::Block(mut statement) => {
                statement.block = frame.statements;
                self.push(statement);
            }
            Kind::Flat => {
                for statement in frame.statements {
                    self.push(statement);
                }
            }
            Kind::Skipped { what, place } => {
                if !what.is_empty() {
                    let until = end.map_or_else(String::new, |end| format!(" up to line {}", end.line));
                    let message = format!("its whole block{until} is left out");
                    self.report.add(Fate::NotSupported, place, format!("{what} {{"), message);
                }
            }
        }
    }

    fn push(&mut self, statement: Statement) {
        match self.frames.last_mut() {
            Some(frame) => frame.statements.push(statement),
            None => self.root.push(statement),
        }
    }

    /// The blocks around the innermost one, from the inside.
    fn around(&self) -> Vec<(usize, Context)> {
        let mut around: Vec<_> = self
            .frames
            .iter()
            .map(|frame| frame.context)
            .enumerate()
            .map(|(index, c)| (index + 1, c))
            .collect();
        if around.pop().is_some() {
            around.insert(0, (0, Context::Root));
        }
        around.reverse();
        around
    }

    /// Closes blocks until `depth` are open, because `word` cannot stand in them.
    fn close_until(&mut self, depth: usize, word: &Word) {
        while self.frames.len() > depth {
            let Some(frame) = self.frames.pop() else { return };
            if let Kind::Block(statement) = &frame.kind {
                let message = format!(
                    "there is no }} before `{}` in line {}, which cannot stand in it; taken as if there were one",
                    word.text, word.place.line
                );
                self.report.add(
                    Fate::Changed,
                    statement.place(),
                    format!("{} {{", statement.shown()),
                    message,
                );
            }
            self.pop(frame, None);
        }
    }

    fn end(mut self) -> Vec<Statement> {
        if let Before::Block(statement) = std::mem::replace(&mut self.before, Before::Nothing) {
            self.missing_open(statement);
        }
        while let Some(frame) = self.frames.pop() {
            if let Kind::Block(statement) = &frame.kind {
                let message = "there is no } for it; taken to end with the file";
                self.report.add(
                    Fate::Changed,
                    statement.place(),
                    format!("{} {{", statement.shown()),
                    message,
                );
            }
            self.pop(frame, None);
        }
        self.root
    }
}

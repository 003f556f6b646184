//! From lines to blocks of statements. Braces may stand anywhere; where one is missing or too many, what was meant is
//! worked out from which keyword may stand where.

use std::net::IpAddr;

use super::keywords::{Context, ENTRY, Keyword};
use super::line::{Line, Spot, Word, shell_words, text, trimmed, words};
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

    /// One entry of a list. Returns what is left of the line.
    fn entry(&mut self, piece: &[Spot]) -> Line {
        let mut all = words(piece);
        let Some(first) = all.first().cloned() else { return Line::new() };
        if !first.is_quoted
            && let Some((depth, _)) =
                self.around().into_iter().find(|(_, context)| context.find(&first.text).is_some())
        {
            self.close_until(depth, &first);
            return piece.to_vec();
        }
        let context = self.context();
        let most = if context == Context::Words {
            1
        } else if context == Context::Lines {
            all.len()
        } else {
            addresses_end(&all)
        };
        let rest =
            all.get(most).map_or_else(Line::new, |next| piece.get(next.start..).unwrap_or(&[]).to_vec());
        if self.context() != Context::Words
            && let Some(next) = all.get(most)
        {
            let message = "several entries in one line: keepalived reads only the first; taken as another";
            self.report.add(Fate::Changed, next.place, &next.text, message);
        }
        all.truncate(most);
        self.push(Statement { keyword: &ENTRY, name: first, words: all, block: Vec::new() });
        rest
    }

    /// One statement. Returns what is left of the line.
    fn statement(&mut self, piece: &[Spot]) -> Line {
        let all = words(piece);
        let Some(name) = all.first().cloned() else { return Line::new() };
        let context = self.context();
        let Some(keyword) = self.keyword(&name) else {
            return self.elsewhere(name, piece);
        };
        let split = all.iter().enumerate().skip(keyword.words.0 + 1).find(|(_, word)| {
            !word.is_quoted && keyword.name != "process" && context.find(&word.text).is_some()
        });
        let (own, rest) = match split {
            Some((_, word)) => {
                let message = format!(
                    "several statements in one line: keepalived reads only `{}`; taken as a statement",
                    keyword.name
                );
                self.report.add(Fate::Changed, word.place, &word.text, message);
                piece.split_at(word.start)
            }
            None => (piece, [].as_slice()),
        };
        self.take(keyword, name, own);
        rest.to_vec()
    }

    /// The keyword that `name` is in this block.
    fn keyword(&mut self, name: &Word) -> Option<&'static Keyword> {
        let context = self.context();
        if let Some(keyword) = context.find(&name.text) {
            return Some(keyword);
        }
        let keyword = context.find_loosely(&name.text)?;
        // A block around knows the word as it is written.
        if self.around().into_iter().any(|(_, context)| context.find(&name.text).is_some()) {
            return None;
        }
        let message = format!(
            "keepalived knows `{}` only and ignores this; taken as meant: remove it if it must not come into force",
            keyword.name
        );
        self.report.add(Fate::Changed, name.place, &name.text, message);
        Some(keyword)
    }

    /// A word that is no keyword of this block: one of a block around, or of the one just closed, or unknown.
    fn elsewhere(&mut self, name: Word, piece: &[Spot]) -> Line {
        if let Some((depth, keyword)) =
            self.around().into_iter().find_map(|(depth, context)| Some((depth, context.find(&name.text)?)))
        {
            if keyword.block.is_some() {
                self.close_until(depth, &name);
                return piece.to_vec();
            }
            let outer = match depth.checked_sub(1).and_then(|index| self.frames.get(index)) {
                Some(Frame { kind: Kind::Block(statement), .. }) => statement.keyword.name,
                _ => "the top of the file",
            };
            let message =
                format!("it belongs in {outer}, not here: keepalived ignores it; taken as if it stood there");
            self.report.add(Fate::Changed, name.place, text(trimmed(piece)), message);
            let inner = self.frames.split_off(depth);
            self.take(keyword, name, piece);
            self.frames.extend(inner);
            return Line::new();
        }
        if self.frames.is_empty()
            && let Some(last) = self.root.last()
            && last.keyword.block.is_some_and(|block| block.find(&name.text).is_some())
            && let Some(mut last) = self.root.pop()
        {
            let message = format!("there is one }} too many before it; taken as part of `{}`", last.shown());
            self.report.add(Fate::Changed, name.place, text(trimmed(piece)), message);
            let statements = std::mem::take(&mut last.block);
            self.push_frame(last);
            if let Some(frame) = self.frames.last_mut() {
                frame.statements = statements;
            }
            return piece.to_vec();
        }
        let context = self.context();
        let mut message = "keepalived does not know it and ignores it".to_owned();
        match closest(&name.text, context) {
            Some(keyword) => message.push_str(&format!("; did you mean `{keyword}`?")),
            None => message.push_str("; remove it"),
        }
        self.report.add(Fate::NotSupported, name.place, text(trimmed(piece)), message);
        self.before = Before::Unknown(name);
        Line::new()
    }

    /// Takes the statement in `own`, which begins with its keyword.
    fn take(&mut self, keyword: &'static Keyword, name: Word, own: &[Spot]) {
        let tail = own.get(name.end..).unwrap_or(&[]);
        let mut words = if keyword.is_command { shell_words(tail) } else { words(tail) };
        let (least, most) = keyword.words;
        if words.len() < least {
            let message = "its value is missing: keepalived ends when it reads this; left out";
            self.report.add(Fate::NotSupported, name.place, text(trimmed(own)), message);
            self.before = Before::Unknown(name);
            return;
        }
        if let Some(extra) = words.get(most).cloned() {
            let shown = text(trimmed(tail.get(extra.start..).unwrap_or(&[])));
            if keyword.is_command && most == 1 {
                let message =
                    "keepalived passes only what is in quotation marks; taken as arguments of the command";
                self.report.add(Fate::Changed, extra.place, shown, message);
                let arguments: Vec<_> = words.drain(1..).map(|word| word.text).collect();
                if let Some(command) = words.first_mut() {
                    command.text = format!("{} {}", command.text, arguments.join(" "));
                }
            } else {
                let message = format!(
                    "nothing can follow the value of `{}`; left out, as keepalived does",
                    keyword.name
                );
                self.report.add(Fate::Changed, extra.place, shown, message);
                words.truncate(most);
            }
        }
        let statement = Statement { keyword, name, words, block: Vec::new() };
        if keyword.block.is_some() {
            self.before = Before::Block(statement);
        } else {
            self.push(statement);
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

/// How many of `words` are one entry: an address that follows no option begins the next.
fn addresses_end(words: &[Word]) -> usize {
    const TAKE_ADDRESS: &[&str] = &["brd", "broadcast", "peer", "dev", "label", "scope", "fwmark"];
    let is_address = |word: &Word| {
        let address = word.text.split(['/', '-']).next().unwrap_or("");
        address.parse::<IpAddr>().is_ok()
    };
    words
        .iter()
        .zip(words.iter().skip(1))
        .position(|(before, word)| is_address(word) && !TAKE_ADDRESS.contains(&before.text.as_str()))
        .map_or(words.len(), |index| index + 1)
}

/// The keyword of the block that `word` is probably a misspelling of: at most a third of its letters differ.
fn closest(word: &str, context: Context) -> Option<&'static str> {
    let length = word.chars().count();
    if length > 64 {
        return None;
    }
    context
        .all()
        .map(|keyword| {
            (strsim::damerau_levenshtein(&word.to_lowercase(), &keyword.name.to_lowercase()), keyword.name)
        })
        .filter(|(distance, _)| *distance <= (length / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

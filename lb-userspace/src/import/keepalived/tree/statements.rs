//! What the words between two braces are: entries of a list, or statements by the keywords of the block; and what a word
//! is that stands in the wrong block, or in none.

use std::net::IpAddr;

use super::{Before, Frame, Kind, Parser, Statement};
use crate::import::keepalived::keywords::{Context, ENTRY, Keyword};
use crate::import::keepalived::line::{Line, Spot, Word, shell_words, text, trimmed, words};
use crate::import::report::Fate;

impl Parser<'_> {
    /// One entry of a list. Returns what is left of the line.
    pub(super) fn entry(&mut self, piece: &[Spot]) -> Line {
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
    pub(super) fn statement(&mut self, piece: &[Spot]) -> Line {
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

//! Words into options, as the popt library does it: short options in clusters, values in the next word or
//! behind, optional values, `--` as the end.

use super::options::{Opt, Takes};

/// One step through the words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// An option, and its value.
    Option(Opt, Option<&'a str>),
    /// A word that is not understood, and why.
    Bad(&'a str, &'static str),
    /// All have been read.
    End,
}

/// The state between two options.
#[derive(Debug)]
pub(super) struct Words<'a> {
    words: std::slice::Iter<'a, String>,
    /// The word that is being read, and what is left of its cluster.
    cluster: Option<(&'a str, &'a str)>,
    /// The word of the last option.
    last: &'a str,
    /// Words that are no options.
    left_over: Vec<&'a str>,
}

const UNKNOWN: &str = "unknown option";
const MISSING: &str = "missing argument";
const UNWANTED: &str = "option does not take an argument";

impl<'a> Words<'a> {
    pub(super) fn new(words: &'a [String]) -> Self {
        Self { words: words.iter(), cluster: None, last: "", left_over: Vec::new() }
    }

    /// The word that the last option stood in.
    pub(super) fn last(&self) -> &'a str {
        self.last
    }

    /// The words that are no options, when all have been read.
    pub(super) fn left_over(self) -> Vec<&'a str> {
        self.left_over
    }

    pub(super) fn next(&mut self) -> Next<'a> {
        loop {
            if let Some((word, rest)) = self.cluster.take().filter(|(_, rest)| !rest.is_empty()) {
                return self.short(word, rest);
            }
            let Some(word) = self.words.next() else { return Next::End };
            if word == "--" {
                self.left_over.extend(self.words.by_ref().map(String::as_str));
                return Next::End;
            }
            self.last = word;
            if let Some(long) = word.strip_prefix("--") {
                return self.long(word, long);
            }
            match word.strip_prefix('-') {
                Some(rest) if !rest.is_empty() => self.cluster = Some((word, rest)),
                _ => self.left_over.push(word),
            }
        }
    }

    fn long(&mut self, word: &'a str, long: &'a str) -> Next<'a> {
        let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        match Opt::long(name) {
            Some(option) => self.with_value(word, option, value),
            None => Next::Bad(word, UNKNOWN),
        }
    }

    fn short(&mut self, word: &'a str, rest: &'a str) -> Next<'a> {
        let mut letters = rest.chars();
        let option = letters.next().and_then(Opt::short);
        let Some(option) = option else { return Next::Bad(word, UNKNOWN) };
        let rest = letters.as_str();
        if option.takes() == Takes::Nothing {
            if rest.starts_with('=') {
                return Next::Bad(word, UNWANTED);
            }
            self.cluster = Some((word, rest));
            return Next::Option(option, None);
        }
        let value = (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest));
        self.with_value(word, option, value)
    }

    /// Takes the next word for a value if the option needs one and has none yet.
    fn with_value(&mut self, word: &'a str, option: Opt, value: Option<&'a str>) -> Next<'a> {
        match (option.takes(), value) {
            (Takes::Nothing, None) => Next::Option(option, None),
            (Takes::Nothing, Some(_)) => Next::Bad(word, UNWANTED),
            (Takes::Value | Takes::Maybe, Some(value)) => Next::Option(option, Some(value)),
            (Takes::Value, None) => match self.words.next() {
                Some(value) => Next::Option(option, Some(value)),
                None => Next::Bad(word, MISSING),
            },
            (Takes::Maybe, None) => {
                let next = self.words.as_slice().first().filter(|next| !next.starts_with('-'));
                if next.is_some() {
                    self.words.next();
                }
                Next::Option(option, next.map(String::as_str))
            }
        }
    }
}

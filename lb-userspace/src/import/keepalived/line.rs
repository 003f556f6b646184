//! One line of the file: characters that know where they stand, without comments, and with the characters that
//! copying from a web page puts in place of the right ones.

use crate::import::report::{Fate, Place, Report};

/// A character and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) c: char,
    pub(super) place: Place,
}

pub(super) type Line = Vec<Spot>;

/// The text of a piece of a line.
pub(super) fn text(line: &[Spot]) -> String {
    line.iter().map(|spot| spot.c).collect()
}

/// Without white space at both ends.
pub(super) fn trimmed(line: &[Spot]) -> &[Spot] {
    let start = line.iter().position(|spot| !spot.c.is_whitespace()).unwrap_or(line.len());
    let end = line.iter().rposition(|spot| !spot.c.is_whitespace()).map_or(start, |last| last + 1);
    line.get(start..end).unwrap_or(&[])
}

/// The first word, and what follows it without the space between.
pub(super) fn first_word(line: &[Spot]) -> (&[Spot], &[Spot]) {
    let line = trimmed(line);
    let end = line.iter().position(|spot| spot.c.is_whitespace()).unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    (word, trimmed(rest))
}

/// Whether `line` begins with `word`.
pub(super) fn starts_with(line: &[Spot], word: &str) -> bool {
    let mut spots = line.iter();
    word.chars().all(|c| spots.next().is_some_and(|spot| spot.c == c))
}

/// The physical line `number` of file `file`.
pub(super) fn physical(text: &str, file: u32, number: u32) -> Line {
    let place =
        |column: usize| Place { file, line: number, column: u32::try_from(column).unwrap_or(u32::MAX) };
    text.chars().enumerate().map(|(index, c)| Spot { c, place: place(index + 1) }).collect()
}

/// What stands in the place of a character that keepalived knows.
enum Odd {
    As(char),
    Nothing,
}

/// Characters that look like the right ones.
fn odd(c: char) -> Option<(Odd, &'static str)> {
    Some(match c {
        '\u{ff01}'..='\u{ff5e}' => {
            let ascii = u32::from(c).checked_sub(0xfee0).and_then(char::from_u32)?;
            (Odd::As(ascii), "a full-width character")
        }
        '\u{3000}' | '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' => {
            (Odd::As(' '), "a space that is none")
        }
        '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => (Odd::Nothing, "an invisible character"),
        '\u{201c}'..='\u{201f}' => (Odd::As('"'), "a typographic quotation mark"),
        '\u{2018}' | '\u{2019}' => (Odd::As('\''), "a typographic quotation mark"),
        '\u{2010}'..='\u{2014}' | '\u{2212}' => (Odd::As('-'), "a dash that is no minus sign"),
        _ => return None,
    })
}

const ENTITIES: &[(&str, char)] =
    &[("&quot;", '"'), ("&apos;", '\''), ("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>'), ("&nbsp;", ' ')];

/// The keywords whose value may have two slashes at the start of a word, or backslashes.
const TAKES_ANYTHING: &[&str] = &["path", "regex"];

/// Removes comments and mends characters, and says so. An open quotation ends with the line.
pub(super) fn clean(raw: &[Spot], report: &mut Report) -> Line {
    let mut line = Line::with_capacity(raw.len());
    let takes_anything = TAKES_ANYTHING.contains(&text(first_word(raw).0).as_str());
    // Where the quotation began, and whether with a typographic mark.
    let mut quotation: Option<(Place, bool)> = None;
    let mut mended: Vec<(&'static str, Place, String)> = Vec::new();
    let mut index = 0;
    while let Some(&Spot { c, place }) = raw.get(index) {
        index += 1;
        let rest = raw.get(index..).unwrap_or(&[]);
        let next = rest.first().map(|spot| spot.c);
        if let Some((entity, meant)) =
            ENTITIES.iter().find(|(entity, _)| starts_with(raw.get(index - 1..).unwrap_or(&[]), entity))
        {
            mended.push(("an HTML entity", place, (*entity).to_owned()));
            index += entity.len() - 1;
            push(&mut line, &mut quotation, Spot { c: *meant, place }, true);
            continue;
        }
        if let Some((_, is_typographic)) = quotation {
            match c {
                '\\' if matches!(next, Some('"' | '\\')) => {
                    line.extend([Spot { c, place }].iter().chain(rest.first()));
                    index += 1;
                }
                '"' => push(&mut line, &mut quotation, Spot { c, place }, false),
                '\u{201c}'..='\u{201f}' if is_typographic => {
                    push(&mut line, &mut quotation, Spot { c: '"', place }, true);
                }
                '\u{a0}' => {
                    mended.push(("a space that is none", place, c.to_string()));
                    line.push(Spot { c: ' ', place });
                }
                _ => line.push(Spot { c, place }),
            }
            continue;
        }
        let begins_word =
            line.last().is_none_or(|before| before.c.is_whitespace() || matches!(before.c, '{' | '}'));
        match c {
            '\\' if matches!(next, Some('#' | '!')) => {
                line.extend(rest.first());
                index += 1;
            }
            '\\' if !takes_anything
                && matches!(next, Some('_' | '{' | '}' | '[' | ']' | '*' | '-' | '.')) =>
            {
                mended.push((
                    "a backslash that does not belong there",
                    place,
                    format!("\\{}", next.unwrap_or(' ')),
                ));
            }
            '#' | '!' => break,
            '/' if next == Some('/') && begins_word && !takes_anything => {
                let comment: String = text(rest).chars().skip(1).take(30).collect();
                report.add(
                    Fate::Changed,
                    place,
                    format!("//{}", comment.trim_end()),
                    "keepalived knows comments with ! and # only, and reads this as words; taken as a comment",
                );
                break;
            }
            _ => match odd(c) {
                Some((Odd::As('#' | '!'), what)) => {
                    mended.push((what, place, c.to_string()));
                    break;
                }
                Some((meant, what)) => {
                    mended.push((what, place, c.to_string()));
                    if let Odd::As(c) = meant {
                        push(&mut line, &mut quotation, Spot { c, place }, true);
                    }
                }
                None => push(&mut line, &mut quotation, Spot { c, place }, false),
            },
        }
    }
    if let Some((start, _)) = quotation {
        let end = line.last().map_or(start, |spot| spot.place);
        line.push(Spot { c: '"', place: end });
        let message =
            "this quotation mark has no other in its line; the quotation is taken to end with the line";
        report.add(Fate::Changed, start, "\"", message);
    }
    for (what, place, shown) in mended {
        let message = format!("{what}: keepalived reads it as part of a word; taken as what it stands for");
        report.add(Fate::Changed, place, shown, message);
    }
    line
}

/// Adds a character; a quotation mark begins or ends a quotation.
fn push(line: &mut Line, quotation: &mut Option<(Place, bool)>, spot: Spot, is_typographic: bool) {
    if spot.c == '"' {
        *quotation = if quotation.is_some() { None } else { Some((spot.place, is_typographic)) };
    }
    line.push(spot);
}

/// Words as keepalived splits most lines: at white space, a part in double quotes being one word.
pub(super) fn words(line: &[Spot]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut index = 0;
    while let Some(&Spot { c, place }) = line.get(index) {
        if c.is_whitespace() {
            index += 1;
            continue;
        }
        let mut word = Word { text: String::new(), place, is_quoted: c == '"', start: index, end: index };
        let mut in_quotes = false;
        while let Some(&Spot { c, .. }) = line.get(index) {
            let next = line.get(index + 1).map(|spot| spot.c);
            match c {
                '"' => in_quotes = !in_quotes,
                '\\' if in_quotes && matches!(next, Some('"' | '\\')) => {
                    word.text.extend(next);
                    index += 1;
                }
                c if c.is_whitespace() && !in_quotes => break,
                c => word.text.push(c),
            }
            index += 1;
        }
        word.end = index;
        words.push(word);
    }
    words
}

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Without quotation marks.
    pub(super) text: String,
    pub(super) place: Place,
    /// Whether it begins with a quotation mark.
    pub(super) is_quoted: bool,
    /// Indices in the piece of line that was split.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Words of a line that names a command: quotations with `"` and `'` and escapes as in C (keepalived.conf(5), "Quoted
/// strings"). A quotation in the middle of a word does not split it.
pub(super) fn shell_words(line: &[Spot]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut index = 0;
    while let Some(&Spot { c, place }) = line.get(index) {
        if c.is_whitespace() {
            index += 1;
            continue;
        }
        let mut word =
            Word { text: String::new(), place, is_quoted: matches!(c, '"' | '\''), start: index, end: index };
        let mut quote = None;
        while let Some(&Spot { c, .. }) = line.get(index) {
            index += 1;
            match (c, quote) {
                ('"' | '\'', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                ('\\', None | Some('"')) => index = escape(line, index, &mut word.text),
                (c, None) if c.is_whitespace() => break,
                (c, _) => word.text.push(c),
            }
        }
        word.end = index;
        words.push(word);
    }
    words
}

/// The escape sequence of which `index` is the character after the backslash. Returns the index after it.
fn escape(line: &[Spot], index: usize, out: &mut String) -> usize {
    let digits = |start: usize, radix: u32, most: usize| -> (Option<char>, usize) {
        let text: String =
            line.iter().skip(start).take(most).map(|spot| spot.c).take_while(|c| c.is_digit(radix)).collect();
        (u32::from_str_radix(&text, radix).ok().and_then(char::from_u32), start + text.len())
    };
    let Some(c) = line.get(index).map(|spot| spot.c) else {
        out.push('\\');
        return index;
    };
    let plain = match c {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'E' => '\u{1b}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '0'..='7' => {
            let (value, end) = digits(index, 8, 3);
            out.extend(value);
            return end;
        }
        'x' => {
            let (value, end) = digits(index + 1, 16, usize::MAX);
            out.extend(value);
            return end;
        }
        'c' => {
            let control = line.get(index + 1).map(|spot| spot.c).filter(char::is_ascii);
            out.extend(control.and_then(|c| char::from_u32(u32::from(c) & 0x1f)));
            return index + 2;
        }
        c => c,
    };
    out.push(plain);
    index + 1
}

//! What firewall marks stand for: the rules that set them, as `iptables-save` and `ip6tables-save` print them.
//!
//! XDP sees a packet before a firewall can mark it. But a rule that marks by destination says itself which packets it
//! means, and those a group can name. Any other condition of a rule is reported: nothing is guessed.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::document::{Section, Value};
use super::ranges::ranges;
use super::report::{Fate, Place, Report, Source};
use crate::ipvsadm::Transport;

/// A file of rules cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: the rules that set firewall marks cannot be read", path.display())]
pub struct UnreadableMarks {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Reads files of rules.
///
/// # Errors
///
/// One of them cannot be read.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Source>, UnreadableMarks> {
    let one = |path: &PathBuf| {
        let text =
            std::fs::read_to_string(path).map_err(|source| UnreadableMarks { path: path.clone(), source })?;
        Ok(Source { name: Path::display(path).to_string(), text })
    };
    paths.iter().map(one).collect()
}

/// The rules that set marks.
#[derive(Debug, Default)]
pub(super) struct Marks {
    rules: Vec<Rule>,
    /// The files, as they were named.
    files: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    place: Place,
    text: String,
    mark: u32,
    /// Which packets it marks, or why that cannot be said.
    packets: Result<Packets, String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Packets {
    is_ipv6: bool,
    transport: Transport,
    /// As a group names them.
    addresses: Vec<String>,
}

/// What a mark stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Marked {
    /// Of all its packets.
    pub(super) transport: Transport,
    /// As a group names them, without duplicates.
    pub(super) addresses: Vec<String>,
    /// Of the first rule that sets it.
    pub(super) place: Place,
}

impl Marked {
    /// The group of these packets, for whoever names `mark` at `place`.
    pub(super) fn group(self, mark: u32, name: &str, place: Place) -> Section {
        let mut section = Section::new("[[virtual_server_group]]", place);
        section.set("name", Value::text(name), place);
        section.set("fwmark", Value::Number(mark.into()), place);
        section.set("addresses", Value::texts(self.addresses), self.place);
        section
    }
}

/// What the group of a mark is called.
pub(super) fn group_name(mark: u32, is_ipv6: bool) -> String {
    if is_ipv6 { format!("mark-{mark}-ipv6") } else { format!("mark-{mark}") }
}

impl Marks {
    /// Reads rules, whose sources join the report's.
    pub(super) fn of(sources: &[Source], report: &mut Report) -> Self {
        let mut marks = Self::default();
        for source in sources {
            let file = u32::try_from(report.sources.len()).unwrap_or(u32::MAX);
            let mut table = None;
            for (line, text) in (1..).zip(source.text.lines()) {
                let text = text.trim();
                if let Some(name) = text.strip_prefix('*') {
                    table = Some(name);
                } else if let Some((mark, packets)) = rule(text, table) {
                    let place = Place { file, line, column: 1 };
                    marks.rules.push(Rule { place, text: text.to_owned(), mark, packets });
                }
            }
            marks.files.push(source.name.clone());
            report.sources.push(source.clone());
        }
        marks
    }

    /// What a mark stands for in one address family. Every rule that sets it has its fate in the report.
    ///
    /// # Errors
    ///
    /// Nothing is known of it; what to do.
    pub(super) fn find(&self, mark: u32, is_ipv6: bool, report: &mut Report) -> Result<Marked, String> {
        let mut found: Option<Marked> = None;
        for rule in self.rules.iter().filter(|rule| rule.mark == mark) {
            let packets = match &rule.packets {
                Ok(packets) => packets,
                Err(why) => {
                    report.add(Fate::NotSupported, rule.place, &rule.text, why);
                    continue;
                }
            };
            if packets.is_ipv6 != is_ipv6 {
                continue;
            }
            let (transport, place) = (packets.transport, rule.place);
            let all = found.get_or_insert_with(|| Marked { transport, addresses: Vec::new(), place });
            if all.transport != transport {
                let message = format!(
                    "mark {mark} is on {} too, by {}: a virtual server has one protocol; give these packets a mark \
                     and a virtual server of their own",
                    all.transport.name(),
                    report.line(all.place)
                );
                report.add(Fate::NotSupported, rule.place, &rule.text, message);
                continue;
            }
            report.add(Fate::Taken, rule.place, &rule.text, "virtual_server_group.addresses");
            let known: BTreeSet<String> = all.addresses.iter().cloned().collect();
            all.addresses.extend(packets.addresses.iter().filter(|one| !known.contains(*one)).cloned());
        }
        found.ok_or_else(|| self.unknown(mark, is_ipv6))
    }

    /// Do only rules of IPv6 set this mark?
    pub(super) fn is_ipv6_alone(&self, mark: u32) -> bool {
        let mut families = self
            .rules
            .iter()
            .filter(|rule| rule.mark == mark)
            .filter_map(|rule| rule.packets.as_ref().ok().map(|packets| packets.is_ipv6));
        let first = families.next();
        first == Some(true) && families.all(|is_ipv6| is_ipv6)
    }

    fn unknown(&self, mark: u32, is_ipv6: bool) -> String {
        let (family, save) =
            if is_ipv6 { ("IPv6", "ip6tables-save -t mangle") } else { ("IPv4", "iptables-save -t mangle") };
        match self.files.join(", ") {
            none if none.is_empty() => format!(
                "what has mark {mark} stands in the firewall's rules, and packets are balanced before those: give \
                 them with --marks FILE, FILE being what `{save}` prints, or write a [[virtual_server_group]] with \
                 fwmark = {mark} and the addresses by hand"
            ),
            files => format!(
                "no rule in {files} gives mark {mark} to {family} packets of an address and a protocol: write a \
                 [[virtual_server_group]] with fwmark = {mark} and the addresses by hand"
            ),
        }
    }
}

/// The mark that a line sets, and on which packets. `None`: it sets none.
fn rule(line: &str, table: Option<&str>) -> Option<(u32, Result<Packets, String>)> {
    let all = words(line);
    let mut words = all.iter().map(String::as_str).peekable();
    // Counters: `iptables-save -c`.
    words.next_if(|word| word.starts_with('['));
    words.next_if_eq(&"-A")?;
    let chain = words.next()?;
    let rest: Vec<&str> = words.collect();
    let after = |name: &str| rest.iter().position(|word| *word == name).and_then(|at| rest.get(at + 1));
    if after("-j") != Some(&"MARK") {
        return None;
    }
    let (mark, mask) = value(after("--set-xmark").or_else(|| after("--set-mark"))?)?;
    if mark == 0 {
        return None;
    }
    let packets = if chain != "PREROUTING" {
        Err(format!("it is in chain {chain}: only rules of PREROUTING are read"))
    } else if !matches!(table, None | Some("mangle" | "raw")) {
        Err(format!("it is in table {}: only rules of mangle are read", table.unwrap_or_default()))
    } else if mark & !mask != 0 {
        Err("what the mark is depends on bits that were set before".to_owned())
    } else {
        packets(&rest)
    };
    let by_hand = |why: String| {
        format!("{why}; name what it marks in a [[virtual_server_group]] with fwmark = {mark} by hand")
    };
    Some((mark, packets.map_err(by_hand)))
}

/// `0x7/0xffffffff`, `7`: the mark and its mask.
fn value(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    match text.split_once('/') {
        Some((mark, mask)) => Some((number(mark)?, number(mask)?)),
        None => Some((number(text)?, u32::MAX)),
    }
}

/// The packets that a rule's conditions are about.
fn packets(words: &[&str]) -> Result<Packets, String> {
    let mut words = words.iter().copied();
    let (mut destination, mut transport, mut ports) = (None, None, Vec::new());
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap_or_default();
        match word {
            "-d" => destination = Some(next()),
            "-p" => {
                transport = Some(match next() {
                    "tcp" | "6" => Transport::Tcp,
                    "udp" | "17" => Transport::Udp,
                    other => return Err(format!("`-p {other}` is neither tcp nor udp")),
                });
            }
            "-m" => match next() {
                "tcp" | "udp" | "multiport" | "comment" => {}
                other => return Err(format!("`-m {other}` is a condition that cannot be taken over")),
            },
            "--dport" | "--dports" => {
                let list = next();
                ports = list
                    .split(',')
                    .map(port)
                    .collect::<Option<_>>()
                    .ok_or_else(|| format!("`{word} {list}` is not a list of ports"))?;
            }
            "--comment" | "-j" | "--set-mark" | "--set-xmark" => {
                next();
            }
            "!" => return Err(format!("`! {}` is a condition that cannot be taken over", next())),
            other => return Err(format!("`{other}` is a condition that cannot be taken over")),
        }
    }
    let destination = destination.ok_or("it marks packets to any address (it has no `-d`)")?;
    let transport = transport.ok_or("it marks packets of any protocol (it has no `-p tcp` or `-p udp`)")?;
    // As `iptables-save` prints one address.
    let destination =
        ["/32", "/128"].iter().find_map(|one| destination.strip_suffix(one)).unwrap_or(destination);
    if ports.is_empty() {
        ports.push("0".to_owned());
    }
    let mut addresses = Vec::new();
    for port in ports {
        addresses.extend(ranges(destination, &port).map_err(|problem| format!("`-d`: {problem}"))?);
    }
    Ok(Packets { is_ipv6: destination.contains(':'), transport, addresses })
}

/// A port or a range of them, as a group writes them; all of them are 0.
fn port(text: &str) -> Option<String> {
    let (first, last) = match text.split_once(':') {
        Some((first, last)) => (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?),
        None => (text.parse().ok()?, text.parse().ok()?),
    };
    match (first, last) {
        (0, u16::MAX) => Some("0".to_owned()),
        (first, last) if first == last => Some(first.to_string()),
        // Port 0 on the wire is nobody's; here it is any port.
        (first, last) => Some(format!("{}-{last}", first.max(1))),
    }
}

/// Words, in double quotes too, with `\` before a quote in them.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut is_quoted, mut is_in_word) = (false, false);
    let mut all = line.chars();
    while let Some(c) = all.next() {
        if c.is_whitespace() && !is_quoted {
            is_in_word = false;
            continue;
        }
        if !is_in_word {
            words.push(String::new());
            is_in_word = true;
        }
        let kept = match c {
            '"' => {
                is_quoted = !is_quoted;
                None
            }
            '\\' if is_quoted => all.next(),
            c => Some(c),
        };
        if let Some(word) = words.last_mut() {
            word.extend(kept);
        }
    }
    words
}

//! The words of the configuration file: its sections and keys, and what to say about words that are none.

mod checks;
mod director;
pub(super) mod reference;
mod servers;
mod virtual_server;
mod words;

use super::vrrp::schema as vrrp;
pub(super) use checks::{REAL_SERVER_CHECK, VIRTUAL_SERVER_CHECK};
pub(super) use director::DIRECTOR;
pub(super) use servers::{REAL_SERVER, VIRTUAL_SERVER_GROUP};
pub(super) use virtual_server::VIRTUAL_SERVER;
use words::{ALIASES, NOT_SUPPORTED};

/// A table of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// As an operator would write it.
    pub(super) header: &'static str,
    pub(super) keys: &'static [Key],
}

/// A key of a section. All but the first two are cells of its row in the reference, in Markdown.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// A valid line for it.
    pub(super) example: &'static str,
    /// What is written after the equals sign. Empty for what has no row: sections, parts of inline tables.
    kind: &'static str,
    /// What counts without it.
    default: &'static str,
    range: &'static str,
    meaning: &'static str,
}

pub(super) const fn key(
    name: &'static str,
    example: &'static str,
    kind: &'static str,
    default: &'static str,
    range: &'static str,
    meaning: &'static str,
) -> Key {
    Key { name, example, kind, default, range, meaning }
}

impl Key {
    /// One that begins a section of its own, `header`.
    const fn section(name: &'static str, header: &'static str) -> Self {
        Self::part(name, header)
    }

    /// One of an inline table, which is described with the key that the table is for.
    pub(super) const fn part(name: &'static str, example: &'static str) -> Self {
        key(name, example, "", "", "", "")
    }
}

pub(super) const ROOT: Section = Section {
    header: "the top of the file",
    keys: &[
        Key::section("director", "[director]"),
        Key::section("notifications", "[notifications]"),
        Key::section("virtual_server", "[[virtual_server]]"),
        Key::section("vrrp", "[vrrp]"),
        Key::section("vrrp_instance", "[[vrrp_instance]]"),
        Key::section("vrrp_sync_group", "[[vrrp_sync_group]]"),
        Key::section("vrrp_script", "[[vrrp_script]]"),
        Key::section("vrrp_track_process", "[[vrrp_track_process]]"),
        Key::section("vrrp_track_file", "[[vrrp_track_file]]"),
        Key::section("virtual_server_group", "[[virtual_server_group]]"),
    ],
};

pub(super) const SECTIONS: &[&Section] = &[
    &ROOT,
    &DIRECTOR,
    &super::notifications::SECTION,
    &VIRTUAL_SERVER,
    &VIRTUAL_SERVER_GROUP,
    &REAL_SERVER,
    &VIRTUAL_SERVER_CHECK,
    &vrrp::VRRP,
    &vrrp::INSTANCE,
    &vrrp::SYNC_GROUP,
    &vrrp::SCRIPT,
    &vrrp::PROCESS,
    &vrrp::FILE,
];

impl Section {
    pub(super) fn find(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }
}

/// What to say about a key that its section does not have.
#[derive(Debug)]
pub(super) struct UnknownKey {
    pub(super) message: String,
    pub(super) help: String,
    /// The key that was meant, if it is of the same section.
    pub(super) meant: Option<&'static str>,
}

/// Finds out what `key`, which `section` does not have, was meant to be.
pub(super) fn unknown_key(section: &Section, key: &str) -> UnknownKey {
    let alias =
        ALIASES.iter().chain(vrrp::ALIASES).find(|(word, ours)| *word == key && section.find(ours).is_some());
    if let Some(&(_, ours)) = alias {
        let example = section.find(ours).map_or("", |key| key.example);
        return UnknownKey {
            message: format!("unknown key in {}", section.header),
            help: format!("it is called `{ours}` here: write {example}"),
            meant: Some(ours),
        };
    }
    if key == "port" && section.find("address").is_some() {
        return UnknownKey {
            message: format!("unknown key in {}", section.header),
            help: "remove it and write the port after the address: address = \"192.168.4.15:80\"".to_owned(),
            meant: None,
        };
    }
    if key == "ip_family" {
        return UnknownKey {
            message: format!("unknown key in {}", section.header),
            help: "remove it: the address says whether it is IPv4 or IPv6".to_owned(),
            meant: None,
        };
    }
    if let Some((_, instead)) = NOT_SUPPORTED.iter().chain(vrrp::NOT_SUPPORTED).find(|(word, _)| *word == key)
    {
        return UnknownKey {
            message: "is not supported by this version".to_owned(),
            help: (*instead).to_owned(),
            meant: None,
        };
    }
    let plural = section.names().find(|name| name.strip_suffix('s') == Some(key));
    if plural.is_none()
        && let Some((home, found)) =
            SECTIONS.iter().find_map(|home| home.find(key).map(|found| (home, found)))
    {
        return misplaced(section, home, found);
    }
    let alias = ALIASES.iter().filter(|(word, _)| *word == key);
    if let Some((home, ours)) = alias
        .filter_map(|(_, ours)| SECTIONS.iter().find_map(|home| Some((home, home.find(ours)?))))
        .find(|(home, _)| home.header != ROOT.header)
    {
        return UnknownKey {
            message: format!("belongs in {}, where it is called `{}`", home.header, ours.name),
            help: format!("write {} under {}", ours.example, home.header),
            meant: None,
        };
    }
    if let Some(meant) = plural.or_else(|| closest(key, section.names())) {
        let example = section.find(meant).map_or("", |key| key.example);
        return UnknownKey {
            message: format!("unknown key in {}", section.header),
            help: format!("did you mean `{meant}`? write {example}"),
            meant: Some(meant),
        };
    }
    let names: Vec<_> = section.names().map(|name| format!("`{name}`")).collect();
    UnknownKey {
        message: format!("unknown key in {}", section.header),
        help: format!("remove it; the keys here are {}", names.join(", ")),
        meant: None,
    }
}

/// `found` of the section `home` was written in `section`.
fn misplaced(section: &Section, home: &Section, found: &Key) -> UnknownKey {
    let help = if found.example.starts_with('[') {
        format!("write {} as a section of its own", found.example)
    } else if section.header == REAL_SERVER.header {
        // TOML gives every line after a header to that header: the usual cause.
        format!("move it above the first {} of its {}", section.header, home.header)
    } else {
        format!("move it under {}", home.header)
    };
    UnknownKey {
        message: format!("belongs in {}, not in {}", home.header, section.header),
        help,
        meant: None,
    }
}

/// The candidate that `word` is probably a misspelling of: at most a third of its letters differ, case and the
/// choice of `-` or `_` aside.
pub(super) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > 64 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= (length / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

//! Every keyword of keepalived.conf(5): where it may stand, what follows it, and what becomes of it here.
//!
//! The words are those of keepalived 2.4.3 with the old ones that earlier versions took (lib/parser.c and the
//! `install_keyword` calls of each part).

mod checkers;
mod globals;
mod servers;
mod vrrp;

/// A block, by what may stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Context {
    /// Outside of every block.
    Root,
    GlobalDefs,
    GarpGroup,
    TrackGroup,
    VrrpScript,
    TrackProcess,
    TrackFile,
    SyncGroup,
    Instance,
    Authentication,
    AuthHmac,
    Bfd,
    Ssl,
    VirtualServer,
    RealServer,
    TcpCheck,
    HttpCheck,
    Url,
    SmtpCheck,
    SmtpHost,
    DnsCheck,
    MiscCheck,
    UdpCheck,
    PingCheck,
    FileCheck,
    BfdCheck,
    /// A list with one entry on each line, of addresses with options.
    Addresses,
    /// A list of virtual addresses, ranges and marks.
    GroupAddresses,
    /// A list with one entry on each line, anything.
    Lines,
    /// A list of words.
    Words,
}

/// What becomes of a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// A key of ours with the same meaning.
    Key(&'static str),
    /// A key of ours, with a difference.
    Otherwise(&'static str, &'static str),
    /// Nothing: there is nothing here that it would change.
    Unneeded(&'static str),
    /// Nothing, though it changed something.
    NotSupported(&'static str),
}

/// A keyword.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyword {
    pub(super) name: &'static str,
    /// Older words for it.
    pub(super) aliases: &'static [&'static str],
    /// Words after it: at least and at most.
    pub(super) words: (usize, usize),
    /// What stands in its block, if it has one.
    pub(super) block: Option<Context>,
    /// Whether its first word is a command, with quotations as in a shell.
    pub(super) is_command: bool,
    /// Whether it may stand several times in a block.
    pub(super) is_many: bool,
    pub(super) becomes: Becomes,
}

/// As many words as there are.
const ANY: usize = usize::MAX;

/// An entry of a list.
pub(super) static ENTRY: Keyword = key("entry", 1, ANY, Becomes::Key("")).many();

const fn key(name: &'static str, least: usize, most: usize, becomes: Becomes) -> Keyword {
    Keyword {
        name,
        aliases: &[],
        words: (least, most),
        block: None,
        is_command: false,
        is_many: false,
        becomes,
    }
}

impl Keyword {
    const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn many(mut self) -> Self {
        self.is_many = true;
        self
    }

    const fn block(mut self, block: Context) -> Self {
        self.block = Some(block);
        self
    }

    const fn command(mut self) -> Self {
        self.is_command = true;
        self
    }
}

impl Context {
    /// The tables of what may stand here; none for a list.
    pub(super) fn keywords(self) -> &'static [&'static [Keyword]] {
        match self {
            Context::Root => &[globals::ROOT],
            Context::GlobalDefs => &[globals::GLOBAL_DEFS, globals::PROCESSES, globals::DAEMON],
            Context::GarpGroup => &[vrrp::GARP_GROUP],
            Context::TrackGroup => &[globals::TRACK_GROUP],
            Context::VrrpScript => &[vrrp::SCRIPT],
            Context::TrackProcess => &[vrrp::PROCESS],
            Context::TrackFile => &[vrrp::FILE],
            Context::SyncGroup => &[vrrp::SYNC_GROUP, vrrp::TRACKS, vrrp::NOTIFIES],
            Context::Instance => &[vrrp::INSTANCE, vrrp::TRACKS, vrrp::NOTIFIES],
            Context::Authentication => &[vrrp::AUTHENTICATION],
            Context::AuthHmac => &[vrrp::AUTH_HMAC],
            Context::Bfd => &[vrrp::BFD],
            Context::Ssl => &[servers::SSL],
            Context::VirtualServer => &[servers::VIRTUAL_SERVER],
            Context::RealServer => &[servers::REAL_SERVER, checkers::CHECKERS],
            Context::TcpCheck | Context::PingCheck => &[checkers::CONNECTION, checkers::COMMON],
            Context::HttpCheck => &[checkers::HTTP, checkers::CONNECTION, checkers::COMMON],
            Context::Url => &[checkers::URL],
            Context::SmtpCheck => &[checkers::SMTP, checkers::CONNECTION, checkers::COMMON],
            Context::SmtpHost => &[checkers::CONNECTION],
            Context::DnsCheck => &[checkers::DNS, checkers::CONNECTION, checkers::COMMON],
            Context::MiscCheck => &[checkers::MISC, checkers::COMMON],
            Context::UdpCheck => &[checkers::UDP, checkers::CONNECTION, checkers::COMMON],
            Context::FileCheck => &[checkers::FILE],
            Context::BfdCheck => &[checkers::BFD],
            Context::Addresses | Context::GroupAddresses | Context::Lines | Context::Words => &[],
        }
    }

    /// Whether it is a list of entries instead of keywords.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Context::Addresses | Context::GroupAddresses | Context::Lines | Context::Words)
    }

    /// Every keyword that may stand here.
    pub(super) fn all(self) -> impl Iterator<Item = &'static Keyword> {
        self.keywords().iter().copied().flatten()
    }

    /// The keyword of exactly this name or old name.
    pub(super) fn find(self, word: &str) -> Option<&'static Keyword> {
        self.all().find(|keyword| keyword.name == word || keyword.aliases.contains(&word))
    }

    /// The keyword of this name in another case, or with `-` for `_`.
    pub(super) fn find_loosely(self, word: &str) -> Option<&'static Keyword> {
        let same = |name: &str| {
            let mut letters = name.chars();
            word.chars().all(|c| {
                letters.next().is_some_and(|other| {
                    c.eq_ignore_ascii_case(&other) || (matches!(c, '-' | '_') && matches!(other, '-' | '_'))
                })
            }) && letters.next().is_none()
        };
        self.all().find(|keyword| same(keyword.name) || keyword.aliases.iter().any(|alias| same(alias)))
    }
}

/// The contexts of keepalived.conf, each with the name of the block for the documentation.
#[cfg(test)]
pub(super) const BLOCKS: &[(Context, &str)] = &[
    (Context::Root, "outside of all blocks"),
    (Context::GlobalDefs, "global_defs"),
    (Context::GarpGroup, "garp_group"),
    (Context::TrackGroup, "track_group"),
    (Context::VrrpScript, "vrrp_script"),
    (Context::TrackProcess, "vrrp_track_process"),
    (Context::TrackFile, "track_file"),
    (Context::SyncGroup, "vrrp_sync_group"),
    (Context::Instance, "vrrp_instance"),
    (Context::Authentication, "authentication"),
    (Context::AuthHmac, "auth_hmac"),
    (Context::Bfd, "bfd_instance"),
    (Context::Ssl, "SSL"),
    (Context::VirtualServer, "virtual_server"),
    (Context::RealServer, "real_server"),
    (Context::TcpCheck, "TCP_CHECK, PING_CHECK"),
    (Context::HttpCheck, "HTTP_GET, SSL_GET"),
    (Context::Url, "url"),
    (Context::SmtpCheck, "SMTP_CHECK"),
    (Context::DnsCheck, "DNS_CHECK"),
    (Context::MiscCheck, "MISC_CHECK"),
    (Context::UdpCheck, "UDP_CHECK"),
    (Context::FileCheck, "FILE_CHECK"),
    (Context::BfdCheck, "BFD_CHECK"),
];

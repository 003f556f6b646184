//! `virtual_routes` and `virtual_rules`: the words of `ip route` and `ip rule`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::diagnostics::quoted;
use super::model::{RouteKind, VirtualRoute, VirtualRule};

/// `RT_TABLE_MAIN`.
const MAIN: u32 = 254;

/// What is wrong, in words.
type Wrong = String;

struct Words<'t> {
    rest: std::iter::Peekable<std::str::SplitWhitespace<'t>>,
}

impl<'t> Words<'t> {
    fn new(text: &'t str) -> Self {
        Self { rest: text.split_whitespace().peekable() }
    }

    fn next(&mut self) -> Option<&'t str> {
        self.rest.next()
    }

    fn after(&mut self, word: &str) -> Result<&'t str, Wrong> {
        self.rest.next().ok_or_else(|| format!("nothing follows `{word}`"))
    }
}

fn address(word: &str) -> Result<IpAddr, Wrong> {
    word.parse().map_err(|_not| format!("{} is not an IP address", quoted(word)))
}

fn network(word: &str, is_ipv6: bool) -> Result<IpNet, Wrong> {
    if matches!(word, "default" | "all" | "any") {
        let any = if is_ipv6 { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0_u8; 4]) };
        return IpNet::new(any, 0).map_err(|error| error.to_string());
    }
    let network = match word.parse::<IpAddr>() {
        Ok(host) => IpNet::from(host),
        Err(_not_a_host) => {
            word.parse::<IpNet>().map_err(|_not| format!("{} is not a network", quoted(word)))?
        }
    };
    if network.trunc() != network {
        return Err(format!(
            "{network} has bits beyond its prefix length; the network is {}",
            network.trunc()
        ));
    }
    Ok(network)
}

fn number(word: &str) -> Result<u32, Wrong> {
    let parsed = match word.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => word.parse(),
    };
    parsed.map_err(|_not| format!("{} is not a number", quoted(word)))
}

fn table(word: &str) -> Result<u32, Wrong> {
    match word {
        "main" => Ok(MAIN),
        "default" => Ok(253),
        "local" => Ok(255),
        number_of_it => match number(number_of_it)? {
            0 => Err("0 is no table".to_owned()),
            table => Ok(table),
        },
    }
}

/// `RT_SCOPE_*` of the words of `ip`.
pub(super) fn scope(word: &str) -> Option<u8> {
    match word {
        "global" => Some(0),
        "site" => Some(200),
        "link" => Some(253),
        "host" => Some(254),
        other => other.parse().ok(),
    }
}

/// Reads a route such as `10.0.0.0/8 via 192.168.4.254 dev eth0 src 192.168.4.15 metric 10 table 100`.
pub(super) fn route(text: &str, is_ipv6: bool) -> Result<VirtualRoute, Wrong> {
    let mut words = Words::new(text);
    let mut kind = RouteKind::Unicast;
    let mut to = None;
    let (mut via, mut interface, mut source, mut metric, mut main, mut reach) =
        (None, None, None, None, MAIN, None);
    while let Some(word) = words.next() {
        match word {
            "unicast" => {}
            "blackhole" => kind = RouteKind::Blackhole,
            "unreachable" => kind = RouteKind::Unreachable,
            "prohibit" => kind = RouteKind::Prohibit,
            "to" => to = Some(network(words.after(word)?, is_ipv6)?),
            "via" | "gw" => {
                let mut next = words.after(word)?;
                if matches!(next, "inet" | "inet6") {
                    next = words.after(next)?;
                }
                via = Some(address(next)?);
            }
            "dev" => interface = Some(words.after(word)?.to_owned()),
            "src" => source = Some(address(words.after(word)?)?),
            "metric" | "priority" | "preference" => metric = Some(number(words.after(word)?)?),
            "table" => main = table(words.after(word)?)?,
            "scope" => {
                let word = words.after(word)?;
                reach = Some(scope(word).ok_or_else(|| format!("{} is not a scope", quoted(word)))?);
            }
            destination if to.is_none() => to = Some(network(destination, is_ipv6)?),
            other => return Err(format!("{} is not a word of a route here", quoted(other))),
        }
    }
    let to = to.ok_or("has no destination")?;
    if let Some(other) = via.into_iter().chain(source).find(|other| other.is_ipv4() != to.addr().is_ipv4()) {
        return Err(format!("{other} and {to} are of different families"));
    }
    if kind != RouteKind::Unicast && via.is_some() {
        return Err("has a router, and is answered instead of routed".to_owned());
    }
    Ok(VirtualRoute {
        to,
        via,
        interface,
        source,
        metric,
        table: main,
        scope: reach,
        kind,
        text: text.to_owned(),
    })
}

/// Reads a rule such as `from 192.168.4.15 lookup 100 priority 1000`.
pub(super) fn rule(text: &str, is_ipv6: bool) -> Result<VirtualRule, Wrong> {
    let mut words = Words::new(text);
    let mut rule = VirtualRule {
        from: None,
        to: None,
        iif: None,
        fwmark: None,
        table: 0,
        priority: None,
        is_ipv6,
        text: text.to_owned(),
    };
    while let Some(word) = words.next() {
        match word {
            "from" => rule.from = Some(network(words.after(word)?, is_ipv6)?),
            "to" => rule.to = Some(network(words.after(word)?, is_ipv6)?),
            "iif" | "dev" => rule.iif = Some(words.after(word)?.to_owned()),
            "fwmark" => rule.fwmark = Some(number(words.after(word)?)?),
            "table" | "lookup" => rule.table = table(words.after(word)?)?,
            "priority" | "preference" | "pref" | "order" => {
                rule.priority = Some(number(words.after(word)?)?);
            }
            other => return Err(format!("{} is not a word of a rule here", quoted(other))),
        }
    }
    if rule.table == 0 {
        return Err("has no table".to_owned());
    }
    let mut families = [rule.from, rule.to].into_iter().flatten().map(|network| network.addr().is_ipv6());
    if let Some(first) = families.next() {
        if families.any(|other| other != first) {
            return Err("has networks of different families".to_owned());
        }
        rule.is_ipv6 = first;
    }
    // `all` in the end matches as nothing does.
    rule.from = rule.from.filter(|network| network.prefix_len() > 0);
    rule.to = rule.to.filter(|network| network.prefix_len() > 0);
    Ok(rule)
}

/// A route as it was accepted before; its family is that of its networks.
pub(crate) fn parse_route(text: &str) -> Option<VirtualRoute> {
    route(text, text.contains(':')).ok()
}

/// A rule as it was accepted before, but for the family of one without networks.
pub(crate) fn parse_rule(text: &str) -> Option<VirtualRule> {
    rule(text, text.contains(':')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_written_as_for_ip() {
        let read = route("10.0.0.0/8 via 192.168.4.254 dev eth0 src 192.168.4.15 metric 10 table 100", false);
        let read = read.unwrap();
        assert_eq!(read.to.to_string(), "10.0.0.0/8");
        assert_eq!(read.via, Some([192, 168, 4, 254].into()));
        assert_eq!(read.interface.as_deref(), Some("eth0"));
        assert_eq!(read.source, Some([192, 168, 4, 15].into()));
        assert_eq!((read.metric, read.table, read.scope), (Some(10), 100, None));
        assert_eq!(route("default via fe80::1", true).unwrap().to.to_string(), "::/0");
        assert_eq!(route("blackhole 10.9.0.0/16", false).unwrap().kind, RouteKind::Blackhole);
        for (text, problem) in [
            ("via 10.0.0.1", "has no destination"),
            ("10.0.0.1/8", "has bits beyond"),
            ("10.0.0.0/8 via", "nothing follows `via`"),
            ("10.0.0.0/8 via fe80::1", "different families"),
            ("10.0.0.0/8 nexthop", "not a word"),
            ("10.0.0.0/8 table 0", "no table"),
        ] {
            let wrong = route(text, false).unwrap_err();
            assert!(wrong.contains(problem), "{text}: {wrong}");
        }
    }

    #[test]
    fn rules_are_written_as_for_ip() {
        let read = rule("from 192.168.4.0/24 lookup 100 priority 1000", false).unwrap();
        assert_eq!(read.from.unwrap().to_string(), "192.168.4.0/24");
        assert_eq!((read.table, read.priority, read.is_ipv6), (100, Some(1000), false));
        assert!(rule("from 2001:db8::/32 lookup main", false).unwrap().is_ipv6);
        assert_eq!(rule("from all fwmark 0x10 table 7", false).unwrap().fwmark, Some(16));
        assert!(rule("from 192.168.4.0/24", false).unwrap_err().contains("no table"));
        assert!(rule("from 10.0.0.0/8 to ::/0 table 7", false).unwrap_err().contains("families"));
    }
}

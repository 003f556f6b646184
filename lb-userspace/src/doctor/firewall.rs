//! What a packet filter would do to packets that come in, as far as its listing shows.
//!
//! This is no simulation. It looks for the two mistakes that are made: an input chain that drops what it does
//! not know, without a rule for what must get in; and rules that name a VIP and drop.

use std::net::IpAddr;

use super::facts::Filter;

/// A chain that sees what comes in for this host.
#[derive(Debug, Default, PartialEq, Eq)]
struct Input {
    name: String,
    /// What is not decided is dropped: by the policy, or by a last rule without conditions.
    drops_the_rest: bool,
    rules: Vec<String>,
}

fn inputs(filter: &Filter) -> Vec<Input> {
    if filter.tool == "nft" { nft(&filter.text) } else { iptables(&filter.text) }
}

/// `nft list ruleset`: base chains with `hook input`, and the rules of chains that they jump to.
fn nft(text: &str) -> Vec<Input> {
    let mut chains: Vec<(Input, bool)> = Vec::new();
    let mut table = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("table ") {
            table = rest.trim_end_matches(['{', ' ']).to_owned();
        } else if let Some(rest) = line.strip_prefix("chain ") {
            let name = format!("{table} {}", rest.trim_end_matches(['{', ' ']));
            chains.push((Input { name, ..Input::default() }, false));
        } else if let Some((chain, is_input)) = chains.last_mut() {
            if line.starts_with("type ") {
                *is_input = line.contains("hook input") || line.contains("hook prerouting");
                chain.drops_the_rest = line.contains("policy drop");
            } else if !line.is_empty() && line != "}" {
                chain.rules.push(line.to_owned());
            }
        }
    }
    let jumped: Vec<(String, Vec<String>)> =
        chains.iter().map(|(chain, _)| (chain.name.clone(), chain.rules.clone())).collect();
    let mut found = Vec::new();
    for (mut chain, _) in chains.into_iter().filter(|(_, is_input)| *is_input) {
        if let Some(last) = chain.rules.last() {
            chain.drops_the_rest |= ["drop", "reject"].iter().any(|word| {
                last.split_whitespace().next() == Some(*word)
                    || last.starts_with("counter") && last.split_whitespace().any(|part| part == *word)
            });
        }
        let further: Vec<String> = chain
            .rules
            .iter()
            .filter_map(|rule| {
                let mut words = rule.split_whitespace().skip_while(|word| !matches!(*word, "jump" | "goto"));
                words.nth(1)
            })
            .flat_map(|target| jumped.iter().filter(move |(name, _)| name.ends_with(&format!(" {target}"))))
            .flat_map(|(_, rules)| rules.iter().cloned())
            .collect();
        chain.rules.extend(further);
        found.push(chain);
    }
    found
}

/// `iptables-save`: the INPUT chain of the filter table; user chains count as part of it.
fn iptables(text: &str) -> Vec<Input> {
    let mut is_filter = false;
    let mut input = Input { name: "INPUT".to_owned(), ..Input::default() };
    let mut is_there = false;
    let mut last = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('*') {
            is_filter = table == "filter";
        } else if !is_filter {
            continue;
        } else if let Some(rest) = line.strip_prefix(":INPUT ") {
            is_there = true;
            input.drops_the_rest = rest.starts_with("DROP");
        } else if let Some(rule) = line.strip_prefix("-A ") {
            if rule.starts_with("INPUT ") {
                rule.clone_into(&mut last);
            }
            if !rule.starts_with("FORWARD ") && !rule.starts_with("OUTPUT ") {
                input.rules.push(rule.to_owned());
            }
        }
    }
    input.drops_the_rest |= last.starts_with("INPUT -j DROP") || last.starts_with("INPUT -j REJECT");
    if is_there { vec![input] } else { Vec::new() }
}

fn drops(rule: &str) -> bool {
    let rule = rule.to_lowercase();
    rule.split_whitespace().any(|word| word == "drop" || word == "reject")
}

fn accepts(rule: &str) -> bool {
    let rule = rule.to_lowercase();
    rule.split_whitespace().any(|word| word == "accept")
}

/// A word of a rule, without the braces, commas and prefix lengths around it.
fn names(rule: &str, wanted: &[&str]) -> bool {
    rule.to_lowercase()
        .split(|c: char| c.is_whitespace() || matches!(c, ',' | '{' | '}' | '/'))
        .any(|word| !word.is_empty() && wanted.contains(&word))
}

/// Chains that drop VRRP: adverts (IP protocol 112) are neither accepted, nor is everything.
pub(super) fn blocks_vrrp(filter: &Filter) -> Vec<String> {
    let lets_in = |rule: &String| {
        accepts(rule) && (names(rule, &["vrrp", "112", "224.0.0.18", "ff02::12"]) || is_unconditional(rule))
    };
    let explicit = |rule: &String| drops(rule) && names(rule, &["vrrp", "112", "224.0.0.18", "ff02::12"]);
    inputs(filter)
        .into_iter()
        .filter(|chain| {
            chain.rules.iter().any(explicit) || chain.drops_the_rest && !chain.rules.iter().any(lets_in)
        })
        .map(|chain| format!("{} chain {}", filter.tool, chain.name))
        .collect()
}

/// Rules that drop packets to one of these addresses by name.
pub(super) fn drops_vips(filter: &Filter, vips: &[IpAddr]) -> Vec<String> {
    let vips: Vec<String> = vips.iter().map(ToString::to_string).collect();
    let vips: Vec<&str> = vips.iter().map(String::as_str).collect();
    inputs(filter)
        .into_iter()
        .flat_map(|chain| chain.rules)
        .filter(|rule| drops(rule) && names(rule, &vips))
        .map(|rule| format!("{}: {rule}", filter.tool))
        .collect()
}

/// Ports that an input chain drops, as no rule accepts them.
pub(super) fn blocked_ports(filter: &Filter, ports: &[u16]) -> Vec<(String, u16)> {
    let mut blocked = Vec::new();
    for chain in inputs(filter).into_iter().filter(|chain| chain.drops_the_rest) {
        for port in ports {
            let (number, service) = (port.to_string(), well_known(*port));
            let lets_in = |rule: &String| {
                accepts(rule)
                    && (names(rule, &[&number, service]) || is_unconditional(rule) || spans(rule, *port))
            };
            if !chain.rules.iter().any(lets_in) {
                blocked.push((format!("{} chain {}", filter.tool, chain.name), *port));
            }
        }
    }
    blocked
}

/// A rule that accepts all: `accept`, `counter accept`, `-j ACCEPT` without a condition.
fn is_unconditional(rule: &str) -> bool {
    let mut words = rule.split_whitespace().filter(|word| !matches!(*word, "counter" | "packets" | "bytes"));
    let words: Vec<_> = words.by_ref().filter(|word| word.parse::<u64>().is_err()).collect();
    words == ["accept"] || words.ends_with(&["-j", "ACCEPT"]) && words.len() == 3
}

/// A rule with a range of ports: `8000-9000`, `8000:9000`.
fn spans(rule: &str, port: u16) -> bool {
    rule.split(|c: char| c.is_whitespace() || matches!(c, ',' | '{' | '}')).any(|word| {
        let range = word.split_once(['-', ':']);
        let range =
            range.and_then(|(first, last)| Some((first.parse::<u16>().ok()?, last.parse::<u16>().ok()?)));
        range.is_some_and(|(first, last)| (first..=last).contains(&port))
    })
}

fn well_known(port: u16) -> &'static str {
    match port {
        21 => "ftp",
        25 => "smtp",
        53 => "domain",
        80 => "http",
        443 => "https",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NFT: &str = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n\
        \t\tct state established,related accept\n\t\ttcp dport { 22, 80 } accept\n\t\tjump more\n\t}\n\
        \tchain more {\n\t\ttcp dport 8000-8100 accept\n\t}\n\
        \tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
    const IPTABLES: &str = "*nat\n:INPUT ACCEPT [0:0]\nCOMMIT\n*filter\n:INPUT ACCEPT [10:900]\n:FORWARD DROP [0:0]\n\
        -A INPUT -m state --state ESTABLISHED -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT\n\
        -A INPUT -d 192.168.4.15/32 -p tcp -j DROP\n-A INPUT -j REJECT --reject-with icmp-host-prohibited\n\
        -A FORWARD -d 192.168.4.16/32 -j DROP\nCOMMIT\n";

    fn filter(tool: &'static str, text: &str) -> Filter {
        Filter { tool, text: text.to_owned() }
    }

    #[test]
    fn an_input_chain_that_drops_must_let_vrrp_in() {
        assert_eq!(blocks_vrrp(&filter("nft", NFT)), ["nft chain inet filter input"]);
        for rule in
            ["ip protocol vrrp accept", "meta l4proto 112 accept", "ip daddr 224.0.0.18 accept", "accept"]
        {
            let text = NFT.replace("jump more", rule);
            assert_eq!(blocks_vrrp(&filter("nft", &text)), [""; 0], "{rule}");
        }
        assert_eq!(blocks_vrrp(&filter("nft", &NFT.replace("policy drop", "policy accept"))), [""; 0]);
        assert_eq!(blocks_vrrp(&filter("iptables", IPTABLES)), ["iptables chain INPUT"]);
        let with = IPTABLES.replace("-A INPUT -j REJECT", "-A INPUT -p vrrp -j ACCEPT\n-A INPUT -j REJECT");
        assert_eq!(blocks_vrrp(&filter("iptables", &with)), [""; 0]);
        let against = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p 112 -j DROP\nCOMMIT\n";
        assert_eq!(blocks_vrrp(&filter("iptables", against)), ["iptables chain INPUT"]);
    }

    #[test]
    fn ports_that_nobody_lets_in() {
        let blocked = |tool, text: &str, ports: &[u16]| -> Vec<u16> {
            blocked_ports(&filter(tool, text), ports).into_iter().map(|(_, port)| port).collect()
        };
        assert_eq!(blocked("nft", NFT, &[80, 443, 8050, 9000]), [443, 9000]);
        assert_eq!(blocked("iptables", IPTABLES, &[80, 443]), [80]);
        assert_eq!(blocked("nft", "", &[80]), [0u16; 0]);
    }

    #[test]
    fn rules_against_a_vip() {
        let vips = ["192.168.4.15".parse().unwrap(), "192.168.4.16".parse().unwrap()];
        assert_eq!(
            drops_vips(&filter("iptables", IPTABLES), &vips),
            ["iptables: INPUT -d 192.168.4.15/32 -p tcp -j DROP"]
        );
        let text = NFT.replace("jump more", "ip daddr { 10.0.0.1, 192.168.4.16 } counter drop");
        assert_eq!(
            drops_vips(&filter("nft", &text), &vips),
            ["nft: ip daddr { 10.0.0.1, 192.168.4.16 } counter drop"]
        );
    }
}

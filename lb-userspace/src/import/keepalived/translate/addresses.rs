//! Addresses as keepalived writes them: virtual addresses with options, ranges of virtual servers.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Translation;
use crate::import::document::Value;
use crate::import::keepalived::tree::Statement;

/// A virtual address of an instance.
#[derive(Debug, Clone)]
pub(super) struct Virtual {
    pub(super) is_ipv6: bool,
    pub(super) value: Value,
    pub(super) interface: Option<String>,
}

impl Translation<'_> {
    /// `ADDRESS[/PREFIX] [brd A] [dev IF] [scope S] [label L] ...`
    pub(super) fn virtual_address(&mut self, entry: &Statement, key: &str) -> Option<Virtual> {
        let first = entry.word(0).unwrap_or("");
        let network = match first.parse::<IpAddr>() {
            // keepalived's default, as `ip address add`.
            Ok(address) => Ok(IpNet::from(address)),
            Err(_) => first.parse::<IpNet>(),
        };
        let Ok(network) = network else {
            let message = format!("{first:?} is not an address; keepalived leaves it out too");
            self.refused(entry, message);
            return None;
        };
        let mut options: Vec<(&'static str, Value)> = Vec::new();
        let mut interface = None;
        let mut left_out = Vec::new();
        let mut not_supported = Vec::new();
        let mut words = entry.words.iter().skip(1).map(|word| word.text.as_str());
        while let Some(word) = words.next() {
            match word {
                "dev" => {
                    let name = words.next().unwrap_or("");
                    interface = Some(name.to_owned());
                    options.push(("interface", Value::text(name)));
                }
                "scope" => options.push(("scope", Value::text(words.next().unwrap_or("global")))),
                "label" => options.push(("label", Value::text(words.next().unwrap_or("")))),
                "brd" | "broadcast" => {
                    left_out.push(format!("{word} {}", words.next().unwrap_or("")));
                }
                "home" | "-nodad" | "mngtmpaddr" | "noprefixroute" | "autojoin" => {
                    left_out.push(word.to_owned())
                }
                "preferred_lft" => left_out.push(format!("{word} {}", words.next().unwrap_or(""))),
                "peer" => not_supported.push(format!("{word} {}", words.next().unwrap_or(""))),
                other => not_supported.push(other.to_owned()),
            }
        }
        if !not_supported.is_empty() {
            let message =
                format!("is now {key}, without {}, which has no equivalent", not_supported.join(", "));
            self.refused(entry, message);
        } else if !left_out.is_empty() {
            let message =
                format!("is now {key}, without {}: the kernel's default is used", left_out.join(", "));
            self.changed(entry, message);
        } else {
            self.taken(entry, key);
        }
        let address = Value::text(network.to_string());
        let value = if options.is_empty() {
            address
        } else {
            options.insert(0, ("address", address));
            Value::Table(options)
        };
        Some(Virtual { is_ipv6: network.addr().is_ipv6(), value, interface })
    }
}

/// `ADDRESS:PORT` with brackets where they are needed.
pub(super) fn with_port(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

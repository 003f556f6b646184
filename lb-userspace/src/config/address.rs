//! The grammar of `address`: `192.168.4.15:80`, `[2001:db8::15]:80`, and both without a port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::diagnostics::quoted;

/// An address as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) address: IpAddr,
    pub(super) port: Option<u16>,
    /// An IPv6 address without brackets, of which the last group might have been meant as a port.
    pub(super) bare_ipv6: bool,
}

/// What is wrong with an address and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) help: String,
}

fn problem<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Problem> {
    Err(Problem { message: message.into(), help: help.into() })
}

/// Reads an address. It need not be one that a server can have: see [`unicast`].
pub(super) fn parse(text: &str) -> Result<Written, Problem> {
    let shown = quoted(text);
    if text.trim() != text {
        return problem(format!("{shown} has spaces around it"), "remove them");
    }
    if text.is_empty() {
        return problem("is empty", "write an IP address and a port, such as 192.168.4.15:80");
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Written { address, port: None, bare_ipv6: address.is_ipv6() });
    }
    if text.contains('/') {
        return problem(
            format!("{shown} is a network, not an address"),
            "write one address without a prefix length",
        );
    }
    if text.contains('%') {
        return problem(
            format!("{shown} has an IPv6 zone"),
            "use a global or unique local address, which needs no zone",
        );
    }
    let (host, port) = split(text);
    let address = match host.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_unhelpful) => return not_an_address(&shown, host),
    };
    let Some(port) = port else { return Ok(Written { address, port: None, bare_ipv6: false }) };
    match port.parse::<u16>() {
        Ok(port) if !text.contains('+') => Ok(Written { address, port: Some(port), bare_ipv6: false }),
        Ok(_) | Err(_) => {
            problem(format!("{} in {shown} is not a port", quoted(port)), "write a number from 0 to 65535")
        }
    }
}

/// Host without brackets, and what follows the colon after it.
fn split(text: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        // An IPv4 address in brackets is no address.
        if host.contains(':') {
            if rest.is_empty() {
                return (host, None);
            }
            if let Some(port) = rest.strip_prefix(':') {
                return (host, Some(port));
            }
        }
        return (text, None);
    }
    match text.split_once(':') {
        // More than one colon: an IPv6 address, which would have parsed.
        Some((_, port)) if port.contains(':') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

fn not_an_address<T>(shown: &str, host: &str) -> Result<T, Problem> {
    let groups = host.split('.').count();
    if groups == 4 && host.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return problem(
            format!("{shown} is not an IPv4 address"),
            "write four numbers from 0 to 255 without leading zeros, such as 192.168.4.15:80",
        );
    }
    if host.chars().any(|c| c.is_ascii_alphabetic())
        && host.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
    {
        return problem(
            format!("{shown} is a name, not an IP address"),
            "write the address: names are not looked up, so that the director does not depend on DNS",
        );
    }
    problem(format!("{shown} is not an IP address"), "write it like 192.168.4.15:80 or [2001:db8::15]:80")
}

/// Whether a server can have `address`: one that packets are sent to from elsewhere, and that means the same on
/// every interface.
pub(super) fn unicast(address: IpAddr) -> Result<(), Problem> {
    let kind = match address {
        IpAddr::V4(v4) if v4.is_unspecified() => "the unspecified address",
        IpAddr::V4(v4) if v4.is_loopback() => "a loopback address",
        IpAddr::V4(v4) if v4.is_multicast() => "a multicast address",
        IpAddr::V4(v4) if v4 == Ipv4Addr::BROADCAST => "the broadcast address",
        IpAddr::V4(_) => return Ok(()),
        IpAddr::V6(v6) => return unicast_v6(v6),
    };
    problem(
        format!("{address} is {kind}"),
        "write the address of one host that clients and servers can reach",
    )
}

fn unicast_v6(address: Ipv6Addr) -> Result<(), Problem> {
    if let Some(v4) = address.to_ipv4_mapped() {
        return problem(format!("{address} is an IPv4 address in IPv6 form"), format!("write {v4}"));
    }
    if address.is_unicast_link_local() {
        return problem(
            format!("{address} is a link-local address"),
            "use a global or unique local address, which means the same on every interface",
        );
    }
    let kind = if address.is_unspecified() {
        "the unspecified address"
    } else if address.is_loopback() {
        "a loopback address"
    } else if address.is_multicast() {
        "a multicast address"
    } else {
        return Ok(());
    };
    problem(
        format!("{address} is {kind}"),
        "write the address of one host that clients and servers can reach",
    )
}

/// `address:port` as it must be written, with brackets around IPv6.
pub(super) fn with_port(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// If the last group of the bare IPv6 address `text` is `port` in decimal, the address without it.
pub(super) fn without_port_group(text: &str, port: u16) -> Option<Ipv6Addr> {
    let (host, group) = text.rsplit_once(':')?;
    if group != port.to_string() {
        return None;
    }
    host.parse().ok()
}

//! Addresses as `ipvsadm` reads them (its `parse_service`): numbers in `inet_aton`'s spellings, or names.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _};

use super::model::Transport;

/// Who knows what names mean.
pub trait Names {
    /// The IPv4 address of a host.
    fn host(&self, name: &str) -> Option<Ipv4Addr>;
    /// The port of a service.
    fn port(&self, name: &str, transport: Transport) -> Option<u16>;
}

/// Knows no names.
#[derive(Clone, Copy, Debug)]
pub struct NoNames;

impl Names for NoNames {
    fn host(&self, _name: &str) -> Option<Ipv4Addr> {
        None
    }

    fn port(&self, _name: &str, _transport: Transport) -> Option<u16> {
        None
    }
}

/// Asks the system: its resolver, and `/etc/services`.
#[derive(Clone, Copy, Debug)]
pub struct SystemNames;

impl Names for SystemNames {
    fn host(&self, name: &str) -> Option<Ipv4Addr> {
        (name, 0).to_socket_addrs().ok()?.find_map(|address| match address.ip() {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })
    }

    fn port(&self, name: &str, transport: Transport) -> Option<u16> {
        port_in(&fs::read_to_string("/etc/services").ok()?, name, transport)
    }
}

/// Finds a service by name or alias in the text of `/etc/services` (services(5)).
fn port_in(services: &str, name: &str, transport: Transport) -> Option<u16> {
    services.lines().find_map(|line| {
        let line = line.split_once('#').map_or(line, |(line, _comment)| line);
        let mut words = line.split_whitespace();
        let official = words.next()?;
        let (port, protocol) = words.next()?.split_once('/')?;
        let is_it = protocol == transport.name() && (official == name || words.any(|alias| alias == name));
        is_it.then(|| port.parse().ok())?
    })
}

/// Reads `host`, `host:port`, `[v6]:port` or `v6`.
pub(super) fn endpoint(text: &str, transport: Transport, names: &dyn Names) -> Option<(IpAddr, Option<u16>)> {
    if text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            // Nothing may follow but a port, which IPv6 then needs.
            (host, Some(rest.strip_prefix(':')?))
        }
        None => (text, None),
    };
    let (address, port) = match host.parse::<Ipv6Addr>() {
        Ok(v6) => (IpAddr::V6(v6), port),
        // Brackets around anything else lose the port.
        Err(_not_ipv6) => {
            let (host, port) = host.rsplit_once(':').map_or((host, None), |(host, port)| (host, Some(port)));
            (IpAddr::V4(inet_aton(host).or_else(|| names.host(host))?), port)
        }
    };
    let Some(port) = port else { return Some((address, None)) };
    let number = number(port, 0, u16::MAX.into()).and_then(|number| u16::try_from(number).ok());
    Some((address, Some(number.or_else(|| names.port(port, transport))?)))
}

/// A decimal number in a range, with what `strtol` allows before it: blanks and a sign.
pub(super) fn number(text: &str, min: i64, max: i64) -> Option<i64> {
    let number = text.trim_start().parse().ok()?;
    (min..=max).contains(&number).then_some(number)
}

/// One to four numbers with dots between them, in decimal, octal (`0…`) or hexadecimal (`0x…`); the last fills
/// all bytes that are left. What follows a blank is ignored (inet_aton(3)).
pub(super) fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let text = text.split(|c: char| c.is_ascii_whitespace()).next()?;
    let parts = text.split('.').map(c_number).collect::<Option<Vec<u32>>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) {
        return None;
    }
    let mut address = 0u64;
    for part in first {
        address = address << 8 | u64::from(*part);
    }
    let bits = 32 - 8 * u32::try_from(first.len()).ok()?;
    if u64::from(*last) >> bits != 0 {
        return None;
    }
    u32::try_from(address << bits | u64::from(*last)).ok().map(Ipv4Addr::from)
}

fn c_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_aliases_and_comments() {
        let services = "# x\nhttp\t80/tcp www # WorldWideWeb http-alt\ndomain 53/tcp\ndomain 53/udp\n\nbad\n";
        assert_eq!(port_in(services, "http", Transport::Tcp), Some(80));
        assert_eq!(port_in(services, "www", Transport::Tcp), Some(80));
        assert_eq!(port_in(services, "http-alt", Transport::Tcp), None);
        assert_eq!(port_in(services, "http", Transport::Udp), None);
        assert_eq!(port_in(services, "domain", Transport::Udp), Some(53));
    }
}

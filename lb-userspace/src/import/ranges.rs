//! Ranges of addresses as other programs write them, and as a `[[virtual_server_group]]` does.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The ranges that keepalived's `a.b.c.d-e`, `a.b.c.d-e.f.g.h`, `a.b.c.d/n` and their IPv6 forms are here: within one
/// /24 or one /112 each, with `port` (or a range of ports) after them.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn ranges(text: &str, port: impl Display) -> Result<Vec<String>, String> {
    let (first, last) = if let Ok(address) = text.parse::<IpAddr>() {
        (address, address)
    } else if let Ok(network) = text.parse::<IpNet>() {
        if network.addr() != network.network() {
            return Err(format!("{network} has bits beyond its prefix; the network is {}", network.trunc()));
        }
        (network.network(), network.broadcast())
    } else if let Some((first, last)) = text.split_once('-') {
        let start: IpAddr = first.parse().map_err(|_not| format!("{first:?} is not an address"))?;
        let end = match (start, last.parse::<IpAddr>()) {
            (_, Ok(end)) => end,
            (IpAddr::V4(start), Err(_)) => {
                let [a, b, c, _] = start.octets();
                let low: u8 =
                    last.parse().map_err(|_not| format!("{last:?} is not the last number of an address"))?;
                IpAddr::from([a, b, c, low])
            }
            (IpAddr::V6(start), Err(_)) => {
                let mut groups = start.segments();
                groups[7] = u16::from_str_radix(last, 16)
                    .map_err(|_not| format!("{last:?} is not the last group of an address"))?;
                IpAddr::from(groups)
            }
        };
        (start, end)
    } else {
        return Err(format!("{text:?} is not an address, a range or a network"));
    };
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            split(u32::from(first).into(), u32::from(last).into(), 8, |from, to| {
                let address = |bits: u128| Ipv4Addr::from(u32::try_from(bits).unwrap_or(u32::MAX));
                let first = address(from);
                let [.., low] = address(to).octets();
                if from == to { format!("{first}:{port}") } else { format!("{first}-{low}:{port}") }
            })
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => split(first.into(), last.into(), 16, |from, to| {
            let first = Ipv6Addr::from(from);
            let [.., low] = Ipv6Addr::from(to).segments();
            if from == to { format!("[{first}]:{port}") } else { format!("[{first}-{low:x}]:{port}") }
        }),
        _ => Err("a range has one address family".to_owned()),
    }
}

/// `first..=last` cut where more than the last `bits` bits change.
fn split(
    first: u128,
    last: u128,
    bits: u32,
    show: impl Fn(u128, u128) -> String,
) -> Result<Vec<String>, String> {
    const MOST: u128 = 4096;
    if first > last {
        return Err("the range ends before it begins".to_owned());
    }
    if last - first >= MOST {
        return Err(format!("the range has more than {MOST} addresses"));
    }
    let mut ranges = Vec::new();
    let mut from = first;
    loop {
        let end = (from | ((1 << bits) - 1)).min(last);
        ranges.push(show(from, end));
        if end == last {
            return Ok(ranges);
        }
        from = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_within_the_last_number() {
        let all = |text: &str| ranges(text, 80).unwrap();
        assert_eq!(all("192.168.200.1"), ["192.168.200.1:80"]);
        assert_eq!(all("192.168.200.1-10"), ["192.168.200.1-10:80"]);
        assert_eq!(all("192.168.200.250-192.168.201.10"), ["192.168.200.250-255:80", "192.168.201.0-10:80"]);
        assert_eq!(all("192.168.202.8/29"), ["192.168.202.8-15:80"]);
        assert_eq!(all("2001:db8::10-1f"), ["[2001:db8::10-1f]:80"]);
        assert_eq!(all("2001:db8::5"), ["[2001:db8::5]:80"]);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for wrong in
            ["192.168.202.9/29", "192.168.200.10-1", "10.0.0.0-10.9.0.0", "web", "10.0.0.1-x", "10.0.0.1-::1"]
        {
            ranges(wrong, 80).unwrap_err();
        }
    }
}

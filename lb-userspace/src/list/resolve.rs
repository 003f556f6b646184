//! `--resolve`: names of hosts from the system's resolver, names of ports from `/etc/services`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};

use super::text::Resolve;
use crate::ipvsadm::Transport;

/// Asks the system, once for each address.
#[derive(Debug)]
pub(super) struct System {
    services: String,
    hosts: RefCell<HashMap<IpAddr, String>>,
}

impl Default for System {
    fn default() -> Self {
        let services = fs::read_to_string("/etc/services").unwrap_or_default();
        Self { services, hosts: RefCell::default() }
    }
}

impl Resolve for System {
    fn name(&self, address: SocketAddr, transport: Transport) -> String {
        let mut hosts = self.hosts.borrow_mut();
        let host = hosts.entry(address.ip()).or_insert_with(|| {
            let found = dns_lookup::lookup_addr(&address.ip()).ok();
            found.unwrap_or_else(|| match address.ip() {
                IpAddr::V4(v4) => v4.to_string(),
                IpAddr::V6(v6) => format!("[{v6}]"),
            })
        });
        let port = service(&self.services, address.port(), transport);
        format!("{host}:{}", port.map_or_else(|| address.port().to_string(), str::to_owned))
    }
}

/// The name of a port in the text of `/etc/services`.
fn service(services: &str, port: u16, transport: Transport) -> Option<&str> {
    services.lines().find_map(|line| {
        let line = line.split_once('#').map_or(line, |(line, _comment)| line);
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let (number, protocol) = words.next()?.split_once('/')?;
        (protocol == transport.name() && number.parse() == Ok(port)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_names() {
        let services = "http\t80/tcp www # comment\ndomain 53/tcp\ndomain 53/udp\n";
        assert_eq!(service(services, 80, Transport::Tcp), Some("http"));
        assert_eq!(service(services, 80, Transport::Udp), None);
        assert_eq!(service(services, 53, Transport::Udp), Some("domain"));
    }
}

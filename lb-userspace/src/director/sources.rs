//! Whether this host can send from the addresses and ports that full NAT is to use.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::preflight::Refusal;
use crate::config::{Config, Forwarding, VirtualServer};
use crate::director::addresses;
use crate::net::sysctl;

/// Ports that the kernel gives to connections of its own, and those among them that it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KernelPorts {
    local: RangeInclusive<u16>,
    reserved: Vec<RangeInclusive<u16>>,
}

impl KernelPorts {
    /// As `/proc` says; the kernel's defaults if it does not.
    pub(super) fn read() -> Self {
        let text = |name| sysctl::read(&format!("net/ipv4/{name}")).unwrap_or_default();
        Self::parse(&text("ip_local_port_range"), &text("ip_local_reserved_ports"))
    }

    /// From `32768\t60999` and `8080,9000-9010`.
    fn parse(local: &str, reserved: &str) -> Self {
        let mut numbers = local.split_whitespace().filter_map(|number| number.parse::<u16>().ok());
        let local = match (numbers.next(), numbers.next()) {
            (Some(first), Some(last)) => first..=last,
            _ => 32_768..=60_999,
        };
        let range = |text: &str| {
            let (first, last) = text.trim().split_once('-').unwrap_or((text.trim(), text.trim()));
            Some(first.parse().ok()?..=last.parse().ok()?)
        };
        Self { local, reserved: reserved.split(',').filter_map(range).collect() }
    }

    /// The first port of these that the kernel may give away.
    fn conflict(&self, (first, last): (u16, u16)) -> Option<u16> {
        let free = |port: &u16| self.reserved.iter().all(|reserved| !reserved.contains(port));
        (first.max(*self.local.start())..=last.min(*self.local.end())).find(free)
    }
}

/// What is wrong with the sources of full NAT on a host with these addresses.
///
/// # Errors
///
/// Everything that is.
pub(super) fn check(config: &Config, own: &BTreeSet<IpAddr>, ports: &KernelPorts) -> Result<(), Refusal> {
    let mut own = own.clone();
    // They come when they are wanted.
    own.extend(addresses::wanted(config));
    own.extend(super::failover::carried_addresses(config));
    let mut problems = Vec::new();
    for server in config.virtual_servers.iter().filter(|server| uses_full_nat(server)) {
        let sources = &server.scheduling.sources;
        for address in sources.addresses.iter().filter(|address| !own.contains(address)) {
            problems.push(format!(
                "virtual server {server}: `source_addresses`: {address} is no address of this host, so answers \
                 would not come here; add it to an interface (`ip address add`), or name another one"
            ));
        }
        if let Some(port) = ports.conflict(sources.ports) {
            let (first, last) = (ports.local.start(), ports.local.end());
            problems.push(format!(
                "virtual server {server}: `source_ports` has {port}, which the kernel may give to a connection of \
                 this host, such as a check of the same real server; write ports outside {first}-{last}, or keep \
                 them from the kernel (`sysctl net.ipv4.ip_local_reserved_ports`)"
            ));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Refusal { problems }) }
}

/// Is some real server of it reached by full NAT?
fn uses_full_nat(server: &VirtualServer) -> bool {
    let sorry = server.health.sorry_server.as_deref();
    server.real_servers.iter().chain(sorry).any(|real| real.forwarding == Forwarding::FullNat)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(keys: &str) -> Config {
        let text = format!(
            "[director]\nrouter_id = \"d\"\ninterfaces = [\"eth0\"]\n[[virtual_server]]\n\
             address = \"192.168.4.15:80\"\nforwarding = \"full_nat\"\n{keys}\n\
             [[virtual_server.real_server]]\naddress = \"192.168.9.1:80\"\n"
        );
        Config::parse("test.toml", &text).unwrap()
    }

    fn problems(keys: &str, ports: &KernelPorts) -> Vec<String> {
        let own = ["192.168.4.2".parse().unwrap()].into();
        check(&config(keys), &own, ports).err().map(|refusal| refusal.problems).unwrap_or_default()
    }

    fn default() -> KernelPorts {
        KernelPorts::parse("32768\t60999\n", "\n")
    }

    #[test]
    fn the_default_ports_are_not_the_kernels() {
        assert_eq!(problems("", &default()), Vec::<String>::new());
        let wide = KernelPorts::parse("1024 65535", "");
        let [problem] = &problems("", &wide)[..] else { panic!() };
        assert!(problem.contains("has 1024") && problem.contains("outside 1024-65535"), "{problem}");
    }

    #[test]
    fn reserved_ports_may_be_used() {
        let keys = "source_ports = \"40000-40010\"";
        assert!(problems(keys, &default())[0].contains("has 40000"));
        let most = KernelPorts::parse("32768 60999", "22,40000-40009");
        assert!(problems(keys, &most)[0].contains("has 40010"));
        assert!(problems(keys, &KernelPorts::parse("32768 60999", "22,40000-40009,40010")).is_empty());
        assert!(problems("source_ports = \"61000-65535\"", &default()).is_empty());
    }

    #[test]
    fn addresses_must_be_the_hosts() {
        assert!(problems("source_addresses = [\"192.168.4.2\"]", &default()).is_empty());
        let [problem] = &problems("source_addresses = [\"192.168.4.2\", \"192.168.4.3\"]", &default())[..]
        else {
            panic!()
        };
        assert!(problem.contains("192.168.4.3 is no address of this host"), "{problem}");
    }
}

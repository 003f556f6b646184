//! How an operator names a virtual server and a real server: `192.168.4.15:80`, `192.168.4.15:53/udp`,
//! `[2001:db8::15]:80`, each also without its port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use lb_common::net::protocol;
use serde::{Deserialize, Serialize};

use crate::plane::desired::{ServerKey, ServiceKey};

/// A virtual server, as far as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VirtualServerName {
    endpoint: RealServerName,
    protocol: Option<u8>,
}

/// A real server, as far as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RealServerName {
    address: IpAddr,
    port: Option<u16>,
}

/// No such name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address with or without a port; write {1}")]
pub struct BadName(String, &'static str);

impl VirtualServerName {
    pub(super) fn fits(&self, key: &ServiceKey) -> bool {
        self.endpoint.matches(key.address, key.port)
            && self.protocol.is_none_or(|protocol| protocol == key.protocol)
    }
}

impl RealServerName {
    pub(super) fn fits(&self, key: &ServerKey) -> bool {
        self.matches(key.address, key.port)
    }

    fn matches(&self, address: IpAddr, port: u16) -> bool {
        self.address == address && self.port.is_none_or(|own| own == port)
    }

    fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self { address, port: None });
        }
        if let Ok(endpoint) = text.parse::<SocketAddr>() {
            return Some(Self { address: endpoint.ip(), port: Some(endpoint.port()) });
        }
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        Some(Self { address: IpAddr::V6(inner.parse().ok()?), port: None })
    }
}

impl FromStr for RealServerName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::parse(text)
            .ok_or_else(|| BadName(text.to_owned(), "192.168.4.100, 192.168.4.100:80 or [2001:db8::100]:80"))
    }
}

impl FromStr for VirtualServerName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let (endpoint, protocol) = match text.rsplit_once('/') {
            Some((endpoint, "tcp" | "TCP")) => (endpoint, Some(protocol::TCP)),
            Some((endpoint, "udp" | "UDP")) => (endpoint, Some(protocol::UDP)),
            _ => (text, None),
        };
        match RealServerName::parse(endpoint) {
            Some(endpoint) => Ok(Self { endpoint, protocol }),
            None => {
                Err(BadName(text.to_owned(), "192.168.4.15:80, 192.168.4.15:53/udp or [2001:db8::15]:80"))
            }
        }
    }
}

impl fmt::Display for RealServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

impl fmt::Display for VirtualServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)?;
        match self.protocol {
            Some(protocol::UDP) => f.write_str("/udp"),
            Some(_) => f.write_str("/tcp"),
            None => Ok(()),
        }
    }
}

macro_rules! as_text {
    ($name:ty) => {
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }
    };
}

as_text!(VirtualServerName);
as_text!(RealServerName);

impl From<ServiceKey> for VirtualServerName {
    fn from(key: ServiceKey) -> Self {
        let endpoint = RealServerName { address: key.address, port: Some(key.port) };
        Self { endpoint, protocol: Some(key.protocol) }
    }
}

impl From<ServerKey> for RealServerName {
    fn from(key: ServerKey) -> Self {
        Self { address: key.address, port: Some(key.port) }
    }
}

impl VirtualServerName {
    /// The virtual server, if it was written in full.
    pub fn key(&self) -> Option<ServiceKey> {
        let RealServerName { address, port } = self.endpoint;
        Some(ServiceKey { protocol: self.protocol?, address, port: port? })
    }
}

impl RealServerName {
    /// The real server, if it was written in full.
    pub fn key(&self) -> Option<ServerKey> {
        Some(ServerKey { address: self.address, port: self.port? })
    }
}

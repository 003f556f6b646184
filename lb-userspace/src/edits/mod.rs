//! What an operator changed at run time, kept apart from the configuration file.
//!
//! [`Edits`] is a record of differences: virtual servers added, changed or removed, and the same for their real
//! servers. [`Edits::apply`] is a pure function from the file's configuration to the one in force; whatever it
//! adds has passed the file's own check ([`document`]). [`Edits::perform`] is how an [`Operation`] changes the
//! record; `record` keeps it in the runtime directory, so that it outlives the daemon and a reload.

mod document;
mod operation;
mod record;
#[cfg(test)]
mod tests;
mod timeouts;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Protocol, RealServer, VirtualServer};

pub use document::Keys;
pub use operation::{Operation, OperationError};
pub use record::RecordError;
pub use timeouts::Timeouts;

/// What names a virtual server: protocol, VIP and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServiceName {
    /// "tcp" or "udp".
    #[serde(with = "protocol_word")]
    pub protocol: Protocol,
    /// VIP and port; port 0 for any.
    pub address: SocketAddr,
}

impl ServiceName {
    /// Of a virtual server.
    pub fn of(server: &VirtualServer) -> Self {
        Self { protocol: server.protocol, address: SocketAddr::new(server.address, server.port) }
    }
}

/// `192.168.4.15:80/tcp`
impl std::fmt::Display for ServiceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.protocol)
    }
}

mod protocol_word {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::config::Protocol;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
    pub(super) fn serialize<S: Serializer>(protocol: &Protocol, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(protocol.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Protocol, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            other => Err(D::Error::custom(format!("protocol {other:?} is neither \"tcp\" nor \"udp\""))),
        }
    }
}

/// How the configuration in force differs from the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Edits {
    /// In the order in which they were first edited; names differ pairwise.
    services: Vec<ServiceEdit>,
    /// Timeouts of connections that are other ones than in the file.
    #[serde(default)]
    timeouts: Timeouts,
}

/// Of one virtual server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ServiceEdit {
    name: ServiceName,
    change: ServiceChange,
    /// In the order in which they were first edited; addresses differ pairwise.
    servers: Vec<ServerEdit>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ServiceChange {
    /// Only real servers differ.
    Kept,
    /// These keys have other values than in the file.
    Edited(Keys),
    /// It is made of these keys and the edited real servers; the file's, if it has one, does not count.
    Added(Keys),
    /// The file's does not count.
    Removed,
}

/// Of one real server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ServerEdit {
    address: SocketAddr,
    change: ServerChange,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ServerChange {
    /// These keys have other values than in the file.
    Edited(Keys),
    /// It is made of these keys; the file's, if it has one, does not count.
    Added(Keys),
    /// The file's does not count.
    Removed,
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub struct Edited {
    /// With all edits that fit the file.
    pub config: Config,
    /// Edits that do not fit it, each with the reason.
    pub left_out: Vec<String>,
}

/// How something in force came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// As in the file.
    #[default]
    File,
    /// In the file, with other values.
    Changed,
    /// Not in the file.
    Added,
}

impl Edits {
    /// Whether the file alone is in force.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.timeouts.is_empty()
    }

    /// Which timeouts of connections were set at run time.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The configuration in force. What the file's check would refuse is left out and reported, so that a
    /// changed file can always be gone over to.
    pub fn apply(&self, mut config: Config) -> Edited {
        let mut left_out = Vec::new();
        let files = config.clone();
        self.timeouts.apply(&mut config);
        for edit in &self.services {
            let place = config.virtual_servers.iter().position(|server| ServiceName::of(server) == edit.name);
            let file = match (&edit.change, place) {
                (ServiceChange::Removed, Some(place)) => {
                    config.virtual_servers.remove(place);
                    continue;
                }
                (ServiceChange::Removed | ServiceChange::Kept | ServiceChange::Edited(_), None) => continue,
                (ServiceChange::Added(_), _) => None,
                (ServiceChange::Kept | ServiceChange::Edited(_), Some(place)) => {
                    config.virtual_servers.get(place)
                }
            };
            match edit.apply(file, &files, &mut left_out) {
                Ok(server) => match place.and_then(|place| config.virtual_servers.get_mut(place)) {
                    Some(old) => *old = server,
                    None => config.virtual_servers.push(server),
                },
                Err(problem) => left_out.push(format!("virtual server {}: {problem}", edit.name)),
            }
        }
        Edited { config, left_out }
    }

    /// How a virtual server in force came to be.
    pub fn origin_of_service(&self, name: &ServiceName) -> Origin {
        match self.find(name).map(|edit| &edit.change) {
            None | Some(ServiceChange::Kept | ServiceChange::Removed) => Origin::File,
            Some(ServiceChange::Edited(_)) => Origin::Changed,
            Some(ServiceChange::Added(_)) => Origin::Added,
        }
    }

    /// How a real server in force came to be.
    pub fn origin_of_server(&self, name: &ServiceName, address: SocketAddr) -> Origin {
        let Some(edit) = self.find(name) else { return Origin::File };
        match edit.servers.iter().find(|server| server.address == address).map(|server| &server.change) {
            Some(ServerChange::Added(_)) => Origin::Added,
            Some(ServerChange::Edited(_)) => Origin::Changed,
            None | Some(ServerChange::Removed) => Origin::File,
        }
    }

    /// The virtual servers and real servers that are taken out.
    pub fn removed(&self) -> (Vec<ServiceName>, Vec<(ServiceName, SocketAddr)>) {
        let services = self.services.iter().filter(|edit| edit.change == ServiceChange::Removed);
        let servers = self.services.iter().flat_map(|edit| {
            let removed = edit.servers.iter().filter(|server| server.change == ServerChange::Removed);
            removed.map(|server| (edit.name, server.address))
        });
        (services.map(|edit| edit.name).collect(), servers.collect())
    }

    fn find(&self, name: &ServiceName) -> Option<&ServiceEdit> {
        self.services.iter().find(|edit| edit.name == *name)
    }

    /// The edit of a virtual server, a new one if there is none.
    fn entry(&mut self, name: ServiceName) -> &mut ServiceEdit {
        let place = match self.services.iter().position(|edit| edit.name == name) {
            Some(place) => place,
            None => {
                self.services.push(ServiceEdit { name, change: ServiceChange::Kept, servers: Vec::new() });
                self.services.len() - 1
            }
        };
        // In bounds either way.
        #[expect(clippy::indexing_slicing, reason = "the position was just found or pushed")]
        &mut self.services[place]
    }
}

impl ServiceEdit {
    /// The virtual server as edited; `file` is the file's, if it counts, and `files` all that the file says.
    fn apply(
        &self,
        file: Option<&VirtualServer>,
        files: &Config,
        left_out: &mut Vec<String>,
    ) -> Result<VirtualServer, String> {
        let mut server = match (&self.change, file) {
            (ServiceChange::Edited(keys), Some(file)) => document::edited_service(file, keys)?,
            (ServiceChange::Added(keys), _) => document::service(self.name, keys, files)?,
            (ServiceChange::Kept | ServiceChange::Edited(_) | ServiceChange::Removed, file) => {
                file.cloned().ok_or("is not in the file any more")?
            }
        };
        for edit in &self.servers {
            let place = server.real_servers.iter().position(|real| address_of(real) == edit.address);
            let (old, keys) = match (&edit.change, place) {
                (ServerChange::Removed, None) | (ServerChange::Edited(_), None) => continue,
                (ServerChange::Edited(keys), Some(place)) => (server.real_servers.get(place), keys),
                (ServerChange::Added(keys), _) => (None, keys),
                (ServerChange::Removed, Some(place)) => {
                    server.real_servers.remove(place);
                    continue;
                }
            };
            let is_edit = old.is_some();
            match document::server(&server, old, edit.address, keys) {
                Ok(real) => match place {
                    Some(place) if is_edit => {
                        if let Some(old) = server.real_servers.get_mut(place) {
                            *old = real;
                        }
                    }
                    // One that was added comes last, as it came.
                    place => {
                        if let Some(place) = place {
                            server.real_servers.remove(place);
                        }
                        server.real_servers.push(real);
                    }
                },
                Err(problem) => left_out
                    .push(format!("virtual server {}: real server {}: {problem}", self.name, edit.address)),
            }
        }
        Ok(server)
    }

    /// Whether it says nothing.
    fn is_empty(&self) -> bool {
        self.change == ServiceChange::Kept && self.servers.is_empty()
    }
}

/// The name of a real server below `owner`, with the port that one has which is given none.
pub(crate) fn named(owner: &VirtualServer, mut server: SocketAddr) -> SocketAddr {
    let common = match &owner.scheduling.group {
        Some(group) if group.addresses.iter().any(|(_, port)| *port != owner.port) => 0,
        Some(_) | None => owner.port,
    };
    let is_marked = owner.scheduling.group.as_ref().is_some_and(|group| group.fwmark.is_some());
    if is_marked && server.port() == common {
        server.set_port(0);
    } else if !is_marked && server.port() == 0 {
        server.set_port(common);
    }
    server
}

/// What names a real server within its virtual server.
fn address_of(server: &RealServer) -> SocketAddr {
    SocketAddr::new(server.address, server.port)
}

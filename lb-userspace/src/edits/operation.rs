//! One command of an operator, and what it does to the record.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{
    Edits, Keys, ServerChange, ServerEdit, ServiceChange, ServiceName, Timeouts, address_of, document, named,
};
use crate::config::{Config, RealServer, VirtualServer};

/// A change at run time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Operation {
    /// Adds a virtual server without real servers.
    AddService {
        /// Its name.
        service: ServiceName,
        /// Its keys.
        keys: Keys,
    },
    /// Gives a virtual server other values; keys that are not named stay as they are.
    EditService {
        /// Its name.
        service: ServiceName,
        /// The keys to change.
        keys: Keys,
    },
    /// Removes a virtual server.
    DeleteService {
        /// Its name.
        service: ServiceName,
    },
    /// Adds a real server.
    AddServer {
        /// Its virtual server.
        service: ServiceName,
        /// RIP and port.
        server: SocketAddr,
        /// Its keys.
        keys: Keys,
    },
    /// Gives a real server other values; keys that are not named stay as they are.
    EditServer {
        /// Its virtual server.
        service: ServiceName,
        /// RIP and port.
        server: SocketAddr,
        /// The keys to change.
        keys: Keys,
    },
    /// Removes a real server.
    DeleteServer {
        /// Its virtual server.
        service: ServiceName,
        /// RIP and port.
        server: SocketAddr,
    },
    /// Sets timeouts of connections; `None` leaves one as it is.
    SetTimeouts(Timeouts),
    /// Removes all virtual servers.
    Clear,
    /// Forgets all edits: the file alone is in force again.
    Lift,
}

/// Why an operation is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum OperationError {
    /// Adding what is there.
    #[error("virtual server {service}: exists already; change it with `lbctl service edit`")]
    ServiceExists {
        /// Which.
        service: ServiceName,
    },
    /// Naming what is not there.
    #[error("virtual server {service}: no such virtual server; `lbctl list` shows them all")]
    NoSuchService {
        /// Which.
        service: ServiceName,
    },
    /// Adding what is there.
    #[error(
        "virtual server {service}: real server {server}: exists already; change it with `lbctl server edit`"
    )]
    ServerExists {
        /// Of which virtual server.
        service: ServiceName,
        /// Which.
        server: SocketAddr,
    },
    /// Naming what is not there.
    #[error(
        "virtual server {service}: real server {server}: no such real server; `lbctl list` shows them all"
    )]
    NoSuchServer {
        /// Of which virtual server.
        service: ServiceName,
        /// Which.
        server: SocketAddr,
    },
    /// The configuration's check says no.
    #[error("{what}: {problem}")]
    Invalid {
        /// What was edited.
        what: String,
        /// Keys, what is wrong with them, and what to do.
        problem: String,
    },
}

impl Edits {
    /// Performs an operation upon the record. `file` is the file's configuration, `config` the one in force,
    /// which follows.
    ///
    /// # Errors
    ///
    /// Why not; then nothing has changed.
    pub fn perform(
        &mut self,
        operation: &Operation,
        file: &Config,
        config: &mut Config,
    ) -> Result<(), OperationError> {
        match operation {
            Operation::AddService { service, keys } => {
                if find(config, service).is_some() {
                    return Err(OperationError::ServiceExists { service: *service });
                }
                let added =
                    document::service(*service, keys, file).map_err(|problem| invalid(*service, problem))?;
                config.virtual_servers.push(added);
                let edit = self.entry(*service);
                edit.change = ServiceChange::Added(keys.clone());
                edit.servers.clear();
            }
            Operation::EditService { service, keys } => {
                let old = find_mut(config, service)?;
                *old = document::edited_service(old, keys).map_err(|problem| invalid(*service, problem))?;
                let change = &mut self.entry(*service).change;
                match change {
                    ServiceChange::Edited(own) | ServiceChange::Added(own) => own.extend(keys.clone()),
                    ServiceChange::Kept | ServiceChange::Removed => {
                        *change = ServiceChange::Edited(keys.clone());
                    }
                }
            }
            Operation::DeleteService { service } => {
                find_mut(config, service)?;
                self.remove_service(*service, file);
                config.virtual_servers.retain(|server| ServiceName::of(server) != *service);
            }
            Operation::AddServer { service, server, keys } => {
                self.set_server(*service, *server, keys, config, false)?;
            }
            Operation::EditServer { service, server, keys } => {
                self.set_server(*service, *server, keys, config, true)?;
            }
            Operation::DeleteServer { service, server } => {
                let owner = find_mut(config, service)?;
                let server = named(owner, *server);
                let Some(place) = place_of(owner, server) else {
                    return Err(OperationError::NoSuchServer { service: *service, server });
                };
                owner.real_servers.remove(place);
                self.remove_server(*service, server, file);
            }
            Operation::SetTimeouts(timeouts) => {
                timeouts.check().map_err(|(key, problem)| OperationError::Invalid {
                    what: key.to_owned(),
                    problem: problem.to_owned(),
                })?;
                timeouts.apply(config);
                self.timeouts.set(*timeouts, file);
            }
            Operation::Clear => {
                for service in config.virtual_servers.iter().map(ServiceName::of).collect::<Vec<_>>() {
                    self.remove_service(service, file);
                }
                config.virtual_servers.clear();
            }
            Operation::Lift => {
                *self = Self::default();
                config.clone_from(file);
            }
        }
        self.forget_what_is_as_in(file, config);
        Ok(())
    }

    fn set_server(
        &mut self,
        service: ServiceName,
        server: SocketAddr,
        keys: &Keys,
        config: &mut Config,
        is_edit: bool,
    ) -> Result<(), OperationError> {
        let owner = find_mut(config, &service)?;
        let server = named(owner, server);
        let place = place_of(owner, server);
        match (is_edit, place) {
            (true, None) => return Err(OperationError::NoSuchServer { service, server }),
            (false, Some(_)) => return Err(OperationError::ServerExists { service, server }),
            (true, Some(_)) | (false, None) => {}
        }
        let old = place.and_then(|place| owner.real_servers.get(place));
        let real = document::server(owner, old, server, keys).map_err(|problem| OperationError::Invalid {
            what: format!("virtual server {service}: real server {server}"),
            problem,
        })?;
        match place.and_then(|place| owner.real_servers.get_mut(place)) {
            Some(old) => *old = real,
            None => owner.real_servers.push(real),
        }
        let servers = &mut self.entry(service).servers;
        match servers.iter_mut().find(|edit| edit.address == server) {
            Some(ServerEdit { change: ServerChange::Edited(own) | ServerChange::Added(own), .. })
                if is_edit =>
            {
                own.extend(keys.clone());
            }
            Some(edit) => edit.change = ServerChange::Added(keys.clone()),
            None if is_edit => {
                servers.push(ServerEdit { address: server, change: ServerChange::Edited(keys.clone()) });
            }
            None => servers.push(ServerEdit { address: server, change: ServerChange::Added(keys.clone()) }),
        }
        Ok(())
    }

    /// What the file has is marked as removed; what only the record has is forgotten.
    fn remove_service(&mut self, service: ServiceName, file: &Config) {
        if find(file, &service).is_some() {
            let edit = self.entry(service);
            edit.change = ServiceChange::Removed;
            edit.servers.clear();
        } else {
            self.services.retain(|edit| edit.name != service);
        }
    }

    fn remove_server(&mut self, service: ServiceName, server: SocketAddr, file: &Config) {
        let edit = self.entry(service);
        edit.servers.retain(|edit| edit.address != server);
        let is_files = !matches!(edit.change, ServiceChange::Added(_))
            && find(file, &service).is_some_and(|owner| place_of(owner, server).is_some());
        if is_files {
            edit.servers.push(ServerEdit { address: server, change: ServerChange::Removed });
        }
    }

    /// An edit that made things as they are in the file is none.
    fn forget_what_is_as_in(&mut self, file: &Config, config: &Config) {
        for edit in &mut self.services {
            let (Some(files), Some(now)) = (find(file, &edit.name), find(config, &edit.name)) else {
                continue;
            };
            // A virtual server that was removed and added again is the record's until it is all the same.
            if files == now {
                edit.change = ServiceChange::Kept;
                edit.servers.clear();
                continue;
            }
            if matches!(edit.change, ServiceChange::Added(_)) {
                continue;
            }
            edit.servers.retain(|server| {
                // One that was added is in another place.
                if matches!(server.change, ServerChange::Added(_)) {
                    return true;
                }
                let same = |owner: &VirtualServer| -> Option<RealServer> {
                    owner.real_servers.get(place_of(owner, server.address)?).cloned()
                };
                same(files) != same(now)
            });
            let without_servers =
                |server: &VirtualServer| VirtualServer { real_servers: Vec::new(), ..server.clone() };
            if without_servers(files) == without_servers(now) {
                edit.change = ServiceChange::Kept;
            }
        }
        self.services.retain(|edit| !edit.is_empty());
    }
}

fn invalid(service: ServiceName, problem: String) -> OperationError {
    OperationError::Invalid { what: format!("virtual server {service}"), problem }
}

fn find<'c>(config: &'c Config, name: &ServiceName) -> Option<&'c VirtualServer> {
    config.virtual_servers.iter().find(|server| ServiceName::of(server) == *name)
}

fn find_mut<'c>(config: &'c mut Config, name: &ServiceName) -> Result<&'c mut VirtualServer, OperationError> {
    let found = config.virtual_servers.iter_mut().find(|server| ServiceName::of(server) == *name);
    found.ok_or(OperationError::NoSuchService { service: *name })
}

fn place_of(owner: &VirtualServer, server: SocketAddr) -> Option<usize> {
    owner.real_servers.iter().position(|real| address_of(real) == server)
}

//! What an operator orders at run time about single real servers: drain, disable, another weight.
//!
//! An order stands until it is lifted, over reloads and restarts, so it is in a file beside the instance's record.
//! What it means is a pure change of what is desired ([`Orders::apply`]), after the configuration and the checks.

mod file;
mod names;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::file::FileError;
pub use self::names::{BadName, RealServerName, VirtualServerName};

use crate::plane::desired::{Desired, ServerKey, ServiceKey};

/// The largest weight, as in the configuration.
pub const MAX_WEIGHT: u32 = 65_535;

/// How a real server is kept from getting connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// It keeps the connections that it has and gets no new ones.
    Drained,
    /// The same, but clients with persistence may come back.
    DrainedButPersistent,
    /// As if its checks failed.
    Disabled,
}

/// What is ordered about one real server; not nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Whether it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Its weight instead of the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// When it was ordered last, in seconds since 1970.
    pub since: u64,
}

/// A change of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Change {
    /// No new connections.
    Drain {
        /// But those of clients with persistence.
        #[serde(default)]
        keep_persistent: bool,
    },
    /// As if its checks failed.
    Disable,
    /// Neither of both any more.
    Enable,
    /// Another weight.
    SetWeight {
        /// `None`: the configured one again.
        weight: Option<u32>,
    },
}

/// What is asked of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The virtual server.
    pub virtual_server: VirtualServerName,
    /// One of its real servers.
    pub real_server: RealServerName,
    /// What is ordered.
    #[serde(flatten)]
    pub change: Change,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The virtual server, in full.
    pub virtual_server: VirtualServerName,
    /// The real server, in full.
    pub real_server: RealServerName,
    /// What is ordered now; absent: nothing.
    pub order: Option<Order>,
    /// Whether it was otherwise before.
    pub changed: bool,
}

/// Seconds since 1970.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Why there is no such order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The name fits none.
    #[error("virtual server {name}: there is none; {}", listed(.there_are))]
    NoVirtualServer {
        /// As it was given.
        name: VirtualServerName,
        /// All there are.
        there_are: Vec<String>,
    },
    /// The name fits several.
    #[error("virtual server {name}: it may be any of {}; write one of them", .there_are.join(", "))]
    WhichVirtualServer {
        /// As it was given.
        name: VirtualServerName,
        /// Those it fits.
        there_are: Vec<String>,
    },
    /// The name fits none.
    #[error("real server {name} of virtual server {of}: there is none; {}", listed(.there_are))]
    NoRealServer {
        /// As it was given.
        name: RealServerName,
        /// The virtual server.
        of: ServiceKey,
        /// All it has.
        there_are: Vec<String>,
    },
    /// The name fits several.
    #[error("real server {name} of virtual server {of}: it may be any of {}; write one of them", .there_are.join(", "))]
    WhichRealServer {
        /// As it was given.
        name: RealServerName,
        /// The virtual server.
        of: ServiceKey,
        /// Those it fits.
        there_are: Vec<String>,
    },
    /// Out of range.
    #[error("weight {0} is out of range; use 0 to {MAX_WEIGHT}")]
    Weight(u32),
}

/// "there are a, b and 40 more", or that there is none at all.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 12;
    match names {
        [] => "there is none at all".to_owned(),
        [one] => format!("there is only {one}"),
        some if some.len() <= SHOWN => format!("there are {}", some.join(", ")),
        many => {
            let (shown, rest) = many.split_at(SHOWN);
            format!("there are {} and {} more", shown.join(", "), rest.len())
        }
    }
}

/// All virtual servers and their real servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// By the name that orders are kept under.
    servers: BTreeMap<ServiceKey, Vec<ServerKey>>,
    /// Each name of a virtual server, and the one that orders are kept under: those of a group have many.
    services: BTreeMap<ServiceKey, ServiceKey>,
}

/// The names of what is desired.
pub fn names(desired: &Desired) -> Names {
    let mut names = Names::default();
    for (key, service) in &desired.services {
        names.servers.insert(*key, service.servers.iter().map(|server| server.key).collect());
        names.services.extend(std::iter::once(key).chain(&service.also).map(|name| (*name, *key)));
    }
    names
}

/// All orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    orders: BTreeMap<(ServiceKey, ServerKey), Order>,
}

impl Orders {
    /// Finds out which real server is meant: one that there is, or one that there is an order about.
    ///
    /// # Errors
    ///
    /// None or several; the error names those there are.
    pub fn find(
        &self,
        names: &Names,
        virtual_server: &VirtualServerName,
        real_server: &RealServerName,
    ) -> Result<(ServiceKey, ServerKey), OrderError> {
        let mut all = names.clone();
        for (service, server) in self.orders.keys() {
            all.services.entry(*service).or_insert(*service);
            let servers = all.servers.entry(*service).or_default();
            if !servers.contains(server) {
                servers.push(*server);
            }
        }
        let fitting: BTreeMap<ServiceKey, ServiceKey> = all
            .services
            .iter()
            .filter(|(name, _)| virtual_server.fits(name))
            .map(|(name, key)| (*key, *name))
            .collect();
        let name = *virtual_server;
        let mut keys = fitting.keys();
        let (service, servers) = match (keys.next(), keys.next()) {
            (Some(one), None) => (one, all.servers.get(one).map_or([].as_slice(), Vec::as_slice)),
            (None, _) => {
                let there_are = names.services.keys().map(ToString::to_string).collect();
                return Err(OrderError::NoVirtualServer { name, there_are });
            }
            (Some(_), Some(_)) => {
                let there_are = fitting.values().map(ToString::to_string).collect();
                return Err(OrderError::WhichVirtualServer { name, there_are });
            }
        };
        let fitting: Vec<_> = servers.iter().filter(|key| real_server.fits(key)).collect();
        let (name, of) = (*real_server, *service);
        match fitting.as_slice() {
            [one] => Ok((*service, **one)),
            [] => {
                let there_are = servers.iter().map(ToString::to_string).collect();
                Err(OrderError::NoRealServer { name, of, there_are })
            }
            several => {
                let there_are = several.iter().map(ToString::to_string).collect();
                Err(OrderError::WhichRealServer { name, of, there_are })
            }
        }
    }

    /// Changes the order about a real server, at `now` in seconds since 1970. Returns whether that makes a
    /// difference.
    ///
    /// # Errors
    ///
    /// The weight is out of range.
    pub fn change(
        &mut self,
        about: (ServiceKey, ServerKey),
        change: Change,
        now: u64,
    ) -> Result<bool, OrderError> {
        let before = self.orders.get(&about).copied();
        let mut order = before.unwrap_or(Order { held: None, weight: None, since: now });
        match change {
            Change::Drain { keep_persistent: false } => order.held = Some(Held::Drained),
            Change::Drain { keep_persistent: true } => order.held = Some(Held::DrainedButPersistent),
            Change::Disable => order.held = Some(Held::Disabled),
            Change::Enable => order.held = None,
            Change::SetWeight { weight: Some(weight) } if weight > MAX_WEIGHT => {
                return Err(OrderError::Weight(weight));
            }
            Change::SetWeight { weight } => order.weight = weight,
        }
        let is_new = before.is_none_or(|before| before != order) && before != is_something(order);
        order.since = if is_new { now } else { order.since };
        match is_something(order) {
            Some(order) => self.orders.insert(about, order),
            None => self.orders.remove(&about),
        };
        Ok(is_new)
    }

    /// Real servers that are to be treated as if their checks failed.
    pub fn disabled(&self) -> BTreeSet<(ServiceKey, ServerKey)> {
        let is_disabled = |order: &Order| order.held == Some(Held::Disabled);
        self.orders.iter().filter(|(_, order)| is_disabled(order)).map(|(about, _)| *about).collect()
    }

    /// Changes what is desired to what is ordered. An order about a real server that is not desired does nothing.
    ///
    /// A real server that is drained gets a weight of 0. Persistence would still bring its clients back, but not to one
    /// that was removed; so there it is removed, and keeps its connections as removed ones do, unless the director ends
    /// those (`expire_nodest_conn`).
    pub fn apply(&self, desired: &mut Desired) {
        let removed_keep = !desired.rules.expire_nodest_conn;
        for ((service, server), order) in &self.orders {
            let Some(service) = desired.services.get_mut(service) else { continue };
            if order.held == Some(Held::Drained) && service.persistence.is_some() && removed_keep {
                service.servers.retain(|found| found.key != *server);
                continue;
            }
            let Some(server) = service.servers.iter_mut().find(|found| found.key == *server) else {
                continue;
            };
            // One that is quiesced already stays so.
            if let Some(weight) = order.weight.filter(|_| server.weight > 0) {
                server.weight = weight;
            }
            if order.held.is_some() {
                server.weight = 0;
            }
            server.failed |= order.held == Some(Held::Disabled);
        }
    }

    /// What is ordered about a real server.
    pub fn of(&self, service: &ServiceKey, server: &ServerKey) -> Option<&Order> {
        self.orders.get(&(*service, *server))
    }

    /// All orders, by virtual server and real server.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceKey, &ServerKey, &Order)> {
        self.orders.iter().map(|((service, server), order)| (service, server, order))
    }

    /// Those about real servers that there are not.
    pub fn idle<'o>(&'o self, names: &'o Names) -> impl Iterator<Item = (&'o ServiceKey, &'o ServerKey)> {
        self.orders
            .keys()
            .filter(|(service, server)| !names.servers.get(service).is_some_and(|all| all.contains(server)))
            .map(|(service, server)| (service, server))
    }
}

fn is_something(order: Order) -> Option<Order> {
    (order.held.is_some() || order.weight.is_some()).then_some(order)
}

/// "drained", "disabled, weight 5": for lists and messages.
impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held = self.held.map(|held| match held {
            Held::Drained => "drained",
            Held::DrainedButPersistent => "drained but for persistent clients",
            Held::Disabled => "disabled",
        });
        match (held, self.weight) {
            (Some(held), Some(weight)) => write!(f, "{held}, weight {weight}"),
            (Some(held), None) => f.write_str(held),
            (None, Some(weight)) => write!(f, "weight {weight}"),
            (None, None) => f.write_str("nothing"),
        }
    }
}

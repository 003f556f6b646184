//! What ipvsadm's words mean to a director: its commands as run-time edits, its errors for theirs.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use toml::Value;

use super::UsageError;
use super::model::{Forwarding, Granularity, Server, Service, ServiceKey, Transport, Tunnel};
use crate::config::Protocol;
use crate::edits::{Keys, Operation, OperationError, ServiceName, Timeouts};
use crate::save::Saved;

/// The schedulers of Linux 6.12.
const SCHEDULERS: [&str; 15] =
    ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos", "none"];

/// What the kernel would refuse, or what a director cannot do. Exit code 255.
fn refused<T>(message: impl Into<String>) -> Result<T, UsageError> {
    Err(UsageError::syntax(message))
}

/// What firewall marks stand for: the groups of the configuration file that have one.
#[derive(Clone, Debug, Default)]
pub struct Marks(BTreeMap<(u32, bool), (ServiceName, String)>);

impl Marks {
    /// Those of a director.
    pub fn of(saved: &Saved) -> Self {
        let all = saved.marks.iter().map(|mark| {
            let protocol =
                if mark.protocol == Protocol::Udp.as_str() { Protocol::Udp } else { Protocol::Tcp };
            let name = ServiceName { protocol, address: mark.address };
            ((mark.fwmark.get(), mark.address.is_ipv6()), (name, mark.group.clone()))
        });
        Self(all.collect())
    }

    /// The virtual server of a mark, and its group.
    fn find(&self, mark: u32, ipv6: bool) -> Result<&(ServiceName, String), UsageError> {
        let family = if ipv6 { " of IPv6" } else { "" };
        self.0.get(&(mark, ipv6)).ok_or_else(|| {
            UsageError::syntax(format!(
                "firewall mark {mark}{family}: no virtual server of the configuration has a group with fwmark = {mark}; \
                 packets are balanced before a firewall can mark them, so write what it marks into a \
                 [[virtual_server_group]], or have `lbctl import ipvsadm RULES --marks FILE` write it, FILE being what \
                 `iptables-save -t mangle` prints"
            ))
        })
    }

    /// The name of a virtual server.
    ///
    /// # Errors
    ///
    /// A director has no such virtual servers.
    pub fn name(&self, key: &ServiceKey) -> Result<ServiceName, UsageError> {
        match key {
            ServiceKey::Address(Transport::Tcp, address) => {
                Ok(ServiceName { protocol: Protocol::Tcp, address: *address })
            }
            ServiceKey::Address(Transport::Udp, address) => {
                Ok(ServiceName { protocol: Protocol::Udp, address: *address })
            }
            ServiceKey::Address(Transport::Sctp, address) => {
                refused(format!("virtual server {address}/sctp: SCTP is not balanced; use -t or -u"))
            }
            ServiceKey::Fwmark { mark, ipv6 } => self.find(*mark, *ipv6).map(|(name, _)| *name),
        }
    }

    /// `-A`, or `-E`, which replaces everything.
    ///
    /// # Errors
    ///
    /// A director cannot do that.
    pub fn service(&self, service: &Service, is_edit: bool) -> Result<Operation, UsageError> {
        let name = self.name(&service.key)?;
        if !SCHEDULERS.contains(&service.scheduler.as_str()) {
            return refused("Scheduler or persistence engine not found");
        }
        if let Some(engine) = &service.persistence_engine {
            return refused(format!("persistence engine {engine}: there is none; leave --pe out"));
        }
        let mut keys = Keys::new();
        let mut give = |key: &str, value: Option<Value>| {
            if is_edit || value.is_some() {
                keys.insert(key.to_owned(), value);
            }
        };
        if let (ServiceKey::Fwmark { mark, ipv6 }, false) = (&service.key, is_edit) {
            give("group", Some(Value::from(self.find(*mark, *ipv6)?.1.as_str())));
        }
        give("scheduler", Some(Value::from(service.scheduler.as_str())));
        let flags = service.flags.names(&service.scheduler);
        let named: Vec<_> = flags.iter().map(|flag| Value::from(*flag)).collect();
        give("scheduler_flags", (!named.is_empty()).then_some(Value::Array(named)));
        give("persistence_timeout", service.persistent.map(|seconds| Value::from(format!("{seconds}s"))));
        let granularity =
            service.granularity.filter(|_| service.persistent.is_some()).map(|found| match found {
                Granularity::Mask(mask) => Value::from(mask.to_string()),
                Granularity::Prefix(length) => Value::from(i64::from(length)),
            });
        give("persistence_granularity", granularity);
        give("one_packet", service.one_packet.then_some(Value::from(true)));
        Ok(match is_edit {
            true => Operation::EditService { service: name, keys },
            false => Operation::AddService { service: name, keys },
        })
    }

    /// `-a`, or `-e`, which replaces everything.
    ///
    /// # Errors
    ///
    /// A director cannot do that.
    pub fn server(&self, key: &ServiceKey, server: &Server, is_edit: bool) -> Result<Operation, UsageError> {
        let service = self.name(key)?;
        if server.lower_threshold > server.upper_threshold && server.upper_threshold > 0 {
            return refused("Numerical result out of range");
        }
        let method = match server.forwarding {
            Forwarding::DirectRouting => "dr",
            Forwarding::Masquerading => "nat",
            Forwarding::Tunnel(Tunnel::Ipip) => "tun",
            Forwarding::Tunnel(Tunnel::Gue { .. }) => {
                return refused("tunnel type gue: only IP in IP is made; leave --tun-type out");
            }
            Forwarding::Tunnel(Tunnel::Gre { .. }) => {
                return refused("tunnel type gre: only IP in IP is made; leave --tun-type out");
            }
        };
        let mut keys = Keys::new();
        keys.insert("weight".to_owned(), Some(Value::from(i64::from(server.weight))));
        keys.insert("forwarding".to_owned(), Some(Value::from(method)));
        for (key, limit) in
            [("upper_threshold", server.upper_threshold), ("lower_threshold", server.lower_threshold)]
        {
            let value = (limit > 0).then(|| Value::from(i64::from(limit)));
            if is_edit || value.is_some() {
                keys.insert(key.to_owned(), value);
            }
        }
        Ok(match is_edit {
            true => Operation::EditServer { service, server: server.address, keys },
            false => Operation::AddServer { service, server: server.address, keys },
        })
    }

    /// `-d`.
    ///
    /// # Errors
    ///
    /// A director has no such virtual servers.
    pub fn delete_server(&self, key: &ServiceKey, server: SocketAddr) -> Result<Operation, UsageError> {
        Ok(Operation::DeleteServer { service: self.name(key)?, server })
    }
}

/// `--set`: seconds, 0 for as it is.
pub fn timeouts(tcp: u32, tcp_fin: u32, udp: u32) -> Operation {
    let given = |seconds| Some(seconds).filter(|seconds| *seconds > 0);
    Operation::SetTimeouts(Timeouts { tcp: given(tcp), tcp_fin: given(tcp_fin), udp: given(udp) })
}

/// What ipvsadm says when the kernel refuses `operation`.
pub fn words_for(operation: &Operation, error: &OperationError) -> String {
    let is_server = matches!(
        operation,
        Operation::AddServer { .. } | Operation::EditServer { .. } | Operation::DeleteServer { .. }
    );
    match error {
        OperationError::ServiceExists { .. } => "Service already exists".to_owned(),
        OperationError::NoSuchService { .. } if is_server => "Service not defined".to_owned(),
        OperationError::NoSuchService { .. } => "No such service".to_owned(),
        OperationError::ServerExists { .. } => "Destination already exists".to_owned(),
        OperationError::NoSuchServer { .. } => "No such destination".to_owned(),
        OperationError::Invalid { .. } => error.to_string(),
    }
}

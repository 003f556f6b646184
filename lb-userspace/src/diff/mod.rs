//! How two configurations differ: `lbctl diff`.
//!
//! [`picture`] makes a configuration into JSON in which everything that has a name is found by it; [`compare`] walks two
//! of them.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::Config;

/// JSON schema `lbctl/diff/v1`.
pub const SCHEMA: &str = "lbctl/diff/v1";

/// What happens to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is in the new one only.
    Added,
    /// It is in the old one only.
    Removed,
    /// It is in both, with other values.
    Changed,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What happens.
    pub kind: Kind,
    /// What it happens to, from the outside: `["virtual_server 192.168.4.15:80/tcp", "scheduler"]`.
    pub path: Vec<String>,
    /// The old value of what changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// The new value of what changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// `+ virtual_server 192.168.4.16:80/tcp`, `~ director: max_connections: 1000 -> 2000`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            Kind::Added => '+',
            Kind::Removed => '-',
            Kind::Changed => '~',
        };
        write!(f, "{sign} {}", self.path.join(": "))?;
        if let (Some(from), Some(to)) = (&self.from, &self.to) {
            write!(f, ": {from} -> {to}")?;
        }
        Ok(())
    }
}

/// A configuration for [`compare`]: lists of named things are objects with their names as keys.
///
/// # Errors
///
/// Never for a configuration; the error is serde's.
pub fn picture(config: &Config) -> Result<Value, serde_json::Error> {
    let mut picture = serde_json::to_value(config)?;
    let names = config.virtual_servers.iter().map(|server| match &server.scheduling.group {
        Some(group) => format!("group {}/{}", group.name, server.protocol),
        None => server.to_string(),
    });
    by_name(&mut picture, "virtual_servers", "virtual_server", names);
    if let Some(Value::Object(top)) = Some(&mut picture) {
        for server in &config.virtual_servers {
            let name = match &server.scheduling.group {
                Some(group) => format!("virtual_server group {}/{}", group.name, server.protocol),
                None => format!("virtual_server {server}"),
            };
            if let Some(inner) = top.get_mut(&name) {
                by_name(
                    inner,
                    "real_servers",
                    "real_server",
                    server.real_servers.iter().map(ToString::to_string),
                );
            }
        }
        if let Some(mut vrrp) = top.remove("vrrp") {
            for (index, instance) in config.vrrp.instances.iter().enumerate() {
                // Not the password itself, which is nobody's business, but whether it is another one.
                let place = vrrp.get_mut("instances").and_then(|instances| instances.get_mut(index));
                if let (Some(Value::Object(inner)), Some(pass)) = (place, &instance.auth_pass) {
                    inner.insert(
                        "auth_pass".to_owned(),
                        Value::from(format!("hidden, {:016x}", fingerprint(pass))),
                    );
                }
            }
            by_own_name(&mut vrrp, "instances", "vrrp_instance");
            by_own_name(&mut vrrp, "sync_groups", "vrrp_sync_group");
            by_own_name(&mut vrrp, "scripts", "vrrp_script");
            by_own_name(&mut vrrp, "processes", "vrrp_track_process");
            by_own_name(&mut vrrp, "files", "vrrp_track_file");
            if let Value::Object(inner) = vrrp {
                let (named, own): (Map<_, _>, Map<_, _>) =
                    inner.into_iter().partition(|(key, _)| key.starts_with("vrrp_"));
                top.extend(named);
                top.insert("vrrp".to_owned(), Value::Object(own));
            }
        }
    }
    Ok(picture)
}

/// FNV-1a, 64 bits: the same in every build.
fn fingerprint(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Replaces the list `key` of `outer` by its elements, called `KIND NAME`.
fn by_name(outer: &mut Value, key: &str, kind: &str, names: impl Iterator<Item = String>) {
    let Value::Object(outer) = outer else { return };
    if let Some(Value::Array(elements)) = outer.remove(key) {
        for (element, name) in elements.into_iter().zip(names) {
            outer.insert(format!("{kind} {name}"), element);
        }
    }
}

fn by_own_name(outer: &mut Value, key: &str, kind: &str) {
    let names: Vec<String> = match outer.get(key) {
        Some(Value::Array(elements)) => elements
            .iter()
            .map(|element| element.get("name").and_then(Value::as_str).unwrap_or_default().to_owned())
            .collect(),
        _ => return,
    };
    by_name(outer, key, kind, names.into_iter());
}

/// What must change for `old` to become `new`; both are pictures.
pub fn compare(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    walk(old, new, &mut Vec::new(), &mut changes);
    changes
}

fn walk(old: &Value, new: &Value, path: &mut Vec<String>, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        let (from, to) = (Some(old.clone()), Some(new.clone()));
        changes.push(Change { kind: Kind::Changed, path: path.clone(), from, to });
        return;
    };
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        path.push(key.clone());
        match (before.get(key), after.get(key)) {
            (Some(old), Some(new)) => walk(old, new, path, changes),
            (old, new) => {
                let kind = if new.is_some() { Kind::Added } else { Kind::Removed };
                // What has a name says enough by it.
                let is_named = key.contains(' ');
                let shown = |value: Option<&Value>| value.filter(|_| !is_named).cloned();
                changes.push(Change { kind, path: path.clone(), from: shown(old), to: shown(new) });
            }
        }
        path.pop();
    }
}

//! Edits in the configuration's own words: whatever is edited becomes a small document and goes through the
//! file's check, so that the same is accepted, with the same errors.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use toml::{Table, Value};

use super::ServiceName;
use crate::config::{Config, Group, RealServer, Severity, VirtualServer};

/// Keys of a `[[virtual_server]]` or a `[[virtual_server.real_server]]`. `None`: as if the key were not there.
pub type Keys = BTreeMap<String, Option<Value>>;

/// A virtual server of these keys, without real servers. It may name a `group` of the file's, which then begins with
/// the address of its name.
pub(super) fn service(name: ServiceName, keys: &Keys, file: &Config) -> Result<VirtualServer, String> {
    let Some(wanted) = keys.get("group").and_then(|value| value.as_ref()?.as_str()) else {
        return check(&Above::new(name, keys, None), None);
    };
    let mut groups = file.virtual_servers.iter().filter_map(|server| server.scheduling.group.as_ref());
    let group = groups.find(|group| group.name == wanted);
    let group = group.ok_or_else(|| format!("group {wanted:?}: no virtual server of the file has it"))?;
    let server = check(&Above::new(name, keys, Some(group)), None)?;
    match ServiceName::of(&server) == name {
        true => Ok(server),
        false => Err(format!("group {:?}: its lowest address is {} now", group.name, server.address)),
    }
}

/// `file` with these keys instead of its own.
pub(super) fn edited_service(file: &VirtualServer, keys: &Keys) -> Result<VirtualServer, String> {
    if let Some(key) = keys.keys().find(|key| !SERVICE_KEYS.contains(&key.as_str())) {
        return Err(format!("{key}: cannot be changed at run time; change it in the file"));
    }
    let mut all = keys_of_service(file);
    all.extend(keys.clone());
    let new = check(&Above::new(ServiceName::of(file), &all, None), None)?;
    let mut server = file.clone();
    server.scheduler = new.scheduler;
    server.forwarding = new.forwarding;
    server.scheduling.scheduler_flags = new.scheduling.scheduler_flags;
    server.scheduling.persistence = new.scheduling.persistence;
    server.scheduling.one_packet = new.scheduling.one_packet;
    Ok(server)
}

/// The keys of a virtual server that can be changed at run time.
const SERVICE_KEYS: [&str; 6] = [
    "forwarding",
    "scheduler",
    "scheduler_flags",
    "persistence_timeout",
    "persistence_granularity",
    "one_packet",
];

fn keys_of_service(server: &VirtualServer) -> Keys {
    let flags = server.scheduling.scheduler_flags;
    let flags: Vec<Value> = [(flags.fallback, "fallback"), (flags.port, "port")]
        .into_iter()
        .filter(|(is_set, _)| *is_set)
        .map(|(_, flag)| Value::from(format!("{}-{flag}", server.scheduler)))
        .collect();
    let persistence = server.scheduling.persistence;
    keys([
        ("forwarding", Some(Value::from(server.forwarding.as_str()))),
        ("scheduler", Some(Value::from(server.scheduler.as_str()))),
        ("scheduler_flags", (!flags.is_empty()).then_some(Value::Array(flags))),
        (
            "persistence_timeout",
            persistence.map(|found| Value::from(format!("{}s", found.timeout.as_secs()))),
        ),
        ("persistence_granularity", persistence.map(|found| Value::from(i64::from(found.prefix)))),
        ("one_packet", Some(Value::from(server.scheduling.one_packet))),
    ])
}

fn keys<const N: usize>(pairs: [(&str, Option<Value>); N]) -> Keys {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// A real server of these keys below `service`; if it is there already (`old`), it with these keys instead.
pub(super) fn server(
    service: &VirtualServer,
    old: Option<&RealServer>,
    address: SocketAddr,
    own: &Keys,
) -> Result<RealServer, String> {
    if let Some(key) = own.keys().find(|key| !SERVER_KEYS.contains(&key.as_str())) {
        return Err(format!("{key}: cannot be changed at run time; change it in the file"));
    }
    let mut all = old.map(keys_of_server).unwrap_or_default();
    all.extend(own.clone());
    let mut table = table(&all);
    // Below a virtual server of any port or with a firewall mark real servers have no port of their own.
    let text = match (address, address.port()) {
        (SocketAddr::V4(v4), 0) => v4.ip().to_string(),
        (SocketAddr::V6(v6), 0) => format!("[{}]", v6.ip()),
        _ => address.to_string(),
    };
    table.insert("address".to_owned(), Value::from(text));
    let above = keys([("forwarding", Some(Value::from(service.forwarding.as_str())))]);
    let mut owner = Above::new(ServiceName::of(service), &above, service.scheduling.group.as_ref());
    // One that is there keeps its checks, whatever they are.
    if old.is_none() {
        owner
            .service
            .extend(toml::from_str::<Table>(&service.health.inherited_keys).map_err(|it| it.to_string())?);
    }
    let checked = check(&owner, Some(table))?;
    let new = checked.real_servers.into_iter().next().ok_or("cannot be read")?;
    let Some(old) = old else { return Ok(new) };
    Ok(RealServer {
        weight: new.weight,
        forwarding: new.forwarding,
        thresholds: new.thresholds,
        ..old.clone()
    })
}

/// The keys of a real server that can be changed at run time.
const SERVER_KEYS: [&str; 4] = ["weight", "forwarding", "upper_threshold", "lower_threshold"];

fn keys_of_server(server: &RealServer) -> Keys {
    let limit = |number: u32| (number > 0).then(|| Value::from(i64::from(number)));
    keys([
        ("weight", Some(Value::from(i64::from(server.weight)))),
        ("forwarding", Some(Value::from(server.forwarding.as_str()))),
        ("upper_threshold", limit(server.thresholds.upper)),
        ("lower_threshold", limit(server.thresholds.lower)),
    ])
}

fn table(keys: &Keys) -> Table {
    keys.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect()
}

fn service_table(name: ServiceName, keys: &Keys) -> Table {
    let mut table = table(keys);
    table.insert("address".to_owned(), Value::from(name.address.to_string()));
    table.insert("protocol".to_owned(), Value::from(name.protocol.as_str()));
    table
}

/// What stands above a real server.
struct Above {
    service: Table,
    group: Option<Table>,
}

impl Above {
    /// A virtual server of this name, or that answers for a group.
    fn new(name: ServiceName, keys: &Keys, group: Option<&Group>) -> Self {
        let mut service = service_table(name, keys);
        let Some(group) = group else { return Self { service, group: None } };
        service.remove("address");
        service.insert("group".to_owned(), Value::from(group.name.as_str()));
        let mut table = Table::new();
        table.insert("name".to_owned(), Value::from(group.name.as_str()));
        if let Some(mark) = group.fwmark {
            table.insert("fwmark".to_owned(), Value::from(i64::from(mark.get())));
        }
        let addresses = group.addresses.iter().map(|(ip, port)| SocketAddr::new(*ip, *port).to_string());
        table.insert("addresses".to_owned(), Value::Array(addresses.map(Value::from).collect()));
        Self { service, group: Some(table) }
    }
}

/// Checks a file of one virtual server.
fn check(above: &Above, server: Option<Table>) -> Result<VirtualServer, String> {
    let mut service = above.service.clone();
    service.insert("real_server".to_owned(), Value::Array(server.into_iter().map(Value::Table).collect()));
    let mut director = Table::new();
    director.insert("router_id".to_owned(), Value::from("edits"));
    director.insert("interfaces".to_owned(), Value::Array(vec![Value::from("lo")]));
    let mut file = Table::new();
    file.insert("director".to_owned(), Value::Table(director));
    file.insert("virtual_server".to_owned(), Value::Array(vec![Value::Table(service)]));
    if let Some(group) = &above.group {
        file.insert("virtual_server_group".to_owned(), Value::Array(vec![Value::Table(group.clone())]));
    }
    let text = toml::to_string(&file).map_err(|error| error.to_string())?;
    match Config::parse("edits", &text) {
        Ok(config) => config.virtual_servers.into_iter().next().ok_or_else(|| "cannot be read".to_owned()),
        Err(error) => {
            let errors = error.diagnostics().iter().filter(|found| found.severity == Severity::Error);
            let lines = errors.map(|found| {
                let key = found.key.rsplit('.').next().unwrap_or_default();
                format!("{key}: {}; {}", found.message, found.help)
            });
            Err(lines.collect::<Vec<_>>().join("\n"))
        }
    }
}

//! What `lbctl zero` remembers: the counters of that moment, which listings subtract from then on.
//!
//! As with `ipvsadm -Z`, the counters themselves go on (IPVS keeps a `kstats0` beside its `kstats`); metrics,
//! which must not go back, do not see it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use lb_common::layout::{DestinationRef, Traffic};
use serde::{Deserialize, Serialize};

use super::snapshot::{RealServer, Snapshot};
use crate::plane::desired::ServiceKey;

const SCHEMA: &str = "lbctl/zero/v1";

/// Counters at the moment of a `lbctl zero`, by real server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline(BTreeMap<(u32, u8), Counters>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counters {
    connections: u64,
    packets: u64,
    bytes: u64,
    #[serde(default)]
    out_packets: u64,
    #[serde(default)]
    out_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct File {
    schema: String,
    /// Destination id, generation, counters.
    destinations: Vec<(u32, u8, Counters)>,
}

impl Baseline {
    /// Reads it; an absent file is an empty one, and so is one that is not understood.
    pub fn read(path: &Path) -> Self {
        let file: Option<File> = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let known = file.filter(|file| file.schema == SCHEMA);
        let destinations = known.map(|file| file.destinations).unwrap_or_default();
        Self(
            destinations.into_iter().map(|(id, generation, counters)| ((id, generation), counters)).collect(),
        )
    }

    /// Replaces the file at once.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let destinations = self.0.iter().map(|((id, generation), counters)| (*id, *generation, *counters));
        let file = File { schema: SCHEMA.to_owned(), destinations: destinations.collect() };
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(&file)?)?;
        fs::rename(new, path)
    }

    /// Sets the counters of one virtual server, or of all, to zero. `snapshot` has them as they are in the
    /// tables. What is not in the tables any more is forgotten.
    pub fn set(&mut self, snapshot: &Snapshot, only: Option<&ServiceKey>) {
        let mut new = BTreeMap::new();
        for service in &snapshot.virtual_servers {
            for server in &service.real_servers {
                let key = key(server.reference);
                let Traffic { connections, packets, bytes, out_packets, out_bytes } = server.traffic;
                let old = self.0.get(&key).copied();
                let counters = match only.is_none_or(|only| *only == service.key) {
                    true => Some(Counters { connections, packets, bytes, out_packets, out_bytes }),
                    false => old,
                };
                new.extend(counters.map(|counters| (key, counters)));
            }
        }
        self.0 = new;
    }

    /// Subtracts itself from the counters of a snapshot.
    pub fn subtract_from(&self, snapshot: &mut Snapshot) {
        if self.0.is_empty() {
            return;
        }
        let servers = snapshot.virtual_servers.iter_mut().flat_map(|service| &mut service.real_servers);
        for RealServer { reference, traffic, .. } in servers {
            let Some(zero) = self.0.get(&key(*reference)) else { continue };
            // Counters below were cleared since, with the real server: they count from 0 anyway.
            if traffic.packets >= zero.packets {
                traffic.connections = traffic.connections.saturating_sub(zero.connections);
                traffic.packets = traffic.packets.saturating_sub(zero.packets);
                traffic.bytes = traffic.bytes.saturating_sub(zero.bytes);
                traffic.out_packets = traffic.out_packets.saturating_sub(zero.out_packets);
                traffic.out_bytes = traffic.out_bytes.saturating_sub(zero.out_bytes);
            }
        }
    }
}

fn key(reference: DestinationRef) -> (u32, u8) {
    (reference.id(), reference.generation())
}

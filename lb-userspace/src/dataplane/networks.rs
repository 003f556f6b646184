//! The tables of networks that are let in or kept out: longest-prefix-match tries of the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{MapData, MapError};
use ipnet::IpNet;
use lb_common::admission::{LISTED_BITS, Listing};
use lb_common::net::Be128;

use crate::plane::admission::Networks;

/// Both families' tables, and what is in them.
#[derive(Debug)]
pub(super) struct NetworkTables {
    pub(super) four: LpmTrie<MapData, [u32; 2], u32>,
    pub(super) six: LpmTrie<MapData, [u32; 5], u32>,
    /// What was read and written: only the daemon, who alone writes, reads all of it.
    pub(super) known: Networks,
}

enum Place {
    Four(Key<[u32; 2]>),
    Six(Key<[u32; 5]>),
}

/// The key of a network of a schedule.
fn place(schedule: u16, address: IpAddr, length: u8) -> Place {
    let (id, bits) = (u32::from(schedule), LISTED_BITS + u32::from(length));
    match address {
        IpAddr::V4(address) => Place::Four(Key::new(bits, [id, u32::from_ne_bytes(address.octets())])),
        IpAddr::V6(address) => {
            let [a, b, c, d] = words(address);
            Place::Six(Key::new(bits, [id, a, b, c, d]))
        }
    }
}

/// The address as it lies in memory.
fn words(address: Ipv6Addr) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
    [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_ne_bytes)
}

impl NetworkTables {
    /// Reads all that is there.
    pub(super) fn learn(&mut self) -> Result<(), MapError> {
        let mut known = Networks::new();
        let mut add = |schedule: u32, address: IpAddr, bits: u32, value: u32| {
            let length = bits.checked_sub(LISTED_BITS).and_then(|length| u8::try_from(length).ok());
            let network = length.and_then(|length| IpNet::new(address, length).ok());
            // Nobody else writes here; what is not understood is no network of ours.
            if let (Ok(schedule), Some(network), Some((listing, _))) =
                (u16::try_from(schedule), network, Listing::from_value(value))
            {
                known.entry(schedule).or_default().insert(network, listing);
            }
        };
        for entry in self.four.iter() {
            let (key, value) = entry?;
            let [schedule, address] = key.data();
            add(schedule, Ipv4Addr::from(address.to_ne_bytes()).into(), key.prefix_len(), value);
        }
        for entry in self.six.iter() {
            let (key, value) = entry?;
            let [schedule, address @ ..] = key.data();
            let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = address.map(u32::to_ne_bytes);
            let address = Ipv6Addr::from([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]);
            add(schedule, address.into(), key.prefix_len(), value);
        }
        self.known = known;
        Ok(())
    }

    /// Writes a network, or removes it.
    pub(super) fn set(
        &mut self,
        schedule: u16,
        network: IpNet,
        listing: Option<Listing>,
    ) -> Result<(), MapError> {
        let length = network.prefix_len();
        let value = listing.map(|listing| listing.to_value(length));
        match (place(schedule, network.network(), length), value) {
            (Place::Four(key), Some(value)) => self.four.insert(&key, value, 0)?,
            (Place::Six(key), Some(value)) => self.six.insert(&key, value, 0)?,
            (Place::Four(key), None) => self.four.remove(&key)?,
            (Place::Six(key), None) => self.six.remove(&key)?,
        }
        let lists = self.known.entry(schedule).or_default();
        match listing {
            Some(listing) => lists.insert(network, listing),
            None => lists.remove(&network),
        };
        if lists.is_empty() {
            self.known.remove(&schedule);
        }
        Ok(())
    }

    /// The value of the longest network that has an IPv4 source, as the datapath finds it.
    pub(super) fn find4(&self, schedule: u16, source: Ipv4Addr) -> Option<u32> {
        match place(schedule, source.into(), 32) {
            Place::Four(key) => self.four.get(&key, 0).ok(),
            Place::Six(_) => None,
        }
    }

    /// The same for IPv6.
    pub(super) fn find6(&self, schedule: u16, source: Be128) -> Option<u32> {
        match place(schedule, Ipv6Addr::from(source.wire()).into(), 128) {
            Place::Six(key) => self.six.get(&key, 0).ok(),
            Place::Four(_) => None,
        }
    }
}

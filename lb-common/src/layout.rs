//! Every map's key and value but the connection table's (see [`crate::conn`]).
//!
//! Only integers and byte arrays, explicit zero padding, sizes asserted. What user space changes under a
//! running program are whole 64-bit words, each meaningful by itself, so a reader never sees half a change.
//! A change of anything here raises [`LAYOUT_VERSION`]; a daemon refuses pinned maps of another version.

mod answers;
mod destination;
mod schedule;
mod seen;
mod settings;

pub use answers::{Answers, Owner, Route, RoutePlaces, Virtual};
pub use destination::{
    Destination, DestinationRef, Detail, Identity, Load, Method, NextHop, Sources, Traffic, from_mac_word,
    mac_word,
};
pub use schedule::{
    MOST_LISTED, RING_HEADER, RingPlace, Rules, Schedule, SchedulerCode, Service, UNAVAILABLE,
};
pub use seen::{FragmentKey, FragmentOwner, Neighbour};
pub use settings::{
    ADDRESS_WORDS, Addresses, INTERFACE_PROBES, INTERFACE_SLOTS, Interface, Settings, VirtualMacs,
};

/// The version of all layouts together, kept in [`Settings`].
pub const LAYOUT_VERSION: u32 = 4;

macro_rules! assert_size {
    ($($type:ty = $size:literal),* $(,)?) => { $(const _: () = assert!(core::mem::size_of::<$type>() == $size);)* };
}

assert_size!(
    Schedule = 64,
    Load = 32,
    Destination = 64,
    Traffic = 40,
    Virtual = 32,
    Route = 64,
    Neighbour = 24,
    Detail = 32,
    FragmentKey = 40,
    FragmentOwner = 16,
    Settings = 6208,
    VirtualMacs = 64,
    Interface = 16,
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Be16, Be32, Be128};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_keep_what_they_are_given(
            id in 0u32..1 << 20, generation in 0u8..64, mac: [u8; 6], flags: u8, vlan: u16,
            offset: u32, slots: u32, service: u16, port: u16, weight: u32,
        ) {
            let reference = DestinationRef::new(id, generation);
            prop_assert_eq!((reference.id(), reference.generation()), (id, generation));
            prop_assert_eq!(DestinationRef::from_word(reference.to_word() | 0xffff << 26), reference);
            let hop = NextHop { mac, flags, generation };
            prop_assert_eq!(NextHop::from_word(hop.to_word()), hop);
            prop_assert_eq!(from_mac_word(mac_word(mac, vlan)), (mac, vlan));
            let place = RingPlace { offset, slots };
            prop_assert_eq!(RingPlace::from_word(place.to_word()), place);
            let sources = Sources { ports: (port, vlan), offset: offset & 0xff_ffff, count: flags };
            prop_assert_eq!(Sources::from_word(sources.to_word()), sources);
            let identity = Identity { service, port: Be16::new(port), weight };
            prop_assert_eq!(Identity::from_word(identity.to_word()), identity);
        }

        #[test]
        fn addresses_that_were_added_are_there(four in proptest::collection::vec(any::<[u8; 4]>(), 0..9), six: [u8; 16]) {
            let set = Addresses::default();
            let bits = four.into_iter().map(|four| Addresses::bit4(Be32::from_wire(four)));
            for bit in bits.chain([Addresses::bit6(Be128::from_wire(six))]) {
                set.add(bit);
                prop_assert!(set.may_have(bit));
            }
        }
    }

    /// Neighbouring addresses, as clients have, do not gather at a few bits.
    #[test]
    fn few_other_addresses_are_taken_for_virtual_ones() {
        let set = Addresses::default();
        (1..=20).for_each(|last| set.add(Addresses::bit4(Be32::from_wire([192, 168, 4, last]))));
        let clients = (0..=255u8).flat_map(|third| (0..=255u8).map(move |last| [10, 1, third, last]));
        let taken = clients.filter(|client| set.may_have(Addresses::bit4(Be32::from_wire(*client)))).count();
        // 20 of 4,096 bits are 320 of 65,536 addresses.
        assert!(taken < 1000, "{taken}");
    }
}

//! The tables of the hashing schedulers `sh`, `dh` and `mh`.

use super::Candidate;
use crate::hash::{HASH_SLOTS, MAGLEV_SLOTS, maglev, maglev_skip};

/// `sh` (`ip_vs_sh_reassign`): each server takes as many slots in a row as its weight, at least one, in the
/// list's order, round and round.
pub fn sh<D: Copy>(list: &[Candidate<D>]) -> Vec<D> {
    let runs = list.iter().cycle().flat_map(|candidate| {
        let run = usize::try_from(candidate.weight.clamp(1, HASH_SLOTS)).unwrap_or(1);
        std::iter::repeat_n(candidate.server, run)
    });
    runs.take(HASH_SLOTS as usize).collect()
}

/// `dh` (`ip_vs_dh_reassign`): one slot each, in the list's order, round and round.
pub fn dh<D: Copy>(list: &[Candidate<D>]) -> Vec<D> {
    list.iter().cycle().map(|candidate| candidate.server).take(HASH_SLOTS as usize).collect()
}

/// A real server as `mh` sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed<D> {
    /// Who.
    pub server: D,
    /// The address, folded by [`crate::hash::fold`].
    pub address: u32,
    /// The port, host order.
    pub port: u16,
    /// Its latest weight above 0; 0 if it never had one.
    pub weight: u32,
}

/// A server's way through the slots.
struct Walk<D> {
    server: D,
    next: u32,
    skip: u32,
    turns: u32,
}

/// `mh` (`ip_vs_mh_permutate`, `ip_vs_mh_populate`): Maglev's table. Servers take slots in the order of `list`,
/// each as many in its turn as its weight says. The same list in another order gives nearly, but not always quite,
/// the same table. Empty if no server has ever had a weight.
pub fn mh<D: Copy>(list: &[Hashed<D>]) -> Vec<D> {
    let divisor = list.iter().fold(0, |divisor, server| super::gcd(divisor, u64::from(server.weight)));
    let heaviest = list.iter().map(|server| u64::from(server.weight)).max().unwrap_or(0);
    if divisor == 0 {
        return Vec::new();
    }
    // `ip_vs_mh_shift_weight`: the heaviest server's turn has at most 6 bits.
    let shift = (u64::BITS - (heaviest / divisor).leading_zeros()).saturating_sub(6);
    let mut walks: Vec<Walk<D>> = list
        .iter()
        .filter(|server| server.weight > 0)
        .map(|server| {
            let identity = server.address.wrapping_add(u32::from(server.port));
            let turns = ((u64::from(server.weight) / divisor) >> shift).max(1);
            Walk {
                server: server.server,
                next: maglev(identity) % MAGLEV_SLOTS,
                skip: maglev_skip(identity) % (MAGLEV_SLOTS - 1) + 1,
                turns: u32::try_from(turns).unwrap_or(1),
            }
        })
        .collect();
    let mut slots: Vec<Option<D>> = vec![None; MAGLEV_SLOTS as usize];
    let mut free = slots.len();
    while free > 0 {
        for walk in &mut walks {
            for _turn in 0..walk.turns {
                if free == 0 {
                    break;
                }
                // The skip and the prime number of slots have no common divisor: every slot comes up.
                while slots.get(walk.next as usize).is_some_and(Option::is_some) {
                    walk.next = (walk.next + walk.skip) % MAGLEV_SLOTS;
                }
                if let Some(slot) = slots.get_mut(walk.next as usize) {
                    *slot = Some(walk.server);
                    free -= 1;
                }
            }
        }
    }
    slots.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::bucket;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Real servers 1 to 3 with weights 1 to 3 at 10.0.0.21 to 23, in the order of IPVS's list.
    fn list() -> Vec<Hashed<u32>> {
        (1..=3).rev().map(|n| Hashed { server: n, address: 0x0a00_0014 + n, port: 80, weight: n }).collect()
    }

    /// Who served clients 10.0.0.40 to 69 in Linux 6.12.
    const SH: &str = "3 2 2 3 2 3 2 1 2 1 3 2 3 2 3 3 1 3 2 3 3 3 3 2 3 2 1 2 1 2";
    const MH: &str = "3 3 1 2 3 3 3 3 3 2 2 3 2 3 1 1 1 2 3 2 3 2 1 2 2 1 3 1 3 3";

    fn served(slots: &[u32], hash: impl Fn(u32) -> u32) -> String {
        let numbers = (40..70).map(|n| slots[hash(0x0a00_0000 + n) as usize].to_string());
        numbers.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn clients_meet_the_servers_that_ipvs_gave_them() {
        let candidates: Vec<_> =
            list().iter().map(|one| Candidate { server: one.server, weight: one.weight }).collect();
        assert_eq!(served(&sh(&candidates), bucket), SH);
        let slots = mh(&list());
        assert_eq!(served(&slots, |client| maglev(client) % MAGLEV_SLOTS), MH);
        let count = |n| slots.iter().filter(|server| **server == n).count();
        assert_eq!([count(3), count(2), count(1)], [2047, 1364, 682]);
    }

    #[test]
    fn captures_of_three_servers() {
        // Client 192.168.4.10, VIP 192.168.4.15, Linux 6.1.
        let one = |server| Candidate { server, weight: 1 };
        let list = [one(3), one(2), one(1)];
        assert_eq!(sh(&list)[bucket(0xc0a8_040a) as usize], 2);
        assert_eq!(dh(&list)[bucket(0xc0a8_040f) as usize], 1);
        let hashed = [(3, 150), (2, 200), (1, 100)];
        let hashed =
            hashed.map(|(server, low)| Hashed { server, address: 0xc0a8_0400 + low, port: 80, weight: 1 });
        assert_eq!(mh(&hashed)[(maglev(0xc0a8_040a) % MAGLEV_SLOTS) as usize], 2);
    }

    #[test]
    fn nobody_has_no_table() {
        assert!(mh::<u32>(&[]).is_empty());
        assert!(mh(&[Hashed { server: 1, address: 1, port: 80, weight: 0 }]).is_empty());
        assert!(sh::<u32>(&[]).is_empty() && dh::<u32>(&[]).is_empty());
    }

    /// The slots that change hands, beside those of the server that goes, when one of `list` goes.
    fn disturbed(list: &[Hashed<u32>], gone: usize) -> usize {
        let before = mh(list);
        let mut rest = list.to_vec();
        let gone = rest.remove(gone).server;
        let after = mh(&rest);
        before.iter().zip(&after).filter(|(old, new)| **old != gone && old != new).count()
    }

    /// Real servers in a /24 with these weights.
    fn servers(base: u32, weights: &[u32]) -> Vec<Hashed<u32>> {
        let numbers = (0u32..).zip(weights);
        numbers
            .map(|(n, weight)| Hashed { server: n, address: base + 200 - n, port: 80, weight: *weight })
            .collect()
    }

    #[test]
    fn removal_of_one_of_equal_servers_moves_at_most_two_percent_beyond_its_share_on_average() {
        let mut figures = BTreeMap::new();
        for count in [2, 3, 4, 5, 8, 10, 16, 20] {
            let mut moved = Vec::new();
            for subnet in 0..8 {
                let list = servers(0x0a00_0000 + (subnet << 8), &vec![1; count]);
                moved.extend((0..count).map(|gone| disturbed(&list, gone)));
            }
            let percent = |slots: usize| slots as f64 * 100.0 / f64::from(MAGLEV_SLOTS);
            let mean = percent(moved.iter().sum()) / moved.len() as f64;
            figures.insert(count, (mean, percent(moved.into_iter().max().unwrap())));
        }
        // Mean and worst in percent of the table, for docs/schedulers.md.
        println!("{figures:.1?}");
        assert!(figures.values().all(|(mean, worst)| *mean <= 2.0 && *worst <= 3.5), "{figures:.1?}");
    }

    proptest! {
        #[test]
        fn shares_follow_the_weights(weights in prop::collection::vec(1u32..60, 1..20)) {
            let list = servers(0xc0a8_0400, &weights);
            let slots = mh(&list);
            prop_assert_eq!(slots.len(), MAGLEV_SLOTS as usize);
            let divisor = weights.iter().fold(0, |d, w| crate::sched::gcd(d, u64::from(*w)));
            let total: u64 = weights.iter().map(|w| u64::from(*w) / divisor).sum();
            for (n, weight) in (0u32..).zip(&weights) {
                let share = slots.iter().filter(|server| **server == n).count() as u64;
                let turn = u64::from(*weight) / divisor;
                let rounds = u64::from(MAGLEV_SLOTS) / total;
                prop_assert!((rounds * turn..=(rounds + 1) * turn).contains(&share), "{}: {}", n, share);
            }
        }

        #[test]
        fn every_slot_has_a_listed_server(weights in prop::collection::vec(0u32..70_000, 1..30)) {
            let list: Vec<_> =
                (0u32..).zip(&weights).map(|(server, weight)| Candidate { server, weight: *weight }).collect();
            prop_assert_eq!(sh(&list).len(), HASH_SLOTS as usize);
            prop_assert_eq!(dh(&list).len(), HASH_SLOTS as usize);
            let known = 0..u32::try_from(weights.len()).unwrap();
            prop_assert!(sh(&list).iter().chain(&dh(&list)).all(|server| known.contains(server)));
            // With weight 0 a server has one slot a lap in `sh`, and none in `mh`.
            let hashed = servers(0x0a00_0000, &weights);
            prop_assert!(mh(&hashed).iter().all(|server| weights[*server as usize] > 0));
        }
    }
}

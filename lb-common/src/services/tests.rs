use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Every name that is asked for, with few buckets, so that buckets overflow into each other.
fn check<N: Name + core::hash::Hash + core::fmt::Debug>(
    operations: &[(N, Option<u16>)],
) -> Result<(), TestCaseError>
where
    N::Bucket: Default,
{
    let buckets: Vec<N::Bucket> =
        core::iter::repeat_with(N::Bucket::default).take(BUCKETS as usize).collect();
    let mut model = HashMap::new();
    for (name, value) in operations {
        match value {
            Some(id) => {
                if insert(&buckets, *name, Service::alone(*id)) {
                    model.insert(*name, Service::alone(*id));
                } else {
                    prop_assert!(!model.contains_key(name), "an entry that is there can be changed");
                }
            }
            None => {
                remove(&buckets, *name);
                model.remove(name);
            }
        }
        for (name, _) in operations {
            let found = find(*name, |index| buckets.get(index as usize));
            prop_assert_eq!(found, model.get(name).copied());
        }
    }
    let listed: HashMap<_, _> = entries::<N>(&buckets).collect();
    prop_assert_eq!(listed, model);
    Ok(())
}

/// Names whose homes lie in three neighbouring buckets.
fn crowded4() -> Vec<Name4> {
    (0u32..)
        .map(name4)
        .filter(|name| {
            (BUCKETS - 1..=BUCKETS).contains(&(name.home() + BUCKETS * u32::from(name.home() == 0)))
        })
        .take(40)
        .collect()
}

fn name4(number: u32) -> Name4 {
    Name4::new(Be32::from_wire(number.to_be_bytes()), Be16::new(80), 6)
}

fn name6(number: u64) -> Name6 {
    Name6::new(Be128::from_words([number, !number]), Be16::new(443), 17)
}

fn crowded6() -> Vec<Name6> {
    (0u64..).map(name6).filter(|name| name.home() < 2).take(40).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn says_what_was_written_last(operations in prop::collection::vec((0usize..40, prop::option::weighted(0.6, 0u16..9)), 1..120)) {
        let (four, six) = (crowded4(), crowded6());
        check::<Name4>(&operations.iter().map(|(name, value)| (four[*name], *value)).collect::<Vec<_>>())?;
        check::<Name6>(&operations.iter().map(|(name, value)| (six[*name], *value)).collect::<Vec<_>>())?;
    }

    #[test]
    fn names_keep_what_they_are_made_of(address: [u8; 4], long: [u64; 2], port: u16, protocol: u8) {
        let (address, long, port) = (Be32::from_wire(address), Be128::from_words(long), Be16::new(port));
        prop_assert_eq!(Name4::new(address, port, protocol).parts(), (address, port, protocol));
        prop_assert_eq!(Name6::new(long, port, protocol).parts(), (long, port, protocol));
    }
}

#[test]
fn as_many_as_there_may_be_find_room() {
    let buckets: Vec<Bucket4> = core::iter::repeat_with(Bucket4::default).take(BUCKETS as usize).collect();
    for number in 0..crate::maps::SERVICES {
        // A row of addresses, each with a few ports, as a rack of virtual servers has them.
        let address = Be32::from_wire((0xc0a8_0000 + number / 4).to_be_bytes());
        let name = Name4::new(address, Be16::new([80, 443, 8080, 8443][number as usize % 4]), 6);
        assert!(insert(&buckets, name, Service::alone(0)), "number {number}");
    }
}

#[test]
fn an_entry_that_stays_is_found_at_every_moment_of_a_removal() {
    let names = crowded4();
    let buckets: Vec<Bucket4> = core::iter::repeat_with(Bucket4::default).take(BUCKETS as usize).collect();
    let (kept, moved) = names.split_at(12);
    for name in names.iter().take(24) {
        assert!(insert(&buckets, *name, Service::alone(7)));
    }
    let done = core::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(core::sync::atomic::Ordering::Relaxed) || looks == 0 {
                for name in kept {
                    assert_eq!(find(*name, |index| buckets.get(index as usize)), Some(Service::alone(7)));
                    looks += 1;
                }
            }
        });
        for _ in 0..2000 {
            for name in &moved[..12] {
                remove(&buckets, *name);
            }
            for name in moved[..12].iter().rev() {
                assert!(insert(&buckets, *name, Service::alone(7)));
            }
        }
        done.store(true, core::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
    });
}

use lb_common::conn::State;
use lb_common::layout::DestinationRef;
use lb_common::memory::{MemoryTables, Sizes};
use lb_common::net::{Be16, Be32};

use super::*;

const SEED: u64 = 7;
const FROM: Part = Part { base: 0, count: 64 };
const TO: Part = Part { base: 64, count: 64 };

fn key(client: u32) -> Key4 {
    Key4::new(Be32::from_bits(client), Be16::new(40_000), 1)
}

fn value(server: u32, state: State) -> Value {
    Value::new(DestinationRef::new(server, 0), state, Ticks::default(), Be16::new(80))
}

/// Enters a connection, or changes it.
fn put(tables: &MemoryTables, part: Part, key: Key4, value: Value) {
    let (first, second) = buckets_of(key.hash(SEED), part, Key4::NEAR);
    let places =
        [first, second].into_iter().flat_map(|bucket| (0..BUCKET_ENTRIES).map(move |slot| (bucket, slot)));
    let held = |(bucket, slot)| Key4::read(&tables.connections4[bucket as usize], slot).map(|(key, _)| key);
    let own = places.clone().find(|place| held(*place) == Some(key));
    let (bucket, slot) = own.or_else(|| places.clone().find(|place| held(*place).is_none())).unwrap();
    let bucket = &tables.connections4[bucket as usize];
    key.publish(bucket, slot, value);
}

fn read(tables: &MemoryTables, part: Part) -> HashMap<Key4, Value> {
    entries::<Key4>(part.of(&tables.connections4)).collect()
}

fn carry(tables: &MemoryTables, copies: &mut Copies<Key4>) -> usize {
    super::carry(tables, FROM, TO, Ticks::default(), copies)
}

#[test]
fn what_changed_after_it_was_copied_is_copied_again_unless_packets_went_on_there() {
    let tables = MemoryTables::new(Sizes { buckets: 128, ..Sizes::default() }, SEED);
    let [new, old] = [value(1, State::SYN_RECEIVED), value(1, State::ESTABLISHED)];
    let (closing, reset) = (value(1, State::FIN_WAIT), value(1, State::CLOSE));
    let expired =
        Value::new(new.destination(), State::CLOSE, Ticks::default().later((1 << 18) - 60), new.port());
    [(1, new), (2, old), (3, old), (4, expired)]
        .into_iter()
        .for_each(|(client, value)| put(&tables, FROM, key(client), value));
    let mut copies = HashMap::new();
    assert_eq!(carry(&tables, &mut copies), 0);
    assert_eq!(read(&tables, TO), [(key(1), new), (key(2), old), (key(3), old)].into());
    // Before the packets went over: confirmed, closed, and a newcomer. After that: reset.
    put(&tables, FROM, key(1), old);
    put(&tables, FROM, key(2), closing);
    put(&tables, FROM, key(3), closing);
    put(&tables, FROM, key(5), new);
    put(&tables, TO, key(3), reset);
    for _ in 0..2 {
        assert_eq!(carry(&tables, &mut copies), 0);
        let expected = [(key(1), old), (key(2), closing), (key(3), reset), (key(5), new)];
        assert_eq!(read(&tables, TO), expected.into());
    }
}

/// A packet missed its entry and entered it again.
#[test]
fn who_is_in_both_parts_counts_once() {
    let tables = MemoryTables::new(Sizes { buckets: 128, ..Sizes::default() }, SEED);
    tables.settings.flags.store(Settings::COUNTED);
    let mut copies = HashMap::new();
    carry(&tables, &mut copies);
    put(&tables, FROM, key(1), value(1, State::ESTABLISHED));
    put(&tables, TO, key(1), value(1, State::ESTABLISHED));
    tables.loads[1].active.store(2);
    for _ in 0..2 {
        carry(&tables, &mut copies);
        assert_eq!(tables.loads[1].active.load(), 1);
    }
}

#[test]
fn what_finds_no_room_is_told() {
    let tables = MemoryTables::new(Sizes { buckets: 1024, ..Sizes::default() }, SEED);
    let all = Part { base: 64, count: 960 };
    (1..=400).for_each(|client| put(&tables, all, key(client), value(1, State::ESTABLISHED)));
    let lost = super::carry::<Key4, _>(&tables, all, FROM, Ticks::default(), &mut HashMap::new());
    assert!(lost >= 400 - 64 * BUCKET_ENTRIES, "{lost}");
    assert_eq!(lost + read(&tables, FROM).len(), 400);
}

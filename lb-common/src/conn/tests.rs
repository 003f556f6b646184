//! The words and the transitions; the table as a whole in `model`, its races in `threads`.

mod model;
mod threads;

use super::*;
use crate::layout::DestinationRef;
use crate::net::Be16;

/// `ip_vs_proto_tcp.c`: columns SYN_RECV, (mid-stream as) ESTABLISHED, ESTABLISHED, FIN_WAIT, TIME_WAIT, CLOSE.
#[test]
fn tcp_transitions_are_ipvs_input_only() {
    let (sr, ms, es) = (State::SYN_RECEIVED, State::MID_STREAM, State::ESTABLISHED);
    let (fw, tw, cl) = (State::FIN_WAIT, State::TIME_WAIT, State::CLOSE);
    for (event, expected) in [
        (Event::SYN, [sr, es, es, sr, sr, sr]),
        (Event::FIN, [tw, fw, fw, fw, tw, cl]),
        (Event::ACK, [es, es, es, fw, tw, cl]),
        (Event::RESET, [sr, cl, cl, cl, cl, cl]),
    ] {
        for (state, expected) in [sr, ms, es, fw, tw, cl].into_iter().zip(expected) {
            assert_eq!(next_state(state, event), expected, "{state:?} {event:?}");
            assert_eq!(reschedules(state, false, false), state == tw || state == cl);
            assert_eq!(reschedules(state, false, true), state == tw || state == cl || state == fw);
            assert!(reschedules(state, true, false));
        }
        for state in [State::FIRST_DATAGRAM, State::UDP] {
            assert_eq!(next_state(state, event), State::UDP, "an entry's protocol does not change");
        }
        assert_eq!(next_state(State::NONE, event), State::NONE);
    }
    for state in [State::FIRST_DATAGRAM, State::UDP] {
        assert_eq!(next_state(state, Event::DATAGRAM), State::UDP);
    }
}

#[test]
fn connections_open_in_their_own_states() {
    for (event, state, starts) in [
        (Event::SYN, State::SYN_RECEIVED, true),
        (Event::ACK, State::MID_STREAM, false),
        (Event::FIN, State::MID_STREAM, false),
        (Event::RESET, State::NONE, false),
        (Event::DATAGRAM, State::FIRST_DATAGRAM, true),
    ] {
        assert_eq!((event.opens(), event.starts()), (state, starts), "{event:?}");
    }
    let unconfirmed = [State::SYN_RECEIVED, State::MID_STREAM, State::FIRST_DATAGRAM, State::NEW_TEMPLATE];
    assert!(State::ALL.iter().all(|state| state.unconfirmed() == unconfirmed.contains(state)));
}

#[test]
fn flags_count_in_the_kernels_order() {
    for flags in 0..=u8::MAX {
        let event = match flags {
            _ if flags & 4 != 0 => Event::RESET,
            _ if flags & 2 != 0 => Event::SYN,
            _ if flags & 1 != 0 => Event::FIN,
            _ => Event::ACK,
        };
        assert_eq!(Event::from_tcp_flags(flags), event, "{flags:02x}");
    }
}

#[test]
fn values_keep_their_fields_apart() {
    for state in State::ALL {
        let value =
            Value::new(DestinationRef::new(0xf_ffff, 63), state, Ticks(Ticks::MASK), Be16::new(0xffff));
        assert_eq!(value.state(), state);
        let value = Value::new(DestinationRef::new(7, 5), state, Ticks(9), Be16::new(80));
        assert_eq!(
            (value.destination(), value.state(), value.seen(), value.port().host()),
            (DestinationRef::new(7, 5), state, Ticks(9), 80)
        );
    }
}

#[test]
fn ticks_wrap() {
    let late = Ticks::from_nanoseconds(u64::MAX);
    assert_eq!(late.later(3).since(late), 3);
    assert_eq!(Ticks::of_seconds(900), 839);
    assert_eq!(
        late.since(late.later(1)),
        0,
        "an entry that is newer than the clock's reading has not expired"
    );
}

#[test]
fn both_buckets_of_a_flow_are_in_one_page() {
    const COUNT: u32 = 500_000;
    let mut apart = 0;
    for number in 0..100_000u32 {
        let (first, second) = buckets_of(mix(u64::from(number)), Part::main(COUNT), Key4::NEAR);
        assert!(first < COUNT && second < COUNT && first != second);
        apart += u32::from(first / Key4::NEAR != second / Key4::NEAR);
    }
    // The last page is not full, so some of its flows go elsewhere.
    assert!(apart < 40, "{apart} of 100000");
}

/// A table for a million connections takes a million.
#[test]
fn the_full_number_of_connections_finds_room() {
    const CONNECTIONS: u32 = 200_000;
    let count = buckets_for(CONNECTIONS);
    let mut used = vec![0u8; count as usize];
    let mut lost = 0;
    for number in 0..CONNECTIONS {
        let (first, second) = buckets_of(mix(u64::from(number) + 1), Part::main(count), Key4::NEAR);
        let free = [first, second].into_iter().find(|bucket| used[*bucket as usize] < 4);
        match free {
            Some(bucket) => used[bucket as usize] += 1,
            None => lost += 1,
        }
    }
    assert!(lost < CONNECTIONS / 100, "{lost} of {CONNECTIONS}");
}

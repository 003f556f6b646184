use proptest::prelude::*;

use super::*;

fn health(quorum: u32, hysteresis: u32) -> ServiceHealth {
    ServiceHealth { quorum, hysteresis, ..ServiceHealth::default() }
}

fn weighing(weight: u64) -> Census {
    Census { weight, configured: 10, ..Census::default() }
}

#[test]
fn the_quorum_at_every_weight() {
    // Quorum, hysteresis, from which weight on it is won, below which it is lost.
    let table = [
        (1, 0, 1, 1),
        (3, 0, 3, 3),
        (3, 1, 4, 2),
        (3, 2, 5, 1),
        (7, 2, 9, 5),
        (9, 3, 10, 6),
        (100, 0, 10, 10),
    ];
    for (needed, hysteresis, won, lost) in table {
        let health = health(needed, hysteresis);
        for weight in 0..=10 {
            let shown = format!("quorum {needed}, hysteresis {hysteresis}, weight {weight}");
            assert_eq!(quorum(false, &health, weighing(weight)), weight >= won, "{shown}");
            assert_eq!(quorum(true, &health, weighing(weight)), weight >= lost, "{shown}");
        }
    }
}

#[test]
fn nobody_is_no_quorum() {
    for held in [false, true] {
        assert!(!quorum(held, &health(1, 0), Census::default()));
    }
}

#[test]
fn fewer_than_min_up_percent_is_panic() {
    // min_up, servers, up, panic.
    let table = [
        (0, 4, 0, false),
        (50, 4, 2, false),
        (50, 4, 1, true),
        (50, 3, 1, true),
        (50, 3, 2, false),
        (100, 4, 3, true),
        (100, 4, 4, false),
        (1, 4, 0, true),
        (1, 100, 1, false),
        (50, 0, 0, false),
    ];
    for (min_up, servers, up, expected) in table {
        let health = ServiceHealth { min_up, ..ServiceHealth::default() };
        let census = Census { servers, up, ..Census::default() };
        assert_eq!(panics(&health, census), expected, "{up} of {servers}, min_up {min_up}");
    }
}

proptest! {
    /// Between the two thresholds nothing changes, so a weight that goes to and fro there changes nothing.
    #[test]
    fn hysteresis_holds(needed in 1u32..50, part in 0u32..50, weights in proptest::collection::vec(0u64..100, 1..50)) {
        let hysteresis = part.min(needed - 1);
        let health = health(needed, hysteresis);
        let mut held = false;
        for weight in weights {
            let census = Census { weight, configured: 1000, ..Census::default() };
            let next = quorum(held, &health, census);
            let (low, high) = (u64::from(needed - hysteresis), u64::from(needed + hysteresis));
            if weight >= high { prop_assert!(next); }
            if weight < low { prop_assert!(!next); }
            if (low..high).contains(&weight) { prop_assert_eq!(next, held); }
            held = next;
        }
    }
}

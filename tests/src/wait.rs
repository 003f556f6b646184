//! Waiting for a condition instead of sleeping.

use std::thread;
use std::time::{Duration, Instant};

/// How often the condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Looks at `condition` every 10 ms until it holds. Returns whether it did within `timeout`; it is looked at once at
/// least, and once more after the time is up.
#[must_use]
pub fn wait_until(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        let is_last = Instant::now() >= deadline;
        if condition() {
            return true;
        }
        if is_last {
            return false;
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_is_looked_at_even_without_time() {
        assert!(wait_until(Duration::ZERO, || true));
        assert!(!wait_until(Duration::ZERO, || false));
    }

    #[test]
    fn returns_when_the_condition_turns_true() {
        let mut looks = 0;
        assert!(wait_until(Duration::from_secs(60), || {
            looks += 1;
            looks == 3
        }));
        assert_eq!(looks, 3);
    }
}

//! Taking turns: of what may hang for ever, only so many are begun at once, and the others wait within their own time.
//!
//! A file on a file system that is gone holds the thread that reads it. Whoever may hang so takes a turn first and
//! gives it to that thread, so that what hangs is not begun again and again until no thread is left for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many names that nobody uses are kept; beyond that they are forgotten.
const KEPT: usize = 1024;

/// Who may begin what.
#[derive(Debug, Default)]
pub struct Turns {
    all: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The right to do it; it ends when dropped, by whatever thread that is.
#[derive(Debug)]
pub struct Turn {
    /// None where nobody counts any more, which never happens: no semaphore is closed.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// Waits until fewer than `at_once` have a turn at what is called `name`, in the order of asking. `at_once` is the
    /// same for each use of a name.
    pub async fn take(&self, name: &str, at_once: usize) -> Turn {
        let semaphore = {
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= KEPT && !all.contains_key(name) {
                // Who has a turn or waits for one has the semaphore, too.
                all.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            }
            match all.get(name) {
                Some(semaphore) => Arc::clone(semaphore),
                None => Arc::clone(all.entry(name.to_owned()).or_insert(Arc::new(Semaphore::new(at_once)))),
            }
        };
        Turn { _permit: semaphore.acquire_owned().await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn so_many_at_once_and_the_others_wait() {
        let turns = Turns::default();
        let (first, second) = (turns.take("a", 2).await, turns.take("a", 2).await);
        let mut third = Box::pin(turns.take("a", 2));
        assert!(third.as_mut().now_or_never().is_none());
        assert!(turns.take("b", 1).now_or_never().is_some(), "another thing");
        drop(first);
        assert!(third.as_mut().now_or_never().is_some());
        drop(second);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_takes_nobody_s_turn() {
        let turns = Turns::default();
        let first = turns.take("a", 1).await;
        assert!(turns.take("a", 1).now_or_never().is_none());
        drop(first);
        assert!(turns.take("a", 1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn names_that_nobody_uses_are_forgotten() {
        let turns = Turns::default();
        let held = turns.take("held", 1).await;
        for number in 0..3 * KEPT {
            drop(turns.take(&number.to_string(), 1).await);
        }
        assert!(turns.all.lock().unwrap().len() <= KEPT);
        assert!(turns.take("held", 1).now_or_never().is_none(), "who has a turn keeps it");
        drop(held);
    }
}

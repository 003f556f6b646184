//! The order in which scripts run: those of one object one after the other, those of different objects side by side,
//! and not too many at once.

use std::collections::{HashMap, VecDeque};

/// So many run at once.
pub(super) const AT_ONCE: usize = 32;
/// So many of one object wait; the oldest goes when another comes, for the last state is what counts.
pub(super) const WAITING: usize = 64;

/// Jobs by object.
#[derive(Debug)]
pub(super) struct Lanes<J> {
    lanes: HashMap<String, Lane<J>>,
    /// Objects of which a job could run.
    ready: VecDeque<String>,
    running: usize,
}

#[derive(Debug)]
struct Lane<J> {
    waiting: VecDeque<J>,
    is_running: bool,
}

impl<J> Lanes<J> {
    pub(super) fn new() -> Self {
        Self { lanes: HashMap::new(), ready: VecDeque::new(), running: 0 }
    }

    /// Adds a job of an object. Returns a job that there is no room for any more.
    pub(super) fn push(&mut self, object: &str, job: J) -> Option<J> {
        let lane = self
            .lanes
            .entry(object.to_owned())
            .or_insert_with(|| Lane { waiting: VecDeque::new(), is_running: false });
        if lane.waiting.is_empty() && !lane.is_running {
            self.ready.push_back(object.to_owned());
        }
        lane.waiting.push_back(job);
        if lane.waiting.len() > WAITING { lane.waiting.pop_front() } else { None }
    }

    /// A job that can run now; say [`done`](Self::done) when it has.
    pub(super) fn next(&mut self) -> Option<(String, J)> {
        if self.running >= AT_ONCE {
            return None;
        }
        let object = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&object)?;
        let job = lane.waiting.pop_front()?;
        lane.is_running = true;
        self.running += 1;
        Some((object, job))
    }

    /// The job of `object` that was running has ended.
    pub(super) fn done(&mut self, object: &str) {
        let Some(lane) = self.lanes.get_mut(object) else { return };
        lane.is_running = false;
        self.running = self.running.saturating_sub(1);
        if lane.waiting.is_empty() {
            self.lanes.remove(object);
        } else {
            self.ready.push_back(object.to_owned());
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_runs_in_order_and_one_at_a_time() {
        let mut lanes = Lanes::new();
        for job in 0..3 {
            assert_eq!(lanes.push("a", job), None);
        }
        for job in 0..3 {
            assert_eq!(lanes.next(), Some(("a".to_owned(), job)));
            assert_eq!(lanes.next(), None, "the one before runs");
            lanes.done("a");
        }
        assert_eq!((lanes.next(), lanes.waiting(), lanes.lanes.len()), (None, 0, 0));
    }

    #[test]
    fn objects_do_not_wait_for_each_other_but_for_room() {
        let mut lanes = Lanes::new();
        for object in 0..AT_ONCE + 2 {
            lanes.push(&object.to_string(), object);
        }
        for object in 0..AT_ONCE {
            assert_eq!(lanes.next(), Some((object.to_string(), object)));
        }
        assert_eq!(lanes.next(), None);
        lanes.push("5", 55);
        lanes.done("5");
        assert_eq!(lanes.next().unwrap().1, AT_ONCE, "who waited longest is next");
        lanes.done("1");
        assert_eq!(lanes.next().unwrap().1, AT_ONCE + 1);
        lanes.done("2");
        assert_eq!(lanes.next(), Some(("5".to_owned(), 55)));
    }

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let mut lanes = Lanes::new();
        for job in 0..WAITING {
            assert_eq!(lanes.push("a", job), None);
        }
        assert_eq!(lanes.push("a", WAITING), Some(0));
        assert_eq!(lanes.next(), Some(("a".to_owned(), 1)));
    }
}

//! Which mail is sent when: a limited rate, a limited queue, and longer and longer pauses while the server fails.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::notifications::RateLimit;
use crate::notify::event::Letter;

/// So many wait at most; more are left out.
pub(super) const WAITING: usize = 256;
/// So many subjects of what was left out are kept for the summary.
const LISTED: usize = 200;
/// The pause after the first failure; it doubles with each further one.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A mail that could not be sent for so long is given up.
pub(super) const GIVE_UP: Duration = Duration::from_secs(86_400);

/// A mail that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mail {
    pub(super) letter: Letter,
    /// When it happened, on the queue's clock.
    pub(super) at: Duration,
    /// Only to this one; `None`: to all.
    pub(super) only: Option<String>,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send this one, then say how it went.
    Send(Mail),
    /// Ask again then, or when something is pushed.
    At(Duration),
    /// Nothing waits.
    Idle,
}

/// Mails that wait. Times are since any fixed moment.
#[derive(Debug)]
pub(super) struct Queue {
    limit: RateLimit,
    waiting: VecDeque<Mail>,
    /// When the bucket would be empty had it been full before: the theoretical arrival time of GCRA.
    spent_until: Duration,
    left_out: Vec<String>,
    left_out_unlisted: usize,
    failures: u32,
    not_before: Duration,
}

impl Queue {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            waiting: VecDeque::new(),
            spent_until: Duration::ZERO,
            left_out: Vec::new(),
            left_out_unlisted: 0,
            failures: 0,
            not_before: Duration::ZERO,
        }
    }

    /// The limit may have changed; the server may have, too, so what waits is tried at once.
    pub(super) fn reconfigure(&mut self, limit: RateLimit) {
        self.limit = limit;
        self.failures = 0;
        self.not_before = Duration::ZERO;
    }

    pub(super) fn push(&mut self, letter: Letter, now: Duration) {
        // The summary goes first, so that the order is kept.
        self.summarize(now);
        let has_room = self.waiting.len() < WAITING && self.left_out.is_empty();
        if has_room && self.take_token(now) {
            self.waiting.push_back(Mail { letter, at: now, only: None });
        } else if self.left_out.len() < LISTED {
            self.left_out.push(letter.subject);
        } else {
            self.left_out_unlisted += 1;
        }
    }

    pub(super) fn next(&mut self, now: Duration) -> Next {
        self.summarize(now);
        while let Some(old) = self.waiting.front().filter(|mail| now.saturating_sub(mail.at) >= GIVE_UP) {
            tracing::error!("mail \"{}\" given up: it could not be sent for a day", old.letter.subject);
            self.waiting.pop_front();
        }
        if now < self.not_before && !self.waiting.is_empty() {
            return Next::At(self.not_before);
        }
        match self.waiting.front() {
            Some(mail) => Next::Send(mail.clone()),
            None if self.left_out.is_empty() => Next::Idle,
            None => Next::At(self.token_at()),
        }
    }

    /// The mail that was to be sent is sent.
    pub(super) fn sent(&mut self) {
        self.waiting.pop_front();
        self.failures = 0;
        self.not_before = Duration::ZERO;
    }

    /// It could not be sent now.
    pub(super) fn failed(&mut self, now: Duration) {
        let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(self.failures)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + pause;
    }

    /// It will never be sent to all of them: each is tried alone, or it is given up.
    pub(super) fn refused(&mut self, recipients: &[String]) {
        let Some(mail) = self.waiting.pop_front() else { return };
        self.failures = 0;
        if mail.only.is_none() && recipients.len() > 1 {
            for one in recipients.iter().rev() {
                self.waiting.push_front(Mail { only: Some(one.clone()), ..mail.clone() });
            }
        }
    }

    /// How many wait, and how many were left out since the last summary.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.left_out.len() + self.left_out_unlisted)
    }

    /// What was left out becomes a mail, when one may be sent again; `now` far away: in any case.
    pub(super) fn summarize(&mut self, now: Duration) {
        if self.left_out.is_empty() || self.waiting.len() >= WAITING || !self.take_token(now) {
            return;
        }
        let count = self.left_out.len() + self.left_out_unlisted;
        let mut body = format!("More happened than {} mails were sent about:\n\n", self.limit);
        for subject in self.left_out.drain(..) {
            body.push_str(&subject);
            body.push('\n');
        }
        if self.left_out_unlisted > 0 {
            body.push_str(&format!("and {} more\n", self.left_out_unlisted));
        }
        self.left_out_unlisted = 0;
        let subject = format!("{count} notifications in one");
        self.waiting.push_back(Mail { letter: Letter { subject, body }, at: now, only: None });
    }

    fn interval(&self) -> Duration {
        self.limit.period / self.limit.count
    }

    fn token_at(&self) -> Duration {
        (self.spent_until + self.interval()).saturating_sub(self.limit.period)
    }

    /// As many at once as in a period, then one each interval.
    fn take_token(&mut self, now: Duration) -> bool {
        if self.token_at() > now {
            return false;
        }
        self.spent_until = self.spent_until.max(now) + self.interval();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(n: usize) -> Letter {
        Letter { subject: n.to_string(), body: String::new() }
    }

    fn queue(count: u32) -> Queue {
        Queue::new(RateLimit { count, period: Duration::from_secs(60) })
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn send_all(queue: &mut Queue, now: Duration) -> Vec<Letter> {
        let mut sent = Vec::new();
        while let Next::Send(mail) = queue.next(now) {
            sent.push(mail.letter);
            queue.sent();
        }
        sent
    }

    #[test]
    fn what_is_beyond_the_rate_is_in_one_mail() {
        let mut queue = queue(3);
        for n in 0..300 {
            queue.push(letter(n), secs(100));
        }
        assert_eq!(send_all(&mut queue, secs(100)), [letter(0), letter(1), letter(2)]);
        assert_eq!(queue.next(secs(100)), Next::At(secs(120)), "3 per minute: one in 20 s");
        assert_eq!(queue.waiting(), (0, 297));
        let sent = send_all(&mut queue, secs(120));
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].subject, "297 notifications in one");
        let lines: Vec<_> = sent[0].body.lines().collect();
        assert_eq!(
            (lines[0], lines[2], lines[201]),
            ("More happened than 3/m mails were sent about:", "3", "202")
        );
        assert_eq!(lines[202], "and 97 more");
        assert_eq!(queue.next(secs(120)), Next::Idle);
    }

    #[test]
    fn no_rate_is_exceeded_over_any_time() {
        let mut queue = queue(6);
        let mut sent = 0;
        for second in 0..600 {
            queue.push(letter(second), secs(second as u64));
            sent += send_all(&mut queue, secs(second as u64)).len();
        }
        assert!((60..=66).contains(&sent), "{sent} in 10 minutes");
        let rest = send_all(&mut queue, secs(700));
        assert_eq!(rest.len(), 1, "what was left out last is told, too");
    }

    #[test]
    fn pauses_grow_while_the_server_fails() {
        let mut queue = queue(10);
        queue.push(letter(1), secs(0));
        let mut now = secs(0);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert!(matches!(queue.next(now), Next::Send(_)));
            queue.failed(now);
            let Next::At(then) = queue.next(now) else { panic!("no pause") };
            pauses.push((then - now).as_secs());
            now = then;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(send_all(&mut queue, now), [letter(1)]);
        queue.push(letter(2), now);
        assert!(matches!(queue.next(now), Next::Send(_)), "a success ends the pauses");
        assert_eq!(queue.next(now + GIVE_UP), Next::Idle, "a day is enough");
    }

    #[test]
    fn a_refused_mail_goes_to_each_alone() {
        let mut queue = queue(10);
        let to = ["a@x".to_owned(), "b@x".to_owned()];
        queue.push(letter(1), secs(0));
        queue.refused(&to);
        for expected in &to {
            let Next::Send(mail) = queue.next(secs(0)) else { panic!("nothing to send") };
            assert_eq!((mail.letter, mail.only.as_ref()), (letter(1), Some(expected)));
            queue.refused(&to);
        }
        assert_eq!(queue.next(secs(0)), Next::Idle);
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut queue = queue(10_000);
        for n in 0..WAITING + 10 {
            queue.push(letter(n), secs(0));
        }
        assert_eq!(queue.waiting(), (WAITING, 10));
        assert_eq!(send_all(&mut queue, secs(60)).last().unwrap().subject, "10 notifications in one");
    }
}

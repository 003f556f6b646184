//! Tells of sources that are kept out or connect too often, at most once a minute.

use std::time::{Duration, Instant};

use lb_common::verdict::Reason;

use crate::list::Source;

/// How often it is told.
const PERIOD: Duration = Duration::from_secs(60);

/// What was counted when it was told last.
#[derive(Debug, Default)]
pub(super) struct Refused {
    counts: [u64; 3],
    said: Option<Instant>,
}

const REASONS: [Reason; 3] = [Reason::DeniedSource, Reason::RateLimited, Reason::SourceForgotten];

fn counts(source: &impl Source) -> [u64; 3] {
    // What cannot be read now is told later.
    REASONS.map(|reason| source.reason(reason).unwrap_or(0))
}

impl Refused {
    /// What was counted before is not news.
    pub(super) fn since(source: &impl Source) -> Self {
        Self { counts: counts(source), said: None }
    }

    /// Looks at the counters, and logs what is new.
    pub(super) fn look(&mut self, source: &impl Source) {
        if let Some(news) = self.news(counts(source), Instant::now()) {
            tracing::warn!("{news}");
        }
    }

    fn news(&mut self, counts: [u64; 3], now: Instant) -> Option<String> {
        let [denied, limited, forgotten] =
            [0, 1, 2].map(|index: usize| counts[index].saturating_sub(self.counts[index]));
        if denied == 0 && limited == 0 && forgotten == 0
            || self.said.is_some_and(|said| now.duration_since(said) < PERIOD)
        {
            return None;
        }
        let parts = [
            (denied, "packets of sources that are kept out (`deny`, `allow`)"),
            (limited, "connections of sources beyond `rate_limit`"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let mut news = if parts.is_empty() { String::new() } else { format!("dropped {}", parts.join(", ")) };
        if forgotten > 0 {
            let many = format!("more sources at once than rates are kept of: {forgotten} forgotten");
            news = [news, many].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
        }
        self.counts = counts;
        self.said = Some(now);
        Some(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_told_once_a_minute_and_add_up() {
        let (mut refused, start) = (Refused::default(), Instant::now());
        assert_eq!(refused.news([0, 0, 0], start), None);
        let first = refused.news([3, 0, 0], start).unwrap();
        assert_eq!(first, "dropped 3 packets of sources that are kept out (`deny`, `allow`)");
        assert_eq!(refused.news([9, 1, 0], start + PERIOD / 2), None);
        let second = refused.news([9, 2, 5], start + PERIOD).unwrap();
        assert!(second.starts_with("dropped 6 packets") && second.contains("2 connections"), "{second}");
        assert!(second.ends_with("5 forgotten"), "{second}");
        assert_eq!(refused.news([9, 2, 5], start + PERIOD * 3), None);
    }
}
